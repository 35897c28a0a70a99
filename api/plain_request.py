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
LINES_BYTES_MAX: Final = 1_024
LINES_MAX: Final = 1_024
"""Header lines of so many kinds of requests are remembered, if they are not longer than that."""
_VISIBLE: Final = bytes(range(0x20, 0x7F))
_REQUEST_LINE: Final = re.compile(
    rb"(?:(GET)|POST) (?:/users/([!-\"$-.0->@-~]+)"
    rb"/(?:(add)|(balance)|history(?:\?page=([0-9]{1,18}))?)"
    rb"|/(?:(v1/credits:batch)|(healthz)|readyz)) HTTP/1\.1"
)
_LENGTH_DIGITS_MAX: Final = 9


# What a header is to the reader. Plain numbers: looking up a member of an enum takes as long as
# all else that is done for a header.
_HOST, _LENGTH, _TYPE, _KEY, _AUTHORIZATION, _CONNECTION, _UNUSUAL, _OTHER = range(8)
_REQUEST_ID, _TRACE = range(8, 10)
_HEADERS: Final = {
    b"host": _HOST,
    b"content-length": _LENGTH,
    b"content-type": _TYPE,
    b"idempotency-key": _KEY,
    b"authorization": _AUTHORIZATION,
    b"x-request-id": _REQUEST_ID,
    b"traceparent": _TRACE,
    b"connection": _CONNECTION,
    b"transfer-encoding": _UNUSUAL,
    b"content-encoding": _UNUSUAL,
    b"expect": _UNUSUAL,
    b"upgrade": _UNUSUAL,
    b"http2-settings": _UNUSUAL,
}


_VARYING_LINES: Final = tuple(
    (b"\r\n%b: " % name, len(name) + 4, header)
    for name, header in (
        (b"Idempotency-Key", _KEY),
        (b"idempotency-key", _KEY),
        (b"X-Request-Id", _REQUEST_ID),
        (b"x-request-id", _REQUEST_ID),
        (b"traceparent", _TRACE),
    )
)
"""How lines begin that are others with each request."""


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
    authorization: bytes | None = None
    request_id: bytes = b""
    """What it says in `X-Request-Id`."""
    traceparent: bytes = b""
    """The same of `traceparent` (W3C Trace Context)."""


def can_be_awaited(received: bytes) -> bool:
    """Whether the end of a head that begins so can be awaited here: Hypercorn would wait as well.

    Most that come slowly are not plain, and to wait for them costs it five times what it costs the
    lane.
    """
    if len(received) > HEAD_BYTES_MAX or not received[:1].isalpha():
        return False
    return received.count(b"\n") == received.count(b"\r\n")


class HeadReader:
    """Reads heads of requests, and remembers what header lines say.

    A caller sends the same lines with nearly every request, but for those that name the request:
    reading them once saves half of what a head costs.
    """

    def __init__(self) -> None:
        self._known: dict[bytes, _HeaderLines | None] = {}
        # The newest lines are recognised by comparing them: to look them up takes ten times that.
        self._newest_lines = b""
        self._newest: _HeaderLines | None = None

    def read(self, head: bytes) -> PlainRequest | None:
        """The request, or None if it is not plain."""
        line_end = head.find(b"\r\n")
        request_line = _REQUEST_LINE.fullmatch(head, 0, line_end)
        if request_line is None:
            return None
        lines = head[line_end:]
        keys: Sequence[str] = ()
        request_id = traceparent = b""
        if lines == self._newest_lines:
            known = self._newest
        else:
            known = self._known.get(lines)
            if known is not None:
                self._newest_lines, self._newest = lines, known
        if known is None:
            varying, lines = self._parted(lines)
            if lines != self._newest_lines:
                known = self._known.get(lines) or self._read_lines(lines)
                self._newest_lines, self._newest = lines, known
            known = self._newest
            if known is None or (len(varying) > 1 and len(varying) > len(dict(varying))):
                return None
            for header, value in varying:
                if value.translate(None, _VISIBLE):
                    return None
                if header == _KEY:
                    keys = (value.decode(),)
                elif header == _REQUEST_ID:
                    request_id = value.strip(b" ")
                else:
                    traceparent = value.strip(b" ")
        if known.names_request:
            if (request_id and known.request_id) or (traceparent and known.traceparent):
                return None
            keys = (*keys, *known.keys)
            request_id = request_id or known.request_id
            traceparent = traceparent or known.traceparent
        get, user, add, balance, page, bulk, healthz = request_line.groups()
        if get is None:
            if known.length is None or not (add or bulk):
                return None
            return PlainRequest(
                Route.ADD if add else Route.BULK,
                user,
                None,
                known.content_type,
                keys,
                known.length,
                known.authorization,
                request_id,
                traceparent,
            )
        if add or bulk or known.has_length or keys:
            return None
        if balance:
            route = Route.BALANCE
        elif user is None:
            route = Route.HEALTHZ if healthz else Route.READYZ
        else:
            route = Route.HISTORY
        return PlainRequest(
            route,
            user or b"",
            None if page is None else page.decode(),
            None,
            (),
            0,
            known.authorization,
            request_id,
            traceparent,
        )

    def _parted(self, lines: bytes) -> tuple[Sequence[tuple[int, bytes]], bytes]:
        """What the lines say that name the request, and the lines without them."""
        varying = []
        for beginning, length, header in _VARYING_LINES:
            start = lines.find(beginning)
            if start >= 0:
                end = lines.index(b"\r\n", start + length)
                varying.append((header, lines[start + length : end]))
                lines = lines[:start] + lines[end:]
                if lines == self._newest_lines:
                    # What is remembered has none of these lines any more.
                    break
        return varying, lines

    def _read_lines(self, lines: bytes) -> "_HeaderLines | None":
        if lines in self._known:
            return None
        read = _HeaderLines()
        try:
            HttpRequestParser(read).feed_data(b"POST / HTTP/1.1" + lines)
        except (HttpParserError, HttpParserUpgrade):
            read.plain = False
        read.names_request = bool(read.keys or read.request_id or read.traceparent)
        known = read if read.plain and read.hosts == 1 and _are_plain(lines) else None
        if len(lines) <= LINES_BYTES_MAX:
            if len(self._known) >= LINES_MAX:
                self._known.clear()
            self._known[lines] = known
        return known


class _HeaderLines:
    """What the header lines of a request say; filled in by a parser of its own.

    Attributes:
        plain: none of them is unusual.
        has_length: there is a Content-Length.
        length: bytes of the body; None without a Content-Length that is plain.
        names_request: they say what else `_parted` takes out, spelled in another way, or twice.
    """

    def __init__(self) -> None:
        self.plain = True
        self.hosts = 0
        self.has_length = False
        self.length: int | None = None
        self.content_type: str | None = None
        self.keys: tuple[str, ...] = ()
        self.authorization: bytes | None = None
        self.request_id = b""
        self.traceparent = b""
        self.names_request = False

    def on_header(self, name: bytes, value: bytes) -> None:
        header = _HEADERS.get(name.lower(), _OTHER)
        if header == _HOST:
            self.hosts += 1
        elif header == _LENGTH and not self.has_length:
            self.has_length = True
            digits = value.strip(b" ")
            if digits.isdigit() and len(digits) <= _LENGTH_DIGITS_MAX:
                self.length = int(digits)
        elif header == _KEY:
            # Visible ASCII is looked for in the lines as a whole.
            self.keys = (*self.keys, value.decode("latin-1"))
        elif header == _TYPE and self.content_type is None:
            self.content_type = value.strip(b" ").decode("latin-1")
        elif header == _AUTHORIZATION:
            self.plain = self.plain and self.authorization is None
            self.authorization = value
        elif header == _REQUEST_ID:
            self.plain = self.plain and not self.request_id
            self.request_id = value.strip(b" ")
        elif header == _TRACE:
            self.plain = self.plain and not self.traceparent
            self.traceparent = value.strip(b" ")
        elif header != _OTHER and (header != _CONNECTION or value.lower() != b"keep-alive"):
            self.plain = False


def _are_plain(lines: bytes) -> bool:
    """Visible ASCII, every line ended by CRLF, none folded."""
    return b"\r\n " not in lines and not lines.translate(None, _VISIBLE).replace(b"\r\n", b"")
