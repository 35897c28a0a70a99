"""The ledger's ports in memory: for tests of the ledger, and of what is built on it."""

from collections.abc import Callable, Collection, Mapping, Sequence

import trio

from ledger_actors.entry import BEGINNING, Batch, Entry, LogPosition, Record, Timestamp
from ledger_actors.errors import LogCut, LogUnavailable
from ledger_actors.folding import fold
from ledger_actors.identity import IdempotencyKey, UserId
from ledger_actors.ports import AccountSummary
from ledger_actors.recovery import ENTRIES_PER_READ


class MemoryLog:
    """`WriteAheadLog` in memory: durable as long as the object is.

    Attributes:
        pause: while it is an event that is not set, appends wait for it.
        fault: asked before each append for an error to raise instead.
    """

    def __init__(self) -> None:
        self.pause: trio.Event | None = None
        self.fault: Callable[[], Exception | None] = lambda: None
        self._records: list[Record] = []
        self._first = LogPosition(1)
        self._before_sync = trio.lowlevel.ParkingLot()

    @property
    def position(self) -> LogPosition:
        return LogPosition(self._first + len(self._records) - 1)

    async def append(self, batches: Sequence[Batch]) -> LogPosition:
        return await self._commit(batches)

    async def next_sync(self) -> None:
        await self._before_sync.park()

    async def probe(self) -> None:
        await self._commit([])

    async def read(self, after: LogPosition, entries: int) -> Sequence[Record]:
        await trio.lowlevel.checkpoint()
        if after + 1 < self._first:
            raise LogCut
        found: list[Record] = []
        for record in self._records[after + 1 - self._first :]:
            found.append(record)
            if sum(read.weight for read in found) >= entries:
                break
        return found

    async def cut(self, before: LogPosition) -> None:
        await trio.lowlevel.checkpoint()
        kept = max(min(before, self.position) - self._first, 0)
        del self._records[:kept]
        self._first = LogPosition(self._first + kept)

    async def _commit(self, batches: Sequence[Batch]) -> LogPosition:
        if self.pause is not None:
            await self.pause.wait()
        self._before_sync.unpark_all()
        await trio.lowlevel.checkpoint()
        error = self.fault()
        if error is not None:
            raise error
        position = LogPosition(self.position + 1)
        self._records.append(Record(position, batches))
        return position


class MemorySnapshots:
    """`SnapshotStore` and `Snapshotter` in memory, folding from a log.

    What is folded shows after `refresh`, as it does where a process of its own folds.
    """

    def __init__(self, log: MemoryLog) -> None:
        self._log = log
        self._accounts: dict[UserId, AccountSummary] = {}
        self._entries: dict[UserId, list[Entry]] = {}
        self._requests: dict[tuple[UserId, IdempotencyKey], Entry] = {}
        self._position = BEGINNING
        self._unseen: list[Record] = []

    @property
    def position(self) -> LogPosition:
        return self._position

    def refresh(self) -> LogPosition:
        for record in self._unseen:
            entries = list(record.entries)
            self._accounts.update(fold(self._accounts.get, entries))
            for entry in entries:
                self._entries.setdefault(entry.user, []).append(entry)
                if entry.key is not None:
                    self._requests[entry.user, entry.key] = entry
            self._position = record.position
        self._unseen = []
        return self._position

    def account(self, user: UserId) -> AccountSummary | None:
        return self._accounts.get(user)

    def accounts_many(self, users: Collection[UserId]) -> Mapping[UserId, AccountSummary]:
        return {user: self._accounts[user] for user in users if user in self._accounts}

    def entries(self, user: UserId, first: int, last: int) -> Sequence[Entry]:
        return self._entries[user][first - 1 : last]

    def keys(self, user: UserId, last: int) -> Sequence[IdempotencyKey | None]:
        return [entry.key for entry in self._entries[user][:last]]

    def recorded(self, user: UserId, key: IdempotencyKey) -> Entry | None:
        return self._requests.get((user, key))

    def recorded_many(
        self, requests: Collection[tuple[UserId, IdempotencyKey]]
    ) -> Mapping[tuple[UserId, IdempotencyKey], Entry]:
        found = {request: self.recorded(*request) for request in requests}
        return {request: entry for request, entry in found.items() if entry is not None}

    async def fold(self, share: Callable[[], float] = lambda: 1.0) -> LogPosition:
        after = self._unseen[-1].position if self._unseen else self._position
        while records := await self._log.read(after, ENTRIES_PER_READ):
            self._unseen += records
            after = records[-1].position
        return after


class ManualClock:
    """`Clock` that stands still until it is told the time."""

    def __init__(self, time: int = 0) -> None:
        self.time = Timestamp(time)

    def now(self) -> Timestamp:
        return self.time


def disk_full() -> LogUnavailable:
    """What a log raises that has no room, for `MemoryLog.fault`."""
    return LogUnavailable("the write-ahead log has no room")
