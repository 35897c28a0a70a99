"""Many connections that are open and silent beside those that ask."""

from typing import Final

from bench.comparison.audit import Audit
from bench.comparison.contest import Entrant, alternate
from bench.comparison.figure import FigureName, Sample
from bench.comparison.stage import Stage, sample_of
from bench.comparison.targets import BITBURST
from bench.loads.generator import Started, ask_by_own
from bench.loads.outcome import Outcome
from bench.loads.requests import Load, Plan
from bench.peers.bitburst import BitBurst
from bench.peers.peer import awake

FEW: Final = 512


def compare_connections(stage: Stage) -> None:
    """Adds over 512 connections, and over some of ten thousand; both by the bench's own generator,
    which sees it when a silent connection is closed.

    Raises:
        BenchError: the server could not be started or asked.
    """
    setting = stage.setting
    active = min(setting.active_connections, setting.open_connections)
    few = min(FEW, setting.open_connections)
    with stage.bitburst("connections") as server:
        with awake(server):
            audit = Audit(server.url, setting.users)
        entrants = [
            _entrant(stage, server, audit, few, few),
            _entrant(stage, server, audit, active, setting.open_connections),
        ]
        alternate(entrants, setting.repetitions, stage.results, stage.told)
        with awake(server):
            audited = audit.check()
    stage.results.note("adds over many connections", audited.text, audited.wrong)


def _entrant(
    stage: Stage, server: BitBurst, audit: Audit, active: int, open_connections: int
) -> Entrant:
    def measure(repetition: int) -> Sample:
        run = f"connections-{open_connections}-{repetition}"
        seed = stage.setting.seed + repetition
        plan = Plan(Load.ADD, stage.setting.users, run, seed, audit.users)

        def ask(started: Started) -> Outcome:
            idle = open_connections - active
            return ask_by_own(server.url, plan, active, stage.setting.seconds, started, idle)

        outcome, busy = stage.measure(server, ask)
        audit.expect(outcome)
        return sample_of(outcome, busy)

    name = FigureName(BITBURST, f"add, {open_connections:,} open")
    return Entrant(name, "requests/s", "own, closed loop", stage.setting.pinned, measure)
