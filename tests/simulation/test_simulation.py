"""The real ledger, run through crashes and faults that all follow from a seed."""

import json
import os
import secrets
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from simulation.drawing import draw
from simulation.found import FOUND
from simulation.report import COMMAND
from simulation.run import Run
from simulation.shrink import shrunk
from simulation.sweep import Totals, sweep

TESTS = Path(__file__).parent.parent
FIXED_SEEDS = 300
FRESH_SEEDS = 200

STATES = [
    "balances at the limit",
    "bits flipped in the log",
    "bits flipped in the snapshot",
    "commits lost in a crash",
    "crashes while a fold runs",
    "crashes while a snapshot is written",
    "crashes while an append is in flight",
    "crashes while recovering",
    "crashes while serving",
    "duplicates in flight",
    "end of the log lost",
    "ended by a failed fsync",
    "entries replayed",
    "faults: ClockJumps",
    "faults: SlowDisk",
    "faults: SnapshotterDies",
    "faults: Stall",
    "folds that outlive the server",
    "foreign records in the log",
    "full disks that refused credits",
    "newest record cut short",
    "replays of what was durable",
    "reads refused",
    "reads that waited for a shard",
    "reused keys refused",
    "shards restarted",
    "snapshots failed",
    "stops in order",
    "stores refused",
]
"""What a thousand credits under faults must have met, or the faults are none."""


def require_no_violation(totals: Totals) -> None:
    if totals.violations:
        seed, violation = totals.violations[0]
        smallest = shrunk(draw(seed))
        events = "\n".join(f"  {number:3} {event}" for number, event in smallest.events)
        pytest.fail(
            f"{len(totals.violations)} of {totals.seeds} seeds; the first: {violation}\n"
            f"replay it: {COMMAND} replay {seed}\nshrunk:\n  {smallest.world}\n{events}",
            pytrace=False,
        )


def test_a_fixed_set_of_seeds_ends_in_no_violation_and_meets_every_state_that_matters() -> None:
    totals = sweep(0, FIXED_SEEDS)
    require_no_violation(totals)
    assert [state for state in STATES if not totals.seen[state]] == []


def test_a_fresh_set_of_seeds_ends_in_no_violation(capsys: pytest.CaptureFixture[str]) -> None:
    first = secrets.randbelow(2**40)
    with capsys.disabled():
        print(f"\nfresh seeds {first} to {first + FRESH_SEEDS - 1}")
    require_no_violation(sweep(first, FRESH_SEEDS))


@pytest.mark.parametrize("bug", FOUND)
def test_what_was_found_is_gone(bug: str) -> None:
    assert Run(FOUND[bug]).result().violation is None


def test_the_same_seed_gives_the_same_trace_twice() -> None:
    for seed in range(20):
        once, again = Run(draw(seed), traced=True).result(), Run(draw(seed)).result()
        assert once.trace_hash == again.trace_hash
        assert once.trace


def test_another_seed_gives_another_trace() -> None:
    assert len({Run(draw(seed)).result().trace_hash for seed in range(20)}) == 20


def test_the_same_seed_gives_the_same_trace_in_processes_with_other_hash_seeds() -> None:
    program = (
        "import json\n"
        "from simulation.drawing import draw\n"
        "from simulation.run import Run\n"
        "print(json.dumps([Run(draw(seed)).result().trace_hash for seed in range(20)]))\n"
    )
    hashes = [
        json.loads(
            subprocess.run(
                [sys.executable, "-c", program],
                capture_output=True,
                text=True,
                cwd=TESTS,
                env={**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(TESTS)},
                check=True,
            ).stdout
        )
        for hash_seed in ("0", "1", "12345")
    ]
    assert hashes[0] == hashes[1] == hashes[2]
    assert hashes[0] == [Run(draw(seed)).result().trace_hash for seed in range(20)]


def simulation(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "simulation", *arguments],
        capture_output=True,
        text=True,
        cwd=TESTS,
        check=False,
    )


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["run", "--seeds", "0"], "0 is not in the range x>=1"),
        (["run", "--first", "-1"], "-1 is not in the range x>=0"),
        (["replay", "x"], "'x' is not a valid integer range"),
        (["replay", "1", "--keep", "1,x"], "numbers with commas between them"),
    ],
)
def test_what_cannot_be_run_is_refused(arguments: list[str], complaint: str) -> None:
    done = simulation(*arguments)
    assert done.returncode == 2
    assert complaint in done.stderr.replace("\n", " ")


def test_a_few_seeds_are_run_and_counted() -> None:
    done = simulation("run", "--seeds", "3", "--first", "7", "--jobs", "1")
    assert done.returncode == 0
    assert "seeds 7 to 9" in done.stdout
    assert "0 of 3 seeds end in a violation" in done.stdout


def test_a_replay_prints_what_happened_and_can_leave_events_out() -> None:
    whole, part = simulation("replay", "3"), simulation("replay", "3", "--keep", "0,1")
    assert whole.returncode == part.returncode == 0
    assert "seed 3: " in part.stdout
    assert len(part.stdout) < len(whole.stdout)


def test_a_failing_scenario_is_shrunk_to_what_makes_it_fail(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fails_with: Callable[[set[int]], bool] = {3, 17}.issubset

    class Judged:
        def __init__(self, scenario: object) -> None:
            self.violation = "it fails" if fails_with(numbers_of(scenario)) else None

        def result(self) -> "Judged":
            return self

    monkeypatch.setattr("simulation.shrink.Run", Judged)
    scenario = draw(1)
    assert len(scenario.events) > 20
    assert numbers_of(shrunk(scenario)) == {3, 17}


def numbers_of(scenario: object) -> set[int]:
    return {number for number, _ in scenario.events}  # type: ignore[attr-defined]
