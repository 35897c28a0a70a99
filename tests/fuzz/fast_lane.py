"""Sends spoilt requests to a server over many connections, and checks what it makes of them.

    python tests/fuzz/fast_lane.py --inputs 1000000 --seed 7

No input may end the server, make it log a traceback, keep a connection hanging or leave anything
behind in memory, file handles and threads; what it says it credited is in the balances, and no
more. An input depends on the seed and its number alone: `--first 123 --inputs 1` repeats one.
"""

import math
import signal
import socket
import struct
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import click
import psutil
import trio
from rich.console import Console
from rich.table import Table

sys.path.append(str(Path(__file__).parents[1]))

from bitburst_command import bitburst
from fuzz_answers import Answer, balance_in, credited_by, read_answers
from fuzz_inputs import USERS, Ending, Input, make_input
from held import held_by
from patience import Patience

from bench.server_process import ServerProcess

ANSWER_TIMEOUT_S = 20.0
CREDITED_CHECKS_MAX = 20_000
NOT_NOW = (408, 503)
"""How an add may be answered that met a disk, or a process, that others had stopped."""
LAST = 408
PUT_OFF_PART_MAX = 0.01
PUT_OFF_MAX = 200
"""Or more, if they are no larger a part. A moment's stop puts off what each connection asks for."""
WARM_UP_PART = 0.2
WARM_UP_INPUTS = 20_000
"""What a server takes that has read fewer says nothing of what it keeps."""
WARM_UP_MB_MAX = 14.0
"""Since the start. What waited for the garbage collector took 18 MB."""
GROWTH_MB_MAX = 2.0
GROWTH_MB_MAX_EACH = 0.5 / 100_000
"""For each input besides. What waited for the garbage collector made 3 MB in 100,000 inputs."""
FILES_GROWTH_MAX = 4
"""The snapshotter is started meanwhile, and has some."""
THREADS_GROWTH_MAX = 8
FAILURES_MAX = 10
REPORT_INTERVAL_S = 5.0
SERVER_FLAGS = ("--snapshot-interval-s", "2", "--log-format", "json")
RESETTING = struct.pack("ii", 1, 0)


@dataclass(frozen=True, slots=True)
class Plan:
    server: str
    seed: int
    first: int
    inputs: int
    connections: int

    @property
    def warm_up(self) -> int:
        """After so many inputs nothing more should be taken and kept."""
        return math.ceil(WARM_UP_PART * self.inputs)

    @property
    def memory_growth_mb_max(self) -> float:
        if self.warm_up < WARM_UP_INPUTS:
            return WARM_UP_MB_MAX
        return GROWTH_MB_MAX + GROWTH_MB_MAX_EACH * (self.inputs - self.warm_up)

    def command(self, number: int) -> str:
        return (
            f"python tests/fuzz/fast_lane.py --server {self.server} --seed {self.seed} "
            f"--first {number} --inputs 1"
        )


class FuzzRun:
    """One run: the inputs, what was answered to them, and what is wrong with that."""

    def __init__(self, plan: Plan, server: ServerProcess, console: Console) -> None:
        self._plan = plan
        self._server = server
        self._console = console
        self._numbers = iter(range(plan.first, plan.first + plan.inputs))
        self._acknowledged: Counter[str] = Counter()
        self._most: Counter[str] = Counter()
        self._statuses: Counter[int] = Counter()
        self._intact = self._put_off = 0
        self._done = 0
        self._duration_s = 0.0
        self._patience = Patience(server.pid, ANSWER_TIMEOUT_S)
        self._before = self._warm = self._after = held_by(self._server)
        self.failures: list[str] = []

    async def run(self) -> None:
        self._before = held_by(self._server)
        started = trio.current_time()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._patience.tick)
            nursery.start_soon(self._watch)
            async with trio.open_nursery() as senders:
                for _ in range(self._plan.connections):
                    senders.start_soon(self._send_inputs)
            self._duration_s = trio.current_time() - started
            await self._settle()
            self._check_process()
            if psutil.pid_exists(self._server.pid):
                await self._check_honest_caller()
                await self._check_money()
            nursery.cancel_scope.cancel()

    async def _send_inputs(self) -> None:
        for number in self._numbers:
            if len(self.failures) >= FAILURES_MAX:
                return
            given = make_input(self._plan.seed, number)
            try:
                await self._send(given)
            except (ValueError, OSError) as error:
                self._fail(f"input {number}: {error}\n  {self._plan.command(number)}")
            self._done += 1

    async def _send(self, given: Input) -> None:
        """
        Raises:
            ValueError: an answer cannot be right, or does not come.
            OSError: the server takes no connections.
        """
        for user in given.entire:
            self._most[user] += 1_000_000
        answered = bytearray()
        with trio.socket.socket() as connection:
            await connection.connect(("127.0.0.1", self._server.port))
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with suppress(ConnectionError), self._patience.limited() as wait:
                async with trio.open_nursery() as nursery:
                    if given.ending is Ending.HALF_CLOSE:
                        nursery.start_soon(_read_all, connection, answered)
                    await _send_pieces(connection, given)
            if wait.interrupted:
                self._acknowledge_begun(bytes(answered))
                return
            if wait.scope.cancelled_caught:
                raise ValueError(f"it hangs behind {bytes(answered)[-200:]!r}")
        if given.ending is Ending.HALF_CLOSE:
            self._check_answers(given, bytes(answered))

    def _check_answers(self, given: Input, answered: bytes) -> None:
        if any(b"PRI" in piece for piece in given.pieces) or b"PRI * " in b"".join(given.pieces):
            # It may be answered in HTTP/2.
            answered = answered.partition(b"\0\0")[0]
        answers = read_answers(answered)
        self._statuses.update(answer.status for answer in answers)
        first = answers[: len(given.intact)]
        self._acknowledge(answers if given.decidable else first)
        self._intact += len(given.intact)
        for number, user in enumerate(given.intact):
            answer = first[number] if number < len(first) else None
            if answer is not None and answer.status in NOT_NOW:
                self._put_off += 1
                if answer.status == LAST:
                    self._put_off += len(given.intact) - len(first)
                    return
            elif answer is None or answer.body != _added(user):
                raise ValueError(f"intact adds are answered {first}")

    def _acknowledge_begun(self, answered: bytes) -> None:
        """Notes the credits of answers that may not all have come."""
        while answered:
            try:
                self._acknowledge(read_answers(answered))
                return
            except ValueError:
                answered = answered.rpartition(b"HTTP/1.1 ")[0]

    def _acknowledge(self, answers: list[Answer]) -> None:
        for answer in answers:
            credited = credited_by(answer)
            if credited is not None:
                self._acknowledged[credited.user] += credited.micros

    async def _watch(self) -> None:
        """Reports how far it is, and notes what the server holds once it is warm."""
        warm, reported = False, trio.current_time()
        while True:
            await trio.sleep(0.1)
            if not warm and self._done >= self._plan.warm_up:
                warm, self._warm = True, held_by(self._server)
            if trio.current_time() - reported >= REPORT_INTERVAL_S:
                reported = trio.current_time()
                held = held_by(self._server)
                self._console.print(
                    f"{self._done:>9,} inputs  {held.memory_mb:6.1f} MB  {held.files} files  "
                    f"{held.threads} threads  {len(self.failures)} failures",
                    highlight=False,
                )

    async def _settle(self) -> None:
        """Waits for the server to have closed its connections."""
        with self._patience.limited():
            while True:
                self._after = held_by(self._server)
                if self._after.files - self._before.files <= FILES_GROWTH_MAX:
                    return
                await trio.sleep(0.1)

    def _check_process(self) -> None:
        output = self._server.output()
        if "Traceback" in output or '"level": "error"' in output:
            self._fail(f"the server's log:\n{output[-5_000:]}")
        if not psutil.pid_exists(self._server.pid):
            self._fail("the server has ended")
        if self._put_off > max(PUT_OFF_PART_MAX * self._intact, PUT_OFF_MAX):
            self._fail(f"{self._put_off} of {self._intact} intact adds were put off")
        before, warm, after = self._before, self._warm, self._after
        if after.memory_mb - warm.memory_mb > self._plan.memory_growth_mb_max:
            self._fail(f"memory grew from {warm.memory_mb:.1f} to {after.memory_mb:.1f} MB")
        if warm.memory_mb - before.memory_mb > WARM_UP_MB_MAX:
            self._fail(
                f"memory grew from {before.memory_mb:.1f} to {warm.memory_mb:.1f} MB at once"
            )
        if after.files - before.files > FILES_GROWTH_MAX:
            self._fail(f"open files grew from {before.files} to {after.files}")
        if after.threads - before.threads > THREADS_GROWTH_MAX:
            self._fail(f"threads grew from {before.threads} to {after.threads}")

    async def _check_honest_caller(self) -> None:
        body = b'{"amount":1}'
        head = b"POST /users/honest/add HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n"
        answers = await self._ask([head % len(body) + body])
        if [answer.status for answer in answers] != [200]:
            self._fail(f"an honest caller is answered {answers}")
        if await self._balances(["honest"]) != [1_000_000]:
            self._fail("an honest credit is not in the balance")

    async def _check_money(self) -> None:
        """What was acknowledged is there, and nothing that was not sent."""
        others = [user for user in self._acknowledged if _is_certain(user)]
        names = [f"{kind}-{number}" for kind in ("intact", "mutant") for number in range(USERS)]
        users = list(dict.fromkeys([*names, *others[:CREDITED_CHECKS_MAX]]))
        more = []
        for user, balance in zip(users, await self._balances(users), strict=True):
            said = f"{user!r} has {balance}, acknowledged were {self._acknowledged[user]}"
            if balance < self._acknowledged[user]:
                self._fail(said)
            elif balance > self._acknowledged[user]:
                more.append(said)
        if len(more) > self._patience.interrupted:
            for said in more:
                self._fail(said)
        hasty = [f"hasty-{number}" for number in range(USERS)]
        for user, balance in zip(hasty, await self._balances(hasty), strict=True):
            if balance > self._most[user]:
                self._fail(f"{user!r} has {balance}, at most {self._most[user]} was sent")

    async def _balances(self, users: list[str]) -> list[int]:
        found = []
        for start in range(0, len(users), 100):
            some = users[start : start + 100]
            requests = [
                b"GET /users/%s/balance HTTP/1.1\r\nHost: a\r\n\r\n" % quote(user, "").encode()
                for user in some
            ]
            answers = await self._ask(requests)
            found += [balance_in(answer.body) for answer in answers]
        return found

    async def _ask(self, requests: list[bytes]) -> list[Answer]:
        answered = bytearray()
        given = Input(requests, Ending.HALF_CLOSE, [], [], True)
        with trio.socket.socket() as connection:
            await connection.connect(("127.0.0.1", self._server.port))
            with self._patience.limited():
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(_read_all, connection, answered)
                    await _send_pieces(connection, given)
        return read_answers(bytes(answered))

    def _fail(self, what: str) -> None:
        self.failures.append(what)
        self._console.print(what, markup=False, highlight=False, soft_wrap=True)

    def report(self) -> Table:
        broke = sum(event["event"] == "connection broke" for event in self._server.events())
        table = Table("what", "figure", title=f"spoilt requests to the {self._plan.server} server")
        rows: dict[str, object] = {
            "inputs": f"{self._done:,} in {self._duration_s:.1f} s",
            **{f"answers {status}": f"{n:,}" for status, n in sorted(self._statuses.items())},
            "connections that broke a protocol's code": broke,
            "intact adds, put off": f"{self._intact:,}, {self._put_off}",
            "inputs while a process was stopped": self._patience.interrupted,
            "users credited": f"{len(self._acknowledged):,}",
            "memory, before, warm and after": ", ".join(
                f"{held.memory_mb:.1f} MB" for held in (self._before, self._warm, self._after)
            ),
            "open files, before and after": f"{self._before.files}, {self._after.files}",
            "threads, before and after": f"{self._before.threads}, {self._after.threads}",
            "seed": self._plan.seed,
            "failures": len(self.failures),
        }
        for what, figure in rows.items():
            table.add_row(what, str(figure))
        return table


def _added(user: str) -> bytes:
    return f'{{"Message":"Transaction of $1.000000 added for user {user}"}}'.encode()


def _is_certain(user: str) -> bool:
    """Whether no input whose answers do not tell all can have named the user."""
    return "mutant" in user or "intact" in user


async def _send_pieces(connection: trio.socket.SocketType, given: Input) -> None:
    # Besides, what is closed already cannot be half-closed: that is no ConnectionError.
    with suppress(OSError):
        for piece in given.pieces:
            rest = memoryview(piece)
            while rest:
                rest = rest[await connection.send(rest) :]
            await trio.lowlevel.checkpoint()
        if given.ending is Ending.HALF_CLOSE:
            connection.shutdown(socket.SHUT_WR)
        elif given.ending is Ending.RESET:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESETTING)


async def _read_all(connection: trio.socket.SocketType, into: bytearray) -> None:
    with suppress(ConnectionError):
        while data := await connection.recv(65_536):
            into += data


def kinds_of_server() -> Iterator[tuple[str, tuple[str, ...]]]:
    """Each kind that `bitburst serve` has, with the flags for it."""
    chosen = "--server" in bitburst("serve", "--help").output
    yield "hypercorn", ("--server", "hypercorn") if chosen else ()
    if chosen:
        yield "fast-lane", ("--server", "fast-lane")


@click.command()
@click.option("--inputs", type=click.IntRange(min=1), default=100_000, show_default=True)
@click.option("--seed", type=int, help="Without it, one of the clock's.")
@click.option("--first", type=click.IntRange(min=0), default=0, show_default=True)
@click.option("--connections", type=click.IntRange(1, 1000), default=48, show_default=True)
@click.option("--server", type=click.Choice(["hypercorn", "fast-lane"]), default="fast-lane")
def main(inputs: int, seed: int | None, first: int, connections: int, server: str) -> None:
    """Send spoilt requests to a server, and check what it makes of them."""
    # Asked to end, as by `timeout`, it takes its server with it.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    flags = dict(kinds_of_server())
    if server not in flags:
        raise click.UsageError(f"bitburst serve has no server {server}")
    console = Console()
    seed = time.time_ns() // 1_000_000 if seed is None else seed
    plan = Plan(server, seed, first, inputs, connections)
    with (
        tempfile.TemporaryDirectory(prefix="bitburst-fuzz-") as directory,
        ServerProcess(Path(directory) / "data", *SERVER_FLAGS, *flags[server]) as process,
    ):
        run = FuzzRun(plan, process, console)
        trio.run(run.run)
        console.print(run.report())
    sys.exit(bool(run.failures))


if __name__ == "__main__":
    main()
