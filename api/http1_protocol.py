"""HTTP/1.1 as Hypercorn speaks it, but with less leniency and better answers."""

import re
import sys
from contextlib import suppress
from typing import Any, Final

import h11
import trio
from hypercorn.events import Closed, Event
from hypercorn.protocol.events import Event as StreamEvent
from hypercorn.protocol.events import StreamClosed
from hypercorn.protocol.h11 import H11Protocol

from api.handlers import PROBLEM
from api.limit_hits import Limit
from api.observed_config import observation_of, refused_by
from api.problems import problem_of_status
from api.wire import encode_problem

HEAD_BYTES_MAX: Final = 65_536
HEAD_TOO_LARGE: Final = 431
WHAT_WAS_SENT: Final = ": bytearray("
"""How h11 begins to quote it."""
_HEAD_ENDED: Final = re.compile(rb"\A[\0- ]|\n\r?\n")
"""How a head ends, or shows at once that it is none, for h11."""
_ODD_LINE_END: Final = re.compile(rb"(?<!\r)\n|\n[ \t]")


class Http1Protocol(H11Protocol):
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

    async def stream_send(self, event: StreamEvent) -> None:
        # What comes after an answer is not cut off in the middle: nothing else would close the
        # connection, or begin its next request.
        with trio.CancelScope(shield=isinstance(event, StreamClosed)):
            await super().stream_send(event)

    @property
    def unfinished_head(self) -> int | None:
        requests = self._requests
        begun = requests.their_state is h11.IDLE and requests.trailing_data[0]
        return requests.count if begun else None

    async def refuse_slow_head(self) -> None:
        observation_of(self.config).limits.note(Limit.REQUEST_TIME)
        await self._refuse(408, "the request takes too long to arrive")
        await self.send(Closed())

    async def _check_protocol(self, event: h11.Request) -> None:
        await super()._check_protocol(_without_upgrade(event))

    async def _create_stream(self, request: h11.Request) -> None:
        await super()._create_stream(_without_upgrade(request))

    async def _send_error_response(self, status_code: int) -> None:
        if status_code == HEAD_TOO_LARGE:
            observation_of(self.config).limits.note(Limit.HEAD_BYTES)
            await self._refuse(status_code, f"a head must be at most {HEAD_BYTES_MAX} bytes")
            return
        reason = str(sys.exception()).partition(WHAT_WAS_SENT)[0]
        await self._refuse(status_code, f"this is not a request of HTTP/1.1: {reason}")

    async def _refuse(self, status_code: int, detail: str) -> None:
        body = encode_problem(problem_of_status(status_code, detail))
        headers = [
            (PROBLEM[0].lower().encode(), PROBLEM[1].encode()),
            (b"content-length", b"%d" % len(body)),
            (b"connection", b"close"),
            *refused_by(observation_of(self.config), status_code),
            *self.config.response_headers("h11"),
        ]
        await self._send_h11_event(h11.Response(status_code=status_code, headers=headers))
        # The answer to a HEAD takes no body.
        with suppress(h11.LocalProtocolError):
            await self._send_h11_event(h11.Data(data=body))
            await self._send_h11_event(h11.EndOfMessage())


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
            return self._next_event()
        unread = self.trailing_data[0]
        if len(unread) > HEAD_BYTES_MAX and not _HEAD_ENDED.search(unread, 0, HEAD_BYTES_MAX):
            # h11 counts only what is unfinished: it would depend on how the head arrives.
            raise h11.RemoteProtocolError("the head is too long", HEAD_TOO_LARGE)
        event = self._next_event()
        if isinstance(event, h11.Request):
            self.count += 1
            head = unread[: len(unread) - len(self.trailing_data[0])]
            if _ODD_LINE_END.search(head):
                raise h11.RemoteProtocolError("a line of the head is folded, or ends without CR LF")
            if event.method != event.method.upper():
                # Hypercorn would take `head` for HEAD, and h11 not (RFC 9110, 9.1).
                raise h11.RemoteProtocolError("the method is not in upper case")
        return event

    def _next_event(self) -> h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED]:
        try:
            return super().next_event()
        except h11.RemoteProtocolError as error:
            # Its frames hold the error that holds them, and all that the connection holds.
            raise error.with_traceback(None) from None


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
