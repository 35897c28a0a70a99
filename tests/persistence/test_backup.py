"""What a backup refuses, and what a restore refuses; `test_backup_model.py` has what they do."""

import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path

import pytest
from bitburst_command import bitburst

from ledger_actors.entry import Batch, Entry, LogPosition, Timestamp
from ledger_actors.identity import UserId, shard_of
from ledger_actors.money import Micros
from persistence.backup import back_up, back_up_increment
from persistence.backup_check import check_backups
from persistence.backup_mark import read_mark
from persistence.backup_target import DirectoryTarget
from persistence.data_directory import (
    DataDirectory,
    create_data_directory,
    locked_for_backup,
    open_data_directory,
)
from persistence.environment import open_for_reading
from persistence.errors import BackupDamaged, StoreError, StoreInUse, StoreMismatch
from persistence.log_store import LogStore
from persistence.restore import UpToPosition, UpToTime, restore
from persistence.snapshot_store import SnapshotWriter
from persistence.snapshotter import fold_next

NOW = Timestamp(0)
USER = UserId("ann")
SHARDS = 2
FULL = "full-00000000000000000002-00000000000000000003"
FIRST = "log-00000000000000000003-00000000000000000005"
SECOND = "log-00000000000000000005-00000000000000000006"


COMMIT_ONE = """
import sys
from pathlib import Path
from persistence.log_store import LogStore
LogStore(Path(sys.argv[1]) / "log").commit([])
"""


class Store:
    """A store with one entry a record, stamped with its number."""

    def __init__(self, path: Path) -> None:
        self.directory = create_data_directory(path, SHARDS)
        self.target = DirectoryTarget(path.parent / "backups")

    def credit(self, count: int) -> None:
        with closing(LogStore(self.directory.log)) as log:
            for number in range(log.last + 1, log.last + 1 + count):
                entry = Entry(USER, number, Micros(1), Timestamp(number), None)
                log.commit([Batch(shard_of(USER, SHARDS), [entry])])

    def fold(self, *, cut: bool = False) -> None:
        with (
            closing(open_for_reading(self.directory.log)) as log,
            closing(SnapshotWriter(self.directory.snapshot)) as snapshot,
        ):
            while fold_next(log, snapshot):
                pass
        if cut:
            with closing(LogStore(self.directory.log)) as store:
                store.cut(store.last)
                while store.cut_pending:
                    store.tidy()


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "data")


@pytest.fixture
def backups(store: Store, tmp_path: Path) -> Path:
    """A full backup and two increments; they are of positions 3, 5 and 6."""
    store.credit(2)
    store.fold()
    store.credit(1)
    back_up(store.directory, store.target, NOW)
    store.credit(2)
    back_up_increment(store.directory, store.target, NOW)
    store.credit(1)
    back_up_increment(store.directory, store.target, NOW)
    return tmp_path / "backups"


def test_each_backup_is_a_folder_of_its_own(backups: Path) -> None:
    assert sorted(folder.name for folder in backups.iterdir()) == [FULL, FIRST, SECOND]


def test_a_backup_leaves_how_far_it_reaches(store: Store, backups: Path) -> None:
    assert read_mark(store.directory) == 6


def test_a_restored_store_has_an_id_of_its_own(store: Store, backups: Path, tmp_path: Path) -> None:
    restore(store.target, tmp_path / "restored")

    assert open_data_directory(tmp_path / "restored").id != store.directory.id


def test_a_restored_store_is_not_backed_up_beside_the_one_it_came_from(
    store: Store, backups: Path, tmp_path: Path
) -> None:
    restore(store.target, tmp_path / "restored")
    restored = open_data_directory(tmp_path / "restored")

    for take in (back_up, back_up_increment):
        with pytest.raises(StoreMismatch, match="holds backups of another store"):
            take(restored, store.target, NOW)


def test_a_store_that_went_another_way_is_not_backed_up_with_what_it_did_before(
    store: Store, backups: Path, tmp_path: Path
) -> None:
    shutil.copytree(store.directory.path, tmp_path / "copy")
    store.credit(1)
    back_up_increment(store.directory, store.target, NOW)
    copy = DataDirectory(tmp_path / "copy", SHARDS, store.directory.id)

    for take in (back_up, back_up_increment):
        with pytest.raises(StoreMismatch, match="no part of this store's log"):
            take(copy, store.target, NOW)


def test_an_increment_whose_beginning_was_cut_is_refused(store: Store, backups: Path) -> None:
    store.credit(2)
    store.fold(cut=True)

    with pytest.raises(StoreError, match=r"no longer has all that follows position 6.*full backup"):
        back_up_increment(store.directory, store.target, NOW)


def test_a_full_backup_after_that_is_one_to_go_on_from(store: Store, backups: Path) -> None:
    store.credit(2)
    store.fold(cut=True)
    back_up(store.directory, store.target, NOW)
    store.credit(1)

    assert back_up_increment(store.directory, store.target, NOW).position == 9


def test_backups_before_the_oldest_full_one_that_is_kept_can_be_deleted(
    store: Store, backups: Path, tmp_path: Path
) -> None:
    store.fold()
    store.credit(1)
    kept = back_up(store.directory, store.target, NOW).name
    store.credit(1)
    back_up_increment(store.directory, store.target, NOW)
    assert kept == f"full-{6:020}-{7:020}"
    for name in (FULL, FIRST, SECOND):
        shutil.rmtree(backups / name)

    checked = check_backups(store.target)
    assert (checked.first, checked.last) == (6, 8)
    for position in (6, 7, 8):
        goal = UpToPosition(LogPosition(position))
        restored = restore(store.target, tmp_path / f"restored-{position}", goal)
        assert restored.position == position


def test_two_backups_at_once_are_refused(store: Store) -> None:
    with (
        locked_for_backup(store.directory.path, "full"),
        pytest.raises(StoreInUse, match=r"a full backup .* is being taken by another process"),
    ):
        back_up(store.directory, store.target, NOW)


def test_increments_are_taken_while_a_full_backup_takes_long(
    store: Store, backups: Path, tmp_path: Path
) -> None:
    store.fold()

    class Slow(DirectoryTarget):
        def write(self, name: str, content: Iterator[bytes]) -> None:
            if name.endswith("manifest.json"):
                # In another process, as it is in life: of what came after the copy was begun.
                path = store.directory.path
                subprocess.run([sys.executable, "-c", COMMIT_ONE, path], check=True)
                taken = bitburst("backup", "--incremental", "--data-dir", path, backups)
                assert taken.status == 0, taken.complaint
            super().write(name, content)

    assert back_up(store.directory, Slow(backups), NOW).position == 6

    assert read_mark(store.directory) == 7
    assert check_backups(store.target).last == 7
    assert restore(store.target, tmp_path / "restored").position == 7


def test_a_backup_that_was_broken_off_is_none_and_is_taken_again(
    store: Store, backups: Path, tmp_path: Path
) -> None:
    (backups / SECOND / "manifest.json").unlink()

    assert check_backups(store.target).unfinished == [SECOND]
    assert restore(store.target, tmp_path / "restored").position == 5
    assert back_up_increment(store.directory, store.target, NOW).name == SECOND
    assert restore(store.target, tmp_path / "again").position == 6


def test_positions_out_of_reach_are_refused(store: Store, backups: Path, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="end at position 6, before 7"):
        restore(store.target, tmp_path / "restored", UpToPosition(LogPosition(7)))
    with pytest.raises(StoreError, match="begins at position 2, behind 1"):
        restore(store.target, tmp_path / "restored", UpToPosition(LogPosition(1)))
    with pytest.raises(StoreError, match=r"up to 1970-01-01T00:00:00.000002Z, later than"):
        restore(store.target, tmp_path / "restored", UpToTime(Timestamp(1)))


def files(backups: Path) -> Sequence[Path]:
    return sorted(file for file in backups.rglob("*") if file.is_file())


def spoil(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def shorten(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-1])


def lengthen(file: Path) -> None:
    file.write_bytes(file.read_bytes() + b"\0")


def empty(file: Path) -> None:
    file.write_bytes(b"")


@pytest.mark.parametrize("damage", [spoil, shorten, lengthen, empty, Path.unlink])
@pytest.mark.parametrize("which", range(7))
def test_a_part_that_is_missing_or_was_changed_is_named(
    store: Store, backups: Path, tmp_path: Path, damage: Callable[[Path], None], which: int
) -> None:
    file = files(backups)[which]
    named = f"{file.parent.name}/{file.name}"
    if damage is Path.unlink and file.name == "manifest.json":
        # Without its manifest a backup is none; others may do without it.
        named = {FULL: "no full backup", FIRST: f"records 4 to 5; .*{FIRST}", SECOND: ""}[
            file.parent.name
        ]
    damage(file)
    if not named:
        # Nobody can know that there was a last one.
        assert restore(store.target, tmp_path / "restored").position == 5
        return

    for look in (
        lambda: check_backups(store.target),
        lambda: restore(store.target, tmp_path / "restored"),
    ):
        with pytest.raises(StoreError, match=named):
            look()
    assert not (tmp_path / "restored" / "store.json").exists()
    assert not (tmp_path / "restored" / "log").exists()


def test_every_flipped_bit_of_a_manifest_is_found(store: Store, backups: Path) -> None:
    manifest = backups / FIRST / "manifest.json"
    content = manifest.read_bytes()
    for bit in range(0, len(content) * 8, 3):
        damaged = bytearray(content)
        damaged[bit // 8] ^= 1 << bit % 8
        manifest.write_bytes(damaged)
        with pytest.raises(StoreError, match=FIRST):
            check_backups(store.target)


def test_a_backup_under_the_name_of_another_is_refused(
    store: Store, backups: Path, tmp_path: Path
) -> None:
    shutil.rmtree(backups / SECOND)
    shutil.copytree(backups / FIRST, backups / SECOND)

    with pytest.raises(BackupDamaged, match=f"{SECOND} has the manifest of {FIRST}"):
        restore(store.target, tmp_path / "restored")


def test_backups_of_two_stores_in_one_place_are_refused(
    store: Store, backups: Path, tmp_path: Path
) -> None:
    other = Store(tmp_path / "other" / "data")
    other.credit(5)
    back_up(other.directory, other.target, NOW)
    other.credit(1)
    back_up_increment(other.directory, other.target, NOW)
    shutil.rmtree(backups / SECOND)
    shutil.copytree(tmp_path / "other" / "backups" / SECOND, backups / SECOND)

    with pytest.raises(StoreError, match=f"{SECOND} is of another store"):
        restore(store.target, tmp_path / "restored")
    with pytest.raises(StoreMismatch, match=f"{SECOND} is of another store"):
        check_backups(store.target)


def test_what_a_newer_program_wrote_is_refused(
    store: Store, backups: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.credit(1)
    monkeypatch.setattr("persistence.manifest.MANIFEST_VERSION", 2)
    back_up_increment(store.directory, store.target, NOW)
    monkeypatch.undo()

    with pytest.raises(StoreMismatch, match="made by a newer program"):
        restore(store.target, tmp_path / "restored")


def test_a_full_backup_keeps_what_comes_while_it_is_taken(store: Store, tmp_path: Path) -> None:
    """A server that takes a snapshot meanwhile would else cut what the next increment needs."""
    store.credit(1)
    marks: list[LogPosition | None] = []

    class Slow(DirectoryTarget):
        def write(self, name: str, content: Iterator[bytes]) -> None:
            marks.append(read_mark(store.directory))
            super().write(name, content)

    back_up(store.directory, Slow(tmp_path / "backups"), NOW)

    assert marks == [1, 1, 1]


def test_a_broken_off_copy_leaves_no_thread_behind(store: Store, tmp_path: Path) -> None:
    store.credit(1)
    store.fold()

    class Full(DirectoryTarget):
        def write(self, name: str, content: Iterator[bytes]) -> None:
            raise StoreError("no room")

    class FullSoon(DirectoryTarget):
        def write(self, name: str, content: Iterator[bytes]) -> None:
            next(iter(content))
            raise StoreError("no room")

    for target in (Full(tmp_path / "backups"), FullSoon(tmp_path / "backups")):
        with pytest.raises(StoreError, match="no room"):
            back_up(store.directory, target, NOW)
        assert [one.name for one in threading.enumerate() if one.name == "copy"] == []


def test_more_records_than_memory_should_hold_are_folded_as_they_come(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("persistence.rebuilding.COMMIT_BYTES", 500)
    monkeypatch.setattr("persistence.rebuilding.FOLD_BYTES", 1_000)
    store.credit(2)
    back_up(store.directory, store.target, NOW)
    store.credit(50)
    back_up_increment(store.directory, store.target, NOW)

    verified = restore(store.target, tmp_path / "restored").verified

    assert verified.last == 52
    assert verified.snapshot_position > 40
    assert verified.first > 40
