"""What the ledger needs from the world: a log, snapshots, a clock.

`ledger_actors.testing` has them in memory, `persistence` has them on disk.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import NamedTuple, Protocol

from ledger_actors.entry import Batch, Entry, LogPosition, Record, Timestamp
from ledger_actors.identity import IdempotencyKey, UserId
from ledger_actors.money import Micros


class AccountSummary(NamedTuple):
    """All that a snapshot says of an account but its history."""

    balance: Micros
    entries: int
    """How many its history has."""


NO_ACCOUNT = AccountSummary(Micros(0), 0)


class Clock(Protocol):
    def now(self) -> Timestamp:
        """The time that new entries are stamped with."""
        ...


class WriteAheadLog(Protocol):
    async def append(self, batches: Sequence[Batch]) -> LogPosition:
        """Returns when the batches are durable, with the position of the record that holds them.

        They are in one record, all of them, whole; it may hold those of other calls as well.

        Raises:
            LogUnavailable: nothing was written, and nothing will be; a later append may succeed.
            LogFailed: what is on disk is unknown. Every later append raises it too.
        """
        ...

    async def next_sync(self) -> None:
        """Returns when an append begins to wait for the disk; there may be none for long.

        What is computed then keeps nobody waiting.
        """
        ...

    async def probe(self) -> None:
        """Shows that the log can be written, by a durable record with no batches in it.

        Raises: as `append`.
        """
        ...

    async def read(self, after: LogPosition, entries: int) -> Sequence[Record]:
        """The next records that together hold at least that many entries, or all that follow.

        There are none when `after` is the last. A record without entries counts as one.

        Raises:
            LogCut: records that follow `after` were cut.
            CorruptStore: a record is not what was written.
        """
        ...

    async def cut(self, before: LogPosition) -> None:
        """Lets go of the records before that position, sooner or later."""
        ...


class SnapshotStore(Protocol):
    """Accounts, histories and idempotency keys, true up to a position of the log.

    It answers from one stable view until `refresh` moves it on. Every look-up raises `CorruptStore`
    where what it finds is not what was written.
    """

    @property
    def position(self) -> LogPosition:
        """The log position up to which the view is true."""
        ...

    def refresh(self) -> LogPosition:
        """Moves the view on to the newest snapshot, and returns its position."""
        ...

    def account(self, user: UserId) -> AccountSummary | None: ...

    def accounts_many(self, users: Collection[UserId]) -> Mapping[UserId, AccountSummary]:
        """The accounts of those users that have one: `account` for many at once."""
        ...

    def entries(self, user: UserId, first: int, last: int) -> Sequence[Entry]:
        """The user's entries with these numbers, both included, ascending."""
        ...

    def keys(self, user: UserId, last: int) -> Sequence[IdempotencyKey | None]:
        """The idempotency keys of the user's entries up to that number, ascending; None for each
        that has none."""
        ...

    def recorded(self, user: UserId, key: IdempotencyKey) -> Entry | None:
        """The entry that the request with this key made, or None if there was none."""
        ...

    def recorded_many(
        self, requests: Collection[tuple[UserId, IdempotencyKey]]
    ) -> Mapping[tuple[UserId, IdempotencyKey], Entry]:
        """Those of the requests that made an entry, each with it: `recorded` for many at once."""
        ...


class Snapshotter(Protocol):
    async def fold(self, share: Callable[[], float] = lambda: 1.0) -> LogPosition:
        """Folds the log, or as much of it as is done in a while, into the snapshot store, and
        returns the position that it reached.

        Args:
            share: tells what of a processor it takes though callers want it; with 1, all that it
                gets. Asked now and then while it folds.

        Raises:
            SnapshotFailed: it could not; the store is as it was.
        """
        ...
