"""The commands that look after a store: verify, backup, restore, show, log."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from api.settings import setting_options
from api.wire import format_timestamp
from ledger_actors import Entry, LogPosition, Record, UserId, format_fixed, user_id
from ledger_actors.errors import InvalidUser
from persistence.backup import backup as back_up_store
from persistence.backup import restore as restore_store
from persistence.data_directory import open_data_directory
from persistence.inspection import account_as_stored, log_records
from persistence.verify import Verified
from persistence.verify import verify as verify_store

as_json = click.option("--json", "as_json", is_flag=True, help="For programs: JSON lines.")


@click.command()
@setting_options("data_dir")
@as_json
def verify(data_dir: Path, as_json: bool) -> None:
    """Check every record, the chain, and that the snapshot equals a replay.

    Exit status 0 means that the store is what was written; 1 that it is not. A server may be
    running.
    """
    started = time.perf_counter()
    with _progress("verifying") as progress:
        verified = verify_store(open_data_directory(data_dir), progress)
    _report("The store is what was written.", _figures(verified, started), as_json)


@click.command()
@click.argument("directory", type=click.Path(path_type=Path, file_okay=False))
@setting_options("data_dir")
@as_json
def backup(directory: Path, data_dir: Path, as_json: bool) -> None:
    """Copy the store, as it is at one moment, into DIRECTORY. A server may be running."""
    started = time.perf_counter()
    with Console(stderr=True).status("copying"):
        backed_up = back_up_store(open_data_directory(data_dir), directory)
    figures = {**asdict(backed_up), "duration_s": _since(started)}
    _report(f"Backed up to {directory}.", figures, as_json)


@click.command()
@click.argument("directory", type=click.Path(path_type=Path, file_okay=False))
@setting_options("data_dir")
@as_json
def restore(directory: Path, data_dir: Path, as_json: bool) -> None:
    """Make a store from the backup in DIRECTORY, and verify it. The data directory must be new."""
    started = time.perf_counter()
    with _progress("verifying") as progress:
        verified = restore_store(directory, data_dir, progress)
    _report(f"Restored to {data_dir}.", _figures(verified, started), as_json)


@click.command()
@click.argument("user")
@click.option(
    "--entries",
    type=click.IntRange(min=0),
    default=10,
    show_default=True,
    help="How many of the newest entries to show.",
)
@setting_options("data_dir")
@as_json
def show(user: str, entries: int, data_dir: Path, as_json: bool) -> None:
    """Show the balance of USER and the newest entries. A server may be running."""
    account = account_as_stored(open_data_directory(data_dir), _user(user), entries)
    if as_json:
        document = {
            "user": account.user,
            "balance": format_fixed(account.balance),
            "entries": account.count,
            "newest": [_entry_fields(entry) for entry in account.newest],
        }
        click.echo(json.dumps(document))
        return
    console = Console()
    console.print(
        f"{_printable(account.user)}: ${format_fixed(account.balance)} in {account.count} entries",
        markup=False,
        highlight=False,
    )
    table = Table("number", "amount", "time")
    for entry in account.newest:
        table.add_row(
            str(entry.number), format_fixed(entry.amount), format_timestamp(entry.timestamp)
        )
    if account.newest:
        console.print(table)


@click.command()
@click.option(
    "--after",
    type=click.IntRange(min=0),
    help="Begin behind this position; without it, at the oldest record that the log still holds.",
)
@click.option("--follow", is_flag=True, help="Wait for more, until interrupted.")
@setting_options("data_dir")
@as_json
def log(after: int | None, follow: bool, data_dir: Path, as_json: bool) -> None:
    """Print the write-ahead log's entries, oldest first. A server may be running."""
    position = None if after is None else LogPosition(after)
    try:
        for record in log_records(open_data_directory(data_dir), position, follow=follow):
            for line in _lines(record, as_json):
                click.echo(line)
    except KeyboardInterrupt:
        if not follow:
            raise


def _lines(record: Record, as_json: bool) -> Iterator[str]:
    for shard, entries in record.batches:
        for entry in entries:
            if as_json:
                yield json.dumps(
                    {"position": record.position, "shard": shard, **_entry_fields(entry)}
                )
            else:
                key = "" if entry.key is None else f"  key {entry.key}"
                yield (
                    f"{record.position:>8}  {format_timestamp(entry.timestamp)}  "
                    f"shard {shard:<4} {_printable(entry.user)} #{entry.number} "
                    f"+{format_fixed(entry.amount)}{key}"
                )


def _printable(text: str) -> str:
    """The text with control characters escaped: callers choose it, and a terminal obeys it."""
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode()
        for character in text
    )


def _entry_fields(entry: Entry) -> dict[str, Any]:
    return {
        "user": entry.user,
        "number": entry.number,
        "amount": format_fixed(entry.amount),
        "timestamp": format_timestamp(entry.timestamp),
        "key": entry.key,
        "reference": entry.reference,
    }


def _user(text: str) -> UserId:
    try:
        return user_id(text)
    except InvalidUser as error:
        raise click.UsageError(str(error)) from None


def _figures(verified: Verified, started: float) -> dict[str, Any]:
    return {**asdict(verified), "duration_s": _since(started)}


def _since(started: float) -> float:
    return round(time.perf_counter() - started, 3)


def _report(sentence: str, figures: dict[str, Any], as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(figures))
        return
    click.echo(sentence)
    for name, value in figures.items():
        click.echo(f"  {name.replace('_', ' ')}: {value}")


@contextmanager
def _progress(what: str) -> Iterator[Callable[[int, int], None]]:
    columns = (
        TextColumn(what),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("entries"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(what)
        yield lambda done, total: progress.update(task, completed=done, total=total)
