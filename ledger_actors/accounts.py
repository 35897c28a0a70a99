"""All accounts of one shard: a short tail in memory, everything older in the snapshot store."""

from collections import deque
from collections.abc import Sequence, Set
from typing import Final

from ledger_actors.account import Account
from ledger_actors.entry import Entry, LogPosition
from ledger_actors.identity import IdempotencyKey, UserId
from ledger_actors.money import Micros
from ledger_actors.ports import NO_ACCOUNT, AccountSummary, SnapshotStore

PAGE_SIZE: Final = 10
"""Entries on a page of history."""


class Accounts:
    """What is durable, as of the last applied batch. It never waits: every call is synchronous.

    Memory holds only the accounts that have entries in no snapshot yet. Reading allocates
    nothing that stays.
    """

    def __init__(self, snapshots: SnapshotStore) -> None:
        self._snapshots = snapshots
        self._active: dict[UserId, Account] = {}
        self._applied: deque[tuple[LogPosition, Sequence[Entry]]] = deque()
        self.unfolded = 0
        """Entries held in memory because no snapshot has them yet."""

    @property
    def active(self) -> int:
        """How many accounts are in memory."""
        return len(self._active)

    def balance(self, user: UserId) -> Micros:
        account = self._active.get(user)
        if account is None:
            return self._folded(user).balance
        return self._load(account) if account.balance is None else account.balance

    def count(self, user: UserId) -> int:
        """How many entries the user's history has."""
        account = self._active.get(user)
        return self._folded(user).entries if account is None else account.count

    def history(self, user: UserId, page: int) -> Sequence[Entry]:
        """One page of the user's history, newest first; page 1 has the newest entries."""
        last = self.count(user) - (page - 1) * PAGE_SIZE
        if last < 1:
            return ()
        first = max(last - PAGE_SIZE + 1, 1)
        account = self._active.get(user)
        tail = account.tail_between(first, last) if account is not None else ()
        folded = last - len(tail)
        older = self._snapshots.entries(user, first, folded) if first <= folded else ()
        return [*reversed(tail), *reversed(older)]

    def recorded(self, user: UserId, key: IdempotencyKey) -> Entry | None:
        """The entry that the request with this key made, however long ago."""
        account = self._active.get(user)
        if account is not None:
            entry = account.keys.get(key)
            if entry is not None:
                return entry
        return self._snapshots.recorded(user, key)

    def opened(self, user: UserId) -> Account:
        """The user's account in memory, to stage entries in. `settle` ends it."""
        account = self._active.get(user)
        if account is None:
            summary = self._folded(user)
            account = self._active[user] = Account(user, summary.entries, summary.balance)
        elif account.balance is None:
            self._load(account)
        return account

    def apply(self, position: LogPosition, entries: Sequence[Entry]) -> None:
        """Takes in what the log has at that position, without a look at the snapshot store.

        Raises:
            CorruptStore: the entries do not follow what is there.
        """
        active = self._active
        for entry in entries:
            account = active.get(entry.user)
            if account is None:
                account = active[entry.user] = Account(entry.user, entry.number - 1, None)
            account.apply(entry)
        self._applied.append((position, entries))
        self.unfolded += len(entries)

    def settle(self, users: Set[UserId]) -> None:
        """Ends the staging in these accounts; those of which nothing came leave memory."""
        for user in users:
            account = self._active[user]
            account.unstage()
            if account.idle:
                del self._active[user]

    def forget_folded(self, entries_max: int) -> bool:
        """Lets go of about that many entries that the snapshot view has; False when none is left.

        It works in steps, so that forgetting many does not hold up the callers.
        """
        folded: dict[UserId, int] = {}
        forgotten = 0
        while self._applied and self._applied[0][0] <= self._snapshots.position:
            if forgotten >= entries_max:
                break
            _, entries = self._applied.popleft()
            forgotten += len(entries)
            folded.update((entry.user, entry.number) for entry in entries)
        for user, number in folded.items():
            account = self._active[user]
            account.forget(number)
            if account.idle:
                del self._active[user]
        self.unfolded -= forgotten
        return forgotten > 0

    def _folded(self, user: UserId) -> AccountSummary:
        return self._snapshots.account(user) or NO_ACCOUNT

    def _load(self, account: Account) -> Micros:
        return account.load(self._folded(account.user))
