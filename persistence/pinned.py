"""A log and a snapshot as they were at one moment, also while a server goes on writing them."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial

import lmdb

from ledger_actors.entry import LogPosition
from ledger_actors.errors import CorruptStore, LogCut
from persistence.data_directory import DataDirectory
from persistence.environment import begin_known, open_for_reading, trusted_to_be_readable
from persistence.errors import StoreError
from persistence.high_water_mark import check_marked, read_mark
from persistence.log_environment import hidden_values
from persistence.log_reader import digest_at, first_position, last_position
from persistence.meta_page import Meta
from persistence.pages import check_pages
from persistence.recovery import check_digest, check_reach
from persistence.roll_forward import hidden_records
from persistence.snapshot_store import SnapshotView

ATTEMPTS_MAX = 10


@dataclass(frozen=True, slots=True)
class PinnedStore:
    """Read transactions on both; they hold what they see until they are closed."""

    log_environment: lmdb.Environment
    log: "lmdb.Transaction[bytes]"
    snapshot_environment: lmdb.Environment
    snapshot: SnapshotView

    @property
    def first(self) -> LogPosition:
        return first_position(self.log)

    @property
    def last(self) -> LogPosition:
        return last_position(self.log)


@contextmanager
def pinned(directory: DataDirectory) -> Iterator[PinnedStore]:
    """
    Raises:
        CorruptStore: log and snapshot are not of one store, or a page of them, also one that is
            looked at within the block, is not what was written.
        StoreError: the log has to be rolled forward first.
    """
    with trusted_to_be_readable(directory.path), ExitStack() as stack:
        log_environment = open_for_reading(directory.log)
        stack.callback(log_environment.close)
        snapshot_environment = open_for_reading(directory.snapshot)
        stack.callback(snapshot_environment.close)
        for attempt in range(ATTEMPTS_MAX):
            # A server may move it on: read before, it cannot be ahead of the log that is seen.
            mark = read_mark(directory.log)
            log, meta = begin_known(directory.log, log_environment)
            snapshot = SnapshotView(snapshot_environment)
            try:
                check_pages(directory.log / "data.mdb", meta)
                check_marked(mark, log)
                check_reach(last_position(log), snapshot.head)
                check_digest(digest_at(log, snapshot.position), snapshot.head)
            except (CorruptStore, LogCut) as error:
                # A snapshot that was finished between the two looks is ahead of the log seen.
                again = attempt + 1 < ATTEMPTS_MAX and isinstance(error, CorruptStore)
                try:
                    if not again:
                        wanted = max(mark.position, snapshot.position)
                        # A log whose pages lead astray hides nothing: the error has the page.
                        with suppress(lmdb.Error):
                            _refuse_hidden(directory, log, meta, wanted)
                        raise CorruptStore(str(error)) from None
                finally:
                    log.abort()
                    snapshot.abort()
                continue
            stack.callback(log.abort)
            stack.callback(snapshot.abort)
            yield PinnedStore(log_environment, log, snapshot_environment, snapshot)
            return


def _refuse_hidden(
    directory: DataDirectory, log: "lmdb.Transaction[bytes]", meta: Meta, wanted: LogPosition
) -> None:
    """
    Args:
        wanted: how far the log must reach.

    Raises:
        StoreError: it does, with records that LMDB does not tell of, and that a start takes in.
    """
    last = last_position(log)
    if last >= wanted:
        return
    hidden = hidden_records(partial(hidden_values, directory.log, meta), last, digest_at(log, last))
    if hidden and hidden[-1].position >= wanted:
        raise StoreError(
            f"{directory.path} lost power while it was served: its newest records are in its log, "
            "but are not taken in before the server is started again"
        )
