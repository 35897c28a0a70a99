"""Damages the records of a small log as bytes, without LMDB, and reads each.

    python tests/damage/records.py

Every bit of every record is flipped, and every record cut at every byte, one at a time. A record
that is missing at the end is what a log looks like to which it was never written; that its end is
lost, the high-water mark tells.
"""

import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import click
import lmdb
from rich.console import Console
from rich.table import Table

sys.path.append(str(Path(__file__).parent))

from small_store import make_small_store

from ledger_actors.entry import LogPosition
from ledger_actors.errors import CorruptStore
from persistence.record import decode, position_of

Rows = Sequence[tuple[LogPosition, bytes]]
REFUSED = "refused, with position"
SERVED = "served"


def records_of_a_small_log(path: Path) -> Rows:
    """Each with its position, as LMDB has them."""
    store = make_small_store(path)
    with (
        closing(lmdb.open(str(store.directory.log), readonly=True)) as environment,
        environment.begin() as transaction,
    ):
        return [(position_of(key), value) for key, value in transaction.cursor()]


def flips(value: bytes) -> Iterator[bytes]:
    for bit in range(len(value) * 8):
        flipped = bytearray(value)
        flipped[bit // 8] ^= 1 << bit % 8
        yield bytes(flipped)


def truncations(value: bytes) -> Iterator[bytes]:
    return (value[:length] for length in range(len(value)))


def outcome(position: LogPosition, value: bytes) -> str:
    try:
        decode(position, value)
    except CorruptStore as error:
        return REFUSED if f"position {position}" in str(error) else f"refused: {error}"
    return SERVED


def outcomes(rows: Rows) -> dict[str, Counter[str]]:
    """What became of each damage, by its kind."""
    ways = {"bits flipped": flips, "bytes to cut at": truncations}
    return {
        kind: Counter(
            outcome(position, damaged) for position, value in rows for damaged in damage(value)
        )
        for kind, damage in ways.items()
    }


@click.command()
def main() -> None:
    """Flip every bit of every record, cut every record at every byte, and read it."""
    with tempfile.TemporaryDirectory(prefix="bitburst-records-") as directory:
        rows = records_of_a_small_log(Path(directory) / "data")
    counted = outcomes(rows)
    table = Table("damage", "what became of it", "count", title=f"{len(rows)} records")
    for kind, counts in counted.items():
        for what, count in counts.items():
            table.add_row(kind, what, f"{count:,}")
    Console().print(table)
    sys.exit(any(set(counts) != {REFUSED} for counts in counted.values()))


if __name__ == "__main__":
    main()
