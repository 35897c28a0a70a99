"""Requests and their latencies, by route and status, as plain numbers.

The fast lane answers a read in 20 microseconds. A client library's histogram would take a tenth of
that for each; these take a hundredth, and `api.request_metrics` reads them out when it is asked.
"""

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

    What is answered at once is noted, and measured together with all else of its step.

    Attributes:
        ok: those with status 200. Whoever knows the status may observe here, a call less.
        noted: as many with status 200 as `note` was told of. Whoever knows may count here.
    """

    __slots__ = ("_noted_others", "_others", "noted", "ok")

    def __init__(self) -> None:
        self.ok = Histogram(REQUEST_SECONDS)
        self._others: dict[int, Histogram] = {}
        self.noted = 0
        self._noted_others: list[int] = []

    def answered(self, status: int, seconds: float) -> None:
        """Counts a request that took so long."""
        if status == OK:
            self.ok.observe(seconds)
            return
        histogram = self._others.get(status)
        if histogram is None:
            histogram = self._others[status] = Histogram(REQUEST_SECONDS)
        histogram.observe(seconds)

    def note(self, status: int) -> None:
        """Counts a request, of which `measure` will say how long it took."""
        if status == OK:
            self.noted += 1
        else:
            self._noted_others.append(status)

    def measure(self, seconds: float) -> None:
        """All that was noted took so long."""
        if self.noted:
            self.ok.observe(seconds, self.noted)
            self.noted = 0
        if self._noted_others:
            others, self._noted_others = self._noted_others, []
            for status in others:
                self.answered(status, seconds)

    def statistics(self, route: str) -> Iterator[RequestStatistics]:
        yield RequestStatistics(route, OK, self.ok.statistics())
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
