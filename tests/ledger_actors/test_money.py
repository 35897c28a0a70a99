from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger_actors.errors import AmountNotPositive, InvalidAmount
from ledger_actors.money import MICROS_MAX, Micros, format_fixed, format_plain, micros_from_decimal

decimals = st.decimals(allow_nan=True, allow_infinity=True)


@given(decimals)
def test_an_amount_is_exact_or_refused(dollars: Decimal) -> None:
    exact = Fraction(dollars) * 10**6 if dollars.is_finite() else None
    acceptable = exact is not None and exact.denominator == 1 and 0 < exact <= MICROS_MAX
    if acceptable:
        assert micros_from_decimal(dollars) == exact
    else:
        with pytest.raises(InvalidAmount):
            micros_from_decimal(dollars)


@given(st.integers(1, MICROS_MAX))
def test_both_formats_read_back_as_the_same_amount(micros: int) -> None:
    for text in (format_fixed(Micros(micros)), format_plain(Micros(micros))):
        assert micros_from_decimal(Decimal(text)) == micros


@pytest.mark.parametrize(
    ("micros", "fixed", "plain"),
    [
        (1, "0.000001", "0.000001"),
        (500_000_000, "500.000000", "500"),
        (500_000, "0.500000", "0.5"),
        (MICROS_MAX, "9223372036854.775807", "9223372036854.775807"),
        (0, "0.000000", "0"),
    ],
)
def test_formats(micros: int, fixed: str, plain: str) -> None:
    assert (format_fixed(Micros(micros)), format_plain(Micros(micros))) == (fixed, plain)


@pytest.mark.parametrize("text", ["0", "-0", "-1", "-0.0000001", "-1e999999", "0e999999"])
def test_zero_and_less_are_not_positive(text: str) -> None:
    with pytest.raises(AmountNotPositive):
        micros_from_decimal(Decimal(text))


@pytest.mark.parametrize("text", ["1e400", "1e999999", "1e-7", "1e-999999", "0.0000001", "NaN"])
def test_what_cannot_be_held_is_refused_without_being_written_out(text: str) -> None:
    with pytest.raises(InvalidAmount):
        micros_from_decimal(Decimal(text))
