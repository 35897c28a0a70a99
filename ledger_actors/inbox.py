"""The bounded queue in front of a shard."""

from collections.abc import Sequence
from dataclasses import dataclass

import trio

from ledger_actors.credit import Credit
from ledger_actors.errors import Overloaded, ShuttingDown


@dataclass(frozen=True, slots=True)
class InboxStatistics:
    waiting: int
    limit: int
    refused: int


class Inbox:
    """Credits wait here while their shard's append is in flight; the shard then takes them all.

    Raises from `put_nowait` what the caller is to be told: it never waits and never grows past
    its limit.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._waiting: list[Credit] = []
        self._filled = trio.Event()
        self._closed = False
        self._refused = 0

    def put_nowait(self, credit: Credit) -> None:
        """
        Raises:
            Overloaded: the inbox is full.
            ShuttingDown: the inbox is closed.
        """
        if self._closed:
            raise ShuttingDown
        if len(self._waiting) >= self._limit:
            self._refused += 1
            raise Overloaded
        self._waiting.append(credit)
        self._filled.set()

    async def take_all(self) -> Sequence[Credit]:
        """Everything that waits, at least one; nothing once the inbox is closed and empty."""
        await self._filled.wait()
        taken, self._waiting = self._waiting, []
        if not self._closed:
            self._filled = trio.Event()
        return taken

    def close(self) -> None:
        """Takes nothing more in; what waits can still be taken."""
        self._closed = True
        self._filled.set()

    def statistics(self) -> InboxStatistics:
        return InboxStatistics(len(self._waiting), self._limit, self._refused)
