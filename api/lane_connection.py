"""One connection of the fast lane: bytes in, answers out, in order.

It never waits. The lane calls it when its socket is ready, and handlers call back with answers.
"""

import socket
from collections import deque
from select import EPOLLIN, EPOLLOUT
from typing import TYPE_CHECKING, Final

import trio

from api.arriving_body import ArrivingBody
from api.handlers import CLOSE, JSON_ONLY, Answer, answer_of
from api.lane_answer import Slot, encode_answer
from api.limit_hits import Limit
from api.plain_request import (
    ADD,
    BALANCE,
    BULK,
    GET,
    HEAD_END,
    HEALTHZ,
    HISTORY,
    PlainRequest,
    can_be_awaited,
)
from api.problem_types import OVERLOADED
from api.problems import RETRY_AFTER_S, Problem, problem_of_status
from api.request_counts import OK
from api.tls import TlsSocket

if TYPE_CHECKING:
    from api.fast_lane import FastLane

RECEIVE_BYTES: Final = 16_384
RECEIVE_BODY_BYTES_MAX: Final = 1_048_576
PIPELINED_MAX: Final = 128
"""Requests of one connection that may wait for their answers; then no more is read from it."""
BUFFERED_BYTES_MAX: Final = 64 * 1024 * 1024
"""Of all bodies together that have not all come; one more is refused (503)."""


class LaneConnection:
    """See the module. `since` is when it last began to wait for its peer."""

    __slots__ = (
        "_arriving",
        "_buffer",
        "_ended",
        "_leaving",
        "_out",
        "_paused",
        "_slots",
        "_socket",
        "_unsent",
        "_wanted",
        "dirty",
        "fd",
        "lane",
        "since",
    )

    def __init__(self, lane: "FastLane", accepted: socket.socket | TlsSocket) -> None:
        self.fd = accepted.fileno()
        self.since = lane.now
        self.dirty = False
        """It is in the lane's list of those that have something to send."""
        self.lane = lane
        self._socket = accepted
        self._buffer = b""
        """Received, and not yet understood."""
        self._arriving: ArrivingBody | None = None
        self._slots: deque[Slot] = deque()
        self._out: list[bytes] = []
        self._unsent = b""
        self._ended = False
        """Nothing more is read: the peer has sent all, or the lane is stopping."""
        self._leaving = False
        """It goes to Hypercorn with what is in the buffer, once what came before is answered."""
        self._paused = False
        """What is in the buffer has to wait until all before it is answered."""
        self._wanted = EPOLLIN

    @property
    def in_flight(self) -> int:
        return len(self._slots)

    @property
    def idle(self) -> bool:
        """Neither side owes the other anything."""
        return not (self._slots or self._buffer or self._arriving or self._unsent or self._out)

    @property
    def waits_for_peer(self) -> bool:
        """The peer has begun a request, or has to take an answer."""
        return bool(self._unsent) or (
            not self._slots and (bool(self._buffer) or self._arriving is not None)
        )

    def readable(self) -> None:
        """Takes what the peer has sent, and begins what it asks for."""
        size = self.lane.receive_bytes
        arriving = self._arriving
        if arriving is not None:
            size = min(max(arriving.missing, size), RECEIVE_BODY_BYTES_MAX)
        try:
            received = self._socket.recv(size)
        except BlockingIOError:
            return
        except OSError:
            self.close()
            return
        self.lane.taken_bytes += len(received)
        if not received:
            self._end_of_input()
        elif arriving is not None:
            self._take_body(arriving, received)
        else:
            self._take(self._buffer + received if self._buffer else received)

    def advance(self) -> None:
        """Puts the answers that are ready, and next in order, on their way."""
        slots = self._slots
        while slots:
            answer = slots[0].answer
            if answer is None:
                break
            slots.popleft()
            self._put_out(answer)

    def flush(self) -> None:
        """Sends what is ready; what the peer does not take now waits until its socket is ready."""
        self.dirty = False
        if self.fd < 0:
            return
        if self._out:
            out = self._out
            data = self._unsent + b"".join(out) if self._unsent or len(out) > 1 else out[0]
            self._out = []
        else:
            data = self._unsent
        if data:
            try:
                sent = self._socket.send(data)
            except BlockingIOError:
                sent = 0
            except OSError:
                self.close()
                return
            self._unsent = data[sent:]
            if self._unsent:
                if sent:
                    self.since = self.lane.now
                self._listen()
                return
        if self._paused or self._leaving or self._ended or self._wanted != EPOLLIN:
            self._go_on()

    def end(self) -> None:
        """Reads nothing more; closes once what is in flight is answered."""
        self._ended = True
        if not (self._leaving or self._paused):
            self._buffer = b""
        self._forget_body()
        self._go_on()

    def _end_of_input(self) -> None:
        """The peer has said all: what it left unfinished is Hypercorn's to refuse."""
        if self._arriving is not None:
            unfinished = self._arriving.unfinished()
            self._forget_body()
            self._leave(unfinished)
        elif self._buffer and not self._paused:
            self._leave(self._buffer)
        else:
            self.end()

    def refuse_slow(self) -> None:
        """Closes, and says why to a peer that has not taken too long to take an answer."""
        if self._unsent:
            self.lane.limits.note(Limit.ANSWER_TIME)
        else:
            self.lane.limits.note(Limit.REQUEST_TIME)
            slow = answer_of(problem_of_status(408, "the request takes too long to arrive"))
            closing = Answer(slow.status, slow.body, (*slow.headers, CLOSE))
            sent_id = b"" if self._arriving is None else self._arriving.request.request_id
            request_id = self._refused(closing, self.lane.now - self.since, sent_id)
            self._out.append(self.encode(closing, request_id))
            self._forget_body()
            self._buffer = b""
            self.flush()
        self.close()

    def close(self) -> None:
        """Closes at once. May be repeated."""
        if self.fd < 0:
            return
        self._forget_body()
        self.lane.forget(self)
        self.fd = -1
        self._socket.close()

    def encode(self, answer: Answer, request_id: bytes) -> bytes:
        """The answer as it is sent. One that says so is the last. What of it is for the operator
        goes to the log."""
        if answer.headers is not JSON_ONLY:
            self._ended = self._ended or CLOSE in answer.headers
            if answer.alarm is not None:
                self.lane.damage.report(answer.alarm, request_id)
        return encode_answer(answer, request_id, self.lane.date_and_end)

    def _take(self, data: bytes) -> None:
        """Begins every request that has come whole, and keeps the rest."""
        read_head = self.lane.head_reader.read
        start = 0
        begun, self._buffer = bool(self._buffer), b""
        while start < len(data):
            if self._slots and (data[start] == GET or len(self._slots) >= PIPELINED_MAX):
                if len(self._slots) >= PIPELINED_MAX:
                    self.lane.limits.note(Limit.PIPELINED)
                # A read sees what the requests before it on its connection have done.
                self._buffer, self._paused = data[start:], True
                self._listen()
                return
            request = read_head(data, start)
            if request is None:
                rest = data[start:]
                if HEAD_END in rest or not can_be_awaited(rest):
                    self._leave(rest)
                    return
                if start or not begun:
                    self.since = self.lane.now
                self._buffer = rest
                return
            length = request.kind.length
            if length and length > self.lane.lengths_max[request.kind.route]:
                self._leave(data[start:])
                return
            body_end = request.end + length
            if body_end > len(data):
                self._expect(request, data[start : request.end], data[request.end :])
                return
            body = data[request.end : body_end]
            if not self._begin(request, body):
                self._leave(data[start:])
                return
            if self._ended:
                self.end()
                return
            start = body_end
        self.since = self.lane.now

    def _take_body(self, arriving: ArrivingBody, received: bytes) -> None:
        arriving.take(received)
        if arriving.missing > 0:
            return
        body, rest = arriving.whole()
        self._forget_body()
        self._begin(arriving.request, body)
        if self._ended:
            self.end()
        elif rest:
            self._take(rest)
        else:
            self.since = self.lane.now

    def _begin(self, request: PlainRequest, body: bytes) -> bool:
        """Hands the request to its handler; False where that would have to wait."""
        lane = self.lane
        kind = request.kind
        route = kind.route
        sent_id = request.request_id
        request_id = lane.ids.of(sent_id) if sent_id else lane.ids.new()
        trace = None
        if lane.tracer is not None:
            method = "POST" if route in (ADD, BULK) else "GET"
            trace = lane.tracer.begin(method, route, request.traceparent, request_id)
        if route == ADD:
            slot = Slot(self, lane.now, lane.adds, request_id, trace)
            self._slots.append(slot)
            lane.handlers.add_nowait(
                kind.authorization,
                request.user,
                kind.content_type,
                request.idempotency_keys,
                body,
                slot.fill,
            )
            return True
        if route == BULK:
            slot = Slot(self, lane.now, lane.bulks, request_id, trace)
            self._slots.append(slot)
            lane.handlers.bulk_nowait(
                kind.authorization,
                kind.content_type,
                request.idempotency_keys,
                body,
                slot.fill,
            )
            return True
        try:
            if route == BALANCE:
                counts = lane.balances
                answer = lane.handlers.balance_nowait(kind.authorization, request.user)
            elif route == HISTORY:
                counts = lane.histories
                answer = lane.handlers.history_nowait(kind.authorization, request.user, kind.page)
            elif route == HEALTHZ:
                counts = lane.healthz
                answer = lane.handlers.healthz()
            else:
                counts = lane.readyz
                answer = lane.handlers.readyz()
        except trio.WouldBlock:
            return False
        if counts is not None:
            lane.unmeasured = True
            if answer.status == OK:
                counts.noted += 1
            else:
                counts.note(answer.status, lane.now)
        if trace is not None:
            trace.end(answer.status)
        self._answer(answer, request_id)
        return True

    def _answer(self, answer: Answer, request_id: bytes) -> None:
        encoded = self.encode(answer, request_id)
        if self._slots:
            slot = Slot(self, self.lane.now, None, request_id, None)
            slot.answer = encoded
            self._slots.append(slot)
        else:
            self._put_out(encoded)

    def _refused(self, answer: Answer, seconds: float, sent_id: bytes) -> bytes:
        """Counts an answer to what was not all of a request, and returns its id."""
        if self.lane.others is not None:
            self.lane.others.answered(answer.status, seconds)
        return self.lane.ids.of(sent_id)

    def _put_out(self, answer: bytes) -> None:
        self._out.append(answer)
        if not self.dirty:
            self.dirty = True
            self.lane.note_dirty(self)

    def _expect(self, request: PlainRequest, head: bytes, part: bytes) -> None:
        stranger = self.lane.handlers.stranger(request.kind.authorization)
        if stranger is not None:
            self._answer(stranger, self._refused(stranger, 0, request.request_id))
            self.end()
            return
        if self.lane.buffered_bytes + request.kind.length > BUFFERED_BYTES_MAX:
            self.lane.limits.note(Limit.BODIES_HELD)
            full = answer_of(Problem(OVERLOADED, "too many bodies are under way", RETRY_AFTER_S))
            self._answer(full, self._refused(full, 0, request.request_id))
            self.end()
            return
        self._arriving = ArrivingBody(request, head, part)
        self.lane.buffered_bytes += request.kind.length
        self.since = self.lane.now

    def _leave(self, rest: bytes) -> None:
        self._buffer = rest
        self._leaving = True
        self._go_on()

    def _forget_body(self) -> None:
        if self._arriving is not None:
            self.lane.buffered_bytes -= self._arriving.request.kind.length
            self._arriving = None

    def _go_on(self) -> None:
        """What follows once nothing is waiting to be sent, or less is in flight."""
        if not (self._unsent or self._out):
            if self._paused and not self._slots:
                self._paused = False
                self._take(self._buffer)
            if self.fd >= 0 and not self._slots and not self._out:
                if self._leaving:
                    self.lane.hand_over(self, self._socket, self._buffer)
                    return
                if self._ended:
                    self.close()
                    return
        if self.fd >= 0:
            self._listen()

    def _listen(self) -> None:
        """Asks for what it can take: no more requests while answers wait for the peer."""
        if self._unsent:
            wanted = EPOLLOUT
        elif self._ended or self._leaving or self._paused:
            wanted = 0
        else:
            wanted = EPOLLIN
        if wanted != self._wanted:
            self._wanted = wanted
            self.lane.listen(self, wanted)
