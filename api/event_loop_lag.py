"""How late the event loop is: for so long whoever is ready waits for others to have their turn."""

from collections.abc import Iterator
from typing import Final

import trio
from prometheus_client.core import Metric

from api.metrics import histogram
from ledger_actors.histogram import Histogram

INTERVAL_S: Final = 0.1
LAG_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0)


class EventLoopLag:
    """Sleeps over and over, and looks by how much it overslept. `api.metrics.Source` of that."""

    def __init__(self) -> None:
        self._lag = Histogram(LAG_SECONDS)

    async def watch(self) -> None:
        """Runs for ever."""
        while True:
            due = trio.current_time() + INTERVAL_S
            await trio.sleep_until(due)
            self._lag.observe(trio.current_time() - due)

    def collect(self) -> Iterator[Metric]:
        yield histogram(
            "event_loop_lag_seconds", "By how much a sleep was too long", self._lag.statistics()
        )
