"""A store that is made from a snapshot and log records, which may be far more than memory holds."""

from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import Final

from ledger_actors.entry import LogPosition
from persistence.data_directory import log_path, snapshot_path
from persistence.environment import open_for_reading, sync_file
from persistence.log_store import LogStore
from persistence.record import SealedRecord
from persistence.snapshot_store import SnapshotWriter
from persistence.snapshotter import fold_next

COMMIT_BYTES: Final = 8 * 1024 * 1024
"""Records that are committed together."""
FOLD_BYTES: Final = 32 * 1024 * 1024
"""Records behind the snapshot that are left for the server to replay; more are folded."""


class RebuiltStore:
    """The store in a directory that holds none yet; whoever makes it says when it is one."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._log: LogStore | None = None
        self._waiting: list[SealedRecord] = []
        self._waiting_bytes = 0
        self._tail_bytes = 0

    def begin(self, snapshot: Iterable[bytes]) -> None:
        """Writes the snapshot; the log is empty."""
        part = snapshot_path(self._path)
        part.mkdir()
        with (part / "data.mdb").open("wb") as file:
            file.writelines(snapshot)
        sync_file(part / "data.mdb")
        self._log = LogStore(log_path(self._path))

    def add(self, record: SealedRecord) -> None:
        """Adds the next record; the first is the one that the snapshot was made at, if any.

        Raises:
            CorruptStore: it does not follow the one before it, or cannot be folded.
        """
        self._waiting.append(record)
        self._waiting_bytes += len(record.value)
        if self._waiting_bytes >= COMMIT_BYTES:
            self._commit()
            if self._tail_bytes >= FOLD_BYTES:
                self._fold()

    def finish(self) -> LogPosition:
        """Makes durable what was added, and returns the position of the last record."""
        self._commit()
        assert self._log is not None
        position = self._log.last
        self.close()
        return position

    def close(self) -> None:
        if self._log is not None:
            self._log.close()
            self._log = None

    def _commit(self) -> None:
        assert self._log is not None
        self._log.adopt(self._waiting)
        self._tail_bytes += self._waiting_bytes
        self._waiting = []
        self._waiting_bytes = 0

    def _fold(self) -> None:
        """Folds the whole log, and cuts it."""
        # LMDB must not have an environment open twice in a process.
        self.close()
        with (
            closing(open_for_reading(log_path(self._path))) as log,
            closing(SnapshotWriter(snapshot_path(self._path))) as snapshot,
        ):
            while fold_next(log, snapshot):
                pass
            position = snapshot.head().position
        self._log = LogStore(log_path(self._path))
        self._log.cut(position)
        while self._log.cut_pending:
            self._log.tidy()
        self._tail_bytes = 0
