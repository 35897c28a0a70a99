"""From a snapshot and the log's tail to accounts that can serve."""

import gc
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import trio

from ledger_actors.accounts import Accounts
from ledger_actors.entry import Batch, LogPosition, Record
from ledger_actors.errors import CorruptStore, LogCut
from ledger_actors.identity import ShardId, shard_of
from ledger_actors.ports import SnapshotStore, WriteAheadLog

ENTRIES_PER_READ: Final = 5_000


@dataclass(frozen=True, slots=True)
class Recovered:
    """What a start found."""

    snapshot_position: LogPosition
    position: LogPosition
    """The last record of the log."""
    entries: int
    """Entries replayed: the log's tail."""


async def recover(
    shards: int,
    log: WriteAheadLog,
    snapshots: SnapshotStore,
    progress: Callable[[LogPosition], None] = lambda position: None,
    *,
    remembered_max: int,
) -> tuple[Sequence[Accounts], Recovered]:
    """The accounts of all shards, as the log has them. Nothing may be appended meanwhile.

    Args:
        progress: told the position of the last record that was read.
        remembered_max: as for `Accounts`, for each shard.

    Raises:
        CorruptStore: the log is not what was written, or does not follow the snapshot.
    """
    accounts = [Accounts(snapshots, remembered_max) for _ in range(shards)]
    position = snapshots.position
    entries = 0
    with _cycles_left_alone():
        while records := await log.read(position, ENTRIES_PER_READ):
            for record in records:
                for batch in record.batches:
                    _check_shard(record, batch, shards)
                    _apply(accounts[batch.shard], record, batch)
                    entries += len(batch.entries)
            position = records[-1].position
            progress(position)
            await trio.lowlevel.checkpoint()
    return accounts, Recovered(snapshots.position, position, entries)


async def rebuild(
    shard: ShardId, log: WriteAheadLog, snapshots: SnapshotStore, *, remembered_max: int
) -> Accounts:
    """The accounts of one shard, while the others serve on and snapshots move on.

    The shard itself must have nothing in flight.

    Args:
        remembered_max: as for `Accounts`.

    Raises:
        CorruptStore: as `recover`.
    """
    while True:
        try:
            tail = await _tail(shard, log, snapshots.position)
        except LogCut:
            # A snapshot overtook the reading; it holds what was cut.
            continue
        accounts = Accounts(snapshots, remembered_max)
        for record, batch in tail:
            if record.position > snapshots.position:
                _apply(accounts, record, batch)
        return accounts


async def _tail(
    shard: ShardId, log: WriteAheadLog, after: LogPosition
) -> Sequence[tuple[Record, Batch]]:
    tail: list[tuple[Record, Batch]] = []
    while records := await log.read(after, ENTRIES_PER_READ):
        tail.extend(
            (record, batch)
            for record in records
            for batch in record.batches
            if batch.shard == shard
        )
        after = records[-1].position
    return tail


def _check_shard(record: Record, batch: Batch, shards: int) -> None:
    # All users of a batch are of its shard, so one tells whether the number of shards is still the
    # one that the record was written with.
    if shard_of(batch.entries[0].user, shards) != batch.shard:
        raise CorruptStore(
            f"log record at position {record.position} has a batch of shard {batch.shard} "
            f"that is none of a store with {shards} shards"
        )


def _apply(accounts: Accounts, record: Record, batch: Batch) -> None:
    try:
        accounts.apply(record.position, batch.entries)
    except CorruptStore as error:
        raise CorruptStore(f"log record at position {record.position}: {error}") from None


@contextmanager
def _cycles_left_alone() -> Iterator[None]:
    """Keeps the garbage collector from going through the tail again and again while it grows.

    There are no cycles in it, and that takes a tenth of the replay.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
