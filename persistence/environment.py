"""LMDB environments whose space on disk is reserved before it is written.

The map is never larger than what is allocated to the file. So a full disk shows when room is
reserved, before LMDB writes anything, and whatever fails inside a commit is no longer a full disk
but a disk that cannot be trusted: the two never need to be told apart after the fact.
"""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import lmdb

from ledger_actors.errors import CorruptStore
from persistence.errors import DiskFull, StoreError

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

    def __init__(self, path: Path) -> None:
        """
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
        self._size = max(size, INITIAL_BYTES)
        _reserve_lock_file(path / "lock.mdb")
        self.lmdb = _open(path, map_size=self._size, meminit=False)
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
        _reserve(self._file, size)


def _reserve_lock_file(path: Path) -> None:
    """LMDB writes its lock file through a memory map: without room that ends the process."""
    if path.exists() and path.stat().st_size >= LOCK_FILE_BYTES:
        # LMDB's own hold on it would end with any other descriptor of this process.
        return
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        _reserve(descriptor, LOCK_FILE_BYTES)
    finally:
        os.close(descriptor)


def _reserve(descriptor: int, size: int) -> None:
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
    return _open(path, map_size=size, readonly=True, create=False)


def _open(path: Path, **options: Any) -> lmdb.Environment:
    try:
        environment = lmdb.open(str(path), readahead=False, **options)
    except lmdb.Error as error:
        raise StoreError(f"cannot open {path}: {error}") from None
    used = (environment.info()["last_pgno"] + 1) * environment.stat()["psize"]
    # Looked at after the opening: a server may write, and its file only grows.
    size = (path / "data.mdb").stat().st_size
    if size < used:
        # A look at what is not there would end the process with SIGBUS.
        environment.close()
        raise CorruptStore(f"{path} was cut short: it has {size} bytes of {used}")
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
