"""A light HTTP client on trio, for load that leaves the processor to the server under test."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType

import httptools
import trio
from audit import Account, Credit

REQUEST_TIMEOUT_S = 30.0
RECEIVE_BYTES = 64 * 1024
PAGES_MAX = 1_000_000
MICROS = 1_000_000


class NoAnswer(Exception):
    """The connection ended before the whole answer was there: what became of it is unknown."""


class Stuck(Exception):
    """The server holds the connection open and does not answer."""


@dataclass(slots=True)
class Reply:
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""

    @property
    def replayed(self) -> bool:
        return self.headers.get("idempotent-replayed") == "true"


class _Parsing:
    """What httptools calls back while it reads one answer."""

    def __init__(self) -> None:
        self.reply = Reply()
        self.complete = False

    def on_header(self, name: bytes, value: bytes) -> None:
        self.reply.headers[name.decode().lower()] = value.decode()

    def on_body(self, body: bytes) -> None:
        self.reply.body += body

    def on_message_complete(self) -> None:
        self.complete = True


class Connection:
    """One connection, opened when it is first needed and again after it broke."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._stream: trio.SocketStream | None = None
        self._whole = True

    async def __aenter__(self) -> "Connection":
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        if self._stream is not None:
            stream, self._stream = self._stream, None
            await trio.aclose_forcefully(stream)

    async def add(self, credit: Credit) -> Reply:
        body = b'{"amount": %s}' % dollars(credit.amount).encode()
        headers = {"Idempotency-Key": credit.key} if credit.key else {}
        return await self.request("POST", f"/users/{credit.user}/add", headers, body)

    async def add_many(self, many: Sequence[Credit], reference: str | None = None) -> Reply:
        """One bulk request; its answer has a line for each credit."""
        lines = []
        for credit in many:
            fields = {"user": credit.user, "amount_micros": credit.amount}
            named = {"idempotency_key": credit.key, "reference": reference}
            fields |= {name: text for name, text in named.items() if text is not None}
            lines.append(json.dumps(fields))
        headers = {"Content-Type": "application/x-ndjson"}
        return await self.request("POST", "/v1/credits:batch", headers, "\n".join(lines).encode())

    async def get(self, path: str) -> Reply:
        return await self.request("GET", path, {}, b"")

    async def request(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes
    ) -> Reply:
        """
        Raises:
            NoAnswer: the request may or may not have arrived.
            Stuck: no answer within `REQUEST_TIMEOUT_S`.
        """
        lines = [f"{method} {path} HTTP/1.1", "Host: localhost", f"Content-Length: {len(body)}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        try:
            with trio.fail_after(REQUEST_TIMEOUT_S):
                return await self._exchange("\r\n".join([*lines, "", ""]).encode() + body)
        except trio.TooSlowError:
            raise Stuck(f"no answer to {method} {path} in {REQUEST_TIMEOUT_S} s") from None
        except (OSError, trio.BrokenResourceError, httptools.HttpParserError) as error:
            raise NoAnswer(str(error)) from None
        finally:
            # A stream that was left in the middle of an answer is of no more use.
            if self._stream is not None and not self._whole:
                await self.close()

    async def _exchange(self, request: bytes) -> Reply:
        self._whole = False
        if self._stream is None:
            self._stream = await trio.open_tcp_stream("127.0.0.1", self._port)
        await self._stream.send_all(request)
        parsing = _Parsing()
        parser = httptools.HttpResponseParser(parsing)
        while not parsing.complete:
            received = await self._stream.receive_some(RECEIVE_BYTES)
            if not received:
                raise NoAnswer("the connection was closed")
            parser.feed_data(received)
        parsing.reply.status = parser.get_status_code()
        self._whole = parser.should_keep_alive()
        return parsing.reply


def dollars(micros: int) -> str:
    return f"{micros // MICROS}.{micros % MICROS:06}"


def micros_of(text: str) -> int:
    """The inverse of `dollars`, by its digits: no float is made."""
    whole, _, fraction = text.partition(".")
    return int(whole) * MICROS + int(fraction.ljust(6, "0"))


def balance_in(reply: Reply) -> int:
    """The micro-dollars that an answer tells."""
    return micros_of(json.loads(reply.body)["Message"].rsplit("$", 1)[1])


async def read_account(connection: Connection, user: str) -> Account:
    """The balance and every page of the history, as the server tells them."""
    reply = await connection.get(f"/users/{user}/balance")
    assert reply.status == 200, reply
    balance = balance_in(reply)
    pages = []
    for page in range(1, PAGES_MAX):
        reply = await connection.get(f"/users/{user}/history?page={page}")
        assert reply.status == 200, reply
        entries = json.loads(reply.body, parse_float=str, parse_int=str)
        if not entries:
            break
        assert {entry["UserID"] for entry in entries} == {user}
        pages.append([micros_of(entry["Amount"]) for entry in entries])
    return Account(balance, pages)


async def read_accounts(port: int, users: list[str], connections: int = 8) -> dict[str, Account]:
    accounts: dict[str, Account] = {}
    waiting = list(users)

    async def read() -> None:
        async with Connection(port) as connection:
            while waiting:
                user = waiting.pop()
                accounts[user] = await read_account(connection, user)

    async with trio.open_nursery() as nursery:
        for _ in range(connections):
            nursery.start_soon(read)
    return accounts
