"""When snapshots are taken, and in which order memory and log let go of what they hold."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial

import pytest
import trio

from ledger_actors.entry import BEGINNING, LogPosition
from ledger_actors.errors import LogCut, SnapshotFailed
from ledger_actors.identity import IdempotencyKey, UserId
from ledger_actors.ledger import Ledger, Limits, open_ledger
from ledger_actors.money import Micros
from ledger_actors.snapshotting import (
    POLL_INTERVAL_S,
    SHARE_DELAY_S,
    SHARE_MIN,
    SHARE_WHEN_FULL,
    FoldShare,
    SnapshotPolicy,
    SnapshotTaken,
    keep_snapshots,
)
from ledger_actors.testing import ManualClock, MemoryLog, MemorySnapshots

ANN = UserId("ann")
ONE = Micros(1)
ROOMY = Limits()


class World:
    def __init__(self) -> None:
        self.log = MemoryLog()
        self.snapshots = MemorySnapshots(self.log)
        self.taken: list[SnapshotTaken] = []
        self.failed: list[SnapshotFailed] = []

    @asynccontextmanager
    async def ledger(self, policy: SnapshotPolicy, limits: Limits = ROOMY) -> AsyncIterator[Ledger]:
        async with (
            open_ledger(self.log, self.snapshots, ManualClock(), shards=2, limits=limits) as ledger,
            trio.open_nursery() as nursery,
        ):
            nursery.start_soon(
                partial(
                    keep_snapshots,
                    ledger,
                    self.log,
                    self.snapshots,
                    policy,
                    on_taken=self.taken.append,
                    on_failed=self.failed.append,
                )
            )
            yield ledger
            nursery.cancel_scope.cancel()


@pytest.fixture
def world() -> World:
    return World()


async def test_a_snapshot_is_taken_after_enough_entries(
    world: World, autojump_clock: trio.testing.MockClock
) -> None:
    async with world.ledger(SnapshotPolicy(entries=3, interval_s=10_000)) as ledger:
        await ledger.credit(ANN, ONE)
        await ledger.credit(ANN, ONE)
        await trio.sleep(100)
        assert world.taken == []
        await ledger.credit(ANN, ONE)
        await trio.sleep(1)
        assert [taken.position for taken in world.taken] == [3]
        assert ledger.unfolded_entries == 0


async def test_a_snapshot_is_taken_after_the_interval_if_there_is_anything_to_fold(
    world: World, autojump_clock: trio.testing.MockClock
) -> None:
    async with world.ledger(SnapshotPolicy(entries=1000, interval_s=10)) as ledger:
        await trio.sleep(100)
        assert world.taken == []
        await ledger.credit(ANN, ONE)
        await trio.sleep(1)
        assert [taken.position for taken in world.taken] == [1]


async def test_the_log_is_cut_behind_a_snapshot_and_everything_can_still_be_read(
    world: World, autojump_clock: trio.testing.MockClock
) -> None:
    key = IdempotencyKey("key")
    async with world.ledger(SnapshotPolicy(entries=3, interval_s=10_000)) as ledger:
        await ledger.credit(ANN, ONE, key)
        for _ in range(2):
            await ledger.credit(ANN, ONE)
        await trio.sleep(1)
        with pytest.raises(LogCut):
            await world.log.read(BEGINNING, 1)
        assert await world.log.read(LogPosition(3), 1) == []
        assert await ledger.balance(ANN) == 3
        assert (await ledger.credit(ANN, ONE, key)).replayed


async def test_folding_takes_the_more_of_the_processor_the_fuller_memory_is(
    world: World, monkeypatch: pytest.MonkeyPatch, autojump_clock: trio.testing.MockClock
) -> None:
    asked: list[float] = []
    fold = world.snapshots.fold
    more = trio.Event()

    async def watched(share: Callable[[], float]) -> LogPosition:
        asked.append(share())
        await more.wait()
        asked.append(share())
        return await fold(share)

    monkeypatch.setattr(world.snapshots, "fold", watched)
    limits = Limits(unfolded_entries=10)
    async with world.ledger(SnapshotPolicy(entries=1000, interval_s=100), limits) as ledger:
        await ledger.credit(ANN, ONE)
        await trio.sleep(101)
        async with trio.open_nursery() as nursery:
            for _ in range(6):
                nursery.start_soon(ledger.credit, ANN, ONE)
        await trio.sleep(10 * SHARE_DELAY_S)
        more.set()
        await trio.sleep(1)
    assert asked[0] == SHARE_MIN
    assert asked[1] == pytest.approx(SHARE_WHEN_FULL * 0.7**2, rel=0.01)


def test_a_burst_that_fills_memory_is_over_before_folding_takes_much_of_the_processor() -> None:
    share = FoldShare(0.0)
    polls = round(3 / POLL_INTERVAL_S)
    for poll in range(polls):
        share.notice(poll / polls)
    assert share.due() < 0.1 * SHARE_WHEN_FULL


def test_who_starts_with_much_to_fold_takes_the_processor_for_it_at_once() -> None:
    assert FoldShare(0.6).due() == pytest.approx(SHARE_WHEN_FULL * 0.6**2)


def test_the_share_falls_again_when_there_is_little_to_fold() -> None:
    share = FoldShare(1.0)
    for _ in range(round(10 * SHARE_DELAY_S / POLL_INTERVAL_S)):
        share.notice(0.0)
    assert share.due() == SHARE_MIN


async def test_a_failed_snapshot_is_tried_again_and_nothing_is_let_go_of_meanwhile(
    world: World, monkeypatch: pytest.MonkeyPatch, autojump_clock: trio.testing.MockClock
) -> None:
    async def fail(share: Callable[[], float]) -> LogPosition:
        raise SnapshotFailed("no room")

    async with world.ledger(SnapshotPolicy(entries=1, interval_s=10_000)) as ledger:
        monkeypatch.setattr(world.snapshots, "fold", fail)
        await ledger.credit(ANN, ONE)
        await trio.sleep(5)
        assert len(world.failed) > 1
        assert ledger.unfolded_entries == 1
        assert len(await world.log.read(BEGINNING, 1)) == 1
        monkeypatch.undo()
        await trio.sleep(5)
        assert [taken.position for taken in world.taken] == [1]
