"""A small store of which everything that was written is known, and what is read back of it.

Its log has one of each kind of page that LMDB makes: both meta pages, a branch, leaves, a value
of several pages, the list of free pages, and free pages.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from ledger_actors.accounts import PAGE_SIZE
from ledger_actors.accounts import Accounts as LedgerAccounts
from ledger_actors.entry import BEGINNING, Batch, Entry, LogPosition, Record, Timestamp
from ledger_actors.identity import IdempotencyKey, Reference, UserId, shard_of
from ledger_actors.money import Micros
from ledger_actors.ports import NO_ACCOUNT
from ledger_actors.recovery import recover
from persistence.data_directory import DataDirectory, create_data_directory, open_data_directory
from persistence.log_store import LogStore
from persistence.recovery import check_joined
from persistence.snapshot_store import SnapshotView, SnapshotWriter, open_snapshot_view

SHARDS = 4
FOLDS = [LogPosition(position) for position in (8, 16, 24)]
FOLDED = FOLDS[-1]
RECORDS = 56
LARGE_RECORD = 40
LARGE_ENTRIES = 200
FOLDED_ENTRIES = 4
"""In each record that is folded: enough for a block of history each, and a tail."""
USERS = [UserId(name) for name in ("ann", "bob", "ünï", "x" * 60)]


class Account(NamedTuple):
    """All that is told of one user."""

    balance: int
    history: Sequence[Entry]
    """Newest first."""
    recorded: Mapping[IdempotencyKey, int]
    """The number of the entry that each idempotency key made."""


Accounts = Mapping[UserId, Account]


@dataclass(frozen=True, slots=True)
class SmallStore:
    directory: DataDirectory
    records: Sequence[Sequence[Batch]]
    """What was committed, the record of position 1 first."""

    def accounts(self, position: LogPosition) -> Accounts:
        """What a store must tell that was recovered to that position."""
        entries = entries_of(self.records[:position])
        return {
            user: _account([entry for entry in entries if entry.user == user]) for user in USERS
        }


def entries_of(records: Sequence[Sequence[Batch]]) -> Sequence[Entry]:
    return [entry for batches in records for batch in batches for entry in batch.entries]


def _account(entries: Sequence[Entry]) -> Account:
    recorded = {entry.key: entry.number for entry in entries if entry.key is not None}
    return Account(sum(entry.amount for entry in entries), entries[::-1], recorded)


def make_small_store(path: Path) -> SmallStore:
    directory = create_data_directory(path, SHARDS)
    records = _records(RECORDS)
    with closing(LogStore(directory.log)) as log:
        for batches in records[:FOLDED]:
            log.commit(batches)
        with closing(SnapshotWriter(directory.snapshot)) as snapshots:
            for after, position in pairwise((BEGINNING, *FOLDS)):
                entries = entries_of(records[after:position])
                assert snapshots.fold(after, entries, position, log.digest(position))
        log.cut(before=FOLDED)
        for batches in records[FOLDED:]:
            log.commit(batches)
        assert (log.first, log.last) == (FOLDED, RECORDS)
    return SmallStore(directory, records)


def further_records(store: SmallStore) -> SmallStore:
    """The same store with some records more, which are not yet committed."""
    records = _records(RECORDS + 6)
    assert records[:RECORDS] == store.records
    return SmallStore(store.directory, records)


def _records(count: int) -> Sequence[Sequence[Batch]]:
    numbers: dict[UserId, int] = defaultdict(int)
    return [[_batch(position, numbers)] for position in range(1, count + 1)]


def _batch(position: int, numbers: dict[UserId, int]) -> Batch:
    user = USERS[position % len(USERS)]
    entries = []
    count = FOLDED_ENTRIES if position <= FOLDED else 1
    for _ in range(LARGE_ENTRIES if position == LARGE_RECORD else count):
        numbers[user] += 1
        number = numbers[user]
        key = IdempotencyKey(f"key {number}") if number % 3 else None
        reference = Reference(f"order {position}") if position % 2 else None
        amount, time = Micros(1000 * position + number), Timestamp(1_700_000_000_000_000 + position)
        entries.append(Entry(user, number, amount, time, key, reference))
    return Batch(shard_of(user, SHARDS), entries)


class LogInPlace:
    """What a recovery asks of `WriteAheadLog`, without the thread, which costs more than all else
    here."""

    def __init__(self, store: LogStore) -> None:
        self._store = store
        self.position = store.last

    async def digest(self, position: LogPosition) -> bytes:
        return self._store.digest(position)

    async def read(self, after: LogPosition, entries: int) -> Sequence[Record]:
        return self._store.read(after, entries)


async def recovered_accounts(
    path: Path, keys: Mapping[UserId, Sequence[IdempotencyKey]]
) -> tuple[LogPosition, Accounts]:
    """Starts as a server does, and returns to where it recovered, and all that it would tell.

    Args:
        keys: the idempotency keys to ask for.
    """
    directory = open_data_directory(path)
    with (
        closing(open_snapshot_view(directory.snapshot)) as snapshots,
        closing(LogStore(directory.log)) as store,
    ):
        log = LogInPlace(store)
        await check_joined(log, snapshots.head)
        shards, recovered = await recover(directory.shards, log, snapshots, remembered_max=1_000)
        told = {
            user: _told(shards[shard_of(user, directory.shards)], snapshots, user, keys[user])
            for user in USERS
        }
    return recovered.position, told


def _told(
    accounts: LedgerAccounts, snapshots: SnapshotView, user: UserId, keys: Sequence[IdempotencyKey]
) -> Account:
    history: list[Entry] = []
    for page in range(1, accounts.count(user) // PAGE_SIZE + 2):
        history += accounts.history(user, page)
    folded = (snapshots.account(user) or NO_ACCOUNT).entries
    # In the tail a key is known by its entry, in the snapshot by a row of its own.
    recorded = {
        entry.key: entry.number
        for entry in history
        if entry.key is not None and entry.number > folded
    }
    for (_, key), entry in snapshots.recorded_many([(user, key) for key in keys]).items():
        recorded[key] = entry.number
    return Account(accounts.balance(user), history, recorded)
