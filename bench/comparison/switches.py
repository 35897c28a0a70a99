"""What a server can be run with and without: to be measured both ways, and to cost little."""

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.errors import PeerFailedError


@dataclass(frozen=True, slots=True)
class Switch:
    """One of them, as flags of `bitburst serve`."""

    what: str
    on: tuple[str, ...]
    off: tuple[str, ...]
    headers: tuple[str, ...] = ()
    """Lines that each request has to carry while it is on."""


@dataclass(frozen=True, slots=True)
class Position:
    """All switches together, one way."""

    name: str
    flags: tuple[str, ...]
    headers: tuple[str, ...]


SWITCHES: Final = (
    Switch("metrics", ("--metrics", "on"), ("--metrics", "off")),
    Switch("request ids", ("--request-ids", "always"), ("--request-ids", "off")),
    Switch(
        "rates that nobody reaches",
        (
            *("--key-rate", "1000000", "--key-burst", "1000000"),
            *("--user-rate", "100000", "--user-burst", "100000"),
        ),
        (),
    ),
)


def api_keys(folder: Path) -> Switch:
    """API keys, in a file that is made there.

    Raises:
        PeerFailedError: the key was not made.
    """
    file = folder / "keys.json"
    command = [sys.executable, "-m", "api", "keys", "create", "bench", "--keys-file", str(file)]
    command += ["--scope", "read", "--scope", "write", "--json"]
    made = subprocess.run(command, capture_output=True, text=True, check=False)
    if made.returncode:
        raise PeerFailedError(f"no API key was made: {made.stderr.strip()}")
    key = json.loads(made.stdout)["key"]
    return Switch("API keys", ("--keys-file", str(file)), (), (f"Authorization: Bearer {key}",))


def both_ways(switches: Sequence[Switch]) -> tuple[Position, Position]:
    """All of it on, and all of it off."""
    on = tuple(flag for switch in switches for flag in switch.on)
    off = tuple(flag for switch in switches for flag in switch.off)
    headers = tuple(line for switch in switches for line in switch.headers)
    return Position("all on", on, headers), Position("all off", off, ())
