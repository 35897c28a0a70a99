"""Metrics of what callers see: requests, connections, limits, the event loop."""

from collections.abc import Iterator
from importlib.metadata import version
from typing import Final

from prometheus_client.core import Metric

from api.fast_lane import FastLane
from api.hypercorn_server import HypercornServer
from api.metrics import counter, gauge, histograms
from api.observation import Observation
from ledger_actors.ledger import Ledger

LANE: Final = "lane"
HYPERCORN: Final = "hypercorn"


class RequestMetrics:
    """`api.metrics.Source` of the HTTP side."""

    def __init__(
        self,
        observation: Observation,
        ledger: Ledger,
        hypercorn: HypercornServer,
        connections_max: int,
    ) -> None:
        self._observation = observation
        self._ledger = ledger
        self._hypercorn = hypercorn
        self._connections_max = connections_max
        self._version = version("bitburst")

    def collect(self) -> Iterator[Metric]:
        yield gauge("build_info", "The version that runs", {self._version: 1}, "version")
        yield self._requests()
        yield gauge(
            "http_connections_hypercorn", "Open now, at Hypercorn", self._hypercorn.connections
        )
        yield gauge(
            "http_connections_max", "With so many, one more is refused", self._connections_max
        )
        yield counter(
            "damage_reports",
            "Requests that met something in the store that was not written so",
            self._observation.damage.count,
        )
        yield self._limits()

    def _requests(self) -> Metric:
        counted = {LANE: self._observation.lane, HYPERCORN: self._observation.hypercorn}
        return histograms(
            "http_request_duration_seconds",
            "From a request's head to its answer, by who answered it",
            ("server", "route", "status"),
            (
                ((server, one.route, str(one.status)), one.seconds)
                for server, counts in counted.items()
                if counts is not None
                for one in counts.statistics()
            ),
        )

    def _limits(self) -> Metric:
        ledger = self._ledger.statistics()
        return counter(
            "limit_hits",
            "How often a limit was reached",
            {
                **self._observation.limits.statistics(),
                "inbox": sum(shard.inbox.refused for shard in ledger.shards),
                "unfolded_entries": ledger.refused_behind,
            },
            "limit",
        )


class LaneMetrics:
    """`api.metrics.Source` of the fast lane."""

    def __init__(self, lane: FastLane) -> None:
        self._lane = lane

    def collect(self) -> Iterator[Metric]:
        lane = self._lane.statistics()
        yield gauge("http_connections_lane", "Open now, on the fast lane", lane.connections)
        yield counter("http_connections_accepted", "By the fast lane", lane.accepted)
        yield counter(
            "http_connections_handed_over",
            "Of those, to Hypercorn: what they asked for was not plain",
            lane.handed_over,
        )
        yield gauge("http_held_body_bytes", "Reserved for bodies on their way", lane.buffered_bytes)
