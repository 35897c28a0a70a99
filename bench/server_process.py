"""A real `bitburst serve` in a process group of its own: to measure, to kill, to start again."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from bench.interruptions import held_back

START_TIMEOUT_S: Final = 120.0
STOP_TIMEOUT_S: Final = 20.0
KIB_PER_MB: Final = 1_000_000 / 1024


@dataclass(frozen=True, slots=True)
class Memory:
    """Resident memory, in MB of 10^6 bytes."""

    resident_mb: float
    anonymous_mb: float
    """The process's own: the part that cannot be dropped."""
    file_mb: float
    """Pages of mapped files, mostly of the snapshot store: the kernel drops them when it needs."""


class ServerProcess:
    """One server at a time on one data directory. Its log lines go to a file beside it."""

    def __init__(
        self, data_dir: Path, *arguments: str, wrapper: tuple[str, ...] = (), port: int = 0
    ) -> None:
        """
        Args:
            arguments: further flags of `bitburst serve`.
            wrapper: a command that runs the server, such as strace and its flags.
        """
        self.data_dir = data_dir
        self.log_path = data_dir.with_name(data_dir.name + ".log")
        self._command = [*wrapper, sys.executable, "-m", "api", "serve"]
        self._command += ["--data-dir", str(data_dir), "--port", str(port), *arguments]
        self._process: subprocess.Popen[bytes] | None = None
        self._log_start = 0
        self.url = ""

    def __enter__(self) -> "ServerProcess":
        try:
            self.start()
        except BaseException:
            self.kill()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def port(self) -> int:
        return int(self.url.rsplit(":", 1)[1])

    def start(self, *, wait: bool = True) -> None:
        """Starts the server, and waits until it has recovered."""
        self._log_start = self.log_path.stat().st_size if self.log_path.exists() else 0
        with self.log_path.open("ab") as log, held_back():
            self._process = subprocess.Popen(
                self._command,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env={**os.environ, "PYTHONUNBUFFERED": "1"},
            )
        if wait:
            self.url = self.wait_for_event("listening")["url"]
            self.wait_for_event("recovered")

    def events(self) -> list[dict[str, Any]]:
        """What this run of the server has logged so far."""
        with self.log_path.open("rb") as log:
            log.seek(self._log_start)
            lines = log.read().decode(errors="replace").splitlines()
        return [json.loads(line) for line in lines if line.startswith("{") and line.endswith("}")]

    def output(self) -> str:
        """All that this run has printed."""
        with self.log_path.open("rb") as log:
            log.seek(self._log_start)
            return log.read().decode(errors="replace")

    def wait_for_event(self, name: str, timeout_s: float = START_TIMEOUT_S) -> dict[str, Any]:
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            for event in self.events():
                if event["event"] == name:
                    return event
            assert self._process is not None
            if self._process.poll() is not None and name not in self.output():
                break
            time.sleep(0.02)
        raise AssertionError(f"the server never logged {name!r}:\n{self.output()}")

    def kill(self) -> None:
        """SIGKILL to the whole process group: server and snapshotter."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Asks the server to end, and returns its exit status."""
        assert self._process is not None
        self._process.send_signal(number)
        return self._process.wait(STOP_TIMEOUT_S)

    def wait(self, timeout_s: float = STOP_TIMEOUT_S) -> int:
        """Waits until the server ends by itself, and returns its exit status."""
        assert self._process is not None
        return self._process.wait(timeout_s)

    def memory(self) -> "Memory":
        """What the server process, without its snapshotter, holds resident."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        fields = dict(line.split(":", 1) for line in status.splitlines())
        rss, anonymous, file = (
            int(fields[name].split()[0]) / KIB_PER_MB for name in ("VmRSS", "RssAnon", "RssFile")
        )
        return Memory(rss, anonymous, file)

    def snapshotter_pids(self) -> list[int]:
        """The process ids of the server's snapshotter: one, or none while it is not running."""
        return children_of(self.pid)


def children_of(pid: int) -> list[int]:
    # A child belongs to the thread that started it, and trio starts it from one of its own.
    threads = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for thread in threads for child in thread.read_text().split()]
