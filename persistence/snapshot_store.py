"""The snapshot store: accounts, histories, idempotency keys, true up to a position of the log."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from itertools import takewhile
from pathlib import Path
from typing import Final

import lmdb

from ledger_actors.entry import Entry, LogPosition
from ledger_actors.errors import CorruptStore
from ledger_actors.identity import IdempotencyKey, UserId
from ledger_actors.ports import AccountSummary
from persistence.environment import (
    Environment,
    begin_reading,
    open_for_reading,
    trusted_to_be_readable,
)
from persistence.folding import FoldedRows
from persistence.snapshot_format import (
    BLOCK_ENTRIES,
    HEAD_KEY,
    NO_ACCOUNT,
    Head,
    Keys,
    StoredAccount,
    account_key,
    block_key,
    keys_in_block,
    keys_in_tail,
    pack_head,
    request_key,
    request_keys,
    unpack_account,
    unpack_block,
    unpack_head,
    unpack_request,
    unpack_tail,
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
        self._newest_user: UserId | None = None
        """Whose account was looked up last in this view, and is remembered."""
        self._newest_account: StoredAccount | None = None

    @property
    def position(self) -> LogPosition:
        return self.head.position

    def refresh(self) -> LogPosition:
        self.transaction.abort()
        self._newest_user = None
        # Follows a map that the snapshotter has grown, and gives back the pages that look-ups
        # have touched: what the next ones need is in the kernel's cache.
        self._environment.set_mapsize(0)
        self.transaction = begin_reading(self._environment)
        self.head = self._read_head()
        return self.position

    def account(self, user: UserId) -> AccountSummary | None:
        account = self._account(user)
        return None if account is None else account.summary

    def accounts_many(self, users: Collection[UserId]) -> Mapping[UserId, AccountSummary]:
        # Sorted, here and below, so that neighbours are found in the same page.
        sought = {account_key(user): user for user in sorted(users)}
        return {
            sought[key]: unpack_account(key, value).summary
            for key, value in self.rows_of([*sought])
        }

    def entries(self, user: UserId, first: int, last: int) -> Sequence[Entry]:
        if first > last:
            return ()
        account = self._holding(user, first, last)
        found: list[Entry] = []
        for block in _blocks(first, last):
            if block == account.blocks:
                found += unpack_tail(user, account, first, last)
            else:
                found += unpack_block(user, block, self._block(user, block), first, last)
        return found

    def keys(self, user: UserId, last: int) -> Keys:
        account = self._holding(user, 1, last)
        found: list[IdempotencyKey | None] = []
        for block in _blocks(1, last):
            if block == account.blocks:
                found += keys_in_tail(user, account)
            else:
                found += keys_in_block(user, block, self._block(user, block))
        return found[:last]

    def recorded(self, user: UserId, key: IdempotencyKey) -> Entry | None:
        value = self.row(request_key(user, key))
        return None if value is None else self._requested(user, key, value)

    def recorded_many(
        self, requests: Collection[tuple[UserId, IdempotencyKey]]
    ) -> Mapping[tuple[UserId, IdempotencyKey], Entry]:
        keys = request_keys(requests)
        rows = self.rows_of(sorted(keys))
        if not rows:
            return {}
        sought = dict(zip(keys, requests, strict=True))
        return {
            sought[stored_key]: self._requested(*sought[stored_key], value)
            for stored_key, value in rows
        }

    def row(self, key: bytes) -> bytes | None:
        """The value of one row.

        Raises:
            CorruptStore: the store cannot be read there.
        """
        try:
            return self.transaction.get(key)
        except lmdb.Error as error:
            raise _unreadable(key, error) from None

    def rows_of(self, keys: Sequence[bytes]) -> Sequence[tuple[bytes, bytes]]:
        """Those of these rows that there are, key and value; quickest where the keys are sorted.

        Raises: as `row`.
        """
        try:
            with self.transaction.cursor() as cursor:
                return cursor.getmulti(keys)
        except lmdb.Error as error:
            raise _unreadable(keys[0], error) from None

    def rows_under(self, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        """All rows whose keys begin so, in order."""
        with self.transaction.cursor() as cursor:
            if cursor.set_range(prefix):
                yield from takewhile(lambda row: row[0].startswith(prefix), cursor)

    @property
    def file(self) -> Path:
        """Where the store is: its size is what it takes, its time is when it was last folded."""
        return Path(self._environment.path()) / "data.mdb"

    @property
    def size(self) -> int:
        """How many rows the store has, of all kinds."""
        size: int = self.transaction.stat(self._environment.open_db())["entries"]
        return size

    def abort(self) -> None:
        """Ends the view; its environment can be used again."""
        self.transaction.abort()

    def close(self) -> None:
        """Ends the view and closes its environment."""
        self.abort()
        self._environment.close()

    def _account(self, user: UserId) -> StoredAccount | None:
        # A page of history asks for the count, then for the entries.
        if user != self._newest_user:
            key = account_key(user)
            value = self.row(key)
            self._newest_account = None if value is None else unpack_account(key, value)
            self._newest_user = user
        return self._newest_account

    def _holding(self, user: UserId, first: int, last: int) -> StoredAccount:
        """The user's account, which must have these entries."""
        account = self._account(user) or NO_ACCOUNT
        if not 1 <= first <= last <= account.entries:
            raise CorruptStore(
                f"the snapshot does not hold entries {first} to {last} of user {user!r}"
            )
        return account

    def _block(self, user: UserId, block: int) -> bytes:
        value = self.row(block_key(user, block))
        if value is None:
            raise CorruptStore(f"the snapshot lost block {block} of user {user!r}")
        return value

    def _requested(self, user: UserId, key: IdempotencyKey, value: bytes) -> Entry:
        """The entry that a request's row tells of."""
        number = unpack_request(user, value)
        (entry,) = self.entries(user, number, number)
        if entry.key != key:
            raise CorruptStore(f"the snapshot has another key at entry {number} of user {user!r}")
        return entry

    def _read_head(self) -> Head:
        return unpack_head(self.row(HEAD_KEY))


def _blocks(first: int, last: int) -> range:
    """The blocks that entries with these numbers lie in; the last may be a tail."""
    return range((first - 1) // BLOCK_ENTRIES, (last - 1) // BLOCK_ENTRIES + 1)


def _unreadable(key: bytes, error: lmdb.Error) -> CorruptStore:
    return CorruptStore(f"the snapshot is not what was written at {key!r}: {error}")


def open_snapshot_view(path: Path) -> SnapshotView:
    """A view of the store as another process writes it.

    Raises:
        CorruptStore: it is not what was written, or of another format version.
    """
    environment = open_for_reading(path)
    try:
        with trusted_to_be_readable(path):
            return SnapshotView(environment)
    except BaseException:
        environment.close()
        raise


class SnapshotWriter:
    """Folds the log into the store. Several processes may try; the store lets one at a time."""

    def __init__(
        self,
        path: Path,
        open_environment: Callable[[Path], Environment] = Environment,
        give_way: Callable[[], object] = lambda: None,
    ) -> None:
        """
        Args:
            give_way: called every fraction of a millisecond while it folds.

        Raises:
            DiskFull: there is no room for a new store.
        """
        self._environment = open_environment(path)
        self._give_way = give_way

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
        with self._environment.lmdb.begin() as transaction:
            head = unpack_head(transaction.get(HEAD_KEY))
            if head.position != after:
                return False
            folded = FoldedRows(transaction, entries, self._give_way)
        new_head = head._replace(
            position=position,
            digest=digest,
            users=head.users + folded.new_users,
            entries=head.entries + len(entries),
            newest=max(head.newest, folded.newest),
        )
        try:
            while True:
                try:
                    return self._write(head, new_head, folded)
                except lmdb.MapFullError:
                    self._environment.grow(len(entries) * BYTES_PER_ENTRY)
        finally:
            folded.release()

    def _write(self, head: Head, new_head: Head, folded: FoldedRows) -> bool:
        with self._environment.lmdb.begin(write=True) as transaction:
            if unpack_head(transaction.get(HEAD_KEY)) != head:
                return False
            folded.put(transaction)
            transaction.put(HEAD_KEY, pack_head(new_head))
        return True

    def close(self) -> None:
        self._environment.close()
