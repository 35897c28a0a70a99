"""Callers who remember what they were told, and retry what they were not."""

import json
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from enum import Enum
from itertools import count
from random import Random

import trio
from audit import PAGE_SIZE, Credit, Fate
from chaos_client import Connection, NoAnswer, Reply, Stuck, balance_in, dollars

ABANDONED_SHARE = 0.2
"""Of the requests without an answer, those that are never retried: they stay unknown."""
REPLAYED_SHARE = 0.03
"""Of all requests, those that retry what was acknowledged, recently or long ago."""
PAUSE_AFTER_503_S = 0.02
CREDITS_PER_BULK = 20


class Act(Enum):
    """What a caller may do next."""

    ADD = "an add with a key"
    KEYLESS = "an add without a key"
    BULK = "a bulk"
    BALANCE = "a balance"
    HISTORY = "a page of history"


ADDS_WITH_KEYS = {Act.ADD: 1}
ALL_ACTS = {Act.ADD: 50, Act.KEYLESS: 15, Act.BULK: 3, Act.BALANCE: 20, Act.HISTORY: 12}


class Load:
    """What all callers share: what each credit's fate is, and what is to be sent again."""

    def __init__(
        self, rng: Random, acts: Mapping[Act, int] = ADDS_WITH_KEYS, pause_s: float = 0.0
    ) -> None:
        """
        Args:
            acts: what the callers do, and how often in proportion.
            pause_s: how long each waits after each request.
        """
        self.fates: dict[Credit, Fate] = {}
        self.counts: Counter[str] = Counter()
        self.violations: list[str] = []
        self._rng = rng
        self._acts = acts
        self._pause_s = pause_s
        self._amounts: Iterator[int] = count(1)
        self._acknowledged: list[Credit] = []
        self._certain: Counter[str] = Counter()
        """What each user was acknowledged,"""
        self._told: Counter[str] = Counter()
        """and the highest balance that was told: no later answer may be below either."""
        self._pending: deque[Credit] = deque()
        self._up = trio.Event()
        self._port = 0
        self._stopping = False

    def server_is_up(self, port: int) -> None:
        self._port = port
        self._up.set()

    def server_is_down(self) -> None:
        if self._up.is_set():
            self._up = trio.Event()

    def stop(self) -> None:
        """The callers end when nothing is left to retry."""
        self._stopping = True

    async def run(self, clients: int, users: list[str]) -> None:
        """Runs the callers until `stop`; the server may come and go meanwhile."""
        self._stopping = False
        async with trio.open_nursery() as nursery:
            for _ in range(clients):
                nursery.start_soon(self._call, users)

    async def _call(self, users: list[str]) -> None:
        while not (self._stopping and not self._pending):
            await self._up.wait()
            try:
                async with Connection(self._port) as connection:
                    while not (self._stopping and not self._pending):
                        await self._send_one(connection, users)
                        if self._pause_s:
                            await trio.sleep(self._pause_s)
            except NoAnswer:
                # Give the one who stops the server a moment to say so.
                await trio.sleep(PAUSE_AFTER_503_S)
            except Stuck as error:
                self.violations.append(f"stuck: {error}")
                return

    async def _send_one(self, connection: Connection, users: list[str]) -> None:
        if self._pending:
            await self._retry(connection, self._pending.popleft())
            return
        if self._acknowledged and self._rng.random() < REPLAYED_SHARE:
            await self._replay(connection, self._rng.choice(self._acknowledged))
            return
        user = self._rng.choice(users)
        match self._rng.choices(list(self._acts), list(self._acts.values()))[0]:
            case Act.ADD:
                await self._add(connection, self.new_credit(user))
            case Act.KEYLESS:
                await self._add(connection, self.new_credit(user, keyed=False))
            case Act.BULK:
                many = [
                    self.new_credit(self._rng.choice(users), keyed=self._rng.random() < 0.7)
                    for _ in range(self._rng.randint(1, CREDITS_PER_BULK))
                ]
                await self.send_bulk(connection, many)
            case Act.BALANCE:
                await self._read_balance(connection, user)
            case Act.HISTORY:
                await self._read_history(connection, user)

    def new_credit(self, user: str, *, keyed: bool = True) -> Credit:
        """A credit that was never sent; from now on it may be."""
        amount = next(self._amounts)
        credit = Credit(user, amount, f"key-{amount}" if keyed else None)
        self.fates[credit] = Fate.UNKNOWN
        return credit

    async def _add(self, connection: Connection, credit: Credit) -> None:
        reply = await self._ask(connection, credit)
        if reply.replayed:
            self.violations.append(f"a first request was answered as a replay: {credit}")

    async def _retry(self, connection: Connection, credit: Credit) -> None:
        self.counts["retries"] += 1
        reply = await self._ask(connection, credit)
        self.counts["retries that had counted"] += reply.replayed

    async def _ask(self, connection: Connection, credit: Credit) -> Reply:
        try:
            reply = await connection.add(credit)
        except NoAnswer:
            self._unanswered([credit])
            raise
        if reply.status == 200:
            self._check_body(credit, reply)
            self._acknowledge(credit)
        elif reply.status == 503:
            self.counts["503"] += 1
            self._send_again(credit)
            await trio.sleep(PAUSE_AFTER_503_S)
        else:
            self.violations.append(f"unexpected answer to {credit}: {reply}")
        return reply

    async def send_bulk(
        self, connection: Connection, many: Sequence[Credit], reference: str | None = None
    ) -> Reply:
        """Sends new credits together. With a reference none is ever sent again, for it has to be
        the same."""
        self.counts["bulks"] += 1
        try:
            reply = await connection.add_many(many, reference)
        except NoAnswer:
            self._unanswered([] if reference else many)
            raise
        if reply.status == 503:
            results = [{"result": "refused", "status": 503}] * len(many)
        else:
            results = [json.loads(line) for line in reply.body.splitlines()]
        if reply.status not in (200, 503) or len(results) != len(many):
            self.violations.append(f"unexpected answer to a bulk: {reply}")
            return reply
        for credit, result in zip(many, results, strict=True):
            if result == {"result": "created"}:
                self._acknowledge(credit, again=reference is None)
            elif result.get("status") == 503:
                self.counts["503"] += 1
                if reference is None:
                    self._send_again(credit)
            else:
                self.violations.append(f"unexpected answer to {credit}: {result}")
        return reply

    def _acknowledge(self, credit: Credit, *, again: bool = True) -> None:
        if self.fates[credit] is not Fate.ACKNOWLEDGED:
            self._certain[credit.user] += credit.amount
        self.fates[credit] = Fate.ACKNOWLEDGED
        if credit.key is not None and again:
            self._acknowledged.append(credit)

    def _unanswered(self, many: Sequence[Credit]) -> None:
        self.counts["unanswered"] += 1
        for credit in many:
            if self._rng.random() >= ABANDONED_SHARE:
                self._send_again(credit)

    def _send_again(self, credit: Credit) -> None:
        """Without a key it would be another credit."""
        if credit.key is not None:
            self._pending.append(credit)

    async def _replay(self, connection: Connection, credit: Credit) -> None:
        reply = await connection.add(credit)
        if reply.status == 503:
            await trio.sleep(PAUSE_AFTER_503_S)
            return
        self.counts["replays"] += 1
        self._check_body(credit, reply)
        if reply.status != 200 or not reply.replayed:
            self.violations.append(f"a replay of acknowledged {credit} was answered {reply}")

    async def _read_balance(self, connection: Connection, user: str) -> None:
        floor = max(self._certain[user], self._told[user])
        reply = await connection.get(f"/users/{user}/balance")
        if reply.status == 503:
            return
        self.counts["balances"] += 1
        balance = balance_in(reply)
        if balance < floor:
            self.violations.append(f"{user} was told {balance} after {floor} was certain")
        self._told[user] = max(self._told[user], balance)

    async def _read_history(self, connection: Connection, user: str) -> None:
        reply = await connection.get(f"/users/{user}/history?page={self._rng.randint(1, 3)}")
        if reply.status == 503:
            return
        self.counts["histories"] += 1
        entries = json.loads(reply.body)
        if len(entries) > PAGE_SIZE or any(entry["UserID"] != user for entry in entries):
            self.violations.append(f"unexpected history of {user}: {reply}")

    def _check_body(self, credit: Credit, reply: Reply) -> None:
        sentence = f"Transaction of ${dollars(credit.amount)} added for user {credit.user}"
        if reply.body != b'{"Message":"%s"}' % sentence.encode():
            self.violations.append(f"{credit} was answered {reply}")
