"""Inputs for a server: requests, most of them spoilt, each input made from seed and number."""

from dataclasses import dataclass
from enum import Enum
from random import Random

USERS = 64
SPOILT_MAX = 6
LONG = 100_000
ONE = b'{"amount":1}'


class Ending(Enum):
    """How the caller leaves."""

    HALF_CLOSE = "says no more, and reads"
    CLOSE = "closes"
    RESET = "resets"


@dataclass(frozen=True, slots=True)
class Input:
    """What one connection sends.

    Attributes:
        pieces: the bytes of each send.
        intact: the users of the adds that it begins with, each of one dollar, unspoilt.
        entire: the users of all adds of which the last byte is sent, where nothing is spoilt.
        decidable: the answers tell all that it may have credited.
    """

    pieces: list[bytes]
    ending: Ending
    intact: list[str]
    entire: list[str]
    decidable: bool


def make_input(seed: int, number: int) -> Input:
    """The input with that number."""
    rng = Random(f"{seed}/{number}")
    kind = rng.random()
    if kind < 0.1:
        return _hasty(rng)
    bulk = kind < 0.15
    intact = [f"intact-{rng.randrange(USERS)}" for _ in range(rng.choice((0, 0, 0, 1, 1, 3)))]
    begin = b"".join(_add(user.encode(), b"", ONE) for user in intact)
    name = b"bulky-%d" if bulk else b"mutant-%d"
    templates = [*_TEMPLATES, *_BULK * 8] if bulk else _TEMPLATES
    requests = [
        rng.choice(templates).replace(b"USER", name % rng.randrange(USERS))
        for _ in range(rng.choice((1, 1, 2, 3, 5, 9)))
    ]
    rest = b"".join(requests)
    if rng.random() < 0.9:
        for _ in range(rng.randint(1, SPOILT_MAX)):
            rest = rng.choice(_WAYS)(rng, rest)
    return Input(_cut(rng, begin + rest), Ending.HALF_CLOSE, intact, [], not bulk)


def _hasty(rng: Random) -> Input:
    """A caller of valid requests who leaves before they are answered, or even sent."""
    users = [f"hasty-{rng.randrange(USERS)}" for _ in range(rng.randint(1, 5))]
    requests = [_add(user.encode(), b"", ONE) for user in users]
    data = b"".join(requests)
    sent = rng.randint(0, len(data)) if rng.random() < 0.5 else len(data)
    entire, end = [], 0
    for user, request in zip(users, requests, strict=True):
        end += len(request)
        if end <= sent:
            entire.append(user)
    ending = rng.choice((Ending.CLOSE, Ending.RESET))
    return Input(_cut(rng, data[:sent]), ending, [], entire, False)


def _cut(rng: Random, data: bytes) -> list[bytes]:
    """The data in one send, or in some, or byte by byte for a stretch."""
    if not data or rng.random() < 0.5:
        return [data]
    if rng.random() < 0.05:
        at = rng.randrange(len(data))
        middle = [data[i : i + 1] for i in range(at, min(at + 20, len(data)))]
        return [data[:at], *middle, data[at + 20 :]]
    cuts = sorted(rng.randrange(len(data)) for _ in range(rng.randint(1, 4)))
    return [data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True)]


def _request(line: bytes, headers: bytes = b"", body: bytes | None = None) -> bytes:
    length = b"" if body is None else b"Content-Length: %d\r\n" % len(body)
    return b"%s HTTP/1.1\r\nHost: bitburst\r\n%s%s\r\n%s" % (line, length, headers, body or b"")


def _add(user: bytes, headers: bytes, body: bytes) -> bytes:
    return _request(b"POST /users/%s/add" % user, headers, body)


_CHUNKED = b"Transfer-Encoding: chunked\r\n"
_JSON = b"Content-Type: application/json\r\n"
_BATCH = b"POST /v1/credits:batch"
_TEMPLATES = [
    *[_add(b"USER", b"", ONE)] * 6,
    _add(b"USER", _JSON, ONE),
    _add(b"USER", b"Idempotency-Key: key\r\n", ONE),
    _add(b"USER", b'Idempotency-Key: "key-2"\r\nContent-Type: text/json\r\n', ONE),
    _add(b"USER", b"User-Agent: fuzz\r\nAccept: */*\r\nConnection: keep-alive\r\n", ONE),
    _add(b"USER", b"Expect: 100-continue\r\n", ONE),
    _add(b"USER", b"Connection: close\r\n", ONE),
    _add(b"USER", b"", b'{"amount":0}'),
    _add(b"USER%2F%C3%BC", b"", ONE),
    _request(b"POST /users/USER/add", _CHUNKED) + b"c\r\n" + ONE + b"\r\n0\r\n\r\n",
    _request(b"POST /users/USER/add", _CHUNKED) + b"c;a=b\r\n" + ONE + b"\r\n0\r\nA: b\r\n\r\n",
    *[_request(b"GET /users/USER/balance")] * 4,
    _request(b"GET /users/USER/balance", b"A: " + b"b" * 300 + b"\r\n"),
    _request(b"GET /users/USER/history"),
    _request(b"GET /users/USER/history?page=2"),
    _request(b"GET /users/USER/history?x=1&page=%32&page=3"),
    _request(b"GET http://bitburst/users/USER/balance"),
    _request(b"HEAD /users/USER/balance"),
    _request(b"DELETE /users/USER/balance"),
    _request(b"OPTIONS *"),
    _request(b"GET /healthz"),
    _request(b"GET /users/USER/balance", b"Connection: Upgrade\r\nUpgrade: websocket\r\n"),
    _request(b"GET /users/USER/balance").replace(b"HTTP/1.1", b"HTTP/1.0"),
]
_BULK = [
    _request(_BATCH, _JSON, b'[{"user":"USER","amount":1},{"user":"USER","amount_micros":7}]'),
    _request(
        _BATCH,
        b"Content-Type: application/x-ndjson\r\nIdempotency-Key: key\r\n",
        b'{"user":"USER","amount_micros":1,"idempotency_key":"k","reference":"r"}\n' * 2,
    ),
    _request(
        _BATCH,
        b"Content-Type: application/msgpack\r\n",
        b"\x92" + b"\x82\xa4user\xa7USER\xadamount_micros\x01" * 2,
    ),
]
_TOKENS = [
    b"\r\n",
    b"\n",
    b"\r",
    b"\r\n\r\n",
    b"\0",
    b" ",
    b"\t",
    b":",
    b"%",
    b"%00",
    b"%2f",
    b"?",
    b"#",
    b"/",
    b"..",
    b"\xff",
    b"\xc3\xbc",
    b'"',
    b"\\",
    b"{",
    b"]",
    b"e9",
    b"-",
    b"0",
    b"1.5",
    b"99999999999999999999",
    b"0\r\n\r\n",
    b"Content-Length: 5\r\n",
    b"Content-Length: 12\r\n",
    b"Content-Length: -1\r\n",
    b"content-length: 999999\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Transfer-Encoding: gzip\r\n",
    b"Connection: close\r\n",
    b"Connection: Upgrade\r\nUpgrade: h2c\r\n",
    b"Expect: 100-continue\r\n",
    b"Idempotency-Key: a\r\n",
    b"Host: other\r\n",
    b" folded\r\n",
    b"GET ",
    b"HEAD ",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"HTTP/1.0",
    b"HTTP/2.0",
    b"\x16\x03\x01",
]


def _flip_bit(rng: Random, data: bytes) -> bytes:
    at = rng.randrange(len(data) + 1)
    return (
        data[:at]
        + bytes(byte ^ (1 << rng.randrange(8)) for byte in data[at : at + 1])
        + (data[at + 1 :])
    )


def _set_byte(rng: Random, data: bytes) -> bytes:
    at = rng.randrange(len(data) + 1)
    return data[:at] + bytes((rng.randrange(256),)) + data[at + 1 :]


def _insert(rng: Random, data: bytes) -> bytes:
    at = rng.randrange(len(data) + 1)
    return data[:at] + rng.choice(_TOKENS) + data[at:]


def _insert_line(rng: Random, data: bytes) -> bytes:
    """Where one of the lines begins."""
    lines = data.split(b"\r\n")
    lines.insert(rng.randrange(len(lines) + 1), rng.choice(_TOKENS).removesuffix(b"\r\n"))
    return b"\r\n".join(lines)


def _slice(rng: Random, data: bytes) -> tuple[int, int]:
    start = rng.randrange(len(data) + 1)
    return start, start + rng.randrange(1, 40)


def _delete(rng: Random, data: bytes) -> bytes:
    start, end = _slice(rng, data)
    return data[:start] + data[end:]


def _double(rng: Random, data: bytes) -> bytes:
    start, end = _slice(rng, data)
    return data[:end] + data[start:]


def _move(rng: Random, data: bytes) -> bytes:
    start, end = _slice(rng, data)
    rest = data[:start] + data[end:]
    at = rng.randrange(len(rest) + 1)
    return rest[:at] + data[start:end] + rest[at:]


def _double_line(rng: Random, data: bytes) -> bytes:
    lines = data.split(b"\r\n")
    lines.insert(rng.randrange(len(lines) + 1), rng.choice(lines))
    return b"\r\n".join(lines)


def _delete_line(rng: Random, data: bytes) -> bytes:
    lines = data.split(b"\r\n")
    del lines[rng.randrange(len(lines))]
    return b"\r\n".join(lines)


def _truncate(rng: Random, data: bytes) -> bytes:
    return data[: rng.randrange(len(data) + 1)]


def _stretch(rng: Random, data: bytes) -> bytes:
    at = rng.randrange(len(data) + 1)
    times = LONG if rng.random() < 0.02 else rng.randrange(1, 300)
    return data[:at] + data[at : at + 1] * times + data[at:]


_WAYS = [
    *[_flip_bit] * 4,
    *[_set_byte] * 4,
    *[_insert] * 4,
    *[_insert_line] * 3,
    *[_delete] * 2,
    *[_double] * 2,
    _move,
    *[_double_line] * 2,
    _delete_line,
    _truncate,
    _stretch,
]
