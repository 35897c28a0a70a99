"""API keys: who may ask for what. The file has their hashes, never the keys themselves.

A key is 256 random bits, so there is nothing to guess or to look up in a table: one SHA-256 of it
is as good as a slow hash, which is for what people think up.
"""

import fcntl
import os
import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from hashlib import sha256
from hmac import compare_digest
from pathlib import Path
from typing import Final

import msgspec

from api.problems import Unauthenticated
from api.token_bucket import RATE_MAX, Rate
from ledger_actors.identity import USER_ID_BYTES_MAX
from persistence.environment import sync_directory
from persistence.errors import StoreError

READ: Final = 1
"""Balances, histories, what became of a request, and, without a prefix, the metrics."""
WRITE: Final = 2
"""Credits, one by one and in bulk. It does not let anyone read."""
ADMIN: Final = 4
"""What shows how the server does: the metrics. It neither reads accounts nor credits them."""
SCOPES: Final = {"read": READ, "write": WRITE, "admin": ADMIN}

FILE_NAME: Final = "keys.json"
FORMAT_VERSION: Final = 1
FILE_BYTES_MAX: Final = 8 * 1024 * 1024
KEYS_MAX: Final = 10_000
NAME_CHARACTERS_MAX: Final = 100
ID_BYTES: Final = 6
SECRET_BYTES: Final = 32
_TOKEN: Final = re.compile(rb"bb_([0-9a-f]{12})_[A-Za-z0-9_-]{43}")
_NO_DIGEST: Final = bytes(32)
_OWNER_ONLY: Final = 0o600


class ApiKey(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What the file says of a key."""

    id: str
    """Shown in lists and logs; it opens nothing."""
    sha256: str
    """Of the key, in hexadecimal."""
    scopes: tuple[str, ...]
    created: datetime
    name: str = ""
    """What people call it."""
    user_prefix: str | None = None
    """It is good for users whose id begins so, and for no other."""
    expires: datetime | None = None
    rate: float | None = None
    """Requests, or credits, a second that it may make; instead of what the settings say."""
    burst: int | None = None

    @property
    def scope_bits(self) -> int:
        return sum({SCOPES[scope] for scope in self.scopes})

    @property
    def own_rate(self) -> Rate | None:
        return None if self.rate is None else Rate.of(self.rate, self.burst)

    def expired(self, now: datetime) -> bool:
        return self.expires is not None and self.expires <= now


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    format: int
    keys: tuple[ApiKey, ...]


class KeyRing:
    """The keys that are good now, by their ids."""

    def __init__(self, keys: Sequence[ApiKey]) -> None:
        self._keys = {key.id: (key, bytes.fromhex(key.sha256)) for key in keys}

    def find(self, token: bytes) -> ApiKey:
        """The key that this is, whole, as its holder sends it.

        It takes as long for a wrong key as for one whose id nobody has.

        Raises:
            Unauthenticated: it is none of these.
        """
        matched = _TOKEN.fullmatch(token)
        if matched is None:
            raise Unauthenticated("this is no API key of this server", sent=True)
        key, digest = self._keys.get(matched[1].decode(), (None, _NO_DIGEST))
        if not compare_digest(sha256(token).digest(), digest) or key is None:
            raise Unauthenticated("this is no API key of this server", sent=True)
        return key


def make_key(
    random_id: bytes,
    random_secret: str,
    created: datetime,
    scopes: Sequence[str],
    **optional: object,
) -> tuple[ApiKey, str]:
    """A key as the file has it, and the key itself, which is nowhere else.

    Args:
        random_id: `ID_BYTES` of them.
        random_secret: `SECRET_BYTES` in base64url without padding.
    """
    id_ = random_id.hex()
    token = f"bb_{id_}_{random_secret}"
    assert _TOKEN.fullmatch(token.encode()), "a key that could not be recognised"
    fields = {"id": id_, "sha256": sha256(token.encode()).hexdigest(), "created": created}
    return _checked(msgspec.convert({**fields, "scopes": tuple(scopes), **optional}, ApiKey)), token


def read_keys(path: Path) -> Sequence[ApiKey] | None:
    """The keys in that file, also those that have expired; None where there is no file.

    Raises:
        StoreError: it cannot be read, or is not what `bitburst keys` writes.
    """
    try:
        with path.open("rb") as file:
            text = file.read(FILE_BYTES_MAX + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StoreError(f"cannot read the API keys in {path}: {error.strerror}") from None
    try:
        found = msgspec.json.decode(text, type=_File)
        if found.format != FORMAT_VERSION:
            raise ValueError(f"format {found.format}, where {FORMAT_VERSION} is read")
        if len(found.keys) > KEYS_MAX:
            raise ValueError(f"more than {KEYS_MAX} keys")
        if len({key.id for key in found.keys}) != len(found.keys):
            raise ValueError("an id twice")
        return [_checked(key) for key in found.keys]
    except ValueError as error:
        raise StoreError(f"{path} is no file of API keys: {error}") from None


def change_keys(path: Path, change: Callable[[Sequence[ApiKey]], Sequence[ApiKey]]) -> None:
    """Changes the file, whole or not at all; only its owner may read it. Who comes meanwhile waits.

    Raises:
        StoreError: the file cannot be read or written, or would hold too many keys.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = os.open(path.with_name(path.name + ".lock"), os.O_RDWR | os.O_CREAT, _OWNER_ONLY)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            keys = tuple(change(read_keys(path) or ()))
            if len(keys) > KEYS_MAX:
                raise StoreError(f"there can be at most {KEYS_MAX} API keys; revoke some")
            _write(path, msgspec.json.format(msgspec.json.encode(_File(FORMAT_VERSION, keys))))
        finally:
            os.close(lock)
    except OSError as error:
        raise StoreError(f"cannot write the API keys to {path}: {error.strerror}") from None


def _write(path: Path, text: bytes) -> None:
    unfinished = path.with_name(path.name + ".unfinished")
    unfinished.unlink(missing_ok=True)
    file = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _OWNER_ONLY)
    with open(file, "wb") as opened:
        opened.write(text + b"\n")
        opened.flush()
        os.fsync(file)
    unfinished.rename(path)
    sync_directory(path.parent)


def _checked(key: ApiKey) -> ApiKey:
    """
    Raises:
        ValueError: what the types do not say is wrong.
    """
    unknown = set(key.scopes) - SCOPES.keys()
    if unknown or not key.scopes:
        raise ValueError(f"key {key.id}: scopes are {', '.join(SCOPES)}")
    if not re.fullmatch("[0-9a-f]{12}", key.id) or not re.fullmatch("[0-9a-f]{64}", key.sha256):
        raise ValueError("an id is 12, a hash 64 hexadecimal digits")
    if len(key.name) > NAME_CHARACTERS_MAX or not key.name.isprintable():
        raise ValueError(f"key {key.id}: its name must be printable, and short")
    prefix = key.user_prefix
    if prefix is not None and not 1 <= len(prefix.encode()) <= USER_ID_BYTES_MAX:
        raise ValueError(f"key {key.id}: a prefix of users is 1 to {USER_ID_BYTES_MAX} bytes")
    if key.created.tzinfo is None or (key.expires is not None and key.expires.tzinfo is None):
        raise ValueError(f"key {key.id}: a time must say its zone")
    if key.rate is None and key.burst is not None:
        raise ValueError(f"key {key.id}: a burst needs a rate")
    if key.rate is not None and not 0 < key.rate <= RATE_MAX:
        raise ValueError(f"key {key.id}: a rate is above 0, at most {RATE_MAX:g}")
    if key.burst is not None and key.burst < 1:
        raise ValueError(f"key {key.id}: a burst is 1 at least")
    return key


def now_utc() -> datetime:
    """The time that keys are made and expire by."""
    return datetime.now(UTC)
