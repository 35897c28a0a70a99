"""LMDB environments whose space on disk is reserved before it is written.

The map is never larger than what is allocated to the file. So a full disk shows when room is
reserved, before LMDB writes anything, and whatever fails inside a commit is no longer a full disk
but a disk that cannot be trusted: the two never need to be told apart after the fact.
"""

import errno
import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final

import lmdb

from ledger_actors.errors import CorruptStore
from persistence.errors import DiskFull, StoreError
from persistence.meta_page import Meta, read_metas
from persistence.pages import check_pages

MIB: Final = 1024 * 1024
INITIAL_BYTES: Final = 16 * MIB
STEP_BYTES_MIN: Final = 1 * MIB
STEP_BYTES_MAX: Final = 256 * MIB
LOCK_FILE_BYTES: Final = 8192
"""What LMDB makes it for its table of 126 readers."""
_NO_ROOM: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class Environment:
    """One LMDB environment, open for writing, that grows by itself.

    Only one thread may use it, and no transaction may be open when it grows.
    """

    def __init__(self, path: Path, *, metasync: bool = True) -> None:
        """
        Args:
            metasync: a commit syncs its meta page as well, as LMDB does by itself. Otherwise that
                is left to the next one, or to `sync` (MDB_NOMETASYNC in lmdb.h): after a loss of
                power the newest commit may not be told of, though its pages are there.

        Raises:
            DiskFull: there is no room for a new environment.
            StoreError: the files cannot be opened, or are not LMDB's.
            CorruptStore: the file lost its end.
        """
        data = path / "data.mdb"
        try:
            path.mkdir(parents=True, exist_ok=True)
            size = data.stat().st_size if data.exists() else 0
        except OSError as error:
            raise StoreError(f"cannot open {path}: {error.strerror}") from None
        self._path = path
        self._size = max(size, INITIAL_BYTES)
        if size:
            read_metas(data)
        _reserve_lock_file(path / "lock.mdb")
        self.lmdb = _open(path, map_size=self._size, meminit=False, metasync=metasync)
        self._file = os.open(data, os.O_RDWR)
        try:
            if size < INITIAL_BYTES:
                self._reserve(INITIAL_BYTES)
                sync_directory(path)
                sync_directory(path.parent)
        except BaseException:
            self.close()
            raise

    @property
    def reserved_bytes(self) -> int:
        return self._size

    def begin_checked(self) -> "lmdb.Transaction[bytes]":
        """As the function of that name."""
        return begin_checked(self._path, self.lmdb)

    def grow(self, at_least: int) -> None:
        """Makes room for at least that many bytes more, and a share of the size if it can.

        It may turn out to be too little, where pages of a dead reader are what could be had.

        Raises:
            DiskFull: there is no room; the environment is as it was.
        """
        if self.lmdb.reader_check():
            # A process that was killed while it read kept pages from being used again.
            return
        needed = at_least + STEP_BYTES_MIN
        step = max(needed, min(max(self._size // 4, INITIAL_BYTES), STEP_BYTES_MAX))
        while True:
            try:
                self._reserve(self._size + step)
                break
            except DiskFull:
                if step == needed:
                    raise
                step = max(step // 2, needed)
        self._size += step
        self.lmdb.set_mapsize(self._size)

    def close(self) -> None:
        self.lmdb.close()
        os.close(self._file)

    def _reserve(self, size: int) -> None:
        reserve(self._file, size)


def _reserve_lock_file(path: Path) -> None:
    """LMDB writes its lock file through a memory map: without room that ends the process."""
    if path.exists() and path.stat().st_size >= LOCK_FILE_BYTES:
        # LMDB's own hold on it would end with any other descriptor of this process.
        return
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        reserve(descriptor, LOCK_FILE_BYTES)
    finally:
        os.close(descriptor)


def reserve(descriptor: int, size: int) -> None:
    """Allocates the file up to that size, where it is smaller.

    Raises:
        DiskFull: there is no room.
    """
    try:
        os.posix_fallocate(descriptor, 0, size)
    except OSError as error:
        if error.errno in _NO_ROOM:
            raise DiskFull(f"cannot reserve {size} bytes: {error.strerror}") from None
        raise


def open_for_reading(path: Path) -> lmdb.Environment:
    """The environment as another process writes it.

    Raises:
        StoreError: the files cannot be opened, or are not LMDB's.
        CorruptStore: the file lost its end.
    """
    try:
        size = (path / "data.mdb").stat().st_size
    except OSError as error:
        raise StoreError(f"cannot open {path}: {error.strerror}") from None
    read_metas(path / "data.mdb")
    return _open(path, map_size=size, readonly=True, create=False)


def _open(path: Path, **options: Any) -> lmdb.Environment:
    try:
        environment = lmdb.open(str(path), readahead=False, **options)
    except lmdb.Error as error:
        raise StoreError(f"cannot open {path}: {error}") from None
    # Readers that were killed still have their places in the table; there are 126.
    environment.reader_check()
    return environment


@contextmanager
def trusted_to_be_readable(path: Path) -> Iterator[None]:
    """Says of the environment in that path what LMDB says of a page that it cannot read.

    Raises:
        CorruptStore: a page is not what was written.
    """
    try:
        yield
    except lmdb.Error as error:
        raise CorruptStore(f"{path} is not what was written: {error}") from None


def check_environment(path: Path) -> None:
    """Looks at all pages of the environment in that path.

    Raises:
        StoreError: the files cannot be opened, or are not LMDB's.
        CorruptStore: a page is not what was written.
    """
    with closing(open_for_reading(path)) as environment:
        begin_checked(path, environment).abort()


def begin_checked(path: Path, environment: lmdb.Environment) -> "lmdb.Transaction[bytes]":
    """A read transaction on the environment in that path, all of whose pages were looked at.

    None may be open.

    Raises:
        CorruptStore: a page is not what was written.
    """
    transaction, meta = begin_known(path, environment)
    try:
        check_pages(path / "data.mdb", meta)
    except BaseException:
        transaction.abort()
        raise
    return transaction


def begin_known(
    path: Path, environment: lmdb.Environment
) -> tuple["lmdb.Transaction[bytes]", Meta]:
    """A read transaction, and the meta page that it sees; for `check_pages`, before it reads.

    None may be open.
    """
    while True:
        transaction = begin_reading(environment)
        try:
            for meta in read_metas(path / "data.mdb"):
                if meta.commit == transaction.id():
                    return transaction, meta
        except BaseException:
            transaction.abort()
            raise
        # A server has committed twice since: what told of this moment is overwritten.
        transaction.abort()


def begin_reading(environment: lmdb.Environment) -> "lmdb.Transaction[bytes]":
    """A read transaction, also where the writer has grown the map since. None may be open."""
    try:
        return environment.begin()
    except lmdb.MapResizedError:
        environment.set_mapsize(0)
        return environment.begin()


def sync_file(path: Path) -> None:
    """Makes a file durable that was written by someone who did not, and its name."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
    sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    """Makes the directory's entries durable: a new file's name is not, until this returns."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
