"""Limits on what callers control, behind the fast lane as well as on it."""

import contextlib
from pathlib import Path
from typing import Any, cast

import pytest
from bitburst_command import make_key
from eventually import eventually
from raw_http import connect, head, receive, send
from unobserved import unobserved

from api.app import PUBLIC, create_app
from bench.server_process import ServerProcess

BULK = b"/v1/credits:batch"
CHUNKED = (b"Transfer-Encoding", b"chunked")
MIB = 1024 * 1024


@pytest.mark.parametrize("kind", ["fast-lane", "hypercorn"])
def test_one_connection_more_than_may_be_open_gets_503(tmp_path: Path, kind: str) -> None:
    flags = ("--server", kind, "--connections-max", "3")
    with ServerProcess(tmp_path / "data", *flags) as server, contextlib.ExitStack() as stack:
        for _ in range(3):
            connection = stack.enter_context(connect(server.url))
            connection.sendall(head(server.url, b"GET", b"/healthz"))
            assert receive(connection).status == 200
        refused = receive(stack.enter_context(connect(server.url)))
        assert (refused.status, refused.headers["connection"]) == (503, "close")
        connection.close()
        eventually(lambda: send(server.url, b"GET", b"/healthz").status == 200)


@pytest.mark.parametrize("kind", ["fast-lane", "hypercorn"])
def test_bodies_of_unknown_length_that_are_too_many_at_once_are_refused(
    tmp_path: Path, kind: str
) -> None:
    with ServerProcess(tmp_path / "data", "--server", kind) as server, contextlib.ExitStack() as st:
        begun = head(server.url, b"POST", BULK, [CHUNKED, (b"Expect", b"100-continue")])
        for _ in range(8):
            connection = st.enter_context(connect(server.url))
            connection.sendall(begun)
            # It waits for the body: its room is taken.
            assert connection.recv(1024).startswith(b"HTTP/1.1 100 ")
        refused = send(server.url, b"POST", BULK, None, [CHUNKED])
        assert (refused.status, refused.message) == (503, "too many bodies are under way")
        assert refused.headers["retry-after"] == "1"
        # Reads go on: they need no room.
        assert send(server.url, b"HEAD", b"/healthz").status == 200
        connection.close()
        body = b"[" + b" " * (8 * MIB - 2) + b"]"
        eventually(lambda: send(server.url, b"POST", BULK, body).status == 200)


@pytest.mark.parametrize("kind", ["fast-lane", "hypercorn"])
def test_a_body_that_would_take_far_more_than_it_brings_is_refused(
    tmp_path: Path, kind: str
) -> None:
    with ServerProcess(tmp_path / "data", "--server", kind) as server:
        body = b"[[" + b"{}," * 2_000_000 + b"{}]]"
        assert send(server.url, b"POST", BULK, body).status == 413
        assert server.memory().anonymous_mb < 300


def test_every_endpoint_that_is_not_public_needs_a_key(tmp_path: Path) -> None:
    """Also those that will be added: whoever adds one has to say that it is public."""
    path = tmp_path / "keys.json"
    make_key(path, "--scope", "admin")
    app = create_app(
        cast(Any, None),
        body_bytes_max=1,
        bulk_bytes_max=1,
        request_timeout_s=1,
        observation=unobserved(),
    )
    with ServerProcess(tmp_path / "data", "--keys-file", str(path)) as server:
        for rule in app.url_map.iter_rules():
            target = rule.rule.replace("<user>", "u").replace("<key>", "k").encode()
            assert "<" not in target.decode()
            for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"}):
                status = send(server.url, method.encode(), target, None).status
                assert (status == 401) == (rule.endpoint not in PUBLIC), (method, target)
