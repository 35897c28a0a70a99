"""The snapshotter: a process that folds the log into the snapshot store.

Run by the server as `python -m persistence.snapshotter LOG SNAPSHOT`. It shares no interpreter
lock with the server, and lets others go first. For each line on its standard input, `fold SHARE`,
it folds what follows the store, in one transaction, and answers with one JSON line:
`{"position": 12}` or `{"error": "…"}`. SHARE is that of the processor which it takes though others
want it; while it folds, `share SHARE` sets another.
"""

import gc
import json
import os
import signal
import sys
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Final

import lmdb

from ledger_actors.entry import Entry
from ledger_actors.errors import LedgerError
from persistence.courtesy import Courtesy
from persistence.environment import begin_reading, open_for_reading
from persistence.errors import StoreError
from persistence.folding import release
from persistence.log_reader import read_some
from persistence.orders import Orders
from persistence.snapshot_store import SnapshotWriter

ENTRIES_PER_TRANSACTION: Final = 200_000
"""At least, where there are as many. Fewer would take longer for each, and more of the disk: a
transaction writes a row of each user that it meets."""
NICENESS: Final = 3
"""On a core that is never idle: a third of it at most."""


def fold_next(
    log: lmdb.Environment,
    snapshots: SnapshotWriter,
    give_way: Callable[[], object] = lambda: None,
    entries_min: int = ENTRIES_PER_TRANSACTION,
) -> bool:
    """Folds what of the log follows the store, in one transaction; False where nothing does.

    Args:
        give_way: called after each record that is read.
        entries_min: what is read ends with the record that reaches it.

    Raises:
        DiskFull: there is no room; the store is as it was.
        CorruptStore, LogCut: the log does not follow the store.
    """
    while True:
        head = snapshots.head()
        with begin_reading(log) as transaction:
            records = deque(read_some(transaction, head.position, entries_min, give_way))
        if not records:
            return False
        last = records[-1]
        entries: list[Entry] = []
        while records:
            entries += records.popleft().record.entries
            give_way()
        folded = snapshots.fold(head.position, entries, last.record.position, last.digest)
        release(entries, give_way)
        if folded:
            return True


def serve(log_path: Path, snapshot_path: Path) -> None:
    """Answers standard input until it ends, as it does when the server ends, however it ends."""
    server = os.getppid()
    log = open_for_reading(log_path)
    orders = Orders(sys.stdin.fileno())
    courtesy = Courtesy(orders.share)
    snapshots = SnapshotWriter(snapshot_path, give_way=courtesy)
    while orders.next_fold():
        try:
            # One transaction: then memory may forget what it has, before there is more.
            fold_next(log, snapshots, courtesy)
            if os.getppid() != server:
                return
            answer: dict[str, object] = {"position": snapshots.head().position}
        except (LedgerError, StoreError) as error:
            answer = {"error": str(error)}
        except (lmdb.Error, OSError) as error:
            # The disk failed: this process ends, and the next one begins with what is on disk.
            print(json.dumps({"error": str(error)}), flush=True)
            return
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    # The terminal's interrupt is for the server, which ends this process itself.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # What a fold makes has no cycles; looking for them takes a tenth of the time.
    gc.disable()
    os.nice(NICENESS)
    serve(Path(sys.argv[1]), Path(sys.argv[2]))
