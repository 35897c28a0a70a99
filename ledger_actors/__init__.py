"""The ledger itself: money, accounts, shard actors, and the ports they need from the world.

Start at `open_ledger`.
"""

from ledger_actors.credit import Credit, Credited
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

__all__ = [
    "BEGINNING",
    "Batch",
    "Credit",
    "Credited",
    "Entry",
    "IdempotencyKey",
    "Ledger",
    "Limits",
    "LogPosition",
    "Micros",
    "Record",
    "Recovered",
    "Reference",
    "ShardId",
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
