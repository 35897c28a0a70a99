"""A finished simulation as tables for people and as JSON for programs."""

import os
import platform
from dataclasses import asdict
from typing import Any, Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

from bench.latency import NS_PER_S, Percentiles
from bench.phase import Phase
from bench.simulate import Simulation

FORMAT_VERSION: Final = 1
# Above this share of a core the load generator delays what it measures.
CPU_SHARE_SUSPECT: Final = 0.9

Json = dict[str, Any]


def report_json(simulation: Simulation) -> Json:
    """Everything about the run, in plain JSON types; units are the last word of a name."""
    parameters = simulation.parameters
    verdict = simulation.verdict
    return {
        "format": FORMAT_VERSION,
        "bench": "simulate",
        "machine": machine(),
        "parameters": {
            "url": f"http://{parameters.origin.authority}",
            "concurrency": parameters.concurrency,
            **asdict(parameters.workload),
            "retries": asdict(parameters.retries),
        },
        "passed": simulation.passed,
        "counts": {
            "planned_adds": simulation.planned_adds,
            "planned_repeats": simulation.planned_repeats,
            "confirmed_adds": simulation.confirmed_adds,
            "replays": simulation.adding.tally.replays,
            "errors": simulation.errors,
        },
        "credits_per_second": simulation.credits_per_second,
        "adds": _phase_json(simulation.adding),
        "reads": _phase_json(simulation.reading),
        "verdict": {
            "holds": verdict.holds,
            "users": verdict.users,
            "entries": verdict.entries,
            "lost": verdict.lost,
            "doubled": verdict.doubled,
            "faults": {str(fault): count for fault, count in verdict.faults.items()},
            "findings": [asdict(finding) for finding in verdict.findings],
        },
    }


def machine() -> Json:
    """What the figures were measured on."""
    return {
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "system": f"{platform.system()} {platform.machine()}",
        "cpus": os.cpu_count(),
        "usable_cpus": len(os.sched_getaffinity(0)),
    }


def _phase_json(phase: Phase) -> Json:
    latency = phase.latencies.percentiles()
    return {
        "seconds": phase.latencies.seconds,
        "answered": len(phase.latencies),
        "answered_per_second": phase.latencies.per_second,
        "requests": phase.tally.requests,
        "requests_per_second": phase.requests_per_second,
        "retries_refused": phase.tally.retries_refused,
        "retries_lost": phase.tally.retries_lost,
        "connections": phase.tally.connections,
        "errors": phase.tally.errors,
        "first_errors": list(phase.tally.first_errors),
        "load_generator_cpu_share": phase.cpu_share,
        "latency": None if latency is None else asdict(latency),
        "per_second": [asdict(window) for window in phase.latencies.windows(NS_PER_S)],
    }


def print_report(simulation: Simulation, console: Console) -> None:
    """Show figures, counts, errors and verdict."""
    console.print(_headline(simulation), soft_wrap=True)
    console.print(_figures(simulation))
    console.print(_counts(simulation))
    for phase in (simulation.adding, simulation.reading):
        _print_errors(phase, console)
    _print_verdict(simulation, console)


def _headline(simulation: Simulation) -> Text:
    parameters = simulation.parameters
    plan = parameters.workload
    return Text(
        f"{plan.users:,} users x {plan.transactions_per_user:,} credits, "
        f"{parameters.concurrency:,} connections, {plan.duplicate_share:.0%} sent twice\n"
        f"run id {plan.run_id}, seed {plan.seed}"
    )


def _figures(simulation: Simulation) -> Table:
    table = Table()
    for name in ("", "adds", "reads"):
        table.add_column(name, justify="right" if name else "left")
    phases = (simulation.adding, simulation.reading)
    table.add_row("answered", *(f"{len(phase.latencies):,}" for phase in phases))
    table.add_row("seconds", *(f"{phase.latencies.seconds:,.2f}" for phase in phases))
    table.add_row("answered/s", *(f"{phase.latencies.per_second:,.0f}" for phase in phases))
    table.add_row("requests/s", *(f"{phase.requests_per_second:,.0f}" for phase in phases))
    table.add_row(
        "different credits/s", f"{simulation.credits_per_second:,.0f}", "", end_section=True
    )
    latencies = [phase.latencies.percentiles() for phase in phases]
    for label, field in (
        ("p50 ms", "p50_ms"),
        ("p90 ms", "p90_ms"),
        ("p99 ms", "p99_ms"),
        ("p99.9 ms", "p999_ms"),
        ("max ms", "max_ms"),
    ):
        table.add_row(label, *(_milliseconds(latency, field) for latency in latencies))
    table.add_section()
    table.add_row("load generator, of one core", *(_share(phase) for phase in phases))
    return table


def _milliseconds(latency: Percentiles | None, field: str) -> str:
    return "-" if latency is None else f"{getattr(latency, field):,.2f}"


def _share(phase: Phase) -> Text:
    suspect = phase.cpu_share > CPU_SHARE_SUSPECT
    return Text(f"{phase.cpu_share:.0%}", style="yellow" if suspect else "")


def _counts(simulation: Simulation) -> Table:
    adding, reading = simulation.adding.tally, simulation.reading.tally
    table = Table(show_header=False)
    table.add_column()
    table.add_column(justify="right")
    confirmed = f"{simulation.confirmed_adds:,} of {simulation.planned_adds:,}"
    table.add_row("credits confirmed", confirmed)
    table.add_row("planned to be sent twice", f"{simulation.planned_repeats:,}")
    table.add_row("marked Idempotent-Replayed", f"{adding.replays:,}")
    table.add_row("retried after 503", f"{adding.retries_refused + reading.retries_refused:,}")
    table.add_row("retried, connection lost", f"{adding.retries_lost + reading.retries_lost:,}")
    table.add_row("errors", f"{simulation.errors:,}", style="red" if simulation.errors else "")
    return table


def _print_errors(phase: Phase, console: Console) -> None:
    tally = phase.tally
    for words in tally.first_errors:
        console.print(Text(f"error: {words}", style="red"), soft_wrap=True)
    more = tally.errors - len(tally.first_errors)
    if more:
        console.print(Text(f"and {more:,} more errors", style="red"), soft_wrap=True)


def _print_verdict(simulation: Simulation, console: Console) -> None:
    verdict = simulation.verdict
    for finding in verdict.findings:
        words = f"{finding.user}: {finding.fault}: {finding.what}"
        console.print(Text(words, style="red"), soft_wrap=True)
    more = verdict.faults.total() - len(verdict.findings)
    if more:
        console.print(Text(f"and {more:,} more findings", style="red"), soft_wrap=True)
    if any(
        phase.cpu_share > CPU_SHARE_SUSPECT for phase in (simulation.adding, simulation.reading)
    ):
        words = "The load generator used up its core: the server may be faster than shown."
        console.print(Text(words, style="yellow"), soft_wrap=True)
    console.print(_verdict_line(simulation), soft_wrap=True)


def _verdict_line(simulation: Simulation) -> Text:
    verdict = simulation.verdict
    read = f"{verdict.entries:,} entries of {verdict.users:,} users read back"
    if simulation.passed:
        return Text(f"PASSED: {read}, nothing lost, nothing doubled", style="bold green")
    return Text(
        f"FAILED: {read}, {verdict.lost:,} credits lost, {verdict.doubled:,} doubled, "
        f"{verdict.faults.total():,} findings, {simulation.errors:,} errors",
        style="bold red",
    )
