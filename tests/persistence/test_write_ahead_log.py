"""The contract of `WriteAheadLog`, held against every implementation."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from ledger_actors.entry import BEGINNING, Batch, Entry, LogPosition, Timestamp
from ledger_actors.errors import LogCut, LogFailed, LogUnavailable
from ledger_actors.identity import ShardId, UserId
from ledger_actors.money import Micros
from ledger_actors.ports import WriteAheadLog
from ledger_actors.testing import MemoryLog
from persistence.errors import DiskFull
from persistence.log_store import LogStore
from persistence.write_ahead_log import LmdbWriteAheadLog, open_write_ahead_log

Opener = Callable[[], AbstractAsyncContextManager[WriteAheadLog]]
ALL = 10**9


@pytest.fixture(params=["memory", "lmdb"])
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Opener:
    """Opens the same log each time: what it held is there again."""
    memory = MemoryLog()

    @asynccontextmanager
    async def open_memory() -> AsyncIterator[WriteAheadLog]:
        yield memory

    return open_memory if request.param == "memory" else lambda: open_write_ahead_log(tmp_path)


def batch(number: int, shard: int = 0, size: int = 1) -> Batch:
    entry = Entry(UserId("ann"), number, Micros(number), Timestamp(number), None)
    return Batch(ShardId(shard), [entry] * size)


async def test_what_was_appended_is_read_in_order(opened: Opener) -> None:
    async with opened() as log:
        positions = [await log.append([batch(number)]) for number in (1, 2, 3)]
        assert positions == [1, 2, 3]
        records = await log.read(BEGINNING, ALL)
        assert [record.position for record in records] == positions
        assert [list(record.batches) for record in records] == [[batch(n)] for n in (1, 2, 3)]


async def test_reading_begins_behind_a_position_and_is_bounded_by_entries(opened: Opener) -> None:
    async with opened() as log:
        for number in range(1, 6):
            await log.append([batch(number, size=10)])
        records = await log.read(LogPosition(2), 15)
        assert [record.position for record in records] == [3, 4]
        assert await log.read(LogPosition(5), ALL) == []


async def test_what_was_appended_is_there_when_it_is_opened_again(opened: Opener) -> None:
    async with opened() as log:
        await log.append([batch(1)])
    async with opened() as log:
        assert await log.append([batch(2)]) == 2
        assert len(await log.read(BEGINNING, ALL)) == 2


async def test_concurrent_appends_are_all_there_each_once(opened: Opener) -> None:
    async with opened() as log:
        found: list[LogPosition] = []

        async def append(number: int) -> None:
            found.append(await log.append([batch(number, shard=number)]))

        async with trio.open_nursery() as nursery:
            for number in range(1, 65):
                nursery.start_soon(append, number)
        records = await log.read(BEGINNING, ALL)
        shards = sorted(written.shard for record in records for written in record.batches)
        assert shards == list(range(1, 65))
        assert set(found) == {record.position for record in records}


async def test_a_probe_leaves_a_record_without_batches(opened: Opener) -> None:
    async with opened() as log:
        await log.probe()
        (record,) = await log.read(BEGINNING, ALL)
        assert list(record.batches) == []


async def test_who_asks_is_told_when_an_append_waits_for_the_disk(opened: Opener) -> None:
    async with opened() as log, trio.open_nursery() as nursery:
        told: list[int] = []

        async def ask(number: int) -> None:
            await log.next_sync()
            told.append(number)

        nursery.start_soon(ask, 1)
        nursery.start_soon(ask, 2)
        await wait_all_tasks_blocked()
        assert told == []
        await log.append([batch(1)])
        await wait_all_tasks_blocked()
        assert sorted(told) == [1, 2]
        # An append that nobody asked about tells nobody of one that is over.
        await log.append([batch(2)])
        nursery.start_soon(ask, 3)
        await wait_all_tasks_blocked()
        assert len(told) == 2
        nursery.cancel_scope.cancel()


async def test_a_cut_log_keeps_the_record_at_the_position_and_what_follows(opened: Opener) -> None:
    async with opened() as log:
        for number in range(1, 6):
            await log.append([batch(number)])
        await log.cut(before=LogPosition(3))
        with trio.fail_after(10):
            while True:
                try:
                    await log.read(LogPosition(1), ALL)
                except LogCut:
                    break
                await trio.sleep(0.01)
        assert [record.position for record in await log.read(LogPosition(3), ALL)] == [4, 5]
        assert await log.append([batch(6)]) == 6
    async with opened() as log:
        assert [record.position for record in await log.read(LogPosition(3), ALL)] == [4, 5, 6]


async def test_a_caller_that_is_cancelled_leaves_the_log_usable(opened: Opener) -> None:
    async with opened() as log:
        with trio.CancelScope() as scope:
            scope.cancel()
            await log.append([batch(1)])
        await log.append([batch(2)])


class TestOnDisk:
    async def test_appends_that_wait_together_share_a_record(self, tmp_path: Path) -> None:
        async with open_write_ahead_log(tmp_path) as log:
            async with trio.open_nursery() as nursery:
                for shard in range(100):
                    nursery.start_soon(log.append, [batch(1, shard)])
            statistics = log.statistics()
            assert statistics.entries.total == 100
            assert statistics.commits.count < 100

    async def test_commits_are_measured_by_the_clock_that_it_is_given(self, tmp_path: Path) -> None:
        times = iter([10.0, 10.003, 20.0, 20.5])
        async with open_write_ahead_log(tmp_path, clock=times.__next__) as log:
            await log.append([batch(1)])
            await log.append([])
            statistics = log.statistics()
        assert statistics.commits.total == pytest.approx(0.503)
        assert statistics.commits.count == 2
        assert (statistics.entries.total, statistics.entries.count) == (1, 2)

    async def test_it_grows_by_itself(self, tmp_path: Path) -> None:
        async with open_write_ahead_log(tmp_path) as log:
            before = log.statistics().reserved_bytes
            for number in range(1, 17):
                await log.append([batch(number, size=200_000)])
            assert log.statistics().reserved_bytes > before
        async with open_write_ahead_log(tmp_path) as log:
            assert len(await log.read(BEGINNING, ALL)) == 16

    async def test_cut_room_is_used_again(self, tmp_path: Path) -> None:
        async with open_write_ahead_log(tmp_path) as log:
            before = log.statistics().reserved_bytes
            for number in range(1, 101):
                position = await log.append([batch(number, size=20_000)])
                await log.cut(before=position)
            assert log.statistics().reserved_bytes == before

    async def test_without_room_an_append_is_refused_and_a_later_one_is_taken(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async with open_write_ahead_log(tmp_path) as log:
            await log.append([batch(1)])

            def no_room(*_: object) -> None:
                raise DiskFull("no room")

            monkeypatch.setattr("persistence.environment.Environment.grow", no_room)
            with pytest.raises(LogUnavailable, match="no room"):
                await log.append([batch(2, size=2_000_000)])
            assert await log.append([batch(2)]) == 2
            monkeypatch.undo()
            assert await log.append([batch(3, size=2_000_000)]) == 3
            assert [record.position for record in await log.read(BEGINNING, ALL)] == [1, 2, 3]

    async def test_after_a_failed_commit_nothing_is_tried_again(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async with open_write_ahead_log(tmp_path) as log:
            await log.append([batch(1)])

            def fail(*_: object) -> None:
                raise OSError(5, "Input/output error")

            monkeypatch.setattr("persistence.log_store.LogStore._cut", fail)
            with pytest.raises(LogFailed, match="Input/output error"):
                await log.append([batch(2)])
            monkeypatch.undo()
            with pytest.raises(LogFailed):
                await log.append([batch(2)])
            with pytest.raises(LogFailed):
                await log.read(BEGINNING, ALL)

    async def test_errors_are_each_waiters_own(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        errors: list[LogUnavailable] = []

        async def append(log: LmdbWriteAheadLog, shard: int) -> None:
            try:
                await log.append([batch(1, shard)])
            except LogUnavailable as error:
                errors.append(error)

        def refuse(*_: object) -> None:
            raise LogUnavailable("no room")

        monkeypatch.setattr(LogStore, "commit", refuse)
        async with open_write_ahead_log(tmp_path) as log, trio.open_nursery() as nursery:
            for shard in range(10):
                nursery.start_soon(append, log, shard)
        assert len({id(error) for error in errors}) == 10
