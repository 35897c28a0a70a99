"""Hypercorn's protocols, on connections that are accepted here: what a peer sends ends no other's.

Under `hypercorn.trio.serve` an exception of one connection ends the server, and a few bytes raise
one: a body in HTTP/2 that arrives after its answer, a path that is not ASCII, a CONNECT.
"""

import re
import socket
import ssl
import sys
from contextlib import suppress
from functools import partial
from math import inf
from typing import Any, Final

import h11
import structlog
import trio
from h2.errors import ErrorCodes
from h2.events import DataReceived, RequestReceived
from h2.events import Event as Http2Event
from hypercorn.config import Config
from hypercorn.events import Closed, Event, RawData, Updated
from hypercorn.protocol import ProtocolWrapper
from hypercorn.protocol.h2 import H2Protocol
from hypercorn.protocol.h11 import H2ProtocolAssumedError, H11Protocol
from hypercorn.trio.task_group import TaskGroup
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import ASGIFramework, ConnectionState, LifespanState
from hypercorn.utils import parse_socket_addr, wrap_app

from api.handlers import PROBLEM
from api.limit_hits import Limit
from api.observation import Observation
from api.problems import no_room, problem_of_status
from api.request_counts import OTHER
from api.request_ids import HEADER
from api.resumed import Resumed
from api.tls import TlsSocket, TlsStream
from api.wire import encode_problem

READ_BYTES_MAX: Final = 65_536
NOT_ALLOWED: Final = {b"CONNECT"}
"""Methods of HTTP/2 whose requests have other pseudo-headers than Hypercorn takes for granted."""
HEAD_TOO_LARGE: Final = 431
WHAT_WAS_SENT: Final = ": bytearray("
"""How h11 begins to quote it."""
_ODD_LINE_END: Final = re.compile(rb"(?<!\r)\n|\n[ \t]")

events = structlog.stdlib.get_logger("bitburst")


class ObservedConfig(Config):
    """Hypercorn hands its configuration to everything that answers."""

    def __init__(self, observation: Observation) -> None:
        super().__init__()
        self.observation = observation


class HypercornServer:
    """Answers connections with an ASGI application.

    Attributes:
        connections: how many it answers now.
    """

    def __init__(
        self,
        app: ASGIFramework,
        config: ObservedConfig,
        request_timeout_s: float,
        tls: ssl.SSLContext | None = None,
        *,
        connections_max: int,
    ) -> None:
        """
        Args:
            connections_max: one more that `serve` accepts gets 503.
            request_timeout_s: how long the head of a request may take to arrive. Nor does an
                answer take longer to be sent, or longer than `config.graceful_timeout`.
            tls: for the connections that `serve` accepts.
        """
        self.connections = 0
        self._tls = tls
        self._connections_max = connections_max
        self._request_timeout_s = request_timeout_s
        self._app = wrap_app(app, config.wsgi_max_body_size, "asgi")
        self._config = config
        self._context = WorkerContext(None)

    async def serve(self, listener: socket.socket, stop: trio.Event) -> None:
        """Accepts connections until it is to stop, and returns when what is in flight is answered.

        The listener stays open. What takes longer than `config.graceful_timeout` is cut off.
        """
        async with trio.open_nursery() as connections:
            async with trio.open_nursery() as accepting:
                listeners = [trio.SocketListener(trio.socket.from_stdlib_socket(listener.dup()))]
                accepting.start_soon(
                    partial(
                        trio.serve_listeners, self._accept, listeners, handler_nursery=connections
                    )
                )
                await stop.wait()
                accepting.cancel_scope.cancel()
            await self.finish()
            connections.cancel_scope.deadline = trio.current_time() + self._config.graceful_timeout

    async def take(self, taken: socket.socket | TlsSocket, received: bytes) -> None:
        """Answers all requests on the connection, beginning with what was received of it."""
        if isinstance(taken, TlsSocket):
            await self._answer(Resumed(TlsStream(taken), received))
        else:
            stream = trio.SocketStream(trio.socket.from_stdlib_socket(taken))
            await self._answer(Resumed(stream, received))

    async def _accept(self, stream: trio.SocketStream) -> None:
        accepted = socket.socket(fileno=stream.socket.detach())
        accepted.setblocking(False)
        if self.connections >= self._connections_max:
            observation = self._config.observation
            observation.limits.note(Limit.CONNECTIONS)
            with accepted, suppress(OSError):
                accepted.send(no_room(observation.ids.of(b"")))
            return
        await self.take(accepted if self._tls is None else TlsSocket(accepted, self._tls), b"")

    async def _answer(self, stream: Resumed) -> None:
        state = ConnectionState(LifespanState({}))
        self.connections += 1
        try:
            await _Connection(
                self._app,
                self._config,
                self._context,
                state,
                stream,
                request_timeout_s=self._request_timeout_s,
            )
        except* Exception as group:
            events.warning("connection broke", reason=[repr(error) for error in _leaves(group)])
        finally:
            self.connections -= 1

    async def finish(self) -> None:
        """Has every connection end with the request that it is at."""
        await self._context.terminated.set()


def _leaves(group: BaseExceptionGroup[Any]) -> list[BaseException]:
    return [
        leaf
        for error in group.exceptions
        for leaf in (_leaves(error) if isinstance(error, BaseExceptionGroup) else [error])
    ]


class _Connection(TCPServer):
    """As its parent, with the protocols below, and with limits to its patience.

    A peer that has said all may still read: what it asked for is answered, then the connection is
    closed at once, where the parent drops the answer and keeps the connection for a while.
    """

    def __init__(self, *arguments: Any, request_timeout_s: float) -> None:
        super().__init__(*arguments)
        self._request_timeout_s = request_timeout_s
        self._over = False
        self._idle = trio.Event()
        self._idle.set()

    async def run(self) -> None:
        try:
            with trio.fail_after(self._request_timeout_s):
                await self.stream.do_handshake()
            accepted = self.stream.socket
            peers = [
                parse_socket_addr(accepted.family, address)
                for address in (accepted.getpeername(), accepted.getsockname())
            ]
            async with TaskGroup() as task_group:
                self._task_group = task_group
                self.protocol: _Protocols = _Protocols(
                    self.app,
                    self.config,
                    self.context,
                    task_group,
                    ConnectionState(self.state),
                    self.stream.encrypted,
                    *peers,
                    self.protocol_send,
                    self.stream.selected_alpn_protocol(),
                )
                await self.protocol.initiate()
                await self.idle_task.restart(task_group, self._idle_timeout)
                await self._read_data()
        except (OSError, trio.BrokenResourceError, trio.TooSlowError):
            pass
        finally:
            await self._close()

    async def protocol_send(self, event: Event) -> None:
        if isinstance(event, RawData):
            if await self._send(event.data):
                return
            event = Closed()
        if isinstance(event, Updated) and not event.idle:
            self._idle = trio.Event()
        else:
            self._idle.set()
        # An idle timeout would keep what is over.
        if not (self._over and isinstance(event, Updated)):
            await super().protocol_send(event)

    async def _send(self, data: bytes) -> bool:
        # What has begun is not cancelled; but the parent would wait for ever for who does not read.
        patience_s = min(self._request_timeout_s, self.config.graceful_timeout)
        async with self.send_lock:
            with trio.move_on_after(patience_s, shield=True):
                try:
                    await self.stream.send_all(data)
                except (trio.BrokenResourceError, trio.ClosedResourceError, trio.BusyResourceError):
                    return False
                return True
        _observation_of(self.config).limits.note(Limit.ANSWER_TIME)
        return False

    async def _read_data(self) -> None:
        try:
            await self._read_requests()
            await self._idle.wait()
        except (trio.ClosedResourceError, trio.BrokenResourceError):
            pass
        self._over = True
        await self.protocol.handle(Closed())
        await self.idle_task.stop()

    async def _read_requests(self) -> None:
        head, deadline = None, inf
        while True:
            with trio.move_on_at(deadline) as patience:
                data = await self.stream.receive_some(READ_BYTES_MAX)
            if patience.cancelled_caught:
                await self.protocol.refuse_slow_head()
                return
            await self.protocol.handle(RawData(bytes(data)))
            if not data:
                return
            if head != self.protocol.unfinished_head:
                head = self.protocol.unfinished_head
                deadline = inf if head is None else trio.current_time() + self._request_timeout_s


class _Protocols(ProtocolWrapper):
    """HTTP/1.1, until the peer begins as one of HTTP/2 does."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        *self._arguments, negotiated = arguments
        negotiated_kind = _Http2 if negotiated == "h2" else _Http1
        self.protocol: _Http1 | _Http2 = negotiated_kind(*self._arguments)

    @property
    def unfinished_head(self) -> int | None:
        """The number of the request of whose head only a part is here, if there is one.

        What an application waits for, a body, is for it to limit; so are streams of HTTP/2.
        """
        return self.protocol.unfinished_head if isinstance(self.protocol, _Http1) else None

    async def refuse_slow_head(self) -> None:
        assert isinstance(self.protocol, _Http1)
        await self.protocol.refuse_slow_head()

    async def handle(self, event: Event) -> None:
        try:
            await self.protocol.handle(event)
        except H2ProtocolAssumedError as error:
            self.protocol = _Http2(*self._arguments)
            await self.protocol.initiate()
            # What looked like a request was none: without one the connection times out.
            await self.send(Updated(idle=True))
            await self.protocol.handle(RawData(error.data))


class _Http1(H11Protocol):
    """Says what is wrong with a request, and answers one that asks for an upgrade without it."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._requests = self.connection = _Requests(
            h11.SERVER, max_incomplete_event_size=self.config.h11_max_incomplete_size
        )

    async def handle(self, event: Event) -> None:
        await super().handle(event)
        if isinstance(event, Closed):
            # Else the task that has read more requests would wait for its turn for ever.
            self._requests.ended = True
            await self.can_read.set()

    @property
    def unfinished_head(self) -> int | None:
        requests = self._requests
        begun = requests.their_state is h11.IDLE and requests.trailing_data[0]
        return requests.count if begun else None

    async def refuse_slow_head(self) -> None:
        _observation_of(self.config).limits.note(Limit.REQUEST_TIME)
        await self._refuse(408, "the request takes too long to arrive")
        await self.send(Closed())

    async def _check_protocol(self, event: h11.Request) -> None:
        await super()._check_protocol(_without_upgrade(event))

    async def _create_stream(self, request: h11.Request) -> None:
        await super()._create_stream(_without_upgrade(request))

    async def _send_error_response(self, status_code: int) -> None:
        if status_code == HEAD_TOO_LARGE:
            _observation_of(self.config).limits.note(Limit.HEAD_BYTES)
        reason = str(sys.exception()).partition(WHAT_WAS_SENT)[0]
        await self._refuse(status_code, f"this is not a request of HTTP/1.1: {reason}")

    async def _refuse(self, status_code: int, detail: str) -> None:
        body = encode_problem(problem_of_status(status_code, detail))
        headers = [
            (PROBLEM[0].lower().encode(), PROBLEM[1].encode()),
            (b"content-length", b"%d" % len(body)),
            (b"connection", b"close"),
            *_refused_by(_observation_of(self.config), status_code),
            *self.config.response_headers("h11"),
        ]
        await self._send_h11_event(h11.Response(status_code=status_code, headers=headers))
        # The answer to a HEAD takes no body.
        with suppress(h11.LocalProtocolError):
            await self._send_h11_event(h11.Data(data=body))
            await self._send_h11_event(h11.EndOfMessage())


def _observation_of(config: Config) -> Observation:
    assert isinstance(config, ObservedConfig)
    return config.observation


def _refused_by(observation: Observation, status_code: int) -> list[tuple[bytes, bytes]]:
    """Counts what never reaches the application, and returns the header line with its id."""
    if observation.hypercorn is not None:
        observation.hypercorn.of(OTHER).answered(status_code, 0)
    request_id = observation.ids.of(b"")
    return [(HEADER, request_id)] if request_id else []


class _Requests(h11.Connection):
    """Refuses line ends that not every reader sees (RFC 9112, 2.2 and 5.2).

    What comes behind the last request is not looked at: it would be an error of that one.
    """

    count = 0
    ended = False

    def next_event(self) -> h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED]:
        if self.ended or self.their_state in (h11.MUST_CLOSE, h11.CLOSED):
            return h11.NEED_DATA
        if self.their_state is not h11.IDLE:
            return super().next_event()
        unread = self.trailing_data[0]
        event = super().next_event()
        if isinstance(event, h11.Request):
            self.count += 1
            head = unread[: len(unread) - len(self.trailing_data[0])]
            if _ODD_LINE_END.search(head):
                raise h11.RemoteProtocolError("a line of the head is folded, or ends without CR LF")
            if event.method != event.method.upper():
                # Hypercorn would take `head` for HEAD, and h11 not (RFC 9110, 9.1).
                raise h11.RemoteProtocolError("the method is not in upper case")
        return event


def _without_upgrade(request: h11.Request) -> h11.Request:
    headers = [header for header in request.headers if header[0] != b"upgrade"]
    if len(headers) == len(request.headers):
        return request
    return h11.Request(
        method=request.method,
        target=request.target,
        headers=headers,
        http_version=request.http_version,
    )


class _Http2(H2Protocol):
    """Drops a body whose stream has ended, and resets a stream whose request cannot be read."""

    async def _handle_events(self, events: list[Http2Event]) -> None:
        for event in events:
            if isinstance(event, DataReceived) and event.stream_id not in self.streams:
                # Its request was answered before all of it had come.
                length = event.flow_controlled_length
                self.connection.acknowledge_received_data(length, event.stream_id)
            else:
                await super()._handle_events([event])

    async def _create_stream(self, request: RequestReceived) -> None:
        pseudo = {bytes(name): bytes(value) for name, value in request.headers[:8]}
        method, path = pseudo.get(b":method", b""), pseudo.get(b":path", b"")
        if method in NOT_ALLOWED or not (path.isascii() and method.isascii()):
            self.connection.reset_stream(request.stream_id, ErrorCodes.PROTOCOL_ERROR)
        else:
            await super()._create_stream(request)
