"""What folding writes: the rows of those users that the log has entries of."""

from collections import defaultdict
from collections.abc import Iterable, Sequence

import lmdb

from ledger_actors.entry import Entry, out_of_order
from ledger_actors.identity import UserId
from persistence.snapshot_format import (
    BLOCK_ENTRIES,
    NO_ACCOUNT,
    REQUEST,
    account_key,
    block_key,
    extended,
    pack_account,
    pack_block,
    pack_entry,
    pack_request,
    unpack_account,
    user_prefix,
)

Row = tuple[bytes, bytes]


class FoldedRows:
    """The rows that a fold writes: of accounts, of blocks that became full, of requests.

    Attributes:
        new_users: how many users had no account.
    """

    def __init__(self, transaction: "lmdb.Transaction[bytes]", entries: Iterable[Entry]) -> None:
        """
        Args:
            transaction: the store as it is.
            entries: what follows it in the log, in order.

        Raises:
            CorruptStore: an entry is not the one that comes next in its user's history, or an
                account is not what was written.
        """
        self._accounts: list[Row] = []
        self._blocks: list[Row] = []
        self._requests: list[Row] = []
        histories: defaultdict[UserId, list[Entry]] = defaultdict(list)
        for entry in entries:
            histories[entry.user].append(entry)
        users = sorted(histories)
        keys = [account_key(user) for user in users]
        with transaction.cursor() as cursor:
            stored = dict(cursor.getmulti(keys))
        self.new_users = len(users) - len(stored)
        for user, key in zip(users, keys, strict=True):
            self._extend(user, key, stored.get(key), histories[user])

    def in_order(self) -> Sequence[Row]:
        """All rows, sorted by their keys, so that neighbours go to the same page in turn."""
        return [*self._accounts, *sorted(self._blocks), *sorted(self._requests)]

    def _extend(
        self, user: UserId, key: bytes, stored: bytes | None, entries: Sequence[Entry]
    ) -> None:
        """Adds the rows of one user.

        Args:
            key: the key of the account's row.
            stored: the account's row as it is.
            entries: what follows it.
        """
        balance: int
        account = NO_ACCOUNT if stored is None else unpack_account(key, stored)
        balance, count, digest, tail = account
        request_prefix = user_prefix(REQUEST, user)
        for entry in entries:
            if entry.number != count + 1:
                raise out_of_order(entry, count)
            count = entry.number
            balance += entry.amount
            tail += pack_entry(entry)
            if entry.key is not None:
                self._requests.append((request_prefix + entry.key.encode(), pack_request(count)))
            if count % BLOCK_ENTRIES == 0:
                key_of_block = block_key(user, count // BLOCK_ENTRIES - 1)
                block = pack_block(key_of_block, tail)
                self._blocks.append((key_of_block, block))
                digest = extended(digest, block)
                tail = b""
        self._accounts.append((key, pack_account(key, balance, count, digest, tail)))
