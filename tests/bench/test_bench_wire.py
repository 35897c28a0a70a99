import pytest

from bench.wire import (
    Micros,
    UserName,
    add_request,
    added_body,
    balance_from_body,
    decimal_text,
    micros_from_text,
    six_decimals,
)

GOPAL = UserName("gopal")


@pytest.mark.parametrize(
    ("micros", "text"),
    [(500_000_000, "500"), (500_000, "0.5"), (1, "0.000001"), (10_020_300, "10.0203"), (0, "0")],
)
def test_amounts_are_written_and_read_exactly(micros: int, text: str) -> None:
    assert decimal_text(Micros(micros)) == text
    assert micros_from_text(text) == micros


@pytest.mark.parametrize(
    "text", ["", "-1", "+1", "1e2", "0.0000001", "01", ".5", "5.", "NaN", "\u0661"]
)
def test_what_is_no_plain_decimal_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no plain decimal"):
        micros_from_text(text)


def test_messages_always_show_six_decimals() -> None:
    assert six_decimals(Micros(500_000_000)) == "500.000000"
    assert added_body(GOPAL, Micros(1)) == (
        b'{"Message":"Transaction of $0.000001 added for user gopal"}'
    )


def test_an_add_is_one_complete_request() -> None:
    assert add_request("127.0.0.1:8080", GOPAL, Micros(500_000), "k1") == (
        b"POST /users/gopal/add HTTP/1.1\r\n"
        b"Host: 127.0.0.1:8080\r\n"
        b"Content-Type: application/json\r\n"
        b"Content-Length: 15\r\n"
        b"Idempotency-Key: k1\r\n"
        b"\r\n"
        b'{"amount": 0.5}'
    )


def test_a_balance_is_read_only_from_its_own_message() -> None:
    assert (
        balance_from_body(GOPAL, b'{"Message":"User gopal has a balance of $0.500000"}') == 500_000
    )
    for other in (
        b"",
        b'{"Message":"User other has a balance of $0.500000"}',
        b'{"Message":"User gopal has a balance of $-0.500000"}',
    ):
        with pytest.raises(ValueError, match=r"no balance|no plain decimal"):
            balance_from_body(GOPAL, other)
