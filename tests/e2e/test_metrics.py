"""What `/metrics` shows of a server that was asked for this and that."""

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from eventually import eventually
from exposition import families, metric, sample_names
from raw_http import balance, connect, credit, head, history, receive, send, send_bytes

from bench.server_process import ServerProcess

KINDS = {"fast-lane": "lane", "hypercorn": "hypercorn"}
"""What listens, and the label of what answers then."""
REQUESTS = "bitburst_http_request_duration_seconds_count"
LIMITS = "bitburst_limit_hits_total"
BODY = b'{"amount":1}'
BULK = b"/v1/credits:batch"
NO_SNAPSHOTS = ("--snapshot-interval-s", "3600", "--snapshot-entries", "1000000")

need_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool (Debian's prometheus) is not installed"
)


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def bulk(url: str, *credits_: object) -> None:
    headers = [(b"Content-Type", b"application/json")]
    assert send(url, b"POST", BULK, json.dumps(credits_).encode(), headers).status == 200


def test_requests_are_counted_by_route_and_status(tmp_path: Path, kind: str) -> None:
    with ServerProcess(tmp_path / "data", "--server", kind) as server:
        url = server.url
        for _ in range(3):
            credit(url, "ann", BODY)
        credit(url, "ann", b"{")
        for _ in range(2):
            balance(url, "ann")
        balance(url, "x" * 129)
        history(url, "ann")
        bulk(url, {"user": "ann", "amount": 1})
        send(url, b"GET", b"/healthz")
        send(url, b"GET", b"/readyz")
        send(url, b"GET", b"/nothing")

        counted = {
            (route, status): metric(
                url, REQUESTS, server=KINDS[kind], route=route, status=str(status)
            )
            for route, status in [
                *(("add", 200), ("add", 400), ("balance", 200), ("balance", 400)),
                *(("history", 200), ("bulk", 200), ("healthz", 200), ("readyz", 200)),
            ]
        }
        not_found = metric(url, REQUESTS, server="hypercorn", route="other", status="404")
        all_requests = metric(url, REQUESTS)

    assert list(counted.values()) == [3, 1, 2, 1, 1, 1, 1, 1]
    assert not_found == 1
    # Each look at the metrics is one more.
    assert all_requests == 12 + len(counted) + 1


def test_what_the_fast_lane_hands_over_is_counted_where_it_is_answered(tmp_path: Path) -> None:
    with ServerProcess(tmp_path / "data") as server:
        send(server.url, b"HEAD", b"/users/ann/balance")
        balance(server.url, "ann")
        on_hypercorn = metric(server.url, REQUESTS, server="hypercorn", route="balance")
        on_the_lane = metric(server.url, REQUESTS, server="lane", route="balance")
        handed_over = metric(server.url, "bitburst_http_connections_handed_over_total")
    assert (on_hypercorn, on_the_lane, handed_over) == (1, 1, 4)


def test_pipelined_requests_are_all_counted(tmp_path: Path) -> None:
    with ServerProcess(tmp_path / "data") as server, connect(server.url) as connection:
        length = [(b"Content-Length", b"%d" % len(BODY))]
        one = head(server.url, b"POST", b"/users/ann/add", length) + BODY
        other = head(server.url, b"GET", b"/users/ann/balance")
        connection.sendall((one + other) * 200)
        last = b'{"Message":"User ann has a balance of $200.000000"}'
        received = b""
        while not received.endswith(last):
            received += connection.recv(65_536)
        assert metric(server.url, REQUESTS, route="add", status="200") == 200
        assert metric(server.url, REQUESTS, route="balance", status="200") == 200


def test_duplicates_are_told_apart(tmp_path: Path, kind: str) -> None:
    flags = ("--server", kind, "--snapshot-entries", "2", "--snapshot-interval-s", "3600")
    with ServerProcess(tmp_path / "data", *flags) as server:
        url = server.url
        credit(url, "ann", BODY, "old")
        credit(url, "ann", BODY, "other")
        eventually(lambda: metric(url, "bitburst_snapshot_position") == 2)
        credit(url, "ann", BODY, "new")
        for _ in range(2):
            credit(url, "ann", BODY, "old")
        for _ in range(3):
            credit(url, "ann", BODY, "new")
        credit(url, "ann", b'{"amount":2}', "old")
        credit(url, "ann", b'{"amount":2}', "new")
        twice = {"user": "ann", "amount": 1, "idempotency_key": "twice"}
        bulk(url, twice, twice)

        kinds = ("snapshot", "memory", "key_reused", "in_flight")
        counted = [metric(url, "bitburst_duplicates_total", kind=kind) for kind in kinds]

    assert counted == [2, 3, 2, 1]


def test_commits_are_counted_with_their_entries(tmp_path: Path) -> None:
    with ServerProcess(tmp_path / "data", *NO_SNAPSHOTS) as server:
        for _ in range(5):
            credit(server.url, "ann", BODY)
        bulk(server.url, *({"user": f"user-{number}", "amount": 1} for number in range(100)))
        assert metric(server.url, "bitburst_commit_duration_seconds_count") == 6
        assert metric(server.url, "bitburst_commit_duration_seconds_sum") > 0
        assert metric(server.url, "bitburst_commit_entries_sum") == 105
        assert metric(server.url, "bitburst_commit_entries_bucket", le="1") == 5
        assert metric(server.url, "bitburst_commit_entries_bucket", le="100") == 6
        assert metric(server.url, "bitburst_log_position") == 6
        assert metric(server.url, "bitburst_unfolded_entries") == 105
        assert metric(server.url, "bitburst_unfolded_positions") == 6
        assert metric(server.url, "bitburst_active_accounts") == 101
        assert metric(server.url, "bitburst_log_size_bytes") == 16 * 1024 * 1024


def test_snapshots_are_seen(tmp_path: Path) -> None:
    with ServerProcess(tmp_path / "data", "--snapshot-entries", "1") as server:
        before = metric(server.url, "bitburst_snapshot_timestamp_seconds")
        credit(server.url, "ann", BODY)
        eventually(lambda: metric(server.url, "bitburst_folded_entries") == 1)
        eventually(lambda: metric(server.url, "bitburst_unfolded_entries") == 0)
        assert metric(server.url, "bitburst_unfolded_positions") == 0
        assert metric(server.url, "bitburst_folded_users") == 1
        assert metric(server.url, "bitburst_snapshot_duration_seconds_count") == 1
        assert metric(server.url, "bitburst_snapshotter_starts_total") == 1
        assert metric(server.url, "bitburst_snapshot_failures_total") == 0
        assert metric(server.url, "bitburst_snapshot_timestamp_seconds") > before


def test_a_recovery_is_seen(tmp_path: Path) -> None:
    with ServerProcess(tmp_path / "data", *NO_SNAPSHOTS) as server:
        for _ in range(7):
            credit(server.url, "ann", BODY)
        server.kill()
        server.start()
        assert metric(server.url, "bitburst_recovery_entries") == 7
        assert metric(server.url, "bitburst_recovery_duration_seconds") > 0
        assert metric(server.url, "bitburst_ready") == 1


class TestLimits:
    @pytest.fixture
    def url(self, kind: str, tmp_path: Path) -> Iterator[str]:
        flags = ("--server", kind, "--request-timeout-s", "0.5", *NO_SNAPSHOTS)
        with ServerProcess(tmp_path / "data", *flags) as server:
            yield server.url

    def test_a_body_that_is_too_large(self, url: str) -> None:
        assert credit(url, "ann", b" " * 70_000).status == 413
        assert metric(url, LIMITS, limit="body_bytes") == 1

    def test_a_bulk_of_too_many(self, url: str) -> None:
        credits_ = [{"user": "ann", "amount": 1}] * 10_001
        headers = [(b"Content-Type", b"application/json")]
        refused = send(url, b"POST", BULK, json.dumps(credits_).encode(), headers)
        assert refused.status == 413
        assert metric(url, LIMITS, limit="bulk_credits") == 1

    @pytest.mark.parametrize(
        "begun",
        [
            b"GET /healthz HTTP/1.1\r\nHost: x\r\n",
            b"POST /users/a/add HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{",
        ],
    )
    def test_a_request_that_takes_too_long(self, url: str, begun: bytes) -> None:
        assert send_bytes(url, begun).status == 408
        assert metric(url, LIMITS, limit="request_time") == 1
        assert metric(url, REQUESTS, status="408") == 1

    def test_a_head_that_is_too_large(self, url: str) -> None:
        headers = [(b"X-Padding", b"x" * 140_000)]
        assert send(url, b"GET", b"/healthz", headers=headers).status == 431
        assert metric(url, LIMITS, limit="head_bytes") == 1
        assert metric(url, REQUESTS, route="other", status="431") == 1


def test_a_connection_too_many_is_seen(tmp_path: Path) -> None:
    with ServerProcess(tmp_path / "data", "--connections-max", "2") as server:
        with connect(server.url) as first, connect(server.url) as second:
            for connection in (first, second):
                connection.sendall(head(server.url, b"GET", b"/healthz"))
                receive(connection)
            with connect(server.url) as third:
                assert receive(third).status == 503
            first.sendall(head(server.url, b"GET", b"/metrics"))
            assert b'bitburst_limit_hits_total{limit="connections"} 1.0' in receive(first).body
        eventually(lambda: metric(server.url, "bitburst_http_connections_lane") == 0)
        assert metric(server.url, "bitburst_http_connections_max") == 2


def test_a_backlog_is_seen(tmp_path: Path) -> None:
    with ServerProcess(tmp_path / "data", "--unfolded-entries-max", "1") as server:
        # Else it would be folded at once.
        for pid in server.snapshotter_pids():
            os.kill(pid, signal.SIGSTOP)
        credit(server.url, "ann", BODY)
        eventually(lambda: metric(server.url, "bitburst_ready") == 0)
        assert credit(server.url, "ann", BODY).status == 503
        assert metric(server.url, LIMITS, limit="unfolded_entries") == 1


def test_a_pipeline_that_is_too_long_is_seen(tmp_path: Path) -> None:
    with ServerProcess(tmp_path / "data") as server, connect(server.url) as connection:
        length = [(b"Content-Length", b"%d" % len(BODY))]
        connection.sendall((head(server.url, b"POST", b"/users/a/add", length) + BODY) * 129)
        eventually(lambda: metric(server.url, LIMITS, limit="pipelined") >= 1)


def test_the_process_and_its_event_loop_are_seen(tmp_path: Path) -> None:
    with ServerProcess(tmp_path / "data") as server:
        eventually(lambda: metric(server.url, "bitburst_event_loop_lag_seconds_count") > 0)
        assert metric(server.url, "process_resident_memory_bytes") > 0
        assert metric(server.url, "process_open_fds") > 0
        assert metric(server.url, "bitburst_build_info") == 1
        assert "python_gc_collections_total" in sample_names(server.url)


def test_no_user_is_named(tmp_path: Path) -> None:
    with ServerProcess(tmp_path / "data") as server:
        credit(server.url, "gopal", BODY, "invoice-17")
        balance(server.url, "gopal")
        shown = send(server.url, b"GET", b"/metrics").body
    assert b"gopal" not in shown
    assert b"invoice" not in shown


def test_openmetrics_is_spoken_where_it_is_accepted(tmp_path: Path) -> None:
    accepts = [(b"Accept", b"application/openmetrics-text; version=1.0.0, text/plain;q=0.5")]
    with ServerProcess(tmp_path / "data") as server:
        shown = send(server.url, b"GET", b"/metrics", headers=accepts)
        plain = send(server.url, b"GET", b"/metrics")
    assert shown.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
    assert shown.body.endswith(b"# EOF\n")
    assert plain.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert not plain.body.endswith(b"# EOF\n")


def test_switched_off_nothing_is_counted_or_shown(tmp_path: Path, kind: str) -> None:
    flags = ("--server", kind, "--metrics", "off")
    with ServerProcess(tmp_path / "data", *flags) as server:
        assert credit(server.url, "ann", BODY).status == 200
        assert balance(server.url, "ann").status == 200
        assert send(server.url, b"GET", b"/metrics").status == 404


@need_promtool
def test_promtool_finds_nothing_wrong(tmp_path: Path, kind: str) -> None:
    with ServerProcess(tmp_path / "data", "--server", kind) as server:
        credit(server.url, "ann", BODY)
        credit(server.url, "ann", b"{")
        shown = send(server.url, b"GET", b"/metrics").body
    checked = subprocess.run(
        ["promtool", "check", "metrics"], input=shown, capture_output=True, check=False
    )
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, b"", b"")


def test_every_metric_of_ours_is_explained(tmp_path: Path) -> None:
    with ServerProcess(tmp_path / "data") as server:
        ours = [one for one in families(server.url).values() if one.name.startswith("bitburst_")]
    assert len(ours) > 30
    assert [one.name for one in ours if not one.documentation] == []
