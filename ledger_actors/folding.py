"""How entries of the log bring a snapshot's accounts up to date."""

from collections.abc import Callable, Iterable
from hashlib import blake2b
from struct import Struct

from ledger_actors.entry import Entry, out_of_order
from ledger_actors.identity import UserId
from ledger_actors.money import Micros
from ledger_actors.ports import NO_ACCOUNT, AccountSummary

DIGEST_BYTES = 16
_FIXED_PART = Struct(">QQQ")


def fold(
    account: Callable[[UserId], AccountSummary | None], entries: Iterable[Entry]
) -> dict[UserId, AccountSummary]:
    """The accounts that the entries change, as they are after them.

    Args:
        account: an account as the snapshot has it.
        entries: what follows the snapshot, in the order of the log.

    Raises:
        CorruptStore: an entry is not the one that comes next in its user's history.
    """
    accounts: dict[UserId, AccountSummary] = {}
    for entry in entries:
        summary = accounts.get(entry.user) or account(entry.user) or NO_ACCOUNT
        accounts[entry.user] = extended(summary, entry)
    return accounts


def extended(summary: AccountSummary, entry: Entry) -> AccountSummary:
    """The account after one more entry.

    Raises:
        CorruptStore: it is not the entry that comes next.
    """
    if entry.number != summary.entries + 1:
        raise out_of_order(entry, summary.entries)
    return AccountSummary(
        Micros(summary.balance + entry.amount),
        entry.number,
        history_digest(summary.digest, entry),
    )


def history_digest(before: bytes, entry: Entry) -> bytes:
    """A hash over a user's history up to this entry, from the hash up to the entry before it.

    It holds number, amount, timestamp, idempotency key and reference, so a snapshot shows by
    itself, long after its log was cut, that no entry and no key of it was changed or lost.
    BLAKE2b, RFC 7693.
    """
    fixed = _FIXED_PART.pack(entry.number, entry.amount, entry.timestamp)
    key = b"" if entry.key is None else entry.key.encode()
    # A key has no zero byte, so key and reference cannot be taken for each other.
    reference = b"" if entry.reference is None else b"\0" + entry.reference.encode()
    return blake2b(before + fixed + key + reference, digest_size=DIGEST_BYTES).digest()
