"""One connection that Hypercorn's protocols answer, with limits to its patience."""

from math import inf
from typing import Any, Final

import trio
from hypercorn.events import Closed, Event, RawData, Updated
from hypercorn.protocol import ProtocolWrapper
from hypercorn.protocol.h11 import H2ProtocolAssumedError
from hypercorn.trio.task_group import TaskGroup
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.typing import ConnectionState
from hypercorn.utils import parse_socket_addr

from api.http1_protocol import Http1Protocol
from api.http2_protocol import Http2Protocol
from api.limit_hits import Limit
from api.observed_config import observation_of

READ_BYTES_MAX: Final = 65_536


class HypercornConnection(TCPServer):
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
            await self._answer()
        finally:
            self._let_go()

    async def _answer(self) -> None:
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

    def _let_go(self) -> None:
        """Parts what holds each other: else it would stay until the garbage collector comes.

        That counts objects, few for a connection, and not the bytes that they hold.
        """
        protocols = self.__dict__.pop("protocol", None)
        if protocols is not None:
            protocols.let_go()

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
        observation_of(self.config).limits.note(Limit.ANSWER_TIME)
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
        # One scope for all reads: a new one for each is a tenth of what a byte costs.
        with trio.CancelScope() as patience:
            while True:
                data = await self.stream.receive_some(READ_BYTES_MAX)
                if patience.cancel_called:
                    break
                # What has come is not given up half-way.
                patience.deadline = inf
                await self.protocol.handle(RawData(bytes(data)))
                if not data:
                    return
                if head != self.protocol.unfinished_head:
                    head = self.protocol.unfinished_head
                    deadline = (
                        inf if head is None else trio.current_time() + self._request_timeout_s
                    )
                patience.deadline = deadline
        await self.protocol.refuse_slow_head()


class _Protocols(ProtocolWrapper):
    """HTTP/1.1, until the peer begins as one of HTTP/2 does."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        *self._arguments, negotiated = arguments
        negotiated_kind = Http2Protocol if negotiated == "h2" else Http1Protocol
        self.protocol: Http1Protocol | Http2Protocol = negotiated_kind(*self._arguments)

    @property
    def unfinished_head(self) -> int | None:
        """The number of the request of whose head only a part is here, if there is one.

        What an application waits for, a body, is for it to limit.
        """
        return self.protocol.unfinished_head

    async def refuse_slow_head(self) -> None:
        await self.protocol.refuse_slow_head()

    def let_go(self) -> None:
        if isinstance(self.protocol, Http2Protocol):
            self.protocol.let_go()

    async def handle(self, event: Event) -> None:
        try:
            await self.protocol.handle(event)
        except H2ProtocolAssumedError as error:
            self.protocol = Http2Protocol(*self._arguments)
            await self.protocol.initiate()
            # What looked like a request was none: without one the connection times out.
            await self.send(Updated(idle=True))
            await self.protocol.handle(RawData(error.data))
