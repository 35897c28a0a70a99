"""A small keep-alive HTTP/1.1 client: request bytes in, parsed answers out.

One send, one wait and one recv for a request, straight on a non-blocking socket. Sending and
receiving are separate steps, and answers wait in a queue, so that several requests may be under way
on a connection.
"""

import errno
import os
import resource
import socket
from collections import deque
from dataclasses import dataclass
from typing import Final, NamedTuple
from urllib.parse import urlsplit

import trio
from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from bench.errors import (
    ConnectionLostError,
    TooManyConnectionsError,
    UnreadableAnswerError,
    UnusableUrlError,
)

RECEIVE_BYTES: Final = 65_536
BODY_BYTES_MAX: Final = 1_048_576
# The process needs a few files of its own: interpreter, epoll, report files.
OTHER_FILES: Final = 64

SocketAddress = tuple[str, int] | tuple[str, int, int, int]


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a server listens, and what goes into the Host header."""

    host: str
    port: int

    @property
    def authority(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


def parse_origin(url: str) -> Origin:
    """Take `http://host[:port]` apart. Raises UnusableUrlError for anything else."""
    try:
        parts = urlsplit(url)
        port = parts.port or 80
    except ValueError as error:
        raise UnusableUrlError(f"{url!r} is no URL: {error}") from None
    if parts.scheme != "http" or not parts.hostname or parts.path not in ("", "/") or parts.query:
        raise UnusableUrlError(f"{url!r} must look like http://127.0.0.1:8080")
    return Origin(parts.hostname, port)


@dataclass(frozen=True, slots=True)
class Address:
    """An origin, resolved."""

    family: socket.AddressFamily
    sockaddr: SocketAddress


async def resolve(origin: Origin) -> Address:
    """Look the origin up, once for all connections. Raises UnusableUrlError for unknown names.

    IPv4 comes first because that is what the server listens on by default.
    """
    try:
        found = await trio.socket.getaddrinfo(
            origin.host, origin.port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP
        )
    except OSError as error:
        raise UnusableUrlError(f"{origin.host} cannot be resolved: {error.strerror}") from None
    family, _, _, _, sockaddr = min(found, key=lambda entry: entry[0] != socket.AF_INET)
    assert isinstance(sockaddr[0], str)
    return Address(family, sockaddr)


def allow_connections(count: int) -> None:
    """Raise the soft limit of open files so that `count` sockets fit.

    Raises TooManyConnectionsError when the hard limit is below that.
    """
    wanted = count + OTHER_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return
    if hard != resource.RLIM_INFINITY and hard < wanted:
        raise TooManyConnectionsError(
            f"{count} connections need {wanted} open files, the hard limit is {hard}: "
            f"raise it (ulimit -Hn) or ask for fewer connections"
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


class Answer(NamedTuple):
    """One complete HTTP answer."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes

    def header(self, name: bytes) -> bytes | None:
        """The value of the first header of that name (given in lower case), or None."""
        for found, value in self.headers:
            if found.lower() == name:
                return value
        return None


class AnswerReader:
    """Turns received bytes into answers, however they are cut."""

    __slots__ = ("_body", "_body_bytes", "_headers", "_parser", "answers", "closing")

    def __init__(self) -> None:
        self._parser = HttpResponseParser(self)
        self._headers: list[tuple[bytes, bytes]] = []
        self._body: list[bytes] = []
        self._body_bytes = 0
        self.answers: deque[Answer] = deque()
        self.closing = False

    def feed(self, received: bytes) -> None:
        try:
            self._parser.feed_data(received)
        except HttpParserUpgrade:
            raise UnreadableAnswerError("the server switched protocols, unasked") from None
        except HttpParserError as error:
            cause = error.__context__
            if isinstance(cause, UnreadableAnswerError):
                raise cause from None
            raise UnreadableAnswerError(f"no HTTP answer: {error} in {received[:80]!r}") from None

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers.append((name, value))

    def on_body(self, part: bytes) -> None:
        self._body_bytes += len(part)
        if self._body_bytes > BODY_BYTES_MAX:
            raise UnreadableAnswerError(f"an answer's body exceeds {BODY_BYTES_MAX} bytes")
        self._body.append(part)

    def on_message_complete(self) -> None:
        status = self._parser.get_status_code()
        # 1xx announces the real answer and is none itself.
        if status >= 200:
            self.answers.append(Answer(status, self._headers, b"".join(self._body)))
            self.closing = not self._parser.should_keep_alive()
        self._headers = []
        self._body = []
        self._body_bytes = 0


class Connection:
    """One keep-alive connection, for one task at a time. Made by `open_connection`."""

    __slots__ = ("_awaited", "_reader", "_socket")

    def __init__(self, connected: socket.socket) -> None:
        self._socket = connected
        self._reader = AnswerReader()
        self._awaited = 0

    @property
    def reusable(self) -> bool:
        """Whether another request may be sent: neither side has closed it."""
        return self._socket.fileno() >= 0 and not self._reader.closing

    async def ask(self, request: bytes) -> Answer:
        """Send one request and wait for its answer. Raises what `send` and `receive` raise."""
        await self.send(request)
        return await self.receive()

    async def send(self, request: bytes) -> None:
        """Send the bytes of one request. Raises ConnectionLostError."""
        self._awaited += 1
        try:
            while True:
                try:
                    sent = self._socket.send(request)
                    if sent == len(request):
                        return
                    request = request[sent:]
                except BlockingIOError:
                    await trio.lowlevel.wait_writable(self._socket)
        except (OSError, trio.ClosedResourceError) as error:
            raise self._lost(error) from None

    async def receive(self) -> Answer:
        """Wait for the next answer, in the order of the requests.

        Raises ConnectionLostError when the connection ends first, UnreadableAnswerError when what
        comes is no HTTP/1.1 answer, is too large, or answers nothing that was asked. Afterwards the
        connection is of no use. An answer must say its length or be chunked: one that ends with the
        connection counts as lost.
        """
        assert self._awaited > 0, "receive() without a request under way"
        answers = self._reader.answers
        while not answers:
            try:
                await trio.lowlevel.wait_readable(self._socket)
                received = self._socket.recv(RECEIVE_BYTES)
            except BlockingIOError:
                continue
            except (OSError, trio.ClosedResourceError) as error:
                raise self._lost(error) from None
            if not received:
                raise ConnectionLostError("the server closed the connection before its answer")
            self._reader.feed(received)
        if len(answers) > self._awaited:
            raise UnreadableAnswerError("the server sent an answer that nobody asked for")
        self._awaited -= 1
        return answers.popleft()

    def close(self) -> None:
        """Close at once.

        A task that waits on the connection gets ConnectionLostError. May be repeated.
        """
        if self._socket.fileno() >= 0:
            trio.lowlevel.notify_closing(self._socket)
            self._socket.close()

    def _lost(self, error: Exception) -> ConnectionLostError:
        if self._socket.fileno() < 0:
            return ConnectionLostError("the connection was closed on this side")
        return ConnectionLostError(f"the connection broke: {error}")


async def open_connection(address: Address, connect_seconds_max: float) -> Connection:
    """Connect to the address.

    Raises ConnectionLostError when that fails or takes longer than that.
    """
    connecting = socket.socket(address.family, socket.SOCK_STREAM)
    try:
        connecting.setblocking(False)
        connecting.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        refused = connecting.connect_ex(address.sockaddr)
        if refused == errno.EINPROGRESS:
            with trio.fail_after(connect_seconds_max):
                await trio.lowlevel.wait_writable(connecting)
            refused = connecting.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if refused:
            raise ConnectionLostError(f"cannot connect: {os.strerror(refused)}")
    except trio.TooSlowError:
        connecting.close()
        raise ConnectionLostError(f"cannot connect within {connect_seconds_max:g} s") from None
    except BaseException:
        connecting.close()
        raise
    return Connection(connecting)
