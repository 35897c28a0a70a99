"""Every endpoint that there is: the registry that the description of the API is made from.

A test compares it with the routes of the application (`api.app`): an endpoint that is in one of
them only fails it.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal, NamedTuple

from api import problem_types as types
from api import schemas
from api.bulk_wire import CREDITS_MAX, NDJSON
from api.problem_types import ProblemType
from ledger_actors.accounts import PAGE_SIZE

JSON: Final = "application/json"
MSGPACK: Final = "application/msgpack"
HTML: Final = "text/html"
METRICS: Final = "text/plain"


class Parameter(NamedTuple):
    name: str
    place: Literal["path", "query", "header"]
    shape: Any
    """The type of its value, as text."""
    description: str
    example: str | int


class Content(NamedTuple):
    """A body or an answer in one format."""

    media_type: str
    shape: Any
    example: Any


class Header(NamedTuple):
    name: str
    shape: Any
    description: str


class Endpoint(NamedTuple):
    name: str
    method: Literal["GET", "POST"]
    path: str
    """With `{name}` for each path parameter."""
    summary: str
    description: str
    success: str
    """What 200 means."""
    answer: Content
    problems: Sequence[ProblemType] = ()
    """Those of its own; `COMMON_PROBLEMS` may come from any."""
    parameters: Sequence[Parameter] = ()
    body: Sequence[Content] = ()
    headers: Sequence[Header] = ()
    """Of the answer."""


UNAVAILABLE: Final = (
    types.OVERLOADED,
    types.RECOVERING,
    types.SHUTTING_DOWN,
    types.LOG_UNAVAILABLE,
    types.OUTCOME_UNKNOWN,
)
NOT_ADMITTED: Final = (types.UNAUTHENTICATED, types.FORBIDDEN, types.THROTTLED)
COMMON_PROBLEMS: Final = (
    types.MALFORMED_HTTP,
    types.REQUEST_TIMEOUT,
    types.BODY_TOO_LARGE,
    types.HEAD_TOO_LARGE,
    types.INTERNAL_ERROR,
    types.UNKNOWN_TRANSFER_CODING,
    types.OVERLOADED,
    types.UNSUPPORTED_VERSION,
)

IDEMPOTENCY_KEY: Final = Parameter(
    "Idempotency-Key",
    "header",
    schemas.KeyHeader,
    """The caller's name for the request (draft-ietf-httpapi-idempotency-key-header-07).

With a key, a credit counts once, however often and however late the request is sent again. \
Without one, each call counts. A key never expires.

A key is 1 to 255 characters of printable ASCII, as a quoted string (`"invoice-17"`) or bare \
(`invoice-17`): both are the same key. Send one header, not several. A UUID will do, and so will \
what the transaction is called already. Keys belong to the user: two users may have the same.

A retry is the same key with the same amount and the same reference, as they are read: `10`, \
`10.00` and `1e1` are one amount. It gets the first answer again, with `Idempotent-Replayed: \
true`. Nothing else is compared, and nothing that the server makes, such as time or number. The \
same key with another amount or reference is refused with 422.

A retry that comes while the first request is in flight waits for its outcome, and gets that. \
(The draft has 409 for it, as something that servers should do; here it takes one write to the \
disk.)

What is remembered is a credit that counts. A request that was malformed, unauthorised, throttled, \
refused, or failed does not use up its key: mend it, or send it again, with the same.

Where an answer was lost, send the same request again, or ask what became of it: `GET \
/v1/users/{uid}/requests/{key}`.""",
    '"invoice-17"',
)
_USER: Final = Parameter(
    "uid",
    "path",
    schemas.UserText,
    "The user, percent-encoded: one path segment of 1 to 128 bytes of UTF-8. `%2F` is a slash in "
    "it. Nobody has to be created: who was never credited has a balance of zero.",
    "gopal",
)
_REPLAYED: Final = Header(
    "Idempotent-Replayed",
    Literal["true"],
    "The credit counted at an earlier request with the same key; this one changed nothing.",
)
_NOT_KEPT: Final = Header("Cache-Control", Literal["no-store"], "It may be another a moment later.")
_ALIVE: Final[Mapping[str, str]] = {"Message": "alive"}
_READY: Final[Mapping[str, str]] = {"Message": "ready"}

ENDPOINTS: Final = (
    Endpoint(
        "add",
        "POST",
        "/users/{uid}/add",
        "Credit a user",
        "Credits the user, and answers when that is on disk. The body is JSON under `application/"
        "json`, any `+json`, no content type, or the one that curl sends by itself for `-d`.",
        "The credit counts, and is on disk.",
        Content(
            JSON,
            schemas.Sentence,
            {"Message": "Transaction of $500.000000 added for user gopal"},
        ),
        (
            types.MALFORMED_REQUEST,
            *NOT_ADMITTED,
            types.INVALID_AMOUNT,
            types.INVALID_USER,
            types.INVALID_IDEMPOTENCY_KEY,
            types.INVALID_REFERENCE,
            types.BALANCE_LIMIT_REACHED,
            types.NOT_FOUND,
            types.UNSUPPORTED_MEDIA_TYPE,
            types.IDEMPOTENCY_KEY_REUSED,
            types.AMOUNT_NOT_POSITIVE,
            types.DAMAGED_STORE,
            *UNAVAILABLE,
        ),
        (_USER, IDEMPOTENCY_KEY),
        (Content(JSON, schemas.CreditGiven, {"amount": 500}),),
        (_REPLAYED,),
    ),
    Endpoint(
        "credit_many",
        "POST",
        "/v1/credits:batch",
        "Credit many at once",
        f"Up to {CREDITS_MAX} credits, each on its own: one that is refused stops no other. Those "
        "that count are on disk when the answer comes. In NDJSON there is a credit on each line; "
        "in msgpack an array of maps, with amounts in micro-dollars or whole dollars.\n\n"
        "An idempotency key of the request is the key of every credit that has none. From the "
        "second such credit of one user on it is `KEY#2`, `KEY#3` …, in the order of the body. "
        "Each credit is compared with what its own key made; the list as a whole is not. So the "
        "same request again counts nothing twice. A list that was cut short is replayed as far as "
        "it goes; one that has grown counts what is new at its end; one whose credits of a user "
        "have changed places is refused where amount or reference differ.",
        "A line for each credit, in the same order.",
        Content(
            NDJSON,
            schemas.BulkResults,
            [
                {"result": "created"},
                {"result": "created"},
                {
                    "result": "refused",
                    "status": 422,
                    "reason": "this idempotency key was used before with the amount 12.000000; "
                    "use a new key for a new transaction",
                    "type": types.IDEMPOTENCY_KEY_REUSED.uri,
                },
            ],
        ),
        (
            types.MALFORMED_REQUEST,
            *NOT_ADMITTED,
            types.INVALID_IDEMPOTENCY_KEY,
            types.TOO_MANY_CREDITS,
            types.UNSUPPORTED_MEDIA_TYPE,
            *UNAVAILABLE,
        ),
        (IDEMPOTENCY_KEY,),
        (
            Content(
                JSON,
                schemas.Bulk,
                [
                    {"user": "gopal", "amount": 12, "idempotency_key": "payout-1"},
                    {"user": "ann", "amount_micros": 3000000, "reference": "May"},
                    {"user": "gopal", "amount": 13, "idempotency_key": "payout-1"},
                ],
            ),
            Content(
                NDJSON,
                schemas.Bulk,
                [
                    {"user": "gopal", "amount": 12, "idempotency_key": "payout-2"},
                    {"user": "ann", "amount": 3},
                    {"user": "gopal", "amount": 13, "idempotency_key": "payout-2"},
                ],
            ),
            Content(
                MSGPACK,
                schemas.BulkInMicros,
                [
                    {"user": "gopal", "amount_micros": 12000000, "idempotency_key": "payout-3"},
                    {"user": "ann", "amount_micros": 3000000},
                    {"user": "gopal", "amount_micros": 13000000, "idempotency_key": "payout-3"},
                ],
            ),
        ),
    ),
    Endpoint(
        "balance",
        "GET",
        "/users/{uid}/balance",
        "Read a balance",
        "The sum of the user's entries. A credit shows from the moment on at which it is answered.",
        "The balance, with six decimals.",
        Content(JSON, schemas.Sentence, {"Message": "User gopal has a balance of $500.000000"}),
        (
            types.MALFORMED_REQUEST,
            *NOT_ADMITTED,
            types.INVALID_USER,
            types.NOT_FOUND,
            types.DAMAGED_STORE,
            types.RECOVERING,
            types.SHUTTING_DOWN,
        ),
        (_USER,),
    ),
    Endpoint(
        "history",
        "GET",
        "/users/{uid}/history",
        "Read a page of a history",
        f"Newest first, {PAGE_SIZE} entries a page; any page costs the same. A page with nothing "
        "on it is `{}`.",
        "The page.",
        Content(
            JSON,
            schemas.HistoryPage | schemas.NoEntries,
            [
                {
                    "UserID": "gopal",
                    "Amount": 500,
                    "Timestamp": "2026-11-23T18:26:11.822659Z",
                }
            ],
        ),
        (
            types.MALFORMED_REQUEST,
            *NOT_ADMITTED,
            types.INVALID_USER,
            types.NOT_FOUND,
            types.DAMAGED_STORE,
            types.RECOVERING,
            types.SHUTTING_DOWN,
        ),
        (
            _USER,
            Parameter(
                "page",
                "query",
                schemas.PageNumber,
                "Which page. What is no positive whole number is page 1.",
                1,
            ),
        ),
    ),
    Endpoint(
        "request_status",
        "GET",
        "/v1/users/{uid}/requests/{key}",
        "Ask what became of a request",
        "By its idempotency key, when an answer was lost and the request is not to be sent again. "
        "All three states are answered with 200: the question was answered.\n\n"
        "`unknown` means that no request with the key has reached the ledger, or that all that "
        "have were refused. It is true of the moment of the answer: a request that was sent before "
        "may be on its way still, and count later. Who has to be sure sends it again with its key.",
        "What is known of it now.",
        Content(
            JSON,
            schemas.RequestStatus,
            {
                "user": "gopal",
                "idempotency_key": "invoice-17",
                "state": "done",
                "amount": 500,
                "number": 1,
                "timestamp": "2026-11-23T18:26:11.822659Z",
            },
        ),
        (
            types.MALFORMED_REQUEST,
            *NOT_ADMITTED,
            types.INVALID_USER,
            types.INVALID_IDEMPOTENCY_KEY,
            types.NOT_FOUND,
            types.DAMAGED_STORE,
            types.RECOVERING,
            types.SHUTTING_DOWN,
        ),
        (
            _USER,
            Parameter(
                "key",
                "path",
                schemas.KeyText,
                "The idempotency key, percent-encoded, and not quoted.",
                "invoice-17",
            ),
        ),
        headers=(_NOT_KEPT,),
    ),
    Endpoint(
        "healthz",
        "GET",
        "/healthz",
        "Whether the process answers",
        "Restart it when it does not.",
        "It does.",
        Content(JSON, schemas.Sentence, _ALIVE),
    ),
    Endpoint(
        "readyz",
        "GET",
        "/readyz",
        "Whether credits are taken",
        "Send no traffic while they are not, but do not restart: it comes back by itself.",
        "They are.",
        Content(JSON, schemas.Sentence, _READY),
        (types.NOT_READY,),
    ),
    Endpoint(
        "metrics",
        "GET",
        "/metrics",
        "Metrics",
        "For Prometheus: in its text format, or as OpenMetrics where Accept asks for it. Where "
        "there are API keys it needs one for admin, or for read without a prefix of users. With "
        "--metrics off there is no such path.",
        "The metrics.",
        Content(METRICS, str, "# HELP …"),
        (types.UNAUTHENTICATED, types.FORBIDDEN),
    ),
    Endpoint(
        "openapi",
        "GET",
        "/openapi.json",
        "This description",
        "OpenAPI 3.1, for tools.",
        "The description.",
        Content(JSON, dict[str, Any], {"openapi": "3.1.0"}),
    ),
    Endpoint(
        "docs",
        "GET",
        types.DOCS_PATH,
        "This description, to be read",
        "One page that loads nothing else. The type of every problem points into it.",
        "The page.",
        Content(HTML, str, "<!doctype html>"),
    ),
)
