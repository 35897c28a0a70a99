"""Where a request ends: what is plain is read, what two readers may see differently is refused."""

import pytest
from agreement import (
    CLOSE,
    CONTINUE,
    ONE,
    Agreement,
    Expected,
    add,
    added,
    balance,
    bare_add,
    get_balance,
    problem,
    request,
    saying,
)

from api import problem_types as types

LENGTH = b"Content-Length: %d" % len(ONE)
CHUNKED = b"Transfer-Encoding: chunked"
CHUNKS = b"5\r\n" + ONE[:5] + b"\r\n7\r\n" + ONE[5:] + b"\r\n0\r\n\r\n"
BODY_BYTES_MAX = 65_536
TOO_LARGE = (
    problem(types.BODY_TOO_LARGE, f"the body must be at most {BODY_BYTES_MAX} bytes") + CLOSE
)
NO_BODY = problem(
    types.MALFORMED_REQUEST, "the body is not JSON: Expecting value at line 1 column 1"
)


def assert_refused(
    servers: Agreement,
    user: str,
    headers: tuple[bytes, ...],
    body: bytes,
    refusal: Expected,
) -> None:
    """The add is refused together with its connection, and nothing is counted."""
    servers.on(bare_add(user, *headers, body=body), gives=[refusal + CLOSE], closed=True)
    servers.balance(user, "0.000000")


@pytest.mark.parametrize(
    "length",
    [
        b"Content-Length: 12",
        b"content-length:12",
        b"CONTENT-LENGTH: \t12 \t",
        b"Content-Length: 00000000000000000012",
        b"Content-Length: 12, 12",
        b"Content-Length: 12\r\nContent-Length: 12",
        b"Content-Length: 12\r\ncontent-length: 12, 12",
    ],
)
def test_a_length_that_can_only_be_read_in_one_way_is_taken(
    servers_agree: Agreement, user: str, length: bytes
) -> None:
    servers_agree.on(
        bare_add(user, length, body=ONE) + get_balance(user),
        gives=[added(user), balance(user, "1.000000")],
    )


@pytest.mark.parametrize(
    "length",
    [
        b"Content-Length: 12\r\nContent-Length: 11",
        b"Content-Length: 11\r\nContent-Length: 12",
        b"Content-Length: 12\r\nContent-Length: 012",
        b"Content-Length: 12\r\nX: y\r\ncontent-length: 13",
        b"Content-Length: 12, 11",
        b"Content-Length: 12,",
        b"Content-Length: ,12",
        b"Content-Length: 12 12",
        b"Content-Length:\r\n 12",
        b"Content-Length: 1\r\n 2",
        b"X: y\n Content-Length: 12",
        b"X: y\nContent-Length: 12",
        b"X: y\rContent-Length: 12",
        b"Content-Length: 12;",
        b"Content-Length: +12",
        b"Content-Length: -12",
        b"Content-Length: -0",
        b"Content-Length: 0xc",
        b"Content-Length: c",
        b"Content-Length: 12.0",
        b"Content-Length: 1_2",
        b"Content-Length: 1e1",
        b'Content-Length: "12"',
        b"Content-Length: \xd9\xa1",
        b"Content-Length:",
        b"Content-Length: ",
        b"Content-Length: x",
        b"Content-Length: 12\x0b",
        b"Content-Length: 12\0",
        b"Content-Length: 999999999999999999999",
        b"Content-Length: " + b"9" * 5_000,
        b"Content-Length : 12",
        b"Content-Length\t: 12",
        b" Content-Length: 12\r\nX: y",
    ],
    ids=lambda value: value[:60],
)
def test_a_length_that_two_readers_may_see_differently_is_refused(
    servers_agree: Agreement, user: str, length: bytes
) -> None:
    assert_refused(servers_agree, user, (length,), ONE, saying(400))


@pytest.mark.parametrize("length", [2**31, 2**32 + 12, 2**63, 2**64 + 12, 10**20 - 1])
def test_a_length_past_any_limit_is_refused(
    servers_agree: Agreement, user: str, length: int
) -> None:
    assert_refused(servers_agree, user, (b"Content-Length: %d" % length,), ONE, TOO_LARGE)


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ((LENGTH, CHUNKED), CHUNKS),
        ((CHUNKED, LENGTH), CHUNKS),
        ((CHUNKED, b"Content-Length: %d" % len(CHUNKS)), CHUNKS),
        ((b"Content-Length: 0", CHUNKED), CHUNKS),
        ((b"Content-Length: 4", CHUNKED), b"0\r\n\r\n"),
        ((b"transfer-encoding:CHUNKED", b"content-length:12"), CHUNKS),
    ],
)
def test_length_and_chunks_together_are_refused(
    servers_agree: Agreement, user: str, headers: tuple[bytes, ...], body: bytes
) -> None:
    assert_refused(servers_agree, user, headers, body, saying(400, "Transfer-Encoding, not both"))


def test_a_request_smuggled_behind_two_framings_is_not_answered(
    servers_agree: Agreement, user: str
) -> None:
    smuggling = bare_add(user, b"Content-Length: 5", CHUNKED, body=b"0\r\n\r\n" + add(user))

    servers_agree.on(smuggling, gives=[saying(400) + CLOSE], closed=True)

    servers_agree.balance(user, "0.000000")


@pytest.mark.parametrize(
    "coding",
    [
        b"Transfer-Encoding: identity",
        b"Transfer-Encoding: gzip",
        b"Transfer-Encoding: gzip, chunked",
        b"Transfer-Encoding: chunked, chunked",
        b"Transfer-Encoding: chunked, identity",
        b"Transfer-Encoding: chunked;q=1",
        b"Transfer-Encoding: xchunked",
        b"Transfer-Encoding: chunked,",
        b'Transfer-Encoding: "chunked"',
        b"Transfer-Encoding:",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
        b"Transfer-Encoding: identity\r\nTransfer-Encoding: chunked",
    ],
)
def test_a_coding_that_is_not_just_chunked_is_refused(
    servers_agree: Agreement, user: str, coding: bytes
) -> None:
    assert_refused(servers_agree, user, (coding,), CHUNKS, saying(501, "Transfer-Encoding"))


@pytest.mark.parametrize(
    "coding",
    [
        b"Transfer-Encoding : chunked",
        b"Transfer-Encoding: \x0bchunked",
        b"Transfer-Encoding: chunked\0",
        b"Transfer-Encoding: chun\rked",
        b"Transfer-Encoding:\r\n chunked",
        b"X: y\nTransfer-Encoding: chunked",
        b"X: y\rTransfer-Encoding: chunked",
    ],
)
def test_a_coding_that_is_hidden_is_refused(
    servers_agree: Agreement, user: str, coding: bytes
) -> None:
    assert_refused(servers_agree, user, (coding,), CHUNKS, saying(400, "line"))


def test_chunks_in_a_version_that_has_none_are_refused(servers_agree: Agreement, user: str) -> None:
    old = bare_add(user, CHUNKED, body=CHUNKS).replace(b"HTTP/1.1", b"HTTP/1.0")

    servers_agree.on(old, gives=[saying(400, "no Transfer-Encoding") + CLOSE], closed=True)

    servers_agree.balance(user, "0.000000")


@pytest.mark.parametrize(
    ("coding", "chunks"),
    [
        (CHUNKED, CHUNKS),
        (b"transfer-encoding:CHUNKED", CHUNKS),
        (CHUNKED, b"C\r\n" + ONE + b"\r\n0\r\n\r\n"),
        (CHUNKED, b"000c\r\n" + ONE + b"\r\n000\r\n\r\n"),
        (CHUNKED, b"".join(b"1\r\n%c\r\n" % byte for byte in ONE) + b"0\r\n\r\n"),
        (CHUNKED, b"c;name=value\r\n" + ONE + b"\r\n0;last\r\n\r\n"),
        (CHUNKED, b'c;name="a\\"b;c"\r\n' + ONE + b"\r\n0\r\n\r\n"),
        (CHUNKED, b"c;" + b"x" * 10_000 + b"\r\n" + ONE + b"\r\n0\r\n\r\n"),
        (CHUNKED, CHUNKS[:-2] + b"Trailer: value\r\nOther: value\r\n\r\n"),
        (CHUNKED, CHUNKS[:-2] + b"Content-Length: 1\r\nIdempotency-Key: a\r\n\r\n"),
    ],
    ids=lambda value: value[:40],
)
def test_a_body_in_chunks_is_read_to_its_end(
    servers_agree: Agreement, user: str, coding: bytes, chunks: bytes
) -> None:
    servers_agree.on(
        bare_add(user, coding, body=chunks) + get_balance(user),
        gives=[added(user), balance(user, "1.000000")],
    )


@pytest.mark.parametrize(
    "chunks",
    [
        b"x\r\n" + ONE + b"\r\n0\r\n\r\n",
        b"0xc\r\n" + ONE + b"\r\n0\r\n\r\n",
        b"+c\r\n" + ONE + b"\r\n0\r\n\r\n",
        b"-c\r\n" + ONE + b"\r\n0\r\n\r\n",
        b" c\r\n" + ONE + b"\r\n0\r\n\r\n",
        b"c_\r\n" + ONE + b"\r\n0\r\n\r\n",
        b"\r\n" + ONE + b"\r\n0\r\n\r\n",
        b";c\r\n" + ONE + b"\r\n0\r\n\r\n",
        b"c,c\r\n" + ONE + b"\r\n0\r\n\r\n",
        b"c\0\r\n" + ONE + b"\r\n0\r\n\r\n",
        b"c\n" + ONE + b"\r\n0\r\n\r\n",
        b"f" * 21 + b"\r\n" + ONE + b"\r\n0\r\n\r\n",
        b"b\r\n" + ONE + b"\r\n0\r\n\r\n",
        b"d\r\n" + ONE + b"\r\n0\r\n\r\n",
        b"c\r\n" + ONE + b"0\r\n\r\n",
        CHUNKS[:-2] + b"Trailer\r\n\r\n",
        CHUNKS[:-2] + b"Trailer : value\r\n\r\n",
    ],
    ids=lambda value: value[:20],
)
def test_chunks_that_cannot_be_read_are_refused(
    servers_agree: Agreement, user: str, chunks: bytes
) -> None:
    assert_refused(servers_agree, user, (CHUNKED,), chunks, saying(400, "this is not a request"))


@pytest.mark.parametrize("body", [CHUNKS[:4], CHUNKS[:-7], CHUNKS[:-2], b""])
def test_chunks_without_an_end_are_refused(
    servers_agree: Agreement, user: str, body: bytes
) -> None:
    servers_agree.on(bare_add(user, CHUNKED, body=body), gives=[saying(400) + CLOSE], ended=True)

    servers_agree.balance(user, "0.000000")


@pytest.mark.parametrize("line_end", [b"\n", b"\r"])
def test_chunks_with_other_line_ends_are_refused(
    servers_agree: Agreement, user: str, line_end: bytes
) -> None:
    chunks = CHUNKS.replace(b"\r\n", line_end)

    servers_agree.on(bare_add(user, CHUNKED, body=chunks), gives=[saying(400) + CLOSE], ended=True)

    servers_agree.balance(user, "0.000000")


@pytest.mark.parametrize("sent", [b"", b"{", ONE[:-1], ONE])
def test_a_body_shorter_than_it_says_is_refused(
    servers_agree: Agreement, user: str, sent: bytes
) -> None:
    servers_agree.on(
        bare_add(user, b"Content-Length: 13", body=sent),
        gives=[saying(400, "without sending complete message body") + CLOSE],
        ended=True,
    )

    servers_agree.balance(user, "0.000000")


def test_what_is_behind_a_body_is_the_next_request(servers_agree: Agreement, user: str) -> None:
    servers_agree.on(
        add(user) + b"GET /healthz",
        gives=[added(user), saying(400, "this is not a request of HTTP/1.1") + CLOSE],
        ended=True,
    )

    servers_agree.balance(user, "1.000000")


def test_garbage_behind_a_body_does_not_undo_it(servers_agree: Agreement, user: str) -> None:
    servers_agree.on(
        add(user) + b"}}}\r\n\r\n",
        gives=[added(user), saying(400, "illegal request line") + CLOSE],
        closed=True,
    )

    servers_agree.balance(user, "1.000000")


def test_garbage_behind_the_last_request_is_not_looked_at(
    servers_agree: Agreement, user: str
) -> None:
    servers_agree.on(
        add(user, b"Connection: close") + b"\0\xff}}}\r\n\r\n" + add(user),
        gives=[added(user) + CLOSE],
        closed=True,
    )

    servers_agree.balance(user, "1.000000")


def test_without_a_length_there_is_no_body(servers_agree: Agreement, user: str) -> None:
    servers_agree.on(bare_add(user) + get_balance(user), gives=[NO_BODY, balance(user, "0.000000")])


def test_an_empty_body_is_refused(servers_agree: Agreement, user: str) -> None:
    servers_agree.on(add(user, body=b""), gives=[NO_BODY])


def test_a_balance_may_be_asked_for_with_a_body(servers_agree: Agreement, user: str) -> None:
    asking = get_balance(user, b"Content-Length: 3") + b"abc"

    servers_agree.on(asking + get_balance(user), gives=[balance(user, "0.000000")] * 2)


@pytest.mark.parametrize("size", [BODY_BYTES_MAX + 1, 3_000_000])
def test_a_body_over_the_limit_is_refused_with_its_connection(
    servers_agree: Agreement, user: str, size: int
) -> None:
    servers_agree.on(add(user, body=ONE.ljust(size)) + add(user), gives=[TOO_LARGE], closed=True)

    servers_agree.balance(user, "0.000000")


@pytest.mark.parametrize("chunk", [1_000, BODY_BYTES_MAX + 1])
def test_chunks_over_the_limit_are_refused_with_their_connection(
    servers_agree: Agreement, user: str, chunk: int
) -> None:
    chunks = b"%x\r\n%s\r\n" % (chunk, b" " * chunk) * (BODY_BYTES_MAX // chunk + 1)

    servers_agree.on(
        bare_add(user, CHUNKED, body=chunks + b"0\r\n\r\n"), gives=[TOO_LARGE], closed=True
    )

    servers_agree.balance(user, "0.000000")


def test_a_body_at_the_limit_is_read(servers_agree: Agreement, user: str) -> None:
    servers_agree.on(
        add(user, body=ONE.ljust(BODY_BYTES_MAX)) + get_balance(user),
        gives=[added(user), balance(user, "1.000000")],
    )


@pytest.mark.parametrize("expect", [b"Expect: 100-continue", b"expect:100-Continue"])
def test_a_caller_who_waits_is_asked_for_the_body(
    servers_agree: Agreement, user: str, expect: bytes
) -> None:
    servers_agree.on(bare_add(user, LENGTH, expect), ONE, gives=[CONTINUE, added(user)])

    servers_agree.balance(user, "1.000000")


def test_a_caller_who_waits_with_chunks_is_asked_for_them(
    servers_agree: Agreement, user: str
) -> None:
    servers_agree.on(
        bare_add(user, CHUNKED, b"Expect: 100-continue"), CHUNKS, gives=[CONTINUE, added(user)]
    )


def test_a_caller_who_waits_is_asked_once_for_each_request(
    servers_agree: Agreement, user: str
) -> None:
    waiting = bare_add(user, LENGTH, b"Expect: 100-continue")

    servers_agree.on(
        add(user) + waiting,
        ONE + waiting,
        ONE + get_balance(user),
        gives=[added(user), *[CONTINUE, added(user)] * 2, balance(user, "3.000000")],
    )


def test_another_expectation_is_no_expectation(servers_agree: Agreement, user: str) -> None:
    servers_agree.on(get_balance(user, b"Expect: more"), gives=[balance(user, "0.000000")])


def test_an_old_version_expects_nothing(servers_agree: Agreement, user: str) -> None:
    waiting = add(user, b"Expect: 100-continue").replace(b"HTTP/1.1", b"HTTP/1.0")

    servers_agree.on(waiting, gives=[added(user) + CLOSE], closed=True)


def test_a_request_line_alone_is_not_yet_a_request(servers_agree: Agreement) -> None:
    servers_agree.on(
        request(b"GET /users/u/balance HTTP/1.1")[:-2],
        gives=[saying(400, "closed connection") + CLOSE],
        ended=True,
    )
