import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from bench.errors import ConnectionLostError, UnreadableAnswerError, UnusableUrlError
from bench.http_client import (
    BODY_BYTES_MAX,
    Answer,
    Connection,
    Origin,
    open_connection,
    parse_origin,
    resolve,
)

REQUEST = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
COUNTED = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-Mark: yes\r\n\r\nhello"
CHUNKED = (
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3;note=1\r\nllo\r\n0\r\n\r\n"
)


@contextmanager
def connected() -> Iterator[tuple[Connection, socket.socket]]:
    """A connection and the other end of it."""
    near, far = socket.socketpair()
    near.setblocking(False)
    connection = Connection(near)
    with far:
        try:
            yield connection, far
        finally:
            connection.close()


async def answer_to(*pieces: bytes, then_close: bool = False) -> Answer:
    """The answer to one request that is answered with these pieces, each received by itself."""
    answers: list[Answer] = []

    async def ask() -> None:
        answers.append(await connection.ask(REQUEST))

    with connected() as (connection, far):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            for piece in pieces:
                await wait_all_tasks_blocked()
                far.sendall(piece)
            if then_close:
                await wait_all_tasks_blocked()
                far.close()
    return answers[0]


@pytest.mark.parametrize("whole", [COUNTED, CHUNKED])
async def test_an_answer_in_one_piece_is_read(whole: bytes) -> None:
    answer = await answer_to(whole)
    assert (answer.status, answer.body) == (200, b"hello")


@pytest.mark.parametrize("whole", [COUNTED, CHUNKED])
async def test_an_answer_cut_anywhere_is_read(whole: bytes) -> None:
    for cut in range(1, len(whole)):
        assert (await answer_to(whole[:cut], whole[cut:])).body == b"hello"


async def test_an_answer_byte_by_byte_is_read() -> None:
    answer = await answer_to(*(bytes([byte]) for byte in COUNTED))
    assert answer.header(b"x-mark") == b"yes"
    assert answer.header(b"retry-after") is None
    assert answer.body == b"hello"


async def test_an_empty_body_is_read() -> None:
    answer = await answer_to(b"HTTP/1.1 503 Busy\r\nRetry-After: 2\r\nContent-Length: 0\r\n\r\n")
    assert (answer.status, answer.body) == (503, b"")
    assert answer.header(b"retry-after") == b"2"


async def test_an_interim_answer_is_passed_over() -> None:
    answer = await answer_to(b"HTTP/1.1 100 Continue\r\n\r\n", COUNTED)
    assert (answer.status, answer.body) == (200, b"hello")


@pytest.mark.parametrize("received", [b"", COUNTED[:10], COUNTED[:-1], CHUNKED[:-2]])
async def test_a_connection_closed_before_or_in_an_answer_is_lost(received: bytes) -> None:
    with pytest.RaisesGroup(ConnectionLostError):
        await answer_to(*([received] if received else []), then_close=True)


@pytest.mark.parametrize("received", [b"220 mail ready\r\n", b"HTTP/1.1 2x0 OK\r\n\r\n"])
async def test_what_is_no_http_is_refused(received: bytes) -> None:
    with pytest.RaisesGroup(UnreadableAnswerError):
        await answer_to(received)


async def test_an_answer_that_nobody_asked_for_is_refused() -> None:
    with pytest.RaisesGroup(UnreadableAnswerError):
        await answer_to(COUNTED + COUNTED)


async def test_a_body_past_the_limit_is_refused() -> None:
    head = f"HTTP/1.1 200 OK\r\nContent-Length: {BODY_BYTES_MAX + 1}\r\n\r\n".encode()
    with connected() as (connection, far):
        far.setblocking(False)
        stream = trio.SocketStream(trio.socket.from_stdlib_socket(far.dup()))
        async with trio.open_nursery() as nursery, stream:
            nursery.start_soon(stream.send_all, head + bytes(BODY_BYTES_MAX + 1))
            with pytest.raises(UnreadableAnswerError, match="exceeds"):
                await connection.ask(REQUEST)
            nursery.cancel_scope.cancel()


async def test_a_connection_is_kept_for_the_next_request() -> None:
    with connected() as (connection, far):
        for number in range(3):
            far.sendall(COUNTED)
            assert (await connection.ask(REQUEST)).body == b"hello"
            assert far.recv(1000) == REQUEST, number
            assert connection.reusable


async def test_answers_to_requests_sent_together_come_in_order() -> None:
    with connected() as (connection, far):
        await connection.send(REQUEST)
        await connection.send(REQUEST)
        far.sendall(COUNTED + CHUNKED)
        assert (await connection.receive()).header(b"x-mark") == b"yes"
        assert (await connection.receive()).header(b"x-mark") is None


async def test_a_connection_that_the_server_ends_is_not_used_again() -> None:
    with connected() as (connection, far):
        far.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
        await connection.ask(REQUEST)
        assert not connection.reusable


async def test_closing_wakes_the_one_who_waits() -> None:
    with connected() as (connection, _):
        async with trio.open_nursery() as nursery:

            async def wait() -> None:
                with pytest.raises(ConnectionLostError, match="on this side"):
                    await connection.ask(REQUEST)

            nursery.start_soon(wait)
            await wait_all_tasks_blocked()
            connection.close()
            connection.close()
        assert not connection.reusable


async def test_sending_into_a_full_buffer_waits_until_all_is_sent() -> None:
    large = REQUEST + bytes(4_000_000)
    received = 0
    with connected() as (connection, far):
        far.setblocking(False)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(connection.send, large)
            while received < len(large):
                await trio.lowlevel.wait_readable(far)
                received += len(far.recv(65_536))
    assert received == len(large)


async def test_connecting_where_nobody_listens_is_a_lost_connection() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = await resolve(Origin("127.0.0.1", unused.getsockname()[1]))
        with pytest.raises(ConnectionLostError, match="refused"):
            await open_connection(address, connect_seconds_max=5)


@pytest.mark.parametrize(
    ("url", "authority"),
    [
        ("http://127.0.0.1:8080", "127.0.0.1:8080"),
        ("http://localhost:9/", "localhost:9"),
        ("http://[::1]:8080", "[::1]:8080"),
        ("http://localhost", "localhost:80"),
    ],
)
def test_an_origin_is_read_from_its_url(url: str, authority: str) -> None:
    assert parse_origin(url).authority == authority


@pytest.mark.parametrize(
    "url", ["", "localhost:8080", "https://x", "http://", "http://x/base", "http://x:port"]
)
def test_what_is_no_origin_is_refused(url: str) -> None:
    with pytest.raises(UnusableUrlError):
        parse_origin(url)
