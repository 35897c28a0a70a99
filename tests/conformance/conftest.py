import itertools
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import pytest
from agreement import Agreement
from bitburst_command import bitburst, make_key

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


@pytest.fixture(scope="session")
def keys_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("keys") / "keys.json"


@pytest.fixture(scope="session")
def api_keys(keys_file: Path) -> Mapping[str, str]:
    """Keys by what they are good for."""
    wanted = {
        "read": ("--scope", "read"),
        "write": ("--scope", "write"),
        "admin": ("--scope", "admin"),
        "both": ("--scope", "read", "--scope", "write"),
        "shop": ("--scope", "read", "--scope", "write", "--user-prefix", "shop-"),
    }
    return {name: make_key(keys_file, *flags) for name, flags in wanted.items()}


@pytest.fixture(scope="session")
def keyed_servers(
    api_keys: Mapping[str, str], keys_file: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Mapping[str, ServerProcess]]:
    """One server of each kind, which lets nobody in without one of the keys."""
    parent = tmp_path_factory.mktemp("keyed")
    with ExitStack() as stack:
        yield {
            kind: stack.enter_context(
                ServerProcess(parent / kind, "--server", kind, "--keys-file", str(keys_file))
            )
            for kind in KINDS
        }


@pytest.fixture
def keyed_servers_agree(
    keyed_servers: Mapping[str, ServerProcess], api_keys: Mapping[str, str]
) -> Iterator[Agreement]:
    """Those servers, of which none may log a traceback or a broken connection."""
    starts = {kind: len(server.output()) for kind, server in keyed_servers.items()}
    yield Agreement(keyed_servers, b"Authorization: Bearer " + api_keys["read"].encode())
    for kind, server in keyed_servers.items():
        logged = server.output()[starts[kind] :]
        assert "Traceback" not in logged, kind
        assert "connection broke" not in logged, kind


@pytest.fixture
def servers_agree(servers: Mapping[str, ServerProcess]) -> Iterator[Agreement]:
    """The servers, of which none may log a traceback or a broken connection meanwhile."""
    starts = {kind: len(server.output()) for kind, server in servers.items()}
    yield Agreement(servers)
    for kind, server in servers.items():
        logged = server.output()[starts[kind] :]
        assert "Traceback" not in logged, kind
        assert "connection broke" not in logged, kind


@pytest.fixture
def user() -> str:
    """A user id that no other test has."""
    return f"user-{next(_numbers)}"
