"""What callers should not send: each is refused by name, and nothing changes."""

from collections.abc import Iterator
from typing import NamedTuple

import pytest
from raw_http import Header, Reply, balance, credit, head, history, send, send_bytes, send_chunked

from bench.server_process import ServerProcess

FIRST = b'{"amount":1.25}'
TOO_LARGE = "at most 9223372036854.775807"
TOO_FINE = "at most 6 decimals"
NOT_POSITIVE = "Amount must be positive"
BODY_BYTES_MAX = 65_536
JSON_TYPE = (b"Content-Type", b"application/json")


class Account(NamedTuple):
    """A user with one credit, who must keep just that."""

    url: str
    user: str
    before: tuple[bytes, bytes]

    def look(self) -> tuple[bytes, bytes]:
        return balance(self.url, self.user).body, history(self.url, self.user).body

    def add(self, body: bytes, *headers: Header) -> Reply:
        return send(self.url, b"POST", f"/users/{self.user}/add".encode(), body, headers)

    def assert_refused(self, reply: Reply, status: int, fragment: str) -> None:
        assert reply.status == status
        assert fragment in reply.message
        assert self.look() == self.before


@pytest.fixture
def account(url: str, user: str) -> Account:
    assert credit(url, user, FIRST).status == 200
    return Account(url, user, (balance(url, user).body, history(url, user).body))


@pytest.fixture(autouse=True)
def _without_traceback(shared_server: ServerProcess) -> Iterator[None]:
    start = len(shared_server.output())
    yield
    assert "Traceback" not in shared_server.output()[start:]


@pytest.mark.parametrize(
    ("amount", "status", "fragment"),
    [
        (b'"5"', 400, "must be a number, not a string"),
        (b"true", 400, "must be a number, not a boolean"),
        (b"null", 400, "must be a number, not null"),
        (b"[5]", 400, "must be a number, not an array"),
        (b'{"amount":5}', 400, "must be a number, not an object"),
        (b"NaN", 400, "NaN is no JSON number"),
        (b"Infinity", 400, "Infinity is no JSON number"),
        (b"-Infinity", 400, "-Infinity is no JSON number"),
        (b"+5", 400, "not JSON"),
        (b".5", 400, "not JSON"),
        (b"5.", 400, "not JSON"),
        (b"05", 400, "not JSON"),
        (b"0x5", 400, "not JSON"),
        (b"1_000", 400, "not JSON"),
        (b"\xd9\xa5", 400, "not JSON"),
        (b"0", 500, NOT_POSITIVE),
        (b"-0", 500, NOT_POSITIVE),
        (b"0.0", 500, NOT_POSITIVE),
        (b"-0.0e5", 500, NOT_POSITIVE),
        (b"0." + b"0" * 10_000, 500, NOT_POSITIVE),
        (b"-5", 500, NOT_POSITIVE),
        (b"-1e400", 500, NOT_POSITIVE),
        (b"0.0000001", 400, TOO_FINE),
        (b"1.2345678", 400, TOO_FINE),
        (b"1e-7", 400, TOO_FINE),
        (b"1e-999999999", 400, TOO_FINE),
        (b"0." + b"0" * 10_000 + b"1", 400, TOO_FINE),
        (b"1." + b"0" * 10_000 + b"1", 400, TOO_FINE),
        (b"9223372036854.775808", 400, TOO_LARGE),
        (b"92233720368547758070000", 400, TOO_LARGE),
        (b"1e400", 400, TOO_LARGE),
        (b"1e999999999", 400, TOO_LARGE),
        (b"9" * 10_000, 400, TOO_LARGE),
        (b"1e9999999999999999999", 400, "exponent that is too large"),
    ],
    ids=lambda value: value[:20] if isinstance(value, bytes) else None,
)
def test_an_amount_that_cannot_be_credited_is_refused(
    account: Account, amount: bytes, status: int, fragment: str
) -> None:
    reply = account.add(b'{"amount":%s}' % amount, JSON_TYPE)

    account.assert_refused(reply, status, fragment)


@pytest.mark.parametrize(
    ("amount", "credited"),
    [
        (b"9223372036854.775807", "9223372036854.775807"),
        (b"0.000001", "0.000001"),
        (b"1e-6", "0.000001"),
        (b"1E+2", "100.000000"),
        (b"0.1000000", "0.100000"),
        (b"1." + b"0" * 10_000, "1.000000"),
    ],
    ids=lambda value: value[:20] if isinstance(value, bytes) else None,
)
def test_an_amount_at_the_edge_is_credited(
    url: str, user: str, amount: bytes, credited: str
) -> None:
    reply = credit(url, user, b'{"amount":%s}' % amount)

    assert reply.message == f"Transaction of ${credited} added for user {user}"


def test_a_balance_past_the_largest_number_is_refused(account: Account) -> None:
    reply = account.add(b'{"amount":9223372036854.775807}', JSON_TYPE)

    account.assert_refused(reply, 400, "past 2^63-1 micro-dollars")


@pytest.mark.parametrize(
    ("body", "fragment"),
    [
        (b"", "not JSON"),
        (b" \n", "not JSON"),
        (b"amount=5", "not JSON"),
        (b'{"amount":5', "not JSON"),
        (b'{"amount":', "not JSON"),
        (b'{"amount', "not JSON"),
        (b'{"amount":5}}', "not JSON"),
        (b'{"amount":5} {"amount":6}', "not JSON"),
        (b"{'amount':5}", "not JSON"),
        (b'{"amount":5,}', "not JSON"),
        (b'\xef\xbb\xbf{"amount":5}', "not JSON"),
        (b"\0", "not JSON"),
        (b'{"amount":5,"note":"\n"}', "not JSON"),
        (b'{"amount":5,"note":"\xff"}', "UTF-8"),
        ('{"amount":5}'.encode("utf-16"), "UTF-8"),
        (b"{}", 'no "amount"'),
        (b'{"Amount":5}', 'no "amount"'),
        (b'{"credit":{"amount":5}}', 'no "amount"'),
        (b"5", "must be a JSON object"),
        (b"null", "must be a JSON object"),
        (b'"amount"', "must be a JSON object"),
        (b"[]", "must be a JSON object"),
        (b'[{"amount":5}]', "must be a JSON object"),
        (b'{"amount":5,"amount":5}', "twice"),
        (b'{"amount":5,"amount":6}', "twice"),
        (b'{"amount":5,"\\u0061mount":6}', "twice"),
        (b'{"amount":5,"note":1,"note":2}', "twice"),
        (b'{"amount":5,"note":{"a":1,"a":2}}', "twice"),
        (b'{"amount":5,"note":NaN}', "NaN is no JSON number"),
        (b"[" * 60_000, "nested too deeply"),
        (b'{"":' * 15_000, "nested too deeply"),
        (b'{"amount":5,"note":' + b"[" * 30_000 + b"]" * 30_000 + b"}", "nested too deeply"),
    ],
    ids=lambda value: value[:30] if isinstance(value, bytes) else None,
)
def test_a_body_that_names_no_amount_is_refused(
    account: Account, body: bytes, fragment: str
) -> None:
    reply = account.add(body, JSON_TYPE)

    account.assert_refused(reply, 400, fragment)


@pytest.mark.parametrize(
    "body",
    [
        b'{"amount":5,"note":{"amount":"6"}}',
        b'{"note":"\\ud800","amount":5}',
        b' \t\r\n{"amount":5}\n',
        b'{"\\u0061mount":5}',
    ],
)
def test_members_beside_the_amount_are_ignored(account: Account, body: bytes) -> None:
    reply = account.add(body, JSON_TYPE)

    assert reply.message == f"Transaction of $5.000000 added for user {account.user}"


@pytest.mark.parametrize("size", [BODY_BYTES_MAX + 1, 100_000, 5_000_000])
def test_a_body_over_the_limit_is_refused(account: Account, size: int) -> None:
    reply = account.add(FIRST.ljust(size), JSON_TYPE)

    account.assert_refused(reply, 413, f"at most {BODY_BYTES_MAX} bytes")


def test_a_bomb_over_the_limit_is_refused(account: Account) -> None:
    reply = account.add(b"[" * 100_000, JSON_TYPE)

    account.assert_refused(reply, 413, f"at most {BODY_BYTES_MAX} bytes")


@pytest.mark.parametrize("chunks", [[BODY_BYTES_MAX + 1], [1_000] * 66, [100_000] * 50])
def test_a_chunked_body_over_the_limit_is_refused(account: Account, chunks: list[int]) -> None:
    target = f"/users/{account.user}/add".encode()

    reply = send_chunked(account.url, target, [b" " * size for size in chunks])

    account.assert_refused(reply, 413, f"at most {BODY_BYTES_MAX} bytes")


def test_a_body_at_the_limit_is_read(account: Account) -> None:
    assert account.add(FIRST.ljust(BODY_BYTES_MAX), JSON_TYPE).status == 200


def test_a_body_in_chunks_is_read(account: Account) -> None:
    target = f"/users/{account.user}/add".encode()

    assert send_chunked(account.url, target, [b'{"amo', b'unt":', b"5}"]).status == 200


@pytest.mark.parametrize(
    "content_type",
    [
        b"text/plain",
        b"application/xml",
        b"multipart/form-data; boundary=x",
        b"application/msgpack",
        b"application/octet-stream",
        b"application/jsonp",
        b"json",
        b"application/json, text/plain",
        b"\xff",
    ],
)
def test_a_body_of_another_type_is_refused(account: Account, content_type: bytes) -> None:
    reply = account.add(FIRST, (b"Content-Type", content_type))

    account.assert_refused(reply, 415, "send application/json")


def test_a_form_is_refused(account: Account) -> None:
    reply = account.add(b"amount=5", (b"Content-Type", b"application/x-www-form-urlencoded"))

    account.assert_refused(reply, 415, "send application/json")


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [(b"Content-Type", b"")],
        [(b"Content-Type", b"application/json; charset=utf-8")],
        [(b"Content-Type", b"Application/JSON;charset=UTF-8")],
        [(b"Content-Type", b"application/problem+json")],
        [(b"Content-Type", b"text/json")],
        [(b"Content-Type", b"application/x-www-form-urlencoded")],
    ],
)
def test_a_body_of_json_is_read_under_any_name_for_it(
    account: Account, headers: list[Header]
) -> None:
    assert account.add(FIRST, *headers).status == 200


@pytest.mark.parametrize(
    ("segment", "fragment"),
    [
        (b"%", "two hexadecimal digits"),
        (b"%4", "two hexadecimal digits"),
        (b"%zz", "two hexadecimal digits"),
        (b"a%2", "two hexadecimal digits"),
        (b"%ff", "UTF-8"),
        (b"%C3", "UTF-8"),
        (b"%ED%A0%80", "UTF-8"),
        (b"x" * 129, "1 to 128 bytes"),
        (b"%C3%BC" * 65, "1 to 128 bytes"),
        (b"x" * 10_000, "1 to 128 bytes"),
    ],
    ids=lambda value: value[:20] if isinstance(value, bytes) else None,
)
@pytest.mark.parametrize("endpoint", [b"add", b"balance", b"history"])
def test_a_path_that_names_no_user_is_refused(
    account: Account, endpoint: bytes, segment: bytes, fragment: str
) -> None:
    method, body = (b"POST", FIRST) if endpoint == b"add" else (b"GET", None)

    reply = send(account.url, method, b"/users/%s/%s" % (segment, endpoint), body)

    account.assert_refused(reply, 400, fragment)


@pytest.mark.parametrize(
    ("segment", "user"),
    [
        (b"x" * 128, "x" * 128),
        (b"%C3%BC" * 64, "ü" * 64),
        (b"a%2Fb", "a/b"),
        (b"a%2fbalance", "a/balance"),
        (b"%2E%2E", ".."),
        (b"a%20b", "a b"),
        (b"a+b", "a+b"),
        (b"a%3Fb", "a?b"),
        (b"a%25b", "a%b"),
        (b"%F0%9F%92%B0", "💰"),
        (b"%00", "\0"),
        (b"%0D%0AX-Header:1", "\r\nX-Header:1"),
        (b"%22%5C", '"\\'),
        (b"<uid>", "<uid>"),
        (b"a|b;c@d:e", "a|b;c@d:e"),
    ],
    ids=lambda value: value[:20] if isinstance(value, bytes) else "",
)
def test_any_other_text_is_a_user(url: str, segment: bytes, user: str) -> None:
    send(url, b"POST", b"/users/%s/add" % segment, FIRST)

    assert send(url, b"GET", b"/users/%s/history" % segment).json[0]["UserID"] == user


@pytest.mark.parametrize(
    ("key", "fragment"),
    [
        (b"", "1 to 255 characters"),
        (b"  ", "1 to 255 characters"),
        (b'""', "1 to 255 characters"),
        (b"k" * 256, "1 to 255 characters"),
        (b"k" * 10_000, "1 to 255 characters"),
        (b'"%s"' % (b"k" * 256), "1 to 255 characters"),
        (b'"key', "quoted string"),
        (b'"', "quoted string"),
        (b'"key" more', "quoted string"),
        (b'"key";a=1', "quoted string"),
        (b'"a\\b"', "quoted string"),
        (b'"a"b"', "quoted string"),
        ("clé".encode(), "printable ASCII"),
        (b"\xff", "printable ASCII"),
        (b"a\tb", "printable ASCII"),
        (b'"a\tb"', "printable ASCII"),
    ],
    ids=lambda value: value[:20] if isinstance(value, bytes) else None,
)
def test_a_header_that_is_no_idempotency_key_is_refused(
    account: Account, key: bytes, fragment: str
) -> None:
    reply = account.add(FIRST, JSON_TYPE, (b"Idempotency-Key", key))

    account.assert_refused(reply, 400, fragment)


def test_several_idempotency_keys_are_refused(account: Account) -> None:
    reply = account.add(FIRST, (b"Idempotency-Key", b"a"), (b"idempotency-key", b"a"))

    account.assert_refused(reply, 400, "not several")


@pytest.mark.parametrize("key", [b"k", b"k" * 255, b'"%s"' % (b"k" * 255), b"a b", b"a,b", b'a"'])
def test_an_idempotency_key_at_the_edge_is_taken(account: Account, key: bytes) -> None:
    header = (b"Idempotency-Key", key)
    account.add(FIRST, header)

    assert account.add(FIRST, header).headers["idempotent-replayed"] == "true"


@pytest.mark.parametrize(
    ("quoted", "bare"), [(b'"key"', b"key"), (b'"a\\"b"', b'a"b'), (b'"a\\\\b"', b"a\\b")]
)
def test_an_idempotency_key_is_the_same_quoted_and_bare(
    account: Account, quoted: bytes, bare: bytes
) -> None:
    account.add(FIRST, (b"Idempotency-Key", quoted))

    reply = account.add(FIRST, (b"Idempotency-Key", b"  " + bare + b" "))

    assert reply.headers["idempotent-replayed"] == "true"


@pytest.mark.parametrize(
    "query",
    [
        b"page=",
        b"page",
        b"page=abc",
        b"page=0",
        b"page=-1",
        b"page=+1",
        b"page=1.5",
        b"page=0001",
        b"page=1%00",
        b"page=%20",
        b"page=%D9%A1",
        b"page=%EF%BC%92",
        b"page=%C2%B2",
        b"page=%ff",
        b"page=%zz",
        b"page=1&page=2",
        b"page[]=2",
        b"PAGE=2",
        b"&&&",
        b"a=1&" * 3_000,
    ],
    ids=lambda value: value[:20],
)
def test_what_is_no_page_number_is_the_first_page(account: Account, query: bytes) -> None:
    target = f"/users/{account.user}/history?".encode() + query

    assert send(account.url, b"GET", target).body == account.before[1]


@pytest.mark.parametrize("page", [b"2", b"002", b"1" + b"0" * 30, b"9" * 19, b"9" * 10_000])
def test_a_page_past_the_end_is_empty(account: Account, page: bytes) -> None:
    target = f"/users/{account.user}/history?page=".encode() + page

    assert send(account.url, b"GET", target).body == b"{}"


@pytest.mark.parametrize(
    "target",
    [
        b"/",
        b"/users",
        b"/users/",
        b"/users/u",
        b"/users/u/",
        b"/users//balance",
        b"/users/u/withdraw",
        b"/users/u/balance/",
        b"/users/u//balance",
        b"/users/a/b/balance",
        b"/Users/u/balance",
        b"/users/u/balance%2F",
        b"/users/../users/u/balance",
        b"/healthz/",
        b"/static/x",
        b"/" + b"x" * 10_000,
        b"*",
        b"users/u/balance",
        b"//users/u/balance",
        b"?page=1",
        b"http:",
        b"http://a",
        b"http://[/users/u",
        b"ftp://a/users/u/balance",
    ],
    ids=lambda value: value[:30],
)
def test_an_unknown_path_is_not_found(account: Account, target: bytes) -> None:
    reply = send(account.url, b"GET", target)

    account.assert_refused(reply, 404, "nothing at this path")


@pytest.mark.parametrize("authority", [b"http://a", b"HTTP://a:80", b"https://a", b"http://["])
def test_a_whole_url_is_reduced_to_its_path(account: Account, authority: bytes) -> None:
    target = authority + f"/users/{account.user}/balance?x=http://b/".encode()

    assert send(account.url, b"GET", target).body == account.before[0]


@pytest.mark.parametrize(
    "host", [b"", b"[", b"a..b", b".", b"x" * 300, b"\xff", b"a b", b"a/b", b"a:b:c"]
)
def test_the_name_that_the_server_is_called_by_does_not_matter(
    account: Account, host: bytes
) -> None:
    target = f"/users/{account.user}/balance".encode()

    assert send(account.url, b"GET", target, None, [(b"Host", host)]).body == account.before[0]


@pytest.mark.parametrize("endpoint", [b"add", b"balance", b"history"])
def test_an_empty_user_is_not_found(account: Account, endpoint: bytes) -> None:
    method, body = (b"POST", FIRST) if endpoint == b"add" else (b"GET", None)

    reply = send(account.url, method, b"/users//" + endpoint, body)

    account.assert_refused(reply, 404, "nothing at this path")


@pytest.mark.parametrize(
    ("target", "allowed"),
    [
        (b"/users/u/add", {"POST"}),
        (b"/users/u/balance", {"GET", "HEAD"}),
        (b"/users/u/history", {"GET", "HEAD"}),
        (b"/healthz", {"GET", "HEAD"}),
        (b"/readyz", {"GET", "HEAD"}),
    ],
)
@pytest.mark.parametrize("method", [b"DELETE", b"TRACE", b"OPTIONS", b"BREW"])
def test_a_method_that_is_not_allowed_names_those_that_are(
    url: str, target: bytes, allowed: set[str], method: bytes
) -> None:
    reply = send(url, method, target)

    assert (reply.status, reply.body) == (405, b"")
    assert set(reply.headers["allow"].split(", ")) == allowed


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"\x16\x03\x01\x02\0\x01\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET /users/u/balance HTTP/1.1\r\n\r\n",
        b"GET /users/u/balance HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n",
        b"GET /users/u/balance HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
        b"GET /users/\xc3\xbc/balance HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /users/u/balance HTTP/1.1\r\nHost: a\r\n: x\r\n\r\n",
    ],
    ids=lambda value: value[:40],
)
def test_what_is_not_http_is_refused(account: Account, request_bytes: bytes) -> None:
    reply = send_bytes(account.url, request_bytes)

    assert reply.status == 400
    assert account.look() == account.before


def test_a_head_without_end_is_refused(account: Account) -> None:
    reply = send_bytes(account.url, b"GET / HTTP/1.1\r\nX: " + b"x" * 300_000)

    assert reply.status in (400, 431)
    assert account.look() == account.before


def test_a_caller_who_waits_to_be_asked_for_the_body_is_asked(account: Account) -> None:
    headers = [(b"Content-Length", b"%d" % len(FIRST)), (b"Expect", b"100-continue")]
    request = head(account.url, b"POST", f"/users/{account.user}/add".encode(), headers)

    assert send_bytes(account.url, request + FIRST).status == 200


def test_a_websocket_is_not_opened(account: Account) -> None:
    headers = [
        (b"Connection", b"Upgrade"),
        (b"Upgrade", b"websocket"),
        (b"Sec-WebSocket-Version", b"13"),
        (b"Sec-WebSocket-Key", b"AAAAAAAAAAAAAAAAAAAAAA=="),
    ]
    target = f"/users/{account.user}/balance".encode()

    reply = send(account.url, b"GET", target, headers=headers)

    assert (reply.status, reply.body) == (200, account.before[0])
