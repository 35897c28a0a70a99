"""Reads the write-ahead log, and checks each record and its link to the one before."""

from collections.abc import Callable, Iterator, Sequence

import lmdb

from ledger_actors.entry import BEGINNING, LogPosition
from ledger_actors.errors import LogCut
from persistence.record import (
    NO_DIGEST,
    SealedRecord,
    StoredRecord,
    check_follows,
    checked,
    key_of,
    opened,
    position_of,
    sealed,
)


def first_position(transaction: "lmdb.Transaction[bytes]") -> LogPosition:
    """The oldest record's position; `BEGINNING` in an empty log."""
    with transaction.cursor() as cursor:
        return position_of(cursor.key()) if cursor.first() else BEGINNING


def last_position(transaction: "lmdb.Transaction[bytes]") -> LogPosition:
    """The newest record's position; `BEGINNING` in an empty log."""
    with transaction.cursor() as cursor:
        return position_of(cursor.key()) if cursor.last() else BEGINNING


def digest_at(transaction: "lmdb.Transaction[bytes]", position: LogPosition) -> bytes:
    """The digest of the record there, which the record after it names.

    Raises:
        LogCut: there is no such record any more.
        CorruptStore: the record is not what was written.
    """
    if position == BEGINNING:
        return NO_DIGEST
    value = transaction.get(key_of(position))
    if value is None:
        raise LogCut(f"the log does not hold position {position}")
    _, digest = checked(position, value)
    return digest


def read_after(
    transaction: "lmdb.Transaction[bytes]", after: LogPosition
) -> Iterator[StoredRecord]:
    """The records that follow `after`, in order, each checked.

    Raises:
        LogCut: the log no longer holds `after`.
        CorruptStore: a record is missing, or is not what was written.
    """
    return map(opened, sealed_after(transaction, after))


def sealed_after(
    transaction: "lmdb.Transaction[bytes]", after: LogPosition
) -> Iterator[SealedRecord]:
    """As `read_after`, with each record as it is stored."""
    digest = digest_at(transaction, after)
    with transaction.cursor() as cursor:
        if not cursor.set_range(key_of(LogPosition(after + 1))):
            return
        for key, value in cursor:
            record = sealed(position_of(key), value)
            check_follows(record, after, digest)
            yield record
            after = record.position
            digest = record.digest


def read_some(
    transaction: "lmdb.Transaction[bytes]",
    after: LogPosition,
    entries: int,
    give_way: Callable[[], object] = lambda: None,
) -> Sequence[StoredRecord]:
    """The next records that together hold at least that many entries, or all that follow.

    Args:
        give_way: called after each of them, and within large ones.

    Raises: as `read_after`.
    """
    found: list[StoredRecord] = []
    weight = 0
    for record in sealed_after(transaction, after):
        stored = opened(record, give_way)
        found.append(stored)
        weight += stored.record.weight
        give_way()
        if weight >= entries:
            break
    return found
