"""A PostgreSQL of the bench's own: a new cluster in a temporary folder, ended with the bench."""

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Final

from bench.errors import PeerFailedError
from bench.interruptions import held_back
from bench.peers.peer import Skipped, family, wake

PACKAGED: Final = Path("/usr/lib/postgresql")
SUPERUSER: Final = "postgres"
ACCOUNTS: Final = ("postgres", "nobody")
"""Who runs it when the bench is run by root: PostgreSQL refuses to."""
START_TIMEOUT_S: Final = 30.0
COMMAND_TIMEOUT_S: Final = 120.0
FAST_STOP_TIMEOUT_S: Final = 5.0
IMMEDIATE_STOP_TIMEOUT_S: Final = 10.0
SETTINGS: Final = {
    "listen_addresses": "",
    "shared_buffers": "256MB",
    "fsync": "on",
    "synchronous_commit": "on",
    # No checkpoint falls into a run of a few minutes: it would cost only this peer.
    "max_wal_size": "8GB",
    "checkpoint_timeout": "30min",
    "max_connections": "200",
}


def find_programs(packaged: Path = PACKAGED) -> Path:
    """The folder with PostgreSQL's programs, the newest where there are several.

    Args:
        packaged: where packages put them, one folder for each version.

    Raises:
        Skipped: there is none.
    """
    on_path = shutil.which("postgres")
    folders = [Path(on_path).resolve().parent] if on_path else []
    versions = [folder for folder in packaged.glob("*/bin") if folder.parent.name.isdecimal()]
    folders += sorted(versions, key=lambda folder: int(folder.parent.name), reverse=True)
    for folder in folders:
        if all((folder / name).exists() for name in ("initdb", "postgres", "psql", "pgbench")):
            return folder
    raise Skipped("PostgreSQL is not installed (initdb, postgres, psql, pgbench)")


class Postgres:
    """Use as a context manager. Listens on a Unix socket only."""

    def __init__(self, folder: Path, programs: Path) -> None:
        """
        Args:
            folder: where the cluster goes; other accounts must be able to reach it.
            programs: as `find_programs` found them.

        Raises:
            Skipped: there is no account that may run it.
        """
        self._programs = programs
        self._account = _account()
        self._data = folder / "postgres"
        self._log_path = folder / "postgres.log"
        self._process: subprocess.Popen[bytes] | None = None
        self.socket_folder = Path()

    def __enter__(self) -> "Postgres":
        """
        Raises:
            PeerFailedError: it could not be set up or started.
        """
        # The path of a Unix socket must be short.
        self.socket_folder = Path(tempfile.mkdtemp(prefix="bitburst-pg-"))
        try:
            self._data.mkdir()
            if self._account is not None:
                owner = pwd.getpwnam(self._account)
                for mine in (self.socket_folder, self._data):
                    os.chown(mine, owner.pw_uid, owner.pw_gid)
            self._initialise()
            self._start()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def pids(self) -> list[int]:
        """The postmaster and everything that it has started."""
        assert self._process is not None
        return family(self._process.pid)

    def program(self, name: str) -> list[str]:
        """A client program, told where to connect."""
        return [str(self._programs / name), "-h", str(self.socket_folder), "-U", SUPERUSER]

    def run(self, database: str, *statements: str) -> None:
        """Runs SQL, each of the statements by itself.

        Raises:
            PeerFailedError: it could not be run.
        """
        flags = [flag for statement in statements for flag in ("-c", statement)]
        command = [*self.program("psql"), "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", database]
        _checked([*command, *flags])

    def version(self) -> str:
        """As it says itself: `postgres (PostgreSQL) 15.1`."""
        return _checked([str(self._programs / "postgres"), "--version"]).strip()

    def _initialise(self) -> None:
        command = [str(self._programs / "initdb"), "-D", str(self._data), "-U", SUPERUSER]
        _checked([*command, "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"], self._account)

    def _start(self) -> None:
        settings = {**SETTINGS, "unix_socket_directories": str(self.socket_folder)}
        flags = [flag for pair in settings.items() for flag in ("-c", "=".join(pair))]
        with self._log_path.open("ab") as log, held_back():
            self._process = subprocess.Popen(
                [str(self._programs / "postgres"), "-D", str(self._data), *flags],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                cwd="/",
                user=self._account,
                group=self._group(),
                extra_groups=None if self._account is None else [],
            )
        until = time.monotonic() + START_TIMEOUT_S
        ready = [str(self._programs / "psql"), "-h", str(self.socket_folder), "-U", SUPERUSER]
        while subprocess.run([*ready, "-X", "-c", "SELECT 1"], capture_output=True).returncode:
            if self._process.poll() is not None or time.monotonic() > until:
                told = self._log_path.read_text(errors="replace").strip()[-500:]
                raise PeerFailedError(f"PostgreSQL did not start: {told}")
            time.sleep(0.05)

    def _group(self) -> int | None:
        return None if self._account is None else pwd.getpwnam(self._account).pw_gid

    def _end(self) -> None:
        if self._process is not None and self._process.poll() is None:
            pids = self.pids()
            wake(self)
            for number, timeout_s in (
                (signal.SIGINT, FAST_STOP_TIMEOUT_S),
                (signal.SIGQUIT, IMMEDIATE_STOP_TIMEOUT_S),
            ):
                self._process.send_signal(number)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self._process.wait(timeout_s)
                    break
            else:
                # Backends have sessions of their own: there is no one group to kill.
                for pid in pids:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                self._process.wait(IMMEDIATE_STOP_TIMEOUT_S)
        shutil.rmtree(self.socket_folder, ignore_errors=True)


def _account() -> str | None:
    if os.geteuid() != 0:
        return None
    known = {entry.pw_name for entry in pwd.getpwall()}
    for account in ACCOUNTS:
        if account in known:
            return account
    raise Skipped("PostgreSQL refuses to run as root, and there is no account for it")


def _checked(command: list[str], account: str | None = None) -> str:
    group = None if account is None else pwd.getpwnam(account).pw_gid
    try:
        finished = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=COMMAND_TIMEOUT_S,
            cwd="/",
            user=account,
            group=group,
            extra_groups=None if account is None else [],
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise PeerFailedError(f"{command[0]} did not end") from None
    if finished.returncode:
        raise PeerFailedError(f"{command[0]} failed: {finished.stderr.strip()[-500:]}")
    return finished.stdout
