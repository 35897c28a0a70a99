"""Accounts against a list of entries a user: any credits, any folds, any pages, any moment."""

from collections import defaultdict
from dataclasses import dataclass, field

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger_actors.accounts import PAGE_SIZE, Accounts
from ledger_actors.credit import Credit, Replayed, Submission
from ledger_actors.entry import Batch, Entry, LogPosition, Timestamp
from ledger_actors.errors import BalanceLimitReached, IdempotencyKeyReused
from ledger_actors.identity import IdempotencyKey, Reference, ShardId, UserId
from ledger_actors.money import MICROS_MAX, Micros
from ledger_actors.remembered_keys import IDLE_ACCOUNT_KEYS
from ledger_actors.testing import MemoryLog, MemorySnapshots

USERS = [UserId("a"), UserId("b")]
KEYS = [IdempotencyKey(f"key {number}") for number in range(6)]

amounts = st.integers(1, 9) | st.integers(1, MICROS_MAX)
credits_ = st.builds(
    Credit,
    user=st.sampled_from(USERS),
    amount=amounts.map(Micros),
    key=st.none() | st.sampled_from(KEYS),
    reference=st.none() | st.just(Reference("r")),
)
batches = st.lists(credits_, min_size=1, max_size=25)
steps = st.lists(
    st.tuples(st.just("commit"), batches)
    | st.tuples(st.just("abort"), batches)
    | st.tuples(st.sampled_from(["fold", "forget", "refresh"]), st.just([])),
    max_size=25,
)


@dataclass
class Model:
    """What was taken, and nothing else."""

    histories: dict[UserId, list[Entry]] = field(default_factory=lambda: defaultdict(list))

    def balance(self, user: UserId) -> int:
        return sum(entry.amount for entry in self.histories[user])

    def page(self, user: UserId, page: int) -> list[Entry]:
        newest_first = self.histories[user][::-1]
        return newest_first[(page - 1) * PAGE_SIZE : page * PAGE_SIZE]

    def take(self, credit: Credit) -> object:
        """What must become of the credit: an amount that counts, or why not."""
        history = self.histories[credit.user]
        for entry in history:
            if credit.key is not None and entry.key == credit.key:
                same = (entry.amount, entry.reference) == (credit.amount, credit.reference)
                return Replayed if same else IdempotencyKeyReused
        if self.balance(credit.user) + credit.amount > MICROS_MAX:
            return BalanceLimitReached
        entry = Entry(
            credit.user,
            len(history) + 1,
            credit.amount,
            Timestamp(0),
            credit.key,
            credit.reference,
        )
        history.append(entry)
        return Entry


class Ledger:
    """Accounts with their log and snapshots, and the model beside them."""

    def __init__(self, remembered_max: int) -> None:
        self.log = MemoryLog()
        self.snapshots = MemorySnapshots(self.log)
        self.accounts = Accounts(self.snapshots, remembered_max)
        self.remembered_max = remembered_max
        self.model = Model()

    def credit(self, requests: list[Credit], *, committed: bool) -> None:
        before = {user: list(history) for user, history in self.model.histories.items()}
        expected = [self.model.take(request) for request in requests]
        submission = Submission(tuple(requests))
        entries = self.accounts.stage([submission], Timestamp(0))
        assert [type(outcome) for outcome in submission.outcomes] == expected
        # What is staged is not to be seen: neither before it is durable, nor if it never is.
        told = self.model
        self.model = Model(defaultdict(list, before))
        self.check()
        if not committed:
            self.accounts.abort()
            return
        self.model = told
        position = LogPosition(self.log.position)
        if entries:
            position = trio.run(self.log.append, [Batch(ShardId(0), entries)])
        self.accounts.commit(position)

    def check(self) -> None:
        assert 0 <= self.accounts.remembered <= self.remembered_max
        in_memory = self.accounts.active + self.accounts.idle
        assert in_memory or not self.accounts.remembered
        held = self.accounts.remembered + self.accounts.idle * IDLE_ACCOUNT_KEYS
        assert held <= self.remembered_max or not self.accounts.idle
        for user in USERS:
            history = self.model.histories[user]
            assert self.accounts.balance(user) == self.model.balance(user)
            assert self.accounts.count(user) == len(history)
            for page in range(1, len(history) // PAGE_SIZE + 3):
                assert list(self.accounts.history(user, page)) == self.model.page(user, page)


@settings(max_examples=150, deadline=None)
@given(
    steps,
    st.sampled_from([1, 4, 64]),
    st.sampled_from([4, 500]),
    st.sampled_from([0, 3, 12, 1_000]),
)
def test_accounts_tell_what_was_taken_whatever_is_folded(
    drawn: list[tuple[str, list[Credit]]],
    looked_up_together_min: int,
    learned_max: int,
    remembered_max: int,
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ledger_actors.accounts.LOOKED_UP_TOGETHER_MIN", looked_up_together_min)
        patch.setattr("ledger_actors.accounts.LEARNING_LOOK_UPS", 1)
        patch.setattr("ledger_actors.accounts.LEARNED_MAX", learned_max)
        run(drawn, remembered_max)


def run(drawn: list[tuple[str, list[Credit]]], remembered_max: int) -> None:
    ledger = Ledger(remembered_max)
    for step, requests in drawn:
        if step == "fold":
            trio.run(ledger.snapshots.fold)
        elif step == "refresh":
            ledger.snapshots.refresh()
        elif step == "forget":
            ledger.accounts.forget_folded(7)
        else:
            ledger.credit(requests, committed=step == "commit")
        ledger.check()
