"""A part of what `damage.py` does, drawn anew each time; the seed is in its command."""

import subprocess
import sys
import time
from pathlib import Path

import pytest
from records import REFUSED, outcomes, records_of_a_small_log

DAMAGE = Path(__file__).with_name("damage.py")
TIMEOUT_S = 300


@pytest.mark.parametrize(
    ("file", "kind", "judge", "sample"),
    [
        ("log/data.mdb", "flips", "start", 2000),
        ("log/data.mdb", "flips", "verify", 500),
        ("log/data.mdb", "truncations", "start", 500),
        ("log/high-water-mark", "flips", "start", 200),
        ("log/high-water-mark", "truncations", "start", 200),
        ("snapshot/data.mdb", "flips", "verify", 700),
        ("snapshot/data.mdb", "truncations", "start", 200),
    ],
)
def test_each_damage_is_refused_with_its_place_or_harmless(
    file: str, kind: str, judge: str, sample: int
) -> None:
    command = [sys.executable, str(DAMAGE), "--file", file, "--kind", kind, "--judge", judge]
    command += ["--sample", str(sample), "--seed", str(time.time_ns() // 1000)]
    _run(command)


def test_a_branch_that_leads_astray_is_refused_with_its_place() -> None:
    """A bit that a seed of the above had found."""
    command = [sys.executable, str(DAMAGE), "--file", "log/data.mdb", "--kind", "flips"]
    _run([*command, "--judge", "verify", "--case", "196455"])


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S)
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"


def test_no_damage_to_the_bytes_of_a_record_goes_unseen(tmp_path: Path) -> None:
    rows = records_of_a_small_log(tmp_path / "data")
    small = [row for row in rows if len(row[1]) < 1000]
    assert len(small) > 20
    for counts in outcomes(small).values():
        assert set(counts) == {REFUSED}
