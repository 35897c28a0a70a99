"""What the log keeps for the next incremental backup, and when it lets go of it."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from ledger_actors.entry import BEGINNING, Batch, Entry, LogPosition, Timestamp
from ledger_actors.errors import CorruptStore, LogCut
from ledger_actors.identity import ShardId, UserId
from ledger_actors.money import Micros
from persistence.backup_mark import advance_mark, read_mark
from persistence.data_directory import DataDirectory
from persistence.errors import DiskFull
from persistence.log_reader import sealed_after
from persistence.log_store import LogStore
from persistence.store_description import StoreId
from persistence.write_ahead_log import HeldForBackup, LmdbWriteAheadLog, open_write_ahead_log

PLENTY = 10**9


def store_in(path: Path) -> DataDirectory:
    return DataDirectory(path, 1, StoreId("held"))


def batch(number: int, size: int = 1) -> Batch:
    entry = Entry(UserId("ann"), number, Micros(number), Timestamp(number), None)
    return Batch(ShardId(0), [entry] * size)


@asynccontextmanager
async def holding_log(
    path: Path, bytes_max: int = PLENTY, on_released: Callable[[LogPosition], None] = print
) -> AsyncIterator[LmdbWriteAheadLog]:
    """A log that is wished to keep what follows the mark beside it."""
    holding = HeldForBackup(lambda: read_mark(store_in(path)), bytes_max, on_released)
    async with open_write_ahead_log(path / "log", holding) as log:
        yield log


async def append(log: LmdbWriteAheadLog, count: int, size: int = 1) -> None:
    for number in range(log.position + 1, log.position + 1 + count):
        await log.append([batch(number, size)])


async def first_when_tidy(log: LmdbWriteAheadLog) -> int:
    """The oldest position, once the log has let go of what it may."""
    first = 0
    with trio.fail_after(10):
        while (now := log.statistics().first_position) != first:
            first = now
            await trio.sleep(0.3)
    return first


async def test_a_log_without_a_backup_keeps_nothing_for_one(tmp_path: Path) -> None:
    async with holding_log(tmp_path) as log:
        await append(log, 20)
        await log.cut(LogPosition(20))

        assert await first_when_tidy(log) == 20
        assert log.statistics().held is None


async def test_what_no_backup_has_is_kept(tmp_path: Path) -> None:
    async with holding_log(tmp_path) as log:
        await append(log, 20)
        advance_mark(store_in(tmp_path), LogPosition(7))
        await log.cut(LogPosition(20))

        assert await first_when_tidy(log) == 7
        assert log.statistics().held == 7
        assert [record.position for record in await log.read(LogPosition(7), PLENTY)] == [
            *range(8, 21)
        ]


async def test_a_backup_of_an_empty_log_keeps_all_that_follows(tmp_path: Path) -> None:
    async with holding_log(tmp_path) as log:
        advance_mark(store_in(tmp_path), BEGINNING)
        await append(log, 20)
        await log.cut(LogPosition(20))

        assert await first_when_tidy(log) == 1


async def test_the_next_backup_lets_go_of_what_it_has(tmp_path: Path) -> None:
    async with holding_log(tmp_path) as log:
        await append(log, 20)
        advance_mark(store_in(tmp_path), LogPosition(7))
        await log.cut(LogPosition(15))
        advance_mark(store_in(tmp_path), LogPosition(18))
        await log.cut(LogPosition(15))

        # What no snapshot has stays, whatever was backed up.
        assert await first_when_tidy(log) == 15


async def test_what_is_kept_is_kept_over_a_restart(tmp_path: Path) -> None:
    async with holding_log(tmp_path) as log:
        await append(log, 20)
        advance_mark(store_in(tmp_path), LogPosition(7))
        await log.cut(LogPosition(20))
    async with holding_log(tmp_path) as log:
        await append(log, 1)
        await log.cut(LogPosition(20))

        assert await first_when_tidy(log) == 7


async def test_more_than_the_limit_is_let_go_and_said_once(tmp_path: Path) -> None:
    released: list[LogPosition] = []
    async with holding_log(tmp_path, 1_000_000, released.append) as log:
        await append(log, 20)
        advance_mark(store_in(tmp_path), LogPosition(7))
        await log.cut(LogPosition(20))
        assert log.statistics().held == 7
        await append(log, 40, size=4_000)
        for _ in range(3):
            await log.cut(LogPosition(60))

        assert await first_when_tidy(log) == 60
        assert log.statistics().held is None
        assert released == [7]


async def test_a_limit_of_none_keeps_nothing_and_says_nothing(tmp_path: Path) -> None:
    released: list[LogPosition] = []
    async with holding_log(tmp_path, 0, released.append) as log:
        await append(log, 20)
        advance_mark(store_in(tmp_path), LogPosition(7))
        await log.cut(LogPosition(20))

        assert await first_when_tidy(log) == 20
        assert released == []


async def test_a_full_disk_takes_what_is_kept_before_it_refuses_credits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    released: list[LogPosition] = []
    async with holding_log(tmp_path, PLENTY, released.append) as log:
        await append(log, 20, size=10_000)
        advance_mark(store_in(tmp_path), LogPosition(2))
        await log.cut(LogPosition(20))
        reserved = log.statistics().reserved_bytes

        def no_room(*_: object) -> None:
            raise DiskFull("no room")

        monkeypatch.setattr("persistence.environment.Environment.grow", no_room)
        while log.statistics().held is not None:
            await append(log, 1, size=10_000)
            await log.cut(LogPosition(20))

        assert log.statistics().reserved_bytes == reserved
        assert log.position > 40
        assert released == [2]


def test_a_mark_never_goes_back(tmp_path: Path) -> None:
    advance_mark(store_in(tmp_path), LogPosition(7))
    advance_mark(store_in(tmp_path), LogPosition(5))

    assert read_mark(store_in(tmp_path)) == 7


def test_the_mark_of_another_store_is_none(tmp_path: Path) -> None:
    advance_mark(DataDirectory(tmp_path, 1, StoreId("before")), LogPosition(100))
    assert read_mark(store_in(tmp_path)) is None
    advance_mark(store_in(tmp_path), LogPosition(5))

    assert read_mark(store_in(tmp_path)) == 5


@pytest.mark.parametrize("content", ["", "{", '{"store":"held","position":"x"}', "null"])
def test_a_mark_that_cannot_be_read_is_none(tmp_path: Path, content: str) -> None:
    (tmp_path / "backup.json").write_text(content)

    assert read_mark(store_in(tmp_path)) is None


def test_records_of_one_log_are_adopted_by_another(tmp_path: Path) -> None:
    source, target = LogStore(tmp_path / "source"), LogStore(tmp_path / "target")
    for number in range(1, 6):
        source.commit([batch(number)])
    with source._environment.lmdb.begin() as transaction:
        records = list(sealed_after(transaction, LogPosition(2)))
    target.adopt(records[:2])
    target.adopt(records[2:])
    target.adopt([])

    assert (target.first, target.last) == (3, 5)
    assert target.commit([batch(6)]) == source.commit([batch(6)])
    assert target.digest(LogPosition(6)) == source.digest(LogPosition(6))
    with pytest.raises(LogCut):
        target.digest(LogPosition(2))
    with pytest.raises(CorruptStore, match="position 7 is missing"):
        target.adopt(records[:1])
    source.close()
    target.close()
