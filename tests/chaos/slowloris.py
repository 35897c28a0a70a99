"""Callers who take their time, beside honest ones: what it costs the honest ones.

    python tests/chaos/slowloris.py --connections 2000 --seconds 10 --behind

Some send a byte of a head each second, some a byte of a body, some ask and never read an answer.
Whom the server drops comes again. `--behind` has them send what the fast lane hands to Hypercorn.
"""

import itertools
import resource
import signal
import socket
import sys
import tempfile
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from enum import Enum
from functools import partial
from pathlib import Path

import click
import trio
from rich.console import Console
from rich.table import Table

sys.path.append(str(Path(__file__).parents[1]))

from bitburst_command import bitburst
from raw_http import credit

from bench.server_process import ServerProcess

BYTE_INTERVAL_S = 1.0
CONNECT_INTERVAL_S = 0.002
HONEST_CONNECTIONS = 8
RATIO_AIM = 0.8
FILES_MAX = 65_536
LONG_AGO = "long-ago"
SMALL_SEGMENT = 536
SMALL_BUFFER = 4_096
ADD = b'POST /users/%s/add HTTP/1.1\r\nHost: a\r\nContent-Length: 12\r\n\r\n{"amount":1}'
BALANCE = b"GET /users/%s/balance HTTP/1.1\r\nHost: a\r\n\r\n"
HISTORY = b"GET /users/%s/history HTTP/1.1\r\nHost: a\r\n\r\n" % LONG_AGO.encode()
HEAD = b"POST /users/slow/add HTTP/1.1\r\nHost: a\r\n" + b"A: b\r\n" * 1_000
BODY = b"POST /users/slow/add HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n"
NOT_PLAIN = b"\r\nUpgrade: none\r\n\r\n"


class Manner(Enum):
    """How a caller takes its time."""

    HEAD = "a head, byte by byte"
    BODY = "a body, byte by byte"
    DEAF = "never reads an answer"


MIX = (*[Manner.HEAD] * 10, *[Manner.BODY] * 9, Manner.DEAF)
"""Few are deaf: until their answers fill all buffers they are load, like anyone's."""


@dataclass(slots=True)
class Crowd:
    """Slow callers, and after how many seconds each was dropped.

    Attributes:
        behind: they send what is not for the fast lane.
    """

    behind: bool = False
    dropped_after_s: dict[Manner, list[float]] = field(default_factory=lambda: defaultdict(list))
    refused: int = 0

    async def dawdle(self, port: int, manner: Manner, *, again: bool) -> None:
        """Is a slow caller until the server drops it, and then, perhaps, again."""
        while True:
            try:
                with _slow_socket(manner) as connection:
                    await connection.connect(("127.0.0.1", port))
                    started = trio.current_time()
                    await self._dawdle(connection, manner)
                    self.dropped_after_s[manner].append(trio.current_time() - started)
            except OSError:
                self.refused += 1
                await trio.sleep(BYTE_INTERVAL_S)
            if not again:
                return

    async def _dawdle(self, connection: trio.socket.SocketType, manner: Manner) -> None:
        """Returns when the server has dropped the connection."""
        async with trio.open_nursery() as nursery:
            with suppress(ConnectionError):
                if manner is Manner.DEAF:
                    while True:
                        await connection.send(self._sent(HISTORY) * 100)
                nursery.start_soon(self._drip, connection, manner)
                while await connection.recv(4_096):
                    pass
            nursery.cancel_scope.cancel()

    async def _drip(self, connection: trio.socket.SocketType, manner: Manner) -> None:
        with suppress(ConnectionError):
            if manner is Manner.BODY:
                await connection.send(self._sent(BODY))
            for byte in self._sent(HEAD):
                await connection.send(bytes((byte,)))
                await trio.sleep(BYTE_INTERVAL_S)

    def _sent(self, request: bytes) -> bytes:
        if not self.behind:
            return request
        # The first letter that no plain request begins with is enough for a head.
        return request.replace(b"\r\n\r\n", NOT_PLAIN) if request is not HEAD else b"X" + request


def _slow_socket(manner: Manner) -> trio.socket.SocketType:
    connection = trio.socket.socket()
    if manner is Manner.DEAF:
        # Little fits between the two sides: the server notices soon that nobody reads.
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL_BUFFER)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, SMALL_SEGMENT)
    return connection


@dataclass(slots=True)
class Honest:
    """Callers who add and ask for the balance in turn, as fast as they are answered."""

    answered: int = 0
    wrong: list[bytes] = field(default_factory=list)

    async def call(self, port: int, user: bytes, times: int | None = None) -> None:
        """Adds and asks so many times, or until it is cancelled, or answered anything but 200."""
        stream = await trio.open_tcp_stream("127.0.0.1", port)
        async with stream:
            for _ in itertools.count() if times is None else range(times):
                for request in (ADD % user, BALANCE % user):
                    answer = await _ask(stream, request)
                    if not answer.startswith(b"HTTP/1.1 200 "):
                        self.wrong.append(answer)
                        return
                    self.answered += 1


async def _ask(stream: trio.SocketStream, request: bytes) -> bytes:
    await stream.send_all(request)
    answer = b""
    while not answer.endswith(b"}") and (data := await stream.receive_some()):
        answer += data
    return answer


@asynccontextmanager
async def honest_callers(port: int, connections: int) -> AsyncIterator[Honest]:
    honest = Honest()
    async with trio.open_nursery() as nursery:
        for number in range(connections):
            nursery.start_soon(honest.call, port, b"honest-%d" % number)
        yield honest
        nursery.cancel_scope.cancel()


async def rate_per_s(honest: Honest, seconds: float) -> float:
    """What the honest callers get answered."""
    answered, started = honest.answered, trio.current_time()
    await trio.sleep(seconds)
    return (honest.answered - answered) / (trio.current_time() - started)


def fill_a_page(server: ServerProcess) -> None:
    """Gives the user whom the deaf ask for a history of one page."""
    for _ in range(10):
        credit(server.url, LONG_AGO, b'{"amount":1}')


async def measure(
    server: ServerProcess,
    connections: int,
    seconds: float,
    crowd: Crowd,
    mix: Sequence[Manner] = MIX,
) -> tuple[float, float]:
    """The honest callers' rate alone, and beside so many slow ones."""
    async with (
        honest_callers(server.port, HONEST_CONNECTIONS) as honest,
        trio.open_nursery() as nursery,
    ):
        await trio.sleep(seconds / 10)
        alone = await rate_per_s(honest, seconds)
        for number in range(connections):
            manner = mix[number % len(mix)]
            nursery.start_soon(partial(crowd.dawdle, server.port, manner, again=True))
            # Not more at once than wait to be accepted.
            await trio.sleep(CONNECT_INTERVAL_S)
        beside = await rate_per_s(honest, seconds)
        nursery.cancel_scope.cancel()
    assert not honest.wrong, honest.wrong
    return alone, beside


def flags_of(kind: str) -> tuple[str, ...]:
    return ("--server", kind) if "--server" in bitburst("serve", "--help").output else ()


@click.command()
@click.option("--connections", type=click.IntRange(min=1), default=2_000, show_default=True)
@click.option("--seconds", type=click.FloatRange(min=0.1), default=10.0, show_default=True)
@click.option("--request-timeout-s", type=float, default=10.0, show_default=True)
@click.option("--server", type=click.Choice(["hypercorn", "fast-lane"]), default="fast-lane")
@click.option("--without-deaf", is_flag=True, help="All of the slow ones drip.")
@click.option("--behind", is_flag=True, help="The slow ones are not for the fast lane.")
def main(
    connections: int,
    seconds: float,
    request_timeout_s: float,
    server: str,
    without_deaf: bool,
    behind: bool,
) -> None:
    """Measure honest callers without and with slow ones beside them."""
    # Asked to end, as by `timeout`, it takes its server with it.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    allowed = min(most, FILES_MAX) if most != resource.RLIM_INFINITY else FILES_MAX
    # The server inherits it.
    resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, most))
    flags = ("--request-timeout-s", str(request_timeout_s), *flags_of(server))
    crowd = Crowd(behind)
    mix = [manner for manner in MIX if not (without_deaf and manner is Manner.DEAF)]
    with (
        tempfile.TemporaryDirectory(prefix="bitburst-slowloris-") as directory,
        ServerProcess(Path(directory) / "data", *flags) as process,
    ):
        fill_a_page(process)
        alone, beside = trio.run(measure, process, connections, seconds, crowd, mix)
        memory_mb = process.memory().anonymous_mb
        output = process.output()
    title = f"{connections} slow callers{' behind' * behind}, server {server}"
    table = Table("what", "figure", title=title)
    table.add_row("honest requests/s without them", f"{alone:,.0f}")
    table.add_row("honest requests/s beside them", f"{beside:,.0f}")
    table.add_row(f"ratio (aim: at least {RATIO_AIM})", f"{beside / alone:.2f}")
    for manner, seconds_each in crowd.dropped_after_s.items():
        longest = max(seconds_each)
        table.add_row(f"dropped: {manner.value}", f"{len(seconds_each)}, after {longest:.1f} s")
    table.add_row("connections refused", str(crowd.refused))
    table.add_row("memory of the server", f"{memory_mb:.1f} MB")
    Console().print(table)
    if "Traceback" in output:
        sys.exit(output)


if __name__ == "__main__":
    main()
