"""Backups and restores against a plain model: a list of records, and what of it was backed up."""

import shutil
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger_actors.entry import Batch, Entry, LogPosition, Timestamp
from ledger_actors.identity import IdempotencyKey, UserId, shard_of
from ledger_actors.money import Micros
from persistence.backup import back_up, back_up_increment
from persistence.backup_check import check_backups
from persistence.backup_mark import read_mark
from persistence.backup_target import DirectoryTarget
from persistence.data_directory import DataDirectory, create_data_directory, open_data_directory
from persistence.environment import open_for_reading
from persistence.errors import StoreError
from persistence.inspection import account_as_stored
from persistence.log_store import LogStore
from persistence.pinned import pinned
from persistence.restore import Goal, UpToPosition, UpToTime, restore
from persistence.snapshot_store import SnapshotWriter
from persistence.snapshotter import fold_next

USERS = [UserId(name) for name in ("ann", "bob", "ünï")]
SHARDS = 3
NOW = Timestamp(0)
ALL = 10**6

drawn_credits = st.lists(st.tuples(st.sampled_from(USERS), st.booleans()), min_size=1, max_size=20)
moments = st.integers(1, 40)


class Model:
    """What there is, and what of it can be restored."""

    def __init__(self) -> None:
        self.records: list[list[Entry]] = []
        self.folded = 0
        self.first = 0
        self.fulls: list[tuple[int, int]] = []
        self.covered: set[int] = set()
        """The positions whose records are in a backup."""
        self.reaches = 0

    @property
    def last(self) -> int:
        return len(self.records)

    def took(self, after: int) -> None:
        self.covered |= set(range(after + 1, self.last + 1))
        self.reaches = self.last

    def newest(self, position: int) -> int:
        """The greatest timestamp up to a position."""
        return max((e.timestamp for record in self.records[:position] for e in record), default=0)

    def restorable(self, goal: Goal) -> int | None:
        """The position that a restore must reach; None where it must be refused."""
        starts = [after for after, _ in self.fulls]
        if not starts:
            return None
        match goal:
            case UpToPosition(position):
                starts = [after for after in starts if after <= position]
                reached = needed = int(position)
                if position > self.reaches:
                    return None
            case UpToTime(time):
                starts = [after for after in starts if self.newest(after) <= time]
                early = [p for p in range(self.reaches + 1) if self.newest(p) <= time]
                reached = max(early, default=0)
                # The record that ends it must be seen.
                needed = min(reached + 1, self.reaches)
            case None:
                reached = needed = self.reaches
        if not starts or not set(range(max(starts) + 1, needed + 1)) <= self.covered:
            return None
        return reached

    def history(self, user: UserId, position: int) -> list[Entry]:
        return [e for record in self.records[:position] for e in record if e.user == user]


class Run:
    """A store, its backups, and the model, taken through the same steps."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = create_data_directory(folder / "data", SHARDS)
        self.target = DirectoryTarget(folder / "backups")
        self.model = Model()

    @contextmanager
    def log(self) -> Iterator[LogStore]:
        with closing(LogStore(self.store.log)) as log:
            yield log

    def credit(self, drawn: list[tuple[UserId, bool]], moment: int) -> None:
        """One record, stamped whenever the clock says: it may have jumped back."""
        model = self.model
        entries: list[Entry] = []
        for at, (user, keyed) in enumerate(drawn):
            before = len(model.history(user, model.last)) + sum(e.user == user for e in entries)
            key = IdempotencyKey(f"{model.last}-{at}") if keyed else None
            stamp = Timestamp(moment * 1000 + at)
            entries.append(Entry(user, before + 1, Micros(at + 1), stamp, key))
        batches = [
            Batch(shard_of(user, SHARDS), [e for e in entries if e.user == user])
            for user in USERS
            if any(e.user == user for e in entries)
        ]
        with self.log() as log:
            assert log.commit(batches) == model.last + 1
        # As they are in the log: shard by shard.
        model.records.append([entry for batch in batches for entry in batch.entries])
        model.first = model.first or 1

    def probe(self) -> None:
        with self.log() as log:
            log.commit([])
        self.model.records.append([])
        self.model.first = self.model.first or 1

    def fold(self) -> None:
        with (
            closing(open_for_reading(self.store.log)) as log,
            closing(SnapshotWriter(self.store.snapshot)) as snapshot,
        ):
            while fold_next(log, snapshot):
                pass
        self.model.folded = self.model.last

    def cut(self, held: bool) -> None:
        """Lets go of what is folded: with what no backup has yet, or without."""
        model = self.model
        with self.log() as log:
            mark = read_mark(self.store)
            log.hold(mark if held else None)
            log.cut(LogPosition(model.folded))
            while log.cut_pending:
                log.tidy()
            cut_to = max(model.first, model.folded) if model.first else 0
            if held and mark is not None and model.first <= max(mark, 1):
                cut_to = max(model.first, min(cut_to, mark))
            assert log.first == cut_to
            model.first = cut_to

    def snapshot(self, held: bool) -> None:
        """What a server does when one is due."""
        self.fold()
        self.cut(held)

    def full(self) -> None:
        model = self.model
        taken = back_up(self.store, self.target, NOW)
        assert taken.position == model.last
        assert (taken.name is None) == ((model.folded, model.last) in model.fulls)
        model.fulls.append((model.folded, model.last))
        model.took(model.folded)

    def increment(self) -> None:
        model = self.model
        if not model.fulls or model.first > max(model.reaches, 1):
            nothing_new = model.fulls and model.reaches == model.last
            assert not nothing_new
            with pytest.raises(StoreError, match="full backup"):
                back_up_increment(self.store, self.target, NOW)
            return
        taken = back_up_increment(self.store, self.target, NOW)
        assert taken.position == model.last
        assert (taken.name is None) == (model.reaches == model.last)
        model.took(model.reaches)

    def goal(self, kind: str, index: int, beside: int) -> Goal:
        """A goal near one of the records, or near the stamp of one of the entries."""
        model = self.model
        stamps = [entry.timestamp for record in model.records for entry in record] or [NOW]
        match kind:
            case "position":
                return UpToPosition(LogPosition(index % (model.last + 2)))
            case "time":
                return UpToTime(Timestamp(stamps[index % len(stamps)] + beside))
            case _:
                return None

    def restore(self, goal: Goal) -> None:
        expected = self.model.restorable(goal)
        path = self.folder / "restored"
        if expected is None:
            with pytest.raises(StoreError):
                restore(self.target, path, goal)
            assert not (path / "store.json").exists()
        else:
            restored = restore(self.target, path, goal)
            assert restored.position == expected
            assert restored.verified.last == expected
            self._compare(open_data_directory(path), expected)
        shutil.rmtree(path, ignore_errors=True)

    def check(self) -> None:
        """The check of all backups agrees with whether they lead from the first to the last."""
        model = self.model
        first = min((after for after, _ in model.fulls), default=None)
        whole = first is not None and set(range(first + 1, model.reaches + 1)) <= model.covered
        if whole:
            checked = check_backups(self.target)
            assert (checked.first, checked.last) == (first, model.reaches)
        else:
            with pytest.raises(StoreError):
                check_backups(self.target)

    def _compare(self, restored: DataDirectory, position: int) -> None:
        for user in USERS:
            history = self.model.history(user, position)
            account = account_as_stored(restored, user, ALL)
            assert list(account.newest) == history[::-1]
            assert account.balance == sum(entry.amount for entry in history)
        assert restored.id != self.store.id
        with pinned(restored) as store:
            view = store.snapshot
            folded = [e for record in self.model.records[: view.position] for e in record]
            for entry in folded:
                if entry.key is not None:
                    assert view.recorded(entry.user, entry.key) == entry


credit = st.tuples(st.just("credit"), drawn_credits, moments)
snapshot = st.tuples(st.just("snapshot"), st.sampled_from([True, True, True, False]))
increment = st.tuples(st.just("increment"))
other = st.tuples(st.sampled_from(["probe", "fold", "full", "check"]))
steps = st.one_of(credit, credit, snapshot, increment, other)
asked_for = st.lists(
    st.tuples(
        st.sampled_from(["position", "time", "all"]), st.integers(0, 400), st.integers(-1, 1)
    ),
    min_size=6,
    max_size=10,
)


@settings(max_examples=80, deadline=None)
@given(st.lists(steps, max_size=6), st.lists(steps, min_size=12, max_size=30), asked_for)
def test_what_is_restored_is_what_a_plain_model_says(
    tmp_path_factory: pytest.TempPathFactory,
    before: list[tuple[str, ...]],
    after: list[tuple[str, ...]],
    asked: list[tuple[str, int, int]],
) -> None:
    folder = tmp_path_factory.mktemp("backups")
    run = Run(folder)
    for name, *arguments in [*before, ("full",), *after, ("check",)]:
        getattr(run, name)(*arguments)
    for kind, index, beside in asked:
        run.restore(run.goal(kind, index, beside))
    shutil.rmtree(folder)


def test_a_place_without_a_full_backup_is_told_so(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.credit([(USERS[0], True)], 1)
    run.increment()
    run.check()
    run.restore(None)
