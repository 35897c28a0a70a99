"""A peer that is one Python process: it prints where it listens, and serves until it is ended."""

import contextlib
import importlib.util
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from bench.errors import PeerFailedError
from bench.interruptions import held_back
from bench.peers.peer import Skipped, family

START_TIMEOUT_S: Final = 30.0
ENDED_TIMEOUT_S: Final = 10.0


def need_packages(*names: str) -> None:
    """
    Raises:
        Skipped: one of them is not installed.
    """
    missing = [name for name in names if importlib.util.find_spec(name) is None]
    if missing:
        raise Skipped(f"not installed: {', '.join(missing)} (extra `peers`)")


class WebProcess:
    """`python -m <module>`, which prints `{"url": ...}`. Use as a context manager."""

    def __init__(self, module: str, arguments: Sequence[str], log_path: Path) -> None:
        self._module = module
        self._command = [sys.executable, "-m", module, *arguments]
        self._log_path = log_path
        self._process: subprocess.Popen[bytes] | None = None
        self.url = ""

    def __enter__(self) -> "WebProcess":
        """
        Raises:
            PeerFailedError: it did not say in time that it listens.
        """
        try:
            with self._log_path.open("ab") as log, held_back():
                self._process = subprocess.Popen(
                    self._command,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=log,
                    start_new_session=True,
                )
            self.url = self._announced()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def pids(self) -> list[int]:
        """The process and what it has started."""
        assert self._process is not None
        return family(self._process.pid)

    def _announced(self) -> str:
        assert self._process is not None
        assert self._process.stdout is not None
        output = self._process.stdout
        until = time.monotonic() + START_TIMEOUT_S
        line = b""
        while not line.endswith(b"\n"):
            ready, _, _ = select.select([output], [], [], max(0.0, until - time.monotonic()))
            read = os.read(output.fileno(), 4096) if ready else b""
            if not read:
                told = self._log_path.read_text(errors="replace").strip()[-500:]
                raise PeerFailedError(f"{self._module} did not start: {told}")
            line += read
        url = json.loads(line)["url"]
        assert isinstance(url, str)
        return url

    def _end(self) -> None:
        if self._process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(ENDED_TIMEOUT_S)
        if self._process.stdout is not None:
            self._process.stdout.close()
