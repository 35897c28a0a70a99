"""Each problem that an endpoint is said to have, brought about; and no endpoint has another."""

import json
from collections.abc import Callable, Mapping

import pytest
from raw_http import Reply, head, send_bytes

from api.description import describe
from api.endpoints import COMMON_PROBLEMS, ENDPOINTS, Endpoint
from bench.server_process import ServerProcess

MOST = b'{"amount":9223372036854.775807}'
KEY = (b"Idempotency-Key", b"key")
OF_THE_SERVER = {
    "damaged-store",
    "internal-error",
    "log-unavailable",
    "not-ready",
    "outcome-unknown",
    "overloaded",
    "recovering",
    "request-timeout",
    "shutting-down",
}
"""No request brings these about by what it says: failures do, in tests/e2e, tests/chaos and
tests/ledger_actors."""

OF_KEYS_AND_RATES = {"forbidden", "throttled", "unauthenticated"}
"""The servers here have neither; tests/conformance/test_api_keys.py and tests/e2e bring them
about."""

Request = Callable[[str, bytes], bytes]


def post(path: bytes, body: bytes, *headers: tuple[bytes, bytes]) -> Request:
    """`%s` in the path is the user."""
    length = (b"Content-Length", b"%d" % len(body))

    def request(url: str, user: bytes) -> bytes:
        target = path.replace(b"%s", user)
        return head(url, b"POST", target, [length, *headers]) + body.replace(b"%s", user)

    return request


def add(body: bytes, *headers: tuple[bytes, bytes], path: bytes = b"/users/%s/add") -> Request:
    return post(path, body, *headers)


def bulk(body: bytes, *headers: tuple[bytes, bytes]) -> Request:
    return post(b"/v1/credits:batch", body, *headers)


def get(path: bytes) -> Request:
    return lambda url, user: head(url, b"GET", path.replace(b"%s", user))


PROVOKED: Mapping[str, Mapping[str, Request]] = {
    "add": {
        "malformed-request": add(b"{"),
        "invalid-amount": add(b'{"amount":1e-7}'),
        "invalid-user": add(b'{"amount":1}', path=b"/users/" + b"x" * 129 + b"/add"),
        "invalid-idempotency-key": add(b'{"amount":1}', (b"Idempotency-Key", b"")),
        "invalid-reference": add(b'{"amount":1,"reference":""}'),
        "balance-limit-reached": add(MOST),
        "not-found": add(b'{"amount":1}', path=b"/users//add"),
        "unsupported-media-type": add(b'{"amount":1}', (b"Content-Type", b"text/plain")),
        "idempotency-key-reused": add(b'{"amount":2}', KEY),
        "amount-not-positive": add(b'{"amount":0}'),
    },
    "credit_many": {
        "malformed-request": bulk(b"{}"),
        "invalid-idempotency-key": bulk(b"[]", (b"Idempotency-Key", b"")),
        "too-many-credits": bulk(b"[" + b"{}," * 10_000 + b"{}]"),
        "unsupported-media-type": bulk(b"[]", (b"Content-Type", b"text/plain")),
    },
    "balance": {
        "malformed-request": get(b"/users/%zz/balance"),
        "invalid-user": get(b"/users/" + b"x" * 129 + b"/balance"),
        "not-found": get(b"/users//balance"),
    },
    "history": {
        "malformed-request": get(b"/users/%ff/history"),
        "invalid-user": get(b"/users/" + b"x" * 129 + b"/history"),
        "not-found": get(b"/users//history"),
    },
    "request_status": {
        "malformed-request": get(b"/v1/users/%s/requests/%zz"),
        "invalid-user": get(b"/v1/users/" + b"x" * 129 + b"/requests/key"),
        "invalid-idempotency-key": get(b"/v1/users/%s/requests/%00"),
        "not-found": get(b"/v1/users/%s/requests/"),
    },
}
COMMON: Mapping[str, Request] = {
    "malformed-http": lambda url, user: b"GET / HTTP/1.1\r\n\r\n",
    "body-too-large": add(b" " * 70_000),
    "head-too-large": lambda url, user: head(url, b"GET", b"/", [(b"X", b"x" * 300_000)]),
    "unknown-transfer-coding": lambda url, user: head(
        url, b"POST", b"/users/%s/add" % user, [(b"Transfer-Encoding", b"gzip")]
    ),
    "unsupported-version": lambda url, user: head(url, b"GET", b"/healthz").replace(
        b"HTTP/1.1", b"HTTP/2.0"
    ),
}


def type_of(reply: Reply) -> str:
    if reply.headers["content-type"] == "application/json":
        assert reply.json == {"Message": "Amount must be positive"}
        return "/docs#amount-not-positive"
    assert reply.headers["content-type"] == "application/problem+json"
    return str(reply.json["type"])


@pytest.mark.parametrize(
    ("endpoint", "name"),
    [(endpoint, name) for endpoint, named in PROVOKED.items() for name in named]
    + [("", name) for name in COMMON],
)
def test_a_described_problem_can_be_met(
    servers: Mapping[str, ServerProcess], user: str, endpoint: str, name: str
) -> None:
    request = PROVOKED[endpoint][name] if endpoint else COMMON[name]
    sender = user.encode()
    for server in servers.values():
        send_bytes(server.url, add(b'{"amount":1}', KEY)(server.url, sender))

        reply = send_bytes(server.url, request(server.url, sender))

        assert type_of(reply) == f"/docs#{name}"
        if endpoint:
            assert_described(endpoint, reply)


def assert_described(name: str, reply: Reply) -> None:
    (endpoint,) = [one for one in ENDPOINTS if one.name == name]
    operation = describe()["paths"][endpoint.path][endpoint.method.lower()]
    described = operation["responses"][str(reply.status)]["content"]
    assert reply.headers["content-type"] in described
    if reply.headers["content-type"] == "application/problem+json":
        schema = described["application/problem+json"]["schema"]
        assert json.loads(reply.body)["type"] in schema["properties"]["type"]["enum"]


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda endpoint: endpoint.name)
def test_no_endpoint_is_described_with_a_problem_that_it_cannot_have(endpoint: Endpoint) -> None:
    named = {type_.name for type_ in endpoint.problems}

    assert named - OF_THE_SERVER - OF_KEYS_AND_RATES == set(PROVOKED.get(endpoint.name, ()))


def test_what_any_request_may_meet_with_is_described() -> None:
    assert {type_.name for type_ in COMMON_PROBLEMS} - OF_THE_SERVER == set(COMMON)
