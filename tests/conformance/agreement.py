"""The same bytes to every kind of server, which must all give the answers that are expected."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from raw_http import Conversation, Reply, assert_problem

from api import problem_types as types
from api.problem_types import ProblemType
from api.problems import Problem
from api.wire import encode_problem
from bench.server_process import ServerProcess

HOST = b"Host: bitburst"
ONE = b'{"amount":1}'
JSON = {"content-type": "application/json"}
PROBLEM = {"content-type": "application/problem+json"}
CLOSE = {"connection": "close"}
HEADERS = (
    "allow",
    "cache-control",
    "connection",
    "content-length",
    "content-type",
    "idempotent-replayed",
    "retry-after",
    "transfer-encoding",
    "www-authenticate",
)
"""Those that an answer is compared by."""
_TIMESTAMP = re.compile(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")
TIMESTAMP = b"2000-01-01T00:00:00.000000Z"
"""Stands for all of them."""


@dataclass(frozen=True)
class Expected:
    """An answer. Where its whole body is not to be pinned down, a prefix and a fragment of it."""

    status: int
    body: bytes = b""
    fragment: str | None = None
    prefix: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    has_body: bool = True

    def check(self, answer: Reply | None) -> None:
        assert answer is not None, f"the connection was closed instead of {self}"
        body = self.body if self.fragment is None else answer.body
        length = {} if self.status == 100 else {"content-length": str(len(body))}
        assert answer == Reply(
            self.status, body if self.has_body else b"", {**length, **self.headers}
        )
        assert (self.fragment or "") in body.decode()
        assert body.startswith(self.prefix)
        if body and self.headers.get("content-type") == PROBLEM["content-type"]:
            assert_problem(Reply(self.status, body, {}))

    def __add__(self, headers: Mapping[str, str]) -> "Expected":
        return replace(self, headers={**self.headers, **headers})

    @property
    def headed(self) -> "Expected":
        """The same as the answer to a HEAD."""
        return replace(self, has_body=False)


def request(line: bytes, *headers: bytes, body: bytes = b"") -> bytes:
    """A request of these lines; nothing is added but the Host header."""
    return b"\r\n".join([line, HOST, *headers, b"", b""]) + body


def get_balance(user: str, *headers: bytes) -> bytes:
    return request(b"GET /users/%s/balance HTTP/1.1" % user.encode(), *headers)


def add(user: str, *headers: bytes, body: bytes = ONE) -> bytes:
    """A well-formed add."""
    return bare_add(user, *headers, b"Content-Length: %d" % len(body), body=body)


def bare_add(user: str, *headers: bytes, body: bytes = b"") -> bytes:
    """An add that says the length of its body, or does not, in `headers`."""
    return request(b"POST /users/%s/add HTTP/1.1" % user.encode(), *headers, body=body)


def added(user: str, amount: str = "1.000000") -> Expected:
    return message(200, f"Transaction of ${amount} added for user {user}")


def balance(user: str, amount: str) -> Expected:
    return message(200, f"User {user} has a balance of ${amount}")


def message(status: int, text: str) -> Expected:
    return Expected(status, b'{"Message":"%s"}' % text.encode(), headers=JSON)


def saying(status: int, fragment: str = "") -> Expected:
    """A success, or a problem, with that somewhere in it."""
    return Expected(status, fragment=fragment, headers=JSON if status == 200 else PROBLEM)


def problem(type_: ProblemType, detail: str) -> Expected:
    return Expected(type_.status, encode_problem(Problem(type_, detail)), headers=PROBLEM)


REPLAYED = {"idempotent-replayed": "true"}
NOTHING_THERE = problem(types.NOT_FOUND, "there is nothing at this path")
CONTINUE = Expected(100)


def not_allowed(*methods: str) -> Expected:
    return Expected(405, headers={"allow": ", ".join(methods)})


class Agreement:
    """The servers, one of each kind, each on a data directory of its own."""

    def __init__(self, servers: Mapping[str, ServerProcess], *probe_headers: bytes) -> None:
        """
        Args:
            probe_headers: of the request that shows that a connection is still good.
        """
        self._servers = servers
        self._probe = get_balance("nobody", *probe_headers)

    def on(
        self,
        *pieces: bytes,
        gives: Sequence[Expected],
        closed: bool = False,
        ended: bool = False,
    ) -> None:
        """Sends the pieces, each for itself, and checks the answers, and what becomes of the
        connection: closed, or ready for another request.

        Args:
            ended: half-close the connection behind the pieces; then the server closes it.
        """
        seen = [
            (kind, _checked(server, pieces, gives, closed, ended, self._probe))
            for kind, server in self._servers.items()
        ]
        for kind, answers in seen[1:]:
            assert answers == seen[0][1], f"{kind} and {seen[0][0]} differ"

    def balance(self, user: str, amount: str) -> None:
        """Checks what the user has, on a connection of its own."""
        self.on(get_balance(user), gives=[balance(user, amount)])


def _checked(
    server: ServerProcess,
    pieces: Sequence[bytes],
    gives: Sequence[Expected],
    closed: bool,
    ended: bool,
    probe: bytes,
) -> list[Reply | None]:
    answers = []
    with Conversation(server.url) as conversation:
        conversation.send(*pieces)
        if ended:
            conversation.end()
        for expected in gives:
            answer = comparable(conversation.receive(has_body=expected.has_body))
            expected.check(answer)
            answers.append(answer)
        if closed or ended:
            assert conversation.receive() is None
        else:
            conversation.send(probe)
            balance("nobody", "0.000000").check(comparable(conversation.receive()))
    return answers


def comparable(answer: Reply | None) -> Reply | None:
    """The answer without what may differ from one server to the next."""
    if answer is None:
        return None
    headers = {name: answer.headers[name] for name in HEADERS if name in answer.headers}
    return Reply(answer.status, _TIMESTAMP.sub(TIMESTAMP, answer.body), headers)
