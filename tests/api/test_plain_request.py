"""What the fast lane reads of a head, and that what it remembers of others changes nothing."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from api.plain_request import (
    ADD,
    BALANCE,
    FORMS_MAX,
    HISTORY,
    HeadReader,
    PlainRequest,
    RequestKind,
)

HOST = b"Host: a"
JSON = b"Content-Type: application/json"
LENGTH = b"Content-Length: 12"
KEY = b"Idempotency-Key: k"

targets = st.sampled_from(
    [
        *(b"/users/ann/add", b"/users/ann/balance", b"/users/bob/balance", b"/users/b%20b/add"),
        *(b"/users/ann/history", b"/users/ann/history?page=2", b"/users/ann/other", b"/healthz"),
        *(b"/v1/credits:batch", b"/users//add", b"/users/a\xffb/add", b"/users/ann/balance/"),
    ]
)
names = st.sampled_from(
    [
        *(b"Idempotency-Key", b"idempotency-key", b"IDEMPOTENCY-KEY", b"X-Request-Id"),
        *(b"x-request-id", b"traceparent", b"TraceParent", b"X-Idempotency-Key"),
    ]
)
values = st.sampled_from(
    [b"", b"1", b"2", b"a b", b" a ", b"  ", b'"q"', b"\xff", b"a\tb", b"a\rb"]
)
naming = st.builds(
    lambda name, between, value: name + between + value,
    names,
    st.sampled_from([b": ", b":", b":  ", b" : "]),
    values,
)
plain = st.sampled_from(
    [
        *(HOST, HOST, HOST, JSON, LENGTH, LENGTH, b"Content-Length: 7", b"Content-Length: +7"),
        *(b"Authorization: Bearer x", b"Authorization: Bearer y", b"Connection: keep-alive"),
        *(
            b"Connection: close",
            b"Expect: 100-continue",
            b"X: y",
            b" folded",
            b"no colon",
            b"X: \xff",
        ),
    ]
)
lines = st.lists(plain | naming, max_size=5)
heads = st.builds(
    lambda method, target, version, more, end: (
        b"\r\n".join([b"%b %b HTTP/1.%b" % (method, target, version), *more]) + end
    ),
    st.sampled_from([b"GET", b"GET", b"POST", b"POST", b"PUT", b"get"]),
    targets,
    st.sampled_from([b"1", b"1", b"1", b"0"]),
    st.permutations([HOST, JSON, LENGTH, KEY]).map(lambda all_: list(all_)[:3]) | lines,
    st.sampled_from([b"\r\n\r\n", b"\r\n\r\n", b"\r\n\r\n", b"\n\n", b"\r\n", b""]),
)


def head(*parts: bytes) -> bytes:
    return b"\r\n".join([*parts, b"", b""])


@settings(max_examples=1000)
@given(
    st.lists(heads, min_size=1, max_size=8),
    st.sampled_from([b"", b"x", b"GET /users/ann/balance HTTP/1.1\r\n\r\n"]),
    st.sampled_from([b"", b'{"amount":1}', b"\r\n\r\n", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"]),
)
@example([head(b"GET /users/a/balance HTTP/1.1", HOST)] * 2, b"x", b"")
@example(
    [head(method + b" /users/a/add HTTP/1.1", HOST, LENGTH) for method in (b"POST", b"GET")],
    b"",
    b"",
)
@example(
    [
        head(b"POST /users/a/add HTTP/1.1", HOST, LENGTH, b"X-Request-Id: ", b"x-request-id: 2"),
        head(b"POST /users/a/add HTTP/1.1", HOST, LENGTH, b"X-Request-Id: 1", b"x-request-id: 2"),
    ],
    b"",
    b"",
)
@example(
    [
        head(b"POST /users/a/add HTTP/1.1", HOST, KEY, LENGTH),
        head(b"POST /users/a/add HTTP/1.1", HOST, KEY, b"Content-Length: 7"),
        head(b"POST /users/a/add HTTP/1.1", HOST, b"Idempotency-Key: \xff", LENGTH),
        head(b"POST /users/a/add HTTP/1.1", HOST, b"Idempotency-Key: other", LENGTH),
    ],
    b"",
    b"",
)
@example(
    [
        head(b"POST /users/a/add HTTP/1.1", HOST, b"Content-Length: %d" % length)
        for length in [*range(FORMS_MAX + 2), *range(FORMS_MAX + 2)]
    ],
    b"",
    b"",
)
def test_a_head_is_read_the_same_whatever_was_read_before(
    sent: list[bytes], before: bytes, after: bytes
) -> None:
    reader = HeadReader()
    for one in sent:
        data = before + one + after
        assert reader.read(data, len(before)) == HeadReader().read(data, len(before))


@given(st.lists(heads, min_size=1, max_size=4))
def test_a_head_that_has_not_all_come_is_not_read(sent: list[bytes]) -> None:
    reader = HeadReader()
    for one in sent:
        reader.read(one)
    whole = sent[-1]
    end = whole.find(b"\r\n\r\n") + 4 if b"\r\n\r\n" in whole else len(whole) + 1
    for cut in range(1, min(end, len(whole) + 1)):
        assert reader.read(whole[:cut]) is None


def test_a_read_is_read() -> None:
    data = head(b"GET /users/b%20b/history?page=17 HTTP/1.1", HOST, b"Authorization: Bearer x")

    kind = RequestKind(HISTORY, page="17", authorization=b"Bearer x")
    assert HeadReader().read(data) == PlainRequest(kind, len(data), b"b%20b")


def test_an_add_is_read_with_what_names_it() -> None:
    reader = HeadReader()
    for number in (b"1", b"2", b"3"):
        data = head(
            b"POST /users/ann/add HTTP/1.1",
            b"IDEMPOTENCY-KEY: key " + number,
            HOST,
            b"x-request-id:  id-" + number,
            JSON,
            b"traceparent: 00-" + number,
            LENGTH,
        )

        request = reader.read(b"......" + data + b'{"amount":1}', 6)

        kind = RequestKind(ADD, content_type="application/json", length=12)
        assert request == PlainRequest(
            kind,
            len(data) + 6,
            b"ann",
            (f"key {number.decode()}",),
            b"id-" + number,
            b"00-" + number,
        )


@pytest.mark.parametrize(
    "lines",
    [
        (LENGTH, KEY, KEY),
        (LENGTH, KEY, b"idempotency-key: k"),
        (LENGTH, b"X-Request-Id: 1", b"x-request-id: 2"),
        (LENGTH, b"traceparent: 1", b"traceparent: 1"),
        (LENGTH, b"Idempotency-Key : k"),
        (LENGTH, b"Idempotency-Key: \x7f"),
        (LENGTH, LENGTH),
        (LENGTH, HOST),
        (LENGTH, b"Transfer-Encoding: chunked"),
        (KEY,),
    ],
    ids=lambda lines: b", ".join(lines).decode("latin-1"),
)
def test_a_head_that_is_not_plain_is_left_alone(lines: tuple[bytes, ...]) -> None:
    reader = HeadReader()
    for _ in range(2):
        assert reader.read(head(b"POST /users/ann/add HTTP/1.1", HOST, *lines)) is None


def test_a_read_with_an_idempotency_key_is_left_alone() -> None:
    reader = HeadReader()
    for one in (b"GET /users/ann/balance HTTP/1.1", b"GET /users/bob/balance HTTP/1.1"):
        assert reader.read(head(one, HOST, KEY)) is None
    plain_one = reader.read(head(b"GET /users/ann/balance HTTP/1.1", HOST))
    assert plain_one is not None
    assert plain_one.kind == RequestKind(BALANCE)
