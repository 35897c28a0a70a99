"""What a server process holds: memory, files, threads."""

from dataclasses import dataclass

import psutil

from bench.server_process import ServerProcess


@dataclass(frozen=True, slots=True)
class Held:
    memory_mb: float
    """Resident and its own, in MB of 10^6 bytes."""
    files: int
    threads: int


def held_by(server: ServerProcess) -> Held:
    process = psutil.Process(server.pid)
    memory_mb = server.memory().anonymous_mb
    return Held(memory_mb, process.num_fds(), process.num_threads())
