"""What folding writes: the rows of those users that the log has entries of."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import chain

import lmdb

from ledger_actors.entry import Entry, out_of_order
from ledger_actors.identity import UserId
from persistence.snapshot_format import (
    BLOCK_ENTRIES,
    NO_ACCOUNT,
    account_key,
    block_key,
    block_of,
    extended,
    pack_account,
    pack_entry,
    pack_requests,
    unpack_account,
)

Row = tuple[bytes, bytes]


def fold_rows(transaction: "lmdb.Transaction[bytes]", entries: Iterable[Entry]) -> int:
    """Brings all rows up to date with what follows them in the log; returns how many users are new.

    Raises:
        CorruptStore: an entry is not the one that comes next in its user's history, or an account
            is not what was written.
    """
    histories: defaultdict[UserId, list[Entry]] = defaultdict(list)
    for entry in entries:
        histories[entry.user].append(entry)
    users = sorted(histories)
    keys = [account_key(user) for user in users]
    with transaction.cursor() as cursor:
        stored = dict(cursor.getmulti(keys))
        rows = _Rows()
        for user, key in zip(users, keys, strict=True):
            rows.extend(user, key, stored.get(key), histories[user])
        # Sorted, so that neighbours go to the same page one after the other.
        cursor.putmulti(chain(rows.accounts, sorted(rows.blocks), sorted(rows.requests)))
    return len(users) - len(stored)


class _Rows:
    """The rows to write, of each kind."""

    __slots__ = ("accounts", "blocks", "requests")

    def __init__(self) -> None:
        self.accounts: list[Row] = []
        self.blocks: list[Row] = []
        self.requests: list[Row] = []

    def extend(
        self, user: UserId, key: bytes, stored: bytes | None, entries: Sequence[Entry]
    ) -> None:
        """Adds the rows of one user.

        Args:
            key: the key of the account's row.
            stored: the account's row as it is.
            entries: what follows it.
        """
        account = NO_ACCOUNT if stored is None else unpack_account(key, stored)
        balance: int
        balance, count, digest, tail = account
        for entry in entries:
            if entry.number != count + 1:
                raise out_of_order(entry, count)
            count = entry.number
            balance += entry.amount
            tail += pack_entry(entry)
            if count % BLOCK_ENTRIES == 0:
                block = block_of(tail)
                number = count // BLOCK_ENTRIES - 1
                self.blocks.append((block_key(user, number), block))
                self.requests.extend(pack_requests(user, number, block))
                digest = extended(digest, block)
                tail = b""
        self.accounts.append((key, pack_account(key, balance, count, digest, tail)))
