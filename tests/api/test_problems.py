"""Problem details: every error has a type, and a type that was published stays."""

import json
import re
from collections.abc import Iterator

import pytest

from api.handlers import answer_of, answer_problem
from api.problem_types import PROBLEM_TYPES, ProblemType
from api.problems import (
    BadRequest,
    TooManyCredits,
    UnsupportedMediaType,
    problem_of,
    problem_of_status,
)
from ledger_actors import errors

PUBLISHED = {
    "amount-not-positive": 500,
    "balance-limit-reached": 400,
    "body-too-large": 413,
    "damaged-store": 500,
    "forbidden": 403,
    "head-too-large": 431,
    "idempotency-key-reused": 422,
    "internal-error": 500,
    "invalid-amount": 400,
    "invalid-idempotency-key": 400,
    "invalid-reference": 400,
    "invalid-user": 400,
    "log-unavailable": 503,
    "malformed-http": 400,
    "malformed-request": 400,
    "not-found": 404,
    "not-ready": 503,
    "outcome-unknown": 503,
    "overloaded": 503,
    "recovering": 503,
    "request-timeout": 408,
    "shutting-down": 503,
    "throttled": 429,
    "too-many-credits": 413,
    "unauthenticated": 401,
    "unknown-transfer-coding": 501,
    "unsupported-media-type": 415,
    "unsupported-version": 505,
}
"""What callers compare with. More may be added; none may go or change."""
NEVER_ANSWERED = {errors.LedgerError, errors.Refused, errors.Unavailable}
NEVER_ANSWERED |= {errors.LogCut, errors.SnapshotFailed}


def _answered(error: type[errors.LedgerError]) -> Iterator[type[errors.LedgerError]]:
    if error not in NEVER_ANSWERED:
        yield error
    for kind in error.__subclasses__():
        if kind.__module__ == errors.__name__:
            yield from _answered(kind)


def test_published_types_keep_their_names_and_statuses() -> None:
    assert {type_.name: type_.status for type_ in PROBLEM_TYPES} == PUBLISHED


@pytest.mark.parametrize("type_", PROBLEM_TYPES, ids=lambda type_: type_.name)
def test_a_type_is_an_anchor_and_explains_itself(type_: ProblemType) -> None:
    assert re.fullmatch(r"/docs#[a-z-]+", type_.uri)
    assert type_.title
    assert not type_.title.endswith(".")
    assert type_.meaning.endswith(".")
    assert type_.remedy.endswith(".")


@pytest.mark.parametrize(
    "error", list(_answered(errors.LedgerError)), ids=lambda error: error.__name__
)
def test_every_error_of_the_ledger_has_a_type(error: type[errors.LedgerError]) -> None:
    assert problem_of(error("why")).type in PROBLEM_TYPES


@pytest.mark.parametrize(
    "error", [BadRequest("why"), UnsupportedMediaType("text/plain"), TooManyCredits(2)]
)
def test_every_error_of_a_request_has_a_type(error: Exception) -> None:
    assert problem_of(error).detail == str(error)


def test_what_is_no_answer_is_raised_again() -> None:
    with pytest.raises(KeyError):
        problem_of(KeyError("defect"))


def test_a_problem_is_answered_as_problem_details() -> None:
    answer = answer_problem(errors.Overloaded("too much"))

    assert (answer.status, dict(answer.headers)) == (
        503,
        {"Content-Type": "application/problem+json", "Retry-After": "1"},
    )
    assert json.loads(answer.body) == {
        "type": "/docs#overloaded",
        "title": "Too much is waiting",
        "status": 503,
        "detail": "too much",
        "Message": "too much",
    }


def test_the_answer_of_the_wire_contract_stays_as_it_is() -> None:
    answer = answer_problem(errors.AmountNotPositive())

    assert (answer.status, answer.body, dict(answer.headers)) == (
        500,
        b'{"Message":"Amount must be positive"}',
        {"Content-Type": "application/json"},
    )


def test_where_a_store_is_damaged_is_not_told() -> None:
    assert b"page 7" not in answer_problem(errors.CorruptStore("page 7")).body


@pytest.mark.parametrize("status", [400, 404, 408, 413, 431, 500, 501, 505])
def test_what_a_library_refuses_keeps_its_status(status: int) -> None:
    answer = answer_of(problem_of_status(status, "why"))

    assert (answer.status, json.loads(answer.body)["status"]) == (status, status)
