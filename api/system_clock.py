"""The time of day, as the operating system has it."""

from time import time_ns

from ledger_actors.entry import Timestamp


class SystemClock:
    """`ledger_actors.ports.Clock`."""

    def now(self) -> Timestamp:
        return Timestamp(time_ns() // 1000)
