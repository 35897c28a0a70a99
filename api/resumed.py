"""Streams of which something was read already."""

from typing import Any

import trio

from api.tls import TlsStream


class Resumed:
    """A stream that gives what was received of it before, and then the rest.

    Plain or with TLS, it has all that Hypercorn uses of a stream.
    """

    def __init__(self, stream: trio.SocketStream | TlsStream, received: bytes) -> None:
        self._stream = stream
        self._received = received
        self.socket: Any = stream.socket
        self.send_all = stream.send_all
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
        return await self._stream.receive_some(max_bytes)

    async def send_eof(self) -> None:
        """As the stream; with TLS there is nothing that would say it."""
        if not isinstance(self._stream, TlsStream):
            await self._stream.send_eof()
