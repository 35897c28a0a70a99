"""Whether a process that lives on holds more and more.

What is held goes up and down with the load. So the first third of each life is let go as warm-up,
and of the other two the lower quartiles are compared: neither a peak moves them nor a moment
without callers, but a leak does.
"""

from collections.abc import Mapping, Sequence

SAMPLES_MIN = 40
"""In a life; a shorter one shows nothing."""

Sample = Mapping[str, float]
"""How much of each thing is held at one moment."""


def growth(lives: Sequence[Sequence[Sample]]) -> Sample:
    """The most that each thing grew in any life that was long enough."""
    grown: dict[str, float] = {}
    for life in lives:
        if len(life) < SAMPLES_MIN:
            continue
        third = len(life) // 3
        middle, last = life[third : 2 * third], life[2 * third :]
        for what in life[0]:
            more = _lower_quartile(last, what) - _lower_quartile(middle, what)
            grown[what] = max(grown.get(what, more), more)
    return grown


def _lower_quartile(samples: Sequence[Sample], what: str) -> float:
    held = sorted(one[what] for one in samples)
    return held[len(held) // 4]
