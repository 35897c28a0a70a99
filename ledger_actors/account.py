"""One user's account, as its shard holds it while some of its entries are in no snapshot."""

from collections.abc import Iterable, Sequence
from itertools import islice
from sys import getsizeof
from typing import Final

import msgspec

from ledger_actors.credit import CreditRequest
from ledger_actors.entry import Entry, Timestamp, out_of_order
from ledger_actors.errors import BalanceLimitReached, CorruptStore
from ledger_actors.identity import IdempotencyKey, UserId
from ledger_actors.money import MICROS_MAX, Micros
from ledger_actors.ports import AccountSummary

NO_STEP: Final = 0
"""Before the first step of a shard."""

TAIL_BYTES_PER_KEY_MAX: Final = 128
"""What a dictionary takes for a key that has never held more; it always has room for a few."""

FOLDED: Final = Entry(UserId(""), 0, Micros(0), Timestamp(0), None)
"""What is known of an entry by its idempotency key alone: a snapshot has it."""


class Account(msgspec.Struct, eq=False, gc=False):
    """Balance, count and the newest entries of one user. `opened` makes one.

    An entry is staged first, in a step of its shard, and no reader sees it until that is committed.
    The entries that no snapshot has are the tail; the older ones are in the snapshot store. Of
    these either all idempotency keys are known here too, and a new key is known to be new; or none
    are, and each key is looked up.

    Hundreds of thousands are in memory at once. The garbage collector looks at none, nor at a
    dictionary of entries: where it did, callers waited for a quarter of a second.

    Attributes:
        newest: how many entries the history has, with those of the step.
        total: the balance in micro-dollars, with those of the step; None as long as nobody has
            asked for it: a replay reads the log alone, and what is folded is looked up (`load`)
            when it is needed.
        forgotten: how many of the oldest entries are not in the tail any more.
        keyed: all idempotency keys of the user are in the tail.
        looked_up: how many keys the snapshot store was asked for since they were not.
        tail: the entries in no snapshot, in order, each under its idempotency key, or under its
            number where it has none. At the end are those of the step; at the front, where the
            account is keyed, `FOLDED` under the key of each that is forgotten.
        step: the last one that staged something, or `NO_STEP`.
        count: `newest` without what the step staged.
        balance: `total` without what the step staged.
    """

    user: UserId
    newest: int
    total: int | None
    forgotten: int
    keyed: bool
    looked_up: int
    tail: dict[IdempotencyKey | int, Entry]
    step: int
    count: int
    balance: int | None

    @property
    def idle(self) -> bool:
        """Nothing is known here that the snapshot store does not know."""
        return self.newest == self.forgotten

    @property
    def remembered(self) -> int:
        """How many keys of forgotten entries are in the tail."""
        return len(self.tail) - (self.newest - self.forgotten)

    def count_before(self, step: int) -> int:
        """How many entries the history has without those of that step, the last or a later one."""
        return self.count if self.step == step else self.newest

    def begin(self, step: int) -> None:
        """From now on it stages in that step; what it staged before is durable."""
        self.step = step
        self.count = self.newest
        self.balance = self.total

    def stage(self, request: CreditRequest, timestamp: Timestamp) -> Entry:
        """The next entry, for the log to make durable. The balance must be loaded.

        Raises:
            BalanceLimitReached: the balance would pass `MICROS_MAX`; nothing is staged.
        """
        amount, key = request.amount, request.key
        assert self.total is not None
        total = self.total + amount
        if total > MICROS_MAX:
            raise BalanceLimitReached
        number = self.newest + 1
        entry = Entry(self.user, number, amount, timestamp, key, request.reference)
        self.tail[number if key is None else key] = entry
        self.newest = number
        self.total = total
        return entry

    def unstage(self) -> None:
        """Forgets what its last step staged: the log refused it."""
        for _ in range(self.newest - self.count):
            self.tail.popitem()
        self.newest = self.count
        self.total = self.balance
        self.step = NO_STEP

    def apply(self, entry: Entry) -> None:
        """Takes in an entry that the log has.

        Raises:
            CorruptStore: it is not the entry that comes next.
        """
        if entry.number != self.newest + 1:
            raise out_of_order(entry, self.newest)
        self.newest = entry.number
        if self.total is not None:
            self.total += entry.amount
        # A log in which a key has counted twice shows both: every entry has a place of its own.
        name: IdempotencyKey | int | None = entry.key
        if name is None or name in self.tail:
            name = entry.number
        self.tail[name] = entry

    def load(self, summary: AccountSummary) -> Micros:
        """The balance, from what the snapshot has and what follows it here.

        Raises:
            CorruptStore: they do not follow each other.
        """
        following = self.newest_first(summary.entries + 1, self.newest)
        if summary.entries + len(following) != self.newest:
            raise CorruptStore(
                f"the snapshot has {summary.entries} entries of user {self.user!r}, the log has "
                f"{self.newest - self.forgotten} that end at entry {self.newest}"
            )
        self.total = summary.balance + sum(entry.amount for entry in following)
        return Micros(self.total)

    def forget(self, entry: Entry) -> bool:
        """Lets go of the oldest entry of the tail: a snapshot has it.

        Returns whether its key is remembered.
        """
        self.forgotten = entry.number
        name = entry.key
        if name is None or self.tail.get(name) is not entry:
            del self.tail[entry.number]
            return False
        if self.keyed:
            self.tail[name] = FOLDED
            return True
        del self.tail[name]
        return False

    def learn(self, forgotten: Iterable[IdempotencyKey | None]) -> None:
        """From now on all idempotency keys are known here.

        Args:
            forgotten: those of all entries that are forgotten; None for each that has none.
        """
        tail = self.tail
        # A key that has counted twice keeps its place: entries stay in order.
        self.tail = {key: FOLDED for key in forgotten if key is not None and key not in tail}
        self.tail.update(tail)
        self.keyed = True

    def unlearn(self) -> None:
        """Lets go of the keys of forgotten entries: the snapshot store is asked again."""
        self.tail = {name: entry for name, entry in self.tail.items() if entry is not FOLDED}
        self.keyed = False
        self.looked_up = 0

    def rest(self) -> None:
        """Takes no more memory than what is in the tail needs: it may have been far longer."""
        tail = self.tail
        if getsizeof(tail) > TAIL_BYTES_PER_KEY_MAX * (len(tail) + 8):
            self.tail = dict(tail)

    def newest_first(self, first: int, last: int) -> Sequence[Entry]:
        """The entries of the tail with these numbers, both included, descending."""
        newest, first = self.newest, max(first, self.forgotten + 1)
        entries = reversed(self.tail.values())
        return [*islice(entries, newest - last, max(newest - first + 1, 0))]


def opened(user: UserId, count: int, balance: Micros | None) -> Account:
    """An account of so many entries, all of which a snapshot has."""
    return Account(user, count, balance, count, not count, 0, {}, NO_STEP, count, balance)
