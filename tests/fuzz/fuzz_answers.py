"""Reads what a server answered on one connection, and says what cannot be right about it."""

import json
import re
from typing import NamedTuple

STATUSES = {100, 200, 400, 404, 405, 408, 413, 415, 422, 431, 500, 501, 503, 505}
NOT_POSITIVE = b'{"Message":"Amount must be positive"}'
_ADDED = re.compile(r"Transaction of \$(\d+)\.(\d{6}) added for user (.*)", re.DOTALL)
_HEAD = re.compile(rb"HTTP/1\.1 (\d{3}) [^\r\n]*\r\n((?:[A-Za-z-]+: [^\r\n]*\r\n)*)\r\n")
_LENGTH = re.compile(rb"^content-length: (\d+)\r$", re.IGNORECASE | re.MULTILINE)


class Answer(NamedTuple):
    status: int
    head: bytes
    body: bytes


class Credited(NamedTuple):
    user: str
    micros: int


def read_answers(data: bytes) -> list[Answer]:
    """
    Raises:
        ValueError: they are not all whole, or not what a server may answer.
    """
    answers, at = [], 0
    while at < len(data):
        head = _HEAD.match(data, at)
        if head is None:
            raise ValueError(f"no head of an answer: {data[at : at + 200]!r}")
        status, at = int(head[1]), head.end()
        length = _LENGTH.search(head[2])
        if (length is None) != (status == 100):
            raise ValueError(f"an answer {status} of what length: {head[0]!r}")
        # A HEAD is answered without the body.
        size = 0 if length is None or data.startswith(b"HTTP/1.1 ", at) else int(length[1])
        body = data[at : at + size]
        if body and len(body) < size:
            raise ValueError(f"{len(body)} of the {size} bytes of an answer: {body!r}")
        at += len(body)
        if status not in STATUSES or (status == 500 and body != NOT_POSITIVE):
            raise ValueError(f"an answer {status}: {body!r}")
        if status >= 400 and body not in (b"", NOT_POSITIVE) and not _is_problem(status, body):
            raise ValueError(f"an answer {status} that is no problem: {body!r}")
        answers.append(Answer(status, head[2], body))
    return answers


def _is_problem(status: int, body: bytes) -> bool:
    document = json.loads(body)
    members = ["type", "title", "status", "detail", "Message"]
    return list(document) == members and document["status"] == status


def credited_by(answer: Answer) -> Credited | None:
    """What the answer says was credited, if it says so for the first time."""
    if answer.status != 200 or b"idempotent-replayed" in answer.head.lower():
        return None
    try:
        message = json.loads(answer.body)["Message"]
    except (ValueError, TypeError, KeyError):
        return None
    added = _ADDED.fullmatch(message)
    return Credited(added[3], int(added[1] + added[2])) if added else None


def balance_in(body: bytes) -> int:
    """The micro-dollars that an answer to a question for a balance names."""
    whole, _, decimals = json.loads(body)["Message"].rpartition("$")[2].partition(".")
    return int(whole + decimals)
