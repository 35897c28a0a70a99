"""The shard actor: it owns its users and serialises their credits."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

import trio

from ledger_actors.accounts import Accounts, Duplicates
from ledger_actors.credit import Outcome, Replayed, Submission
from ledger_actors.entry import Batch, Entry, LogPosition, Timestamp
from ledger_actors.errors import (
    CorruptStore,
    LedgerError,
    LogFailed,
    LogUnavailable,
    Refused,
    ShardRestarted,
)
from ledger_actors.identity import IdempotencyKey, ShardId, UserId
from ledger_actors.inbox import Inbox, InboxStatistics, holds
from ledger_actors.request_status import IN_FLIGHT, UNKNOWN, RequestStatus

RESTART_DELAY_S_MAX: Final = 5.0


@dataclass(frozen=True, slots=True)
class ShardStatistics:
    inbox: InboxStatistics
    active_accounts: int
    idle_accounts: int
    unfolded_entries: int
    remembered_keys: int
    duplicates: Duplicates
    restarts: int


class Shard:
    """One inbox, the accounts of its users, and one step after the other.

    A step is `take`, which takes everything that waits, `stage`, then the log's append, then
    `commit` or `abort`. While an append is in flight the next batch gathers in the inbox.
    `GroupCommit` makes the steps of all shards, so that a commit wakes one task and not one for
    each shard.
    """

    def __init__(
        self,
        shard: ShardId,
        accounts: Accounts,
        *,
        inbox_limit: int,
        schedule: Callable[["Shard"], None],
        rebuild: Callable[[ShardId], Awaitable[Accounts]],
        on_restart: Callable[[ShardId, Exception], None],
    ) -> None:
        self._shard = shard
        self._inbox = Inbox(inbox_limit)
        self._accounts: Accounts | None = accounts
        self._duplicates = accounts.duplicates
        self._rebuilt = trio.Event()
        self._schedule = schedule
        self._scheduled = False
        self._rebuild = rebuild
        self._on_restart = on_restart
        self._restarts = 0
        self._in_flight: Sequence[Submission] = ()
        self._entries: list[Entry] = []

    @property
    def accounts(self) -> Accounts | None:
        """The accounts, or None while they are rebuilt."""
        return self._accounts

    async def rebuilt_accounts(self) -> Accounts:
        """The accounts, once they are there."""
        while self._accounts is None:
            await self._rebuilt.wait()
        return self._accounts

    def statistics(self) -> ShardStatistics:
        accounts = self._accounts
        return ShardStatistics(
            inbox=self._inbox.statistics(),
            active_accounts=0 if accounts is None else accounts.active,
            idle_accounts=0 if accounts is None else accounts.idle,
            unfolded_entries=0 if accounts is None else accounts.unfolded,
            remembered_keys=0 if accounts is None else accounts.remembered,
            duplicates=replace(self._duplicates),
            restarts=self._restarts,
        )

    def submit(self, submission: Submission) -> None:
        """Hands the submission in.

        Raises:
            Overloaded, ShuttingDown: it was not taken in, and is not settled.
        """
        self._inbox.put(submission)
        if not self._scheduled:
            self._scheduled = True
            self._schedule(self)

    def request_status_nowait(self, user: UserId, key: IdempotencyKey) -> RequestStatus:
        """What has become of the user's request with that key.

        Raises:
            trio.WouldBlock: the accounts are being rebuilt.
        """
        if self._accounts is None:
            raise trio.WouldBlock
        status = self._accounts.request_status(user, key)
        if status is UNKNOWN and (
            self._inbox.holds(user, key) or holds(self._in_flight, user, key)
        ):
            return IN_FLIGHT
        return status

    def close(self) -> None:
        """Takes nothing more in; what waits is still served."""
        self._inbox.close()

    def take(self) -> None:
        """Begins a step with everything that waits."""
        assert not self._in_flight, "one step after the other"
        self._in_flight = self._inbox.take_all()

    def stage(self, now: Timestamp) -> Batch | None:
        """Returns what of all that was taken is to be logged, stamped with now.

        `commit`, `abort` or `fail` must follow; or nothing, where it returns None: then nothing is
        to be logged, and everything is answered.
        """
        assert self._accounts is not None
        self._entries = self._accounts.stage(self._in_flight, now)
        if self._entries:
            return Batch(self._shard, self._entries)
        self._accounts.abort()
        self._settle()
        return None

    def commit(self, position: LogPosition) -> None:
        """The log has what was staged, at that position: applies it, and answers."""
        assert self._accounts is not None
        self._accounts.commit(position)
        self._settle()

    def abort(self, error: LogUnavailable) -> None:
        """The log refused what was staged: leaves memory as the disk is, and answers.

        A request may have been refused because of a staged entry, which will now never be: that
        answer is taken back as well.
        """
        assert self._accounts is not None
        self._accounts.abort()
        staged = {id(entry) for entry in self._entries}
        for submission in self._in_flight:
            submission.outcomes = [
                type(error)(str(error))
                if isinstance(outcome, Refused) or id(_entry_of(outcome)) in staged
                else outcome
                for outcome in submission.outcomes
            ]
            submission.uniform = False
        self._settle()

    def fail(self, error: LedgerError) -> None:
        """Answers everything in flight with that error. A caller that raises stops no other."""
        failed, self._in_flight, self._entries = self._in_flight, (), []
        for submission in failed:
            if not submission.settled:
                try:
                    submission.fail(error)
                except Exception as defect:
                    self._on_restart(self._shard, defect)

    def crash(self, defect: Exception) -> None:
        """Costs the shard its memory: what it holds may be half a step. `restart` must follow."""
        self._accounts = None
        self._restarts += 1
        self.fail(ShardRestarted())
        self._on_restart(self._shard, defect)

    async def restart(self) -> None:
        """Rebuilds the accounts from snapshot and log. The other shards never notice.

        Raises:
            LogFailed, CorruptStore: there is nothing to rebuild from; the process must end.
        """
        failures = 0
        while self._accounts is None:
            # A shard that fails over and over must not starve the others of the processor.
            await trio.sleep(min(0.01 * 2**failures, RESTART_DELAY_S_MAX))
            try:
                self._accounts = await self._rebuild(self._shard)
            except (LogFailed, CorruptStore):
                raise
            except Exception as error:
                self._on_restart(self._shard, error)
                failures += 1
        self._accounts.duplicates = self._duplicates
        rebuilt, self._rebuilt = self._rebuilt, trio.Event()
        rebuilt.set()
        self._go_on()

    def _settle(self) -> None:
        for submission in self._in_flight:
            submission.settle()
        self._in_flight, self._entries = (), []
        self._go_on()

    def _go_on(self) -> None:
        self._scheduled = not self._inbox.empty
        if self._scheduled:
            self._schedule(self)


def _entry_of(outcome: Outcome) -> object:
    return outcome.entry if isinstance(outcome, Replayed) else outcome
