import subprocess
import sys
from pathlib import Path

KILL_TEST = Path(__file__).with_name("kill.py")
TIMEOUT_S = 300


def test_nothing_is_lost_or_doubled_in_fifty_kills(tmp_path: Path) -> None:
    command = [sys.executable, str(KILL_TEST), "--rounds", "50", "--seed", "7"]
    command += ["--cadence-s", "0.4", "--data-dir", str(tmp_path / "data")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S)
    assert done.returncode == 0, done.stdout + done.stderr
