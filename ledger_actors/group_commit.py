"""The group commit: takes the shards that have something waiting through their steps together."""

from collections.abc import Sequence
from dataclasses import dataclass

import trio

from ledger_actors.entry import Batch, LogPosition, Timestamp
from ledger_actors.errors import LogFailed, LogUnavailable
from ledger_actors.ports import Clock, WriteAheadLog
from ledger_actors.readiness import Readiness
from ledger_actors.shard import Shard


@dataclass(frozen=True, slots=True)
class CommitStep:
    """One round of all shards that have something waiting."""

    staged_at: Timestamp
    """When they took what waited: until then it was in their inboxes."""
    position: LogPosition | None = None
    """Of the record that made it durable; None where nothing was to be logged, or could be."""


class GroupCommit:
    """One task for all shards: one append, and one wake-up, for whatever has gathered in them.

    While an append is in flight, the next gathers; no timer is needed. A shard that raises is
    restarted beside it, and left out until then.

    Attributes:
        appending_since_s: when the append in flight began, by trio's clock; None while none is.
        step: the one that settles submissions now, or did last.
        refused_appends: how many found no room in the log.
    """

    def __init__(self, log: WriteAheadLog, clock: Clock, readiness: Readiness) -> None:
        self._log = log
        self._clock = clock
        self._readiness = readiness
        self._waiting: list[Shard] = []
        self._idle = trio.lowlevel.ParkingLot()
        self._restarting = 0
        self._closing = False
        self.appending_since_s: float | None = None
        self.step: CommitStep | None = None
        self.refused_appends = 0

    def schedule(self, shard: Shard) -> None:
        """Takes the shard along with the next append."""
        self._waiting.append(shard)
        if len(self._waiting) == 1:
            self._idle.unpark()

    def close(self) -> None:
        """Lets `run` return when nothing waits any more."""
        self._closing = True
        self._idle.unpark()

    async def run(self) -> None:
        """Serves until it is closed and everything that waited is answered.

        Raises:
            LogFailed, CorruptStore: there is nothing to rebuild from; the process must end.
        """
        async with trio.open_nursery() as restarts:
            while True:
                if self._waiting:
                    # Whatever else is ready may come along: the answers of the commit before are
                    # sent, and what callers sent on having theirs is taken. Commits are fewer so,
                    # and larger, which takes a tenth less for each credit.
                    await trio.lowlevel.checkpoint()
                    await trio.lowlevel.checkpoint()
                    shards, self._waiting = self._waiting, []
                    await self._step(shards, restarts)
                elif self._closing and not self._restarting:
                    return
                else:
                    await self._idle.park()

    async def _step(self, shards: Sequence[Shard], restarts: trio.Nursery) -> None:
        staged: list[Shard] = []
        batches: list[Batch] = []
        now = self._clock.now()
        self.step = CommitStep(now)
        for shard in shards:
            shard.take()
        for shard in shards:
            try:
                batch = shard.stage(now)
            except Exception as defect:
                self._restart(shard, defect, restarts)
            else:
                if batch is not None:
                    staged.append(shard)
                    batches.append(batch)
        if not batches:
            await trio.lowlevel.checkpoint()
            return
        self.appending_since_s = trio.current_time()
        try:
            position = await self._log.append(batches)
        except LogFailed as error:
            for shard in staged:
                shard.fail(error)
            raise
        except LogUnavailable as error:
            self.refused_appends += 1
            self._readiness.lose(str(error))
            for shard in staged:
                try:
                    shard.abort(error)
                except Exception as defect:
                    self._restart(shard, defect, restarts)
        except Exception as defect:
            for shard in staged:
                self._restart(shard, defect, restarts)
        else:
            self._readiness.regain()
            self.step = CommitStep(now, position)
            for shard in staged:
                try:
                    shard.commit(position)
                except Exception as defect:
                    self._restart(shard, defect, restarts)
        finally:
            self.appending_since_s = None

    def _restart(self, shard: Shard, defect: Exception, restarts: trio.Nursery) -> None:
        shard.crash(defect)
        self._restarting += 1
        restarts.start_soon(self._rebuild, shard)

    async def _rebuild(self, shard: Shard) -> None:
        await shard.restart()
        self._restarting -= 1
        self._idle.unpark()
