"""Which HTTP/1.1 requests are plain enough for the fast lane.

Plain is a subset on which all readers of HTTP agree (RFC 9112): visible ASCII, lines that end with
CRLF, one Host, a length in decimal or no body. Whatever is not in it may be fine HTTP or not HTTP
at all: that is for Hypercorn to say.
"""

import re
from collections.abc import Sequence
from enum import Enum
from typing import Final

import msgspec
from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser

HEAD_BYTES_MAX: Final = 16_384
"""What Hypercorn takes as well."""
HEAD_END: Final = b"\r\n\r\n"
_BEGINNINGS: Final = (b"GET /", b"POST /")
_VISIBLE: Final = bytes(range(0x20, 0x7F))
_TARGET: Final = re.compile(
    rb"/users/([^/?#]+)/(?:(add)|(balance)|history(?:\?page=([0-9]{1,18}))?)"
    rb"|/(?:(v1/credits:batch)|(healthz)|readyz)"
)
_LENGTH_DIGITS_MAX: Final = 9


# What a header is to the reader. Plain numbers: looking up a member of an enum takes as long as
# all else that is done for a header.
_HOST, _LENGTH, _TYPE, _KEY, _CONNECTION, _UNUSUAL, _REQUEST_ID, _TRACE, _OTHER = range(9)
_HEADERS: Final = {
    spelling: header
    for header, names in {
        _HOST: [b"Host"],
        _LENGTH: [b"Content-Length"],
        _TYPE: [b"Content-Type"],
        _KEY: [b"Idempotency-Key"],
        _CONNECTION: [b"Connection"],
        _REQUEST_ID: [b"X-Request-Id", b"X-Request-ID"],
        _TRACE: [b"Traceparent"],
        _UNUSUAL: [
            b"Transfer-Encoding",
            b"Content-Encoding",
            b"Expect",
            b"Upgrade",
            b"HTTP2-Settings",
        ],
        # These are here only to be found at once.
        _OTHER: [b"User-Agent", b"Accept", b"Accept-Encoding"],
    }.items()
    for name in names
    for spelling in (name, name.lower())
}


class Route(Enum):
    ADD = "add"
    BULK = "bulk"
    BALANCE = "balance"
    HISTORY = "history"
    HEALTHZ = "healthz"
    READYZ = "readyz"


class PlainRequest(msgspec.Struct, frozen=True, gc=False):
    """The head of a request for one of the hot endpoints."""

    route: Route
    user: bytes = b""
    """The path segment, as it was sent."""
    page: str | None = None
    content_type: str | None = None
    idempotency_keys: Sequence[str] = ()
    length: int = 0
    """Bytes of the body."""


def may_become_plain(received: bytes) -> bool:
    """Whether this beginning of a head may be that of a plain request."""
    if len(received) > HEAD_BYTES_MAX:
        return False
    if not received.startswith(_BEGINNINGS):
        return any(beginning.startswith(received) for beginning in _BEGINNINGS)
    return received.count(b"\n") == received.count(b"\r\n")


class HeadReader:
    """Reads the heads of one connection's requests, and has to see their bodies pass.

    Attributes:
        request_id: what the last head says in `X-Request-Id`; the last one, where it says several.
        traceparent: the same of `traceparent` (W3C Trace Context).
    """

    __slots__ = (
        "_hosts",
        "_keys",
        "_length",
        "_parser",
        "_plain",
        "_target",
        "_type",
        "request_id",
        "traceparent",
    )

    def __init__(self) -> None:
        self._parser = HttpRequestParser(self)
        self._target = b""
        self._plain = True
        self._hosts = 0
        self._length: bytes | None = None
        self._type: bytes | None = None
        self._keys: list[str] = []
        self.request_id = b""
        self.traceparent = b""

    def read(self, head: bytes) -> PlainRequest | None:
        """The request, or None if it is not plain: then nothing more can be read here."""
        if not head.startswith(_BEGINNINGS):
            return None
        self._hosts = 0
        self._length = self._type = None
        self._keys = []
        self.request_id = self.traceparent = b""
        try:
            self._parser.feed_data(head)
        except (HttpParserError, HttpParserUpgrade):
            return None
        target = _TARGET.fullmatch(self._target)
        method = b"GET" if head.startswith(b"G") else b"POST"
        if (
            target is None
            or not self._plain
            or self._hosts != 1
            or not head.startswith(b"%b %b HTTP/1.1\r\n" % (method, self._target))
            or not _has_plain_lines(head)
        ):
            return None
        user, add, balance, page, bulk, healthz = target.groups()
        if method == b"POST":
            if add or bulk:
                return self._with_body(Route.ADD if add else Route.BULK, user)
            return None
        if add or bulk or self._length is not None or self._keys:
            return None
        if user is None:
            return PlainRequest(Route.HEALTHZ if healthz else Route.READYZ)
        if balance:
            return PlainRequest(Route.BALANCE, user)
        return PlainRequest(Route.HISTORY, user, None if page is None else page.decode())

    def pass_body(self, body: bytes) -> None:
        """Lets the reader know that the body of the last head has come."""
        self._parser.feed_data(body)

    def _with_body(self, route: Route, user: bytes) -> PlainRequest | None:
        length, content_type = self._length, self._type
        if length is None or not length.isdigit() or len(length) > _LENGTH_DIGITS_MAX:
            return None
        return PlainRequest(
            route,
            user,
            None,
            None if content_type is None else content_type.decode(),
            self._keys,
            int(length),
        )

    def on_url(self, target: bytes) -> None:
        self._target = target

    def on_header(self, name: bytes, value: bytes) -> None:
        header = _HEADERS.get(name)
        if header is None:
            header = _HEADERS.get(name.lower(), _OTHER)
        if header == _OTHER:
            return
        if header == _HOST:
            self._hosts += 1
        elif header == _LENGTH and self._length is None:
            self._length = value.strip(b" ")
        elif header == _KEY:
            # Visible ASCII is looked for later, in the head as a whole.
            self._keys.append(value.decode("latin-1"))
        elif header == _TYPE and self._type is None:
            self._type = value.strip(b" ")
        elif header == _REQUEST_ID:
            self.request_id = value.strip(b" ")
        elif header == _TRACE:
            self.traceparent = value.strip(b" ")
        elif header != _CONNECTION or value.lower() != b"keep-alive":
            self._plain = False


def _has_plain_lines(head: bytes) -> bool:
    """Visible ASCII, every line ended by CRLF, none folded."""
    return b"\r\n " not in head and not head.translate(None, _VISIBLE).replace(b"\r\n", b"")
