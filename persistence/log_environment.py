"""The write-ahead log's LMDB environment: one sync a commit, and a way to find what that may hide.

A commit syncs the pages of its record, and then writes the meta page that tells of it, which the
sync of the next commit takes along (MDB_NOMETASYNC in lmdb.h): a sync of its own would take as long
as that of the pages. So a loss of power may leave a file in which LMDB takes the commit before the
newest for the newest. A commit never writes over pages of the two before it: the tree of the older
one is whole, and the newest record is in pages that seem free.
"""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec

from ledger_actors.errors import CorruptStore
from persistence.environment import Environment
from persistence.errors import DiskFull, StoreError
from persistence.meta_page import Meta, read_metas
from persistence.pages import values_in_any_page
from persistence.store_description import write_whole

ASIDE_NAME: Final = "rolled-forward"
_aside = msgspec.msgpack.Decoder(list[bytes])


class LogEnvironment(Environment):
    """An `Environment` whose newest commit may have to be found again."""

    def __init__(self, path: Path) -> None:
        """Raises: as `Environment`."""
        super().__init__(path, metasync=False)

    def hidden_values(self, key: bytes) -> Iterator[bytes]:
        """As the function of that name."""
        _, newest = read_metas(self._path / "data.mdb")
        return hidden_values(self._path, newest, key)

    def set_aside(self, values: Sequence[bytes]) -> None:
        """Makes a durable copy of values that were hidden, before a commit may write over them.

        Raises:
            DiskFull: there is no room for it.
        """
        aside = self._path / ASIDE_NAME
        try:
            # There may be one: power was lost before what it has was taken in.
            write_whole(aside, msgspec.msgpack.encode(values))
        except OSError as error:
            raise DiskFull(f"cannot write {aside}: {error.strerror}") from None

    def sync(self) -> None:
        """Makes what tells of the newest commit durable as well; what was set aside may go.

        Raises:
            lmdb.Error: nobody knows whether it is durable.
        """
        self.lmdb.sync(force=True)
        with suppress(FileNotFoundError):
            (self._path / ASIDE_NAME).unlink()


def hidden_values(path: Path, meta: Meta, key: bytes) -> Iterator[bytes]:
    """What may have been written under a key that the log in that directory does not have.

    Some of it may be old, or not whole: LMDB does not vouch for it.

    Raises:
        StoreError: a file cannot be read.
        CorruptStore: what was set aside is not what was written.
    """
    try:
        yield from _aside.decode((path / ASIDE_NAME).read_bytes())
    except FileNotFoundError:
        pass
    except msgspec.DecodeError as error:
        raise CorruptStore(f"{path / ASIDE_NAME} is not what was written: {error}") from None
    except OSError as error:
        raise StoreError(f"cannot read {path / ASIDE_NAME}: {error.strerror}") from None
    yield from values_in_any_page(path / "data.mdb", meta, key)
