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

    def __init__(
        self, due_ns: Sequence[int], connections: int, patience_ns: int | None = None
    ) -> None:
        """
        Args:
            due_ns: ascending.
            patience_ns: what finds no free connection for so long is abandoned, and never sent.
        """
        self._due_ns = due_ns
        self._next = 0
        self._patience_ns = patience_ns
        self._free = deque(range(connections))
        self._under_way: dict[int, tuple[int, int]] = {}
        """When the request on a connection was due, and when it was sent."""
        self.dues_ns = array("q")
        self.latencies_ns = array("q")
        """In order of the answers; `dues_ns` says from when. What was given up is among them."""
        self.sent_late_ns = array("q")
        self.answers = 0
        self.unanswered = 0
        self.abandoned = 0

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
        self._abandon(now_ns)
        taken = []
        while (due_ns := self.next_due_ns) is not None and due_ns <= now_ns:
            connection = self._free.popleft()
            self._under_way[connection] = (due_ns, now_ns)
            self.sent_late_ns.append(now_ns - due_ns)
            self._next += 1
            taken.append(connection)
        return taken

    def answered(self, connection: int, now_ns: int) -> int:
        """Notes the answer on a connection, which is free again; returns how long the server had
        the request, in nanoseconds."""
        due_ns, sent_ns = self._under_way.pop(connection)
        self._record(due_ns, now_ns)
        self._free.append(connection)
        self.answers += 1
        return now_ns - sent_ns

    def lost(self, connection: int, now_ns: int) -> None:
        """Notes that a connection is of no use any more, with what was under way on it."""
        under_way = self._under_way.pop(connection, None)
        if under_way is None:
            self._free.remove(connection)
        else:
            self._record(under_way[0], now_ns)
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

    def _abandon(self, now_ns: int) -> None:
        if self._patience_ns is None:
            return
        latest_ns = now_ns - self._patience_ns
        while self._next < len(self._due_ns) and self._due_ns[self._next] < latest_ns:
            self._next += 1
            self.abandoned += 1

    def _record(self, due_ns: int, now_ns: int) -> None:
        self.dues_ns.append(due_ns)
        self.latencies_ns.append(now_ns - due_ns)
