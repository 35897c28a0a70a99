"""How quickly memory lets go of what the snapshots have: in steps, as each holds up all callers."""

from typing import Final

import trio

ENTRIES_PER_STEP_MIN: Final = 200
ENTRIES_PER_STEP_MAX: Final = 1_000
REST: Final = 4
"""For how many times as long as a step took nothing is forgotten."""


class ForgettingPace:
    """Steps of a fifth of the time, as far as their bounds allow.

    The busier the event loop is, the longer it takes to come round, and the larger a step may be:
    small ones would forget less than is credited meanwhile.

    Attributes:
        entries: how many to forget in the next step.
    """

    def __init__(self) -> None:
        self.entries = ENTRIES_PER_STEP_MIN
        self._begun_s = trio.current_time()

    async def rest(self, forgotten: int) -> None:
        """Lets the others go on.

        Args:
            forgotten: entries, in the step that ends now.
        """
        ended_s = trio.current_time()
        took_s = ended_s - self._begun_s
        await trio.sleep(REST * took_s)
        self._begun_s = trio.current_time()
        if took_s > 0:
            affordable = forgotten * (self._begun_s - ended_s) / (REST * took_s)
            self.entries = min(max(int(affordable), ENTRIES_PER_STEP_MIN), ENTRIES_PER_STEP_MAX)
