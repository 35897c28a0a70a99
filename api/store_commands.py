"""The commands that look into a store: verify, show, log."""

import json
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from api.settings import setting_options
from api.store_report import as_json, progress_of, report, since, verified_figures
from api.wire import format_timestamp
from ledger_actors.entry import Entry, LogPosition, Record
from ledger_actors.errors import InvalidUser
from ledger_actors.identity import UserId, user_id
from ledger_actors.money import format_fixed
from persistence.backup_check import check_backups
from persistence.backup_target import open_target
from persistence.data_directory import open_data_directory
from persistence.inspection import account_as_stored, log_records
from persistence.verify import verify as verify_store


@click.command()
@click.option(
    "--backup",
    metavar="SOURCE",
    help="Check the backups there instead: a directory, or s3://BUCKET/PREFIX.",
)
@setting_options("data_dir")
@as_json
def verify(backup: str | None, data_dir: Path, as_json: bool) -> None:
    """Check every record, the chain, and that the snapshot equals a replay.

    Exit status 0 means that the store is what was written; 1 that it is not. A server may be
    running.
    """
    started = time.perf_counter()
    if backup is None:
        with progress_of("verifying") as progress:
            found = verified_figures(verify_store(open_data_directory(data_dir), progress))
        sentence = "The store is what was written."
    else:
        with progress_of("reading", "bytes") as progress:
            found = asdict(check_backups(open_target(backup), progress))
        sentence = "The backups are what was written."
    report(sentence, {**found, "duration_s": since(started)}, as_json)


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
    for batch in record.batches:
        for entry in batch.entries:
            if as_json:
                yield json.dumps(
                    {"position": record.position, "shard": batch.shard, **_entry_fields(entry)}
                )
            else:
                key = "" if entry.key is None else f"  key {entry.key}"
                yield (
                    f"{record.position:>8}  {format_timestamp(entry.timestamp)}  "
                    f"shard {batch.shard:<4} {_printable(entry.user)} #{entry.number} "
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
