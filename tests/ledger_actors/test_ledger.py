"""The ledger over ports in memory: what callers can rely on, and what happens when things fail."""

import dataclasses
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
import trio

from ledger_actors.accounts import Duplicates
from ledger_actors.credit import Credit, Credited, Submission
from ledger_actors.entry import Batch, Entry, LogPosition, Timestamp
from ledger_actors.errors import (
    BalanceLimitReached,
    CorruptStore,
    IdempotencyKeyReused,
    LedgerError,
    LogFailed,
    LogUnavailable,
    Overloaded,
    Recovering,
    ShardRestarted,
    ShuttingDown,
)
from ledger_actors.group_commit import CommitStep
from ledger_actors.identity import IdempotencyKey, ShardId, UserId, shard_of
from ledger_actors.ledger import Ledger, Limits, open_ledger
from ledger_actors.money import MICROS_MAX, Micros
from ledger_actors.ports import AccountSummary
from ledger_actors.testing import ManualClock, MemoryLog, MemorySnapshots, disk_full

ANN = UserId("ann")
BOB = UserId("bob")
KEY = IdempotencyKey("key")
ONE = Micros(1_000_000)
TWO = Micros(2_000_000)
SHARDS = 4
DEFAULT_LIMITS = Limits()


class World:
    """What survives a crash of the ledger, and what it did."""

    def __init__(self) -> None:
        self.log = MemoryLog()
        self.snapshots = MemorySnapshots(self.log)
        self.clock = ManualClock(7)
        self.restarts: list[tuple[ShardId, str]] = []

    def crash(self) -> None:
        """The view of the snapshots starts anew, as in a new process."""
        self.snapshots.refresh()

    @asynccontextmanager
    async def ledger(self, limits: Limits = DEFAULT_LIMITS) -> AsyncIterator[Ledger]:
        async with open_ledger(
            self.log,
            self.snapshots,
            self.clock,
            shards=SHARDS,
            limits=limits,
            on_restart=lambda shard, error: self.restarts.append((shard, str(error))),
        ) as ledger:
            yield ledger

    async def snapshot(self, ledger: Ledger) -> None:
        await self.snapshots.fold()
        position = await ledger.adopt_snapshot()
        await self.log.cut(before=position)


@pytest.fixture
def world() -> World:
    return World()


async def outcome_of(credit: Callable[[], object]) -> LedgerError | Credited:
    try:
        return await credit()  # type: ignore[misc,no-any-return]
    except LedgerError as error:
        return error


def raise_over_it(submission: Submission) -> None:
    raise RuntimeError("a defect in who takes the answer")


async def test_a_credit_shows_in_balance_and_history(world: World) -> None:
    async with world.ledger() as ledger:
        credited = await ledger.credit(ANN, ONE)
        assert credited == (Entry(ANN, 1, ONE, Timestamp(7), None), False)
        assert await ledger.balance(ANN) == ONE
        assert await ledger.history(ANN, 1) == [credited.entry]


async def test_an_unknown_user_has_nothing_and_takes_no_memory(world: World) -> None:
    async with world.ledger() as ledger:
        assert await ledger.balance(ANN) == 0
        assert await ledger.history(ANN, 1) == ()
        assert sum(shard.active_accounts for shard in ledger.statistics().shards) == 0


async def test_nothing_shows_before_it_is_durable(
    world: World, autojump_clock: trio.testing.MockClock
) -> None:
    async with world.ledger() as ledger:
        world.log.pause = trio.Event()
        credit = ledger.submit(Credit(ANN, ONE))
        await trio.sleep(1)
        assert not credit.settled
        assert await ledger.balance(ANN) == 0
        assert await ledger.history(ANN, 1) == ()
        world.log.pause.set()
        await credit.outcome()
        assert await ledger.balance(ANN) == ONE


async def test_a_retry_gets_the_first_outcome_and_changes_nothing(world: World) -> None:
    async with world.ledger() as ledger:
        first = await ledger.credit(ANN, ONE, KEY)
        assert await ledger.credit(ANN, ONE, KEY) == (first.entry, True)
        assert await ledger.balance(ANN) == ONE


async def test_a_key_belongs_to_one_user(world: World) -> None:
    async with world.ledger() as ledger:
        await ledger.credit(ANN, ONE, KEY)
        assert not (await ledger.credit(BOB, TWO, KEY)).replayed


async def test_a_key_with_another_amount_is_refused_and_changes_nothing(world: World) -> None:
    async with world.ledger() as ledger:
        await ledger.credit(ANN, ONE, KEY)
        with pytest.raises(IdempotencyKeyReused, match=r"1\.000000"):
            await ledger.credit(ANN, TWO, KEY)
        assert await ledger.balance(ANN) == ONE


async def test_credits_of_one_batch_with_one_key_count_once(world: World) -> None:
    async with world.ledger() as ledger:
        credits_ = [ledger.submit(Credit(ANN, amount, KEY)) for amount in (ONE, ONE, TWO, ONE)]
        outcomes = [await outcome_of(credit.outcome) for credit in credits_]
        assert [getattr(outcome, "replayed", None) for outcome in outcomes] == [
            False,
            True,
            None,
            True,
        ]
        assert isinstance(outcomes[2], IdempotencyKeyReused)
        assert await ledger.balance(ANN) == ONE


async def test_a_retry_in_flight_waits_for_the_first(
    world: World, autojump_clock: trio.testing.MockClock
) -> None:
    async with world.ledger() as ledger:
        world.log.pause = trio.Event()
        first = ledger.submit(Credit(ANN, ONE, KEY))
        await trio.sleep(1)
        retry = ledger.submit(Credit(ANN, ONE, KEY))
        await trio.sleep(1)
        assert not retry.settled
        world.log.pause.set()
        assert await retry.outcome() == ((await first.outcome()).entry, True)


async def test_waiting_credits_share_one_append(
    world: World, autojump_clock: trio.testing.MockClock
) -> None:
    async with world.ledger() as ledger:
        world.log.pause = trio.Event()
        ledger.submit(Credit(ANN, ONE))
        await trio.sleep(1)
        waiting = [ledger.submit(Credit(ANN, ONE)) for _ in range(100)]
        world.log.pause.set()
        for credit in waiting:
            await credit.outcome()
        assert world.log.position == 2


async def test_a_caller_that_gives_up_does_not_take_its_credit_back(
    world: World, autojump_clock: trio.testing.MockClock
) -> None:
    async with world.ledger() as ledger:
        world.log.pause = trio.Event()
        with trio.move_on_after(1):
            await ledger.credit(ANN, ONE)
        world.log.pause.set()
        await ledger.credit(ANN, ONE)
        assert await ledger.balance(ANN) == TWO


async def test_a_full_inbox_refuses_at_once(
    world: World, autojump_clock: trio.testing.MockClock
) -> None:
    async with world.ledger(Limits(inbox=2)) as ledger:
        world.log.pause = trio.Event()
        ledger.submit(Credit(ANN, ONE))
        await trio.sleep(1)
        ledger.submit(Credit(ANN, ONE))
        ledger.submit(Credit(ANN, ONE))
        with pytest.raises(Overloaded):
            ledger.submit(Credit(ANN, ONE))
        assert sum(shard.inbox.refused for shard in ledger.statistics().shards) == 1
        world.log.pause.set()


async def test_while_a_commit_takes_too_long_credits_are_refused_and_reads_are_not(
    world: World, autojump_clock: trio.testing.MockClock
) -> None:
    async with world.ledger(Limits(commit_s_max=0.5)) as ledger:
        world.log.pause = trio.Event()
        first = ledger.submit(Credit(ANN, ONE))
        await trio.sleep(0.4)
        ledger.notice_stall(trio.current_time())
        second = ledger.submit(Credit(ANN, ONE))
        await trio.sleep(0.2)
        ledger.notice_stall(trio.current_time())
        assert ledger.not_ready is not None
        with pytest.raises(Overloaded, match="the disk takes too long"):
            ledger.submit(Credit(BOB, ONE))
        with pytest.raises(Overloaded):
            ledger.submit_bulk([Credit(BOB, ONE)])
        assert await ledger.balance(ANN) == 0
        world.log.pause.set()
        assert [(await one.outcome()).entry.number for one in (first, second)] == [1, 2]
        ledger.notice_stall(trio.current_time())
        assert ledger.not_ready is None
        await ledger.credit(BOB, ONE)
        assert (await ledger.balance(ANN), await ledger.balance(BOB)) == (TWO, ONE)


async def test_a_stall_that_ends_does_not_hide_a_backlog(
    world: World, autojump_clock: trio.testing.MockClock
) -> None:
    async with world.ledger(Limits(unfolded_entries=1, commit_s_max=0.5)) as ledger:
        world.log.pause = trio.Event()
        credit = ledger.submit(Credit(ANN, ONE))
        await trio.sleep(1)
        ledger.notice_stall(trio.current_time())
        world.log.pause.set()
        await credit.outcome()
        ledger.notice_backlog()
        ledger.notice_stall(trio.current_time())
        with pytest.raises(Overloaded, match="snapshots are far behind"):
            await ledger.credit(ANN, ONE)


async def test_duplicates_are_counted_by_where_they_were_recognised(
    world: World, autojump_clock: trio.testing.MockClock
) -> None:
    async with world.ledger() as ledger:
        await ledger.credit(ANN, ONE, KEY)
        await world.snapshot(ledger)
        await ledger.credit(ANN, ONE, KEY)
        await ledger.credit(ANN, ONE, IdempotencyKey("new"))
        await ledger.credit(ANN, ONE, IdempotencyKey("new"))
        for amount, key in [(TWO, KEY), (TWO, IdempotencyKey("new"))]:
            with pytest.raises(IdempotencyKeyReused):
                await ledger.credit(ANN, amount, key)
        together = [ledger.submit(Credit(ANN, ONE, IdempotencyKey("both"))) for _ in range(2)]
        for credit in together:
            await credit.outcome()

        assert duplicates_of(ledger) == Duplicates(
            from_memory=1, from_snapshot=1, in_flight=1, key_reused=2
        )


async def test_a_retry_that_comes_while_its_first_is_written_is_found_in_memory(
    world: World, autojump_clock: trio.testing.MockClock
) -> None:
    async with world.ledger() as ledger:
        world.log.pause = trio.Event()
        ledger.submit(Credit(ANN, ONE, KEY))
        await trio.sleep(1)
        retry = ledger.submit(Credit(ANN, ONE, KEY))
        world.log.pause.set()
        assert (await retry.outcome()).replayed
        assert duplicates_of(ledger) == Duplicates(from_memory=1)


async def test_the_step_that_settles_a_credit_says_when_it_was_taken_up_and_where_it_is(
    world: World,
) -> None:
    seen: list[CommitStep | None] = []
    async with world.ledger() as ledger:
        world.clock.time = Timestamp(50)
        await ledger.credit(ANN, ONE, KEY)
        assert ledger.step == CommitStep(Timestamp(50), LogPosition(1))
        world.clock.time = Timestamp(60)
        retry = ledger.submit(Credit(ANN, ONE, KEY), lambda _: seen.append(ledger.step))
        await retry.outcome()
    assert seen == [CommitStep(Timestamp(60), None)]


def duplicates_of(ledger: Ledger) -> Duplicates:
    counted = [shard.duplicates for shard in ledger.statistics().shards]
    return Duplicates(
        *(
            sum(getattr(one, field.name) for one in counted)
            for field in dataclasses.fields(Duplicates)
        )
    )


async def test_a_backlog_of_entries_in_no_snapshot_refuses_until_one_is_taken(
    world: World,
) -> None:
    async with world.ledger(Limits(unfolded_entries=3)) as ledger:
        for _ in range(3):
            await ledger.credit(ANN, ONE)
        ledger.notice_backlog()
        assert ledger.not_ready is not None
        with pytest.raises(Overloaded):
            await ledger.credit(ANN, ONE)
        assert ledger.statistics().refused_behind == 1
        assert ledger.statistics().unfolded_entries == 3
        assert await ledger.balance(ANN) == 3 * ONE
        await world.snapshot(ledger)
        await ledger.credit(ANN, ONE)
        assert await ledger.balance(ANN) == 4 * ONE


async def test_a_sum_past_the_limit_is_refused_alone(world: World) -> None:
    async with world.ledger() as ledger:
        credits_ = [
            ledger.submit(Credit(ANN, amount))
            for amount in (Micros(MICROS_MAX - 1), TWO, Micros(1))
        ]
        outcomes = [await outcome_of(credit.outcome) for credit in credits_]
        assert isinstance(outcomes[1], BalanceLimitReached)
        assert await ledger.balance(ANN) == MICROS_MAX
        assert len(await ledger.history(ANN, 1)) == 2


async def test_a_refused_append_leaves_memory_as_the_disk_is(
    world: World, autojump_clock: trio.testing.MockClock
) -> None:
    async with world.ledger() as ledger:
        await ledger.credit(ANN, ONE, KEY)
        world.log.fault = disk_full
        refused = [
            ledger.submit(Credit(ANN, TWO)),
            ledger.submit(Credit(BOB, ONE, KEY)),
            ledger.submit(Credit(BOB, ONE)),
        ]
        outcomes = [await outcome_of(credit.outcome) for credit in refused]
        assert [type(outcome) for outcome in outcomes] == [LogUnavailable] * 3
        assert len({id(outcome) for outcome in outcomes}) == 3
        assert ledger.statistics().refused_appends == 1
        assert (await ledger.credit(ANN, ONE, KEY)).replayed
        assert ledger.not_ready == "the write-ahead log has no room"
        assert (await ledger.balance(ANN), await ledger.balance(BOB)) == (ONE, 0)
        world.log.fault = lambda: None
        assert not (await ledger.credit(BOB, ONE, KEY)).replayed
        assert ledger.not_ready is None
        assert [entry.number for entry in await ledger.history(BOB, 1)] == [1]


async def test_nothing_is_refused_for_an_entry_that_the_log_refused(
    world: World, autojump_clock: trio.testing.MockClock
) -> None:
    rich = Micros(2**63 - 1)
    async with world.ledger() as ledger:
        world.log.fault = disk_full
        credits_ = [
            Credit(ANN, ONE, KEY),
            Credit(ANN, TWO, KEY),
            Credit(BOB, rich),
            Credit(BOB, rich),
        ]
        submitted = [ledger.submit(credit) for credit in credits_]
        outcomes = [await outcome_of(credit.outcome) for credit in submitted]
        assert [type(outcome) for outcome in outcomes] == [LogUnavailable] * 4
        world.log.fault = lambda: None
        assert not (await ledger.credit(ANN, TWO, KEY)).replayed


async def test_an_account_whose_entries_were_folded_while_an_append_was_refused_is_let_go(
    world: World, autojump_clock: trio.testing.MockClock
) -> None:
    async with world.ledger() as ledger:
        await ledger.credit(ANN, ONE)
        world.log.pause = trio.Event()
        refused = ledger.submit(Credit(ANN, TWO))
        await trio.sleep(1)
        await world.snapshot(ledger)
        world.log.fault = disk_full
        world.log.pause.set()
        assert isinstance(await outcome_of(refused.outcome), LogUnavailable)
        assert sum(shard.active_accounts for shard in ledger.statistics().shards) == 0
        assert await ledger.balance(ANN) == ONE


async def test_readiness_returns_by_itself_when_the_log_can_be_written(
    world: World, autojump_clock: trio.testing.MockClock
) -> None:
    async with world.ledger(Limits(probe_interval_s=1)) as ledger:
        world.log.fault = disk_full
        with pytest.raises(LogUnavailable):
            await ledger.credit(ANN, ONE)
        await trio.sleep(5)
        assert ledger.not_ready is not None
        world.log.fault = lambda: None
        await trio.sleep(2)
        assert ledger.not_ready is None


async def test_a_failed_log_ends_the_ledger_and_answers_nobody_with_success(world: World) -> None:
    outcomes = []
    with pytest.RaisesGroup(pytest.RaisesGroup(LogFailed, flatten_subgroups=True)):
        async with world.ledger() as ledger:
            world.log.fault = lambda: LogFailed("fsync failed")
            credits_ = [ledger.submit(Credit(ANN, ONE)), ledger.submit(Credit(ANN, ONE))]
            with trio.CancelScope(shield=True):
                outcomes = [await outcome_of(credit.outcome) for credit in credits_]
            await trio.sleep_forever()
    assert [type(outcome) for outcome in outcomes] == [LogFailed, LogFailed]


async def test_a_log_in_which_a_key_has_counted_twice_is_shown_as_it_is(world: World) -> None:
    entries = [
        Entry(ANN, number, amount, Timestamp(0), KEY) for number, amount in [(1, ONE), (2, TWO)]
    ]
    await world.log.append([Batch(shard_of(ANN, SHARDS), entries)])
    async with world.ledger() as ledger:
        assert await ledger.balance(ANN) == ONE + TWO
        assert list(await ledger.history(ANN, 1)) == entries[::-1]
        assert (await ledger.credit(ANN, ONE, KEY)).replayed


async def test_a_ledger_that_is_still_recovering_says_so(world: World) -> None:
    ledger = Ledger(world.log, world.snapshots, world.clock, SHARDS, Limits(), lambda *_: None)
    assert ledger.not_ready is not None
    with pytest.raises(Recovering):
        await ledger.credit(ANN, ONE)
    with pytest.raises(Recovering):
        await ledger.balance(ANN)


async def test_a_closing_ledger_answers_what_is_in_flight_and_takes_no_more(
    world: World, autojump_clock: trio.testing.MockClock
) -> None:
    async with world.ledger() as ledger:
        world.log.pause = trio.Event()
        first = ledger.submit(Credit(ANN, ONE))
        await trio.sleep(1)
        waiting = ledger.submit(Credit(ANN, ONE))
        ledger.close()
        assert ledger.not_ready is not None
        with pytest.raises(ShuttingDown):
            ledger.submit(Credit(ANN, ONE))
        world.log.pause.set()
        await first.outcome()
        await waiting.outcome()


class TestAfterARestart:
    async def test_everything_is_there(self, world: World) -> None:
        async with world.ledger() as ledger:
            for amount in (ONE, TWO, ONE):
                await ledger.credit(ANN, amount)
            before = await ledger.history(ANN, 1)
        world.crash()
        async with world.ledger() as ledger:
            assert await ledger.balance(ANN) == 4_000_000
            assert await ledger.history(ANN, 1) == before

    async def test_a_retry_is_recognised_from_the_log(self, world: World) -> None:
        async with world.ledger() as ledger:
            first = await ledger.credit(ANN, ONE, KEY)
        world.crash()
        async with world.ledger() as ledger:
            assert await ledger.credit(ANN, ONE, KEY) == (first.entry, True)

    async def test_a_retry_is_recognised_from_the_snapshot(self, world: World) -> None:
        async with world.ledger() as ledger:
            first = await ledger.credit(ANN, ONE, KEY)
            await ledger.credit(BOB, ONE)
            await world.snapshot(ledger)
        world.crash()
        async with world.ledger() as ledger:
            assert ledger.unfolded_entries == 0
            assert await ledger.credit(ANN, ONE, KEY) == (first.entry, True)

    async def test_a_log_that_skips_an_entry_is_refused_with_its_position(
        self, world: World
    ) -> None:
        async with world.ledger() as ledger:
            for _ in range(3):
                await ledger.credit(ANN, ONE)
        del world.log._records[1]
        with pytest.raises(CorruptStore, match=r"position 3: entry 3 .* follows entry 1"):
            async with world.ledger():
                pass

    async def test_a_log_that_does_not_follow_the_snapshot_is_reported(self, world: World) -> None:
        async with world.ledger() as ledger:
            for _ in range(3):
                await ledger.credit(ANN, ONE)
        del world.log._records[0]
        world.log._first = LogPosition(2)
        world.snapshots._position = LogPosition(1)
        async with world.ledger() as ledger:
            with pytest.raises(CorruptStore, match=r"has 0 entries of user 'ann', the log has 2"):
                await ledger.balance(ANN)

    async def test_balance_and_history_join_snapshot_and_replayed_log(self, world: World) -> None:
        async with world.ledger() as ledger:
            await ledger.credit(ANN, ONE)
            await world.snapshot(ledger)
            await ledger.credit(ANN, TWO)
            await ledger.credit(ANN, TWO)
        world.crash()
        async with world.ledger() as ledger:
            await world.snapshots.fold()
            await ledger.adopt_snapshot()
            await ledger.credit(ANN, ONE)
            assert await ledger.balance(ANN) == 6_000_000
            amounts = [entry.amount for entry in await ledger.history(ANN, 1)]
            assert amounts == [ONE, TWO, TWO, ONE]

    async def test_a_snapshot_may_overtake_a_replay_that_nobody_has_read(
        self, world: World
    ) -> None:
        async with world.ledger() as ledger:
            for _ in range(3):
                await ledger.credit(ANN, ONE)
        world.crash()
        async with world.ledger() as ledger:
            await world.snapshots.fold()
            # The view has moved on, and the shard has not yet forgotten.
            world.snapshots.refresh()
            assert await ledger.balance(ANN) == 3 * ONE
            assert len(await ledger.history(ANN, 1)) == 3

    async def test_a_log_of_another_number_of_shards_is_refused(self, world: World) -> None:
        async with world.ledger() as ledger:
            await ledger.credit(ANN, ONE)
        with pytest.raises(CorruptStore, match=r"position 1 .* none of a store with 3 shards"):
            async with open_ledger(world.log, world.snapshots, world.clock, shards=3):
                pass


class TestWithASnapshot:
    async def test_memory_keeps_only_what_no_snapshot_has(self, world: World) -> None:
        async with world.ledger() as ledger:
            for _ in range(5):
                await ledger.credit(ANN, ONE)
            await world.snapshot(ledger)
            await ledger.credit(BOB, ONE)
            assert ledger.unfolded_entries == 1
            assert sum(shard.active_accounts for shard in ledger.statistics().shards) == 1

    async def test_pages_join_snapshot_and_memory_without_a_seam(self, world: World) -> None:
        async with world.ledger() as ledger:
            expected: list[int] = []
            for number in range(1, 48):
                await ledger.credit(ANN, Micros(number))
                expected.insert(0, number)
                if number in (7, 20, 31):
                    await world.snapshot(ledger)
                for page in range(1, 7):
                    entries = await ledger.history(ANN, page)
                    assert [entry.amount for entry in entries] == expected[
                        page * 10 - 10 : page * 10
                    ]

    async def test_a_snapshot_taken_while_credits_are_in_flight_loses_nothing(
        self, world: World, autojump_clock: trio.testing.MockClock
    ) -> None:
        async with world.ledger() as ledger:
            await ledger.credit(ANN, ONE, KEY)
            world.log.pause = trio.Event()
            in_flight = ledger.submit(Credit(ANN, TWO))
            await trio.sleep(1)
            await world.snapshot(ledger)
            world.log.pause.set()
            assert (await in_flight.outcome()).entry.number == 2
            assert await ledger.balance(ANN) == 3_000_000
            assert (await ledger.credit(ANN, ONE, KEY)).replayed


async def test_a_user_whose_account_cannot_be_read_does_not_trouble_the_others(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreadable(user: UserId) -> AccountSummary | None:
        if user == ANN:
            raise CorruptStore("damaged")
        return None

    monkeypatch.setattr(world.snapshots, "account", unreadable)
    async with world.ledger() as ledger:
        credits_ = [ledger.submit(Credit(user, ONE)) for user in (BOB, ANN, BOB)]
        outcomes = [await outcome_of(credit.outcome) for credit in credits_]
        assert isinstance(outcomes[1], CorruptStore)
        assert await ledger.balance(BOB) == TWO
        with pytest.raises(CorruptStore):
            await ledger.balance(ANN)
        assert world.restarts == []


class TestWhenAShardRaises:
    async def test_its_callers_are_told_and_the_others_never_notice(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async with world.ledger() as ledger:
            await ledger.credit(ANN, ONE, KEY)
            await ledger.credit(BOB, ONE)
            await world.snapshot(ledger)
        async with world.ledger() as ledger:
            await ledger.credit(ANN, ONE, KEY)
            original = world.snapshots.recorded

            def failing(user: UserId, key: IdempotencyKey) -> Entry | None:
                if key == "bad":
                    raise RuntimeError("a defect")
                return original(user, key)

            monkeypatch.setattr(world.snapshots, "recorded", failing)
            with pytest.raises(ShardRestarted):
                await ledger.credit(ANN, ONE, IdempotencyKey("bad"))
            assert not (await ledger.credit(BOB, ONE)).replayed
            assert (await ledger.credit(ANN, ONE, KEY)).replayed
            assert await ledger.balance(ANN) == ONE
            assert [error for _, error in world.restarts] == ["a defect"]
            assert sum(shard.restarts for shard in ledger.statistics().shards) == 1
            # One from before, one from after: what was counted is not lost with the memory.
            assert duplicates_of(ledger).from_snapshot == 2

    async def test_what_it_had_made_durable_is_there_and_counts_once(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async with world.ledger() as ledger:
            await ledger.credit(ANN, ONE)
            append = world.log.append

            async def append_and_fail(batch: object) -> object:
                monkeypatch.setattr(world.log, "append", append)
                await append(batch)  # type: ignore[arg-type]
                raise RuntimeError("a defect after the fsync")

            monkeypatch.setattr(world.log, "append", append_and_fail)
            with pytest.raises(ShardRestarted):
                await ledger.credit(ANN, TWO, KEY)
            assert (await ledger.credit(ANN, TWO, KEY)).replayed
            assert await ledger.balance(ANN) == 3_000_000

    async def test_readers_wait_until_it_is_rebuilt(
        self,
        world: World,
        monkeypatch: pytest.MonkeyPatch,
        autojump_clock: trio.testing.MockClock,
    ) -> None:
        async with world.ledger() as ledger:
            await ledger.credit(ANN, ONE)
            read = world.log.read
            attempts = []

            async def read_late(*arguments: object) -> object:
                attempts.append(1)
                if len(attempts) == 1:
                    raise RuntimeError("cannot be read yet")
                await trio.sleep(1)
                return await read(*arguments)  # type: ignore[arg-type]

            monkeypatch.setattr(world.log, "read", read_late)
            monkeypatch.setattr("ledger_actors.account.Account.stage", lambda *_: 1 / 0)
            with pytest.raises(ShardRestarted):
                await ledger.credit(ANN, ONE)
            assert await ledger.balance(ANN) == ONE
            assert [error for _, error in world.restarts] == [
                "division by zero",
                "cannot be read yet",
            ]

    async def test_a_snapshot_taken_while_it_is_rebuilt_loses_nothing(
        self,
        world: World,
        monkeypatch: pytest.MonkeyPatch,
        autojump_clock: trio.testing.MockClock,
    ) -> None:
        async with world.ledger() as ledger:
            for _ in range(20):
                await ledger.credit(ANN, ONE)
            await world.snapshots.fold()
            await ledger.credit(ANN, ONE)
            monkeypatch.setattr("ledger_actors.recovery.ENTRIES_PER_READ", 4)
            read = world.log.read

            async def read_slowly(*arguments: object) -> object:
                await trio.sleep(1)
                return await read(*arguments)  # type: ignore[arg-type]

            monkeypatch.setattr(world.log, "read", read_slowly)
            monkeypatch.setattr("ledger_actors.account.Account.stage", lambda *_: 1 / 0)
            with pytest.raises(ShardRestarted):
                await ledger.credit(ANN, ONE)
            await trio.sleep(2.5)
            await world.log.cut(before=await ledger.adopt_snapshot())
            assert await ledger.balance(ANN) == 21 * ONE
            assert [entry.number for entry in await ledger.history(ANN, 1)] == list(
                range(21, 11, -1)
            )

    async def test_a_caller_who_raises_over_a_refused_append_stops_no_other(
        self, world: World, autojump_clock: trio.testing.MockClock
    ) -> None:
        async with world.ledger() as ledger:
            world.log.fault = disk_full
            ledger.submit(Credit(ANN, ONE), raise_over_it)
            others = [ledger.submit(Credit(user, ONE)) for user in (ANN, BOB)]
            outcomes = [await outcome_of(credit.outcome) for credit in others]
            assert [type(outcome) for outcome in outcomes] == [ShardRestarted, LogUnavailable]
            world.log.fault = lambda: None
            await ledger.wait_rebuilt(ANN)
            assert (await ledger.credit(ANN, ONE)).entry.number == 1

    async def test_a_caller_who_raises_over_a_failed_append_does_not_hide_the_failure(
        self, world: World
    ) -> None:
        other = None
        with pytest.RaisesGroup(LogFailed, flatten_subgroups=True):
            async with world.ledger() as ledger:
                world.log.fault = LogFailed
                ledger.submit(Credit(ANN, ONE), raise_over_it)
                other = ledger.submit(Credit(ANN, ONE))
                await trio.sleep_forever()
        assert other is not None
        assert isinstance(await outcome_of(other.outcome), LogFailed)
