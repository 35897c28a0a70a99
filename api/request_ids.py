"""Request ids: by them an answer, a log line and a trace find each other.

A caller, or a proxy before it, may send one (`X-Request-Id`); else one is made. What is made is a
prefix of the process and a number: random bytes for each request would cost more than its route.
"""

import re
import secrets
from collections.abc import Iterable, Iterator
from enum import StrEnum
from itertools import chain, count, repeat
from typing import Final

HEADER: Final = b"x-request-id"
PREFIX_BYTES: Final = 6
_LAST_DIGITS: Final = tuple(b"%03x" % number for number in range(16**3))
_VALID: Final = re.compile(rb"[!-~]{1,128}")


class Policy(StrEnum):
    """Which answers carry an id."""

    ALWAYS = "always"
    ECHO = "echo"
    """Those to a request that came with one."""
    OFF = "off"


class RequestIds:
    """Tells the id of each request. An empty one means that it has none.

    Attributes:
        new: the id of a request that came without one, as `of` tells it.
    """

    def __init__(self, policy: Policy, prefix: str) -> None:
        """
        Args:
            prefix: no two processes may have the same.
        """
        made = _numbered(prefix) if policy is Policy.ALWAYS else repeat(b"")
        self.new = made.__next__
        self._echoes = policy is not Policy.OFF

    def of(self, sent: bytes) -> bytes:
        """The id of a request that came with this one, or with none: an empty one.

        1 to 128 visible ASCII characters are kept; anything else counts as none.
        """
        if sent and self._echoes and _VALID.fullmatch(sent):
            return sent
        return self.new()


def _numbered(prefix: str) -> Iterator[bytes]:
    """The prefix with one number after the other, without a line of Python for each."""
    blocks = (f"{prefix}-{block:x}".encode() for block in count())
    return chain.from_iterable(map(block.__add__, _LAST_DIGITS) for block in blocks)


def request_ids(policy: str) -> RequestIds:
    """Ids by that policy, with a prefix that no other process has."""
    return RequestIds(Policy(policy), secrets.token_hex(PREFIX_BYTES))


def sent_id(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """What the request came with, its names in lower case: the last one, as on the fast lane."""
    sent = b""
    for name, value in headers:
        if name == HEADER:
            sent = value
    return sent
