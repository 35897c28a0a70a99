"""Which core serves and which one makes the load, and how busy they were."""

import os
import resource
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import psutil

BOTTLENECK_SHARE: Final = 0.95
DISTURBED_SHARE: Final = 0.15
READINGS_MAX: Final = 10
READING_INTERVAL_S: Final = 0.02


@dataclass(frozen=True, slots=True)
class Cores:
    """Numbers of the two cores; the same one twice where there is only one."""

    server: int
    load: int

    @property
    def separate(self) -> bool:
        return self.server != self.load


@dataclass(frozen=True, slots=True)
class Busy:
    """Shares of the time, 0 to 1. What else runs on the machine counts for the cores."""

    server_core: float
    load_core: float
    server_processes: float
    """What the processes of the peer used, of one core."""
    generator: float
    """What the load generator used, of one core."""

    @property
    def load_bound(self) -> bool:
        """Whether the load generator had no time left while the server had: the server is faster
        than was measured."""
        mine = self.load_core - self.generator <= DISTURBED_SHARE
        return mine and self.load_core >= BOTTLENECK_SHARE > self.server_core

    @property
    def disturbed(self) -> bool:
        """Whether others than the peer took much of its core: the peer is faster than measured."""
        return self.server_core - self.server_processes > DISTURBED_SHARE


def choose_cores() -> Cores:
    """The first two cores that this process may use."""
    usable = sorted(os.sched_getaffinity(0))
    return Cores(usable[0], usable[1] if len(usable) > 1 else usable[0])


@contextmanager
def pinned(core: int) -> Iterator[None]:
    """The calling thread, and every process that it starts inside, run on that core only."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


class CoreWatch:
    """Watches both cores and some processes from its making until `stop`."""

    def __init__(self, cores: Cores, pids: Callable[[], Iterable[int]]) -> None:
        """
        Args:
            pids: all processes of the peer, asked for at both ends: some come and go.
        """
        self._cores = cores
        self._pids = pids
        self._started = time.perf_counter()
        self._processes_s = self._used_s()
        self._generator_s = _generator_seconds()
        self._cores_s = psutil.cpu_times(percpu=True)

    def stop(self) -> Busy:
        """How busy they were."""
        after_s = psutil.cpu_times(percpu=True)
        shares = [_busy_share(*times) for times in zip(self._cores_s, after_s, strict=True)]
        elapsed_s = time.perf_counter() - self._started
        generator_s = _generator_seconds() - self._generator_s
        used_s = self._used_s() - self._processes_s
        return Busy(
            server_core=shares[self._cores.server],
            load_core=shares[self._cores.load],
            server_processes=used_s / elapsed_s,
            generator=generator_s / elapsed_s,
        )

    def _used_s(self) -> float:
        for _ in range(READINGS_MAX):
            pids = set(self._pids())
            used_s = sum(cpu_seconds(pid) for pid in pids)
            # A process that ends in between would count for itself and its parent, or not at all.
            if set(self._pids()) == pids:
                break
            time.sleep(READING_INTERVAL_S)
        return used_s


def _generator_seconds() -> float:
    # This process, and wrk or pgbench, which have ended and been waited for. Servers have not.
    kinds = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    used = [resource.getrusage(kind) for kind in kinds]
    return sum(one.ru_utime + one.ru_stime for one in used)


def _busy_share(before: Any, after: Any) -> float:
    # The time of guests is in `user` already.
    fields = [name for name in before._fields if not name.startswith("guest")]
    spent = {name: getattr(after, name) - getattr(before, name) for name in fields}
    total = sum(spent.values())
    return 1 - (spent["idle"] + spent["iowait"]) / total if total > 0 else 0.0


def cpu_seconds(pid: int) -> float:
    """What the process has used so far; 0 when it is gone."""
    try:
        times = psutil.Process(pid).cpu_times()
    except psutil.NoSuchProcess:
        return 0.0
    # The time of a child that has ended is its parent's.
    return float(times.user + times.system + times.children_user + times.children_system)
