"""Recording latencies, and what is told of them: percentiles, and both over time."""

from array import array
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

NS_PER_MS: Final = 1_000_000
NS_PER_S: Final = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Percentiles:
    """Latencies in milliseconds; each is one that was really seen (nearest rank)."""

    p50_ms: float
    p90_ms: float
    p99_ms: float
    p999_ms: float
    max_ms: float


def nearest_rank(ascending: list[int], per_mille: int) -> int:
    """The smallest value that at least `per_mille` thousandths of the values do not exceed.

    `ascending` must be sorted and not empty.
    """
    assert ascending
    assert 0 < per_mille <= 1000
    rank = -(-len(ascending) * per_mille // 1000)
    return ascending[rank - 1]


def percentiles(latencies_ns: Iterable[int]) -> Percentiles | None:
    """Percentiles of latencies in nanoseconds, None when there are none."""
    ascending = sorted(latencies_ns)
    if not ascending:
        return None
    return Percentiles(
        *(nearest_rank(ascending, rank) / NS_PER_MS for rank in (500, 900, 990, 999, 1000))
    )


@dataclass(frozen=True, slots=True)
class Window:
    """What was answered within one stretch of time."""

    start_s: float
    """Since the start of the recording."""
    length_s: float
    answered: int
    latency: Percentiles | None

    @property
    def per_second(self) -> float:
        """Answers a second."""
        return self.answered / self.length_s


class LatencyRecording:
    """Every latency of a phase and the moment of its end, 16 bytes each: for a planned run.

    Times are nanoseconds of one monotonic clock, which the caller reads.
    """

    __slots__ = ("_ends_ns", "_latencies_ns", "_started_ns", "_stopped_ns")

    def __init__(self, started_ns: int) -> None:
        self._started_ns = started_ns
        self._stopped_ns = started_ns
        self._ends_ns = array("q")
        self._latencies_ns = array("q")

    def __len__(self) -> int:
        return len(self._ends_ns)

    def record(self, asked_ns: int, answered_ns: int) -> None:
        """Note one answered request."""
        self._ends_ns.append(answered_ns)
        self._latencies_ns.append(answered_ns - asked_ns)

    def stop(self, stopped_ns: int) -> None:
        """End the recording: nothing was or will be answered after this moment."""
        assert stopped_ns >= max(self._ends_ns, default=self._started_ns)
        self._stopped_ns = stopped_ns

    @property
    def seconds(self) -> float:
        """From start to stop."""
        return (self._stopped_ns - self._started_ns) / NS_PER_S

    @property
    def per_second(self) -> float:
        """Answers a second over the whole recording."""
        return len(self) / self.seconds if self.seconds else 0.0

    def percentiles(self) -> Percentiles | None:
        """Over the whole recording; None when it is empty."""
        return percentiles(self._latencies_ns)

    def windows(self, length_ns: int) -> list[Window]:
        """The recording in stretches of that length; only the last may be shorter."""
        assert length_ns > 0
        total_ns = self._stopped_ns - self._started_ns
        found: list[list[int]] = [[] for _ in range(-(-total_ns // length_ns))]
        for ended_ns, latency_ns in zip(self._ends_ns, self._latencies_ns, strict=True):
            # What ends with the recording belongs to its last stretch.
            at = min((ended_ns - self._started_ns) // length_ns, len(found) - 1)
            found[at].append(latency_ns)
        return [
            Window(
                start_s=number * length_ns / NS_PER_S,
                length_s=min(length_ns, total_ns - number * length_ns) / NS_PER_S,
                answered=len(latencies_ns),
                latency=percentiles(latencies_ns),
            )
            for number, latencies_ns in enumerate(found)
        ]
