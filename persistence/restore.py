"""Restores a store from its backups, up to a position of the log or a time.

Up to a time means: up to the record before the first one that has an entry stamped later. So
everything that is restored was stamped at that time or before. A clock may jump back; entries that
follow such a record are not restored, whatever their stamps.
"""

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from ledger_actors.entry import LogPosition, Timestamp
from ledger_actors.errors import CorruptStore
from persistence.backup_catalog import BackupCatalog
from persistence.backup_target import BackupTarget
from persistence.data_directory import DataDirectory, locked, log_path, snapshot_path
from persistence.errors import BackupDamaged, StoreError
from persistence.manifest import SNAPSHOT_PART, BackupName, Manifest
from persistence.migration import upgrade
from persistence.rebuilding import RebuiltStore
from persistence.record import SealedRecord, check_follows, opened
from persistence.store_description import (
    DESCRIPTION,
    FORMAT_VERSION,
    Description,
    new_store_id,
    write_description,
)
from persistence.verify import Verified, verify

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class UpToPosition:
    position: LogPosition


@dataclass(frozen=True, slots=True)
class UpToTime:
    time: Timestamp


Goal = UpToPosition | UpToTime | None
"""How far to restore; None: as far as the backups reach."""


@dataclass(frozen=True, slots=True)
class Restored:
    position: LogPosition
    """The last record that was restored."""
    backups: Sequence[str]
    """The backups that were read, the full one first."""
    verified: Verified


def restore(
    target: BackupTarget,
    data_dir: Path,
    goal: Goal = None,
    progress: Progress = lambda done, total: None,
) -> Restored:
    """Makes a store from the backups in that place, and verifies it before it can be used.

    Raises:
        BackupDamaged: a part of a backup is missing or not what was written.
        StoreInUse: a server uses the data directory.
        StoreError: the goal is out of reach, or the data directory holds a store or cannot be
            written.
        CorruptStore: what was restored is not what was backed up. The directory holds no store.
    """
    catalog = BackupCatalog(target)
    base = _base(catalog, goal)
    with locked(data_dir):
        parts = (log_path(data_dir), snapshot_path(data_dir))
        if (data_dir / DESCRIPTION).exists() or any(part.exists() for part in parts):
            raise StoreError(f"{data_dir} already holds a store; restore into a new directory")
        try:
            manifest = catalog.manifest(base)
            records = _Records(catalog, manifest, goal)
            position = _rebuild(catalog, manifest, records, data_dir)
            described = Description(FORMAT_VERSION, manifest.shards, new_store_id())
            restored = DataDirectory(data_dir, described.shards, described.id)
            verified = verify(restored, progress)
            if verified.last != position:
                raise CorruptStore(f"the log ends at {verified.last}, not at {position}")
            write_description(data_dir, described)
        except BaseException as error:
            for part in parts:
                shutil.rmtree(part, ignore_errors=True)
            with suppress(OSError):
                (data_dir / DESCRIPTION).unlink()
            if isinstance(error, OSError):
                raise StoreError(f"cannot restore to {data_dir}: {error}") from None
            raise
    return Restored(position, [str(name) for name in records.read], verified)


def _base(catalog: BackupCatalog, goal: Goal) -> BackupName:
    """The full backup to begin with: the one with the fewest records to add."""
    fulls = sorted(catalog.fulls, key=lambda name: name.after, reverse=True)
    furthest = catalog.reaches
    match goal:
        case UpToPosition(position):
            if position > furthest:
                raise StoreError(
                    f"the backups in {catalog.target} end at position {furthest}, before {position}"
                )
            for name in fulls:
                if name.after <= position:
                    return name
            raise StoreError(
                f"the oldest full backup in {catalog.target} begins at position "
                f"{fulls[-1].after}, behind {position}"
            )
        case UpToTime(time):
            for name in fulls:
                newest = catalog.manifest(name).newest
                if newest <= time:
                    return name
            raise StoreError(
                f"the oldest full backup in {catalog.target} begins with entries up to "
                f"{_rfc3339(newest)}, later than {_rfc3339(time)}"
            )
        case None:
            return fulls[0]


class _Records:
    """The records from the snapshot to the goal, in order, each checked against the one before.

    Attributes:
        read: the backups that were needed so far.
    """

    def __init__(self, catalog: BackupCatalog, base: Manifest, goal: Goal) -> None:
        self.read: list[BackupName] = []
        self._catalog = catalog
        self._base = base
        self._goal = goal
        self._position = base.after
        self._digest = bytes.fromhex(base.after_digest)

    def __iter__(self) -> Iterator[SealedRecord]:
        catalog = self._catalog
        last = self._goal.position if isinstance(self._goal, UpToPosition) else catalog.reaches
        for name in catalog.path(self._base.name, last):
            manifest = self._base if name == self._base.name else catalog.manifest(name)
            if (manifest.store, manifest.shards) != (self._base.store, self._base.shards):
                raise BackupDamaged(f"{name} is of another store than {self._base.name}")
            self.read.append(name)
            for record in catalog.records(manifest):
                if self._is_past(record):
                    return
                if self._is_wanted(name, record):
                    yield record
            if self._position < name.last:
                raise BackupDamaged(f"{name} ends at position {self._position}")

    def _is_past(self, record: SealedRecord) -> bool:
        match self._goal:
            case UpToPosition(position):
                return record.position > position
            case UpToTime(time) if record.position > self._position:
                entries = opened(record).record.entries
                return any(entry.timestamp > time for entry in entries)
            case _:
                return False

    def _is_wanted(self, name: BackupName, record: SealedRecord) -> bool:
        """Whether the record is one to add: a backup may have some that others had."""
        if record.position < self._position:
            return False
        if record.position == self._position:
            if record.digest != self._digest:
                raise BackupDamaged(f"{name} does not continue the backups before it")
            # The first of all is the one that the snapshot was made at.
            return name == self._base.name
        try:
            check_follows(record, self._position, self._digest)
        except CorruptStore as error:
            raise BackupDamaged(f"{name}: {error}") from None
        self._position, self._digest = record.position, record.digest
        return True


def _rebuild(
    catalog: BackupCatalog, manifest: Manifest, records: _Records, data_dir: Path
) -> LogPosition:
    with closing(RebuiltStore(data_dir)) as store:
        store.begin(catalog.content(manifest, SNAPSHOT_PART))
        # Before records are folded into it. They themselves are never rewritten: the chain.
        upgrade(data_dir, manifest.store_format)
        for record in records:
            store.add(record)
        return store.finish()


def _rfc3339(time: Timestamp) -> str:
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=time)
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")
