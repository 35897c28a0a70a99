"""The ledger: routes each user to the shard that owns it."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

import trio

from ledger_actors.accounts import Accounts
from ledger_actors.bulk import Bulk
from ledger_actors.credit import Credit, Credited, CreditRequest, Submission
from ledger_actors.entry import Entry, LogPosition
from ledger_actors.errors import Overloaded, Recovering, ShuttingDown, Unavailable
from ledger_actors.forgetting import ForgettingPace
from ledger_actors.group_commit import CommitStep, GroupCommit
from ledger_actors.identity import IdempotencyKey, Reference, ShardId, UserId, shard_of
from ledger_actors.money import Micros
from ledger_actors.ports import Clock, SnapshotStore, WriteAheadLog
from ledger_actors.readiness import Readiness
from ledger_actors.recovery import Recovered, rebuild, recover
from ledger_actors.request_status import RequestStatus
from ledger_actors.shard import Shard, ShardStatistics

BEHIND: Final = "snapshots are far behind the log; try again in a moment"
STALLED: Final = "the disk takes too long; nothing was recorded, try again in a moment"


@dataclass(frozen=True, slots=True)
class Limits:
    """What the ledger bounds, each with its reaction when it is reached."""

    inbox: int = 1024
    """Credits waiting in front of one shard; one more is refused as `Overloaded`."""
    unfolded_entries: int = 1_000_000
    """Entries in memory that no snapshot has; one more is refused as `Overloaded`."""
    remembered_keys: int = 1_000_000
    """Idempotency keys in memory of entries that a snapshot has, of about a hundred bytes each; an
    account that is in memory for them alone counts as `IDLE_ACCOUNT_KEYS` more. For what is not
    remembered, the snapshot store is asked."""
    probe_interval_s: float = 1.0
    """How often a log that refused a write is probed."""
    commit_s_max: float = 1.0
    """How long a commit may take; until a longer one has ended, credits are `Overloaded`."""


@dataclass(frozen=True, slots=True)
class LedgerStatistics:
    shards: Sequence[ShardStatistics]
    not_ready: str | None
    """As `Ledger.not_ready`."""
    unfolded_entries: int
    """Entries in memory that no snapshot has."""
    unfolded_entries_max: int
    refused_behind: int
    """Submissions and bulks that were refused while there were that many."""
    refused_appends: int
    """That the log had no room for. Nothing was recorded of them."""


class Ledger:
    """Credits users and reads their accounts. Make one with `open_ledger`.

    Everything that it answers is durable; everything that is durable it answers.
    """

    def __init__(
        self,
        log: WriteAheadLog,
        snapshots: SnapshotStore,
        clock: Clock,
        shards: int,
        limits: Limits,
        on_restart: Callable[[ShardId, Exception], None],
    ) -> None:
        self._log = log
        self._snapshots = snapshots
        self._shard_count = shards
        self._limits = limits
        self._remembered_max = limits.remembered_keys // shards
        self._on_restart = on_restart
        self._readiness = Readiness(log, probe_interval_s=limits.probe_interval_s)
        self._group_commit = GroupCommit(log, clock, self._readiness)
        self._shards: Sequence[Shard] = ()
        self._overfull = False
        self._refusal: str | None = None
        """Why credits are refused before they reach a shard."""
        self._refused_behind = 0
        self._closing = False

    @property
    def not_ready(self) -> str | None:
        """Why credits would be refused now; None when they would be taken."""
        if self._closing:
            return "the ledger is shutting down"
        return self._refusal or self._readiness.reason

    def submit(
        self,
        request: CreditRequest,
        on_settled: Callable[[Submission], object] | None = None,
    ) -> Submission:
        """Hands the request to the user's shard; its `outcome` tells what became of it.

        Args:
            on_settled: called once, with the submission, when its outcome is durable.

        Raises:
            Unavailable: it was not handed over, and will not count.
        """
        shard = self._owner(request.user)
        if self._refusal is not None:
            raise self._refused()
        submission = Submission((request,), on_settled)
        shard.submit(submission)
        return submission

    def submit_bulk(
        self,
        requests: Sequence[CreditRequest],
        on_settled: Callable[[Bulk], object] | None = None,
    ) -> Bulk:
        """Hands each request to its user's shard; `Bulk.outcomes` tells what became of each.

        Args:
            on_settled: called once, with the bulk, when every outcome is durable.

        Raises:
            Unavailable: none was handed over, and none will count.
        """
        if not self._shards:
            raise self._absent()
        if self._refusal is not None:
            raise self._refused()
        bulk = Bulk(requests, self._shard_count, on_settled)
        for number, part in bulk.parts.items():
            try:
                self._shards[number].submit(part)
            except Unavailable as error:
                part.fail(error)
        return bulk

    async def credit(
        self,
        user: UserId,
        amount: Micros,
        key: IdempotencyKey | None = None,
        reference: Reference | None = None,
    ) -> Credited:
        """Credits the user, and returns when that is durable.

        Raises: as `submit` and `Submission.outcome`.
        """
        return await self.submit(Credit(user, amount, key, reference)).outcome()

    def balance_nowait(self, user: UserId) -> Micros:
        """As `balance`.

        Raises:
            trio.WouldBlock: the user's shard is being rebuilt.
        """
        return self._accounts_nowait(user).balance(user)

    async def balance(self, user: UserId) -> Micros:
        """
        Raises:
            Unavailable: the ledger is recovering.
            CorruptStore: what is stored of the user is not what was written.
        """
        return (await self._accounts(user)).balance(user)

    def history_nowait(self, user: UserId, page: int) -> Sequence[Entry]:
        """As `history`.

        Raises:
            trio.WouldBlock: the user's shard is being rebuilt.
        """
        return self._accounts_nowait(user).history(user, page)

    async def history(self, user: UserId, page: int) -> Sequence[Entry]:
        """One page of the user's history, newest first, `PAGE_SIZE` entries long.

        Raises: as `balance`.
        """
        return (await self._accounts(user)).history(user, page)

    def request_status_nowait(self, user: UserId, key: IdempotencyKey) -> RequestStatus:
        """As `request_status`.

        Raises:
            trio.WouldBlock: the user's shard is being rebuilt.
        """
        return self._owner(user).request_status_nowait(user, key)

    async def request_status(self, user: UserId, key: IdempotencyKey) -> RequestStatus:
        """What has become of the user's request with that idempotency key, as of now.

        It takes as long as what waits for the user's shard is long: it is not for the hot path.

        Raises: as `balance`.
        """
        shard = self._owner(user)
        await shard.rebuilt_accounts()
        return shard.request_status_nowait(user, key)

    async def wait_rebuilt(self, user: UserId) -> None:
        """Returns when the user's shard is not, or no more, being rebuilt."""
        await self._accounts(user)

    @property
    def unfolded_entries(self) -> int:
        """Entries in memory that no snapshot has."""
        return sum(shard.accounts.unfolded for shard in self._shards if shard.accounts is not None)

    @property
    def backlog(self) -> float:
        """How full memory is of entries that no snapshot has; at 1, credits are refused."""
        return self.unfolded_entries / self._limits.unfolded_entries

    @property
    def step(self) -> CommitStep | None:
        """The step of the group commit that settles submissions now, or did last."""
        return self._group_commit.step

    def statistics(self) -> LedgerStatistics:
        return LedgerStatistics(
            shards=[shard.statistics() for shard in self._shards],
            not_ready=self.not_ready,
            unfolded_entries=self.unfolded_entries,
            unfolded_entries_max=self._limits.unfolded_entries,
            refused_behind=self._refused_behind,
            refused_appends=self._group_commit.refused_appends,
        )

    async def adopt_snapshot(self) -> LogPosition:
        """Moves on to the newest snapshot, lets go of what it covers, returns its position."""
        position = self._snapshots.refresh()
        pace = ForgettingPace(self._log.next_sync)
        for shard in self._shards:
            while shard.accounts is not None:
                forgotten = shard.accounts.forget_folded(pace.entries)
                if not forgotten:
                    break
                await pace.rest(forgotten)
        self.notice_backlog()
        return position

    def notice_backlog(self) -> None:
        """Refuses credits while more entries are in no snapshot than memory is meant to hold."""
        self._overfull = self.unfolded_entries >= self._limits.unfolded_entries
        self._refusal = BEHIND if self._overfull else None

    def notice_stall(self, now_s: float) -> None:
        """Refuses credits while a commit takes longer than it may: who asks now would wait at
        least as long, and so would everyone behind.

        Args:
            now_s: the time of trio's clock. Whoever has it at hand calls this, often.
        """
        since_s = self._group_commit.appending_since_s
        if since_s is not None and now_s - since_s > self._limits.commit_s_max:
            self._refusal = self._refusal or STALLED
        elif self._refusal is STALLED:
            self._refusal = BEHIND if self._overfull else None

    async def recover(
        self, progress: Callable[[LogPosition], None] = lambda position: None
    ) -> Recovered:
        """Reads snapshot and log; from then on the ledger can be run.

        Raises:
            CorruptStore: what is on disk is not what was written.
        """
        recovered_accounts, recovered = await recover(
            self._shard_count,
            self._log,
            self._snapshots,
            progress,
            remembered_max=self._remembered_max,
        )
        self._shards = [
            self._shard(ShardId(number), accounts)
            for number, accounts in enumerate(recovered_accounts)
        ]
        self.notice_backlog()
        self._readiness.regain()
        return recovered

    async def run(self) -> None:
        """Serves what is submitted, after `recover`, until `close`.

        Raises:
            LogFailed: the log failed; the process must end and recover from disk.
        """
        if self._closing:
            return
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._readiness.keep_probing)
            await self._group_commit.run()
            nursery.cancel_scope.cancel()

    def close(self) -> None:
        """Takes no more credits; `run` returns when those in flight are answered."""
        self._closing = True
        for shard in self._shards:
            shard.close()
        self._group_commit.close()

    def _shard(self, number: ShardId, accounts: Accounts) -> Shard:
        return Shard(
            number,
            accounts,
            inbox_limit=self._limits.inbox,
            schedule=self._group_commit.schedule,
            rebuild=lambda shard: rebuild(
                shard, self._log, self._snapshots, remembered_max=self._remembered_max
            ),
            on_restart=self._on_restart,
        )

    def _owner(self, user: UserId) -> Shard:
        if not self._shards:
            raise self._absent()
        return self._shards[shard_of(user, self._shard_count)]

    def _refused(self) -> Overloaded:
        if self._overfull:
            self._refused_behind += 1
        return Overloaded(self._refusal)

    def _absent(self) -> Unavailable:
        return ShuttingDown() if self._closing else Recovering()

    def _accounts_nowait(self, user: UserId) -> Accounts:
        accounts = self._owner(user).accounts
        if accounts is None:
            raise trio.WouldBlock
        return accounts

    async def _accounts(self, user: UserId) -> Accounts:
        shard = self._owner(user)
        return shard.accounts or await shard.rebuilt_accounts()


@asynccontextmanager
async def open_ledger(
    log: WriteAheadLog,
    snapshots: SnapshotStore,
    clock: Clock,
    *,
    shards: int,
    limits: Limits = Limits(),
    on_restart: Callable[[ShardId, Exception], None] = lambda shard, error: None,
) -> AsyncIterator[Ledger]:
    """A ledger that has recovered and serves until the block is left.

    Raises: as `Ledger.recover` and `Ledger.run`.
    """
    ledger = Ledger(log, snapshots, clock, shards, limits, on_restart)
    await ledger.recover()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ledger.run)
        yield ledger
        ledger.close()
