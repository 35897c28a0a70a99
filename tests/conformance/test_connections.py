"""One connection: when it stays, when it is closed, and how its bytes may be cut."""

import pytest
from agreement import (
    CLOSE,
    NOTHING_THERE,
    ONE,
    Agreement,
    Expected,
    add,
    added,
    balance,
    bare_add,
    get_balance,
    message,
    not_allowed,
    request,
)

KEEP_ALIVE = b"Connection: keep-alive"


@pytest.mark.parametrize(
    "line",
    [
        b"Connection: close",
        b"connection:CLOSE",
        b"Connection: keep-alive, close",
        b"Connection: close, keep-alive",
        b"Connection: x,  Close\t,y",
        b"Connection: keep-alive\r\nConnection: close",
        b"Connection: close\r\nConnection: keep-alive",
        b"Connection: close\r\nConnection: Upgrade\r\nUpgrade: h2c",
    ],
)
def test_a_connection_that_is_to_be_closed_is_closed_behind_the_answer(
    servers_agree: Agreement, user: str, line: bytes
) -> None:
    servers_agree.on(add(user, line), gives=[added(user) + CLOSE], closed=True)
    servers_agree.on(
        get_balance(user, line), gives=[balance(user, "1.000000") + CLOSE], closed=True
    )


@pytest.mark.parametrize(
    "line",
    [
        KEEP_ALIVE,
        b"connection: Keep-Alive",
        b"Connection:",
        b"Connection: x",
        b"Connection: closed",
        b"Connection: keep-alive, close-not",
        b"Connection: content-length",
        b"Keep-Alive: timeout=1, max=1",
        b"Proxy-Connection: close",
    ],
)
def test_any_other_connection_stays(servers_agree: Agreement, user: str, line: bytes) -> None:
    servers_agree.on(
        add(user, line) + get_balance(user, line), gives=[added(user), balance(user, "1.000000")]
    )


@pytest.mark.parametrize("lines", [(), (KEEP_ALIVE,), (b"Connection: close",)])
def test_a_connection_of_the_old_version_is_closed(
    servers_agree: Agreement, user: str, lines: tuple[bytes, ...]
) -> None:
    old = add(user, *lines).replace(b"HTTP/1.1", b"HTTP/1.0")

    servers_agree.on(old + add(user), gives=[added(user) + CLOSE], closed=True)

    servers_agree.balance(user, "1.000000")


def test_the_old_version_needs_no_host(servers_agree: Agreement, user: str) -> None:
    servers_agree.on(
        b"GET /users/%s/balance HTTP/1.0\r\n\r\n" % user.encode(),
        gives=[balance(user, "0.000000") + CLOSE],
        closed=True,
    )


def test_a_refusal_by_the_ledger_leaves_the_connection(servers_agree: Agreement, user: str) -> None:
    refused = message(500, "Amount must be positive")

    servers_agree.on(add(user, body=b'{"amount":0}') + add(user), gives=[refused, added(user)])


def test_requests_in_one_send_are_answered_in_their_order(
    servers_agree: Agreement, user: str
) -> None:
    requests, gives = b"", []
    for number in range(1, 51):
        requests += add(user) + get_balance(user)
        gives += [added(user), balance(user, f"{number}.000000")]

    servers_agree.on(requests, gives=gives)


def test_a_request_sees_all_that_were_sent_before_it_for_other_users_too(
    servers_agree: Agreement, user: str
) -> None:
    users = [f"{user}-{number}" for number in range(20)]

    servers_agree.on(
        b"".join(map(add, users)) + b"".join(map(get_balance, users)),
        gives=[*map(added, users), *(balance(one, "1.000000") for one in users)],
    )


def unusual(user: str) -> list[tuple[bytes, list[Expected]]]:
    path = f"/users/{user}".encode()
    one = b"Content-Length: %d" % len(ONE)
    balanced = balance(user, "1.000000")
    return [
        (request(b"HEAD %s/balance HTTP/1.1" % path), [balanced.headed]),
        (request(b"HEAD %s/add HTTP/1.1" % path), [not_allowed("POST").headed]),
        (request(b"DELETE %s/balance HTTP/1.1" % path), [not_allowed("GET", "HEAD")]),
        (request(b"OPTIONS * HTTP/1.1"), [NOTHING_THERE]),
        (request(b"GET /nothing HTTP/1.1"), [NOTHING_THERE]),
        (request(b"GET http://a%s/balance HTTP/1.1" % path), [balanced]),
        (request(b"GET /healthz HTTP/1.1"), [message(200, "alive")]),
        (request(b"POST /nothing HTTP/1.1", one, body=ONE), [NOTHING_THERE]),
        (get_balance(user, b"Upgrade: h2c", b"Connection: Upgrade"), [balanced]),
        (get_balance(user, b"Expect: more"), [balanced]),
        (get_balance(user, b"A: " + b"x" * 30_000), [balanced]),
    ]


@pytest.mark.parametrize("number", range(len(unusual(""))))
@pytest.mark.parametrize("cut", [False, True], ids=["in one send", "in three"])
def test_an_unusual_request_among_usual_ones_is_answered_in_its_place(
    servers_agree: Agreement, user: str, number: int, cut: bool
) -> None:
    odd, answers = unusual(user)[number]
    pieces = [add(user) + get_balance(user), odd, add(user) * 2 + get_balance(user)]

    servers_agree.on(
        *(pieces if cut else [b"".join(pieces)]),
        gives=[
            added(user),
            balance(user, "1.000000"),
            *answers,
            added(user),
            added(user),
            balance(user, "3.000000"),
        ],
    )


def test_chunks_among_lengths_are_read_in_their_place(servers_agree: Agreement, user: str) -> None:
    chunked = bare_add(user, b"Transfer-Encoding: chunked", body=b"c\r\n" + ONE + b"\r\n0\r\n\r\n")

    servers_agree.on(
        (add(user) + chunked) * 5 + get_balance(user),
        gives=[*[added(user)] * 10, balance(user, "10.000000")],
    )


def test_a_pair_of_requests_may_be_cut_anywhere(servers_agree: Agreement, user: str) -> None:
    for cut in range(1, len(add(user) + get_balance(user))):
        of_this_cut = f"{user}-{cut:03}"
        pair = add(of_this_cut) + get_balance(of_this_cut)

        servers_agree.on(
            pair[:cut], pair[cut:], gives=[added(of_this_cut), balance(of_this_cut, "1.000000")]
        )


def test_a_pair_of_requests_may_come_byte_by_byte(servers_agree: Agreement, user: str) -> None:
    pair = add(user) + get_balance(user)

    servers_agree.on(
        *(pair[at : at + 1] for at in range(len(pair))),
        gives=[added(user), balance(user, "1.000000")],
    )


@pytest.mark.parametrize("interval", [7, 61, 128, 509])
def test_many_requests_may_be_cut_at_any_interval(
    servers_agree: Agreement, user: str, interval: int
) -> None:
    requests = (add(user) + get_balance(user)) * 10

    servers_agree.on(
        *(requests[at : at + interval] for at in range(0, len(requests), interval)),
        gives=[
            answer
            for number in range(1, 11)
            for answer in (added(user), balance(user, f"{number}.000000"))
        ],
    )


def test_a_connection_that_is_half_closed_gets_all_its_answers(
    servers_agree: Agreement, user: str
) -> None:
    servers_agree.on(
        add(user) * 3 + get_balance(user),
        gives=[*[added(user)] * 3, balance(user, "3.000000")],
        ended=True,
    )


@pytest.mark.parametrize(
    "lines",
    [
        (b"Connection: Upgrade", b"Upgrade: websocket"),
        (
            b"Connection: Upgrade",
            b"Upgrade: websocket",
            b"Sec-WebSocket-Version: 13",
            b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
        ),
        (b"Connection: Upgrade", b"Upgrade: h2c"),
        (
            b"Connection: Upgrade, HTTP2-Settings",
            b"Upgrade: h2c",
            b"HTTP2-Settings: AAMAAABkAAQAAP__",
        ),
        (b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAA"),
        (b"Connection: Upgrade", b"Upgrade: TLS/1.0"),
        (b"Upgrade: h2c",),
        (b"Connection: Upgrade",),
    ],
)
def test_an_upgrade_that_is_asked_for_is_ignored(
    servers_agree: Agreement, user: str, lines: tuple[bytes, ...]
) -> None:
    servers_agree.on(
        add(user, *lines) + get_balance(user, *lines),
        gives=[added(user), balance(user, "1.000000")],
    )
