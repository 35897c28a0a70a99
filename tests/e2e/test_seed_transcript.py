"""The transcript of the document that the project implements, line by line."""

import re

import pytest
from raw_http import send

AMOUNT = b'{"amount":500}'


def test_add_answers_with_the_transaction(url: str) -> None:
    reply = send(url, b"POST", b"/users/adder/add", AMOUNT)

    assert (reply.status, reply.body) == (
        200,
        b'{"Message":"Transaction of $500.000000 added for user adder"}',
    )


def test_balance_answers_with_six_decimals(url: str) -> None:
    send(url, b"POST", b"/users/gopal/add", AMOUNT)

    reply = send(url, b"GET", b"/users/gopal/balance")

    assert (reply.status, reply.body) == (
        200,
        b'{"Message":"User gopal has a balance of $500.000000"}',
    )


def test_history_answers_with_the_transaction_and_its_time(url: str) -> None:
    send(url, b"POST", b"/users/historian/add", AMOUNT)

    reply = send(url, b"GET", b"/users/historian/history?page=1")

    assert reply.status == 200
    assert re.fullmatch(
        rb'\[{"UserID":"historian","Amount":500,'
        rb'"Timestamp":"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z"}\]',
        reply.body,
    )


def test_history_without_a_page_is_its_first_page(url: str) -> None:
    send(url, b"POST", b"/users/pageless/add", AMOUNT)

    assert (
        send(url, b"GET", b"/users/pageless/history").body
        == send(url, b"GET", b"/users/pageless/history?page=1").body
    )


@pytest.mark.parametrize("method", [b"GET", b"PUT", b"PATCH", b"DELETE", b"HEAD", b"OPTIONS"])
def test_add_takes_no_other_method_than_post(url: str, method: bytes) -> None:
    reply = send(url, method, b"/users/gopal/add")

    assert (reply.status, reply.body) == (405, b"")


@pytest.mark.parametrize("method", [b"POST", b"PUT", b"PATCH", b"DELETE", b"OPTIONS"])
@pytest.mark.parametrize("endpoint", [b"balance", b"history", b"history?page=1"])
def test_reading_takes_no_other_method_than_get(url: str, endpoint: bytes, method: bytes) -> None:
    reply = send(url, method, b"/users/gopal/" + endpoint, AMOUNT)

    assert (reply.status, reply.body) == (405, b"")


@pytest.mark.parametrize("amount", [b"-500", b"0", b"-0.000001"])
def test_an_amount_that_is_not_positive_is_refused(url: str, amount: bytes) -> None:
    reply = send(url, b"POST", b"/users/refused/add", b'{"amount":%s}' % amount)

    assert (reply.status, reply.body) == (500, b'{"Message":"Amount must be positive"}')


def test_unknown_user_has_a_balance_of_zero(url: str) -> None:
    reply = send(url, b"GET", b"/users/unknown/balance")

    assert (reply.status, reply.body) == (
        200,
        b'{"Message":"User unknown has a balance of $0.000000"}',
    )


def test_unknown_user_has_an_empty_object_for_history(url: str) -> None:
    reply = send(url, b"GET", b"/users/unknown/history?page=1")

    assert (reply.status, reply.body) == (200, b"{}")


@pytest.mark.parametrize("endpoint", [b"balance", b"history", b"add"])
def test_answers_are_json(url: str, endpoint: bytes) -> None:
    method, body = (b"POST", AMOUNT) if endpoint == b"add" else (b"GET", None)

    reply = send(url, method, b"/users/typed/" + endpoint, body)

    assert reply.headers["content-type"] == "application/json"
