"""The commands that measure a store; each starts servers of its own."""

import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click
from rich.console import Console

from bench.backing_up import BackupParameters, measure_backups
from bench.errors import BenchError, UnusableError
from bench.folding import FoldingParameters, measure_folding
from bench.paging import PagingParameters, measure_paging
from bench.progress import ProgressBar
from bench.restart import RestartParameters, measure_restarts
from bench.store_report import Measured, print_rows, store_json

Command = TypeVar("Command", bound=Callable[..., Any])
Measure = Callable[[Path, ProgressBar], Measured]


def _common(command: Command) -> Command:
    command = click.option("--seed", type=int, default=1)(command)
    return click.option(
        "--json",
        "json_file",
        type=click.Path(dir_okay=False, writable=True, path_type=Path),
        help="Write all figures and the parameters there.",
    )(command)


@click.command()
@click.option("--users", type=click.IntRange(1, 9_999_999), default=1_000_000)
@click.option("--rounds", type=click.IntRange(1), default=5, help="Folded entries of each user.")
@click.option("--tail", type=click.IntRange(1), default=500_000, help="Entries to replay.")
@click.option("--active", type=click.IntRange(1), default=10_000, help="Users that are credited.")
@click.option("--seconds", type=float, default=60.0, help="How long memory is watched.")
@click.option("--connections", type=click.IntRange(1), default=64)
@_common
def restart(json_file: Path | None, connections: int, **parameters: Any) -> None:
    """Measure how long a start takes, and how much memory a server holds."""
    chosen = RestartParameters(connections=connections, **parameters)
    _run(json_file, lambda folder, progress: measure_restarts(folder, chosen, progress))


@click.command()
@click.option("--users", type=click.IntRange(1), default=100_000)
@click.option("--seconds", type=float, default=60.0)
@click.option("--connections", type=click.IntRange(1), default=64)
@click.option("--snapshot-entries", type=click.IntRange(1), default=5_000)
@_common
def folding(json_file: Path | None, **parameters: Any) -> None:
    """Measure whether adds are slower while a snapshot is folded."""
    chosen = FoldingParameters(**parameters)
    _run(json_file, lambda folder, progress: measure_folding(folder, chosen, progress))


@click.command()
@click.option("--entries", type=click.IntRange(10), default=100_000)
@click.option("--requests", type=click.IntRange(1), default=2_000)
@_common
def paging(json_file: Path | None, **parameters: Any) -> None:
    """Measure whether the oldest page of a long history costs what the newest does."""
    chosen = PagingParameters(**parameters)
    _run(json_file, lambda folder, progress: measure_paging(folder, chosen, progress))


@click.command()
@click.option("--users", type=click.IntRange(1, 9_999_999), default=1_000_000)
@click.option("--rounds", type=click.IntRange(1), default=5, help="Folded entries of each user.")
@click.option(
    "--added", type=click.IntRange(2), default=500_000, help="Entries of the incremental backup."
)
@_common
def backups(json_file: Path | None, **parameters: Any) -> None:
    """Measure how long backups, restores and checks take, and how many bytes they write."""
    chosen = BackupParameters(**parameters)
    _run(json_file, lambda folder, progress: measure_backups(folder, chosen, progress))


def _run(json_file: Path | None, *measures: Measure) -> None:
    console = Console()
    measured = []
    try:
        for measure in measures:
            with tempfile.TemporaryDirectory(prefix="bitburst-bench-") as folder:
                with ProgressBar(console) as progress:
                    measured.append(measure(Path(folder), progress))
                print_rows(measured[-1], console)
    except* BenchError as group:
        raise UnusableError(str(group.exceptions[0])) from None
    if json_file is not None:
        json_file.write_text(json.dumps(store_json(*measured), indent=1) + "\n")
