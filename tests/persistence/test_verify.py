"""What `verify` finds that no checksum of a single row or record can tell."""

from pathlib import Path

import pytest

from ledger_actors.entry import BEGINNING, Batch, Entry, LogPosition, Timestamp
from ledger_actors.errors import CorruptStore
from ledger_actors.identity import IdempotencyKey, UserId, shard_of
from ledger_actors.money import Micros
from persistence.data_directory import DataDirectory, create_data_directory
from persistence.log_store import LogStore
from persistence.snapshot_store import SnapshotWriter
from persistence.verify import verify

USER = UserId("ann")
SHARDS = 4
LOGGED = Entry(USER, 1, Micros(5), Timestamp(7), IdempotencyKey("key"))


def store_of(path: Path, folded: Entry) -> DataDirectory:
    """A store whose log has one entry, and whose snapshot says that it was made of another."""
    directory = create_data_directory(path, SHARDS)
    log = LogStore(directory.log)
    position = log.commit([Batch(shard_of(USER, SHARDS), [LOGGED])])
    digest = log.digest(position)
    log.close()
    snapshot = SnapshotWriter(directory.snapshot)
    assert snapshot.fold(BEGINNING, [folded], LogPosition(position), digest)
    snapshot.close()
    return directory


def test_a_snapshot_that_has_what_the_log_has_is_right(tmp_path: Path) -> None:
    verified = verify(store_of(tmp_path / "data", LOGGED))

    assert (verified.folded_entries, verified.logged_entries, verified.newest) == (1, 1, 7)


@pytest.mark.parametrize(
    "folded",
    [
        Entry(USER, 1, Micros(6), Timestamp(7), IdempotencyKey("key")),
        Entry(USER, 1, Micros(5), Timestamp(8), IdempotencyKey("key")),
        Entry(USER, 1, Micros(5), Timestamp(7), IdempotencyKey("other")),
        Entry(USER, 1, Micros(5), Timestamp(7), None),
    ],
)
def test_a_snapshot_of_other_entries_than_the_logs_is_found(tmp_path: Path, folded: Entry) -> None:
    with pytest.raises(CorruptStore, match=r"position 1: the snapshot has another entry"):
        verify(store_of(tmp_path / "data", folded))


def test_a_snapshot_that_lost_a_user_of_the_log_is_found(tmp_path: Path) -> None:
    other = Entry(UserId("bob"), 1, Micros(5), Timestamp(7), None)

    with pytest.raises(CorruptStore, match="does not hold entries 1 to 1 of user 'ann'"):
        verify(store_of(tmp_path / "data", other))
