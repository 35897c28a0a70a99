import socket
from dataclasses import replace

import pytest
from contract_server import ContractServer, serving
from contract_server import Fault as ServerFault

from bench.caller import RetryPolicy
from bench.errors import ServerNotReadyError
from bench.http_client import Origin
from bench.simulate import Simulation, SimulationParameters, simulate
from bench.verification import Fault
from bench.workload import WorkloadParameters

WORKLOAD = WorkloadParameters(
    users=20, transactions_per_user=13, duplicate_share=0.3, seed=1, run_id="r1"
)
PATIENT = RetryPolicy(attempts_max=30, backoff_seconds_first=0.001, backoff_seconds_max=0.002)


async def simulated(
    server: ContractServer,
    workload: WorkloadParameters = WORKLOAD,
    concurrency: int = 16,
    retries: RetryPolicy = PATIENT,
) -> Simulation:
    return await simulate(SimulationParameters(server.origin, workload, concurrency, retries))


async def simulated_with(fault: ServerFault) -> Simulation:
    async with serving(ContractServer(fault)) as server:
        return await simulated(server)


@pytest.mark.parametrize("concurrency", [1, 2, 16, 100])
async def test_a_correct_server_passes(concurrency: int) -> None:
    async with serving(ContractServer()) as server:
        simulation = await simulated(server, concurrency=concurrency)
    assert simulation.passed
    assert simulation.verdict.entries == simulation.confirmed_adds == 260
    assert simulation.adding.tally.replays == simulation.planned_repeats > 0
    assert simulation.adding.tally.requests == 260 + simulation.planned_repeats
    assert simulation.adding.tally.retries == 0
    assert simulation.reading.tally.requests == 20 * (1 + 2 + 1)


async def test_some_repeats_arrive_while_the_first_is_under_way() -> None:
    async with serving(ContractServer()) as server:
        await simulated(server)
    assert server.meetings > 0


async def test_another_run_id_shares_the_store() -> None:
    async with serving(ContractServer()) as server:
        assert (await simulated(server)).passed
        assert (await simulated(server, replace(WORKLOAD, run_id="r2"))).passed


async def test_a_repeated_run_counts_nothing_again_and_passes() -> None:
    async with serving(ContractServer()) as server:
        await simulated(server)
        again = await simulated(server)
    assert again.passed
    assert again.adding.tally.replays == again.adding.tally.requests


@pytest.mark.parametrize(
    "fault", [ServerFault.DROPS_BEFORE, ServerFault.DROPS_AFTER, ServerFault.REFUSES]
)
async def test_retries_heal_what_the_contract_allows(fault: ServerFault) -> None:
    simulation = await simulated_with(fault)
    assert simulation.passed
    assert simulation.adding.tally.retries > 0
    assert simulation.reading.tally.retries > 0


async def test_a_silent_connection_is_given_up_and_the_request_repeated() -> None:
    async with serving(ContractServer(ServerFault.STAYS_SILENT)) as server:
        brief = replace(PATIENT, answer_seconds_max=0.1)
        few = replace(WORKLOAD, users=3, transactions_per_user=4)
        simulation = await simulated(server, few, retries=brief)
    assert simulation.passed
    assert simulation.adding.tally.retries_lost > 0


async def test_a_polite_close_is_no_retry() -> None:
    simulation = await simulated_with(ServerFault.CLOSES_POLITELY)
    assert simulation.passed
    assert simulation.adding.tally.retries == 0
    assert simulation.adding.tally.connections > 16


@pytest.mark.parametrize(
    ("server_fault", "found"),
    [
        (ServerFault.DOUBLES_REPEATS, {Fault.DOUBLED, Fault.BALANCE}),
        (ServerFault.FORGETS_OLD_KEYS, {Fault.DOUBLED, Fault.BALANCE}),
        (ServerFault.DROPS_AND_DOUBLES, {Fault.DOUBLED, Fault.BALANCE}),
        (ServerFault.LOSES, {Fault.LOST, Fault.BALANCE}),
        (ServerFault.WRONG_BALANCE, {Fault.BALANCE}),
        (ServerFault.BAD_TIMESTAMPS, {Fault.ENTRY}),
        (ServerFault.NO_LAST_PAGE, {Fault.LOST, Fault.DOUBLED, Fault.PAGES, Fault.TIMESTAMP}),
    ],
)
async def test_a_ledger_that_is_wrong_fails(server_fault: ServerFault, found: set[Fault]) -> None:
    simulation = await simulated_with(server_fault)
    assert not simulation.passed
    assert set(simulation.verdict.faults) == found


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (ServerFault.REJECTS, "422"),
        (ServerFault.GIBBERISH, "no HTTP answer"),
        (ServerFault.UNMARKED_REPLAYS, "without Idempotent-Replayed"),
    ],
)
async def test_answers_that_the_contract_does_not_allow_are_errors(
    fault: ServerFault, words: str
) -> None:
    simulation = await simulated_with(fault)
    assert not simulation.passed
    assert words in simulation.adding.tally.first_errors[0]
    assert simulation.verdict.lost == simulation.verdict.doubled == 0


async def test_a_server_that_only_refuses_ends_the_run_and_loses_nothing() -> None:
    impatient = replace(PATIENT, attempts_max=2)
    async with serving(ContractServer(ServerFault.REFUSES_ALL_ADDS)) as server:
        simulation = await simulated(server, retries=impatient)
    assert not simulation.passed
    assert 100 <= simulation.errors < simulation.planned_adds
    assert "gave up after 2 attempts" in simulation.adding.tally.first_errors[0]
    assert simulation.confirmed_adds == 0
    assert simulation.verdict.holds


async def test_a_server_that_is_not_ready_is_said_at_once() -> None:
    async with serving(ContractServer(ServerFault.NOT_READY)) as server:
        with pytest.raises(ServerNotReadyError, match="not ready"):
            await simulated(server)


async def test_a_missing_server_is_said_at_once() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        origin = Origin("127.0.0.1", unused.getsockname()[1])
        with pytest.raises(ServerNotReadyError, match="no server"):
            await simulate(SimulationParameters(origin, WORKLOAD, 4, PATIENT))
