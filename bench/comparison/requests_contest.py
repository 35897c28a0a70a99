"""Adds, balances, histories and a mix: one request at a time on each connection."""

from typing import Final

from bench.comparison.audit import Audit
from bench.comparison.contest import Entrant, alternate
from bench.comparison.figure import FigureName, Sample
from bench.comparison.setting import Chosen, PeerChoice
from bench.comparison.stage import LEDGER, Stage, sample_of
from bench.comparison.targets import BITBURST, EMPTY_ROUTE, FASTAPI, POSTGRES
from bench.loads.generator import Started
from bench.loads.outcome import Outcome
from bench.loads.requests import Load, Plan
from bench.peers.peer import WebPeer, awake
from bench.peers.pgbench import PGBENCH, run_pgbench, single_add

TARGET_CONNECTIONS: Final = 64
"""Of the targets for adds and reads."""
REPETITIONS_OF_ADDS: Final = 2
"""Times as many with these: what a key costs is less than what the machine differs by, from one
second to the next."""
PGBENCH_CLIENTS: Final = 64
UNIT: Final = "requests/s"


def compare_adds(stage: Stage) -> None:
    """Adds with and without keys, on a fresh store for each number of connections."""
    loads = [load for load in (Load.ADD, Load.KEYED) if Chosen(load.value) in stage.setting.loads]
    for connections in stage.setting.connections if loads else ():
        more = REPETITIONS_OF_ADDS if connections == TARGET_CONNECTIONS else 1
        _compare(stage, loads, connections, "adds", more * stage.setting.repetitions)


def compare_reads(stage: Stage) -> None:
    """Balances, histories and the mix, which comes last because it adds."""
    every = (Load.BALANCE, Load.HISTORY, Load.MIX)
    loads = [load for load in every if Chosen(load.value) in stage.setting.loads]
    if loads:
        _compare(stage, loads, TARGET_CONNECTIONS, "reads", stage.setting.repetitions)


def _compare(
    stage: Stage, loads: list[Load], connections: int, kind: str, repetitions: int
) -> None:
    with stage.bitburst(f"{kind}-{connections}") as server:
        with awake(server):
            audit = Audit(server.url, stage.setting.users)
        names = {load: f"{load}, {connections} connections" for load in loads}
        entrants = [
            _entrant(stage, FigureName(BITBURST, name), server, load, connections, audit)
            for load, name in names.items()
        ]
        if stage.empty_route is not None:
            # It is measured beside the adds and beside the reads: those are two figures.
            empty = FigureName(EMPTY_ROUTE, f"empty beside {kind}, {connections} connections")
            entrants.append(_entrant(stage, empty, stage.empty_route, Load.EMPTY, connections))
        if stage.fastapi is not None:
            entrants += [
                _entrant(stage, FigureName(FASTAPI, name), stage.fastapi, load, connections)
                for load, name in names.items()
            ]
        if Load.ADD in loads and connections == PGBENCH_CLIENTS:
            entrants += _pgbench_entrants(stage)
        alternate(entrants, repetitions, stage.results, stage.told)
        with awake(server):
            audited = audit.check()
    title = f"{kind}, {connections} connections"
    stage.results.note(title, audited.text, audited.wrong)


def _entrant(
    stage: Stage,
    name: FigureName,
    peer: WebPeer,
    load: Load,
    connections: int,
    audit: Audit | None = None,
) -> Entrant:
    def measure(repetition: int) -> Sample:
        plan = Plan(
            load=load,
            users=stage.setting.users,
            # The peers' database outlives a contest, and no key may come twice.
            run=f"{load}-{connections}-{repetition}",
            seed=stage.setting.seed + repetition,
            counted_users=audit.users if audit else 0,
        )
        outcome, busy = stage.ask(peer, plan, connections)
        if audit is not None:
            audit.expect(outcome)
        return sample_of(outcome, busy)

    return Entrant(name, UNIT, stage.generator, stage.setting.pinned, measure)


def _pgbench_entrants(stage: Stage) -> list[Entrant]:
    postgres, setting = stage.postgres, stage.setting
    if postgres is None or PeerChoice.POSTGRES not in setting.peers:
        return []
    script, file = single_add(setting.users), setting.folder / "add.sql"
    seconds = max(1, round(setting.seconds))

    def run(started: Started) -> Outcome:
        started()
        return run_pgbench(postgres, LEDGER, script, file, PGBENCH_CLIENTS, seconds)

    def measure(_: int) -> Sample:
        return sample_of(*stage.measure(postgres, run))

    name = FigureName(POSTGRES, f"insert, {PGBENCH_CLIENTS} clients")
    return [Entrant(name, "inserts/s", PGBENCH, setting.pinned, measure)]
