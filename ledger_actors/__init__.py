"""The ledger itself: money, accounts, shard actors, and the ports they need from the world.

Start at `open_ledger`.
"""

from ledger_actors.bulk import Bulk
from ledger_actors.credit import (
    Credit,
    Credited,
    CreditRequest,
    Outcome,
    Replayed,
    Submission,
)
from ledger_actors.entry import BEGINNING, Batch, Entry, LogPosition, Record, Timestamp
from ledger_actors.identity import (
    IdempotencyKey,
    Reference,
    ShardId,
    UserId,
    idempotency_key,
    reference,
    shard_of,
    user_id,
)
from ledger_actors.ledger import Ledger, Limits, open_ledger
from ledger_actors.money import Micros, format_fixed, format_plain, micros_from_decimal
from ledger_actors.recovery import Recovered
from ledger_actors.request_status import RequestState, RequestStatus

__all__ = [
    "BEGINNING",
    "Batch",
    "Bulk",
    "Credit",
    "CreditRequest",
    "Credited",
    "Entry",
    "IdempotencyKey",
    "Ledger",
    "Limits",
    "LogPosition",
    "Micros",
    "Outcome",
    "Record",
    "Recovered",
    "Reference",
    "Replayed",
    "RequestState",
    "RequestStatus",
    "ShardId",
    "Submission",
    "Timestamp",
    "UserId",
    "format_fixed",
    "format_plain",
    "idempotency_key",
    "micros_from_decimal",
    "open_ledger",
    "reference",
    "shard_of",
    "user_id",
]
