"""A snapshotter that is stopped or dead: callers do not notice, up to a stated limit."""

import itertools
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import trio
from audit import Credit, Fate, violations
from chaos_client import Connection, read_accounts

from bench.server_process import ServerProcess

WAIT_S = 30.0
SNAPSHOT_FLAGS = ("--snapshot-entries", "50", "--snapshot-interval-s", "0.2")
UNFOLDED_MAX = 200
USERS = 5


class Caller:
    """Adds one after the other, and remembers what it was told."""

    def __init__(self) -> None:
        self.fates: dict[Credit, Fate] = {}
        self._amounts = itertools.count(1)

    async def add(self, connection: Connection) -> int:
        amount = next(self._amounts)
        credit = Credit(f"user-{amount % USERS}", amount, f"key-{amount}")
        reply = await connection.add(credit)
        self.fates[credit] = {200: Fate.ACKNOWLEDGED, 503: Fate.REFUSED}[reply.status]
        if reply.status == 503:
            assert reply.headers["retry-after"] == "1"
        return reply.status

    async def add_until(self, connection: Connection, status: int) -> int:
        """Adds until it gets that status; returns how many adds it took."""
        deadline = trio.current_time() + WAIT_S
        for adds in itertools.count(1):
            if await self.add(connection) == status:
                return adds
            assert trio.current_time() < deadline, f"no answer was {status}: {self.fates}"
            if status == 200:
                await trio.sleep(0.02)
        raise AssertionError

    async def audit(self, port: int) -> list[str]:
        users = sorted({credit.user for credit in self.fates})
        return violations(self.fates, await read_accounts(port, users))


async def test_stopped_snapshotter_stops_adds_only_at_the_limit(tmp_path: Path) -> None:
    flags = (*SNAPSHOT_FLAGS, "--unfolded-entries-max", str(UNFOLDED_MAX))
    caller = Caller()
    with ServerProcess(tmp_path / "data", *flags) as server:
        async with Connection(server.port) as connection:
            await _add_until_snapshot(caller, connection, server)
            with stopped(server):
                added = await caller.add_until(connection, 503)
                reply = await connection.get("/users/user-1/balance")
                assert reply.status == 200
            await caller.add_until(connection, 200)
        assert added > UNFOLDED_MAX / 2
        assert await caller.audit(server.port) == []
        assert server.stop() == 0
        assert "Traceback" not in server.output()


async def test_killed_snapshotter_is_started_again(tmp_path: Path) -> None:
    caller = Caller()
    with ServerProcess(tmp_path / "data", *SNAPSHOT_FLAGS) as server:
        async with Connection(server.port) as connection:
            await _add_until_snapshot(caller, connection, server)
            for _ in range(3):
                (pid,) = server.snapshotter_pids()
                os.kill(pid, signal.SIGKILL)
                await _add_until_snapshot(caller, connection, server)
                assert pid not in server.snapshotter_pids()
        assert await caller.audit(server.port) == []
        assert set(caller.fates.values()) == {Fate.ACKNOWLEDGED}
        assert server.stop() == 0
        assert "Traceback" not in server.output()


async def test_snapshotter_ends_when_only_its_server_is_killed(tmp_path: Path) -> None:
    caller = Caller()
    with ServerProcess(tmp_path / "data", *SNAPSHOT_FLAGS) as server:
        async with Connection(server.port) as connection:
            await _add_until_snapshot(caller, connection, server)
        (pid,) = server.snapshotter_pids()
        os.kill(server.pid, signal.SIGKILL)
        server.wait()
        wait_until(lambda: not alive(pid), "the snapshotter ends")
        assert "Traceback" not in server.output()
        server.start()
        assert await caller.audit(server.port) == []


async def test_stray_snapshotter_does_not_hold_up_the_next_server(tmp_path: Path) -> None:
    """It is stopped, so it cannot notice that its server is gone, until it goes on."""
    caller = Caller()
    with ServerProcess(tmp_path / "data", *SNAPSHOT_FLAGS) as server:
        async with Connection(server.port) as connection:
            await _add_until_snapshot(caller, connection, server)
        with stopped(server) as (pid,):
            os.kill(server.pid, signal.SIGKILL)
            server.wait()
            server.start()
            async with Connection(server.port) as connection:
                await _add_until_snapshot(caller, connection, server)
        wait_until(lambda: not alive(pid), "the stray snapshotter ends")
        assert await caller.audit(server.port) == []
        assert server.stop() == 0


async def _add_until_snapshot(
    caller: Caller, connection: Connection, server: ServerProcess
) -> None:
    """Until one more snapshot is taken than before."""

    def taken() -> int:
        return sum(event["event"] == "snapshot taken" for event in server.events())

    before = taken()
    deadline = trio.current_time() + WAIT_S
    while taken() == before:
        assert trio.current_time() < deadline, f"no snapshot is taken:\n{server.output()}"
        await caller.add(connection)


@contextmanager
def stopped(server: ServerProcess) -> Iterator[list[int]]:
    pids = server.snapshotter_pids()
    assert pids
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield pids
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


def alive(pid: int) -> bool:
    """Whether the process runs; one that has ended and that nobody has waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline, f"not in {WAIT_S} s: {what}"
        time.sleep(0.02)
