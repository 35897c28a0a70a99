"""How long backups, restores and checks of a large store take, and how many bytes they write."""

import json
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.errors import BenchError
from bench.progress import ProgressBar, tell
from bench.store_builder import StoreBuilder, user_name
from ledger_actors.identity import UserId


@dataclass(frozen=True, slots=True)
class BackupParameters:
    users: int
    rounds: int
    """Entries of each user, folded, when the full backup is taken."""
    added: int
    """Entries between the full and the incremental backup."""
    seed: int

    @property
    def entries(self) -> int:
        return self.users * self.rounds


@dataclass(frozen=True, slots=True)
class CommandRun:
    """One command, from its start to its end."""

    duration_s: float
    bytes: int
    """Written by a backup; 0 where nothing is said of it."""


@dataclass(frozen=True, slots=True)
class BackupTimes:
    parameters: BackupParameters
    full: CommandRun
    incremental: CommandRun
    restored: CommandRun
    """All of it: the full backup and the increment."""
    restored_to_position: CommandRun
    """Half of the increment."""
    verified: CommandRun
    """The store."""
    backups_verified: CommandRun


def measure_backups(
    folder: Path, parameters: BackupParameters, progress: ProgressBar
) -> BackupTimes:
    """Builds a store in `folder`, which should be empty, and runs the commands on it.

    Raises:
        BenchError: the store could not be built, or a command failed.
    """
    data, place, restored = folder / "data", folder / "backups", folder / "restored"
    builder = StoreBuilder(data, parameters.seed)
    told = tell(progress, f"building {parameters.entries:,} entries", parameters.entries)
    builder.rounds(parameters.users, parameters.rounds, told, fold=True)
    builder.close()
    progress("backing up", 0, 1)
    full, full_position = _backup(data, place)
    builder = StoreBuilder(data, parameters.seed + 1)
    builder.resume(parameters.users, parameters.rounds)
    told = tell(progress, "adding entries", parameters.added)
    builder.append(_some_users(parameters), told, fold=False)
    builder.close()
    incremental, last = _backup(data, place, "--incremental")
    progress("restoring", 0, 1)
    restored_all, _ = _run("restore", str(place), "--data-dir", str(restored))
    shutil.rmtree(restored)
    half = (full_position + last) // 2
    to_half, said = _run("restore", str(place), "--data-dir", str(restored), "--to", str(half))
    if said["position"] != half:
        raise BenchError(f"restore reached position {said['position']}, not {half}")
    progress("verifying", 0, 1)
    verified, _ = _run("verify", "--data-dir", str(data))
    backups_verified, _ = _run("verify", "--backup", str(place))
    return BackupTimes(
        parameters, full, incremental, restored_all, to_half, verified, backups_verified
    )


def _some_users(parameters: BackupParameters) -> Iterator[UserId]:
    dice = random.Random(parameters.seed)
    return (user_name(dice.randrange(parameters.users)) for _ in range(parameters.added))


def _backup(data: Path, place: Path, *flags: str) -> tuple[CommandRun, int]:
    run, said = _run("backup", str(place), "--data-dir", str(data), *flags)
    return run, said["position"]


def _run(*arguments: str) -> tuple[CommandRun, dict[str, Any]]:
    command = [sys.executable, "-m", "api", *arguments, "--json"]
    started = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    duration_s = time.perf_counter() - started
    if done.returncode:
        raise BenchError(f"bitburst {arguments[0]} failed: {done.stderr.strip()}")
    said = json.loads(done.stdout)
    return CommandRun(duration_s, said.get("bytes", 0)), said
