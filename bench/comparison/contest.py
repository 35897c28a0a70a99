"""Measuring in turn: each repetition of each entrant right after that of the others."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bench.comparison.figure import Figure, FigureName, Results, Sample
from bench.errors import BenchError

Told = Callable[[str, int, int], None]
"""What is measured now, how many measurements are done, and of how many."""


@dataclass(frozen=True, slots=True)
class Entrant:
    """Something that is measured once in each repetition."""

    name: FigureName
    unit: str
    generator: str
    pinned: str
    measure: Callable[[int], Sample]
    """Given the number of the repetition. Raises BenchError when there is nothing to measure."""


def alternate(
    entrants: Sequence[Entrant], repetitions: int, results: Results, told: Told
) -> list[Figure]:
    """Measures all entrants in turn, that many times. One that fails drops out, with its reason.

    Every second time it is the other way round: who comes first always is no more than who it is.
    """
    samples: dict[FigureName, list[Sample]] = {entrant.name: [] for entrant in entrants}
    failed: set[FigureName] = set()
    for repetition in range(repetitions):
        in_turn = entrants if repetition % 2 == 0 else entrants[::-1]
        for number, entrant in enumerate(in_turn):
            if entrant.name in failed:
                continue
            done = repetition * len(entrants) + number
            told(": ".join(entrant.name), done, repetitions * len(entrants))
            try:
                samples[entrant.name].append(entrant.measure(repetition))
            except BenchError as error:
                failed.add(entrant.name)
                results.skipped[": ".join(entrant.name)] = str(error)
    figures = [
        Figure(one.name, one.unit, one.generator, one.pinned, tuple(samples[one.name]))
        for one in entrants
        if one.name not in failed
    ]
    results.figures.update({figure.name: figure for figure in figures})
    return figures
