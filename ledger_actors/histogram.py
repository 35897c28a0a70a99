"""How often what was measured fell between which bounds."""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class HistogramStatistics:
    """A histogram as it was at one moment.

    Attributes:
        bounds: the upper end of each bucket but the last, which has none; included in it.
        counts: what fell into each bucket alone.
        total: the sum of all that was measured, in its unit.
    """

    bounds: Sequence[float]
    counts: Sequence[int]
    total: float

    @property
    def count(self) -> int:
        return sum(self.counts)


class Histogram:
    """Counts in buckets that are there from the start: what is measured takes up no memory.

    One thread may observe while others read.
    """

    __slots__ = ("_bounds", "_counts", "_total")

    def __init__(self, bounds: Sequence[float]) -> None:
        """
        Args:
            bounds: ascending, in the unit of what is measured.
        """
        self._bounds = tuple(bounds)
        self._counts = [0] * (len(bounds) + 1)
        self._total = 0.0

    def observe(self, value: float, times: int = 1) -> None:
        """Takes in a value that was measured so many times."""
        self._counts[bisect_left(self._bounds, value)] += times
        self._total += value * times

    def statistics(self) -> HistogramStatistics:
        return HistogramStatistics(self._bounds, tuple(self._counts), self._total)
