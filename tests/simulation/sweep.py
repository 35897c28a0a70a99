"""Runs many seeds on all cores, and adds up what was met."""

import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing import get_context

from simulation.drawing import draw
from simulation.run import Result, Run

SEEDS_PER_TURN = 20


@dataclass(slots=True)
class Totals:
    seeds: int = 0
    steps: int = 0
    simulated_s: float = 0.0
    duration_s: float = 0.0
    seen: Counter[str] = field(default_factory=Counter)
    violations: list[tuple[int, str]] = field(default_factory=list)
    """Seed, and what was wrong."""

    def add(self, result: Result) -> None:
        self.seeds += 1
        self.steps += result.steps
        self.simulated_s += result.simulated_s
        self.seen.update(result.seen)
        if result.violation is not None:
            self.violations.append((result.seed, result.violation))

    def merge(self, other: "Totals") -> None:
        self.seeds += other.seeds
        self.steps += other.steps
        self.simulated_s += other.simulated_s
        self.seen.update(other.seen)
        self.violations += other.violations


def sweep(
    first_seed: int,
    seeds: int,
    jobs: int | None = None,
    progress: Callable[[Totals], None] = lambda totals: None,
) -> Totals:
    """Runs the seeds from the first on, and tells how far it is."""
    started = time.monotonic()
    totals = Totals()
    jobs = jobs or len(os.sched_getaffinity(0))
    end = first_seed + seeds
    turns = [
        (start, min(start + SEEDS_PER_TURN, end))
        for start in range(first_seed, end, SEEDS_PER_TURN)
    ]
    for done in _all_turns(turns, jobs):
        totals.merge(done)
        totals.duration_s = time.monotonic() - started
        progress(totals)
    totals.violations.sort()
    return totals


def _all_turns(turns: Sequence[tuple[int, int]], jobs: int) -> Iterator[Totals]:
    if jobs == 1:
        yield from map(_turn, turns)
        return
    with get_context("spawn").Pool(jobs) as pool:
        yield from pool.imap_unordered(_turn, turns)


def _turn(seeds: tuple[int, int]) -> Totals:
    totals = Totals()
    for seed in range(*seeds):
        totals.add(Run(draw(seed)).result())
    return totals
