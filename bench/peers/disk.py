"""The last peer: the disk itself, as LMDB commits to it when nothing is said: it syncs pages and
meta page one after the other. The log leaves the second to the commit that follows.
"""

import time
from array import array
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.latency import NS_PER_S, Percentiles, percentiles
from persistence.environment import Environment

COMMIT_BYTES: Final = 100 * 80
"""What a hundred entries take in the log."""
COMMITS: Final = 300


@dataclass(frozen=True, slots=True)
class Commits:
    """How long they took, each and together."""

    latency: Percentiles
    seconds: float


def time_commits(folder: Path) -> Commits:
    """Commits a value of that size over and over, each with its fsync, in a new environment.

    Room is reserved before, as for the log.
    """
    environment = Environment(folder)
    value = bytes(COMMIT_BYTES)
    took_ns = array("q")
    try:
        for number in range(COMMITS):
            started_ns = time.perf_counter_ns()
            with environment.lmdb.begin(write=True) as transaction:
                transaction.put(number.to_bytes(8, "big"), value, append=True)
            took_ns.append(time.perf_counter_ns() - started_ns)
    finally:
        environment.close()
    taken = percentiles(took_ns)
    assert taken is not None
    return Commits(taken, sum(took_ns) / NS_PER_S)
