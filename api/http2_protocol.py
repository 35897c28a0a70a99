"""HTTP/2 as Hypercorn speaks it, but with limits."""

from typing import Final

from h2.errors import ErrorCodes
from h2.events import DataReceived, RequestReceived
from h2.events import Event as Http2Event
from hypercorn.protocol.h2 import H2Protocol

NOT_ALLOWED: Final = {b"CONNECT"}
"""Methods of HTTP/2 whose requests have other pseudo-headers than Hypercorn takes for granted."""


class Http2Protocol(H2Protocol):
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
