"""The commands backup, backups and restore, as people run them, to both kinds of places."""

import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import pytest
from bitburst_command import COMMAND, Finished, bitburst, logged
from eventually import all_folded, eventually
from object_store import ObjectStore
from raw_http import balance, credit

from bench.server_process import ServerProcess

AMOUNT = b'{"amount":1}'
SNAPSHOTS_OFTEN = ("--snapshot-entries", "1", "--snapshot-interval-s", "0.1")


class Place(NamedTuple):
    """Where backups go, and what the environment must say for it."""

    name: str
    environment: Mapping[str, str]

    def run(self, *arguments: str | Path) -> Finished:
        return bitburst(*arguments, environment=self.environment)

    def backup(self, data_dir: Path, *flags: str) -> Finished:
        return self.run("backup", "--json", "--data-dir", data_dir, self.name, *flags)

    def restore(self, data_dir: Path, *flags: str) -> Finished:
        return self.run("restore", "--json", "--data-dir", data_dir, self.name, *flags)


@pytest.fixture(params=["directory", "S3"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    if request.param == "directory":
        return Place(str(tmp_path / "backups"), {})
    object_store: ObjectStore = request.getfixturevalue("object_store")
    return Place(object_store.new_place(), object_store.environment)


@pytest.fixture
def directory(tmp_path: Path) -> Place:
    return Place(str(tmp_path / "backups"), {})


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerProcess]:
    with ServerProcess(tmp_path / "data", *SNAPSHOTS_OFTEN) as running:
        yield running


def credit_each(server: ServerProcess, *users: str) -> None:
    for user in users:
        assert credit(server.url, user, AMOUNT, "key").status == 200


def assert_refused(finished: Finished, fragment: str) -> None:
    assert finished.status == 1
    assert fragment in finished.complaint
    assert "Traceback" not in finished.complaint


def test_a_served_store_is_backed_up_in_increments_and_restored(
    server: ServerProcess, place: Place, tmp_path: Path
) -> None:
    credit_each(server, "a", "b")
    all_folded(server, 2)
    (full,) = place.backup(server.data_dir).json
    credit_each(server, "c", "d")
    all_folded(server, 4)
    (first,) = place.backup(server.data_dir, "--incremental").json
    credit_each(server, "e")
    (second,) = place.backup(server.data_dir, "--incremental").json
    server.kill()
    shutil.rmtree(server.data_dir)

    (restored,) = place.restore(tmp_path / "restored").json

    assert [taken["position"] for taken in (full, first, second)] == [2, 4, 5]
    assert (restored["position"], restored["backups"]) == (5, 3)
    with ServerProcess(tmp_path / "restored") as again:
        for user in ("a", "b", "c", "d", "e"):
            retried = credit(again.url, user, AMOUNT, "key")
            assert retried.headers["idempotent-replayed"] == "true"
            assert balance(again.url, user).message.endswith("$1.000000")


def test_backups_are_listed_and_checked(server: ServerProcess, place: Place) -> None:
    credit_each(server, "a")
    (full,) = place.backup(server.data_dir).json
    credit_each(server, "b")
    (increment,) = place.backup(server.data_dir, "--incremental").json

    listed = place.run("backups", "--json", place.name).json
    (checked,) = place.run("verify", "--json", "--backup", place.name).json

    assert [one["backup"] for one in listed] == [full["backup"], increment["backup"]]
    assert [(one["kind"], one["last"]) for one in listed] == [("full", 1), ("log", 2)]
    assert (checked["backups"], checked["last"], checked["unfinished"]) == (2, 2, [])
    assert sum(one["bytes"] for one in listed) == checked["bytes"]


def test_a_store_is_restored_up_to_a_position_and_to_a_time(
    server: ServerProcess, directory: Place, tmp_path: Path
) -> None:
    directory.backup(server.data_dir)
    credit_each(server, "a", "b", "c")
    stamps = [entry["timestamp"] for entry in logged(server.data_dir)]
    directory.backup(server.data_dir, "--incremental")

    (to_position,) = directory.restore(tmp_path / "one", "--to", "1").json
    (to_time,) = directory.restore(tmp_path / "two", "--to", stamps[1]).json
    (to_local_time,) = directory.restore(
        tmp_path / "three", "--to", stamps[1].replace("Z", "+00:00")
    ).json

    assert (to_position["position"], to_position["newest_entry"]) == (1, stamps[0])
    assert (to_time["position"], to_time["newest_entry"]) == (2, stamps[1])
    assert to_local_time["position"] == 2
    assert [entry["user"] for entry in logged(tmp_path / "two")] == ["a", "b"]


def test_what_is_printed_for_people_says_the_position(
    server: ServerProcess, directory: Place, tmp_path: Path
) -> None:
    credit_each(server, "a", "b")

    taken = bitburst("backup", "--data-dir", server.data_dir, directory.name).output
    again = bitburst("backup", "--data-dir", server.data_dir, directory.name).output
    listed = bitburst("backups", directory.name).output
    restored = bitburst("restore", "--data-dir", tmp_path / "restored", directory.name).output

    assert "  position: 2" in taken
    assert again.startswith("Nothing new to back up")
    assert "full" in listed
    assert restored.startswith(f"Restored to {tmp_path / 'restored'}, up to position 2.")


def test_a_folded_and_idle_log_still_has_what_the_next_increment_needs(
    server: ServerProcess, directory: Place
) -> None:
    """Without the hold, the log keeps only the record that the snapshot was made at."""
    credit_each(server, "a")
    directory.backup(server.data_dir)
    for number in range(30):
        credit_each(server, f"user-{number}")
    all_folded(server, 31)

    assert directory.backup(server.data_dir, "--incremental").json[0]["position"] == 31


def test_where_nothing_is_kept_an_increment_is_refused_and_a_full_backup_helps(
    directory: Place, tmp_path: Path
) -> None:
    flags = (*SNAPSHOTS_OFTEN, "--backup-log-bytes-max", "0")
    with ServerProcess(tmp_path / "data", *flags) as server:
        credit_each(server, "a")
        directory.backup(server.data_dir)
        credit_each(server, *(f"user-{number}" for number in range(20)))
        all_folded(server, 21)
        eventually(lambda: len(logged(server.data_dir)) < 20)

        refused = directory.backup(server.data_dir, "--incremental")

        assert_refused(refused, "take a full backup")
        assert directory.backup(server.data_dir).json[0]["position"] == 21
        assert directory.backup(server.data_dir, "--incremental").status == 0


def test_a_log_that_could_not_be_kept_is_said_in_the_log(directory: Place, tmp_path: Path) -> None:
    flags = (*SNAPSHOTS_OFTEN, "--backup-log-bytes-max", "1")
    with ServerProcess(tmp_path / "data", *flags) as server:
        credit_each(server, "a")
        directory.backup(server.data_dir)
        credit_each(server, "b")

        event = server.wait_for_event("the next backup must be a full one")

        assert (event["backed_up_to"], event["level"]) == (1, "warning")


def test_an_increment_without_a_full_backup_is_refused(
    server: ServerProcess, directory: Place
) -> None:
    credit_each(server, "a")

    assert_refused(directory.backup(server.data_dir, "--incremental"), "take one first")


def test_a_restored_store_needs_a_place_of_its_own(
    server: ServerProcess, directory: Place, tmp_path: Path
) -> None:
    credit_each(server, "a")
    directory.backup(server.data_dir)
    directory.restore(tmp_path / "restored")

    assert_refused(directory.backup(tmp_path / "restored"), "backups of another store")


def test_restore_into_a_store_is_refused(
    server: ServerProcess, directory: Place, tmp_path: Path
) -> None:
    directory.backup(server.data_dir)

    assert_refused(directory.restore(server.data_dir), "in use by another process")
    server.stop()
    assert_refused(directory.restore(server.data_dir), "already holds a store")


def test_restore_of_what_is_no_backup_is_refused(tmp_path: Path, directory: Place) -> None:
    assert_refused(directory.restore(tmp_path / "data"), "there is no full backup in")
    assert not (tmp_path / "data").exists()


def test_what_is_beside_the_backups_is_left_alone(
    server: ServerProcess, directory: Place, tmp_path: Path
) -> None:
    (tmp_path / "backups").mkdir()
    (tmp_path / "backups" / "precious").write_text("precious")

    directory.backup(server.data_dir)

    assert directory.restore(tmp_path / "restored").status == 0
    assert (tmp_path / "backups" / "precious").read_text() == "precious"


def test_backup_into_a_file_is_refused(server: ServerProcess, tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    for place in (tmp_path / "file", tmp_path / "file" / "backups"):
        assert_refused(Place(str(place), {}).backup(server.data_dir), "cannot")


def test_an_object_store_that_does_not_answer_is_said_in_one_line(server: ServerProcess) -> None:
    nobody = {
        "AWS_ENDPOINT_URL": "http://127.0.0.1:1",
        "AWS_ALLOW_HTTP": "true",
        "AWS_ACCESS_KEY_ID": "x",
        "AWS_SECRET_ACCESS_KEY": "hidden",
    }

    refused = Place("s3://bucket/prefix", nobody).backup(server.data_dir)

    assert_refused(refused, "cannot list s3://bucket/prefix")
    assert len(refused.complaint.strip().splitlines()) == 1
    assert "hidden" not in refused.complaint


def test_without_its_package_an_object_store_is_refused_with_what_to_install(
    server: ServerProcess, tmp_path: Path
) -> None:
    """obstore is hidden by a module of its name that cannot be imported."""
    (tmp_path / "hidden").mkdir()
    (tmp_path / "hidden" / "obstore.py").write_text("raise ImportError('not installed')")
    hiding = {"PYTHONPATH": str(tmp_path / "hidden")}

    refused = Place("s3://bucket/prefix", hiding).backup(server.data_dir)

    assert_refused(refused, "pip install obstore")
    assert Place(str(tmp_path / "backups"), hiding).backup(server.data_dir).status == 0


def test_the_server_imports_nothing_of_the_object_store() -> None:
    look = "import sys, api.command_line; print('obstore' in sys.modules)"

    assert subprocess.check_output([sys.executable, "-c", look], text=True) == "False\n"


@pytest.mark.parametrize(
    "goal",
    ["", "-1", "yesterday", "2026-11-24", "2026-11-24T18:30:00", "2026-13-01T00:00:00Z", "٣"],
)
def test_what_is_neither_a_position_nor_a_time_is_refused(tmp_path: Path, goal: str) -> None:
    finished = bitburst("restore", "--data-dir", tmp_path / "data", tmp_path, "--to", goal)

    assert finished.status == 2
    assert "neither a position" in finished.complaint
    assert "Traceback" not in finished.complaint


def test_a_backup_that_is_killed_is_none_and_the_next_one_is_taken(
    directory: Place, tmp_path: Path
) -> None:
    part = tmp_path / "backups" / f"full-{0:020}-{1:020}" / "snapshot.mdb.unfinished"
    part.parent.mkdir(parents=True)
    # Nobody reads this pipe: the backup waits in the middle of its work.
    os.mkfifo(part)
    with ServerProcess(tmp_path / "data") as server:
        credit_each(server, "a")
        command = [*COMMAND, "backup", "--data-dir", str(server.data_dir), directory.name]
        with subprocess.Popen(command) as taking:
            eventually((server.data_dir / "backup.json").exists)
            meanwhile = directory.backup(server.data_dir)
            taking.send_signal(signal.SIGKILL)
        part.unlink()

        assert_refused(meanwhile, "a full backup of")
        assert_refused(directory.restore(tmp_path / "restored"), "there is no full backup")
        assert directory.backup(server.data_dir).json[0]["position"] == 1
        assert directory.restore(tmp_path / "restored").json[0]["position"] == 1


def test_a_backup_under_load_holds_all_that_was_acknowledged_before(
    directory: Place, tmp_path: Path
) -> None:
    acknowledged: list[int] = []
    stop = threading.Event()

    def load(server: ServerProcess) -> None:
        for number in range(100_000):
            if stop.is_set():
                return
            assert credit(server.url, f"u{number}", AMOUNT, "key").status == 200
            acknowledged.append(number)

    with ServerProcess(tmp_path / "data", "--snapshot-entries", "50") as server:
        loading = threading.Thread(target=load, args=(server,))
        loading.start()
        try:
            server.wait_for_event("snapshot taken")
            before = len(acknowledged)
            (figures,) = directory.backup(server.data_dir).json
        finally:
            stop.set()
            loading.join()

    (restored,) = directory.restore(tmp_path / "restored").json
    assert restored["last"] == figures["position"]
    with ServerProcess(tmp_path / "restored") as again:
        for number in range(before):
            assert balance(again.url, f"u{number}").message.endswith("$1.000000")
