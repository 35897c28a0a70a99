"""The complete HTTP application, as Quart on any ASGI server."""

import re
from functools import partial
from typing import Any, Final

import trio
from hypercorn.typing import ASGIReceiveCallable, ASGISendCallable, ASGISendEvent, HTTPScope, Scope
from quart import Response, request
from quart_trio import QuartTrio
from quart_trio.wrappers import TrioRequest
from werkzeug.exceptions import HTTPException

from api import wire
from api.handlers import Answer, Handlers, answer_message
from api.limit_hits import Limit
from api.metrics import Metrics
from api.observation import Observation
from api.observed import ROUTE, Observed

LAST_MESSAGE_S: Final = 5
BULK_PATH: Final = "/v1/credits:batch"
NO_PATH: Final = "/"
"""There is nothing at it."""
_FRAMING: Final = {b"content-length", b"transfer-encoding"}
_TARGET: Final = re.compile(rb"(?:https?://[^/]*)?(/(?!/).*)", re.IGNORECASE)


def create_app(
    handlers: Handlers,
    *,
    body_bytes_max: int,
    bulk_bytes_max: int,
    request_timeout_s: float,
    observation: Observation,
    metrics: Metrics | None = None,
) -> QuartTrio:
    """The application.

    Args:
        body_bytes_max: the largest body that it reads of a request that is no bulk.
        bulk_bytes_max: the same of a bulk.
        request_timeout_s: how long it waits for one.
        metrics: what `/metrics` shows; without them there is no such path.
    """

    class LimitedRequest(TrioRequest):
        def __init__(self, *arguments: Any, **named: Any) -> None:
            is_bulk = arguments[2] == BULK_PATH
            named["max_content_length"] = bulk_bytes_max if is_bulk else body_bytes_max
            super().__init__(*arguments, **named)

    app = QuartTrio("bitburst", static_folder=None)
    app.request_class = LimitedRequest
    app.config["BODY_TIMEOUT"] = request_timeout_s
    app.config["PROVIDE_AUTOMATIC_OPTIONS"] = False
    app.url_map.merge_slashes = False
    framed = _FramedPlainly(_RoutedByPath(app.asgi_app))
    app.asgi_app = Observed(_AnsweredWhole(framed), observation)  # type: ignore[method-assign]

    def respond(answer: Answer) -> Response:
        if answer.alarm is not None:
            # The request's id is in the context of the log.
            observation.damage.report(answer.alarm)
        return _respond(answer)

    @app.before_request
    async def name_route() -> None:
        if request.url_rule is not None:
            request.scope[ROUTE] = request.url_rule.endpoint  # type: ignore[typeddict-unknown-key]

    @app.post("/users/<user>/add")
    async def add(user: str) -> Response:
        return respond(
            await handlers.add(
                user.encode("latin-1"),
                request.headers.get("Content-Type"),
                request.headers.getlist("Idempotency-Key"),
                await _body(),
            )
        )

    @app.post(BULK_PATH)
    async def bulk() -> Response:
        return respond(
            await handlers.bulk(
                request.headers.get("Content-Type"),
                request.headers.getlist("Idempotency-Key"),
                bytes(await request.body),
            )
        )

    @app.get("/users/<user>/balance")
    async def balance(user: str) -> Response:
        return respond(await handlers.balance(user.encode("latin-1")))

    @app.get("/users/<user>/history")
    async def history(user: str) -> Response:
        return respond(await handlers.history(user.encode("latin-1"), request.args.get("page")))

    @app.get("/healthz")
    async def healthz() -> Response:
        return _respond(handlers.healthz())

    @app.get("/readyz")
    async def readyz() -> Response:
        return _respond(handlers.readyz())

    if metrics is not None:
        app.add_url_rule("/metrics", "metrics", partial(_exposed, metrics))

    @app.errorhandler(HTTPException)
    async def refuse(error: HTTPException) -> Response:
        if error.code == 408:
            observation.limits.note(Limit.REQUEST_TIME)
        if error.code == 413:
            observation.limits.note(Limit.BODY_BYTES)
            bytes_max = bulk_bytes_max if request.path == BULK_PATH else body_bytes_max
            return _closing(answer_message(413, f"the body must be at most {bytes_max} bytes"))
        return _refuse(error)

    return app


class _RoutedByPath:
    """Routes by the path, as it was sent, so that an encoded slash stays in its segment.

    Nothing else takes part: of a whole URL (RFC 9112, 3.2.2) the path counts, and the Host header
    is left out, because Quart cannot answer where it is no host name.
    """

    def __init__(self, asgi_app: Any) -> None:
        self._asgi_app = asgi_app

    async def __call__(
        self, scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable
    ) -> None:
        if scope["type"] in ("http", "websocket"):
            target = _TARGET.fullmatch(scope["raw_path"])
            scope["path"] = target[1].decode("latin-1") if target else NO_PATH
            scope["headers"] = [header for header in scope["headers"] if header[0] != b"host"]
        await self._asgi_app(scope, receive, send)


class _FramedPlainly:
    """Refuses a request that two readers may take for different ones (RFC 9112, 6.1 and 6.3)."""

    def __init__(self, asgi_app: Any) -> None:
        self._asgi_app = asgi_app

    async def __call__(
        self, scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable
    ) -> None:
        problem = _framing_problem(scope) if scope["type"] == "http" else None
        if problem is None:
            await self._asgi_app(scope, receive, send)
            return
        status, body = problem[0], wire.encode_message(problem[1])
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % len(body)),
            (b"connection", b"close"),
        ]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body, "more_body": False})


def _framing_problem(scope: HTTPScope) -> tuple[int, str] | None:
    version = scope["http_version"]
    if "." in version and not version.startswith("1."):
        return 505, "send HTTP/1.1, or HTTP/2 from its preface on"
    framing = {name for name, _ in scope["headers"]} & _FRAMING
    if framing == _FRAMING:
        return 400, "send Content-Length or Transfer-Encoding, not both"
    if version == "1.0" and b"transfer-encoding" in framing:
        return 400, "HTTP/1.0 has no Transfer-Encoding"
    return None


class _AnsweredWhole:
    """Lets the server end an answer before Quart's own cancellation ends the task that sends it.

    With the last message, Hypercorn tells Quart that the request is over, upon which Quart cancels
    the sending task; but in that task Hypercorn still has to start the connection's idle timeout,
    without which neither `keep_alive_s` nor a shutdown would close it.
    """

    def __init__(self, asgi_app: Any) -> None:
        self._asgi_app = asgi_app

    async def __call__(
        self, scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable
    ) -> None:
        async def send_whole(message: ASGISendEvent) -> None:
            if message["type"] != "http.response.body" or message.get("more_body"):
                await send(message)
                return
            # The limit is for a peer of HTTP/2 that never opens its window.
            with trio.move_on_after(LAST_MESSAGE_S, shield=True):
                await send(message)

        await self._asgi_app(scope, receive, send_whole)


async def _body() -> bytes:
    # Unlike `request.body`, it waits no longer than BODY_TIMEOUT.
    return await request.get_data(cache=True, as_text=False, parse_form_data=False)


async def _exposed(metrics: Metrics) -> Response:
    """`GET /metrics`"""
    body, content_type = await metrics.exposition(request.headers.get("Accept", ""))
    return Response(body, content_type=content_type)


def _respond(answer: Answer) -> Response:
    response = Response(answer.body, answer.status)
    if not answer.body:
        del response.headers["Content-Type"]
    for name, value in answer.headers:
        response.headers[name] = value
    return response


def _refuse(error: HTTPException) -> Response:
    if error.code == 405:
        # The wire contract has its body empty.
        allowed = dict(error.get_headers())["Allow"]
        return _respond(Answer(405, b"", [("Allow", ", ".join(sorted(allowed.split(", "))))]))
    if error.code == 408:
        return _closing(answer_message(408, "the request takes too long to arrive"))
    if error.code == 404:
        return _respond(answer_message(404, "there is nothing at this path"))
    return _respond(answer_message(error.code or 500, error.description or error.name))


def _closing(answer: Answer) -> Response:
    """An answer to a request of which how much was read is chance."""
    response = _respond(answer)
    if request.http_version.startswith("1."):
        response.headers["Connection"] = "close"
    return response
