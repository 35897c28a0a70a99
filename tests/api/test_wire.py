"""The wire contract against plain models."""

import json
import re
from collections.abc import Callable
from decimal import Decimal
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api import wire
from api.problems import BadRequest
from ledger_actors.entry import Entry, Timestamp
from ledger_actors.errors import InvalidIdempotencyKey, LedgerError
from ledger_actors.identity import IdempotencyKey, UserId
from ledger_actors.money import MICROS_MAX, Micros

users = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=32).map(UserId)
amounts = st.integers(1, MICROS_MAX).map(Micros)
timestamps = st.integers(0, 4_000_000_000_000_000).map(Timestamp)
printable = st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1, max_size=255)


@given(users)
def test_a_user_is_read_back_however_it_is_encoded(user: UserId) -> None:
    every_byte = "".join(f"%{byte:02x}" for byte in user.encode())
    assert wire.decode_user(quote(user, safe="").encode()) == user
    assert wire.decode_user(every_byte.encode()) == user


@given(st.binary(max_size=200))
def test_any_segment_is_a_user_or_refused(segment: bytes) -> None:
    try:
        user = wire.decode_user(segment)
    except (BadRequest, LedgerError):
        return
    assert 1 <= len(user.encode()) <= 128


@given(amounts, st.sampled_from(["{}", "{}0", "{}e0", "{}E-0"]))
def test_an_amount_is_read_exactly(amount: Micros, form: str) -> None:
    text = form.format(f"{amount // 10**6}.{amount % 10**6:06d}")
    assert wire.decode_add(f'{{"amount": {text}}}'.encode()) == (amount, None)


@given(st.binary(max_size=100) | st.text(max_size=100).map(str.encode))
def test_any_body_is_an_amount_or_refused(body: bytes) -> None:
    try:
        amount, _ = wire.decode_add(body)
    except (BadRequest, LedgerError):
        return
    assert 1 <= amount <= MICROS_MAX


@given(printable)
def test_a_key_is_the_same_bare_and_quoted(key: str) -> None:
    escaped = key.replace("\\", "\\\\").replace('"', '\\"')
    assert wire.decode_idempotency_key([f'"{escaped}"']) == key
    if key.strip() == key and not key.startswith('"'):
        assert wire.decode_idempotency_key([key]) == key


@given(printable | st.text(max_size=300))
def test_the_short_way_to_a_key_leads_where_the_long_one_does(value: str) -> None:
    def outcome(read: Callable[[], object]) -> object:
        try:
            return read()
        except InvalidIdempotencyKey as error:
            return str(error)

    short, long = wire.decode_idempotency_key, wire.parse_idempotency_key
    assert outcome(lambda: short([value])) == outcome(lambda: long(value))


@given(st.lists(st.text(max_size=300), max_size=2))
def test_any_header_is_a_key_or_refused(values: list[str]) -> None:
    try:
        key = wire.decode_idempotency_key(values)
    except (BadRequest, InvalidIdempotencyKey):
        return
    assert key is None if not values else key and key.isascii()


@given(users, st.lists(st.tuples(amounts, timestamps), min_size=1, max_size=10))
def test_a_history_is_json_with_exact_amounts(
    user: UserId, drawn: list[tuple[Micros, Timestamp]]
) -> None:
    entries = [
        Entry(user, number, amount, timestamp, IdempotencyKey("never shown"))
        for number, (amount, timestamp) in enumerate(drawn, start=1)
    ]
    read = json.loads(wire.encode_history(entries), parse_float=Decimal, parse_int=Decimal)
    assert [line["Amount"] * 10**6 for line in read] == [amount for amount, _ in drawn]
    assert {line["UserID"] for line in read} == {user}
    for line in read:
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", line["Timestamp"])


@pytest.mark.parametrize(
    ("text", "page"),
    [
        (None, 1),
        ("", 1),
        ("0", 1),
        ("00", 1),
        ("1", 1),
        ("007", 7),
        ("-1", 1),
        ("1.5", 1),
        ("x", 1),
        ("٣", 1),
        ("9" * 10_000, 10**18),
    ],
)
def test_pages(text: str | None, page: int) -> None:
    assert wire.decode_page(text) == page
