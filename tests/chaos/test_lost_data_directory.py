"""The rehearsal: a server under load loses its data directory, and is restored from backups."""

import shutil
from collections.abc import Sequence
from pathlib import Path

import trio
from audit import Credit, Fate, violations
from bitburst_command import bitburst
from chaos_client import Connection, NoAnswer, read_accounts

from bench.server_process import ServerProcess

CALLERS = 16
USERS = [f"user-{number}" for number in range(50)]
INCREMENTS = 4
BETWEEN_S = 0.7
RUN_TIMEOUT_S = 120.0
SNAPSHOTS_OFTEN = ("--snapshot-entries", "300", "--snapshot-interval-s", "0.2")


class Callers:
    """They credit as fast as they are answered, and remember in which order they were."""

    def __init__(self, port: int) -> None:
        self.sent: list[Credit] = []
        self.acknowledged: list[Credit] = []
        self._port = port

    async def call(self) -> None:
        """Until the server is gone."""
        async with Connection(self._port) as connection:
            while True:
                amount = len(self.sent) + 1
                credit = Credit(USERS[amount % len(USERS)], amount, f"key-{amount}")
                self.sent.append(credit)
                try:
                    reply = await connection.add(credit)
                except NoAnswer:
                    return
                assert reply.status == 200, reply
                self.acknowledged.append(credit)


async def backed_up(data_dir: Path, place: Path, *flags: str) -> int:
    """Takes a backup beside the load, and returns the position that it says it reaches."""
    finished = await trio.to_thread.run_sync(
        lambda: bitburst("backup", "--json", "--data-dir", data_dir, place, *flags)
    )
    assert finished.status == 0, finished.complaint
    position: int = finished.json[0]["position"]
    return position


async def retry_all(port: int, credits_sent: Sequence[Credit]) -> set[Credit]:
    """Sends each again; returns those that were recognised."""
    recognised: set[Credit] = set()
    waiting = list(credits_sent)

    async def send() -> None:
        async with Connection(port) as connection:
            while waiting:
                credit = waiting.pop()
                reply = await connection.add(credit)
                assert reply.status == 200, reply
                if reply.replayed:
                    recognised.add(credit)

    async with trio.open_nursery() as nursery:
        for _ in range(CALLERS):
            nursery.start_soon(send)
    return recognised


async def test_a_lost_data_directory_is_restored_with_all_that_was_acknowledged_before_the_backup(
    tmp_path: Path,
) -> None:
    place = tmp_path / "backups"
    with trio.fail_after(RUN_TIMEOUT_S), ServerProcess(tmp_path / "data", *SNAPSHOTS_OFTEN) as lost:
        callers = Callers(lost.port)
        async with trio.open_nursery() as nursery:
            for _ in range(CALLERS):
                nursery.start_soon(callers.call)
            await trio.sleep(BETWEEN_S)
            await backed_up(lost.data_dir, place)
            for _ in range(INCREMENTS):
                await trio.sleep(BETWEEN_S)
                before = list(callers.acknowledged)
                position = await backed_up(lost.data_dir, place, "--incremental")
            await trio.sleep(BETWEEN_S)
            taken = [event for event in lost.events() if event["event"] == "snapshot taken"]
            # The machine is gone, and its disk with it.
            lost.kill()
            shutil.rmtree(lost.data_dir)

    restored = bitburst("restore", "--data-dir", tmp_path / "restored", place)

    assert restored.status == 0, restored.complaint
    assert f"up to position {position}." in restored.output
    assert len(callers.acknowledged) > len(before) > 100
    # So the log would have been cut before the increments, were it not kept for them.
    assert len(taken) > INCREMENTS
    with ServerProcess(tmp_path / "restored", *SNAPSHOTS_OFTEN) as server:
        known = dict.fromkeys(callers.sent, Fate.UNKNOWN) | dict.fromkeys(before, Fate.ACKNOWLEDGED)
        assert violations(known, await read_accounts(server.port, USERS)) == []

        recognised = await retry_all(server.port, callers.sent)

        # What is in the backup is recognised, the rest counts now: all of it once.
        assert recognised.issuperset(before)
        known = dict.fromkeys(callers.sent, Fate.ACKNOWLEDGED)
        assert violations(known, await read_accounts(server.port, USERS)) == []
        assert server.stop() == 0
    assert bitburst("verify", "--data-dir", tmp_path / "restored").status == 0


async def test_all_that_was_acknowledged_while_it_was_served_is_in_the_last_backup(
    tmp_path: Path,
) -> None:
    """When the server is stopped and backed up before the directory is lost, nothing is."""
    place = tmp_path / "backups"
    with trio.fail_after(RUN_TIMEOUT_S), ServerProcess(tmp_path / "data", *SNAPSHOTS_OFTEN) as lost:
        callers = Callers(lost.port)
        async with trio.open_nursery() as nursery:
            for _ in range(CALLERS):
                nursery.start_soon(callers.call)
            await backed_up(lost.data_dir, place)
            await trio.sleep(BETWEEN_S)
            lost.kill()
        await backed_up(lost.data_dir, place, "--incremental")
        shutil.rmtree(lost.data_dir)

    assert bitburst("restore", "--data-dir", tmp_path / "restored", place).status == 0
    with ServerProcess(tmp_path / "restored") as server:
        known = dict.fromkeys(callers.sent, Fate.UNKNOWN)
        known |= dict.fromkeys(callers.acknowledged, Fate.ACKNOWLEDGED)
        assert violations(known, await read_accounts(server.port, USERS)) == []
