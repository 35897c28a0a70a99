"""One user's account, as its shard holds it while some of its entries are in no snapshot."""

from collections.abc import Sequence
from typing import Final

from ledger_actors.entry import Entry, Timestamp, out_of_order
from ledger_actors.errors import BalanceLimitReached, CorruptStore
from ledger_actors.identity import IdempotencyKey, Reference, UserId
from ledger_actors.money import MICROS_MAX, Micros
from ledger_actors.ports import AccountSummary

_new_tuple: Final = tuple.__new__


class Account:
    """Balance, count and the newest entries of one user.

    An entry is staged first, which no reader sees, and applied once it is durable. The entries
    that no snapshot has are the tail; the older ones are in the snapshot store.

    Attributes:
        balance: None as long as nobody has asked for it: a replay reads the log alone, and what is
            folded is looked up (`load`) when it is needed.
        count: how many entries the history has.
        folded: the snapshot store may know idempotency keys of the user.
        keys: the entries of the tail, and the staged ones, that have an idempotency key.
        staged: the entries on their way to the log.
    """

    __slots__ = ("_staged_amount", "balance", "count", "folded", "keys", "staged", "tail", "user")

    def __init__(self, user: UserId, count: int, balance: Micros | None) -> None:
        self.user = user
        self.balance = balance
        self.count = count
        self.folded = count > 0
        self.tail: list[Entry] = []
        self.keys: dict[IdempotencyKey, Entry] = {}
        self.staged: list[Entry] = []
        self._staged_amount = 0

    @property
    def idle(self) -> bool:
        """Nothing is known here that the snapshot store does not know."""
        return not self.tail and not self.staged

    def stage(
        self,
        amount: Micros,
        timestamp: Timestamp,
        key: IdempotencyKey | None,
        reference: Reference | None,
    ) -> Entry:
        """The next entry, for the log to make durable. The balance must be loaded.

        Raises:
            BalanceLimitReached: the balance would pass `MICROS_MAX`; nothing is staged.
        """
        assert self.balance is not None
        staged_amount = self._staged_amount + amount
        if self.balance + staged_amount > MICROS_MAX:
            raise BalanceLimitReached
        self._staged_amount = staged_amount
        staged = self.staged
        number = self.count + len(staged) + 1
        # Half the cost of calling Entry, and every credit makes one.
        entry: Entry = _new_tuple(Entry, (self.user, number, amount, timestamp, key, reference))
        staged.append(entry)
        if key is not None:
            self.keys[key] = entry
        return entry

    def unstage(self) -> None:
        """Forgets what is staged: the log refused it."""
        for entry in self.staged:
            if entry.key is not None:
                del self.keys[entry.key]
        self.staged = []
        self._staged_amount = 0

    def apply_staged(self) -> None:
        """Takes in what is staged: it is durable."""
        assert self.balance is not None
        self.count += len(self.staged)
        self.balance = Micros(self.balance + self._staged_amount)
        if self.tail:
            self.tail += self.staged
        else:
            self.tail = self.staged
        self.staged = []
        self._staged_amount = 0

    def apply(self, entry: Entry) -> None:
        """Takes in an entry that the log has.

        Raises:
            CorruptStore: it is not the entry that comes next.
        """
        if entry.number != self.count + 1:
            raise out_of_order(entry, self.count)
        self.count = entry.number
        if self.balance is not None:
            self.balance = Micros(self.balance + entry.amount)
        self.tail.append(entry)
        if entry.key is not None:
            self.keys[entry.key] = entry

    def load(self, summary: AccountSummary) -> Micros:
        """The balance, from what the snapshot has and what follows it here.

        Raises:
            CorruptStore: they do not follow each other.
        """
        following = self.tail_between(summary.entries + 1, self.count)
        if summary.entries + len(following) != self.count:
            raise CorruptStore(
                f"the snapshot has {summary.entries} entries of user {self.user!r}, the log has "
                f"{len(self.tail)} that end at entry {self.count}"
            )
        self.balance = Micros(summary.balance + sum(entry.amount for entry in following))
        return self.balance

    def forget(self, through: int) -> None:
        """Lets go of the entries up to that number: a snapshot has them."""
        if not self.tail:
            return
        self.folded = True
        folded = through - self.tail[0].number + 1
        for entry in self.tail[:folded]:
            if entry.key is not None:
                del self.keys[entry.key]
        del self.tail[:folded]

    def tail_between(self, first: int, last: int) -> Sequence[Entry]:
        """The entries of the tail with these numbers, both included."""
        if not self.tail:
            return ()
        start = self.tail[0].number
        return self.tail[max(first - start, 0) : max(last - start + 1, 0)]
