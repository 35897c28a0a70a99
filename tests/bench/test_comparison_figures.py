"""Medians, ratios and verdicts, from samples that are given."""

import pytest

from bench.comparison.contest import Entrant, alternate
from bench.comparison.figure import Figure, FigureName, Results, Sample, ratio, spread
from bench.comparison.targets import TARGETS, Bound, Target, Verdict, judge
from bench.cores import Busy
from bench.errors import LoadFailedError

OURS, THEIRS = FigureName("BitBurst", "add"), FigureName("other", "add")
TEN_TIMES = Target("add", OURS, THEIRS, Bound.AT_LEAST, 10)
CALM = Busy(server_core=1.0, load_core=0.5, server_processes=0.98, generator=0.5)
GENERATOR_BOUND = Busy(server_core=0.7, load_core=0.99, server_processes=0.68, generator=0.98)
DISTURBED = Busy(server_core=1.0, load_core=0.5, server_processes=0.6, generator=0.5)


def figure(name: FigureName, *values: float, errors: int = 0, busy: Busy | None = None) -> Figure:
    samples = tuple(Sample(value, 1.0, errors, "bad" * bool(errors), busy) for value in values)
    return Figure(name, "requests/s", "wrk", "core 0", samples)


def verdict(target: Target, *figures: Figure) -> Verdict:
    return judge(target, {one.name: one for one in figures}).verdict


def test_a_spread_is_median_least_and_most() -> None:
    found = spread([9.0, 1.0, 4.0])
    assert (found.median, found.least, found.most) == (4.0, 1.0, 9.0)


def test_a_ratio_compares_what_was_measured_right_after_each_other() -> None:
    # The machine was half as fast in the last repetition: the ratio does not feel it.
    ours = figure(OURS, 100, 120, 50)
    theirs = figure(THEIRS, 10, 10, 5)
    assert ratio(ours, theirs) == spread([10.0, 12.0, 10.0])


def test_the_median_of_the_ratios_decides() -> None:
    ours = figure(OURS, 99, 101, 200)
    assert verdict(TEN_TIMES, ours, figure(THEIRS, 10, 10, 10)) is Verdict.REACHED
    assert verdict(TEN_TIMES, ours, figure(THEIRS, 10, 11, 21)) is Verdict.MISSED


def test_at_most_is_the_other_way_round() -> None:
    target = Target("p99", OURS, THEIRS, Bound.AT_MOST, 2)
    assert verdict(target, figure(OURS, 19), figure(THEIRS, 10)) is Verdict.REACHED
    assert verdict(target, figure(OURS, 21), figure(THEIRS, 10)) is Verdict.MISSED


def test_a_target_without_a_peer_bounds_the_figure_itself() -> None:
    target = Target("bulk", OURS, None, Bound.AT_LEAST, 300_000)
    assert verdict(target, figure(OURS, 300_000)) is Verdict.REACHED
    assert target.text.endswith(" 300,000")


def test_what_is_answered_wrongly_reaches_nothing() -> None:
    ours = figure(OURS, 500, errors=1)
    assert verdict(TEN_TIMES, ours, figure(THEIRS, 10)) is Verdict.MISSED


def test_without_one_of_both_nothing_is_said() -> None:
    assert verdict(TEN_TIMES, figure(OURS, 500)) is Verdict.NOT_MEASURED
    assert verdict(TEN_TIMES, figure(THEIRS, 5)) is Verdict.NOT_MEASURED


def test_a_busy_generator_beside_an_idle_server_is_said() -> None:
    assert figure(OURS, 1, 2, 3, busy=GENERATOR_BOUND).flags == ("generator-bound",)
    assert figure(OURS, 1, 2, 3, busy=CALM).flags == ()


def test_a_core_that_others_keep_busy_is_not_the_generators_fault() -> None:
    others = Busy(server_core=0.7, load_core=0.99, server_processes=0.68, generator=0.3)
    assert figure(OURS, 1, 2, 3, busy=others).flags == ()


def test_others_on_the_servers_core_are_said() -> None:
    assert figure(OURS, 1, 2, 3, busy=DISTURBED).flags == ("disturbed",)


def test_no_target_is_named_twice_in_the_same_way() -> None:
    assert len({(target.what, target.against) for target in TARGETS}) == len(TARGETS)


def entrant(name: FigureName, log: list[str], fails_at: int | None = None) -> Entrant:
    def measure(repetition: int) -> Sample:
        log.append(f"{name.peer} {repetition}")
        if repetition == fails_at:
            raise LoadFailedError("it broke")
        return Sample(float(repetition), 1.0)

    return Entrant(name, "requests/s", "wrk", "core 0", measure)


def untold(what: str, done: int, planned: int) -> None:
    pass


def test_entrants_are_measured_in_turn() -> None:
    log: list[str] = []
    results = Results()

    figures = alternate([entrant(OURS, log), entrant(THEIRS, log)], 3, results, untold)

    in_turn = ["BitBurst 0", "other 0", "other 1", "BitBurst 1", "BitBurst 2", "other 2"]
    assert log == in_turn
    assert [sample.value for sample in figures[0].samples] == [0.0, 1.0, 2.0]
    assert results.figures[OURS] is figures[0]


@pytest.mark.parametrize("fails_at", [0, 1])
def test_one_that_fails_drops_out_with_its_reason(fails_at: int) -> None:
    log: list[str] = []
    results = Results()

    alternate([entrant(OURS, log, fails_at), entrant(THEIRS, log)], 3, results, untold)

    assert log.count("other 2") == 1
    assert f"BitBurst {fails_at + 1}" not in log
    assert set(results.figures) == {THEIRS}
    assert results.skipped == {"BitBurst: add": "it broke"}
