"""Reads all backups in a place, without restoring them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ledger_actors.entry import LogPosition
from ledger_actors.errors import CorruptStore
from persistence.backup_catalog import BackupCatalog
from persistence.backup_target import BackupTarget
from persistence.errors import BackupDamaged, StoreMismatch
from persistence.manifest import RECORDS_PART, Manifest
from persistence.record import check_follows


@dataclass(frozen=True, slots=True)
class BackupsChecked:
    """What was looked at, and found right."""

    backups: int
    first: LogPosition
    """The least position that can be restored,"""
    last: LogPosition
    """and the greatest."""
    bytes: int
    unfinished: Sequence[str]
    """Backups that were broken off, or are being taken: they are of no use."""


def list_backups(target: BackupTarget) -> Sequence[Manifest]:
    """The manifests of all backups in a place, by position.

    Raises:
        BackupDamaged: one is not what was written.
        StoreError: the place cannot be read.
    """
    catalog = BackupCatalog(target)
    return [catalog.manifest(name) for name in catalog.names]


def check_backups(
    target: BackupTarget, progress: Callable[[int, int], None] = lambda done, total: None
) -> BackupsChecked:
    """Checks that every backup is what was written, and that they lead from the first to the last.

    What is in a snapshot is looked at by its checksum only; that it adds up is known when it is
    restored.

    Args:
        progress: told how many bytes are done, of how many.

    Raises:
        BackupDamaged: a part is missing or not what was written. It says which.
        StoreMismatch: the backups are of more than one store.
        StoreError: there is no full backup, or the place cannot be read.
    """
    catalog = BackupCatalog(target)
    last = catalog.reaches
    manifests = [catalog.manifest(name) for name in catalog.names]
    total = sum(manifest.bytes for manifest in manifests)
    done = 0
    for manifest in manifests:
        if manifest.store != manifests[0].store:
            raise StoreMismatch(f"{manifest.name} is of another store than {manifests[0].name}")
        for part in manifest.parts:
            for chunk in catalog.content(manifest, part):
                done += len(chunk)
                progress(done, total)
        _check_records(catalog, manifest)
    oldest = min(catalog.fulls, key=lambda name: name.after)
    for _ in catalog.path(oldest, last):
        pass
    unfinished = [str(name) for name in catalog.unfinished]
    return BackupsChecked(len(manifests), oldest.after, last, total, unfinished)


def _check_records(catalog: BackupCatalog, manifest: Manifest) -> None:
    """That they are those from the one position to the other, with the digests of the manifest."""
    position, digest = manifest.after, bytes.fromhex(manifest.after_digest)
    name = manifest.name.object(RECORDS_PART)
    for record in catalog.records(manifest):
        if record.position == position == manifest.after:
            if record.digest != digest:
                raise BackupDamaged(f"{name} begins with another record than its manifest says")
            continue
        try:
            check_follows(record, position, digest)
        except CorruptStore as error:
            raise BackupDamaged(f"{name}: {error}") from None
        position, digest = record.position, record.digest
    if (position, digest.hex()) != (manifest.last, manifest.last_digest):
        raise BackupDamaged(f"{name} ends with another record than its manifest says")
