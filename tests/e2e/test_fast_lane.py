"""What the fast lane does with many requests, many connections, and TLS."""

import contextlib
import ssl
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import trustme
from bitburst_command import bitburst
from raw_http import Conversation, balance, connect, credit, head, receive, send

from bench.server_process import ServerProcess

AMOUNT = b'{"amount":1}'
SERVERS = ["fast-lane", "hypercorn"]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    path = tmp_path_factory.mktemp("few") / "data"
    with ServerProcess(path, "--connections-max", "5", "--keep-alive-s", "2") as running:
        yield running


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def files(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("tls")
    certificate = authority.issue_cert("127.0.0.1")
    certificate.cert_chain_pems[0].write_to_path(folder / "certificate.pem")
    certificate.private_key_pem.write_to_path(folder / "key.pem")
    return folder / "certificate.pem", folder / "key.pem"


@pytest.fixture(scope="module", params=SERVERS)
def tls_url(
    request: pytest.FixtureRequest,
    files: tuple[Path, Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[str]:
    flags = ["--tls-certificate", str(files[0]), "--tls-key", str(files[1])]
    path = tmp_path_factory.mktemp("served") / "data"
    with ServerProcess(path, "--server", request.param, *flags) as running:
        yield running.url


def add(url: str, user: str, key: int | None = None) -> bytes:
    headers = [(b"Content-Length", b"%d" % len(AMOUNT))]
    if key is not None:
        headers.append((b"Idempotency-Key", b"key-%d" % key))
    return head(url, b"POST", b"/users/%s/add" % user.encode(), headers) + AMOUNT


def read(url: str, user: str, what: bytes = b"balance") -> bytes:
    return head(url, b"GET", b"/users/%s/%s" % (user.encode(), what))


def test_more_pipelined_requests_than_may_wait_are_all_answered_in_order(
    url: str, user: str
) -> None:
    count = 500
    with Conversation(url) as conversation:
        conversation.send(
            b"".join(add(url, f"{user}-{n}") + read(url, f"{user}-{n % 7}") for n in range(count))
        )
        for n in range(count):
            added, seen = conversation.receive(), conversation.receive()
            assert added is not None
            assert seen is not None
            assert f"added for user {user}-{n}" in added.message
            assert f"User {user}-{n % 7} " in seen.message
    assert balance(url, f"{user}-{count - 1}").message.endswith("$1.000000")


def test_adds_pipelined_to_one_user_all_count(url: str, user: str) -> None:
    with Conversation(url) as conversation:
        conversation.send(add(url, user) * 300 + read(url, user))
        replies = [conversation.receive() for _ in range(301)]
    assert replies[-1] is not None
    assert replies[-1].message.endswith("$300.000000")


def test_a_retry_pipelined_behind_its_first_is_recognised(url: str, user: str) -> None:
    with Conversation(url) as conversation:
        conversation.send(add(url, user, 1) * 3)
        replies = [conversation.receive() for _ in range(3)]
    replayed = [reply.headers.get("idempotent-replayed") for reply in replies if reply is not None]
    assert replayed == [None, "true", "true"]


def test_a_peer_that_reads_late_gets_every_answer(url: str, user: str) -> None:
    """More than the sockets hold: the lane reads no further until it has been read."""
    for _ in range(10):
        credit(url, user, AMOUNT)
    count = 5_000
    # Long requests fill the sockets with few of them.
    padding = [(b"X-Padding", b"x" * 8_000)]
    request = head(url, b"GET", b"/users/%s/history" % user.encode(), padding)
    with connect(url) as connection:
        connection.setblocking(False)
        sent, requests = 0, request * count
        stalled = time.monotonic() + 30
        while sent < len(requests) and time.monotonic() < stalled:
            try:
                sent += connection.send(requests[sent : sent + 65_536])
            except BlockingIOError:
                break
        assert sent < len(requests), "everything fitted into the sockets: it shows nothing"
        connection.settimeout(20)
        received = b""
        while received.count(b"HTTP/1.1 200 ") < sent // len(request):
            received += connection.recv(1 << 20)


def test_a_connection_that_was_handed_over_goes_on(url: str, user: str) -> None:
    with Conversation(url) as conversation:
        conversation.send(add(url, user) + head(url, b"HEAD", b"/users/u/balance") + add(url, user))
        first, over, last = (
            conversation.receive(has_body=has_body) for has_body in (True, False, True)
        )
    assert [reply and reply.status for reply in (first, over, last)] == [200, 200, 200]
    assert balance(url, user).message.endswith("$2.000000")


class TestWithFewConnections:
    def test_one_more_than_may_be_open_is_told_so_and_the_others_go_on(
        self, server: ServerProcess, user: str
    ) -> None:
        opened = [connect(server.url) for _ in range(4)]
        # One that Hypercorn has counts as well.
        opened.append(connect(server.url))
        opened[-1].sendall(head(server.url, b"GET", b"/nothing"))
        assert receive(opened[-1]).status == 404
        with connect(server.url) as refused:
            reply = receive(refused)
            assert (reply.status, reply.headers["connection"]) == (503, "close")
            assert reply.headers["retry-after"] == "1"
        opened[0].sendall(read(server.url, user))
        assert receive(opened[0]).status == 200
        for connection in opened:
            connection.close()

    def test_idle_connections_make_room_after_a_while(self, server: ServerProcess) -> None:
        with contextlib.ExitStack() as stack:
            opened = [stack.enter_context(connect(server.url)) for _ in range(5)]
            for connection in opened:
                # Those of the test before may still take the room of one, which is told so.
                while connection.recv(1000):
                    pass
        assert send(server.url, b"GET", b"/healthz").status == 200


def test_bodies_that_are_too_many_at_once_are_refused(tmp_path: Path) -> None:
    size = 8 * 1024 * 1024
    begun = head("http://x", b"POST", b"/v1/credits:batch", [(b"Content-Length", b"%d" % size)])
    with ServerProcess(tmp_path / "data") as server:
        opened = [connect(server.url) for _ in range(9)]
        for connection in opened:
            connection.sendall(begun + b"[")
            time.sleep(0.05)
        refused = receive(opened[-1])
        assert (refused.status, refused.message) == (503, "too many bodies are under way")
        assert refused.json["type"] == "/docs#overloaded"
        for connection in opened:
            connection.close()
        time.sleep(0.2)
        with connect(server.url) as again:
            again.sendall(begun + b"[" + b" " * (size - 2) + b"]")
            assert receive(again).status == 200


class TestOverTls:
    @pytest.mark.parametrize("http2", [False, True])
    def test_every_endpoint_works(
        self, tls_url: str, authority: trustme.CA, user: str, http2: bool
    ) -> None:
        context = ssl.create_default_context()
        authority.configure_trust(context)
        with httpx.Client(base_url=tls_url, verify=context, http2=http2, http1=not http2) as client:
            added = client.post(f"/users/{user}/add", json={"amount": 2})
            assert (added.status_code, added.http_version) == (
                200,
                "HTTP/2" if http2 else "HTTP/1.1",
            )
            many = [{"user": user, "amount_micros": n} for n in range(1, 5001)]
            assert client.post("/v1/credits:batch", json=many).text.count("created") == 5000
            assert client.get(f"/users/{user}/balance").json() == {
                "Message": f"User {user} has a balance of $14.502500"
            }
            assert len(client.get(f"/users/{user}/history?page=2").json()) == 10
            assert client.get("/readyz").status_code == 200
            assert client.request("OPTIONS", f"/users/{user}/add").status_code == 405

    def test_a_peer_that_speaks_no_tls_is_closed_and_no_other(
        self, tls_url: str, authority: trustme.CA, user: str
    ) -> None:
        with connect(tls_url) as connection:
            connection.sendall(read(tls_url, user))
            with contextlib.suppress(ConnectionResetError):
                while connection.recv(4096):
                    pass
        context = ssl.create_default_context()
        authority.configure_trust(context)
        assert httpx.get(f"{tls_url}/healthz", verify=context).status_code == 200

    def test_a_certificate_without_its_key_is_refused(
        self, files: tuple[Path, Path], tmp_path: Path
    ) -> None:
        arguments = ["serve", "--data-dir", tmp_path / "data", "--port", "0"]
        alone = bitburst(*arguments, "--tls-certificate", files[0])
        wrong = bitburst(*arguments, "--tls-certificate", files[0], "--tls-key", files[0])
        assert (alone.status, wrong.status) == (1, 1)
        assert "needs both --tls-certificate and --tls-key" in alone.complaint
        assert "for TLS" in wrong.complaint
        assert "Traceback" not in alone.complaint + wrong.complaint
