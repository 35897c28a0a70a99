"""What goes wrong with a request, and the answer to it."""

from typing import Final, NamedTuple

from ledger_actors.errors import (
    AmountNotPositive,
    CorruptStore,
    IdempotencyKeyReused,
    LogFailed,
    Refused,
    Unavailable,
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


class Problem(NamedTuple):
    """An answer that is not a success."""

    status: int
    message: str
    retry_after_s: int | None = None


def alarm_of(error: Exception) -> str | None:
    """What of an error is for the operator alone: where the store is damaged."""
    return str(error) if isinstance(error, CorruptStore) else None


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
        case TooManyCredits():
            return Problem(413, message)
        case UnsupportedMediaType():
            return Problem(415, message)
        case CorruptStore():
            return Problem(500, "what is stored of this user cannot be trusted")
        case Unavailable() | LogFailed():
            return Problem(503, message, RETRY_AFTER_S)
    raise error
