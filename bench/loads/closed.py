"""Closed-loop load over the lean client: each connection asks again when it has its answer."""

import time
from array import array
from typing import Final

from bench.latency import NS_PER_S, percentiles
from bench.loads.lean_client import LeanClient
from bench.loads.outcome import Outcome
from bench.loads.requests import Load, Plan, RequestMaker

OPEN_SECONDS_MAX: Final = 60.0
LAST_ANSWER_SECONDS_MAX: Final = 10.0
POLL_SECONDS: Final = 0.2


def first_request(load: Load, authority: str, headers: tuple[str, ...] = ()) -> bytes:
    """What a connection is opened with: it changes nothing, and is asked where the load is, for a
    server may serve a connection by what is asked first."""
    first = Load.EMPTY if load is Load.EMPTY else Load.BALANCE
    return RequestMaker(Plan(first, 1, "", 0, headers=headers), authority)()


def ask_over(client: LeanClient, active: int, make: RequestMaker, seconds: float) -> Outcome:
    """Asks for that long over the first so many of the client's connections; waits for the last
    answers. A connection that is lost, asking or idle, is an error.

    Raises:
        UnreadableAnswerError: what came was no HTTP.
    """
    latencies_ns = array("q")
    asked_ns = [0] * len(client.channels)
    errors, first_error = 0, ""
    started_ns = now_ns = time.perf_counter_ns()
    until_ns = started_ns + round(seconds * NS_PER_S)
    give_up_ns = until_ns + round(LAST_ANSWER_SECONDS_MAX * NS_PER_S)
    under_way = 0
    for channel in client.channels[:active]:
        asked_ns[channel.number] = time.perf_counter_ns()
        under_way += 1
        client.send(channel, make())
    while under_way and now_ns < give_up_ns:
        for channel, answer in client.poll(POLL_SECONDS):
            now_ns = time.perf_counter_ns()
            if answer.status == 200:
                latencies_ns.append(now_ns - asked_ns[channel.number])
            else:
                errors += 1
                first_error = first_error or f"{answer.status} {answer.body[:200]!r}"
            if now_ns < until_ns:
                asked_ns[channel.number] = now_ns
                client.send(channel, make())
            else:
                asked_ns[channel.number] = 0
                under_way -= 1
        now_ns = time.perf_counter_ns()
        while client.lost:
            channel = client.lost.pop()
            errors += 1
            first_error = first_error or channel.lost
            under_way -= asked_ns[channel.number] != 0
    if under_way:
        errors += under_way
        first_error = first_error or f"{under_way} requests were never answered"
    return Outcome(
        generator="own, closed loop",
        answered=len(latencies_ns),
        seconds=(now_ns - started_ns) / NS_PER_S,
        errors=errors,
        first_error=first_error,
        latency=percentiles(latencies_ns),
        made=make.made,
        counted=tuple(make.counted),
    )
