"""The fast lane: the server's main listener.

Plain requests of the hot endpoints are answered straight from the ledger's shards; every other
connection goes to Hypercorn, with what was read of it. One task serves all connections over an
epoll of its own, which trio waits for: a task and a wake-up for each request would cost as much as
the request itself. Requests that come together are begun together, and their answers are sent
together once they are durable.
"""

import errno
import select
import socket
import ssl
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final
from wsgiref.handlers import format_date_time

import trio

from api.handlers import Handlers
from api.lane_connection import RECEIVE_BYTES, LaneConnection
from api.limit_hits import Limit
from api.observation import Observation
from api.plain_request import ADD, BALANCE, BULK, HEALTHZ, HISTORY, READYZ, HeadReader
from api.problems import no_room
from api.request_counts import OTHER
from api.tls import TlsSocket

EVENTS_PER_STEP: Final = 512
ROUNDS_PER_STEP: Final = 4
ACCEPTS_PER_STEP: Final = 64
BYTES_PER_STEP: Final = 524_288
"""Taken of all connections that are ready together, but at least `RECEIVE_BYTES_MIN` of each.

So who pipelines without end holds nobody up for longer than a few thousand requests take: the rest
stays in the sockets, and at last with those who send it."""
RECEIVE_BYTES_MIN: Final = 1_024
SWEEP_INTERVAL_S: Final = 1.0
_NO_FILES: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


@dataclass(frozen=True, slots=True)
class LaneStatistics:
    connections: int
    """Open now, on the lane."""
    accepted: int
    handed_over: int
    """Of those accepted, to Hypercorn."""
    buffered_bytes: int
    """Reserved for bodies that have not all come."""


class FastLane:
    """Serves a listening socket until `stop`. The connections call it back.

    Attributes:
        head_reader: of all connections.
        lengths_max: bytes of the largest body that is read, of each route that has one.
        adds, bulks, balances, histories, healthz, readyz, others: where requests are counted, each
            None where they are not.
        unmeasured: requests are noted in them that are not measured yet.
        damage: takes what is for the operator alone.
        ids: tells the id of each request.
        limits: counts the limits that are reached.
        tracer: begins the traces of requests, None where nothing is traced.
        now: the time of the current step, in seconds of trio's clock.
        buffered_bytes: reserved for bodies that have not all come.
        receive_bytes: taken of a connection at once.
        taken_bytes: of all connections in this step.
        date_and_end: the Date line of the current second, and the end of the head.
    """

    def __init__(
        self,
        listener: socket.socket,
        handlers: Handlers,
        hand_over: Callable[[socket.socket | TlsSocket, bytes], None],
        others: Callable[[], int],
        *,
        body_bytes_max: int,
        bulk_bytes_max: int,
        connections_max: int,
        request_timeout_s: float,
        keep_alive_s: float,
        observation: Observation,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.handlers = handlers
        self.head_reader = HeadReader()
        self.ids = observation.ids
        self.limits = observation.limits
        self.damage = observation.damage
        self.tracer = observation.tracer
        self.unmeasured = False
        counts = observation.lane
        self.adds = None if counts is None else counts.of(ADD)
        self.bulks = None if counts is None else counts.of(BULK)
        self.balances = None if counts is None else counts.of(BALANCE)
        self.histories = None if counts is None else counts.of(HISTORY)
        self.healthz = None if counts is None else counts.of(HEALTHZ)
        self.readyz = None if counts is None else counts.of(READYZ)
        self.others = None if counts is None else counts.of(OTHER)
        routes = (ADD, BULK, BALANCE, HISTORY, HEALTHZ, READYZ)
        self._measured = () if counts is None else tuple(map(counts.of, routes))
        self.now = trio.current_time()
        self.buffered_bytes = 0
        self.receive_bytes = RECEIVE_BYTES
        self.taken_bytes = 0
        self.date_and_end = b""
        self._second = 0
        self._listener = listener
        self._hand_over = hand_over
        self._others = others
        self.lengths_max = {ADD: body_bytes_max, BULK: bulk_bytes_max}
        self._connections_max = connections_max
        self._request_timeout_s = request_timeout_s
        self._keep_alive_s = keep_alive_s
        self._tls = tls
        self._epoll = select.epoll()
        self._connections: dict[int, LaneConnection] = {}
        self._dirty: list[LaneConnection] = []
        self._served = 0
        """Connections of the last step."""
        self._stepping = False
        self._answered = trio.lowlevel.ParkingLot()
        self._accepting = False
        self._accepted = 0
        self._handed_over = 0
        self._stopping = False
        self._emptied = trio.Event()

    async def serve(self) -> None:
        """Runs until it is stopped and has answered what was in flight, or is cancelled."""
        self._listener.setblocking(False)
        self._accept_again()
        self._read_clock()
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._step_when_ready)
                nursery.start_soon(self._flush_when_answered)
                nursery.start_soon(self._sweep_regularly)
                await self._emptied.wait()
                nursery.cancel_scope.cancel()
        finally:
            for connection in list(self._connections.values()):
                connection.close()
            self._epoll.close()

    def stop(self) -> None:
        """Accepts and reads nothing more. `serve` returns when what is in flight is answered."""
        self._stopping = True
        self._pause_accepting()
        for connection in list(self._connections.values()):
            connection.end()
        self._notice_empty()

    def statistics(self) -> LaneStatistics:
        return LaneStatistics(
            len(self._connections), self._accepted, self._handed_over, self.buffered_bytes
        )

    def note_dirty(self, connection: LaneConnection) -> None:
        """The connection has answers to send."""
        self._dirty.append(connection)
        if not self._stepping and len(self._dirty) == 1:
            self._answered.unpark()

    def listen(self, connection: LaneConnection, wanted: int) -> None:
        """Watches the connection for these events only."""
        self._epoll.modify(connection.fd, wanted)

    def forget(self, connection: LaneConnection) -> None:
        """The connection is about to close."""
        self._epoll.unregister(connection.fd)
        del self._connections[connection.fd]
        self._notice_empty()

    def hand_over(
        self, connection: LaneConnection, taken: socket.socket | TlsSocket, received: bytes
    ) -> None:
        """Gives the connection to Hypercorn, with what was read of it."""
        self.forget(connection)
        self._handed_over += 1
        connection.fd = -1
        self._hand_over(taken, received)

    async def _step_when_ready(self) -> None:
        epoll = self._epoll.fileno()
        while True:
            await trio.lowlevel.wait_readable(epoll)
            self._step()

    def _step(self) -> None:
        """Serves every socket that is ready, then sends what could be answered at once."""
        self._read_clock()
        self._stepping = True
        served = 0
        self.taken_bytes = 0
        for _ in range(ROUNDS_PER_STEP):
            if self.taken_bytes >= BYTES_PER_STEP:
                break
            ready = self._epoll.poll(0, EVENTS_PER_STEP)
            if not ready:
                break
            served += len(ready)
            share = BYTES_PER_STEP // max(served, self._served)
            self.receive_bytes = min(max(share, RECEIVE_BYTES_MIN), RECEIVE_BYTES)
            self._serve_ready(ready)
        self._served = served
        self._stepping = False
        if self.unmeasured:
            # What was answered at once waited for all else of its step.
            begun = self.now
            self._read_clock()
            self._measure(begun)
        self._flush()

    def _measure(self, step_begun: float) -> None:
        """All that is noted is answered now."""
        self.unmeasured = False
        for counts in self._measured:
            counts.measure(step_begun, self.now)

    def _serve_ready(self, ready: Sequence[tuple[int, int]]) -> None:
        connections = self._connections
        for fd, events in ready:
            connection = connections.get(fd)
            if connection is None:
                if fd == self._listener.fileno():
                    self._accept()
            elif events & select.EPOLLIN:
                connection.readable()
            elif events & select.EPOLLOUT:
                connection.flush()
            else:
                connection.close()

    async def _flush_when_answered(self) -> None:
        while True:
            await self._answered.park()
            self._read_clock()
            if self.unmeasured:
                self._measure(self.now)
            self._flush()

    def _flush(self) -> None:
        while self._dirty:
            dirty, self._dirty = self._dirty, []
            for connection in dirty:
                connection.flush()

    def _accept(self) -> None:
        for _ in range(ACCEPTS_PER_STEP):
            try:
                accepted, _ = self._listener.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in _NO_FILES:
                    # It would be ready for ever; the sweep tries again.
                    self._pause_accepting()
                return
            accepted.setblocking(False)
            if len(self._connections) + self._others() >= self._connections_max:
                self.limits.note(Limit.CONNECTIONS)
                self._refuse(accepted)
                continue
            self._accepted += 1
            accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection = LaneConnection(
                self, accepted if self._tls is None else TlsSocket(accepted, self._tls)
            )
            self._connections[connection.fd] = connection
            self._epoll.register(connection.fd, select.EPOLLIN)

    def _refuse(self, accepted: socket.socket) -> None:
        with accepted:
            try:
                accepted.send(no_room(self.ids.of(b"")))
            except OSError:
                return

    async def _sweep_regularly(self) -> None:
        while True:
            await trio.sleep(SWEEP_INTERVAL_S)
            self._read_clock()
            self._sweep()
            self._accept_again()

    def _sweep(self) -> None:
        """Closes the connections whose peers are slower, or idle for longer, than they may be."""
        slow = self.now - self._request_timeout_s
        idle = self.now - self._keep_alive_s
        for connection in list(self._connections.values()):
            since = connection.since
            if since < slow and connection.waits_for_peer:
                connection.refuse_slow()
            elif since < idle and connection.idle:
                self.limits.note(Limit.KEEP_ALIVE)
                connection.close()

    def _accept_again(self) -> None:
        if not self._accepting and not self._stopping:
            self._epoll.register(self._listener.fileno(), select.EPOLLIN)
            self._accepting = True

    def _pause_accepting(self) -> None:
        if self._accepting:
            self._epoll.unregister(self._listener.fileno())
            self._accepting = False

    def _notice_empty(self) -> None:
        if self._stopping and not self._connections:
            self._emptied.set()

    def _read_clock(self) -> None:
        self.now = trio.current_time()
        self.handlers.read_clock(self.now)
        second = int(time.time())
        if second != self._second:
            self._second = second
            self.date_and_end = f"date: {format_date_time(second)}\r\n\r\n".encode()
