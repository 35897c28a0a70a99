"""Methods, paths, queries: what a request is for."""

import pytest
from agreement import (
    JSON,
    NOTHING_THERE,
    ONE,
    TIMESTAMP,
    Agreement,
    Expected,
    add,
    added,
    balance,
    get_balance,
    message,
    not_allowed,
    problem,
    request,
    saying,
)

from api import problem_types as types

READING = not_allowed("GET", "HEAD")
EMPTY_PAGE = Expected(200, b"{}", headers=JSON)
CREDITS = 12


def get(target: bytes) -> bytes:
    return request(b"GET %s HTTP/1.1" % target)


def page(user: str, *amounts: int) -> Expected:
    entries = b",".join(
        b'{"UserID":"%s","Amount":%d,"Timestamp":"%s"}' % (user.encode(), amount, TIMESTAMP)
        for amount in amounts
    )
    return Expected(200, b"[%s]" % entries, headers=JSON)


FIRST_PAGE = tuple(range(CREDITS, 2, -1))
SECOND_PAGE = (2, 1)


@pytest.fixture
def credited(servers_agree: Agreement, user: str) -> str:
    """A user with two pages of history."""
    amounts = range(1, CREDITS + 1)
    servers_agree.on(
        b"".join(add(user, body=b'{"amount":%d}' % amount) for amount in amounts),
        gives=[added(user, f"{amount}.000000") for amount in amounts],
    )
    return user


@pytest.mark.parametrize(
    ("query", "number"),
    [
        (b"", 1),
        (b"?", 1),
        (b"?page=", 1),
        (b"?page", 1),
        (b"?page=1", 1),
        (b"?page=2", 2),
        (b"?page=002", 2),
        (b"?page=3", 3),
        (b"?page=0", 1),
        (b"?page=-2", 1),
        (b"?page=+2", 1),
        (b"?page=%2B2", 1),
        (b"?page=2+", 1),
        (b"?page=%202", 1),
        (b"?page=2%20", 1),
        (b"?page=%32", 2),
        (b"?p%61ge=2", 2),
        (b"?page%3D2", 1),
        (b"?page=2.0", 1),
        (b"?page=0x2", 1),
        (b"?page=two", 1),
        (b"?page=%D9%A2", 1),
        (b"?page=%C2%B2", 1),
        (b"?page=%ff", 1),
        (b"?page=%zz", 1),
        (b"?page=2%", 1),
        (b"?page=2%00", 1),
        (b"?page=2&x", 2),
        (b"?page=2&", 2),
        (b"?page=2&&", 2),
        (b"?&page=2", 2),
        (b"?x&page=2", 2),
        (b"?x=1&page=2&y=3", 2),
        (b"?page=2&page=1", 2),
        (b"?page=1&page=2", 1),
        (b"?page=x&page=2", 1),
        (b"?page=&page=2", 1),
        (b"?page&page=2", 1),
        (b"?page=2;x=1", 1),
        (b"?x=1;page=2", 1),
        (b"?Page=2", 1),
        (b"?page[]=2", 1),
        (b"?page==2", 1),
        (b"?=2", 1),
        (b"?page=2?", 1),
        (b"??page=2", 1),
        (b"?page=2#", 1),
        (b"?page=2#x", 1),
        (b"?x=#&page=2", 2),
        (b"?page=1000000000000000000000", 3),
        (b"?page=" + b"0" * 5_000 + b"2", 2),
        (b"?page=" + b"9" * 5_000, 3),
        (b"?" + b"x=1&" * 1_500 + b"page=2", 2),
    ],
    ids=lambda value: value[:30] if isinstance(value, bytes) else None,
)
def test_a_query_names_a_page_or_else_the_first(
    servers_agree: Agreement, credited: str, query: bytes, number: int
) -> None:
    pages = [page(credited, *FIRST_PAGE), page(credited, *SECOND_PAGE), EMPTY_PAGE]

    servers_agree.on(
        get(b"/users/%s/history%s" % (credited.encode(), query)), gives=[pages[number - 1]]
    )


def test_the_history_of_nobody_is_empty(servers_agree: Agreement, user: str) -> None:
    servers_agree.on(get(b"/users/%s/history" % user.encode()), gives=[EMPTY_PAGE])


@pytest.mark.parametrize(
    "query", [b"?", b"?page=2", b"?x", b"?%zz", b"?a=%00", b"?" + b"x" * 9_000]
)
def test_add_and_balance_take_no_notice_of_a_query(
    servers_agree: Agreement, user: str, query: bytes
) -> None:
    servers_agree.on(
        add(user).replace(b"/add", b"/add" + query)
        + get_balance(user).replace(b"/balance", b"/balance" + query),
        gives=[added(user), balance(user, "1.000000")],
    )


@pytest.mark.parametrize(
    ("segment", "user"),
    [
        (b"a%2Fb", "a/b"),
        (b"a%2fbalance", "a/balance"),
        (b"%2e%2e", ".."),
        (b"..", ".."),
        (b".", "."),
        (b"%C3%BC", "ü"),
        (b"%c3%bc", "ü"),
        (b"%F0%9F%92%B0", "💰"),
        (b"a%00b", "a\\u0000b"),
        (b"a+b", "a+b"),
        (b"a%2Bb", "a+b"),
        (b"a%20b", "a b"),
        (b"a%25b", "a%b"),
        (b"a%2541", "a%41"),
        (b"%61", "a"),
        (b"%7E", "~"),
        (b"%22%5C", '\\"\\\\'),
        (b"%0D%0AX-Injected:%201", "\\r\\nX-Injected: 1"),
        (b"a%3Fpage=2", "a?page=2"),
        (b"a%23b", "a#b"),
        (b"a#b", "a#b"),
        (b"a;b=c", "a;b=c"),
        (b"a:b@c", "a:b@c"),
        (b"<u>|{u}^`'\"", "<u>|{u}^`'\\\""),
        (b"[u]!$&()*,=\\", "[u]!$&()*,=\\\\"),
        (b"x" * 128, "x" * 128),
        (b"%C3%BC" * 64, "ü" * 64),
        (b"%78" * 128, "x" * 128),
    ],
    ids=lambda value: value[:30] if isinstance(value, bytes) else "",
)
def test_a_segment_of_the_path_is_a_user(
    servers_agree: Agreement, segment: bytes, user: str
) -> None:
    sent = segment.decode()

    servers_agree.on(add(sent), gives=[saying(200, f'$1.000000 added for user {user}"}}')])
    servers_agree.on(get_balance(sent), gives=[saying(200, f'"User {user} has a balance of $')])
    servers_agree.on(
        get(b"/users/%s/history" % segment), gives=[saying(200, f'[{{"UserID":"{user}",')]
    )


BROKEN_PERCENT = problem(
    types.MALFORMED_REQUEST, "user id has a % that two hexadecimal digits do not follow"
)
NOT_UTF_8 = problem(types.MALFORMED_REQUEST, "user id must be UTF-8, percent-encoded")
NOT_A_LENGTH = saying(400, "1 to 128 bytes")


@pytest.mark.parametrize(
    ("segment", "refusal"),
    [
        (b"%", BROKEN_PERCENT),
        (b"%4", BROKEN_PERCENT),
        (b"%4g", BROKEN_PERCENT),
        (b"%%", BROKEN_PERCENT),
        (b"%u0041", BROKEN_PERCENT),
        (b"a%", BROKEN_PERCENT),
        (b"%-1", BROKEN_PERCENT),
        (b"%+1", BROKEN_PERCENT),
        (b"%ff", NOT_UTF_8),
        (b"%C3", NOT_UTF_8),
        (b"%C3%28", NOT_UTF_8),
        (b"%C0%AF", NOT_UTF_8),
        (b"%ED%A0%80", NOT_UTF_8),
        (b"%F5%80%80%80", NOT_UTF_8),
        (b"x" * 129, NOT_A_LENGTH),
        (b"%C3%BC" * 65, NOT_A_LENGTH),
        (b"x" * 20_000, NOT_A_LENGTH),
        (b"%78" * 129, NOT_A_LENGTH),
    ],
    ids=lambda value: value[:20] if isinstance(value, bytes) else None,
)
def test_a_segment_that_names_nobody_is_refused(
    servers_agree: Agreement, segment: bytes, refusal: Expected
) -> None:
    sent = segment.decode()

    servers_agree.on(
        add(sent) + get_balance(sent) + get(b"/users/%s/history" % segment), gives=[refusal] * 3
    )


@pytest.mark.parametrize(
    "target",
    [
        b"/",
        b"/users",
        b"/users/",
        b"/users/u",
        b"/users/u/",
        b"/users//balance",
        b"//users/u/balance",
        b"/users/u//balance",
        b"/users/u/balance/",
        b"/users/u/balance/x",
        b"/users/u/v/balance",
        b"/Users/u/balance",
        b"/users/u/Balance",
        b"/users/u/balance%20",
        b"/users/u/%62alance",
        b"/us%65rs/u/balance",
        b"/users/u%2Fbalance",
        b"/users/u/../u/balance",
        b"/./users/u/balance",
        b"/users/u/balance;x",
        b"/users/u/balance#x",
        b"/users/u/balanc",
        b"/users/u/balances",
        b"users/u/balance",
        b"*",
        b"?page=2",
        b"#",
        b"a:80",
        b"http://a",
        b"ftp://a/users/u/balance",
        b"http:/users/u/balance",
        b"/v1",
        b"/favicon.ico",
    ],
)
@pytest.mark.parametrize("method", [b"GET", b"OPTIONS"])
def test_anything_else_is_not_there(servers_agree: Agreement, method: bytes, target: bytes) -> None:
    servers_agree.on(request(b"%s %s HTTP/1.1" % (method, target)), gives=[NOTHING_THERE])


@pytest.mark.parametrize(
    "origin", [b"http://a", b"HTTP://a:80", b"https://a", b"http://bitburst", b"http://u:p@a"]
)
def test_a_whole_url_is_reduced_to_its_path(
    servers_agree: Agreement, user: str, origin: bytes
) -> None:
    path = b"/users/%s" % user.encode()

    servers_agree.on(
        add(user).replace(path, origin + path)
        + get(origin + path + b"/balance")
        + get(origin + path + b"/balance?x=http://b/")
        + get(origin + path + b"/history"),
        gives=[added(user), *[balance(user, "1.000000")] * 2, page(user, 1)],
    )


@pytest.mark.parametrize(
    "method",
    [b"PUT", b"DELETE", b"PATCH", b"OPTIONS", b"TRACE", b"BREW", b"PROPFIND", b"!", b"POSTS"],
)
def test_another_method_is_refused_with_those_that_are_allowed(
    servers_agree: Agreement, user: str, method: bytes
) -> None:
    path = b"%s /users/%s" % (method, user.encode())

    servers_agree.on(
        request(path + b"/add HTTP/1.1")
        + request(path + b"/balance HTTP/1.1")
        + request(path + b"/history?page=1 HTTP/1.1")
        + get_balance(user),
        gives=[not_allowed("POST"), READING, READING, balance(user, "0.000000")],
    )


@pytest.mark.parametrize("method", [b"PUT", b"POST"])
def test_another_method_with_a_body_is_refused(
    servers_agree: Agreement, user: str, method: bytes
) -> None:
    line = b"%s /users/%s/balance HTTP/1.1" % (method, user.encode())

    servers_agree.on(
        request(line, b"Content-Length: 12", body=ONE) + get_balance(user),
        gives=[READING, balance(user, "0.000000")],
    )


def test_an_add_cannot_be_asked_for(servers_agree: Agreement, user: str) -> None:
    servers_agree.on(get(b"/users/%s/add" % user.encode()), gives=[not_allowed("POST")])


def test_a_head_is_answered_as_a_get_without_the_body(
    servers_agree: Agreement, credited: str
) -> None:
    path = b"HEAD /users/%s" % credited.encode()

    servers_agree.on(
        request(path + b"/balance HTTP/1.1")
        + request(path + b"/history?page=2 HTTP/1.1")
        + request(path + b"/add HTTP/1.1")
        + request(b"HEAD /nothing HTTP/1.1")
        + get_balance(credited),
        gives=[
            balance(credited, "78.000000").headed,
            page(credited, *SECOND_PAGE).headed,
            not_allowed("POST").headed,
            NOTHING_THERE.headed,
            balance(credited, "78.000000"),
        ],
    )


@pytest.mark.parametrize(
    ("target", "answer"),
    [(b"/healthz", message(200, "alive")), (b"/readyz", message(200, "ready"))],
)
def test_a_server_says_how_it_is(servers_agree: Agreement, target: bytes, answer: Expected) -> None:
    servers_agree.on(get(target), gives=[answer])
    servers_agree.on(request(b"HEAD %s HTTP/1.1" % target), gives=[answer.headed])
    servers_agree.on(request(b"POST %s HTTP/1.1" % target), gives=[READING])
