"""The snapshot store against a plain model, with folds written by a process of its own."""

import json
import subprocess
import sys
from collections import defaultdict
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger_actors import (
    Batch,
    Entry,
    IdempotencyKey,
    LogPosition,
    Micros,
    Reference,
    ShardId,
    UserId,
)
from ledger_actors.entry import Timestamp
from ledger_actors.errors import CorruptStore
from ledger_actors.folding import fold
from ledger_actors.ports import NO_ACCOUNT
from persistence.log_store import LogStore
from persistence.snapshot_format import split_key, user_prefix
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
    st.lists(st.tuples(users, st.integers(1, 2**60), st.booleans()), max_size=60),
    st.lists(st.integers(0, 60), max_size=4),
)
def test_a_store_folded_in_any_steps_answers_as_a_plain_model(
    tmp_path_factory: pytest.TempPathFactory,
    drawn: list[tuple[UserId, int, bool]],
    cuts: list[int],
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
        assert found == [entry._replace(key=None) for entry in history]
        for entry in history:
            if entry.key is not None:
                assert view.recorded(user, entry.key) == entry
        assert view.recorded(user, IdempotencyKey("never used")) is None
    view.close()


def test_the_keys_of_one_user_are_never_those_of_another() -> None:
    names = ["a", "a\0", "a\1", "aa", "\0", "\1a", "ä", "x" * 128]
    prefixes = [user_prefix(UserId(name)) for name in names]
    for one in prefixes:
        assert [other for other in prefixes if other.startswith(one)] == [one]


@pytest.mark.parametrize("key", [b"", b"\1", b"\1a", b"\1a\7", b"\1\xff\0"])
def test_a_key_that_means_nothing_is_reported(key: bytes) -> None:
    with pytest.raises(CorruptStore):
        split_key(key)


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


def test_a_history_with_a_hole_is_reported(tmp_path: Path) -> None:
    writer = SnapshotWriter(tmp_path)
    writer.fold(LogPosition(0), entries_of([(UserId("a"), 1, False)]), LogPosition(1), DIGEST)
    writer.close()
    view = open_snapshot_view(tmp_path)
    with pytest.raises(CorruptStore, match="does not hold entries 1 to 2 of user 'a'"):
        view.entries(UserId("a"), 1, 2)
    view.close()


def fold_in_another_process(path: Path) -> object:
    done = subprocess.run(
        [sys.executable, "-m", "persistence.snapshotter", path / "log", path / "snapshot"],
        input=b"fold\n",
        stdout=subprocess.PIPE,
        check=True,
        timeout=60,
    )
    return json.loads(done.stdout)
