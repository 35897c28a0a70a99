"""A request is told to be in flight while its fsync is: strace makes the disk slow."""

from pathlib import Path

import pytest
import strace
from eventually import eventually
from raw_http import Conversation, head, send

from bench.server_process import ServerProcess

SLOW = "fdatasync:delay_enter=1500000"
"""Microseconds."""
ONE = b'{"amount":1}'


def add(url: str, key: bytes) -> bytes:
    headers = [(b"Content-Length", b"%d" % len(ONE)), (b"Idempotency-Key", key)]
    return head(url, b"POST", b"/users/u/add", headers) + ONE


def state(url: str, key: bytes) -> str:
    found = send(url, b"GET", b"/v1/users/u/requests/%s" % key).json["state"]
    assert isinstance(found, str)
    return found


@pytest.mark.parametrize("kind", ["fast-lane", "hypercorn"])
def test_a_request_is_in_flight_until_it_is_durable(tmp_path: Path, kind: str) -> None:
    if reason := strace.reason_to_skip():
        pytest.skip(reason)
    data = tmp_path / "data"
    with ServerProcess(data) as first:
        assert first.stop() == 0
    wrapper = strace.tracing(tmp_path / "trace", "fdatasync", "-e", f"inject={SLOW}")
    flags = ("--snapshot-interval-s", "3600", "--server", kind)
    with (
        ServerProcess(data, *flags, wrapper=wrapper) as server,
        Conversation(server.url) as staged,
        Conversation(server.url) as waiting,
    ):
        staged.send(add(server.url, b"staged"))
        eventually(lambda: state(server.url, b"staged") == "in_flight")
        waiting.send(add(server.url, b"waiting"))
        eventually(lambda: state(server.url, b"waiting") == "in_flight")

        for conversation in (staged, waiting):
            answer = conversation.receive()
            assert answer is not None
            assert answer.status == 200
        assert [state(server.url, key) for key in (b"staged", b"waiting", b"never")] == [
            "done",
            "done",
            "unknown",
        ]
