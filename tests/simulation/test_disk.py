"""The simulated disk: what LMDB does in order, and what becomes of it in a crash."""

from collections.abc import Sequence
from random import Random

import lmdb
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from simulation.disk import STEP_BYTES, Handle, Medium, Row

from persistence.errors import DiskFull

KEYS = st.binary(min_size=1, max_size=3)
OPERATIONS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), KEYS, st.binary(max_size=5)),
        st.tuples(st.just("append"), KEYS, st.binary(max_size=5)),
        st.tuples(st.just("delete"), KEYS, st.just(b"")),
    ),
    max_size=8,
)
TRANSACTIONS = st.lists(st.tuples(OPERATIONS, st.booleans()), max_size=6)


def medium(seed: int = 0) -> Medium:
    return Medium("disk", Random(seed), lambda put: None)


class Abandoned(Exception):
    pass


def made(environment: object, operations: list[tuple[str, bytes, bytes]], *, whole: bool) -> object:
    """What one transaction sees and leaves; unless whole, it is given up at its end."""
    seen: list[object] = []
    try:
        with environment.begin(write=True) as transaction:  # type: ignore[attr-defined]
            for what, key, value in operations:
                if what == "delete":
                    seen.append(transaction.delete(key))
                else:
                    seen.append(transaction.put(key, value, append=what == "append"))
                seen.append(transaction.get(key))
            if not whole:
                raise Abandoned
    except Abandoned:
        pass
    return seen, looked_at(environment)


def looked_at(environment: object) -> object:
    """All that readers can see."""
    with environment.begin() as transaction, transaction.cursor() as cursor:  # type: ignore[attr-defined]
        first = cursor.key() if cursor.first() else None
        last = cursor.key() if cursor.last() else None
        rest = list(cursor) if cursor.set_range(b"\x40") else []
        many = dict(cursor.getmulti([b"\0", b"\x40", b"a", *[key for key, _ in rest]]))
        return first, last, rest, many, transaction.stat(environment.open_db())["entries"]  # type: ignore[attr-defined]


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(transactions=TRANSACTIONS)
def test_it_does_what_lmdb_does(
    tmp_path_factory: pytest.TempPathFactory,
    transactions: list[tuple[list[tuple[str, bytes, bytes]], bool]],
) -> None:
    handle = Handle(medium())
    path = tmp_path_factory.mktemp("lmdb")
    with lmdb.open(str(path), sync=False) as real:
        for operations, whole in transactions:
            expected = made(real, operations, whole=whole)
            seen, _ = made(handle, operations, whole=whole)  # type: ignore[misc]
            handle.sync()
            assert (seen, looked_at(handle)) == expected


def commit(handle: Handle, key: bytes, value: bytes = b"") -> None:
    with handle.begin(write=True) as transaction:
        transaction.put(key, value)


def keys_of(handle: Handle) -> list[bytes]:
    return list(handle.begin().rows.keys)


def test_readers_see_nothing_that_is_not_synced() -> None:
    disk = medium()
    writer, reader = Handle(disk), Handle(disk)
    commit(writer, b"a")
    assert keys_of(reader) == []
    writer.sync()
    assert keys_of(reader) == [b"a"]


def test_a_reader_goes_on_seeing_what_it_began_with() -> None:
    handle = Handle(medium())
    view = handle.begin()
    commit(handle, b"a")
    handle.sync()
    assert view.get(b"a") is None
    assert handle.begin().get(b"a") == b""


def test_a_crash_keeps_what_is_synced_and_keeps_or_drops_the_rest_whole() -> None:
    outcomes = set()
    for seed in range(50):
        disk = medium(seed)
        handle = Handle(disk)
        commit(handle, b"a")
        handle.sync()
        with handle.begin(write=True) as transaction:
            transaction.put(b"b", b"")
            transaction.put(b"c", b"")
        disk.crash()
        outcomes.add(tuple(keys_of(Handle(disk))))
    assert outcomes == {(b"a",), (b"a", b"b", b"c")}


def test_what_became_durable_is_told_once() -> None:
    told: list[Sequence[Row]] = []
    disk = Medium("disk", Random(0), told.append)
    handle = Handle(disk)
    commit(handle, b"a", b"1")
    assert told == []
    handle.sync()
    handle.sync()
    assert told == [[(b"a", b"1")]]


def test_a_dead_process_writes_nothing() -> None:
    disk = medium()
    handle = Handle(disk)
    handle.die()
    commit(handle, b"a")
    handle.sync()
    assert keys_of(Handle(disk)) == []


def test_a_failed_fsync_is_told_and_may_have_written() -> None:
    outcomes = set()
    for seed in range(50):
        disk = medium(seed)
        disk.failing = True
        with pytest.raises(lmdb.DiskError):
            commit(Handle(disk), b"a")
        outcomes.add(tuple(keys_of(Handle(disk))))
    assert outcomes == {(), (b"a",)}


def test_a_full_disk_refuses_to_grow_and_a_file_to_take_more_than_it_has() -> None:
    disk = medium()
    handle = Handle(disk)
    with pytest.raises(lmdb.MapFullError):
        commit(handle, b"a", bytes(STEP_BYTES))
    disk.full = True
    with pytest.raises(DiskFull):
        handle.grow(1)
    disk.full = False
    handle.grow(STEP_BYTES)
    commit(handle, b"a", bytes(STEP_BYTES))


def test_what_is_spoilt_is_seen_by_all_until_it_is_mended() -> None:
    disk = medium()
    handle = Handle(disk)
    commit(handle, b"a", b"1")
    commit(handle, b"b", b"2")
    handle.sync()
    view = handle.begin()
    disk.spoil(b"a", b"3")
    disk.spoil(b"b", None)
    assert (view.get(b"a"), view.get(b"b")) == (b"3", None)
    assert disk.damaged
    disk.mend()
    assert (view.get(b"a"), view.get(b"b")) == (b"1", b"2")
    assert not disk.damaged


def test_a_loss_of_power_may_hide_the_newest_commit_but_not_its_values() -> None:
    outcomes = set()
    for seed in range(50):
        disk = Medium("disk", Random(seed), lambda put: None, metasync=False)
        handle = Handle(disk)
        commit(handle, b"a", b"1")
        handle.sync_commit()
        commit(handle, b"b", b"2")
        handle.sync_commit()
        hidden = disk.hide()
        outcomes.add((hidden, tuple(keys_of(handle)), tuple(handle.hidden_values(b"b"))))
    assert outcomes == {(True, (b"a",), (b"2",)), (False, (b"a", b"b"), ())}


def test_what_is_synced_as_a_whole_is_not_hidden() -> None:
    for seed in range(20):
        disk = Medium("disk", Random(seed), lambda put: None, metasync=False)
        handle = Handle(disk)
        commit(handle, b"a")
        handle.sync()
        assert not disk.hide()


def test_the_next_commit_writes_over_what_is_hidden_but_not_over_what_is_aside() -> None:
    told: list[Sequence[Row]] = []
    disk = Medium("disk", Random(0), told.append, metasync=False)
    handle = Handle(disk)
    commit(handle, b"a", b"1")
    handle.sync_commit()
    while not disk.hide():
        pass
    handle.set_aside([b"1"])
    commit(handle, b"a", b"1")
    handle.sync_commit()
    assert [*handle.hidden_values(b"a")] == [b"1"]
    handle.sync()
    assert [*handle.hidden_values(b"a")] == []
    assert told == [[(b"a", b"1")], []]
