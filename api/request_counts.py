"""Requests and their latencies, by route and status, as plain numbers.

The fast lane answers a read in 20 microseconds. A client library's histogram would take a tenth of
that for each; these take a hundredth, and `api.request_metrics` reads them out when it is asked.
"""

from collections import Counter
from collections.abc import Iterator
from typing import Final, NamedTuple

from ledger_actors.histogram import Histogram, HistogramStatistics

OK: Final = 200
REQUEST_SECONDS: Final = (
    *(0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05),
    *(0.1, 0.25, 0.5, 1.0, 2.5, 10.0),
)
OTHER: Final = "other"
"""The route of what is at no path, or was not understood that far."""


class RequestStatistics(NamedTuple):
    route: str
    status: int
    seconds: HistogramStatistics


class RouteCounts:
    """The requests for one route on one server.

    The fast lane notes what it answers, and measures it together with all else of the same step or
    commit.

    Attributes:
        noted: how many were answered with status 200 in this step. Whoever knows may count here.
        begun: when those began that were answered with status 200 by a commit, in seconds of some
            clock. Whoever knows may add here.
    """

    __slots__ = ("_begun_others", "_ok", "_others", "begun", "noted")

    def __init__(self) -> None:
        self._ok = Histogram(REQUEST_SECONDS)
        self._others: dict[int, Histogram] = {}
        self.noted = 0
        self.begun: list[float] = []
        self._begun_others: list[tuple[int, float]] = []

    def answered(self, status: int, seconds: float) -> None:
        """Counts a request that took so long."""
        self._of(status).observe(seconds)

    def note(self, status: int, begun: float) -> None:
        """Counts a request with that status, of which `measure` will tell how long it took."""
        if status == OK:
            self.begun.append(begun)
        else:
            self._begun_others.append((status, begun))

    def measure(self, step_begun: float, now: float) -> None:
        """All that was noted is answered now.

        Args:
            step_begun: when those began that are only counted.
        """
        if self.noted:
            self._ok.observe(now - step_begun, self.noted)
            self.noted = 0
        if self.begun:
            for begun, times in Counter(self.begun).items():
                self._ok.observe(now - begun, times)
            self.begun.clear()
        if self._begun_others:
            for status, begun in self._begun_others:
                self.answered(status, now - begun)
            self._begun_others.clear()

    def _of(self, status: int) -> Histogram:
        if status == OK:
            return self._ok
        histogram = self._others.get(status)
        if histogram is None:
            histogram = self._others[status] = Histogram(REQUEST_SECONDS)
        return histogram

    def statistics(self, route: str) -> Iterator[RequestStatistics]:
        yield RequestStatistics(route, OK, self._ok.statistics())
        for status, histogram in sorted(self._others.items()):
            yield RequestStatistics(route, status, histogram.statistics())


class RequestCounts:
    """The requests of one server, by route. There are as many as the code has routes."""

    def __init__(self) -> None:
        self._routes: dict[str, RouteCounts] = {}

    def of(self, route: str) -> RouteCounts:
        counts = self._routes.get(route)
        if counts is None:
            counts = self._routes[route] = RouteCounts()
        return counts

    def statistics(self) -> Iterator[RequestStatistics]:
        for route, counts in self._routes.items():
            yield from counts.statistics(route)
