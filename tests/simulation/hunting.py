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


def hunt(mutant: Mutant, first_seed: int, seeds_max: int) -> Hunted:
    """Tries seed after seed until one catches the mutant."""
    command = [sys.executable, "-m", "simulation.hunt", mutant.name, str(first_seed)]
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


def hunt_all(first_seed: int, seeds_max: int) -> Iterator[Hunted]:
    """All of them, as many at a time as there are cores."""
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        one = partial(hunt, first_seed=first_seed, seeds_max=seeds_max)
        yield from pool.map(one, MUTANTS)
