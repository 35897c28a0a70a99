"""Credits handed in by the thousand: each stands alone, and each counts once."""

import gc
import weakref
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio

from ledger_actors.bulk import Bulk
from ledger_actors.credit import Credit, Outcome, Replayed
from ledger_actors.entry import Entry
from ledger_actors.errors import (
    BalanceLimitReached,
    CorruptStore,
    IdempotencyKeyReused,
    LogUnavailable,
    Overloaded,
    Recovering,
    ShardRestarted,
)
from ledger_actors.identity import IdempotencyKey, Reference, UserId
from ledger_actors.ledger import Ledger, Limits, open_ledger
from ledger_actors.money import MICROS_MAX, Micros
from ledger_actors.ports import AccountSummary
from ledger_actors.testing import ManualClock, MemoryLog, MemorySnapshots, disk_full

ANN = UserId("ann")
BOB = UserId("bob")
KEY = IdempotencyKey("key")
ONE = Micros(1)
TWO = Micros(2)


class World:
    def __init__(self) -> None:
        self.log = MemoryLog()
        self.snapshots = MemorySnapshots(self.log)

    @asynccontextmanager
    async def ledger(self, limits: Limits | None = None) -> AsyncIterator[Ledger]:
        async with open_ledger(
            self.log, self.snapshots, ManualClock(7), shards=4, limits=limits or Limits()
        ) as ledger:
            yield ledger


@pytest.fixture
def world() -> World:
    return World()


async def settled(bulk: Bulk) -> list[Outcome]:
    await bulk.wait()
    return list(bulk.outcomes())


def kinds(outcomes: list[Outcome]) -> list[type]:
    return [type(outcome) for outcome in outcomes]


async def test_a_settled_bulk_is_freed_without_the_garbage_collector(world: World) -> None:
    async with world.ledger() as ledger:
        gc.disable()
        try:
            bulk = ledger.submit_bulk([Credit(ANN, ONE), Credit(BOB, TWO)])
            await bulk.wait()
            left = weakref.ref(bulk)
            del bulk
            assert left() is None
        finally:
            gc.enable()


async def test_what_is_kept_of_credits_is_nothing_for_the_garbage_collector(world: World) -> None:
    async with world.ledger() as ledger:
        credits_ = [
            Credit(UserId(f"user {n % 1000}"), ONE, IdempotencyKey(str(n)) if n % 2 else None)
            for n in range(10_000)
        ]
        await settled(ledger.submit_bulk(credits_[:1]))
        gc.collect()
        before = len(gc.get_objects())
        await settled(ledger.submit_bulk(credits_))
        assert ledger.unfolded_entries == 10_001
        gc.collect()
        assert len(gc.get_objects()) < before + 100


async def test_every_credit_of_a_bulk_counts_and_shares_one_record(world: World) -> None:
    credits_ = [Credit(UserId(f"user-{n % 50}"), Micros(n + 1)) for n in range(1000)]
    async with world.ledger() as ledger:
        bulk = ledger.submit_bulk(credits_)
        outcomes = await settled(bulk)
        assert bulk.uniform
        assert kinds(outcomes) == [Entry] * 1000
        assert [outcome.amount for outcome in outcomes if isinstance(outcome, Entry)] == [
            credit.amount for credit in credits_
        ]
        assert world.log.position == 1
        assert await ledger.balance(UserId("user-7")) == sum(
            credit.amount for credit in credits_ if credit.user == "user-7"
        )


async def test_outcomes_stand_in_the_order_of_the_requests(world: World) -> None:
    async with world.ledger() as ledger:
        await ledger.credit(ANN, ONE, KEY)
        bulk = ledger.submit_bulk(
            [
                Credit(BOB, ONE),
                Credit(ANN, ONE, KEY),
                Credit(ANN, TWO, KEY),
                Credit(BOB, Micros(MICROS_MAX)),
                Credit(ANN, TWO),
            ]
        )
        outcomes = await settled(bulk)
        assert not bulk.uniform
        assert kinds(outcomes) == [
            Entry,
            Replayed,
            IdempotencyKeyReused,
            BalanceLimitReached,
            Entry,
        ]
        assert (await ledger.balance(ANN), await ledger.balance(BOB)) == (3, 1)


async def test_one_key_twice_in_a_bulk_counts_once(world: World) -> None:
    async with world.ledger() as ledger:
        outcomes = await settled(ledger.submit_bulk([Credit(ANN, ONE, KEY)] * 3))
        assert kinds(outcomes) == [Entry, Replayed, Replayed]
        assert await ledger.balance(ANN) == 1


async def test_a_bulk_sent_again_changes_nothing_however_late(world: World) -> None:
    credits_ = [Credit(UserId(f"u{n % 7}"), ONE, IdempotencyKey(f"k{n}")) for n in range(100)]
    async with world.ledger() as ledger:
        await settled(ledger.submit_bulk(credits_))
        assert kinds(await settled(ledger.submit_bulk(credits_))) == [Replayed] * 100
        await world.snapshots.fold()
        await ledger.adopt_snapshot()
        assert ledger.unfolded_entries == 0
        assert kinds(await settled(ledger.submit_bulk(credits_))) == [Replayed] * 100
        assert sum(shard.active_accounts for shard in ledger.statistics().shards) == 0


async def test_a_key_with_another_reference_is_refused(world: World) -> None:
    order = Reference("order 1")
    async with world.ledger() as ledger:
        await ledger.credit(ANN, ONE, KEY, order)
        for _ in range(2):
            outcomes = await settled(
                ledger.submit_bulk([Credit(ANN, ONE, KEY), Credit(ANN, ONE, KEY, order)])
            )
            assert kinds(outcomes) == [IdempotencyKeyReused, Replayed]
            await world.snapshots.fold()
            await ledger.adopt_snapshot()


async def test_a_bulk_waits_for_credits_in_flight_with_its_keys(
    world: World, autojump_clock: trio.testing.MockClock
) -> None:
    async with world.ledger() as ledger:
        world.log.pause = trio.Event()
        first = ledger.submit(Credit(ANN, ONE, KEY))
        await trio.sleep(1)
        bulk = ledger.submit_bulk([Credit(ANN, ONE, KEY), Credit(BOB, ONE, KEY)])
        await trio.sleep(1)
        assert not bulk.settled
        world.log.pause.set()
        assert kinds(await settled(bulk)) == [Replayed, Entry]
        assert not (await first.outcome()).replayed


async def test_a_refused_append_keeps_what_was_durable_before(world: World) -> None:
    async with world.ledger() as ledger:
        await ledger.credit(ANN, ONE, KEY)
        world.log.fault = disk_full
        other = IdempotencyKey("other")
        credits_ = [
            Credit(ANN, ONE, KEY),
            Credit(ANN, TWO),
            Credit(ANN, ONE, other),
            Credit(ANN, ONE, other),
        ]
        outcomes = await settled(ledger.submit_bulk(credits_))
        assert kinds(outcomes) == [Replayed, LogUnavailable, LogUnavailable, LogUnavailable]
        world.log.fault = lambda: None
        assert await ledger.balance(ANN) == 1
        assert not (await ledger.credit(ANN, ONE, other)).replayed


async def test_a_full_inbox_refuses_its_part_alone(
    world: World, autojump_clock: trio.testing.MockClock
) -> None:
    async with world.ledger(Limits(inbox=1)) as ledger:
        world.log.pause = trio.Event()
        ledger.submit(Credit(ANN, ONE))
        await trio.sleep(1)
        ledger.submit(Credit(ANN, ONE))
        bulk = ledger.submit_bulk([Credit(ANN, ONE), Credit(BOB, ONE), Credit(BOB, ONE)])
        world.log.pause.set()
        assert kinds(await settled(bulk)) == [Overloaded, Entry, Entry]


async def test_an_empty_bulk_is_settled_at_once(world: World) -> None:
    async with world.ledger() as ledger:
        assert await settled(ledger.submit_bulk([])) == []


async def test_a_bulk_is_refused_whole_where_the_ledger_takes_nothing(world: World) -> None:
    ledger = Ledger(world.log, world.snapshots, ManualClock(), 4, Limits(), lambda *_: None)
    with pytest.raises(Recovering):
        ledger.submit_bulk([Credit(ANN, ONE)])
    async with world.ledger(Limits(unfolded_entries=1)) as full:
        await full.credit(ANN, ONE)
        full.notice_backlog()
        with pytest.raises(Overloaded):
            full.submit_bulk([Credit(ANN, ONE)])


async def test_a_damaged_account_fails_its_credits_alone(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreadable(user: UserId) -> AccountSummary | None:
        if user == ANN:
            raise CorruptStore("damaged")
        return None

    def many_unreadable(users: object) -> object:
        raise CorruptStore("damaged")

    monkeypatch.setattr(world.snapshots, "account", unreadable)
    monkeypatch.setattr(world.snapshots, "accounts_many", many_unreadable)
    async with world.ledger() as ledger:
        credits_ = [
            Credit(user, ONE, IdempotencyKey(f"{user} {n}")) for n in "123" for user in (ANN, BOB)
        ]
        assert kinds(await settled(ledger.submit_bulk(credits_))) == [CorruptStore, Entry] * 3


async def test_a_shard_that_raises_fails_its_part_and_comes_back(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with world.ledger() as ledger:
        await ledger.credit(ANN, ONE, KEY)
        monkeypatch.setattr(
            "ledger_actors.account.Account.stage", lambda *_: (_ for _ in ()).throw(ValueError)
        )
        outcomes = await settled(ledger.submit_bulk([Credit(ANN, TWO), Credit(ANN, TWO)]))
        assert kinds(outcomes) == [ShardRestarted, ShardRestarted]
        monkeypatch.undo()
        assert (await ledger.credit(ANN, ONE, KEY)).replayed
        assert await ledger.balance(ANN) == 1


async def test_a_shard_whose_keys_cannot_be_looked_up_comes_back_alone(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(requests: object) -> object:
        raise ValueError

    monkeypatch.setattr("ledger_actors.accounts.LOOKED_UP_TOGETHER_MIN", 1)
    async with world.ledger() as ledger:
        await ledger.credit(ANN, ONE)
        await world.snapshots.fold()
        await ledger.adopt_snapshot()
    async with world.ledger() as ledger:
        credits_ = [Credit(ANN, ONE, KEY), Credit(BOB, TWO, KEY)]
        with monkeypatch.context() as patch:
            patch.setattr(world.snapshots, "recorded_many", broken)
            outcomes = await settled(ledger.submit_bulk(credits_))
            # Of Bob no snapshot knows anything, so nothing is looked up for his shard.
            assert kinds(outcomes) == [ShardRestarted, Entry]
        assert kinds(await settled(ledger.submit_bulk(credits_))) == [Entry, Replayed]
        assert await ledger.balance(ANN) == 2
        assert await ledger.balance(BOB) == 2


async def test_what_comes_while_a_step_is_staged_waits_for_the_next(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ledger_actors.accounts.LOOKED_UP_TOGETHER_MIN", 1)
    late: list[Bulk] = []
    async with world.ledger() as ledger:
        for user in (ANN, BOB):
            await ledger.credit(user, ONE, KEY)
        await world.snapshots.fold()
        await ledger.adopt_snapshot()
        # Ann's shard has nothing to log, so it answers before Bob's is staged.
        ann = ledger.submit_bulk(
            [Credit(ANN, ONE, KEY)],
            lambda _: late.append(ledger.submit_bulk([Credit(BOB, ONE, KEY)])),
        )
        bob = ledger.submit_bulk([Credit(BOB, TWO, IdempotencyKey("another"))])
        assert kinds(await settled(ann)) == [Replayed]
        assert kinds(await settled(bob)) == [Entry]
        assert kinds(await settled(late[0])) == [Replayed]
        assert await ledger.balance(BOB) == 3
