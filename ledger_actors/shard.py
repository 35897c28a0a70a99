"""The shard actor: one task that owns its users and serialises their credits."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final

import trio

from ledger_actors.accounts import Accounts
from ledger_actors.credit import Credit
from ledger_actors.entry import Batch, Entry
from ledger_actors.errors import (
    CorruptStore,
    IdempotencyKeyReused,
    LedgerError,
    LogFailed,
    LogUnavailable,
    Refused,
    ShardRestarted,
)
from ledger_actors.identity import IdempotencyKey, ShardId, UserId
from ledger_actors.inbox import Inbox, InboxStatistics
from ledger_actors.money import Micros, format_fixed
from ledger_actors.ports import Clock, WriteAheadLog
from ledger_actors.readiness import Readiness

RESTART_DELAY_S_MAX: Final = 5.0


@dataclass(frozen=True, slots=True)
class ShardStatistics:
    inbox: InboxStatistics
    active_accounts: int
    unfolded_entries: int
    restarts: int


class Shard:
    """One task, one inbox, the accounts of its users.

    `run` takes everything that waits as one batch, stages it, awaits one append, applies, answers.
    While an append is in flight the next batch gathers in the inbox: that is the group commit.
    """

    def __init__(
        self,
        shard: ShardId,
        accounts: Accounts,
        log: WriteAheadLog,
        clock: Clock,
        readiness: Readiness,
        *,
        inbox_limit: int,
        rebuild: Callable[[ShardId], Awaitable[Accounts]],
        on_restart: Callable[[ShardId, Exception], None],
    ) -> None:
        self.inbox = Inbox(inbox_limit)
        self._shard = shard
        self._accounts: Accounts | None = accounts
        self._rebuilt = trio.Event()
        self._log = log
        self._clock = clock
        self._readiness = readiness
        self._rebuild = rebuild
        self._on_restart = on_restart
        self._restarts = 0

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
            inbox=self.inbox.statistics(),
            active_accounts=0 if accounts is None else accounts.active,
            unfolded_entries=0 if accounts is None else accounts.unfolded,
            restarts=self._restarts,
        )

    async def run(self) -> None:
        """Serves until the inbox is closed and empty.

        A batch that raises costs the shard its memory, not its users their money: the accounts
        are rebuilt from snapshot and log, and the other shards never notice.

        Raises:
            LogFailed, CorruptStore: there is nothing to rebuild from; the process must end.
        """
        failures = 0
        while credits_ := await self.inbox.take_all():
            accounts = await self.rebuilt_accounts()
            try:
                await self._serve(accounts, credits_)
                failures = 0
            except LogFailed as error:
                _fail_unsettled(credits_, error)
                raise
            except Exception as error:
                self._accounts = None
                self._restarts += 1
                _fail_unsettled(credits_, ShardRestarted())
                self._on_restart(self._shard, error)
                await self._restart(failures)
                failures += 1

    async def _restart(self, failures: int) -> None:
        while True:
            # A shard that fails over and over must not starve the others of the processor.
            await trio.sleep(min(0.01 * 2**failures, RESTART_DELAY_S_MAX))
            try:
                self._accounts = await self._rebuild(self._shard)
            except (LogFailed, CorruptStore):
                raise
            except Exception as error:
                self._on_restart(self._shard, error)
                failures += 1
            else:
                rebuilt, self._rebuilt = self._rebuilt, trio.Event()
                rebuilt.set()
                return

    async def _serve(self, accounts: Accounts, credits_: Sequence[Credit]) -> None:
        staging = _Staging(accounts)
        for credit in credits_:
            staging.take(credit, self._clock)
        if not staging.staged:
            staging.settle()
            return
        entries = [entry for _, entry in staging.staged]
        try:
            position = await self._log.append(Batch(self._shard, entries))
        except LogUnavailable as error:
            staging.settle()
            self._readiness.lose(str(error))
            _fail_unsettled(credits_, error)
            return
        self._readiness.regain()
        accounts.apply(position, entries)
        staging.settle()
        for credit, entry in staging.staged:
            credit.succeed(entry, replayed=False)
        for credit, entry in staging.followers:
            _answer_recorded(credit, entry)


class _Staging:
    """One batch on its way to the log."""

    def __init__(self, accounts: Accounts) -> None:
        self.staged: list[tuple[Credit, Entry]] = []
        self.followers: list[tuple[Credit, Entry]] = []
        """Retries of what is staged in the same batch: they share its outcome."""
        self._accounts = accounts
        self._opened: set[UserId] = set()
        self._keys: dict[tuple[UserId, IdempotencyKey], Entry] = {}

    def take(self, credit: Credit, clock: Clock) -> None:
        """Stages the credit, or answers it where its outcome is known."""
        try:
            if credit.key is None or not self._is_repeated(credit, credit.key):
                self._stage(credit, clock)
        except (Refused, CorruptStore) as error:
            # What is stored of one user says nothing against the others.
            credit.fail(error)

    def _is_repeated(self, credit: Credit, key: IdempotencyKey) -> bool:
        recorded = self._accounts.recorded(credit.user, key)
        if recorded is not None:
            _answer_recorded(credit, recorded)
            return True
        leader = self._keys.get((credit.user, key))
        if leader is not None:
            self.followers.append((credit, leader))
        return leader is not None

    def _stage(self, credit: Credit, clock: Clock) -> None:
        account = self._accounts.opened(credit.user)
        self._opened.add(credit.user)
        entry = account.stage(credit.amount, clock.now(), credit.key)
        self.staged.append((credit, entry))
        if credit.key is not None:
            self._keys[credit.user, credit.key] = entry

    def settle(self) -> None:
        self._accounts.settle(self._opened)


def _answer_recorded(credit: Credit, entry: Entry) -> None:
    if entry.amount == credit.amount:
        credit.succeed(entry, replayed=True)
    else:
        credit.fail(_key_reused(entry.amount))


def _key_reused(amount: Micros) -> IdempotencyKeyReused:
    return IdempotencyKeyReused(
        f"this idempotency key was used before with the amount {format_fixed(amount)}; "
        "use a new key for a new transaction"
    )


def _fail_unsettled(credits_: Sequence[Credit], error: LedgerError) -> None:
    for credit in credits_:
        if not credit.settled:
            # Each waiter raises its own: a shared one would gather all their tracebacks.
            credit.fail(type(error)(str(error)))
