"""Nothing is answered before it is on disk, shown by the system calls of a running server.

What LMDB does for one commit of the log, as strace shows it here (LMDB 0.9, Linux):

    pwrite64(13<log/data.mdb>, …, 4096, 8192)   the changed pages; neighbours go in one writev
    fdatasync(13<log/data.mdb>)                 they are on disk
    pwrite64(13<log/data.mdb>, …, 120, 4128)    the meta page: readers see the commit
    sendto(7<socket>, "\\0", …)                  the thread wakes the event loop
    sendto(17<socket>, "HTTP/1.1 200 …")        the answer
"""

from pathlib import Path

import pytest
import strace
import trio
from audit import Credit
from chaos_client import Connection, dollars
from commit_trace import TRACED, too_early

from bench.server_process import ServerProcess
from persistence.data_directory import open_data_directory
from persistence.inspection import log_records

SEQUENTIAL = 20
CONNECTIONS = 24
ADDS_PER_CONNECTION = 5


def test_no_answer_leaves_before_its_commit_is_durable(tmp_path: Path) -> None:
    if reason := strace.reason_to_skip():
        pytest.skip(reason)
    trace = tmp_path / "trace"
    # No snapshot comes between: the log keeps every record for the count below.
    flags = ("--snapshot-interval-s", "3600")
    with ServerProcess(tmp_path / "data", *flags, wrapper=strace.tracing(trace, TRACED)) as server:
        credits_ = trio.run(_add, server.port)
        assert strace.stop_traced(server) == 0

    answers = {_body(credit): str(credit.key) for credit in credits_}
    with trace.open(errors="replace") as lines:
        assert too_early(lines, answers) == []
    records = log_records(open_data_directory(server.data_dir), None, follow=False)
    sizes = [sum(len(batch.entries) for batch in record.batches) for record in records]
    assert sum(sizes) == len(credits_)
    assert max(sizes) > 1, "no group commit held several credits"


async def _add(port: int) -> list[Credit]:
    """Adds one after the other, then many at a time; each has an amount and a key of its own."""
    credits_: list[Credit] = []

    async def add(count: int) -> None:
        async with Connection(port) as connection:
            for _ in range(count):
                number = len(credits_) + 1
                credit = Credit(f"user-{number % 7}", number, f"key-{number:04}-end")
                credits_.append(credit)
                reply = await connection.add(credit)
                assert reply.status == 200, reply

    await add(SEQUENTIAL)
    async with trio.open_nursery() as nursery:
        for _ in range(CONNECTIONS):
            nursery.start_soon(add, ADDS_PER_CONNECTION)
    return credits_


def _body(credit: Credit) -> str:
    return f"Transaction of ${dollars(credit.amount)} added for user {credit.user}"
