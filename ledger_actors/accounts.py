"""All accounts of one shard: a short tail in memory, everything older in the snapshot store."""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from ledger_actors.account import FOLDED, NO_STEP, Account, opened
from ledger_actors.credit import CreditRequest, Outcome, Replayed, Submission
from ledger_actors.entry import Entry, LogPosition, Timestamp
from ledger_actors.errors import CorruptStore, IdempotencyKeyReused, Refused
from ledger_actors.identity import IdempotencyKey, UserId
from ledger_actors.money import Micros, format_fixed
from ledger_actors.ports import NO_ACCOUNT, AccountSummary, SnapshotStore
from ledger_actors.remembered_keys import RememberedKeys
from ledger_actors.request_status import IN_FLIGHT, UNKNOWN, RequestState, RequestStatus

PAGE_SIZE: Final = 10
"""Entries on a page of history."""

LOOKED_UP_TOGETHER_MIN: Final = 64
"""Requests of one submission. Of fewer, one by one costs less: they are no neighbours in the
snapshots."""

LEARNING_LOOK_UPS: Final = 1
LEARNING_ENTRIES_PER_LOOK_UP: Final = 16
"""The keys of an account are learned after so many look-ups, and one more for each so many of its
entries. That is a fifth of the time that learning takes (measured: 3 us, and 0.4 us an entry,
against 1 to 2 us for a look-up): who comes again is mostly there for long."""

DISPLACING_LOOK_UPS: Final = 3
"""The same where idle accounts have to leave memory for it: who comes but a few times would push
out who comes again and again."""

LEARNED_MAX: Final = 1_000
"""Entries of an account whose keys are learned, and of all whose keys are learned in one step: more
would hold up the callers."""

Recorded = Mapping[tuple[UserId, IdempotencyKey], Entry]
"""What the snapshots know of the requests that were looked up."""


@dataclass(slots=True)
class Duplicates:
    """Requests whose idempotency key had made an entry, or was about to."""

    from_memory: int = 0
    """Answered from an entry that no snapshot has. Its commit may have been under way when the
    request came: it is looked up when that is over."""
    from_snapshot: int = 0
    """Answered from the snapshot store."""
    in_flight: int = 0
    """Shared the outcome of a request that goes to the log with the same commit."""
    key_reused: int = 0
    """Refused: the key came with another amount or reference than before."""


class Accounts:
    """What is durable, as of the last applied batch. It never waits: every call is synchronous.

    Memory holds the accounts that have entries in no snapshot yet: the active ones. Reading
    allocates nothing that stays.

    Of an account that is in memory since its first entry, all idempotency keys are remembered.
    Those of another are learned when it was looked up a few times. Either way a new key is then
    known to be new without a look-up. So such an account stays in memory when it is idle, as long
    as there is room.
    """

    def __init__(self, snapshots: SnapshotStore, remembered_max: int) -> None:
        """
        Args:
            remembered_max: idempotency keys of folded entries that memory may hold, as
                `RememberedKeys` counts them.
        """
        self._snapshots = snapshots
        self._active: dict[UserId, Account] = {}
        self._remembered = RememberedKeys(remembered_max)
        # What no snapshot has, in the log's order: the entries, and of each batch its position and
        # its length. Flat, so that the garbage collector has no container of each batch to look at.
        self._unfolded: deque[Entry] = deque()
        self._positions: deque[LogPosition] = deque()
        self._lengths: deque[int] = deque()
        # The step that stages now, or will be the next to do so.
        self._step = NO_STEP + 1
        self._staged: Sequence[Entry] = ()
        self._opened_now: list[Account] = []
        self._learned = 0
        self.duplicates = Duplicates()

    @property
    def active(self) -> int:
        """How many accounts have entries in no snapshot."""
        return len(self._active)

    @property
    def idle(self) -> int:
        """How many others are in memory."""
        return self._remembered.idle

    @property
    def unfolded(self) -> int:
        """Entries held in memory because no snapshot has them yet."""
        return len(self._unfolded)

    @property
    def remembered(self) -> int:
        """Idempotency keys of folded entries in memory."""
        return self._remembered.count

    def balance(self, user: UserId) -> Micros:
        account = self._active.get(user)
        if account is None:
            return self._folded(user).balance
        balance = account.balance if account.step == self._step else account.total
        return self._load(account) if balance is None else Micros(balance)

    def count(self, user: UserId) -> int:
        """How many entries the user's history has."""
        account = self._active.get(user)
        return self._folded(user).entries if account is None else account.count_before(self._step)

    def history(self, user: UserId, page: int) -> Sequence[Entry]:
        """One page of the user's history, newest first; page 1 has the newest entries."""
        last = self.count(user) - (page - 1) * PAGE_SIZE
        if last < 1:
            return ()
        first = max(last - PAGE_SIZE + 1, 1)
        account = self._active.get(user)
        tail = account.newest_first(first, last) if account is not None else ()
        folded = last - len(tail)
        older = self._snapshots.entries(user, first, folded) if first <= folded else ()
        return [*tail, *reversed(older)]

    def request_status(self, user: UserId, key: IdempotencyKey) -> RequestStatus:
        """What has become of the user's request with that key, as far as it was staged."""
        account = self._active.get(user)
        entry = None if account is None else account.tail.get(key)
        if account is not None and entry is not None and self._is_staged(entry, account):
            return IN_FLIGHT
        if entry is FOLDED or (entry is None and (account is None or not account.keyed)):
            entry = self._snapshots.recorded(user, key)
        return UNKNOWN if entry is None else RequestStatus(RequestState.DONE, entry)

    def stage(self, submissions: Sequence[Submission], now: Timestamp) -> list[Entry]:
        """Gives every request its outcome, and returns the entries that are to be logged for it.

        The outcomes come true with `commit`, or not at all, with `abort`. Nothing may be staged
        already.
        """
        entries: list[Entry] = []
        for submission in submissions:
            self._stage(submission, now, entries)
        self._staged = entries
        return entries

    def commit(self, position: LogPosition) -> None:
        """Takes in what is staged: the log has it at that position."""
        self._keep(position, self._staged)
        self._end_staging()

    def abort(self) -> None:
        """Forgets what is staged: the log refused it."""
        for entry in self._staged:
            account = self._active[entry.user]
            if account.step == self._step:
                account.unstage()
                # What was folded meanwhile may have left nothing but the staged.
                self._opened_now.append(account)
        self._end_staging()

    def _stage(self, submission: Submission, now: Timestamp, entries: list[Entry]) -> None:
        active, step, outcomes = self._active, self._step, submission.outcomes
        many = len(submission.requests) >= LOOKED_UP_TOGETHER_MIN
        found: Recorded | None = None
        for request in submission.requests:
            try:
                account = active.get(request.user)
                if account is None or account.total is None:
                    if many and account is None:
                        found, many = self._look_up(submission.requests), False
                    account = self._opened(request.user)
                key = request.key
                if key is not None:
                    recorded = account.tail.get(key)
                    if recorded is None and not account.keyed:
                        if many:
                            found, many = self._look_up(submission.requests), False
                        if account.keyed or (found is None and self._learns(account)):
                            recorded = account.tail.get(key)
                        elif found is None:
                            recorded = self._snapshots.recorded(request.user, key)
                        else:
                            recorded = found.get((request.user, key))
                    if recorded is FOLDED:
                        recorded = self._snapshots.recorded(request.user, key)
                    if recorded is not None:
                        outcome = _repeated(request, recorded)
                        self._count_duplicate(outcome, recorded, account)
                        outcomes.append(outcome)
                        submission.uniform = False
                        continue
                if account.step != step:
                    account.begin(step)
                entry = account.stage(request, now)
            except (Refused, CorruptStore) as error:
                # What is stored of one user says nothing against the others.
                outcomes.append(error.with_traceback(None))
                submission.uniform = False
            else:
                outcomes.append(entry)
                entries.append(entry)

    def _count_duplicate(self, outcome: Outcome, recorded: Entry, account: Account) -> None:
        duplicates = self.duplicates
        if isinstance(outcome, IdempotencyKeyReused):
            duplicates.key_reused += 1
        elif self._is_staged(recorded, account):
            duplicates.in_flight += 1
        elif recorded.key is not None and account.tail.get(recorded.key) is recorded:
            duplicates.from_memory += 1
        else:
            duplicates.from_snapshot += 1

    def _is_staged(self, entry: Entry, account: Account) -> bool:
        return entry.number > account.count_before(self._step)

    def _look_up(self, requests: Sequence[CreditRequest]) -> Recorded | None:
        """What the snapshots know of these requests where the account does not; opens the accounts,
        and lets those learn for which it is time. None where something cannot be read: looked up
        one by one, it shows what."""
        active = self._active
        unseen = {
            request.user
            for request in requests
            if request.user not in active and self._wake(request.user) is None
        }
        try:
            known = self._snapshots.accounts_many(unseen) if unseen else {}
            for user in unseen:
                self._open(user, known.get(user, NO_ACCOUNT))
            sought = [
                (request.user, request.key)
                for request in requests
                if request.key is not None and not self._learns(active[request.user])
            ]
            return self._snapshots.recorded_many(sought) if sought else {}
        except CorruptStore:
            return None

    def _learns(self, account: Account) -> bool:
        """Whether memory has all keys of the account; if it is time, it learns them for that.
        Where it has not, the key in question is looked up."""
        if account.keyed:
            return True
        entries = account.forgotten
        look_ups = account.looked_up - entries // LEARNING_ENTRIES_PER_LOOK_UP
        account.looked_up += 1
        if look_ups < LEARNING_LOOK_UPS or self._learned + entries > LEARNED_MAX:
            return False
        remembered = self._remembered
        if not remembered.has_room(entries) and (
            look_ups < DISPLACING_LOOK_UPS or not remembered.make_room(entries)
        ):
            return False
        self._learned += entries
        try:
            account.learn(self._snapshots.keys(account.user, entries))
        except CorruptStore:
            # What else cannot be read of the user says nothing against this credit.
            account.looked_up = 0
            return False
        remembered.count += account.remembered
        return True

    def _opened(self, user: UserId) -> Account:
        """The user's account in memory, to stage entries in."""
        account = self._active.get(user) or self._wake(user)
        if account is None:
            account = self._open(user, self._folded(user))
        elif account.total is None:
            self._load(account)
        return account

    def _wake(self, user: UserId) -> Account | None:
        """Makes the user's account active again, where memory has kept it."""
        account = self._remembered.take(user)
        if account is not None:
            self._active[user] = account
            self._opened_now.append(account)
        return account

    def _open(self, user: UserId, summary: AccountSummary) -> Account:
        account = self._active[user] = opened(user, summary.entries, summary.balance)
        self._opened_now.append(account)
        return account

    def _end_staging(self) -> None:
        for account in self._opened_now:
            if account.idle and account.user in self._active:
                self._let_go(account)
        self._opened_now.clear()
        self._staged = ()
        self._learned = 0
        self._step += 1

    def apply(self, position: LogPosition, entries: Sequence[Entry]) -> None:
        """Takes in what the log has at that position, without a look at the snapshot store.

        Raises:
            CorruptStore: the entries do not follow what is there.
        """
        active = self._active
        for entry in entries:
            account = active.get(entry.user)
            if account is None:
                account = active[entry.user] = opened(entry.user, entry.number - 1, None)
            account.apply(entry)
        self._keep(position, entries)

    def forget_folded(self, entries_max: int) -> int:
        """Lets go of about that many entries that the snapshot view has; returns how many it were.

        It works in steps, so that forgetting many does not hold up the callers.
        """
        active, positions, until = self._active, self._positions, self._snapshots.position
        remembered = self._remembered
        forgotten = 0
        while forgotten < entries_max and positions and positions[0] <= until:
            positions.popleft()
            length = self._lengths.popleft()
            forgotten += length
            for _ in range(length):
                entry = self._unfolded.popleft()
                account = active[entry.user]
                keeps_key = account.forget(entry)
                remembered.count += keeps_key
                if account.idle:
                    self._let_go(account)
                elif keeps_key and not remembered.make_room(0):
                    remembered.count -= account.remembered
                    account.unlearn()
        return forgotten

    def _let_go(self, account: Account) -> None:
        """The snapshots have all of an account that was active: only its keys are worth memory."""
        del self._active[account.user]
        if account.keyed and account.newest:
            account.rest()
            self._remembered.keep(account)

    def _keep(self, position: LogPosition, entries: Sequence[Entry]) -> None:
        self._unfolded.extend(entries)
        self._positions.append(position)
        self._lengths.append(len(entries))

    def _folded(self, user: UserId) -> AccountSummary:
        return self._snapshots.account(user) or NO_ACCOUNT

    def _load(self, account: Account) -> Micros:
        return account.load(self._folded(account.user))


def _repeated(request: CreditRequest, recorded: Entry) -> Outcome:
    """The outcome of a request whose idempotency key has made an entry, or is about to."""
    if recorded.amount != request.amount:
        return IdempotencyKeyReused(
            "this idempotency key was used before with the amount "
            f"{format_fixed(recorded.amount)}; use a new key for a new transaction"
        )
    if recorded.reference != request.reference:
        return IdempotencyKeyReused(
            "this idempotency key was used before with another reference; "
            "use a new key for a new transaction"
        )
    return Replayed(recorded)
