"""The machine that the server runs on: it starts it, crashes it, and starts it again.

A server here is what `api/service.py` puts together, on simulated devices. What is in memory is
lost in a crash, as its handles on the disk are dead from that moment: whatever its code still does
while trio unwinds it reaches nobody.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from operator import itemgetter
from random import Random

import trio
from simulation.devices import Latency, SimulatedClock, SimulatedLog, SimulatedSnapshotter
from simulation.disk import Handle, Medium
from simulation.oracle import Oracle
from simulation.scenario import Crash, World

from ledger_actors.errors import CorruptStore, LogFailed, SnapshotFailed
from ledger_actors.identity import ShardId
from ledger_actors.ledger import Ledger, Limits
from ledger_actors.snapshotting import SnapshotPolicy, SnapshotTaken, keep_snapshots
from persistence.recovery import check_joined
from persistence.snapshot_store import SnapshotView

STEPS_MAX = 200_000
OPERATOR_S = 0.5
"""How long it takes until someone puts right a store that was refused."""


class Defect(Exception):
    """What the simulator has the ledger raise."""


class Machine:
    """
    Attributes:
        ledger: what callers can reach; None while there is no server.
        phase: what the server is at.
        to_be_mended: an operator will put back what was written, when the server is down.
    """

    def __init__(
        self,
        world: World,
        seed: int,
        oracle: Oracle,
        nursery: trio.Nursery,
        say: Callable[[str], None],
    ) -> None:
        self.world = world
        self.oracle = oracle
        self.say = say
        self.seen: Counter[str] = oracle.seen
        self.log_medium = Medium("log", Random(f"log {seed}"), oracle.durable, metasync=False)
        self.snapshot_medium = Medium("snapshot", Random(f"snapshot {seed}"), lambda put: None)
        self.latency = Latency(Random(f"latency {seed}"), world.fsync_s)
        self.clock = SimulatedClock()
        self.steps = 0
        """Of the scheduler."""
        self.phase = "down"
        self.ledger: Ledger | None = None
        self.snapshotter: SimulatedSnapshotter | None = None
        self.to_be_mended = False
        self._refused = False
        self._started = trio.Event()
        self._log: SimulatedLog | None = None
        self._nursery = nursery
        self._writers = trio.Lock()
        self._handles: list[Handle] = []
        self._snapshotters: list[SimulatedSnapshotter] = []
        self._power = trio.CancelScope()
        self._connections: set[trio.CancelScope] = set()
        self._up = trio.Event()
        self._damaged = False
        self._armed: list[Crash] = []
        """Crashes that wait for their moments."""
        self._set: list[tuple[int, Crash]] = []
        """Crashes whose moments have come, and the steps at which they follow."""
        self._down_s = 0.0
        self._stopping = False
        self._stopped = trio.Event()
        oracle.damaged = self.damaged

    def damaged(self) -> bool:
        """What the server has open is, or was, not what was written."""
        self._damaged |= self.log_medium.damaged or self.snapshot_medium.damaged
        return self._damaged

    # What happens to it.

    def arm(self, crash: Crash) -> None:
        """The crash will come at its moment."""
        if crash.moment:
            self._armed.append(crash)
        else:
            self._set_off(crash)

    def disarm(self) -> None:
        self._armed.clear()
        self._set.clear()

    def _set_off(self, crash: Crash) -> None:
        self._set.append((self.steps + 1 + crash.steps, crash))
        self._set.sort(key=itemgetter(0))

    def step(self) -> None:
        """The scheduler is about to make one."""
        self.steps += 1
        if self._set and self.steps >= self._set[0][0]:
            _, crash = self._set.pop(0)
            self.crash(power=crash.power, down_s=crash.down_s)
        if self.steps == STEPS_MAX:
            self.oracle.require(False, f"does not come to rest in {STEPS_MAX} steps")

    def moment(self, what: str) -> None:
        """A device, or the server, says what it is at."""
        self.say(what)
        for crash in [armed for armed in self._armed if armed.moment == what]:
            self._armed.remove(crash)
            self._set_off(crash)

    def crash(self, *, power: bool, down_s: float = 0.0) -> None:
        """The server ends, now. Without one, what may be left of its snapshotter does."""
        if self.phase == "down":
            if power:
                self._end_folds(power)
            return
        self.seen[f"crashes while {self._what_it_is_at()}"] += 1
        self.seen["crashes"] += 1
        self.seen["power lost" if power else "processes killed"] += 1
        self.say(f"crash while {self._what_it_is_at()}")
        self._down_s = down_s
        self._let_go(power)
        self._power.cancel()

    def _what_it_is_at(self) -> str:
        if self.phase == "serving":
            if self.snapshot_medium.unsynced:
                return "a snapshot is written"
            if self._log is not None and self._log.busy:
                return "an append is in flight"
            if self.snapshotter is not None and self.snapshotter.folding:
                return "a fold runs"
        return self.phase

    def _let_go(self, power: bool) -> None:
        """The process is no more: its hold on the disk, its connections, its memory."""
        self.phase = "down"
        self.ledger = None
        if self._up.is_set():
            self._up = trio.Event()
        self._end_folds(power)
        self.oracle.unsettled.clear()
        for handle in self._handles:
            handle.die()
        self._handles = []
        if self.log_medium.crash():
            self.seen["commits lost in a crash"] += 1
        if power and self.log_medium.hide():
            self.seen["commits hidden in a crash"] += 1
        for connection in self._connections:
            connection.cancel()

    def _end_folds(self, power: bool) -> None:
        for snapshotter in self._snapshotters:
            if power or not snapshotter.leave():
                snapshotter.kill()
            else:
                self.seen["folds that outlive the server"] += 1
        self._snapshotters = [left for left in self._snapshotters if left.folding]

    # What callers do with it.

    @contextmanager
    def connection(self) -> Iterator[trio.CancelScope]:
        """What is awaited within is cut off when the server ends."""
        with trio.CancelScope() as scope:
            self._connections.add(scope)
            try:
                yield scope
            finally:
                self._connections.discard(scope)

    async def serving(self) -> Ledger:
        """The ledger, once it has recovered."""
        while self.ledger is None or self.phase != "serving":
            await self._up.wait()
        return self.ledger

    # Its life.

    async def run(self) -> None:
        """Starts the server, and starts it again whenever it has ended."""
        while True:
            with trio.CancelScope() as self._power:
                try:
                    await self._serve()
                except* LogFailed:
                    self.oracle.require(self.oracle.doubtful, "the log failed by itself")
                    self.seen["ended by a failed fsync"] += 1
                except* CorruptStore as group:
                    self._refuse(group)
            if self.phase != "down":
                self._let_go(power=False)
            self.say("down")
            self._stopped.set()
            await trio.sleep(self._down_s)
            self._down_s = 0.0
            if self._refused:
                await trio.sleep(OPERATOR_S)
            if self._refused or self.to_be_mended:
                self._mend()

    async def stop(self) -> None:
        """Stops the server in order; it starts again."""
        ledger = self.ledger
        if ledger is None or self.phase != "serving" or self._stopping:
            return
        self._stopped = trio.Event()
        self._stopping = True
        ledger.close()
        await self._stopped.wait()
        self.seen["stops in order"] += 1

    async def _serve(self) -> None:
        self.moment("boot")
        self.phase = "recovering"
        self._stopping = False
        # What it opens now it sees until it moves its view on.
        self._damaged = False
        self.damaged()
        async with trio.open_nursery() as nursery:
            # As `api/service.py` does it.
            snapshots = SnapshotView(self._handle(self.snapshot_medium))
            log = self._log = SimulatedLog(self._handle(self.log_medium), self.latency, self.moment)
            self.snapshotter = SimulatedSnapshotter(
                self._nursery,
                Handle(self.log_medium),
                Handle(self.snapshot_medium),
                self._writers,
                self.latency,
                self.moment,
            )
            self._snapshotters.append(self.snapshotter)
            nursery.start_soon(log.run)
            await check_joined(log, snapshots.head)
            # What is killed goes on to its next await: it must not be taken for the next server.
            await trio.lowlevel.checkpoint_if_cancelled()
            self.ledger = ledger = Ledger(
                log, snapshots, self.clock, self.world.shards, self._limits(), self._on_restart
            )
            recovered = await ledger.recover()
            await trio.lowlevel.checkpoint_if_cancelled()
            self.seen["recoveries"] += 1
            self.seen["entries replayed"] += recovered.entries
            self.seen["records rolled forward"] += log.rolled_forward
            self.audit(ledger)
            self.phase = "serving"
            self._up.set()
            self._started.set()
            self.moment("recovered")
            nursery.start_soon(self._keep_snapshots, ledger, log)
            await ledger.run()
            self.oracle.require(self._stopping, "the ledger stopped by itself")
            nursery.cancel_scope.cancel()

    async def _keep_snapshots(self, ledger: Ledger, log: SimulatedLog) -> None:
        assert self.snapshotter is not None
        await keep_snapshots(
            ledger,
            log,
            self.snapshotter,
            SnapshotPolicy(self.world.snapshot_entries, self.world.snapshot_interval_s),
            on_taken=self._on_taken,
            on_failed=self._on_failed,
        )

    def _handle(self, medium: Medium) -> Handle:
        handle = Handle(medium)
        self._handles.append(handle)
        return handle

    def _limits(self) -> Limits:
        world = self.world
        return Limits(
            inbox=world.inbox,
            unfolded_entries=world.unfolded_entries,
            remembered_keys=world.remembered_keys,
            probe_interval_s=world.probe_interval_s,
        )

    def audit(self, ledger: Ledger) -> None:
        """Looks at every account, from the newest entry to the oldest."""
        for user, entries in self.oracle.model.entries.items():
            with suppress(trio.WouldBlock):
                look(self.oracle, ledger, user, range(1, len(entries) // 10 + 2))

    def _on_restart(self, shard: ShardId, error: Exception) -> None:
        self.oracle.require(isinstance(error, Defect), f"shard {shard} raised {error!r}")
        self.seen["shards restarted"] += 1
        self.moment("shard restarts")

    def _on_taken(self, taken: SnapshotTaken) -> None:
        self.seen["snapshots taken"] += 1
        self.say(f"snapshot taken at {taken.position}")
        if self.ledger is not None:
            active = sum(shard.active_accounts for shard in self.ledger.statistics().shards)
            self.oracle.in_memory(active, taken.position)

    def _on_failed(self, error: SnapshotFailed) -> None:
        self.seen["snapshots failed"] += 1
        self.say(str(error))

    def _refuse(self, group: BaseExceptionGroup[CorruptStore]) -> None:
        error: BaseException = group
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        self.oracle.require(self.damaged(), f"the store is refused: {error}")
        self._refused = True
        self._started.set()
        self.seen["stores refused"] += 1
        self.say(f"refused: {error}")

    def _mend(self) -> None:
        """An operator puts back what was written."""
        self._refused = self.to_be_mended = False
        self.log_medium.mend()
        self.snapshot_medium.mend()

    async def next_start(self) -> None:
        """Returns when the server has started again, or could not."""
        self._started = trio.Event()
        await self._started.wait()


def look(oracle: Oracle, ledger: Ledger, user: str, pages: range) -> None:
    """Reads a user's balance and these pages, and lets the oracle judge them."""
    try:
        since = oracle.observed.now()
        oracle.balance(user, since, ledger.balance_nowait(user))
        for page in pages:
            since = oracle.observed.now()
            oracle.page(user, since, page, ledger.history_nowait(user, page))
    except CorruptStore as error:
        oracle.require(oracle.damaged(), f"says that the store is corrupt: {error}")
        oracle.seen["reads refused"] += 1
