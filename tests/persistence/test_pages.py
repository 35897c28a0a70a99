"""The check of LMDB's pages: `tests/damage` shows what it finds, here is what it must not find."""

from contextlib import closing
from pathlib import Path
from random import Random

import lmdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger_actors.entry import Batch, Entry, LogPosition, Timestamp
from ledger_actors.errors import CorruptStore
from ledger_actors.identity import ShardId, UserId
from ledger_actors.money import Micros
from persistence.environment import check_environment
from persistence.errors import StoreError
from persistence.log_store import LogStore
from persistence.meta_page import read_metas
from persistence.pages import check_pages

sizes = st.integers(0, 30) | st.integers(30, 400)
steps = st.lists(
    st.tuples(st.sampled_from(["commit", "cut", "tidy", "open"]), sizes), min_size=1, max_size=80
)


def check_newest(path: Path) -> None:
    """Checks the pages of an environment that is open: LMDB itself opens it once a process."""
    _, newest = read_metas(path / "data.mdb")
    check_pages(path / "data.mdb", newest)


@settings(max_examples=30, deadline=None)
@given(steps)
def test_whatever_a_log_does_its_pages_hold_together(
    tmp_path_factory: pytest.TempPathFactory, drawn: list[tuple[str, int]]
) -> None:
    path = tmp_path_factory.mktemp("log")
    log = LogStore(path)
    for step, size in drawn:
        if step == "commit":
            entry = Entry(UserId("u" * 30), 1, Micros(1), Timestamp(1), None)
            log.commit([Batch(ShardId(0), [entry] * size)] if size else [])
        elif step == "cut":
            log.cut(LogPosition(max(log.last - size, 0)))
        elif step == "tidy":
            log.tidy()
        else:
            log.close()
            log = LogStore(path)
        check_newest(path)
    log.close()


@pytest.mark.parametrize("seed", range(3))
def test_pages_of_any_rows_hold_together_while_they_come_and_go(tmp_path: Path, seed: int) -> None:
    """Keys and values of all sizes, a tree three levels deep, long lists of free pages."""
    rng = Random(seed)
    keys: list[bytes] = []
    with closing(lmdb.open(str(tmp_path), map_size=2**28, sync=False)) as environment:
        for _ in range(40):
            with environment.begin(write=True) as transaction:
                for _ in range(rng.randrange(400)):
                    if keys and rng.random() < 0.4:
                        transaction.delete(keys.pop(rng.randrange(len(keys))))
                    else:
                        key = rng.randbytes(rng.choice([1, 8, 100, 500]))
                        keys.append(key)
                        transaction.put(key, rng.randbytes(rng.choice([0, 1, 100, 3000, 20_000])))
                keys = sorted(set(keys))
            check_newest(tmp_path)
        assert environment.stat()["depth"] >= 3


def test_a_new_environment_holds_together(tmp_path: Path) -> None:
    LogStore(tmp_path).close()
    older, newer = read_metas(tmp_path / "data.mdb")
    assert (older.commit, newer.commit) == (0, 0)
    check_environment(tmp_path)


def test_a_copy_for_a_backup_holds_together(tmp_path: Path) -> None:
    log = LogStore(tmp_path / "log")
    log.commit([])
    log.close()
    (tmp_path / "copy").mkdir()
    with closing(lmdb.open(str(tmp_path / "log"))) as environment:
        environment.copy(str(tmp_path / "copy"), compact=True)
    check_environment(tmp_path / "copy")


def test_meta_pages_that_do_not_follow_each_other_are_refused(tmp_path: Path) -> None:
    log = LogStore(tmp_path)
    for _ in range(4):
        log.commit([])
    log.close()
    data = tmp_path / "data.mdb"
    older, newer = read_metas(data)
    content = bytearray(data.read_bytes())
    # As if the newest had never been written: what LMDB would take is two commits back.
    content[newer.commit % 2 * newer.page_bytes + 144] = older.commit - 3
    data.write_bytes(content)
    with pytest.raises(CorruptStore, match="page 0 tells of commit 0, page 1 of commit 3"):
        read_metas(data)


def test_a_file_that_is_not_lmdbs_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data.mdb").write_bytes(b"x" * 100_000)
    with pytest.raises(StoreError, match="page 0 is no meta page of LMDB"):
        read_metas(tmp_path / "data.mdb")
