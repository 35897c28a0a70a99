"""Token buckets: how often something may be done.

A bucket is kept as one number, the moment at which it will be full again (the generic cell rate
algorithm): a token costs a look at it and an addition, and no bucket has to be filled by anyone.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Final

import msgspec

from ledger_actors import UserId

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

    Attributes:
        token_s: what a token takes to come back.
        burst_s: for how long it may not be full.
        full_at: when it will be. Who takes one token may reckon with these himself.
    """

    __slots__ = ("burst_s", "full_at", "rate", "token_s")

    def __init__(self, rate: Rate) -> None:
        self.rate = rate
        self.token_s = rate.token_s
        self.burst_s = _with_slack(rate)
        self.full_at = 0.0

    def take(self, now: float, tokens: int = 1) -> Wait | None:
        """Takes the tokens; or takes none, and says for how long they will not be there."""
        full_at = self.full_at
        if full_at < now:
            full_at = now
        after = full_at + tokens * self.token_s
        if after - now > self.burst_s and full_at > now:
            return self.wait(now, tokens)
        self.full_at = after
        return None

    def wait(self, now: float, tokens: int = 1) -> Wait:
        """Why so many tokens are not given now."""
        return _wait(self.rate, now, max(now, self.full_at), tokens)

    def give_back(self, tokens: int) -> None:
        """For what was not done after all."""
        self.full_at -= tokens * self.token_s


class UserBucket(msgspec.Struct, gc=False):
    """The bucket of one user."""

    user: UserId
    full_at: float


class UserBuckets:
    """A bucket for each user, of which only those that are not full need be kept.

    Where `USERS_MAX` of them are kept, the fuller half is forgotten, so that nobody gets back more
    than the least that anyone misses.

    Many tokens that are taken at once, while all buckets are full, are only counted. Most often all
    are full again before anyone comes: then they need not be kept one by one, which takes three
    times as long.

    Attributes:
        by_segment: the buckets by how their users are named in paths, for who asks often: it saves
            decoding the name. Who is not found here is entered by `named`.
        counted_until: when those that were only counted will be full. Before that, `keep_counted`
            must be called by who takes a token himself.
        forgotten: how many were, before they were full.
        full_by: when all that are kept will be full. Who takes a token himself moves it on.
        token_s, burst_s: of each bucket, as `TokenBucket` has them.
    """

    def __init__(self, rate: Rate, users_max: int = USERS_MAX) -> None:
        self.rate = rate
        self.by_segment: dict[bytes, UserBucket] = {}
        self.counted_until = 0.0
        self.forgotten = 0
        self.full_by = 0.0
        self.token_s = rate.token_s
        self.burst_s = _with_slack(rate)
        self._counted: Counter[UserId] = Counter()
        self._counted_at = 0.0
        self._users_max = users_max
        self._by_user: dict[UserId, UserBucket] = {}

    def __len__(self) -> int:
        return len(self._by_user)

    def of(self, user: UserId, now: float) -> UserBucket:
        """The user's bucket, which is kept from now on."""
        bucket = self._by_user.get(user)
        if bucket is None:
            if len(self._by_user) >= self._users_max:
                self._make_room(now)
            bucket = self._by_user[user] = UserBucket(user, now)
        return bucket

    def named(self, segment: bytes, user: UserId, now: float) -> UserBucket:
        """The bucket of the user, who is named so in a path."""
        bucket = self.of(user, now)
        # A user may be spelled in many ways.
        if len(self.by_segment) >= self._users_max:
            self.by_segment = {}
        self.by_segment[segment] = bucket
        return bucket

    def wait(self, bucket: UserBucket, now: float) -> Wait:
        """Why the user is not given a token now."""
        return _wait(self.rate, now, max(now, bucket.full_at), 1)

    def take_each(self, users: Sequence[UserId], now: float) -> Mapping[int, Wait]:
        """Takes one token for each of these in turn. Returns for how long there will be none, by
        the places of those for whom there was none."""
        if now >= self.full_by and self._count(users, now):
            return {}
        if now < self.counted_until:
            self.keep_counted()
        waits: dict[int, Wait] = {}
        find, token_s, burst_s = self._by_user.get, self.token_s, self.burst_s
        full_by = self.full_by
        for place, user in enumerate(users):
            bucket = find(user) or self.of(user, now)
            full_at = bucket.full_at
            after = (full_at if full_at > now else now) + token_s
            if after - now <= burst_s:
                bucket.full_at = after
                if after > full_by:
                    full_by = after
            else:
                waits[place] = self.wait(bucket, now)
        self.full_by = full_by
        return waits

    def keep_counted(self) -> None:
        """Keeps the buckets of those whose tokens were only counted."""
        for user, tokens in self._counted.items():
            bucket = self.of(user, self._counted_at)
            bucket.full_at = self._counted_at + tokens * self.token_s
        self.full_by = max(self.full_by, self.counted_until)
        self._counted, self.counted_until = Counter(), 0.0

    def _count(self, users: Sequence[UserId], now: float) -> bool:
        """Takes the tokens of users whose buckets are full, or were before others were counted at
        the same moment. False where that is not so, or one lacks a token: then none is taken."""
        if now != self._counted_at:
            if now < self.counted_until:
                return False
            self._counted, self._counted_at = Counter(), now
        counts = self._counted
        counts.update(users)
        most = max(counts.values(), default=0)
        if most > self.rate.burst:
            counts.subtract(users)
            return False
        self.counted_until = now + most * self.token_s
        return True

    def _make_room(self, now: float) -> None:
        buckets = self._by_user.values()
        fullest = sorted(bucket.full_at for bucket in buckets)[len(buckets) // 2]
        self.forgotten += sum(now < bucket.full_at <= fullest for bucket in buckets)
        least = max(now, fullest)
        kept = [bucket for bucket in buckets if bucket.full_at > least]
        self._by_user.clear()
        self._by_user.update((bucket.user, bucket) for bucket in kept)
        self.by_segment = {}


def _with_slack(rate: Rate) -> float:
    # The sum of some tokens may be a little more than their number times one of them.
    return rate.full_s + rate.token_s / 1024


def _wait(rate: Rate, now: float, full_at: float, tokens: int) -> Wait:
    needed = min(tokens, rate.burst)
    missing_s = full_at + needed * rate.token_s - now - rate.full_s
    left = int((rate.full_s - (full_at - now)) / rate.token_s + 1 / 1024)
    return Wait(rate, max(0, left), max(1, ceil(missing_s)))
