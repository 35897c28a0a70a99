"""How often may be asked, of both servers."""

import json
import re
import secrets
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from raw_http import Conversation, Reply, head, send

from api.api_keys import ID_BYTES, SECRET_BYTES, change_keys, make_key, now_utc
from bench.server_process import ServerProcess

SERVERS = ["fast-lane", "hypercorn"]
AMOUNT = b'{"amount":1}'
BURST = 3
# A token comes back after a quarter of an hour: in a test, none does.
SLOW = "0.001"
NDJSON = [(b"Content-Type", b"application/x-ndjson")]
Header = tuple[bytes, bytes]


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Mapping[str, str]]:
    path = tmp_path_factory.mktemp("keys") / "keys.json"
    names = [f"{kind}-{number}" for kind in SERVERS for number in range(12)]
    made = {name: add_key(path, rate=float(SLOW), burst=BURST) for name in names}
    return path, {**made, "quick": add_key(path)}


def add_key(path: Path, **optional: object) -> str:
    """As the command does it, which takes a second for each."""
    secret = secrets.token_urlsafe(SECRET_BYTES)
    scopes = ["read", "write"]
    key, token = make_key(secrets.token_bytes(ID_BYTES), secret, now_utc(), scopes, **optional)
    change_keys(path, lambda known: (*known, key))
    return token


@pytest.fixture(scope="module", params=SERVERS)
def kind(request: pytest.FixtureRequest) -> str:
    assert isinstance(request.param, str)
    return request.param


@pytest.fixture(scope="module")
def url(
    kind: str, keys: tuple[Path, Mapping[str, str]], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """A server whose users have a rate, and whose keys have one of their own or none."""
    flags = ["--user-rate", SLOW, "--user-burst", str(2 * BURST)]
    path = tmp_path_factory.mktemp("rates") / "data"
    with ServerProcess(path, "--server", kind, "--keys-file", str(keys[0]), *flags) as running:
        yield running.url


@pytest.fixture
def quick(keys: tuple[Path, Mapping[str, str]]) -> Header:
    """A key without a rate."""
    return bearer(keys[1]["quick"])


class Slow:
    """Hands out keys with a rate of their own, each once."""

    def __init__(self, keys: Mapping[str, str], kind: str) -> None:
        self._left = [key for name, key in keys.items() if name.startswith(kind)]

    def __call__(self) -> Header:
        return bearer(self._left.pop())


@pytest.fixture(scope="module")
def slow(keys: tuple[Path, Mapping[str, str]], kind: str) -> Slow:
    return Slow(keys[1], kind)


def bearer(key: str) -> Header:
    return b"Authorization", b"Bearer " + key.encode()


def add(url: str, user: str, *headers: Header, body: bytes = AMOUNT) -> Reply:
    return send(url, b"POST", b"/users/%s/add" % user.encode(), body, headers)


def read(url: str, user: str, *headers: Header) -> Reply:
    return send(url, b"GET", b"/users/%s/balance" % user.encode(), None, headers)


def bulk(url: str, users: list[str], *headers: Header) -> Reply:
    body = b"".join(json.dumps({"user": user, "amount": 1}).encode() + b"\n" for user in users)
    return send(url, b"POST", b"/v1/credits:batch", body, [*NDJSON, *headers])


def assert_throttled(reply: Reply, policy: str, burst: int, left: int = 0) -> None:
    """429, with the fields of draft-ietf-httpapi-ratelimit-headers-10."""
    assert reply.status == 429
    seconds = int(reply.headers["retry-after"])
    assert seconds > 100
    window = burst * 1000
    assert reply.headers["ratelimit-policy"] == f'"{policy}";q={burst};w={window}'
    assert reply.headers["ratelimit"] == f'"{policy}";r={left};t={seconds}'
    assert reply.message == f"too many requests of this {policy}; try again in {seconds} s"


def test_a_key_is_good_for_its_burst_and_no_more(url: str, slow: Slow, user: str) -> None:
    key = slow()
    assert [add(url, user, key).status for _ in range(BURST)] == [200] * BURST
    assert_throttled(add(url, user, key), "key", BURST)
    assert_throttled(read(url, user, key), "key", BURST)


def test_reads_and_credits_take_from_the_same_bucket(url: str, slow: Slow, user: str) -> None:
    key = slow()
    statuses = [add(url, user, key).status, read(url, user, key).status]
    statuses += [send(url, b"GET", b"/users/u/history", None, [key]).status]
    assert statuses == [200, 200, 200]
    assert_throttled(read(url, user, key), "key", BURST)


def test_a_throttled_credit_changes_nothing_and_uses_up_no_idempotency_key(
    url: str, slow: Slow, quick: Header, user: str
) -> None:
    key = slow()
    named = (b"Idempotency-Key", b"once")
    for _ in range(BURST):
        read(url, user, key)
    assert add(url, user, key, named).status == 429
    assert read(url, user, quick).message.endswith("$0.000000")
    first = add(url, user, quick, named)
    assert (first.status, first.headers.get("idempotent-replayed")) == (200, None)


def test_a_throttled_connection_stays(url: str, slow: Slow, user: str) -> None:
    key = slow()
    one = head(url, b"GET", b"/users/u/balance", [key])
    with Conversation(url) as conversation:
        conversation.send(one * (BURST + 1) + head(url, b"GET", b"/healthz"))
        replies = [conversation.receive() for _ in range(BURST + 2)]
    assert [reply and reply.status for reply in replies] == [200] * BURST + [429, 200]


def test_a_user_is_throttled_whoever_asks(url: str, slow: Slow, quick: Header, user: str) -> None:
    statuses = [add(url, user, quick).status for _ in range(2 * BURST)]
    assert statuses == [200] * 2 * BURST
    assert_throttled(add(url, user, quick), "user", 2 * BURST)
    other = slow()
    assert_throttled(read(url, user, other), "user", 2 * BURST)
    # What the user's rate refused took nothing of the key's.
    assert [read(url, f"{user}-{n}", other).status for n in range(BURST)] == [200] * BURST


def test_a_bulk_takes_a_token_of_the_key_for_each_credit(url: str, slow: Slow, user: str) -> None:
    key = slow()
    users = [f"{user}-{number}" for number in range(BURST - 1)]
    assert bulk(url, users, key).body.count(b"created") == BURST - 1
    assert_throttled(bulk(url, users, key), "key", BURST, left=1)
    assert bulk(url, users[:1], key).body.count(b"created") == 1


def test_a_bulk_larger_than_the_burst_needs_a_full_bucket_and_is_owed(
    url: str, slow: Slow, user: str
) -> None:
    key = slow()
    users = [f"{user}-{number}" for number in range(10 * BURST)]
    assert bulk(url, users, key).body.count(b"created") == 10 * BURST
    reply = read(url, user, key)
    assert reply.status == 429
    assert int(reply.headers["retry-after"]) > 9 * BURST * 1000 - 1000


def test_a_throttled_bulk_changes_nothing(url: str, slow: Slow, quick: Header, user: str) -> None:
    key = slow()
    for _ in range(BURST):
        read(url, "nobody", key)
    assert bulk(url, [user], key).status == 429
    assert read(url, user, quick).message.endswith("$0.000000")


def test_of_a_bulk_each_credit_of_a_throttled_user_is_refused_alone(
    url: str, quick: Header, user: str
) -> None:
    reply = bulk(url, [user] * (2 * BURST + 1) + [f"{user}-other"], quick)
    results = [json.loads(line) for line in reply.body.splitlines()]
    assert [one["result"] for one in results] == ["created"] * 2 * BURST + ["refused", "created"]
    assert results[2 * BURST]["status"] == 429
    assert re.fullmatch(
        "too many requests of this user; try again in [0-9]+ s", results[2 * BURST]["reason"]
    )


@pytest.mark.parametrize("kind", SERVERS)
def test_without_keys_the_rate_of_a_user_holds_as_well(tmp_path: Path, kind: str) -> None:
    flags = ("--server", kind, "--user-rate", SLOW, "--user-burst", "1", "--key-rate", SLOW)
    with ServerProcess(tmp_path / "data", *flags) as server:
        assert [add(server.url, user).status for user in ("a", "b", "a")] == [200, 200, 429]


@pytest.mark.parametrize("kind", SERVERS)
def test_a_key_without_a_rate_has_that_of_the_settings(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "keys.json"
    key = bearer(add_key(path))
    flags = ("--server", kind, "--keys-file", str(path), "--key-rate", SLOW, "--key-burst", "2")
    with ServerProcess(tmp_path / "data", *flags) as server:
        statuses = [read(server.url, "u", key).status for _ in range(3)]
        assert statuses == [200, 200, 429]


def test_who_is_throttled_while_a_body_is_on_its_way_is_told_so_in_order(
    url: str, slow: Slow, user: str
) -> None:
    key = slow()
    length = (b"Content-Length", b"%d" % len(AMOUNT))
    one = head(url, b"POST", b"/users/%s/add" % user.encode(), [length, key]) + AMOUNT
    with Conversation(url) as conversation:
        conversation.send(one * BURST + one[:-3], one[-3:])
        replies = [conversation.receive() for _ in range(BURST + 1)]
    assert [reply and reply.status for reply in replies] == [200] * BURST + [429]
