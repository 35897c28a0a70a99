"""One user's account, as its shard holds it while some of its entries are in no snapshot."""

from collections.abc import Sequence

from ledger_actors.entry import Entry, Timestamp, out_of_order
from ledger_actors.errors import BalanceLimitReached, CorruptStore
from ledger_actors.identity import IdempotencyKey, Reference, UserId
from ledger_actors.money import MICROS_MAX, Micros
from ledger_actors.ports import AccountSummary


class Account:
    """Balance, count and the newest entries of one user.

    An entry is staged first, which no reader sees, and applied once it is durable. The entries
    that no snapshot has are the tail; the older ones are in the snapshot store.

    Attributes:
        balance: None as long as nobody has asked for it: a replay reads the log alone, and what is
            folded is looked up (`load`) when it is needed.
        count: how many entries the history has.
        folded: the snapshot store may know idempotency keys of the user.
        keys: the entries of the tail that have an idempotency key.
        tail: the entries in no snapshot. At its end, past `count`, are the staged ones.
    """

    __slots__ = ("_newest", "_total", "balance", "count", "folded", "keys", "tail", "user")

    def __init__(self, user: UserId, count: int, balance: Micros | None) -> None:
        self.user = user
        self.balance = balance
        self.count = count
        self.folded = count > 0
        self.tail: list[Entry] = []
        self.keys: dict[IdempotencyKey, Entry] = {}
        # With what is staged: the number of the newest entry, and the balance.
        self._newest = count
        self._total = balance

    @property
    def idle(self) -> bool:
        """Nothing is known here that the snapshot store does not know."""
        return not self.tail

    @property
    def staged(self) -> int:
        """How many entries are on their way to the log."""
        return self._newest - self.count

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
        assert self._total is not None
        total = self._total + amount
        if total > MICROS_MAX:
            raise BalanceLimitReached
        number = self._newest + 1
        entry = Entry(self.user, number, amount, timestamp, key, reference)
        self.tail.append(entry)
        if key is not None:
            self.keys[key] = entry
        self._newest = number
        self._total = Micros(total)
        return entry

    def unstage(self) -> None:
        """Forgets what is staged: the log refused it."""
        kept = len(self.tail) - self.staged
        for entry in self.tail[kept:]:
            if entry.key is not None:
                del self.keys[entry.key]
        del self.tail[kept:]
        self._newest = self.count
        self._total = self.balance

    def apply_staged(self) -> None:
        """Takes in what is staged: it is durable."""
        self.count = self._newest
        self.balance = self._total

    def apply(self, entry: Entry) -> None:
        """Takes in an entry that the log has.

        Raises:
            CorruptStore: it is not the entry that comes next.
        """
        if entry.number != self.count + 1:
            raise out_of_order(entry, self.count)
        assert not self.staged
        self.count = self._newest = entry.number
        if self.balance is not None:
            self.balance = self._total = Micros(self.balance + entry.amount)
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
        assert not self.staged
        self.balance = Micros(summary.balance + sum(entry.amount for entry in following))
        self._total = self.balance
        return self.balance

    def forget(self, through: int) -> None:
        """Lets go of the entries up to that number: a snapshot has them."""
        if not self.tail:
            return
        self.folded = True
        folded = through - self.tail[0].number + 1
        if folded == len(self.tail):
            self.tail.clear()
            self.keys.clear()
            return
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
