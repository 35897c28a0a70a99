"""Traces of requests over OTLP (OpenTelemetry). Imported only where an endpoint is set.

A traced request is a span with two below it, if it credits: `inbox`, until its shard took it up,
and `commit`, until it was durable. Spans are made when the request has been answered, of times that
were noted on its way; they are exported from a thread of the SDK.
"""

import random
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from typing import Final

import trio
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, OTELResourceDetector, Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import (
    SpanKind,
    StatusCode,
    get_current_span,
    set_span_in_context,
)
from opentelemetry.trace import Tracer as OpenTelemetryTracer
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from prometheus_client.core import Metric

from api.metrics import counter
from ledger_actors.group_commit import CommitStep
from ledger_actors.ports import Clock
from persistence.errors import StoreError

QUEUED_SPANS_MAX: Final = 2048
"""Spans that wait for the exporter, or are with it; more are dropped."""
FLUSH_S: Final = 5.0
NS_PER_US: Final = 1_000
PATHS: Final = {
    "add": "/users/{uid}/add",
    "balance": "/users/{uid}/balance",
    "history": "/users/{uid}/history",
    "bulk": "/v1/credits:batch",
    "healthz": "/healthz",
    "readyz": "/readyz",
    "request_status": "/v1/users/{uid}/requests/{key}",
    "metrics": "/metrics",
    "openapi": "/openapi.json",
    "docs": "/docs",
}
_propagator: Final = TraceContextTextMapPropagator()


class RequestTrace:
    """`api.observation.Trace`."""

    def __init__(
        self,
        tracer: OpenTelemetryTracer,
        clock: Clock,
        parent: Context | None,
        method: str,
        route: str | None,
        request_id: bytes,
    ) -> None:
        self._tracer = tracer
        self._clock = clock
        self._parent = parent
        self._method = method
        self._route = route
        self._request_id = request_id
        self._begun = clock.now()
        self._settled = self._begun
        self._step: CommitStep | None = None

    def settled(self, step: CommitStep | None) -> None:
        # A request that was refused at once came to no step; what is seen then is an older one.
        if step is not None and step.staged_at >= self._begun:
            self._step = step
            self._settled = self._clock.now()

    def end(self, status: int, route: str | None = None) -> None:
        route = self._route or route or "other"
        path = PATHS.get(route)
        attributes: dict[str, str | int] = {
            "http.request.method": self._method,
            "http.response.status_code": status,
        }
        if path is not None:
            attributes["http.route"] = path
        if self._request_id:
            attributes["bitburst.request_id"] = self._request_id.decode()
        span = self._tracer.start_span(
            f"{self._method} {path}" if path else self._method,
            context=self._parent,
            kind=SpanKind.SERVER,
            attributes=attributes,
            start_time=self._begun * NS_PER_US,
        )
        step = self._step
        if step is not None:
            below = set_span_in_context(span)
            inbox = self._tracer.start_span("inbox", below, start_time=self._begun * NS_PER_US)
            inbox.end(step.staged_at * NS_PER_US)
            if step.position is not None:
                commit = self._tracer.start_span(
                    "commit",
                    below,
                    attributes={"bitburst.log_position": step.position},
                    start_time=step.staged_at * NS_PER_US,
                )
                commit.end(self._settled * NS_PER_US)
        if status >= 500:
            span.set_status(StatusCode.ERROR)
        span.end(self._clock.now() * NS_PER_US)


class RequestTracer:
    """`api.observation.Tracer`, and `api.metrics.Source` of what becomes of the spans."""

    def __init__(
        self,
        exporter: SpanExporter,
        resource: Resource,
        clock: Clock,
        ratio: float,
        dice: Callable[[], float],
    ) -> None:
        """
        Args:
            ratio: of the requests that come without a trace of their own, so many are traced.
            dice: evenly from 0 to 1.
        """
        self._exporting = _Counting(exporter)
        self._processor = _Bounded(self._exporting)
        # Whether to trace is decided before anything is made for it.
        self._provider = TracerProvider(ALWAYS_ON, resource, shutdown_on_exit=False)
        self._provider.add_span_processor(self._processor)
        self._tracer = self._provider.get_tracer("bitburst")
        self._clock = clock
        self._ratio = ratio
        self._dice = dice

    def begin(
        self, method: str, route: str | None, traceparent: bytes, request_id: bytes
    ) -> RequestTrace | None:
        parent = None
        if traceparent:
            context = _propagator.extract({"traceparent": traceparent.decode("latin-1")})
            caller = get_current_span(context).get_span_context()
            if caller.is_valid:
                if not caller.trace_flags.sampled:
                    return None
                parent = context
        if parent is None and self._dice() >= self._ratio:
            return None
        return RequestTrace(self._tracer, self._clock, parent, method, route, request_id)

    def collect(self) -> Iterator[Metric]:
        yield counter(
            "trace_spans",
            "Spans that were exported, or were not",
            {
                "exported": self._exporting.exported,
                "failed": self._exporting.failed,
                "dropped": self._processor.dropped,
            },
            "outcome",
        )

    def shutdown(self) -> None:
        """Exports what waits. It blocks as long as the exporter does."""
        self._provider.shutdown()


class _Counting(SpanExporter):
    """Counts what goes through the exporter. It is asked from the SDK's thread."""

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = exporter
        self.exported = 0
        self.failed = 0

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        result = SpanExportResult.FAILURE
        try:
            result = self._exporter.export(spans)
        finally:
            if result is SpanExportResult.SUCCESS:
                self.exported += len(spans)
            else:
                self.failed += len(spans)
        return result

    def shutdown(self) -> None:
        self._exporter.shutdown()


class _Bounded(BatchSpanProcessor):
    """Drops what is too much, and counts it, where its parent would log a line for each."""

    def __init__(self, exporting: _Counting) -> None:
        super().__init__(exporting, max_queue_size=QUEUED_SPANS_MAX)
        self._exporting = exporting
        self._taken = 0
        self.dropped = 0

    def on_end(self, span: ReadableSpan) -> None:
        waiting = self._taken - self._exporting.exported - self._exporting.failed
        if waiting >= QUEUED_SPANS_MAX:
            self.dropped += 1
            return
        self._taken += 1
        super().on_end(span)


@asynccontextmanager
async def open_tracing(endpoint: str, ratio: float, clock: Clock) -> AsyncIterator[RequestTracer]:
    """Traces to that collector, until the block is left; then what waits is exported.

    Args:
        endpoint: its URL; `/v1/traces` is added.

    Raises:
        StoreError: the endpoint is no URL of HTTP.
    """
    if not endpoint.startswith(("http://", "https://")):
        raise StoreError(f"the OTLP endpoint must be an http or https URL, not {endpoint}")
    exporter = OTLPSpanExporter(endpoint.rstrip("/") + "/v1/traces")
    # What OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES say comes first.
    resource = Resource.create({SERVICE_NAME: "bitburst"}).merge(OTELResourceDetector().detect())
    tracer = RequestTracer(exporter, resource, clock, ratio, random.random)
    try:
        yield tracer
    finally:
        with trio.move_on_after(FLUSH_S, shield=True):
            await trio.to_thread.run_sync(tracer.shutdown, abandon_on_cancel=True)
