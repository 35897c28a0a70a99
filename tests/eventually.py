"""Waits for what another process will have done."""

import time
from collections.abc import Callable
from typing import Any, TypeVar

from bench.server_process import ServerProcess

TIMEOUT_S = 20.0

T = TypeVar("T")


def eventually(look: Callable[[], T]) -> T:
    """What `look` returns, once that is true."""
    deadline = time.monotonic() + TIMEOUT_S
    while not (found := look()):
        assert time.monotonic() < deadline, f"it never came true: {look}"
        time.sleep(0.02)
    return found


def all_folded(server: ServerProcess, credits_acknowledged: int) -> int:
    """Waits until a snapshot holds so many credits of a server that takes one at a time.

    Returns the position of the snapshot: with one at a time, each credit is a record of its own.
    """

    def reached() -> int:
        taken = [event for event in server.events() if event["event"] == "snapshot taken"]
        newest: dict[str, Any] = taken[-1] if taken else {"position": 0}
        position = int(newest["position"])
        return position if position >= credits_acknowledged else 0

    return eventually(reached)
