"""Closed-loop load: each connection asks again as soon as it has its answer."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import trio

from bench.errors import UnreadableAnswerError
from bench.http_client import open_connection, parse_origin, resolve

CONNECT_SECONDS_MAX = 10.0


@dataclass(frozen=True, slots=True)
class Timed:
    """One answered request: when it was asked and answered, in nanoseconds of the wall clock."""

    asked_ns: int
    answered_ns: int

    @property
    def latency_ns(self) -> int:
        return self.answered_ns - self.asked_ns


async def ask_for(
    url: str, seconds: float, connections: int, request: Callable[[str], bytes]
) -> list[Timed]:
    """Asks over that many connections for that long; every answer must be a 200.

    Args:
        request: the next request, from the authority for its Host header.

    Raises:
        BenchError: a connection was lost, or an answer was none of 200.
    """
    origin = parse_origin(url)
    address = await resolve(origin)
    answered: list[Timed] = []

    async def ask(until: float) -> None:
        connection = await open_connection(address, CONNECT_SECONDS_MAX)
        try:
            while trio.current_time() < until:
                asked = time.time_ns()
                answer = await connection.ask(request(origin.authority))
                answered.append(Timed(asked, time.time_ns()))
                if answer.status != 200:
                    raise UnreadableAnswerError(f"{answer.status}: {answer.body[:200]!r}")
        finally:
            connection.close()

    async with trio.open_nursery() as nursery:
        until = trio.current_time() + seconds
        for _ in range(connections):
            nursery.start_soon(ask, until)
    return answered
