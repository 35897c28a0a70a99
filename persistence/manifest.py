"""What a backup says of itself: `manifest.json`, written last; with it, a backup is whole.

    full-00000000000000000120-00000000000000000150/   manifest.json  snapshot.mdb  records
    log-00000000000000000150-00000000000000000410/    manifest.json  records

A full backup is the snapshot, true up to the first position, and the log's records from there up to
the second. An incremental one, `log`, is the records behind the first position up to the second.
"""

from enum import StrEnum
from hashlib import sha256
from typing import Final, NamedTuple

import msgspec

from ledger_actors.entry import LogPosition, Timestamp
from persistence.errors import BackupDamaged, StoreMismatch
from persistence.store_description import FORMAT_VERSION, StoreId

MANIFEST: Final = "manifest.json"
MANIFEST_VERSION: Final = 1
SNAPSHOT_PART: Final = "snapshot.mdb"
RECORDS_PART: Final = "records"
_DIGITS: Final = 20
"""Of a position in a name: as many as a 64-bit number can have, so that names sort by position."""


class Kind(StrEnum):
    FULL = "full"
    LOG = "log"


class BackupName(NamedTuple):
    kind: Kind
    after: LogPosition
    """The snapshot's position, or the one behind which the records begin."""
    last: LogPosition
    """The position of the last record."""

    def __str__(self) -> str:
        return f"{self.kind}-{self.after:0{_DIGITS}}-{self.last:0{_DIGITS}}"

    def object(self, part: str) -> str:
        """The name of one of its objects."""
        return f"{self}/{part}"


def parsed_name(text: str) -> BackupName | None:
    """The backup with this name; None where it is the name of none."""
    match text.split("-"):
        case [kind, after, last] if kind in set(Kind) and (after + last).isascii():
            if after.isdigit() and last.isdigit() and len(after) == len(last) == _DIGITS:
                return BackupName(Kind(kind), LogPosition(int(after)), LogPosition(int(last)))
    return None


class Part(msgspec.Struct, frozen=True):
    """An object of a backup."""

    bytes: int
    sha256: str


class Manifest(msgspec.Struct, frozen=True):
    kind: Kind
    store: StoreId
    store_format: int
    shards: int
    after: LogPosition
    after_digest: str
    """The digest of the record at `after`, in hex."""
    last: LogPosition
    last_digest: str
    newest: Timestamp
    """Of a full backup: the greatest timestamp of the snapshot's entries."""
    taken: Timestamp
    """When the backup began."""
    parts: dict[str, Part]

    @property
    def name(self) -> BackupName:
        return BackupName(self.kind, self.after, self.last)

    @property
    def bytes(self) -> int:
        return sum(part.bytes for part in self.parts.values())


class _Sealed(msgspec.Struct):
    """The manifest as it is stored, with the checksum of its bytes."""

    version: int
    sha256: str
    manifest: msgspec.Raw


def pack_manifest(manifest: Manifest) -> bytes:
    body = msgspec.json.encode(manifest)
    sealed = _Sealed(MANIFEST_VERSION, sha256(body).hexdigest(), msgspec.Raw(body))
    return msgspec.json.encode(sealed)


def unpack_manifest(name: BackupName, value: bytes) -> Manifest:
    """
    Raises:
        BackupDamaged: it is not what was written, or that of another backup.
        StoreMismatch: a newer program wrote it.
    """
    damaged = BackupDamaged(f"{name.object(MANIFEST)} is not what was written")
    try:
        sealed = msgspec.json.decode(value, type=_Sealed)
        body = bytes(sealed.manifest)
        if sha256(body).hexdigest() != sealed.sha256:
            raise damaged
        if sealed.version > MANIFEST_VERSION:
            raise StoreMismatch(f"{name} was made by a newer program (version {sealed.version})")
        manifest = msgspec.json.decode(body, type=Manifest)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise damaged from None
    if manifest.name != name:
        raise BackupDamaged(f"{name} has the manifest of {manifest.name}")
    if manifest.store_format > FORMAT_VERSION:
        raise StoreMismatch(
            f"{name} is of a store of format version {manifest.store_format}; "
            f"this program reads versions up to {FORMAT_VERSION}"
        )
    return manifest
