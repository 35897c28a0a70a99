"""Open-loop load over the lean client: requests go out on schedule, whatever the server does."""

import time
from dataclasses import dataclass
from typing import Final

from bench.closed_loop import Timed
from bench.latency import NS_PER_S, nearest_rank, percentiles
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


def ask_on_schedule(
    where: Site,
    plan: Plan,
    connections: int,
    per_second: float,
    seconds: float,
    started: Started,
) -> OpenLoopOutcome:
    """Sends requests at that rate for that long, and waits for the last answers.

    Raises:
        ConnectionLostError: the connections could not be opened.
        UnreadableAnswerError: what came was no HTTP.
    """
    schedule = Schedule(arrivals(per_second, seconds, plan.seed), connections)
    make = RequestMaker(plan, where.authority)
    with LeanClient(where.address) as client:
        client.open(connections, first_request(plan.load, where.authority), OPEN_SECONDS_MAX)
        started()
        started_wall_ns, started_ns = time.time_ns(), time.perf_counter_ns()
        give_up_ns = round((seconds + LAST_ANSWER_SECONDS_MAX) * NS_PER_S)
        refused, first_error = _drive(client, schedule, make, started_ns, give_up_ns)
        elapsed_ns = time.perf_counter_ns() - started_ns
    outcome = Outcome(
        generator="own, open loop",
        answered=schedule.answers - refused,
        seconds=elapsed_ns / NS_PER_S,
        errors=refused + schedule.unanswered,
        first_error=first_error or ("requests were never answered" * bool(schedule.unanswered)),
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
        outcome, timed, nearest_rank(late_ns, 990) / 1_000_000 if late_ns else 0.0
    )


def _drive(
    client: LeanClient, schedule: Schedule, make: RequestMaker, started_ns: int, give_up_ns: int
) -> tuple[int, str]:
    refused, first_error = 0, ""
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
            schedule.answered(channel.number, time.perf_counter_ns() - started_ns)
            if answer.status != 200:
                refused += 1
                first_error = first_error or f"{answer.status} {answer.body[:200]!r}"
        while client.lost:
            channel = client.lost.pop()
            first_error = first_error or channel.lost
            schedule.lost(channel.number, time.perf_counter_ns() - started_ns)
    return refused, first_error
