"""The shapes of the description against the codecs of the hot path, which are written by hand."""

from decimal import Decimal
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from api import schemas, wire
from api.bulk_wire import decode_bulk, encode_outcomes
from api.problem_types import PROBLEM_TYPES
from api.problems import BadRequest, Problem
from ledger_actors.credit import Replayed
from ledger_actors.entry import Entry, Timestamp
from ledger_actors.errors import BalanceLimitReached, IdempotencyKeyReused
from ledger_actors.identity import IdempotencyKey, Reference, UserId
from ledger_actors.money import MICROS_MAX, Micros
from ledger_actors.request_status import IN_FLIGHT, UNKNOWN, RequestState, RequestStatus

# So many characters of UTF-8 are never more bytes than a user id or a reference may have.
text = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=32)
printable = st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1, max_size=255)
entries = st.builds(
    Entry,
    text.map(UserId),
    st.integers(1, 2**53),
    st.integers(1, MICROS_MAX).map(Micros),
    st.integers(0, 4_000_000_000_000_000).map(Timestamp),
    st.none() | printable.map(IdempotencyKey),
    st.none() | text.map(Reference),
)
exact = msgspec.json.Decoder(float_hook=Decimal)


def convert(body: bytes, shape: Any) -> Any:
    return msgspec.convert(exact.decode(body), shape, str_keys=True)


@given(st.lists(entries, max_size=10))
def test_a_page_of_a_history_has_its_shape(page: list[Entry]) -> None:
    page = [msgspec.structs.replace(entry, user=page[0].user) for entry in page]

    read = convert(wire.encode_history(page), schemas.HistoryPage | schemas.NoEntries)

    if page:
        assert [Decimal(entry.Amount) * 10**6 for entry in read] == [entry.amount for entry in page]
        assert [entry.UserID for entry in read] == [entry.user for entry in page]
    else:
        assert read == {}


@given(entries, printable)
def test_the_status_of_a_request_has_its_shape(entry: Entry, key: str) -> None:
    named = IdempotencyKey(key)
    for status in (UNKNOWN, IN_FLIGHT, RequestStatus(RequestState.DONE, entry)):
        body = wire.encode_request_status(entry.user, named, status)
        read = convert(body, schemas.RequestStatus)

        assert (read.user, read.idempotency_key) == (entry.user, key)
    assert (Decimal(read.amount) * 10**6, read.number) == (entry.amount, entry.number)


@given(entries)
def test_a_result_of_a_bulk_has_its_shape(entry: Entry) -> None:
    outcomes = [entry, Replayed(entry), IdempotencyKeyReused(), BalanceLimitReached()]
    lines = encode_outcomes([*outcomes, BadRequest("no")]).splitlines()

    read = [convert(line, schemas.Created | schemas.Replayed | schemas.Refused) for line in lines]

    assert [type(one).__name__ for one in read] == ["Created", "Replayed", *["Refused"] * 3]


@given(st.sampled_from(PROBLEM_TYPES), st.text(st.characters(exclude_categories=["Cs"])))
def test_a_problem_has_its_shape(type_: Any, detail: str) -> None:
    read = convert(wire.encode_problem(Problem(type_, detail)), schemas.ProblemDetails)

    assert (read.type, read.status, read.detail) == (type_.uri, type_.status, detail)


credits_ = st.builds(
    schemas.CreditInMicros,
    text,
    st.integers(1, MICROS_MAX),
    st.none() | printable | st.just(msgspec.UNSET),
    st.none() | text | st.just(msgspec.UNSET),
)


@given(st.lists(credits_, max_size=5), st.sampled_from(["json", "msgpack"]))
def test_what_has_the_shape_of_a_bulk_is_read(
    given_: list[schemas.CreditInMicros], format_: str
) -> None:
    encode = msgspec.json.encode if format_ == "json" else msgspec.msgpack.encode

    read = decode_bulk(f"application/{format_}", None, encode(given_))

    assert [(one.user, one.amount, one.key, one.reference) for one in read] == [
        (one.user, one.amount_micros, one.idempotency_key or None, one.reference or None)
        for one in given_
    ]
