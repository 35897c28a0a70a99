"""Trio, made deterministic: one seed decides which task goes first, and time jumps.

Trio shuffles the tasks that are ready in each round with a random generator of its own. It has a
switch that makes this repeatable, meant for Hypothesis (`trio/_core/_run.py`): tasks are sorted by
their age and shuffled by a generator that can be seeded.
"""

from collections.abc import Awaitable, Callable
from random import Random
from typing import TypeVar

import trio
import trio._core._run as trio_run
from trio.testing import MockClock

T = TypeVar("T")


class Steps(trio.abc.Instrument):
    """Tells before each step of a task."""

    def __init__(self, on_step: Callable[[], None]) -> None:
        self._on_step = on_step

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self._on_step()


def run_deterministically(
    main: Callable[[], Awaitable[T]], seed: int, on_step: Callable[[], None]
) -> T:
    """Runs it on a clock that jumps to the next deadline whenever everything waits."""
    before = trio_run._r, trio_run._ALLOW_DETERMINISTIC_SCHEDULING
    trio_run._r = Random(f"scheduler {seed}")
    trio_run._ALLOW_DETERMINISTIC_SCHEDULING = True
    try:
        clock = MockClock(autojump_threshold=0)
        return trio.run(main, clock=clock, instruments=[Steps(on_step)])
    finally:
        trio_run._r, trio_run._ALLOW_DETERMINISTIC_SCHEDULING = before
