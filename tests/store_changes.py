"""Damage to a store that no server uses."""

from collections.abc import Callable
from pathlib import Path

import lmdb


def change(part: Path, key: bytes, changed: Callable[[bytes], bytes | None]) -> None:
    """Puts what `changed` makes of the value there; deletes it where that is None."""
    with lmdb.open(str(part)) as environment, environment.begin(write=True) as transaction:
        value = transaction.get(key)
        assert value is not None
        new = changed(value)
        assert transaction.delete(key) if new is None else transaction.put(key, new)


def spoil(value: bytes) -> bytes:
    """The value with one bit of it changed."""
    middle = len(value) // 2
    return value[:middle] + bytes((value[middle] ^ 1,)) + value[middle + 1 :]
