"""One damage to a small store at a time: what it is, and what becomes of a start after it."""

import os
import re
import struct
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import NamedTuple

import lmdb
from small_store import (
    FOLDED,
    RECORDS,
    USERS,
    Account,
    further_records,
    make_small_store,
    recovered_accounts,
)

from ledger_actors.errors import CorruptStore, LogFailed
from persistence.errors import StoreError
from persistence.high_water_mark import FILE_BYTES, SLOT_BYTES
from persistence.log_store import LogStore
from persistence.verify import verify

PAGE_BYTES = 4096
MARK_BYTES = 2 * SLOT_BYTES
IMAGE_BYTES = 32 * PAGE_BYTES
"""Of a file, what is put back after each case; the small store and what follows fit into it."""
_PLACE = re.compile(
    r"\b(position|page|bytes|entry|block) \d+|\d+ bytes|(user|key|at|position).* b?['\x22]"
    r"|the snapshot (holds|has format)|(its|the snapshot's) head|data.mdb is missing or empty"
)
ALL = 10**9
NOBODY = Account(0, [], {})
_KINDS = {1: "branch", 2: "leaf", 4: "overflow", 8: "meta"}


class File(Enum):
    """What is damaged."""

    LOG = "log/data.mdb"
    SNAPSHOT = "snapshot/data.mdb"
    MARK = "log/high-water-mark"


class Kind(Enum):
    """How it is damaged."""

    FLIPS = "flips"
    """One bit is another."""
    TRUNCATIONS = "truncations"
    """The file ends there."""


class Judge(Enum):
    """Who opens the store then."""

    START = "start"
    """A server's start, which then tells all that it has, and goes on writing."""
    VERIFY = "verify"
    """`bitburst verify`; what passes is read as a server would tell it."""


class Outcome(Enum):
    RECOVERED = "recovered"
    """To the newest commit, and it goes on from there."""
    REFUSED = "refused, with place"
    ROLLED_BACK = "commits lost in silence"
    WRONG = "served wrong"
    ABSENT = "a row not found"
    """An account or an idempotency key is taken for one that never was; all else is told right."""
    SPOILT = "spoilt by going on"
    """All was there, but what was written next destroyed some of it."""
    NO_PLACE = "refused, no place"
    RAISED = "another exception"
    HUNG = "hung"
    DIED = "died by a signal"


ALLOWED = frozenset({Outcome.RECOVERED, Outcome.REFUSED})


class Finding(NamedTuple):
    case: int
    outcome: Outcome
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Damage:
    """A way of damaging the store. A case is the number of the bit, or the length in bytes."""

    file: File
    kind: Kind
    judge: Judge

    def place(self, case: int) -> int:
        """The page that a case is in."""
        return case // PAGE_BYTES // (8 if self.kind is Kind.FLIPS else 1)


class DamagedStore:
    """A small store that is damaged, opened, and made whole again, over and over."""

    def __init__(self, path: Path, damage: Damage) -> None:
        self._store = make_small_store(path)
        self._further = further_records(self._store)
        self._written = {RECORDS: self._store.accounts(RECORDS)}
        self._damage = damage
        self._path = path
        self._file = path / damage.file.value
        self._images = {
            path / file.value: (path / file.value).read_bytes()[:IMAGE_BYTES] for file in File
        }
        self._size = self._file.stat().st_size
        self._keys = {
            user: list(account.recorded) for user, account in self._written[RECORDS].items()
        }

    @property
    def cases(self) -> range:
        if self._damage.file is File.MARK:
            return range(MARK_BYTES * 8 if self._damage.kind is Kind.FLIPS else FILE_BYTES + 1)
        bytes_used = len(self.pages) * PAGE_BYTES
        return range(bytes_used * 8 if self._damage.kind is Kind.FLIPS else bytes_used + 1)

    @property
    def pages(self) -> list[str]:
        """What each page in use is."""
        if self._damage.file is File.MARK:
            return ["mark"]
        with lmdb.open(str(self._file.parent), readonly=True, lock=False) as environment:
            last = environment.info()["last_pgno"]
        image = self._images[self._file]
        return [
            f"{number} {_KINDS.get(_flags(image, number), 'value')}" for number in range(last + 1)
        ]

    async def try_case(self, case: int) -> Finding:
        with self._damaged(case):
            try:
                outcome, detail = await self._judged()
            except (CorruptStore, StoreError) as error:
                placed = _PLACE.search(str(error))
                outcome, detail = Outcome.REFUSED if placed else Outcome.NO_PLACE, str(error)
            except Exception as error:
                outcome, detail = Outcome.RAISED, repr(error)
        return Finding(case, outcome, detail)

    @contextmanager
    def _damaged(self, case: int) -> Iterator[None]:
        try:
            if self._damage.kind is Kind.FLIPS:
                at, bit = divmod(case, 8)
                flipped = self._images[self._file][at] ^ 1 << bit
                _write(self._file, bytes((flipped,)), at)
            else:
                os.truncate(self._file, case)
            yield
        finally:
            for file, image in self._images.items():
                if file.parent == self._file.parent:
                    _write(file, image, 0)
            os.truncate(self._file, self._size)

    async def _judged(self) -> tuple[Outcome, str]:
        if self._damage.judge is Judge.VERIFY:
            verify(self._store.directory)
            return await self._told()
        outcome, detail = await self._told()
        if outcome is Outcome.RECOVERED and self._damage.file is not File.SNAPSHOT:
            return self._going_on()
        return outcome, detail

    async def _told(self) -> tuple[Outcome, str]:
        position, told = await recovered_accounts(self._path, self._keys)
        written = self._written.get(position) or self._store.accounts(position)
        if told != written:
            absent = all(_is_less(told[user], written[user]) for user in USERS)
            return Outcome.ABSENT if absent else Outcome.WRONG, f"position {position}"
        if position < RECORDS:
            return Outcome.ROLLED_BACK, f"position {position}"
        return Outcome.RECOVERED, ""

    def _going_on(self) -> tuple[Outcome, str]:
        """Commits some more, and reads all that the log then has."""
        log_path = self._store.directory.log
        with closing(LogStore(log_path)) as log:
            for batches in self._further.records[RECORDS:]:
                log.commit(batches)
        try:
            with closing(LogStore(log_path)) as log:
                records = log.read(FOLDED, ALL)
        except (CorruptStore, LogFailed) as error:
            return Outcome.SPOILT, str(error)
        whole = [record.batches for record in records] == self._further.records[FOLDED:]
        return (Outcome.RECOVERED, "") if whole else (Outcome.SPOILT, "other records")


def _is_less(told: Account, written: Account) -> bool:
    """Whether what is told is what was written, but for a key or an account that is missing."""
    if told == NOBODY:
        return True
    return (
        told.balance == written.balance
        and told.history == written.history
        and told.recorded.items() <= written.recorded.items()
    )


def _write(path: Path, data: bytes, at: int) -> None:
    with path.open("r+b", buffering=0) as file:
        file.seek(at)
        file.write(data)


def _flags(image: bytes, page: int) -> int:
    flags: int = struct.unpack_from("<H", image, page * PAGE_BYTES + 10)[0]
    return flags & 0xF
