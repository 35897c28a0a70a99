"""Looks into a store from outside, also while a server uses it: for people who ask why."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import lmdb

from ledger_actors.entry import BEGINNING, Entry, LogPosition, Record
from ledger_actors.identity import UserId, shard_of
from ledger_actors.money import Micros
from ledger_actors.ports import NO_ACCOUNT
from persistence.data_directory import DataDirectory
from persistence.environment import (
    begin_checked,
    begin_reading,
    open_for_reading,
    trusted_to_be_readable,
)
from persistence.log_reader import first_position, read_after, read_some
from persistence.pinned import pinned
from persistence.record import decode, key_of

POLL_INTERVAL_S: Final = 0.2
ENTRIES_PER_READ: Final = 5_000


@dataclass(frozen=True, slots=True)
class AccountAsStored:
    user: UserId
    balance: Micros
    count: int
    newest: Sequence[Entry]
    """The newest entries, newest first."""


def account_as_stored(directory: DataDirectory, user: UserId, newest: int) -> AccountAsStored:
    """One account as log and snapshot have it, with that many of its newest entries.

    Raises:
        CorruptStore: what is stored of it is not what was written.
    """
    shard = shard_of(user, directory.shards)
    with pinned(directory) as store:
        summary = store.snapshot.account(user) or NO_ACCOUNT
        tail = [
            entry
            for stored in read_after(store.log, store.snapshot.position)
            for batch in stored.record.batches
            if batch.shard == shard
            for entry in batch.entries
            if entry.user == user
        ]
        first = max(summary.entries - max(newest - len(tail), 0) + 1, 1)
        folded = store.snapshot.entries(user, first, summary.entries)
    return AccountAsStored(
        user,
        Micros(summary.balance + sum(entry.amount for entry in tail)),
        summary.entries + len(tail),
        [*folded, *tail][::-1][:newest],
    )


def log_records(
    directory: DataDirectory, after: LogPosition | None, *, follow: bool
) -> Iterator[Record]:
    """The log's records, oldest first; with `follow` it waits for more, for ever.

    Args:
        after: begin behind this position; None begins at the oldest record that is there.

    Raises:
        LogCut: the log no longer holds `after`.
        CorruptStore: a record is not what was written.
    """
    environment = open_for_reading(directory.log)
    try:
        begin_checked(directory.log, environment).abort()
        while True:
            # Gathered before they are handed on: a transaction that waits for its reader keeps
            # the log from using its room again.
            records = _next_records(directory.log, environment, after)
            yield from records
            if records:
                after = records[-1].position
            elif not follow:
                return
            else:
                time.sleep(POLL_INTERVAL_S)
    finally:
        environment.close()


def _next_records(
    path: Path, environment: lmdb.Environment, after: LogPosition | None
) -> Sequence[Record]:
    with trusted_to_be_readable(path), begin_reading(environment) as transaction:
        if after is None:
            first = first_position(transaction)
            value = transaction.get(key_of(first))
            if first > 1 and value is not None:
                return [decode(first, value).record]
            after = BEGINNING
        return [stored.record for stored in read_some(transaction, after, ENTRIES_PER_READ)]
