"""A disk that takes its time: callers are told so at once, instead of waiting in line behind it."""

import threading
import time
from pathlib import Path

import pytest
import strace
from eventually import eventually
from raw_http import balance, credit, send

from bench.server_process import ServerProcess

AMOUNT = b'{"amount":1}'
# The sixth fdatasync of a store that exists is the log's, of an early commit; it takes ten seconds.
SLOW = "fdatasync:delay_enter=10000000:when=6"
CALLS = "fdatasync"
ADDS = 10


def add_one_by_one(url: str) -> None:
    for number in range(ADDS):
        while credit(url, "u", AMOUNT, f"key-{number}").status != 200:
            time.sleep(0.05)


def ready(url: str) -> int:
    return send(url, b"GET", b"/readyz").status


@pytest.mark.parametrize("kind", ["fast-lane", "hypercorn"])
def test_while_an_fsync_takes_too_long_further_credits_get_503_and_reads_go_on(
    tmp_path: Path, kind: str
) -> None:
    if reason := strace.reason_to_skip():
        pytest.skip(reason)
    data = tmp_path / "data"
    with ServerProcess(data) as first:
        assert first.stop() == 0
    wrapper = strace.tracing(tmp_path / "trace", CALLS, "-e", f"inject={SLOW}")
    flags = ("--server", kind, "--commit-s-max", "0.2", "--snapshot-interval-s", "3600")
    with ServerProcess(data, *flags, wrapper=wrapper) as server:
        sender = threading.Thread(target=add_one_by_one, args=(server.url,))
        sender.start()
        eventually(lambda: ready(server.url) == 503)
        refused = credit(server.url, "other", AMOUNT, "once")
        assert (refused.status, refused.headers["retry-after"]) == (503, "1")
        assert "the disk takes too long" in refused.message
        assert balance(server.url, "other").message.endswith("$0.000000")
        eventually(lambda: ready(server.url) == 200)
        again = credit(server.url, "other", AMOUNT, "once")
        assert (again.status, again.headers.get("idempotent-replayed")) == (200, None)
        sender.join()
        assert balance(server.url, "u").message.endswith(f"${ADDS}.000000")
