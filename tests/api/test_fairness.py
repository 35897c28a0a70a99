"""Callers who pipeline without end, and one who does not, on a lane in this very thread.

It steps only when the test lets it, so what had come before an answer can be counted.
"""

import contextlib
import socket
from collections.abc import Sequence

import trio
from unobserved import unobserved

from api.admission import Admission
from api.fast_lane import FastLane
from api.handlers import Handlers
from ledger_actors.ledger import open_ledger
from ledger_actors.testing import ManualClock, MemoryLog, MemorySnapshots

GREEDY = 400
REQUEST = b"GET /users/u/balance HTTP/1.1\r\nHost: bitburst\r\n\r\n"
ANSWER = b"HTTP/1.1 200 "
PIPELINED = 16_384 // len(REQUEST)
AT_ONCE_MAX = 40_000
"""Answers to the greedy before that to the modest. Without a limit on what is taken of a connection
at a time, they have all that they asked for, about 130,000, before it."""


async def test_who_pipelines_without_end_does_not_keep_the_others_waiting() -> None:
    log, observation = MemoryLog(), unobserved()
    listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
    async with open_ledger(log, MemorySnapshots(log), ManualClock(7), shards=4) as ledger:
        lane = FastLane(
            listener,
            Handlers(ledger, Admission(), observation.limits),
            lambda taken, received: None,
            lambda: 0,
            body_bytes_max=1000,
            bulk_bytes_max=1000,
            connections_max=1000,
            request_timeout_s=60,
            keep_alive_s=60,
            observation=observation,
        )
        with contextlib.ExitStack() as stack, listener:
            address = listener.getsockname()
            *greedy, modest = [
                stack.enter_context(socket.create_connection(address)) for _ in range(GREEDY + 1)
            ]
            async with trio.open_nursery() as nursery:
                nursery.start_soon(lane.serve)
                await answered_once([*greedy, modest])
                for connection in greedy:
                    connection.sendall(REQUEST * PIPELINED)
                modest.sendall(REQUEST)
                while not answers(modest):
                    await trio.lowlevel.checkpoint()
                before = sum(map(answers, greedy))
                nursery.cancel_scope.cancel()
    assert before < AT_ONCE_MAX


async def answered_once(connections: Sequence[socket.socket]) -> None:
    """Returns when the lane has taken all of them."""
    for connection in connections:
        connection.setblocking(False)
        connection.sendall(REQUEST)
    for connection in connections:
        while not answers(connection):
            await trio.lowlevel.checkpoint()


def answers(connection: socket.socket) -> int:
    """Those that have come."""
    received = b""
    with contextlib.suppress(BlockingIOError):
        while more := connection.recv(1 << 20):
            received += more
    return received.count(ANSWER)
