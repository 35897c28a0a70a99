"""What is in `deploy/`, by the programs that it is for, against a server that runs."""

import contextlib
import json
import re
import shutil
import socket
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from eventually import eventually
from exposition import metric, sample_names
from otlp_collector import running_collector
from raw_http import balance, credit, history, send

from bench.server_process import ServerProcess

ROOT = Path(__file__).parents[2]
PROMETHEUS = ROOT / "deploy" / "prometheus"
RULES = PROMETHEUS / "alerts.yml"
DASHBOARD = ROOT / "deploy" / "grafana" / "bitburst.json"
OPERATING = ROOT / "docs" / "operating.md"
BODY = b'{"amount":1}'
START_SECONDS_MAX = 60.0

pytestmark = pytest.mark.skipif(
    shutil.which("promtool") is None or shutil.which("prometheus") is None,
    reason="Debian's package prometheus is not installed",
)


def promtool(*arguments: str | Path) -> None:
    """Runs it, and shows what it says where it finds fault."""
    done = subprocess.run(
        ["promtool", *map(str, arguments)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def rules() -> str:
    return RULES.read_text()


def alerts() -> list[str]:
    return re.findall(r"- alert: (\w+)", rules())


def dashboard_queries() -> list[str]:
    panels = json.loads(DASHBOARD.read_text())["panels"]
    queries = [target["expr"] for panel in panels for target in panel.get("targets", ())]
    # What Grafana puts in their place.
    return [query.replace("$__rate_interval", "1m").replace("$instance", ".*") for query in queries]


def metrics_named(text: str) -> set[str]:
    return set(re.findall(r"\b(?:bitburst|process|python)_[a-z0-9_]+", text))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server of which there is something to see: everything is on, and has been used."""
    data_dir = tmp_path_factory.mktemp("deploy") / "data"
    with running_collector() as collector:
        flags = ("--otlp-endpoint", collector.url, "--snapshot-entries", "1")
        with ServerProcess(data_dir, *flags) as running:
            credit(running.url, "ann", BODY)
            eventually(lambda: metric(running.url, "bitburst_folded_entries") == 1)
            yield running


def test_the_rules_and_the_example_are_well_formed() -> None:
    promtool("check", "rules", RULES)
    promtool("check", "config", PROMETHEUS / "prometheus.yml")


def test_each_alert_fires_when_it_should_and_not_before() -> None:
    promtool("test", "rules", PROMETHEUS / "alerts_test.yml")


def test_there_is_a_test_of_each_alert() -> None:
    tested = re.findall(r"""alertname="(\w+)"}""", (PROMETHEUS / "alerts_test.yml").read_text())
    assert set(alerts()) == set(tested)


def test_each_alert_says_where_to_read_on_and_that_is_there() -> None:
    headings = re.findall(r"^#+ (.+)$", OPERATING.read_text(), re.MULTILINE)
    anchors = {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}
    pointed_to = re.findall(r"runbook: docs/operating\.md#(\S+)", rules())
    assert pointed_to == [alert.lower() for alert in alerts()]
    assert set(pointed_to) <= anchors


def test_every_metric_that_rules_and_dashboard_name_is_there(server: ServerProcess) -> None:
    named = metrics_named(rules()) | metrics_named(" ".join(dashboard_queries()))
    assert len(named) > 30
    assert named - sample_names(server.url) == set()


def test_every_metric_of_ours_is_in_the_documents(server: ServerProcess) -> None:
    documented = metrics_named(OPERATING.read_text())
    families = {
        re.sub(r"_(bucket|count|sum)$", "", name)
        for name in sample_names(server.url)
        if name.startswith("bitburst_")
    }
    assert families - documented == set()


@pytest.fixture(scope="module")
def prometheus(server: ServerProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """One that scrapes the server each second, by our example but for that."""
    folder = tmp_path_factory.mktemp("prometheus")
    config = (PROMETHEUS / "prometheus.yml").read_text()
    config = config.replace("15s", "1s").replace("127.0.0.1:8080", f"127.0.0.1:{server.port}")
    (folder / "prometheus.yml").write_text(config)
    shutil.copy(RULES, folder)
    address = f"127.0.0.1:{free_port()}"
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [
                "prometheus",
                f"--config.file={folder / 'prometheus.yml'}",
                f"--storage.tsdb.path={folder / 'tsdb'}",
                f"--web.listen-address={address}",
            ],
            stdout=log,
            stderr=log,
        )
    try:
        yield f"http://{address}"
    finally:
        process.terminate()
        process.wait()


def test_every_query_of_the_dashboard_finds_something(
    server: ServerProcess, prometheus: str
) -> None:
    deadline = time.monotonic() + START_SECONDS_MAX
    unanswered = dashboard_queries()
    assert len(unanswered) > 40
    number = 0
    while unanswered and time.monotonic() < deadline:
        # A rate is of what grows while it is looked at.
        number += 1
        credit(server.url, "ann", BODY, f"key-{number}")
        credit(server.url, "ann", b"{")
        balance(server.url, "ann")
        history(server.url, "ann")
        send(server.url, b"GET", b"/nothing")
        time.sleep(0.3)
        unanswered = [query for query in unanswered if not found(prometheus, query)]
    assert unanswered == []


def test_of_a_server_that_is_well_no_alert_fires(server: ServerProcess, prometheus: str) -> None:
    eventually(lambda: found(prometheus, "bitburst_ready == 1"))
    rules = answer(prometheus, "/api/v1/rules")["groups"][0]["rules"]
    assert len(rules) == len(alerts())
    states = {rule["name"]: rule["state"] for rule in rules if rule["state"] != "inactive"}
    # What other tests write in these seconds would fill the disk within hours, if it went on.
    assert states in ({}, {"BitBurstDiskNearlyFull": "pending"})


def found(prometheus: str, query: str) -> bool:
    """Whether the query has numbers for an answer, now."""
    try:
        result = answer(prometheus, "/api/v1/query?" + urllib.parse.urlencode({"query": query}))
    except OSError:
        return False
    return any(one["value"][1] != "NaN" for one in result["result"])


def answer(prometheus: str, path: str) -> Any:
    with contextlib.closing(urllib.request.urlopen(prometheus + path, timeout=10)) as response:
        document = json.load(response)
    assert document["status"] == "success"
    return document["data"]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port
