"""Bringing an older store up to date: what is kept, what a crash leaves, what is refused."""

import json
import resource
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import lmdb
import pytest
from bitburst_command import bitburst
from store_corpus import KINDS, unpack

from persistence.data_directory import open_data_directory
from persistence.errors import StoreError, StoreMismatch, StoreOutdated
from persistence.migration import STEPS, migrate
from persistence.snapshot_format import HEAD_KEY
from persistence.store_description import FORMAT_VERSION, read_description
from persistence.verify import verify

STAGES = ("kept", "begun", "done")
OLD = range(1, FORMAT_VERSION)

MIGRATE_AND_DIE = """
import os, signal, sys
from pathlib import Path
from persistence.migration import migrate
def announce(what, version):
    if what == sys.argv[2]:
        os.kill(os.getpid(), signal.SIGKILL)
migrate(Path(sys.argv[1]), announce)
"""
MIGRATE_WITHOUT_ROOM = """
import sys
from pathlib import Path
from persistence.errors import StoreError
from persistence.migration import migrate
try:
    migrate(Path(sys.argv[1]))
except StoreError as error:
    sys.exit(str(error))
"""


@pytest.fixture(params=[(version, kind) for version in OLD for kind in KINDS])
def old_store(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    version, kind = request.param
    unpack(version, kind, tmp_path / "data")
    return tmp_path / "data"


def content(path: Path) -> dict[str, object]:
    """What a store holds, whatever room LMDB reserves for it."""
    found: dict[str, object] = {"store.json": (path / "store.json").read_text()}
    for part in ("log", "snapshot"):
        with (
            lmdb.open(str(path / part), readonly=True) as environment,
            environment.begin() as transaction,
        ):
            found[part] = list(transaction.cursor())
    return found


def test_there_is_a_step_from_each_older_version() -> None:
    assert sorted(STEPS) == list(OLD)


def test_a_migrated_store_verifies_and_is_not_migrated_again(old_store: Path) -> None:
    assert migrate(old_store)

    assert verify(open_data_directory(old_store)).last > 0
    assert not migrate(old_store)


def test_the_old_store_is_kept_whole_beside_the_new_one(old_store: Path) -> None:
    before = content(old_store)
    version = read_description(old_store).format

    migrate(old_store)

    assert content(old_store / f"format-{version}") == before
    assert content(old_store) != before


def test_the_kept_store_can_be_migrated_in_its_turn(old_store: Path, tmp_path: Path) -> None:
    version = read_description(old_store).format
    migrate(old_store)
    shutil.copytree(old_store / f"format-{version}", tmp_path / "again")

    assert migrate(tmp_path / "again")
    assert verify(open_data_directory(tmp_path / "again")) == verify(open_data_directory(old_store))


@pytest.mark.parametrize("stage", STAGES)
def test_a_migration_that_is_killed_leaves_the_old_or_goes_on_to_the_new(
    old_store: Path, stage: str
) -> None:
    before = content(old_store)
    version = read_description(old_store).format
    killed = subprocess.run([sys.executable, "-c", MIGRATE_AND_DIE, old_store, stage])
    assert killed.returncode == -signal.SIGKILL

    if stage == "kept":
        assert content(old_store) == before
    assert content(old_store / f"format-{version}") == before
    if stage != "done":
        with pytest.raises(StoreOutdated, match="bitburst serve"):
            open_data_directory(old_store)

    assert migrate(old_store) == (stage != "done")
    assert content(old_store / f"format-{version}") == before
    verify(open_data_directory(old_store))


def test_a_step_that_was_made_is_made_again_without_harm(old_store: Path) -> None:
    version = read_description(old_store).format
    migrate(old_store)
    after = content(old_store)

    for step in range(version, FORMAT_VERSION):
        STEPS[step](old_store)

    assert content(old_store) == after


def test_what_a_broken_off_migration_kept_is_kept_anew(old_store: Path, tmp_path: Path) -> None:
    """The old program may have been used since."""
    version = read_description(old_store).format
    stale = old_store / f"format-{version}"
    for leftover in (stale, stale.with_name(stale.name + ".unfinished")):
        leftover.mkdir()
        (leftover / "store.json").write_text("stale")
    before = content(old_store)

    migrate(old_store)

    assert content(stale) == before
    assert not stale.with_name(stale.name + ".unfinished").exists()


def test_without_room_to_keep_the_old_store_nothing_is_changed(old_store: Path) -> None:
    before = content(old_store)

    def no_large_files() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))

    done = subprocess.run(
        [sys.executable, "-c", MIGRATE_WITHOUT_ROOM, old_store],
        preexec_fn=no_large_files,
        capture_output=True,
        text=True,
    )

    assert done.returncode == 1
    assert "cannot migrate" in done.stderr
    assert "Traceback" not in done.stderr
    assert content(old_store) == before
    assert not list(old_store.glob("format-*"))
    assert migrate(old_store)


def test_a_damaged_head_is_refused_and_the_old_store_is_kept(tmp_path: Path) -> None:
    unpack(1, "folded", tmp_path / "data")
    with (
        lmdb.open(str(tmp_path / "data" / "snapshot")) as environment,
        environment.begin(write=True) as transaction,
    ):
        transaction.put(HEAD_KEY, b"\x93\1\2\3")
    before = content(tmp_path / "data")

    finished = bitburst("serve", "--port", "0", "--data-dir", tmp_path / "data")

    assert finished.status == 1
    assert "is not what was written" in finished.complaint
    assert content(tmp_path / "data" / "format-1") == before


@pytest.mark.parametrize("command", ["verify", "log", "show", "backup"])
def test_commands_on_an_older_store_say_what_brings_it_up_to_date(
    old_store: Path, tmp_path: Path, command: str
) -> None:
    argument = {"show": ["u"], "backup": [tmp_path / "backup"]}.get(command, [])
    before = content(old_store)

    finished = bitburst(command, "--data-dir", old_store, *argument)

    assert finished.status == 1
    assert f"`bitburst serve` brings it to version {FORMAT_VERSION}" in finished.complaint
    assert content(old_store) == before


def test_a_newer_store_is_refused_and_left_alone(tmp_path: Path) -> None:
    unpack(FORMAT_VERSION, "folded", tmp_path / "data")
    newer = {"format": FORMAT_VERSION + 1, "shards": 8, "unheard_of": True}
    (tmp_path / "data" / "store.json").write_text(json.dumps(newer))
    before = content(tmp_path / "data")

    with pytest.raises(StoreMismatch, match="made by a newer program"):
        migrate(tmp_path / "data")
    finished = bitburst("serve", "--port", "0", "--data-dir", tmp_path / "data")

    assert finished.status == 1
    assert "made by a newer program" in finished.complaint
    assert content(tmp_path / "data") == before


def test_an_older_store_that_lost_a_part_is_refused(tmp_path: Path) -> None:
    unpack(1, "folded", tmp_path / "data")
    (tmp_path / "data" / "snapshot" / "data.mdb").unlink()

    with pytest.raises(StoreError, match="is missing"):
        migrate(tmp_path / "data")
    assert read_description(tmp_path / "data").format == 1
