"""`python -m bench compare`."""

import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

import click
from click.core import ParameterSource
from rich.console import Console
from rich.table import Table as RichTable

from bench.comparison.compare import compare as run_comparison
from bench.comparison.figure import Figure, Results
from bench.comparison.report import FOLDER, Found, write_report
from bench.comparison.report_json import comparison_json
from bench.comparison.setting import Chosen, PeerChoice, Setting
from bench.comparison.table import Table, figures_table, targets_table
from bench.cores import choose_cores
from bench.errors import BenchError, UnusableError
from bench.http_client import allow_connections
from bench.loads.wrk import find_wrk
from bench.progress import ProgressBar

QUICK: Final[dict[str, Any]] = {
    "seconds": 1.0,
    "repetitions": 3,
    "connections": (1, 64),
    "bulk_credits": 300_000,
    "growth_users": (10_000, 100_000),
}
CONSOLE_WIDTH: Final = 150
"""Where no terminal says how wide it is."""
USABLE_BY_OTHERS: Final = 0o711
"""PostgreSQL runs as another account where the bench runs as root."""

Command = TypeVar("Command", bound=Callable[..., Any])


class Listed(click.ParamType[Any]):
    """Some of a few words, or numbers, separated by commas."""

    name = "list"

    def __init__(self, kind: Callable[[str], Any], known: str) -> None:
        self._kind = kind
        self._known = known

    def convert(self, value: Any, param: Any, ctx: Any) -> tuple[Any, ...]:
        """Each word in its kind."""
        if not isinstance(value, str):
            return tuple(value)
        try:
            return tuple(self._kind(word) for word in value.split(","))
        except ValueError:
            self.fail(f"{value!r} must be some of: {self._known}", param, ctx)


def _natural(word: str) -> int:
    if int(word) < 1:
        raise ValueError
    return int(word)


LOADS: Final = Listed(Chosen, ", ".join(Chosen))
PEERS: Final = Listed(PeerChoice, ", ".join(PeerChoice))
NUMBERS: Final = Listed(_natural, "whole numbers above zero")


def comparison_options(command: Command) -> Command:
    """The options of a command that runs the comparison."""
    options = (
        click.option("--only", "loads", type=LOADS, default=",".join(Chosen)),
        click.option("--peers", type=PEERS, default=",".join(PeerChoice)),
        click.option("--seconds", type=click.FloatRange(0.1, 600), default=2.0),
        click.option("--repetitions", type=click.IntRange(1, 100), default=4),
        click.option("--connections", type=NUMBERS, default="1,64,512", help="Of adds."),
        click.option("--users", type=click.IntRange(10, 9_999_999), default=10_000),
        click.option("--bulk-credits", type=click.IntRange(1), default=900_000),
        click.option("--growth-users", type=NUMBERS, default="10000,100000,1000000"),
        click.option(
            "--growth-entries",
            type=click.IntRange(1),
            default=500_000,
            help="In each store at most, but for one of each user; 10,000,000 takes minutes.",
        ),
        click.option("--open-connections", type=click.IntRange(1), default=10_000),
        click.option("--active-connections", type=click.IntRange(1), default=1_000),
        click.option("--serve-flag", "serve_flags", multiple=True, help="For `bitburst serve`."),
        click.option("--own-generator", is_flag=True, help="Do without wrk."),
        click.option("--folder", type=click.Path(path_type=Path), help="On the disk to measure."),
        click.option("--seed", type=int, default=1),
        click.option("--quick", is_flag=True, help="Shorter and smaller, for a first look."),
        click.option("--report", type=click.Path(path_type=Path), default=FOLDER),
    )
    for option in reversed(options):
        command = option(command)
    return command


@click.command()
@comparison_options
@click.pass_context
def compare(context: click.Context, /, quick: bool, report: Path, **chosen: Any) -> None:
    """Measure BitBurst against what else people could run, on the same core in the same run.

    Exits with 0, with 1 when BitBurst lost or doubled a credit, with 2 when nothing was measured.
    """
    console = plain_console()
    found = find(with_quick(context, chosen) if quick else chosen, console)
    write_report(report, found)
    sys.exit(1 if found.results.wrong else 0)


def plain_console() -> Console:
    """The terminal, or wide enough for the tables where there is none."""
    console = Console()
    return console if console.is_terminal else Console(width=CONSOLE_WIDTH)


def with_quick(context: click.Context, chosen: dict[str, Any]) -> dict[str, Any]:
    """What was chosen, and the smaller defaults for what was not."""
    unsaid = [
        name for name in QUICK if context.get_parameter_source(name) is ParameterSource.DEFAULT
    ]
    return {**chosen, **{name: QUICK[name] for name in unsaid}}


def find(chosen: dict[str, Any], console: Console) -> Found:
    """Runs the comparison with its files in a temporary folder, and prints what it found.

    Raises:
        UnusableError: nothing could be measured.
    """
    own_generator, parent = chosen["own_generator"], chosen["folder"]
    given = {name: chosen[name] for name in chosen.keys() - {"own_generator", "folder"}}
    given |= {"loads": frozenset(given["loads"]), "peers": frozenset(given["peers"])}
    try:
        allow_connections(given["open_connections"])
        with tempfile.TemporaryDirectory(prefix="bitburst-compare-", dir=parent) as folder:
            os.chmod(folder, USABLE_BY_OTHERS)
            wrk = None if own_generator else find_wrk()
            setting = Setting(folder=Path(folder), cores=choose_cores(), wrk=wrk, **given)
            with ProgressBar(console) as progress:
                results = run_comparison(setting, progress, partial(_show_figures, console))
            found = Found(results, comparison_json(results, setting))
    except BenchError as error:
        raise UnusableError(str(error)) from None
    _show(results, console)
    return found


def _show_figures(console: Console, figures: Sequence[Figure], seconds: float) -> None:
    if figures:
        table = figures_table(figures)
        console.print(_rich(replace(table, title=f"Measured in {seconds:.0f} s")))


def _show(results: Results, console: Console) -> None:
    console.print(_rich(targets_table(results)))
    for what, why in results.skipped.items():
        console.print(f"not measured: {what}: {why}", style="yellow", markup=False)
    for what, read in results.checked.items():
        console.print(f"read back after {what}: {read}", markup=False)
    for figure in results.figures.values():
        if figure.errors:
            words = f"errors of {': '.join(figure.name)}: {figure.errors}: {figure.first_error}"
            console.print(words, style="red", markup=False)


def _rich(table: Table) -> RichTable:
    shown = RichTable(title=table.title, title_justify="left")
    for column in table.columns:
        shown.add_column(column)
    for row in table.rows:
        shown.add_row(*row)
    return shown
