"""Open-loop load over the lean client: requests go out on schedule, whatever the server does."""

import time
from array import array
from dataclasses import dataclass, field
from typing import Final

from bench.closed_loop import Timed
from bench.latency import NS_PER_S, Percentiles, nearest_rank, percentiles
from bench.loads.closed import OPEN_SECONDS_MAX, first_request
from bench.loads.generator import Site, Started
from bench.loads.lean_client import LeanClient
from bench.loads.outcome import Outcome
from bench.loads.requests import Plan, RequestMaker
from bench.loads.schedule import Schedule, arrivals

LAST_ANSWER_SECONDS_MAX: Final = 10.0
POLL_SECONDS: Final = 0.2


@dataclass(frozen=True, slots=True)
class OpenLoopOutcome:
    """One run on schedule."""

    outcome: Outcome
    timed: tuple[Timed, ...]
    """Every request: when it was due and when it was answered."""
    sent_late_p99_ms: float
    """How late the generator itself was: that is counted as latency, too."""
    accepted: Percentiles | None
    """Of the requests that were answered with 200: how long the server had them."""
    overloaded: int
    """Answers with status 503; they are among the outcome's errors."""
    abandoned: int
    """Requests that found no free connection for longer than their callers had patience."""


def ask_on_schedule(
    where: Site,
    plan: Plan,
    connections: int,
    per_second: float,
    seconds: float,
    started: Started,
    patience_s: float | None = None,
) -> OpenLoopOutcome:
    """Sends requests at that rate for that long, and waits for the last answers.

    Args:
        patience_s: for how long a request waits for a free connection; None for ever.

    Raises:
        ConnectionLostError: the connections could not be opened.
        UnreadableAnswerError: what came was no HTTP.
    """
    patience_ns = None if patience_s is None else round(patience_s * NS_PER_S)
    schedule = Schedule(arrivals(per_second, seconds, plan.seed), connections, patience_ns)
    make = RequestMaker(plan, where.authority)
    with LeanClient(where.address) as client:
        client.open(connections, first_request(plan.load, where.authority), OPEN_SECONDS_MAX)
        started()
        started_wall_ns, started_ns = time.time_ns(), time.perf_counter_ns()
        give_up_ns = round((seconds + LAST_ANSWER_SECONDS_MAX) * NS_PER_S)
        told = _drive(client, schedule, make, started_ns, give_up_ns)
        elapsed_ns = time.perf_counter_ns() - started_ns
    outcome = Outcome(
        generator="own, open loop",
        answered=len(told.accepted_ns),
        seconds=elapsed_ns / NS_PER_S,
        errors=schedule.answers - len(told.accepted_ns) + schedule.unanswered,
        first_error=told.first_error
        or ("requests were never answered" * bool(schedule.unanswered)),
        latency=percentiles(schedule.latencies_ns),
        made=make.made,
        counted=tuple(make.counted),
    )
    timed = tuple(
        Timed(started_wall_ns + due_ns, started_wall_ns + due_ns + latency_ns)
        for due_ns, latency_ns in zip(schedule.dues_ns, schedule.latencies_ns, strict=True)
    )
    late_ns = sorted(schedule.sent_late_ns)
    return OpenLoopOutcome(
        outcome,
        timed,
        nearest_rank(late_ns, 990) / 1_000_000 if late_ns else 0.0,
        percentiles(told.accepted_ns),
        told.overloaded,
        schedule.abandoned,
    )


def _unanswered(requests: int) -> str:
    return "requests were never answered" if requests else ""


@dataclass(slots=True)
class _Told:
    """What the answers said."""

    accepted_ns: "array[int]" = field(default_factory=lambda: array("q"))
    overloaded: int = 0
    first_error: str = ""


def _drive(
    client: LeanClient, schedule: Schedule, make: RequestMaker, started_ns: int, give_up_ns: int
) -> _Told:
    told = _Told()
    while not schedule.finished:
        now_ns = time.perf_counter_ns() - started_ns
        if now_ns > give_up_ns:
            schedule.give_up(now_ns)
            break
        for number in schedule.send(now_ns):
            client.send(client.channels[number], make())
        due_ns = schedule.next_due_ns
        now_ns = time.perf_counter_ns() - started_ns
        wait_s = POLL_SECONDS if due_ns is None else max(0, due_ns - now_ns) / NS_PER_S
        for channel, answer in client.poll(min(wait_s, POLL_SECONDS)):
            took_ns = schedule.answered(channel.number, time.perf_counter_ns() - started_ns)
            if answer.status == 200:
                told.accepted_ns.append(took_ns)
                continue
            told.overloaded += answer.status == 503
            told.first_error = told.first_error or f"{answer.status} {answer.body[:200]!r}"
        while client.lost:
            channel = client.lost.pop()
            told.first_error = told.first_error or channel.lost
            schedule.lost(channel.number, time.perf_counter_ns() - started_ns)
    return told
