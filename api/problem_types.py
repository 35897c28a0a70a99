"""The kinds of problems that an answer may name, each with a stable type (RFC 9457).

A type is the path of this server's own explanation, `/docs#overloaded`; a caller compares it as
text. Once published, a type keeps its name and its meaning.
"""

from typing import Final, NamedTuple

DOCS_PATH: Final = "/docs"


class ProblemType(NamedTuple):
    """What all problems of one kind have in common."""

    name: str
    """Its anchor on the page that explains it."""
    status: int
    title: str
    meaning: str
    """What is wrong, and what has become of the credit."""
    remedy: str

    @property
    def uri(self) -> str:
        """A relative reference with its full path, as RFC 9457, 3.1.1 asks for."""
        return f"{DOCS_PATH}#{self.name}"


NOTHING_CHANGED: Final = "Nothing was credited."
MEND: Final = "Mend the request; as it is, it will be refused again."
SAME_AGAIN: Final = (
    "Wait for Retry-After seconds, then send the same with the same idempotency key."
)

MALFORMED_REQUEST: Final = ProblemType(
    "malformed-request",
    400,
    "The request cannot be understood",
    "The body is not JSON or not in the format that it says, has a member missing, unknown or "
    f"named twice, or the path is not percent-encoded UTF-8. {NOTHING_CHANGED}",
    MEND,
)
INVALID_AMOUNT: Final = ProblemType(
    "invalid-amount",
    400,
    "The amount cannot be credited",
    "An amount has at most six decimals and is at most 9223372036854.775807. " + NOTHING_CHANGED,
    MEND,
)
AMOUNT_NOT_POSITIVE: Final = ProblemType(
    "amount-not-positive",
    500,
    "The amount is not positive",
    "An amount is above zero. The status is 500, and the whole answer "
    '{"Message":"Amount must be positive"}, because callers of the service that this one replaces '
    f"rely on it; only a result of a bulk names the type. {NOTHING_CHANGED}",
    MEND,
)
INVALID_USER: Final = ProblemType(
    "invalid-user",
    400,
    "This is no user id",
    f"A user id is 1 to 128 bytes of UTF-8. {NOTHING_CHANGED}",
    MEND,
)
INVALID_IDEMPOTENCY_KEY: Final = ProblemType(
    "invalid-idempotency-key",
    400,
    "This is no idempotency key",
    "An idempotency key is 1 to 255 characters of printable ASCII, bare or as one quoted string, "
    f"in one header. {NOTHING_CHANGED}",
    MEND,
)
INVALID_REFERENCE: Final = ProblemType(
    "invalid-reference",
    400,
    "This is no reference",
    f"A reference is a string of 1 to 255 bytes of UTF-8. {NOTHING_CHANGED}",
    MEND,
)
BALANCE_LIMIT_REACHED: Final = ProblemType(
    "balance-limit-reached",
    400,
    "The balance would be too large",
    f"No balance passes 9223372036854.775807. {NOTHING_CHANGED}",
    "Credit less, or another user.",
)
IDEMPOTENCY_KEY_REUSED: Final = ProblemType(
    "idempotency-key-reused",
    422,
    "The idempotency key names another request",
    "The user has a request with this key already, and its amount or its reference is another. "
    f"A key is never forgotten, so it can never name a second request. {NOTHING_CHANGED}",
    "Use a new key for a new transaction. If this was meant as a retry, send what was sent first.",
)
UNAUTHENTICATED: Final = ProblemType(
    "unauthenticated",
    401,
    "An API key is needed",
    "None was sent, or one that is not known: it may have been revoked, or have expired. The "
    f"connection is closed. {NOTHING_CHANGED}",
    "Send Authorization: Bearer, and a key that `bitburst keys create` has made.",
)
FORBIDDEN: Final = ProblemType(
    "forbidden",
    403,
    "The API key is not good for this",
    f"It has not the scope, or is for users of another prefix. {NOTHING_CHANGED}",
    "Use another key.",
)
THROTTLED: Final = ProblemType(
    "throttled",
    429,
    "Too much was asked for lately",
    "The rate of the API key, or of the user, is used up. RateLimit and RateLimit-Policy say "
    f"which. {NOTHING_CHANGED}",
    SAME_AGAIN,
)
NOT_FOUND: Final = ProblemType(
    "not-found", 404, "There is nothing at this path", "No endpoint has this path.", "Look below."
)
REQUEST_TIMEOUT: Final = ProblemType(
    "request-timeout",
    408,
    "The request takes too long to arrive",
    "The head or the body was not here after --request-timeout-s. The connection is closed. "
    + NOTHING_CHANGED,
    "Send it again, with the same idempotency key.",
)
BODY_TOO_LARGE: Final = ProblemType(
    "body-too-large",
    413,
    "The body is too large",
    "It has more than --body-bytes-max bytes, or a bulk more than --bulk-bytes-max. The "
    f"connection is closed. {NOTHING_CHANGED}",
    "Send less at once.",
)
TOO_MANY_CREDITS: Final = ProblemType(
    "too-many-credits",
    413,
    "The bulk has too many credits",
    f"The detail says how many are taken in one request. {NOTHING_CHANGED}",
    "Send them in several requests.",
)
UNSUPPORTED_MEDIA_TYPE: Final = ProblemType(
    "unsupported-media-type",
    415,
    "The content type is not one that is read here",
    f"The detail names those that are. {NOTHING_CHANGED}",
    MEND,
)
MALFORMED_HTTP: Final = ProblemType(
    "malformed-http",
    400,
    "This is not a request of HTTP",
    "It breaks the protocol, or two readers could take it for different requests. The connection "
    f"is closed. {NOTHING_CHANGED}",
    "Mend the client, or the proxy in between.",
)
HEAD_TOO_LARGE: Final = ProblemType(
    "head-too-large",
    431,
    "The head of the request is too large",
    f"Request line and header lines have 64 KiB. The connection is closed. {NOTHING_CHANGED}",
    "Send fewer or shorter headers.",
)
UNKNOWN_TRANSFER_CODING: Final = ProblemType(
    "unknown-transfer-coding",
    501,
    "The transfer coding is not known here",
    f"Only chunked is. The connection is closed. {NOTHING_CHANGED}",
    "Send a Content-Length, or chunks.",
)
UNSUPPORTED_VERSION: Final = ProblemType(
    "unsupported-version",
    505,
    "This version of HTTP is not spoken here",
    f"HTTP/1.1, HTTP/1.0 and HTTP/2 are. The connection is closed. {NOTHING_CHANGED}",
    "Use one of them.",
)
OVERLOADED: Final = ProblemType(
    "overloaded",
    503,
    "Too much is waiting",
    "A limit of what may wait is reached. (Past --connections-max the answer has no body.) "
    + NOTHING_CHANGED,
    SAME_AGAIN,
)
RECOVERING: Final = ProblemType(
    "recovering",
    503,
    "The ledger is reading its log",
    f"The server has just started. {NOTHING_CHANGED}",
    SAME_AGAIN,
)
SHUTTING_DOWN: Final = ProblemType(
    "shutting-down",
    503,
    "The ledger is shutting down",
    f"It takes no more requests. {NOTHING_CHANGED}",
    SAME_AGAIN,
)
LOG_UNAVAILABLE: Final = ProblemType(
    "log-unavailable",
    503,
    "The disk refuses writes",
    "Mostly it is full. Reads go on, and credits come back by themselves when it has room. "
    + NOTHING_CHANGED,
    SAME_AGAIN,
)
OUTCOME_UNKNOWN: Final = ProblemType(
    "outcome-unknown",
    503,
    "It is not known whether the credit counts",
    "A shard restarted, or the disk failed, while the request was in flight. It counts once or "
    "not at all.",
    SAME_AGAIN + " It counts once, whatever became of the first. Without a key, look into the "
    "history before it is sent again.",
)
NOT_READY: Final = ProblemType(
    "not-ready",
    503,
    "Credits are not taken now",
    "The detail says why. It passes by itself.",
    "Send no traffic until /readyz is 200; do not restart.",
)
DAMAGED_STORE: Final = ProblemType(
    "damaged-store",
    500,
    "What is stored of the user is damaged",
    "It is not what was written, and is never repaired in silence. The log of the server says "
    f"where it is. {NOTHING_CHANGED}",
    "Tell the operator.",
)
INTERNAL_ERROR: Final = ProblemType(
    "internal-error",
    500,
    "The server has a defect",
    "The log of the server has the traceback. Whether a credit counts is not known.",
    "Report it. The same request with the same idempotency key counts once.",
)

PROBLEM_TYPES: Final = (
    MALFORMED_REQUEST,
    INVALID_AMOUNT,
    AMOUNT_NOT_POSITIVE,
    INVALID_USER,
    INVALID_IDEMPOTENCY_KEY,
    INVALID_REFERENCE,
    BALANCE_LIMIT_REACHED,
    IDEMPOTENCY_KEY_REUSED,
    UNAUTHENTICATED,
    FORBIDDEN,
    THROTTLED,
    NOT_FOUND,
    REQUEST_TIMEOUT,
    BODY_TOO_LARGE,
    TOO_MANY_CREDITS,
    UNSUPPORTED_MEDIA_TYPE,
    MALFORMED_HTTP,
    HEAD_TOO_LARGE,
    UNKNOWN_TRANSFER_CODING,
    UNSUPPORTED_VERSION,
    OVERLOADED,
    RECOVERING,
    SHUTTING_DOWN,
    LOG_UNAVAILABLE,
    OUTCOME_UNKNOWN,
    NOT_READY,
    DAMAGED_STORE,
    INTERNAL_ERROR,
)
"""All of them, in the order in which the page explains them."""
