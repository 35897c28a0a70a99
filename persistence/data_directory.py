"""A data directory: what is in it, what it was made with, and who may use it.

store.json    format version, number of shards, id
lock          held by the process that serves the directory
log/          the write-ahead log
snapshot/     the snapshot store
backup.json   how far the newest backup reaches; backup-full.lock and backup-incremental.lock are
              held while one is taken
format-1/     what the store was before it was migrated from that format version
"""

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from persistence.errors import (
    StoreError,
    StoreInUse,
    StoreMismatch,
    StoreNotFound,
    StoreOutdated,
)
from persistence.log_store import LogStore
from persistence.snapshot_store import SnapshotWriter
from persistence.store_description import (
    FORMAT_VERSION,
    Description,
    StoreId,
    new_store_id,
    read_description,
    write_description,
)

SHARDS_DEFAULT: Final = 64


@dataclass(frozen=True, slots=True)
class DataDirectory:
    """A store that exists."""

    path: Path
    shards: int
    id: StoreId

    @property
    def log(self) -> Path:
        return log_path(self.path)

    @property
    def snapshot(self) -> Path:
        return snapshot_path(self.path)


def log_path(path: Path) -> Path:
    return path / "log"


def snapshot_path(path: Path) -> Path:
    return path / "snapshot"


def open_data_directory(path: Path) -> DataDirectory:
    """The store in that directory.

    Raises:
        StoreNotFound: there is none.
        StoreOutdated: it is of an older format version, or its migration was not finished.
        StoreMismatch: it is of a newer format version.
        StoreError: what describes it cannot be read, or one of its parts is missing.
    """
    described = read_description(path)
    if described.format < FORMAT_VERSION or described.migrating_from is not None:
        raise StoreOutdated(
            f"{path} has format version {described.migrating_from or described.format}; "
            f"`bitburst serve` brings it to version {FORMAT_VERSION} when it starts"
        )
    check_parts(path)
    return DataDirectory(path, described.shards, described.id)


def check_parts(path: Path) -> None:
    """
    Raises:
        StoreError: one of the store's parts is missing.
    """
    for part in (log_path(path), snapshot_path(path)):
        # An empty one in its place would be a store that forgot everything.
        data = part / "data.mdb"
        if not data.exists() or not data.stat().st_size:
            raise StoreError(f"{data} is missing or empty; restore the store from a backup")


def create_data_directory(
    path: Path, shards: int, new_id: Callable[[], StoreId] = new_store_id
) -> DataDirectory:
    """A new, empty store in that directory. `store.json` comes last: with it, it is whole.

    Raises:
        StoreError: the directory cannot be made or written, or already holds something.
        DiskFull: there is no room for it.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        for part in (log_path(path), snapshot_path(path)):
            _refuse_records(part)
        LogStore(log_path(path)).close()
        SnapshotWriter(snapshot_path(path)).close()
        write_description(path, Description(FORMAT_VERSION, shards, new_id()))
    except OSError as error:
        raise StoreError(f"cannot make a store in {path}: {error}") from None
    return open_data_directory(path)


def open_or_create(path: Path, shards: int | None) -> DataDirectory:
    """The store in that directory, made with that many shards if there is none.

    Raises:
        StoreMismatch: it was made with another number of shards.
        StoreError: as `open_data_directory` and `create_data_directory`.
    """
    try:
        directory = open_data_directory(path)
    except StoreNotFound:
        return create_data_directory(path, shards or SHARDS_DEFAULT)
    if shards is not None and shards != directory.shards:
        raise StoreMismatch(
            f"{path} was made with {directory.shards} shards, which cannot be changed to {shards}"
        )
    return directory


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Holds the directory for this process; the lock ends with the process, however it ends.

    Raises:
        StoreInUse: another process holds it.
        StoreError: the directory cannot be made or written.
    """
    with _held(path, "lock", f"{path} is in use by another process"):
        yield


@contextmanager
def locked_for_backup(path: Path, kind: str) -> Iterator[None]:
    """Keeps other backups of this kind from being taken at the same time.

    Raises:
        StoreInUse: another process takes one.
        StoreError: the directory cannot be written.
    """
    refusal = f"a {kind} backup of {path} is being taken by another process"
    with _held(path, f"backup-{kind}.lock", refusal):
        yield


@contextmanager
def _held(path: Path, name: str, refusal: str) -> Iterator[None]:
    try:
        path.mkdir(parents=True, exist_ok=True)
        file = os.open(path / name, os.O_RDWR | os.O_CREAT, 0o640)
    except OSError as error:
        raise StoreError(f"cannot use {path} as data directory: {error.strerror}") from None
    try:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(file, 32).decode(errors="replace").strip() or "unknown"
            raise StoreInUse(f"{refusal} (pid {holder})") from None
        _name_holder(file)
        yield
    finally:
        os.close(file)


def _name_holder(file: int) -> None:
    """For people to read; that there is no room for it must not keep a server from starting."""
    name = f"{os.getpid()}\n".encode()
    with suppress(OSError):
        os.pwrite(file, name, 0)
        os.ftruncate(file, len(name))


def _refuse_records(part: Path) -> None:
    """What is left of an attempt that never finished is empty; anything else is not ours to use."""
    if not (part / "data.mdb").exists():
        return
    if part.name == "log":
        log = LogStore(part)
        last = log.last
        log.close()
    else:
        writer = SnapshotWriter(part)
        last = writer.head().position
        writer.close()
    if last:
        raise StoreError(f"{part} holds records, but {part.parent} has no store.json")
