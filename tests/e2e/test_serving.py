"""The server as a process: how it starts, what it refuses to start on, how it ends."""

import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from bitburst_command import Finished, bitburst
from eventually import all_folded
from raw_http import balance, connect, credit, head, receive, send

from bench.server_process import ServerProcess

AMOUNT = b'{"amount":1}'
FOLDED = 4


@pytest.mark.parametrize(
    ("target", "body"),
    [(b"/healthz", b'{"Message":"alive"}'), (b"/readyz", b'{"Message":"ready"}')],
)
def test_a_server_that_serves_is_alive_and_ready(url: str, target: bytes, body: bytes) -> None:
    reply = send(url, b"GET", target)

    assert (reply.status, reply.body) == (200, body)


def assert_refused(finished: Finished, *fragments: str, status: int = 1) -> None:
    """The command ended with that status and said all this, in no traceback."""
    assert finished.status == status
    for fragment in fragments:
        assert fragment in finished.complaint
    assert "Traceback" not in finished.complaint


def serve(data_dir: Path, *arguments: str) -> Finished:
    """Runs a server that is expected to end by itself."""
    return bitburst("serve", "--data-dir", data_dir, "--port", "0", *arguments)


def test_a_second_server_on_a_directory_is_refused(shared_server: ServerProcess) -> None:
    finished = serve(shared_server.data_dir)

    assert_refused(finished, "in use by another process", f"pid {shared_server.pid}")


def test_a_refused_second_server_leaves_the_first_serving(
    shared_server: ServerProcess, user: str
) -> None:
    serve(shared_server.data_dir)

    assert credit(shared_server.url, user, AMOUNT).status == 200


def test_a_port_in_use_is_refused(shared_server: ServerProcess, tmp_path: Path) -> None:
    finished = serve(tmp_path / "data", "--port", str(shared_server.port))

    assert_refused(finished, f"cannot listen on 127.0.0.1 port {shared_server.port}", "in use")


def test_a_host_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    finished = serve(tmp_path / "data", "--host", "256.1.1.1")

    assert_refused(finished, "cannot listen on 256.1.1.1", "not known")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_server_that_is_stopped_answers_what_is_in_flight(
    server: ServerProcess, number: signal.Signals
) -> None:
    headers = [(b"Content-Length", b"%d" % len(AMOUNT)), (b"Expect", b"100-continue")]
    with connect(server.url) as connection:
        connection.sendall(head(server.url, b"POST", b"/users/u/add", headers))
        # The server asks for the body: the request is in its hands.
        assert connection.recv(1024).startswith(b"HTTP/1.1 100 ")
        os.kill(server.pid, number)
        server.wait_for_event("stopping")
        connection.sendall(AMOUNT)
        status = receive(connection).status

    assert (status, server.wait()) == (200, 0)


def test_a_stopped_server_keeps_what_it_answered(server: ServerProcess) -> None:
    credit(server.url, "u", AMOUNT)
    server.stop()
    server.start()

    assert balance(server.url, "u").message == "User u has a balance of $1.000000"


def test_an_idle_connection_does_not_keep_a_server_from_stopping(tmp_path: Path) -> None:
    patient = ("--shutdown-s", "1000")
    with ServerProcess(tmp_path / "data", *patient) as server, connect(server.url) as connection:
        connection.sendall(head(server.url, b"GET", b"/healthz"))
        receive(connection)

        assert server.stop() == 0


def test_an_idle_connection_is_closed_after_a_while(tmp_path: Path) -> None:
    hasty = ("--keep-alive-s", "0.1")
    with ServerProcess(tmp_path / "data", *hasty) as server, connect(server.url) as connection:
        connection.sendall(head(server.url, b"GET", b"/healthz"))
        receive(connection)

        assert connection.recv(1) == b""


def test_a_busy_connection_is_never_closed(url: str) -> None:
    with connect(url) as connection:
        for _ in range(1_100):
            connection.sendall(head(url, b"GET", b"/healthz"))

            assert receive(connection).status == 200


def shards_served(data_dir: Path, *arguments: str, wrapper: tuple[str, ...] = ()) -> int:
    with ServerProcess(data_dir, *arguments, wrapper=wrapper) as server:
        return int(server.wait_for_event("listening")["shards"])


def test_a_setting_has_its_default(tmp_path: Path) -> None:
    assert shards_served(tmp_path / "data") == 64


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "bitburst.toml"
    path.write_text("shards = 5\nsnapshot-interval-s = 2\n")
    return path


def test_a_file_goes_before_the_default(tmp_path: Path, config: Path) -> None:
    wrapper = ("env", f"BITBURST_CONFIG={config}")

    assert shards_served(tmp_path / "data", wrapper=wrapper) == 5


def test_the_environment_goes_before_the_file(tmp_path: Path, config: Path) -> None:
    wrapper = ("env", f"BITBURST_CONFIG={config}", "BITBURST_SHARDS=7")

    assert shards_served(tmp_path / "data", wrapper=wrapper) == 7


def test_a_flag_goes_before_the_environment(tmp_path: Path, config: Path) -> None:
    wrapper = ("env", f"BITBURST_CONFIG={config}", "BITBURST_SHARDS=7")

    assert shards_served(tmp_path / "data", "--shards", "9", wrapper=wrapper) == 9


@pytest.mark.parametrize(
    ("text", "fragment"),
    [
        (b"prot = 1", "no such setting: prot"),
        (b"port = ", "cannot read"),
        (b"port = 65536", "--port"),
        (b"shards = 1.5", "--shards"),
        (b"probe_interval_s = nan", "--probe-interval-s"),
        (b"port = true", "port must be a string or a number"),
        (b"port = [1]", "port must be a string or a number"),
        (b"data_dir = {a = 1}", "data_dir must be a string or a number"),
    ],
)
def test_a_file_of_settings_that_is_wrong_is_refused(
    tmp_path: Path, text: bytes, fragment: str
) -> None:
    path = tmp_path / "bitburst.toml"
    path.write_bytes(text)

    finished = bitburst("--config", path, "serve", "--data-dir", tmp_path / "data")

    assert_refused(finished, fragment, status=2)


@pytest.mark.parametrize("number", ["nan", "inf", "-inf", "1e999"])
def test_seconds_that_are_not_finite_are_refused(tmp_path: Path, number: str) -> None:
    finished = serve(tmp_path / "data", "--snapshot-interval-s", number)

    assert_refused(finished, "--snapshot-interval-s", number.lstrip("-"), status=2)
    assert not (tmp_path / "data").exists()


def test_a_file_of_settings_that_is_not_there_is_refused(tmp_path: Path) -> None:
    assert_refused(bitburst("--config", tmp_path / "none", "serve"), "cannot read", status=2)


def test_a_data_directory_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    assert_refused(serve(tmp_path / "file"), "is a file", status=2)


def test_a_data_directory_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    assert_refused(serve(tmp_path / "file" / "data"), "cannot use", "Not a directory")


def test_a_data_directory_that_cannot_be_written_is_refused() -> None:
    # Nobody may make a directory there, not even root.
    assert_refused(serve(Path("/sys/bitburst")), "cannot use /sys/bitburst as data directory")


@pytest.fixture(scope="module")
def written_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A stopped store: four records in the snapshot, three more in the log."""
    data_dir = tmp_path_factory.mktemp("written") / "data"
    settings = ("--snapshot-entries", str(FOLDED), "--snapshot-interval-s", "1000")
    with ServerProcess(data_dir, *settings) as server:
        for number in range(1, FOLDED + 1):
            credit(server.url, f"folded-{number}", AMOUNT, "key")
        assert all_folded(server, FOLDED) == FOLDED
        for number in range(FOLDED + 1, FOLDED + 4):
            credit(server.url, f"logged-{number}", AMOUNT, "key")
        server.stop()
    return data_dir


@pytest.fixture
def store(written_store: Path, tmp_path: Path) -> Iterator[Path]:
    """A copy of it, to spoil."""
    copy = tmp_path / "data"
    shutil.copytree(written_store, copy)
    yield copy
    shutil.rmtree(copy)


def test_other_shards_than_recorded_are_refused(store: Path) -> None:
    assert_refused(serve(store, "--shards", "8"), "was made with 64 shards")


def flip_byte_of(path: Path, content: bytes) -> None:
    """Changes the last byte of the content wherever it is in the file."""
    data = path.read_bytes()
    assert content in data
    path.write_bytes(data.replace(content, content[:-1] + bytes((content[-1] ^ 1,))))


@pytest.mark.parametrize("position", [5, 6, 7])
def test_a_changed_record_of_the_log_is_refused_with_its_position(
    store: Path, position: int
) -> None:
    flip_byte_of(store / "log" / "data.mdb", f"logged-{position}".encode())

    assert_refused(serve(store), f"position {position} does not match its checksum")


def test_verify_finds_a_changed_record_of_the_log(store: Path) -> None:
    flip_byte_of(store / "log" / "data.mdb", b"logged-6")

    finished = bitburst("verify", "--data-dir", store)

    assert_refused(finished, "position 6 does not match its checksum")


def test_verify_finds_a_changed_record_that_is_folded(store: Path) -> None:
    flip_byte_of(store / "log" / "data.mdb", b"folded-4")

    finished = bitburst("verify", "--data-dir", store)

    assert_refused(finished, "position 4 does not match its checksum")


def test_a_snapshot_of_another_store_is_refused(store: Path, tmp_path: Path) -> None:
    with ServerProcess(tmp_path / "other", "--snapshot-entries", "1") as other:
        credit(other.url, "stranger", AMOUNT)
        credit(other.url, "stranger", AMOUNT)
        position = all_folded(other, 2)
        for _ in range(FOLDED - position):
            credit(other.url, "stranger", AMOUNT)
        assert all_folded(other, FOLDED) == FOLDED
        other.stop()
    shutil.rmtree(store / "snapshot")
    shutil.copytree(tmp_path / "other" / "snapshot", store / "snapshot")

    assert_refused(serve(store), f"position {FOLDED} is not the one the snapshot was made at")


def test_a_log_that_ends_before_the_snapshot_is_refused(store: Path, tmp_path: Path) -> None:
    with ServerProcess(tmp_path / "other") as other:
        credit(other.url, "stranger", AMOUNT)
        other.stop()
    shutil.rmtree(store / "log")
    shutil.copytree(tmp_path / "other" / "log", store / "log")

    assert_refused(serve(store), f"ends at position 1, before the snapshot's position {FOLDED}")


@pytest.mark.parametrize("part", ["log", "snapshot"])
@pytest.mark.parametrize("command", ["serve", "verify"])
def test_a_store_without_one_of_its_parts_is_refused(store: Path, part: str, command: str) -> None:
    shutil.rmtree(store / part)

    assert_refused(bitburst(command, "--data-dir", store), part, "missing")


def test_a_new_store_that_lost_its_log_is_refused(tmp_path: Path) -> None:
    with ServerProcess(tmp_path / "data") as server:
        credit(server.url, "u", AMOUNT)
        server.stop()
    shutil.rmtree(tmp_path / "data" / "log")

    assert_refused(serve(tmp_path / "data"), "log", "missing")


@pytest.mark.parametrize("part", ["log", "snapshot"])
@pytest.mark.parametrize("command", ["serve", "verify"])
def test_a_file_that_is_not_lmdbs_is_refused(store: Path, part: str, command: str) -> None:
    (store / part / "data.mdb").write_bytes(b"x" * 100_000)

    assert_refused(bitburst(command, "--data-dir", store), "cannot open", part)


@pytest.mark.parametrize("part", ["log", "snapshot"])
@pytest.mark.parametrize("command", ["serve", "verify"])
def test_a_file_whose_pages_are_spoilt_is_refused(store: Path, part: str, command: str) -> None:
    data = bytearray((store / part / "data.mdb").read_bytes())
    data[2 * 4096 : 40 * 4096] = b"\xa5" * (38 * 4096)
    (store / part / "data.mdb").write_bytes(data)

    assert_refused(bitburst(command, "--data-dir", store), "not what was written")


@pytest.mark.parametrize("command", ["serve", "verify"])
def test_a_file_that_was_cut_short_is_refused(store: Path, command: str) -> None:
    os.truncate(store / "log" / "data.mdb", 3 * 4096)

    assert_refused(bitburst(command, "--data-dir", store), "log", "cut short")


@pytest.mark.parametrize("part", ["log", "snapshot"])
@pytest.mark.parametrize("command", ["serve", "verify"])
def test_a_file_that_lost_everything_is_refused(store: Path, part: str, command: str) -> None:
    os.truncate(store / part / "data.mdb", 0)

    assert_refused(bitburst(command, "--data-dir", store), part, "missing or empty")


@pytest.mark.parametrize("command", ["serve", "verify"])
def test_a_log_that_was_put_back_is_refused(tmp_path: Path, command: str) -> None:
    log, earlier = tmp_path / "data" / "log" / "data.mdb", tmp_path / "earlier"
    with ServerProcess(tmp_path / "data") as server:
        credit(server.url, "u", AMOUNT)
        server.stop()
        shutil.copyfile(log, earlier)
        server.start()
        credit(server.url, "u", AMOUNT)
        server.stop()
    shutil.copyfile(earlier, log)

    finished = bitburst(command, "--data-dir", tmp_path / "data")

    assert_refused(finished, "lost its end: it ends at position 1, and had position 2")


@pytest.mark.parametrize("text", ["x", "[]", '{"format":1,"shards":0}'])
def test_a_description_that_cannot_be_read_is_refused(store: Path, text: str) -> None:
    (store / "store.json").write_text(text)

    assert_refused(serve(store), "store.json cannot be read")


def test_a_store_of_another_format_is_refused(store: Path) -> None:
    (store / "store.json").write_text('{"format":99,"shards":64}')

    assert_refused(serve(store), "has format version 99")


def test_a_store_that_lost_its_description_is_refused(store: Path) -> None:
    (store / "store.json").unlink()

    assert_refused(serve(store), "holds records, but", "no store.json")


def test_a_part_that_is_a_file_is_refused(store: Path) -> None:
    shutil.rmtree(store / "log")
    (store / "log").touch()

    assert_refused(serve(store), "log")
