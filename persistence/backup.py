"""Backup of a store that may be in use, and restore of a backup."""

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import lmdb

from ledger_actors.entry import LogPosition
from persistence.data_directory import (
    DataDirectory,
    locked,
    log_path,
    open_data_directory,
    snapshot_path,
    write_description,
)
from persistence.environment import sync_directory
from persistence.errors import StoreError
from persistence.pinned import pinned
from persistence.verify import Verified, verify


@dataclass(frozen=True, slots=True)
class BackedUp:
    position: LogPosition
    """Every record up to this one is in the backup."""
    bytes: int


def backup(directory: DataDirectory, target: Path) -> BackedUp:
    """Copies the store, as it is at one moment, into a new or empty directory.

    The server goes on; the log's room is not used again while the copy runs.

    Raises:
        StoreError: the target cannot be made, or is not empty.
        CorruptStore: log and snapshot are not of one store.
    """
    try:
        target.mkdir(parents=True, exist_ok=True)
        if any(target.iterdir()):
            raise StoreError(f"{target} is not empty")
        with pinned(directory) as store:
            for environment, transaction, part in (
                (store.log_environment, store.log, log_path(target)),
                (store.snapshot_environment, store.snapshot.transaction, snapshot_path(target)),
            ):
                part.mkdir()
                _copy(environment, transaction, part)
            position = store.last
        write_description(target, directory.shards)
    except OSError as error:
        raise StoreError(f"cannot back up to {target}: {error}") from None
    return BackedUp(position, _size(target))


def restore(
    source: Path, target: Path, progress: Callable[[int, int], None] = lambda done, total: None
) -> Verified:
    """Makes a store from a backup, and verifies it before it can be used.

    Raises:
        StoreNotFound: the source is no backup.
        StoreInUse: a server uses the target.
        StoreError: the target already holds a store, or cannot be written.
        CorruptStore: the backup is not what was written; the target holds no store.
    """
    backed_up = open_data_directory(source)
    with locked(target):
        parts = (log_path(target), snapshot_path(target))
        if (target / "store.json").exists() or any(part.exists() for part in parts):
            raise StoreError(f"{target} already holds a store; restore into a new directory")
        try:
            for origin, part in zip((backed_up.log, backed_up.snapshot), parts, strict=True):
                part.mkdir()
                shutil.copyfile(origin / "data.mdb", part / "data.mdb")
                _sync_file(part / "data.mdb")
            verified = verify(DataDirectory(target, backed_up.shards), progress)
        except BaseException as error:
            for part in parts:
                shutil.rmtree(part, ignore_errors=True)
            if isinstance(error, OSError):
                raise StoreError(f"cannot restore to {target}: {error}") from None
            raise
        write_description(target, backed_up.shards)
    return verified


def _copy(
    environment: lmdb.Environment, transaction: "lmdb.Transaction[bytes]", part: Path
) -> None:
    try:
        environment.copy(str(part), compact=True, txn=transaction)
    except lmdb.Error as error:
        raise StoreError(f"cannot back up to {part}: {error}") from None
    _sync_file(part / "data.mdb")


def _sync_file(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
    sync_directory(path.parent)


def _size(path: Path) -> int:
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
