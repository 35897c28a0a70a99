"""Small stores of everything that a store can hold, and what must be read from them.

Those of each format version are kept in `corpus/`: `format-1-folded.tar.xz`, of which most is in
the snapshot, `format-1-unfolded.tar.xz`, of which nothing is, and, in `format-1.json`, what both
hold. They are never written again; a new format version adds its own:

    python tests/persistence/store_corpus.py tests/persistence/corpus
"""

import io
import json
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Any

import lmdb

from ledger_actors.entry import Batch, Entry, LogPosition, Timestamp
from ledger_actors.identity import IdempotencyKey, Reference, ShardId, UserId, shard_of
from ledger_actors.money import Micros
from persistence.data_directory import create_data_directory
from persistence.log_store import LogStore
from persistence.store_description import FORMAT_VERSION, StoreId

CORPUS = Path(__file__).parent / "corpus"
KINDS = ("folded", "unfolded")
SHARDS = 8
STORE_ID = StoreId("c0" * 16)
START = 1_700_000_000_000_000
ENTRIES_PER_RECORD = 9
RECORDS = 14
FOLDED_RECORDS = 9
PROBE = 5
"""The position of a record without entries."""
USERS = ("ann", "ünï-çödé", "\0", "x" * 128, "a", "ab")


def records() -> list[list[Entry]]:
    """The entries of each record: keys, references, neither, and a clock that jumps back once."""
    counts: dict[str, int] = {}
    written: list[list[Entry]] = []
    made = 0
    for position in range(1, RECORDS + 1):
        entries = []
        for _ in range(0 if position == PROBE else ENTRIES_PER_RECORD):
            made += 1
            # Half of all are the first user's, so that some blocks are full.
            user = USERS[0 if made % 2 else made // 2 % len(USERS)]
            counts[user] = counts.get(user, 0) + 1
            back = 5_000_000 if position == FOLDED_RECORDS - 1 else 0
            entries.append(
                Entry(
                    UserId(user),
                    counts[user],
                    Micros(made * 1_000_003),
                    Timestamp(START + made * 1_000_000 - back),
                    IdempotencyKey(f"key {made}") if made % 3 else None,
                    Reference(f"order № {made}") if made % 4 == 0 else None,
                )
            )
        written.append(entries)
    return written


def write_store(data_dir: Path, kind: str) -> None:
    """A store of that kind; what is folded is cut from the log."""
    directory = create_data_directory(data_dir, SHARDS, lambda: STORE_ID)
    log = LogStore(directory.log)
    for position, entries in enumerate(records(), 1):
        log.commit(batches_of(entries))
        if position == FOLDED_RECORDS and kind == "folded":
            _fold(directory.log, directory.snapshot)
            log.cut(LogPosition(FOLDED_RECORDS))
    log.close()


def batches_of(entries: list[Entry]) -> list[Batch]:
    by_shard: dict[ShardId, list[Entry]] = {}
    for entry in entries:
        by_shard.setdefault(shard_of(entry.user, SHARDS), []).append(entry)
    return [Batch(shard, by_shard[shard]) for shard in sorted(by_shard)]


def expected() -> dict[str, Any]:
    """What must be read from the store, in whichever version it is read."""
    histories: dict[str, list[Any]] = {}
    for entry in (entry for record in records() for entry in record):
        fields = [entry.amount, entry.timestamp, entry.key, entry.reference]
        histories.setdefault(entry.user, []).append(fields)
    return {"shards": SHARDS, "position": RECORDS, "histories": histories}


def pack(data_dir: Path) -> bytes:
    """The store's files, without the room that LMDB has reserved."""
    packed = io.BytesIO()
    with tempfile.TemporaryDirectory() as folder, tarfile.open(fileobj=packed, mode="w:xz") as tar:
        _add(tar, "store.json", (data_dir / "store.json").read_bytes())
        for part in ("log", "snapshot"):
            compact = Path(folder) / part
            compact.mkdir()
            with lmdb.open(str(data_dir / part)) as environment:
                environment.copy(str(compact), compact=True)
            _add(tar, f"{part}/data.mdb", (compact / "data.mdb").read_bytes())
    return packed.getvalue()


def unpack(format_version: int, kind: str, data_dir: Path) -> dict[str, Any]:
    """Puts the corpus's store there, and returns what must be read from it."""
    with tarfile.open(CORPUS / f"format-{format_version}-{kind}.tar.xz") as tar:
        tar.extractall(data_dir, filter="data")
    expected: dict[str, Any] = json.loads((CORPUS / f"format-{format_version}.json").read_text())
    return expected


def _fold(log: Path, snapshot: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "persistence.snapshotter", str(log), str(snapshot)],
        input=b"fold 1\n",
        stdout=subprocess.DEVNULL,
        check=True,
    )


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    tar.addfile(member, io.BytesIO(content))


def main(corpus: Path) -> None:
    for kind in KINDS:
        with tempfile.TemporaryDirectory() as folder:
            write_store(Path(folder) / "data", kind)
            packed = pack(Path(folder) / "data")
        (corpus / f"format-{FORMAT_VERSION}-{kind}.tar.xz").write_bytes(packed)
    text = json.dumps(expected(), ensure_ascii=False, indent=1)
    (corpus / f"format-{FORMAT_VERSION}.json").write_text(text + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
