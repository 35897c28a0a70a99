"""What is printed for people: tables of what was met, and what to do about a violation."""

from collections.abc import Mapping

from rich.console import Console
from rich.table import Table
from simulation.run import Result
from simulation.scenario import Scenario
from simulation.sweep import Totals

COMMAND = "PYTHONPATH=tests .venv/bin/python -m simulation"

GROUPS: Mapping[str, tuple[str, ...]] = {
    "crashes": ("crashes", "power lost", "processes killed", "folds that outlive", "commits"),
    "recovery": (
        "recoveries",
        "entries replayed",
        "records rolled",
        "stores refused",
        "ended by",
        "shards restarted",
    ),
    "disk": (
        "full disks",
        "snapshots",
        "bits flipped",
        "newest record",
        "end of the log",
        "foreign",
    ),
    "callers": ("credits", "duplicates", "replays", "reused", "balances", "answered", "stops"),
    "readers": ("reads", "look-ups"),
    "faults": ("faults",),
}
"""What is counted, by how its name begins."""


def show_totals(console: Console, totals: Totals) -> None:
    table = Table(title=f"{totals.seeds:,} seeds", show_header=False)
    table.add_column(justify="left")
    table.add_column(justify="right")
    per_second = totals.seeds / max(totals.duration_s, 0.001)
    table.add_row("seeds per second", f"{per_second:,.1f}")
    table.add_row("duration", f"{totals.duration_s:,.1f} s")
    table.add_row("simulated time", f"{totals.simulated_s / 3600:,.1f} h")
    table.add_row("steps of the scheduler", f"{totals.steps:,}")
    for group in GROUPS:
        table.add_section()
        for name, count in sorted(totals.seen.items()):
            if _group_of(name) == group:
                table.add_row(name, f"{count:,}")
    console.print(table)


def _group_of(name: str) -> str:
    return next(
        (group for group, beginnings in GROUPS.items() if name.startswith(beginnings)), "callers"
    )


def show_violation(console: Console, seed: int, violation: str, smallest: Scenario) -> None:
    console.print(f"seed {seed}: {violation}", style="bold red", highlight=False)
    console.print(f"replay it:  {COMMAND} replay {seed}", soft_wrap=True, highlight=False)
    kept = ",".join(str(number) for number, _ in smallest.events)
    console.print("what is left of it when it is shrunk:", highlight=False)
    console.print(f"  {smallest.world}", soft_wrap=True, highlight=False)
    for number, event in smallest.events:
        console.print(f"  {number:3} {event}", soft_wrap=True, highlight=False)
    console.print(
        f"replay that:  {COMMAND} replay {seed} --keep {kept}", soft_wrap=True, highlight=False
    )


def show_result(console: Console, result: Result) -> None:
    for line in result.trace:
        console.print(line, soft_wrap=True, highlight=False, markup=False)
    console.print(
        f"seed {result.seed}: {result.steps} steps, {result.simulated_s:.3f} simulated seconds, "
        f"trace {result.trace_hash}",
        soft_wrap=True,
        highlight=False,
    )
