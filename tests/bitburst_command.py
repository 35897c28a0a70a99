"""The `bitburst` command, run as people run it."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

TIMEOUT_S = 10.0
COMMAND = (sys.executable, "-m", "api")


class Finished(NamedTuple):
    status: int
    output: str
    complaint: str

    @property
    def json(self) -> list[Any]:
        """The lines of the output, each a JSON document."""
        return [json.loads(line) for line in self.output.splitlines()]


def bitburst(*arguments: str | Path, environment: Mapping[str, str] | None = None) -> Finished:
    """Runs the command to its end."""
    finished = subprocess.run(
        [*COMMAND, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        env={**os.environ, **(environment or {})},
        check=False,
    )
    return Finished(finished.returncode, finished.stdout, finished.stderr)


def logged(data_dir: Path) -> list[Any]:
    """The entries that the store's log holds, oldest first."""
    return bitburst("log", "--json", "--data-dir", data_dir).json
