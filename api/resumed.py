"""Streams of which something was read already."""

from collections.abc import Awaitable
from typing import Any, TypeVar

import trio

from api.tls import TlsStream

T = TypeVar("T")


class Resumed:
    """A stream that gives what was received of it before, and then the rest.

    Plain or with TLS, it has all that Hypercorn uses of a stream.
    """

    def __init__(self, stream: trio.SocketStream | TlsStream, received: bytes) -> None:
        self._stream = stream
        self._received = received
        self.socket: Any = stream.socket
        self.aclose = stream.aclose

    @property
    def encrypted(self) -> bool:
        return isinstance(self._stream, TlsStream)

    async def do_handshake(self) -> None:
        """
        Raises:
            trio.BrokenResourceError: it failed.
        """
        if isinstance(self._stream, TlsStream):
            await self._stream.do_handshake()

    def selected_alpn_protocol(self) -> str:
        if isinstance(self._stream, TlsStream):
            return self._stream.selected_alpn_protocol() or "http/1.1"
        return "http/1.1"

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        """As the stream, after what was received before."""
        if self._received:
            received, self._received = self._received, b""
            return received
        return await _let_go(self._stream.receive_some(max_bytes))

    async def send_all(self, data: bytes) -> None:
        """As the stream."""
        await _let_go(self._stream.send_all(data))

    async def send_eof(self) -> None:
        """As the stream; with TLS there is nothing that would say it."""
        if not isinstance(self._stream, TlsStream):
            await _let_go(self._stream.send_eof())


async def _let_go(call: Awaitable[T]) -> T:
    """Makes the call; an error of it holds nothing that the call held.

    Since Python 3.12 an error that a `contextmanager` makes of another, as trio's of the socket's,
    stays until the garbage collector comes, with all that called.
    """
    try:
        return await call
    except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
        if error.__context__ is not None:
            error.__context__.__traceback__ = None
        raise
