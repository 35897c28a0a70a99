"""How often the limits of the HTTP side were reached. Those of the ledger count themselves."""

from collections.abc import Mapping
from enum import StrEnum


class Limit(StrEnum):
    """What is bounded; by which flag or constant, docs/operating.md says."""

    ANSWER_TIME = "answer_time"
    """A peer that took too long to take its answer was cut off."""
    BODIES_HELD = "bodies_held"
    """A body was refused (503): those that were on their way took up all room for them."""
    BODY_BYTES = "body_bytes"
    """A body was too large (413)."""
    BULK_CREDITS = "bulk_credits"
    """A bulk had too many credits (413)."""
    CONNECTIONS = "connections"
    """A connection was refused (503)."""
    HEAD_BYTES = "head_bytes"
    """A head was too large (431; in HTTP/2 the connection was closed)."""
    KEEP_ALIVE = "keep_alive"
    """An idle connection of the fast lane was closed."""
    PIPELINED = "pipelined"
    """A connection was left unread until what it had asked for was answered."""
    REQUEST_TIME = "request_time"
    """A request took too long to arrive (408; in HTTP/2 perhaps the connection was closed)."""
    STREAM_RESETS = "stream_resets"
    """A connection of HTTP/2 was closed: it reset its streams rather than have them answered."""


class LimitHits:
    """Counts them."""

    def __init__(self) -> None:
        self._counts = dict.fromkeys(Limit, 0)

    def note(self, limit: Limit) -> None:
        """One more."""
        self._counts[limit] += 1

    def statistics(self) -> Mapping[str, int]:
        return {limit.value: count for limit, count in self._counts.items()}
