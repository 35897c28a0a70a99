"""The ledger's ports over simulated disks: the real stores, with the time that a disk takes.

`LogStore`, `SnapshotWriter`, `SnapshotView` and `fold_next` are the real ones. What is simulated is
what stands between them and the ledger in the server: the log's thread, the snapshotter's process.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import Any

import lmdb
import outcome
import trio
from simulation.disk import Handle, SimulatedMark

from ledger_actors.entry import Batch, LogPosition, Record, Timestamp
from ledger_actors.errors import LedgerError, SnapshotFailed
from persistence.errors import StoreError
from persistence.log_store import LogStore
from persistence.snapshot_store import SnapshotWriter
from persistence.snapshotter import fold_next
from persistence.write_ahead_log import IDLE_S

BEGAN = Timestamp(1_700_000_000_000_000)
"""What the clock shows at the beginning."""
ENTRIES_PER_FOLD = 30
"""At least, where there are as many. So few that a fold often ends before the log does."""


class Latency:
    """How long the disk takes.

    Attributes:
        factor: how much slower it is than it should be.
    """

    def __init__(self, rng: Random, fsync_s: float) -> None:
        self.factor = 1.0
        self._rng = rng
        self._fsync_s = fsync_s

    def draw(self) -> float:
        """Seconds."""
        return self._rng.random() * self._fsync_s * self.factor


class SimulatedClock:
    """`ledger_actors.ports.Clock`, which may jump."""

    def __init__(self) -> None:
        self.offset_us = 0

    def now(self) -> Timestamp:
        return Timestamp(BEGAN + round(trio.current_time() * 1_000_000) + self.offset_us)


class SimulatedLog:
    """`LmdbWriteAheadLog` with a task in place of its thread.

    Attributes:
        busy: an append is on its way to the disk.
    """

    def __init__(self, handle: Handle, latency: Latency, say: Callable[[str], None]) -> None:
        self._handle = handle
        self._store = LogStore(
            Path("simulated/log"), lambda _: handle, lambda _: SimulatedMark(handle)
        )
        self._latency = latency
        self._say = say
        self._requests: list[_Request] = []
        self._asked = trio.Event()
        self._before_sync = trio.lowlevel.ParkingLot()
        self.busy = False

    @property
    def position(self) -> LogPosition:
        return self._store.last

    @property
    def rolled_forward(self) -> int:
        return self._store.rolled_forward

    async def append(self, batches: Sequence[Batch]) -> LogPosition:
        return await self._ask(batches, None)

    async def next_sync(self) -> None:
        await self._before_sync.park()

    async def probe(self) -> None:
        await self._ask((), None)

    async def read(self, after: LogPosition, entries: int) -> Sequence[Record]:
        return await self._ask(None, lambda: self._store.read(after, entries))

    async def digest(self, position: LogPosition) -> bytes:
        return await self._ask(None, lambda: self._store.digest(position))

    async def cut(self, before: LogPosition) -> None:
        self._say("log is to be cut")
        await self._ask(None, lambda: self._store.cut(before))

    async def _ask(self, batches: Sequence[Batch] | None, call: Callable[[], object] | None) -> Any:
        request = _Request(batches, call)
        self._requests.append(request)
        self._asked.set()
        await request.done.wait()
        assert request.result is not None
        return request.result.unwrap()

    async def run(self) -> None:
        """What `LmdbWriteAheadLog._work` does: all that waits is one commit."""
        while True:
            with trio.move_on_after(IDLE_S if self._store.cut_pending else float("inf")):
                await self._asked.wait()
            self._asked = trio.Event()
            requests, self._requests = self._requests, []
            appends = []
            for request in requests:
                if request.call is not None:
                    await trio.sleep(self._latency.draw())
                    request.answer(outcome.capture(request.call))
                else:
                    appends.append(request)
            if appends:
                await self._commit(appends)
            elif not requests:
                outcome.capture(self._store.tidy)
                await self._fsync()

    async def _commit(self, appends: "Sequence[_Request]") -> None:
        batches = [batch for append in appends for batch in append.batches or ()]
        self.busy = True
        self._say("log is written")
        await trio.sleep(self._latency.draw())
        result = outcome.capture(self._store.commit, batches, self._before_sync.unpark_all)
        await self._fsync()
        self.busy = False
        self._say("log is synced")
        for append in appends:
            append.answer(result)

    async def _fsync(self) -> None:
        await trio.sleep(self._latency.draw())
        self._handle.sync_commit()


class _Request:
    def __init__(self, batches: Sequence[Batch] | None, call: Callable[[], object] | None) -> None:
        self.batches = batches
        self.call = call
        self.done = trio.Event()
        self.result: outcome.Outcome[Any] | None = None

    def answer(self, result: "outcome.Outcome[Any]") -> None:
        if isinstance(result, outcome.Error):
            error = result.error
            if isinstance(error, LedgerError):
                error = type(error)(str(error))
            self.result = outcome.Error(error)
        else:
            self.result = outcome.Value(result.value)
        self.done.set()


class SimulatedSnapshotter:
    """`SnapshotterProcess`, its child a task that outlives the server for a moment, as it may.

    Attributes:
        stalled_until_s: it does nothing before that time.
        dying: it ends in the middle of its next fold.
    """

    def __init__(
        self,
        nursery: trio.Nursery,
        log: Handle,
        snapshot: Handle,
        lock: trio.Lock,
        latency: Latency,
        say: Callable[[str], None],
    ) -> None:
        """
        Args:
            nursery: where its child lives.
            lock: LMDB's lock of writers, which processes share.
        """
        self._nursery = nursery
        self._log = log
        self._snapshot = snapshot
        self._writer = SnapshotWriter(Path("simulated/snapshot"), lambda _: snapshot)
        self._lock = lock
        self._latency = latency
        self._say = say
        self._child: _Child | None = None
        self.stalled_until_s = 0.0
        self.dying = False

    @property
    def folding(self) -> bool:
        return self._child is not None

    async def fold(self, share: Callable[[], float] = lambda: 1.0) -> LogPosition:
        self._say("fold begins")
        self._child = child = _Child()
        self._nursery.start_soon(self._fold, child)
        try:
            await child.done.wait()
        except trio.Cancelled:
            if not child.orphan:
                self.kill()
            raise
        assert child.result is not None
        return child.result.unwrap()

    def kill(self) -> None:
        """The child ends, wherever it is, and what it had committed is synced or is not."""
        if self._child is not None:
            self._child.scope.cancel()
            self._snapshot.medium.crash()
            self._snapshot.die()
            self._child = None

    def leave(self) -> bool:
        """The server ends: its child goes on until it notices. Tells whether there was one."""
        if self._child is None:
            return False
        self._child.orphan = True
        return True

    async def _fold(self, child: "_Child") -> None:
        with child.scope:
            try:
                child.result = outcome.Value(await self._transaction(child))
            except (LedgerError, StoreError, lmdb.Error) as error:
                child.result = outcome.Error(SnapshotFailed(f"the snapshot failed: {error}"))
            self._child = None
            child.done.set()

    async def _transaction(self, child: "_Child") -> LogPosition:
        await trio.sleep(self._latency.draw())
        await trio.sleep_until(self.stalled_until_s)
        async with self._lock:
            if fold_next(self._log, self._writer, entries_min=ENTRIES_PER_FOLD):
                self._say("snapshot is written")
                await trio.sleep(self._latency.draw())
                self._snapshot.sync_commit()
                self._say("snapshot is synced")
            position = self._writer.head().position
        if self.dying or child.orphan:
            self.dying = False
            raise SnapshotFailed("the snapshotter ended")
        # The answer takes its time as well: meanwhile the log goes on.
        await trio.sleep(self._latency.draw())
        return position


class _Child:
    def __init__(self) -> None:
        self.scope = trio.CancelScope()
        self.done = trio.Event()
        self.result: outcome.Outcome[LogPosition] | None = None
        self.orphan = False
