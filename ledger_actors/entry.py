"""What the ledger writes down: entries, gathered in batches, logged in records."""

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import NamedTuple, NewType

import msgspec

from ledger_actors.errors import CorruptStore
from ledger_actors.identity import IdempotencyKey, Reference, ShardId, UserId
from ledger_actors.money import Micros

Timestamp = NewType("Timestamp", int)
"""Microseconds since 1970-01-01T00:00:00Z."""

LogPosition = NewType("LogPosition", int)
"""Where a record stands in the write-ahead log: 1, 2, 3 … with no gap; 0 is before the first."""

BEGINNING = LogPosition(0)


class Entry(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One credit in a user's history.

    A struct that the garbage collector does not look at: millions of them stay in memory until they
    are folded, and none is part of a cycle. It is encoded as the array of its fields.
    """

    user: UserId
    number: int
    """Its place in the user's history: 1, 2, 3 … with no gap."""
    amount: Micros
    timestamp: Timestamp
    key: IdempotencyKey | None
    reference: Reference | None = None


class Batch(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, gc=False):
    """Entries that one shard hands to the log together: at least one."""

    shard: ShardId
    entries: Sequence[Entry]


class Record(NamedTuple):
    """One group commit: what the log made durable with one fsync."""

    position: LogPosition
    batches: Sequence[Batch]

    @property
    def entries(self) -> Iterator[Entry]:
        """The entries of all batches, in order."""
        return chain.from_iterable(batch.entries for batch in self.batches)

    @property
    def weight(self) -> int:
        """What it counts where reading is bounded by entries: its own, and at least one."""
        return max(sum(len(batch.entries) for batch in self.batches), 1)


def out_of_order(entry: Entry, count: int) -> CorruptStore:
    """What is wrong with an entry that is not the next of a history that has so many."""
    return CorruptStore(f"entry {entry.number} of user {entry.user!r} follows entry {count}")
