"""The server's HTTP contract, as bytes: requests to send, answers to expect, amounts in both."""

import re
from typing import Final, NewType

Micros = NewType("Micros", int)
UserName = NewType("UserName", str)

MICROS_PER_DOLLAR: Final = 1_000_000
ENTRIES_PER_PAGE: Final = 10
EMPTY_PAGE: Final = b"{}"

_PLAIN_DECIMAL = re.compile(r"(0|[1-9][0-9]*)(?:\.([0-9]{1,6}))?")


def decimal_text(amount: Micros) -> str:
    """The shortest plain decimal of an amount in dollars: 500, 0.5, 0.000001."""
    dollars, micros = divmod(amount, MICROS_PER_DOLLAR)
    return f"{dollars}.{micros:06d}".rstrip("0") if micros else str(dollars)


def six_decimals(amount: Micros) -> str:
    """The amount in dollars as the server's messages print it: 500.000000."""
    dollars, micros = divmod(amount, MICROS_PER_DOLLAR)
    return f"{dollars}.{micros:06d}"


def micros_from_text(text: str) -> Micros:
    """Read a plain decimal of dollars exactly.

    Raises ValueError for signs, exponents, too many decimals.
    """
    parts = _PLAIN_DECIMAL.fullmatch(text)
    if parts is None:
        raise ValueError(f"{text!r} is no plain decimal with at most six decimals")
    dollars, decimals = parts.groups(default="")
    return Micros(int(dollars) * MICROS_PER_DOLLAR + int(decimals.ljust(6, "0")))


def add_request(authority: str, user: UserName, amount: Micros, key: str) -> bytes:
    """The request that credits the user; `key` is the idempotency key."""
    body = f'{{"amount": {decimal_text(amount)}}}'
    return (
        f"POST /users/{user}/add HTTP/1.1\r\nHost: {authority}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        f"Idempotency-Key: {key}\r\n\r\n{body}"
    ).encode("ascii")


def added_body(user: UserName, amount: Micros) -> bytes:
    """The body that answers an add, first time and every time."""
    return (f'{{"Message":"Transaction of ${six_decimals(amount)} added for user {user}"}}').encode(
        "ascii"
    )


def balance_request(authority: str, user: UserName) -> bytes:
    """The request for the user's balance."""
    return f"GET /users/{user}/balance HTTP/1.1\r\nHost: {authority}\r\n\r\n".encode("ascii")


def balance_from_body(user: UserName, body: bytes) -> Micros:
    """The balance that an answer states for the user. Raises ValueError when it states none."""
    start = f'{{"Message":"User {user} has a balance of $'.encode("ascii")
    end = b'"}'
    if not (body.startswith(start) and body.endswith(end)):
        raise ValueError(f"no balance of {user}: {body[:120]!r}")
    return micros_from_text(body[len(start) : -len(end)].decode("utf-8", "replace"))


def history_request(authority: str, user: UserName, page: int) -> bytes:
    """The request for one page of the user's history, 1 being the newest."""
    return (f"GET /users/{user}/history?page={page} HTTP/1.1\r\nHost: {authority}\r\n\r\n").encode(
        "ascii"
    )


def readiness_request(authority: str) -> bytes:
    """The request that asks whether the server takes credits."""
    return f"GET /readyz HTTP/1.1\r\nHost: {authority}\r\n\r\n".encode("ascii")
