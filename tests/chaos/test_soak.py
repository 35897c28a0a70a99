import random
import subprocess
import sys
from pathlib import Path

SOAK = Path(__file__).with_name("soak.py")
SECONDS = 60
TIMEOUT_S = 300


def test_nothing_is_lost_or_piles_up_in_a_minute_of_everything(tmp_path: Path) -> None:
    command = [sys.executable, str(SOAK), "--seconds", str(SECONDS)]
    command += ["--seed", str(random.randrange(10**6)), "--data-dir", str(tmp_path / "data")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S)
    assert done.returncode == 0, done.stdout + done.stderr
