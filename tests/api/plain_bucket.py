"""A token bucket that is filled token by token."""

from fractions import Fraction

from api.token_bucket import Rate

START = 1000.0


class PlainBucket:
    """A number of tokens that grows with time; it may be less than none."""

    def __init__(self, rate: Rate) -> None:
        self._rate = rate
        self._tokens = Fraction(rate.burst)
        self._at = Fraction(START)

    def take(self, now: float, tokens: int) -> bool:
        grown = self._tokens + (Fraction(now) - self._at) * Fraction(self._rate.per_second)
        self._at, self._tokens = Fraction(now), min(grown, Fraction(self._rate.burst))
        if self._tokens < min(tokens, self._rate.burst):
            return False
        self._tokens -= tokens
        return True

    def has(self, now: float) -> bool:
        """Whether it would give one token."""
        grown = self._tokens + (Fraction(now) - self._at) * Fraction(self._rate.per_second)
        return min(grown, Fraction(self._rate.burst)) >= 1

    def seconds_until(self, tokens: int) -> Fraction:
        missing = min(tokens, self._rate.burst) - self._tokens
        return missing / Fraction(self._rate.per_second)
