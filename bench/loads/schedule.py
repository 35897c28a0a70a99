"""Open-loop load without clock or sockets: what is due when, and how long it took from then on."""

import random
from array import array
from collections import deque
from collections.abc import Sequence

from bench.latency import NS_PER_S


def arrivals(per_second: float, seconds: float, seed: int) -> "array[int]":
    """When requests are due, in nanoseconds since the start: as callers come who know nothing of
    each other (a Poisson process)."""
    dice = random.Random(seed)
    due_ns = array("q")
    at_s = dice.expovariate(per_second)
    while at_s < seconds:
        due_ns.append(int(at_s * NS_PER_S))
        at_s += dice.expovariate(per_second)
    return due_ns


class Schedule:
    """Hands out what is due to connections that are free.

    A request that finds no free connection waits, and its latency counts from when it was due: a
    server that stalls is charged for everyone who came meanwhile, not only for those who had been
    let in (coordinated omission).
    """

    def __init__(self, due_ns: Sequence[int], connections: int) -> None:
        """
        Args:
            due_ns: ascending.
        """
        self._due_ns = due_ns
        self._next = 0
        self._free = deque(range(connections))
        self._under_way: dict[int, int] = {}
        """When the request on a connection was due."""
        self.dues_ns = array("q")
        self.latencies_ns = array("q")
        """In order of the answers; `dues_ns` says from when. What was given up is among them."""
        self.sent_late_ns = array("q")
        self.answers = 0
        self.unanswered = 0

    @property
    def finished(self) -> bool:
        return self._next == len(self._due_ns) and not self._under_way

    @property
    def next_due_ns(self) -> int | None:
        """When the next can go out, None while that depends on an answer, or nothing is left."""
        if self._next == len(self._due_ns) or not self._free:
            return None
        return self._due_ns[self._next]

    def send(self, now_ns: int) -> list[int]:
        """The connections that must send a request now; each is taken until `answered`."""
        taken = []
        while (due_ns := self.next_due_ns) is not None and due_ns <= now_ns:
            connection = self._free.popleft()
            self._under_way[connection] = due_ns
            self.sent_late_ns.append(now_ns - due_ns)
            self._next += 1
            taken.append(connection)
        return taken

    def answered(self, connection: int, now_ns: int) -> None:
        """Notes the answer on a connection; it is free again."""
        self._record(self._under_way.pop(connection), now_ns)
        self._free.append(connection)
        self.answers += 1

    def lost(self, connection: int, now_ns: int) -> None:
        """Notes that a connection is of no use any more, with what was under way on it."""
        due_ns = self._under_way.pop(connection, None)
        if due_ns is None:
            self._free.remove(connection)
        else:
            self._record(due_ns, now_ns)
            self.unanswered += 1

    def give_up(self, now_ns: int) -> None:
        """Ends it. What is due and not answered counts with the time that it has waited by now:
        to leave it out would flatter the server."""
        for connection in list(self._under_way):
            self.lost(connection, now_ns)
        while self._next < len(self._due_ns):
            if self._due_ns[self._next] <= now_ns:
                self._record(self._due_ns[self._next], now_ns)
            self.unanswered += 1
            self._next += 1

    def _record(self, due_ns: int, now_ns: int) -> None:
        self.dues_ns.append(due_ns)
        self.latencies_ns.append(now_ns - due_ns)
