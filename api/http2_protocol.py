"""HTTP/2 as Hypercorn speaks it, but with limits on what a peer may begin and not mean."""

from typing import Any, Final

import trio
from h2.errors import ErrorCodes
from h2.events import DataReceived, RequestReceived, StreamReset
from h2.events import Event as Http2Event
from hypercorn.events import Closed, Event, RawData, Updated
from hypercorn.protocol.events import Event as StreamEvent
from hypercorn.protocol.events import StreamClosed
from hypercorn.protocol.h2 import H2Protocol

from api.limit_hits import Limit
from api.observed_config import observation_of

NOT_ALLOWED: Final = {b"CONNECT"}
"""Methods of HTTP/2 whose requests have other pseudo-headers than Hypercorn takes for granted."""
RESETS_MAX: Final = 100
"""Streams of a connection that are reset unanswered, less those that were answered.

To begin a request costs its peer next to nothing (CVE-2023-44487). Who means most of them, and is
answered, may cancel others for ever."""
SLICE_BYTES: Final = 4_096
"""Read of a connection before others have their turn: frames are small, and read slowly."""


class Http2Protocol(H2Protocol):
    """Drops a body whose stream has ended, and resets a stream whose request cannot be read.

    Ends a connection of which most requests are taken back, or whose header lines do not end.
    """

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._resets = 0

    @property
    def unfinished_head(self) -> int | None:
        """The stream of whose header block only a part is here, if there is one."""
        block = self._header_block()
        return block[0].stream_id if block else None

    async def refuse_slow_head(self) -> None:
        await self._end(Limit.REQUEST_TIME)

    async def handle(self, event: Event) -> None:
        if not isinstance(event, RawData) or not event.data:
            await super().handle(event)
            return
        for start in range(0, len(event.data), SLICE_BYTES):
            await super().handle(RawData(event.data[start : start + SLICE_BYTES]))
            if self.closed:
                return
            # h2 has a limit on its frames only, and those may be long.
            size = sum(len(frame.data) for frame in self._header_block())
            if size > self.config.h2_max_header_list_size:
                await self._end(Limit.HEAD_BYTES)
                return
            await trio.lowlevel.checkpoint()

    async def stream_send(self, event: StreamEvent) -> None:
        if isinstance(event, StreamClosed) and event.stream_id in self.streams:
            self._resets = max(self._resets - 1, 0)
        # What comes after an answer is not cut off in the middle: nothing else says that the
        # connection is idle.
        with trio.CancelScope(shield=isinstance(event, StreamClosed)):
            await super().stream_send(event)

    def let_go(self) -> None:
        """Ends the use of the connection, which holds itself."""
        vars(self.connection).clear()

    async def _handle_events(self, events: list[Http2Event]) -> None:
        begun = {event.stream_id for event in events if isinstance(event, RequestReceived)}
        reset = {event.stream_id for event in events if isinstance(event, StreamReset)}
        for event in events:
            stream_id = getattr(event, "stream_id", None)
            if isinstance(event, DataReceived) and stream_id not in self.streams:
                # Its request was answered before all of it had come, or is not.
                length = event.flow_controlled_length
                self.connection.acknowledge_received_data(length, event.stream_id)
            elif stream_id in begun and stream_id in reset:
                # The request is taken back already, and never handed on.
                if isinstance(event, StreamReset):
                    await self._note_reset()
            elif isinstance(event, RequestReceived) and not _can_be_read(event):
                self.connection.reset_stream(event.stream_id, ErrorCodes.PROTOCOL_ERROR)
                await self._note_reset()
            elif isinstance(event, StreamReset) and stream_id in self.streams:
                await super()._handle_events([event])
                await self._note_reset()
            else:
                await super()._handle_events([event])
            if self._resets > RESETS_MAX:
                await self._end(Limit.STREAM_RESETS)
            if self.closed:
                return

    def _header_block(self) -> list[Any]:
        """Its frames so far. Nothing else of h2 tells of them before the last has come."""
        return self.connection.incoming_buffer._headers_buffer

    async def _note_reset(self) -> None:
        self._resets += 1
        await self._flush()
        # No answer says so: the connection may be idle now, and is not kept for ever.
        await self.send(Updated(idle=self.idle))

    async def _end(self, limit: Limit) -> None:
        observation_of(self.config).limits.note(limit)
        self.connection.close_connection(ErrorCodes.ENHANCE_YOUR_CALM)
        await self._flush()
        await self.send(Closed())


def _can_be_read(request: RequestReceived) -> bool:
    pseudo = {bytes(name): bytes(value) for name, value in request.headers[:8]}
    method, path = pseudo.get(b":method", b""), pseudo.get(b":path", b"")
    return method not in NOT_ALLOWED and path.isascii() and method.isascii()
