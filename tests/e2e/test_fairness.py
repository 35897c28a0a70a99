"""Callers who pipeline without end, and one who does not."""

import contextlib
import os
import select
import signal
import socket
from pathlib import Path

from raw_http import connect, head

from bench.server_process import ServerProcess

GREEDY = 400
REQUEST = b"GET /users/u/balance HTTP/1.1\r\nHost: bitburst\r\n\r\n"
ANSWER = b"HTTP/1.1 200 "
PIPELINED = 16_384 // len(REQUEST)
AT_ONCE_MAX = 40_000
"""Answers to the greedy before that to the modest. Without a limit on what is taken of a connection
at a time, they have all that they asked for, about 130,000, before it."""


def test_who_pipelines_without_end_does_not_keep_the_others_waiting(tmp_path: Path) -> None:
    with ServerProcess(tmp_path / "data") as server, contextlib.ExitStack() as stack:
        greedy = [stack.enter_context(connect(server.url)) for _ in range(GREEDY)]
        modest = stack.enter_context(connect(server.url))
        os.kill(server.pid, signal.SIGSTOP)
        for connection in greedy:
            connection.sendall(REQUEST * PIPELINED)
        modest.sendall(head(server.url, b"GET", b"/healthz"))
        os.kill(server.pid, signal.SIGCONT)
        select.select([modest], [], [])
        os.kill(server.pid, signal.SIGSTOP)
        answered = sum(_answers(connection) for connection in greedy)
        os.kill(server.pid, signal.SIGCONT)
    assert answered < AT_ONCE_MAX


def _answers(connection: socket.socket) -> int:
    """Those that have come."""
    connection.setblocking(False)
    received = b""
    with contextlib.suppress(BlockingIOError):
        while more := connection.recv(1 << 20):
            received += more
    return received.count(ANSWER)
