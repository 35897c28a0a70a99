from collections.abc import Iterator
from pathlib import Path

import pytest
from object_store import ObjectStore, running_object_store

from bench.server_process import ServerProcess


@pytest.fixture(scope="session")
def object_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectStore]:
    """An object store that speaks S3; each test makes a place of its own in it."""
    with running_object_store(tmp_path_factory.mktemp("object-store") / "log") as running:
        yield running


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerProcess]:
    """A server of one's own, on an empty data directory."""
    with ServerProcess(tmp_path / "data") as running:
        yield running
