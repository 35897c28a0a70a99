"""What a load generator has to say about one run."""

from collections.abc import Sequence
from dataclasses import dataclass

from bench.latency import Percentiles


@dataclass(frozen=True, slots=True)
class Outcome:
    """One run of one generator."""

    generator: str
    answered: int
    """Answers with status 200."""
    seconds: float
    errors: int
    """Other answers, lost connections, and requests without an answer in time."""
    first_error: str
    latency: Percentiles | None
    made: int
    """Requests made; the end of a run cuts some of them off."""
    counted: Sequence[int] = ()
    """Adds made for each of the users that are counted."""

    @property
    def per_second(self) -> float:
        return self.answered / self.seconds if self.seconds else 0.0

    @property
    def unacknowledged(self) -> int:
        """Requests of which the generator cannot know whether they did what they were to do."""
        return self.made - self.answered
