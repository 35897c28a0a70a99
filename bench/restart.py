"""How long a start takes and how much memory it costs, with many users in the store."""

import random
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Final

import trio

from bench.closed_loop import ask_for
from bench.progress import ProgressBar, tell
from bench.server_process import Memory, ServerProcess
from bench.store_builder import StoreBuilder, user_name
from bench.wire import Micros, UserName, add_request
from ledger_actors.identity import UserId

NEVER: Final = ("--snapshot-entries", "100000000", "--snapshot-interval-s", "100000")
"""Settings under which a server takes no snapshots."""
SAMPLE_INTERVAL_S: Final = 0.1


@dataclass(frozen=True, slots=True)
class RestartParameters:
    users: int
    rounds: int
    """Entries of each user, folded."""
    tail: int
    """Entries in the log that no snapshot has."""
    active: int
    """Users that are credited while memory is watched."""
    seconds: float
    """How long they are."""
    connections: int
    seed: int


@dataclass(frozen=True, slots=True)
class Started:
    ready_s: float
    """From the start of the process until /readyz says 200."""
    replayed_entries: int
    replay_s: float
    """What of that the log's tail took, by the server's own account."""

    @property
    def replayed_per_s(self) -> float:
        return self.replayed_entries / self.replay_s if self.replay_s else 0.0


@dataclass(frozen=True, slots=True)
class Restarts:
    parameters: RestartParameters
    few_users: Started
    """The same start with a store of a thousandth of the users."""
    folded: Started
    with_tail: Started
    memory_at_start: Memory
    memory_max: Memory
    """At the moment when the resident size was largest."""
    adds: int
    snapshots: int
    """Snapshots taken while memory was watched."""


def measure_restarts(
    folder: Path, parameters: RestartParameters, progress: ProgressBar
) -> Restarts:
    """Builds the stores in `folder`, which should be empty, and starts servers on them.

    Raises:
        BenchError: a store could not be built, or a server did not answer as it should.
    """
    small = folder / "few-users"
    _build(small, max(parameters.users // 1000, 1), parameters, progress)
    few_users = _start(small)
    large = folder / "many-users"
    _build(large, parameters.users, parameters, progress)
    folded = _start(large)
    builder = StoreBuilder(large, parameters.seed + 1)
    builder.resume(parameters.users, parameters.rounds)
    builder.append(
        _some_users(parameters.users, parameters.tail, parameters.seed),
        tell(progress, "appending the tail", parameters.tail),
        fold=False,
    )
    builder.close()
    with_tail = _start(large)
    builder = StoreBuilder(large, parameters.seed)
    builder.fold()
    builder.close()
    at_start, largest, adds, snapshots = trio.run(_watch_memory, large, parameters, progress)
    return Restarts(parameters, few_users, folded, with_tail, at_start, largest, adds, snapshots)


def _build(path: Path, users: int, parameters: RestartParameters, progress: ProgressBar) -> None:
    builder = StoreBuilder(path, parameters.seed)
    told = tell(progress, f"building a store of {users:,} users", users * parameters.rounds)
    builder.rounds(users, parameters.rounds, told, fold=True)
    builder.close()


def _some_users(users: int, entries: int, seed: int) -> Iterator[UserId]:
    dice = random.Random(seed)
    return (user_name(dice.randrange(users)) for _ in range(entries))


def _start(path: Path) -> Started:
    server = ServerProcess(path, *NEVER)
    started = time.perf_counter()
    with server:
        with urllib.request.urlopen(server.url + "/readyz") as answer:
            assert answer.status == 200
        ready_s = time.perf_counter() - started
        recovered = server.wait_for_event("recovered")
        server.stop()
    return Started(ready_s, recovered["replayed_entries"], recovered["duration_s"])


async def _watch_memory(
    path: Path, parameters: RestartParameters, progress: ProgressBar
) -> tuple[Memory, Memory, int, int]:
    with ServerProcess(path) as server:
        at_start = server.memory()
        samples = [at_start]

        async def sample() -> None:
            while True:
                await trio.sleep(SAMPLE_INTERVAL_S)
                samples.append(server.memory())
                progress("watching memory", len(samples), int(parameters.seconds * 10))

        dice = random.Random(parameters.seed)
        keys = count()

        def request(authority: str) -> bytes:
            # Spread over the store, so that each has pages of its own.
            number = dice.randrange(parameters.active) * parameters.users // parameters.active
            user = UserName(user_name(number))
            return add_request(authority, user, Micros(1), f"active-{next(keys)}")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(sample)
            answered = await ask_for(
                server.url, parameters.seconds, parameters.connections, request
            )
            nursery.cancel_scope.cancel()
        snapshots = sum(event["event"] == "snapshot taken" for event in server.events())
        server.stop()
    largest = max(samples, key=lambda memory: memory.resident_mb)
    return at_start, largest, len(answered), snapshots
