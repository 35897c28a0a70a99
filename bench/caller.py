"""A caller as the server's users should be.

It asks again, with the same key, until it has an answer.
"""

import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

import trio

from bench.errors import ConnectionLostError, GaveUpError, UnreadableAnswerError
from bench.http_client import Address, Answer, Connection, open_connection
from bench.latency import NS_PER_S
from bench.tally import Tally

STATUS_UNAVAILABLE: Final = 503

Clock = Callable[[], int]
"""Monotonic nanoseconds."""


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How long a caller insists.

    Waits double from first to max, and are drawn from their upper half.
    """

    attempts_max: int = 10
    backoff_seconds_first: float = 0.05
    backoff_seconds_max: float = 2.0
    retry_after_seconds_max: float = 10.0
    """A longer Retry-After is cut to this."""
    connect_seconds_max: float = 10.0
    answer_seconds_max: float = 30.0
    """Without an answer for that long, a connection counts as lost."""

    def backoff_seconds(self, failures: int, dice: random.Random) -> float:
        """How long to wait after that many failures in a row, the first being 1."""
        longest = min(self.backoff_seconds_first * 2.0 ** (failures - 1), self.backoff_seconds_max)
        return longest * (0.5 + dice.random() / 2)


class Caller:
    """One connection and the insistence to get each request answered. For one task at a time."""

    __slots__ = ("_address", "_asked_ns", "_clock", "_connection", "_dice", "_policy", "_tally")

    def __init__(
        self,
        address: Address,
        policy: RetryPolicy,
        tally: Tally,
        dice: random.Random,
        clock: Clock,
    ) -> None:
        self._address = address
        self._policy = policy
        self._tally = tally
        self._dice = dice
        self._clock = clock
        self._connection: Connection | None = None
        self._asked_ns: int | None = None

    async def warm_up(self, request: bytes) -> None:
        """Connect and ask once, uncounted; a failure is left to the first `ask` to meet again."""
        try:
            with trio.move_on_after(self._policy.answer_seconds_max):
                connection = await self._open()
                await connection.ask(request)
                return
        except (ConnectionLostError, UnreadableAnswerError):
            pass
        self.close()

    async def ask(self, request: bytes) -> Answer:
        """The first answer that is not 503, asking again after a 503 or a lost connection.

        Raises GaveUpError when the policy's attempts are used up, UnreadableAnswerError at once.
        """
        failures = 0
        while True:
            try:
                answer = await self._attempt(request)
            except ConnectionLostError as error:
                self.close()
                problem, wait_seconds_min, lost = str(error), 0.0, True
            except UnreadableAnswerError:
                self.close()
                raise
            else:
                if answer.status != STATUS_UNAVAILABLE:
                    return answer
                problem, wait_seconds_min, lost = "503", self._retry_after_seconds(answer), False
            failures += 1
            if failures == self._policy.attempts_max:
                raise GaveUpError(f"gave up after {failures} attempts, the last one: {problem}")
            backoff_seconds = self._policy.backoff_seconds(failures, self._dice)
            await trio.sleep(wait_seconds_min + backoff_seconds)
            if lost:
                self._tally.retries_lost += 1
            else:
                self._tally.retries_refused += 1

    def drop_if_silent(self, now_ns: int) -> None:
        """Close the connection if its answer is overdue: whoever waits for it then asks again."""
        limit_ns = self._policy.answer_seconds_max * NS_PER_S
        if self._asked_ns is not None and now_ns - self._asked_ns > limit_ns:
            self.close()

    def close(self) -> None:
        """Close the connection; a later `ask` opens another."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    async def _attempt(self, request: bytes) -> Answer:
        connection = self._connection
        if connection is None or not connection.reusable:
            connection = await self._open()
        self._tally.requests += 1
        self._asked_ns = self._clock()
        try:
            return await connection.ask(request)
        finally:
            self._asked_ns = None

    async def _open(self) -> Connection:
        self.close()
        self._connection = await open_connection(self._address, self._policy.connect_seconds_max)
        self._tally.connections += 1
        return self._connection

    def _retry_after_seconds(self, answer: Answer) -> float:
        stated = answer.header(b"retry-after")
        if stated is None or not stated.isdigit():
            return 0.0
        return min(float(stated), self._policy.retry_after_seconds_max)


async def watch_for_silence(callers: Iterable[Caller], policy: RetryPolicy, clock: Clock) -> None:
    """Drop overdue connections for as long as it runs; each is found within a quarter of its limit.

    One task for all of them, because a cancel scope around each request costs 8 µs, a fifth of the
    request.
    """
    while True:
        await trio.sleep(policy.answer_seconds_max / 4)
        now_ns = clock()
        for caller in callers:
            caller.drop_if_silent(now_ns)
