"""The open loop, on simulated time: a server that stalls is charged for all who came meanwhile."""

from itertools import pairwise
from statistics import mean

import pytest

from bench.latency import NS_PER_MS, NS_PER_S
from bench.loads.schedule import Schedule, arrivals

MS = NS_PER_MS


def every_ms(count: int) -> list[int]:
    return [number * MS for number in range(count)]


def served(
    schedule: Schedule, takes_ms: int, stalls_ms: tuple[int, int] = (0, 0), until_ms: int = 10_000
) -> list[int]:
    """Steps of a millisecond: a server that takes so long for each request, however many there are,
    and says nothing during a stall. Latencies in milliseconds, by when the requests were due."""
    ready_ms: dict[int, int] = {}
    now_ms = 0
    while not schedule.finished and now_ms < until_ms:
        for connection in schedule.send(now_ms * MS):
            answer_ms = now_ms + takes_ms
            if stalls_ms[0] <= answer_ms < stalls_ms[1]:
                answer_ms = stalls_ms[1]
            ready_ms[connection] = answer_ms
        for connection in [one for one, at_ms in ready_ms.items() if at_ms <= now_ms]:
            del ready_ms[connection]
            schedule.answered(connection, now_ms * MS)
        now_ms += 1
    pairs = zip(schedule.dues_ns, schedule.latencies_ns, strict=True)
    return [latency_ns // MS for _, latency_ns in sorted(pairs)]


def test_a_server_that_keeps_up_has_its_own_latency() -> None:
    assert served(Schedule(every_ms(50), connections=4), takes_ms=2) == [2] * 50


def test_a_stall_counts_for_everyone_who_was_due_meanwhile() -> None:
    # One connection would have sent a single request into the stall, and seen one slow answer.
    schedule = Schedule(every_ms(300), connections=1000)
    latencies = served(schedule, takes_ms=0, stalls_ms=(100, 200))
    assert latencies[100:200] == list(range(100, 0, -1))
    assert latencies[:100] + latencies[200:] == [0] * 200


def test_what_finds_no_free_connection_waits_and_its_waiting_counts() -> None:
    schedule = Schedule(every_ms(300), connections=1)
    latencies = served(schedule, takes_ms=0, stalls_ms=(100, 200))
    # The one connection was free again after 100 ms; everything due by then came out at last.
    assert latencies[100] == 100
    assert latencies[150] >= 50
    assert sum(latency > 0 for latency in latencies) >= 100


def test_a_server_too_slow_for_the_rate_is_ever_later() -> None:
    latencies = served(Schedule(every_ms(100), connections=1), takes_ms=2)
    assert latencies == sorted(latencies)
    assert latencies[-1] > 100


def test_what_was_never_answered_counts_with_its_wait() -> None:
    schedule = Schedule([0, 10 * MS, 500 * MS], connections=1)
    schedule.send(0)
    schedule.give_up(100 * MS)
    assert sorted(schedule.latencies_ns) == [90 * MS, 100 * MS]
    assert schedule.unanswered == 3
    assert schedule.finished


def test_a_lost_connection_takes_its_request_along_and_is_not_used_again() -> None:
    schedule = Schedule([0, 0, 1 * MS], connections=2)
    lost, other = schedule.send(0)
    schedule.lost(lost, 5 * MS)
    schedule.answered(other, 5 * MS)
    assert schedule.send(5 * MS) == [other]
    assert (schedule.unanswered, schedule.answers) == (1, 1)


def test_an_idle_connection_may_be_lost() -> None:
    schedule = Schedule([0, 0], connections=2)
    schedule.lost(0, 0)
    assert schedule.send(0) == [1]
    assert schedule.next_due_ns is None


def test_the_generators_own_lateness_is_known() -> None:
    schedule = Schedule([0, 1 * MS], connections=2)
    schedule.send(3 * MS)
    assert list(schedule.sent_late_ns) == [3 * MS, 2 * MS]


@pytest.mark.parametrize("per_second", [100.0, 10_000.0])
def test_arrivals_come_at_the_rate_and_in_order(per_second: float) -> None:
    due_ns = arrivals(per_second, seconds=20.0, seed=1)
    assert list(due_ns) == sorted(due_ns)
    assert due_ns[-1] < 20 * NS_PER_S
    assert len(due_ns) == pytest.approx(20 * per_second, rel=0.1)


def test_arrivals_are_those_of_callers_who_know_nothing_of_each_other() -> None:
    due_ns = arrivals(1_000.0, seconds=10.0, seed=1)
    gaps = [after - before for before, after in pairwise(due_ns)]
    mean_gap = mean(gaps)
    # Of exponential gaps, a share of 1/e is longer than their mean.
    longer = sum(gap > mean_gap for gap in gaps) / len(gaps)
    assert longer == pytest.approx(0.368, abs=0.03)


def test_the_same_seed_gives_the_same_arrivals() -> None:
    assert arrivals(500.0, 1.0, seed=7) == arrivals(500.0, 1.0, seed=7)


def test_callers_who_find_no_connection_for_too_long_give_up() -> None:
    schedule = Schedule([0, 1 * MS, 2 * MS, 50 * MS], connections=1, patience_ns=20 * MS)
    (only,) = schedule.send(0)
    assert schedule.send(15 * MS) == []
    schedule.answered(only, 40 * MS)
    assert schedule.send(40 * MS) == []
    assert schedule.abandoned == 2
    assert schedule.send(50 * MS) == [only]
    schedule.answered(only, 51 * MS)
    assert (schedule.answers, schedule.finished) == (2, True)


def test_how_long_the_server_had_a_request_does_not_count_the_wait_before() -> None:
    schedule = Schedule([0, 0], connections=1)
    (only,) = schedule.send(0)
    assert schedule.answered(only, 10 * MS) == 10 * MS
    schedule.send(10 * MS)
    assert schedule.answered(only, 13 * MS) == 3 * MS
    assert list(schedule.latencies_ns) == [10 * MS, 13 * MS]
