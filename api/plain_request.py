"""Which HTTP/1.1 requests are plain enough for the fast lane.

Plain is a subset on which all readers of HTTP agree (RFC 9112): visible ASCII, lines that end with
CRLF, one Host, a length in decimal or no body. Whatever is not in it may be fine HTTP or not HTTP
at all: that is for Hypercorn to say.
"""

import re
from collections.abc import Sequence
from enum import Enum
from typing import Final, NamedTuple

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser

HEAD_BYTES_MAX: Final = 16_384
"""What Hypercorn takes as well."""
HEAD_END: Final = b"\r\n\r\n"
_BEGINNINGS: Final = (b"GET /", b"POST /")
_VISIBLE: Final = bytes(range(0x20, 0x7F))
_TARGET: Final = re.compile(
    rb"/users/([^/?#]+)/(?:(add)|(balance)|history(?:\?page=([0-9]{1,18}))?)|(/v1/credits:batch)"
)
_LENGTH_DIGITS_MAX: Final = 9
_NOTED: Final = frozenset({b"host", b"content-length", b"content-type", b"idempotency-key"})
_UNUSUAL: Final = frozenset(
    {b"transfer-encoding", b"content-encoding", b"expect", b"upgrade", b"http2-settings"}
)


class Route(Enum):
    ADD = "add"
    BULK = "bulk"
    BALANCE = "balance"
    HISTORY = "history"


class PlainRequest(NamedTuple):
    """The head of a request for one of the hot endpoints."""

    route: Route
    user: bytes
    """The path segment, as it was sent."""
    page: str | None
    content_type: str | None
    idempotency_keys: Sequence[str]
    length: int
    """Bytes of the body."""


def may_become_plain(received: bytes) -> bool:
    """Whether this beginning of a head may be that of a plain request."""
    if len(received) > HEAD_BYTES_MAX:
        return False
    if not received.startswith(_BEGINNINGS):
        return any(beginning.startswith(received) for beginning in _BEGINNINGS)
    return received.count(b"\n") == received.count(b"\r\n")


class HeadReader:
    """Reads the heads of one connection's requests, and has to see their bodies pass."""

    __slots__ = ("_noted", "_parser", "_plain", "_target")

    def __init__(self) -> None:
        self._parser = HttpRequestParser(self)
        self._target = b""
        self._noted: list[tuple[bytes, bytes]] = []
        self._plain = True

    def read(self, head: bytes) -> PlainRequest | None:
        """The request, or None if it is not plain: then nothing more can be read here."""
        self._noted = []
        if not head.startswith(_BEGINNINGS):
            return None
        try:
            self._parser.feed_data(head)
        except (HttpParserError, HttpParserUpgrade):
            return None
        method = b"GET" if head.startswith(b"G") else b"POST"
        if (
            not self._plain
            or not head.startswith(b"%b %b HTTP/1.1\r\n" % (method, self._target))
            or not _has_plain_lines(head)
        ):
            return None
        target = _TARGET.fullmatch(self._target)
        if target is None:
            return None
        user, add, balance, page, bulk = target.groups()
        if method == b"GET":
            if add or bulk or len(self._noted) != 1 or self._noted[0][0] != b"host":
                return None
            if balance:
                return PlainRequest(Route.BALANCE, user, None, None, (), 0)
            return PlainRequest(
                Route.HISTORY, user, None if page is None else page.decode(), None, (), 0
            )
        if add:
            return self._with_body(Route.ADD, user)
        return self._with_body(Route.BULK, b"") if bulk else None

    def pass_body(self, body: bytes) -> None:
        """Lets the reader know that the body of the last head has come."""
        self._parser.feed_data(body)

    def _with_body(self, route: Route, user: bytes) -> PlainRequest | None:
        hosts = 0
        length = content_type = None
        keys: list[str] = []
        for name, value in self._noted:
            if name == b"content-length":
                if length is not None or not value.isdigit() or len(value) > _LENGTH_DIGITS_MAX:
                    return None
                length = int(value)
            elif name == b"host":
                hosts += 1
            elif name == b"idempotency-key":
                keys.append(value.decode())
            elif content_type is None:
                content_type = value.decode()
            else:
                return None
        if length is None or hosts != 1:
            return None
        return PlainRequest(route, user, None, content_type, keys, length)

    def on_url(self, target: bytes) -> None:
        self._target = target

    def on_header(self, name: bytes, value: bytes) -> None:
        name = name.lower()
        if name in _NOTED:
            self._noted.append((name, value.strip(b" ")))
        elif name in _UNUSUAL or (name == b"connection" and value.lower() != b"keep-alive"):
            self._plain = False


def _has_plain_lines(head: bytes) -> bool:
    """Visible ASCII, every line ended by CRLF, none folded."""
    return b"\r\n " not in head and not head.translate(None, _VISIBLE).replace(b"\r\n", b"")
