"""The complete HTTP application, as Quart on any ASGI server."""

import re
from collections.abc import Callable
from functools import partial
from typing import Any, Final

import trio
from hypercorn.typing import ASGIReceiveCallable, ASGISendCallable, ASGISendEvent, HTTPScope, Scope
from quart import Response, request
from quart_trio import QuartTrio
from quart_trio.wrappers import TrioRequest
from werkzeug.exceptions import HTTPException

from api import wire
from api.body_budget import BodyBudget
from api.description import encode_description
from api.docs_page import CONTENT_POLICY, render_docs
from api.endpoints import HTML
from api.handlers import CLOSE, PROBLEM, Answer, Handlers, answer_of
from api.limit_hits import Limit
from api.metrics import Metrics
from api.observation import Observation
from api.observed import ROUTE, Observed
from api.problem_types import DOCS_PATH
from api.problems import Problem, problem_of_status

LAST_MESSAGE_S: Final = 5
BULK_PATH: Final = "/v1/credits:batch"
PUBLIC: Final = frozenset({"healthz", "readyz", "openapi", "docs"})
"""Endpoints that need no API key."""
ADMITTED_BY_HANDLERS: Final = frozenset({"add", "bulk", "balance", "history", "request_status"})
"""Those whose handlers ask for the scope. All others are for who runs the server."""
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
    bounded = BodyBudget(
        app.asgi_app, body_bytes_max=body_bytes_max, bulk=(BULK_PATH, bulk_bytes_max)
    )
    framed = _FramedPlainly(_RoutedByPath(bounded))
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

    @app.before_request
    async def refuse_strangers() -> Response | None:
        # Before the body is read.
        if request.url_rule is None or request.endpoint in PUBLIC:
            return None
        authorization = _authorization()
        if request.endpoint in ADMITTED_BY_HANDLERS:
            refused = handlers.stranger(authorization)
        else:
            refused = handlers.refused_operator(authorization)
        return None if refused is None else _respond(refused)

    @app.post("/users/<user>/add")
    async def add(user: str) -> Response:
        return respond(
            await handlers.add(
                _authorization(),
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
                _authorization(),
                request.headers.get("Content-Type"),
                request.headers.getlist("Idempotency-Key"),
                bytes(await request.body),
            )
        )

    @app.get("/users/<user>/balance")
    async def balance(user: str) -> Response:
        return respond(await handlers.balance(_authorization(), user.encode("latin-1")))

    @app.get("/users/<user>/history")
    async def history(user: str) -> Response:
        return respond(
            await handlers.history(
                _authorization(), user.encode("latin-1"), request.args.get("page")
            )
        )

    @app.get("/v1/users/<user>/requests/<key>")
    async def request_status(user: str, key: str) -> Response:
        return respond(
            await handlers.request_status(
                _authorization(), user.encode("latin-1"), key.encode("latin-1")
            )
        )

    @app.get("/healthz")
    async def healthz() -> Response:
        return _respond(handlers.healthz())

    @app.get("/readyz")
    async def readyz() -> Response:
        return _respond(handlers.readyz())

    _describe_itself(app)
    if metrics is not None:
        app.add_url_rule("/metrics", "metrics", partial(_exposed, metrics))

    @app.errorhandler(HTTPException)
    async def refuse(error: HTTPException) -> Response:
        # Its frames hold the request, which holds the error: they would wait, with the body, until
        # the garbage collector comes.
        error.__traceback__ = error.__context__ = None
        if error.code == 408:
            observation.limits.note(Limit.REQUEST_TIME)
        if error.code == 413:
            observation.limits.note(Limit.BODY_BYTES)
            bytes_max = bulk_bytes_max if request.path == BULK_PATH else body_bytes_max
            return _closing(413, f"the body must be at most {bytes_max} bytes")
        return _refuse(error)

    return app


def _describe_itself(app: QuartTrio) -> None:
    @app.get("/openapi.json")
    async def openapi() -> Response:
        return _respond(Answer(200, await _made(encode_description)))

    @app.get(DOCS_PATH)
    async def docs() -> Response:
        headers = [
            ("Content-Type", f"{HTML}; charset=utf-8"),
            ("Content-Security-Policy", CONTENT_POLICY),
        ]
        return _respond(Answer(200, await _made(render_docs), headers))


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
        body = wire.encode_problem(problem)
        headers = [
            (PROBLEM[0].lower().encode(), PROBLEM[1].encode()),
            (b"content-length", b"%d" % len(body)),
            (b"connection", b"close"),
        ]
        await send(
            {"type": "http.response.start", "status": problem.type.status, "headers": headers}
        )
        await send({"type": "http.response.body", "body": body, "more_body": False})


def _framing_problem(scope: HTTPScope) -> Problem | None:
    version = scope["http_version"]
    if "." in version and not version.startswith("1."):
        return problem_of_status(505, "send HTTP/1.1, or HTTP/2 from its preface on")
    framing = {name for name, _ in scope["headers"]} & _FRAMING
    if framing == _FRAMING:
        return problem_of_status(400, "send Content-Length or Transfer-Encoding, not both")
    if version == "1.0" and b"transfer-encoding" in framing:
        return problem_of_status(400, "HTTP/1.0 has no Transfer-Encoding")
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


def _authorization() -> bytes | None:
    values = request.headers.getlist("Authorization")
    # Several are no key.
    return ", ".join(values).encode("latin-1") if values else None


async def _body() -> bytes:
    # Unlike `request.body`, it waits no longer than BODY_TIMEOUT.
    return await request.get_data(cache=True, as_text=False, parse_form_data=False)


async def _made(make: Callable[[], bytes]) -> bytes:
    # The first time it takes tens of milliseconds, which nobody else is to wait for.
    return await trio.to_thread.run_sync(make)


async def _exposed(metrics: Metrics) -> Response:
    """`GET /metrics`"""
    body, content_type = await metrics.exposition(request.headers.get("Accept", ""))
    return Response(body, content_type=content_type)


def _respond(answer: Answer) -> Response:
    response = Response(answer.body, answer.status)
    if not answer.body:
        del response.headers["Content-Type"]
    for name, value in answer.headers:
        if name != "Connection" or _can_say_close():
            response.headers[name] = value
    return response


def _refuse(error: HTTPException) -> Response:
    if error.code == 405:
        # The wire contract has its body empty.
        allowed = dict(error.get_headers())["Allow"]
        return _respond(Answer(405, b"", [("Allow", ", ".join(sorted(allowed.split(", "))))]))
    if error.code == 408:
        return _closing(408, "the request takes too long to arrive")
    if error.code == 404:
        return _refusal(404, "there is nothing at this path")
    return _refusal(error.code or 500, error.description or error.name)


def _refusal(status: int, detail: str) -> Response:
    return _respond(answer_of(problem_of_status(status, detail)))


def _closing(status: int, detail: str) -> Response:
    """The answer to a request of which how much was read is chance."""
    answer = answer_of(problem_of_status(status, detail))
    return _respond(Answer(answer.status, answer.body, (*answer.headers, CLOSE)))


def _can_say_close() -> bool:
    return request.http_version.startswith("1.")
