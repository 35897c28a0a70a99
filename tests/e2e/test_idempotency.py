"""A request counts once, however often, however late, and whatever happened in between."""

import signal
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio
from bitburst_command import logged
from eventually import all_folded, eventually
from raw_http import Reply, balance, credit, history, send

from bench.server_process import ServerProcess

AMOUNT = b'{"amount":10}'
RETRIES = 50


def balance_of(url: str, user: str) -> str:
    return balance(url, user).message.rsplit("$", 1)[1]


def status(url: str, user: str, key: str = "key") -> dict[str, Any]:
    """What the server says became of the request."""
    reply = send(url, b"GET", f"/v1/users/{user}/requests/{key}".encode())
    assert reply.status == 200
    found = reply.json
    assert isinstance(found, dict)
    return found


def assert_replay(reply: Reply, first: Reply) -> None:
    assert (reply.status, reply.body) == (first.status, first.body)
    assert reply.headers["idempotent-replayed"] == "true"


def test_first_answer_is_not_marked_as_replayed(url: str, user: str) -> None:
    assert "idempotent-replayed" not in credit(url, user, AMOUNT, "key").headers


def test_retry_returns_the_first_answer_marked_as_replayed(url: str, user: str) -> None:
    first = credit(url, user, AMOUNT, "key")

    assert_replay(credit(url, user, AMOUNT, "key"), first)


def test_retry_counts_once(url: str, user: str) -> None:
    for _ in range(3):
        credit(url, user, AMOUNT, "key")

    assert (balance_of(url, user), len(history(url, user).json)) == ("10.000000", 1)


@pytest.mark.parametrize("written", [b"10.00", b"1e1", b"1.0E+1", b"10.0000000"])
def test_the_same_amount_written_in_another_way_is_the_same_request(
    url: str, user: str, written: bytes
) -> None:
    first = credit(url, user, AMOUNT, "key")

    assert_replay(credit(url, user, b'{"amount": %s}' % written, "key"), first)


def test_the_same_key_with_another_amount_is_refused(url: str, user: str) -> None:
    credit(url, user, AMOUNT, "key")

    reply = credit(url, user, b'{"amount":11}', "key")

    assert reply.status == 422
    assert "used before with the amount 10.000000" in reply.message


def test_a_refused_reuse_of_a_key_changes_nothing(url: str, user: str) -> None:
    first = credit(url, user, AMOUNT, "key")
    before = history(url, user).body

    credit(url, user, b'{"amount":11}', "key")

    assert history(url, user).body == before
    assert_replay(credit(url, user, AMOUNT, "key"), first)


def test_a_refused_request_does_not_use_up_its_key(url: str, user: str) -> None:
    credit(url, user, b'{"amount":-1}', "key")

    assert credit(url, user, AMOUNT, "key").status == 200


def test_a_key_is_the_users_own(url: str, user: str) -> None:
    credit(url, user, AMOUNT, "key")

    reply = credit(url, user + "-other", b'{"amount":11}', "key")

    assert (reply.status, reply.headers.get("idempotent-replayed")) == (200, None)


def test_keys_differ_by_case(url: str, user: str) -> None:
    credit(url, user, AMOUNT, "key")

    assert "idempotent-replayed" not in credit(url, user, AMOUNT, "KEY").headers


def test_without_a_key_each_call_counts(url: str, user: str) -> None:
    for _ in range(3):
        credit(url, user, AMOUNT)

    assert balance_of(url, user) == "30.000000"


async def test_simultaneous_retries_count_once(url: str, user: str) -> None:
    answers: list[httpx.Response] = []

    async def call(client: httpx.AsyncClient) -> None:
        headers = {"Idempotency-Key": "key"}
        answers.append(await client.post(f"/users/{user}/add", content=AMOUNT, headers=headers))

    limits = httpx.Limits(max_connections=RETRIES)
    async with (
        httpx.AsyncClient(base_url=url, limits=limits) as client,
        trio.open_nursery() as nursery,
    ):
        for _ in range(RETRIES):
            nursery.start_soon(call, client)

    assert {(answer.status_code, answer.content) for answer in answers} == {
        (200, f'{{"Message":"Transaction of $10.000000 added for user {user}"}}'.encode())
    }
    assert sum("idempotent-replayed" not in answer.headers for answer in answers) == 1
    assert balance_of(url, user) == "10.000000"


async def test_once_a_request_is_answered_it_is_told_to_be_done(url: str, user: str) -> None:
    wrong: list[tuple[str, str]] = []

    async def call(client: httpx.AsyncClient, key: str) -> None:
        headers = {"Idempotency-Key": key}
        await client.post(f"/users/{user}/add", content=AMOUNT, headers=headers)
        told = await client.get(f"/v1/users/{user}/requests/{key}")
        if told.json()["state"] != "done":
            wrong.append((key, told.text))

    async def watch(client: httpx.AsyncClient, key: str) -> None:
        seen = ["unknown"]
        while seen[-1] != "done":
            told = await client.get(f"/v1/users/{user}/requests/{key}")
            seen.append(told.json()["state"])
        order = ["unknown", "in_flight", "done"]
        if seen != sorted(seen, key=order.index):
            wrong.append((key, str(seen)))

    limits = httpx.Limits(max_connections=2 * RETRIES)
    async with (
        httpx.AsyncClient(base_url=url, limits=limits) as client,
        trio.open_nursery() as nursery,
    ):
        for number in range(RETRIES):
            nursery.start_soon(watch, client, f"key-{number}")
            nursery.start_soon(call, client, f"key-{number}")

    assert wrong == []


async def test_of_simultaneous_requests_with_one_key_one_amount_counts(url: str, user: str) -> None:
    statuses: list[int] = []

    async def call(client: httpx.AsyncClient, amount: int) -> None:
        headers = {"Idempotency-Key": "key"}
        body = b'{"amount":%d}' % amount
        answer = await client.post(f"/users/{user}/add", content=body, headers=headers)
        statuses.append(answer.status_code)

    async with httpx.AsyncClient(base_url=url) as client, trio.open_nursery() as nursery:
        for amount in range(1, 21):
            nursery.start_soon(call, client, amount)

    assert sorted(statuses) == [200] + [422] * 19
    assert len(history(url, user).json) == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_retry_after_restart_returns_the_first_answer(
    server: ServerProcess, number: signal.Signals
) -> None:
    first = credit(server.url, "u", AMOUNT, "key")
    told = status(server.url, "u")
    server.stop(number)
    server.kill()
    server.start()

    assert (told["state"], status(server.url, "u")) == ("done", told)
    assert_replay(credit(server.url, "u", AMOUNT, "key"), first)
    assert balance_of(server.url, "u") == "10.000000"


@pytest.fixture
def folding_server(tmp_path: Path) -> Iterator[ServerProcess]:
    """A server that folds every entry at once."""
    with ServerProcess(tmp_path / "data", "--snapshot-entries", "1") as running:
        yield running


def log_forgets(server: ServerProcess, key: str) -> None:
    """Credits others until the log no longer holds the record with that key."""
    for number in range(3):
        credit(server.url, f"other-{number}", AMOUNT)
    position = all_folded(server, 4)
    eventually(partial(_begins_at, server.data_dir, position))
    assert key not in [entry["key"] for entry in logged(server.data_dir)]


def _begins_at(data_dir: Path, position: int) -> bool:
    return bool(logged(data_dir)[0]["position"] == position)


def test_retry_is_recognised_when_its_entry_left_memory(folding_server: ServerProcess) -> None:
    first = credit(folding_server.url, "u", AMOUNT, "key")
    all_folded(folding_server, 1)

    assert_replay(credit(folding_server.url, "u", AMOUNT, "key"), first)
    assert balance_of(folding_server.url, "u") == "10.000000"


def test_other_amount_is_refused_when_the_entry_left_memory(
    folding_server: ServerProcess,
) -> None:
    credit(folding_server.url, "u", AMOUNT, "key")
    all_folded(folding_server, 1)

    assert credit(folding_server.url, "u", b'{"amount":11}', "key").status == 422
    assert balance_of(folding_server.url, "u") == "10.000000"


def test_retry_is_recognised_when_the_log_was_cut_behind_it(
    folding_server: ServerProcess,
) -> None:
    first = credit(folding_server.url, "u", AMOUNT, "key")
    log_forgets(folding_server, "key")

    assert_replay(credit(folding_server.url, "u", AMOUNT, "key"), first)
    assert balance_of(folding_server.url, "u") == "10.000000"


def test_retry_is_recognised_after_a_crash_when_the_log_was_cut_behind_it(
    folding_server: ServerProcess,
) -> None:
    first = credit(folding_server.url, "u", AMOUNT, "key")
    told = status(folding_server.url, "u")
    log_forgets(folding_server, "key")
    folding_server.kill()
    folding_server.start()

    assert (told["state"], status(folding_server.url, "u")) == ("done", told)
    assert_replay(credit(folding_server.url, "u", AMOUNT, "key"), first)
    assert balance_of(folding_server.url, "u") == "10.000000"
