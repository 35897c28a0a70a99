"""Finds the records that are durable in the log's file, and that LMDB does not tell of.

`persistence.log_environment` says how that comes to be. A record names the digest of the one before
it, so the one that follows is known when it is seen, and its own digest tells whether it is whole.
One that is not was never answered.
"""

from collections.abc import Callable, Iterator, Sequence

from ledger_actors.entry import LogPosition
from ledger_actors.errors import CorruptStore
from persistence.record import SealedRecord, check_follows, key_of, sealed

Find = Callable[[bytes], Iterator[bytes]]
"""What may have been written under a key."""


def hidden_records(find: Find, last: LogPosition, digest: bytes) -> Sequence[SealedRecord]:
    """The records that follow the last one that LMDB tells of, in order.

    Args:
        last: the position of that one.
        digest: its digest.

    Raises:
        CorruptStore: two different records are the next one.
    """
    records: list[SealedRecord] = []
    while found := _next(find, last, digest):
        records.append(found)
        last, digest = found.position, found.digest
    return records


def _next(find: Find, last: LogPosition, digest: bytes) -> SealedRecord | None:
    position = LogPosition(last + 1)
    found: SealedRecord | None = None
    for value in find(key_of(position)):
        try:
            record = sealed(position, value)
            check_follows(record, last, digest)
        except CorruptStore:
            continue
        # LMDB copies a page with each change, so one record may be in several.
        if found is not None and record.digest != found.digest:
            raise CorruptStore(f"the log's file has two records for position {position}")
        found = record
    return found
