"""Letting the server have the processor in the middle of a fold.

A process with less priority still gets its turns, and each lasts until the kernel's next tick, some
milliseconds, for which the server's callers wait. One that yields after each fraction of a
millisecond is not felt. But it must not starve either: what is not folded stays in memory.
"""

import os
import time
from collections.abc import Callable
from typing import Final

WINDOW_S: Final = 0.1
"""A fold gets its share in each. What it did not get is gone then: after a pause, of the disk or of
the whole machine, it would otherwise yield to nobody until it had made up for all of it."""


class Courtesy:
    """To be called between the steps of a fold, each a fraction of a millisecond."""

    def __init__(
        self,
        share: Callable[[], float],
        give_way: Callable[[], object] = os.sched_yield,
        clock: Callable[[], float] = time.monotonic,
        used: Callable[[], float] = time.process_time,
    ) -> None:
        """
        Args:
            share: tells, for each window, what of the processor is due to the fold; as long as it
                has had less, it does not yield.
            give_way: lets others run first.
            clock: seconds since any moment.
            used: seconds that this process has had the processor.
        """
        self._share_due = share
        self._give_way = give_way
        self._clock = clock
        self._used = used
        self._begin_window(self._clock(), self._used())

    def __call__(self) -> None:
        now_s, used_s = self._clock(), self._used()
        if now_s - self._began_s >= WINDOW_S:
            self._begin_window(now_s, used_s)
        if used_s - self._used_before_s >= self._share * (now_s - self._began_s):
            self._give_way()

    def _begin_window(self, now_s: float, used_s: float) -> None:
        self._share = self._share_due()
        self._began_s = now_s
        self._used_before_s = used_s
