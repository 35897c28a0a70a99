"""Checks the pages that hold an LMDB file together, before LMDB follows them.

LMDB has no checksums, and trusts what a page says of itself: where its nodes are, which pages are
below it, which are free. Where one flipped bit changes that, it may end the process, find another
value, or write over pages that are in use. What is checked here leaves no room for that:

- a page in use is used once, and is not on the list of free pages;
- the nodes of a page lie side by side, from where it says to its end;
- keys ascend, within the bounds that the pages above them set;
- the numbers of pages and entries are those that the meta page tells.

Values are not looked at: they have checksums of their own.

The layout is that of LMDB's data format version 1: `MDB_page` and `MDB_node` in mdb.c.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from itertools import pairwise
from pathlib import Path
from struct import Struct, unpack, unpack_from
from struct import error as struct_error
from typing import Any, BinaryIO, Final, NamedTuple

from ledger_actors.errors import CorruptStore
from persistence.errors import StoreError
from persistence.meta_page import PAGE_HEAD_BYTES, Meta, Tree

BRANCH: Final = 0x01
LEAF: Final = 0x02
OVERFLOW: Final = 0x04
NO_PAGE: Final = 2**64 - 1
PAGES_PER_READ: Final = 32
FIRST_PAGE: Final = 2
"""Behind the meta pages."""
_HEAD: Final = Struct("<Q2xHHH")
_OVERFLOW_HEAD: Final = Struct("<Q2xHI")
_NODE: Final = Struct("<HHHH")
_NUMBER: Final = Struct("<Q")
_VALUE_ELSEWHERE: Final = 0x01
"""A node's flag: its value has pages of its own, of which it names the first."""


def check_pages(path: Path, meta: Meta) -> None:
    """Checks every page that the meta page leads to. No writer may use them again meanwhile.

    It reads the pages with nodes, and the first page of each value that has its own.

    Raises:
        CorruptStore: a page is not what was written. It says which.
        StoreError: the file cannot be read.
    """
    try:
        file = os.open(path, os.O_RDONLY)
        try:
            pages = _Pages(path, file, meta)
            _TreeCheck(pages, meta.main, bytes, lambda page, node: None).run()
            on_free = partial(_check_free, pages, meta.commit)
            _TreeCheck(pages, meta.free, _commit_of, on_free).run()
        finally:
            os.close(file)
    except OSError as error:
        raise StoreError(f"cannot read {path}: {error.strerror}") from None


def values_in_any_page(path: Path, meta: Meta, key: bytes) -> Iterator[bytes]:
    """The values under that key in all leaves of the file, also in those that are free pages.

    What LMDB left in the unused room of a page is none of them.

    Raises:
        StoreError: the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            pages = _Pages(path, file.fileno(), meta)
            for number in _pages_with(file, meta.page_bytes, key):
                with suppress(CorruptStore):
                    for node in pages.nodes(number, LEAF):
                        if node.key == key:
                            yield pages.value(node)
    except OSError as error:
        raise StoreError(f"cannot read {path}: {error.strerror}") from None


def _pages_with(file: BinaryIO, page_bytes: int, sought: bytes) -> Iterator[int]:
    """The numbers of the pages that have these bytes somewhere."""
    first = 0
    unwritten = bytes(PAGES_PER_READ * page_bytes)
    while part := file.read(len(unwritten)):
        # A search in zeros takes four times as long as any other, and to see that they are no time.
        at = -1 if part == unwritten else part.find(sought)
        while at >= 0:
            page = at // page_bytes
            yield first + page
            at = part.find(sought, (page + 1) * page_bytes)
        first += PAGES_PER_READ


class _Node(NamedTuple):
    key: bytes
    number: int
    """In a branch the page below it; in a leaf the size of the value, in bytes."""
    inline: bytes
    """In a leaf the value, or the number of the page that it begins in."""
    elsewhere: bool


class _Pages:
    """The pages of the file, each of which may be taken once."""

    def __init__(self, path: Path, file: int, meta: Meta) -> None:
        self._path = path
        self._file = file
        self._taken = bytearray(meta.last_page + 1)
        self._in_file = os.fstat(file).st_size // meta.page_bytes
        self.bytes_each = meta.page_bytes
        self.meta_page = meta.commit % 2

    def take(self, number: int, count: int = 1) -> None:
        """
        Raises:
            CorruptStore: one of so many pages, from that number on, is there twice or not at all.
        """
        end = number + count
        if not FIRST_PAGE <= number < end <= len(self._taken):
            raise self.corrupt(number, "there is no such page")
        if any(self._taken[number:end]):
            raise self.corrupt(number, "it is in two places")
        self._taken[number:end] = b"\1" * count

    def read(self, number: int, count: int = 1) -> bytes:
        if number > self._in_file - count:
            raise self.corrupt(number, "the file ends before it does")
        data = os.pread(self._file, count * self.bytes_each, number * self.bytes_each)
        if len(data) < count * self.bytes_each:
            raise self.corrupt(number, "it is cut short")
        return data

    def nodes(self, number: int, kind: int) -> Sequence[_Node]:
        """What is in a page that must be of that kind.

        Raises:
            CorruptStore: it is not, or its nodes are not side by side.
        """
        page = self.read(number)
        itself, flags, lower, upper = _HEAD.unpack_from(page)
        fits = PAGE_HEAD_BYTES <= lower <= upper <= len(page) and lower % 2 == 0
        if (itself, flags) != (number, kind) or not fits:
            raise self.corrupt(number, "its head is not what was written")
        pointers = unpack_from(f"<{(lower - PAGE_HEAD_BYTES) // 2}H", page, PAGE_HEAD_BYTES)
        nodes = []
        ends = {}
        for pointer in pointers:
            if not upper <= pointer <= len(page) - _NODE.size:
                raise self.corrupt(number, "it has a node that is outside of it")
            node, ends[pointer] = _node(page, pointer, kind)
            nodes.append(node)
        at = upper
        for pointer in sorted(ends):
            if pointer != at:
                break
            at = ends[pointer]
        if at != len(page) or len(ends) != len(nodes):
            raise self.corrupt(number, "its nodes are not side by side")
        return nodes

    def value(self, node: _Node) -> bytes:
        """The value of a leaf's node, which is read from its own pages if it has some."""
        if not node.elsewhere:
            return node.inline
        first = int.from_bytes(node.inline, "little")
        count = -(-(PAGE_HEAD_BYTES + node.number) // self.bytes_each)
        return self.read(first, count)[PAGE_HEAD_BYTES:][: node.number]

    def take_value(self, node: _Node) -> int:
        """Takes the pages of a value that has some, and returns how many it has."""
        if not node.elsewhere:
            return 0
        first = int.from_bytes(node.inline, "little")
        self.take(first)
        itself, flags, count = _OVERFLOW_HEAD.unpack_from(self.read(first))
        # A value that was replaced by a shorter one keeps its pages.
        size_max = count * self.bytes_each - PAGE_HEAD_BYTES
        if (itself, flags) != (first, OVERFLOW) or node.number > size_max:
            raise self.corrupt(first, "its head is not what was written")
        if count > 1:
            self.take(first + 1, count - 1)
        return int(count)

    def corrupt(self, number: int, what: str) -> CorruptStore:
        return CorruptStore(f"{self._path}: page {number} is not what was written: {what}")


def _node(page: bytes, pointer: int, kind: int) -> tuple[_Node, int]:
    """The node there, and where it ends."""
    low, high, flags, key_bytes = _NODE.unpack_from(page, pointer)
    key_at = pointer + _NODE.size
    value_at = key_at + key_bytes
    key = page[key_at:value_at]
    if kind == BRANCH:
        node = _Node(key, low | high << 16 | flags << 32, b"", False)
        end = value_at
    else:
        # A leaf's node has no other flag here: it is never of LMDB's sub-databases.
        elsewhere = flags == _VALUE_ELSEWHERE
        size = low | high << 16
        end = value_at + (_NUMBER.size if elsewhere else size)
        node = _Node(key, size, page[value_at:end], elsewhere)
        if flags and not elsewhere:
            end = pointer
    return node, end + end % 2


class _TreeCheck:
    """Goes through a tree, page by page and key by key.

    Args:
        order: what a key is compared by; raises `struct.error` where it is no key.
        on_entry: called with each entry, and with the page that it is in.
    """

    def __init__(
        self,
        pages: _Pages,
        tree: Tree,
        order: Callable[[bytes], Any],
        on_entry: Callable[[int, _Node], None],
    ) -> None:
        self._pages = pages
        self._tree = tree
        self._order = order
        self._on_entry = on_entry
        self._branch_pages = self._leaf_pages = self._overflow_pages = self._entries = 0

    def run(self) -> None:
        tree = self._tree
        if tree.root != NO_PAGE:
            self._page(tree.root, 1, None, None)
        found = (self._branch_pages, self._leaf_pages, self._overflow_pages, self._entries)
        told = (tree.branch_pages, tree.leaf_pages, tree.overflow_pages, tree.entries)
        if found != told or (tree.root == NO_PAGE and tree.depth):
            raise self._pages.corrupt(self._pages.meta_page, f"it has {told}, found are {found}")

    def _page(self, number: int, level: int, low: Any, end: Any) -> None:
        """Takes a page and what is below it: keys from `low` on, before `end`, where told."""
        self._pages.take(number)
        kind = LEAF if level == self._tree.depth else BRANCH
        nodes = self._pages.nodes(number, kind)
        try:
            # The first key of a branch is never looked at: it stands for `low`.
            keys = [self._order(node.key) for node in nodes[kind == BRANCH :]]
        except struct_error:
            raise self._pages.corrupt(number, "it has a key that is none") from None
        if not nodes or not _in_order(low, keys, end):
            raise self._pages.corrupt(number, "its keys are not in order")
        if kind == LEAF:
            self._leaf_pages += 1
            self._entries += len(nodes)
            for node in nodes:
                self._overflow_pages += self._pages.take_value(node)
                self._on_entry(number, node)
        else:
            self._branch_pages += 1
            for node, first, behind in zip(nodes, [low, *keys], [*keys, end], strict=True):
                self._page(node.number, level + 1, first, behind)


def _in_order(low: Any, keys: Sequence[Any], end: Any) -> bool:
    """Whether the keys ascend, from `low` on and before `end`, where these are told."""
    if not keys:
        return True
    return (
        (low is None or low <= keys[0])
        and all(one < other for one, other in pairwise(keys))
        and (end is None or keys[-1] < end)
    )


def _check_free(pages: _Pages, commit: int, page: int, node: _Node) -> None:
    """Checks one entry of the list of free pages: their numbers, the highest first."""
    value = pages.value(node)
    if len(value) % _NUMBER.size or not value:
        raise pages.corrupt(page, "it has a list of free pages that is none")
    count, *numbers = unpack(f"<{len(value) // _NUMBER.size}Q", value)
    if count != len(numbers) or any(one <= other for one, other in pairwise(numbers)):
        raise pages.corrupt(page, "it has a list of free pages that is out of order")
    if _commit_of(node.key) > commit:
        raise pages.corrupt(page, "it has free pages of a commit that never was")
    for number in numbers:
        pages.take(number)


def _commit_of(key: bytes) -> int:
    commit: int = _NUMBER.unpack(key)[0]
    return commit
