"""Whether a process that lives on holds more and more.

What is held goes up and down with the load. So the first third of each life is let go as warm-up,
and of the other two the least that was held is compared: a peak does not raise it, a leak does.
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
            least = min(one[what] for one in last) - min(one[what] for one in middle)
            grown[what] = max(grown.get(what, least), least)
    return grown
