"""A request that takes too long to arrive is refused, with its connection, and told why."""

from pathlib import Path

import pytest
from raw_http import Conversation, balance, head

from bench.server_process import ServerProcess

BEGUN = {
    "head": lambda url: head(url, b"POST", b"/users/u/add")[:-2],
    "body": lambda url: (
        head(url, b"POST", b"/users/u/add", [(b"Content-Length", b"12")]) + b'{"amou'
    ),
}


@pytest.mark.parametrize("kind", ["fast-lane", "hypercorn"])
@pytest.mark.parametrize("begun", BEGUN)
def test_a_slow_request_is_a_problem_of_its_own(tmp_path: Path, kind: str, begun: str) -> None:
    hasty = ("--server", kind, "--request-timeout-s", "0.2")
    with (
        ServerProcess(tmp_path / "data", *hasty) as server,
        Conversation(server.url) as conversation,
    ):
        conversation.send(BEGUN[begun](server.url))
        answer = conversation.receive()

        assert answer is not None
        assert (answer.status, answer.headers["connection"]) == (408, "close")
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json["type"] == "/docs#request-timeout"
        assert answer.message == "the request takes too long to arrive"
        assert conversation.receive() is None
        assert balance(server.url, "u").message == "User u has a balance of $0.000000"
