"""A process that is stopped while it answers, by SIGSTOP or with its machine: its limits on time
are over when it goes on. The clock of this one jumps instead."""

import logging
import socket
from typing import Any

import pytest
import trio
import trio.testing
from http2_request import http2_request
from trio.testing import MockClock
from unobserved import unobserved

from api.admission import Admission
from api.app import LAST_MESSAGE_S, create_app
from api.handlers import Handlers
from api.hypercorn_server import HypercornServer
from api.observed_config import ObservedConfig
from ledger_actors.ledger import open_ledger
from ledger_actors.testing import ManualClock, MemoryLog, MemorySnapshots

LONG_S = 1_000
IDLE_S = 0.2
"""In which nothing comes over a socket: then the clock jumps to what is waited for next."""
BALANCE = b"GET /users/u/balance HTTP/1.1\r\nHost: a\r\n\r\n"


@pytest.mark.parametrize(
    "sent", [BALANCE, BALANCE * 2, http2_request()], ids=["one", "two", "HTTP/2"]
)
async def test_who_is_answered_while_the_clock_jumps_leaves_no_connection(
    mock_clock: MockClock, sent: bytes
) -> None:
    mock_clock.autojump_threshold = IDLE_S
    log, observation = MemoryLog(), unobserved()
    config = ObservedConfig(observation)
    config.errorlog = logging.getLogger("hypercorn.error")
    config.keep_alive_timeout = LONG_S
    async with open_ledger(log, MemorySnapshots(log), ManualClock(7), shards=4) as ledger:
        app: Any = create_app(
            Handlers(ledger, Admission(), observation.limits),
            body_bytes_max=1_000,
            bulk_bytes_max=1_000,
            request_timeout_s=LONG_S,
            observation=observation,
        )

        async def stopped(scope: Any, receive: Any, send: Any) -> None:
            async def send_after_a_stop(message: Any) -> None:
                if message["type"] == "http.response.body" and not message.get("more_body"):
                    mock_clock.jump(2 * LAST_MESSAGE_S)
                await send(message)

            await app(scope, receive, send_after_a_stop)

        server = HypercornServer(stopped, config, LONG_S, connections_max=10)
        with socket.create_server(("127.0.0.1", 0)) as listener, trio.fail_after(LONG_S / 2):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(server.serve, listener, trio.Event())
                with trio.socket.socket() as caller:
                    await caller.connect(listener.getsockname())
                    await caller.send(sent)
                    caller.shutdown(socket.SHUT_WR)
                    while await caller.recv(65_536):
                        pass
                await trio.testing.wait_all_tasks_blocked(IDLE_S / 4)
                assert not server.connections
                nursery.cancel_scope.cancel()
