"""What goes wrong with a request, and the answer to it."""

from typing import Final, NamedTuple

from api import problem_types as types
from api.problem_types import ProblemType
from api.token_bucket import Wait
from ledger_actors.errors import (
    AmountNotPositive,
    BalanceLimitReached,
    CorruptStore,
    IdempotencyKeyReused,
    InvalidAmount,
    InvalidIdempotencyKey,
    InvalidReference,
    InvalidUser,
    LogFailed,
    LogUnavailable,
    Overloaded,
    Recovering,
    ShardRestarted,
    ShuttingDown,
)

RETRY_AFTER_S: Final = 1


class BadRequest(Exception):
    """The request cannot be understood."""


class UnsupportedMediaType(Exception):
    """The body is said to be something else than what is read."""

    def __init__(self, content_type: str, accepted: str = "application/json, or none") -> None:
        super().__init__(f"content type {content_type} is not supported; send {accepted}")


class TooManyCredits(Exception):
    """The request has more credits than are taken at once."""

    def __init__(self, credits_max: int) -> None:
        super().__init__(f"at most {credits_max} credits are taken in one request")


class NotAdmitted(Exception):
    """Whoever asks may not have this, or not now. Nothing was looked at or changed."""


class Unauthenticated(NotAdmitted):
    """No API key was sent, or none that is known."""

    def __init__(self, message: str, *, sent: bool) -> None:
        super().__init__(message)
        self.challenge = 'Bearer error="invalid_token"' if sent else "Bearer"
        """Of RFC 6750, 3."""


class Forbidden(NotAdmitted):
    """The API key is known, and not good for this."""


class Throttled(NotAdmitted):
    """Too much was asked for lately."""

    def __init__(self, policy: str, wait: Wait) -> None:
        super().__init__(f"too many requests of this {policy}; try again in {wait.seconds} s")
        self.policy = policy
        self.wait = wait

    @property
    def headers(self) -> tuple[tuple[str, str], ...]:
        """The fields of draft-ietf-httpapi-ratelimit-headers-10."""
        return (
            ("RateLimit-Policy", f'"{self.policy}";{self.wait.policy}'),
            ("RateLimit", f'"{self.policy}";{self.wait.state}'),
        )


class Problem(NamedTuple):
    """An answer that is not a success."""

    type: ProblemType
    detail: str
    """What is wrong with this request, and what is accepted."""
    retry_after_s: int | None = None
    headers: tuple[tuple[str, str], ...] = ()


_TYPES: Final = {
    BadRequest: types.MALFORMED_REQUEST,
    UnsupportedMediaType: types.UNSUPPORTED_MEDIA_TYPE,
    TooManyCredits: types.TOO_MANY_CREDITS,
    AmountNotPositive: types.AMOUNT_NOT_POSITIVE,
    InvalidAmount: types.INVALID_AMOUNT,
    InvalidUser: types.INVALID_USER,
    InvalidIdempotencyKey: types.INVALID_IDEMPOTENCY_KEY,
    InvalidReference: types.INVALID_REFERENCE,
    BalanceLimitReached: types.BALANCE_LIMIT_REACHED,
    IdempotencyKeyReused: types.IDEMPOTENCY_KEY_REUSED,
    Unauthenticated: types.UNAUTHENTICATED,
    Forbidden: types.FORBIDDEN,
    Throttled: types.THROTTLED,
    CorruptStore: types.DAMAGED_STORE,
    Overloaded: types.OVERLOADED,
    Recovering: types.RECOVERING,
    ShuttingDown: types.SHUTTING_DOWN,
    LogUnavailable: types.LOG_UNAVAILABLE,
    ShardRestarted: types.OUTCOME_UNKNOWN,
    LogFailed: types.OUTCOME_UNKNOWN,
}
"""The one table: every error that a caller may be told."""


def alarm_of(error: Exception) -> str | None:
    """What of an error is for the operator alone: where the store is damaged."""
    return str(error) if isinstance(error, CorruptStore) else None


def problem_of(error: Exception) -> Problem:
    """The answer to what a handler raised; what is not in the table is raised again."""
    type_ = _TYPES.get(type(error))
    if type_ is None:
        raise error
    if type_ is types.DAMAGED_STORE:
        return Problem(type_, "what is stored of this user cannot be trusted")
    if isinstance(error, Unauthenticated):
        # What else has come, or is to come, of a stranger is not looked at.
        headers = (("WWW-Authenticate", error.challenge), ("Connection", "close"))
        return Problem(type_, str(error), headers=headers)
    if isinstance(error, Throttled):
        return Problem(type_, str(error), error.wait.seconds, error.headers)
    return Problem(type_, str(error), RETRY_AFTER_S if type_.status == 503 else None)


_STATUS_TYPES: Final = {
    404: types.NOT_FOUND,
    408: types.REQUEST_TIMEOUT,
    413: types.BODY_TOO_LARGE,
    431: types.HEAD_TOO_LARGE,
    501: types.UNKNOWN_TRANSFER_CODING,
    505: types.UNSUPPORTED_VERSION,
}


def problem_of_status(status: int, detail: str) -> Problem:
    """The answer to what is wrong with a request before any endpoint has it.

    Args:
        status: one that a server library, or this one's guard before it, has chosen.
    """
    if 400 <= status < 500:
        return Problem(_STATUS_TYPES.get(status, types.MALFORMED_HTTP), detail)
    return Problem(_STATUS_TYPES.get(status, types.INTERNAL_ERROR), detail)


def no_room(request_id: bytes) -> bytes:
    """For a connection that is one too many, before anything is read of it.

    Args:
        request_id: the answer's; an empty one where it has none.
    """
    line = b"x-request-id: %b\r\n" % request_id if request_id else b""
    return (
        b"HTTP/1.1 503 \r\ncontent-length: 0\r\nretry-after: 1\r\nconnection: close\r\n%b\r\n"
        % line
    )
