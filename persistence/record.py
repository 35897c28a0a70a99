"""The log record: one group commit as bytes.

    version   1 byte    FORMAT_VERSION
    position  8 bytes   big-endian, as the key it is stored under
    previous  32 bytes  the digest of the record before it; zeros before the first
    payload             msgpack: [[shard, [entry, …]], …], where an entry is
                        [user, number, amount, timestamp, key, reference]
    digest    32 bytes  SHA-256 (FIPS 180-4) of all of the above

The digest is the record's own checksum and what the next record names, so a record that was
changed, lost, moved or put in is found.
"""

from collections.abc import Callable, Sequence
from hashlib import sha256
from struct import Struct
from typing import Final, NamedTuple

import msgspec

from ledger_actors.entry import Batch, LogPosition, Record
from ledger_actors.errors import CorruptStore

FORMAT_VERSION: Final = 1
DIGEST_BYTES: Final = 32
NO_DIGEST: Final = bytes(DIGEST_BYTES)
_HEADER: Final = Struct(f">BQ{DIGEST_BYTES}s")
_KEY: Final = Struct(">Q")
_unpack = msgspec.msgpack.Decoder(list[Batch]).decode
_divide = msgspec.msgpack.Decoder(list[msgspec.Raw]).decode
_unpack_batch = msgspec.msgpack.Decoder(Batch).decode
UNPACKED_AT_ONCE_MAX: Final = 32_768
"""Bytes of a payload. A larger one, of bulks, takes milliseconds: its batches come one by one."""


class StoredRecord(NamedTuple):
    """A record with its links in the chain."""

    record: Record
    previous: bytes
    digest: bytes


class SealedRecord(NamedTuple):
    """A record as it is stored; its digests are checked, what it holds is not looked at."""

    position: LogPosition
    previous: bytes
    digest: bytes
    value: bytes


def key_of(position: LogPosition) -> bytes:
    """The LMDB key of the record: big-endian, so that keys sort as positions do."""
    return _KEY.pack(position)


def position_of(key: bytes) -> LogPosition:
    """
    Raises:
        CorruptStore: it is no key of a record.
    """
    if len(key) != _KEY.size:
        raise CorruptStore(f"the log has a key that is no position: {key!r}")
    return LogPosition(_KEY.unpack(key)[0])


class RecordEncoder:
    """Turns group commits into records. One encoder serves one log: it reuses its buffer."""

    def __init__(self) -> None:
        self._encoder = msgspec.msgpack.Encoder()

    def encode(
        self, position: LogPosition, previous: bytes, batches: Sequence[Batch]
    ) -> tuple[bytes, bytes]:
        """The record as bytes, and its digest."""
        body = _HEADER.pack(FORMAT_VERSION, position, previous) + self._encoder.encode(batches)
        digest = sha256(body).digest()
        return body + digest, digest


def checked(position: LogPosition, value: bytes) -> tuple[bytes, bytes]:
    """The digests of the record before the one stored under that position, and of itself.

    Raises:
        CorruptStore: it is not what was written there.
    """
    digest = value[-DIGEST_BYTES:]
    if len(value) <= _HEADER.size + DIGEST_BYTES:
        raise CorruptStore(f"log record at position {position} is cut short")
    if sha256(memoryview(value)[:-DIGEST_BYTES]).digest() != digest:
        raise CorruptStore(f"log record at position {position} does not match its checksum")
    version, written_position, previous = _HEADER.unpack_from(value)
    if version != FORMAT_VERSION:
        raise CorruptStore(
            f"log record at position {position} has format version {version}; "
            f"this program reads version {FORMAT_VERSION}"
        )
    if written_position != position:
        raise CorruptStore(f"log record at position {position} was written at {written_position}")
    return previous, digest


def sealed(position: LogPosition, value: bytes) -> SealedRecord:
    """The record that is stored under that position, as it is.

    Raises: as `checked`.
    """
    return SealedRecord(position, *checked(position, value), value)


def decode(position: LogPosition, value: bytes) -> StoredRecord:
    """The record that is stored under that position.

    Raises: as `checked`.
    """
    return opened(sealed(position, value))


def opened(record: SealedRecord, give_way: Callable[[], object] = lambda: None) -> StoredRecord:
    """The record with what it holds.

    Args:
        give_way: called after each batch of a large one.

    Raises:
        CorruptStore: it holds no entries.
    """
    position, previous, digest, value = record
    payload = memoryview(value)[_HEADER.size : -DIGEST_BYTES]
    try:
        if len(payload) <= UNPACKED_AT_ONCE_MAX:
            batches = _unpack(payload)
        else:
            batches = []
            for batch in _divide(payload):
                batches.append(_unpack_batch(batch))
                give_way()
    except msgspec.DecodeError as error:
        raise CorruptStore(f"log record at position {position} has no entries: {error}") from None
    return StoredRecord(Record(position, batches), previous, digest)


def position_in(value: bytes) -> LogPosition:
    """The position that a record says it was written at.

    Raises:
        CorruptStore: it is too short to say so.
    """
    if len(value) < _HEADER.size:
        raise CorruptStore("a log record is cut short")
    return LogPosition(_HEADER.unpack_from(value)[1])


def check_follows(record: SealedRecord, after: LogPosition, digest: bytes) -> None:
    """
    Args:
        after: the position of the record before it.
        digest: the digest of the record before it.

    Raises:
        CorruptStore: it is not the one that follows.
    """
    if record.position != after + 1:
        raise CorruptStore(f"log record at position {after + 1} is missing")
    if record.previous != digest:
        raise CorruptStore(
            f"log record at position {record.position} does not follow the record before it"
        )
