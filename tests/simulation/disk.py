"""A disk that keeps what was synced apart from what was only written.

A `Medium` is one LMDB file. It outlives the processes that open it, each through a handle of its
own. It promises what LMDB promises and no more: a transaction is there whole or not at all, readers
see one version, and what is committed is durable when the commit's fsync has returned. Here that is
`sync_commit`, which the simulated devices call after the time that an fsync takes. Until then a
crash keeps or drops the commit, as the seed will have it.

Without `metasync` a loss of power may have LMDB tell of the commit before the newest, until a later
one is synced. What it does not tell of is hidden, but there.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from random import Random
from typing import Any

import lmdb

from ledger_actors.entry import LogPosition
from persistence.errors import DiskFull
from persistence.high_water_mark import NOTHING_MARKED, Mark

ROW_BYTES = 16
"""What a row takes besides its key and its value."""
STEP_BYTES = 1024
"""How much a file grows by at least: small, so that it grows often."""

Row = tuple[bytes, bytes]


class Rows:
    """One version of a file's content. Transactions copy it."""

    def __init__(self, values: dict[bytes, bytes], size: int) -> None:
        self.values = values
        self.size = size
        self._keys: list[bytes] | None = None

    @property
    def keys(self) -> list[bytes]:
        if self._keys is None:
            self._keys = sorted(self.values)
        return self._keys

    def put(self, key: bytes, value: bytes, size: int) -> None:
        self.values[key] = value
        self.size = size
        self._keys = None

    def delete(self, key: bytes, size: int) -> None:
        del self.values[key]
        self.size = size
        self._keys = None


class Medium:
    """One LMDB file.

    Attributes:
        rows: what is durable, and what readers see.
        full: it cannot grow now.
        failing: the next commit's fsync fails.
        hidden: what is durable, where LMDB does not tell of all of it. A commit writes over it.
        aside: values of it that a commit does not write over.
        mark: the high-water mark beside it.
        damage: what was there before it was spoilt, by key, where it still is.
    """

    def __init__(
        self,
        name: str,
        rng: Random,
        on_durable: Callable[[Sequence[Row]], None],
        *,
        metasync: bool = True,
    ) -> None:
        self.name = name
        self._metasync = metasync
        self._told: Rows | None = None
        """What LMDB may tell of after a loss of power, where that is not `rows`."""
        self.hidden: Rows | None = None
        self.aside: Sequence[bytes] = ()
        self.rows = Rows({}, 0)
        self.full = False
        self.failing = False
        self.damage: dict[bytes, tuple[bytes, bytes | None]] = {}
        self.map_bytes = STEP_BYTES
        self._rng = rng
        self._on_durable = on_durable
        self._unsynced: tuple[Rows, Sequence[Row]] | None = None
        self.mark = NOTHING_MARKED
        self._unsynced_mark: Mark | None = None

    @property
    def unsynced(self) -> bool:
        """There is a commit whose fsync has not returned."""
        return self._unsynced is not None

    def commit(self, rows: Rows, put: Sequence[Row]) -> None:
        """
        Raises:
            lmdb.DiskError: the fsync failed. Whether it is durable, nobody is told.
        """
        self._unsynced = (rows, put)
        if self.failing:
            self.failing = False
            self.crash()
            raise lmdb.DiskError("mdb_txn_commit: Input/output error")

    def sync_commit(self) -> None:
        """What was committed is durable."""
        if self._unsynced is not None:
            told = self.rows
            (self.rows, put), self._unsynced = self._unsynced, None
            self._on_durable([row for row in put if row[1] not in self.aside])
            # What is spoilt is not to come again when it is cut.
            self._told = None if self._metasync or self.damage else told
            self.hidden = None
        if self._unsynced_mark is not None:
            self.mark, self._unsynced_mark = self._unsynced_mark, None

    def sync(self) -> None:
        """And LMDB tells of it in any case."""
        self.sync_commit()
        self._told = self.hidden = None
        self.aside = ()

    def hide(self) -> bool:
        """Has LMDB tell of the commit before the newest, or not; tells whether it does."""
        # What is spoilt is spoilt in `rows` alone.
        if self._told is None or self.damage or self._rng.random() < 0.5:
            return False
        self.hidden, self.rows, self._told = self.rows, self._told, None
        return True

    def reveal(self) -> None:
        """Has LMDB tell of everything."""
        if self.hidden is not None:
            self.rows, self.hidden = self.hidden, None

    def write_mark(self, mark: Mark) -> None:
        """Notes a mark as soon as the commit that it follows is durable."""
        if self._unsynced is None:
            self.mark = mark
        else:
            self._unsynced_mark = mark

    def crash(self) -> bool:
        """Keeps or drops what was not synced; tells whether there was any that it dropped."""
        self._unsynced_mark = None
        if self._unsynced is None:
            return False
        kept = self._rng.random() < 0.5
        if kept:
            self.sync_commit()
        self._unsynced = None
        return not kept

    def spoil(self, key: bytes, spoilt: bytes | None) -> None:
        """Puts something else, or nothing, in the place of a row, as a failing disk does."""
        self.damage[key] = written, _ = (self.rows.values[key], spoilt)
        for rows in self._versions:
            # In place: those who have the file open see it as well, through their maps.
            if rows.values.get(key) == written:
                if spoilt is None:
                    rows.delete(key, rows.size)
                else:
                    rows.values[key] = spoilt

    @property
    def _versions(self) -> list[Rows]:
        return [self.rows] if self._unsynced is None else [self.rows, self._unsynced[0]]

    @property
    def damaged(self) -> bool:
        """Something that was spoilt is still there."""
        self.damage = {
            key: (written, spoilt)
            for key, (written, spoilt) in self.damage.items()
            if self.rows.values.get(key) == spoilt
        }
        return bool(self.damage)

    def mend(self) -> None:
        """Puts back what was written, as an operator does with a backup."""
        for rows in self._versions:
            for key, (written, spoilt) in self.damage.items():
                if rows.values.get(key) == spoilt:
                    rows.put(key, written, rows.size)
        self.damage = {}


class Handle:
    """A process's hold on a medium: `persistence.log_environment` and its `lmdb` in one."""

    def __init__(self, medium: Medium) -> None:
        self.medium = medium
        self.lmdb = self
        self._dead = False

    def die(self) -> None:
        """The process is gone: nothing that its code still does reaches the disk."""
        self._dead = True

    def begin(self, write: bool = False) -> "Transaction":
        if write and not self._dead:
            # The commit before this one has returned, so it is durable.
            self.medium.sync_commit()
        return Transaction(self, write)

    def commit(self, rows: Rows, put: Sequence[Row]) -> None:
        if not self._dead:
            self.medium.commit(rows, put)

    def begin_checked(self) -> "Transaction":
        return self.begin()

    def write_mark(self, mark: Mark) -> None:
        if not self._dead:
            self.medium.write_mark(mark)

    def sync_commit(self) -> None:
        """The fsync of the last commit has returned."""
        if not self._dead:
            self.medium.sync_commit()

    def sync(self) -> None:
        if not self._dead:
            self.medium.sync()

    def hidden_values(self, key: bytes) -> Iterator[bytes]:
        yield from self.medium.aside
        hidden = self.medium.hidden
        if hidden is not None and key in hidden.values:
            yield hidden.values[key]

    def set_aside(self, values: Sequence[bytes]) -> None:
        self.medium.aside = values

    @property
    def reserved_bytes(self) -> int:
        return self.medium.map_bytes

    def grow(self, at_least: int) -> None:
        # What was hidden has its room: pages that seem free.
        if self.medium.full and not self.medium.aside:
            raise DiskFull(f"cannot reserve {self.medium.map_bytes + at_least} bytes: simulated")
        self.medium.map_bytes += max(at_least, STEP_BYTES)

    def set_mapsize(self, size: int) -> None:
        pass

    def open_db(self) -> None:
        pass

    def close(self) -> None:
        pass


class SimulatedMark:
    """`persistence.high_water_mark.HighWaterMark`, which outlives the process, on a medium."""

    def __init__(self, handle: Handle) -> None:
        self._handle = handle

    def read(self) -> Mark:
        return self._handle.medium.mark

    def write(self, position: LogPosition, digest: bytes) -> None:
        self._handle.write_mark(Mark(position, digest))

    def close(self) -> None:
        pass


class Transaction:
    """What `lmdb.Transaction` is, as far as the ledger uses it."""

    def __init__(self, handle: Handle, write: bool) -> None:
        self._handle = handle
        self._write = write
        rows = handle.medium.rows
        self.rows = Rows(dict(rows.values), rows.size) if write else rows
        self._put: list[Row] = []

    def get(self, key: bytes) -> bytes | None:
        return self.rows.values.get(key)

    def put(self, key: bytes, value: bytes, append: bool = False) -> bool:
        rows = self.rows
        if append and rows.values and key <= max(rows.values):
            return False
        replaced = rows.values.get(key)
        size = rows.size + len(value) - len(replaced or b"")
        if replaced is None:
            size += len(key) + ROW_BYTES
        if size > self._handle.medium.map_bytes:
            raise lmdb.MapFullError("mdb_put: MDB_MAP_FULL")
        rows.put(key, value, size)
        self._put.append((key, value))
        return True

    def delete(self, key: bytes) -> bool:
        value = self.rows.values.get(key)
        if value is None:
            return False
        self.rows.delete(key, self.rows.size - len(key) - len(value) - ROW_BYTES)
        return True

    def stat(self, database: None) -> dict[str, int]:
        return {"entries": len(self.rows.values)}

    def cursor(self) -> "Cursor":
        return Cursor(self)

    def abort(self) -> None:
        pass

    def __enter__(self) -> "Transaction":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: Any) -> None:
        if self._write and kind is None:
            self._handle.commit(self.rows, self._put)


class Cursor:
    """What `lmdb.Cursor` is, as far as the ledger uses it. It is not used across puts."""

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction
        self._place = 0

    @property
    def _keys(self) -> list[bytes]:
        return self._transaction.rows.keys

    def first(self) -> bool:
        self._place = 0
        return bool(self._keys)

    def last(self) -> bool:
        self._place = len(self._keys) - 1
        return bool(self._keys)

    def set_range(self, key: bytes) -> bool:
        self._place = bisect_left(self._keys, key)
        return self._place < len(self._keys)

    def key(self) -> bytes:
        return self._keys[self._place]

    def getmulti(self, keys: Sequence[bytes]) -> list[Row]:
        values = self._transaction.rows.values
        return [(key, values[key]) for key in keys if key in values]

    def putmulti(self, rows: Sequence[Row], append: bool = False) -> None:
        for key, value in rows:
            self._transaction.put(key, value, append=append)

    def __iter__(self) -> Iterator[Row]:
        values = self._transaction.rows.values
        for key in self._keys[self._place :]:
            yield key, values[key]

    def __enter__(self) -> "Cursor":
        return self

    def __exit__(self, *_: object) -> None:
        pass
