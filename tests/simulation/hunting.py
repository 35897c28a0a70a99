"""Hunts mutants, each in a process of its own: see `hunt.py`."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from simulation.mutants import MUTANTS, Mutant

TESTS = Path(__file__).parent.parent
TIMEOUT_S = 120


@dataclass(frozen=True, slots=True)
class Hunted:
    """
    Attributes:
        tried: so many seeds it took.
        violation: what it was caught by; None if it was not.
    """

    name: str
    tried: int
    violation: str | None


def hunt(mutant: Mutant, seeds_max: int, first_seed: int | None = None) -> Hunted:
    """Tries seed after seed, from that one or the mutant's own, until one catches it."""
    first = mutant.seed if first_seed is None else first_seed
    command = [sys.executable, "-m", "simulation.hunt", mutant.name, str(first)]
    done = subprocess.run(
        [*command, str(seeds_max)],
        capture_output=True,
        text=True,
        cwd=TESTS,
        timeout=TIMEOUT_S,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"{mutant.name}: {done.stderr[-2000:]}")
    said = json.loads(done.stdout)
    return Hunted(mutant.name, said["tried"], said["violation"])


def hunt_all(seeds_max: int, first_seed: int | None = None) -> Iterator[Hunted]:
    """All of them, as many at a time as there are cores."""
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        one = partial(hunt, seeds_max=seeds_max, first_seed=first_seed)
        yield from pool.map(one, MUTANTS)
