"""What backups a place holds, and which of them lead to a position of the log."""

from collections.abc import Iterable, Iterator, Sequence
from hashlib import sha256

from ledger_actors.entry import LogPosition
from ledger_actors.errors import CorruptStore
from persistence.backup_target import BackupTarget
from persistence.errors import BackupDamaged, StoreError
from persistence.manifest import (
    MANIFEST,
    RECORDS_PART,
    BackupName,
    Kind,
    Manifest,
    Part,
    parsed_name,
    unpack_manifest,
)
from persistence.record import SealedRecord
from persistence.record_stream import unpack_records


class BackupCatalog:
    """The backups in a place. Names say what each holds; a manifest is read when it is needed.

    Attributes:
        names: the backups that are whole, by position.
        unfinished: those without a manifest: broken off, or being taken.
    """

    def __init__(self, target: BackupTarget) -> None:
        self.target = target
        objects: dict[BackupName, set[str]] = {}
        for name in target.names():
            folder, _, part = name.partition("/")
            backup = parsed_name(folder)
            if backup is not None:
                objects.setdefault(backup, set()).add(part)
        ordered = sorted(objects, key=lambda name: (name.last, name.after, name.kind))
        self.names: Sequence[BackupName] = [n for n in ordered if MANIFEST in objects[n]]
        self.unfinished: Sequence[BackupName] = [n for n in ordered if MANIFEST not in objects[n]]

    @property
    def fulls(self) -> Sequence[BackupName]:
        return [name for name in self.names if name.kind is Kind.FULL]

    @property
    def newest(self) -> BackupName | None:
        """The backup that reaches furthest."""
        return self.names[-1] if self.names else None

    def manifest(self, name: BackupName) -> Manifest:
        """
        Raises:
            BackupDamaged: it is not what was written.
            StoreMismatch: a newer program wrote it.
        """
        return unpack_manifest(name, b"".join(self.target.read(name.object(MANIFEST))))

    @property
    def reaches(self) -> LogPosition:
        """The furthest position that can be restored.

        Raises:
            StoreError: there is no full backup.
        """
        if not self.fulls:
            raise StoreError(f"there is no full backup in {self.target}")
        return self.names[-1].last

    def path(self, base: BackupName, goal: LogPosition) -> Iterator[BackupName]:
        """The backups whose records lead from the base's snapshot to that position, in order.

        Raises:
            BackupDamaged: records on the way are in none.
        """
        yield base
        position = base.last
        while position < goal:
            following = [name for name in self.names if name.after <= position < name.last]
            if not following:
                raise BackupDamaged(self._gap(position))
            # The one that reaches furthest: the fewest to read.
            furthest = following[-1]
            yield furthest
            position = furthest.last

    def content(self, manifest: Manifest, part: str) -> Iterator[bytes]:
        """A part of a backup, in pieces; that it is what was written is known at its end.

        Raises:
            BackupDamaged: it is not what was written, or missing.
        """
        written = manifest.parts.get(part)
        name = manifest.name.object(part)
        if written is None:
            raise BackupDamaged(f"{name} is not in its manifest")
        return _checked(name, written, self.target.read(name))

    def records(self, manifest: Manifest) -> Iterator[SealedRecord]:
        """The records of a backup, each checked by itself.

        Raises: as `content`.
        """
        try:
            yield from unpack_records(self.content(manifest, RECORDS_PART))
        except CorruptStore as error:
            raise BackupDamaged(f"{manifest.name.object(RECORDS_PART)}: {error}") from None

    def _gap(self, position: LogPosition) -> str:
        further = [name.after for name in self.names if name.after > position]
        end = f"to {min(further)}" if further else "and those that follow"
        unfinished = [str(name) for name in self.unfinished if name.last > position]
        hint = f"; without a manifest are {', '.join(unfinished)}" if unfinished else ""
        return f"no backup in {self.target} has the records {position + 1} {end}{hint}"


def _checked(name: str, written: Part, chunks: Iterable[bytes]) -> Iterator[bytes]:
    digest = sha256()
    size = 0
    for chunk in chunks:
        digest.update(chunk)
        size += len(chunk)
        yield chunk
    if (size, digest.hexdigest()) != (written.bytes, written.sha256):
        raise BackupDamaged(f"{name} is not what was written")
