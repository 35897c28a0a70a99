"""Adds: the types a body may have, the keys that a request may be named by."""

import pytest
from agreement import (
    REPLAYED,
    Agreement,
    Expected,
    add,
    added,
    balance,
    get_balance,
    message,
    saying,
)

KEY_LENGTH = saying(400, "1 to 255 characters")
KEY_CHARACTERS = saying(400, "printable ASCII")
KEY_QUOTING = saying(400, "quoted string")
FORM = b"Content-Type: application/x-www-form-urlencoded"


@pytest.mark.parametrize(
    "line",
    [
        b"Content-Type: application/json",
        b"content-type:APPLICATION/JSON",
        b"Content-Type: application/json;charset=utf-8",
        b"Content-Type: application/json; charset=latin-1",
        b"Content-Type: application/json ; a=b",
        b"Content-Type: application/json;",
        b"Content-Type: application/problem+json",
        b"Content-Type: application/vnd.a.b+json; v=1",
        b"Content-Type: text/json",
        b"Content-Type:",
        b"Content-Type: \t ",
        FORM,
        FORM + b"; charset=utf-8",
        b"Content-Type: application/json\r\nContent-Type: application/json",
        b"Content-Type: application/json\r\nContent-Type: text/plain",
    ],
)
def test_json_is_read_under_any_name_for_it(
    servers_agree: Agreement, user: str, line: bytes
) -> None:
    servers_agree.on(add(user, line), gives=[added(user)])


@pytest.mark.parametrize(
    "line",
    [
        b"Content-Type: text/plain",
        b"Content-Type: application/xml",
        b"Content-Type: application/msgpack",
        b"Content-Type: application/x-ndjson",
        b"Content-Type: application/jsonp",
        b"Content-Type: application/ json",
        b"Content-Type: application/json, text/plain",
        b"Content-Type: json",
        b"Content-Type: */*",
        b"Content-Type: ;",
        b"Content-Type: \xff",
        b"Content-Type: multipart/form-data; boundary=x",
        b"Content-Type: text/plain\r\nContent-Type: application/json",
    ],
)
def test_a_body_of_another_type_is_refused(
    servers_agree: Agreement, user: str, line: bytes
) -> None:
    servers_agree.on(
        add(user, line) + get_balance(user),
        gives=[saying(415, "send application/json"), balance(user, "0.000000")],
    )


def test_a_form_is_refused(servers_agree: Agreement, user: str) -> None:
    servers_agree.on(
        add(user, FORM, body=b"amount=1"), gives=[saying(415, "send application/json")]
    )


@pytest.mark.parametrize(
    ("written", "amount"),
    [
        (b"500", "500.000000"),
        (b"0.1", "0.100000"),
        (b"1e-6", "0.000001"),
        (b"1E+2", "100.000000"),
        (b"1.50", "1.500000"),
        (b"1.0000000000", "1.000000"),
        (b"9223372036854.775807", "9223372036854.775807"),
        (b"0.1e1", "1.000000"),
        (b"100000000000000000000e-20", "1.000000"),
    ],
)
def test_an_amount_is_exact(
    servers_agree: Agreement, user: str, written: bytes, amount: str
) -> None:
    servers_agree.on(
        add(user, body=b'{"amount":%s}' % written) + get_balance(user),
        gives=[added(user, amount), balance(user, amount)],
    )


@pytest.mark.parametrize(
    ("body", "refusal"),
    [
        (b'{"amount":0}', message(500, "Amount must be positive")),
        (b'{"amount":-0.0}', message(500, "Amount must be positive")),
        (b'{"amount":-1e400}', message(500, "Amount must be positive")),
        (b'{"amount":1e400}', saying(400, "at most 9223372036854.775807")),
        (b'{"amount":9223372036854.775808}', saying(400, "at most 9223372036854.775807")),
        (b'{"amount":0.0000001}', saying(400, "at most 6 decimals")),
        (b'{"amount":"1"}', saying(400, "not a string")),
        (b'{"amount":true}', saying(400, "not a boolean")),
        (b'{"amount":null}', saying(400, "not null")),
        (b'{"amount":[1]}', saying(400, "not an array")),
        (b'{"amount":{}}', saying(400, "not an object")),
        (b'{"amount":NaN}', saying(400, "NaN is no JSON number")),
        (b'{"amount":01}', saying(400, "not JSON")),
        (b'{"amount":1.}', saying(400, "not JSON")),
        (b'{"amount":1,}', saying(400, "not JSON")),
        (b'{"amount":1} x', saying(400, "not JSON")),
        (b'{"amount":1}\0', saying(400, "not JSON")),
        (b'\xef\xbb\xbf{"amount":1}', saying(400, "not JSON")),
        (b'{"amount":1,"note":"\xff"}', saying(400, "UTF-8")),
        (b'{"amount":1,"amount":1}', saying(400, "twice")),
        (b'{"amount":1,"\\u0061mount":2}', saying(400, "twice")),
        (b'{"amount":1,"note":{"a":1,"a":1}}', saying(400, "twice")),
        (b'{"Amount":1}', saying(400, 'no \\"amount\\"')),
        (b"[1]", saying(400, "must be a JSON object")),
        (b"1", saying(400, "must be a JSON object")),
        (b"null", saying(400, "must be a JSON object")),
        (b"[" * 60_000, saying(400, "nested too deeply")),
        (b'{"amount":1e9999999999999999999}', saying(400, "exponent that is too large")),
    ],
    ids=lambda value: value[:30] if isinstance(value, bytes) else "",
)
def test_a_body_that_cannot_be_credited_is_refused(
    servers_agree: Agreement, user: str, body: bytes, refusal: Expected
) -> None:
    servers_agree.on(
        add(user, body=body) + get_balance(user), gives=[refusal, balance(user, "0.000000")]
    )


@pytest.mark.parametrize(
    "body",
    [
        b'{"amount":1,"note":{"amount":2}}',
        b' \t\r\n{ "amount" : 1 }\r\n',
        b'{"\\u0061mount":1}',
        b'{"note":"\\ud800","amount":1}',
        b'{"note":1e400,"amount":1}',
        b'{"note":123456789012345678901234567890.123456789,"amount":1}',
        b'{"n\xc3\xb6te":"\xf0\x9f\x92\xb0","amount":1}',
        b'{"note":' + b"[" * 100 + b"]" * 100 + b',"amount":1}',
    ],
    ids=lambda value: value[:30],
)
def test_what_stands_beside_the_amount_is_ignored(
    servers_agree: Agreement, user: str, body: bytes
) -> None:
    servers_agree.on(add(user, body=body), gives=[added(user)])


def test_a_balance_that_would_be_too_large_is_refused(servers_agree: Agreement, user: str) -> None:
    most = "9223372036854.775807"

    servers_agree.on(
        add(user, body=b'{"amount":%s}' % most.encode()) + add(user) + get_balance(user),
        gives=[added(user, most), saying(400, "past 2^63-1"), balance(user, most)],
    )


@pytest.mark.parametrize(
    ("first", "again"),
    [
        (b"key", b"key"),
        (b"key", b'"key"'),
        (b'"key"', b"key"),
        (b'"a\\"b"', b'a"b'),
        (b'"a\\\\b"', b"a\\b"),
        (b'" "', b'" "'),
        (b"a b", b'"a b"'),
        (b"a,b", b"a,b"),
        (b'a"', b'a"'),
        (b"key", b" \tkey\t "),
        (b"k" * 255, b'"%s"' % (b"k" * 255)),
        (b"~!@#$%^&*()", b"~!@#$%^&*()"),
    ],
    ids=lambda value: value[:20],
)
def test_the_same_key_is_the_same_request(
    servers_agree: Agreement, user: str, first: bytes, again: bytes
) -> None:
    servers_agree.on(
        add(user, b"Idempotency-Key: " + first)
        + add(user, b"Idempotency-Key: " + again)
        + get_balance(user),
        gives=[added(user), added(user) + REPLAYED, balance(user, "1.000000")],
    )


@pytest.mark.parametrize(("first", "other"), [(b"key", b"KEY"), (b"a", b"a b"), (b'"a"', b'"b"')])
def test_another_key_is_another_request(
    servers_agree: Agreement, user: str, first: bytes, other: bytes
) -> None:
    servers_agree.on(
        add(user, b"Idempotency-Key: " + first) + add(user, b"Idempotency-Key: " + other),
        gives=[added(user)] * 2,
    )


def test_a_retry_in_the_same_send_is_a_retry(servers_agree: Agreement, user: str) -> None:
    keyed = add(user, b"Idempotency-Key: key")

    servers_agree.on(
        keyed * 20 + get_balance(user),
        gives=[added(user), *[added(user) + REPLAYED] * 19, balance(user, "1.000000")],
    )


def test_a_key_with_another_amount_is_refused(servers_agree: Agreement, user: str) -> None:
    key = b"Idempotency-Key: key"

    servers_agree.on(
        add(user, key)
        + add(user, key, body=b'{"amount":2}')
        + add(user, key, body=b'{"amount":1.0}')
        + get_balance(user),
        gives=[
            added(user),
            saying(422, "used before with the amount 1.000000"),
            added(user) + REPLAYED,
            balance(user, "1.000000"),
        ],
    )


def test_a_refused_request_does_not_use_up_its_key(servers_agree: Agreement, user: str) -> None:
    key = b"Idempotency-Key: key"

    servers_agree.on(
        add(user, key, body=b'{"amount":0}') + add(user, key),
        gives=[message(500, "Amount must be positive"), added(user)],
    )


@pytest.mark.parametrize(
    ("lines", "refusal"),
    [
        ((b"Idempotency-Key:",), KEY_LENGTH),
        ((b"Idempotency-Key: \t ",), KEY_LENGTH),
        ((b'Idempotency-Key: ""',), KEY_LENGTH),
        ((b"Idempotency-Key: " + b"k" * 256,), KEY_LENGTH),
        ((b"Idempotency-Key: " + b"k" * 20_000,), KEY_LENGTH),
        ((b'Idempotency-Key: "%s"' % (b"k" * 256),), KEY_LENGTH),
        ((b"Idempotency-Key: cl\xc3\xa9",), KEY_CHARACTERS),
        ((b"Idempotency-Key: \xff",), KEY_CHARACTERS),
        ((b"Idempotency-Key: a\tb",), KEY_CHARACTERS),
        ((b"Idempotency-Key: a\x01b",), KEY_CHARACTERS),
        ((b"Idempotency-Key: a\x7fb",), KEY_CHARACTERS),
        ((b'Idempotency-Key: "key',), KEY_QUOTING),
        ((b'Idempotency-Key: "key" x',), KEY_QUOTING),
        ((b'Idempotency-Key: "key";a=1',), KEY_QUOTING),
        ((b'Idempotency-Key: "a\\b"',), KEY_QUOTING),
        ((b"Idempotency-Key: a", b"Idempotency-Key: a"), saying(400, "not several")),
        ((b"Idempotency-Key: a", b"X: y", b"idempotency-key: b"), saying(400, "not several")),
        ((b"Idempotency-Key: a", b"Idempotency-Key:"), saying(400, "not several")),
    ],
    ids=lambda value: value[0][:40] if isinstance(value, tuple) else "",
)
def test_what_is_no_key_is_refused(
    servers_agree: Agreement, user: str, lines: tuple[bytes, ...], refusal: Expected
) -> None:
    servers_agree.on(
        add(user, *lines) + get_balance(user), gives=[refusal, balance(user, "0.000000")]
    )


@pytest.mark.parametrize(
    "lines",
    [
        (b"Idempotency-Key:",),
        (b"Idempotency-Key: " + b"k" * 256,),
        (b"Idempotency-Key: cl\xc3\xa9",),
        (b'Idempotency-Key: "key" x',),
        (b"Idempotency-Key: a", b"Idempotency-Key: a"),
    ],
    ids=["none", "long", "not ASCII", "quoting", "several"],
)
def test_whatever_is_wrong_with_a_key_is_the_same_problem(
    servers_agree: Agreement, user: str, lines: tuple[bytes, ...]
) -> None:
    servers_agree.on(add(user, *lines), gives=[saying(400, '"/docs#invalid-idempotency-key"')])


@pytest.mark.parametrize(
    "body",
    [
        b'{"amount":2}',
        b'{"amount":1.000001}',
        b'{"amount":1,"reference":"May"}',
        b'{"amount":2,"reference":"May"}',
    ],
)
def test_another_request_with_the_key_is_refused_with_a_link_to_the_rules(
    servers_agree: Agreement, user: str, body: bytes
) -> None:
    key = b"Idempotency-Key: key"

    servers_agree.on(
        add(user, key) + add(user, key, body=body) + get_balance(user),
        gives=[
            added(user),
            saying(422, '"type":"/docs#idempotency-key-reused"'),
            balance(user, "1.000000"),
        ],
    )


@pytest.mark.parametrize(
    "body",
    [
        b'{"amount":1.000000,"reference":"May"}',
        b'{"reference":"\\u004day","amount":1e0}',
        b'{ "amount" : 10e-1, "note": "again", "reference": "May" }',
    ],
)
@pytest.mark.parametrize("line", [b"Content-Type: application/json", b"Content-Type: text/json"])
def test_what_is_compared_is_what_was_read(
    servers_agree: Agreement, user: str, line: bytes, body: bytes
) -> None:
    key = b"Idempotency-Key: key"

    servers_agree.on(
        add(user, key, body=b'{"amount":1,"reference":"May"}') + add(user, key, line, body=body),
        gives=[added(user), added(user) + REPLAYED],
    )


@pytest.mark.parametrize(
    ("first", "refusal"),
    [
        ((b'{"amount":1', ()), 400),
        ((b'{"amount":0.0000001}', ()), 400),
        ((b'{"amount":1,"reference":""}', ()), 400),
        ((b'{"amount":1}', (b"Content-Type: text/plain",)), 415),
        ((b'{"amount":9223372036854.775807}', ()), 400),
    ],
    ids=["malformed", "too fine", "no reference", "another type", "past the limit"],
)
def test_what_was_refused_is_not_remembered(
    servers_agree: Agreement, user: str, first: tuple[bytes, tuple[bytes, ...]], refusal: int
) -> None:
    key = b"Idempotency-Key: key"
    body, lines = first

    servers_agree.on(
        add(user) + add(user, key, *lines, body=body) + add(user, key, body=b'{"amount":2}'),
        gives=[added(user), saying(refusal), added(user, "2.000000")],
    )


def test_a_key_means_nothing_to_who_only_asks(servers_agree: Agreement, user: str) -> None:
    servers_agree.on(
        get_balance(user, b"Idempotency-Key: a", b"Idempotency-Key: b"),
        gives=[balance(user, "0.000000")],
    )


@pytest.mark.parametrize(
    ("segment", "lines", "body", "status"),
    [
        (b"%", (b"Idempotency-Key:", b"Content-Type: text/plain"), b"", 400),
        (b"u", (b"Idempotency-Key:", b"Content-Type: text/plain"), b"", 400),
        (b"u", (b"Content-Type: text/plain",), b'{"amount":0}', 415),
        (b"u", (b"Content-Type: text/plain",), b"{", 415),
    ],
)
def test_of_several_faults_the_first_is_said(
    servers_agree: Agreement, segment: bytes, lines: tuple[bytes, ...], body: bytes, status: int
) -> None:
    servers_agree.on(add(segment.decode(), *lines, body=body), gives=[saying(status)])
