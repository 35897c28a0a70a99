"""What folding writes: the rows of those users that the log has entries of."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any, Final

import lmdb

from ledger_actors.entry import Entry, Timestamp, out_of_order
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

ENTRIES_PER_STEP: Final = 256
USERS_PER_STEP: Final = 8
ROWS_PER_STEP: Final = 8


class FoldedRows:
    """The rows that a fold writes: of accounts, of blocks that became full, of requests.

    Attributes:
        new_users: how many users had no account.
        newest: the greatest timestamp of the entries.
    """

    def __init__(
        self,
        transaction: "lmdb.Transaction[bytes]",
        entries: Sequence[Entry],
        give_way: Callable[[], object],
    ) -> None:
        """
        Args:
            transaction: the store as it is.
            entries: what follows it in the log, in order.
            give_way: called between the steps of the work, each a fraction of a millisecond.

        Raises:
            CorruptStore: an entry is not the one that comes next in its user's history, or an
                account is not what was written.
        """
        self._give_way = give_way
        self._accounts: list[Row] = []
        self._blocks: list[Row] = []
        self._requests: list[Row] = []
        self.new_users = 0
        self.newest = Timestamp(0)
        histories: defaultdict[UserId, list[Entry]] = defaultdict(list)
        for start in range(0, len(entries), ENTRIES_PER_STEP):
            step = entries[start : start + ENTRIES_PER_STEP]
            for entry in step:
                histories[entry.user].append(entry)
            self.newest = max(self.newest, max(entry.timestamp for entry in step))
            give_way()
        # Blocks and requests are stored by the length of the user's name first.
        users = sorted(sorted(histories), key=len)
        with transaction.cursor() as cursor:
            for start in range(0, len(users), USERS_PER_STEP):
                keys = {account_key(user): user for user in users[start : start + USERS_PER_STEP]}
                stored = dict(cursor.getmulti([*keys]))
                self.new_users += len(keys) - len(stored)
                for key, user in keys.items():
                    self._extend(user, key, stored.get(key), histories.pop(user))
                give_way()

    def put(self, transaction: "lmdb.Transaction[bytes]") -> None:
        """Writes the rows: neighbours in the store one after the other, as far as that is easy."""
        with transaction.cursor() as cursor:
            for rows in (self._accounts, self._blocks, self._requests):
                for start in range(0, len(rows), ROWS_PER_STEP):
                    cursor.putmulti(rows[start : start + ROWS_PER_STEP])
                    self._give_way()

    def release(self) -> None:
        """Lets go of the rows, as `release` does."""
        for rows in (self._accounts, self._blocks, self._requests):
            release(rows, self._give_way)

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
                self._give_way()
        self._accounts.append((key, pack_account(key, balance, count, digest, tail)))


def release(objects: list[Any], give_way: Callable[[], object]) -> None:
    """Empties the list in steps: to free a hundred thousand objects takes milliseconds."""
    while objects:
        del objects[-ENTRIES_PER_STEP:]
        give_way()
