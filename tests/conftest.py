from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.server_process import ServerProcess


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerProcess]:
    """A server of one's own, on an empty data directory."""
    with ServerProcess(tmp_path / "data") as running:
        yield running
