"""How the commands that look after a store tell people and programs what they found."""

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from api.wire import format_timestamp
from persistence.verify import Verified

as_json = click.option("--json", "as_json", is_flag=True, help="For programs: JSON lines.")


def report(sentence: str, figures: Mapping[str, Any], as_json: bool) -> None:
    """Prints the figures, for people with a sentence before them."""
    if as_json:
        click.echo(json.dumps(figures))
        return
    click.echo(sentence)
    for name, value in figures.items():
        if isinstance(value, list | tuple):
            value = ", ".join(value)
        shown = "none" if value in (None, "") else value
        click.echo(f"  {name.replace('_', ' ')}: {shown}")


def verified_figures(verified: Verified) -> dict[str, Any]:
    figures = asdict(verified)
    newest = figures.pop("newest")
    return {**figures, "newest_entry": format_timestamp(newest) if newest else None}


def since(started: float) -> float:
    """Seconds since that moment of `time.perf_counter`."""
    return round(time.perf_counter() - started, 3)


@contextmanager
def progress_of(what: str, unit: str = "entries") -> Iterator[Callable[[int, int], None]]:
    """A bar on standard error, and what moves it: told how much is done, of how much."""
    columns = (
        TextColumn(what),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(unit),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(what)
        yield lambda done, total: progress.update(task, completed=done, total=total)
