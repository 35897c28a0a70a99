"""A server, its callers, and what is found wrong with the two."""

import sys
import time
from pathlib import Path

import trio
from audit import violations
from chaos_client import read_accounts
from load import Load

from bench.server_process import ServerProcess


class ServerUnderLoad:
    """A server that comes and goes while callers ask it.

    Attributes:
        recoveries_s: how long each start took until credits were taken.
        violations: what was found that must not be.
    """

    def __init__(self, data_dir: Path, load: Load, *flags: str, port: int = 0) -> None:
        self.process = ServerProcess(data_dir, "--log-format", "json", *flags, port=port)
        self.recoveries_s: list[float] = []
        self.violations: list[str] = []
        self._load = load

    async def start(self) -> None:
        started = time.monotonic()
        await trio.to_thread.run_sync(self.process.start)
        self.recoveries_s.append(time.monotonic() - started)
        self._load.server_is_up(self.process.port)

    def kill(self) -> None:
        """SIGKILL to server and snapshotter."""
        self.process.kill()
        self._load.server_is_down()
        self._check_output()

    async def stop(self) -> None:
        """Asks the server to end, and verifies what it left."""
        status = await trio.to_thread.run_sync(self.process.stop)
        if status:
            self.violations.append(f"the server ended with status {status} when asked to stop")
        self._check_output()
        await self.verify()

    async def audit(self, users: set[str]) -> None:
        """Compares what the server tells of these users with what the callers know."""
        known = {credit: fate for credit, fate in self._load.fates.items() if credit.user in users}
        read = await read_accounts(self.process.port, sorted(users))
        self.violations += [*self._load.violations, *violations(known, read)]

    async def verify(self) -> None:
        """Asks `bitburst verify`."""
        directory = str(self.process.data_dir)
        command = [sys.executable, "-m", "api", "verify", "--data-dir", directory]
        done = await trio.run_process(
            command, check=False, capture_stdout=True, capture_stderr=True
        )
        if done.returncode:
            self.violations.append(f"bitburst verify: {done.stderr.decode()}")

    def _check_output(self) -> None:
        output = self.process.output()
        if "Traceback" in output or '"level": "error"' in output:
            self.violations.append(f"the server's log:\n{output}")
