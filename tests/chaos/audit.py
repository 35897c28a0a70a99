"""Whether what the ledger says is what its callers know: a pure function, and its tests beside it.

Every credit of a run has an amount that no other credit of the run has. So each line of a history
names the one request that it came from, by nothing but what the wire contract shows.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

PAGE_SIZE = 10


@dataclass(frozen=True, slots=True)
class Credit:
    """A request, and all of its retries."""

    user: str
    amount: int
    """In micro-dollars; no other credit of the run has it."""
    key: str | None = None


class Fate(Enum):
    """What the caller knows of a credit."""

    ACKNOWLEDGED = "acknowledged"
    """Answered 200: it counts once."""
    UNKNOWN = "unknown"
    """Never answered for certain: it counts once or not at all."""
    REFUSED = "refused"
    """Answered that nothing was recorded, each time it was sent: it does not count."""


@dataclass(frozen=True, slots=True)
class Account:
    """What was read back of a user."""

    balance: int
    pages: Sequence[Sequence[int]]
    """The amounts of the history, page by page, until the first empty page."""

    @property
    def amounts(self) -> list[int]:
        return [amount for page in self.pages for amount in page]


def violations(known: Mapping[Credit, Fate], read: Mapping[str, Account]) -> list[str]:
    """Each way in which what was read cannot be, given what is known; nothing when all is well."""
    return [
        *_of_credits(known.items(), read),
        *_of_inventions(known, read),
        *(line for user, account in read.items() for line in _of_account(user, account)),
    ]


def _of_credits(known: Iterable[tuple[Credit, Fate]], read: Mapping[str, Account]) -> Iterator[str]:
    counted = {user: Counter(account.amounts) for user, account in read.items()}
    for credit, fate in known:
        if credit.user not in counted:
            yield f"user {credit.user} was not read back"
            continue
        times = counted[credit.user][credit.amount]
        if times > 1:
            yield f"doubled: {fate.value} {credit} counts {times} times"
        elif fate is Fate.ACKNOWLEDGED and times == 0:
            yield f"lost: acknowledged {credit} does not count"
        elif fate is Fate.REFUSED and times:
            yield f"refused, but counts: {credit}"


def _of_inventions(known: Mapping[Credit, Fate], read: Mapping[str, Account]) -> Iterator[str]:
    sent = {(credit.user, credit.amount) for credit in known}
    for user, account in read.items():
        for amount in account.amounts:
            if (user, amount) not in sent:
                yield f"invented: user {user} has {amount}, which nobody sent"


def _of_account(user: str, account: Account) -> Iterator[str]:
    total = sum(account.amounts)
    if account.balance != total:
        yield f"user {user} has a balance of {account.balance}, but a history of {total}"
    sizes = [len(page) for page in account.pages]
    if any(size != PAGE_SIZE for size in sizes[:-1]) or any(size > PAGE_SIZE for size in sizes):
        yield f"user {user} has a gap in the numbering: pages of {sizes}"
