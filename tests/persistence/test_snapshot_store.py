"""The snapshot store against a plain model, with folds written by a process of its own."""

import json
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import lmdb
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger_actors.entry import Batch, Entry, LogPosition, Timestamp
from ledger_actors.errors import CorruptStore
from ledger_actors.folding import fold
from ledger_actors.identity import IdempotencyKey, Reference, ShardId, UserId
from ledger_actors.money import Micros
from ledger_actors.ports import NO_ACCOUNT
from persistence.log_store import LogStore
from persistence.snapshot_format import (
    ACCOUNT,
    BLOCK,
    BLOCK_ENTRIES,
    HEAD_KEY,
    REQUEST,
    account_key,
    block_key,
    keys_in_block,
    pack_block,
    pack_entry,
    request_key,
    unpack_block,
    user_of,
    user_prefix,
)
from persistence.snapshot_store import SnapshotWriter, open_snapshot_view

DIGEST = b"d" * 32
users = st.sampled_from([UserId(name) for name in ("a", "b", "ab", "ünï", "\0", "x" * 128)])


def entries_of(drawn: list[tuple[UserId, int, bool]]) -> list[Entry]:
    """Entries numbered as a ledger would, some with keys."""
    counts: dict[UserId, int] = defaultdict(int)
    entries = []
    for at, (user, amount, keyed) in enumerate(drawn):
        counts[user] += 1
        key = IdempotencyKey(f"key {at}") if keyed else None
        reference = Reference(f"order {at}") if at % 3 == 0 else None
        entries.append(Entry(user, counts[user], Micros(amount), Timestamp(at), key, reference))
    return entries


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.tuples(users, st.integers(1, 2**60), st.booleans()), max_size=150),
    st.lists(st.integers(0, 150), max_size=4),
    st.lists(st.tuples(st.integers(1, 150), st.integers(1, 150)), max_size=10),
)
def test_a_store_folded_in_any_steps_answers_as_a_plain_model(
    tmp_path_factory: pytest.TempPathFactory,
    drawn: list[tuple[UserId, int, bool]],
    cuts: list[int],
    ranges: list[tuple[int, int]],
) -> None:
    entries = entries_of(drawn)
    path = tmp_path_factory.mktemp("snapshot")
    writer = SnapshotWriter(path)
    bounds = [0, *sorted(min(cut, len(entries)) for cut in cuts), len(entries)]
    for step, (start, end) in enumerate(pairwise(bounds)):
        folded = entries[start:end]
        assert writer.fold(LogPosition(step), folded, LogPosition(step + 1), DIGEST)
    writer.close()
    view = open_snapshot_view(path)
    histories: dict[UserId, list[Entry]] = defaultdict(list)
    for entry in entries:
        histories[entry.user].append(entry)
    assert (view.head.users, view.head.entries) == (len(histories), len(entries))
    assert view.position == len(bounds) - 1
    model = fold(lambda user: None, entries)
    for user in (UserId("a"), UserId("ab"), UserId("nobody"), *histories):
        history = histories.get(user, [])
        assert (view.account(user) or NO_ACCOUNT) == model.get(user, NO_ACCOUNT)
        found = view.entries(user, 1, len(history))
        assert list(found) == history
        for first, last in ranges:
            if 1 <= first <= last <= len(history):
                assert list(view.entries(user, first, last)) == history[first - 1 : last]
        for entry in history:
            if entry.key is not None:
                assert view.recorded(user, entry.key) == entry
        assert view.recorded(user, IdempotencyKey("never used")) is None
    view.close()


def test_the_keys_of_one_user_are_never_those_of_another() -> None:
    names = ["a", "a\0", "a\1", "aa", "\0", "\1a", "ä", "x" * 128]
    prefixes = [
        user_prefix(kind, UserId(name)) for name in names for kind in (ACCOUNT, BLOCK, REQUEST)
    ]
    for one in prefixes:
        assert [other for other in prefixes if other.startswith(one)] == [one]


def test_the_key_of_an_account_that_is_no_users_is_reported() -> None:
    assert user_of(account_key(UserId("ünï"))) == "ünï"
    with pytest.raises(CorruptStore, match="no user's"):
        user_of(ACCOUNT + b"\xff")


def test_what_is_stored_does_not_depend_on_how_many_entries_were_folded_at_a_time(
    tmp_path: Path,
) -> None:
    entries = entries_of([(UserId("a"), amount, True) for amount in range(1, 40)])
    stores = []
    for step in (1, 7, 16, 39):
        path = tmp_path / str(step)
        writer = SnapshotWriter(path)
        for start in range(0, len(entries), step):
            position = LogPosition(min(start + step, len(entries)))
            assert writer.fold(LogPosition(start), entries[start:position], position, DIGEST)
        writer.close()
        view = open_snapshot_view(path)
        stores.append(list(view.rows_under(b"")))
        view.close()
    assert all(store == stores[0] for store in stores)


@pytest.mark.parametrize("users_folded", [1, 100, 5_000])
def test_a_fold_gives_way_every_few_entries_however_many_are_of_one_user(
    tmp_path: Path, users_folded: int
) -> None:
    ways_given: list[None] = []
    writer = SnapshotWriter(tmp_path, give_way=lambda: ways_given.append(None))
    drawn = [(UserId(f"user {at % users_folded}"), 1, False) for at in range(10_000)]
    assert writer.fold(LogPosition(0), entries_of(drawn), LogPosition(1), DIGEST)
    writer.close()
    assert len(ways_given) >= len(drawn) / BLOCK_ENTRIES


def test_a_fold_that_does_not_follow_the_store_changes_nothing(tmp_path: Path) -> None:
    writer = SnapshotWriter(tmp_path)
    first, second = entries_of([(UserId("a"), 1, True), (UserId("a"), 2, True)])
    assert writer.fold(LogPosition(0), [first], LogPosition(1), DIGEST)
    assert not writer.fold(LogPosition(0), [first], LogPosition(1), DIGEST)
    with pytest.raises(CorruptStore, match=r"entry 1 .* follows entry 1"):
        writer.fold(LogPosition(1), [first], LogPosition(2), DIGEST)
    assert writer.head().position == 1
    assert writer.fold(LogPosition(1), [second], LogPosition(2), DIGEST)
    writer.close()


def test_a_view_stands_still_until_it_is_refreshed(tmp_path: Path) -> None:
    log = LogStore(tmp_path / "log")
    SnapshotWriter(tmp_path / "snapshot").close()
    view = open_snapshot_view(tmp_path / "snapshot")
    for entry in entries_of([(UserId("a"), 1, True), (UserId("a"), 2, True)]):
        log.commit([Batch(ShardId(0), [entry])])
    answer = fold_in_another_process(tmp_path)
    assert answer == {"position": 2}
    assert (view.position, view.account(UserId("a"))) == (0, None)
    assert view.refresh() == 2
    summary = view.account(UserId("a"))
    assert summary is not None
    assert (summary.balance, summary.entries) == (3, 2)
    view.close()
    log.close()


def test_a_view_follows_a_store_that_has_grown(tmp_path: Path) -> None:
    log = LogStore(tmp_path / "log")
    SnapshotWriter(tmp_path / "snapshot").close()
    view = open_snapshot_view(tmp_path / "snapshot")
    names = [UserId(f"user {number:06}") for number in range(200_000)]
    entries = [Entry(name, 1, Micros(1), Timestamp(0), None) for name in names]
    log.commit([Batch(ShardId(0), entries)])
    assert fold_in_another_process(tmp_path) == {"position": 1}
    view.refresh()
    assert view.head.users == 200_000
    assert all(view.account(name) for name in names[::1000])
    view.close()
    log.close()


HISTORY = entries_of([(UserId("a"), amount, True) for amount in range(1, BLOCK_ENTRIES + 3)])
"""One full block, and two entries behind it."""
NEWEST = HISTORY[-1]


@pytest.fixture
def written(tmp_path: Path) -> Path:
    writer = SnapshotWriter(tmp_path)
    writer.fold(LogPosition(0), HISTORY, LogPosition(1), DIGEST)
    writer.close()
    return tmp_path


def change(path: Path, key: bytes, changed: Callable[[bytes], bytes | None]) -> None:
    """Puts what `changed` makes of the value there; deletes it where that is None."""
    with lmdb.open(str(path)) as environment, environment.begin(write=True) as transaction:
        value = transaction.get(key)
        assert value is not None
        new = changed(value)
        assert transaction.delete(key) if new is None else transaction.put(key, new)


def test_entries_that_are_not_there_are_reported(written: Path) -> None:
    view = open_snapshot_view(written)
    with pytest.raises(CorruptStore, match="does not hold entries 18 to 19 of user 'a'"):
        view.entries(UserId("a"), 18, 19)
    with pytest.raises(CorruptStore, match="does not hold entries 1 to 1 of user 'b'"):
        view.entries(UserId("b"), 1, 1)
    with pytest.raises(CorruptStore, match="does not hold entries 1 to 19 of user 'a'"):
        view.keys(UserId("a"), 19)
    view.close()


def test_a_lost_block_is_reported(written: Path) -> None:
    change(written, block_key(UserId("a"), 0), lambda _: None)
    view = open_snapshot_view(written)
    assert view.entries(UserId("a"), 17, 18) == HISTORY[16:]
    with pytest.raises(CorruptStore, match="lost block 0 of user 'a'"):
        view.entries(UserId("a"), 16, 17)
    with pytest.raises(CorruptStore, match="lost block 0 of user 'a'"):
        view.keys(UserId("a"), 18)
    view.close()


def test_no_bit_of_a_block_can_change_unseen() -> None:
    tail = b"".join(pack_entry(entry) for entry in HISTORY[:BLOCK_ENTRIES])
    value = pack_block(block_key(UserId("a"), 0), tail)
    assert unpack_block(UserId("a"), 0, value) == HISTORY[:BLOCK_ENTRIES]
    for bit in range(len(value) * 8):
        changed = bytearray(value)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(CorruptStore, match="user 'a'"):
            unpack_block(UserId("a"), 0, bytes(changed))
        with pytest.raises(CorruptStore, match="user 'a'"):
            keys_in_block(UserId("a"), 0, bytes(changed))


def test_a_changed_block_is_never_served(written: Path) -> None:
    change(written, block_key(UserId("a"), 0), lambda value: value.replace(b"key 3", b"key 4"))
    view = open_snapshot_view(written)
    with pytest.raises(CorruptStore, match="block 0 of user 'a' does not match its checksum"):
        view.entries(UserId("a"), 1, 1)
    with pytest.raises(CorruptStore, match="block 0 of user 'a' does not match its checksum"):
        view.keys(UserId("a"), 18)
    assert view.entries(UserId("a"), 17, 18) == HISTORY[16:]
    view.close()


def test_a_block_in_the_place_of_another_is_never_served(tmp_path: Path) -> None:
    history = entries_of([(UserId("a"), amount, False) for amount in range(1, 33)])
    writer = SnapshotWriter(tmp_path)
    writer.fold(LogPosition(0), history, LogPosition(1), DIGEST)
    writer.close()
    view = open_snapshot_view(tmp_path)
    first = view.row(block_key(UserId("a"), 0))
    view.close()
    change(tmp_path, block_key(UserId("a"), 1), lambda _: first)
    view = open_snapshot_view(tmp_path)
    with pytest.raises(CorruptStore, match="block 1 of user 'a' does not match its checksum"):
        view.entries(UserId("a"), 17, 32)
    view.close()


def test_a_block_from_before_there_were_checksums_is_read() -> None:
    tail = b"".join(pack_entry(entry) for entry in HISTORY[:BLOCK_ENTRIES])
    value = b"\xdc\0\x10" + tail
    assert unpack_block(UserId("a"), 0, value) == HISTORY[:BLOCK_ENTRIES]
    keys = keys_in_block(UserId("a"), 0, value)
    assert keys == [entry.key for entry in HISTORY[:BLOCK_ENTRIES]]
    with pytest.raises(CorruptStore, match="entries of user 'a' behind entry 0"):
        unpack_block(UserId("a"), 0, value.replace(b"key 3", b"key \xff"))


@pytest.mark.parametrize("at", [0, 2, 3, 10, -1])
def test_a_head_with_one_bit_changed_is_refused(written: Path, at: int) -> None:
    change(written, HEAD_KEY, lambda value: flipped(value, at))
    with pytest.raises(CorruptStore, match="head does not match its checksum"):
        open_snapshot_view(written)


def test_a_store_of_another_format_is_refused_by_its_version(written: Path) -> None:
    change(written, HEAD_KEY, lambda value: b"\x95\x01" + value[2:])
    with pytest.raises(CorruptStore, match="has format version 1; this program reads version 2"):
        open_snapshot_view(written)


def flipped(value: bytes, at: int) -> bytes:
    damaged = bytearray(value)
    damaged[at] ^= 1
    return bytes(damaged)


def test_a_request_that_names_another_entry_is_reported(written: Path) -> None:
    key = HISTORY[0].key
    assert key is not None
    change(written, request_key(UserId("a"), key), lambda _: b"\2")
    view = open_snapshot_view(written)
    with pytest.raises(CorruptStore, match="another key at entry 2 of user 'a'"):
        view.recorded(UserId("a"), key)
    with pytest.raises(CorruptStore, match="another key at entry 2 of user 'a'"):
        view.recorded_many([(UserId("a"), key)])
    view.close()


@pytest.mark.parametrize("at", [0, 8, 16, 40, -1])
def test_an_account_with_one_byte_changed_is_neither_served_nor_folded_into(
    written: Path, at: int
) -> None:
    change(written, account_key(UserId("a")), lambda value: flipped(value, at))
    view = open_snapshot_view(written)
    key = IdempotencyKey("key 0")
    looks: list[Callable[[], object]] = [
        lambda: view.account(UserId("a")),
        lambda: view.accounts_many([UserId("a")]),
        lambda: view.entries(UserId("a"), 1, 1),
        lambda: view.keys(UserId("a"), 18),
        lambda: view.recorded(UserId("a"), key),
        lambda: view.recorded_many([(UserId("a"), key)]),
    ]
    for look in looks:
        with pytest.raises(CorruptStore, match="user 'a' does not match its checksum"):
            look()
    assert view.account(UserId("b")) is None
    view.close()
    writer = SnapshotWriter(written)
    following = msgspec.structs.replace(NEWEST, number=NEWEST.number + 1)
    with pytest.raises(CorruptStore, match="user 'a' does not match its checksum"):
        writer.fold(LogPosition(1), [following], LogPosition(2), DIGEST)
    writer.close()


def fold_in_another_process(path: Path) -> object:
    done = subprocess.run(
        [sys.executable, "-m", "persistence.snapshotter", path / "log", path / "snapshot"],
        input=b"fold 1\n",
        stdout=subprocess.PIPE,
        check=True,
        timeout=60,
    )
    return json.loads(done.stdout)
