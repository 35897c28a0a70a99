"""The shapes of bodies and answers, as types: what the description of the API is made from.

The codecs of the hot path (`api.wire`, `api.bulk_wire`) read and write these shapes by hand; the
tests hold them to each other.
"""

from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from api.bulk_wire import CREDITS_MAX
from ledger_actors.accounts import PAGE_SIZE
from ledger_actors.identity import (
    IDEMPOTENCY_KEY_CHARACTERS_MAX,
    REFERENCE_BYTES_MAX,
    USER_ID_BYTES_MAX,
)
from ledger_actors.money import MICROS_MAX, MICROS_PER_DOLLAR

REFERENCE: Final = "#/components/schemas/{name}"
"""How one schema of the description names another."""

UserText = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=USER_ID_BYTES_MAX,
        description=f"User id: 1 to {USER_ID_BYTES_MAX} bytes of UTF-8.",
        examples=["gopal"],
    ),
]
KeyText = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=IDEMPOTENCY_KEY_CHARACTERS_MAX,
        pattern="^[ -~]+$",
        description="Idempotency key: printable ASCII. It belongs to the user, for ever.",
        examples=["invoice-17"],
    ),
]
KeyHeader = Annotated[
    str,
    Meta(pattern=r'^([!#-~]([ -~]{0,253}[!-~])?|"([ !#-\[\]-~]|\\["\\]){1,255}")$'),
]
PageNumber = Annotated[int, Meta(ge=1, extra_json_schema={"default": 1})]
ReferenceText = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=REFERENCE_BYTES_MAX,
        description=f"What the caller calls the transaction: 1 to {REFERENCE_BYTES_MAX} bytes.",
        examples=["May"],
    ),
]
_DECIMAL: Final = {"type": "number", "format": "decimal", "exclusiveMinimum": 0}
DollarsGiven = Annotated[
    Any,
    Meta(
        description="Dollars, above zero, with at most six decimals, up to 9223372036854.775807. "
        "Read as a decimal, exactly: 10, 10.00 and 1e1 are the same.",
        examples=[500],
        extra_json_schema=_DECIMAL | {"maximum": MICROS_MAX // MICROS_PER_DOLLAR},
    ),
]
Dollars = Annotated[
    Any,
    Meta(
        description="Dollars as a plain decimal, exact to the micro-dollar: read it with a decimal "
        "type, not as a float.",
        examples=[500],
        extra_json_schema=_DECIMAL,
    ),
]
MicrosGiven = Annotated[
    int, Meta(gt=0, le=MICROS_MAX, description="Micro-dollars: 10^-6 dollars.", examples=[2500000])
]
Time = Annotated[
    str,
    Meta(
        pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$",
        description="When the credit was taken: RFC 3339 in UTC, always with six decimals.",
        examples=["2026-11-23T18:26:11.822659Z"],
        extra_json_schema={"format": "date-time"},
    ),
]


class Sentence(msgspec.Struct):
    """One sentence."""

    Message: str


class NotPositive(msgspec.Struct):
    """What an amount of zero or less is answered with."""

    Message: Literal["Amount must be positive"]


class CreditGiven(msgspec.Struct):
    """A credit of the user that the path names. Members beside these are ignored."""

    amount: DollarsGiven
    reference: ReferenceText | UnsetType | None = UNSET


class HistoryEntry(msgspec.Struct):
    """A credit that counts."""

    UserID: UserText
    Amount: Dollars
    Timestamp: Time
    Reference: ReferenceText | UnsetType = UNSET


HistoryPage = Annotated[
    list[HistoryEntry],
    Meta(min_length=1, max_length=PAGE_SIZE, description="Entries, newest first."),
]
NoEntries = Annotated[
    dict[str, Any], Meta(max_length=0, description="There is nothing on the page.")
]


class CreditInDollars(msgspec.Struct, forbid_unknown_fields=True):
    """A credit of a bulk, its amount in dollars."""

    user: UserText
    amount: DollarsGiven
    idempotency_key: KeyText | UnsetType | None = UNSET
    reference: ReferenceText | UnsetType | None = UNSET


class CreditInMicros(msgspec.Struct, forbid_unknown_fields=True):
    """A credit of a bulk, its amount in micro-dollars."""

    user: UserText
    amount_micros: MicrosGiven
    idempotency_key: KeyText | UnsetType | None = UNSET
    reference: ReferenceText | UnsetType | None = UNSET


_EITHER: Final = [
    {"$ref": REFERENCE.format(name=shape.__name__)} for shape in (CreditInDollars, CreditInMicros)
]
Bulk = Annotated[
    list[Annotated[Any, Meta(extra_json_schema={"anyOf": _EITHER})]],
    Meta(max_length=CREDITS_MAX),
]
BulkInMicros = Annotated[list[CreditInMicros], Meta(max_length=CREDITS_MAX)]


class Created(msgspec.Struct, tag_field="result", tag="created"):
    """The credit counts, and is on disk."""


class Replayed(msgspec.Struct, tag_field="result", tag="replayed"):
    """The credit counted before, with the same idempotency key."""


class Refused(msgspec.Struct, tag_field="result", tag="refused"):
    """The credit does not count: what a single one would have been answered with."""

    status: int
    reason: str
    type: Annotated[str, Meta(extra_json_schema={"format": "uri-reference"})]


BulkResults = list[Created | Replayed | Refused]


class UnknownRequest(msgspec.Struct, tag_field="state", tag="unknown"):
    """No request with the key has reached the ledger, or all that have were refused. One that was
    sent before may still arrive."""

    user: UserText
    idempotency_key: KeyText


class RequestInFlight(msgspec.Struct, tag_field="state", tag="in_flight"):
    """The request is here, and not yet settled: it may become done, or be refused."""

    user: UserText
    idempotency_key: KeyText


class RequestDone(msgspec.Struct, tag_field="state", tag="done"):
    """The request counts, and is on disk: the entry that it made."""

    user: UserText
    idempotency_key: KeyText
    amount: Dollars
    number: Annotated[
        int, Meta(ge=1, description="Its place in the user's history: 1, 2, 3 … with no gap.")
    ]
    timestamp: Time
    reference: ReferenceText | UnsetType = UNSET


RequestStatus = UnknownRequest | RequestInFlight | RequestDone


class ProblemDetails(msgspec.Struct):
    """A problem (RFC 9457)."""

    type: Annotated[
        str,
        Meta(
            description="What kind of problem it is, and where that is explained. Compare it.",
            examples=["/docs#idempotency-key-reused"],
            extra_json_schema={"format": "uri-reference"},
        ),
    ]
    title: Annotated[str, Meta(description="The same for all problems of the type.")]
    status: int
    detail: Annotated[str, Meta(description="What is wrong with this request.")]
    Message: Annotated[str, Meta(description="As `detail`.")]
