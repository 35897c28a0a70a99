"""What must hold between a log and a snapshot before anything is recovered from them."""

from ledger_actors.entry import LogPosition
from ledger_actors.errors import CorruptStore, LogCut
from persistence.snapshot_format import Head
from persistence.write_ahead_log import LmdbWriteAheadLog


async def check_joined(log: LmdbWriteAheadLog, head: Head) -> None:
    """The log must hold the record that the snapshot was made at, unchanged.

    Raises:
        CorruptStore: they are not of one store, or one of them lost its end.
    """
    check_reach(log.position, head)
    try:
        digest = await log.digest(head.position)
    except LogCut:
        raise CorruptStore(
            f"the log was cut behind the snapshot: position {head.position} is not in it"
        ) from None
    check_digest(digest, head)


def check_reach(last: LogPosition, head: Head) -> None:
    """
    Raises:
        CorruptStore: the log ends before the snapshot.
    """
    if last < head.position:
        raise CorruptStore(
            f"the log ends at position {last}, before the snapshot's position {head.position}"
        )


def check_digest(digest: bytes, head: Head) -> None:
    """
    Raises:
        CorruptStore: the snapshot was made from another record than the log's.
    """
    if digest != head.digest:
        raise CorruptStore(
            f"log record at position {head.position} is not the one the snapshot was made at"
        )
