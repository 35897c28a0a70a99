"""The benches of a store, small: what they build, start and ask is real."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from bench.__main__ import main
from bench.closed_loop import Timed
from bench.errors import BenchError
from bench.folding import FoldingParameters, span, split
from bench.store_builder import StoreBuilder
from persistence.data_directory import open_data_directory
from persistence.verify import verify

PARAMETERS = FoldingParameters(1, 1.0, 1, 1, 1)


def run(*arguments: str) -> Result:
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    return result


def test_restart_measures_starts_replay_and_memory(tmp_path: Path) -> None:
    small = ["--users", "300", "--rounds", "3", "--tail", "500", "--active", "50"]
    run("restart", *small, "--seconds", "1", "--json", str(tmp_path / "figures"))

    figures = json.loads((tmp_path / "figures").read_text())["Restarts"]
    assert figures["with_tail"]["replayed_entries"] == 500
    assert figures["folded"]["replayed_entries"] == 0
    assert figures["adds"] > 0
    assert figures["memory_max"]["resident_mb"] >= figures["memory_at_start"]["resident_mb"]


def test_folding_measures_adds_on_both_sides(tmp_path: Path) -> None:
    small = ["--users", "1000", "--seconds", "3", "--snapshot-entries", "200"]
    run("folding", *small, "--json", str(tmp_path / "figures"))

    figures = json.loads((tmp_path / "figures").read_text())["FoldingLatencies"]
    assert figures["snapshots"] > 0
    assert figures["folding_adds"] > 0
    assert figures["idle_adds"] > 0


def test_paging_measures_the_first_and_the_last_page(tmp_path: Path) -> None:
    run("paging", "--entries", "1000", "--requests", "20", "--json", str(tmp_path / "figures"))

    figures = json.loads((tmp_path / "figures").read_text())["PagingLatencies"]
    assert figures["p50_ratio"] > 0


def test_backups_are_taken_restored_and_checked(tmp_path: Path) -> None:
    small = ["--users", "300", "--rounds", "3", "--added", "20000"]
    run("backups", *small, "--json", str(tmp_path / "figures"))

    figures = json.loads((tmp_path / "figures").read_text())["BackupTimes"]
    # Each added entry has a key of 32 random characters.
    assert figures["incremental"]["bytes"] > 20_000 * 32
    assert figures["full"]["bytes"] > 900 * 32
    assert figures["restored"]["duration_s"] > 0


def test_a_built_store_is_one_that_verifies(tmp_path: Path) -> None:
    builder = StoreBuilder(tmp_path / "data", seed=1)
    builder.rounds(100, 3, lambda entries: None, fold=True)
    builder.close()
    builder = StoreBuilder(tmp_path / "data", seed=2)
    builder.resume(100, 3)
    builder.rounds(100, 1, lambda entries: None, fold=False)
    builder.close()

    verified = verify(open_data_directory(tmp_path / "data"))
    assert (verified.users, verified.folded_entries) == (100, 300)
    assert verified.last == 2


def test_adds_are_told_apart_by_whether_a_snapshot_was_folded_meanwhile() -> None:
    adds = [Timed(0, 9), Timed(5, 15), Timed(12, 18), Timed(19, 30), Timed(20, 30)]

    latencies = split(PARAMETERS, adds, [(10, 20)])

    assert (latencies.folding_adds, latencies.idle_adds) == (3, 2)


def test_nothing_on_one_side_is_no_measurement() -> None:
    with pytest.raises(BenchError, match="0 adds while folding, 1 while not"):
        split(PARAMETERS, [Timed(0, 9)], [])


def test_the_time_of_a_folding_is_read_from_the_servers_event() -> None:
    event = {"timestamp": "2026-01-01T00:00:10.500000Z", "duration_s": 0.25}

    start, end = span(event)

    assert end - start == pytest.approx(250_000_000, abs=1000)
    assert end % 10_000_000_000 == 500_000_000
