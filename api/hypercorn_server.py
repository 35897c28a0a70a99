"""Hypercorn's protocols, on connections that are accepted here: what a peer sends ends no other's.

Under `hypercorn.trio.serve` an exception of one connection ends the server, and a few bytes raise
one: a body in HTTP/2 that arrives after its answer, a path that is not ASCII, a CONNECT.
"""

import socket
import ssl
from contextlib import suppress
from functools import partial
from typing import Any

import structlog
import trio
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import ASGIFramework, ConnectionState, LifespanState
from hypercorn.utils import wrap_app

from api.hypercorn_connection import HypercornConnection
from api.limit_hits import Limit
from api.observed_config import ObservedConfig
from api.problems import no_room
from api.resumed import Resumed
from api.tls import TlsSocket, TlsStream

events = structlog.stdlib.get_logger("bitburst")


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
            await HypercornConnection(
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
