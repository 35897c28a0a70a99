"""Idempotency keys in memory of entries that a snapshot has: what they spare, what they cost."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from sys import getsizeof

import pytest

from ledger_actors.account import opened
from ledger_actors.accounts import DISPLACING_LOOK_UPS, LEARNED_MAX, PAGE_SIZE
from ledger_actors.credit import Credit, Outcome, Replayed
from ledger_actors.entry import Entry, Timestamp
from ledger_actors.errors import BalanceLimitReached, CorruptStore, IdempotencyKeyReused
from ledger_actors.identity import IdempotencyKey, UserId
from ledger_actors.ledger import Ledger, Limits, open_ledger
from ledger_actors.money import MICROS_MAX, Micros
from ledger_actors.remembered_keys import IDLE_ACCOUNT_KEYS
from ledger_actors.request_status import RequestState
from ledger_actors.testing import ManualClock, MemoryLog, MemorySnapshots

ANN, BOB, EVE = UserId("ann"), UserId("bob"), UserId("eve")
ONE, TWO = Micros(1), Micros(2)
OFTEN = 20
"""Look-ups after which the keys of a dozen entries are learned."""


class Snapshots(MemorySnapshots):
    """Counts the keys that it is asked for."""

    def __init__(self, log: MemoryLog) -> None:
        super().__init__(log)
        self.asked = 0
        self.unreadable = False

    def recorded(self, user: UserId, key: IdempotencyKey) -> Entry | None:
        self.asked += 1
        return super().recorded(user, key)

    def keys(self, user: UserId, last: int) -> Sequence[IdempotencyKey | None]:
        if self.unreadable:
            raise CorruptStore("a block does not match its checksum")
        return super().keys(user, last)


class World:
    def __init__(self) -> None:
        self.log = MemoryLog()
        self.snapshots = Snapshots(self.log)

    @asynccontextmanager
    async def ledger(self, remembered_keys: int = 1_000) -> AsyncIterator[Ledger]:
        limits = Limits(remembered_keys=remembered_keys)
        async with open_ledger(
            self.log, self.snapshots, ManualClock(), shards=1, limits=limits
        ) as ledger:
            yield ledger

    async def snapshot(self, ledger: Ledger) -> None:
        await self.snapshots.fold()
        await ledger.adopt_snapshot()

    async def snapshot_of_all_but_the_newest(self, ledger: Ledger) -> None:
        """So the account stays in memory."""
        await self.snapshots.fold()
        await credit(ledger, "newest of all")
        await ledger.adopt_snapshot()


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture(params=[1, 64], ids=["in a bulk", "one by one"])
def together(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ledger_actors.accounts.LOOKED_UP_TOGETHER_MIN", request.param)


async def credit(
    ledger: Ledger, *keys: str, amount: Micros = ONE, user: UserId = ANN
) -> Sequence[Outcome]:
    bulk = ledger.submit_bulk([Credit(user, amount, IdempotencyKey(key)) for key in keys])
    await bulk.wait()
    return bulk.outcomes()


def keys(name: str, count: int) -> list[str]:
    return [f"{name} {number}" for number in range(count)]


def remembered(ledger: Ledger) -> int:
    return sum(shard.remembered_keys for shard in ledger.statistics().shards)


def in_memory(ledger: Ledger) -> tuple[int, int]:
    """Accounts that are active, and that are idle."""
    (shard,) = ledger.statistics().shards
    return shard.active_accounts, shard.idle_accounts


@pytest.mark.usefixtures("together")
async def test_of_a_user_who_came_while_the_server_ran_no_key_is_looked_up(world: World) -> None:
    async with world.ledger() as ledger:
        await credit(ledger, *keys("old", 5))
        await world.snapshot_of_all_but_the_newest(ledger)
        assert remembered(ledger) == 5
        assert {type(outcome) for outcome in await credit(ledger, *keys("new", 100))} == {Entry}
        assert world.snapshots.asked == 0


@pytest.mark.usefixtures("together")
async def test_a_retry_of_a_remembered_key_has_its_first_outcome(world: World) -> None:
    async with world.ledger() as ledger:
        first = await credit(ledger, *keys("old", 5))
        await world.snapshot_of_all_but_the_newest(ledger)
        assert await credit(ledger, *keys("old", 5)) == [Replayed(entry) for entry in first]
        (refused,) = await credit(ledger, "old 3", amount=TWO)
        assert isinstance(refused, IdempotencyKeyReused)
        assert await ledger.balance(ANN) == 6
        (shard,) = ledger.statistics().shards
        assert shard.duplicates.from_snapshot == 5
        status = await ledger.request_status(ANN, IdempotencyKey("old 2"))
        assert (status.state, status.entry) == (RequestState.DONE, first[2])


@pytest.mark.usefixtures("together")
async def test_keys_that_are_looked_up_often_are_learned(world: World) -> None:
    async with world.ledger() as ledger:
        first = await credit(ledger, *keys("old", 12))
        await world.snapshot(ledger)
    async with world.ledger() as ledger:
        for key in keys("new", OFTEN):
            await credit(ledger, key)
        assert remembered(ledger) == 12
        asked = world.snapshots.asked
        assert 0 < asked < OFTEN
        await credit(ledger, *keys("newer", 100))
        assert world.snapshots.asked == asked
        assert await credit(ledger, *keys("old", 12)) == [Replayed(entry) for entry in first]
        assert [entry.number for entry in await ledger.history(ANN, 1)] == [*range(132, 122, -1)]


@pytest.mark.usefixtures("together")
@pytest.mark.parametrize(("entries", "look_ups"), [(12, 1), (16, 2), (100, 7)])
async def test_of_a_long_history_more_keys_are_looked_up_before_all_are_learned(
    world: World, entries: int, look_ups: int
) -> None:
    async with world.ledger() as ledger:
        await credit(ledger, *keys("old", entries))
        await world.snapshot(ledger)
    async with world.ledger() as ledger:
        for key in keys("new", look_ups):
            await credit(ledger, key)
        assert remembered(ledger) == 0
        first = (await ledger.history(ANN, (entries + look_ups - 1) // PAGE_SIZE + 1))[-1]
        assert await credit(ledger, "old 0") == [Replayed(first)]
        assert remembered(ledger) == entries


@pytest.mark.usefixtures("together")
async def test_the_keys_of_a_long_history_are_looked_up(world: World) -> None:
    entries = LEARNED_MAX + 1
    async with world.ledger() as ledger:
        await credit(ledger, *keys("old", entries))
        await world.snapshot(ledger)
        for key in keys("new", entries):
            await credit(ledger, key)
        assert remembered(ledger) == 0
        assert world.snapshots.asked == entries
        (replayed,) = await credit(ledger, "old 0")
        assert isinstance(replayed, Replayed)


@pytest.mark.usefixtures("together")
async def test_no_more_is_remembered_than_may_be(world: World) -> None:
    async with world.ledger(remembered_keys=5) as ledger:
        await credit(ledger, *keys("old", 5))
        await world.snapshot_of_all_but_the_newest(ledger)
        assert remembered(ledger) == 5
        await world.snapshot_of_all_but_the_newest(ledger)
        first = await credit(ledger, "sixth")
        await world.snapshots.fold()
        await credit(ledger, "seventh")
        await ledger.adopt_snapshot()
        assert remembered(ledger) == 0
        assert await credit(ledger, "sixth") == [Replayed(first[0])]
        assert {type(outcome) for outcome in await credit(ledger, *keys("old", 5))} == {Replayed}
        for key in keys("new", OFTEN):
            await credit(ledger, key)
        assert remembered(ledger) == 0


async def test_with_a_limit_of_zero_nothing_is_remembered(world: World) -> None:
    async with world.ledger(remembered_keys=0) as ledger:
        await credit(ledger, *keys("old", 5))
        await world.snapshot_of_all_but_the_newest(ledger)
        await credit(ledger, *keys("new", OFTEN))
        assert remembered(ledger) == 0
        assert {type(outcome) for outcome in await credit(ledger, *keys("old", 5))} == {Replayed}


@pytest.mark.usefixtures("together")
async def test_of_a_user_who_is_idle_no_key_is_looked_up_either(world: World) -> None:
    async with world.ledger() as ledger:
        first = await credit(ledger, *keys("old", 5))
        await world.snapshot(ledger)
        assert in_memory(ledger) == (0, 1)
        assert remembered(ledger) == 5
        new = await credit(ledger, *keys("new", 100))
        assert {type(outcome) for outcome in new} == {Entry}
        assert world.snapshots.asked == 0
        assert in_memory(ledger) == (1, 0)
        await world.snapshot(ledger)
        assert remembered(ledger) == 105
        outcomes = await credit(ledger, *keys("old", 5), *keys("new", 100))
        assert outcomes == [Replayed(entry) for entry in (*first, *new)]
        assert in_memory(ledger) == (0, 1)
        assert await ledger.balance(ANN) == 105
        assert [entry.number for entry in await ledger.history(ANN, 11)] == [5, 4, 3, 2, 1]


@pytest.mark.usefixtures("together")
async def test_who_was_active_longest_ago_leaves_memory_first(world: World) -> None:
    room = 2 * (IDLE_ACCOUNT_KEYS + 5)
    async with world.ledger(remembered_keys=room) as ledger:
        for user in (ANN, BOB, EVE):
            await credit(ledger, *keys("old", 5), user=user)
            await world.snapshot(ledger)
        assert in_memory(ledger) == (0, 2)
        assert remembered(ledger) == 10
        await credit(ledger, "new", user=BOB)
        await credit(ledger, "new", user=EVE)
        assert world.snapshots.asked == 0
        await credit(ledger, "new", user=ANN)
        assert world.snapshots.asked == 1
        await world.snapshot(ledger)
        for user in (ANN, BOB, EVE):
            again = await credit(ledger, *keys("old", 5), "new", user=user)
            assert {type(outcome) for outcome in again} == {Replayed}
            assert await ledger.balance(user) == 6


@pytest.mark.usefixtures("together")
async def test_who_is_active_may_have_the_room_of_who_is_idle(world: World) -> None:
    room = IDLE_ACCOUNT_KEYS + 12
    async with world.ledger() as ledger:
        await credit(ledger, *keys("old", 12), user=BOB)
        await world.snapshot(ledger)
    async with world.ledger(remembered_keys=room) as ledger:
        await credit(ledger, *keys("old", 12))
        await world.snapshot(ledger)
        assert remembered(ledger) == 12
        for key in keys("new", OFTEN):
            await credit(ledger, key, user=BOB)
        assert in_memory(ledger) == (1, 0)
        assert remembered(ledger) == 12
        assert world.snapshots.asked < OFTEN


@pytest.mark.usefixtures("together")
async def test_who_comes_once_or_twice_pushes_nobody_out_of_memory(world: World) -> None:
    async with world.ledger() as ledger:
        await credit(ledger, *keys("old", 12), user=BOB)
        await world.snapshot(ledger)
    async with world.ledger(remembered_keys=IDLE_ACCOUNT_KEYS + 12) as ledger:
        await credit(ledger, *keys("old", 12))
        await world.snapshot(ledger)
        for key in keys("new", DISPLACING_LOOK_UPS):
            await credit(ledger, key, user=BOB)
        assert in_memory(ledger) == (1, 1)
        assert world.snapshots.asked == DISPLACING_LOOK_UPS
        await credit(ledger, "newer")
        assert world.snapshots.asked == DISPLACING_LOOK_UPS


@pytest.mark.usefixtures("together")
async def test_nobody_leaves_memory_for_keys_that_would_not_fit_either_way(world: World) -> None:
    async with world.ledger() as ledger:
        await credit(ledger, *keys("old", 30), user=BOB)
        await world.snapshot(ledger)
    async with world.ledger(remembered_keys=20) as ledger:
        await credit(ledger, *keys("old", 12))
        await world.snapshot(ledger)
        for key in keys("new", OFTEN):
            await credit(ledger, key, user=BOB)
        assert in_memory(ledger) == (1, 1)
        assert remembered(ledger) == 12


def test_an_idle_account_keeps_no_room_for_what_it_had() -> None:
    account = opened(ANN, 0, Micros(0))
    account.begin(1)
    plain = [account.stage(Credit(ANN, ONE), Timestamp(0)) for _ in range(1_000)]
    keyed = account.stage(Credit(ANN, ONE, IdempotencyKey("old")), Timestamp(0))
    for entry in (*plain, keyed):
        account.forget(entry)
    assert getsizeof(account.tail) > 10_000
    account.rest()
    assert getsizeof(account.tail) < 1_000
    assert [*account.tail] == ["old"]
    kept = account.tail
    account.rest()
    assert account.tail is kept


async def test_of_a_user_without_credits_nothing_stays_in_memory(world: World) -> None:
    async with world.ledger() as ledger:
        (refused,) = await credit(ledger, "too much", amount=Micros(MICROS_MAX + 1))
        assert isinstance(refused, BalanceLimitReached)
        assert in_memory(ledger) == (0, 0)


@pytest.mark.usefixtures("together")
async def test_a_history_that_cannot_be_read_stops_no_credit(world: World) -> None:
    async with world.ledger() as ledger:
        await credit(ledger, *keys("old", 12))
        await world.snapshot(ledger)
    async with world.ledger() as ledger:
        world.snapshots.unreadable = True
        for key in keys("new", OFTEN):
            (made,) = await credit(ledger, key)
            assert isinstance(made, Entry)
        assert remembered(ledger) == 0
        assert world.snapshots.asked == OFTEN
        assert {type(outcome) for outcome in await credit(ledger, *keys("old", 12))} == {Replayed}
