"""What goes wrong with a request, and the answer to it."""

from typing import Final, NamedTuple

import structlog

from api.token_bucket import Wait
from ledger_actors.errors import (
    AmountNotPositive,
    CorruptStore,
    IdempotencyKeyReused,
    LogFailed,
    Refused,
    Unavailable,
)

RETRY_AFTER_S: Final = 1
NO_ROOM: Final = (
    b"HTTP/1.1 503 \r\ncontent-length: 0\r\nretry-after: 1\r\nconnection: close\r\n\r\n"
)
"""For a connection that is one too many, before anything is read of it."""

events = structlog.stdlib.get_logger("bitburst")


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

    status: int
    message: str
    retry_after_s: int | None = None
    headers: tuple[tuple[str, str], ...] = ()


def problem_of(error: Exception) -> Problem:
    """The answer to what a handler raised.

    An amount of zero or less gets 500: the wire contract has it so.
    """
    message = str(error)
    match error:
        case AmountNotPositive():
            return Problem(500, message)
        case IdempotencyKeyReused():
            return Problem(422, message)
        case Refused() | BadRequest():
            return Problem(400, message)
        case Unauthenticated():
            # What else has come, or is to come, of a stranger is not looked at.
            headers = (("WWW-Authenticate", error.challenge), ("Connection", "close"))
            return Problem(401, message, headers=headers)
        case Forbidden():
            return Problem(403, message)
        case Throttled():
            return Problem(429, message, error.wait.seconds, error.headers)
        case TooManyCredits():
            return Problem(413, message)
        case UnsupportedMediaType():
            return Problem(415, message)
        case CorruptStore():
            # Where the store is damaged is for the operator, who has it from the log.
            events.error("the store is damaged", reason=message)
            return Problem(500, "what is stored of this user cannot be trusted")
        case Unavailable() | LogFailed():
            return Problem(503, message, RETRY_AFTER_S)
    raise error
