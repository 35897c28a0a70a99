"""Keys and values of the snapshot store.

One tree, sorted by kind and then by user:

    00 "head"           head     msgpack [format version, position, digest, users, entries,
                                 newest timestamp], checksum
    01 uid              account  balance, number of entries, digest of the blocks, tail, checksum
    02 len uid block    block    C1, checksum, 16 entries: msgpack [[amount, timestamp, key,
                                 reference], …]
    03 len uid key      request  msgpack: the number of the entry that it made

`len` is one byte (user ids are 1 to 128 bytes), `block` 8 bytes big-endian: 0, 1, 2 …

A history lies in blocks: entries 1 to 16, 17 to 32 and so on. A block is written once, when it is
full. The newest entries, which fill none yet, are the tail of the account, packed as they are in a
block. So a fold changes one row of each user that it meets, however many entries it has for it, and
adds a request for each key.

Digest and checksums are BLAKE2b (RFC 7693). A checksum is over the row's key and the rest of its
value, and is looked at whenever the row is read; a request is held against the entry that it
names. The digest is a chain over the blocks. With the accounts' checksums it holds every amount,
time, key and reference of the history, in order, and the requests follow from it. So a snapshot
shows by itself, long after its log was cut, that nothing in it was changed or lost. Neither depends
on how many entries were folded at a time.

A block that begins with anything but C1, which is nothing in msgpack, is its entries alone: it was
written by format version 1, where blocks had no checksums, and only the digest speaks for it.
"""

from collections.abc import Iterable, Sequence
from hashlib import blake2b
from struct import Struct
from sys import maxsize
from typing import Final, NamedTuple

import msgspec

from ledger_actors.entry import BEGINNING, Entry, LogPosition, Timestamp
from ledger_actors.errors import CorruptStore
from ledger_actors.identity import IdempotencyKey, Reference, UserId
from ledger_actors.money import Micros
from ledger_actors.ports import AccountSummary
from persistence.record import NO_DIGEST

FORMAT_VERSION: Final = 2
HEAD_KEY: Final = b"\0head"
ACCOUNT: Final = b"\1"
BLOCK: Final = b"\2"
REQUEST: Final = b"\3"
BLOCK_ENTRIES: Final = 16
CHECKSUM_BYTES: Final = 16
NO_BLOCKS: Final = bytes(CHECKSUM_BYTES)
"""The digest of a history that has no full block."""

_BLOCK_MARK: Final = b"\xc1"
_BLOCK_HEAD_BYTES: Final = len(_BLOCK_MARK) + CHECKSUM_BYTES
_ACCOUNT: Final = Struct(f">QQ{CHECKSUM_BYTES}s")
_BLOCK_NUMBER: Final = Struct(">Q")
_REQUEST_KEY: Final = REQUEST + b"%c%b%b"
"""The row of a request. In one format: it is made for each keyed credit, and `user_prefix` and the
rest take half as long again."""
# What is no UTF-8 is told by an exception of another family.
_UNDECODABLE: Final = (msgspec.DecodeError, UnicodeDecodeError)
_pack = msgspec.msgpack.Encoder().encode
_unpack_head = msgspec.msgpack.Decoder(tuple[int, LogPosition, bytes, int, int, Timestamp]).decode
_unpack_number = msgspec.msgpack.Decoder(int).decode
_Fields = tuple[Micros, Timestamp, IdempotencyKey | None, Reference | None]
"""An entry as it is packed: without its user and its number."""
_unpack_entries = msgspec.msgpack.Decoder(list[_Fields]).decode

Keys = Sequence[IdempotencyKey | None]
"""Of entries, in their order; None for each that has none."""


class Head(NamedTuple):
    """What the snapshot as a whole says of itself."""

    version: int = FORMAT_VERSION
    position: LogPosition = BEGINNING
    """The log position up to which the snapshot is true."""
    digest: bytes = NO_DIGEST
    """The digest of the log record at that position."""
    users: int = 0
    entries: int = 0
    newest: Timestamp = Timestamp(0)
    """The greatest timestamp of all entries. A clock may jump back: it need not be the last one."""


class StoredAccount(NamedTuple):
    """An account's row."""

    balance: Micros
    entries: int
    """How many its history has."""
    digest: bytes
    """The digest of its blocks."""
    tail: bytes
    """The entries behind its last full block, packed."""

    @property
    def blocks(self) -> int:
        """How many full blocks its history has."""
        return self.entries // BLOCK_ENTRIES

    @property
    def summary(self) -> AccountSummary:
        return AccountSummary(self.balance, self.entries)


NO_ACCOUNT: Final = StoredAccount(Micros(0), 0, NO_BLOCKS, b"")


def account_key(user: UserId) -> bytes:
    return ACCOUNT + user.encode()


def user_prefix(kind: bytes, user: UserId) -> bytes:
    """What every key of this kind begins with that is the user's, and no other user's does."""
    encoded = user.encode()
    return b"%b%c%b" % (kind, len(encoded), encoded)


def block_key(user: UserId, block: int) -> bytes:
    return user_prefix(BLOCK, user) + _BLOCK_NUMBER.pack(block)


def request_key(user: UserId, key: IdempotencyKey) -> bytes:
    encoded = user.encode()
    return _REQUEST_KEY % (len(encoded), encoded, key.encode())


def request_keys(requests: Iterable[tuple[UserId, IdempotencyKey]]) -> list[bytes]:
    """The keys of their rows, in the same order."""
    return [
        _REQUEST_KEY % (len(encoded := user.encode()), encoded, key.encode())
        for user, key in requests
    ]


def user_of(key: bytes) -> UserId:
    """The user of an account's key.

    Raises:
        CorruptStore: it is no account's.
    """
    try:
        return UserId(key[1:].decode())
    except UnicodeDecodeError:
        raise CorruptStore(f"the snapshot has a key that is no user's: {key!r}") from None


def pack_head(head: Head) -> bytes:
    return _sealed(HEAD_KEY, _pack(head))


def unpack_head(value: bytes | None) -> Head:
    """The head; that of an empty snapshot where there is none.

    Raises:
        CorruptStore: it is not what was written, or of another format version.
    """
    if value is None:
        return Head()
    version = head_version(value)
    if version != FORMAT_VERSION:
        raise CorruptStore(
            f"the snapshot has format version {version}; "
            f"this program reads version {FORMAT_VERSION}"
        )
    return Head(*_unpack_head(_unsealed(HEAD_KEY, value, "head")))


def head_version(value: bytes) -> int:
    """The format version of a head, whichever it is; 0 where it is none."""
    # Behind the byte that says how many fields there are.
    return value[1] if len(value) > 1 else 0


def pack_account(key: bytes, balance: int, entries: int, digest: bytes, tail: bytes) -> bytes:
    """The value of an account's row.

    Args:
        key: the key of the row.
        balance, entries, digest, tail: as in `StoredAccount`.
    """
    return _sealed(key, _ACCOUNT.pack(balance, entries, digest) + tail)


def unpack_account(key: bytes, value: bytes) -> StoredAccount:
    """
    Raises:
        CorruptStore: it is not what was written under that key.
    """
    body = value[:-CHECKSUM_BYTES]
    # Written out: accounts are read by the ten thousand.
    if _checksum(key + body) != value[-CHECKSUM_BYTES:]:
        raise _spoilt(f"account of user {user_of(key)!r}")
    balance, entries, digest = _ACCOUNT.unpack_from(body)
    return StoredAccount(balance, entries, digest, body[_ACCOUNT.size :])


def pack_entry(entry: Entry) -> bytes:
    """The entry as it is in a tail; a tail is nothing but its entries, one behind the other."""
    return _pack((entry.amount, entry.timestamp, entry.key, entry.reference))


def pack_block(key: bytes, tail: bytes) -> bytes:
    """The value of a block, from its key and the tail that filled it."""
    entries = _array(BLOCK_ENTRIES, tail)
    return _BLOCK_MARK + _checksum(key + entries) + entries


def extended(digest: bytes, block: bytes) -> bytes:
    """The digest of a history's blocks with one more behind them."""
    return _checksum(digest + block)


def unpack_block(
    user: UserId, block: int, value: bytes, first: int = 1, last: int = maxsize
) -> Sequence[Entry]:
    """The entries of a block, of those numbers only.

    Raises:
        CorruptStore: it is not what was written.
    """
    packed = _packed_entries(user, block, value)
    return _unpack(user, block * BLOCK_ENTRIES, BLOCK_ENTRIES, packed, first, last)


def unpack_tail(
    user: UserId, account: StoredAccount, first: int = 1, last: int = maxsize
) -> Sequence[Entry]:
    """The entries of an account's tail, of those numbers only.

    Raises:
        CorruptStore: it is not what was written.
    """
    count = account.entries % BLOCK_ENTRIES
    packed = tail_block(account)
    return _unpack(user, account.entries - count, count, packed, first, last)


def keys_in_block(user: UserId, block: int, value: bytes) -> Keys:
    """The idempotency keys of a block's entries, in order.

    Raises:
        CorruptStore: it is not what was written.
    """
    packed = _packed_entries(user, block, value)
    return _keys(_unpack_fields(user, block * BLOCK_ENTRIES, BLOCK_ENTRIES, packed))


def keys_in_tail(user: UserId, account: StoredAccount) -> Keys:
    """The same of an account's tail."""
    count = account.entries % BLOCK_ENTRIES
    return _keys(_unpack_fields(user, account.entries - count, count, tail_block(account)))


def tail_block(account: StoredAccount) -> bytes:
    """The account's tail as the value of a block that is not full."""
    return _array(account.entries % BLOCK_ENTRIES, account.tail)


def timestamps_in(block: bytes) -> Sequence[Timestamp]:
    """When the entries of a block were made.

    Raises:
        CorruptStore: it is not what was written.
    """
    try:
        return [timestamp for _, timestamp, _, _ in _unpack_entries(block)]
    except _UNDECODABLE:
        raise _unreadable("entries", block) from None


def pack_request(number: int) -> bytes:
    return _pack(number)


def unpack_request(user: UserId, value: bytes) -> int:
    """
    Raises:
        CorruptStore: it is not what was written.
    """
    try:
        return _unpack_number(value)
    except _UNDECODABLE:
        raise _unreadable(f"a request of user {user!r}", value) from None


def _packed_entries(user: UserId, block: int, value: bytes) -> bytes:
    """The entries of a block, without its checksum, which they must match."""
    if not value.startswith(_BLOCK_MARK):
        return value
    checksum, packed = value[len(_BLOCK_MARK) : _BLOCK_HEAD_BYTES], value[_BLOCK_HEAD_BYTES:]
    if _checksum(block_key(user, block) + packed) != checksum:
        raise _spoilt(f"block {block} of user {user!r}")
    return packed


def _unpack(
    user: UserId, before: int, count: int, packed: bytes, first: int, last: int
) -> Sequence[Entry]:
    """Of so many entries, the first of them the one behind entry `before`, those asked for."""
    fields = _unpack_fields(user, before, count, packed)
    skipped = max(first - before - 1, 0)
    sought = fields[skipped : max(last - before, 0)]
    return [
        Entry(user, number, amount, timestamp, key, reference)
        for number, (amount, timestamp, key, reference) in enumerate(sought, before + skipped + 1)
    ]


def _unpack_fields(user: UserId, before: int, count: int, packed: bytes) -> Sequence[_Fields]:
    try:
        fields = _unpack_entries(packed)
    except _UNDECODABLE:
        fields = []
    if len(fields) != count:
        raise _unreadable(f"entries of user {user!r} behind entry {before}", packed)
    return fields


def _keys(fields: Sequence[_Fields]) -> Keys:
    return [key for _, _, key, _ in fields]


def _array(count: int, packed: bytes) -> bytes:
    """A msgpack array of so many items that are packed already."""
    return b"\xdc%b%b" % (count.to_bytes(2), packed)


def _sealed(key: bytes, body: bytes) -> bytes:
    """The value of a row, with its checksum."""
    return body + _checksum(key + body)


def _unsealed(key: bytes, value: bytes, what: str) -> bytes:
    """The value of a row without its checksum, which it must match."""
    body = value[:-CHECKSUM_BYTES]
    if _checksum(key + body) != value[-CHECKSUM_BYTES:]:
        raise _spoilt(what)
    return body


def _checksum(data: bytes) -> bytes:
    return blake2b(data, digest_size=CHECKSUM_BYTES).digest()


def _spoilt(what: str) -> CorruptStore:
    return CorruptStore(f"the snapshot's {what} does not match its checksum")


def _unreadable(what: str, value: bytes) -> CorruptStore:
    return CorruptStore(f"the snapshot cannot be read: {what}: {value[:64]!r}")
