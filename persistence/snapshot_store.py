"""The snapshot store: accounts, histories and request ids, true up to a position of the log."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import takewhile
from pathlib import Path
from typing import Final

import lmdb

from ledger_actors.entry import Entry, LogPosition
from ledger_actors.errors import CorruptStore
from ledger_actors.folding import fold
from ledger_actors.identity import IdempotencyKey, UserId
from ledger_actors.ports import AccountSummary
from persistence.environment import (
    Environment,
    begin_reading,
    open_for_reading,
    trusted_to_be_readable,
)
from persistence.snapshot_format import (
    HEAD_KEY,
    Head,
    account_key,
    entry_key,
    number_of,
    pack_account,
    pack_entry,
    pack_head,
    pack_request,
    request_key,
    split_key,
    unpack_account,
    unpack_entry,
    unpack_head,
    unpack_request,
)

BYTES_PER_ENTRY: Final = 256
"""What one more entry may take in the worst case, a guess for how far to grow."""


class SnapshotView:
    """`ledger_actors.ports.SnapshotStore` over one read transaction.

    A look-up is a walk down a memory-mapped tree: microseconds, so it is made on the spot.
    """

    def __init__(self, environment: lmdb.Environment) -> None:
        self._environment = environment
        self.transaction = begin_reading(environment)
        self.head = self._read_head()

    @property
    def position(self) -> LogPosition:
        return self.head.position

    def refresh(self) -> LogPosition:
        self.transaction.abort()
        # Follows a map that the snapshotter has grown, and gives back the pages that look-ups
        # have touched: what the next ones need is in the kernel's cache.
        self._environment.set_mapsize(0)
        self.transaction = begin_reading(self._environment)
        self.head = self._read_head()
        return self.position

    def account(self, user: UserId) -> AccountSummary | None:
        value = self._get(account_key(user), user)
        return None if value is None else unpack_account(user, value)

    def entries(self, user: UserId, first: int, last: int) -> Sequence[Entry]:
        found = []
        end = entry_key(user, last)
        try:
            with self.transaction.cursor() as cursor:
                if cursor.set_range(entry_key(user, first)):
                    for key, value in takewhile(lambda item: item[0] <= end, cursor):
                        found.append(unpack_entry(user, number_of(key[-8:]), value))
        except lmdb.Error as error:
            raise _unreadable(user, error) from None
        if [entry.number for entry in found] != list(range(first, last + 1)):
            raise CorruptStore(
                f"the snapshot does not hold entries {first} to {last} of user {user!r}"
            )
        return found

    def recorded(self, user: UserId, key: IdempotencyKey) -> Entry | None:
        value = self._get(request_key(user, key), user)
        if value is None:
            return None
        number = unpack_request(user, value)
        (entry,) = self.entries(user, number, number)
        return entry._replace(key=key)

    def recorded_many(
        self, requests: Collection[tuple[UserId, IdempotencyKey]]
    ) -> Mapping[tuple[UserId, IdempotencyKey], Entry]:
        found = {request: self.recorded(*request) for request in requests}
        return {request: entry for request, entry in found.items() if entry is not None}

    def items(self) -> Iterator[tuple[UserId, bytes, bytes, bytes]]:
        """Everything that is stored of users, in order: user, kind, rest of the key, value."""
        with self.transaction.cursor() as cursor:
            for key, value in cursor:
                if key != HEAD_KEY:
                    yield (*split_key(key), value)

    def abort(self) -> None:
        """Ends the view; its environment can be used again."""
        self.transaction.abort()

    def close(self) -> None:
        """Ends the view and closes its environment."""
        self.abort()
        self._environment.close()

    def _get(self, key: bytes, user: UserId) -> bytes | None:
        try:
            return self.transaction.get(key)
        except lmdb.Error as error:
            raise _unreadable(user, error) from None

    def _read_head(self) -> Head:
        return unpack_head(self.transaction.get(HEAD_KEY))


def _unreadable(user: UserId, error: lmdb.Error) -> CorruptStore:
    return CorruptStore(f"the snapshot cannot be read at user {user!r}: {error}")


def open_snapshot_view(path: Path) -> SnapshotView:
    """A view of the store as another process writes it.

    Raises:
        CorruptStore: it is not what was written, or of another format version.
    """
    with trusted_to_be_readable(path):
        return SnapshotView(open_for_reading(path))


class SnapshotWriter:
    """Folds the log into the store. Several processes may try; the store lets one at a time."""

    def __init__(self, path: Path) -> None:
        """
        Raises:
            DiskFull: there is no room for a new store.
        """
        self._environment = Environment(path)

    def head(self) -> Head:
        with self._environment.lmdb.begin() as transaction:
            return unpack_head(transaction.get(HEAD_KEY))

    def fold(
        self, after: LogPosition, entries: Sequence[Entry], position: LogPosition, digest: bytes
    ) -> bool:
        """Takes in what the log has behind a snapshot; False when another process was quicker.

        Args:
            after: the position of the snapshot that the entries follow.
            entries: the log's entries from there up to `position`, in order.
            position: the log position up to which the store is true from now on.
            digest: the digest of the log record there.

        Raises:
            DiskFull: there is no room; the store is as it was.
            CorruptStore: the entries do not follow the store; it is as it was.
        """
        while True:
            try:
                with self._environment.lmdb.begin(write=True) as transaction:
                    return _fold(transaction, after, entries, position, digest)
            except lmdb.MapFullError:
                self._environment.grow(len(entries) * BYTES_PER_ENTRY)

    def close(self) -> None:
        self._environment.close()


def _fold(
    transaction: "lmdb.Transaction[bytes]",
    after: LogPosition,
    entries: Sequence[Entry],
    position: LogPosition,
    digest: bytes,
) -> bool:
    head = unpack_head(transaction.get(HEAD_KEY))
    if head.position != after:
        return False

    def account(user: UserId) -> AccountSummary | None:
        value = transaction.get(account_key(user))
        return None if value is None else unpack_account(user, value)

    accounts = fold(account, entries)
    head = head._replace(
        position=position,
        digest=digest,
        users=head.users + sum(entry.number == 1 for entry in entries),
        entries=head.entries + len(entries),
    )
    with transaction.cursor() as cursor:
        # Sorted, so that neighbours go to the same page one after the other.
        cursor.putmulti(sorted(_items(accounts, entries)))
    transaction.put(HEAD_KEY, pack_head(head))
    return True


def _items(
    accounts: Mapping[UserId, AccountSummary], entries: Sequence[Entry]
) -> Iterator[tuple[bytes, bytes]]:
    for user, summary in accounts.items():
        yield account_key(user), pack_account(summary)
    for entry in entries:
        yield entry_key(entry.user, entry.number), pack_entry(entry)
        if entry.key is not None:
            yield request_key(entry.user, entry.key), pack_request(entry.number)
