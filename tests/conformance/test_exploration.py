"""The description of the API against servers that run: what it says is what they do."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import msgpack
import pytest
from agreement import TIMESTAMP
from bitburst_command import make_key
from openapi_schema_validator import OAS31Validator
from raw_http import Reply, send

from api.description import describe
from api.docs_page import CONTENT_POLICY, render_docs
from api.endpoints import ENDPOINTS, Content, Endpoint
from bench.server_process import ServerProcess

SEED = os.environ.get("EXPLORATION_SEED", "1")
EXAMPLES_MAX = os.environ.get("EXPLORATION_EXAMPLES", "40")
"""Of each endpoint, and of each way to draw them."""
EXPLORATION_TIMEOUT_S = 240
TOO_STRICT = ("not_a_server_error", "negative_data_rejection", "positive_data_acceptance")
"""Checks for which `exploration` has better ones: the wire contract has a 500, what is no page
number is page 1, a credit of a bulk is refused alone, and no schema says what six decimals are."""


class Explored(NamedTuple):
    """A server, and how it is spoken to."""

    flags: Sequence[str]
    keyed: bool = False
    """It lets nobody in without an API key."""


EXPLORED = {
    "fast-lane": Explored(("--server", "fast-lane")),
    "hypercorn": Explored(("--server", "hypercorn")),
    "fast-lane with keys": Explored(("--server", "fast-lane"), keyed=True),
}


@pytest.mark.parametrize("kind", EXPLORED)
def test_whatever_is_sent_is_answered_as_described(tmp_path: Path, kind: str) -> None:
    flags, keyed = EXPLORED[kind]
    headers: dict[str, str] = {}
    if keyed:
        key = make_key(tmp_path / "keys.json", "--scope", "read", "--scope", "write")
        flags = (*flags, "--keys-file", str(tmp_path / "keys.json"))
        headers = {"Authorization": f"Bearer {key}"}
    with ServerProcess(tmp_path / "data", *flags) as server:
        status, output = explore(server.url, headers, tmp_path)
        logged = server.output()

    replay = f"EXPLORATION_SEED={SEED} python -m pytest {Path(__file__).name} -k '{kind}'"
    assert status == 0, f"{output}\nto see it again: {replay}"
    # It leaves out the description itself, which it has read.
    assert f"Tested: {len(ENDPOINTS) - 1}\n" in output, output
    assert "Traceback" not in logged
    assert "connection broke" not in logged
    print(f"seed {SEED}: {re.findall('[0-9]+ generated.*', output)}")


def explore(url: str, headers: Mapping[str, str], folder: Path) -> tuple[int, str]:
    """Runs schemathesis over the whole description; returns its exit status and what it says.

    Args:
        folder: for what it leaves behind.
    """
    command = [str(Path(sys.executable).with_name("schemathesis")), "run", f"{url}/openapi.json"]
    command += ["--seed", SEED, "--max-examples", EXAMPLES_MAX, "--generation-database", "none"]
    command += ["--checks", "all", "--exclude-checks", ",".join(TOO_STRICT)]
    command += ["--continue-on-failure", "--no-color"]
    for name, value in headers.items():
        command += ["--header", f"{name}: {value}"]
    here = str(Path(__file__).parent)
    finished = subprocess.run(
        command,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=EXPLORATION_TIMEOUT_S,
        env={**os.environ, "SCHEMATHESIS_HOOKS": "exploration", "PYTHONPATH": here},
        check=False,
    )
    return finished.returncode, finished.stdout + finished.stderr


def test_the_description_is_served(servers: Mapping[str, ServerProcess]) -> None:
    for server in servers.values():
        reply = send(server.url, b"GET", b"/openapi.json")

        assert (reply.status, reply.headers["content-type"]) == (200, "application/json")
        assert reply.json == json.loads(json.dumps(describe()))


def test_the_page_is_served_and_may_load_nothing(servers: Mapping[str, ServerProcess]) -> None:
    for server in servers.values():
        reply = send(server.url, b"GET", b"/docs")

        assert (reply.status, reply.body) == (200, render_docs())
        assert reply.headers["content-type"] == "text/html; charset=utf-8"
        assert reply.headers["content-security-policy"] == CONTENT_POLICY
        assert CONTENT_POLICY.startswith("default-src 'none';")


@pytest.mark.parametrize("kind", [kind for kind, one in EXPLORED.items() if not one.keyed])
def test_each_example_is_answered_as_its_description_shows(tmp_path: Path, kind: str) -> None:
    flags, _ = EXPLORED[kind]
    # The reads show what one add has made, so the bulk comes last.
    endpoints = sorted(ENDPOINTS, key=lambda endpoint: endpoint.name == "credit_many")
    with ServerProcess(tmp_path / "data", *flags) as server:
        for endpoint in endpoints:
            for body in endpoint.body or (None,):
                reply = ask(server.url, endpoint, body)
                assert reply.status == 200, (endpoint.name, reply)
                assert_as_described(endpoint, reply)
                if endpoint.name not in ("metrics", "openapi", "docs"):
                    shown = timeless(json.dumps(endpoint.answer.example))
                    assert timeless(json.dumps(read(reply))) == shown, endpoint.name


def ask(url: str, endpoint: Endpoint, body: Content | None) -> Reply:
    """Sends what the description shows."""
    path, query, headers = endpoint.path, "", []
    for parameter in endpoint.parameters:
        value = str(parameter.example)
        if parameter.place == "path":
            path = path.replace(f"{{{parameter.name}}}", quote(value, safe=""))
        elif parameter.place == "query":
            query = f"?{parameter.name}={quote(value)}"
        elif endpoint.name != "credit_many":
            # There, credits name keys of their own, and three bodies must not share one.
            headers.append((parameter.name.encode(), value.encode()))
    if body is None:
        return send(url, endpoint.method.encode(), (path + query).encode(), None, headers)
    headers.append((b"Content-Type", body.media_type.encode()))
    return send(url, endpoint.method.encode(), path.encode(), write(body), headers)


def write(body: Content) -> bytes:
    if body.media_type == "application/msgpack":
        return bytes(msgpack.packb(body.example))
    if body.media_type == "application/x-ndjson":
        return b"".join(json.dumps(one).encode() + b"\n" for one in body.example)
    return json.dumps(body.example).encode()


def read(reply: Reply) -> Any:
    if reply.headers["content-type"].startswith("text/"):
        return reply.body.decode()
    if reply.headers["content-type"] == "application/x-ndjson":
        return [json.loads(line) for line in reply.body.splitlines()]
    return reply.json


def assert_as_described(endpoint: Endpoint, reply: Reply) -> None:
    document = describe()
    operation = document["paths"][endpoint.path][endpoint.method.lower()]
    media_type = reply.headers["content-type"].partition(";")[0]
    schema = operation["responses"][str(reply.status)]["content"][media_type]["schema"]
    validator = OAS31Validator({**schema, "components": document["components"]})
    assert not list(validator.iter_errors(read(reply)))


def timeless(text: str) -> str:
    return re.sub(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", TIMESTAMP.decode(), text)
