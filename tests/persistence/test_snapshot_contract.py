"""What every snapshot store does, on disk and in memory: `ledger_actors.ports.SnapshotStore`."""

from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path

import pytest

from ledger_actors.entry import Batch, Entry, LogPosition, Timestamp
from ledger_actors.identity import IdempotencyKey, ShardId, UserId
from ledger_actors.money import Micros
from ledger_actors.ports import AccountSummary, SnapshotStore
from ledger_actors.testing import MemoryLog, MemorySnapshots
from persistence.snapshot_store import SnapshotView, SnapshotWriter, open_snapshot_view

ANN, BOB, NOBODY = UserId("ann"), UserId("bob"), UserId("nobody")
Fold = Callable[[Sequence[Entry]], Awaitable[SnapshotStore]]


def entry(user: UserId, number: int, *, keyed: bool = True) -> Entry:
    key = IdempotencyKey(f"key {number}") if keyed else None
    return Entry(user, number, Micros(number), Timestamp(1000 + number), key)


ENTRIES = [
    *(entry(ANN, number, keyed=number % 3 > 0) for number in range(1, 101)),
    entry(BOB, 1),
    entry(BOB, 2, keyed=False),
]


@pytest.fixture(params=["memory", "disk"])
def folded(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Fold]:
    """Makes a store of those entries, folded in three steps."""
    views: list[SnapshotView] = []

    async def in_memory(entries: Sequence[Entry]) -> SnapshotStore:
        log = MemoryLog()
        snapshots = MemorySnapshots(log)
        for part in (entries[:10], entries[10:50], entries[50:]):
            await log.append([Batch(ShardId(0), part)])
            await snapshots.fold()
            snapshots.refresh()
        return snapshots

    async def on_disk(entries: Sequence[Entry]) -> SnapshotStore:
        writer = SnapshotWriter(tmp_path)
        for step, part in enumerate((entries[:10], entries[10:50], entries[50:])):
            assert writer.fold(LogPosition(step), part, LogPosition(step + 1), bytes(32))
        writer.close()
        views.append(open_snapshot_view(tmp_path))
        return views[-1]

    yield in_memory if request.param == "memory" else on_disk
    for view in views:
        view.close()


async def test_accounts_are_what_their_entries_add_up_to(folded: Fold) -> None:
    store = await folded(ENTRIES)
    assert store.position == 3
    assert store.account(ANN) == AccountSummary(Micros(5050), 100)
    assert store.account(NOBODY) is None


async def test_many_accounts_are_those_that_there_are(folded: Fold) -> None:
    store = await folded(ENTRIES)
    assert store.accounts_many([NOBODY, BOB, ANN, BOB]) == {
        ANN: AccountSummary(Micros(5050), 100),
        BOB: AccountSummary(Micros(3), 2),
    }
    assert store.accounts_many([]) == {}


@pytest.mark.parametrize(
    ("first", "last"),
    [(1, 1), (1, 16), (16, 17), (7, 16), (17, 96), (90, 99), (100, 100), (1, 100)],
)
async def test_any_part_of_a_history_is_found(folded: Fold, first: int, last: int) -> None:
    store = await folded(ENTRIES)
    assert list(store.entries(ANN, first, last)) == ENTRIES[first - 1 : last]


@pytest.mark.parametrize("last", [1, 15, 16, 17, 32, 99, 100])
async def test_the_keys_up_to_any_entry_are_found(folded: Fold, last: int) -> None:
    store = await folded(ENTRIES)
    assert list(store.keys(ANN, last)) == [made.key for made in ENTRIES[:last]]


async def test_a_recorded_request_is_found_wherever_its_entry_is(folded: Fold) -> None:
    store = await folded(ENTRIES)
    for made in ENTRIES:
        if made.key is not None:
            assert store.recorded(made.user, made.key) == made
    assert store.recorded(BOB, IdempotencyKey("key 2")) is None
    assert store.recorded(ANN, IdempotencyKey("key")) is None
    assert store.recorded(NOBODY, IdempotencyKey("key 1")) is None


async def test_of_many_requests_those_that_are_recorded_are_found(folded: Fold) -> None:
    store = await folded(ENTRIES)
    recorded = {(made.user, made.key): made for made in ENTRIES if made.key is not None}
    others = [
        (user, IdempotencyKey(text))
        for user in (ANN, BOB, NOBODY)
        for text in ("key", "key 3", "key 101", "ey 1", "another")
    ]
    assert store.recorded_many([*others, *recorded]) == recorded
    assert store.recorded_many(others) == {}
    assert store.recorded_many([]) == {}
