"""Log records one behind the other, as a backup keeps them: each with its length before it."""

from collections.abc import Iterable, Iterator
from struct import Struct
from typing import Final

from ledger_actors.errors import CorruptStore
from persistence.record import SealedRecord, position_in, sealed

RECORD_BYTES_MAX: Final = 1024 * 1024 * 1024
"""More than any group commit can have; a length beyond it was changed."""
_LENGTH: Final = Struct(">I")


def pack_records(records: Iterable[SealedRecord]) -> Iterator[bytes]:
    for record in records:
        yield _LENGTH.pack(len(record.value)) + record.value


def unpack_records(chunks: Iterable[bytes]) -> Iterator[SealedRecord]:
    """The records, each checked by itself.

    Raises:
        CorruptStore: one is not what was written, or the last is cut short.
    """
    buffer = bytearray()
    for chunk in chunks:
        buffer += chunk
        start = 0
        while len(buffer) - start >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(buffer, start)
            if length > RECORD_BYTES_MAX:
                raise CorruptStore(f"a log record is said to have {length} bytes")
            end = start + _LENGTH.size + length
            if len(buffer) < end:
                break
            value = bytes(memoryview(buffer)[start + _LENGTH.size : end])
            yield sealed(position_in(value), value)
            start = end
        del buffer[:start]
    if buffer:
        raise CorruptStore("the last log record is cut short")
