"""Counts of what happened during a run, and the first few errors in words."""

from dataclasses import dataclass, field
from typing import Final

ERRORS_SHOWN_MAX: Final = 5


@dataclass(slots=True)
class Tally:
    """Shared by all connections of a run."""

    requests: int = 0
    """Requests sent, retries included."""
    replays: int = 0
    """Adds that the server marked as already counted."""
    retries_refused: int = 0
    """Requests sent again after a 503."""
    retries_lost: int = 0
    """Requests sent again because the connection ended without an answer."""
    connections: int = 0
    """Connections opened."""
    errors: int = 0
    first_errors: list[str] = field(default_factory=list)

    @property
    def retries(self) -> int:
        return self.retries_refused + self.retries_lost

    def error(self, what: str) -> None:
        """Count an error and keep its words if it is one of the first."""
        self.errors += 1
        if len(self.first_errors) < ERRORS_SHOWN_MAX:
            self.first_errors.append(what)
