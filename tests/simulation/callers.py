"""Callers: they ask, wait as long as their patience lasts, and ask again while they do not know."""

from collections.abc import Sequence
from functools import partial

import trio
from simulation.machine import Defect, Machine, look
from simulation.oracle import Attempt
from simulation.scenario import Ask, Deed, Look, Wish

from ledger_actors.bulk import Bulk
from ledger_actors.credit import Submission
from ledger_actors.errors import CorruptStore, Recovering, Unavailable
from ledger_actors.ledger import Ledger


class Caller:
    """One caller, who does one thing after the other."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._oracle = machine.oracle

    async def run(self, deeds: Sequence[Deed]) -> None:
        for deed in deeds:
            await trio.sleep(deed.pause_s)
            if isinstance(deed, Look):
                await self._look(deed)
            else:
                await self._ask(deed)

    async def _look(self, deed: Look) -> None:
        ledger = self._machine.ledger
        if ledger is None:
            return
        oracle = self._oracle
        try:
            look(oracle, ledger, deed.user, range(deed.page, deed.page + 1))
        except Unavailable:
            recovering = self._machine.phase == "recovering"
            oracle.require(recovering, "a read is refused though it has recovered")
            oracle.seen["reads refused while it recovers"] += 1
        except trio.WouldBlock:
            oracle.seen["reads that waited for a shard"] += 1
            await self._look_patiently(deed, ledger)

    async def _look_patiently(self, deed: Look, ledger: Ledger) -> None:
        oracle = self._oracle
        with self._machine.connection():
            try:
                since = oracle.observed.now()
                balance = await ledger.balance(deed.user)
                oracle.balance(deed.user, since, balance)
                since = oracle.observed.now()
                shown = await ledger.history(deed.user, deed.page)
                oracle.page(deed.user, since, deed.page, shown)
            except CorruptStore as error:
                oracle.require(oracle.damaged(), f"says that the store is corrupt: {error}")

    async def _ask(self, deed: Ask) -> None:
        open_wishes = list(deed.wishes)
        for number in range(deed.attempts):
            if number:
                await trio.sleep(deed.backoff_s)
            ledger = self._machine.ledger
            if ledger is None:
                continue
            defect = deed.defect if number == 0 else ""
            exchange = Exchange(self._machine, ledger, open_wishes, defect)
            with self._machine.connection(), trio.move_on_after(deed.patience_s):
                exchange.send(bulk=deed.bulk)
                await exchange.done.wait()
            open_wishes = exchange.worth_another()
            if not open_wishes:
                return


class Exchange:
    """Wishes that were sent to the server together, and what it answered.

    Attributes:
        done: every wish is answered.
    """

    def __init__(
        self, machine: Machine, ledger: Ledger, wishes: Sequence[Wish], defect: str
    ) -> None:
        self.done = trio.Event()
        self._machine = machine
        self._ledger = ledger
        self._oracle = machine.oracle
        self._wishes = wishes
        self._defect = defect
        self._sending = False
        self._refused: list[Wish] = []
        self._unanswered = {id(wish): wish for wish in wishes}
        if not wishes:
            self.done.set()

    def send(self, *, bulk: bool) -> None:
        self._sending = True
        if bulk:
            self._send_bulk()
        else:
            for wish in self._wishes:
                self._send_one(wish)
        self._sending = False

    def worth_another(self) -> list[Wish]:
        """What may be asked again: what was refused for now, and what has a key."""
        return self._refused + [wish for wish in self._unanswered.values() if wish.key is not None]

    def _send_one(self, wish: Wish) -> None:
        attempt = self._oracle.asked(wish)
        request = Poisoned(wish) if "stage" in self._defect else wish
        try:
            self._ledger.submit(request, partial(self._on_settled, [attempt]))
        except Unavailable as error:
            self._not_taken([attempt], error)

    def _send_bulk(self) -> None:
        attempts = [self._oracle.asked(wish) for wish in self._wishes]
        requests = [Poisoned(wish) if "stage" in self._defect else wish for wish in self._wishes]
        try:
            self._ledger.submit_bulk(requests, partial(self._on_bulk_settled, attempts))
        except Unavailable as error:
            self._not_taken(attempts, error)

    def _not_taken(self, attempts: Sequence[Attempt], error: Unavailable) -> None:
        self._oracle.seen[f"answered {type(error).__name__}"] += 1
        ready = self._machine.phase == "serving" and isinstance(error, Recovering)
        self._oracle.require(not ready, "says that it recovers, after it has")
        for attempt in attempts:
            self._oracle.refused(attempt)
            self._answered(attempt, again=True)

    def _on_settled(self, attempts: Sequence[Attempt], submission: Submission) -> None:
        self._take(attempts, submission.outcomes)

    def _on_bulk_settled(self, attempts: Sequence[Attempt], bulk: Bulk) -> None:
        self._take(attempts, bulk.outcomes())

    def _take(self, attempts: Sequence[Attempt], outcomes: Sequence[object]) -> None:
        if self._machine.ledger is not self._ledger:
            # The process is gone; what its code still does while it is unwound reaches nobody.
            return
        for attempt, outcome in zip(attempts, outcomes, strict=True):
            self._oracle.settled(attempt, outcome)
            self._answered(attempt, again=isinstance(outcome, Unavailable))
        if "answer" in self._defect and not self._sending:
            self._defect = ""
            raise Defect("while it is answered")

    def _answered(self, attempt: Attempt, *, again: bool) -> None:
        wish = self._unanswered.pop(id(attempt.wish), None)
        if wish is not None and again:
            self._refused.append(wish)
        if not self._unanswered:
            self.done.set()


class Poisoned:
    """A request that the ledger raises over while it stages it."""

    def __init__(self, wish: Wish) -> None:
        self.user = wish.user
        self.key = wish.key
        self.reference = wish.reference

    @property
    def amount(self) -> int:
        raise Defect("while it is staged")
