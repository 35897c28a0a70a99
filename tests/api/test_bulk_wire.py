"""Bulk bodies: the typed decoder and the one that looks at each credit alone agree."""

import gc
import json
import sys
from typing import Any

import msgpack
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from api.bulk_types import Unclear, decode_typed
from api.bulk_wire import CREDITS_MAX, Decoded, decode_bulk, decode_singly, encode_outcomes
from api.problems import BadRequest, TooManyCredits, UnsupportedMediaType
from ledger_actors.credit import Credit, Replayed
from ledger_actors.entry import Entry, Timestamp
from ledger_actors.errors import IdempotencyKeyReused, LedgerError
from ledger_actors.identity import IdempotencyKey, UserId
from ledger_actors.money import Micros

KEY = IdempotencyKey("batch")
CONTENT_TYPES = {
    "json": "application/json",
    "ndjson": "application/x-ndjson",
    "msgpack": "application/msgpack",
}

texts = st.text(max_size=6) | st.sampled_from(["", "ann", "é", '"', "\\", "a" * 128, "é" * 128])
numbers = (
    st.integers(-2, 2**64)
    | st.sampled_from([0.5, 1e300, 2**63 - 1, 9_223_372_036_854, 1_000_000])
    | st.decimals(allow_nan=False, allow_infinity=False, places=7).map(float)
)
values = texts | numbers | st.none() | st.booleans() | st.lists(st.integers(), max_size=1)
plain_credits = st.fixed_dictionaries(
    {"user": st.text("abc", min_size=1, max_size=3), "amount": st.integers(1, 1000)},
    optional={
        "idempotency_key": st.text("xyz ", min_size=1, max_size=3),
        "reference": st.text("é12", min_size=1, max_size=3),
    },
)
odd_credits = st.dictionaries(
    st.sampled_from(["user", "amount", "amount_micros", "idempotency_key", "reference", "other"]),
    values,
    max_size=6,
)
documents = st.lists(plain_credits | odd_credits | values, max_size=4)


def comparable(decoded: Decoded) -> object:
    if isinstance(decoded, Exception):
        return (type(decoded), str(decoded))
    return (decoded.user, decoded.amount, decoded.key, decoded.reference)


def encode(format_: str, document: Any) -> bytes:
    if format_ == "msgpack":
        return bytes(msgpack.packb(document))
    if format_ == "ndjson":
        return "\n".join(json.dumps(line) for line in document).encode()
    return json.dumps(document).encode()


def assert_decoders_agree(format_: str, body: bytes) -> None:
    try:
        typed = decode_typed(format_, body)
    except Unclear:
        return
    assert [comparable(one) for one in typed] == [
        comparable(one) for one in decode_singly(format_, body)
    ]


@pytest.mark.parametrize("format_", CONTENT_TYPES)
@given(document=documents)
def test_both_decoders_read_the_same(format_: str, document: list[Any]) -> None:
    try:
        body = encode(format_, document)
    except OverflowError:
        return
    assert_decoders_agree(format_, body)


@given(st.lists(plain_credits, min_size=1, max_size=5), st.sampled_from(["json", "ndjson"]))
def test_what_is_plain_is_read_by_types(credits_: list[dict[str, Any]], format_: str) -> None:
    plain = [{k: v for k, v in one.items() if k != "reference"} for one in credits_]
    assert len(decode_typed(format_, encode(format_, plain))) == len(plain)


@pytest.mark.parametrize(
    "body",
    [
        b'[{"user":"a","amount":1,"amount":2}]',
        b'[{"user":"a","amount":1,"\\u0061mount":2}]',
        b'[{"user":"a","user":"b","amount":1}]',
        b'[{"user":"a","amount":1,"idempotency_key":"k","idempotency_key":null}]',
    ],
)
def test_a_member_named_twice_in_json_is_never_chosen_from(body: bytes) -> None:
    with pytest.raises(Unclear):
        decode_typed("json", body)
    with pytest.raises(BadRequest, match="twice"):
        decode_bulk("application/json", None, body)


def test_a_member_named_twice_in_msgpack_is_refused_for_its_credit() -> None:
    one, two = (msgpack.packb({"user": "a", "amount_micros": n})[1:] for n in (1, 2))
    body = b"\x92\x84" + one + two + msgpack.packb({"user": "b", "amount_micros": 3})
    twice, other = decode_bulk("application/msgpack", None, body)
    assert (type(twice), str(twice)) == (BadRequest, "the credit names a member twice")
    assert other == Credit(UserId("b"), Micros(3))


@given(st.binary(max_size=60))
@example(b"\xdf\xff\xff\xff\xff")
@example(b"[" * 5000)
@example(b"\x91" * 5000)
@example(b'[{"user":"a","amount":1e999999}]')
@example(b'[{"user":"a","amount_micros":1e999999}]')
@example(b'[{"user":"a","amount":' + b"9" * 5000 + b"}]")
def test_any_body_is_read_or_refused(body: bytes) -> None:
    for format_, content_type in CONTENT_TYPES.items():
        assert_decoders_agree(format_, body)
        try:
            decoded = decode_bulk(content_type, None, body)
        except BadRequest:
            continue
        assert all(isinstance(one, LedgerError | BadRequest) or one.amount > 0 for one in decoded)


@pytest.mark.parametrize(
    ("credit", "reason"),
    [
        ({"user": "a", "amount": 0}, "Amount must be positive"),
        ({"user": "a", "amount": 1, "amount_micros": 1}, "either amount or amount_micros"),
        ({"user": "a"}, "either amount or amount_micros"),
        ({"amount": 1}, "user must be a string, not null"),
        ({"user": 5, "amount": 1}, "user must be a string, not a number"),
        ({"user": "", "amount": 1}, "user id must be 1 to 128 bytes"),
        ({"user": "a", "amount": "1"}, "amount must be a number, not a string"),
        ({"user": "a", "amount": True}, "amount must be a number, not a boolean"),
        ({"user": "a", "amount": 0.0000001}, "at most 6 decimals"),
        ({"user": "a", "amount_micros": 1.5}, "integer of micro-dollars"),
        ({"user": "a", "amount_micros": -1}, "Amount must be positive"),
        ({"user": "a", "amount": 1, "idempotency_key": "é"}, "printable ASCII"),
        ({"user": "a", "amount": 1, "reference": 7}, "reference must be a string"),
        ({"user": "a", "amount": 1, "reference": ""}, "reference must be 1 to 255 bytes"),
        ({"user": "a", "amount": 1, "Amount": 2}, "no member 'Amount'"),
        ("a", "a credit must be an object"),
    ],
)
def test_a_bad_credit_says_why_and_stops_no_other(credit: object, reason: str) -> None:
    good = {"user": "b", "amount": 1.5}
    body = json.dumps([good, credit, good]).encode()
    first, bad, last = decode_bulk("application/json", None, body)
    assert reason in str(bad)
    assert first == last == Credit(UserId("b"), Micros(1_500_000))


def test_a_binary_float_is_no_amount() -> None:
    (refused,) = decode_bulk(
        "application/msgpack", None, msgpack.packb([{"user": "a", "amount": 0.1}])
    )
    assert "binary float" in str(refused)


def test_a_broken_line_is_refused_alone() -> None:
    body = b'{"user":"a","amount":1}\n{"user":\n\n{"user":"b","amount":2}\n'
    first, broken, last = decode_bulk("application/x-ndjson", None, body)
    assert (comparable(first), comparable(last)) == (
        ("a", 1_000_000, None, None),
        ("b", 2_000_000, None, None),
    )
    assert "not JSON" in str(broken)


def test_the_key_of_the_request_covers_the_credits_without_one() -> None:
    body = json.dumps(
        [
            {"user": "a", "amount": 1},
            {"user": "b", "amount": 1},
            {"user": "a", "amount": 1},
            {"user": "a", "amount": 1, "idempotency_key": "own"},
        ]
    ).encode()
    keys = [getattr(one, "key", None) for one in decode_bulk("application/json", KEY, body)]
    assert keys == ["batch", "batch", "batch#2", "own"]


def test_a_numbered_key_that_gets_too_long_refuses_its_credit() -> None:
    body = json.dumps([{"user": "a", "amount": 1}] * 2).encode()
    first, second = decode_bulk("application/json", IdempotencyKey("k" * 255), body)
    assert isinstance(first, Credit)
    assert "255 characters" in str(second)


@pytest.mark.parametrize("format_", CONTENT_TYPES)
def test_more_credits_than_are_taken_are_refused(format_: str) -> None:
    for amount in (1, 0):
        body = encode(format_, [{"user": "a", "amount": amount}] * (CREDITS_MAX + 1))
        with pytest.raises(TooManyCredits, match="at most 10000"):
            decode_bulk(CONTENT_TYPES[format_], None, body)


def test_another_content_type_is_refused_with_those_that_are_read() -> None:
    with pytest.raises(UnsupportedMediaType, match="application/x-ndjson"):
        decode_bulk("text/csv", None, b"")


@pytest.mark.parametrize("body", [b"{}", b'"a"', b"1", b"null"])
def test_a_body_that_is_no_list_is_refused(body: bytes) -> None:
    with pytest.raises(BadRequest, match="array of credits"):
        decode_bulk(None, None, body)


def test_outcomes_are_lines_in_order() -> None:
    entry = Entry(UserId("a"), 1, Micros(1), Timestamp(1), None)
    outcomes = [entry, Replayed(entry), IdempotencyKeyReused(), BadRequest("not so")]
    assert [json.loads(line) for line in encode_outcomes(outcomes).splitlines()] == [
        {"result": "created"},
        {"result": "replayed"},
        {
            "result": "refused",
            "status": 422,
            "reason": "The idempotency key was used before with another amount or another "
            "reference.",
            "type": "/docs#idempotency-key-reused",
        },
        {
            "result": "refused",
            "status": 400,
            "reason": "not so",
            "type": "/docs#malformed-request",
        },
    ]


def test_decimals_are_exact() -> None:
    body = b'[{"user":"a","amount":9223372036854.775807},{"user":"a","amount":0.000001}]'
    amounts = [getattr(one, "amount", None) for one in decode_bulk(None, None, body)]
    assert amounts == [2**63 - 1, 1]


NOTHING_BUT_PIECES = [
    ("json", b"[" + b"0," * 300_000 + b"0]"),
    ("json", b"[[" + b"{}," * 300_000 + b"{}]]"),
    ("ndjson", b"[" + b"{}," * 300_000 + b"{}]\n"),
    ("ndjson", b"0\n" * 300_000),
    ("msgpack", b"\x91\xdd" + (300_000).to_bytes(4) + b"\x80" * 300_000),
    ("msgpack", b"\x91\xdd" + (300_000).to_bytes(4) + b"\x90" * 300_000),
]


@pytest.mark.parametrize(("format_", "body"), NOTHING_BUT_PIECES)
def test_a_body_that_would_take_far_more_than_it_brings_is_not_read(
    format_: str, body: bytes
) -> None:
    with pytest.raises(TooManyCredits):
        decode_bulk(CONTENT_TYPES[format_], None, body)


def test_as_many_credits_as_may_be_are_read_one_by_one_however_they_are_laid_out() -> None:
    credit = {"user": "ann", "amount": 1, "idempotency_key": "k", "reference": "{[,"}
    credits_ = [*([credit] * (CREDITS_MAX - 1)), {"user": "ann", "amount": 0}]
    body = json.dumps(credits_, indent=1).encode()
    assert len(decode_bulk(CONTENT_TYPES["json"], None, body)) == CREDITS_MAX


@pytest.mark.parametrize(
    ("format_", "body"),
    [
        ("json", b"[{}]"),
        ("json", b'[{"user":"u","amount":"x"}]'),
        ("json", b'[{"user":"u","amount":1e999}]'),
        ("json", b'[{"user":"\\ud800","amount":1}]'),
        ("ndjson", b'{}\n{\n{"user":"u","amount":1}'),
        ("ndjson", b"\xff\n"),
        ("msgpack", b"\x91\x80"),
        ("msgpack", b"\x91\x82\xa4user\xa1u\xa6amount\xa1x"),
    ],
)
def test_a_refused_credit_does_not_keep_the_body(format_: str, body: bytes) -> None:
    gc.disable()
    try:
        before = sys.getrefcount(body)
        decoded = decode_bulk(CONTENT_TYPES[format_], KEY, body)
        assert any(isinstance(one, Exception) for one in decoded)

        del decoded

        # The garbage collector would come after so many objects, however large the bodies are.
        assert sys.getrefcount(body) == before
    finally:
        gc.enable()
