"""Callers of HTTP/2 who begin what they do not mean: a connection each at most, and counted."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from exposition import metric
from h2.errors import ErrorCodes
from http2_client import Client
from hyperframe.frame import ContinuationFrame, HeadersFrame
from raw_http import balance

from api.http2_protocol import RESETS_MAX
from bench.server_process import ServerProcess

LIMITS = "bitburst_limit_hits_total"
REQUEST = (b"GET", b"/users/nobody/balance", None)
UNFINISHED = (b"POST", b"/users/u/add")
"""Its body does not come, so it is not answered for a while."""
FRAME_BYTES_MAX = 16_384
FRAMES_OF_A_BLOCK_MAX = 64
EMPTY = b"\0"
"""A header block that is not at its end."""


@pytest.fixture(params=["hypercorn", "fast-lane"])
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    flags = ("--server", request.param, "--keep-alive-s", "0.5", "--request-timeout-s", "2")
    with ServerProcess(tmp_path / "data", *flags) as started:
        yield started.url
        assert "Traceback" not in started.output()
        assert "connection broke" not in started.output()
        # Nobody else has noticed.
        assert balance(started.url, "nobody").status == 200


def headers(block: bytes) -> bytes:
    return HeadersFrame(1, block).serialize()


def continuation(block: bytes) -> bytes:
    return ContinuationFrame(1, block).serialize()


def test_who_resets_all_that_it_begins_is_cut_off(server: str) -> None:
    with Client(server) as client:
        for _ in range(RESETS_MAX + 1):
            client.reset(client.begin(*UNFINISHED, ended=False))

        assert client.terminated() == ErrorCodes.ENHANCE_YOUR_CALM
    assert metric(server, LIMITS, limit="stream_resets") == 1


def test_a_flood_of_resets_is_not_read_to_its_end(server: str) -> None:
    client = Client(server)
    # That takes longer than a connection may be idle.
    flood = b"".join(client.begun_and_reset(*REQUEST) for _ in range(3_000))
    with client:
        client.flood(flood)

        client.terminated()
    assert metric(server, LIMITS, limit="stream_resets") == 1


def test_who_has_others_answered_may_reset_for_ever(server: str) -> None:
    with Client(server) as client:
        for _ in range(2 * RESETS_MAX):
            client.reset(client.begin(*UNFINISHED, ended=False))
            assert [reply.status for reply in client.ask(REQUEST)] == [200]
    assert metric(server, LIMITS, limit="stream_resets") == 0


def test_requests_that_are_taken_back_at_once_leave_nothing_behind(server: str) -> None:
    with Client(server) as client:
        # More than a connection may have streams in its tree of priorities.
        for _ in range(22):
            client.send(b"".join(client.begun_and_reset(*REQUEST) for _ in range(50)))
            assert [reply.status for reply in client.ask(*[REQUEST] * 50)] == [200] * 50


def test_who_makes_the_server_reset_is_cut_off_as_well(server: str) -> None:
    with Client(server) as client:
        for _ in range(2):
            for _ in range(RESETS_MAX // 2):
                client.begin(b"CONNECT", b"")
            # They are read by now: more than a connection may have open would be another offence.
            client.ask(REQUEST)
        # Each answer made up for one.
        for _ in range(3):
            client.begin(b"CONNECT", b"")

        assert client.terminated() == ErrorCodes.ENHANCE_YOUR_CALM
    assert metric(server, LIMITS, limit="stream_resets") == 1


def test_a_stream_that_was_reset_does_not_keep_its_connection(server: str) -> None:
    with Client(server) as client:
        begun = client.begin(*UNFINISHED, ended=False)
        # It is handed on by now.
        client.ask(REQUEST)
        client.reset(begun)

        client.terminated()


def test_a_request_that_cannot_be_read_does_not_keep_its_connection(server: str) -> None:
    with Client(server) as client:
        client.begin(b"CONNECT", b"")

        client.terminated()


def test_a_header_block_of_too_many_frames_ends_its_connection(server: str) -> None:
    with Client(server) as client:
        client.send(headers(EMPTY) + continuation(b"") * FRAMES_OF_A_BLOCK_MAX)

        assert client.terminated() == ErrorCodes.PROTOCOL_ERROR


def test_a_header_block_of_too_many_bytes_ends_its_connection_before_its_end(server: str) -> None:
    frame = continuation(EMPTY * FRAME_BYTES_MAX)
    with Client(server) as client:
        client.send(headers(EMPTY * FRAME_BYTES_MAX) + frame * 4)

        assert client.terminated() == ErrorCodes.ENHANCE_YOUR_CALM
    assert metric(server, LIMITS, limit="head_bytes") == 1


def test_header_lines_that_become_large_when_they_are_read_end_their_connection(
    server: str,
) -> None:
    with Client(server) as client:
        # Each line but the first is one byte, an index.
        client.begin(*REQUEST, more=[(b"a", b"x" * 4_000)] * 100)

        assert client.terminated() == ErrorCodes.ENHANCE_YOUR_CALM


def test_a_header_block_that_takes_too_long_ends_its_connection(server: str) -> None:
    with Client(server) as client:
        # A body that is awaited keeps the connection from being idle.
        client.begin(*UNFINISHED, ended=False)
        client.send(HeadersFrame(3, EMPTY).serialize())

        assert client.terminated() == ErrorCodes.ENHANCE_YOUR_CALM
    assert metric(server, LIMITS, limit="request_time") >= 1
