"""Runs a scenario, and says what came of it."""

from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import sha256

import trio
from simulation import limits
from simulation.callers import Caller, Exchange
from simulation.faults import inflict, verified
from simulation.machine import Machine, look
from simulation.oracle import Oracle
from simulation.scenario import Scenario
from simulation.scheduler import run_deterministically

from ledger_actors.identity import UserId
from ledger_actors.ledger import Ledger

RUN_S_MAX = 600.0
"""Simulated seconds after which a run is stuck."""
REST_S_MAX = 60.0
"""Simulated seconds within which all comes to rest when nothing befalls it any more."""


@dataclass(frozen=True, slots=True)
class Result:
    """
    Attributes:
        violation: what was wrong; None if nothing was.
        trace_hash: of all that was said, in order, with its step and its time.
        trace: what was said, if it was asked for.
    """

    seed: int
    violation: str | None
    trace_hash: str
    steps: int
    simulated_s: float
    seen: Counter[str]
    trace: list[str] = field(default_factory=list)


class Run:
    """One run of one scenario."""

    def __init__(self, scenario: Scenario, *, traced: bool = False) -> None:
        self._scenario = scenario
        self._hash = sha256()
        self._trace: list[str] | None = [] if traced else None
        self._time_s = 0.0
        self._oracle = Oracle(self._say, self._end)
        self._machine: Machine | None = None
        self._scope = trio.CancelScope()

    def result(self) -> Result:
        scenario, oracle = self._scenario, self._oracle
        with limits.in_force(scenario.world):
            try:
                run_deterministically(self._main, scenario.seed, self._on_step)
            except Exception as error:
                oracle.require(False, _told(error))
        contradiction = oracle.observed.contradiction()
        oracle.require(contradiction is None, f"not linearizable: {contradiction}")
        return Result(
            scenario.seed,
            oracle.violation,
            self._hash.hexdigest(),
            0 if self._machine is None else self._machine.steps,
            self._time_s,
            oracle.seen,
            self._trace or [],
        )

    def _on_step(self) -> None:
        if self._machine is not None:
            self._machine.step()

    def _say(self, what: str) -> None:
        step = 0 if self._machine is None else self._machine.steps
        line = f"{step:6} {self._now():11.6f} {what}"
        self._hash.update(line.encode())
        if self._trace is not None:
            self._trace.append(line)

    def _now(self) -> float:
        # After the run there is no time, and what is said then is said at its end.
        with suppress(RuntimeError):
            self._time_s = trio.current_time()
        return self._time_s

    def _end(self) -> None:
        self._scope.cancel()

    async def _main(self) -> None:
        scenario = self._scenario
        with self._scope:
            with trio.fail_after(RUN_S_MAX):
                async with trio.open_nursery() as nursery:
                    machine = self._machine = Machine(
                        scenario.world, scenario.seed, self._oracle, nursery, self._say
                    )
                    nursery.start_soon(machine.run)
                    async with trio.open_nursery() as busy:
                        for deeds in scenario.deeds.values():
                            busy.start_soon(Caller(machine).run, deeds)
                        busy.start_soon(inflict, machine, scenario.faults)
                    await come_to_rest(machine)
                    nursery.cancel_scope.cancel()
        self._now()


async def come_to_rest(machine: Machine) -> None:
    """Nothing befalls it any more: all must be answered, folded, forgotten, and survive."""
    _end_of_trouble(machine)
    with trio.move_on_after(REST_S_MAX) as patience:
        ledger = await machine.serving()
        while not _at_rest(machine, ledger):
            await trio.sleep(0.2)
            ledger = await machine.serving()
    oracle = machine.oracle
    oracle.require(not patience.cancelled_caught, f"does not come to rest: {_unrest(machine)}")
    for user, entries in oracle.model.entries.items():
        look(oracle, ledger, user, range(1, len(entries) // 10 + 2))
    await machine.stop()
    await machine.serving()
    machine.crash(power=True)
    await machine.serving()
    await _ask_all_again(machine)
    wrong = verified(machine)
    oracle.require(wrong is None, f"verify: {wrong}")


async def _ask_all_again(machine: Machine) -> None:
    """Every key that ever counted is known, however long ago that was."""
    wishes = list(machine.oracle.model.keys.values())
    ledger = await machine.serving()
    exchange = Exchange(machine, ledger, wishes, "")
    exchange.send(bulk=True)
    with trio.move_on_after(REST_S_MAX):
        await exchange.done.wait()
    unknown = exchange.worth_another()
    machine.oracle.require(not unknown, f"not answered: {unknown}")


def _end_of_trouble(machine: Machine) -> None:
    machine.disarm()
    for medium in (machine.log_medium, machine.snapshot_medium):
        medium.full = medium.failing = False
    machine.latency.factor = 1.0
    if machine.snapshotter is not None:
        machine.snapshotter.stalled_until_s = 0.0
        machine.snapshotter.dying = False


def _at_rest(machine: Machine, ledger: Ledger) -> bool:
    return (
        machine.phase == "serving"
        and not machine.oracle.unsettled
        and ledger.unfolded_entries == 0
        and _active(ledger) == 0
        and _rebuilt(ledger, machine.oracle.model.entries)
        and ledger.not_ready is None
    )


def _rebuilt(ledger: Ledger, users: Iterable[UserId]) -> bool:
    """No shard is being rebuilt: what it will have in memory nobody knows."""
    try:
        for user in users:
            ledger.balance_nowait(user)
    except trio.WouldBlock:
        return False
    return True


def _active(ledger: Ledger) -> int:
    """Accounts with entries in no snapshot. When all is folded, there are none."""
    return sum(shard.active_accounts for shard in ledger.statistics().shards)


def _unrest(machine: Machine) -> str:
    ledger = machine.ledger
    if ledger is None:
        return f"the server is {machine.phase}"
    return (
        f"{len(machine.oracle.unsettled)} requests are not answered, "
        f"{ledger.unfolded_entries} entries not folded, {_active(ledger)} accounts in memory; "
        f"not ready: {ledger.not_ready}"
    )


def _told(error: BaseException) -> str:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    traceback = error.__traceback__
    place = ""
    while traceback is not None:
        code = traceback.tb_frame.f_code
        place = (
            f" in {code.co_qualname} ({code.co_filename.rpartition('/')[2]}:{traceback.tb_lineno})"
        )
        traceback = traceback.tb_next
    return f"{error!r} is raised{place}"
