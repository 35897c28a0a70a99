"""What metrics and the like cost: the same load with all of it on and with all of it off."""

import random
from contextlib import ExitStack
from dataclasses import replace
from typing import Final

from bench.comparison.audit import Audit
from bench.comparison.bulk_contest import bulk_entrant
from bench.comparison.contest import Entrant, alternate
from bench.comparison.figure import Figure, FigureName, Sample
from bench.comparison.stage import Stage, sample_of
from bench.comparison.switches import SWITCHES, Position, api_keys, both_ways
from bench.comparison.targets import BITBURST
from bench.loads.bulk import Encoding
from bench.loads.requests import Load, Plan
from bench.peers.bitburst import BitBurst
from bench.peers.peer import awake

CONNECTIONS: Final = 64
LOADS: Final = (Load.BALANCE, Load.HISTORY, Load.ADD)
"""Reads first: after adds, the servers differ in what they have in memory."""
REPETITIONS_FOR_ONE: Final = 2
SECONDS_MAX: Final = 1.0
"""Many short measurements, of bulks as well: what is compared differs by less than the machine from
one second to the next."""


class Side:
    """The servers in one position of all switches: another one for each repetition.

    By chance, such as by where its memory lies, one process is quicker than another for as long as
    it runs, by more than what is compared.
    """

    def __init__(self, stage: Stage, position: Position, up: ExitStack) -> None:
        """
        Args:
            up: what ends the servers.
        """
        self.position = position
        self._stage = stage
        self._up = up
        self._started: list[tuple[BitBurst, Audit]] = []

    def server(self, repetition: int) -> tuple[BitBurst, Audit]:
        """That of the repetition, and what reads back what is sent to it.

        Raises:
            BenchError: it did not start.
        """
        while len(self._started) <= repetition:
            name = f"switches-{self.position.name.replace(' ', '-')}-{len(self._started)}"
            server = self._up.enter_context(self._stage.bitburst(name, self.position.flags))
            with awake(server):
                audit = Audit(server.url, self._stage.setting.users, self.position.headers)
            self._started.append((server, audit))
        return self._started[repetition]

    def check(self) -> None:
        """Reads back what was sent to all of them.

        Raises:
            BenchError: one did not answer as it should.
        """
        for repetition, (server, audit) in enumerate(self._started):
            with awake(server):
                audited = audit.check()
            name = f"adds, {self.position.name}, {repetition}"
            self._stage.results.note(name, audited.text, audited.wrong)


def compare_switches(stage: Stage) -> None:
    """Adds, reads and bulks; each load both ways, right after one another."""
    repetitions = REPETITIONS_FOR_ONE * stage.setting.repetitions
    positions = both_ways([*SWITCHES, api_keys(stage.setting.folder)])
    with ExitStack() as up:
        sides = [Side(stage, position, up) for position in positions]
        for load in LOADS:
            _alternate(stage, [_entrant(stage, load, side) for side in sides], repetitions)
        for side in sides:
            side.check()
    dice = random.Random(stage.setting.seed)
    credits_ = max(1, stage.setting.bulk_credits // REPETITIONS_FOR_ONE)
    users = [dice.randrange(stage.setting.users) for _ in range(credits_)]
    bulks = [
        bulk_entrant(
            stage,
            Encoding.MSGPACK,
            users,
            f"bulk, {position.name}",
            flags=position.flags,
            headers=position.headers,
        )
        for position in positions
    ]
    _alternate(stage, bulks, repetitions)


def _alternate(stage: Stage, entrants: list[Entrant], repetitions: int) -> None:
    for figure in alternate(entrants, repetitions, stage.results, stage.told):
        own = per_processor_second(figure)
        if own is not None:
            stage.results.figures[own.name] = own


def per_processor_second(figure: Figure) -> Figure | None:
    """The same for each second that the peer's processes had a core: what a request costs shows
    there also where the generator, or someone else on the machine, is what limits the rate.

    None where a repetition was too short for the kernel to say.
    """
    shares = [busy.server_processes for busy in figure.busy]
    if len(shares) < len(figure.samples) or not all(shares):
        return None
    samples = tuple(
        replace(sample, value=sample.value / share)
        for sample, share in zip(figure.samples, shares, strict=True)
    )
    name = figure.name._replace(what=f"{figure.name.what}, per processor second")
    return replace(
        figure, name=name, unit=figure.unit.replace("/s", "/processor second"), samples=samples
    )


def _entrant(stage: Stage, load: Load, side: Side) -> Entrant:
    def measure(repetition: int) -> Sample:
        server, audit = side.server(repetition)
        plan = Plan(
            load=load,
            users=stage.setting.users,
            run=f"{load}-{repetition}",
            seed=stage.setting.seed + repetition,
            counted_users=audit.users,
            headers=side.position.headers,
        )
        seconds = min(SECONDS_MAX, stage.setting.seconds)
        outcome, busy = stage.ask(server, plan, CONNECTIONS, seconds=seconds)
        audit.expect(outcome)
        return sample_of(outcome, busy)

    name = FigureName(BITBURST, f"{load}, {side.position.name}")
    return Entrant(name, "requests/s", stage.generator, stage.setting.pinned, measure)
