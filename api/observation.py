"""What is watched of the requests: made once, and handed to everything that answers any."""

from contextvars import ContextVar
from dataclasses import dataclass
from typing import Final, Protocol

from api.damage_reports import DamageReports
from api.limit_hits import LimitHits
from api.request_counts import RequestCounts
from api.request_ids import RequestIds
from ledger_actors.group_commit import CommitStep


class Trace(Protocol):
    """One request that is traced, from its beginning to its answer."""

    def settled(self, step: CommitStep | None) -> None:
        """Its credits were settled now, by that step, or before they came to any."""
        ...

    def end(self, status: int, route: str | None = None) -> None:
        """It was answered now, on that route, where the beginning did not say it."""
        ...


class Tracer(Protocol):
    """`api.tracing` has one. Where nothing is traced there is none, and none is imported."""

    def begin(
        self, method: str, route: str | None, traceparent: bytes, request_id: bytes
    ) -> Trace | None:
        """The trace of a request that comes in now; None where it is not sampled.

        Args:
            route: None as long as nobody knows.
            traceparent: what it came with (W3C Trace Context), empty where that is nothing.
        """
        ...


@dataclass(frozen=True, slots=True)
class Observation:
    """What is None is not watched."""

    limits: LimitHits
    damage: DamageReports
    ids: RequestIds
    lane: RequestCounts | None = None
    """Requests that the fast lane answers,"""
    hypercorn: RequestCounts | None = None
    """and those that Hypercorn does."""
    tracer: Tracer | None = None


trace_of_request: Final[ContextVar[Trace | None]] = ContextVar("trace_of_request", default=None)
"""The trace of the request that the current task answers, on Hypercorn."""
