"""Keys and values of the snapshot store.

One tree, sorted by user, so that all that is known of a user lies together:

    len uid 00           account  [balance, count, digest]
    len uid 01 key       request  number of the entry that it made
    len uid 02 number    entry    [amount, timestamp], and the reference where there is one
    00 "head"            head     [format version, position, digest, users, entries]

`len` is one byte (user ids are 1 to 128 bytes), numbers are 8 bytes big-endian, values msgpack.
"""

from struct import Struct
from typing import Final, NamedTuple

from msgpack import packb, unpackb

from ledger_actors.entry import BEGINNING, Entry, LogPosition
from ledger_actors.errors import CorruptStore
from ledger_actors.identity import IdempotencyKey, UserId
from ledger_actors.ports import AccountSummary
from persistence.record import NO_DIGEST

FORMAT_VERSION: Final = 1
HEAD_KEY: Final = b"\0head"
ACCOUNT: Final = b"\0"
REQUEST: Final = b"\1"
ENTRY: Final = b"\2"
_NUMBER: Final = Struct(">Q")


class Head(NamedTuple):
    """What the snapshot as a whole says of itself."""

    version: int = FORMAT_VERSION
    position: LogPosition = BEGINNING
    """The log position up to which the snapshot is true."""
    digest: bytes = NO_DIGEST
    """The digest of the log record at that position."""
    users: int = 0
    entries: int = 0


def user_prefix(user: UserId) -> bytes:
    """What every key of the user begins with, and no other user's key does."""
    encoded = user.encode()
    return b"%c%b" % (len(encoded), encoded)


def account_key(user: UserId) -> bytes:
    return user_prefix(user) + ACCOUNT


def request_key(user: UserId, key: IdempotencyKey) -> bytes:
    return user_prefix(user) + REQUEST + key.encode()


def entry_key(user: UserId, number: int) -> bytes:
    return user_prefix(user) + ENTRY + _NUMBER.pack(number)


def split_key(key: bytes) -> tuple[UserId, bytes, bytes]:
    """User, kind and the rest of a key.

    Raises:
        CorruptStore: it is no key of a user.
    """
    end = 1 + key[0] if key else 0
    kind = key[end : end + 1]
    if end < 2 or kind not in (ACCOUNT, REQUEST, ENTRY):
        raise CorruptStore(f"the snapshot has a key that means nothing: {key!r}")
    try:
        return UserId(key[1:end].decode()), kind, key[end + 1 :]
    except UnicodeDecodeError:
        raise CorruptStore(f"the snapshot has a key that is no user's: {key!r}") from None


def number_of(rest: bytes) -> int:
    """The number in an entry's key, from the part behind its kind."""
    if len(rest) != _NUMBER.size:
        raise CorruptStore(f"the snapshot has an entry without a number: {rest!r}")
    number: int = _NUMBER.unpack(rest)[0]
    return number


def pack_head(head: Head) -> bytes:
    return _pack(head)


def unpack_head(value: bytes | None) -> Head:
    """The head; that of an empty snapshot where there is none.

    Raises:
        CorruptStore: it is not what was written, or of another format version.
    """
    if value is None:
        return Head()
    try:
        version, *fields = unpackb(value)
        if version == FORMAT_VERSION:
            return Head(version, *fields)
    except (ValueError, TypeError):
        raise _unreadable("its head", value) from None
    raise CorruptStore(
        f"the snapshot has format version {version}; this program reads version {FORMAT_VERSION}"
    )


def pack_account(summary: AccountSummary) -> bytes:
    return _pack(summary)


def unpack_account(user: UserId, value: bytes) -> AccountSummary:
    try:
        balance, count, digest = unpackb(value)
    except (ValueError, TypeError):
        raise _unreadable(f"the account of user {user!r}", value) from None
    return AccountSummary(balance, count, digest)


def pack_entry(entry: Entry) -> bytes:
    if entry.reference is None:
        return _pack((entry.amount, entry.timestamp))
    return _pack((entry.amount, entry.timestamp, entry.reference))


def unpack_entry(
    user: UserId, number: int, value: bytes, key: IdempotencyKey | None = None
) -> Entry:
    try:
        amount, timestamp, *reference = unpackb(value)
        return Entry(user, number, amount, timestamp, key, *reference)
    except (ValueError, TypeError):
        raise _unreadable(f"entry {number} of user {user!r}", value) from None


def pack_request(number: int) -> bytes:
    return _pack(number)


def unpack_request(user: UserId, value: bytes) -> int:
    try:
        number = unpackb(value)
    except ValueError:
        number = None
    if not isinstance(number, int):
        raise _unreadable(f"a request of user {user!r}", value)
    return number


def _pack(value: object) -> bytes:
    packed: bytes = packb(value)
    return packed


def _unreadable(what: str, value: bytes) -> CorruptStore:
    return CorruptStore(f"the snapshot cannot be read: {what}: {value[:64]!r}")
