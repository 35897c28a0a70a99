"""How many bytes of bodies the application holds at once, however many callers send them."""

from typing import Any, Final

from hypercorn.typing import ASGIReceiveCallable, ASGISendCallable, HTTPScope, Scope

from api import wire
from api.problems import RETRY_AFTER_S

HELD_BYTES_MAX: Final = 64 * 1024 * 1024
_DIGITS_MAX: Final = 18
_BODILESS: Final = frozenset({"GET", "HEAD"})


class BodyBudget:
    """Answers 503 to a request whose body may not fit into what is left.

    A body counts with its length; where that is not said, with the most that its path takes, or,
    of a read, with nothing: its body is dropped.
    """

    def __init__(self, asgi_app: Any, *, body_bytes_max: int, bulk: tuple[str, int]) -> None:
        """
        Args:
            bulk: the path of bulk requests, and the largest body of one.
        """
        self._asgi_app = asgi_app
        self._body_bytes_max = body_bytes_max
        self._bulk = bulk
        self.held_bytes = 0

    async def __call__(
        self, scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable
    ) -> None:
        if scope["type"] != "http":
            await self._asgi_app(scope, receive, send)
            return
        needed = self._bytes_of(scope)
        if self.held_bytes + needed > HELD_BYTES_MAX:
            await _refuse(scope, send)
            return
        self.held_bytes += needed
        try:
            await self._asgi_app(scope, receive, send)
        finally:
            self.held_bytes -= needed

    def _bytes_of(self, scope: HTTPScope) -> int:
        bulk_path, bulk_bytes_max = self._bulk
        most = bulk_bytes_max if scope["path"] == bulk_path else self._body_bytes_max
        headers = dict(scope["headers"])
        length = headers.get(b"content-length", b"")
        if length.isdigit() and len(length) <= _DIGITS_MAX:
            return min(int(length), most)
        if b"transfer-encoding" not in headers and (
            scope["http_version"].startswith("1.") or scope["method"] in _BODILESS
        ):
            return 0
        return most


async def _refuse(scope: HTTPScope, send: ASGISendCallable) -> None:
    body = wire.encode_message("too many bodies are under way")
    headers = [
        (b"content-type", b"application/json"),
        (b"retry-after", b"%d" % RETRY_AFTER_S),
        (b"content-length", b"%d" % len(body)),
    ]
    if scope["http_version"].startswith("1."):
        headers.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": 503, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})
