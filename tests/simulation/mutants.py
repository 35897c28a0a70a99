"""Faults to put into the ledger, each as a patch to its source: proof that the oracle can fail.

A mutant is caught when some seed ends in a violation. `hunt.py` runs one, in a process of its own,
with the patch applied as the modules are imported; the files stay as they are.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Edit:
    """What is replaced in a module; it must be there exactly once."""

    module: str
    old: str
    new: str


@dataclass(frozen=True, slots=True)
class Mutant:
    """
    Attributes:
        seed: the hunt begins with it: where many seeds catch nothing, one that was seen to.
    """

    name: str
    edits: tuple[Edit, ...]
    seed: int


def mutant(name: str, *edits: tuple[str, str, str], seed: int = 0) -> Mutant:
    return Mutant(name, tuple(Edit(*edit) for edit in edits), seed)


ACCOUNT = "ledger_actors.account"
ACCOUNTS = "ledger_actors.accounts"
GROUP_COMMIT = "ledger_actors.group_commit"
HIGH_WATER_MARK = "persistence.high_water_mark"
INBOX = "ledger_actors.inbox"
READINESS = "ledger_actors.readiness"
RECOVERY = "ledger_actors.recovery"
SHARD = "ledger_actors.shard"
SNAPSHOTTING = "ledger_actors.snapshotting"
FOLDING = "persistence.folding"
JOINED = "persistence.recovery"
LOG_READER = "persistence.log_reader"
LOG_STORE = "persistence.log_store"
RECORD = "persistence.record"
SNAPSHOT_FORMAT = "persistence.snapshot_format"
SNAPSHOT_STORE = "persistence.snapshot_store"

MUTANTS = [
    mutant(
        "answer before the fsync",
        (
            GROUP_COMMIT,
            "        try:\n            position = await",
            "        for shard in staged:\n"
            "            for submission in shard._in_flight:\n"
            "                submission.settle()\n"
            "        try:\n            position = await",
        ),
        (
            SHARD,
            "        for submission in self._in_flight:\n            submission.settle()",
            "        for submission in self._in_flight:\n"
            "            submission.settled or submission.settle()",
        ),
    ),
    mutant(
        "apply before the append",
        (
            SHARD,
            "            return Batch(self._shard, self._entries)",
            "            self._accounts.commit(LogPosition(1))\n"
            "            return Batch(self._shard, self._entries)",
        ),
        (SHARD, "        self._accounts.commit(position)\n", ""),
    ),
    mutant(
        "show what is staged",
        (
            ACCOUNTS,
            "account.balance if account.step == self._step else account.total",
            "account.total",
        ),
    ),
    mutant(
        "tell the refused that they count",
        (SHARD, "if isinstance(outcome, Refused) or id(_entry_of(outcome)) in staged", "if False"),
    ),
    mutant(
        "tell the retries of the refused that they count",
        (SHARD, "id(_entry_of(outcome)) in staged", "id(outcome) in staged"),
    ),
    mutant(
        "refuse for an entry that was refused itself",
        (SHARD, "isinstance(outcome, Refused) or ", ""),
    ),
    mutant(
        "remember the keys of the refused",
        (
            ACCOUNT,
            "        for _ in range(self.newest - self.count):\n            self.tail.popitem()\n",
            "",
        ),
    ),
    mutant(
        "remember the amounts of the refused",
        (ACCOUNT, "        self.total = self.balance\n", ""),
        seed=35,
    ),
    mutant(
        "keep accounts that nothing is left of",
        (ACCOUNTS, "                self._opened_now.append(account)\n", ""),
        seed=88,
    ),
    mutant(
        "say that nothing was recorded, after the fsync failed",
        (
            LOG_STORE,
            "            raise LogFailed(self._failure) from error",
            "            self._failure = None\n            raise LogUnavailable() from error",
        ),
    ),
    mutant(
        "say that nothing was recorded, when a shard restarts",
        (SHARD, "self.fail(ShardRestarted())", "self.fail(LogUnavailable())"),
        seed=75,
    ),
    mutant(
        "let one who raises over an answer stop the others",
        (
            SHARD,
            "                try:\n"
            "                    submission.fail(error)\n"
            "                except Exception as defect:\n"
            "                    self._on_restart(self._shard, defect)\n",
            "                submission.fail(error)\n",
        ),
        (
            GROUP_COMMIT,
            "                try:\n"
            "                    shard.abort(error)\n"
            "                except Exception as defect:\n"
            "                    self._restart(shard, defect, restarts)\n",
            "                shard.abort(error)\n",
        ),
    ),
    mutant(
        "know only the keys that are in memory",
        (ACCOUNTS, "if recorded is None and not account.keyed:", "if False:"),
    ),
    mutant(
        "look up no keys when many come at once",
        (ACCOUNTS, "if request.key is not None and not self._learns(", "if False and ("),
    ),
    mutant(
        "forget that a snapshot has keys of the user",
        (ACCOUNT, "count, not count, 0,", "count, True, 0,"),
    ),
    mutant(
        "forget a key that a snapshot takes over, and take it for new",
        (ACCOUNT, "            self.tail[name] = FOLDED\n", "            del self.tail[name]\n"),
    ),
    mutant(
        "open an idle account anew",
        (ACCOUNTS, "self._active.get(user) or self._wake(user)", "self._active.get(user)"),
        seed=86,
    ),
    mutant(
        "take a remembered key for new",
        (
            ACCOUNTS,
            "recorded = self._snapshots.recorded(request.user, key)\n                    if",
            "recorded = None\n                    if",
        ),
    ),
    mutant(
        "learn keys, and take the one in question for new",
        (
            ACCOUNTS,
            "recorded = account.tail.get(key)\n                        elif",
            "recorded = None\n                        elif",
        ),
    ),
    mutant(
        "learn all keys but the oldest",
        (
            ACCOUNTS,
            "self._snapshots.keys(account.user, entries)",
            "self._snapshots.keys(account.user, entries)[1:]",
        ),
    ),
    mutant(
        "let go of keys, and take them for new",
        (ACCOUNT, "        self.keyed = False\n", ""),
        seed=31,
    ),
    mutant(
        "forget the key of every sixteenth entry at a snapshot",
        (FOLDING, "if entry.key is not None:", "if entry.key is not None and count % 16:"),
    ),
    mutant(
        "miss a retry while the first is in flight",
        (ACCOUNT, "self.tail[number if key is None else key] = entry", "self.tail[number] = entry"),
    ),
    mutant(
        "take another amount for a retry",
        (ACCOUNTS, "if recorded.amount != request.amount:", "if False:"),
    ),
    mutant(
        "take another reference for a retry",
        (ACCOUNTS, "if recorded.reference != request.reference:", "if False:"),
    ),
    mutant(
        "pass the limit of a balance in one batch",
        (
            ACCOUNT,
            "if total > MICROS_MAX:",
            "if (self.balance or 0) + amount > MICROS_MAX:",
        ),
        seed=44,
    ),
    mutant(
        "give two entries one number",
        (ACCOUNT, "number = self.newest + 1", "number = self.count + 1"),
    ),
    mutant(
        "lose what waits behind a full batch",
        (
            INBOX,
            "taken, self._submissions = self._submissions, []",
            "taken, self._submissions = self._submissions[:8], []",
        ),
    ),
    mutant(
        "take in what is refused as too much",
        (
            INBOX,
            "            raise Overloaded",
            "            self._submissions.append(submission)\n            raise Overloaded",
        ),
    ),
    mutant(
        "leave waiting what came during an append",
        (
            SHARD,
            "        self._scheduled = not self._inbox.empty",
            "        self._scheduled = False",
        ),
    ),
    mutant(
        "serve no more after a restart",
        (SHARD, "        rebuilt.set()\n        self._go_on()", "        rebuilt.set()"),
    ),
    mutant(
        "stay unready after a full disk",
        (
            READINESS,
            "                else:\n                    self.regain()",
            "                pass",
        ),
        (GROUP_COMMIT, "            self._readiness.regain()\n", ""),
    ),
    mutant(
        "replay a record twice",
        (
            RECOVERY,
            "                    _apply(accounts[batch.shard], record, batch)\n",
            "                    _apply(accounts[batch.shard], record, batch)\n"
            "                    _apply(accounts[batch.shard], record, batch)\n",
        ),
        (
            ACCOUNT,
            "        if entry.number != self.newest + 1:\n"
            "            raise out_of_order(entry, self.newest)\n"
            "        self.newest = entry.number\n",
            "        self.newest += 1\n",
        ),
    ),
    mutant(
        "lose the last record of a slice that is read",
        (
            LOG_READER,
            "        found.append(stored)\n"
            "        weight += stored.record.weight\n"
            "        give_way()\n"
            "        if weight >= entries:\n            break\n",
            "        weight += stored.record.weight\n"
            "        if weight > entries:\n            break\n"
            "        found.append(stored)\n",
        ),
    ),
    mutant(
        "leave one entry out of a balance after a replay",
        (ACCOUNT, "for entry in following)", "for entry in following[1:])"),
    ),
    mutant(
        "lose a record, when a shard is rebuilt",
        (RECOVERY, "> snapshots.position:", "> snapshots.position + 1:"),
    ),
    mutant(
        "forget one record too many",
        (ACCOUNTS, "and positions[0] <= until:", "and positions[0] <= until + 1:"),
    ),
    mutant(
        "forget before the view has moved on",
        (
            "ledger_actors.ledger",
            "        position = self._snapshots.refresh()\n        pace",
            "        position = self._snapshots.position + 1\n        pace",
        ),
        (
            "ledger_actors.ledger",
            "                await pace.rest(forgotten)\n",
            "                await pace.rest(forgotten)\n"
            "        position = self._snapshots.refresh()\n",
        ),
        (ACCOUNTS, "and positions[0] <= until:", "and positions[0] <= until + 1:"),
    ),
    mutant(
        "drop the tail when the log is cut",
        (LOG_STORE, "max(self._may_go_before, min(before, self.last))", "self.last"),
    ),
    mutant(
        "cut one record too many",
        (
            LOG_STORE,
            "        while first < stop:",
            "        while first <= stop and stop > self.first:",
        ),
    ),
    mutant(
        "leave a record out of the chain",
        (LOG_STORE, "        self._digest = digest\n", ""),
    ),
    mutant(
        "leave out an entry where snapshot and tail meet",
        (ACCOUNTS, "if first <= folded else ()", "if first < folded else ()"),
    ),
    mutant(
        "page one entry too far",
        (ACCOUNTS, "first = max(last - PAGE_SIZE + 1, 1)", "first = max(last - PAGE_SIZE, 1)"),
    ),
    mutant(
        "leave the last entry of a block out of the balance",
        (
            FOLDING,
            "            balance += entry.amount\n",
            "            balance += entry.amount if count % 16 else 0\n",
        ),
    ),
    mutant(
        "put a block in the place of the next",
        (FOLDING, "count // BLOCK_ENTRIES - 1", "count // BLOCK_ENTRIES"),
    ),
    mutant(
        "move the snapshot's position in a transaction of its own",
        (
            SNAPSHOT_STORE,
            "            folded.put(transaction)\n"
            "            transaction.put(HEAD_KEY, pack_head(new_head))\n",
            "            transaction.put(HEAD_KEY, pack_head(new_head))\n"
            "        with self._environment.lmdb.begin(write=True) as transaction:\n"
            "            folded.put(transaction)\n",
        ),
    ),
    mutant(
        "read the snapshot's head without a look at its checksum",
        (SNAPSHOT_FORMAT, '_unsealed(HEAD_KEY, value, "head")', "value[:-CHECKSUM_BYTES]"),
        seed=355,
    ),
    mutant(
        "start with a log that lost its end",
        (JOINED, "    check_reach(log.position, head)\n    try:", "    return\n    try:"),
        (HIGH_WATER_MARK, "    if last < mark.position:", "    if False:"),
        seed=89,
    ),
    mutant(
        "leave what a loss of power hides where it is",
        (
            LOG_STORE,
            "hidden = hidden_records(self._environment.hidden_values, self.last, self._digest)",
            "hidden: Sequence[SealedRecord] = ()",
        ),
        (HIGH_WATER_MARK, "    if last < mark.position:", "    if False:"),
        (JOINED, "    check_reach(log.position, head)\n    try:", "    return\n    try:"),
    ),
    mutant(
        "read a record without a look at its checksum",
        (RECORD, "if sha256(memoryview(value)[:-DIGEST_BYTES]).digest() != digest:", "if False:"),
        seed=38,
    ),
    mutant(
        "read a record without a look at the one before it",
        (RECORD, "    if record.previous != digest:", "    if False:"),
        seed=64,
    ),
    mutant(
        "read an account without a look at its checksum",
        (
            SNAPSHOT_FORMAT,
            "    if _checksum(key + body) != value[-CHECKSUM_BYTES:]:\n"
            '        raise _spoilt(f"account',
            '    if False:\n        raise _spoilt(f"account',
        ),
    ),
    mutant(
        "read a block without a look at its checksum",
        (
            SNAPSHOT_FORMAT,
            "if _checksum(block_key(user, block) + packed) != checksum:",
            "if False:",
        ),
        seed=177,
    ),
    mutant(
        "take another entry for the one that a request made",
        (SNAPSHOT_STORE, "        if entry.key != key:", "        if False:"),
        seed=538,
    ),
]
