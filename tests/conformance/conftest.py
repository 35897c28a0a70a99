import itertools
from collections.abc import Iterator, Mapping
from contextlib import ExitStack

import pytest
from agreement import Agreement
from bitburst_command import bitburst

from bench.server_process import ServerProcess

KINDS = ("hypercorn", "fast-lane")
_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, ServerProcess]]:
    """One server of each kind that there is."""
    parent = tmp_path_factory.mktemp("conformance")
    flags = {kind: ("--server", kind) for kind in KINDS}
    if "--server" not in bitburst("serve", "--help").output:
        flags = {"hypercorn": ()}
    with ExitStack() as stack:
        yield {
            kind: stack.enter_context(ServerProcess(parent / kind, *flag))
            for kind, flag in flags.items()
        }


@pytest.fixture
def servers_agree(servers: Mapping[str, ServerProcess]) -> Iterator[Agreement]:
    """The servers, of which none may log a traceback meanwhile."""
    starts = {kind: len(server.output()) for kind, server in servers.items()}
    yield Agreement(servers)
    for kind, server in servers.items():
        assert "Traceback" not in server.output()[starts[kind] :], kind


@pytest.fixture
def user() -> str:
    """A user id that no other test has."""
    return f"user-{next(_numbers)}"
