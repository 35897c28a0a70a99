"""The write-ahead log's records in LMDB: one value for each group commit."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, TypeVar

import lmdb

from ledger_actors.entry import BEGINNING, Batch, LogPosition, Record
from ledger_actors.errors import LogFailed, LogUnavailable
from persistence.environment import trusted_to_be_readable
from persistence.errors import DiskFull
from persistence.high_water_mark import HighWaterMark, check_marked
from persistence.log_environment import LogEnvironment
from persistence.log_reader import digest_at, first_position, last_position, read_some
from persistence.record import RecordEncoder, SealedRecord, check_follows, key_of
from persistence.roll_forward import hidden_records

CUT_PER_COMMIT: Final = 8
CUT_PER_CALL: Final = 256

T = TypeVar("T")


class LogStore:
    """Commits, reads and cuts records. Synchronous: it belongs to the thread that uses it.

    After a failure that leaves the disk's state unknown, every call raises `LogFailed`.

    Attributes:
        rolled_forward: how many records were durable when it was opened, and hidden.
    """

    def __init__(
        self,
        path: Path,
        open_environment: Callable[[Path], LogEnvironment] = LogEnvironment,
        open_mark: Callable[[Path], HighWaterMark] = HighWaterMark,
    ) -> None:
        """
        Raises:
            CorruptStore: the file or its newest record is not what was written.
            DiskFull: there is no room for a new log, or for a record that was hidden.
            LogFailed: what is on disk is unknown.
        """
        self._environment = open_environment(path)
        self._mark = open_mark(path)
        self._encoder = RecordEncoder()
        self._failure: str | None = None
        self._may_go_before = BEGINNING
        self._held: LogPosition | None = None
        try:
            with (
                trusted_to_be_readable(path),
                self._environment.begin_checked() as transaction,
            ):
                self.first = first_position(transaction)
                self.last = last_position(transaction)
                self._digest = digest_at(transaction, self.last)
                hidden = hidden_records(self._environment.hidden_values, self.last, self._digest)
                check_marked(self._mark.read(), transaction, hidden)
            self._may_go_before = self.first
            self._roll_forward(hidden)
        except BaseException:
            self._release()
            raise
        self.rolled_forward = len(hidden)
        # What is durable but was never marked may be seen from now on, so it must stay.
        self._mark.write(self.last, self._digest)

    @property
    def held(self) -> LogPosition | None:
        """What follows this position is kept although it may go; None while nothing is."""
        return self._held

    def used_bytes(self) -> int:
        """What the records take of the reserved room."""
        pages = self._environment.lmdb.stat()
        used: int = pages["branch_pages"] + pages["leaf_pages"] + pages["overflow_pages"]
        return used * pages["psize"]

    @property
    def reserved_bytes(self) -> int:
        """What the log occupies on disk: it grows, and the room of cut records is used again."""
        return self._environment.reserved_bytes

    @property
    def cut_pending(self) -> bool:
        return self.first < self._cut_end and self._failure is None

    @property
    def _cut_end(self) -> LogPosition:
        return self._may_go_before if self._held is None else min(self._may_go_before, self._held)

    def commit(
        self, batches: Sequence[Batch], on_written: Callable[[], object] = lambda: None
    ) -> LogPosition:
        """Makes the batches durable as one record. With no batches, it shows that it could.

        Args:
            on_written: called when all that is left is to wait for the disk.

        Raises:
            LogUnavailable: there is no room; nothing was written.
            LogFailed: what is on disk is unknown.
        """
        position = LogPosition(self.last + 1)
        value, digest = self._encoder.encode(position, self._digest, batches)

        def write() -> LogPosition:
            with self._environment.lmdb.begin(write=True) as transaction:
                first = self._cut(transaction, CUT_PER_COMMIT)
                if not transaction.put(key_of(position), value, append=True):
                    raise LogFailed(f"the log already holds position {position}")
                on_written()
            return first

        first = self._trusted(lambda: self._growing(write, len(value)))
        self.first = first or position
        self.last = position
        self._digest = digest
        self._mark.write(position, digest)
        return position

    def adopt(self, records: Sequence[SealedRecord]) -> None:
        """Makes records durable that another log had, as they are; an empty log begins with them.

        Raises:
            CorruptStore: they do not follow each other, or the log; nothing was written.
            LogUnavailable, LogFailed: as `commit`.
        """
        if not records:
            return
        first = records[0]
        last, digest = self.last, self._digest
        if not last:
            last, digest = LogPosition(first.position - 1), first.previous
        for record in records:
            check_follows(record, last, digest)
            last, digest = record.position, record.digest

        def write() -> None:
            rows = [(key_of(record.position), record.value) for record in records]
            with (
                self._environment.lmdb.begin(write=True) as transaction,
                transaction.cursor() as cursor,
            ):
                cursor.putmulti(rows, append=True)

        size = sum(len(record.value) for record in records)
        self._trusted(lambda: self._growing(write, size))
        self.first = self.first or first.position
        self._may_go_before = max(self._may_go_before, self.first)
        self.last, self._digest = last, digest
        self._mark.write(last, digest)

    def read(self, after: LogPosition, entries: int) -> Sequence[Record]:
        """As the port's `read`."""

        def read() -> Sequence[Record]:
            with self._environment.lmdb.begin() as transaction:
                return [stored.record for stored in read_some(transaction, after, entries)]

        return self._trusted(read)

    def digest(self, position: LogPosition) -> bytes:
        """The digest of the record at that position.

        Raises:
            LogCut: it was cut.
            CorruptStore: it is not what was written.
        """

        def read() -> bytes:
            with self._environment.lmdb.begin() as transaction:
                return digest_at(transaction, position)

        return self._trusted(read)

    def cut(self, before: LogPosition) -> None:
        """Marks the records before that position to go: a few with each commit, more with `tidy`.

        The record at that position stays: the chain is anchored in it.
        """
        self._may_go_before = max(self._may_go_before, min(before, self.last))

    def hold(self, position: LogPosition | None) -> None:
        """Keeps what follows that position, and the record there, though it may go; as long as
        there is room for what may not.

        Where the log no longer has the record, or not yet, or with None, nothing is kept.
        """
        kept = position is not None and self.first <= max(position, 1) and position <= self.last
        self._held = position if kept else None

    def tidy(self) -> None:
        """Deletes some of the records that may go, in a transaction of its own.

        Raises: as `commit`.
        """

        def delete() -> LogPosition:
            with self._environment.lmdb.begin(write=True) as transaction:
                return self._cut(transaction, CUT_PER_CALL)

        self.first = self._trusted(lambda: self._growing(delete, 0))

    def close(self) -> None:
        """
        Raises:
            LogFailed: what is on disk is unknown.
        """
        try:
            if self._failure is None:
                self._trusted(self._environment.sync)
        finally:
            self._release()

    def _release(self) -> None:
        self._mark.close()
        self._environment.close()

    def _roll_forward(self, hidden: Sequence[SealedRecord]) -> None:
        """Commits records that only their own pages tell of, which LMDB takes for free ones."""
        if not hidden:
            return
        self._environment.set_aside([record.value for record in hidden])
        try:
            self.adopt(hidden)
        except LogUnavailable as error:
            raise DiskFull(str(error)) from None
        self._trusted(self._environment.sync)

    def _cut(self, transaction: "lmdb.Transaction[bytes]", records_max: int) -> LogPosition:
        first = self.first
        stop = min(self._cut_end, first + records_max)
        while first < stop:
            transaction.delete(key_of(first))
            first = LogPosition(first + 1)
        return first

    def _growing(self, write: Callable[[], T], size: int) -> T:
        """Writes, in a larger map if it does not fit: that shows before the disk is touched."""
        while True:
            try:
                return write()
            except lmdb.MapFullError:
                try:
                    self._environment.grow(size)
                except DiskFull as error:
                    # Credits come before what is kept for a backup.
                    self._held = None
                    if not self._cut_one():
                        raise LogUnavailable(f"the write-ahead log has no room: {error}") from None

    def _cut_one(self) -> bool:
        """Lets go of one record that may go; False when there is none, or no room even for that.

        What a transaction frees it must write down, so in a full log only little can be freed at
        once, and nothing beside a new record.
        """
        try:
            with self._environment.lmdb.begin(write=True) as transaction:
                first = self._cut(transaction, 1)
        except lmdb.MapFullError:
            return False
        progressed = first > self.first
        self.first = first
        return progressed

    def _trusted(self, call: Callable[[], T]) -> T:
        if self._failure is not None:
            raise LogFailed(self._failure)
        try:
            return call()
        except (lmdb.Error, OSError) as error:
            # After a failed fsync nobody knows what the kernel did with the pages: nothing is
            # tried again, here or later.
            self._failure = f"the write-ahead log failed: {error}"
            raise LogFailed(self._failure) from error
