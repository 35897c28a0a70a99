"""Token buckets: how often something may be done.

A bucket is kept as one number, the moment at which it will be full again (the generic cell rate
algorithm): a token costs a look at it and an addition, and no bucket has to be filled by anyone.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Final

from ledger_actors.identity import UserId

RATE_MAX: Final = 1_000_000.0
"""Tokens a second. More would be less than what the clock tells apart."""
USERS_MAX: Final = 65_536
"""Buckets of users that are kept at once."""


@dataclass(frozen=True, slots=True)
class Rate:
    """Tokens a second, and how many may be taken at once."""

    per_second: float
    burst: int

    @classmethod
    def of(cls, per_second: float, burst: int | None) -> "Rate":
        """With a burst of one second where none is said."""
        return cls(per_second, burst or max(1, int(per_second)))

    @property
    def token_s(self) -> float:
        """What a token takes to come back."""
        return 1 / self.per_second

    @property
    def full_s(self) -> float:
        """What an empty bucket takes to be full."""
        return self.burst / self.per_second


@dataclass(frozen=True, slots=True)
class Wait:
    """Why no token was given: what the policy is, what is left, and for how long not to ask."""

    rate: Rate
    left: int
    seconds: int

    @property
    def policy(self) -> str:
        """As `RateLimit-Policy` has it. Its window is whole seconds, rounded up."""
        return f"q={self.rate.burst};w={max(1, ceil(self.rate.full_s))}"

    @property
    def state(self) -> str:
        """As `RateLimit` has it."""
        return f"r={self.left};t={self.seconds}"


class TokenBucket:
    """A bucket that is full to begin with.

    More tokens than it can hold are given when it is full, and owed: it then takes the longer to
    be full. So what is larger than the burst waits, but not for ever.

    Many are taken at one moment, which is as exact as the clock is read. How many may be is found
    out once for each.

    Attributes:
        moment: the last one at which tokens were taken.
        left: how many may still be taken at that moment. Whoever knows may take one of them by
            counting it off here, which costs less than a call.
    """

    __slots__ = ("_burst_s", "_full_at", "_given", "_token_s", "left", "moment", "rate")

    def __init__(self, rate: Rate) -> None:
        self.rate = rate
        self.moment = 0.0
        self.left = 0
        self._token_s = rate.token_s
        self._burst_s = _with_slack(rate)
        self._full_at = 0.0
        """When it will be full if nothing was taken of what was left."""
        self._given = 0
        """What was left to begin with."""

    def take(self, now: float, tokens: int = 1) -> Wait | None:
        """Takes the tokens; or takes none, and says for how long they will not be there."""
        full_at = self._full_at + (self._given - self.left) * self._token_s
        if full_at < now:
            full_at = now
        after = full_at + tokens * self._token_s
        if after - now > self._burst_s and full_at > now:
            self._begin(now, full_at)
            return _wait(self.rate, now, full_at, tokens)
        self._begin(now, after)
        return None

    def give_back(self, tokens: int) -> None:
        """For what was not done after all."""
        self._full_at -= tokens * self._token_s

    def _begin(self, now: float, full_at: float) -> None:
        self.moment = now
        self._full_at = full_at
        self.left = self._given = max(0, int((self._burst_s - (full_at - now)) / self._token_s))


class UserBuckets:
    """A bucket for each user, of which only those that are not full need be kept.

    Where `USERS_MAX` of them are kept, the fuller half is forgotten, so that nobody gets back more
    than the least that anyone misses.

    At one moment, nobody can take more than all together. So while all have taken less than is in
    the emptiest bucket, it is only noted who came. Most often all are full again when the next
    moment comes: then none need be kept, and nobody is looked for.

    Attributes:
        forgotten: how many were, before they were full.
        moment: the last one at which tokens were taken.
        spare: how many may still be taken at that moment, whoever takes them.
        noted: who has taken one of these. Whoever knows may count one off, and note it here, which
            costs less than a call.
    """

    def __init__(self, rate: Rate, users_max: int = USERS_MAX) -> None:
        self.rate = rate
        self.forgotten = 0
        self.moment = 0.0
        self.spare = 0
        self.noted: list[UserId] = []
        self._token_s = rate.token_s
        self._burst_s = _with_slack(rate)
        self._users_max = users_max
        self._full_at: dict[UserId, float] = {}
        """When the bucket of each user will be full, as `TokenBucket` has it."""
        self._full_by = 0.0
        """When all that are kept will be full."""

    def __len__(self) -> int:
        """How many are kept, or noted."""
        return len(self._full_at.keys() | set(self.noted))

    def take(self, user: UserId, now: float) -> Wait | None:
        """Takes one token; or says for how long there will be none."""
        if now != self.moment:
            self._begin(now)
        if self.spare:
            self.spare -= 1
            self.noted.append(user)
            return None
        if self.noted:
            self._keep(Counter(self.noted))
        full_at = self._full_at.get(user)
        if full_at is None:
            if len(self._full_at) >= self._users_max:
                self._make_room(now)
            full_at = now
        elif full_at < now:
            full_at = now
        after = full_at + self._token_s
        if after - now > self._burst_s:
            return _wait(self.rate, now, full_at, 1)
        self._full_at[user] = after
        if after > self._full_by:
            self._full_by = after
        return None

    def take_each(self, users: Sequence[UserId], now: float) -> Mapping[int, Wait]:
        """Takes one token for each of these in turn. Returns for how long there will be none, by
        the places of those for whom there was none."""
        if now != self.moment:
            self._begin(now)
        if self._note(users):
            return {}
        waits: dict[int, Wait] = {}
        for place, user in enumerate(users):
            wait = self.take(user, now)
            if wait is not None:
                waits[place] = wait
        return waits

    def _note(self, users: Sequence[UserId]) -> bool:
        """Notes them all; or none, where one of them may have no token."""
        room = self._users_max - len(self._full_at) - len(self.noted) - len(users)
        if room < 0:
            return False
        taken = len(users)
        if taken > self.spare:
            taken = max(Counter(users).values())
            if taken > self.spare:
                return False
        self.spare = min(self.spare - taken, room)
        self.noted += users
        return True

    def _begin(self, now: float) -> None:
        """The moment has come: looks at who was noted at the last one."""
        if self.noted:
            self._settle(now)
        if now >= self._full_by:
            # Few that are written over stay in the processor's cache, where many would not.
            self._full_at.clear()
        self.moment = now
        spare = int((self._burst_s - max(self._full_by - now, 0)) / self._token_s)
        self.spare = max(0, min(spare, self._users_max - len(self._full_at)))

    def _settle(self, now: float) -> None:
        """Keeps the buckets of those who were noted, unless all are full again."""
        full_by = max(self._full_by, self.moment)
        if now < full_by + len(self.noted) * self._token_s:
            counts = Counter(self.noted)
            if now < full_by + max(counts.values()) * self._token_s:
                self._keep(counts)
                return
        self.noted.clear()

    def _keep(self, counts: Mapping[UserId, int]) -> None:
        """Keeps the buckets of those who have taken so many tokens at the last moment."""
        self.noted.clear()
        for user, tokens in counts.items():
            if len(self._full_at) >= self._users_max:
                self._make_room(self.moment)
            full_at = max(self._full_at.get(user, 0.0), self.moment) + tokens * self._token_s
            self._full_at[user] = full_at
            self._full_by = max(self._full_by, full_at)

    def _make_room(self, now: float) -> None:
        moments = self._full_at
        fullest = sorted(moments.values())[len(moments) // 2]
        self.forgotten += sum(now < full_at <= fullest for full_at in moments.values())
        least = max(now, fullest)
        self._full_at = {user: full_at for user, full_at in moments.items() if full_at > least}


def _with_slack(rate: Rate) -> float:
    # The sum of some tokens may be a little more than their number times one of them.
    return rate.full_s + rate.token_s / 1024


def _wait(rate: Rate, now: float, full_at: float, tokens: int) -> Wait:
    needed = min(tokens, rate.burst)
    missing_s = full_at + needed * rate.token_s - now - rate.full_s
    left = int((rate.full_s - (full_at - now)) / rate.token_s + 1 / 1024)
    return Wait(rate, max(0, left), max(1, ceil(missing_s)))
