"""`store.json`: what a store was made with. With it, a store is whole.

    {"format": 2, "shards": 64, "id": "5f0c…"}

It is replaced as a whole or not at all, so a change of it is the one moment at which a store
changes what it is.
"""

import os
import secrets
from pathlib import Path
from typing import Final, NewType

import msgspec

from persistence.environment import sync_directory
from persistence.errors import StoreError, StoreMismatch, StoreNotFound

FORMAT_VERSION: Final = 2
"""Of the store as a whole: 1 had no id, and no newest timestamp in the snapshot's head."""
SHARDS_MAX: Final = 4096
DESCRIPTION: Final = "store.json"

StoreId = NewType("StoreId", str)
"""Which store a backup is of. A restored store has a new one: its log goes its own way."""


class Description(msgspec.Struct, frozen=True, omit_defaults=True):
    format: int
    shards: int
    id: StoreId = StoreId("")
    migrating_from: int | None = None
    """The format version that parts of it may still have: its migration was not finished."""


class _Version(msgspec.Struct):
    format: int


def new_store_id() -> StoreId:
    return StoreId(secrets.token_hex(16))


def read_description(path: Path) -> Description:
    """What the store in that directory was made with; its format may be an older one.

    Raises:
        StoreNotFound: there is no store.
        StoreMismatch: it is of a newer format version.
        StoreError: what describes it cannot be read.
    """
    file = path / DESCRIPTION
    try:
        text = file.read_bytes()
    except FileNotFoundError:
        raise StoreNotFound(f"there is no store in {path}") from None
    except OSError as error:
        raise StoreError(f"{file} cannot be read: {error.strerror}") from None
    try:
        # First alone: a newer version may have other fields.
        version = msgspec.json.decode(text, type=_Version).format
        if version > FORMAT_VERSION:
            raise StoreMismatch(
                f"{path} has format version {version}, made by a newer program; "
                f"this one reads versions 1 to {FORMAT_VERSION}"
            )
        found = msgspec.json.decode(text, type=Description)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise StoreError(f"{file} cannot be read: {error}") from None
    if version < 1 or not 1 <= found.shards <= SHARDS_MAX or (version > 1 and not found.id):
        raise StoreError(f"{file} cannot be read: {text[:200]!r}")
    return found


def write_description(path: Path, description: Description) -> None:
    """Writes `store.json`, whole or not at all.

    Raises:
        OSError: it could not; the one that was there still is.
    """
    write_whole(path / DESCRIPTION, msgspec.json.encode(description))


def write_whole(file: Path, content: bytes) -> None:
    """Replaces the file, durably, and whole or not at all. Raises OSError where it could not."""
    unfinished = file.with_name(file.name + ".unfinished")
    with unfinished.open("wb") as writing:
        writing.write(content)
        writing.flush()
        os.fsync(writing.fileno())
    unfinished.rename(file)
    sync_directory(file.parent)
