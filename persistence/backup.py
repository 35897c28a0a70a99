"""Backups of a store that may be in use: whole ones, and what the log has had since.

A full backup is the snapshot and the log's records behind it; an incremental one is the records
that follow the newest backup in the same place. Each is of one moment, and of one store: where a
place holds backups of another, or of another history of the same, it is refused.
"""

import os
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from hashlib import sha256

import lmdb

from ledger_actors.entry import LogPosition, Timestamp
from ledger_actors.errors import LogCut
from persistence.backup_catalog import BackupCatalog
from persistence.backup_mark import advance_mark, read_mark
from persistence.backup_target import CHUNK_BYTES, BackupTarget
from persistence.data_directory import DataDirectory, locked_for_backup
from persistence.errors import StoreError, StoreMismatch
from persistence.log_reader import digest_at, sealed_after
from persistence.manifest import (
    MANIFEST,
    RECORDS_PART,
    SNAPSHOT_PART,
    BackupName,
    Kind,
    Manifest,
    Part,
    pack_manifest,
)
from persistence.pinned import PinnedStore, pinned
from persistence.record import SealedRecord, key_of, sealed
from persistence.record_stream import pack_records
from persistence.store_description import FORMAT_VERSION


@dataclass(frozen=True, slots=True)
class BackedUp:
    name: str | None
    """Its name in the place; None when the newest backup there has everything already."""
    position: LogPosition
    """Every record up to this one is in the place's backups."""
    bytes: int
    """Written now."""


def back_up(directory: DataDirectory, target: BackupTarget, now: Timestamp) -> BackedUp:
    """Takes a full backup: the store as it is at one moment. The server goes on, and incremental
    backups can be taken meanwhile.

    Raises:
        StoreInUse: another full backup of the store is being taken.
        StoreMismatch: the place holds backups of another store, or of another history of this one.
        StoreError: the place or the directory cannot be written.
        CorruptStore: log and snapshot are not of one store.
    """
    with locked_for_backup(directory.path, "full"), pinned(directory) as store:
        catalog = BackupCatalog(target)
        _check_history(catalog, directory, store)
        name = BackupName(Kind.FULL, store.snapshot.position, store.last)
        if name in catalog.names:
            return _nothing_new(directory, store.last)
        if not _keeps(store, read_mark(directory)):
            # The copy may take long, and the log must still have what comes meanwhile.
            advance_mark(directory, store.last)
        writer = _BackupWriter(target, name)
        environment, transaction = store.snapshot_environment, store.snapshot.transaction
        writer.write(SNAPSHOT_PART, _copy(environment, transaction))
        writer.write(RECORDS_PART, pack_records(_records_from_snapshot(store)))
        newest = store.snapshot.head.newest
        return _finish(directory, store, writer, now, newest)


def back_up_increment(directory: DataDirectory, target: BackupTarget, now: Timestamp) -> BackedUp:
    """Takes an incremental backup: what the log has behind the newest backup in that place.

    Raises:
        StoreError: the place has no full backup, or the log no longer has all that follows.
        StoreInUse: another incremental backup of the store is being taken.
        StoreMismatch, CorruptStore: as `back_up`.
    """
    with locked_for_backup(directory.path, "incremental"), pinned(directory) as store:
        catalog = BackupCatalog(target)
        newest = _check_history(catalog, directory, store)
        if newest is None or not catalog.fulls:
            raise StoreError(f"there is no full backup in {target}: take one first")
        name = BackupName(Kind.LOG, newest.last, store.last)
        if name.after == name.last:
            return _nothing_new(directory, store.last)
        if not _keeps(store, name.after):
            raise StoreError(
                f"the log no longer has all that follows position {name.after}, where the newest "
                f"backup in {target} ends; take a full backup"
            )
        writer = _BackupWriter(target, name)
        writer.write(RECORDS_PART, pack_records(sealed_after(store.log, name.after)))
        return _finish(directory, store, writer, now, Timestamp(0))


class _BackupWriter:
    """Writes the objects of one backup, and remembers what they are."""

    def __init__(self, target: BackupTarget, name: BackupName) -> None:
        self.name = name
        self.parts: dict[str, Part] = {}
        self._target = target

    def write(self, part: str, content: Iterable[bytes]) -> None:
        digest = sha256()
        size = 0

        def counted() -> Iterator[bytes]:
            nonlocal size
            for chunk in content:
                digest.update(chunk)
                size += len(chunk)
                yield chunk

        self._target.write(self.name.object(part), counted())
        self.parts[part] = Part(size, digest.hexdigest())

    def finish(self, manifest: Manifest) -> int:
        """Makes the backup one; returns how many bytes its parts have."""
        self._target.write(self.name.object(MANIFEST), [pack_manifest(manifest)])
        return manifest.bytes


def _finish(
    directory: DataDirectory,
    store: PinnedStore,
    writer: _BackupWriter,
    now: Timestamp,
    newest: Timestamp,
) -> BackedUp:
    name = writer.name
    manifest = Manifest(
        kind=name.kind,
        store=directory.id,
        store_format=FORMAT_VERSION,
        shards=directory.shards,
        after=name.after,
        after_digest=digest_at(store.log, name.after).hex(),
        last=name.last,
        last_digest=digest_at(store.log, name.last).hex(),
        newest=newest,
        taken=now,
        parts=writer.parts,
    )
    size = writer.finish(manifest)
    advance_mark(directory, name.last)
    return BackedUp(str(name), name.last, size)


def _nothing_new(directory: DataDirectory, position: LogPosition) -> BackedUp:
    advance_mark(directory, position)
    return BackedUp(None, position, 0)


def _check_history(
    catalog: BackupCatalog, directory: DataDirectory, store: PinnedStore
) -> BackupName | None:
    """The newest backup in the place, once it is known to be one of this store's past."""
    newest = catalog.newest
    if newest is None:
        return None
    manifest = catalog.manifest(newest)
    if manifest.store != directory.id:
        raise StoreMismatch(
            f"{catalog.target} holds backups of another store; give each store a place of its own"
        )
    try:
        known = newest.last <= store.last and (
            digest_at(store.log, newest.last).hex() == manifest.last_digest
        )
    except LogCut:
        # That it was cut shows that the store went past it.
        known = True
    if not known:
        raise StoreMismatch(
            f"{catalog.target} holds {newest}, which is no part of this store's log: "
            f"they went different ways; use another place"
        )
    return newest


def _keeps(store: PinnedStore, position: LogPosition | None) -> bool:
    """Whether the log still has all that follows that position, and the record there."""
    return position is not None and store.first <= max(position, 1) and position <= store.last


def _records_from_snapshot(store: PinnedStore) -> Iterator[SealedRecord]:
    """The record that the snapshot was made at, and those behind it."""
    position = store.snapshot.position
    if position:
        value = store.log.get(key_of(position))
        assert value is not None
        yield sealed(position, value)
    yield from sealed_after(store.log, position)


def _copy(environment: lmdb.Environment, transaction: "lmdb.Transaction[bytes]") -> Iterator[bytes]:
    """The environment as the transaction sees it, compact, through a pipe: no room is needed."""
    reading, writing = os.pipe()
    failures: list[lmdb.Error] = []

    def copy() -> None:
        try:
            environment.copyfd(writing, compact=True, txn=transaction)
        except lmdb.Error as error:
            failures.append(error)
        finally:
            os.close(writing)

    copying = threading.Thread(target=copy, name="copy")
    copying.start()
    try:
        while chunk := os.read(reading, CHUNK_BYTES):
            yield chunk
    finally:
        # Without a reader the copy ends too.
        os.close(reading)
        copying.join()
    if failures:
        raise StoreError(f"cannot copy the snapshot: {failures[0]}")
