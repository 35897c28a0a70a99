import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from fast_lane import kinds_of_server

FUZZ = Path(__file__).with_name("fast_lane.py")
TIMEOUT_S = 120
ENDING_S = 30


@pytest.mark.parametrize("kind", ["hypercorn", "fast-lane"])
def test_spoilt_requests_harm_nobody(kind: str) -> None:
    if kind not in dict(kinds_of_server()):
        pytest.skip("there is no such kind of server")
    command = [sys.executable, str(FUZZ), "--server", kind, "--inputs", "2000", "--seed", "7"]

    done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)

    assert done.returncode == 0, done.stdout + done.stderr


def test_asked_to_end_it_takes_its_server_with_it() -> None:
    command = [sys.executable, str(FUZZ), "--inputs", "1000000", "--seed", "7"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as fuzz:
        assert fuzz.stdout is not None
        assert fuzz.stdout.readline(), "it says when it has sent some"
        started = psutil.Process(fuzz.pid).children(recursive=True)
        fuzz.terminate()
        fuzz.communicate(timeout=TIMEOUT_S)
    assert started
    _, left = psutil.wait_procs(started, timeout=ENDING_S)
    for process in left:
        process.kill()
    assert not left
