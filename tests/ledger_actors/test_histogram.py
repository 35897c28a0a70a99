"""Histograms against a plain list of what was measured."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger_actors.histogram import Histogram

BOUNDS = (0.5, 1.0, 5.0)
observations = st.lists(st.tuples(st.floats(0, 10, width=32), st.integers(1, 5)))


@given(observations)
def test_each_bucket_has_what_is_at_most_its_bound(observed: list[tuple[float, int]]) -> None:
    histogram = Histogram(BOUNDS)
    values: list[float] = []
    for value, times in observed:
        histogram.observe(value, times)
        values += [value] * times

    statistics = histogram.statistics()

    assert statistics.count == len(values)
    assert statistics.total == pytest.approx(sum(values))
    for number, bound in enumerate(BOUNDS):
        below = sum(statistics.counts[: number + 1])
        assert below == sum(value <= bound for value in values)


def test_statistics_do_not_change_afterwards() -> None:
    histogram = Histogram(BOUNDS)
    histogram.observe(1)
    before = histogram.statistics()
    histogram.observe(7)
    assert (before.counts, before.total) == ((0, 1, 0, 0), 1)
