import itertools
from collections.abc import Iterator

import pytest

from bench.server_process import ServerProcess

_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def shared_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """One server for all tests of a module; each uses users of its own."""
    with ServerProcess(tmp_path_factory.mktemp("shared") / "data") as running:
        yield running


@pytest.fixture(scope="module")
def url(shared_server: ServerProcess) -> str:
    return shared_server.url


@pytest.fixture
def user() -> str:
    """A user id that no other test has."""
    return f"user-{next(_numbers)}"
