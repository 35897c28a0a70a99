"""The server's side of the snapshotter: a child process that is started again when it dies."""

import json
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Final

import trio

from ledger_actors.entry import LogPosition
from ledger_actors.errors import SnapshotFailed
from ledger_actors.histogram import Histogram, HistogramStatistics
from persistence.data_directory import DataDirectory

ANSWER_BYTES_MAX: Final = 64 * 1024
STOP_TIMEOUT_S: Final = 5.0
SHARE_INTERVAL_S: Final = 0.1
"""How often the snapshotter is told what share of the processor is due to it now."""
FOLD_SECONDS: Final = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)


@dataclass(frozen=True, slots=True)
class SnapshotterStatistics:
    folds: HistogramStatistics
    """Seconds that each took, since the server began; those that failed are not among them."""
    failures: int
    starts: int
    """Of the child process: the first, and one after each time that it ended."""


class SnapshotterProcess:
    """`ledger_actors.ports.Snapshotter` in a process of its own: see `open_snapshotter`."""

    def __init__(self, directory: DataDirectory) -> None:
        self._directory = directory
        self._process: trio.Process | None = None
        self._folds = Histogram(FOLD_SECONDS)
        self._failures = 0
        self._starts = 0

    @property
    def pid(self) -> int | None:
        """The child's process id, or None while there is none."""
        return None if self._process is None else self._process.pid

    def statistics(self) -> SnapshotterStatistics:
        return SnapshotterStatistics(self._folds.statistics(), self._failures, self._starts)

    async def fold(self, share: Callable[[], float] = lambda: 1.0) -> LogPosition:
        started = trio.current_time()
        try:
            position = await self._fold(share)
        except SnapshotFailed:
            self._failures += 1
            raise
        self._folds.observe(trio.current_time() - started)
        return position

    async def _fold(self, share: Callable[[], float]) -> LogPosition:
        process = await self.started()
        assert process.stdin is not None
        try:
            await process.stdin.send_all(f"fold {share():.3f}\n".encode())
            answer = json.loads(await self._answer(process, share))
        except (trio.BrokenResourceError, ValueError):
            with trio.move_on_after(STOP_TIMEOUT_S):
                await process.wait()
            raise SnapshotFailed(
                f"the snapshotter ended with status {process.returncode}"
            ) from None
        except BaseException:
            # An answer that nobody read must not be taken for the next one.
            process.kill()
            raise
        if "error" in answer:
            raise SnapshotFailed(f"the snapshot failed: {answer['error']}")
        return LogPosition(answer["position"])

    async def started(self) -> trio.Process:
        """The child; a new one where there is none.

        Raises:
            SnapshotFailed: it cannot be started.
        """
        if self._process is None or self._process.poll() is not None:
            try:
                self._process = await self._start()
            except OSError as error:
                raise SnapshotFailed(f"the snapshotter cannot be started: {error}") from None
            self._starts += 1
        return self._process

    async def close(self) -> None:
        """Ends the child, at once: a fold that is not finished leaves no trace."""
        if self._process is not None:
            self._process.kill()
            with trio.CancelScope(shield=True):
                await self._process.wait()

    async def _start(self) -> trio.Process:
        return await trio.lowlevel.open_process(
            [
                sys.executable,
                "-m",
                "persistence.snapshotter",
                str(self._directory.log.resolve()),
                str(self._directory.snapshot.resolve()),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    async def _answer(self, process: trio.Process, share: Callable[[], float]) -> bytes:
        """The line that it answers with. Until then it is told the share, again and again."""
        assert process.stdin is not None
        assert process.stdout is not None
        line = b""
        while not line.endswith(b"\n"):
            with trio.move_on_after(SHARE_INTERVAL_S) as silence:
                received = await process.stdout.receive_some()
            if silence.cancelled_caught:
                await process.stdin.send_all(f"share {share():.3f}\n".encode())
                continue
            if not received or len(line) > ANSWER_BYTES_MAX:
                raise ValueError("no answer")
            line += received
        return line


@asynccontextmanager
async def open_snapshotter(directory: DataDirectory) -> AsyncIterator[SnapshotterProcess]:
    """The snapshotter of that directory; it ends when the block is left.

    The child is started at once: while it imports, it is not courteous, and nobody is served yet.
    """
    snapshotter = SnapshotterProcess(directory)
    try:
        with suppress(SnapshotFailed):
            await snapshotter.started()
        yield snapshotter
    finally:
        await snapshotter.close()
