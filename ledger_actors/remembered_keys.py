"""Idempotency keys of folded entries that memory holds, and the idle accounts that hold some."""

from collections import OrderedDict
from typing import Final

from ledger_actors.account import Account
from ledger_actors.identity import UserId

IDLE_ACCOUNT_KEYS: Final = 4
"""An idle account takes as much memory as so many remembered keys (measured: 380 to 510 bytes,
against 115)."""


class RememberedKeys:
    """They spare look-ups, and nothing else: where there is no room, the idle accounts go with
    theirs, the least recently active first.

    Attributes:
        count: of active accounts and of idle ones. An active account that learns or lets go of
            keys is to be counted by whoever has it do so.
    """

    def __init__(self, count_max: int) -> None:
        """
        Args:
            count_max: an idle account counts as `IDLE_ACCOUNT_KEYS` more.
        """
        self._count_max = count_max
        self.count = 0
        self._of_idle = 0
        self._idle: OrderedDict[UserId, Account] = OrderedDict()

    @property
    def idle(self) -> int:
        """How many idle accounts are held."""
        return len(self._idle)

    def keep(self, account: Account) -> None:
        """Holds an account that is idle from now on, as long as there is room."""
        self._idle[account.user] = account
        self._of_idle += account.remembered
        self.make_room(0)

    def take(self, user: UserId) -> Account | None:
        """The user's account, which is idle no more; None where it is not held."""
        account = self._idle.pop(user, None)
        if account is not None:
            self._of_idle -= account.remembered
        return account

    def has_room(self, keys: int) -> bool:
        """Whether so many keys more may be remembered."""
        return self.count + len(self._idle) * IDLE_ACCOUNT_KEYS + keys <= self._count_max

    def make_room(self, keys: int) -> bool:
        """Lets go of idle accounts until so many keys more may be remembered; where all of them
        would not do, of none."""
        if self.count - self._of_idle + keys > self._count_max:
            return False
        while not self.has_room(keys):
            _, account = self._idle.popitem(last=False)
            self.count -= account.remembered
            self._of_idle -= account.remembered
        return True
