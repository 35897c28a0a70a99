"""The wire contract of bulk credits: `POST /v1/credits:batch`.

Each format has two decoders. The typed one reads what is plain, in a fraction of a microsecond a
credit; whatever it does not like, and whatever could be read in more than one way, is read again by
the general one, which judges each credit alone and says what is wrong with it.
"""

from collections.abc import Callable, Iterable, Sequence
from decimal import Context, Decimal, DecimalException, Inexact, InvalidOperation, Overflow
from typing import Annotated, Any, Final, NamedTuple

import msgpack
import msgspec

from api.problems import BadRequest, TooManyCredits, UnsupportedMediaType, problem_of
from api.wire import decode_amount, decode_json, decode_reference, json_type
from ledger_actors import (
    Credit,
    CreditRequest,
    Entry,
    IdempotencyKey,
    Micros,
    Outcome,
    Replayed,
    UserId,
    idempotency_key,
    micros_from_decimal,
    user_id,
)
from ledger_actors.errors import LedgerError
from ledger_actors.identity import (
    IDEMPOTENCY_KEY_CHARACTERS_MAX,
    REFERENCE_BYTES_MAX,
    USER_ID_BYTES_MAX,
)
from ledger_actors.money import MICROS_MAX, MICROS_PER_DOLLAR

CREDITS_MAX: Final = 10_000
"""Credits in one request."""
NDJSON: Final = "application/x-ndjson"
MEMBERS: Final = frozenset({"user", "amount", "amount_micros", "idempotency_key", "reference"})
CREATED_LINE: Final = b'{"result":"created"}\n'
REPLAYED_LINE: Final = b'{"result":"replayed"}\n'

Decoded = CreditRequest | LedgerError | BadRequest
"""A credit that can be handed to the ledger, or why it cannot."""

_User = Annotated[str, msgspec.Meta(min_length=1, max_length=USER_ID_BYTES_MAX)]
_Key = Annotated[str, msgspec.Meta(min_length=1, max_length=IDEMPOTENCY_KEY_CHARACTERS_MAX)]
_Reference = Annotated[str, msgspec.Meta(min_length=1, max_length=REFERENCE_BYTES_MAX)]
_Amount = Annotated[int, msgspec.Meta(gt=0, le=MICROS_MAX)]


class _InMicros(
    msgspec.Struct,
    rename={"amount": "amount_micros", "key": "idempotency_key"},
    forbid_unknown_fields=True,
    omit_defaults=True,
    gc=False,
):
    """A credit as msgpack has it. It serves as a `CreditRequest`."""

    user: _User
    amount: _Amount
    key: _Key | None = None
    reference: _Reference | None = None


class _InDollars(
    msgspec.Struct,
    rename={"dollars": "amount", "amount": "amount_micros", "key": "idempotency_key"},
    forbid_unknown_fields=True,
    gc=False,
):
    """A credit as JSON has it. It serves as a `CreditRequest` once `amount` is filled in."""

    user: _User
    dollars: Decimal | None = None
    amount: _Amount | None = None
    key: _Key | None = None
    reference: _Reference | None = None


_Typed = Sequence[_InMicros] | Sequence[_InDollars]

_msgpack_decoder: Final = msgspec.msgpack.Decoder(list[_InMicros])
_msgpack_encoder: Final = msgspec.msgpack.Encoder()
_json_decoder: Final = msgspec.json.Decoder(list[_InDollars])
_line_decoder: Final = msgspec.json.Decoder(_InDollars)
_json_encoder: Final = msgspec.json.Encoder()
_EXACT: Final = Context(prec=25, traps=[Inexact, InvalidOperation, Overflow])
_MICROS: Final = Decimal(MICROS_PER_DOLLAR)
_MICROS_MAX: Final = Decimal(MICROS_MAX)


class _Unclear(Exception):
    """The typed decoder cannot vouch for what it read."""


class _Format(NamedTuple):
    typed: Callable[[bytes], _Typed]
    general: Callable[[bytes], Iterable[Any]]


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
    form = _FORMATS.get((content_type or "application/json").split(";")[0].strip().lower())
    if form is None:
        raise UnsupportedMediaType(
            str(content_type), "application/json, application/x-ndjson or application/msgpack"
        )
    credits_: Any
    try:
        credits_ = form.typed(body)
    except (_Unclear, msgspec.DecodeError, UnicodeDecodeError, DecimalException, RecursionError):
        credits_ = [
            document if isinstance(document, BadRequest) else _decode_credit(document)
            for document in _bounded(form.general(body))
        ]
    if len(credits_) > CREDITS_MAX:
        raise TooManyCredits(CREDITS_MAX)
    return credits_ if request_key is None else _keyed(credits_, request_key)


def encode_outcomes(outcomes: Iterable[Outcome | BadRequest]) -> bytes:
    """One line for each, in order."""
    return b"".join(map(_encode_outcome, outcomes))


def _typed_msgpack(body: bytes) -> _Typed:
    credits_ = _msgpack_decoder.decode(body)
    # A member that is named twice makes the body longer than what was read of it.
    if len(_msgpack_encoder.encode(credits_)) != len(body):
        raise _Unclear
    return _checked(credits_)


def _typed_json(body: bytes) -> _Typed:
    return _in_micros(_json_decoder.decode(body), body)


def _typed_ndjson(body: bytes) -> _Typed:
    return _in_micros(_line_decoder.decode_lines(body), body)


def _in_micros(credits_: list[_InDollars], body: bytes) -> _Typed:
    multiply = _EXACT.multiply
    absent = 0
    for credit in credits_:
        dollars = credit.dollars
        if (dollars is None) == (credit.amount is None):
            raise _Unclear
        if dollars is not None:
            micros = multiply(dollars, _MICROS)
            if not 0 < micros <= _MICROS_MAX:
                raise _Unclear
            credit.amount = int(micros)
            if credit.amount != micros:
                raise _Unclear
        absent += (credit.key is None) + (credit.reference is None)
    # A member that is named twice has quotes too many, and so has a string with a quote in it.
    # Names and values: 4 quotes of user, 2 of amount, 4 of each of the two that may be absent.
    if body.count(b'"') != 14 * len(credits_) - 4 * absent:
        raise _Unclear
    return _checked(credits_)


def _checked(credits_: _Typed) -> _Typed:
    """What the types do not say, of all at once: user ids and references within their bytes,
    keys of printable ASCII."""
    if not "".join([credit.user for credit in credits_]).isascii():
        raise _Unclear
    keys = "".join([credit.key or "" for credit in credits_])
    if not (keys.isascii() and keys.isprintable()):
        raise _Unclear
    if not "".join([credit.reference or "" for credit in credits_]).isascii():
        raise _Unclear
    return credits_


def _general_json(body: bytes) -> Iterable[Any]:
    return _listed(decode_json(body))


def _general_ndjson(body: bytes) -> Iterable[Any]:
    for line in body.splitlines():
        if line.strip():
            try:
                yield decode_json(line)
            except BadRequest as error:
                yield error


def _general_msgpack(body: bytes) -> Iterable[Any]:
    try:
        return _listed(msgpack.unpackb(body, object_pairs_hook=_unique, strict_map_key=False))
    except (ValueError, RecursionError) as error:
        raise BadRequest(f"the body is not msgpack: {str(error) or type(error).__name__}") from None


def _listed(document: Any) -> Iterable[Any]:
    if not isinstance(document, list):
        raise BadRequest("the body must be an array of credits")
    return document


def _bounded(documents: Iterable[Any]) -> Iterable[Any]:
    for number, document in enumerate(documents):
        if number == CREDITS_MAX:
            raise TooManyCredits(CREDITS_MAX)
        yield document


def _unique(members: list[tuple[Any, Any]]) -> object:
    found = {name if isinstance(name, str) else repr(name): value for name, value in members}
    if len(found) != len(members):
        return BadRequest("the credit names a member twice")
    return found


_FORMATS: Final = {
    "application/json": _Format(_typed_json, _general_json),
    NDJSON: _Format(_typed_ndjson, _general_ndjson),
    "application/ndjson": _Format(_typed_ndjson, _general_ndjson),
    "application/msgpack": _Format(_typed_msgpack, _general_msgpack),
    "application/x-msgpack": _Format(_typed_msgpack, _general_msgpack),
    "application/vnd.msgpack": _Format(_typed_msgpack, _general_msgpack),
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
        return error.with_traceback(None)


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
            keyed.append(error.with_traceback(None))
    return keyed


def _encode_outcome(outcome: Outcome | BadRequest) -> bytes:
    if isinstance(outcome, Entry):
        return CREATED_LINE
    if isinstance(outcome, Replayed):
        return REPLAYED_LINE
    problem = problem_of(outcome)
    refused = {"result": "refused", "status": problem.status, "reason": problem.message}
    return _json_encoder.encode(refused) + b"\n"
