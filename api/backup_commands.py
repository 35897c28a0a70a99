"""The commands that take backups and restore them: backup, backups, restore."""

import json
import re
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import click
from rich.console import Console
from rich.table import Table

from api.settings import setting_options
from api.store_report import as_json, progress_of, report, since, verified_figures
from api.system_clock import SystemClock
from api.wire import format_timestamp
from ledger_actors.entry import LogPosition, Timestamp
from persistence.backup import back_up, back_up_increment
from persistence.backup_check import list_backups
from persistence.backup_target import open_target
from persistence.data_directory import open_data_directory
from persistence.manifest import Manifest
from persistence.restore import Goal, UpToPosition, UpToTime
from persistence.restore import restore as restore_store

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
RFC_3339: Final = re.compile(
    r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d{1,6})?([Zz]|[+-]\d\d:\d\d)", re.ASCII
)


@click.command()
@click.argument("target")
@click.option(
    "--incremental",
    is_flag=True,
    help="Only what the log has had since the newest backup in TARGET.",
)
@setting_options("data_dir")
@as_json
def backup(target: str, incremental: bool, data_dir: Path, as_json: bool) -> None:
    """Back up the store to TARGET, a directory or s3://BUCKET/PREFIX. A server may be running.

    Without --incremental, all of it. Exit status 0 means that every record up to the position
    that is printed can be restored from TARGET.
    """
    started = time.perf_counter()
    take = back_up_increment if incremental else back_up
    with Console(stderr=True).status("copying"):
        taken = take(open_data_directory(data_dir), open_target(target), SystemClock().now())
    figures = {
        "backup": taken.name,
        "position": taken.position,
        "bytes": taken.bytes,
        "duration_s": since(started),
    }
    what = "Backed up" if taken.name else "Nothing new to back up"
    report(f"{what} to {target}.", figures, as_json)


@click.command()
@click.argument("source")
@as_json
def backups(source: str, as_json: bool) -> None:
    """List the backups in SOURCE, a directory or s3://BUCKET/PREFIX."""
    found = list_backups(open_target(source))
    if as_json:
        for manifest in found:
            click.echo(json.dumps(_fields(manifest)))
        return
    table = Table("kind", "from position", "to position", "taken", "bytes")
    for manifest in found:
        fields = _fields(manifest)
        table.add_row(*(str(fields[name]) for name in ("kind", "after", "last", "taken", "bytes")))
    Console().print(table if found else f"There is no backup in {source}.")


def _goal(_: click.Context, __: click.Parameter, text: str | None) -> Goal:
    """How far to restore: digits are a position of the log, all else a time."""
    if text is None:
        return None
    if text.isascii() and text.isdigit():
        return UpToPosition(LogPosition(int(text)))
    try:
        if not RFC_3339.fullmatch(text):
            raise ValueError
        moment = datetime.fromisoformat(text.upper())
    except ValueError:
        raise click.BadParameter(
            f"{text!r} is neither a position, such as 4711, nor a time with its offset "
            f"(RFC 3339), such as 2026-11-24T18:30:00Z"
        ) from None
    return UpToTime(Timestamp((moment - EPOCH) // timedelta(microseconds=1)))


@click.command()
@click.argument("source")
@click.option(
    "--to",
    "goal",
    metavar="POSITION|TIME",
    callback=_goal,
    help="How far: a position of the log, or a time; nothing stamped later is restored. "
    "Without it, all that was backed up.",
)
@setting_options("data_dir")
@as_json
def restore(source: str, goal: Goal, data_dir: Path, as_json: bool) -> None:
    """Make a store from the backups in SOURCE, and verify it. The data directory must be new.

    It says which position it reached: what was acknowledged up to there is in the store.
    """
    started = time.perf_counter()
    with progress_of("verifying") as progress:
        restored = restore_store(open_target(source), data_dir, goal, progress)
    figures = {
        "position": restored.position,
        "backups": len(restored.backups),
        **verified_figures(restored.verified),
        "duration_s": since(started),
    }
    report(f"Restored to {data_dir}, up to position {restored.position}.", figures, as_json)


def _fields(manifest: Manifest) -> Mapping[str, Any]:
    return {
        "backup": str(manifest.name),
        "kind": str(manifest.kind),
        "after": manifest.after,
        "last": manifest.last,
        "taken": format_timestamp(manifest.taken),
        "bytes": manifest.bytes,
    }
