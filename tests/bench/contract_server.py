"""A small server of the HTTP contract, in process, that can be told to misbehave."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import Enum, auto

import msgpack
import trio
from httptools import HttpRequestParser

from bench.http_client import Origin
from bench.wire import Micros, decimal_text, micros_from_text, six_decimals

EVERY = 7


class Fault(Enum):
    """What the server does wrong, to every seventh request that it concerns."""

    NONE = auto()
    DOUBLES_REPEATS = auto()
    """Knows no idempotency keys."""
    FORGETS_OLD_KEYS = auto()
    """Knows only the most recent keys."""
    LOSES = auto()
    """Confirms adds that it does not record."""
    WRONG_BALANCE = auto()
    DROPS_BEFORE = auto()
    """Closes the connection before it does what was asked."""
    DROPS_AFTER = auto()
    """Does what was asked and closes the connection without an answer."""
    DROPS_AND_DOUBLES = auto()
    REFUSES = auto()
    """Answers 503."""
    REFUSES_ALL_ADDS = auto()
    STAYS_SILENT = auto()
    """Takes the request and never answers."""
    UNMARKED_REPLAYS = auto()
    REJECTS = auto()
    """Answers 422."""
    CLOSES_POLITELY = auto()
    """Answers, with `Connection: close`, and closes."""
    BAD_TIMESTAMPS = auto()
    NO_LAST_PAGE = auto()
    """Answers the page after the last with the last."""
    NOT_READY = auto()
    NO_BATCHES = auto()
    """Knows no credits in bulk."""
    GIBBERISH = auto()


@dataclass
class Request:
    method: str = ""
    target: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""


class RequestReader:
    """Collects complete requests from received bytes."""

    def __init__(self) -> None:
        self._parser = HttpRequestParser(self)
        self._now = Request()
        self.complete: list[Request] = []

    def feed(self, received: bytes) -> None:
        self._parser.feed_data(received)

    def on_url(self, url: bytes) -> None:
        self._now.target += url.decode()

    def on_header(self, name: bytes, value: bytes) -> None:
        self._now.headers[name.decode().lower()] = value.decode()

    def on_body(self, part: bytes) -> None:
        self._now.body += part

    def on_message_complete(self) -> None:
        self._now.method = self._parser.get_method().decode()
        self.complete.append(self._now)
        self._now = Request()


class ContractServer:
    """Keeps its ledger in dicts; `fault` may be changed at any time."""

    def __init__(self, fault: Fault = Fault.NONE) -> None:
        self.fault = fault
        self.origin = Origin("127.0.0.1", 0)
        self.adds_seen = 0
        self.meetings = 0
        """How often a key came while the first request with it was still under way."""
        self._requests = 0
        self._keys: dict[tuple[str, str], Micros] = {}
        self._under_way: set[tuple[str, str]] = set()
        self._histories: dict[str, list[tuple[Micros, datetime]]] = {}
        self._now = datetime(2023, 4, 18, 17, 3, tzinfo=UTC)

    async def handle(self, stream: trio.SocketStream) -> None:
        reader = RequestReader()
        try:
            async for received in stream:
                reader.feed(bytes(received))
                while reader.complete:
                    answer = await self._answer(reader.complete.pop(0))
                    if answer is None:
                        return
                    await stream.send_all(answer)
                    if b"Connection: close" in answer:
                        return
        except trio.BrokenResourceError:
            return
        finally:
            await trio.aclose_forcefully(stream)

    async def _answer(self, request: Request) -> bytes | None:
        if request.target == "/readyz":
            return encoded(503 if self.fault is Fault.NOT_READY else 200, b"{}", "Retry-After: 0")
        self._requests += 1
        struck = self._requests % EVERY == 0
        match self.fault:
            case Fault.DROPS_BEFORE if struck:
                return None
            case Fault.REFUSES if struck:
                return encoded(503, b"{}", "Retry-After: 0")
            case Fault.STAYS_SILENT if struck:
                await trio.sleep_forever()
            case Fault.REJECTS if struck:
                return encoded(422, b'{"detail":"no"}')
            case Fault.GIBBERISH if struck:
                return b"220 mail.example.com ESMTP\r\n"
        answer = await self._route(request)
        if struck and self.fault in (Fault.DROPS_AFTER, Fault.DROPS_AND_DOUBLES):
            return None
        if struck and self.fault is Fault.CLOSES_POLITELY:
            return answer.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n", 1)
        return answer

    async def _route(self, request: Request) -> bytes:
        if request.target == "/v1/credits:batch":
            return await self._batch(request)
        path, _, query = request.target.partition("?")
        _, _, user, what = path.split("/")
        if request.method == "POST":
            if self.fault is Fault.REFUSES_ALL_ADDS:
                return encoded(503, b"{}", "Retry-After: 0")
            amount = json.loads(
                request.body, parse_int=micros_from_text, parse_float=micros_from_text
            )["amount"]
            return await self._add(user, amount, request.headers.get("idempotency-key"))
        if what == "balance":
            return self._balance(user)
        return self._history(user, int(query.removeprefix("page=")))

    async def _batch(self, request: Request) -> bytes:
        if self.fault is Fault.NO_BATCHES:
            return encoded(404, b"{}")
        if request.headers["content-type"] == "application/msgpack":
            batch = msgpack.unpackb(request.body)
        else:
            batch = json.loads(
                request.body, parse_int=micros_from_text, parse_float=micros_from_text
            )
        lines = []
        for credit in batch:
            amount = credit.get("amount_micros") or credit["amount"]
            answer = await self._add(credit["user"], amount, credit.get("idempotency_key"))
            replayed = b"Idempotent-Replayed" in answer
            lines.append('{"result":"%s"}\n' % ("replayed" if replayed else "created"))
        return encoded(200, "".join(lines).encode())

    async def _add(self, user: str, amount: Micros, key: str | None) -> bytes:
        if key is None:
            key = f"unnamed {self.adds_seen}"
        self.adds_seen += 1
        if (user, key) in self._under_way:
            self.meetings += 1
        replayed = (user, key) in self._keys
        if replayed and self._keys[user, key] != amount:
            return encoded(422, b"{}")
        if not replayed or self.fault in (Fault.DOUBLES_REPEATS, Fault.DROPS_AND_DOUBLES):
            self._keys[user, key] = amount
            if self.fault is not Fault.LOSES or self.adds_seen % EVERY:
                self._now += timedelta(microseconds=1)
                self._histories.setdefault(user, []).append((amount, self._now))
        if self.fault is Fault.FORGETS_OLD_KEYS and len(self._keys) > 20:
            del self._keys[next(iter(self._keys))]
        self._under_way.add((user, key))
        # As the real server waits for its disk: time for another connection to come with the same
        # key.
        await trio.lowlevel.checkpoint()
        await trio.lowlevel.checkpoint()
        self._under_way.discard((user, key))
        message = f"Transaction of ${six_decimals(amount)} added for user {user}"
        marked = replayed and self.fault is not Fault.UNMARKED_REPLAYS
        mark = "Idempotent-Replayed: true" if marked else ""
        return encoded(200, f'{{"Message":"{message}"}}'.encode(), mark)

    def _balance(self, user: str) -> bytes:
        balance: int = sum(amount for amount, _ in self._histories.get(user, []))
        if self.fault is Fault.WRONG_BALANCE:
            balance += 1
        message = f"User {user} has a balance of ${six_decimals(Micros(balance))}"
        return encoded(200, f'{{"Message":"{message}"}}'.encode())

    def _history(self, user: str, page: int) -> bytes:
        newest_first = self._histories.get(user, [])[::-1]
        if self.fault is Fault.NO_LAST_PAGE:
            page = min(page, 1)
        shown = newest_first[(page - 1) * 10 : page * 10]
        if not shown:
            return encoded(200, b"{}")
        entries = [
            f'{{"UserID":"{user}","Amount":{decimal_text(amount)},"Timestamp":"{self._stamp(at)}"}}'
            for amount, at in shown
        ]
        return encoded(200, f"[{','.join(entries)}]".encode())

    def _stamp(self, at: datetime) -> str:
        stamp = at.isoformat(timespec="microseconds").removesuffix("+00:00")
        return stamp if self.fault is Fault.BAD_TIMESTAMPS else f"{stamp}Z"


def encoded(status: int, body: bytes, *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status} Whatever", f"Content-Length: {len(body)}", *filter(None, headers)]
    return "\r\n".join([*lines, "", ""]).encode() + body


@asynccontextmanager
async def serving(server: ContractServer) -> AsyncIterator[ContractServer]:
    """Serve on a free loopback port for as long as the block runs."""
    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, server.handle, listeners)
        port = listeners[0].socket.getsockname()[1]
        server.origin = Origin("127.0.0.1", port)
        yield server
        nursery.cancel_scope.cancel()
