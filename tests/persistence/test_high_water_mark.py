"""A log that is whole but shorter than it was is noticed by what is noted beside it."""

import os
import shutil
from contextlib import closing
from pathlib import Path

import pytest

from ledger_actors.entry import BEGINNING, Batch, Entry, Timestamp
from ledger_actors.errors import CorruptStore
from ledger_actors.identity import ShardId, UserId
from ledger_actors.money import Micros
from persistence.high_water_mark import FILE_NAME, NOTHING_MARKED, SLOT_BYTES, Mark, read_mark
from persistence.log_store import LogStore
from persistence.meta_page import read_metas

COMMITS = 7
COMMIT_NUMBER_AT = 144
"""Where in a meta page it is."""


@pytest.fixture
def log(tmp_path: Path) -> Path:
    store = LogStore(tmp_path)
    for _ in range(COMMITS):
        store.commit([])
    store.close()
    return tmp_path


def refused(log: Path, text: str) -> None:
    with pytest.raises(CorruptStore, match=text):
        LogStore(log)


def flip(path: Path, byte: int, bit: int) -> None:
    data = bytearray(path.read_bytes())
    data[byte] ^= 1 << bit
    path.write_bytes(data)


def test_it_is_the_newest_position_and_its_digest(log: Path) -> None:
    store = LogStore(log)
    assert read_mark(log) == Mark(store.last, store.digest(store.last))
    store.commit([])
    assert read_mark(log) == Mark(store.last, store.digest(store.last))
    store.close()


def test_a_newest_commit_that_one_bit_hides_is_found_again(log: Path) -> None:
    """LMDB takes the meta page with the higher number: 7 becomes 5, and 6 is the newest."""
    older, newest = read_metas(log / "data.mdb")
    assert (older.commit, newest.commit) == (COMMITS - 1, COMMITS)
    flip(log / "data.mdb", COMMITS % 2 * newest.page_bytes + COMMIT_NUMBER_AT, 1)

    assert [meta.commit for meta in read_metas(log / "data.mdb")] == [COMMITS - 2, COMMITS - 1]
    with closing(LogStore(log)) as store:
        assert (store.last, store.rolled_forward) == (COMMITS, 1)


def test_an_older_copy_of_the_log_is_not_taken_for_the_log(log: Path, tmp_path: Path) -> None:
    shutil.copyfile(log / "data.mdb", tmp_path / "copy")
    store = LogStore(log)
    store.commit([])
    store.close()
    shutil.copyfile(tmp_path / "copy", log / "data.mdb")

    refused(log, "lost its end: it ends at position 7, and had position 8")


def test_another_log_of_the_same_length_is_not_taken_for_the_log(log: Path, tmp_path: Path) -> None:
    entry = Entry(UserId("u"), 1, Micros(1), Timestamp(1), None)
    other = LogStore(tmp_path / "other")
    other.commit([Batch(ShardId(0), [entry])])
    for _ in range(COMMITS - 1):
        other.commit([])
    other.close()
    shutil.copyfile(tmp_path / "other" / "data.mdb", log / "data.mdb")

    refused(log, "position 7 is not the one that was written there")


def test_a_half_that_is_torn_leaves_the_other(log: Path) -> None:
    flip(log / FILE_NAME, COMMITS % 2 * SLOT_BYTES, 0)
    assert read_mark(log).position == COMMITS - 1
    LogStore(log).close()
    assert read_mark(log).position == COMMITS


def test_a_mark_that_cannot_be_read_is_refused(log: Path) -> None:
    for slot in (0, 1):
        flip(log / FILE_NAME, slot * SLOT_BYTES + 20, 3)
    refused(log, f"{FILE_NAME} is not what was written")


def test_without_a_mark_the_log_is_taken_as_it_is(log: Path) -> None:
    os.unlink(log / FILE_NAME)
    assert read_mark(log) == NOTHING_MARKED
    store = LogStore(log)
    assert store.last == COMMITS
    store.close()
    assert read_mark(log).position == COMMITS


def test_a_commit_that_was_never_marked_is_kept(log: Path) -> None:
    """The process was killed between the commit and the mark."""
    shutil.copyfile(log / FILE_NAME, log / "earlier")
    store = LogStore(log)
    store.commit([])
    store.close()
    shutil.move(log / "earlier", log / FILE_NAME)

    store = LogStore(log)
    assert store.last == COMMITS + 1
    store.close()
    assert read_mark(log).position == COMMITS + 1


def test_what_was_cut_since_a_mark_is_not_missed(tmp_path: Path) -> None:
    store = LogStore(tmp_path)
    store.commit([])
    shutil.copyfile(tmp_path / FILE_NAME, tmp_path / "earlier")
    for _ in range(COMMITS):
        store.commit([])
    store.cut(store.last)
    store.tidy()
    store.close()
    shutil.move(tmp_path / "earlier", tmp_path / FILE_NAME)

    store = LogStore(tmp_path)
    assert (store.first, store.last) == (COMMITS + 1, COMMITS + 1)
    store.close()


def test_an_empty_log_has_nothing_marked(tmp_path: Path) -> None:
    LogStore(tmp_path).close()
    assert read_mark(tmp_path).position == BEGINNING


def test_a_log_that_was_refused_can_be_opened_again(log: Path) -> None:
    """LMDB opens an environment once a process, so what was refused must be closed."""
    content = (log / FILE_NAME).read_bytes()
    for slot in (0, 1):
        flip(log / FILE_NAME, slot * SLOT_BYTES + 20, 3)
    refused(log, f"{FILE_NAME} is not what was written")
    refused(log, f"{FILE_NAME} is not what was written")
    (log / FILE_NAME).write_bytes(content)
    LogStore(log).close()
