from collections.abc import Callable
from dataclasses import replace

import pytest

from bench.verification import (
    FINDINGS_KEPT_MAX,
    Fault,
    PlannedUser,
    UserReading,
    Verdict,
    verify,
)
from bench.wire import Micros, UserName, decimal_text, six_decimals

ANN = UserName("ann")
AMOUNTS = tuple(Micros(500_000 * n) for n in range(1, 24))
PLAN = PlannedUser(ANN, AMOUNTS)


def entry(number: int, amount: Micros, user: str = ANN) -> str:
    stamp = f"2023-04-18T17:03:{number:02d}.309113Z"
    return f'{{"UserID":"{user}","Amount":{decimal_text(amount)},"Timestamp":"{stamp}"}}'


def page_of(entries: list[str]) -> bytes:
    return f"[{','.join(entries)}]".encode()


def reading_of(amounts: tuple[Micros, ...], balance: int | None = None) -> UserReading:
    """What a correct server would answer that holds these amounts, oldest first."""
    entries = [entry(number, amount) for number, amount in enumerate(amounts)][::-1]
    pages = [page_of(entries[start : start + 10]) for start in range(0, len(entries), 10)]
    shown = six_decimals(Micros(sum(amounts) if balance is None else balance))
    message = f'{{"Message":"User {ANN} has a balance of ${shown}"}}'
    return UserReading(message.encode(), (*pages, b"{}"))


def verdict_on(reading: UserReading, plan: PlannedUser = PLAN) -> Verdict:
    return verify([plan], {ANN: reading})


def changed(page: int, change: Callable[[bytes], bytes]) -> UserReading:
    reading = reading_of(AMOUNTS)
    pages = list(reading.pages)
    pages[page] = change(pages[page])
    return replace(reading, pages=tuple(pages))


@pytest.mark.parametrize("count", [0, 1, 9, 10, 11, 20, 23])
def test_a_complete_reading_holds(count: int) -> None:
    verdict = verdict_on(reading_of(AMOUNTS[:count]), PlannedUser(ANN, AMOUNTS[:count]))
    assert verdict.holds
    assert (verdict.users, verdict.entries) == (1, count)


def test_the_order_of_equal_credits_does_not_matter() -> None:
    assert verdict_on(reading_of(AMOUNTS[::-1])).holds


def test_a_lost_credit_is_found() -> None:
    verdict = verdict_on(reading_of(AMOUNTS[1:]))
    assert verdict.lost == 1
    assert set(verdict.faults) == {Fault.LOST, Fault.BALANCE}


def test_a_doubled_credit_is_found() -> None:
    verdict = verdict_on(reading_of((*AMOUNTS, AMOUNTS[4])))
    assert verdict.doubled == 1
    assert set(verdict.faults) == {Fault.DOUBLED, Fault.BALANCE}


def test_equal_amounts_are_counted_not_merged() -> None:
    plan = PlannedUser(ANN, (Micros(5), Micros(5)))
    assert verdict_on(reading_of((Micros(5), Micros(5))), plan).holds
    assert verdict_on(reading_of((Micros(5),)), plan).lost == 1
    assert verdict_on(reading_of((Micros(5),) * 3), plan).doubled == 1


def test_a_loss_that_a_double_makes_up_for_is_found() -> None:
    plan = PlannedUser(ANN, (Micros(5), Micros(1), Micros(4)))
    verdict = verdict_on(reading_of((Micros(5), Micros(5))), plan)
    assert (verdict.lost, verdict.doubled) == (2, 1)


def test_a_balance_off_by_one_micro_is_found() -> None:
    assert set(verdict_on(reading_of(AMOUNTS, sum(AMOUNTS) - 1)).faults) == {Fault.BALANCE}


def test_a_credit_that_no_float_can_hold_is_compared_exactly() -> None:
    large = Micros(2**63 - 1)
    assert verdict_on(reading_of((large,)), PlannedUser(ANN, (large,))).holds
    assert not verdict_on(reading_of((Micros(large - 1),)), PlannedUser(ANN, (large,))).holds


def test_an_unreadable_balance_is_found() -> None:
    reading = replace(reading_of(AMOUNTS), balance=b'{"Message":"hello"}')
    assert set(verdict_on(reading).faults) == {Fault.BALANCE}


def test_a_missing_page_after_the_last_is_found() -> None:
    reading = reading_of(AMOUNTS)
    cut = replace(reading, pages=reading.pages[:-1])
    assert set(verdict_on(cut).faults) == {Fault.PAGES}


def test_pages_that_are_not_full_are_found() -> None:
    entries = [entry(number, AMOUNTS[number]) for number in range(20)][::-1]
    reading = reading_of(AMOUNTS[:20])
    uneven = replace(reading, pages=(page_of(entries[:9]), page_of(entries[9:]), b"{}"))
    verdict = verdict_on(uneven, PlannedUser(ANN, AMOUNTS[:20]))
    assert set(verdict.faults) == {Fault.PAGES}


def test_a_page_too_many_is_found() -> None:
    reading = reading_of(AMOUNTS)
    longer = replace(reading, pages=(*reading.pages, b"{}"))
    assert set(verdict_on(longer).faults) == {Fault.PAGES}


def test_oldest_first_is_found() -> None:
    reading = changed(0, lambda _: page_of([entry(n, AMOUNTS[n]) for n in range(13, 23)]))
    assert set(verdict_on(reading).faults) == {Fault.TIMESTAMP}


def test_an_order_broken_only_between_two_pages_is_found() -> None:
    reading = reading_of(AMOUNTS)
    pages = (reading.pages[1], reading.pages[0], *reading.pages[2:])
    assert set(verdict_on(replace(reading, pages=pages)).faults) == {Fault.TIMESTAMP}


def test_equal_timestamps_are_allowed() -> None:
    reading = changed(0, lambda _: page_of([entry(30, AMOUNTS[n]) for n in range(13, 23)]))
    assert verdict_on(reading).holds


@pytest.mark.parametrize(
    "change",
    [
        lambda page: page.replace(b"Z", b"+00:00"),
        lambda page: page.replace(b"Z", b""),
        lambda page: page.replace(b"2023-04-18", b"2023-02-30"),
        lambda page: page.replace(b"T", b" "),
        lambda page: page.replace(b'"ann"', b'"bob"'),
        lambda page: page.replace(b'"UserID"', b'"User"'),
        lambda page: page.replace(b'"Amount":', b'"Amount":-'),
        lambda page: page.replace(b'"Amount":', b'"Amount":1e'),
        lambda page: page.replace(b'"UserID"', b'"More":1,"UserID"'),
        lambda page: page[:-1],
        lambda _: b"[]",
        lambda _: b"null",
        lambda _: b"{ }",
        lambda _: b'[{"UserID":"ann","Amount":true,"Timestamp":"2023-04-18T17:03:00Z"}]',
        lambda _: b'[{"UserID":"ann","Amount":NaN,"Timestamp":"2023-04-18T17:03:00Z"}]',
        lambda _: b"\xff\xfe",
    ],
)
def test_a_page_that_breaks_the_contract_is_found(change: Callable[[bytes], bytes]) -> None:
    verdict = verdict_on(changed(0, change))
    assert set(verdict.faults) == {Fault.ENTRY}


def test_a_user_that_was_not_read_is_found() -> None:
    verdict = verify([PLAN], {})
    assert set(verdict.faults) == {Fault.NOT_READ}
    assert not verdict.holds


def test_a_credit_without_an_answer_may_count_or_not() -> None:
    plan = PlannedUser(ANN, AMOUNTS[:5], unconfirmed=AMOUNTS[5:6])
    assert verdict_on(reading_of(AMOUNTS[:5]), plan).holds
    assert verdict_on(reading_of(AMOUNTS[:6]), plan).holds


def test_a_credit_without_an_answer_may_not_count_twice() -> None:
    plan = PlannedUser(ANN, AMOUNTS[:5], unconfirmed=AMOUNTS[5:6])
    assert verdict_on(reading_of((*AMOUNTS[:6], AMOUNTS[5])), plan).doubled == 1


def test_with_unknown_outcomes_balance_and_history_must_agree() -> None:
    plan = PlannedUser(ANN, AMOUNTS[:5], unconfirmed=AMOUNTS[5:6])
    verdict = verdict_on(reading_of(AMOUNTS[:6], balance=sum(AMOUNTS[:5])), plan)
    assert set(verdict.faults) == {Fault.BALANCE}


def test_all_faults_are_counted_and_the_first_are_kept() -> None:
    plans = [PlannedUser(UserName(f"u{number}"), AMOUNTS) for number in range(100)]
    verdict = verify(plans, {})
    assert verdict.faults[Fault.NOT_READ] == 100
    assert len(verdict.findings) == FINDINGS_KEPT_MAX
