"""Builds large stores through the storage's own interfaces, quicker than over HTTP."""

import json
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from bench.errors import BuildFailedError
from ledger_actors.entry import Batch, Entry, LogPosition, Timestamp
from ledger_actors.identity import IdempotencyKey, ShardId, UserId, shard_of
from ledger_actors.money import Micros
from persistence.data_directory import DataDirectory, open_or_create
from persistence.log_store import LogStore

ENTRIES_PER_RECORD: Final = 8_192
RECORDS_PER_FOLD: Final = 64
FOLDS_PER_PROCESS: Final = 3
"""As many as so many records take."""
START: Final = 1_700_000_000_000_000
"""Microseconds since 1970: when the first entry of a built store is said to have been made."""

Progress = Callable[[int], None]


class StoreBuilder:
    """Appends entries to a store that no server uses, and folds them when asked."""

    def __init__(self, data_dir: Path, seed: int) -> None:
        self.directory: DataDirectory = open_or_create(data_dir, None)
        self._log = LogStore(self.directory.log)
        self._random = random.Random(seed)
        self._counts: dict[UserId, int] = {}
        self._made = 0

    def rounds(self, users: int, rounds: int, progress: Progress, *, fold: bool) -> None:
        """That many entries for each user, one round after the other.

        Args:
            progress: told how many entries have been added.
            fold: fold them into the snapshot store as it goes, and cut the log behind it.
        """
        self.append(
            (user_name(number) for _ in range(rounds) for number in range(users)), progress, fold
        )

    def resume(self, users: int, rounds: int) -> None:
        """Takes up a store where `rounds` left it: each user has that many entries."""
        self._counts = {user_name(number): rounds for number in range(users)}

    def append(self, users: Iterator[UserId], progress: Progress, fold: bool) -> None:
        """An entry for each user named, in that order."""
        records = 0
        while entries := self._entries(users):
            self._log.commit(self._batches(entries))
            records += 1
            progress(len(entries))
            if fold and records % RECORDS_PER_FOLD == 0:
                self.fold()
        if fold:
            self.fold()

    def fold(self) -> None:
        """Folds the whole log in a process of its own, as the server does, and cuts it.

        Raises:
            BuildFailedError: the snapshotter could not.
        """
        position = LogPosition(0)
        while position < self._log.last:
            position = self._folded()
        self._log.cut(position)
        while self._log.cut_pending:
            self._log.tidy()

    def _folded(self) -> LogPosition:
        """The position that some folds more have reached."""
        answered = subprocess.run(
            [
                sys.executable,
                *("-m", "persistence.snapshotter"),
                *(str(self.directory.log), str(self.directory.snapshot)),
            ],
            input=b"fold 1\n" * FOLDS_PER_PROCESS,
            stdout=subprocess.PIPE,
            check=False,
        )
        answer = json.loads((answered.stdout.splitlines() or [b"{}"])[-1])
        if "position" not in answer:
            raise BuildFailedError(f"the store could not be folded: {answer.get('error')}")
        return LogPosition(answer["position"])

    def close(self) -> None:
        self._log.close()

    def _entries(self, users: Iterator[UserId]) -> list[Entry]:
        entries = []
        for _, user in zip(range(ENTRIES_PER_RECORD), users, strict=False):
            number = self._counts[user] = self._counts.get(user, 0) + 1
            self._made += 1
            amount = Micros(self._random.randrange(1, 1_000_000_000))
            key = IdempotencyKey(f"{self._random.getrandbits(128):032x}")
            entries.append(Entry(user, number, amount, Timestamp(START + self._made), key))
        return entries

    def _batches(self, entries: list[Entry]) -> list[Batch]:
        by_shard: dict[ShardId, list[Entry]] = {}
        for entry in entries:
            by_shard.setdefault(shard_of(entry.user, self.directory.shards), []).append(entry)
        return [Batch(shard, by_shard[shard]) for shard in sorted(by_shard)]


def user_name(number: int) -> UserId:
    """The name of a user of a built store: `user-0000042`."""
    return UserId(f"user-{number:07d}")
