"""What the ledger knows of a request, by the idempotency key that named it."""

from enum import Enum
from typing import Final, NamedTuple

from ledger_actors.entry import Entry


class RequestState(Enum):
    UNKNOWN = "unknown"
    """No request with the key has reached the ledger, or all that have were refused. One that is
    still on its way to it may come."""
    IN_FLIGHT = "in_flight"
    """One is here, and not yet settled: it may become done, or be refused."""
    DONE = "done"
    """One made an entry, which is durable."""


class RequestStatus(NamedTuple):
    state: RequestState
    entry: Entry | None = None
    """What it made, once it is done."""


UNKNOWN: Final = RequestStatus(RequestState.UNKNOWN)
IN_FLIGHT: Final = RequestStatus(RequestState.IN_FLIGHT)
