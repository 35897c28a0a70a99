"""What a running server takes anew: keys when their file changes, settings at SIGHUP."""

import os
import signal
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from bitburst_command import bitburst, key_id, make_key
from eventually import eventually
from raw_http import Conversation, head, receive, send
from raw_http import connect as open_connection

from bench.server_process import ServerProcess

Header = tuple[bytes, bytes]


def bearer(key: str) -> Header:
    return b"Authorization", b"Bearer " + key.encode()


def status(url: str, *headers: Header) -> int:
    return send(url, b"GET", b"/users/u/balance", None, headers).status


def events(server: ServerProcess, name: str) -> list[dict[str, Any]]:
    return [event for event in server.events() if event["event"] == name]


def reload(server: ServerProcess, answer: str = "settings reloaded") -> Mapping[str, Any]:
    """What the server says to SIGHUP."""
    known = len(events(server, answer))
    os.kill(server.pid, signal.SIGHUP)
    eventually(lambda: len(events(server, answer)) > known)
    return events(server, answer)[-1]


@pytest.fixture
def keys_file(tmp_path: Path) -> Path:
    return tmp_path / "keys.json"


@pytest.fixture(params=["fast-lane", "hypercorn"])
def kind(request: pytest.FixtureRequest) -> str:
    assert isinstance(request.param, str)
    return request.param


@pytest.fixture
def settings(tmp_path: Path) -> Path:
    return tmp_path / "bitburst.toml"


@pytest.fixture
def configured(settings: Path, tmp_path: Path) -> Iterator[ServerProcess]:
    """A server with a file of settings, one that the environment and one that a flag says."""
    settings.write_text("shards = 8\n")
    wrapper = ("env", f"BITBURST_CONFIG={settings}", "BITBURST_KEEP_ALIVE_S=50")
    data = tmp_path / "data"
    with ServerProcess(data, "--inbox-limit", "500", wrapper=wrapper) as server:
        yield server


class TestKeys:
    def test_a_new_key_is_good_without_a_restart(
        self, keys_file: Path, tmp_path: Path, kind: str
    ) -> None:
        make_key(keys_file, "--scope", "read")
        flags = ("--server", kind, "--keys-file", str(keys_file))
        with ServerProcess(tmp_path / "data", *flags) as server:
            key = bearer(make_key(keys_file, "--scope", "read"))
            eventually(lambda: status(server.url, key) == 200)

    def test_a_revoked_key_is_no_more_good_on_a_connection_that_used_it(
        self, keys_file: Path, tmp_path: Path, kind: str
    ) -> None:
        key, other = make_key(keys_file, "--scope", "read"), make_key(keys_file, "--scope", "read")
        flags = ("--server", kind, "--keys-file", str(keys_file))
        with ServerProcess(tmp_path / "data", *flags) as server:
            ask = head(server.url, b"GET", b"/users/u/balance", [bearer(key)])
            with Conversation(server.url) as conversation:
                conversation.send(ask)
                before = conversation.receive()
                bitburst("keys", "revoke", key_id(key), "--keys-file", keys_file)
                eventually(lambda: events(server, "API keys reloaded"))
                conversation.send(ask)
                after = conversation.receive()
                assert conversation.receive() is None
            assert (before and before.status, after and after.status) == (200, 401)
            assert status(server.url, bearer(other)) == 200

    def test_the_first_key_closes_a_server_that_was_open(self, tmp_path: Path, kind: str) -> None:
        with ServerProcess(tmp_path / "data", "--server", kind) as server:
            assert status(server.url) == 200
            key = make_key(tmp_path / "data" / "keys.json", "--scope", "read")
            eventually(lambda: status(server.url) == 401)
            assert status(server.url, bearer(key)) == 200

    def test_without_any_keys_left_nobody_is_let_in(self, keys_file: Path, tmp_path: Path) -> None:
        key = make_key(keys_file, "--scope", "read")
        with ServerProcess(tmp_path / "data", "--keys-file", str(keys_file)) as server:
            bitburst("keys", "revoke", key_id(key), "--keys-file", keys_file)
            eventually(lambda: status(server.url, bearer(key)) == 401)
            assert status(server.url) == 401

    def test_a_key_is_good_until_it_expires(self, keys_file: Path, tmp_path: Path) -> None:
        key = bearer(make_key(keys_file, "--scope", "read", "--expires-in-days", "0.00005"))
        with ServerProcess(tmp_path / "data", "--keys-file", str(keys_file)) as server:
            # On a machine that is slow enough, it is over before the server is there.
            eventually(lambda: status(server.url, key) == 401)

    @pytest.mark.parametrize("text", [b"spoilt", None])
    def test_a_file_that_is_spoilt_or_gone_leaves_the_keys_as_they_were(
        self, keys_file: Path, tmp_path: Path, text: bytes | None
    ) -> None:
        key = bearer(make_key(keys_file, "--scope", "read"))
        with ServerProcess(tmp_path / "data", "--keys-file", str(keys_file)) as server:
            if text is None:
                keys_file.unlink()
            else:
                keys_file.write_bytes(text)
            eventually(lambda: events(server, "API keys not reloaded"))
            assert (status(server.url, key), status(server.url)) == (200, 401)

    def test_a_bucket_stays_as_full_as_it_is_when_keys_are_reloaded(
        self, keys_file: Path, tmp_path: Path
    ) -> None:
        slow = ("--rate", "0.001", "--burst", "1")
        key = bearer(make_key(keys_file, "--scope", "read", *slow))
        with ServerProcess(tmp_path / "data", "--keys-file", str(keys_file)) as server:
            assert status(server.url, key) == 200
            make_key(keys_file, "--scope", "read")
            eventually(lambda: events(server, "API keys reloaded"))
            assert status(server.url, key) == 429


class TestSettings:
    def test_rates_and_log_level_are_taken_from_the_file(
        self, configured: ServerProcess, settings: Path
    ) -> None:
        assert [status(configured.url) for _ in range(3)] == [200, 200, 200]
        settings.write_text('shards = 8\nuser_rate = 0.001\nuser_burst = 1\nlog_level = "debug"\n')
        said = reload(configured)
        assert said["changed"] == ["log_level", "user_burst", "user_rate"]
        assert said["need_restart"] == []
        assert [status(configured.url) for _ in range(2)] == [200, 429]
        settings.write_text("shards = 8\n")
        assert reload(configured)["changed"] == ["log_level", "user_burst", "user_rate"]
        assert status(configured.url) == 200

    def test_a_log_level_that_was_raised_hides_what_is_below_it(
        self, configured: ServerProcess, settings: Path
    ) -> None:
        settings.write_text('shards = 8\nlog_level = "error"\n')
        assert reload(configured)["changed"] == ["log_level"]
        # The answer to a second signal, which is hidden, is behind the change that the first made.
        settings.write_text("shards = ")
        reload(configured, "settings not reloaded")
        configured.stop()
        assert not events(configured, "stopped")

    def test_what_only_a_restart_can_change_is_named_and_stays(
        self, configured: ServerProcess, settings: Path
    ) -> None:
        settings.write_text("shards = 16\nbody_bytes_max = 10\nuser_rate = 1000\n")
        said = reload(configured)
        assert said["changed"] == ["user_rate"]
        assert said["need_restart"] == ["body_bytes_max", "shards"]
        body = b'{"amount":  1      }'
        assert send(configured.url, b"POST", b"/users/u/add", body).status == 200

    def test_what_flags_and_environment_say_goes_before_the_file(
        self, configured: ServerProcess, settings: Path
    ) -> None:
        settings.write_text("shards = 8\ninbox_limit = 7\nkeep_alive_s = 7\n")
        said = reload(configured)
        assert (said["changed"], said["need_restart"]) == ([], [])

    @pytest.mark.parametrize(
        ("text", "reason"),
        [
            ("shards = ", "cannot read"),
            ("prot = 1", "no such setting: prot"),
            ("user_rate = -1", "user-rate"),
            ("allow_anonymous = 1", "allow_anonymous must be true or false"),
        ],
    )
    def test_a_broken_file_leaves_everything_as_it_was(
        self, configured: ServerProcess, settings: Path, text: str, reason: str
    ) -> None:
        settings.write_text("shards = 8\nuser_rate = 0.001\nuser_burst = 1\n")
        reload(configured)
        assert status(configured.url) == 200
        settings.write_text(text)
        assert reason in reload(configured, "settings not reloaded")["reason"]
        assert status(configured.url) == 429

    def test_a_file_that_is_gone_leaves_everything_as_it_was(
        self, configured: ServerProcess, settings: Path
    ) -> None:
        settings.unlink()
        assert "cannot read" in reload(configured, "settings not reloaded")["reason"]
        assert status(configured.url) == 200

    def test_a_reload_costs_no_request_and_no_connection(self, configured: ServerProcess) -> None:
        with open_connection(configured.url) as connection:
            for _ in range(3):
                connection.sendall(head(configured.url, b"GET", b"/users/u/balance"))
                assert receive(connection).status == 200
                reload(configured)
