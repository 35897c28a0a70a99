"""Hypercorn as a server of connections that something else has accepted."""

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import structlog
import trio
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.config import Config
from hypercorn.trio.lifespan import Lifespan
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import ConnectionState, LifespanState
from quart_trio import QuartTrio

from api.tls import TlsSocket, TlsStream

events = structlog.stdlib.get_logger("bitburst")


class HypercornServer:
    """Serves streams with the application. Make one with `open_hypercorn_server`."""

    def __init__(
        self, app: Any, config: Config, state: LifespanState, connections: trio.Nursery
    ) -> None:
        self._app = app
        self._config = config
        self._state = state
        self._nursery = connections
        self.connections = 0
        """How many it serves now."""
        self._context = WorkerContext(None)

    def serve(self, taken: socket.socket | TlsSocket, received: bytes) -> None:
        """Serves the connection, beginning with what was received of it, until it ends."""
        self._nursery.start_soon(self._serve, taken, received)

    async def stop(self) -> None:
        """Lets connections end after what they have in flight."""
        await self._context.terminated.set()
        self._nursery.cancel_scope.deadline = trio.current_time() + self._config.graceful_timeout

    async def _serve(self, taken: socket.socket | TlsSocket, received: bytes) -> None:
        stream = (
            TlsStream(taken)
            if isinstance(taken, TlsSocket)
            else trio.SocketStream(trio.socket.from_stdlib_socket(taken))
        )
        server = TCPServer(
            self._app,
            self._config,
            self._context,
            ConnectionState(self._state.copy()),
            # Hypercorn uses no more of a stream than this has.
            _Resumed(stream, received),  # type: ignore[arg-type]
        )
        self.connections += 1
        try:
            await server
        except Exception as error:
            # What one peer sends must not end the server for all.
            events.error("connection failed", exc_info=error)
        finally:
            self.connections -= 1


class _Resumed:
    """A stream of which something was read already. What else Hypercorn uses is the stream's."""

    def __init__(self, stream: trio.SocketStream | TlsStream, received: bytes) -> None:
        self._stream = stream
        self._received = received

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        if self._received:
            received, self._received = self._received, b""
            return received
        return await self._stream.receive_some(max_bytes)


@asynccontextmanager
async def open_hypercorn_server(app: QuartTrio, config: Config) -> AsyncIterator[HypercornServer]:
    """The application, started up; shut down when the block is left and connections have ended."""
    wrapped = ASGIWrapper(app)
    state: LifespanState = {}
    lifespan = Lifespan(wrapped, config, state)
    async with trio.open_nursery() as started:
        await started.start(lifespan.handle_lifespan)
        await lifespan.wait_for_startup()
        async with trio.open_nursery() as connections:
            server = HypercornServer(wrapped, config, state, connections)
            try:
                yield server
            finally:
                await server.stop()
        await lifespan.wait_for_shutdown()
        started.cancel_scope.cancel()
