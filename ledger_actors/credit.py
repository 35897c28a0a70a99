"""One request to credit a user, on its way from the caller to its shard and back."""

from typing import NamedTuple

import trio

from ledger_actors.entry import Entry
from ledger_actors.errors import LedgerError
from ledger_actors.identity import IdempotencyKey, UserId
from ledger_actors.money import Micros


class Credited(NamedTuple):
    """A credit that counts, and is durable."""

    entry: Entry
    replayed: bool
    """It counted at an earlier request with the same idempotency key; this one changed nothing."""


class Credit:
    """A request in flight. Whoever submitted it awaits `outcome`; its shard settles it once."""

    __slots__ = ("_credited", "_error", "_settled", "amount", "key", "user")

    def __init__(self, user: UserId, amount: Micros, key: IdempotencyKey | None) -> None:
        self.user = user
        self.amount = amount
        self.key = key
        self._settled = trio.Event()
        self._credited: Credited | None = None
        self._error: LedgerError | None = None

    async def outcome(self) -> Credited:
        """Waits until it is settled. Cancelling the wait does not take the credit back.

        Raises:
            Refused: it was refused, and nothing changed.
            Unavailable: it was not taken now; `ShardRestarted` leaves open whether it counted.
            CorruptStore: what is stored of the user is not what was written; nothing changed.
            LogFailed: the log failed; whether it counted shows after recovery.
        """
        await self._settled.wait()
        if self._error is not None:
            raise self._error
        assert self._credited is not None
        return self._credited

    @property
    def settled(self) -> bool:
        return self._settled.is_set()

    def succeed(self, entry: Entry, *, replayed: bool) -> None:
        assert not self.settled, "a credit is settled once"
        self._credited = Credited(entry, replayed)
        self._settled.set()

    def fail(self, error: LedgerError) -> None:
        assert not self.settled, "a credit is settled once"
        self._error = error
        self._settled.set()
