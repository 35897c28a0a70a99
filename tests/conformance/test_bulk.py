"""Many credits in one request: `POST /v1/credits:batch`."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import msgpack
import pytest
from agreement import (
    Agreement,
    Expected,
    add,
    added,
    balance,
    get_balance,
    request,
    saying,
)
from raw_http import send

from bench.server_process import ServerProcess

JSON_TYPE = b"application/json"
NDJSON_TYPE = b"application/x-ndjson"
MSGPACK_TYPE = b"application/msgpack"
CREDITS_MAX = 10_000
CREATED = {"result": "created"}
REPLAYED = {"result": "replayed"}

Credit = dict[str, Any]


@pytest.fixture(autouse=True, scope="module")
def _endpoint(servers: Mapping[str, ServerProcess]) -> None:
    for server in servers.values():
        if send(server.url, b"POST", b"/v1/credits:batch", b"[]").status == 404:
            pytest.skip("there is no bulk endpoint yet")


def bulk(entries: Sequence[Credit], content_type: bytes = JSON_TYPE, *headers: bytes) -> bytes:
    encoders = {
        JSON_TYPE: lambda: json.dumps(entries).encode(),
        NDJSON_TYPE: lambda: b"".join(json.dumps(one).encode() + b"\n" for one in entries),
        MSGPACK_TYPE: lambda: msgpack.packb(entries),
    }
    return bare_bulk(encoders[content_type](), content_type, *headers)


def bare_bulk(body: bytes, content_type: bytes = JSON_TYPE, *headers: bytes) -> bytes:
    return request(
        b"POST /v1/credits:batch HTTP/1.1",
        b"Content-Type: " + content_type,
        b"Content-Length: %d" % len(body),
        *headers,
        body=body,
    )


def lines(*results: Credit) -> Expected:
    body = b"".join(json.dumps(one, separators=(",", ":")).encode() + b"\n" for one in results)
    return Expected(200, body, headers={"content-type": NDJSON_TYPE.decode()})


def refused(fragment: str, status: int = 400) -> Expected:
    """The answer to a lone credit that is refused."""
    return Expected(
        200,
        fragment=fragment,
        headers={"content-type": NDJSON_TYPE.decode()},
        prefix=b'{"result":"refused","status":%d,"reason":"' % status,
    )


def credit(user: str, micros: int = 1_000_000, **members: Any) -> Credit:
    return {"user": user, "amount_micros": micros, **members}


@pytest.mark.parametrize("content_type", [JSON_TYPE, NDJSON_TYPE, MSGPACK_TYPE])
def test_credits_are_counted_in_their_order(
    servers_agree: Agreement, user: str, content_type: bytes
) -> None:
    others = f"{user}-other"
    entries = [credit(user), credit(others, 2_500_000), credit(user, 1)]

    servers_agree.on(
        bulk(entries, content_type) + get_balance(user) + get_balance(others),
        gives=[lines(*[CREATED] * 3), balance(user, "1.000001"), balance(others, "2.500000")],
    )


@pytest.mark.parametrize("content_type", [JSON_TYPE, NDJSON_TYPE, MSGPACK_TYPE])
def test_no_credits_are_no_lines(servers_agree: Agreement, content_type: bytes) -> None:
    servers_agree.on(bulk([], content_type), gives=[lines()])


@pytest.mark.parametrize(
    "content_type",
    [
        b"application/json; charset=utf-8",
        b"APPLICATION/JSON",
    ],
)
def test_a_type_may_have_parameters(
    servers_agree: Agreement, user: str, content_type: bytes
) -> None:
    body = json.dumps([credit(user)]).encode()

    servers_agree.on(bare_bulk(body, content_type), gives=[lines(CREATED)])


@pytest.mark.parametrize("content_type", [JSON_TYPE, NDJSON_TYPE])
@pytest.mark.parametrize(
    ("written", "amount"), [("1", "1"), ("0.1", "0.1"), ("1e-6", "0.000001"), ("2.50", "2.5")]
)
def test_an_amount_in_dollars_is_exact(
    servers_agree: Agreement, user: str, content_type: bytes, written: str, amount: str
) -> None:
    one = b'{"user":"%s","amount":%s}' % (user.encode(), written.encode())
    body = b"[%s]" % one if content_type == JSON_TYPE else one + b"\n"
    whole, _, decimals = amount.partition(".")

    servers_agree.on(
        bare_bulk(body, content_type) + get_balance(user),
        gives=[lines(CREATED), balance(user, f"{whole}.{decimals:0<6}")],
    )


def test_an_amount_in_whole_dollars_may_come_in_msgpack(
    servers_agree: Agreement, user: str
) -> None:
    servers_agree.on(
        bulk([{"user": user, "amount": 3}], MSGPACK_TYPE) + get_balance(user),
        gives=[lines(CREATED), balance(user, "3.000000")],
    )


@pytest.mark.parametrize(
    ("members", "status", "fragment"),
    [
        ({}, 400, "amount"),
        ({"amount": 1, "amount_micros": 1_000_000}, 400, "amount"),
        ({"amount_micros": 0}, 500, "Amount must be positive"),
        ({"amount_micros": -1}, 500, "Amount must be positive"),
        ({"amount": 0}, 500, "Amount must be positive"),
        ({"amount_micros": 2**63}, 400, ""),
        ({"amount_micros": "1"}, 400, ""),
        ({"amount_micros": True}, 400, ""),
        ({"amount_micros": None}, 400, ""),
        ({"amount": "1"}, 400, ""),
        ({"amount_micros": 1, "idempotency_key": ""}, 400, "1 to 255 characters"),
        ({"amount_micros": 1, "idempotency_key": "k" * 256}, 400, "1 to 255 characters"),
        ({"amount_micros": 1, "idempotency_key": "é"}, 400, "printable ASCII"),
        ({"amount_micros": 1, "idempotency_key": 1}, 400, ""),
        ({"amount_micros": 1, "reference": ""}, 400, "1 to 255 bytes"),
        ({"amount_micros": 1, "reference": "r" * 256}, 400, "1 to 255 bytes"),
        ({"amount_micros": 1, "reference": "é" * 128}, 400, "1 to 255 bytes"),
    ],
    ids=str,
)
@pytest.mark.parametrize("content_type", [JSON_TYPE, NDJSON_TYPE, MSGPACK_TYPE])
def test_a_credit_that_cannot_be_counted_is_refused_alone(
    servers_agree: Agreement,
    user: str,
    content_type: bytes,
    members: Credit,
    status: int,
    fragment: str,
) -> None:
    servers_agree.on(
        bulk([{"user": user, **members}], content_type) + get_balance(user),
        gives=[refused(fragment, status), balance(user, "0.000000")],
    )
    servers_agree.on(
        bulk([credit(user), {"user": user, **members}, credit(user)], content_type)
        + get_balance(user),
        gives=[
            Expected(200, fragment='"refused"', headers={"content-type": NDJSON_TYPE.decode()}),
            balance(user, "2.000000"),
        ],
    )


@pytest.mark.parametrize("amount", [1.0, 0.5])
def test_a_float_is_refused(servers_agree: Agreement, user: str, amount: float) -> None:
    servers_agree.on(
        bulk([{"user": user, "amount": amount}], MSGPACK_TYPE) + get_balance(user),
        gives=[refused(""), balance(user, "0.000000")],
    )


@pytest.mark.parametrize("name", ["", "x" * 129, "ü" * 65])
def test_a_credit_for_nobody_is_refused(servers_agree: Agreement, name: str) -> None:
    servers_agree.on(bulk([credit(name)]), gives=[refused("1 to 128 bytes")])


def test_any_other_text_is_a_user(servers_agree: Agreement, user: str) -> None:
    servers_agree.on(
        bulk([credit(f"{user}/ü%")]) + get_balance(f"{user}%2F%C3%BC%25"),
        gives=[lines(CREATED), balance(f"{user}/ü%", "1.000000")],
    )


def test_a_key_counts_once_within_a_request_and_across(servers_agree: Agreement, user: str) -> None:
    keyed = credit(user, idempotency_key="key")

    servers_agree.on(
        bulk([keyed, keyed]) + bulk([keyed]) + add(user, b"Idempotency-Key: key"),
        gives=[
            lines(CREATED, REPLAYED),
            lines(REPLAYED),
            added(user) + {"idempotent-replayed": "true"},
        ],
    )
    servers_agree.balance(user, "1.000000")


def test_a_key_with_another_amount_is_refused(servers_agree: Agreement, user: str) -> None:
    servers_agree.on(
        bulk([credit(user, idempotency_key="key")])
        + bulk([credit(user, 2_000_000, idempotency_key="key")])
        + get_balance(user),
        gives=[
            lines(CREATED),
            refused("used before with the amount 1.000000", 422),
            balance(user, "1.000000"),
        ],
    )


def test_the_key_of_the_request_is_that_of_credits_without(
    servers_agree: Agreement, user: str
) -> None:
    other = f"{user}-other"
    entries = [credit(user), credit(other), credit(user), credit(user, idempotency_key="own")]
    key = b"Idempotency-Key: key"

    servers_agree.on(
        bulk(entries, JSON_TYPE, key) * 2, gives=[lines(*[CREATED] * 4), lines(*[REPLAYED] * 4)]
    )
    for name in (b"key", b"key#2", b"own"):
        servers_agree.on(
            add(user, b"Idempotency-Key: " + name),
            gives=[added(user) + {"idempotent-replayed": "true"}],
        )
    servers_agree.on(
        add(other, b"Idempotency-Key: key"),
        gives=[added(other) + {"idempotent-replayed": "true"}],
    )
    servers_agree.balance(user, "3.000000")


def keyed(user: str, *amounts: int, key: bytes = b"payday") -> bytes:
    """A bulk whose credits have the key of the request."""
    entries = [credit(user, amount) for amount in amounts]
    return bulk(entries, JSON_TYPE, b"Idempotency-Key: " + key)


REUSED = {
    "result": "refused",
    "status": 422,
    "reason": "this idempotency key was used before with the amount 0.000002; "
    "use a new key for a new transaction",
    "type": "/docs#idempotency-key-reused",
}


def test_a_list_that_was_cut_short_is_replayed_as_far_as_it_goes(
    servers_agree: Agreement, user: str
) -> None:
    servers_agree.on(
        keyed(user, 1, 2, 3) + keyed(user, 1, 2) + get_balance(user),
        gives=[
            lines(*[CREATED] * 3),
            lines(*[REPLAYED] * 2),
            balance(user, "0.000006"),
        ],
    )


def test_a_list_that_has_grown_counts_what_is_new_at_its_end(
    servers_agree: Agreement, user: str
) -> None:
    servers_agree.on(
        keyed(user, 1, 2) + keyed(user, 1, 2, 3) + get_balance(user),
        gives=[
            lines(*[CREATED] * 2),
            lines(REPLAYED, REPLAYED, CREATED),
            balance(user, "0.000006"),
        ],
    )


def test_a_list_with_another_credit_in_a_place_is_refused_there(
    servers_agree: Agreement, user: str
) -> None:
    servers_agree.on(
        keyed(user, 1, 2, 3) + keyed(user, 1, 4, 3) + get_balance(user),
        gives=[
            lines(*[CREATED] * 3),
            lines(REPLAYED, REUSED, REPLAYED),
            balance(user, "0.000006"),
        ],
    )


def test_credits_of_several_users_may_change_places(servers_agree: Agreement, user: str) -> None:
    other = f"{user}-other"
    key = b"Idempotency-Key: payday"
    entries = [credit(user, 1), credit(other, 2), credit(user, 3)]

    servers_agree.on(
        bulk(entries, JSON_TYPE, key)
        + bulk([entries[1], entries[0], entries[2]], JSON_TYPE, key)
        + get_balance(user)
        + get_balance(other),
        gives=[
            lines(*[CREATED] * 3),
            lines(*[REPLAYED] * 3),
            balance(user, "0.000004"),
            balance(other, "0.000002"),
        ],
    )


def test_as_many_credits_as_are_allowed_are_counted(servers_agree: Agreement, user: str) -> None:
    servers_agree.on(
        bulk([credit(user, 1)] * CREDITS_MAX, MSGPACK_TYPE) + get_balance(user),
        gives=[lines(*[CREATED] * CREDITS_MAX), balance(user, "0.010000")],
    )


@pytest.mark.parametrize("content_type", [JSON_TYPE, NDJSON_TYPE, MSGPACK_TYPE])
def test_too_many_credits_are_refused_as_a_whole(
    servers_agree: Agreement, user: str, content_type: bytes
) -> None:
    servers_agree.on(
        bulk([credit(user, 1)] * (CREDITS_MAX + 1), content_type),
        gives=[saying(413, "at most 10000 credits")],
    )
    servers_agree.balance(user, "0.000000")


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"", JSON_TYPE),
        (b"{}", JSON_TYPE),
        (b"1", JSON_TYPE),
        (b"[", JSON_TYPE),
        (b"[] x", JSON_TYPE),
        (b"\xff", JSON_TYPE),
        (b"", MSGPACK_TYPE),
        (b"\x80", MSGPACK_TYPE),
        (b"\x91", MSGPACK_TYPE),
        (b"\x90\x90", MSGPACK_TYPE),
        (b"\xc1", MSGPACK_TYPE),
        (b"\xdd\xff\xff\xff\xff", MSGPACK_TYPE),
    ],
)
def test_a_body_that_is_no_list_of_credits_is_refused(
    servers_agree: Agreement, body: bytes, content_type: bytes
) -> None:
    servers_agree.on(bare_bulk(body, content_type), gives=[saying(400, '"type":"/docs#')])


@pytest.mark.parametrize("content_type", [b"text/plain", b"application/xml", b"x", b"\xff"])
def test_a_body_of_another_type_is_refused(
    servers_agree: Agreement, user: str, content_type: bytes
) -> None:
    body = json.dumps([credit(user)]).encode()

    servers_agree.on(
        bare_bulk(body, content_type) + get_balance(user),
        gives=[
            saying(415, "send application/json, application/x-ndjson"),
            balance(user, "0.000000"),
        ],
    )


@pytest.mark.parametrize("key", [b"", b'"', b"\xff", b"k" * 256])
def test_a_header_that_is_no_key_refuses_the_request(
    servers_agree: Agreement, user: str, key: bytes
) -> None:
    servers_agree.on(
        bulk([credit(user)], JSON_TYPE, b"Idempotency-Key: " + key) + get_balance(user),
        gives=[saying(400, '"type":"/docs#'), balance(user, "0.000000")],
    )


@pytest.mark.parametrize("method", [b"GET", b"PUT", b"DELETE", b"OPTIONS", b"HEAD"])
def test_another_method_is_refused(servers_agree: Agreement, method: bytes) -> None:
    servers_agree.on(
        request(method + b" /v1/credits:batch HTTP/1.1"),
        gives=[Expected(405, headers={"allow": "POST"}, has_body=method != b"HEAD")],
    )


def test_credits_among_other_requests_are_counted_in_their_place(
    servers_agree: Agreement, user: str
) -> None:
    servers_agree.on(
        (add(user) + bulk([credit(user)] * 2) + get_balance(user)) * 2,
        gives=[
            added(user),
            lines(CREATED, CREATED),
            balance(user, "3.000000"),
            added(user),
            lines(CREATED, CREATED),
            balance(user, "6.000000"),
        ],
    )
