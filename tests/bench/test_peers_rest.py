"""A peer that is not measured, or not yet."""

import subprocess
import sys
import time
from collections.abc import Iterator

import psutil
import pytest
from eventually import eventually

from bench.peers import peer as peers
from bench.peers.peer import awake, rest_once_started

BUSY_SECONDS = 0.6
STARTING = f"""
import sys, time
print(flush=True)
while time.process_time() < {BUSY_SECONDS}:
    pass
sys.stdin.read()
"""


class Peer:
    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = psutil.Process(process.pid)

    def pids(self) -> list[int]:
        return [self.process.pid]

    @property
    def busy_s(self) -> float:
        times = self.process.cpu_times()
        return float(times.user + times.system)

    @property
    def stopped(self) -> bool:
        return bool(self.process.status() == psutil.STATUS_STOPPED)


@pytest.fixture
def starting() -> Iterator[Peer]:
    """It has begun to start."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", STARTING], **pipes) as process:
        assert process.stdout is not None
        process.stdout.readline()
        try:
            yield Peer(process)
        finally:
            process.kill()


def test_it_rests_when_it_has_started(starting: Peer) -> None:
    rest_once_started(starting)
    assert starting.busy_s >= 0.9 * BUSY_SECONDS
    eventually(lambda: starting.stopped)
    with awake(starting):
        eventually(lambda: not starting.stopped)
    eventually(lambda: starting.stopped)


def test_one_that_is_never_idle_rests_all_the_same(
    starting: Peer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(peers, "START_SECONDS_MAX", 0.2)
    began = time.monotonic()
    rest_once_started(starting)
    eventually(lambda: starting.stopped)
    assert time.monotonic() - began < BUSY_SECONDS
