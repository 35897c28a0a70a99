"""The commands that look into a store, on one that is served and on one that is not."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import lmdb
import pytest
from bitburst_command import COMMAND, Finished, bitburst, logged
from eventually import all_folded
from raw_http import balance, credit
from store_changes import change, spoil

from bench.server_process import ServerProcess
from ledger_actors.entry import LogPosition, Timestamp
from ledger_actors.identity import IdempotencyKey, UserId
from persistence.record import key_of
from persistence.snapshot_format import (
    BLOCK_ENTRIES,
    HEAD_KEY,
    account_key,
    block_key,
    pack_block,
    pack_head,
    request_key,
    unpack_head,
)

AMOUNT = b'{"amount":1}'
FOLDED = 20
LAST = 24
USER = UserId("folded")


def write_store(server: ServerProcess) -> None:
    """Twenty records that are folded, all of one user, and four that are only in the log."""
    for number in range(1, FOLDED + 1):
        credit(server.url, USER, AMOUNT, f"key-{number}")
    assert all_folded(server, FOLDED) == FOLDED
    for number in range(FOLDED + 1, LAST + 1):
        credit(server.url, f"logged-{number}", AMOUNT, f"key-{number}")


@pytest.fixture(scope="module")
def served_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    settings = ("--snapshot-entries", str(FOLDED), "--snapshot-interval-s", "1000")
    with ServerProcess(tmp_path_factory.mktemp("served") / "data", *settings) as server:
        write_store(server)
        yield server


@pytest.fixture(scope="module")
def written_store(served_store: ServerProcess, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same store, with no server on it."""
    directory = tmp_path_factory.mktemp("written")
    assert backup(served_store.data_dir, directory / "backup").status == 0
    assert restore(directory / "backup", directory / "data").status == 0
    return directory / "data"


@pytest.fixture
def store(written_store: Path, tmp_path: Path) -> Path:
    """A copy of it, to change."""
    shutil.copytree(written_store, tmp_path / "data")
    return tmp_path / "data"


@pytest.fixture(params=["served", "stopped"])
def data_dir(
    request: pytest.FixtureRequest, served_store: ServerProcess, written_store: Path
) -> Path:
    return served_store.data_dir if request.param == "served" else written_store


def verify(data_dir: Path) -> Finished:
    return bitburst("verify", "--json", "--data-dir", data_dir)


def backup(data_dir: Path, target: Path) -> Finished:
    return bitburst("backup", "--json", "--data-dir", data_dir, target)


def restore(source: Path, data_dir: Path) -> Finished:
    return bitburst("restore", "--json", "--data-dir", data_dir, source)


def show(data_dir: Path, user: str, *arguments: str) -> Finished:
    return bitburst("show", "--json", "--data-dir", data_dir, user, *arguments)


def assert_refused(finished: Finished, fragment: str) -> None:
    assert finished.status == 1
    assert fragment in finished.complaint
    assert "Traceback" not in finished.complaint


def test_verify_counts_what_it_found_right(data_dir: Path) -> None:
    (figures,) = verify(data_dir).json

    del figures["duration_s"], figures["first"], figures["logged_entries"]
    assert figures.pop("newest_entry") == logged(data_dir)[-1]["timestamp"]
    assert figures == {
        "last": LAST,
        "snapshot_position": FOLDED,
        "users": 1,
        "folded_entries": FOLDED,
    }


def test_show_tells_balance_and_newest_entries(data_dir: Path) -> None:
    (account,) = show(data_dir, USER, "--entries", "2").json

    assert (account["user"], account["balance"], account["entries"]) == (USER, "20.000000", 20)
    assert [(entry["number"], entry["key"]) for entry in account["newest"]] == [
        (20, "key-20"),
        (19, "key-19"),
    ]


def test_show_tells_of_what_is_only_in_the_log(data_dir: Path) -> None:
    (account,) = show(data_dir, "logged-22").json

    assert (account["balance"], account["newest"][0]["key"]) == ("1.000000", "key-22")


def test_show_of_an_unknown_user_is_an_empty_account(data_dir: Path) -> None:
    (account,) = show(data_dir, "nobody").json

    assert account == {"user": "nobody", "balance": "0.000000", "entries": 0, "newest": []}


def test_log_prints_the_entries_in_order(data_dir: Path) -> None:
    entries = [entry for entry in logged(data_dir) if entry["position"] > FOLDED]

    assert [(entry["position"], entry["user"], entry["amount"]) for entry in entries] == [
        (position, f"logged-{position}", "1.000000") for position in range(FOLDED + 1, LAST + 1)
    ]


def test_log_begins_behind_the_position_asked_for(data_dir: Path) -> None:
    entries = bitburst("log", "--json", "--data-dir", data_dir, "--after", "23").json

    assert [entry["position"] for entry in entries] == [24]


def test_commands_print_for_people_too(data_dir: Path) -> None:
    shown = bitburst("show", "--data-dir", data_dir, USER).output

    assert shown.startswith(f"{USER}: $20.000000 in 20 entries")


def test_what_callers_chose_cannot_command_a_terminal(server: ServerProcess) -> None:
    credit(server.url, "%1b%5b2Jred", AMOUNT)

    printed = bitburst("log", "--data-dir", server.data_dir).output
    printed += bitburst("show", "--data-dir", server.data_dir, "\x1b[2Jred").output

    assert "\x1b" not in printed
    assert printed.count("\\x1b[2Jred") == 2


def test_log_of_positions_that_were_cut_is_refused(tmp_path: Path) -> None:
    with ServerProcess(tmp_path / "data", "--snapshot-entries", "1") as server:
        for _ in range(3):
            credit(server.url, "u", AMOUNT)
        all_folded(server, 3)
        # The next commits cut what is folded.
        for _ in range(2):
            credit(server.url, "u", AMOUNT)
        all_folded(server, 5)

    finished = bitburst("log", "--data-dir", tmp_path / "data", "--after", "1")

    assert_refused(finished, "does not hold position 1")


def test_log_follow_shows_new_entries(server: ServerProcess) -> None:
    credit(server.url, "early", AMOUNT)
    follow = [*COMMAND, "log", "--json", "--follow", "--data-dir", str(server.data_dir)]
    with subprocess.Popen(follow, stdout=subprocess.PIPE, text=True) as following:
        assert following.stdout is not None
        try:
            assert json.loads(following.stdout.readline())["user"] == "early"
            credit(server.url, "late", AMOUNT)

            assert json.loads(following.stdout.readline())["user"] == "late"
        finally:
            following.kill()


def test_a_restored_store_serves_what_was_backed_up(store: Path) -> None:
    with ServerProcess(store) as server:
        retried = credit(server.url, USER, AMOUNT, "key-1")

        assert retried.headers["idempotent-replayed"] == "true"
        assert balance(server.url, USER).message.endswith("$20.000000")


@pytest.mark.parametrize("command", ["verify", "log", "show", "backup"])
def test_commands_on_a_directory_without_a_store_are_refused(tmp_path: Path, command: str) -> None:
    argument = {"show": ["u"], "backup": [tmp_path / "backup"]}.get(command, [])

    finished = bitburst(command, "--data-dir", tmp_path / "none", *argument)

    assert_refused(finished, "there is no store in")


def test_show_of_what_is_no_user_is_refused(store: Path) -> None:
    finished = show(store, "x" * 129)

    assert finished.status == 2
    assert "1 to 128 bytes" in finished.complaint


def delete(value: bytes) -> None:
    return None


ARRAY_HEAD = b"\xdc" + BLOCK_ENTRIES.to_bytes(2)
"""How msgpack begins a block's entries."""


def doubled(value: bytes) -> bytes:
    """The block with one amount changed."""
    amount = b"\xce\x00\x0f\x42\x40"
    assert amount in value
    return value.replace(amount, b"\xce\x00\x1e\x84\x80", 1)


def test_verify_finds_a_changed_amount_in_the_snapshot(store: Path) -> None:
    change(store / "snapshot", block_key(USER, 0), doubled)

    assert_refused(verify(store), f"block 0 of user '{USER}' does not match its checksum")


def test_verify_finds_a_changed_amount_whose_checksum_was_changed_too(store: Path) -> None:
    def forged(value: bytes) -> bytes:
        _, entries = doubled(value).split(ARRAY_HEAD, 1)
        return pack_block(block_key(USER, 0), entries)

    change(store / "snapshot", block_key(USER, 0), forged)

    assert_refused(verify(store), f"account of user '{USER}' is not what its history adds up to")


def test_verify_finds_a_changed_account_in_the_snapshot(store: Path) -> None:
    change(store / "snapshot", account_key(USER), spoil)

    assert_refused(verify(store), f"account of user '{USER}' does not match its checksum")


def test_verify_finds_lost_entries_of_the_snapshot(store: Path) -> None:
    change(store / "snapshot", block_key(USER, 0), delete)

    assert_refused(verify(store), f"lost block 0 of user '{USER}'")


def test_verify_finds_a_lost_request_id_of_the_snapshot(store: Path) -> None:
    change(store / "snapshot", request_key(USER, IdempotencyKey("key-3")), delete)

    assert_refused(verify(store), f"lost an idempotency key of user '{USER}'")


def test_verify_finds_a_lost_account_of_the_snapshot(store: Path) -> None:
    change(store / "snapshot", account_key(USER), delete)

    assert_refused(verify(store), "the snapshot holds 22 rows, but its accounts have 1")


def test_verify_finds_a_changed_newest_timestamp(store: Path) -> None:
    def later(value: bytes) -> bytes:
        head = unpack_head(value)
        return pack_head(head._replace(newest=Timestamp(head.newest + 1)))

    change(store / "snapshot", HEAD_KEY, later)

    assert_refused(verify(store), "newest timestamp")


def test_verify_finds_a_lost_record_in_the_middle_of_the_log(store: Path) -> None:
    change(store / "log", key_of(LogPosition(22)), delete)

    assert_refused(verify(store), "position 22 is missing")


def test_verify_finds_the_lost_record_that_the_snapshot_was_made_at(store: Path) -> None:
    change(store / "log", key_of(LogPosition(FOLDED)), delete)

    assert_refused(verify(store), f"position {FOLDED}")


def test_verify_finds_a_changed_record(store: Path) -> None:
    change(store / "log", key_of(LogPosition(23)), spoil)

    assert_refused(verify(store), "position 23 does not match its checksum")


def test_verify_finds_swapped_records(store: Path) -> None:
    keys = [key_of(LogPosition(position)) for position in (22, 23)]
    with (
        lmdb.open(str(store / "log")) as environment,
        environment.begin(write=True) as transaction,
    ):
        values = [transaction.get(key) for key in keys]
        for key, value in zip(keys, reversed(values), strict=True):
            assert value is not None
            transaction.put(key, value)

    assert_refused(verify(store), "position 22 was written at 23")


def test_a_lost_record_is_refused_at_start(store: Path) -> None:
    change(store / "log", key_of(LogPosition(22)), delete)

    finished = bitburst("serve", "--port", "0", "--data-dir", store)

    assert_refused(finished, "position 22 is missing")


def test_a_damaged_account_is_never_served_and_the_others_are(store: Path) -> None:
    change(store / "snapshot", account_key(USER), spoil)
    with ServerProcess(store) as server:
        refused = [
            balance(server.url, USER),
            credit(server.url, USER, AMOUNT),
            credit(server.url, "logged-21", AMOUNT),
        ]

        assert [reply.status for reply in refused] == [500, 500, 200]
        assert [reply.json["type"] for reply in refused[:2]] == ["/docs#damaged-store"] * 2
        assert refused[0].message == "what is stored of this user cannot be trusted"
        server.wait_for_event("the store is damaged")
        assert "Traceback" not in server.output()


def test_what_callers_chose_cannot_play_tricks_on_a_terminal(server: ServerProcess) -> None:
    assert credit(server.url, "%1b%5b2J%0aann", AMOUNT).status == 200
    shown = bitburst("show", "\x1b[2J\nann", "--data-dir", server.data_dir)
    log = bitburst("log", "--data-dir", server.data_dir)
    for output in (shown.output, log.output):
        assert "\\x1b[2J\\nann" in output
        assert "\x1b" not in output
