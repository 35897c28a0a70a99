"""HTTP/1.1 requests as exactly these bytes: one on a connection of its own, or several on one."""

import contextlib
import json
import socket
import time
from collections.abc import Iterable
from http.client import HTTPResponse, parse_headers
from typing import Any, NamedTuple
from urllib.parse import urlsplit

TIMEOUT_S = 20.0
PAUSE_S = 0.001
"""Between two sends that the server is to read one by one."""

Header = tuple[bytes, bytes]


class Reply(NamedTuple):
    status: int
    body: bytes
    headers: dict[str, str]

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def message(self) -> str:
        """What an answer of one sentence, or a problem, says."""
        document = self.json
        if list(document) != ["Message"]:
            assert_problem(self)
        text = document["Message"]
        assert isinstance(text, str)
        return text


def assert_problem(reply: Reply) -> None:
    """The body is that of a problem (RFC 9457), whole and consistent."""
    document = reply.json
    assert list(document) == ["type", "title", "status", "detail", "Message"]
    assert document["type"].startswith("/docs#")
    assert document["title"]
    assert document["status"] == reply.status
    assert document["detail"] == document["Message"]


def send(
    url: str,
    method: bytes,
    target: bytes,
    body: bytes | None = None,
    headers: Iterable[Header] = (),
) -> Reply:
    """Sends the request with a Content-Length, and nothing that is not named here but Host."""
    length = [] if body is None else [(b"Content-Length", b"%d" % len(body))]
    return send_bytes(url, head(url, method, target, [*length, *headers]) + (body or b""))


def credit(url: str, user: str, body: bytes, key: str | None = None) -> Reply:
    """Credits the user as a careful caller does."""
    headers = [(b"Content-Type", b"application/json")]
    if key is not None:
        headers.append((b"Idempotency-Key", key.encode()))
    return send(url, b"POST", b"/users/%s/add" % user.encode(), body, headers)


def balance(url: str, user: str) -> Reply:
    return send(url, b"GET", b"/users/%s/balance" % user.encode())


def history(url: str, user: str, page: int | None = None) -> Reply:
    query = b"" if page is None else b"?page=%d" % page
    return send(url, b"GET", b"/users/%s/history%s" % (user.encode(), query))


def send_chunked(
    url: str, target: bytes, chunks: Iterable[bytes], headers: Iterable[Header] = ()
) -> Reply:
    """Posts the chunks with no length said beforehand."""
    coding = (b"Transfer-Encoding", b"chunked")
    body = b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks)
    return send_bytes(url, head(url, b"POST", target, [coding, *headers]) + body + b"0\r\n\r\n")


def head(url: str, method: bytes, target: bytes, headers: Iterable[Header] = ()) -> bytes:
    """The request line and the header lines, with a Host header if there is none."""
    lines = [b"%s: %s\r\n" % header for header in headers]
    if not any(line.lower().startswith(b"host:") for line in lines):
        lines.insert(0, b"Host: %s\r\n" % urlsplit(url).netloc.encode())
    return b"%s %s HTTP/1.1\r\n%s\r\n" % (method, target, b"".join(lines))


def send_bytes(url: str, request: bytes) -> Reply:
    """Sends the bytes, and reads the one answer to them."""
    with connect(url) as connection:
        # A server may refuse before it has read everything: the answer counts, as it does to curl.
        with contextlib.suppress(ConnectionError):
            connection.sendall(request)
        return receive(connection, request.split(b" ", 1)[0])


def connect(url: str) -> socket.socket:
    parts = urlsplit(url)
    assert parts.hostname is not None
    assert parts.port is not None
    return socket.create_connection((parts.hostname, parts.port), TIMEOUT_S)


def receive(connection: socket.socket, method: bytes = b"GET") -> Reply:
    """The next answer on the connection."""
    with contextlib.closing(HTTPResponse(connection, method=method.decode())) as response:
        response.begin()
        body = response.read()
        return Reply(response.status, body, {n.lower(): v for n, v in response.getheaders()})


class Conversation:
    """A connection on which several requests are sent, before or after their answers are read."""

    def __init__(self, url: str) -> None:
        self._connection = connect(url)
        self._connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # It reads ahead, so there can be only one.
        self._answers = self._connection.makefile("rb")

    def __enter__(self) -> "Conversation":
        return self

    def __exit__(self, *_: object) -> None:
        self._answers.close()
        self._connection.close()

    def send(self, *pieces: bytes) -> None:
        """Sends each piece for itself, as far as the server takes them."""
        with contextlib.suppress(ConnectionError):
            for number, piece in enumerate(pieces):
                if number:
                    time.sleep(PAUSE_S)
                self._connection.sendall(piece)

    def end(self) -> None:
        """Sends no more, and goes on reading."""
        with contextlib.suppress(OSError):
            self._connection.shutdown(socket.SHUT_WR)

    def receive(self, *, has_body: bool = True) -> Reply | None:
        """The next answer, an interim one too; None when the server has closed the connection.

        Args:
            has_body: False for the answer to a HEAD.
        """
        try:
            line = self._answers.readline()
            if not line:
                return None
            assert line.startswith(b"HTTP/1.1 "), line
            headers = {name.lower(): value for name, value in parse_headers(self._answers).items()}
            assert "transfer-encoding" not in headers
            length = int(headers.get("content-length", 0)) if has_body else 0
            body = self._answers.read(length)
        except ConnectionError:
            return None
        assert len(body) == length, f"the answer ends after {body!r}"
        return Reply(int(line.split()[1]), body, headers)
