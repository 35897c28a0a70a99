"""`bitburst keys`, and what is and is not kept of a key."""

import json
import stat
from pathlib import Path

import pytest
from bitburst_command import bitburst, key_id, make_key
from raw_http import Reply, send

from bench.server_process import ServerProcess


@pytest.fixture
def keys_file(tmp_path: Path) -> Path:
    return tmp_path / "keys.json"


def read(url: str, key: str) -> Reply:
    headers = [(b"Authorization", b"Bearer " + key.encode())]
    return send(url, b"GET", b"/users/u/balance", None, headers)


def test_a_key_is_printed_once_and_only_its_hash_is_kept(keys_file: Path) -> None:
    made = bitburst("keys", "create", "shop", "--scope", "read", "--keys-file", keys_file)
    key = made.output.strip()
    assert key.startswith("bb_")
    assert f"This is key {key_id(key)}. It is shown only now" in made.complaint
    assert key not in made.complaint
    secret = key.split("_", 2)[2]
    assert len(secret) == 43
    assert secret not in keys_file.read_text()
    listed = bitburst("keys", "list", "--keys-file", keys_file).output
    assert key_id(key) in listed
    assert "shop" in listed
    assert secret not in listed


def test_the_file_of_keys_is_its_owners_alone(keys_file: Path) -> None:
    make_key(keys_file, "--scope", "read")
    make_key(keys_file, "--scope", "read")
    assert stat.S_IMODE(keys_file.stat().st_mode) == 0o600


def test_the_keys_are_in_the_data_directory_if_nothing_else_is_said(tmp_path: Path) -> None:
    created = bitburst("keys", "create", "--scope", "read", "--data-dir", tmp_path / "data")
    with ServerProcess(tmp_path / "data") as server:
        assert read(server.url, "none").status == 401
        assert read(server.url, created.output.strip()).status == 200


def test_a_list_says_everything_but_the_key(keys_file: Path) -> None:
    flags = ("--scope", "write", "--scope", "read", "--user-prefix", "shop-", "--rate", "5")
    key = make_key(keys_file, "till 3", *flags, "--expires-in-days", "1")
    (listed,) = bitburst("keys", "list", "--json", "--keys-file", keys_file).json
    assert listed.pop("created") < listed.pop("expires")
    assert listed == {
        "id": key_id(key),
        "name": "till 3",
        "scopes": ["read", "write"],
        "user_prefix": "shop-",
        "rate": 5,
        "burst": 5,
        "expired": False,
    }


def test_without_keys_the_list_is_empty(keys_file: Path) -> None:
    listed = bitburst("keys", "list", "--json", "--keys-file", keys_file)
    assert (listed.status, listed.json) == (0, [])


def test_a_key_that_is_revoked_is_gone_and_no_other(keys_file: Path) -> None:
    first, second = make_key(keys_file, "--scope", "read"), make_key(keys_file, "--scope", "read")
    assert bitburst("keys", "revoke", key_id(first), "--keys-file", keys_file).status == 0
    left = bitburst("keys", "list", "--json", "--keys-file", keys_file).json
    assert [one["id"] for one in left] == [key_id(second)]


def test_a_key_that_there_is_not_cannot_be_revoked(keys_file: Path) -> None:
    key = make_key(keys_file, "--scope", "read")
    finished = bitburst("keys", "revoke", "000000000000", "--keys-file", keys_file)
    assert finished.status == 1
    assert "there is no API key '000000000000'" in finished.complaint
    assert key_id(key) in keys_file.read_text()


@pytest.mark.parametrize(
    ("flags", "fragment"),
    [
        ((), "--scope"),
        (("--scope", "all"), "'all' is not one of"),
        (("--scope", "read", "--rate", "0"), "a rate is above 0"),
        (("--scope", "read", "--rate", "nan"), "a rate is above 0"),
        (("--scope", "read", "--rate", "1e7"), "at most 1e+06"),
        (("--scope", "read", "--burst", "5"), "a burst needs a rate"),
        (("--scope", "read", "--rate", "5", "--burst", "0"), "--burst"),
        (("--scope", "read", "--user-prefix", ""), "a prefix of users is 1 to 128 bytes"),
        (("--scope", "read", "--user-prefix", "x" * 129), "a prefix of users is 1 to 128 bytes"),
        (("--scope", "read", "--expires-in-days", "0"), "--expires-in-days"),
        (("--scope", "read", "--expires-in-days", "1e12"), "Error"),
        (("--scope", "read", "x" * 101), "its name must be printable, and short"),
        (("--scope", "read", "a\x1b[2J"), "its name must be printable, and short"),
    ],
)
def test_a_key_that_cannot_be_made_is_refused_and_none_is_kept(
    keys_file: Path, flags: tuple[str, ...], fragment: str
) -> None:
    finished = bitburst("keys", "create", *flags, "--keys-file", keys_file)
    assert finished.status == 2
    assert fragment in finished.complaint
    assert "Traceback" not in finished.complaint
    assert not keys_file.exists()


NO_FILES_OF_KEYS = [
    b"",
    b"nonsense",
    b"[]",
    b'{"format": 2, "keys": []}',
    b'{"format": 1, "keys": [{}]}',
    b'{"format": 1, "keys": [], "more": 1}',
]


@pytest.mark.parametrize("text", NO_FILES_OF_KEYS)
@pytest.mark.parametrize("command", ["serve", "list"])
def test_a_file_that_is_none_of_keys_is_refused(
    keys_file: Path, tmp_path: Path, text: bytes, command: str
) -> None:
    keys_file.write_bytes(text)
    verb = ["serve", "--port", "0"] if command == "serve" else ["keys", "list"]
    finished = bitburst(*verb, "--keys-file", keys_file, "--data-dir", tmp_path / "data")
    assert finished.status == 1
    assert "is no file of API keys" in finished.complaint
    assert "Traceback" not in finished.complaint


@pytest.mark.parametrize(
    ("member", "value"),
    [
        ("scopes", []),
        ("scopes", ["root"]),
        ("sha256", "00"),
        ("id", "x"),
        ("rate", -1),
        ("expires", "2026-01-01T00:00:00"),
        ("user_prefix", ""),
    ],
)
def test_a_key_in_the_file_that_cannot_be_is_refused(
    keys_file: Path, member: str, value: object
) -> None:
    make_key(keys_file, "--scope", "read")
    document = json.loads(keys_file.read_text())
    document["keys"][0][member] = value
    keys_file.write_text(json.dumps(document))
    finished = bitburst("keys", "list", "--keys-file", keys_file)
    assert (finished.status, "is no file of API keys" in finished.complaint) == (1, True)


def test_a_key_twice_in_the_file_is_refused(keys_file: Path) -> None:
    make_key(keys_file, "--scope", "read")
    document = json.loads(keys_file.read_text())
    document["keys"] *= 2
    keys_file.write_text(json.dumps(document))
    assert "an id twice" in bitburst("keys", "list", "--keys-file", keys_file).complaint


def test_keys_that_cannot_be_written_are_said_to_be_so() -> None:
    finished = bitburst("keys", "create", "--scope", "read", "--keys-file", "/sys/none/keys.json")
    assert finished.status == 1
    assert "cannot write the API keys to /sys/none/keys.json" in finished.complaint


def test_keys_that_are_made_at_once_are_all_kept(keys_file: Path) -> None:
    import threading

    makers = [
        threading.Thread(target=make_key, args=(keys_file, "--scope", "read")) for _ in range(4)
    ]
    for maker in makers:
        maker.start()
    for maker in makers:
        maker.join()
    assert len(bitburst("keys", "list", "--json", "--keys-file", keys_file).json) == 4


@pytest.mark.parametrize("kind", ["fast-lane", "hypercorn"])
def test_no_key_is_ever_logged(keys_file: Path, tmp_path: Path, kind: str) -> None:
    """Good ones, wrong ones and spoilt requests, at the most talkative level."""
    good = make_key(keys_file, "--scope", "read")
    wrong = "bb_" + key_id(good) + "_" + "W" * 43
    flags = ("--server", kind, "--log-level", "debug", "--keys-file", str(keys_file))
    with ServerProcess(tmp_path / "data", *flags) as server:
        for key in (good, wrong, good + "x"):
            header = (b"Authorization", b"Bearer " + key.encode())
            read(server.url, key)
            send(server.url, b"POST", b"/users/u/add", b"{}", [header])
            send(server.url, b"POST", b"/v1/credits:batch", b"[]", [header])
            send(server.url, b"BREW", b"/users/u/add", None, [header])
            send(server.url, b"GET", b"/\xff", None, [header])
            send(server.url, b"GET", b"/users/u/balance", None, [header, (b"bad header", b"x")])
        server.wait_for_event("not admitted")
        server.stop()
        logged = server.output()
    assert key_id(good) in logged
    for secret in (good.split("_", 2)[2], "W" * 43):
        assert secret not in logged
