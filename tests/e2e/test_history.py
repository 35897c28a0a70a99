"""History against a plain list: newest first, ten a page, wherever its entries are kept."""

import json
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path

import pytest
from bitburst_command import logged
from eventually import all_folded
from raw_http import credit, history

from bench.server_process import ServerProcess

PAGE_SIZE = 10
FIRST_FOLDED = 23


def page_of(amounts: Sequence[int], page: int) -> list[int]:
    newest_first = amounts[::-1]
    return list(newest_first[(page - 1) * PAGE_SIZE : page * PAGE_SIZE])


def amounts_on(url: str, user: str, page: int) -> list[int]:
    entries = history(url, user, page).json
    # A page without entries is {} by the wire contract.
    return [entry["Amount"] for entry in entries] if entries else []


@pytest.mark.parametrize("count", [1, 9, 10, 11, 20, 25])
def test_every_page_is_that_of_a_list(url: str, user: str, count: int) -> None:
    amounts = list(range(1, count + 1))
    for amount in amounts:
        credit(url, user, b'{"amount":%d}' % amount)

    pages = range(1, count // PAGE_SIZE + 3)

    assert [amounts_on(url, user, page) for page in pages] == [
        page_of(amounts, page) for page in pages
    ]


def test_pages_cross_the_seam_between_snapshot_and_memory(tmp_path: Path) -> None:
    interval = ("--snapshot-entries", str(FIRST_FOLDED), "--snapshot-interval-s", "1000")
    with ServerProcess(tmp_path / "data", *interval) as server:
        amounts = list(range(1, FIRST_FOLDED + 1))
        for amount in amounts:
            credit(server.url, "u", b'{"amount":%d}' % amount)
        folded = all_folded(server, FIRST_FOLDED)
        # Each step moves the seam to another place on its page.
        for amount in range(FIRST_FOLDED + 1, FIRST_FOLDED + 15):
            credit(server.url, "u", b'{"amount":%d}' % amount)
            amounts.append(amount)
            for page in range(1, 6):
                assert amounts_on(server.url, "u", page) == page_of(amounts, page)

        assert folded == all_folded(server, 1), "there is only one snapshot"


def test_pages_are_the_same_after_a_crash(tmp_path: Path) -> None:
    with ServerProcess(tmp_path / "data", "--snapshot-entries", "12") as server:
        for amount in range(1, 28):
            credit(server.url, "u", b'{"amount":%d}' % amount)
        all_folded(server, 12)
        before = [history(server.url, "u", page).body for page in range(1, 5)]
        server.kill()
        server.start()

        assert [history(server.url, "u", page).body for page in range(1, 5)] == before


def test_pages_are_the_same_when_everything_is_folded(tmp_path: Path) -> None:
    with ServerProcess(tmp_path / "data", "--snapshot-interval-s", "0.2") as server:
        for amount in range(1, 28):
            credit(server.url, "u", b'{"amount":%d}' % amount, f"key-{amount}")
        last = logged(server.data_dir)[-1]["position"]
        all_folded(server, last)

        assert [amounts_on(server.url, "u", page) for page in range(1, 5)] == [
            page_of(range(1, 28), page) for page in range(1, 5)
        ]


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("500", "500"),
        ("500.00", "500"),
        ("0.1", "0.1"),
        ("0.10", "0.1"),
        ("0.000001", "0.000001"),
        ("1e-6", "0.000001"),
        ("1E3", "1000"),
        ("1000000", "1000000"),
        ("9007199254.740993", "9007199254.740993"),
        ("9223372036854.775807", "9223372036854.775807"),
    ],
)
def test_an_amount_is_shown_as_the_shortest_exact_number(
    url: str, user: str, written: str, shown: str
) -> None:
    credit(url, user, b'{"amount":%s}' % written.encode())

    assert f'"Amount":{shown},'.encode() in history(url, user).body


def test_the_amounts_add_up_exactly(url: str, user: str) -> None:
    for _ in range(10):
        credit(url, user, b'{"amount":0.1}')

    entries = json.loads(history(url, user).body, parse_float=Decimal)

    assert sum(entry["Amount"] for entry in entries) == 1


def test_timestamps_never_go_back(url: str, user: str) -> None:
    for _ in range(10):
        credit(url, user, b'{"amount":1}')

    timestamps = [entry["Timestamp"] for entry in history(url, user).json]

    assert timestamps == sorted(timestamps, reverse=True)


def test_users_do_not_share_a_history(url: str, user: str) -> None:
    credit(url, user, b'{"amount":1}')
    credit(url, user + "0", b'{"amount":2}')

    assert [entry["UserID"] for entry in history(url, user).json] == [user]
