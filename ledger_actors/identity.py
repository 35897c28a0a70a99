"""Who a credit is for, which request it came from, and where it belongs."""

from collections.abc import Iterable
from typing import Final, NewType, cast
from zlib import crc32

from ledger_actors.errors import InvalidIdempotencyKey, InvalidReference, InvalidUser

UserId = NewType("UserId", str)
IdempotencyKey = NewType("IdempotencyKey", str)
Reference = NewType("Reference", str)
"""What the caller calls the transaction; the ledger keeps it and makes nothing of it."""
ShardId = NewType("ShardId", int)

USER_ID_BYTES_MAX: Final = 128
IDEMPOTENCY_KEY_CHARACTERS_MAX: Final = 255
REFERENCE_BYTES_MAX: Final = 255


def user_id(text: str) -> UserId:
    """The text as a user id.

    Raises:
        InvalidUser: it is empty, is no UTF-8, or is longer than `USER_ID_BYTES_MAX` bytes.
    """
    try:
        length = len(text.encode())
    except UnicodeEncodeError:
        raise InvalidUser("user id must be UTF-8") from None
    if not 1 <= length <= USER_ID_BYTES_MAX:
        raise InvalidUser(f"user id must be 1 to {USER_ID_BYTES_MAX} bytes of UTF-8, not {length}")
    return UserId(text)


def idempotency_key(text: str) -> IdempotencyKey:
    """The text as an idempotency key.

    Raises:
        InvalidIdempotencyKey: it is not 1 to 255 characters of printable ASCII.
    """
    if not 1 <= len(text) <= IDEMPOTENCY_KEY_CHARACTERS_MAX:
        raise InvalidIdempotencyKey(
            "idempotency key must be 1 to "
            f"{IDEMPOTENCY_KEY_CHARACTERS_MAX} characters long, not {len(text)}"
        )
    if not (text.isascii() and text.isprintable()):
        raise InvalidIdempotencyKey("idempotency key must be printable ASCII")
    return IdempotencyKey(text)


def reference(text: str) -> Reference:
    """The text as a reference.

    Raises:
        InvalidReference: it is empty, is no UTF-8, or is longer than `REFERENCE_BYTES_MAX` bytes.
    """
    try:
        length = len(text.encode())
    except UnicodeEncodeError:
        raise InvalidReference("reference must be UTF-8") from None
    if not 1 <= length <= REFERENCE_BYTES_MAX:
        raise InvalidReference(
            f"reference must be 1 to {REFERENCE_BYTES_MAX} bytes of UTF-8, not {length}"
        )
    return Reference(text)


def shard_of(user: UserId, shards: int) -> ShardId:
    """The shard that owns the user, of that many. It is the same on every machine, for ever."""
    return ShardId(crc32(user.encode()) % shards)


def shards_of(users: Iterable[UserId], shards: int) -> list[ShardId]:
    """`shard_of` each of these users. Written out: a bulk asks for thousands."""
    return cast(list[ShardId], [crc32(user.encode()) % shards for user in users])
