"""One phase of a run: some connections at work together, timed and counted."""

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

import trio

from bench.caller import Caller, Clock, RetryPolicy, watch_for_silence
from bench.http_client import Address
from bench.latency import NS_PER_S, LatencyRecording
from bench.tally import Tally
from bench.wire import readiness_request

# A run against a server that is gone must end, not wait for every planned request.
ERRORS_MAX: Final = 100
PROGRESS_SECONDS: Final = 0.2

Progress = Callable[[str, int, int], None]
"""Told the phase's name, requests settled, requests planned; a few times a second."""


@dataclass(frozen=True, slots=True)
class Setting:
    """What every phase of a run works with: the server, the connections, time and chance."""

    address: Address
    authority: str
    connections: int
    retries: RetryPolicy
    dice: random.Random
    clock: Clock
    cpu_clock: Clock
    progress: Progress


@dataclass(frozen=True, slots=True)
class Phase:
    """The figures of one phase."""

    latencies: LatencyRecording
    """From the first attempt to the answer that settles it: retries and waits included."""
    tally: Tally
    cpu_seconds: float
    """What the load generator itself used."""

    @property
    def requests_per_second(self) -> float:
        """Requests of every kind, retries included."""
        seconds = self.latencies.seconds
        return self.tally.requests / seconds if seconds else 0.0

    @property
    def cpu_share(self) -> float:
        """Of one core; near 1 the load generator was the bottleneck, not the server."""
        seconds = self.latencies.seconds
        return self.cpu_seconds / seconds if seconds else 0.0


class Work(Protocol):
    """What one task does with its connection until nothing is left to do."""

    async def __call__(self, caller: Caller, latencies: LatencyRecording, tally: Tally) -> None: ...


async def run_phase(name: str, planned_requests: int, work: Work, setting: Setting) -> Phase:
    """Let every connection work until all are done.

    Each has one answer before the clock starts: neither connecting nor accepting is timed.
    """
    tally = Tally()
    callers = [
        Caller(setting.address, setting.retries, tally, setting.dice, setting.clock)
        for _ in range(setting.connections)
    ]
    try:
        async with trio.open_nursery() as connecting:
            for caller in callers:
                connecting.start_soon(caller.warm_up, readiness_request(setting.authority))
        latencies = LatencyRecording(setting.clock())
        cpu_started_ns = setting.cpu_clock()
        async with trio.open_nursery() as watching:
            watching.start_soon(watch_for_silence, callers, setting.retries, setting.clock)
            watching.start_soon(
                _tell_progress, name, planned_requests, latencies, tally, setting.progress
            )
            async with trio.open_nursery() as working:
                for caller in callers:
                    working.start_soon(work, caller, latencies, tally)
            latencies.stop(setting.clock())
            cpu_seconds = (setting.cpu_clock() - cpu_started_ns) / NS_PER_S
            watching.cancel_scope.cancel()
    finally:
        for caller in callers:
            caller.close()
    return Phase(latencies, tally, cpu_seconds)


async def _tell_progress(
    name: str, planned: int, latencies: LatencyRecording, tally: Tally, progress: Progress
) -> None:
    while True:
        progress(name, len(latencies) + tally.errors, planned)
        await trio.sleep(PROGRESS_SECONDS)
