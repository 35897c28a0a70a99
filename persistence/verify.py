"""Verifies a store: every record, the chain, and that the snapshot equals a replay."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from ledger_actors.entry import BEGINNING, Entry, LogPosition, Timestamp, out_of_order
from ledger_actors.errors import CorruptStore
from ledger_actors.identity import IdempotencyKey, UserId, shard_of
from ledger_actors.ports import NO_ACCOUNT
from persistence.data_directory import DataDirectory
from persistence.environment import check_environment
from persistence.log_reader import read_after
from persistence.pinned import PinnedStore, pinned
from persistence.record import StoredRecord, decode, key_of
from persistence.snapshot_format import (
    ACCOUNT,
    NO_BLOCKS,
    StoredAccount,
    block_key,
    extended,
    pack_request,
    request_key,
    unpack_account,
    unpack_block,
    unpack_tail,
    user_of,
)
from persistence.snapshot_store import SnapshotView

ENTRIES_AT_ONCE: Final = 50_000
"""Entries of the log that are looked up in the snapshot together."""


@dataclass(frozen=True, slots=True)
class Verified:
    """What was looked at, and found right."""

    first: LogPosition
    """The oldest record of the log; older ones were cut, and a snapshot holds them."""
    last: LogPosition
    snapshot_position: LogPosition
    users: int
    """Users in the snapshot."""
    folded_entries: int
    """Entries in the snapshot."""
    logged_entries: int
    """Entries in the log."""
    newest: Timestamp
    """The greatest timestamp of all entries."""


def verify(
    directory: DataDirectory,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Verified:
    """Checks the whole store, also while a server writes it.

    - The pages of both files hold together, so that none leads astray.
    - Each log record has its checksum, its place, and names the record before it.
    - The snapshot was made at a record of this log.
    - Each account of the snapshot is what its history adds up to, entry by entry and key by key,
      by the same folding that a replay from the beginning would do.
    - What the log still holds of the snapshot's entries is the same in both; what it holds beyond
      continues every user's history without a gap.

    Args:
        progress: told how many entries are done, of how many.

    Raises:
        CorruptStore: something is not what was written. It says what and where.
    """
    check_environment(directory.snapshot)
    with pinned(directory) as store:
        return verify_pinned(store, directory.shards, progress)


def verify_pinned(
    store: PinnedStore,
    shards: int,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Verified:
    """As `verify`, of a store that is held as it was at one moment."""
    view = store.snapshot
    total = view.head.entries
    users = folded = newest = 0
    for checked in _check_users(view):
        users += 1
        folded += checked.entries
        newest = max(newest, checked.newest)
        if users % 1000 == 0:
            progress(folded, total)
    if (users, folded) != (view.head.users, view.head.entries):
        raise CorruptStore(
            f"the snapshot holds {users} users and {folded} entries, "
            f"but was made with {view.head.users} and {view.head.entries}"
        )
    if newest != view.head.newest:
        raise CorruptStore(
            f"the snapshot's newest timestamp is {newest}, but it was made with {view.head.newest}"
        )
    logged = _check_log(store, shards)
    progress(total, total)
    return Verified(
        first=store.first,
        last=store.last,
        snapshot_position=view.position,
        users=users,
        folded_entries=folded,
        logged_entries=logged.entries,
        newest=Timestamp(max(newest, logged.newest)),
    )


class _CheckedUser(NamedTuple):
    entries: int
    rows: int
    """How many rows the user's account, blocks and requests have."""
    newest: int
    """The greatest timestamp of the entries."""


def _check_users(view: SnapshotView) -> Iterator[_CheckedUser]:
    """Checks user by user."""
    # The head is one.
    rows = 1
    for key, value in view.rows_under(ACCOUNT):
        checked = _check_user(view, user_of(key), unpack_account(key, value))
        rows += checked.rows
        yield checked
    if view.size not in (rows, 0):
        raise CorruptStore(f"the snapshot holds {view.size} rows, but its accounts have {rows}")


def _check_user(view: SnapshotView, user: UserId, account: StoredAccount) -> _CheckedUser:
    rows = 1 + account.blocks
    balance = newest = 0
    digest = NO_BLOCKS
    for number in range(account.blocks + 1):
        if number == account.blocks:
            entries = unpack_tail(user, account)
        else:
            block = view.row(block_key(user, number))
            if block is None:
                raise CorruptStore(f"the snapshot lost block {number} of user {user!r}")
            digest = extended(digest, block)
            entries = unpack_block(user, number, block)
        balance += sum(entry.amount for entry in entries)
        rows += _check_requests(view, user, entries)
        newest = max([newest, *(entry.timestamp for entry in entries)])
    if (balance, digest) != (account.balance, account.digest):
        raise CorruptStore(
            f"the snapshot's account of user {user!r} is not what its history adds up to"
        )
    return _CheckedUser(account.entries, rows, newest)


def _check_requests(view: SnapshotView, user: UserId, entries: Sequence[Entry]) -> int:
    """Checks the requests that made these entries, and returns how many there are."""
    requests = {
        request_key(user, entry.key): pack_request(entry.number)
        for entry in entries
        if entry.key is not None
    }
    if dict(view.rows_of(sorted(requests))) != requests:
        raise CorruptStore(f"the snapshot lost an idempotency key of user {user!r}")
    return len(requests)


class _CheckedLog(NamedTuple):
    entries: int
    newest: int


def _check_log(store: PinnedStore, shards: int) -> _CheckedLog:
    counts: dict[UserId, int] = {}
    requests: set[tuple[UserId, IdempotencyKey]] = set()
    logged = newest = 0
    folded: list[tuple[StoredRecord, Entry]] = []
    for stored in _records(store):
        for batch in stored.record.batches:
            for entry in batch.entries:
                logged += 1
                newest = max(newest, entry.timestamp)
                if shard_of(entry.user, shards) != batch.shard:
                    raise CorruptStore(
                        _at(stored, f"user {entry.user!r} is not of shard {batch.shard}")
                    )
                if stored.record.position <= store.snapshot.position:
                    folded.append((stored, entry))
                else:
                    _check_follows(store.snapshot, stored, entry, counts, requests)
        if len(folded) >= ENTRIES_AT_ONCE:
            _check_folded(store.snapshot, folded)
            folded = []
    _check_folded(store.snapshot, folded)
    return _CheckedLog(logged, newest)


def _records(store: PinnedStore) -> Iterator[StoredRecord]:
    if store.first > 1:
        # What it names as the record before it was cut; by its own checksum it is whole.
        value = store.log.get(key_of(store.first))
        assert value is not None
        yield decode(store.first, value)
    yield from read_after(store.log, BEGINNING if store.first <= 1 else store.first)


def _check_folded(view: SnapshotView, logged: Iterable[tuple[StoredRecord, Entry]]) -> None:
    """That the snapshot has these entries of the log; its requests follow from its entries."""
    by_user: defaultdict[UserId, list[tuple[StoredRecord, Entry]]] = defaultdict(list)
    for stored, entry in logged:
        by_user[entry.user].append((stored, entry))
    for user in sorted(by_user):
        numbers = [entry.number for _, entry in by_user[user]]
        first, last = min(numbers), max(numbers)
        folded = view.entries(user, first, last)
        for stored, entry in by_user[user]:
            found = folded[entry.number - first]
            if found != entry:
                raise CorruptStore(
                    _at(stored, f"the snapshot has another entry: {found}, not {entry}")
                )


def _check_follows(
    view: SnapshotView,
    stored: StoredRecord,
    entry: Entry,
    counts: dict[UserId, int],
    requests: set[tuple[UserId, IdempotencyKey]],
) -> None:
    user = entry.user
    count = counts.get(user)
    if count is None:
        count = (view.account(user) or NO_ACCOUNT).entries
    if entry.number != count + 1:
        raise CorruptStore(_at(stored, str(out_of_order(entry, count))))
    counts[user] = entry.number
    if entry.key is not None:
        if (user, entry.key) in requests or view.recorded(user, entry.key) is not None:
            raise CorruptStore(
                _at(stored, f"an idempotency key of user {user!r} is recorded twice")
            )
        requests.add((user, entry.key))


def _at(stored: StoredRecord, what: str) -> str:
    return f"log record at position {stored.record.position}: {what}"
