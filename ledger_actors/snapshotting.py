"""When the log is folded into a snapshot, and what follows from it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import trio

from ledger_actors.entry import LogPosition
from ledger_actors.errors import SnapshotFailed
from ledger_actors.ledger import Ledger
from ledger_actors.ports import Snapshotter, WriteAheadLog

POLL_INTERVAL_S: Final = 0.1
RETRY_DELAY_S: Final = 1.0
FAR_BEHIND: Final = 0.5
"""Of the entries that memory may hold."""
SHARE_MIN: Final = 0.02
SHARE_WHEN_FULL: Final = 0.5
"""Of a processor that a fold takes though callers want it: see `FoldShare`."""
SHARE_DELAY_S: Final = 5.0
"""In which it comes two thirds of the way to what is due. A burst that fills memory takes three
seconds, and no fold that begins in it ends in it, however much it takes from the burst."""


@dataclass(frozen=True, slots=True)
class SnapshotPolicy:
    """A snapshot is due when either is reached, and there is anything to fold; or when memory is
    half full of what is not folded."""

    entries: int = 200_000
    """Entries in no snapshot."""
    interval_s: float = 30.0
    """Seconds since the last snapshot."""


@dataclass(frozen=True, slots=True)
class SnapshotTaken:
    position: LogPosition
    duration_s: float


class FoldShare:
    """Of a processor, that a fold takes though callers want it.

    It grows with the square of what is not folded, seconds later. A burst goes by before it is
    felt: the fold has little more than what callers leave. Under a load that does not end, memory
    fills up to where as much is folded as comes in.
    """

    def __init__(self, backlog: float) -> None:
        """
        Args:
            backlog: how full memory is of entries that no snapshot has.
        """
        self._backlog = backlog

    def notice(self, backlog: float) -> None:
        """To be called every `POLL_INTERVAL_S`."""
        self._backlog += (backlog - self._backlog) * (POLL_INTERVAL_S / SHARE_DELAY_S)

    def due(self) -> float:
        """From 0 to 1."""
        return max(SHARE_MIN, SHARE_WHEN_FULL * self._backlog**2)


async def keep_snapshots(
    ledger: Ledger,
    log: WriteAheadLog,
    snapshotter: Snapshotter,
    policy: SnapshotPolicy,
    *,
    on_taken: Callable[[SnapshotTaken], None] = lambda taken: None,
    on_failed: Callable[[SnapshotFailed], None] = lambda error: None,
) -> None:
    """Runs for ever: folds when it is due, lets the shards forget, then has the log cut.

    The order is what keeps every entry in at least one place: the snapshot is durable before the
    shards forget, and they read from it before the log lets go.
    """
    share = FoldShare(ledger.backlog)
    async with trio.open_nursery() as nursery:
        # Beside the folding: a snapshotter that hangs is when the backlog grows.
        nursery.start_soon(_keep_noticing_backlog, ledger, share)
        last = trio.current_time()
        while True:
            await trio.sleep(POLL_INTERVAL_S)
            unfolded, backlog = ledger.unfolded_entries, ledger.backlog
            overdue = trio.current_time() - last >= policy.interval_s
            due = unfolded >= policy.entries or backlog >= FAR_BEHIND or (overdue and unfolded > 0)
            if not due:
                continue
            started = trio.current_time()
            try:
                await snapshotter.fold(share.due)
            except SnapshotFailed as error:
                on_failed(error)
                await trio.sleep(RETRY_DELAY_S)
                continue
            position = await ledger.adopt_snapshot()
            await log.cut(before=position)
            last = trio.current_time()
            on_taken(SnapshotTaken(position, last - started))


async def _keep_noticing_backlog(ledger: Ledger, share: FoldShare) -> None:
    while True:
        ledger.notice_backlog()
        share.notice(ledger.backlog)
        await trio.sleep(POLL_INTERVAL_S)
