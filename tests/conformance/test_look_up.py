"""What became of a request: `GET /v1/users/{uid}/requests/{key}`."""

import json

import pytest
from agreement import (
    TIMESTAMP,
    Agreement,
    Expected,
    add,
    added,
    message,
    not_allowed,
    problem,
    request,
    saying,
)

from api import problem_types as types

NDJSON = {"content-type": "application/x-ndjson"}
HEADERS = {"content-type": "application/json", "cache-control": "no-store"}


def look_up(user: str, key: bytes) -> bytes:
    return request(b"GET /v1/users/%s/requests/%s HTTP/1.1" % (user.encode(), key))


def status(user: str, key: str, state: str, **made: object) -> Expected:
    document = {"user": user, "idempotency_key": key, "state": state, **made}
    return Expected(200, json.dumps(document, separators=(",", ":")).encode(), headers=HEADERS)


def made(user: str, key: str, amount: float = 1, number: int = 1, **more: object) -> Expected:
    return status(
        user, key, "done", amount=amount, number=number, timestamp=TIMESTAMP.decode(), **more
    )


def test_a_key_that_nobody_used_is_unknown(servers_agree: Agreement, user: str) -> None:
    servers_agree.on(look_up(user, b"key"), gives=[status(user, "key", "unknown")])


def test_what_a_request_made_is_told(servers_agree: Agreement, user: str) -> None:
    key = b"Idempotency-Key: invoice-17"
    body = b'{"amount":12.50,"reference":"May"}'

    servers_agree.on(
        add(user) + add(user, key, body=body) * 2 + look_up(user, b"invoice-17"),
        gives=[
            added(user),
            added(user, "12.500000"),
            added(user, "12.500000") + {"idempotent-replayed": "true"},
            made(user, "invoice-17", 12.5, 2, reference="May"),
        ],
    )


def test_a_key_is_the_users_own(servers_agree: Agreement, user: str) -> None:
    servers_agree.on(
        add(user, b"Idempotency-Key: key") + look_up(f"{user}-other", b"key"),
        gives=[added(user), status(f"{user}-other", "key", "unknown")],
    )


def test_a_request_that_was_refused_is_unknown(servers_agree: Agreement, user: str) -> None:
    servers_agree.on(
        add(user, b"Idempotency-Key: key", body=b'{"amount":0}') + look_up(user, b"key"),
        gives=[message(500, "Amount must be positive"), status(user, "key", "unknown")],
    )


@pytest.mark.parametrize(
    ("header", "segment", "key"),
    [
        (b"a/b", b"a%2Fb", "a/b"),
        (b"a/b", b"a%2fb", "a/b"),
        (b"a b?c#d", b"a%20b%3Fc%23d", "a b?c#d"),
        (b"100%", b"100%25", "100%"),
        (b'"quoted"', b"quoted", "quoted"),
        (b'"a\\"b"', b"a%22b", 'a"b'),
        (b"KEY#2", b"KEY%232", "KEY#2"),
        (b"plain", b"%70lain", "plain"),
        (b"a;b=c,d", b"a;b=c,d", "a;b=c,d"),
        (b"k" * 255, b"k" * 255, "k" * 255),
    ],
    ids=lambda value: str(value)[:20],
)
def test_a_key_is_percent_encoded_and_never_quoted(
    servers_agree: Agreement, user: str, header: bytes, segment: bytes, key: str
) -> None:
    servers_agree.on(
        add(user, b"Idempotency-Key: " + header) + look_up(user, segment),
        gives=[added(user), made(user, key)],
    )


def test_a_key_in_quotes_is_another_key(servers_agree: Agreement, user: str) -> None:
    servers_agree.on(
        add(user, b'Idempotency-Key: "key"') + look_up(user, b"%22key%22"),
        gives=[added(user), saying_unknown(user)],
    )


def saying_unknown(user: str) -> Expected:
    return Expected(
        200,
        b'{"user":"%s","idempotency_key":"\\"key\\"","state":"unknown"}' % user.encode(),
        headers=HEADERS,
    )


def test_the_credits_of_a_bulk_are_found_by_their_keys(servers_agree: Agreement, user: str) -> None:
    body = json.dumps([{"user": user, "amount": amount} for amount in (1, 2, 3)]).encode()
    bulk = request(
        b"POST /v1/credits:batch HTTP/1.1",
        b"Idempotency-Key: payday",
        b"Content-Length: %d" % len(body),
        body=body,
    )

    servers_agree.on(
        bulk + look_up(user, b"payday") + look_up(user, b"payday%233"),
        gives=[
            Expected(200, b'{"result":"created"}\n' * 3, headers=NDJSON),
            made(user, "payday", 1, 1),
            made(user, "payday#3", 3, 3),
        ],
    )


@pytest.mark.parametrize(
    "segment",
    [b"k" * 256, b"%00", b"%7F", b"%C3%A9", b"a%0Ab", b"%09"],
    ids=lambda value: value[:9],
)
def test_what_is_no_key_is_refused(servers_agree: Agreement, user: str, segment: bytes) -> None:
    servers_agree.on(look_up(user, segment), gives=[saying(400, "/docs#invalid-idempotency-key")])


@pytest.mark.parametrize("segment", [b"%", b"a%4", b"%zz"])
def test_a_key_whose_encoding_is_broken_is_refused(
    servers_agree: Agreement, user: str, segment: bytes
) -> None:
    servers_agree.on(
        look_up(user, segment),
        gives=[
            problem(
                types.MALFORMED_REQUEST,
                "idempotency key has a % that two hexadecimal digits do not follow",
            )
        ],
    )


def test_of_a_user_and_a_key_that_are_wrong_the_user_is_said(servers_agree: Agreement) -> None:
    servers_agree.on(look_up("x" * 129, b"%00"), gives=[saying(400, "/docs#invalid-user")])


@pytest.mark.parametrize(
    "path",
    [b"", b"/", b"/requests", b"/requests/", b"/requests/a/b", b"/requests/key/", b"/request/key"],
)
def test_no_other_path_is_there(servers_agree: Agreement, path: bytes) -> None:
    servers_agree.on(
        request(b"GET /v1/users/u%s HTTP/1.1" % path),
        gives=[problem(types.NOT_FOUND, "there is nothing at this path")],
    )


def test_a_status_can_only_be_asked_for(servers_agree: Agreement, user: str) -> None:
    path = b"/v1/users/%s/requests/key HTTP/1.1" % user.encode()

    servers_agree.on(
        request(b"HEAD " + path) + request(b"DELETE " + path),
        gives=[status(user, "key", "unknown").headed, not_allowed("GET", "HEAD")],
    )
