"""Stores of every format version, opened by this program: nothing that was written is lost."""

from pathlib import Path
from urllib.parse import quote

import lmdb
import pytest
from raw_http import balance, credit
from store_corpus import CORPUS, KINDS, expected, unpack, write_store

from bench.server_process import ServerProcess
from ledger_actors.identity import UserId
from ledger_actors.money import Micros, format_fixed
from persistence.data_directory import open_data_directory
from persistence.inspection import account_as_stored
from persistence.store_description import FORMAT_VERSION
from persistence.verify import verify

VERSIONS = range(1, FORMAT_VERSION + 1)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("version", VERSIONS)
def test_a_store_of_each_format_version_is_served_with_all_it_held(
    tmp_path: Path, version: int, kind: str
) -> None:
    held = unpack(version, kind, tmp_path / "data")
    with ServerProcess(tmp_path / "data") as server:
        for user, history in held["histories"].items():
            name = quote(user, safe="")
            total = Micros(sum(amount for amount, *_ in history))
            assert balance(server.url, name).message.endswith(f"${format_fixed(total)}")
            for amount, _, key, reference in history:
                if key is not None and reference is None:
                    body = b'{"amount": %s}' % format_fixed(amount).encode()
                    retried = credit(server.url, name, body, key)
                    assert retried.headers["idempotent-replayed"] == "true"
        assert credit(server.url, "new", b'{"amount": 1}').status == 200
        assert server.stop() == 0

    store = open_data_directory(tmp_path / "data")
    assert verify(store).last == held["position"] + 1
    for user, history in held["histories"].items():
        entries = account_as_stored(store, UserId(user), newest=10_000).newest
        fields = [[entry.amount, entry.timestamp, entry.key, entry.reference] for entry in entries]
        assert fields[::-1] == history


def test_each_format_version_has_its_stores() -> None:
    kept = {file.name for file in CORPUS.iterdir()}

    wanted = {f"format-{version}-{kind}.tar.xz" for version in VERSIONS for kind in KINDS}
    assert kept == wanted | {f"format-{version}.json" for version in VERSIONS}


@pytest.mark.parametrize("kind", KINDS)
def test_this_program_still_writes_what_it_says_its_version_is(tmp_path: Path, kind: str) -> None:
    """Where this fails, the format has changed: give it a version and a migration."""
    held = unpack(FORMAT_VERSION, kind, tmp_path / "kept")
    write_store(tmp_path / "written", kind)

    assert held == expected()
    for part in ("log", "snapshot"):
        assert rows(tmp_path / "written" / part) == rows(tmp_path / "kept" / part)
    kept, written = (tmp_path / one / "store.json" for one in ("kept", "written"))
    assert written.read_text() == kept.read_text()


def rows(part: Path) -> list[tuple[bytes, bytes]]:
    with lmdb.open(str(part), readonly=True) as environment, environment.begin() as transaction:
        return list(transaction.cursor())
