"""What the ledger says of a request by its key: never more than is true, never less."""

from collections.abc import Sequence

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from ledger_actors.credit import Credit
from ledger_actors.entry import Entry
from ledger_actors.errors import (
    BalanceLimitReached,
    CorruptStore,
    IdempotencyKeyReused,
    LogUnavailable,
    Recovering,
    ShardRestarted,
)
from ledger_actors.identity import IdempotencyKey, Reference, UserId
from ledger_actors.ledger import Ledger, Limits, open_ledger
from ledger_actors.money import MICROS_MAX, Micros
from ledger_actors.request_status import IN_FLIGHT, UNKNOWN, RequestState, RequestStatus
from ledger_actors.testing import ManualClock, MemoryLog, MemorySnapshots, disk_full

ANN, BOB = UserId("ann"), UserId("bob")
KEY, OTHER = IdempotencyKey("key"), IdempotencyKey("other")
ONE = Micros(1_000_000)


class World:
    def __init__(self) -> None:
        self.log = MemoryLog()
        self.snapshots = MemorySnapshots(self.log)

    def ledger(self):
        return open_ledger(self.log, self.snapshots, ManualClock(7), shards=2)

    async def snapshot(self, ledger: Ledger) -> None:
        await self.snapshots.fold()
        await self.log.cut(before=await ledger.adopt_snapshot())


@pytest.fixture
def world() -> World:
    return World()


def done(entry: Entry) -> RequestStatus:
    return RequestStatus(RequestState.DONE, entry)


async def test_a_key_that_nobody_used_is_unknown(world: World) -> None:
    async with world.ledger() as ledger:
        await ledger.credit(ANN, ONE, OTHER)

        assert await ledger.request_status(ANN, KEY) == UNKNOWN
        assert await ledger.request_status(BOB, OTHER) == UNKNOWN


async def test_a_request_that_waits_is_in_flight(world: World) -> None:
    async with world.ledger() as ledger:
        ledger.submit(Credit(ANN, ONE, KEY))

        assert ledger.request_status_nowait(ANN, KEY) == IN_FLIGHT
        assert ledger.request_status_nowait(ANN, OTHER) == UNKNOWN
        assert ledger.request_status_nowait(BOB, KEY) == UNKNOWN


async def test_a_request_that_will_be_refused_is_in_flight_until_it_is_answered(
    world: World, autojump_clock: trio.testing.MockClock
) -> None:
    async with world.ledger() as ledger:
        world.log.pause = trio.Event()
        ledger.submit(Credit(ANN, Micros(MICROS_MAX)))
        refused = ledger.submit(Credit(ANN, ONE, KEY))
        await trio.sleep(1)

        assert await ledger.request_status(ANN, KEY) == IN_FLIGHT
        world.log.pause.set()
        with pytest.raises(BalanceLimitReached):
            await refused.outcome()
        assert await ledger.request_status(ANN, KEY) == UNKNOWN


async def test_a_request_on_its_way_to_the_disk_is_in_flight_until_it_is_durable(
    world: World, autojump_clock: trio.testing.MockClock
) -> None:
    async with world.ledger() as ledger:
        world.log.pause = trio.Event()
        submission = ledger.submit(Credit(ANN, ONE, KEY))
        await trio.sleep(1)

        assert await ledger.request_status(ANN, KEY) == IN_FLIGHT
        world.log.pause.set()
        entry = (await submission.outcome()).entry
        assert await ledger.request_status(ANN, KEY) == done(entry)


async def test_each_credit_of_a_bulk_that_waits_is_in_flight(world: World) -> None:
    async with world.ledger() as ledger:
        ledger.submit_bulk([Credit(ANN, ONE, KEY), Credit(ANN, ONE, OTHER), Credit(BOB, ONE, KEY)])

        for user, key in ((ANN, KEY), (ANN, OTHER), (BOB, KEY)):
            assert ledger.request_status_nowait(user, key) == IN_FLIGHT


async def test_what_a_request_made_is_told_from_memory_snapshot_and_log(world: World) -> None:
    async with world.ledger() as ledger:
        made = (await ledger.credit(ANN, ONE, KEY, Reference("order"))).entry
        assert await ledger.request_status(ANN, KEY) == done(made)
        await world.snapshot(ledger)
        assert await ledger.request_status(ANN, KEY) == done(made)
        await ledger.credit(ANN, ONE)
        assert await ledger.request_status(ANN, KEY) == done(made)
        newer = (await ledger.credit(ANN, ONE, OTHER)).entry

    world.snapshots.refresh()
    async with world.ledger() as ledger:
        assert await ledger.request_status(ANN, KEY) == done(made)
        assert await ledger.request_status(ANN, OTHER) == done(newer)


async def test_a_request_that_was_refused_is_unknown(world: World) -> None:
    async with world.ledger() as ledger:
        await ledger.credit(ANN, Micros(MICROS_MAX))
        await ledger.submit_bulk([Credit(ANN, ONE, KEY)]).wait()

        assert await ledger.request_status(ANN, KEY) == UNKNOWN


async def test_a_refused_reuse_leaves_the_first_request_as_it_is(world: World) -> None:
    async with world.ledger() as ledger:
        made = (await ledger.credit(ANN, ONE, KEY)).entry
        with pytest.raises(IdempotencyKeyReused):
            await ledger.credit(ANN, Micros(2), KEY)

        assert await ledger.request_status(ANN, KEY) == done(made)


async def test_a_request_that_the_disk_refused_is_unknown(world: World) -> None:
    async with world.ledger() as ledger:
        world.log.fault = disk_full
        with pytest.raises(LogUnavailable):
            await ledger.credit(ANN, ONE, KEY)

        assert await ledger.request_status(ANN, KEY) == UNKNOWN
        world.log.fault = lambda: None
        assert (await ledger.credit(ANN, Micros(2), KEY)).entry.amount == 2


async def test_what_a_crash_left_open_is_told_once_the_shard_is_rebuilt(
    world: World, monkeypatch: pytest.MonkeyPatch, autojump_clock: trio.testing.MockClock
) -> None:
    async with world.ledger() as ledger:
        append = world.log.append

        async def append_and_fail(batches: Sequence[object]) -> object:
            monkeypatch.setattr(world.log, "append", append)
            await append(batches)  # type: ignore[arg-type]
            raise RuntimeError("a defect after the fsync")

        monkeypatch.setattr(world.log, "append", append_and_fail)
        with pytest.raises(ShardRestarted):
            await ledger.credit(ANN, ONE, KEY)

        with pytest.raises(trio.WouldBlock):
            ledger.request_status_nowait(ANN, KEY)
        status = await ledger.request_status(ANN, KEY)
        assert (status.state, await ledger.balance(ANN)) == (RequestState.DONE, ONE)


async def test_nothing_is_told_of_a_store_that_is_damaged(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def damaged(user: UserId, key: IdempotencyKey) -> Entry | None:
        raise CorruptStore("a request is not what was written")

    async with world.ledger() as ledger:
        monkeypatch.setattr(world.snapshots, "recorded", damaged)
        with pytest.raises(CorruptStore):
            await ledger.request_status(ANN, KEY)


async def test_before_recovery_nothing_is_known(world: World) -> None:
    ledger = Ledger(world.log, world.snapshots, ManualClock(7), 2, Limits(), lambda *_: None)

    with pytest.raises(Recovering):
        await ledger.request_status(ANN, KEY)


users = st.sampled_from([ANN, BOB])
keys = st.sampled_from([IdempotencyKey(name) for name in "abcd"])
steps = st.one_of(
    st.tuples(st.just("credit"), users, keys, st.integers(1, 2)),
    st.tuples(st.sampled_from(["settle", "snapshot", "full", "room", "crash"])),
)


@given(st.lists(steps, max_size=40))
def test_what_is_told_is_what_a_plain_model_has(script: list[tuple]) -> None:
    trio.run(_follow, script)


async def _follow(script: list[tuple]) -> None:
    world, recorded = World(), {}
    runs: list[list[tuple]] = [[]]
    for step in script:
        if step[0] == "crash":
            runs.append([])
        else:
            runs[-1].append(step)
    for run in runs:
        async with world.ledger() as ledger:
            await _run(world, ledger, run, recorded)
        world.snapshots.refresh()


async def _run(
    world: World,
    ledger: Ledger,
    run: list[tuple],
    recorded: dict[tuple[UserId, IdempotencyKey], Entry],
) -> None:
    waiting: list[tuple[tuple[UserId, IdempotencyKey], object]] = []

    async def settle() -> None:
        for request, submission in waiting:
            try:
                recorded[request] = (await submission.outcome()).entry
            except (IdempotencyKeyReused, LogUnavailable):
                continue
        waiting.clear()

    for name, *arguments in run:
        if name == "credit":
            user, key, amount = arguments
            submission = ledger.submit(Credit(user, Micros(amount), key))
            waiting.append(((user, key), submission))
        elif name == "settle":
            await settle()
        elif name == "snapshot":
            await settle()
            await world.snapshot(ledger)
        else:
            await settle()
            world.log.fault = disk_full if name == "full" else lambda: None
        on_their_way = {request for request, _ in waiting}
        for user in (ANN, BOB):
            for key in map(IdempotencyKey, "abcd"):
                expected = recorded.get((user, key))
                status = ledger.request_status_nowait(user, key)
                if expected is not None:
                    assert status == done(expected)
                else:
                    assert status == (IN_FLIGHT if (user, key) in on_their_way else UNKNOWN)
    world.log.fault = lambda: None
    await settle()
