"""How far the newest backup of a store reaches, left in its directory for the server.

The server keeps what follows in the log: the next incremental backup begins there.
"""

from pathlib import Path
from typing import Final

import msgspec

from ledger_actors.entry import LogPosition
from persistence.errors import StoreError
from persistence.store_description import write_whole

MARK: Final = "backup.json"


class _Mark(msgspec.Struct):
    position: LogPosition


def read_mark(path: Path) -> LogPosition | None:
    """The position; None where no backup was taken, or the mark cannot be read.

    It is a wish, not a part of the store: without it the log keeps less, and the next backup says
    so.
    """
    try:
        return msgspec.json.decode((path / MARK).read_bytes(), type=_Mark).position
    except (OSError, msgspec.DecodeError):
        return None


def write_mark(path: Path, position: LogPosition) -> None:
    """
    Raises:
        StoreError: the directory cannot be written.
    """
    try:
        write_whole(path / MARK, msgspec.json.encode(_Mark(position)))
    except OSError as error:
        raise StoreError(f"cannot write {path / MARK}: {error.strerror}") from None
