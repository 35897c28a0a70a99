"""The newest position that the log has made durable, noted beside the log.

LMDB's file tells of its newest commit in one page. Where that page is wrong by one bit, or the file
is an older copy, the log is whole but shorter: checksums and chain cannot see what is not there.
This mark can. It is written after each commit and before its answers, into mapped memory: that
costs no system call, and outlives the process. It is not synced, so after a loss of power it may be
behind, and tells less; it is never ahead.
"""

import mmap
import os
from collections.abc import Sequence
from hashlib import blake2b
from pathlib import Path
from struct import Struct
from typing import Final, NamedTuple

import lmdb

from ledger_actors.entry import BEGINNING, LogPosition
from ledger_actors.errors import CorruptStore
from persistence.environment import reserve
from persistence.log_reader import digest_at, first_position, last_position
from persistence.record import DIGEST_BYTES, NO_DIGEST, SealedRecord

FILE_NAME: Final = "high-water-mark"
FILE_BYTES: Final = 4096
SLOT_BYTES: Final = 64
SLOTS: Final = 2
"""Written in turn: what a loss of power tears is one of them."""
CHECKSUM_BYTES: Final = 16
_MARK: Final = Struct(f">Q{DIGEST_BYTES}s")
_SLOT: Final = Struct(f"{_MARK.size}s{CHECKSUM_BYTES}s")
_EMPTY: Final = bytes(_SLOT.size)


class Mark(NamedTuple):
    position: LogPosition
    digest: bytes
    """The digest of the record there."""


NOTHING_MARKED: Final = Mark(BEGINNING, NO_DIGEST)


class HighWaterMark:
    """The mark of the log in a directory, open for writing."""

    def __init__(self, directory: Path) -> None:
        """
        Raises:
            DiskFull: there is no room for a new one.
        """
        self._directory = directory
        file = os.open(directory / FILE_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
        try:
            reserve(file, FILE_BYTES)
            self._memory = mmap.mmap(file, FILE_BYTES)
        finally:
            os.close(file)

    def write(self, position: LogPosition, digest: bytes) -> None:
        """Notes that the record at that position is durable, and with it all before it."""
        mark = _MARK.pack(position, digest)
        at = position % SLOTS * SLOT_BYTES
        self._memory[at : at + _SLOT.size] = _SLOT.pack(mark, _checksum(mark))

    def read(self) -> Mark:
        """As `read_mark`."""
        return read_mark(self._directory)

    def close(self) -> None:
        self._memory.close()


def read_mark(directory: Path) -> Mark:
    """The mark of the log in that directory, also while a server writes it.

    Where there is none, as beside a log that was copied for a backup, nothing is marked.

    Raises:
        CorruptStore: it is not what was written.
    """
    path = directory / FILE_NAME
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return NOTHING_MARKED
    slots = [data[at : at + _SLOT.size] for at in range(0, SLOTS * SLOT_BYTES, SLOT_BYTES)]
    marks = [_unpack(slot) for slot in slots if len(slot) == _SLOT.size and slot != _EMPTY]
    whole = [mark for mark in marks if mark is not None]
    if marks and not whole:
        raise CorruptStore(f"{path} is not what was written: bytes 0 to {len(data)}")
    return max(whole, default=NOTHING_MARKED)


def check_marked(
    mark: Mark, transaction: "lmdb.Transaction[bytes]", hidden: Sequence[SealedRecord] = ()
) -> None:
    """The log must hold what it once held.

    Args:
        transaction: a look into the log that began after the mark was read.
        hidden: the records that follow what it sees.

    Raises:
        CorruptStore: the log ends before the mark, or has another record there.
    """
    digests = {record.position: record.digest for record in hidden}
    last = max(digests, default=last_position(transaction))
    if last < mark.position:
        raise CorruptStore(
            f"the log lost its end: it ends at position {last}, and had position {mark.position}"
        )
    # What was cut since is in a snapshot.
    if mark.position >= first_position(transaction) and mark.digest != (
        digests.get(mark.position) or digest_at(transaction, mark.position)
    ):
        raise CorruptStore(
            f"log record at position {mark.position} is not the one that was written there"
        )


def _unpack(slot: bytes) -> Mark | None:
    mark, checksum = _SLOT.unpack(slot)
    return Mark(*_MARK.unpack(mark)) if _checksum(mark) == checksum else None


def _checksum(mark: bytes) -> bytes:
    return blake2b(mark, digest_size=CHECKSUM_BYTES).digest()
