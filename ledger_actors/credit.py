"""Requests to credit users, on their way from the caller to a shard and back."""

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

import msgspec
import trio

from ledger_actors.entry import Entry
from ledger_actors.errors import LedgerError
from ledger_actors.identity import IdempotencyKey, Reference, UserId
from ledger_actors.money import Micros


class CreditRequest(Protocol):
    """What is asked for. Whatever was decoded from a caller's bytes may serve as one."""

    @property
    def user(self) -> UserId: ...
    @property
    def amount(self) -> Micros: ...
    @property
    def key(self) -> IdempotencyKey | None: ...
    @property
    def reference(self) -> Reference | None: ...


class Credit(msgspec.Struct, frozen=True, gc=False):
    """A `CreditRequest` made by hand."""

    user: UserId
    amount: Micros
    key: IdempotencyKey | None = None
    reference: Reference | None = None


class Replayed(NamedTuple):
    """The outcome of a request whose idempotency key made an entry before."""

    entry: Entry


Outcome = Entry | Replayed | LedgerError
"""What became of a request: the entry that it made, the one that an earlier request with its key
made, or why there is none."""


class Credited(NamedTuple):
    """A credit that counts, and is durable."""

    entry: Entry
    replayed: bool
    """It counted at an earlier request with the same idempotency key; this one changed nothing."""


class Submission:
    """Requests of one caller to one shard, in flight together. The shard settles them once.

    Attributes:
        outcomes: one for each request, in order; to be read when it is settled.
        uniform: every request made an entry.
        settled: the outcomes are final, and durable.
    """

    __slots__ = ("_done", "_on_settled", "outcomes", "requests", "settled", "uniform")

    def __init__(
        self,
        requests: Sequence[CreditRequest],
        on_settled: Callable[["Submission"], object] | None = None,
    ) -> None:
        self.requests = requests
        self.outcomes: list[Outcome] = []
        self.uniform = True
        self.settled = False
        self._on_settled = on_settled
        self._done: trio.Event | None = None

    def settle(self) -> None:
        """Lets the caller know: each request has its outcome."""
        assert not self.settled, "a submission is settled once"
        assert len(self.outcomes) == len(self.requests)
        self.settled = True
        if self._done is not None:
            self._done.set()
        # A bulk is called back by its parts: kept, it would be a cycle of thousands of objects.
        on_settled, self._on_settled = self._on_settled, None
        if on_settled is not None:
            on_settled(self)

    def fail(self, error: LedgerError) -> None:
        """Settles it, with that outcome for every request."""
        # Each gets its own: a shared error would gather the tracebacks of all who raise it.
        self.outcomes = [type(error)(str(error)) for _ in self.requests]
        self.uniform = False
        self.settle()

    def credited(self) -> Credited:
        """The outcome of a submission of one request, once it is settled.

        Raises:
            Refused: it was refused, and nothing changed.
            Unavailable: it was not taken now; `ShardRestarted` leaves open whether it counted.
            CorruptStore: what is stored of the user is not what was written; nothing changed.
            LogFailed: the log failed; whether it counted shows after recovery.
        """
        (outcome,) = self.outcomes
        if isinstance(outcome, LedgerError):
            raise outcome
        if isinstance(outcome, Replayed):
            return Credited(outcome.entry, replayed=True)
        return Credited(outcome, replayed=False)

    async def outcome(self) -> Credited:
        """Waits until it is settled. Cancelling the wait does not take the request back.

        Raises: as `credited`.
        """
        if not self.settled:
            if self._done is None:
                self._done = trio.Event()
            await self._done.wait()
        return self.credited()
