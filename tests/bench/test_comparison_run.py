"""The comparison as it is run: real servers, small loads, and nothing left behind."""

import json
import signal
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest
from click.testing import CliRunner, Result

from bench.__main__ import main
from bench.comparison import stage
from bench.comparison.figure import Figure, FigureName, Sample
from bench.comparison.switches_contest import per_processor_second
from bench.comparison.targets import BITBURST, EMPTY_ROUTE, FASTAPI, POSTGRES
from bench.cores import Busy
from bench.loads.requests import Load, Plan, RequestMaker
from bench.peers.peer import Skipped
from bench.peers.postgres import find_programs
from bench.peers.web_process import WebProcess, need_packages

SMALL = ("--own-generator", "--seconds", "0.2", "--repetitions", "1", "--users", "50")
SMALL += ("--connections", "4", "--bulk-credits", "300")
START_SECONDS_MAX = 20.0


def installed() -> bool:
    try:
        find_programs()
        need_packages("fastapi", "uvicorn", "uvloop", "asyncpg")
    except Skipped:
        return False
    return True


def run(folder: Path, only: str, *more: str) -> tuple[Result, dict[str, Any]]:
    arguments = ["compare", *SMALL, "--only", only, "--report", str(folder / "report"), *more]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    return result, json.loads((folder / "report" / "report.json").read_text())


def measured(report: dict[str, Any]) -> dict[tuple[str, str], float]:
    return {(one["peer"], one["what"]): one["median"] for one in report["figures"]}


def test_a_small_comparison_measures_reads_back_and_reports(tmp_path: Path) -> None:
    before = psutil.Process().children()
    _, report = run(tmp_path, "keyed,bulk", "--peers", "quart")

    figures = measured(report)
    assert set(figures) == {
        (BITBURST, "keyed, 4 connections"),
        (EMPTY_ROUTE, "empty beside adds, 4 connections"),
        (BITBURST, "bulk, msgpack"),
        (BITBURST, "bulk, JSON"),
    }
    assert all(value > 0 for value in figures.values())
    assert sum(one["errors"] for one in report["figures"]) == 0
    assert len(report["read_back"]) == 3
    assert report["wrong_credits"] == 0
    assert psutil.Process().children() == before


def test_latency_growth_and_connections_are_measured(tmp_path: Path) -> None:
    tiny = ("--growth-users", "20,40", "--open-connections", "30", "--active-connections", "5")
    _, report = run(tmp_path, "latency,growth,connections", "--peers", "quart", *tiny)

    figures = measured(report)
    assert (BITBURST, "p99 at half the peak") in figures
    assert (BITBURST, "add, 40 users") in figures
    assert (BITBURST, "add, 30 open") in figures
    assert report["wrong_credits"] == 0


def test_what_is_accepted_of_too_much_is_measured_and_drawn(tmp_path: Path) -> None:
    _, report = run(tmp_path, "overload", "--open-connections", "30")

    figures = measured(report)
    accepted = [what for peer, what in figures if what.endswith("the peak offered")]
    assert len(accepted) == 10
    assert (BITBURST, "adds accepted, most") in figures
    assert sum(one["errors"] for one in report["figures"]) == 0
    assert report["wrong_credits"] == 0
    assert "Adds offered and accepted" in (tmp_path / "report" / "index.html").read_text()


def test_what_can_be_switched_is_measured_both_ways(tmp_path: Path) -> None:
    _, report = run(tmp_path, "switches", "--peers", "quart")

    figures = measured(report)
    loads = ("add", "balance", "history", "bulk")
    named = {f"{load}, all {way}" for load in loads for way in ("on", "off")}
    assert {what for _, what in figures} >= named
    assert all(value > 0 for value in figures.values())
    assert sum(one["errors"] for one in report["figures"]) == 0
    assert report["wrong_credits"] == 0


def test_a_rate_is_also_told_by_the_processor_time_that_it_took() -> None:
    samples = [
        Sample(1000, 1.0, busy=Busy(1.0, 1.0, server_processes=share, generator=0.2))
        for share in (0.5, 0.25)
    ]
    figure = Figure(FigureName(BITBURST, "add"), "requests/s", "wrk", "", tuple(samples))

    own = per_processor_second(figure)

    assert own is not None
    assert own.name == (BITBURST, "add, per processor second")
    assert own.unit == "requests/processor second"
    assert [sample.value for sample in own.samples] == [2000, 4000]
    unsaid = replace(figure, samples=(*samples, Sample(1000, 1.0)))
    assert per_processor_second(unsaid) is None


def test_headers_that_a_switch_needs_are_on_every_request() -> None:
    plan = Plan(Load.ADD, 10, "run", 1, headers=("Authorization: Bearer x",))
    for load in (Load.ADD, Load.KEYED, Load.BALANCE, Load.HISTORY, Load.MIX):
        request = RequestMaker(replace(plan, load=load), "host:1")()
        head = request.partition(b"\r\n\r\n")[0].split(b"\r\n")
        assert head[1:3] == [b"Host: host:1", b"Authorization: Bearer x"]


@pytest.mark.skipif(not installed(), reason="PostgreSQL or a package of extra `peers` is missing")
def test_the_peer_on_postgres_answers_all_loads(tmp_path: Path) -> None:
    loads = "add,keyed,balance,history,mix"
    _, report = run(tmp_path, loads, "--peers", "fastapi")

    theirs = [one for one in report["figures"] if one["peer"] == FASTAPI]
    assert len(theirs) == 5
    assert {one["what"]: one["first_error"] for one in theirs if one["errors"]} == {}
    assert report["not_measured"] == {}


def test_a_peer_whose_program_is_missing_is_skipped_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(stage, "find_programs", partial(find_programs, tmp_path))

    result, report = run(tmp_path, "add", "--peers", "fastapi,postgres")

    assert "PostgreSQL is not installed" in report["not_measured"][POSTGRES]
    assert "PostgreSQL is not installed" in report["not_measured"][FASTAPI]
    assert "PostgreSQL is not installed" in result.output
    assert (BITBURST, "add, 4 connections") in measured(report)


def test_a_missing_package_is_named() -> None:
    with pytest.raises(Skipped, match="no_such_package"):
        need_packages("json", "no_such_package")


def test_the_newest_packaged_postgresql_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")
    for version in ("9", "15"):
        programs = tmp_path / version / "bin"
        programs.mkdir(parents=True)
        for name in ("initdb", "postgres", "psql", "pgbench"):
            (programs / name).touch()
    assert find_programs(tmp_path) == tmp_path / "15" / "bin"


def test_a_peer_that_does_not_start_says_why_and_is_gone(tmp_path: Path) -> None:
    before = psutil.Process().children()
    peer = WebProcess("bench.peers.no_such_module", (), tmp_path / "log")
    with pytest.raises(Exception, match="No module named"), peer:
        pass
    assert psutil.Process().children() == before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_broken_off_it_leaves_no_process_and_no_file(
    number: signal.Signals, tmp_path: Path
) -> None:
    files = tmp_path / "files"
    files.mkdir()
    command = [sys.executable, "-m", "bench", "compare", *SMALL, "--seconds", "60"]
    bench = subprocess.Popen(
        [*command, "--only", "add", "--folder", str(files), "--report", str(tmp_path / "report")],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        # A suite that a shell runs in the background ignores SIGINT, and so do its children.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        started = servers_of(bench)
        bench.send_signal(number)
        bench.wait(START_SECONDS_MAX)
    finally:
        bench.kill()
        bench.wait()
    gone, alive = psutil.wait_procs(started, timeout=START_SECONDS_MAX)
    assert alive == []
    assert len(gone) == len(started)
    assert list(files.iterdir()) == []


def servers_of(bench: "subprocess.Popen[bytes]") -> list[psutil.Process]:
    """Waits until a server of BitBurst is among the processes below, and returns all of them."""
    until = time.monotonic() + START_SECONDS_MAX
    while time.monotonic() < until:
        below = psutil.Process(bench.pid).children(recursive=True)
        try:
            if any("serve" in process.cmdline() for process in below):
                return below
        except psutil.NoSuchProcess:
            continue
        time.sleep(0.05)
    raise AssertionError("the comparison started no server")
