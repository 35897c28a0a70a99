"""What must hold, judged by a model that shares no code with the ledger.

The model is what the disk has: for each user a list of entries, which only grows. It is fed by the
disk itself, with the bytes of each record at the moment when they became durable. Everything that
the ledger answers is held against it: an answer that runs ahead of the disk is wrong, and so is one
that lags behind what was answered before (`histories.py`).
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Sequence

import msgpack
from simulation.disk import Row
from simulation.histories import Observations
from simulation.scenario import Wish

from ledger_actors.credit import Outcome, Replayed
from ledger_actors.entry import Entry
from ledger_actors.errors import (
    BalanceLimitReached,
    CorruptStore,
    IdempotencyKeyReused,
    LogFailed,
    ShardRestarted,
    Unavailable,
)
from persistence.snapshot_store import SnapshotView

PAYLOAD = slice(41, -32)
"""Of a log record: see `persistence/record.py`."""
LIMIT = 2**63 - 1
PAGE = 10


class Model:
    """A ledger in a dozen lines: for each user a list that only grows."""

    def __init__(self) -> None:
        self.entries: dict[str, list[tuple]] = {}
        self.sums: dict[str, list[int]] = {}
        self.keys: dict[tuple[str, str], Wish] = {}
        self.made: Counter[Wish] = Counter()

    def append(self, entry: tuple) -> None:
        user, number, amount, _, key, reference = entry
        entries, sums = self.entries.setdefault(user, []), self.sums.setdefault(user, [0])
        assert number == len(entries) + 1, f"entry {number} of {user} follows {len(entries)}"
        assert key is None or (user, key) not in self.keys, f"{key} of {user} counts twice"
        entries.append(entry)
        sums.append(sums[-1] + amount)
        wish = Wish(user, amount, key, reference)
        if key is not None:
            self.keys[user, key] = wish
        self.made[wish] += 1


class Oracle:
    """Watches one run.

    Attributes:
        violation: the first thing that was wrong.
        damaged: asked whether anything on disk is not what was written, so that this may be said.
        doubtful: a commit has failed, so that this may be said.
        seen: what was met how often.
        unsettled: attempts that the server has not answered yet.
    """

    def __init__(self, say: Callable[[str], None], on_violation: Callable[[], None]) -> None:
        self.model = Model()
        self.violation: str | None = None
        self.damaged: Callable[[], bool] = lambda: False
        self.doubtful = False
        self.seen: Counter[str] = Counter()
        self.observed = Observations()
        self.unsettled: set[Attempt] = set()
        self._say = say
        self._on_violation = on_violation
        self._open: Counter[Wish] = Counter()
        """Attempts that may count or may have counted."""
        self._newest: dict[str, int] = {}
        """The position of each user's newest entry."""
        self._answered: set[tuple[str, int]] = set()
        """Entries whose makers were told so."""

    def require(self, holds: bool, otherwise: str) -> None:
        if not holds and self.violation is None:
            self.violation = otherwise
            self._say(f"violation: {otherwise}")
            self._on_violation()

    def durable(self, put: Sequence[Row]) -> None:
        """The disk has these rows of the log from now on."""
        for key, value in put:
            for _, entries in msgpack.unpackb(value[PAYLOAD]):
                for fields in entries:
                    self._durable(tuple(fields))
                    self._newest[fields[0]] = int.from_bytes(key)

    def _durable(self, entry: tuple) -> None:
        user, _, amount, _, key, reference = entry
        wish = Wish(user, amount, key, reference)
        self.require(self._open[wish] > 0, f"nobody asks for what is durable now: {entry}")
        try:
            self.model.append(entry)
        except AssertionError as error:
            self.require(False, str(error))
        self.require(self.model.sums[user][-1] <= LIMIT, f"passes the limit: {entry}")
        self.require(
            self.model.made[wish] <= (1 if wish.key else self._open[wish]),
            f"counts more often than it was asked for: {wish}",
        )

    def asked(self, wish: Wish) -> "Attempt":
        self._open[wish] += 1
        durable = len(self.model.entries.get(wish.user, ()))
        attempt = Attempt(wish, self.observed.now(), durable)
        self.unsettled.add(attempt)
        self.seen["credits asked for"] += 1
        return attempt

    def refused(self, attempt: "Attempt") -> None:
        """The caller was told that this attempt does not count."""
        wish = attempt.wish
        self.unsettled.discard(attempt)
        self._open[wish] -= 1
        allowed = self._open[wish] if wish.key is None else min(self._open[wish], 1)
        self.require(self.model.made[wish] <= allowed, f"was refused, and is there: {wish}")

    def settled(self, attempt: "Attempt", outcome: Outcome) -> None:
        """The caller was told what became of the attempt."""
        wish = attempt.wish
        self.unsettled.discard(attempt)
        self._say(f"settled {wish.reference} {type(outcome).__name__}")
        if isinstance(outcome, Replayed):
            self._credited(attempt, outcome.entry)
            self._count_replay(attempt, outcome.entry)
        elif isinstance(outcome, Entry):
            self._credited(attempt, outcome)
            told = (wish.user, outcome.number)
            self.require(told not in self._answered, f"two were told that they made {outcome}")
            self._answered.add(told)
            self.seen["credits acknowledged"] += 1
            self.observed.made(wish.user, attempt.since, outcome.number)
        elif isinstance(outcome, IdempotencyKeyReused):
            recorded = self.model.keys.get((wish.user, wish.key or ""))
            known = recorded is not None and recorded != wish
            self.require(known, f"refused for a key that nobody used: {wish}")
            self.refused(attempt)
            self.seen["reused keys refused"] += 1
        elif isinstance(outcome, BalanceLimitReached):
            full = self.model.sums.get(wish.user, [0])[-1] + wish.amount > LIMIT
            self.require(full, f"refused for a limit that is not reached: {wish}")
            self.refused(attempt)
            self.seen["balances at the limit"] += 1
        else:
            self._not_taken(attempt, outcome)

    def _not_taken(self, attempt: "Attempt", error: object) -> None:
        self.seen[f"answered {type(error).__name__}"] += 1
        if isinstance(error, LogFailed):
            self.require(self.doubtful, f"says that the log failed, which it did not: {error}")
        elif isinstance(error, ShardRestarted):
            pass
        elif isinstance(error, CorruptStore):
            self.require(self.damaged(), f"says that the store is corrupt: {error}")
            self.refused(attempt)
        elif isinstance(error, Unavailable):
            self.refused(attempt)
        else:
            self.require(False, f"{attempt.wish} is answered with {error!r}")

    def _credited(self, attempt: "Attempt", entry: Entry) -> None:
        wish = attempt.wish
        entries = self.model.entries.get(entry.user, ())
        durable = 0 < entry.number <= len(entries) and entries[entry.number - 1] == fields(entry)
        self.require(durable, f"answered before it is durable: {entry}")
        same = wish == Wish(entry.user, entry.amount, entry.key, entry.reference)
        self.require(same, f"{wish} is answered with another's entry: {entry}")

    def _count_replay(self, attempt: "Attempt", entry: Entry) -> None:
        self.observed.at_least(entry.user, attempt.since, entry.number)
        flight = entry.number > attempt.durable
        self.seen["duplicates in flight" if flight else "replays of what was durable"] += 1

    def in_memory(self, accounts: int, folded: int) -> None:
        """The server has so many accounts in memory, and has let go of what is folded."""
        tails = {user for user, position in self._newest.items() if position > folded}
        staged = {attempt.wish.user for attempt in self.unsettled}
        needed = len(tails | staged)
        self.require(
            accounts <= needed or self.doubtful,
            f"{accounts} accounts stay in memory, where {needed} have anything to keep",
        )

    def balance(self, user: str, since: int, balance: int) -> None:
        """A reader saw this balance; it began to look at `since`."""
        sums = self.model.sums.get(user, [0])
        count = bisect_left(sums, balance)
        sum_of_some = count < len(sums) and sums[count] == balance
        self.require(sum_of_some, f"balance {balance} of {user} is not on disk: {sums}")
        self.observed.read(user, since, count)
        self.seen["reads"] += 1

    def page(self, user: str, since: int, page: int, shown: Sequence[Entry]) -> None:
        """A reader saw this page of the history, newest first."""
        self.seen["reads"] += 1
        if not shown:
            self.observed.at_most(user, since, (page - 1) * PAGE)
            return
        count = shown[0].number + (page - 1) * PAGE
        entries = self.model.entries.get(user, [])
        self.require(count <= len(entries), f"page {page} of {user} is not on disk: {shown[0]}")
        last = shown[0].number
        expected = entries[max(last - PAGE, 0) : last][::-1]
        same = [fields(entry) for entry in shown] == expected
        self.require(same, f"page {page} of {user} is not what is on disk: {shown} {expected}")
        self.observed.read(user, since, count)

    def recorded(self, snapshots: SnapshotView) -> None:
        """Each key that the snapshot knows must name its own entry, or be reported."""
        for (user, key), wish in self.model.keys.items():
            try:
                summary = snapshots.account(user)
                entry = snapshots.recorded(user, key)
            except CorruptStore:
                self.seen["look-ups of keys refused"] += 1
                continue
            if entry is None:
                entries = self.model.entries[user][: summary.entries if summary else 0]
                lost = any(made[4] == key for made in entries)
                self.require(not lost, f"{key} of {user} is not found any more")
            else:
                same = Wish(user, entry.amount, entry.key, entry.reference) == wish
                self.require(same, f"{wish} is found to have made {entry}")


class Attempt:
    """A caller's request, once handed over."""

    def __init__(self, wish: Wish, since: int, durable: int) -> None:
        self.wish = wish
        self.since = since
        self.durable = durable
        """How many entries the user had then."""


def fields(entry: Entry) -> tuple:
    return (
        entry.user,
        entry.number,
        entry.amount,
        entry.timestamp,
        entry.key,
        entry.reference,
    )
