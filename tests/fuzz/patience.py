"""How long an answer may take, not counting the time in which either side is stopped."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import psutil
import trio

TICK_S: Final = 0.1
STOPPED_S: Final = 1.0
"""Who sleeps a tick for longer than that was stopped meanwhile, or as good as that."""


class Patience:
    """Cancels what waits for too long.

    On a machine on which others measure, either process may be stopped (SIGSTOP) for a minute. So
    time is counted in ticks: of one that is stopped there are none, and those in which the server
    is stopped do not count.

    Attributes:
        interrupted: how many waits one of them was stopped in. The server may have taken its peer
            for one that is too slow, and left it without an answer to what it did.
    """

    def __init__(self, server_pid: int, timeout_s: float) -> None:
        self._server_pid = server_pid
        self._ticks_max = math.ceil(timeout_s / TICK_S)
        self._ticks = 0
        self._begun: dict[trio.CancelScope, int] = {}
        self._interrupted: set[trio.CancelScope] = set()
        self.interrupted = 0

    async def tick(self) -> None:
        """Counts, until it is cancelled."""
        while True:
            slept = trio.current_time()
            await trio.sleep(TICK_S)
            is_stopped = _is_stopped(self._server_pid)
            if not is_stopped:
                self._ticks += 1
            if is_stopped or trio.current_time() - slept > STOPPED_S:
                self._interrupted.update(self._begun)
            for scope, begun in self._begun.items():
                if self._ticks - begun > self._ticks_max:
                    scope.cancel()

    @contextmanager
    def limited(self) -> Iterator[trio.CancelScope]:
        """Cancels what is inside once it has taken too long."""
        with trio.CancelScope() as scope:
            self._begun[scope] = self._ticks
            try:
                yield scope
            finally:
                del self._begun[scope]
                if scope in self._interrupted:
                    self._interrupted.discard(scope)
                    self.interrupted += 1


def _is_stopped(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_STOPPED
    except psutil.NoSuchProcess:
        return False
