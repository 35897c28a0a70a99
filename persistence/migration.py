"""Brings a store of an older format version up to date, after keeping it as it was.

1. The old store is copied, whole, to `format-N/` in its directory. Until that is durable, nothing
   of the store is changed.
2. `store.json` gets the new version, and names the old one as `migrating_from`. From here on no
   program takes the store for one or the other: the old program refuses it, and the new one goes
   on with the migration.
3. Each step brings what the version before it had up to date. It may be made again after it was
   broken off, and where it was finished it changes nothing.
4. `store.json` is written without `migrating_from`.
"""

import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final

import lmdb
import msgspec

from ledger_actors.entry import LogPosition, Timestamp
from ledger_actors.errors import CorruptStore
from persistence.data_directory import check_parts, log_path, snapshot_path
from persistence.environment import (
    Environment,
    begin_reading,
    open_for_reading,
    sync_directory,
    sync_file,
    trusted_to_be_readable,
)
from persistence.errors import StoreError, StoreNotFound
from persistence.snapshot_format import (
    ACCOUNT,
    BLOCK,
    HEAD_KEY,
    Head,
    head_version,
    pack_head,
    tail_block,
    timestamps_in,
    unpack_account,
)
from persistence.store_description import (
    DESCRIPTION,
    FORMAT_VERSION,
    Description,
    new_store_id,
    read_description,
    write_description,
)

_unpack_head_of_version_1 = msgspec.msgpack.Decoder(tuple[int, LogPosition, bytes, int, int]).decode

Announce = Callable[[str, int], None]
"""Told what has become durable, and from which version: kept, begun, done."""


def migrate(path: Path, announce: Announce = lambda what, version: None) -> bool:
    """Brings the store in that directory up to date; False where there is nothing to do.

    Nobody else may use the directory.

    Raises:
        StoreMismatch: the store is of a newer format version.
        StoreError: there is no room, or a file cannot be read or written; the next attempt goes on.
        CorruptStore: the store is not what was written.
    """
    try:
        described = read_description(path)
    except StoreNotFound:
        return False
    if described.format == FORMAT_VERSION and described.migrating_from is None:
        return False
    check_parts(path)
    try:
        if described.migrating_from is None:
            described = _begin(path, described, announce)
        assert described.migrating_from is not None
        upgrade(path, described.migrating_from)
        done = Description(FORMAT_VERSION, described.shards, described.id)
        write_description(path, done)
        announce("done", described.migrating_from)
    except (OSError, lmdb.Error) as error:
        raise StoreError(
            f"cannot migrate {path} from format version {described.format}: {error}"
        ) from None
    return True


def upgrade(path: Path, version: int) -> None:
    """Takes log and snapshot through the steps that follow that version.

    Raises:
        DiskFull, OSError, lmdb.Error: a step could not be made; it can be tried again.
        CorruptStore: the store is not what was written.
    """
    for before in range(version, FORMAT_VERSION):
        STEPS[before](path)


def _begin(path: Path, old: Description, announce: Announce) -> Description:
    """Keeps the old store, and marks that its migration has begun."""
    _keep(path, old.format)
    announce("kept", old.format)
    begun = Description(FORMAT_VERSION, old.shards, old.id or new_store_id(), old.format)
    write_description(path, begun)
    announce("begun", old.format)
    return begun


def _keep(path: Path, version: int) -> None:
    """Copies the store into a directory of its own, which is there when the copy is durable."""
    kept = path / f"format-{version}"
    unfinished = kept.with_name(kept.name + ".unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir()
    try:
        for part in (log_path(path), snapshot_path(path)):
            copied = unfinished / part.name
            copied.mkdir()
            environment = open_for_reading(part)
            try:
                environment.copy(str(copied), compact=True)
            finally:
                environment.close()
            sync_file(copied / "data.mdb")
        shutil.copyfile(path / DESCRIPTION, unfinished / DESCRIPTION)
        sync_file(unfinished / DESCRIPTION)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise
    # What an attempt left that went no further; the store may have been used since.
    shutil.rmtree(kept, ignore_errors=True)
    unfinished.rename(kept)
    sync_directory(path)


def _note_newest_timestamp(path: Path) -> None:
    """From version 1 to 2: the snapshot's head says when its newest entry was made, and has a
    checksum. Blocks stay as they are: version 2 reads those without a checksum as well."""
    snapshot = snapshot_path(path)
    environment = Environment(snapshot)
    try:
        with trusted_to_be_readable(snapshot), begin_reading(environment.lmdb) as transaction:
            value = transaction.get(HEAD_KEY)
            if value is None or head_version(value) > 1:
                return
            newest = max(_timestamps(transaction), default=0)
        _, position, digest, users, entries = _unpack_head_of_version_1(value)
        head = Head(2, position, digest, users, entries, Timestamp(newest))
        _put(environment, HEAD_KEY, pack_head(head))
    except msgspec.DecodeError:
        raise CorruptStore(f"the head of {snapshot} is not what was written") from None
    finally:
        environment.close()


def _timestamps(transaction: "lmdb.Transaction[bytes]") -> Iterator[Timestamp]:
    with transaction.cursor() as cursor:
        cursor.set_range(ACCOUNT)
        for key, value in cursor:
            if key.startswith(ACCOUNT):
                yield from timestamps_in(tail_block(unpack_account(key, value)))
            elif key.startswith(BLOCK):
                yield from timestamps_in(value)
            else:
                return


def _put(environment: Environment, key: bytes, value: bytes) -> None:
    while True:
        try:
            with environment.lmdb.begin(write=True) as transaction:
                transaction.put(key, value)
            return
        except lmdb.MapFullError:
            environment.grow(len(value))


STEPS: Final[Mapping[int, Callable[[Path], None]]] = {1: _note_newest_timestamp}
"""What brings a store from each version to the next."""
