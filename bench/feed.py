"""Hands the planned adds out to the connections, so that twins go out at the same moment."""

import trio

from bench.workload import AddIndex, Repeat, Workload


class Feed:
    """The plan as a queue.

    An add that is sent twice at once is handed to two tasks, which it lets go together.
    """

    __slots__ = ("_next", "_takers", "_waiting", "_workload")

    def __init__(self, workload: Workload, takers: int) -> None:
        self._workload = workload
        self._takers = takers
        self._next = 0
        self._waiting: tuple[AddIndex, trio.Event] | None = None

    async def take(self) -> AddIndex | None:
        """The next add to send, None when all are handed out.

        With a single taker twins cannot meet: it gets the add once and must send it twice itself.
        """
        if self._waiting is not None:
            add, met = self._waiting
            self._waiting = None
            met.set()
            return add
        if self._next == len(self._workload.order):
            return None
        add = AddIndex(self._workload.order[self._next])
        self._next += 1
        if self._workload.repeats[add] == Repeat.AT_ONCE and self._takers > 1:
            # At most one task waits here: the next to come finds it first. One must come, for every
            # other task holds an add taken earlier and returns for more.
            met = trio.Event()
            self._waiting = (add, met)
            await met.wait()
        return add

    def stop(self) -> None:
        """Hand out nothing more, except to the partner of one who waits."""
        self._next = len(self._workload.order)

    def sendings_in_a_row(self, add: AddIndex) -> int:
        """How often whoever took the add must send it, one after the other's answer."""
        repeat = self._workload.repeats[add]
        if repeat == Repeat.SOON or (repeat == Repeat.AT_ONCE and self._takers == 1):
            return 2
        return 1
