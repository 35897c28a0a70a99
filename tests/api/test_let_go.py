"""What a connection held is free once it has ended, without the garbage collector.

That comes after so many objects, of which a connection has few; it does not see how many bytes they
hold. The server is in this very thread, so that what it left can be looked for.
"""

import gc
import logging
import socket
import struct
from collections.abc import Iterator

import h11
import pytest
import trio
from h2.connection import H2Connection
from http2_request import http2_request
from hypercorn.protocol.http_stream import HTTPStream
from quart import Request
from trio.testing import wait_all_tasks_blocked
from unobserved import unobserved

from api.admission import Admission
from api.app import create_app
from api.handlers import Handlers
from api.hypercorn_connection import HypercornConnection
from api.hypercorn_server import HypercornServer
from api.observed_config import ObservedConfig
from ledger_actors.ledger import open_ledger
from ledger_actors.testing import ManualClock, MemoryLog, MemorySnapshots

HELD = (HypercornConnection, h11.Connection, H2Connection, HTTPStream, Request)
KEEP_ALIVE_S = 0.05
RESETTING = struct.pack("ii", 1, 0)
ADD = b"POST /users/u/add HTTP/1.1\r\nHost: a\r\n"
BALANCE = b"GET /users/u/balance HTTP/1.1\r\nHost: a\r\n\r\n"


SENT = {
    "nothing": b"",
    "a head without an end": b"GET / HTTP/1.1\r\nA: " + b"x" * 50_000,
    "a head that is too long": b"GET / HTTP/1.1\r\nA: " + b"x" * 70_000,
    "no HTTP": b"\0" * 100,
    "a header line that cannot be read": b"GET / HTTP/1.1\r\nA b\r\n\r\n",
    "a line that ends in LF": b"GET / HTTP/1.1\nHost: a\r\n\r\n",
    "a path at which there is nothing": b"GET /nothing HTTP/1.1\r\nHost: a\r\n\r\n",
    "a method that is not allowed": b"DELETE /users/u/balance HTTP/1.1\r\nHost: a\r\n\r\n",
    "two balances": BALANCE * 2,
    "an add": ADD + b'Content-Length: 12\r\n\r\n{"amount":1}',
    "a body without an end": ADD + b'Content-Length: 12\r\n\r\n{"amo',
    "a body that is too large": ADD + b"Content-Length: 5000\r\n\r\n" + b" " * 5_000,
    "a chunk that cannot be read": ADD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
    "a request of HTTP/2": http2_request(),
    "no HTTP/2 behind its preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\xff" * 100,
}


@pytest.fixture
def no_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.parametrize("ending", ["half-close", "reset", "idle"])
@pytest.mark.parametrize("sent", SENT.values(), ids=SENT)
@pytest.mark.usefixtures("no_collector")
async def test_what_a_connection_held_is_free_once_it_has_ended(sent: bytes, ending: str) -> None:
    log, observation = MemoryLog(), unobserved()
    config = ObservedConfig(observation)
    config.errorlog = logging.getLogger("hypercorn.error")
    config.keep_alive_timeout = KEEP_ALIVE_S
    async with open_ledger(log, MemorySnapshots(log), ManualClock(7), shards=4) as ledger:
        app = create_app(
            Handlers(ledger, Admission(), observation.limits),
            body_bytes_max=1_000,
            bulk_bytes_max=1_000,
            request_timeout_s=KEEP_ALIVE_S,
            observation=observation,
        )
        server = HypercornServer(app, config, KEEP_ALIVE_S, connections_max=10)
        before = held()
        async with trio.open_nursery() as nursery:
            listener = socket.create_server(("127.0.0.1", 0))
            nursery.start_soon(server.serve, listener, trio.Event())
            for _ in range(3):
                await call(listener.getsockname(), sent, ending)
            while server.connections:
                await trio.lowlevel.checkpoint()
            await wait_all_tasks_blocked()

            left = held() - before
            nursery.cancel_scope.cancel()
        listener.close()
    assert not left


def held() -> set[str]:
    return {
        f"{type(one).__name__} {id(one)}" for one in gc.get_objects() if issubclass(type(one), HELD)
    }


async def call(address: tuple[str, int], sent: bytes, ending: str) -> None:
    """Sends that, and leaves, or waits for the server to close the connection."""
    with trio.socket.socket() as connection:
        await connection.connect(address)
        try:
            await connection.send(sent)
            if ending == "reset":
                await wait_all_tasks_blocked()
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESETTING)
                return
            if ending == "half-close":
                connection.shutdown(socket.SHUT_WR)
            while await connection.recv(65_536):
                pass
        except OSError:
            return
