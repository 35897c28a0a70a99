"""How far the newest backup of a store reaches, left in its directory for the server.

The server keeps what follows in the log: the next incremental backup begins there.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec

from ledger_actors.entry import BEGINNING, LogPosition
from persistence.data_directory import DataDirectory
from persistence.errors import StoreError
from persistence.store_description import StoreId, write_whole

MARK: Final = "backup.json"


class _Mark(msgspec.Struct):
    store: StoreId
    """One that another store left in the same directory is none of this one."""
    position: LogPosition


def read_mark(directory: DataDirectory) -> LogPosition | None:
    """The position; None where no backup was taken, or the mark cannot be read.

    It is a wish, not a part of the store: without it the log keeps less, and the next backup says
    so.
    """
    try:
        mark = msgspec.json.decode((directory.path / MARK).read_bytes(), type=_Mark)
    except (OSError, msgspec.DecodeError):
        return None
    return mark.position if mark.store == directory.id else None


def advance_mark(directory: DataDirectory, position: LogPosition) -> None:
    """Sets the mark, where it is not further on already: a full backup takes long, and incremental
    ones may have been taken meanwhile.

    Raises:
        StoreError: the directory cannot be written.
    """
    file = directory.path / MARK
    try:
        with _alone(directory.path):
            furthest = max(read_mark(directory) or BEGINNING, position)
            write_whole(file, msgspec.json.encode(_Mark(directory.id, furthest)))
    except OSError as error:
        raise StoreError(f"cannot write {file}: {error.strerror}") from None


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
