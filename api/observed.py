"""What is watched of the requests that an ASGI application answers, as on the fast lane."""

from typing import Any, Final

import structlog
import trio
from hypercorn.typing import ASGIReceiveCallable, ASGISendCallable, ASGISendEvent, HTTPScope, Scope

from api.observation import Observation, Trace, trace_of_request
from api.request_counts import OTHER
from api.request_ids import HEADER, sent_id

ROUTE: Final = "endpoint"
"""Where in the scope the application says which route it has taken."""
TRACEPARENT: Final = b"traceparent"


class Observed:
    """Gives each request its id, counts it, and traces it. It stands around all of the application.

    The id is in the answer and, by structlog's context, in whatever the request's task logs.
    """

    def __init__(self, asgi_app: Any, observation: Observation) -> None:
        self._asgi_app = asgi_app
        self._observation = observation

    async def __call__(
        self, scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable
    ) -> None:
        if scope["type"] != "http":
            await self._asgi_app(scope, receive, send)
            return
        begun = trio.current_time()
        request_id = self._observation.ids.of(sent_id(scope["headers"]))
        if request_id:
            structlog.contextvars.bind_contextvars(request_id=request_id.decode())
        trace = self._trace(scope, request_id)
        trace_of_request.set(trace)
        status = 0

        async def send_observed(message: ASGISendEvent) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                if request_id:
                    message["headers"] = [*message["headers"], (HEADER, request_id)]
            await send(message)

        try:
            await self._asgi_app(scope, receive, send_observed)
        finally:
            if status:
                self._answered(scope, status, trio.current_time() - begun, trace)

    def _trace(self, scope: HTTPScope, request_id: bytes) -> Trace | None:
        tracer = self._observation.tracer
        if tracer is None:
            return None
        parents = [value for name, value in scope["headers"] if name == TRACEPARENT]
        return tracer.begin(scope["method"], None, parents[-1] if parents else b"", request_id)

    def _answered(self, scope: HTTPScope, status: int, seconds: float, trace: Trace | None) -> None:
        route = str(scope.get(ROUTE, OTHER))
        if self._observation.hypercorn is not None:
            self._observation.hypercorn.of(route).answered(status, seconds)
        if trace is not None:
            trace.end(status, route)
