"""A client of HTTP/2 with prior knowledge, which sends what it is told to, valid or not."""

import contextlib
import socket
import time
from collections.abc import Sequence

from agreement import comparable
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import ConnectionTerminated, DataReceived, ResponseReceived, StreamEnded, StreamReset
from raw_http import Reply, connect

RESET = Reply(0, b"reset", {})
TERMINATED = Reply(0, b"terminated", {})
TIMEOUT_S = 20.0

Request = tuple[bytes, bytes, bytes | None]
"""Method, path, body."""


class Client:
    """A connection that sends what it is told to, valid or not."""

    def __init__(self, url: str, *, cut: int = 0) -> None:
        """
        Args:
            cut: how many bytes of the preface are in a send of their own.
        """
        self._url = url
        self._h2 = H2Connection(
            H2Configuration(
                header_encoding=None,
                validate_outbound_headers=False,
                normalize_outbound_headers=False,
            )
        )
        self._h2.initiate_connection()
        begin = self._h2.data_to_send()
        self._beginning = (begin[:cut], begin[cut:])

    def __enter__(self) -> "Client":
        """Connects."""
        self._socket = connect(self._url)
        self._socket.settimeout(TIMEOUT_S)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        first, rest = self._beginning
        if first:
            self._socket.sendall(first)
            # Long enough for it to be read for itself.
            time.sleep(0.01)
        self._socket.sendall(rest)
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def ask(self, *requests: Request, more: Sequence[tuple[bytes, bytes]] = ()) -> list[Reply]:
        """Sends all requests, then reads their answers."""
        streams = [self.begin(*request, more=more) for request in requests]
        return self.receive(*streams)

    def begin(
        self,
        method: bytes,
        path: bytes,
        body: bytes | None = None,
        *,
        more: Sequence[tuple[bytes, bytes]] = (),
        ended: bool = True,
    ) -> int:
        stream = self._h2.get_next_available_stream_id()
        headers = [(b":method", method), (b":authority", b"a")]
        if path:
            headers += [(b":scheme", b"http"), (b":path", path)]
        headers += more
        self._h2.send_headers(stream, headers, end_stream=body is None and ended)
        if body is not None:
            self._h2.send_data(stream, body, end_stream=True)
        self._socket.sendall(self._h2.data_to_send())
        return stream

    def begun_and_reset(self, method: bytes, path: bytes, body: None) -> bytes:
        """The bytes of a request that is taken back at once."""
        stream = self._h2.get_next_available_stream_id()
        headers = [(b":method", method), (b":authority", b"a"), (b":scheme", b"http")]
        self._h2.send_headers(
            stream, [*headers, (b":path", path)], end_stream=body is None, priority_weight=7
        )
        self._h2.reset_stream(stream, ErrorCodes.CANCEL)
        return self._h2.data_to_send()

    def flood(self, data: bytes) -> None:
        """Sends any bytes, as far as the server takes them."""
        with contextlib.suppress(ConnectionError):
            self.send(data)

    def reset(self, stream: int) -> None:
        self._h2.reset_stream(stream, ErrorCodes.CANCEL)
        self.send(self._h2.data_to_send())

    def finish(self, stream: int, body: bytes) -> None:
        self._h2.send_data(stream, body, end_stream=True)
        self._socket.sendall(self._h2.data_to_send())

    def send(self, data: bytes) -> None:
        """Sends any bytes."""
        self._socket.sendall(data)

    def terminated(self) -> int | None:
        """Reads until the server closes the connection, and returns the reason that it gives."""
        reason = None
        try:
            while data := self._socket.recv(65_536):
                for event in self._h2.receive_data(data):
                    if isinstance(event, ConnectionTerminated):
                        reason = event.error_code
        except ConnectionError:
            pass
        return reason

    def receive(self, *streams: int) -> list[Reply]:
        found = {stream: Reply(0, b"", {}) for stream in streams}
        open_streams = set(streams)
        while open_streams:
            data = self._socket.recv(65_536)
            for event in self._h2.receive_data(data) if data else [ConnectionTerminated()]:
                if isinstance(event, ConnectionTerminated):
                    return [TERMINATED]
                if isinstance(event, ResponseReceived):
                    headers = {name.decode(): value.decode() for name, value in event.headers}
                    status = int(headers.pop(":status"))
                    found[event.stream_id] = Reply(status, b"", headers)
                elif isinstance(event, DataReceived):
                    reply = found[event.stream_id]
                    found[event.stream_id] = reply._replace(body=reply.body + event.data)
                elif isinstance(event, StreamReset):
                    found[event.stream_id] = RESET
                    open_streams.discard(event.stream_id)
                elif isinstance(event, StreamEnded):
                    open_streams.discard(event.stream_id)
            self._socket.sendall(self._h2.data_to_send())
        return [comparable(reply) or reply for reply in found.values()]
