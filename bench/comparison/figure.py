"""What was measured: repetitions, their median, and ratios between what was measured in turn."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import NamedTuple

from bench.cores import Busy
from bench.latency import Percentiles


class FigureName(NamedTuple):
    """Whose figure it is, and of what: ("bitburst", "add, 64 connections")."""

    peer: str
    what: str


@dataclass(frozen=True, slots=True)
class Sample:
    """One repetition."""

    value: float
    """In the unit of the figure."""
    seconds: float
    errors: int = 0
    first_error: str = ""
    busy: Busy | None = None
    latency: Percentiles | None = None


@dataclass(frozen=True, slots=True)
class Spread:
    """Median, least and most of some repetitions."""

    median: float
    least: float
    most: float


def spread(values: Sequence[float]) -> Spread:
    """Of at least one value."""
    return Spread(median(values), min(values), max(values))


@dataclass(frozen=True, slots=True)
class Figure:
    """One thing that was measured, some times over."""

    name: FigureName
    unit: str
    generator: str
    pinned: str
    """Which processes ran on which core."""
    samples: tuple[Sample, ...]

    @property
    def spread(self) -> Spread:
        """Over the repetitions."""
        return spread([sample.value for sample in self.samples])

    @property
    def errors(self) -> int:
        return sum(sample.errors for sample in self.samples)

    @property
    def first_error(self) -> str:
        """In words; empty when there was none."""
        return next((sample.first_error for sample in self.samples if sample.first_error), "")

    @property
    def load_bound(self) -> bool:
        """Whether in most repetitions the load generator was the bottleneck."""
        return self._mostly([busy.load_bound for busy in self.busy])

    @property
    def disturbed(self) -> bool:
        """Whether in most repetitions others took much of the peer's core."""
        return self._mostly([busy.disturbed for busy in self.busy])

    @property
    def busy(self) -> list[Busy]:
        """How busy the cores were, where that was watched."""
        return [sample.busy for sample in self.samples if sample.busy is not None]

    @property
    def flags(self) -> tuple[str, ...]:
        """What must be known to judge it."""
        bound = ("generator-bound",) if self.load_bound else ()
        return (*bound, "disturbed") if self.disturbed else bound

    def _mostly(self, told: Sequence[bool]) -> bool:
        return 2 * sum(told) > len(self.samples)


def ratio(over: Figure, under: Figure) -> Spread:
    """How many times the one is the other, repetition by repetition: both were measured one right
    after the other, so what the machine does meanwhile cancels out."""
    pairs = zip(over.samples, under.samples, strict=False)
    return spread([above.value / below.value for above, below in pairs])


@dataclass(slots=True)
class Results:
    """Everything that a run of the comparison has found."""

    figures: dict[FigureName, Figure] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    """What was not measured, and why."""
    checked: dict[str, str] = field(default_factory=dict)
    """What was read back from BitBurst after a load, and what was found."""
    wrong: int = 0
    """Credits that were acknowledged and not found, or found and never sent."""

    def note(self, load: str, found: str, wrong: int) -> None:
        """What was read back after a load."""
        self.checked[load] = found
        self.wrong += wrong
