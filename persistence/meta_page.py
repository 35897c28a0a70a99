"""The two meta pages of an LMDB file: which commit is the newest, and where its trees begin.

LMDB writes them in turn, so one tells of the newest commit and the other of the one before. It
takes the one with the higher number and believes it. A flipped bit in it would have LMDB roll back,
or read where nothing is; so both are looked at before LMDB does, and must agree.

The layout is that of LMDB's data format version 1: `MDB_page`, `MDB_meta` and `MDB_db` in mdb.c.
"""

import os
import time
from pathlib import Path
from struct import Struct
from typing import Final, NamedTuple

from ledger_actors.errors import CorruptStore
from persistence.errors import StoreError

MAGIC: Final = 0xBEEFC0DE
DATA_VERSION: Final = 1
PAGE_HEAD_BYTES: Final = 16
META_FLAG: Final = 0x08
INTEGER_KEYS: Final = 0x08
PAGE_BYTES: Final = tuple(1 << bits for bits in range(9, 17))
RETRY_DELAY_S: Final = 0.002
_META: Final = Struct("<QHH4xIIQQ IHHQQQQQ IHHQQQQQ QQ")
_PAGE_BYTES: Final = 7
"""Which of its fields tells the size of a page."""


class Tree(NamedTuple):
    """What a meta page says of one tree."""

    flags: int
    depth: int
    branch_pages: int
    leaf_pages: int
    overflow_pages: int
    entries: int
    root: int


class Meta(NamedTuple):
    """One meta page."""

    page_bytes: int
    free: Tree
    """Keys are numbers of commits, values the pages that they freed."""
    main: Tree
    last_page: int
    commit: int
    """The number of the commit: LMDB's transaction id."""


def read_metas(path: Path) -> tuple[Meta, Meta]:
    """Both meta pages of the file, the older one first; a server may be writing it.

    The file holds all pages that the newer one tells of.

    Raises:
        StoreError: the file is not LMDB's, or cannot be read.
        CorruptStore: the meta pages are not what was written.
    """
    seen = None
    while True:
        try:
            raw = _read(path)
        except OSError as error:
            raise StoreError(f"cannot open {path}: {error.strerror}") from None
        try:
            return _metas(path, raw)
        except (CorruptStore, StoreError):
            # A commit may have come between the two halves of the look.
            if raw == seen:
                raise
            seen = raw
            time.sleep(RETRY_DELAY_S)


class _Raw(NamedTuple):
    first: bytes
    second: bytes
    size: int
    """Of the file. Looked at after the pages: a server may write, and its file only grows."""


def _read(path: Path) -> _Raw:
    file = os.open(path, os.O_RDONLY)
    try:
        first = os.pread(file, _META.size, 0)
        page_bytes = _META.unpack(first)[_PAGE_BYTES] if len(first) == _META.size else 0
        second = os.pread(file, _META.size, page_bytes)
        return _Raw(first, second, os.fstat(file).st_size)
    finally:
        os.close(file)


def _metas(path: Path, raw: _Raw) -> tuple[Meta, Meta]:
    first, second = _unpack(path, 0, raw.first), _unpack(path, 1, raw.second)
    older, newer = sorted((first, second), key=lambda meta: meta.commit)
    if first.page_bytes != second.page_bytes:
        raise CorruptStore(f"{path}: page 0 and page 1 tell of different sizes")
    # In an empty file, which no commit has changed, both are the same.
    if newer.commit != older.commit + 1 and first != second:
        raise CorruptStore(
            f"{path}: page 0 tells of commit {first.commit}, page 1 of commit {second.commit}"
        )
    used = (newer.last_page + 1) * newer.page_bytes
    if raw.size < used:
        # A look at what is not there would end the process with SIGBUS.
        raise CorruptStore(f"{path} was cut short: it has {raw.size} bytes of {used}")
    return older, newer


def _unpack(path: Path, number: int, page: bytes) -> Meta:
    """
    Raises: as `read_metas`.
    """
    if len(page) < _META.size:
        raise StoreError(f"cannot open {path}: page {number} is cut short")
    fields = _META.unpack(page)
    _, _, flags, magic, version, _, _, page_bytes, *trees, last_page, commit = fields
    free, main, main_pad = Tree(*trees[:7]), Tree(*trees[8:]), trees[7]
    if (flags, magic, version) != (META_FLAG, MAGIC, DATA_VERSION):
        raise StoreError(f"cannot open {path}: page {number} is no meta page of LMDB")
    if (
        page_bytes not in PAGE_BYTES
        or (free.flags, main.flags, main_pad) != (INTEGER_KEYS, 0, 0)
        # They are written in turn.
        or (commit and commit % 2 != number)
    ):
        raise CorruptStore(f"{path}: page {number} is not what was written")
    return Meta(page_bytes, free, main, last_page, commit)
