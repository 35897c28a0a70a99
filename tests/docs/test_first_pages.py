"""The first pages, as a reader follows them: each command is run, and prints what they say."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from console_blocks import Step, steps_of, timeless
from eventually import eventually

ROOT = Path(__file__).parents[2]
TUTORIAL = ROOT / "docs" / "tutorial.md"
PAGES = (TUTORIAL, ROOT / "README.md")
ORIGIN = "http://127.0.0.1:8080"
SERVE = "make serve"
UNCHANGED = "make -o .venv/serve.stamp serve"
"""The same, without bringing the environment that the tests run in up to date."""
OF_A_READER = {
    name: value
    for name, value in os.environ.items()
    if name not in {"ARGS", "MAKEFLAGS", "MAKELEVEL", "MAKEOVERRIDES", "MFLAGS"}
}
"""The environment without what `make test ARGS=…` means for the tests."""
STOP_TIMEOUT_S = 30
COMMAND_TIMEOUT_S = 60


pytestmark = pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A place that looks like a checkout, with an environment, and no data yet."""
    for found in ROOT.iterdir():
        if found.name not in {".venv", "data", "backups", "days.ndjson", ".git"}:
            (tmp_path / found.name).symlink_to(found)
    (tmp_path / ".venv").symlink_to(sys.prefix)
    return tmp_path


@pytest.fixture
def url(checkout: Path) -> Iterator[str]:
    """The server that each page begins with, on a port that is free."""
    log = checkout / "serve.log"
    with log.open("wb") as output:
        server = subprocess.Popen(
            ["bash", "-c", f"exec {UNCHANGED}"],
            cwd=checkout,
            stdout=output,
            stderr=output,
            start_new_session=True,
            env={**OF_A_READER, "BITBURST_PORT": "0", "BITBURST_LOG_FORMAT": "json"},
        )
    try:
        yield eventually(lambda: _listening(log))
    finally:
        # As Ctrl-C does: to everything that the terminal runs.
        os.killpg(server.pid, signal.SIGINT)
        server.wait(STOP_TIMEOUT_S)


def _listening(log: Path) -> str | None:
    lines = [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]
    events = {line["event"]: line for line in lines}
    return events["listening"]["url"] if "recovered" in events else None


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_prints_what_the_page_says(checkout: Path, url: str, page: Path) -> None:
    first, *steps = steps_of(page)
    assert first.command.startswith(SERVE)
    for step in steps:
        if step.command.startswith("make test"):
            # This is a part of it.
            continue
        finished = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", step.command.replace(ORIGIN, url)],
            cwd=checkout,
            capture_output=True,
            text=True,
            timeout=COMMAND_TIMEOUT_S,
            check=False,
        )
        said = f"{step.command}\nprints\n{finished.stdout}{finished.stderr}"
        assert finished.returncode == 0, said
        assert step.matches(finished.stdout), f"{said}\nand not\n{step.output}"


def test_a_command_that_prints_something_else_is_noticed() -> None:
    step = Step("echo", "one\n  …\nthree\n")

    assert step.matches("one\n  two\n  and\nthree\n")
    assert not step.matches("one\n  two\n")
    assert not step.matches("zero\none\n  two\nthree\n")
    assert timeless("at 2026-11-24T18:26:14.112862Z\r\n") == "at <time>\n"


def test_the_tutorial_has_the_steps_that_it_is_read_for() -> None:
    commands = "\n".join(step.command for step in steps_of(TUTORIAL))

    for needed in ("make serve", "Idempotency-Key", "/requests/", "credits:batch", "page=2"):
        assert needed in commands
