import subprocess
import sys
from pathlib import Path

import pytest
from fast_lane import kinds_of_server

FUZZ = Path(__file__).with_name("fast_lane.py")
TIMEOUT_S = 120


@pytest.mark.parametrize("kind", ["hypercorn", "fast-lane"])
def test_spoilt_requests_harm_nobody(kind: str) -> None:
    if kind not in dict(kinds_of_server()):
        pytest.skip("there is no such kind of server")
    command = [sys.executable, str(FUZZ), "--server", kind, "--inputs", "2000", "--seed", "7"]

    done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)

    assert done.returncode == 0, done.stdout + done.stderr
