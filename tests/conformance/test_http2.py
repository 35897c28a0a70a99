"""HTTP/2 with prior knowledge, on the port of HTTP/1.1: answered, and no way to end the server."""

import contextlib
import socket
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

import pytest
from agreement import ONE
from http2_client import RESET, TERMINATED, TIMEOUT_S, Client, Request
from raw_http import Conversation, Reply, balance, connect

from api import problem_types as types
from api.problem_types import ProblemType
from api.problems import Problem
from api.wire import encode_problem
from bench.server_process import ServerProcess

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


@pytest.fixture(params=["hypercorn", "fast-lane"])
def server(request: pytest.FixtureRequest, servers: Mapping[str, ServerProcess]) -> Iterator[str]:
    if request.param not in servers:
        pytest.skip("there is no such kind of server")
    chosen = servers[request.param]
    start = len(chosen.output())
    yield chosen.url
    assert "Traceback" not in chosen.output()[start:]
    assert balance(chosen.url, "nobody").message == "User nobody has a balance of $0.000000"


def message(status: int, text: str) -> Reply:
    body = b'{"Message":"%s"}' % text.encode()
    length = str(len(body))
    return Reply(status, body, {"content-length": length, "content-type": "application/json"})


def problem(type_: ProblemType, detail: str) -> Reply:
    body = encode_problem(Problem(type_, detail))
    return Reply(
        type_.status,
        body,
        {"content-length": str(len(body)), "content-type": "application/problem+json"},
    )


def add_of(user: str, body: bytes = ONE) -> Request:
    return b"POST", f"/users/{user}/add".encode(), body


def balance_of(user: str) -> Request:
    return b"GET", f"/users/{user}/balance".encode(), None


def has(user: str, amount: str) -> Reply:
    return message(200, f"User {user} has a balance of ${amount}")


def added(user: str) -> Reply:
    return message(200, f"Transaction of $1.000000 added for user {user}")


def test_an_add_and_a_balance_are_answered(server: str, user: str) -> None:
    with Client(server) as client:
        assert client.ask(add_of(user)) == [added(user)]
        assert client.ask(balance_of(user)) == [has(user, "1.000000")]


def test_many_streams_at_once_are_answered(server: str, user: str) -> None:
    with Client(server) as client:
        assert client.ask(*[add_of(user)] * 50) == [added(user)] * 50
        assert client.ask(balance_of(user)) == [has(user, "50.000000")]


@pytest.mark.parametrize("cut", [1, 2, 3, 4, 14, 15, 16, 17, 18, 19, 23, 24, 30])
def test_the_preface_may_be_cut_anywhere(server: str, user: str, cut: int) -> None:
    with Client(server, cut=cut) as client:
        assert client.ask(add_of(user), balance_of("nobody")) == [
            added(user),
            has("nobody", "0.000000"),
        ]


def test_a_key_counts_over_both_versions(server: str, user: str) -> None:
    with Client(server) as client:
        ask = partial(client.ask, add_of(user), more=[(b"idempotency-key", b"key")])

        assert [reply.headers.get("idempotent-replayed") for reply in ask() + ask()] == [
            None,
            "true",
        ]
    assert balance(server, user).message == f"User {user} has a balance of $1.000000"


def test_what_is_not_there_is_not_found(server: str) -> None:
    with Client(server) as client:
        assert client.ask((b"GET", b"/", None)) == [
            problem(types.NOT_FOUND, "there is nothing at this path")
        ]


def test_a_method_that_is_not_allowed_is_refused(server: str) -> None:
    with Client(server) as client:
        assert client.ask((b"DELETE", b"/users/u/balance", None)) == [
            Reply(405, b"", {"content-length": "0", "allow": "GET, HEAD"})
        ]


def test_a_body_that_is_too_large_is_refused_and_the_connection_stays(
    server: str, user: str
) -> None:
    with Client(server) as client:
        begun = client.begin(
            b"POST", b"/users/u/add", more=[(b"content-length", b"70000")], ended=False
        )

        assert client.receive(begun) == [
            problem(types.BODY_TOO_LARGE, "the body must be at most 65536 bytes")
        ]
        assert client.ask(add_of(user)) == [added(user)]


@pytest.mark.parametrize("path", [b"/nothing", b"/users/u/balance"])
def test_a_body_that_comes_after_its_answer_is_dropped(server: str, user: str, path: bytes) -> None:
    with Client(server) as client:
        begun = client.begin(b"POST", path, ended=False)
        assert client.receive(begun)[0].status in (404, 405)
        client.finish(begun, ONE)

        assert client.ask(add_of(user)) == [added(user)]


@pytest.mark.parametrize(
    "request_",
    [
        (b"GET", b"/users/\xc3\xbc/balance", None),
        (b"GET", b"/users/\xff/balance", None),
        (b"G\xff", b"/users/u/balance", None),
        (b"CONNECT", b"", None),
    ],
)
def test_a_request_that_cannot_be_read_ends_its_stream_alone(
    server: str, user: str, request_: Request
) -> None:
    with Client(server) as client:
        assert client.ask(request_) == [RESET]
        assert client.ask(add_of(user)) == [added(user)]


def test_a_websocket_over_a_stream_is_not_opened(server: str, user: str) -> None:
    with Client(server) as client:
        upgrade = [(b":protocol", b"websocket"), (b"sec-websocket-version", b"13")]

        assert client.ask((b"CONNECT", b"/users/u/balance", None), more=upgrade) == [RESET]
        assert client.ask(add_of(user)) == [added(user)]


@pytest.mark.parametrize(
    "header",
    [
        (b"content-length", b"50"),
        (b"content-length", b"x"),
        (b"transfer-encoding", b"chunked"),
        (b"connection", b"close"),
        (b"Upper-Case", b"x"),
    ],
)
def test_a_request_that_breaks_the_protocol_ends_its_connection(
    server: str, user: str, header: tuple[bytes, bytes]
) -> None:
    with Client(server) as client:
        assert client.ask(add_of(user), more=[header]) == [TERMINATED]
    assert balance(server, user).message == f"User {user} has a balance of $0.000000"


@pytest.mark.parametrize(
    "garbage",
    [
        PREFACE[:-6] + b"XX\r\n\r\n",
        PREFACE + b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        PREFACE + b"\xff" * 100,
        PREFACE + b"\0\0\0\x04\0\0\0\0\0" + b"\0\0\x05\x01\x05\0\0\0\x01\xff\xff\xff\xff\xff",
    ],
)
def test_garbage_behind_the_preface_ends_its_connection(server: str, garbage: bytes) -> None:
    with connect(server) as connection, contextlib.suppress(ConnectionError):
        connection.settimeout(TIMEOUT_S)
        connection.sendall(garbage)
        # It may be the begin of a frame.
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(65_536):
            pass


def test_an_idle_connection_is_closed_after_a_while(tmp_path: Path) -> None:
    hasty = ("--keep-alive-s", "0.1")
    with ServerProcess(tmp_path / "data", *hasty) as server, connect(server.url) as connection:
        connection.settimeout(TIMEOUT_S)
        connection.sendall(PREFACE)
        while connection.recv(65_536):
            pass


def test_a_client_that_leaves_takes_nothing_with_it(server: str, user: str) -> None:
    for _ in range(20):
        with Client(server) as client:
            client.begin(*add_of(user), ended=False)
    with Conversation(server) as conversation:
        conversation.send(PREFACE[:20])
