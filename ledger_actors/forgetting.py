"""How quickly memory lets go of what the snapshots have: in steps, as each holds up all callers."""

from collections.abc import Awaitable, Callable
from typing import Final

import trio

ENTRIES_PER_SYNC: Final = 128
"""Takes about as long as the quickest fsync, for which callers wait anyway."""
ENTRIES_PER_STEP_MIN: Final = 200
ENTRIES_PER_STEP_MAX: Final = 1_000
REST: Final = 4
"""For how many times as long as a step took nothing is forgotten, where no fsync begins."""
REST_S_MIN: Final = 0.002
"""Where callers are many, an fsync begins meanwhile."""
REST_S_MAX: Final = 0.1
"""A step may seem to have taken hours: the process was stopped in it."""


class ForgettingPace:
    """A step while the disk works, and as many more as fit in a fifth of the time.

    The busier the event loop is, the longer it takes to come round, and the larger a step may be:
    small ones would forget less than is credited meanwhile.

    Attributes:
        entries: how many to forget in the next step.
    """

    def __init__(self, next_sync: Callable[[], Awaitable[object]]) -> None:
        """
        Args:
            next_sync: as `ledger_actors.ports.WriteAheadLog.next_sync`.
        """
        self.entries = ENTRIES_PER_STEP_MIN
        self._next_sync = next_sync
        self._begun_s = trio.current_time()

    async def rest(self, forgotten: int) -> None:
        """Lets the others go on, until a step costs them nothing, or has to be.

        Args:
            forgotten: entries, in the step that ends now.
        """
        ended_s = trio.current_time()
        rest_s = min(max(REST * (ended_s - self._begun_s), REST_S_MIN), REST_S_MAX)
        with trio.move_on_after(rest_s) as scope:
            await self._next_sync()
        self._begun_s = trio.current_time()
        if scope.cancelled_caught:
            affordable = forgotten * (self._begun_s - ended_s) / rest_s
            self.entries = min(max(int(affordable), ENTRIES_PER_STEP_MIN), ENTRIES_PER_STEP_MAX)
        else:
            self.entries = ENTRIES_PER_SYNC
