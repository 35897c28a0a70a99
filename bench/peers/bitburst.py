"""BitBurst as the bench starts it: a server on a store that was built or copied for it."""

import shutil
from collections.abc import Sequence
from pathlib import Path

from bench.errors import PeerFailedError
from bench.peers.peer import family
from bench.server_process import ServerProcess
from persistence.environment import sync_file


class BitBurst:
    """`bitburst serve` on a data directory. Use as a context manager."""

    def __init__(self, data_dir: Path, flags: Sequence[str]) -> None:
        self._process = ServerProcess(data_dir, *flags)

    def __enter__(self) -> "BitBurst":
        """
        Raises:
            PeerFailedError: the server did not start.
        """
        try:
            self._process.__enter__()
        except AssertionError as error:
            raise PeerFailedError(str(error)) from None
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()

    @property
    def url(self) -> str:
        return self._process.url

    @property
    def process(self) -> ServerProcess:
        """What it logs, and how it ends."""
        return self._process

    def pids(self) -> list[int]:
        """The server and its snapshotter."""
        return family(self._process.pid)


def copy_store(built: Path, to: Path) -> Path:
    """A copy of a store that no server uses, durable: the server's first fsync would write it."""
    shutil.copytree(built, to)
    for file in to.rglob("*"):
        if file.is_file():
            sync_file(file)
    return to
