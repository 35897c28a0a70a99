"""The wire contract: what bodies, headers and paths mean, and the bytes that answer them."""

import json
import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from typing import Any, Final
from urllib.parse import unquote_to_bytes

import msgspec

from api.problems import BadRequest, Problem, UnsupportedMediaType
from ledger_actors.entry import Entry, Timestamp
from ledger_actors.errors import InvalidIdempotencyKey
from ledger_actors.identity import (
    IDEMPOTENCY_KEY_CHARACTERS_MAX,
    USER_ID_BYTES_MAX,
    IdempotencyKey,
    Reference,
    UserId,
    idempotency_key,
    reference,
    user_id,
)
from ledger_actors.money import (
    DECIMAL_PLACES,
    MICROS_PER_DOLLAR,
    Micros,
    format_plain,
    micros_from_decimal,
)
from ledger_actors.request_status import RequestStatus

NOTHING: Final = b"{}"
PAGE_DIGITS_MAX: Final = 18
"""Longer page numbers are past the end of any history."""
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_BROKEN_PERCENT: Final = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_JSON_TYPE: Final = re.compile(r"(application|text)/([^;]+\+)?json\s*(;.*)?", re.IGNORECASE)
_FORM_TYPE: Final = "application/x-www-form-urlencoded"
_QUOTED: Final = re.compile(r'"((?:[^"\\]|\\["\\])*)"')
_PERCENT: Final = ord("%")
_PLAIN_ADD: Final = re.compile(
    rb'\{ ?"amount" ?: ?(0|[1-9][0-9]{0,11})(?:\.([0-9]{1,6}))? ?\}[\r\n]*'
)
"""What nearly every add looks like; whatever else is JSON is read by the general decoder."""


def encode_message(text: str) -> bytes:
    """`{"Message":"…"}`, the body of every success that is one sentence."""
    return _encode({"Message": text})


def encode_problem(problem: Problem) -> bytes:
    """Problem details (RFC 9457).

    `Message` is an extension member, and says what `detail` says: callers of the service that this
    one replaces read it in every answer.
    """
    type_, detail = problem.type, problem.detail
    return _encode(
        {
            "type": type_.uri,
            "title": type_.title,
            "status": type_.status,
            "detail": detail,
            "Message": detail,
        }
    )


def encode_added(user: UserId, amount: Micros) -> bytes:
    return b'{"Message":"Transaction of $%d.%06d added for user %b"}' % (
        amount // MICROS_PER_DOLLAR,
        amount % MICROS_PER_DOLLAR,
        _encode(user)[1:-1],
    )


def encode_balance(user: UserId, balance: Micros) -> bytes:
    return b'{"Message":"User %b has a balance of $%d.%06d"}' % (
        _encode(user)[1:-1],
        balance // MICROS_PER_DOLLAR,
        balance % MICROS_PER_DOLLAR,
    )


def encode_history(entries: Sequence[Entry]) -> bytes:
    """The entries as a JSON array; `{}` where there are none.

    It puts bytes together, where text would have to be encoded: a page takes two thirds of the
    time.
    """
    if not entries:
        return NOTHING
    beginning = b'{"UserID":%b,"Amount":' % _encode(entries[0].user)
    items = []
    for entry in entries:
        dollars, micros = divmod(entry.amount, MICROS_PER_DOLLAR)
        amount = (b"%d.%06d" % (dollars, micros)).rstrip(b"0") if micros else b"%d" % dollars
        seconds, microseconds = divmod(entry.timestamp, 1_000_000)
        reference = entry.reference
        end = b"}" if reference is None else b',"Reference":%b}' % _encode(reference)
        items.append(
            b'%b%b,"Timestamp":"%b.%06dZ"%b'
            % (beginning, amount, _encode_seconds(seconds), microseconds, end)
        )
    return b"[%b]" % b",".join(items)


def encode_request_status(user: UserId, key: IdempotencyKey, status: RequestStatus) -> bytes:
    """What became of a request: `unknown`, `in_flight`, or `done` with what it made."""
    document: dict[str, object] = {
        "user": user,
        "idempotency_key": key,
        "state": status.state.value,
    }
    entry = status.entry
    if entry is not None:
        document |= {
            "amount": msgspec.Raw(format_plain(entry.amount).encode()),
            "number": entry.number,
            "timestamp": format_timestamp(entry.timestamp),
        }
        if entry.reference is not None:
            document["reference"] = entry.reference
    return _encode(document)


def format_timestamp(timestamp: Timestamp) -> str:
    """RFC 3339 in UTC, always with six decimals: `2023-04-18T17:03:00.309113Z`."""
    seconds, microseconds = divmod(timestamp, 1_000_000)
    return f"{_encode_seconds(seconds).decode()}.{microseconds:06d}Z"


@lru_cache(maxsize=4096)
def _encode_seconds(seconds: int) -> bytes:
    # Entries of one page are often of the same seconds, and this is most of what a page costs.
    return (_EPOCH + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%S").encode()


def decode_user(segment: bytes) -> UserId:
    """The user that a path segment names, percent-decoded.

    Raises:
        BadRequest: its percent-encoding is broken, or it is no UTF-8.
        InvalidUser: it is too long.
    """
    # A number, not a text of one: bytes look for that in a tenth of the time.
    if _PERCENT not in segment and segment.isascii() and 0 < len(segment) <= USER_ID_BYTES_MAX:
        return UserId(segment.decode())
    if _BROKEN_PERCENT.search(segment):
        raise BadRequest("user id has a % that two hexadecimal digits do not follow")
    try:
        return user_id(unquote_to_bytes(segment).decode())
    except UnicodeDecodeError:
        raise BadRequest("user id must be UTF-8, percent-encoded") from None


def decode_key_segment(segment: bytes) -> IdempotencyKey:
    """The idempotency key that a path segment names, percent-decoded; it is never quoted there.

    Raises:
        BadRequest: its percent-encoding is broken.
        InvalidIdempotencyKey: it is not 1 to 255 printable ASCII characters.
    """
    if _BROKEN_PERCENT.search(segment):
        raise BadRequest("idempotency key has a % that two hexadecimal digits do not follow")
    return idempotency_key(unquote_to_bytes(segment).decode("latin-1"))


def decode_page(text: str | None) -> int:
    """The page that the query asks for; 1 without one, or with what is no page number."""
    if text is None or not (text.isascii() and text.isdigit()):
        return 1
    digits = text.lstrip("0")
    if len(digits) > PAGE_DIGITS_MAX:
        return 10**PAGE_DIGITS_MAX
    return int(digits or "1")


def decode_idempotency_key(values: Sequence[str]) -> IdempotencyKey | None:
    """The key that the `Idempotency-Key` header names, bare or as a quoted string; None without.

    The header is that of draft-ietf-httpapi-idempotency-key-header; its value there is a string
    of RFC 8941. Quoted and bare, the same characters are the same key.

    Raises:
        InvalidIdempotencyKey: there are several, the quoting is broken, or it is not 1 to 255
            printable ASCII characters.
    """
    if not values:
        return None
    if len(values) > 1:
        raise InvalidIdempotencyKey("send one Idempotency-Key header, not several")
    value = values[0]
    if (
        value.isascii()
        and value.isprintable()
        and 0 < len(value) <= IDEMPOTENCY_KEY_CHARACTERS_MAX
        and value[0] not in ' "'
        and value[-1] != " "
    ):
        # Bare, as nearly all are, and as they stay.
        return IdempotencyKey(value)
    return parse_idempotency_key(value)


def parse_idempotency_key(value: str) -> IdempotencyKey:
    """The key that one value of the header names.

    Raises: as `decode_idempotency_key`.
    """
    text = value.strip(" \t")
    if text.startswith('"'):
        quoted = _QUOTED.fullmatch(text)
        if quoted is None:
            raise InvalidIdempotencyKey(
                'Idempotency-Key must end its quoted string with " and nothing after'
            )
        text = re.sub(r"\\(.)", r"\1", quoted[1])
    return idempotency_key(text)


def check_content_type(content_type: str | None) -> None:
    """
    Raises:
        UnsupportedMediaType: it says plainly that the body is not JSON.
    """
    if content_type and not _JSON_TYPE.fullmatch(content_type.strip()):
        raise UnsupportedMediaType(content_type)


def is_form(content_type: str | None) -> bool:
    """Whether it is what curl and browsers send for a body that nobody named the type of."""
    return content_type is not None and content_type.split(";")[0].strip().lower() == _FORM_TYPE


def decode_add(body: bytes) -> tuple[Micros, Reference | None]:
    """Amount and reference that the body of an add names.

    Numbers are read as decimals: no float is ever made. Other members are ignored.

    Raises:
        BadRequest: the body is not JSON, not an object, or has no amount that is a number.
        InvalidAmount: as `micros_from_decimal`.
        InvalidReference: as `reference`.
    """
    plain = _PLAIN_ADD.fullmatch(body)
    if plain is not None:
        whole, decimals = plain.groups()
        micros = int(whole + (decimals or b"").ljust(DECIMAL_PLACES, b"0"))
        if micros:
            return Micros(micros), None
    document = decode_json(body)
    if not isinstance(document, dict):
        raise BadRequest('the body must be a JSON object such as {"amount": 500}')
    if "amount" not in document:
        raise BadRequest('the body has no "amount"; send a JSON object such as {"amount": 500}')
    return decode_amount(document["amount"]), decode_reference(document.get("reference"))


def decode_amount(value: object) -> Micros:
    """A number of dollars from a JSON document.

    Raises:
        BadRequest: it is no number.
        InvalidAmount: as `micros_from_decimal`.
    """
    if not isinstance(value, Decimal):
        raise BadRequest(f"amount must be a number, not {json_type(value)}")
    return micros_from_decimal(value)


def decode_reference(value: object) -> Reference | None:
    """
    Raises:
        BadRequest: it is no string.
        InvalidReference: as `reference`.
    """
    if value is None:
        return None
    if not isinstance(value, str):
        raise BadRequest(f"reference must be a string, not {json_type(value)}")
    return reference(value)


def decode_json(body: bytes) -> Any:
    """The document, with its numbers as `Decimal`.

    Raises:
        BadRequest: it is no JSON, or names a member of an object twice.
    """
    try:
        return json.loads(
            body.decode(),
            parse_float=_decimal,
            parse_int=_decimal,
            parse_constant=_refuse_constant,
            object_pairs_hook=_unique,
        )
    except UnicodeDecodeError:
        raise BadRequest("the body must be JSON in UTF-8") from None
    except RecursionError:
        raise BadRequest("the body is nested too deeply") from None
    except json.JSONDecodeError as error:
        raise BadRequest(
            f"the body is not JSON: {error.msg} at line {error.lineno} column {error.colno}"
        ) from None


def _decimal(text: str) -> Decimal:
    try:
        return Decimal(text)
    except InvalidOperation:
        raise BadRequest("the body has a number with an exponent that is too large") from None


def _refuse_constant(name: str) -> None:
    raise BadRequest(f"the body is not JSON: {name} is no JSON number")


def _unique(members: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(members)
    if len(found) != len(members):
        raise BadRequest("the body names a member of an object twice")
    return found


def json_type(value: object) -> str:
    """What JSON calls the kind of value that this is."""
    if value is None:
        return "null"
    names = {str: "a string", bool: "a boolean", list: "an array", dict: "an object"}
    return names.get(type(value), "a number")


_encode: Final = msgspec.json.Encoder().encode
