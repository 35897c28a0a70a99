"""How long an add takes at half the rate that the server could do, and whether folding is felt."""

import itertools
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Final

from bench.closed_loop import Timed
from bench.comparison.audit import Audit
from bench.comparison.contest import Entrant, alternate
from bench.comparison.figure import FigureName, Sample
from bench.comparison.stage import Stage
from bench.comparison.targets import BITBURST, DISK, FASTAPI
from bench.cores import Busy, pinned
from bench.errors import LoadFailedError
from bench.folding import span
from bench.latency import Percentiles, percentiles
from bench.loads.generator import Started, ask_by_own, site
from bench.loads.open_loop import OpenLoopOutcome, ask_on_schedule
from bench.loads.outcome import Outcome
from bench.loads.requests import Load, Plan
from bench.peers.bitburst import BitBurst
from bench.peers.disk import time_commits
from bench.peers.peer import WebPeer, awake
from bench.restart import NEVER

PEAK_CONNECTIONS: Final = 512
CONNECTIONS: Final = 256
SECONDS_FACTOR: Final = 2.5
"""A tail needs more of them than a rate."""
FOLDS_PER_RUN: Final = 6
FOLDED_ENTRIES_MIN: Final = 200
FOLD_SECONDS_MAX: Final = 10.0
QUIET_SECONDS: Final = 3.0
"""An idle server folds what it has in less."""
POLL_SECONDS: Final = 0.1
OPEN_LOOP: Final = "own, open loop"


def compare_latency(stage: Stage) -> None:
    """A server that takes no snapshots, one that takes them all the time, FastAPI, and the disk.

    Raises:
        BenchError: a server could not be started, or not asked.
    """
    with ExitStack() as up:
        quiet = up.enter_context(stage.bitburst("latency", NEVER))
        lane = Lane(stage, quiet, _audit(stage, quiet))
        lane.find_peak()
        folded = int(lane.half_peak * stage.setting.seconds * SECONDS_FACTOR / FOLDS_PER_RUN)
        often = ("--snapshot-entries", str(max(FOLDED_ENTRIES_MIN, folded)))
        folding = up.enter_context(stage.bitburst("latency-folding", often))
        folding_lane = Lane(stage, folding, _audit(stage, folding), lane.half_peak)
        entrants = [
            _disk(stage),
            _entrant(stage, BITBURST, "p99 at half the peak", lambda: lane.run().sample()),
            _entrant(
                stage, BITBURST, "p99 while folding", lambda: while_folding(folding_lane, folding)
            ),
        ]
        if stage.fastapi is not None:
            peer = Lane(stage, stage.fastapi, None)
            peer.find_peak()
            entrants.append(
                _entrant(stage, FASTAPI, "p99 at half its peak", lambda: peer.run().sample())
            )
        alternate(entrants, stage.setting.repetitions, stage.results, stage.told)
        lane.check("adds on schedule")
        folding_lane.check("adds on schedule while folding")


@dataclass(frozen=True, slots=True)
class Ran:
    """One run on schedule."""

    requests: OpenLoopOutcome
    busy: Busy

    def sample(self, latency: Percentiles | None = None) -> Sample:
        """A repetition whose value is the p99: of all requests, or of those that are given.

        Raises:
            LoadFailedError: there are none.
        """
        outcome = self.requests.outcome
        latency = latency or outcome.latency
        if latency is None:
            raise LoadFailedError("nothing was answered")
        told = (outcome.seconds, outcome.errors, outcome.first_error)
        return Sample(latency.p99_ms, *told, self.busy, latency)


class Lane:
    """One server under adds on schedule, at half the rate that it could do."""

    def __init__(
        self, stage: Stage, peer: WebPeer, audit: Audit | None, half_peak: float = 0.0
    ) -> None:
        self._stage = stage
        self._peer = peer
        self._audit = audit
        self._runs = itertools.count()
        self.half_peak = half_peak
        """Adds a second."""

    def find_peak(self) -> None:
        """Measures what it could do.

        Raises:
            BenchError: no add was answered.
        """
        setting, plan = self._stage.setting, self._plan()
        connections = min(PEAK_CONNECTIONS, max(setting.connections))

        def run(started: Started) -> Outcome:
            return ask_by_own(self._peer.url, plan, connections, setting.seconds, started)

        outcome, _ = self._stage.measure(self._peer, run)
        self._expect(outcome)
        if not outcome.answered:
            raise LoadFailedError(f"no add was answered: {outcome.first_error}")
        self.half_peak = outcome.per_second / 2

    def run(self) -> Ran:
        """Adds on schedule.

        Raises:
            BenchError: the load could not be made.
        """
        plan, seconds = self._plan(), self._stage.setting.seconds * SECONDS_FACTOR

        def run(started: Started) -> OpenLoopOutcome:
            where = site(self._peer.url)
            return ask_on_schedule(where, plan, CONNECTIONS, self.half_peak, seconds, started)

        requests, busy = self._stage.measure(self._peer, run)
        self._expect(requests.outcome)
        return Ran(requests, busy)

    def check(self, title: str) -> None:
        """Reads back what was acknowledged."""
        if self._audit is not None:
            with awake(self._peer):
                audited = self._audit.check()
            self._stage.results.note(title, audited.text, audited.wrong)

    def _expect(self, outcome: Outcome) -> None:
        if self._audit is not None:
            self._audit.expect(outcome)

    def _plan(self) -> Plan:
        counted = 0 if self._audit is None else self._audit.users
        number, setting = next(self._runs), self._stage.setting
        return Plan(Load.ADD, setting.users, f"latency-{number}", setting.seed + number, counted)


def while_folding(lane: Lane, server: BitBurst) -> Sample:
    """A run of which only the adds count that overlap with the folding of a snapshot.

    Raises:
        LoadFailedError: nothing was folded meanwhile.
    """
    ran = lane.run()
    with awake(server):
        _wait_for_folds(server)
    latency = percentiles(overlapping(ran.requests.timed, _folds(server)))
    if latency is None:
        raise LoadFailedError("no add met the folding of a snapshot")
    return ran.sample(latency)


def _wait_for_folds(server: BitBurst) -> None:
    """One that began in the run may end, and be logged, only after it, and others before it."""
    began = changed = time.monotonic()
    known = len(_folds(server))
    while (now := time.monotonic()) < min(changed + QUIET_SECONDS, began + FOLD_SECONDS_MAX):
        time.sleep(POLL_SECONDS)
        found = len(_folds(server))
        if found != known:
            known, changed = found, now


def _folds(server: BitBurst) -> list[tuple[int, int]]:
    events = server.process.events()
    return [span(event) for event in events if event["event"] == "snapshot taken"]


def overlapping(timed: Iterable[Timed], spans: Sequence[tuple[int, int]]) -> list[int]:
    """Latencies in nanoseconds of those that were under way during one of the spans."""
    return [
        one.latency_ns
        for one in timed
        if any(one.asked_ns < end and start < one.answered_ns for start, end in spans)
    ]


def _audit(stage: Stage, server: BitBurst) -> Audit:
    with awake(server):
        return Audit(server.url, stage.setting.users)


def _entrant(stage: Stage, peer: str, what: str, measure: Callable[[], Sample]) -> Entrant:
    name = FigureName(peer, what)
    return Entrant(name, "ms", OPEN_LOOP, stage.setting.pinned, lambda repetition: measure())


def _disk(stage: Stage) -> Entrant:
    def measure(repetition: int) -> Sample:
        with pinned(stage.setting.cores.server):
            took = time_commits(stage.setting.folder / f"commits-{repetition}")
        return Sample(took.latency.p50_ms, took.seconds, latency=took.latency)

    where = f"on core {stage.setting.cores.server}"
    return Entrant(FigureName(DISK, "median commit"), "ms", "lmdb", where, measure)
