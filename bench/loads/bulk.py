"""Bulk load: requests of thousands of credits, encoded before the clock starts."""

import time
from array import array
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

import msgspec

from bench.errors import LoadFailedError
from bench.http_client import Answer
from bench.latency import NS_PER_S, percentiles
from bench.loads.closed import OPEN_SECONDS_MAX, first_request
from bench.loads.generator import Site, Started
from bench.loads.lean_client import Channel, LeanClient
from bench.loads.outcome import Outcome
from bench.loads.requests import Load, amount_of, with_headers
from bench.store_builder import user_name
from bench.wire import MICROS_PER_DOLLAR

TARGET: Final = "/v1/credits:batch"
CREDITS_PER_REQUEST: Final = 8_190
CONNECTIONS: Final = 4
"""One in the server's hands, others on their way: the server need not wait for the next."""
CREATED: Final = b'"result":"created"'
SECONDS_MAX: Final = 8.0
ANSWER_SECONDS_MAX: Final = 30.0
POLL_SECONDS: Final = 0.2


class Encoding(StrEnum):
    """How a body is written; the value is its content type."""

    JSON = "application/json"
    MSGPACK = "application/msgpack"


@dataclass(frozen=True, slots=True)
class BulkRequests:
    """All requests of a load, ready to be sent."""

    requests: tuple[bytes, ...]
    batches: tuple[Sequence[int], ...]
    """The users that each of them credits."""

    def counted(self, requests: int, users: int) -> tuple[int, ...]:
        """How many credits the first so many requests have for each of the first so many users."""
        counts = Counter(user for batch in self.batches[:requests] for user in batch)
        return tuple(counts[user] for user in range(users))


def encode_requests(
    users: Sequence[int], encoding: Encoding, run: str, authority: str
) -> BulkRequests:
    """A credit with a key of its own for each of those users, in that order."""
    requests, batches = [], []
    for start in range(0, len(users), CREDITS_PER_REQUEST):
        batch = users[start : start + CREDITS_PER_REQUEST]
        body = _body(
            [_credit(user, encoding, f"{run}-{at}") for at, user in enumerate(batch, start)],
            encoding,
        )
        head = f"POST {TARGET} HTTP/1.1\r\nHost: {authority}\r\nContent-Type: {encoding}\r\n"
        requests.append(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        batches.append(batch)
    return BulkRequests(tuple(requests), tuple(batches))


def _credit(user: int, encoding: Encoding, key: str) -> dict[str, Any]:
    micros = amount_of(user)
    if encoding is Encoding.MSGPACK:
        return {"user": user_name(user), "amount_micros": micros, "idempotency_key": key}
    # Whole cents: the float prints as the decimal that is meant.
    amount = micros / MICROS_PER_DOLLAR
    return {"user": user_name(user), "amount": amount, "idempotency_key": key}


def _body(listed: list[dict[str, Any]], encoding: Encoding) -> bytes:
    if encoding is Encoding.MSGPACK:
        return msgspec.msgpack.encode(listed)
    return msgspec.json.encode(listed)


def send_bulk(
    where: Site,
    bulk: BulkRequests,
    counted_users: int,
    started: Started,
    seconds_max: float = SECONDS_MAX,
    headers: tuple[str, ...] = (),
) -> Outcome:
    """Sends them over a few connections, and counts the credits that were created.

    Args:
        seconds_max: nothing more is sent after that; what was sent is waited for.
        headers: lines that the connections' first requests have to carry, as the bulks do.

    Raises:
        LoadFailedError: the server has no such endpoint.
        BenchError: it could not be reached, or what came was no HTTP.
    """
    with LeanClient(where.address) as client:
        first = first_request(Load.KEYED, where.authority, headers)
        client.open(CONNECTIONS, first, OPEN_SECONDS_MAX)
        _probe(client, with_headers(where.authority, headers))
        started()
        return _send_all(client, bulk, counted_users, seconds_max)


def _probe(client: LeanClient, authority: str) -> None:
    # An empty batch: whoever knows the endpoint answers something else than "not found".
    head = f"POST {TARGET} HTTP/1.1\r\nHost: {authority}\r\nContent-Type: {Encoding.JSON}\r\n"
    client.send(client.channels[0], f"{head}Content-Length: 2\r\n\r\n[]".encode())
    until = time.monotonic() + ANSWER_SECONDS_MAX
    answered: list[Any] = []
    while not answered and not client.lost and time.monotonic() < until:
        answered = client.poll(POLL_SECONDS)
    status = answered[0][1].status if answered else None
    if status in (404, 405, 501):
        raise LoadFailedError(f"the server has no {TARGET} (it answers {status})")


def _send_all(
    client: LeanClient, bulk: BulkRequests, counted_users: int, seconds_max: float
) -> Outcome:
    latencies_ns = array("q")
    under_way: dict[int, tuple[int, int]] = {}
    sent, created, first_error = 0, 0, ""
    started_ns = now_ns = time.perf_counter_ns()
    until_ns = started_ns + round(seconds_max * NS_PER_S)
    give_up_ns = until_ns + round(ANSWER_SECONDS_MAX * NS_PER_S)

    def send_next(channel: Channel) -> None:
        nonlocal sent
        if sent < len(bulk.requests) and now_ns < until_ns:
            under_way[channel.number] = (sent, time.perf_counter_ns())
            client.send(channel, bulk.requests[sent])
            sent += 1

    for channel in client.channels:
        send_next(channel)
    while under_way and now_ns < give_up_ns:
        for channel, answer in client.poll(POLL_SECONDS):
            now_ns = time.perf_counter_ns()
            request, asked_ns = under_way.pop(channel.number)
            latencies_ns.append(now_ns - asked_ns)
            found = created_in(answer)
            created += found
            if found != len(bulk.batches[request]):
                first_error = first_error or f"{answer.status} {answer.body[:200]!r}"
            send_next(channel)
        now_ns = time.perf_counter_ns()
        while client.lost:
            channel = client.lost.pop()
            first_error = first_error or channel.lost
            under_way.pop(channel.number, None)
    made = sum(len(batch) for batch in bulk.batches[:sent])
    return Outcome(
        generator="own, bulk",
        answered=created,
        seconds=(now_ns - started_ns) / NS_PER_S,
        errors=made - created,
        first_error=first_error or ("requests were never answered" * (created < made)),
        latency=percentiles(latencies_ns),
        made=made,
        counted=bulk.counted(sent, counted_users),
    )


def created_in(answer: Answer) -> int:
    """How many credits the answer says were created."""
    return answer.body.count(CREATED) if answer.status == 200 else 0
