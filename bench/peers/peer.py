"""What every peer is to the comparison, and how one rests while another is measured."""

import contextlib
import os
import signal
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Final, Protocol

import psutil

from bench.cores import cpu_seconds

SETTLE_SECONDS: Final = 0.1
"""For what a peer still does when the load has ended: answers in flight, closed connections."""
IDLE_SECONDS: Final = 0.1
IDLE_SHARE: Final = 0.1
"""Of a core at most, over that time: a peer that takes no more has started."""
START_SECONDS_MAX: Final = 10.0


class Peer(Protocol):
    """A system that was started to be measured, on the server's core."""

    def pids(self) -> list[int]:
        """All its processes, those first that start others."""
        ...


class WebPeer(Peer, Protocol):
    """One that is asked over HTTP."""

    @property
    def url(self) -> str:
        """Where it listens: http://host:port."""
        ...


class Skipped(Exception):
    """A peer cannot be measured here; the message says what is missing."""


def family(pid: int) -> list[int]:
    """The process and all below it; none when it is gone."""
    try:
        process = psutil.Process(pid)
        return [pid, *(child.pid for child in process.children(recursive=True))]
    except psutil.NoSuchProcess:
        return []


def rest(peer: Peer) -> None:
    """Stops all processes of the peer where they stand: it takes nothing from the one that is
    measured meanwhile, and what it has put off it does in time of its own."""
    _signal(peer.pids(), signal.SIGSTOP)


def rest_once_started(peer: Peer) -> None:
    """As `rest`, when the peer has done what it does at its start, also in processes that it needs
    only later: that would be done while it is measured."""
    until = time.monotonic() + START_SECONDS_MAX
    used_s = _used_s(peer)
    while time.monotonic() < until:
        time.sleep(IDLE_SECONDS)
        before_s, used_s = used_s, _used_s(peer)
        if used_s - before_s <= IDLE_SHARE * IDLE_SECONDS:
            break
    rest(peer)


def wake(peer: Peer) -> None:
    """Lets the peer go on."""
    _signal(peer.pids(), signal.SIGCONT)


@contextmanager
def awake(peer: Peer) -> Iterator[None]:
    """The peer runs inside, and rests outside."""
    wake(peer)
    try:
        yield
        time.sleep(SETTLE_SECONDS)
    finally:
        rest(peer)


def _used_s(peer: Peer) -> float:
    return sum(cpu_seconds(pid) for pid in peer.pids())


def _signal(pids: Iterable[int], number: int) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
