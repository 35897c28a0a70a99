"""Request ids: in every answer of either server, and in the log lines of their requests."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from eventually import eventually
from exposition import metric
from raw_http import Reply, connect, credit, head, receive, send, send_bytes
from store_changes import change, spoil

from bench.server_process import ServerProcess
from ledger_actors.identity import UserId
from persistence.snapshot_format import account_key

KINDS = ("fast-lane", "hypercorn")
HEADER = "x-request-id"
BODY = b'{"amount":1}'


@pytest.fixture(scope="module", params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def url(kind: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    flags = ("--server", kind, "--request-timeout-s", "0.5")
    with ServerProcess(tmp_path_factory.mktemp(kind) / "data", *flags) as server:
        yield server.url


def read(url: str, *ids: bytes) -> Reply:
    headers = [(b"X-Request-Id", sent) for sent in ids]
    return send(url, b"GET", b"/users/gopal/balance", headers=headers)


@pytest.mark.parametrize("sent", ["a", "A-1:b/c,d=;~!", "x" * 128])
def test_the_callers_id_comes_back(url: str, sent: str) -> None:
    assert read(url, sent.encode()).headers[HEADER] == sent


@pytest.mark.parametrize("sent", [b"", b"two words", b"x" * 129, "ü".encode(), b"a\tb"])
def test_what_is_no_id_is_replaced(url: str, sent: bytes) -> None:
    replaced = read(url, sent)
    assert replaced.status == 200
    assert 1 <= len(replaced.headers[HEADER]) <= 128
    assert replaced.headers[HEADER] != sent.decode("latin-1")


def test_of_several_ids_the_last_counts(url: str) -> None:
    assert read(url, b"first", b"last").headers[HEADER] == "last"


def test_an_id_is_for_one_request_only(url: str) -> None:
    one = head(url, b"GET", b"/healthz", [(b"X-Request-Id", b"mine")])
    other = head(url, b"GET", b"/healthz", [(b"Connection", b"close")])
    with connect(url) as connection:
        connection.sendall(one)
        assert receive(connection).headers[HEADER] == "mine"
        connection.sendall(other)
        assert receive(connection).headers[HEADER] != "mine"


def test_no_two_requests_are_given_the_same(url: str) -> None:
    given = {read(url).headers[HEADER] for _ in range(50)}
    given |= {credit(url, "gopal", BODY).headers[HEADER] for _ in range(50)}
    assert len(given) == 100


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"GET /nothing HTTP/1.1\r\nHost: x\r\nX-Request-Id: mine\r\n\r\n", 404),
        (b"PUT /users/a/add HTTP/1.1\r\nHost: x\r\nX-Request-Id: mine\r\n\r\n", 405),
        (b"HEAD /healthz HTTP/1.1\r\nHost: x\r\nX-Request-Id: mine\r\n\r\n", 200),
        (
            b"POST /users/a/add HTTP/1.1\r\nHost: x\r\nX-Request-Id: mine\r\n"
            b"Content-Length: 3\r\n\r\n{]}",
            400,
        ),
        (
            b"POST /users/a/add HTTP/1.1\r\nHost: x\r\nX-Request-Id: mine\r\n"
            b"Content-Length: 99999\r\n\r\n",
            413,
        ),
        (
            b"POST /users/a/add HTTP/1.1\r\nHost: x\r\nX-Request-Id: mine\r\n"
            b"Content-Length: 10\r\n\r\n{",
            408,
        ),
    ],
)
def test_a_refusal_has_the_callers_id(url: str, request_bytes: bytes, status: int) -> None:
    refused = send_bytes(url, request_bytes)
    assert (refused.status, refused.headers[HEADER]) == (status, "mine")


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [(b"GET /healthz HTTP/1.1\r\nHost: x\r\n", 408), (b"GET / HTTP/1.1\r\nHost : x\r\n\r\n", 400)],
)
def test_what_was_never_a_request_is_given_one(url: str, request_bytes: bytes, status: int) -> None:
    refused = send_bytes(url, request_bytes)
    assert refused.status == status
    assert refused.headers[HEADER]


def test_a_refused_connection_is_given_one(tmp_path: Path) -> None:
    with (
        ServerProcess(tmp_path / "data", "--connections-max", "1") as server,
        connect(server.url) as first,
    ):
        first.sendall(head(server.url, b"GET", b"/healthz"))
        receive(first)
        with connect(server.url) as second:
            refused = receive(second)
    assert refused.status == 503
    assert refused.headers[HEADER]


def test_only_what_was_sent_is_echoed(tmp_path: Path, kind: str) -> None:
    flags = ("--server", kind, "--request-ids", "echo")
    with ServerProcess(tmp_path / "data", *flags) as server:
        assert read(server.url, b"mine").headers[HEADER] == "mine"
        assert HEADER not in read(server.url).headers
        assert HEADER not in read(server.url, b"two words").headers
        assert HEADER not in credit(server.url, "gopal", BODY).headers


def test_switched_off_no_answer_has_one(tmp_path: Path, kind: str) -> None:
    with ServerProcess(tmp_path / "data", "--server", kind, "--request-ids", "off") as server:
        assert HEADER not in read(server.url, b"mine").headers
        assert HEADER not in send_bytes(server.url, b"GET / HTTP/1.1\r\nHost : x\r\n\r\n").headers


@pytest.mark.parametrize("answered_by", KINDS)
@pytest.mark.parametrize(
    "target", [b"/users/folded/balance", b"/users/folded/add", b"/v1/credits:batch"]
)
def test_a_log_line_that_concerns_a_request_names_it(
    tmp_path: Path, answered_by: str, target: bytes
) -> None:
    data_dir = tmp_path / "data"
    flags = ("--server", answered_by, "--snapshot-entries", "1")
    with ServerProcess(data_dir, *flags) as server:
        credit(server.url, "folded", BODY)
        eventually(lambda: any(e["event"] == "snapshot taken" for e in server.events()))
        assert server.stop() == 0
        change(data_dir / "snapshot", account_key(UserId("folded")), spoil)
        server.start()
        bulk = json.dumps([{"user": user, "amount": 1} for user in ("ann", "folded")]).encode()
        body = {b"balance": None, b"add": BODY, b"credits:batch": bulk}
        headers = [(b"X-Request-Id", b"mine"), (b"Content-Type", b"application/json")]
        posted = body[target.rsplit(b"/", 1)[-1]]
        send(server.url, b"GET" if posted is None else b"POST", target, posted, headers)
        line = server.wait_for_event("the store is damaged")
        assert metric(server.url, "bitburst_damage_reports_total") == 1
    assert line["request_id"] == "mine"
    assert "folded" in line["reason"]
