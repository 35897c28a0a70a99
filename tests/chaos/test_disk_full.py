"""A full disk refuses credits, and nothing else: no loss, no restart, reads go on.

The disk is a small tmpfs where one can be mounted. Everywhere it is also a limit on the size of
the server's files, which the kernel answers with EFBIG where a disk would with ENOSPC.
"""

import itertools
import json
import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import trio
from audit import Credit, Fate, violations
from chaos_client import Connection, Reply, read_accounts
from store_checks import verified

from bench.server_process import ServerProcess, children_of
from ledger_actors.entry import Batch, Entry, Timestamp
from ledger_actors.identity import IdempotencyKey, UserId, shard_of
from ledger_actors.money import Micros
from persistence.data_directory import SHARDS_DEFAULT, create_data_directory
from persistence.environment import INITIAL_BYTES, MIB
from persistence.log_store import LogStore

TMPFS_SIZE = "48m"
LOG_LEFT_BYTES = MIB // 4
"""What is left of the log's reserved room before the server starts: it has little to fill."""
ENTRY_BYTES = 420
ENTRIES_PER_COMMIT = 100
CLIENTS = 32
USERS = 50
WAIT_S = 60.0
NO_SNAPSHOTS = ("--snapshot-interval-s", "3600", "--snapshot-entries", "1000000")
PROBED_OFTEN = ("--probe-interval-s", "0.2")
LIMITED = """
import os, resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), resource.RLIM_INFINITY))
os.execv(sys.argv[2], sys.argv[2:])
"""


class SmallDisk:
    """A tmpfs of its own."""

    def __init__(self, path: Path) -> None:
        self.data_dir = path / "data"
        self._filler = self.data_dir / "filler"

    def mount(self) -> None:
        self.data_dir.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", f"size={TMPFS_SIZE}", "tmpfs", str(self.data_dir)]
        mounted = subprocess.run(command, capture_output=True, text=True)
        if mounted.returncode:
            pytest.skip(f"cannot mount a tmpfs: {mounted.stderr.strip()}")

    def unmount(self) -> None:
        subprocess.run(["umount", str(self.data_dir)], check=True)

    def server(self, *flags: str) -> ServerProcess:
        return ServerProcess(self.data_dir, *flags)

    def fill(self) -> None:
        with self._filler.open("wb", buffering=0) as file:
            for size in (MIB, 4096):
                try:
                    for _ in range(100_000):
                        file.write(bytes(size))
                except OSError:
                    continue

    def free(self, *_: int) -> None:
        self._filler.unlink()


class LimitedFiles:
    """Files of the server that cannot grow past what the log reserves at first."""

    def __init__(self, path: Path) -> None:
        self.data_dir = path / "data"

    def mount(self) -> None:
        self.data_dir.mkdir()

    def unmount(self) -> None:
        pass

    def server(self, *flags: str) -> ServerProcess:
        wrapper = (sys.executable, "-c", LIMITED, str(INITIAL_BYTES))
        return ServerProcess(self.data_dir, *flags, wrapper=wrapper)

    def fill(self) -> None:
        """It is full from the beginning."""

    def free(self, *pids: int) -> None:
        for pid in pids:
            resource.prlimit(
                pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
            )


Disk = SmallDisk | LimitedFiles


@pytest.fixture(params=[SmallDisk, LimitedFiles])
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Disk]:
    made: Disk = request.param(tmp_path)
    made.mount()
    yield made
    made.unmount()


class Callers:
    """They add credits that are large in the log, and remember what they were told."""

    def __init__(self) -> None:
        self.fates: dict[Credit, Fate] = {}
        self._amounts = itertools.count(1)

    def next_credit(self) -> Credit:
        amount = next(self._amounts)
        return Credit(f"{'u' * 120}-{amount % USERS}", amount, f"{'k' * 240}-{amount}")

    async def add(self, connection: Connection) -> Reply:
        credit = self.next_credit()
        reply = await connection.add(credit)
        self.fates[credit] = {200: Fate.ACKNOWLEDGED, 503: Fate.REFUSED}[reply.status]
        if reply.status == 503:
            assert reply.headers["retry-after"] == "1"
            assert json.loads(reply.body)["type"] == "/docs#log-unavailable"
        return reply

    async def add_until_refused(self, port: int) -> None:
        """All at once, until each has been refused; then one by one, until it is not ready."""

        async def add() -> None:
            async with Connection(port) as connection:
                while (await self.add(connection)).status == 200:
                    pass

        with trio.fail_after(WAIT_S):
            async with trio.open_nursery() as nursery:
                for _ in range(CLIENTS):
                    nursery.start_soon(add)
            async with Connection(port) as connection:
                # What is small may still fit where a group commit did not.
                while (await connection.get("/readyz")).status == 200:
                    await self.add(connection)

    async def add_until_taken(self, port: int) -> None:
        with trio.fail_after(WAIT_S):
            async with Connection(port) as connection:
                while (await self.add(connection)).status == 503:  # noqa: ASYNC110
                    await trio.sleep(0.1)

    async def audit(self, port: int) -> list[str]:
        users = sorted({credit.user for credit in self.fates})
        return violations(self.fates, await read_accounts(port, users))


async def test_full_disk_refuses_credits_until_room_returns(disk: Disk) -> None:
    callers = Callers()
    _make_nearly_full_log(disk)
    disk.fill()
    with disk.server(*NO_SNAPSHOTS, *PROBED_OFTEN) as server:
        await callers.add_until_refused(server.port)
        async with Connection(server.port) as connection:
            reply = await connection.get("/readyz")
            assert reply.status == 503
            problem = json.loads(reply.body)
            assert problem["type"] == "/docs#not-ready"
            assert "no room" in problem["detail"]
            assert reply.headers["retry-after"] == "1"
        assert await callers.audit(server.port) == []

        disk.free(server.pid)

        with trio.fail_after(WAIT_S):
            async with Connection(server.port) as connection:
                while (await connection.get("/readyz")).status == 503:  # noqa: ASYNC110
                    await trio.sleep(0.05)
        await callers.add_until_taken(server.port)
        assert await callers.audit(server.port) == []
        assert server.stop() == 0
        assert "Traceback" not in server.output()
    assert set(callers.fates.values()) == {Fate.ACKNOWLEDGED, Fate.REFUSED}
    assert verified(disk.data_dir)


@pytest.mark.parametrize("killed", [True, False])
async def test_server_starts_and_reads_while_the_disk_is_full(disk: Disk, killed: bool) -> None:
    callers = Callers()
    _make_nearly_full_log(disk)
    disk.fill()
    with disk.server(*NO_SNAPSHOTS) as server:
        await callers.add_until_refused(server.port)
        if killed:
            server.kill()
        else:
            assert server.stop() == 0
    with disk.server(*NO_SNAPSHOTS, *PROBED_OFTEN) as server:
        assert await callers.audit(server.port) == []
        assert verified(disk.data_dir)
        disk.free(server.pid)
        await callers.add_until_taken(server.port)
        assert await callers.audit(server.port) == []
        assert server.stop() == 0
        assert "Traceback" not in server.output()


async def test_snapshot_makes_room_in_a_full_log(tmp_path: Path) -> None:
    """The log cannot grow, the snapshot can: what the snapshot has, the log lets go of."""
    disk = LimitedFiles(tmp_path)
    disk.mount()
    callers = Callers()
    _make_nearly_full_log(disk)
    with disk.server(*NO_SNAPSHOTS) as server:
        await callers.add_until_refused(server.port)
    with disk.server("--snapshot-interval-s", "0.2", *PROBED_OFTEN) as server:
        server.wait_for_event("snapshot failed")
        disk.free(*children_of(server.pid))
        server.wait_for_event("snapshot taken")
        await callers.add_until_taken(server.port)
        assert await callers.audit(server.port) == []
        assert server.stop() == 0
    assert verified(disk.data_dir)
    assert (disk.data_dir / "log" / "data.mdb").stat().st_size == INITIAL_BYTES


def test_new_store_on_a_full_disk_is_refused_in_one_line(tmp_path: Path) -> None:
    disk = SmallDisk(tmp_path)
    disk.mount()
    try:
        disk.fill()
        server = disk.server()
        server.start(wait=False)
        assert server.wait() == 1
        (line,) = server.output().splitlines()
        assert line.startswith("bitburst: ")
        assert "No space left on device" in line
        disk.free(server.pid)
        server.start()
        assert server.stop() == 0
    finally:
        server.kill()
        disk.unmount()


def _make_nearly_full_log(disk: Disk) -> None:
    """A store whose log has little of its reserved room left, all of it one user's entries."""
    directory = create_data_directory(disk.data_dir, SHARDS_DEFAULT)
    user = UserId("u" * 128)
    entries = [
        Entry(user, number, Micros(1), Timestamp(number), IdempotencyKey(f"{number:0255}"))
        for number in range(1, (INITIAL_BYTES - LOG_LEFT_BYTES) // ENTRY_BYTES)
    ]
    with closing(LogStore(directory.log)) as log:
        for first in range(0, len(entries), ENTRIES_PER_COMMIT):
            batch = entries[first : first + ENTRIES_PER_COMMIT]
            log.commit([Batch(shard_of(user, directory.shards), batch)])
        assert log.reserved_bytes == INITIAL_BYTES
