"""`python -m simulation`: many seeds, or one of them again, or the mutants."""

import secrets
import sys

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from simulation.drawing import draw
from simulation.hunting import Hunted, hunt_all
from simulation.report import show_result, show_totals, show_violation
from simulation.run import Run
from simulation.shrink import shrunk
from simulation.sweep import Totals, sweep

SHRUNK_MAX = 3
"""Violations that are shrunk and shown at length."""


@click.group()
def main() -> None:
    """Runs the real ledger in a simulated world, where everything follows from a seed."""


@main.command()
@click.option("--seeds", default=1000, show_default=True, type=click.IntRange(1))
@click.option("--first", type=click.IntRange(0), help="The first seed; a fresh one if not given.")
@click.option("--jobs", type=click.IntRange(1), help="Processes; one for each core if not given.")
def run(seeds: int, first: int | None, jobs: int | None) -> None:
    """Runs so many seeds. Exit status 1 if any ends in a violation."""
    console = Console()
    if first is None:
        first = secrets.randbelow(2**40)
    console.print(f"seeds {first} to {first + seeds - 1}", highlight=False)
    progress = Progress(
        TextColumn("{task.fields[rate]:.0f} seeds/s"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[violations]} violations"),
        console=console,
        disable=not console.is_terminal,
    )
    with progress:
        task = progress.add_task("", total=seeds, rate=0.0, violations=0)

        def on_progress(totals: Totals) -> None:
            rate = totals.seeds / totals.duration_s
            progress.update(
                task, completed=totals.seeds, rate=rate, violations=len(totals.violations)
            )

        totals = sweep(first, seeds, jobs, on_progress)
    show_totals(console, totals)
    for seed, violation in totals.violations[:SHRUNK_MAX]:
        show_violation(console, seed, violation, shrunk(draw(seed)))
    for seed, violation in totals.violations[SHRUNK_MAX:]:
        console.print(f"seed {seed}: {violation}", highlight=False)
    console.print(f"{len(totals.violations)} of {seeds} seeds end in a violation")
    sys.exit(1 if totals.violations else 0)


@main.command()
@click.argument("seed", type=click.IntRange(0))
@click.option("--keep", help="Numbers of the events to keep, with commas; all if not given.")
def replay(seed: int, keep: str | None) -> None:
    """Runs one seed again, and prints what happened. Exit status 1 if it ends in a violation."""
    scenario = draw(seed)
    if keep is not None:
        try:
            scenario = scenario.keeping({int(number) for number in keep.split(",")})
        except ValueError:
            raise click.BadParameter(
                f"must be numbers with commas between them, like 1,4,9; not {keep!r}"
            ) from None
    result = Run(scenario, traced=True).result()
    show_result(Console(), result)
    sys.exit(0 if result.violation is None else 1)


@main.command()
@click.option("--seeds", default=1000, show_default=True, help="So many are tried at most.")
@click.option("--first", type=click.IntRange(0), help="The first seed; one for each if not given.")
def mutants(seeds: int, first: int | None) -> None:
    """Puts each mutant into the ledger. Exit status 1 if one is not caught."""
    console = Console()
    table = Table("mutant", "seeds", "caught by", title="mutants")
    hunted: list[Hunted] = []
    for one in hunt_all(seeds, first):
        hunted.append(one)
        table.add_row(one.name, str(one.tried), (one.violation or "nothing")[:70])
    console.print(table)
    escaped = [one.name for one in hunted if one.violation is None]
    console.print(f"{len(hunted) - len(escaped)} of {len(hunted)} caught", *escaped)
    sys.exit(1 if escaped else 0)
