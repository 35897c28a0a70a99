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


class Wait:
    """Something that is waited for."""

    def __init__(self, begun: int) -> None:
        self.scope = trio.CancelScope()
        self.begun = begun
        self.interrupted = False
        """One of the two processes was stopped meanwhile: the server may have taken its peer for
        one that is too slow, and left it without an answer to what it did."""


class Patience:
    """Cancels what waits for too long.

    On a machine on which others measure, either process may be stopped (SIGSTOP) for a minute. So
    time is counted in ticks: of one that is stopped there are none, and those in which the server
    is stopped do not count.

    Attributes:
        interrupted: how many waits were.
    """

    def __init__(self, server_pid: int, timeout_s: float) -> None:
        self._server_pid = server_pid
        self._ticks_max = math.ceil(timeout_s / TICK_S)
        self._ticks = 0
        self._ticked_at = math.inf
        self._waits: set[Wait] = set()
        self.interrupted = 0

    async def tick(self) -> None:
        """Counts, until it is cancelled."""
        while True:
            self._ticked_at = trio.current_time()
            await trio.sleep(TICK_S)
            is_stopped = _is_stopped(self._server_pid)
            if not is_stopped:
                self._ticks += 1
            for wait in self._waits:
                wait.interrupted = wait.interrupted or is_stopped or self._is_overdue()
                if self._ticks - wait.begun > self._ticks_max:
                    wait.scope.cancel()

    @contextmanager
    def limited(self) -> Iterator[Wait]:
        """Cancels what is inside once it has taken too long."""
        wait = Wait(self._ticks)
        self._waits.add(wait)
        try:
            with wait.scope:
                yield wait
        finally:
            self._waits.discard(wait)
            wait.interrupted = wait.interrupted or self._is_overdue()
            self.interrupted += wait.interrupted

    def _is_overdue(self) -> bool:
        return trio.current_time() - self._ticked_at > STOPPED_S


def _is_stopped(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_STOPPED
    except psutil.NoSuchProcess:
        return False
