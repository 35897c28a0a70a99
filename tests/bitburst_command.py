"""The `bitburst` command, run as people run it."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

# An object store that does not answer is asked eleven times, with random waits of 55 s at most.
TIMEOUT_S = 120.0
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


def make_key(keys_file: Path, *flags: str) -> str:
    """A new API key in that file, with `--scope` and what else the flags say."""
    made = bitburst("keys", "create", *flags, "--json", "--keys-file", keys_file)
    assert made.status == 0, made.complaint
    key = made.json[0]["key"]
    assert isinstance(key, str)
    return key


def key_id(key: str) -> str:
    """The part of a key that lists and logs show."""
    return key.split("_")[1]
