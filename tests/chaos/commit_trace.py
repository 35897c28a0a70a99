"""Reads a strace of the server, and finds answers that were not durable when they were sent.

What makes a credit durable is this sequence on the log's `data.mdb`, each call complete before the
next one begins: a write that holds the credit's idempotency key, and a fdatasync. After it, and
before the answer, comes the write of the meta page, which makes the commit the current one. The
next fdatasync takes it along; a start after a loss of power does without it.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

TRACED = "pwrite64,pwritev,pwritev2,writev,write,fdatasync,fsync,sendto,sendmsg"
WRITES = frozenset({"pwrite64", "pwritev", "pwritev2", "writev", "write"})
SYNCS = frozenset({"fdatasync", "fsync"})
SENDS = frozenset({"sendto", "sendmsg", "write", "writev"})

_LINE = re.compile(r"(?P<pid>\d+) +(?P<time>[\d.]+) +(?P<rest>.*)")
_RESUMED = re.compile(r"<\.\.\. (?P<name>\w+) resumed>(?P<rest>.*)")
_CALL = re.compile(r"(?P<name>\w+)\((?P<arguments>.*)\) += (?P<result>-?\d+).*")
_DESCRIPTOR = re.compile(r"(?P<number>\d+)<(?P<target>[^>]*)>")
_UNFINISHED = " <unfinished ...>"
_META_PAGE = re.compile(r", 120, \d+$")
"""The end of the arguments of the call that writes one: so many bytes, somewhere."""


@dataclass(frozen=True, slots=True)
class Call:
    """One system call, with the lines of the trace where it began and where it was complete."""

    name: str
    arguments: str
    result: int
    began: int
    ended: int

    @property
    def descriptor(self) -> tuple[str, str]:
        found = _DESCRIPTOR.match(self.arguments)
        return (found["number"], found["target"]) if found else ("", "")


def read_calls(lines: Iterable[str]) -> Iterator[Call]:
    """The calls, in the order in which they were complete."""
    unfinished: dict[str, tuple[int, str]] = {}
    for number, text in enumerate(lines):
        line = _LINE.match(text)
        if line is None:
            continue
        pid, rest, began = line["pid"], line["rest"], number
        if rest.endswith(_UNFINISHED):
            unfinished[pid] = (number, rest.removesuffix(_UNFINISHED))
            continue
        resumed = _RESUMED.match(rest)
        if resumed is not None:
            if pid not in unfinished:
                continue
            began, head = unfinished.pop(pid)
            rest = head + resumed["rest"]
        call = _CALL.match(rest)
        if call is not None:
            yield Call(
                call["name"],
                call["arguments"],
                int(call["result"]),
                began,
                number,
            )


@dataclass(slots=True)
class _Credit:
    """How far one credit has come on its way to the disk."""

    written: int | None = None
    synced: int | None = None
    current: int | None = None


def _follow(credits_: Mapping[str, _Credit], call: Call) -> None:
    if call.result < 0 or not call.descriptor[1].endswith("/log/data.mdb"):
        return
    if call.name in SYNCS:
        for credit in credits_.values():
            if credit.written is not None and credit.written < call.began:
                credit.synced = credit.synced or call.ended
    elif call.name in WRITES and _META_PAGE.search(call.arguments):
        for credit in credits_.values():
            if credit.synced is not None and credit.synced < call.began:
                credit.current = credit.current or call.ended
    elif call.name in WRITES:
        for key, credit in credits_.items():
            if credit.written is None and key in call.arguments:
                credit.written = call.ended


def too_early(lines: Iterable[str], answers: Mapping[str, str]) -> list[str]:
    """Each answer that was sent, at least in part, before its credit was durable.

    An answer that is not in the trace is named too: nothing is shown for it.

    Args:
        answers: for each body of an answer the idempotency key of its credit; both as strace
            prints them, and both in the trace of one credit only.
    """
    calls = list(read_calls(lines))
    credits_ = {key: _Credit() for key in answers.values()}
    for call in calls:
        _follow(credits_, call)
    sent = _sent(calls, answers)
    found = []
    for body, key in answers.items():
        credit = credits_[key]
        if body not in sent:
            found.append(f"no answer for {key}")
        elif credit.current is None:
            found.append(f"{key} was answered and is not durable: {credit}")
        elif sent[body] <= credit.current:
            found.append(
                f"{key} was answered at line {sent[body]}, before it was durable: {credit}"
            )
    return found


def _sent(calls: Iterable[Call], answers: Mapping[str, str]) -> dict[str, int]:
    """For each answer's body the line where the sending of its first byte began.

    The head of an answer may be sent before the body, by a call of its own.
    """
    sent: dict[str, int] = {}
    heads: dict[tuple[str, str], int] = {}
    for call in sorted(calls, key=lambda one: one.began):
        if call.name not in SENDS or not call.descriptor[1].startswith(("socket:", "TCP:")):
            continue
        began = call.began
        if "HTTP/1.1 200" in call.arguments:
            heads[call.descriptor] = began
        for body in answers:
            if body in call.arguments:
                sent.setdefault(body, min(began, heads.get(call.descriptor, began)))
    return sent
