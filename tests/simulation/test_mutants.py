"""The proof that the simulator can fail: faults put into the ledger, all of which it must catch."""

import os
import re
import subprocess
import sys

import pytest
from simulation.hunting import TESTS, Hunted, hunt_all
from simulation.mutants import MUTANTS

SEEDS_MAX = 1500
NAMES = [mutant.name for mutant in MUTANTS]


@pytest.fixture(scope="module")
def hunted() -> dict[str, Hunted]:
    return {one.name: one for one in hunt_all(SEEDS_MAX)}


@pytest.mark.parametrize("name", NAMES)
def test_it_is_caught(hunted: dict[str, Hunted], name: str) -> None:
    assert hunted[name].violation is not None, f"not caught within {SEEDS_MAX} seeds"


def test_there_are_many_and_no_two_are_one() -> None:
    assert len(set(NAMES)) == len(NAMES) >= 20
    assert len({mutant.edits for mutant in MUTANTS}) == len(MUTANTS)


def mutated(mutant: str, program: str) -> subprocess.CompletedProcess[str]:
    """Runs a program with a mutant, which is an expression of Python, in the ledger."""
    patch = (
        "import sys\n"
        "from simulation.hunt import Patches\n"
        "from simulation.mutants import MUTANTS, mutant\n"
        f"sys.meta_path.insert(0, Patches({mutant}))\n"
    )
    return subprocess.run(
        [sys.executable, "-c", patch + program],
        capture_output=True,
        text=True,
        cwd=TESTS,
        env={**os.environ, "PYTHONPATH": str(TESTS)},
        check=False,
    )


def test_a_patch_that_does_not_fit_is_no_mutant() -> None:
    unfit = "mutant('none', ('ledger_actors.money', 'what is not there', ''))"
    done = mutated(unfit, "import ledger_actors.money\n")
    assert done.returncode == 1
    assert "ledger_actors.money has this 0 times: what is not there" in done.stderr


def test_a_seed_that_fails_is_told_with_its_replay_and_shrunk() -> None:
    program = (
        "from simulation.command_line import main\n"
        "main(['run', '--seeds', '1', '--first', '0', '--jobs', '1'])\n"
    )
    done = mutated("MUTANTS[0]", program)
    assert done.returncode == 1
    assert "seed 0: answered before it is durable" in done.stdout
    assert "-m simulation replay 0\n" in done.stdout
    (kept,) = re.findall(r"-m simulation replay 0 --keep ([0-9,]+)\n", done.stdout)
    assert 1 <= len(kept.split(",")) <= 3
    replay = (
        f"from simulation.command_line import main\nmain(['replay', '0', '--keep', '{kept}'])\n"
    )
    again = mutated("MUTANTS[0]", replay)
    assert again.returncode == 1
    assert "violation: answered before it is durable" in again.stdout
    assert mutated("mutant('none')", replay).returncode == 0
