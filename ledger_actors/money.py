"""Money: an integer count of micro-dollars, read from decimals, never from floats."""

from decimal import Decimal
from typing import Final, NewType

from ledger_actors.errors import AmountNotPositive, InvalidAmount

Micros = NewType("Micros", int)
"""Micro-dollars: 10^-6 USD."""

DECIMAL_PLACES: Final = 6
MICROS_PER_DOLLAR: Final = 10**DECIMAL_PLACES
MICROS_MAX: Final = Micros(2**63 - 1)


def micros_from_decimal(dollars: Decimal) -> Micros:
    """The micro-dollars of a positive amount of dollars, exactly.

    Raises:
        AmountNotPositive: the amount is zero or less.
        InvalidAmount: it is no number, is finer than a micro-dollar, or is past `MICROS_MAX`.
    """
    if not dollars.is_finite():
        raise InvalidAmount("amount must be a finite number")
    if dollars <= 0:
        raise AmountNotPositive
    # Looked at before anything is computed: 1e999999 must not be written out.
    if dollars.adjusted() > len(str(MICROS_MAX)):
        raise _too_large()
    _, digits, exponent = dollars.as_tuple()
    assert isinstance(exponent, int)
    scale = exponent + DECIMAL_PLACES
    if scale < 0:
        # Cut off before they are made an integer: Python makes none of thousands of digits.
        if any(digits[scale:]):
            raise _too_fine()
        digits, scale = digits[:scale], 0
    micros = int("".join(map(str, digits))) * 10**scale
    if micros > MICROS_MAX:
        raise _too_large()
    return Micros(micros)


def format_fixed(amount: Micros) -> str:
    """The dollars with all six decimals: `500.000000`."""
    dollars, micros = divmod(amount, MICROS_PER_DOLLAR)
    return f"{dollars}.{micros:06d}"


def format_plain(amount: Micros) -> str:
    """The dollars as the shortest plain JSON number: `500`, `0.5`, `0.000001`."""
    dollars, micros = divmod(amount, MICROS_PER_DOLLAR)
    return f"{dollars}.{micros:06d}".rstrip("0") if micros else str(dollars)


def _too_large() -> InvalidAmount:
    return InvalidAmount(f"amount must be at most {format_fixed(MICROS_MAX)}")


def _too_fine() -> InvalidAmount:
    return InvalidAmount(f"amount must have at most {DECIMAL_PLACES} decimals")
