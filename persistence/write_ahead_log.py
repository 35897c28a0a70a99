"""The write-ahead log as the ledger sees it: appends of many shards, one group commit."""

import queue
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any, Final

import outcome
import trio

from ledger_actors.entry import Batch, LogPosition, Record
from ledger_actors.errors import LedgerError
from ledger_actors.histogram import Histogram, HistogramStatistics
from persistence.log_store import LogStore

IDLE_S: Final = 0.05
COMMIT_SECONDS: Final = tuple(
    thousandth / 1000 for thousandth in (0.25, 0.5, 1, 2, 4, 8, 16, 32, 64, 125, 250, 500, 1000)
)
COMMIT_ENTRIES: Final = (0, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 50_000)


@dataclass(frozen=True, slots=True)
class LogStatistics:
    first_position: LogPosition
    position: LogPosition
    commits: HistogramStatistics
    """Seconds that each commit took since the log was opened: its encoding, its writing and its
    fsync; also of those that failed."""
    entries: HistogramStatistics
    """Entries in each record committed since then; a probe has none."""
    reserved_bytes: int
    held: LogPosition | None
    """What follows this position is kept for the next incremental backup; None: nothing is."""


@dataclass(frozen=True, slots=True)
class HeldForBackup:
    """What of the log is kept that a snapshot has, because no backup has it yet."""

    backed_up: Callable[[], LogPosition | None]
    """How far the newest backup reaches; None where there is none."""
    bytes_max: int
    """When the records take more, what is kept goes; 0 keeps nothing."""
    on_released: Callable[[LogPosition], None] = lambda position: None
    """Told the position, once, when what follows it cannot be kept for the next backup."""


NOTHING_HELD: Final = HeldForBackup(lambda: None, 0)


class _Request:
    """One caller's wish. Batches to append, or nothing but a call to make."""

    __slots__ = ("batches", "call", "task")

    def __init__(self, batches: Sequence[Batch] | None, call: Callable[[], object] | None) -> None:
        self.batches = batches
        self.call = call
        self.task: trio.lowlevel.Task | None = trio.lowlevel.current_task()


class LmdbWriteAheadLog:
    """`ledger_actors.ports.WriteAheadLog` on disk. Make one with `open_write_ahead_log`.

    One thread owns the store. It takes whatever waits as one group commit, so the appends that
    come while an fsync runs share the next one. Tasks hand in, and are woken once a commit.
    """

    def __init__(self, store: LogStore, holding: HeldForBackup, clock: Callable[[], float]) -> None:
        """
        Args:
            holding: what is kept of it for backups.
            clock: seconds, to measure how long commits take; asked from the log's thread.
        """
        self._store = store
        self._holding = holding
        self._told: LogPosition | None = None
        self._queue: queue.SimpleQueue[_Request | None] = queue.SimpleQueue()
        self._trio_token = trio.lowlevel.current_trio_token()
        self._clock = clock
        self._before_sync = trio.lowlevel.ParkingLot()
        self._commits = Histogram(COMMIT_SECONDS)
        self._entries = Histogram(COMMIT_ENTRIES)
        self._thread = threading.Thread(target=self._work, name="write-ahead-log")

    @property
    def position(self) -> LogPosition:
        """Where the newest durable record stands."""
        return self._store.last

    @property
    def rolled_forward(self) -> int:
        """How many records were durable when it was opened, and hidden."""
        return self._store.rolled_forward

    def statistics(self) -> LogStatistics:
        return LogStatistics(
            self._store.first,
            self._store.last,
            self._commits.statistics(),
            self._entries.statistics(),
            self._store.reserved_bytes,
            self._store.held,
        )

    async def append(self, batches: Sequence[Batch]) -> LogPosition:
        position: LogPosition = await self._ask(_Request(batches, None))
        return position

    async def next_sync(self) -> None:
        await self._before_sync.park()

    async def probe(self) -> None:
        await self._ask(_Request((), None))

    async def read(self, after: LogPosition, entries: int) -> Sequence[Record]:
        request = _Request(None, lambda: self._store.read(after, entries))
        records: Sequence[Record] = await self._ask(request)
        return records

    async def digest(self, position: LogPosition) -> bytes:
        """The digest of the record at that position; raises as `LogStore.digest`."""
        digest: bytes = await self._ask(_Request(None, lambda: self._store.digest(position)))
        return digest

    async def cut(self, before: LogPosition) -> None:
        await self._ask(_Request(None, lambda: self._cut(before)))

    async def _ask(self, request: _Request) -> Any:
        self._queue.put(request)

        def abandon(_: object) -> trio.lowlevel.Abort:
            request.task = None
            return trio.lowlevel.Abort.SUCCEEDED

        return await trio.lowlevel.wait_task_rescheduled(abandon)

    def _work(self) -> None:
        """The thread: takes everything that waits, commits, answers, until it is told to stop."""
        running = True
        while running:
            appends: list[_Request] = []
            for request in self._gather():
                if request is None:
                    running = False
                elif request.call is not None:
                    self._answer([request], outcome.capture(request.call))
                else:
                    appends.append(request)
            if appends:
                self._answer(appends, outcome.capture(self._commit, appends))
            elif self._store.cut_pending:
                # A failure shows at the next append, to someone who waits for it.
                outcome.capture(self._store.tidy)

    def _gather(self) -> Sequence[_Request | None]:
        gathered = []
        try:
            gathered.append(self._queue.get(timeout=IDLE_S if self._store.cut_pending else None))
            while True:
                gathered.append(self._queue.get_nowait())
        except queue.Empty:
            pass
        return gathered

    def _commit(self, appends: Sequence[_Request]) -> LogPosition:
        batches = [batch for append in appends for batch in append.batches or ()]
        started = self._clock()
        try:
            position = self._store.commit(batches, self._tell_of_sync)
        finally:
            self._commits.observe(self._clock() - started)
        self._entries.observe(sum(len(batch.entries) for batch in batches))
        return position

    def _tell_of_sync(self) -> None:
        if self._before_sync:
            self._trio_token.run_sync_soon(self._before_sync.unpark_all)

    def _cut(self, before: LogPosition) -> None:
        """Lets records go, but for what the next incremental backup needs."""
        holding = self._holding
        wished = holding.backed_up() if holding.bytes_max else None
        fits = self._store.used_bytes() <= holding.bytes_max
        self._store.hold(wished if fits else None)
        self._store.cut(before)
        if wished is not None and self._store.held is None and wished != self._told:
            self._told = wished
            holding.on_released(wished)

    def _answer(self, requests: Sequence[_Request], result: "outcome.Outcome[Any]") -> None:
        def wake() -> None:
            for request in requests:
                if request.task is not None:
                    trio.lowlevel.reschedule(request.task, _own(result))

        self._trio_token.run_sync_soon(wake)

    def start(self) -> None:
        self._thread.start()

    async def stop(self) -> None:
        """Finishes what was handed in, and ends the thread."""
        self._queue.put(None)
        # The store must not be closed under the thread's hands; a commit is short.
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(self._thread.join)


def _own(result: "outcome.Outcome[Any]") -> "outcome.Outcome[Any]":
    """Each waiter gets an outcome of its own: one can be unwrapped only once."""
    if isinstance(result, outcome.Error):
        # A shared error would gather the tracebacks of all who raise it.
        error = result.error
        return outcome.Error(type(error)(str(error)) if isinstance(error, LedgerError) else error)
    assert isinstance(result, outcome.Value)
    return outcome.Value(result.value)


@asynccontextmanager
async def open_write_ahead_log(
    path: Path,
    holding: HeldForBackup = NOTHING_HELD,
    clock: Callable[[], float] = perf_counter,
) -> AsyncIterator[LmdbWriteAheadLog]:
    """The log in that directory, made if there is none; closed when the block is left.

    Args:
        holding: what is kept of it for backups.
        clock: seconds since any moment; it measures commits.

    Raises:
        CorruptStore: the newest record is not what was written.
        DiskFull: there is no room for a new log, or for a record that was hidden.
        LogFailed: what is on disk is unknown.
    """
    store = LogStore(path)
    try:
        log = LmdbWriteAheadLog(store, holding, clock)
        log.start()
        try:
            yield log
        finally:
            await log.stop()
    finally:
        store.close()
