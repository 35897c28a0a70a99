"""`python -m bench all`: the comparison and the benches of the store, and one report of both."""

import sys
import tempfile
from pathlib import Path
from typing import Any, Final

import click
from rich.console import Console

from bench.backing_up import BackupParameters, measure_backups
from bench.comparison.command import comparison_options, find, plain_console, with_quick
from bench.comparison.figure import Results
from bench.comparison.report import write_report
from bench.errors import BenchError
from bench.folding import FoldingParameters, measure_folding
from bench.paging import PagingParameters, measure_paging
from bench.progress import ProgressBar
from bench.restart import RestartParameters, measure_restarts
from bench.store_commands import Measure
from bench.store_report import Measured, print_rows

CONNECTIONS: Final = 64
SNAPSHOT_ENTRIES: Final = 5_000


@click.command("all")
@comparison_options
@click.pass_context
def everything(context: click.Context, /, quick: bool, report: Path, **chosen: Any) -> None:
    """Compare with the peers, measure stores, and write one report.

    Exits with 0, with 1 when BitBurst lost or doubled a credit, with 2 when nothing was measured.
    """
    console = plain_console()
    found = find(with_quick(context, chosen) if quick else chosen, console)
    # Written already now: what was measured is not lost when the rest is broken off.
    write_report(report, found)
    measured = measure_stores(chosen["seed"], console, found.results, quick=quick)
    write_report(report, found, measured)
    console.print(f"The report is in {report}.")
    sys.exit(1 if found.results.wrong else 0)


def measure_stores(seed: int, console: Console, results: Results, *, quick: bool) -> list[Measured]:
    """Paging, folding, restarts and backups, each in a folder of its own. What fails is noted."""
    size = 10 if quick else 1
    paging = PagingParameters(entries=100_000 // size, requests=1_000, seed=seed)
    folding = FoldingParameters(
        users=100_000 // size,
        seconds=10.0,
        connections=CONNECTIONS,
        snapshot_entries=SNAPSHOT_ENTRIES // size,
        seed=seed,
    )
    restart = RestartParameters(
        users=1_000_000 // size,
        rounds=2,
        tail=500_000 // size,
        active=10_000,
        seconds=15.0 / size,
        connections=CONNECTIONS,
        seed=seed,
    )
    backups = BackupParameters(users=200_000 // size, rounds=2, added=200_000 // size, seed=seed)
    measures: dict[str, Measure] = {
        "paging": lambda folder, progress: measure_paging(folder, paging, progress),
        "folding": lambda folder, progress: measure_folding(folder, folding, progress),
        "restart": lambda folder, progress: measure_restarts(folder, restart, progress),
        "backups": lambda folder, progress: measure_backups(folder, backups, progress),
    }
    measured: list[Measured] = []
    for name, measure in measures.items():
        try:
            with (
                tempfile.TemporaryDirectory(prefix="bitburst-bench-") as folder,
                ProgressBar(console) as progress,
            ):
                measured.append(measure(Path(folder), progress))
        except* BenchError as group:
            results.skipped[name] = str(group.exceptions[0])
        else:
            print_rows(measured[-1], console)
    return measured
