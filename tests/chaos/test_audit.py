"""The audit must be able to fail: for each way to be wrong there is a test that it sees it."""

from collections.abc import Mapping, Sequence

import pytest
from audit import Account, Credit, Fate, violations

FIRST = Credit("ann", 1, "a")
SECOND = Credit("ann", 2, "b")
KNOWN = {FIRST: Fate.ACKNOWLEDGED, SECOND: Fate.ACKNOWLEDGED}


def account(*pages: Sequence[int], balance: int | None = None) -> Mapping[str, Account]:
    total = sum(sum(page) for page in pages)
    return {"ann": Account(total if balance is None else balance, pages)}


def test_what_is_right_passes() -> None:
    assert violations(KNOWN, account([2, 1])) == []


def test_lost_credit_is_found() -> None:
    (found,) = violations(KNOWN, account([1]))
    assert found.startswith("lost: ")


def test_credit_of_a_user_that_was_never_read_is_found() -> None:
    assert violations(KNOWN, {}) == ["user ann was not read back"] * 2


@pytest.mark.parametrize("fate", [Fate.ACKNOWLEDGED, Fate.UNKNOWN])
def test_doubled_credit_is_found(fate: Fate) -> None:
    (found,) = violations({FIRST: fate, SECOND: Fate.ACKNOWLEDGED}, account([2, 1, 1]))
    assert found.startswith("doubled: ")


def test_invented_credit_is_found() -> None:
    (found,) = violations(KNOWN, account([3, 2, 1]))
    assert found.startswith("invented: ")


def test_credit_of_another_user_is_invented() -> None:
    found = violations(KNOWN, {**account([2, 1]), "bob": Account(2, [[2]])})
    assert found == ["invented: user bob has 2, which nobody sent"]


def test_refused_credit_that_counts_is_found() -> None:
    (found,) = violations({FIRST: Fate.ACKNOWLEDGED, SECOND: Fate.REFUSED}, account([2, 1]))
    assert found.startswith("refused, but counts: ")


@pytest.mark.parametrize("pages", [[[2, 1]], [[1]]])
def test_unknown_credit_may_count_once_or_not_at_all(pages: Sequence[Sequence[int]]) -> None:
    assert violations({FIRST: Fate.ACKNOWLEDGED, SECOND: Fate.UNKNOWN}, account(*pages)) == []


def test_balance_that_is_not_the_sum_is_found() -> None:
    (found,) = violations(KNOWN, account([2, 1], balance=4))
    assert found == "user ann has a balance of 4, but a history of 3"


@pytest.mark.parametrize("sizes", [(9, 3), (11, 1), (10, 9, 2)])
def test_gap_in_the_pages_is_found(sizes: Sequence[int]) -> None:
    amounts = iter(range(1, 100))
    pages = [[next(amounts) for _ in range(size)] for size in sizes]
    known = {Credit("ann", amount): Fate.ACKNOWLEDGED for page in pages for amount in page}
    (found,) = violations(known, account(*pages))
    assert found.startswith("user ann has a gap in the numbering")
