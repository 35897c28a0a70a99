"""`python -m bench compare`."""

import os
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

import click
from rich.console import Console
from rich.table import Table as RichTable

from bench.comparison.compare import compare as run_comparison
from bench.comparison.figure import Results
from bench.comparison.setting import Chosen, PeerChoice, Setting
from bench.comparison.table import Table, figures_table, markdown, targets_table
from bench.cores import choose_cores
from bench.errors import BenchError, UnusableError
from bench.http_client import allow_connections
from bench.loads.wrk import find_wrk
from bench.progress import ProgressBar

REPORT: Final = Path("bench/report")
QUICK: Final[dict[str, Any]] = {
    "seconds": 1.0,
    "bulk_credits": 200_000,
    "growth_users": (10_000, 100_000),
    "connections": (1, 64),
}
WIDTH: Final = 150
"""Where no terminal says how wide it is."""
USABLE_BY_OTHERS: Final = 0o711
"""PostgreSQL runs as another account where the bench runs as root."""


class Listed(click.ParamType[Any]):
    """Some of a few words, separated by commas."""

    name = "list"

    def __init__(self, kind: type[Chosen] | type[PeerChoice] | type[int]) -> None:
        self._kind = kind

    def convert(self, value: Any, param: Any, ctx: Any) -> tuple[Any, ...]:
        """Each word once, in its kind."""
        if not isinstance(value, str):
            return tuple(value)
        try:
            return tuple(self._kind(word) for word in value.split(",") if word)
        except ValueError:
            known = "whole numbers" if self._kind is int else ", ".join(self._kind)  # type: ignore[arg-type]
            self.fail(f"{value!r} must be some of: {known}", param, ctx)


def _setting_options(command: Any) -> Any:
    every, peers = ",".join(Chosen), ",".join(PeerChoice)
    options = (
        click.option("--only", "loads", type=Listed(Chosen), default=every),
        click.option("--peers", type=Listed(PeerChoice), default=peers),
        click.option("--seconds", type=click.FloatRange(0.1, 600), default=2.0),
        click.option("--repetitions", type=click.IntRange(1, 100), default=3),
        click.option("--connections", type=Listed(int), default="1,64,512", help="Of adds."),
        click.option("--users", type=click.IntRange(10, 9_999_999), default=10_000),
        click.option("--bulk-credits", type=click.IntRange(1), default=900_000),
        click.option("--growth-users", type=Listed(int), default="10000,100000,1000000"),
        click.option("--growth-entries", type=click.IntRange(1), default=1_000_000),
        click.option("--open-connections", type=click.IntRange(1), default=10_000),
        click.option("--active-connections", type=click.IntRange(1), default=1_000),
        click.option("--serve-flag", "serve_flags", multiple=True, help="For `bitburst serve`."),
        click.option("--own-generator", is_flag=True, help="Do without wrk."),
        click.option("--folder", type=click.Path(path_type=Path), help="On the disk to measure."),
        click.option("--seed", type=int, default=1),
    )
    for option in reversed(options):
        command = option(command)
    return command


@click.command()
@_setting_options
@click.option("--quick", is_flag=True, help="Shorter and smaller, for a first look.")
@click.option("--report", type=click.Path(path_type=Path), default=REPORT)
@click.pass_context
def compare(context: click.Context, /, quick: bool, report: Path, **chosen: Any) -> None:
    """Measure BitBurst against what else people could run, on the same core in the same run.

    Exits with 0, with 1 when BitBurst lost or doubled a credit, with 2 when nothing was measured.
    """
    if quick:
        for name, value in QUICK.items():
            if context.get_parameter_source(name) is click.core.ParameterSource.DEFAULT:
                chosen[name] = value
    console = Console()
    if not console.is_terminal:
        console = Console(width=WIDTH)
    try:
        results = run_in_folder(chosen, console)
    except BenchError as error:
        raise UnusableError(str(error)) from None
    show(results, console)
    report.mkdir(parents=True, exist_ok=True)
    (report / "table.md").write_text(markdown(targets_table(results)))
    sys.exit(1 if results.wrong else 0)


def run_in_folder(chosen: dict[str, Any], console: Console) -> Results:
    """Runs the comparison with its files in a temporary folder.

    Raises:
        BenchError: nothing could be measured.
    """
    own_generator, parent = chosen.pop("own_generator"), chosen.pop("folder")
    allow_connections(chosen["open_connections"])
    with (
        tempfile.TemporaryDirectory(prefix="bitburst-compare-", dir=parent) as folder,
        ProgressBar(console) as progress,
    ):
        os.chmod(folder, USABLE_BY_OTHERS)
        setting = Setting(
            folder=Path(folder),
            cores=choose_cores(),
            wrk=None if own_generator else find_wrk(),
            **{**chosen, "loads": frozenset(chosen["loads"]), "peers": frozenset(chosen["peers"])},
        )
        return run_comparison(setting, progress)


def show(results: Results, console: Console) -> None:
    """Prints what was found."""
    for table in (figures_table(results.figures.values()), targets_table(results)):
        console.print(_rich(table))
    for what, why in results.skipped.items():
        console.print(f"not measured: {what}: {why}", style="yellow", markup=False)
    for what, found in results.checked.items():
        console.print(f"read back after {what}: {found}", markup=False)


def _rich(table: Table) -> RichTable:
    shown = RichTable(title=table.title, title_justify="left")
    for column in table.columns:
        shown.add_column(column)
    for row in table.rows:
        shown.add_row(*row)
    return shown
