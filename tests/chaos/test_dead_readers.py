"""A reader that was killed leaves its mark in LMDB's table of readers; it must not stay there.

It may be a snapshotter, or `bitburst verify`. Its mark keeps pages from being used again, and
takes one of the table's 126 places.
"""

import subprocess
import sys
from pathlib import Path

from ledger_actors.entry import BEGINNING, Batch, Entry, Timestamp
from ledger_actors.identity import ShardId, UserId
from ledger_actors.money import Micros
from persistence.environment import INITIAL_BYTES
from persistence.log_store import LogStore

COMMITS = 300
ENTRIES_PER_COMMIT = 1000
READERS = 130
TIMEOUT_S = 60

READ_AND_DIE = """
import os, signal, sys
from pathlib import Path
from persistence.environment import begin_reading, open_for_reading
for _ in range(int(sys.argv[2])):
    child = os.fork()
    if child == 0:
        transaction = begin_reading(open_for_reading(Path(sys.argv[1])))
        os.kill(os.getpid(), signal.SIGKILL)
    assert os.WIFSIGNALED(os.waitpid(child, 0)[1])
"""


def test_killed_reader_does_not_make_the_log_grow(tmp_path: Path) -> None:
    log = LogStore(tmp_path)
    log.commit([])
    _read_and_die(tmp_path, 1)
    for _ in range(COMMITS):
        log.commit([_batch()])
        log.cut(log.last)
    assert log.reserved_bytes == INITIAL_BYTES
    log.close()


def test_killed_readers_do_not_fill_the_table_of_readers(tmp_path: Path) -> None:
    LogStore(tmp_path).close()
    _read_and_die(tmp_path, READERS)
    log = LogStore(tmp_path)
    assert log.read(BEGINNING, 1) == []
    log.close()


def _batch() -> Batch:
    entry = Entry(UserId("u" * 128), 1, Micros(1), Timestamp(1), None)
    return Batch(ShardId(0), [entry] * ENTRIES_PER_COMMIT)


def _read_and_die(path: Path, readers: int) -> None:
    command = [sys.executable, "-c", READ_AND_DIE, str(path), str(readers)]
    subprocess.run(command, check=True, timeout=TIMEOUT_S)
