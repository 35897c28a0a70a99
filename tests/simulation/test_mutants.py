"""The proof that the simulator can fail: faults put into the ledger, all of which it must catch."""

import os
import subprocess
import sys

import pytest
from simulation.hunting import TESTS, Hunted, hunt_all
from simulation.mutants import MUTANTS

SEEDS_MAX = 1500
NAMES = [mutant.name for mutant in MUTANTS]


@pytest.fixture(scope="module")
def hunted() -> dict[str, Hunted]:
    return {one.name: one for one in hunt_all(0, SEEDS_MAX)}


@pytest.mark.parametrize("name", NAMES)
def test_it_is_caught(hunted: dict[str, Hunted], name: str) -> None:
    assert hunted[name].violation is not None, f"not caught within {SEEDS_MAX} seeds"


def test_there_are_many_and_no_two_are_one() -> None:
    assert len(set(NAMES)) == len(NAMES) >= 20
    assert len({mutant.edits for mutant in MUTANTS}) == len(MUTANTS)


def test_a_patch_that_does_not_fit_is_no_mutant() -> None:
    program = (
        "import sys\n"
        "from simulation.hunt import Patches\n"
        "from simulation.mutants import mutant\n"
        "patch = ('ledger_actors.money', 'what is not there', '')\n"
        "sys.meta_path.insert(0, Patches(mutant('none', patch)))\n"
        "import ledger_actors.money\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        cwd=TESTS,
        env={**os.environ, "PYTHONPATH": str(TESTS)},
        check=False,
    )
    assert done.returncode == 1
    assert "ledger_actors.money has this 0 times: what is not there" in done.stderr
