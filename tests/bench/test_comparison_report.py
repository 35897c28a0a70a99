"""The report: tables, document and page, of figures that are given."""

import json
from pathlib import Path

import pytest

from bench.comparison.figure import Figure, FigureName, Results, Sample
from bench.comparison.page import page
from bench.comparison.plots import plots
from bench.comparison.report import Found, write_report
from bench.comparison.report_json import comparison_json, file_system
from bench.comparison.setting import Chosen, Setting
from bench.comparison.table import figures_table, markdown, number, targets_table
from bench.comparison.targets import BITBURST, DISK, FASTAPI
from bench.cores import Busy, Cores
from bench.latency import Percentiles
from bench.paging import PagingLatencies, PagingParameters

LATENCY = Percentiles(1.0, 2.0, 3.0, 4.0, 5.0)
BUSY = Busy(server_core=0.99, load_core=0.4, server_processes=0.97, generator=0.39)


def figure(peer: str, what: str, unit: str, *values: float, errors: int = 0) -> Figure:
    samples = tuple(Sample(value, 2.0, errors, "503 b''", BUSY, LATENCY) for value in values)
    return Figure(FigureName(peer, what), unit, "wrk -t1", "core 0 and core 1", samples)


def results_of(*figures: Figure) -> Results:
    results = Results({one.name: one for one in figures}, {"a peer": "it is <missing>"})
    results.note("adds", "10 of 10 credits found", 0)
    return results


@pytest.fixture
def results() -> Results:
    return results_of(
        figure(BITBURST, "add, 64 connections", "requests/s", 31_000, 30_000, 32_000),
        figure(FASTAPI, "add, 64 connections", "requests/s", 3_000, 3_000, 4_000),
        figure(BITBURST, "bulk, msgpack", "credits/s", 250_000.4),
        figure(BITBURST, "p99 at half the peak", "ms", 4.0, 5.0, 3.0),
        figure(DISK, "median commit", "ms", 0.4, 0.5, 0.4),
        figure(BITBURST, "add, 10,000 users", "requests/s", 31_000.0),
        figure(BITBURST, "add, 1,000,000 users", "requests/s", 28_000.0, errors=2),
    )


@pytest.fixture
def setting(tmp_path: Path) -> Setting:
    return Setting(
        folder=tmp_path,
        cores=Cores(0, 1),
        wrk="wrk",
        loads=frozenset(Chosen),
        peers=frozenset(),
        serve_flags=(),
        seconds=2.0,
        repetitions=3,
        users=100,
        connections=(64,),
        bulk_credits=1,
        growth_users=(10,),
        growth_entries=1,
        open_connections=1,
        active_connections=1,
        seed=1,
    )


def row(results: Results, start: str) -> tuple[str, ...]:
    return next(one for one in targets_table(results).rows if one[0].startswith(start))


def test_a_ratio_is_shown_with_its_spread_and_its_verdict(results: Results) -> None:
    peer_row = next(one for one in targets_table(results).rows if one[2].startswith(FASTAPI))
    assert peer_row == (
        "add",
        "31,000 requests/s",
        "FastAPI + PostgreSQL: 3,000 requests/s",
        "10.0 (8 to 10.3) \N{MULTIPLICATION SIGN}",
        "≥ 8 \N{MULTIPLICATION SIGN}",
        "reached",
    )


def test_a_figure_without_a_peer_is_shown_as_it_is(results: Results) -> None:
    assert row(results, "bulk of msgpack, credits/s")[3:] == (
        "250,000 (250,000 to 250,000)",
        "≥ 300,000",
        "missed",
    )


def test_errors_are_in_the_row(results: Results) -> None:
    assert row(results, "add with 1,000,000 users")[-1] == "missed, 2 errors"


def test_what_was_not_measured_says_so(results: Results) -> None:
    assert row(results, "history")[3:] == ("", "≥ 15 \N{MULTIPLICATION SIGN}", "not measured")


def test_the_markdown_has_a_line_for_each_target(results: Results) -> None:
    lines = markdown(targets_table(results)).splitlines()
    assert lines[1].startswith("| --- | ---: |")
    assert len(lines) == 2 + len(targets_table(results).rows)
    assert len({line.count("|") for line in lines}) == 1


def test_every_figure_says_how_it_was_measured(results: Results) -> None:
    first = figures_table(results.figures.values()).rows[0]
    assert "wrk -t1" in first
    assert {"99% (97%)", "40% (39%)"} <= set(first)


@pytest.mark.parametrize(
    ("value", "text"), [(31204.4, "31,204"), (71.26, "71.3"), (9.25, "9.25"), (0.4118, "0.412")]
)
def test_numbers_are_as_exact_as_they_deserve(value: float, text: str) -> None:
    assert number(value) == text


def test_the_document_is_json_and_complete(results: Results, setting: Setting) -> None:
    document = json.loads(json.dumps(comparison_json(results, setting)))
    assert document["figures"][0]["median"] == 31_000
    assert len(document["figures"][0]["repetitions"]) == 3
    reached = {one["what"]: one["verdict"] for one in document["targets"]}
    assert reached["p99 of adds at half the peak rate"] == "reached"
    assert document["not_measured"] == {"a peer": "it is <missing>"}
    assert str(setting.folder) not in json.dumps(document)


def test_the_page_needs_nothing_beside_it(results: Results) -> None:
    shown = page(results, {"python": "3.11"}, plots(results))
    assert shown.count("<svg") == 5
    assert "<img" not in shown
    assert "<script" not in shown
    assert "it is &lt;missing&gt;" in shown


def test_lost_credits_are_the_first_thing_said(results: Results) -> None:
    results.note("adds", "9 of 10", 1)
    shown = page(results, {}, ())
    assert "1 credits were lost or doubled" in shown


def test_nothing_measured_is_a_report_as_well() -> None:
    assert plots(Results()) == []
    assert "not measured" in page(Results(), {}, ())


def test_one_report_holds_the_stores_as_well(
    results: Results, setting: Setting, tmp_path: Path
) -> None:
    paging = PagingLatencies(PagingParameters(1_000, 10, 1), LATENCY, LATENCY)
    found = Found(results, comparison_json(results, setting))
    write_report(tmp_path / "report", found, [paging])
    written = {file.name for file in (tmp_path / "report").iterdir()}
    assert written == {"index.html", "report.json", "table.md"}
    document = json.loads((tmp_path / "report" / "report.json").read_text())
    assert document["store"]["PagingLatencies"]["p50_ratio"] == 1.0
    assert "Pages of a history" in (tmp_path / "report" / "index.html").read_text()


def test_the_file_system_below_the_store_is_known(tmp_path: Path) -> None:
    assert file_system(tmp_path) not in ("", "unknown")
