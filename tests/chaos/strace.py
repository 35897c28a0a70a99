"""strace around a server: whether it can be used here, and the flags that the tests need."""

import os
import shutil
import signal
import subprocess
from pathlib import Path

from bench.server_process import ServerProcess, children_of

TIMEOUT_S = 20


def reason_to_skip() -> str | None:
    """Why strace cannot be used here; None when it can."""
    if shutil.which("strace") is None:
        return "strace is not installed"
    tried = subprocess.run(
        ["strace", "-f", "-o", "/dev/null", "true"], capture_output=True, timeout=TIMEOUT_S
    )
    return f"ptrace is not allowed: {tried.stderr!r}" if tried.returncode else None


def tracing(output: Path, calls: str, *more: str) -> tuple[str, ...]:
    """The command that runs the server under strace: all threads, whole buffers, open files."""
    flags = ("-f", "-ttt", "-y", "-s", "1000000", "-o", str(output), "-e", f"trace={calls}")
    return ("strace", *flags, *more, "--")


def stop_traced(server: ServerProcess) -> int:
    """Stops the server, not strace, which then writes its last line; returns the exit status."""
    for pid in children_of(server.pid):
        os.kill(pid, signal.SIGTERM)
    return server.wait()
