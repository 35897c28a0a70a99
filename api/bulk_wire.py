"""The wire contract of bulk credits: `POST /v1/credits:batch`."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from decimal import Decimal
from itertools import islice
from typing import Any, Final

import msgpack
import msgspec

from api.bulk_types import Unclear, decode_typed
from api.problems import (
    BadRequest,
    NotAdmitted,
    TooManyCredits,
    UnsupportedMediaType,
    problem_of,
)
from api.wire import decode_amount, decode_json, decode_reference, json_type
from ledger_actors.credit import Credit, CreditRequest, Outcome, Replayed
from ledger_actors.entry import Entry
from ledger_actors.errors import LedgerError
from ledger_actors.identity import IdempotencyKey, UserId, idempotency_key, user_id
from ledger_actors.money import Micros, micros_from_decimal

CREDITS_MAX: Final = 10_000
"""Credits in one request."""
PIECES_MAX: Final = 200_000
"""Commas, brackets, braces and lines of a body that is read credit by credit; of msgpack, arrays
and maps. Ten thousand credits have far fewer; what has more would take gigabytes, and seconds."""
NDJSON: Final = "application/x-ndjson"
MEMBERS: Final = frozenset({"user", "amount", "amount_micros", "idempotency_key", "reference"})
CREATED_LINE: Final = b'{"result":"created"}\n'
REPLAYED_LINE: Final = b'{"result":"replayed"}\n'

Decoded = CreditRequest | LedgerError | BadRequest | NotAdmitted
"""A credit that can be handed to the ledger, or why it cannot."""

_PIECES: Final = (b",", b"[", b"{", b"\n")
_json_encoder: Final = msgspec.json.Encoder()


def decode_bulk(
    content_type: str | None, request_key: IdempotencyKey | None, body: bytes
) -> Sequence[Decoded]:
    """The credits of a request, in order.

    Args:
        request_key: the idempotency key of the request as a whole. It is that of every credit
            without one of its own; the n-th such credit of a user has `KEY#n` from the second on.

    Raises:
        BadRequest: the body is not a list of anything.
        TooManyCredits: there are more than `CREDITS_MAX`.
        UnsupportedMediaType: the content type is none of the three formats.
    """
    format_ = _FORMATS.get((content_type or "application/json").split(";")[0].strip().lower())
    if format_ is None:
        raise UnsupportedMediaType(
            str(content_type), "application/json, application/x-ndjson or application/msgpack"
        )
    credits_: Sequence[Decoded] | None = None
    with suppress(Unclear):
        credits_ = decode_typed(format_, body)
    if credits_ is None:
        credits_ = decode_singly(format_, body)
    if len(credits_) > CREDITS_MAX:
        raise TooManyCredits(CREDITS_MAX)
    return credits_ if request_key is None else _keyed(credits_, request_key)


def decode_singly(format_: str, body: bytes) -> Sequence[Decoded]:
    """The credits of a body in that format (json, ndjson, msgpack), each judged alone.

    Raises: as `decode_bulk`.
    """
    if format_ != "msgpack" and sum(map(body.count, _PIECES)) > PIECES_MAX:
        raise TooManyCredits(CREDITS_MAX)
    return [
        document if isinstance(document, BadRequest) else _decode_credit(document)
        for document in islice(_DOCUMENTS[format_](body), CREDITS_MAX + 1)
    ]


def encode_outcomes(outcomes: Iterable[Outcome | BadRequest | NotAdmitted]) -> bytes:
    """One line for each, in order."""
    return b"".join(map(_encode_outcome, outcomes))


def _json_documents(body: bytes) -> Iterable[Any]:
    return _listed(decode_json(body))


def _ndjson_documents(body: bytes) -> Iterable[Any]:
    for line in body.splitlines():
        if line.strip():
            try:
                yield decode_json(line)
            except BadRequest as error:
                yield _by_itself(error)


def _msgpack_documents(body: bytes) -> Iterable[Any]:
    pieces = _Pieces()
    try:
        return _listed(
            msgpack.unpackb(
                body,
                object_pairs_hook=pieces.map,
                list_hook=pieces.array,
                strict_map_key=False,
            )
        )
    except (ValueError, RecursionError) as error:
        raise BadRequest(f"the body is not msgpack: {str(error) or type(error).__name__}") from None


def _listed(document: Any) -> Iterable[Any]:
    if not isinstance(document, list):
        raise BadRequest("the body must be an array of credits")
    return document


class _Pieces:
    """Counts what a body of msgpack is made of, and stops where it is too much."""

    def __init__(self) -> None:
        self._left = PIECES_MAX

    def map(self, members: list[tuple[Any, Any]]) -> object:
        self._count()
        return _unique(members)

    def array(self, items: list[Any]) -> list[Any]:
        self._count()
        return items

    def _count(self) -> None:
        self._left -= 1
        if self._left < 0:
            raise TooManyCredits(CREDITS_MAX)


def _unique(members: list[tuple[Any, Any]]) -> object:
    found = {name if isinstance(name, str) else repr(name): value for name, value in members}
    if len(found) != len(members):
        return BadRequest("the credit names a member twice")
    return found


_FORMATS: Final = {
    "application/json": "json",
    NDJSON: "ndjson",
    "application/ndjson": "ndjson",
    "application/msgpack": "msgpack",
    "application/x-msgpack": "msgpack",
    "application/vnd.msgpack": "msgpack",
}
_DOCUMENTS: Final[Mapping[str, Callable[[bytes], Iterable[Any]]]] = {
    "json": _json_documents,
    "ndjson": _ndjson_documents,
    "msgpack": _msgpack_documents,
}


def _decode_credit(document: Any) -> Decoded:
    """One credit; what is wrong with it is its outcome."""
    try:
        if not isinstance(document, dict):
            raise BadRequest("a credit must be an object")
        unknown = sorted(document.keys() - MEMBERS)
        if unknown:
            raise BadRequest(
                f"a credit has no member {unknown[0]!r}; its members are "
                + ", ".join(sorted(MEMBERS))
            )
        return Credit(
            user_id(_string(document, "user")),
            _amount(document),
            None
            if document.get("idempotency_key") is None
            else idempotency_key(_string(document, "idempotency_key")),
            decode_reference(document.get("reference")),
        )
    except (LedgerError, BadRequest) as error:
        return _by_itself(error)


def _by_itself(error: LedgerError | BadRequest) -> LedgerError | BadRequest:
    """Without the frames that it came through: they hold the body, and what holds the error."""
    error.__traceback__ = error.__context__ = None
    return error


def _string(document: dict[str, Any], member: str) -> str:
    value = document.get(member)
    if not isinstance(value, str):
        raise BadRequest(f"{member} must be a string, not {json_type(value)}")
    return value


def _amount(document: dict[str, Any]) -> Micros:
    if ("amount" in document) == ("amount_micros" in document):
        raise BadRequest("a credit must have either amount or amount_micros")
    if "amount_micros" in document:
        micros = document["amount_micros"]
        if not _is_integer(micros):
            raise BadRequest("amount_micros must be an integer of micro-dollars")
        return micros_from_decimal(Decimal(micros).scaleb(-6))
    amount = document["amount"]
    if isinstance(amount, float):
        raise BadRequest("amount must not be a binary float; send amount_micros, an integer")
    return decode_amount(Decimal(amount) if type(amount) is int else amount)


def _is_integer(value: Any) -> bool:
    if isinstance(value, Decimal):
        return value.is_finite() and value == value.to_integral_value()
    return type(value) is int


def _keyed(credits_: Sequence[Any], request_key: IdempotencyKey) -> Sequence[Decoded]:
    seen: dict[UserId, int] = {}
    keyed: list[Decoded] = []
    for credit in credits_:
        if isinstance(credit, Exception) or credit.key is not None:
            keyed.append(credit)
            continue
        number = seen[credit.user] = seen.get(credit.user, 0) + 1
        key = request_key if number == 1 else f"{request_key}#{number}"
        try:
            keyed.append(Credit(credit.user, credit.amount, idempotency_key(key), credit.reference))
        except LedgerError as error:
            keyed.append(_by_itself(error))
    return keyed


def _encode_outcome(outcome: Outcome | BadRequest | NotAdmitted) -> bytes:
    if isinstance(outcome, Entry):
        return CREATED_LINE
    if isinstance(outcome, Replayed):
        return REPLAYED_LINE
    problem = problem_of(outcome)
    refused = {
        "result": "refused",
        "status": problem.type.status,
        "reason": problem.detail,
        "type": problem.type.uri,
    }
    return _json_encoder.encode(refused) + b"\n"
