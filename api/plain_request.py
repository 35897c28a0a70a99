"""Which HTTP/1.1 requests are plain enough for the fast lane.

Plain is a subset on which all readers of HTTP agree (RFC 9112): visible ASCII, lines that end with
CRLF, one Host, a length in decimal or no body. Whatever is not in it may be fine HTTP or not HTTP
at all: that is for Hypercorn to say.
"""

import re
from collections.abc import Sequence
from typing import Final

import msgspec
from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser

HEAD_BYTES_MAX: Final = 16_384
"""What Hypercorn takes as well."""
HEAD_END: Final = b"\r\n\r\n"
LINES_BYTES_MAX: Final = 1_024
LINES_MAX: Final = 1_024
"""Header lines of so many kinds of requests are remembered, if they are not longer than that."""
FORMS_MAX: Final = 8
"""Forms of heads that are tried, of each method: bodies come in a few lengths. Tried first is what
was seen first, mostly what comes often; with one form more, all are learned anew."""
_VISIBLE: Final = bytes(range(0x20, 0x7F))
_USER: Final = rb"/users/([!-\"$-.0->@-~]+)"
_REQUEST_LINE: Final = re.compile(
    rb"(?:(GET)|POST) (?:%b/(?:(add)|(balance)|history(?:\?page=([0-9]{1,18}))?)"
    rb"|/(?:(v1/credits:batch)|(healthz)|readyz)) HTTP/1\.1" % _USER
)
_get_user: Final = re.compile(b"GET " + _USER).match
_post_user: Final = re.compile(b"POST " + _USER).match
_LENGTH_DIGITS_MAX: Final = 9

GET: Final = ord("G")

# Routes, and what a header is to the reader. Plain values: looking up a member of an enum takes as
# long as all else that is done for a header.
ADD: Final = "add"
BULK: Final = "bulk"
BALANCE: Final = "balance"
HISTORY: Final = "history"
HEALTHZ: Final = "healthz"
READYZ: Final = "readyz"
_HOST, _LENGTH, _TYPE, _AUTHORIZATION, _CONNECTION, _UNUSUAL, _OTHER = range(7)
_KEY, _REQUEST_ID, _TRACE = range(3)
_HEADERS: Final = {
    b"host": _HOST,
    b"content-length": _LENGTH,
    b"content-type": _TYPE,
    b"authorization": _AUTHORIZATION,
    b"connection": _CONNECTION,
    b"transfer-encoding": _UNUSUAL,
    b"content-encoding": _UNUSUAL,
    b"expect": _UNUSUAL,
    b"upgrade": _UNUSUAL,
    b"http2-settings": _UNUSUAL,
}
_NAMES: Final = {b"idempotency-key": _KEY, b"x-request-id": _REQUEST_ID, b"traceparent": _TRACE}
_NAMING_LINE: Final = re.compile(
    rb"\r\n(?i:(idempotency-key|x-request-id|traceparent)): ?([ -~]*)(?=\r\n)"
)
"""A line that is another with each request: it names it. The header, and its value."""


class RequestKind(msgspec.Struct, frozen=True, gc=False):
    """What requests have in common that differ in their users and names only."""

    route: str
    page: str | None = None
    content_type: str | None = None
    length: int = 0
    """Bytes of the body."""
    authorization: bytes | None = None


class PlainRequest(msgspec.Struct, frozen=True, gc=False):
    """The head of a request for one of the hot endpoints."""

    kind: RequestKind
    end: int
    """Where the head ends in what it was read from."""
    user: bytes = b""
    """The path segment, as it was sent."""
    idempotency_keys: Sequence[str] = ()
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
    """Reads heads of requests, and remembers what the newest were like, and what lines say.

    A caller sends the same with nearly every request, but for the user and what names the request:
    to see that takes half as long as to read it.
    """

    def __init__(self) -> None:
        self._known: dict[bytes, _HeaderLines | None] = {}
        self._gets: Sequence[_Form] = ()
        self._posts: Sequence[_Form] = ()

    def read(self, data: bytes, start: int = 0) -> PlainRequest | None:
        """The request whose head begins there; None if it is not plain, or has not all come."""
        get = data[start] == GET
        match = (_get_user if get else _post_user)(data, start)
        if match is not None:
            at = match.end()
            for form in self._gets if get else self._posts:
                if not data.startswith(form.beginning, at):
                    continue
                end = at + len(form.beginning)
                if not form.names:
                    return PlainRequest(form.kind, end, match[1])
                request = _read_names(form, data, end, match[1])
                if request is not None:
                    return request
        end = data.find(HEAD_END, start)
        if end < 0:
            return None
        end += len(HEAD_END)
        return self._read_anew(data[start:end], end)

    def _read_anew(self, head: bytes, end: int) -> PlainRequest | None:
        lines_start = head.find(b"\r\n")
        request_line = _REQUEST_LINE.fullmatch(head, 0, lines_start)
        if request_line is None:
            return None
        lines = head[lines_start:]
        naming: Sequence[re.Match[bytes]] = ()
        known = self._known.get(lines)
        if known is None:
            naming = tuple(_NAMING_LINE.finditer(lines))
            if naming:
                lines = _NAMING_LINE.sub(b"", lines)
            known = self._known.get(lines) or self._read_lines(lines)
        kind = None if known is None else _kind_of(request_line, known)
        names = {_NAMES[line[1].lower()]: line[2] for line in naming}
        get, user = request_line[1], request_line[2]
        key = names.get(_KEY)
        if kind is None or len(names) < len(naming) or (get and key is not None):
            return None
        if user:
            form = _form_of(head, request_line.end(2), lines_start, naming, kind)
            if get:
                self._gets = _with(self._gets, form)
            else:
                self._posts = _with(self._posts, form)
        return PlainRequest(
            kind,
            end,
            user or b"",
            () if key is None else (key.decode(),),
            names.get(_REQUEST_ID, b"").strip(b" "),
            names.get(_TRACE, b"").strip(b" "),
        )

    def _read_lines(self, lines: bytes) -> "_HeaderLines | None":
        if lines in self._known:
            return None
        read = _HeaderLines()
        try:
            HttpRequestParser(read).feed_data(b"POST / HTTP/1.1" + lines)
        except (HttpParserError, HttpParserUpgrade):
            read.plain = False
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
    """

    def __init__(self) -> None:
        self.plain = True
        self.hosts = 0
        self.has_length = False
        self.length: int | None = None
        self.content_type: str | None = None
        self.authorization: bytes | None = None

    def on_header(self, name: bytes, value: bytes) -> None:
        header = _HEADERS.get(name.lower(), _OTHER)
        if header == _HOST:
            self.hosts += 1
        elif header == _LENGTH and not self.has_length:
            self.has_length = True
            digits = value.strip(b" ")
            if digits.isdigit() and len(digits) <= _LENGTH_DIGITS_MAX:
                self.length = int(digits)
        elif header == _TYPE and self.content_type is None:
            self.content_type = value.strip(b" ").decode("latin-1")
        elif header == _AUTHORIZATION:
            self.plain = self.plain and self.authorization is None
            self.authorization = value
        elif header != _OTHER and (header != _CONNECTION or value.lower() != b"keep-alive"):
            self.plain = False


class _Form(msgspec.Struct, frozen=True, gc=False):
    """A head that was read, but for the user and what names the request."""

    kind: RequestKind
    beginning: bytes
    """What follows the user, up to the value of the first name, or to the end."""
    names: Sequence[tuple[int, bytes]]
    """The headers that name it, each with what follows its value, up to the next or to the end."""


def _are_plain(lines: bytes) -> bool:
    """Visible ASCII, every line ended by CRLF, none folded."""
    return b"\r\n " not in lines and not lines.translate(None, _VISIBLE).replace(b"\r\n", b"")


def _kind_of(request_line: re.Match[bytes], lines: _HeaderLines) -> RequestKind | None:
    """None where there is a body that should not be, or the other way round."""
    get, user, add, balance, page, bulk, healthz = request_line.groups()
    if get is None:
        if lines.length is None or not (add or bulk):
            return None
        route = ADD if add else BULK
        return RequestKind(route, None, lines.content_type, lines.length, lines.authorization)
    if add or bulk or lines.has_length:
        return None
    if balance:
        route = BALANCE
    elif user:
        route = HISTORY
    else:
        route = HEALTHZ if healthz else READYZ
    return RequestKind(route, page.decode() if page else None, authorization=lines.authorization)


def _form_of(
    head: bytes,
    user_end: int,
    lines_start: int,
    naming: Sequence[re.Match[bytes]],
    kind: RequestKind,
) -> _Form:
    names = [_NAMES[line[1].lower()] for line in naming]
    starts = [user_end, *(lines_start + line.end() for line in naming)]
    ends = [*(lines_start + line.start(2) for line in naming), len(head)]
    beginning, *following = [head[start:end] for start, end in zip(starts, ends, strict=True)]
    return _Form(kind, beginning, tuple(zip(names, following, strict=True)))


def _with(forms: Sequence[_Form], form: _Form) -> Sequence[_Form]:
    """These forms and one more; it alone where there are as many as are tried."""
    return (*forms, form) if len(forms) < FORMS_MAX else (form,)


def _read_names(form: _Form, data: bytes, at: int, user: bytes) -> PlainRequest | None:
    """The request whose first name is there, if it is of the form."""
    keys: Sequence[str] = ()
    request_id = traceparent = b""
    for header, following in form.names:
        end = data.find(b"\r\n", at)
        value = data[at:end]
        if not (data.startswith(following, end) and value.isascii()):
            return None
        text = value.decode()
        if not text.isprintable():
            return None
        if header == _KEY:
            keys = (text,)
        elif header == _REQUEST_ID:
            request_id = value.strip(b" ")
        else:
            traceparent = value.strip(b" ")
        at = end + len(following)
    return PlainRequest(form.kind, at, user, keys, request_id, traceparent)
