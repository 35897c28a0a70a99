"""Whether callers feel a snapshot: latencies of adds while one is folded, and while none is."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import count
from pathlib import Path
from typing import Any

import trio

from bench.closed_loop import Timed, ask_for
from bench.errors import BenchError
from bench.latency import NS_PER_S, Percentiles, percentiles
from bench.progress import ProgressBar, tell
from bench.server_process import ServerProcess
from bench.store_builder import StoreBuilder, user_name
from bench.wire import Micros, UserName, add_request


@dataclass(frozen=True, slots=True)
class FoldingParameters:
    users: int
    """Users in the store, each with one folded entry; any of them may be credited."""
    seconds: float
    connections: int
    snapshot_entries: int
    """Entries folded at a time."""
    seed: int


@dataclass(frozen=True, slots=True)
class FoldingLatencies:
    parameters: FoldingParameters
    folding: Percentiles
    """Of adds that overlap with the folding of a snapshot."""
    idle: Percentiles
    """Of the others, in the same run."""
    folding_adds: int
    idle_adds: int
    snapshots: int
    folding_s: float
    """How long all of them took."""

    @property
    def p99_ratio(self) -> float:
        return self.folding.p99_ms / self.idle.p99_ms


def measure_folding(
    folder: Path, parameters: FoldingParameters, progress: ProgressBar
) -> FoldingLatencies:
    """
    Raises:
        BenchError: no snapshot was folded, or a server did not answer as it should.
    """
    path = folder / "folding"
    builder = StoreBuilder(path, parameters.seed)
    builder.rounds(
        parameters.users, 1, tell(progress, "building a store", parameters.users), fold=True
    )
    builder.close()
    dice = random.Random(parameters.seed)
    keys = count()

    def request(authority: str) -> bytes:
        user = UserName(user_name(dice.randrange(parameters.users)))
        return add_request(authority, user, Micros(1), f"key-{next(keys)}")

    with ServerProcess(path, "--snapshot-entries", str(parameters.snapshot_entries)) as server:
        progress("adding while snapshots are folded", 0, 1)
        answered = trio.run(
            ask_for, server.url, parameters.seconds, parameters.connections, request
        )
        taken = [event for event in server.events() if event["event"] == "snapshot taken"]
        server.stop()
    return split(parameters, answered, [span(event) for event in taken])


def span(taken: dict[str, Any]) -> tuple[int, int]:
    """When a snapshot was folded, in nanoseconds of the wall clock, by the server's log event."""
    end = datetime.fromisoformat(taken["timestamp"]).timestamp()
    return int((end - taken["duration_s"]) * NS_PER_S), int(end * NS_PER_S)


def split(
    parameters: FoldingParameters, answered: Sequence[Timed], spans: Sequence[tuple[int, int]]
) -> FoldingLatencies:
    """Tells adds that overlap with a folding apart from those that do not.

    Raises:
        BenchError: there are none of one kind.
    """
    folding: list[int] = []
    idle: list[int] = []
    for timed in answered:
        overlaps = any(timed.asked_ns < end and start < timed.answered_ns for start, end in spans)
        (folding if overlaps else idle).append(timed.latency_ns)
    while_folding, while_idle = percentiles(folding), percentiles(idle)
    if while_folding is None or while_idle is None:
        raise BenchError(
            f"nothing to compare: {len(folding)} adds while folding, {len(idle)} while not"
        )
    folding_s = sum(end - start for start, end in spans) / NS_PER_S
    return FoldingLatencies(
        parameters, while_folding, while_idle, len(folding), len(idle), len(spans), folding_s
    )
