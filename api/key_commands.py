"""The commands that look after API keys: keys create, list, revoke."""

import json
import os
import secrets
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from api.api_keys import (
    FILE_NAME,
    ID_BYTES,
    SCOPES,
    SECRET_BYTES,
    ApiKey,
    change_keys,
    make_key,
    now_utc,
    read_keys,
)
from api.settings import setting_options
from persistence.errors import StoreError

as_json = click.option("--json", "as_json", is_flag=True, help="For programs: JSON lines.")
where = setting_options("keys_file", "data_dir")


@click.group()
def keys() -> None:
    """Make, list and revoke API keys. A running server takes every change within seconds."""


@keys.command()
@click.argument("name", default="")
@click.option(
    "--scope",
    "scopes",
    type=click.Choice(list(SCOPES)),
    multiple=True,
    required=True,
    help="What it is good for; may be repeated. None contains another.",
)
@click.option("--user-prefix", help="Only for users whose id begins so.")
@click.option(
    "--expires-in-days", type=click.FloatRange(min=0, min_open=True), help="Good for so long only."
)
@click.option("--rate", type=float, help="Requests a second; instead of --key-rate of the server.")
@click.option("--burst", type=click.IntRange(min=1), help="How many of them may come at once.")
@where
@as_json
def create(
    name: str,
    scopes: Sequence[str],
    expires_in_days: float | None,
    keys_file: Path | None,
    data_dir: Path,
    as_json: bool,
    **optional: Any,
) -> None:
    """Make a key, which people call NAME, and print it: this once, it is kept nowhere."""
    now = now_utc()
    try:
        if expires_in_days is not None:
            optional["expires"] = now + timedelta(days=expires_in_days)
        key, token = make_key(
            os.urandom(ID_BYTES),
            secrets.token_urlsafe(SECRET_BYTES),
            now,
            sorted(set(scopes)),
            name=name,
            **optional,
        )
    except (ValueError, OverflowError) as error:
        raise click.UsageError(str(error)) from None
    change_keys(_path(keys_file, data_dir), lambda known: (*known, key))
    if as_json:
        click.echo(json.dumps({**_fields(key, now), "key": token}))
        return
    click.echo(token)
    click.echo(f"This is key {key.id}. It is shown only now: keep it safe.", err=True)


@keys.command("list")
@where
@as_json
def list_keys(keys_file: Path | None, data_dir: Path, as_json: bool) -> None:
    """List the keys: everything but what opens the door."""
    now = now_utc()
    known = read_keys(_path(keys_file, data_dir)) or ()
    if as_json:
        for key in known:
            click.echo(json.dumps(_fields(key, now)))
        return
    table = Table("id", "name", "scopes", "users", "rate", "created", "expires")
    for key in known:
        table.add_row(
            key.id,
            escape(key.name),
            " ".join(key.scopes),
            "all" if key.user_prefix is None else escape(f"{key.user_prefix}…"),
            "" if key.own_rate is None else f"{key.own_rate.per_second:g}/s",
            f"{key.created:%Y-%m-%d}",
            "expired" if key.expired(now) else _time(key.expires) or "never",
        )
    Console().print(table)


@keys.command()
@click.argument("key_id", metavar="ID")
@where
def revoke(key_id: str, keys_file: Path | None, data_dir: Path) -> None:
    """Take the key with that ID back. Without any keys left, nobody is let in."""

    def without(known: Sequence[ApiKey]) -> Sequence[ApiKey]:
        left = [key for key in known if key.id != key_id]
        if len(left) == len(known):
            raise StoreError(f"there is no API key {key_id!r}; see bitburst keys list")
        return left

    change_keys(_path(keys_file, data_dir), without)
    click.echo(f"Key {key_id} is revoked.")


def _path(keys_file: Path | None, data_dir: Path) -> Path:
    return keys_file or data_dir / FILE_NAME


def _fields(key: ApiKey, now: datetime) -> dict[str, Any]:
    rate = key.own_rate
    return {
        "id": key.id,
        "name": key.name,
        "scopes": list(key.scopes),
        "user_prefix": key.user_prefix,
        "rate": None if rate is None else rate.per_second,
        "burst": None if rate is None else rate.burst,
        "created": _time(key.created),
        "expires": _time(key.expires),
        "expired": key.expired(now),
    }


def _time(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat(timespec="seconds")
