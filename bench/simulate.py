"""The simulation: many users credited at once, everything read back, nothing taken on trust."""

import random
import time
from dataclasses import dataclass

import trio

from bench.adding import Adding
from bench.caller import Clock, RetryPolicy
from bench.errors import ConnectionLostError, ServerNotReadyError, UnreadableAnswerError
from bench.http_client import Origin, open_connection, resolve
from bench.phase import Phase, Progress, Setting
from bench.reading import Reading
from bench.verification import Verdict, verify
from bench.wire import readiness_request
from bench.workload import Workload, WorkloadParameters, plan_workload


@dataclass(frozen=True, slots=True)
class SimulationParameters:
    """What to run, and against which server."""

    origin: Origin
    workload: WorkloadParameters
    concurrency: int
    """Connections open at a time, each with one request under way."""
    retries: RetryPolicy


@dataclass(frozen=True, slots=True)
class Simulation:
    """A finished run."""

    parameters: SimulationParameters
    planned_adds: int
    """Different credits."""
    planned_repeats: int
    """Credits that were planned to be sent a second time."""
    confirmed_adds: int
    """Different credits that were answered with 200."""
    adding: Phase
    reading: Phase
    verdict: Verdict

    @property
    def errors(self) -> int:
        return self.adding.tally.errors + self.reading.tally.errors

    @property
    def passed(self) -> bool:
        """Zero errors and nothing lost or doubled."""
        return self.errors == 0 and self.verdict.holds

    @property
    def credits_per_second(self) -> float:
        """Different credits confirmed a second: repeats and retries do not count."""
        seconds = self.adding.latencies.seconds
        return self.confirmed_adds / seconds if seconds else 0.0


def show_nothing(phase: str, settled: int, planned: int) -> None:
    """A progress that is not shown."""


async def simulate(
    parameters: SimulationParameters,
    progress: Progress = show_nothing,
    clock: Clock = time.perf_counter_ns,
    cpu_clock: Clock = time.process_time_ns,
) -> Simulation:
    """Send the whole plan, read everything back, compare.

    Raises UnusableUrlError or ServerNotReadyError before the first add; whatever goes wrong later
    is counted.
    """
    workload = plan_workload(parameters.workload)
    setting = Setting(
        address=await resolve(parameters.origin),
        authority=parameters.origin.authority,
        connections=parameters.concurrency,
        retries=parameters.retries,
        dice=random.Random(parameters.workload.seed),
        clock=clock,
        cpu_clock=cpu_clock,
        progress=progress,
    )
    await _find_server(parameters.origin, setting)
    return await _simulate(parameters, workload, setting)


async def _simulate(
    parameters: SimulationParameters, workload: Workload, setting: Setting
) -> Simulation:
    adding = Adding(workload, setting)
    adding_phase = await adding.run()
    reading = Reading(workload, setting)
    reading_phase = await reading.run()
    planned = (adding.planned_user(user) for user in range(parameters.workload.users))
    return Simulation(
        parameters=parameters,
        planned_adds=workload.adds,
        planned_repeats=workload.sendings - workload.adds,
        confirmed_adds=adding.confirmed,
        adding=adding_phase,
        reading=reading_phase,
        verdict=verify(planned, reading.readings),
    )


async def _find_server(origin: Origin, setting: Setting) -> None:
    # No retries here: whoever forgot to start the server is told at once.
    try:
        with trio.fail_after(setting.retries.answer_seconds_max):
            connection = await open_connection(setting.address, setting.retries.connect_seconds_max)
            try:
                answer = await connection.ask(readiness_request(setting.authority))
            finally:
                connection.close()
    except (ConnectionLostError, UnreadableAnswerError) as error:
        raise ServerNotReadyError(f"no server at http://{origin.authority}: {error}") from None
    except trio.TooSlowError:
        raise ServerNotReadyError(f"http://{origin.authority} does not answer") from None
    if answer.status != 200:
        raise ServerNotReadyError(
            f"http://{origin.authority} is not ready: it answers GET /readyz with {answer.status}"
        )
