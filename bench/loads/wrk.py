"""Closed-loop load by wrk, where it is installed: the generator that costs the least itself."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Final

from bench.errors import LoadFailedError
from bench.latency import Percentiles
from bench.loads.outcome import Outcome
from bench.loads.requests import Plan, with_headers

SCRIPT: Final = Path(__file__).with_name("requests.lua")
US_PER_S: Final = 1_000_000
US_PER_MS: Final = 1_000
ANSWER_SECONDS_MAX: Final = 10
SECONDS_OVER_MAX: Final = 60.0
"""wrk is ended when it takes that much longer than it was told to."""


def find_wrk() -> str | None:
    """Where wrk is, None when it is not installed."""
    return shutil.which("wrk")


def run_wrk(wrk: str, origin: str, plan: Plan, connections: int, seconds: int) -> Outcome:
    """Asks for that long over that many connections, from one thread.

    Args:
        seconds: wrk knows whole seconds only.

    Raises:
        LoadFailedError: wrk did not run to its end, or nothing was answered.
    """
    command = [wrk, "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout"]
    command += [
        f"{ANSWER_SECONDS_MAX}s",
        "-s",
        str(SCRIPT),
        origin,
        "--",
        *_arguments(origin, plan),
    ]
    try:
        finished = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=seconds + SECONDS_OVER_MAX,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise LoadFailedError("wrk did not end") from None
    if finished.returncode:
        raise LoadFailedError(f"wrk failed: {(finished.stderr or finished.stdout).strip()[-300:]}")
    return read_wrk(finished.stdout)


def _arguments(origin: str, plan: Plan) -> list[str]:
    authority = with_headers(origin.removeprefix("http://"), plan.headers)
    counted = str(plan.counted_users)
    return [plan.load, str(plan.users), counted, plan.run, str(plan.seed), authority]


def read_wrk(output: str) -> Outcome:
    """What wrk and the script printed, as an outcome.

    Raises:
        LoadFailedError: the script's last line is missing, or nothing was answered.
    """
    lines = [line for line in output.splitlines() if line.startswith("{")]
    try:
        told = json.loads(lines[-1])
        errors = {kind: told[kind] for kind in ("status", "connect", "read", "write", "timeout")}
        answered = told["requests"] - told["status"]
        latencies = (told["latency_us"][rank] for rank in ("500", "900", "990", "999", "1000"))
        latency = Percentiles(*(microseconds / US_PER_MS for microseconds in latencies))
        seconds = told["duration_us"] / US_PER_S
        made, counted = told["made"], tuple(told["counted"])
    except (IndexError, KeyError, ValueError):
        raise LoadFailedError(f"wrk said nothing that can be read: {output[-300:]!r}") from None
    if not answered and not any(errors.values()):
        raise LoadFailedError("nothing was answered")
    return Outcome(
        generator="wrk",
        answered=answered,
        seconds=seconds,
        errors=sum(errors.values()),
        first_error=", ".join(f"{kind}: {count}" for kind, count in errors.items() if count),
        latency=latency,
        made=made,
        counted=counted,
    )
