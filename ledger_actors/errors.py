"""Everything the ledger raises. A docstring is the message where no other is given."""


class LedgerError(Exception):
    """The ledger could not do what was asked."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or type(self).__doc__)


class Refused(LedgerError):
    """The request itself is refused: nothing changed, and repeating it will not help."""


class InvalidAmount(Refused):
    """The amount is not one that the ledger can hold."""


class AmountNotPositive(InvalidAmount):
    """Amount must be positive"""


class InvalidUser(Refused):
    """The user id is not 1 to 128 bytes of UTF-8."""


class InvalidIdempotencyKey(Refused):
    """The idempotency key is not 1 to 255 printable ASCII characters."""


class InvalidReference(Refused):
    """The reference is not 1 to 255 bytes of UTF-8."""


class BalanceLimitReached(Refused):
    """The credit would take the balance past 2^63-1 micro-dollars."""


class IdempotencyKeyReused(Refused):
    """The idempotency key was used before with another amount or another reference."""


class Unavailable(LedgerError):
    """The ledger cannot take the request now. Try again later, with the same idempotency key."""


class Recovering(Unavailable):
    """The ledger is still reading its log. Try again in a moment."""


class ShuttingDown(Unavailable):
    """The ledger is shutting down. Try again in a moment."""


class Overloaded(Unavailable):
    """Too many requests are waiting. Nothing was recorded; try again in a moment."""


class LogUnavailable(Unavailable):
    """The write-ahead log refused the write. Nothing was recorded; try again later."""


class ShardRestarted(Unavailable):
    """The shard restarted while the request was in flight, so its outcome is unknown.

    Try again with the same idempotency key: it counts once, whatever became of the first.
    """


class LogCut(LedgerError):
    """The log no longer holds what was asked for: a snapshot has it."""


class SnapshotFailed(LedgerError):
    """The log could not be folded into the snapshot store. It is tried again."""


class LogFailed(LedgerError):
    """The write-ahead log failed in a way that leaves the disk's state unknown.

    The process must end and recover from disk; the failed write is never tried again.
    """


class CorruptStore(LedgerError):
    """The store is not what was written. It is refused, never repaired in silence."""
