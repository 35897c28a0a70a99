"""The proof that nothing was lost or doubled.

Plan against what was read back. Pure: no HTTP, no clock.
"""

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from itertools import pairwise
from typing import Final

from bench.wire import (
    EMPTY_PAGE,
    ENTRIES_PER_PAGE,
    Micros,
    UserName,
    balance_from_body,
    decimal_text,
    micros_from_text,
)

FINDINGS_KEPT_MAX: Final = 20

_UTC_TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?Z", re.ASCII)


@dataclass(frozen=True, slots=True)
class PlannedUser:
    """The credits of one user, by what their callers were told."""

    name: UserName
    confirmed: tuple[Micros, ...]
    """Answered with 200: must count, exactly once."""
    unconfirmed: tuple[Micros, ...] = ()
    """Sent without an answer, or not at all: may count, at most once."""


@dataclass(frozen=True, slots=True)
class UserReading:
    """The bodies that the server sent about one user.

    The last page is the one after the last entry.
    """

    balance: bytes
    pages: tuple[bytes, ...]


class Fault(StrEnum):
    """What may be wrong with a user."""

    NOT_READ = "not read"
    BALANCE = "balance"
    LOST = "lost"
    DOUBLED = "doubled"
    PAGES = "pages"
    ENTRY = "entry"
    TIMESTAMP = "timestamp"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong with one user."""

    user: UserName
    fault: Fault
    what: str


@dataclass(slots=True)
class Verdict:
    """The outcome over all users. Counts are complete, findings are the first few."""

    users: int = 0
    entries: int = 0
    """Entries read back from histories."""
    lost: int = 0
    """Confirmed credits that are in no history."""
    doubled: int = 0
    """Credits in a history beyond those planned."""
    faults: Counter[Fault] = field(default_factory=Counter)
    findings: list[Finding] = field(default_factory=list)

    @property
    def holds(self) -> bool:
        """Whether every user was read and nothing at all is wrong."""
        return not self.faults


def verify(planned: Iterable[PlannedUser], readings: Mapping[UserName, UserReading]) -> Verdict:
    """Compare every planned user with what was read of it."""
    verdict = Verdict()
    for user in planned:
        verdict.users += 1
        reading = readings.get(user.name)
        if reading is None:
            _note(verdict, Finding(user.name, Fault.NOT_READ, "neither balance nor history"))
        else:
            _verify_user(verdict, user, reading)
    return verdict


@dataclass(frozen=True, slots=True)
class _Entry:
    amount: Micros
    at: datetime


def _verify_user(verdict: Verdict, user: PlannedUser, reading: UserReading) -> None:
    pages: list[list[_Entry]] = []
    for number, body in enumerate(reading.pages, start=1):
        try:
            pages.append(_entries_of_page(user.name, body))
        except ValueError as error:
            _note(verdict, Finding(user.name, Fault.ENTRY, f"page {number}: {error}"))
    if len(pages) < len(reading.pages):
        # What the unreadable pages held is unknown: to call it lost would be a guess.
        return
    entries = [entry for page in pages for entry in page]
    verdict.entries += len(entries)
    amounts = [entry.amount for entry in entries]
    _verify_amounts(verdict, user, amounts)
    _verify_balance(verdict, user, reading.balance, amounts)
    _verify_pages(verdict, user, [len(page) for page in pages])
    _verify_order(verdict, user, entries)


def _entries_of_page(user: UserName, body: bytes) -> list[_Entry]:
    if body == EMPTY_PAGE:
        return []
    # Numbers become exact micros here and never pass through a float.
    page = json.loads(
        body,
        parse_int=micros_from_text,
        parse_float=micros_from_text,
        parse_constant=micros_from_text,
    )
    if not isinstance(page, list) or not page:
        raise ValueError(f"neither entries nor {{}}: {body[:120]!r}")
    return [_entry(user, found) for found in page]


def _entry(user: UserName, found: object) -> _Entry:
    match found:
        case {"UserID": owner, "Amount": int(amount), "Timestamp": str(timestamp), **others}:
            if others or owner != user or isinstance(amount, bool):
                raise ValueError(f"no entry of {user}: {found!r}")
            return _Entry(Micros(amount), _utc(timestamp))
    raise ValueError(f"no entry: {found!r}")


def _utc(timestamp: str) -> datetime:
    if _UTC_TIMESTAMP.fullmatch(timestamp) is None:
        raise ValueError(f"{timestamp!r} is no UTC timestamp that ends in Z")
    return datetime.fromisoformat(timestamp)


def _verify_amounts(verdict: Verdict, user: PlannedUser, amounts: list[Micros]) -> None:
    found = Counter(amounts)
    missing = Counter(user.confirmed) - found
    if missing:
        verdict.lost += missing.total()
        _note(verdict, Finding(user.name, Fault.LOST, _listed(missing)))
    surplus = found - Counter(user.confirmed + user.unconfirmed)
    if surplus:
        verdict.doubled += surplus.total()
        _note(verdict, Finding(user.name, Fault.DOUBLED, _listed(surplus)))


def _verify_balance(
    verdict: Verdict, user: PlannedUser, body: bytes, amounts: list[Micros]
) -> None:
    # With an unknown outcome the plan allows several sums: then history and balance must agree.
    expected = Micros(sum(amounts if user.unconfirmed else user.confirmed))
    try:
        balance = balance_from_body(user.name, body)
    except ValueError as error:
        _note(verdict, Finding(user.name, Fault.BALANCE, str(error)))
        return
    if balance != expected:
        what = f"is {decimal_text(balance)}, must be {decimal_text(expected)}"
        _note(verdict, Finding(user.name, Fault.BALANCE, what))


def _verify_pages(verdict: Verdict, user: PlannedUser, sizes: list[int]) -> None:
    full, rest = divmod(sum(sizes), ENTRIES_PER_PAGE)
    expected = [ENTRIES_PER_PAGE] * full + ([rest] if rest else []) + [0]
    if sizes != expected:
        what = f"{sum(sizes)} entries on {len(sizes)} pages of {sizes[:5]}... entries"
        _note(verdict, Finding(user.name, Fault.PAGES, f"{what}, must be {expected[:5]}..."))


def _verify_order(verdict: Verdict, user: PlannedUser, entries: list[_Entry]) -> None:
    for newer, older in pairwise(entries):
        if newer.at < older.at:
            what = f"{newer.at.isoformat()} is listed before {older.at.isoformat()}"
            _note(verdict, Finding(user.name, Fault.TIMESTAMP, what))
            return


def _note(verdict: Verdict, finding: Finding) -> None:
    verdict.faults[finding.fault] += 1
    if len(verdict.findings) < FINDINGS_KEPT_MAX:
        verdict.findings.append(finding)


def _listed(amounts: Counter[Micros]) -> str:
    first = [f"{count} x {decimal_text(amount)}" for amount, count in amounts.most_common(3)]
    return ", ".join(first) + (", ..." if len(amounts) > len(first) else "")
