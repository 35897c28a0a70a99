"""Whether a store is what was written, as an operator asks."""

import subprocess
import sys
from pathlib import Path

TIMEOUT_S = 60


def verified(data_dir: Path) -> bool:
    command = [sys.executable, "-m", "api", "verify", "--data-dir", str(data_dir)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S)
    print(done.stdout, done.stderr)
    return done.returncode == 0
