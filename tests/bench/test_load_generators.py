"""The bench's own generators and what is read from others, against a server in process."""

import math

import pytest
import trio
from contract_server import ContractServer, Fault, serving

from bench.comparison.audit import Audit, Audited, compare
from bench.errors import ConnectionLostError, LoadFailedError
from bench.loads.bulk import CREDITS_PER_REQUEST, TARGET, Encoding, encode_requests, send_bulk
from bench.loads.generator import ask_by_own, ask_by_wrk, site
from bench.loads.open_loop import OpenLoopOutcome, ask_on_schedule
from bench.loads.outcome import Outcome
from bench.loads.requests import Load, Plan, RequestMaker, amount_of
from bench.loads.wrk import find_wrk, read_wrk
from bench.peers.pgbench import read_pgbench
from bench.wire import Micros

USERS = 20
SECONDS = 0.3

WRK_OUTPUT = """Running 1s test @ http://127.0.0.1:8999
  594 requests in 1.00s, 316.03KB read
{"requests":594,"duration_us":1500000,"status":4,"connect":0,"read":1,"write":0,"timeout":2,\
"latency_us":{"500":3141,"900":7828,"990":10415,"999":12363,"1000":12400},"made":600,\
"made_adds":422,"counted":[4,5]}
"""
PGBENCH_OUTPUT = """transaction type: /tmp/add.sql
number of transactions actually processed: 7905
number of failed transactions: 0 (0.000%)
latency average = 13.6 ms
initial connection time = 120.4 ms
tps = 4683.000000 (without initial connection time)
"""


def plan(load: Load, counted_users: int = USERS) -> Plan:
    return Plan(load, USERS, "run-1", seed=1, counted_users=counted_users)


def nothing() -> None:
    pass


def url_of(server: ContractServer) -> str:
    return f"http://{server.origin.authority}"


async def closed(server: ContractServer, load: Load, idle: int = 0) -> Outcome:
    def ask() -> Outcome:
        return ask_by_own(url_of(server), plan(load), 4, SECONDS, nothing, idle)

    return await in_thread(ask)


async def in_thread(function):  # type: ignore[no-untyped-def]
    """The generators block: the server needs the loop meanwhile."""
    return await trio.to_thread.run_sync(function)


@pytest.mark.parametrize("load", [Load.ADD, Load.KEYED, Load.BALANCE, Load.HISTORY, Load.MIX])
async def test_a_closed_loop_has_an_answer_for_all_that_it_asked(load: Load) -> None:
    async with serving(ContractServer()) as server:
        outcome = await closed(server, load)
    assert outcome.errors == 0
    assert outcome.answered == outcome.made > 0
    assert outcome.unacknowledged == 0


async def test_what_a_closed_loop_counted_is_in_the_balances() -> None:
    async with serving(ContractServer()) as server:
        audit = await in_thread(lambda: Audit(url_of(server), USERS))
        outcome = await closed(server, Load.KEYED)
        audit.expect(outcome)
        audited = await in_thread(audit.check)
    assert audited == Audited(USERS, outcome.made, outcome.made, 0, 0)


async def test_a_server_that_loses_is_found_out() -> None:
    async with serving(ContractServer(Fault.LOSES)) as server:
        audit = await in_thread(lambda: Audit(url_of(server), USERS))
        audit.expect(await closed(server, Load.KEYED))
        audited = await in_thread(audit.check)
    assert audited.wrong > 0
    assert "WRONG" in audited.text


@pytest.mark.parametrize("fault", [Fault.REFUSES, Fault.REJECTS])
async def test_every_other_answer_is_an_error(fault: Fault) -> None:
    async with serving(ContractServer(fault)) as server:
        outcome = await closed(server, Load.KEYED)
    assert outcome.errors == outcome.made - outcome.answered > 0
    assert outcome.first_error.startswith(("503", "422"))


async def test_a_lost_connection_is_an_error() -> None:
    async with serving(ContractServer(Fault.DROPS_AFTER)) as server:
        outcome = await closed(server, Load.KEYED)
    assert outcome.errors == 4
    assert "closed" in outcome.first_error


async def test_idle_connections_are_opened_and_say_nothing() -> None:
    async with serving(ContractServer()) as server:
        outcome = await closed(server, Load.KEYED, idle=30)
    assert outcome.errors == 0


async def test_nobody_listening_is_said() -> None:
    async with serving(ContractServer()) as server:
        pass
    with pytest.raises(ConnectionLostError):
        await closed(server, Load.KEYED)


async def on_schedule(server: ContractServer) -> OpenLoopOutcome:
    def ask() -> OpenLoopOutcome:
        where = site(url_of(server))
        return ask_on_schedule(where, plan(Load.KEYED), 8, 200.0, SECONDS, nothing)

    found: OpenLoopOutcome = await in_thread(ask)
    return found


async def test_an_open_loop_sends_what_is_due_and_times_each() -> None:
    async with serving(ContractServer()) as server:
        found = await on_schedule(server)
    assert found.outcome.errors == 0
    assert found.outcome.answered == found.outcome.made == len(found.timed) > 0
    assert all(one.latency_ns > 0 for one in found.timed)


async def test_an_open_loop_counts_refusals() -> None:
    async with serving(ContractServer(Fault.REFUSES_ALL_ADDS)) as server:
        found = await on_schedule(server)
    assert found.outcome.answered == 0
    assert found.outcome.errors == found.outcome.made


@pytest.mark.parametrize("encoding", list(Encoding))
async def test_bulk_counts_what_was_created(encoding: Encoding) -> None:
    users = [number % USERS for number in range(CREDITS_PER_REQUEST + 10)]
    async with serving(ContractServer()) as server:
        bulk = encode_requests(users, encoding, "run", server.origin.authority)
        audit = await in_thread(lambda: Audit(url_of(server), USERS))
        outcome = await in_thread(lambda: send_bulk(site(url_of(server)), bulk, USERS, nothing))
        audit.expect(outcome)
        audited = await in_thread(audit.check)
    assert [len(batch) for batch in bulk.batches] == [CREDITS_PER_REQUEST, 10]
    assert (outcome.answered, outcome.errors) == (len(users), 0)
    assert (audited.credits_found, audited.wrong) == (len(users), 0)


async def test_bulk_that_is_replayed_was_not_created() -> None:
    async with serving(ContractServer()) as server:
        bulk = encode_requests([1] * 10, Encoding.JSON, "run", server.origin.authority)

        def send() -> Outcome:
            return send_bulk(site(url_of(server)), bulk, USERS, nothing)

        await in_thread(send)
        again = await in_thread(send)
    assert (again.answered, again.errors) == (0, 10)
    assert "replayed" in again.first_error


async def test_a_server_without_bulk_is_said() -> None:
    async with serving(ContractServer(Fault.NO_BATCHES)) as server:
        bulk = encode_requests([1], Encoding.MSGPACK, "run", server.origin.authority)
        with pytest.raises(LoadFailedError, match=TARGET):
            await in_thread(lambda: send_bulk(site(url_of(server)), bulk, USERS, nothing))


@pytest.mark.skipif(find_wrk() is None, reason="wrk is not installed")
async def test_wrk_sends_what_the_own_generator_sends() -> None:
    wrk = find_wrk()
    assert wrk is not None
    async with serving(ContractServer()) as server:
        url = url_of(server)
        audit = await in_thread(lambda: Audit(url, USERS))
        for load in (Load.ADD, Load.KEYED, Load.MIX):
            run = Plan(load, USERS, f"wrk-{load}", 1, USERS)
            audit.expect(await in_thread(lambda run=run: ask_by_wrk(wrk, url, run, 2, 1, nothing)))
        audited = await in_thread(audit.check)
    assert audited.credits_found > 0
    assert audited.wrong == 0


def test_the_output_of_wrk_is_read() -> None:
    outcome = read_wrk(WRK_OUTPUT)
    assert (outcome.answered, outcome.errors, outcome.made) == (590, 7, 600)
    assert outcome.per_second == pytest.approx(590 / 1.5)
    assert outcome.first_error == "status: 4, read: 1, timeout: 2"
    assert outcome.counted == (4, 5)
    assert outcome.latency is not None
    assert (outcome.latency.p50_ms, outcome.latency.max_ms) == (3.141, 12.4)


@pytest.mark.parametrize("output", ["", "unable to connect", "{}", "{broken"])
def test_what_wrk_did_not_say_is_a_failed_load(output: str) -> None:
    with pytest.raises(LoadFailedError):
        read_wrk(output)


def test_the_output_of_pgbench_is_read_in_rows() -> None:
    outcome = read_pgbench(PGBENCH_OUTPUT, rows=10)
    assert (outcome.answered, outcome.errors) == (79_050, 0)
    assert outcome.per_second == pytest.approx(46_830)


def test_pgbench_without_a_rate_is_a_failed_load() -> None:
    with pytest.raises(LoadFailedError):
        read_pgbench("pgbench: error: connection failed", rows=1)


def test_a_mix_is_seven_two_one() -> None:
    make = RequestMaker(plan(Load.MIX), "x")
    requests = [make() for _ in range(3_000)]
    adds = sum(request.startswith(b"POST") for request in requests)
    balances = sum(b"/balance " in request for request in requests)
    assert adds / len(requests) == pytest.approx(0.7, abs=0.05)
    assert balances / len(requests) == pytest.approx(0.2, abs=0.05)
    assert sum(make.counted) == adds


def test_every_keyed_add_has_a_key_of_its_own() -> None:
    make = RequestMaker(plan(Load.KEYED), "x")
    keys = {make().split(b"Idempotency-Key: ")[1].split(b"\r\n")[0] for _ in range(100)}
    assert len(keys) == 100


def test_amounts_are_whole_cents() -> None:
    amounts = [amount_of(user) for user in range(1_000)]
    assert all(amount > 0 and amount % 10_000 == 0 for amount in amounts)
    assert len(set(amounts)) > 900


def grown(*counts: float) -> list[Micros]:
    return [Micros(math.floor(count * amount_of(user))) for user, count in enumerate(counts)]


def test_balances_as_they_were_sent_are_right() -> None:
    assert compare([2, 0, 1], grown(2, 0, 1), unacknowledged=0).wrong == 0


def test_a_missing_credit_is_wrong_unless_its_answer_was_cut_off() -> None:
    assert compare([2, 1], grown(1, 1), unacknowledged=0).wrong == 1
    assert compare([2, 1], grown(1, 1), unacknowledged=1).wrong == 0


def test_a_credit_too_many_is_always_wrong() -> None:
    assert compare([1, 1], grown(2, 1), unacknowledged=5).wrong == 1


def test_part_of_a_credit_is_wrong() -> None:
    assert compare([1], grown(1.5), unacknowledged=5).wrong == 1
