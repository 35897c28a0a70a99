"""Callers that add at full load, remember what they were told, and retry what they were not."""

from collections import Counter, deque
from collections.abc import Iterator
from itertools import count
from random import Random

import trio
from audit import Credit, Fate
from chaos_client import Connection, NoAnswer, Reply, Stuck, dollars

ABANDONED_SHARE = 0.2
"""Of the requests without an answer, those that are never retried: they stay unknown."""
REPLAYED_SHARE = 0.03
"""Of all requests, those that retry what was acknowledged, recently or long ago."""
PAUSE_AFTER_503_S = 0.02


class Load:
    """What all callers share: what each credit's fate is, and what is to be sent again."""

    def __init__(self, rng: Random) -> None:
        self.fates: dict[Credit, Fate] = {}
        self.counts: Counter[str] = Counter()
        self.violations: list[str] = []
        self._rng = rng
        self._amounts: Iterator[int] = count(1)
        self._acknowledged: list[Credit] = []
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
            except NoAnswer:
                # Give the one who stops the server a moment to say so.
                await trio.sleep(PAUSE_AFTER_503_S)
            except Stuck as error:
                self.violations.append(f"stuck: {error}")
                return

    async def _send_one(self, connection: Connection, users: list[str]) -> None:
        if self._pending:
            await self._retry(connection, self._pending.popleft())
        elif self._acknowledged and self._rng.random() < REPLAYED_SHARE:
            await self._replay(connection, self._rng.choice(self._acknowledged))
        else:
            amount = next(self._amounts)
            credit = Credit(self._rng.choice(users), amount, f"key-{amount}")
            self.fates[credit] = Fate.UNKNOWN
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
            self.counts["unanswered"] += 1
            if self._rng.random() >= ABANDONED_SHARE:
                self._pending.append(credit)
            raise
        if reply.status == 200:
            self._check_body(credit, reply)
            self.fates[credit] = Fate.ACKNOWLEDGED
            self._acknowledged.append(credit)
        elif reply.status == 503:
            self.counts["503"] += 1
            self._pending.append(credit)
            await trio.sleep(PAUSE_AFTER_503_S)
        else:
            self.violations.append(f"unexpected answer to {credit}: {reply}")
        return reply

    async def _replay(self, connection: Connection, credit: Credit) -> None:
        reply = await connection.add(credit)
        if reply.status == 503:
            await trio.sleep(PAUSE_AFTER_503_S)
            return
        self.counts["replays"] += 1
        self._check_body(credit, reply)
        if reply.status != 200 or not reply.replayed:
            self.violations.append(f"a replay of acknowledged {credit} was answered {reply}")

    def _check_body(self, credit: Credit, reply: Reply) -> None:
        sentence = f"Transaction of ${dollars(credit.amount)} added for user {credit.user}"
        if reply.body != b'{"Message":"%s"}' % sentence.encode():
            self.violations.append(f"{credit} was answered {reply}")
