"""More adds than the server can take: how many of them it still takes, and how long that lasts.

The callers are many and know nothing of each other. Each sends when it is due, over one of a few
thousand connections; one that finds none free for a second gives up, as callers do.
"""

import itertools
from typing import Final

from bench.comparison.audit import Audit
from bench.comparison.figure import Figure, FigureName, Sample
from bench.comparison.latency_contest import OPEN_LOOP
from bench.comparison.stage import Stage
from bench.comparison.targets import AT_PEAK, BITBURST, OVERLOADED, P99_OVERLOADED, TIMES
from bench.cores import Busy
from bench.errors import LoadFailedError
from bench.loads.generator import Started, ask_by_own, site
from bench.loads.open_loop import OpenLoopOutcome, ask_on_schedule
from bench.loads.outcome import Outcome
from bench.loads.requests import Load, Plan
from bench.peers.bitburst import BitBurst
from bench.peers.peer import awake

OFFERED: Final = (0.25, 0.5, 0.75, 1, 1.25, 1.5, 2, 2.5, 3)
"""Times the peak."""
CONNECTIONS: Final = 2_048
PATIENCE_S: Final = 1.0
ADDS_PER_SECOND: Final = "adds/s"
PREFIX: Final = "adds accepted, "
SUFFIX: Final = f" {TIMES} the peak offered"
TOO_MUCH: Final = 2
"""Times what a closed loop gets, which waits for its answers and so asks for less than it could."""


def offered_name(share: float) -> FigureName:
    """The figure of what was accepted when that share of the peak was offered."""
    return FigureName(BITBURST, f"{PREFIX}{share:g}{SUFFIX}")


def offered_share(name: FigureName) -> float | None:
    """The share that `offered_name` was given; None for another figure."""
    what = name.what
    if name.peer != BITBURST or not (what.startswith(PREFIX) and what.endswith(SUFFIX)):
        return None
    return float(what.removeprefix(PREFIX).removesuffix(SUFFIX))


def compare_overload(stage: Stage) -> None:
    """From a quarter of the peak to three times as much.

    Raises:
        BenchError: the server could not be started or asked.
    """
    with stage.bitburst("overload") as server:
        with awake(server):
            audit = Audit(server.url, stage.setting.users)
        crowd = _Crowd(stage, server, audit)
        points: dict[float, list[Sample]] = {share: [] for share in OFFERED}
        for repetition in range(stage.setting.repetitions):
            crowd.find_peak()
            for number, share in enumerate(OFFERED):
                stage.told(
                    f"{share:g} {TIMES} the peak offered",
                    repetition * len(OFFERED) + number,
                    stage.setting.repetitions * len(OFFERED),
                )
                points[share].append(crowd.offer(share))
        with awake(server):
            audited = audit.check()
    stage.results.note("adds beyond what can be taken", audited.text, audited.wrong)
    for figure in _figures(points, stage.setting.pinned):
        stage.results.figures[figure.name] = figure


class _Crowd:
    """The callers of one server."""

    def __init__(self, stage: Stage, server: BitBurst, audit: Audit) -> None:
        self._stage = stage
        self._server = server
        self._audit = audit
        self._runs = itertools.count()
        self._peak = 0.0
        """Adds a second."""

    def find_peak(self) -> None:
        """The most that is accepted, when more than that is offered.

        Raises:
            BenchError: no add was answered.
        """
        plan, seconds = self._plan(), self._stage.setting.seconds

        def run(started: Started) -> Outcome:
            return ask_by_own(self._server.url, plan, self._connections, seconds, started)

        outcome, _ = self._stage.measure(self._server, run)
        self._audit.expect(outcome)
        if not outcome.answered:
            raise LoadFailedError(f"no add was answered: {outcome.first_error}")
        self._peak = outcome.per_second
        self._peak = self.offer(TOO_MUCH).value

    def offer(self, share: float) -> Sample:
        """Offers that share of the peak. A refusal for overload is no error here."""
        plan, seconds = self._plan(), self._stage.setting.seconds

        def run(started: Started) -> OpenLoopOutcome:
            where, rate = site(self._server.url), self._peak * share
            connections = self._connections
            return ask_on_schedule(where, plan, connections, rate, seconds, started, PATIENCE_S)

        ran, busy = self._stage.measure(self._server, run)
        self._audit.expect(ran.outcome)
        return _sample(ran, busy)

    @property
    def _connections(self) -> int:
        return min(CONNECTIONS, self._stage.setting.open_connections)

    def _plan(self) -> Plan:
        number, setting = next(self._runs), self._stage.setting
        run, seed = f"overload-{number}", setting.seed + number
        return Plan(Load.ADD, setting.users, run, seed, self._audit.users)


def _sample(ran: OpenLoopOutcome, busy: Busy) -> Sample:
    outcome = ran.outcome
    errors = outcome.errors - ran.overloaded
    first = outcome.first_error if errors else ""
    return Sample(outcome.per_second, outcome.seconds, errors, first, busy, ran.accepted)


def _figures(points: dict[float, list[Sample]], pinned: str) -> list[Figure]:
    def figure(name: FigureName, unit: str, samples: list[Sample]) -> Figure:
        return Figure(name, unit, OPEN_LOOP, pinned, tuple(samples))

    curve = [figure(offered_name(share), ADDS_PER_SECOND, points[share]) for share in OFFERED]
    runs = list(zip(*points.values(), strict=True))
    most = [max(run, key=lambda sample: sample.value) for run in runs]
    last = [
        Sample(one.latency.p99_ms, one.seconds, one.errors, one.first_error, one.busy, one.latency)
        for one in points[OFFERED[-1]]
        if one.latency is not None
    ]
    assert offered_name(OFFERED[-1]).what == OVERLOADED
    found = [*curve, figure(FigureName(BITBURST, AT_PEAK), ADDS_PER_SECOND, most)]
    if last:
        found.append(figure(FigureName(BITBURST, P99_OVERLOADED), "ms", last))
    return found
