"""Traces over OTLP, as a collector of their own gets them."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from eventually import eventually
from exposition import metric
from otlp_collector import Collector, attributes, running_collector
from raw_http import Conversation, balance, credit, head, send

from bench.server_process import ServerProcess

BODY = b'{"amount":1}'
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = "00f067aa0ba902b7"
SAMPLED = (b"traceparent", f"00-{TRACE}-{PARENT}-01".encode())
UNSAMPLED = (b"traceparent", f"00-{TRACE}-{PARENT}-00".encode())


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
    with running_collector() as running:
        yield running


@pytest.fixture(params=["fast-lane", "hypercorn"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def traced(data_dir: Path, collector: Collector, ratio: float, *flags: str) -> ServerProcess:
    endpoint = ("--otlp-endpoint", collector.url, "--trace-ratio", str(ratio))
    return ServerProcess(data_dir, *endpoint, *flags)


def test_a_credit_is_a_span_with_its_wait_and_its_commit_below(
    tmp_path: Path, collector: Collector, kind: str
) -> None:
    with traced(tmp_path / "data", collector, 1, "--server", kind) as server:
        given = credit(server.url, "gopal", BODY).headers["x-request-id"]
        (commit,) = eventually(lambda: collector.spans("commit"))
        (inbox,) = collector.spans("inbox")
        (span,) = collector.spans("POST /users/{uid}/add")

    assert collector.services == {"bitburst"}
    assert attributes(span) == {
        "http.request.method": "POST",
        "http.response.status_code": 200,
        "http.route": "/users/{uid}/add",
        "bitburst.request_id": given,
    }
    assert span.parent_span_id == b""
    assert inbox.parent_span_id == commit.parent_span_id == span.span_id
    assert inbox.trace_id == commit.trace_id == span.trace_id
    assert attributes(commit) == {"bitburst.log_position": 1}
    assert span.start_time_unix_nano == inbox.start_time_unix_nano
    assert inbox.end_time_unix_nano == commit.start_time_unix_nano
    assert commit.start_time_unix_nano < commit.end_time_unix_nano <= span.end_time_unix_nano


def test_a_trace_goes_on_where_the_caller_began_it(
    tmp_path: Path, collector: Collector, kind: str
) -> None:
    with traced(tmp_path / "data", collector, 0, "--server", kind) as server:
        target = b"/users/gopal/balance"
        send(server.url, b"GET", target, headers=[UNSAMPLED])
        send(server.url, b"GET", target, headers=[(b"traceparent", b"nonsense")])
        balance(server.url, "gopal")
        send(server.url, b"GET", target, headers=[SAMPLED])
        (span,) = eventually(collector.spans)

    assert span.trace_id.hex() == TRACE
    assert span.parent_span_id.hex() == PARENT
    assert span.name == "GET /users/{uid}/balance"


def test_what_is_refused_at_once_has_no_commit(
    tmp_path: Path, collector: Collector, kind: str
) -> None:
    with traced(tmp_path / "data", collector, 1, "--server", kind) as server:
        credit(server.url, "gopal", b'{"amount":"no"}')
        credit(server.url, "gopal", b'{"amount":0}')
        spans = eventually(lambda: collector.spans() if len(collector.spans()) == 2 else [])

    assert [attributes(span)["http.response.status_code"] for span in spans] == [400, 500]
    assert [span.status.code for span in spans] == [0, 2]


def test_a_retry_has_no_commit(tmp_path: Path, collector: Collector, kind: str) -> None:
    with traced(tmp_path / "data", collector, 0, "--server", kind) as server:
        credit(server.url, "gopal", BODY, "key")
        headers = [SAMPLED, (b"Idempotency-Key", b"key")]
        send(server.url, b"POST", b"/users/gopal/add", BODY, headers)
        spans = eventually(collector.spans)

    assert {span.name for span in spans} == {"POST /users/{uid}/add", "inbox"}


def test_a_bulk_is_one_span(tmp_path: Path, collector: Collector, kind: str) -> None:
    bulk = b'[{"user":"ann","amount":1},{"user":"bob","amount":1}]'
    with traced(tmp_path / "data", collector, 0, "--server", kind) as server:
        headers = [SAMPLED, (b"Content-Type", b"application/json")]
        send(server.url, b"POST", b"/v1/credits:batch", bulk, headers)
        spans = eventually(collector.spans)

    assert {span.name for span in spans} == {"POST /v1/credits:batch", "inbox", "commit"}


def test_what_waits_is_exported_at_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "3600000")
    with (
        running_collector() as collector,
        traced(tmp_path / "data", collector, 1) as server,
    ):
        balance(server.url, "gopal")
        assert server.stop() == 0
        assert len(collector.spans()) == 1


def test_an_endpoint_in_opentelemetrys_own_variable_is_taken(
    tmp_path: Path, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
    monkeypatch.setenv("OTEL_SERVICE_NAME", "ledger-of-tests")
    with ServerProcess(tmp_path / "data") as server:
        send(server.url, b"GET", b"/readyz", headers=[SAMPLED])
        eventually(collector.spans)
    assert collector.services == {"ledger-of-tests"}


def test_a_collector_that_is_not_there_costs_spans_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")
    flags = ("--otlp-endpoint", "http://127.0.0.1:1", "--trace-ratio", "1")
    with ServerProcess(tmp_path / "data", *flags) as server:
        assert credit(server.url, "gopal", BODY).status == 200
        eventually(lambda: metric(server.url, "bitburst_trace_spans_total", outcome="failed") >= 3)
        assert server.stop() == 0


def test_spans_that_the_collector_does_not_take_are_dropped_and_counted(
    tmp_path: Path, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    requests = 1000
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "60")
    collector.answers.clear()
    with (
        traced(tmp_path / "data", collector, 1) as server,
        Conversation(server.url) as conversation,
    ):
        length = [(b"Content-Length", b"%d" % len(BODY))]
        one = head(server.url, b"POST", b"/users/gopal/add", length) + BODY
        for _ in range(requests):
            conversation.send(one)
            reply = conversation.receive()
            assert reply is not None
            assert reply.status == 200
        # Each is three spans, and no more than 2048 are kept. On a slow machine the exporter may
        # have given up some of those.
        spans = "bitburst_trace_spans_total"
        dropped = metric(server.url, spans, outcome="dropped")
        assert dropped > 0
        assert dropped + metric(server.url, spans, outcome="failed") >= 3 * requests - 2048
        assert len(server.output().splitlines()) < 10


def test_without_an_endpoint_nothing_of_opentelemetry_is_imported(
    tmp_path: Path, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPROFILEIMPORTTIME", "1")
    with ServerProcess(tmp_path / "without") as server:
        assert credit(server.url, "gopal", BODY).status == 200
        assert send(server.url, b"GET", b"/metrics").status == 200
        assert "import time:" in server.output()
        assert "opentelemetry" not in server.output()
        assert "google.protobuf" not in server.output()
    with traced(tmp_path / "with", collector, 1) as server:
        assert "opentelemetry" in server.output()


def test_an_endpoint_that_is_no_url_is_refused(tmp_path: Path) -> None:
    server = ServerProcess(tmp_path / "data", "--otlp-endpoint", "collector:4318")
    server.start(wait=False)
    assert server.wait() == 1
    assert "must be an http or https URL, not collector:4318" in server.output()
    assert "Traceback" not in server.output()


def test_without_the_packages_an_endpoint_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hidden = tmp_path / "hidden" / "opentelemetry"
    hidden.mkdir(parents=True)
    # An empty package in their place: what is looked for in it is not there.
    (hidden / "__init__.py").touch()
    monkeypatch.setenv("PYTHONPATH", str(hidden.parent))
    server = ServerProcess(tmp_path / "data", "--otlp-endpoint", "http://127.0.0.1:1")
    server.start(wait=False)
    assert server.wait() == 1
    assert "BitBurst's extra `tracing`" in server.output()
    assert "Traceback" not in server.output()
