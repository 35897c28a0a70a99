"""The lines of a request's head: how they end, what may stand in them, how much of it."""

import pytest
from agreement import (
    CLOSE,
    HOST,
    ONE,
    REPLAYED,
    Agreement,
    Expected,
    add,
    added,
    balance,
    get_balance,
    problem,
    request,
    saying,
)

from api import problem_types as types

NOT_HTTP = "this is not a request of HTTP/1.1"
ODD_LINE = f"{NOT_HTTP}: a line of the head is folded, or ends without CR LF"
TLS_CLIENT_HELLO = bytes.fromhex("16030100ee010000ea0303") + bytes(range(256))
TOO_LONG = 300_000
HEAD_BYTES_MAX = 65_536
HEAD_TOO_LONG = f"a head must be at most {HEAD_BYTES_MAX} bytes"
CUTS = [(), (1,), (30_000,), (65_535,), (65_536,), (16_384, 32_768, 49_152), (100, 65_530)]
"""Where the bytes of a long head are parted, each part a send of its own."""


def refused(status: int = 400, fragment: str = NOT_HTTP) -> Expected:
    return saying(status, fragment) + CLOSE


def test_lines_that_end_in_lf_alone_are_refused(servers_agree: Agreement, user: str) -> None:
    servers_agree.on(
        get_balance(user).replace(b"\r\n", b"\n"), gives=[refused(400, ODD_LINE)], closed=True
    )


def test_a_head_request_is_refused_without_a_body(servers_agree: Agreement, user: str) -> None:
    head = get_balance(user).replace(b"GET", b"HEAD").replace(b"\r\n", b"\n")

    servers_agree.on(
        head, gives=[(problem(types.MALFORMED_HTTP, ODD_LINE) + CLOSE).headed], closed=True
    )


@pytest.mark.parametrize("method", [b"head", b"get", b"Post"])
def test_a_method_that_is_not_in_upper_case_is_refused(
    servers_agree: Agreement, method: bytes
) -> None:
    request = method + b" /healthz HTTP/1.1\r\nHost: a\r\n\r\n"

    servers_agree.on(request, gives=[refused(400, "the method is not in upper case")], closed=True)


@pytest.mark.parametrize("number", range(4))
@pytest.mark.parametrize("line_end", [b"\n", b"\r", b"\r\r\n", b"\n\r\n"])
def test_one_line_that_ends_in_another_way_is_refused(
    servers_agree: Agreement, user: str, number: int, line_end: bytes
) -> None:
    lines = add(user, b"A: b").split(b"\r\n")
    lines[number : number + 2] = [lines[number] + line_end + lines[number + 1]]

    # Some of them leave the head without an end.
    servers_agree.on(b"\r\n".join(lines), gives=[refused()], ended=True)

    servers_agree.balance(user, "0.000000")


@pytest.mark.parametrize("fold", [b"\r\n ", b"\r\n\t", b"\n ", b"\r\n  \t "])
def test_a_folded_line_is_refused(servers_agree: Agreement, user: str, fold: bytes) -> None:
    servers_agree.on(
        get_balance(user, b"A: b" + fold + b"c"), gives=[refused(400, ODD_LINE)], closed=True
    )


def test_a_first_line_that_is_folded_is_refused(servers_agree: Agreement) -> None:
    servers_agree.on(
        b"GET /users/u/balance HTTP/1.1\r\n " + HOST + b"\r\n\r\n", gives=[refused()], closed=True
    )


@pytest.mark.parametrize("empty", [b"\r\n", b"\r\n\r\n", b"\n", b"\r", b" ", b"\t"])
def test_what_stands_before_the_request_line_is_refused(
    servers_agree: Agreement, user: str, empty: bytes
) -> None:
    servers_agree.on(empty + get_balance(user), gives=[refused()], closed=True)


def test_an_empty_line_between_requests_is_refused(servers_agree: Agreement, user: str) -> None:
    servers_agree.on(
        add(user) + b"\r\n" + get_balance(user),
        gives=[added(user), refused(400, "no request line")],
        closed=True,
    )


@pytest.mark.parametrize(
    "line",
    [
        b"Name : value",
        b"Name\t: value",
        b": value",
        b"Name",
        b"Na me: value",
        b"Na\0me: value",
        b"Na\x7fme: value",
        b"Na(me: value",
        b'Na"me: value',
        b"Na/me: value",
        b"Na@me: value",
        b"N\xc3\xa4me: value",
        b"Name: a\0b",
        b"Name: a\rb",
        b"Name: a\x0bb",
        b"Name: a\x0cb",
        b"Name: \0",
    ],
)
def test_a_header_line_that_cannot_be_read_is_refused(
    servers_agree: Agreement, user: str, line: bytes
) -> None:
    servers_agree.on(
        add(user, line), gives=[refused(400, f"{NOT_HTTP}: illegal header line")], closed=True
    )

    servers_agree.balance(user, "0.000000")


@pytest.mark.parametrize(
    "line",
    [
        b"Name:",
        b"Name:value",
        b"Name: \t value \t ",
        b"Name: a: b",
        b"!#$%&'*+-.^_`|~0: value",
        b"Name: \xc3\xa4\xff\x80",
        b"Name: a\x01b",
        b"Name: a\x7fb",
        b"X-Forwarded-For: a, b",
        b"Cookie: a=b",
        b"Accept-Encoding: gzip",
        b"Accept: text/html",
        b"If-None-Match: *",
        b"Range: bytes=0-1",
        b"Authorization: Basic Og==",
        b"TE: trailers",
        b"X-HTTP-Method-Override: DELETE",
        b"Content-Encoding: gzip",
    ],
)
def test_any_other_header_changes_nothing(servers_agree: Agreement, user: str, line: bytes) -> None:
    servers_agree.on(
        add(user, line) + get_balance(user, line),
        gives=[added(user), balance(user, "1.000000")],
    )


@pytest.mark.parametrize("count", [10, 100, 1_000, 5_000])
def test_many_headers_are_read(servers_agree: Agreement, user: str, count: int) -> None:
    servers_agree.on(add(user, *[b"A: %d" % i for i in range(count)]), gives=[added(user)])


@pytest.mark.parametrize("size", [1_000, 10_000, 60_000])
def test_a_long_header_is_read(servers_agree: Agreement, user: str, size: int) -> None:
    servers_agree.on(add(user, b"A: " + b"x" * size), gives=[added(user)])


@pytest.mark.parametrize(
    "lines",
    [
        [b"A: " + b"x" * TOO_LONG],
        [b"x" * TOO_LONG + b": a"],
        [b"A: b"] * (TOO_LONG // 6),
    ],
    ids=["value", "name", "lines"],
)
def test_a_head_that_is_too_long_is_refused(
    servers_agree: Agreement, user: str, lines: list[bytes]
) -> None:
    servers_agree.on(add(user, *lines), gives=[refused(431, HEAD_TOO_LONG)], closed=True)

    servers_agree.balance(user, "0.000000")


def test_a_head_that_is_too_long_is_refused_before_its_end(servers_agree: Agreement) -> None:
    servers_agree.on(
        b"GET /users/u/balance HTTP/1.1\r\nA: " + b"x" * 100_000,
        gives=[refused(431, HEAD_TOO_LONG)],
        closed=True,
    )


def head_of(size: int, line: bytes, *headers: bytes) -> bytes:
    """A request without a body, whose head has so many bytes."""
    shorter = request(line, *headers, b"A: ")
    return request(line, *headers, b"A: " + b"x" * (size - len(shorter)))


def parted(data: bytes, cuts: tuple[int, ...]) -> list[bytes]:
    return [data[a:b] for a, b in zip((0, *cuts), (*cuts, len(data)), strict=True)]


@pytest.mark.parametrize("cuts", CUTS)
@pytest.mark.parametrize("size", [HEAD_BYTES_MAX + 1, 70_000, 130_000])
@pytest.mark.parametrize(
    ("line", "header"),
    [
        (b"GET /users/u/balance HTTP/1.1", b"B: c"),
        (b"GET /nothing HTTP/1.1", b"B: c"),
        (b"BREW /users/u/balance HTTP/1.1", b"B: c"),
        (b"GET /users/u/balance HTTP/1.1", b"no header line"),
        (b"no request line", b"B: c"),
    ],
)
def test_a_head_that_is_too_long_is_refused_for_that_however_it_arrives(
    servers_agree: Agreement, line: bytes, header: bytes, size: int, cuts: tuple[int, ...]
) -> None:
    servers_agree.on(
        *parted(head_of(size, line, header), cuts),
        gives=[refused(431, HEAD_TOO_LONG)],
        closed=True,
    )


@pytest.mark.parametrize("cuts", CUTS)
def test_a_head_of_the_most_bytes_is_read_however_it_arrives(
    servers_agree: Agreement, user: str, cuts: tuple[int, ...]
) -> None:
    longest = head_of(HEAD_BYTES_MAX, b"GET /users/%s/balance HTTP/1.1" % user.encode())

    servers_agree.on(*parted(longest, cuts), gives=[balance(user, "0.000000")])


@pytest.mark.parametrize("cuts", CUTS)
def test_a_head_that_is_too_long_behind_another_request_is_refused(
    servers_agree: Agreement, user: str, cuts: tuple[int, ...]
) -> None:
    too_long = head_of(70_000, b"GET /nothing HTTP/1.1")

    servers_agree.on(
        *parted(add(user) + too_long, cuts),
        gives=[added(user), refused(431, HEAD_TOO_LONG)],
        closed=True,
    )


def test_long_heads_and_bodies_may_follow_each_other_at_once(
    servers_agree: Agreement, user: str
) -> None:
    head = head_of(40_000, b"GET /users/%s/balance HTTP/1.1" % user.encode())
    long_add = add(user, b"A: " + b"x" * 40_000, body=ONE + b" " * 50_000)

    servers_agree.on(
        head + long_add + head,
        gives=[balance(user, "0.000000"), added(user), balance(user, "1.000000")],
    )


def test_a_target_that_is_too_long_is_refused(servers_agree: Agreement) -> None:
    servers_agree.on(get_balance("x" * TOO_LONG), gives=[refused(431, HEAD_TOO_LONG)], closed=True)


@pytest.mark.parametrize(
    "line",
    [
        b"GET /users/u/balance",
        b"GET /users/u/balance ",
        b"GET /users/u/balance HTTP/1.1 ",
        b"GET  /users/u/balance HTTP/1.1",
        b"GET /users/u/balance  HTTP/1.1",
        b"GET\t/users/u/balance\tHTTP/1.1",
        b"GET /users/a b/balance HTTP/1.1",
        b"GET /users/u/balance http/1.1",
        b"GET /users/u/balance HTTP/1",
        b"GET /users/u/balance HTTP/11",
        b"GET /users/u/balance HTTP/1.10",
        b"GET /users/u/balance HTTP/x.y",
        b"GET /users/u/balance HTTPS/1.1",
        b"GET /users/u/balance ICY/1.1",
        b"GET",
        b"G@T /users/u/balance HTTP/1.1",
        b"G\0T /users/u/balance HTTP/1.1",
        b"/users/u/balance HTTP/1.1",
        b"GET /users/\x7f/balance HTTP/1.1",
        b"GET /users/\xc3\xbc/balance HTTP/1.1",
        b"GET /users/u\0/balance HTTP/1.1",
        b"GET /users/u/history?page=\xff HTTP/1.1",
        b"HTTP/1.1 200 OK",
    ],
)
def test_a_request_line_that_cannot_be_read_is_refused(
    servers_agree: Agreement, line: bytes
) -> None:
    servers_agree.on(request(line), gives=[refused()], closed=True)


@pytest.mark.parametrize("version", [b"HTTP/2.0", b"HTTP/3.0", b"HTTP/0.9", b"HTTP/9.9"])
def test_another_version_is_refused(servers_agree: Agreement, user: str, version: bytes) -> None:
    servers_agree.on(
        add(user).replace(b"HTTP/1.1", version),
        gives=[
            problem(types.UNSUPPORTED_VERSION, "send HTTP/1.1, or HTTP/2 from its preface on")
            + CLOSE
        ],
        closed=True,
    )

    servers_agree.balance(user, "0.000000")


def test_a_minor_version_to_come_is_answered(servers_agree: Agreement, user: str) -> None:
    servers_agree.on(add(user).replace(b"HTTP/1.1", b"HTTP/1.2"), gives=[added(user)])


@pytest.mark.parametrize("garbage", [TLS_CLIENT_HELLO, bytes(range(256)), b"\0" * 50, b"\x80\n\n"])
def test_what_is_not_http_at_all_is_refused(servers_agree: Agreement, garbage: bytes) -> None:
    servers_agree.on(garbage, gives=[refused()], closed=True)


@pytest.mark.parametrize("begun", [b"\xff\xfe\xfd", b"G", b"GET /users", b"GET / HTTP/1.1\r\nHo"])
def test_a_head_without_an_end_is_refused(servers_agree: Agreement, begun: bytes) -> None:
    servers_agree.on(begun, gives=[refused()], ended=True)


def test_a_connection_without_a_request_is_closed(servers_agree: Agreement) -> None:
    servers_agree.on(gives=[], ended=True)


@pytest.mark.parametrize(
    ("hosts", "fragment"),
    [
        ((), "Missing mandatory Host"),
        ((b"Host: bitburst", b"Host: bitburst"), "multiple Host"),
        ((b"Host: a", b"host: b"), "multiple Host"),
    ],
)
def test_a_request_names_one_host(
    servers_agree: Agreement, user: str, hosts: tuple[bytes, ...], fragment: str
) -> None:
    servers_agree.on(
        add(user).replace(HOST + b"\r\n", b"".join(host + b"\r\n" for host in hosts)),
        gives=[refused(400, fragment)],
        closed=True,
    )

    servers_agree.balance(user, "0.000000")


@pytest.mark.parametrize("host", [b"Host:", b"HOST: a:1", b"Host: [", b"Host: a b", b"Host: \xff"])
def test_which_host_is_named_does_not_matter(
    servers_agree: Agreement, user: str, host: bytes
) -> None:
    servers_agree.on(add(user).replace(HOST, host), gives=[added(user)])


def test_the_host_may_come_last(servers_agree: Agreement, user: str) -> None:
    late = add(user).replace(HOST + b"\r\n", b"").replace(b"\r\n\r\n", b"\r\n" + HOST + b"\r\n\r\n")

    servers_agree.on(late, gives=[added(user)])


@pytest.mark.parametrize("name", [b"Idempotency-Key", b"idempotency-key", b"IDEMPOTENCY-KEY"])
def test_the_name_of_a_header_may_be_written_in_any_case(
    servers_agree: Agreement, user: str, name: bytes
) -> None:
    servers_agree.on(
        add(user, name + b": key") + add(user, b"iDempotency-kEy:key"),
        gives=[added(user), added(user) + REPLAYED],
    )

    servers_agree.balance(user, "1.000000")
