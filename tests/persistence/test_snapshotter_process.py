import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterable
from contextlib import closing
from pathlib import Path

import pytest
import trio

from ledger_actors.entry import Batch, Entry, Timestamp
from ledger_actors.errors import SnapshotFailed
from ledger_actors.identity import ShardId, UserId
from ledger_actors.money import Micros
from persistence.data_directory import DataDirectory, create_data_directory
from persistence.environment import open_for_reading
from persistence.log_store import LogStore
from persistence.snapshot_store import SnapshotWriter
from persistence.snapshotter import ENTRIES_PER_TRANSACTION, fold_next
from persistence.snapshotter_process import SnapshotterProcess, open_snapshotter

RECORDS = 100

COUNTING = """
import os, sys
from pathlib import Path

yields = 0

def count():
    global yields
    yields += 1

os.sched_yield = count

from persistence.snapshotter import serve

serve(Path(sys.argv[1]), Path(sys.argv[2]))
print(yields, file=sys.stderr)
"""
"""The snapshotter, which tells at its end how often it let others go first."""


@pytest.fixture
def directory(tmp_path: Path) -> DataDirectory:
    return create_data_directory(tmp_path, 4)


@pytest.fixture
async def snapshotter(directory: DataDirectory) -> AsyncIterator[SnapshotterProcess]:
    async with open_snapshotter(directory) as opened:
        yield opened


def append(directory: DataDirectory, *numbers: int) -> None:
    """Appends those entries in one record."""
    append_records(directory, [numbers])


def append_records(directory: DataDirectory, records: Iterable[Iterable[int]]) -> None:
    with closing(LogStore(directory.log)) as log:
        for numbers in records:
            entries = [
                Entry(UserId("ann"), number, Micros(1), Timestamp(0), None) for number in numbers
            ]
            log.commit([Batch(ShardId(0), entries)])


async def test_it_folds_up_to_the_end_of_the_log(
    directory: DataDirectory, snapshotter: SnapshotterProcess
) -> None:
    append(directory, 1)
    assert await snapshotter.fold() == 1
    append(directory, 2)
    assert await snapshotter.fold() == 2
    statistics = snapshotter.statistics()
    assert (statistics.folds.count, statistics.failures, statistics.starts) == (2, 0, 1)


async def test_a_log_that_cannot_be_folded_is_told_with_its_reason(
    directory: DataDirectory, snapshotter: SnapshotterProcess
) -> None:
    append(directory, 7)
    with pytest.raises(SnapshotFailed, match="entry 7 of user 'ann' follows entry 0"):
        await snapshotter.fold()
    statistics = snapshotter.statistics()
    assert (statistics.folds.count, statistics.failures) == (0, 1)


async def test_a_killed_process_is_told_and_started_again(
    directory: DataDirectory, snapshotter: SnapshotterProcess
) -> None:
    append(directory, 1)
    await snapshotter.fold()
    assert snapshotter.pid is not None
    os.kill(snapshotter.pid, signal.SIGSTOP)
    failures: list[str] = []

    async def fold() -> None:
        try:
            await snapshotter.fold()
        except SnapshotFailed as error:
            failures.append(str(error))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(fold)
        await trio.testing.wait_all_tasks_blocked()
        os.kill(snapshotter.pid, signal.SIGKILL)
    assert failures == ["the snapshotter ended with status -9"]
    assert await snapshotter.fold() == 1


async def test_a_process_that_cannot_be_started_is_told_when_it_is_needed(
    directory: DataDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.executable", "/nowhere/python")
    async with open_snapshotter(directory) as snapshotter:
        with pytest.raises(SnapshotFailed, match="cannot be started"):
            await snapshotter.fold()


async def test_the_process_is_there_before_it_is_needed(snapshotter: SnapshotterProcess) -> None:
    assert snapshotter.pid is not None


async def test_a_caller_that_gives_up_does_not_leave_its_answer_to_the_next(
    directory: DataDirectory, snapshotter: SnapshotterProcess
) -> None:
    append(directory, 1)
    await snapshotter.fold()
    assert snapshotter.pid is not None
    os.kill(snapshotter.pid, signal.SIGSTOP)
    with trio.move_on_after(0.1):
        await snapshotter.fold()
    append(directory, 2)
    with trio.fail_after(20):
        while True:
            try:
                assert await snapshotter.fold() == 2
                break
            except SnapshotFailed:
                # The stopped one is being ended.
                await trio.sleep(0.05)


@pytest.mark.parametrize("share", [0.1, 1.0])
async def test_a_fold_of_any_share_folds_all_the_same(
    share: float, directory: DataDirectory, snapshotter: SnapshotterProcess
) -> None:
    append(directory, 1)
    assert await snapshotter.fold(lambda: share) == 1


@pytest.mark.parametrize(("share", "gives_way"), [(0.0, True), (2.0, False)])
def test_it_gives_way_after_each_record_once_it_has_its_share(
    share: float, gives_way: bool, directory: DataDirectory
) -> None:
    """Nobody has less than nothing of the processor, and nobody twice as much as there is."""
    append_records(directory, ([number] for number in range(1, RECORDS + 1)))
    counted = subprocess.run(
        [sys.executable, "-c", COUNTING, str(directory.log), str(directory.snapshot)],
        input=f"fold {share}\n",
        capture_output=True,
        text=True,
        check=True,
    )
    assert counted.stdout == f'{{"position": {RECORDS}}}\n'
    assert (int(counted.stderr) >= RECORDS) is gives_way


async def test_the_share_is_asked_for_as_long_as_a_fold_takes(
    directory: DataDirectory, snapshotter: SnapshotterProcess
) -> None:
    append(directory, 1)
    asked = trio.Event()
    shares = iter([0.02, 0.04, 0.08])

    def share() -> float:
        due = next(shares, None)
        if due is None:
            asked.set()
        return due or 0.16

    assert snapshotter.pid is not None
    os.kill(snapshotter.pid, signal.SIGSTOP)
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(snapshotter.fold, share)
            await asked.wait()
            os.kill(snapshotter.pid, signal.SIGCONT)
    append(directory, 2)
    assert await snapshotter.fold() == 2


def test_a_transaction_has_so_many_entries_at_least(directory: DataDirectory) -> None:
    for position in (1, 2, 3):
        append(directory, position)
    with (
        closing(open_for_reading(directory.log)) as log,
        closing(SnapshotWriter(directory.snapshot)) as snapshots,
    ):
        assert fold_next(log, snapshots, entries_min=2)
        assert snapshots.head().position == 2
        assert fold_next(log, snapshots, entries_min=2)
        assert snapshots.head().position == 3
        assert not fold_next(log, snapshots, entries_min=2)


async def test_a_fold_ends_after_one_transaction_though_the_log_goes_on(
    directory: DataDirectory, snapshotter: SnapshotterProcess
) -> None:
    append(directory, *range(1, ENTRIES_PER_TRANSACTION + 1))
    append(directory, ENTRIES_PER_TRANSACTION + 1)
    assert await snapshotter.fold() == 1
    assert await snapshotter.fold() == 2
