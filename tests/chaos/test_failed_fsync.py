"""After a failed fsync nobody knows what is on disk: the process ends, and recovers from disk.

strace makes one system call of the log's thread fail. The descriptor of what fails first:

    fdatasync on the pages        LMDB gives the commit up
    the write of the meta page    the kernel may hold the new page already, so LMDB puts the old
                                  one back, and gives up
"""

import itertools
from pathlib import Path

import pytest
import strace
import trio
from audit import Credit, Fate, violations
from chaos_client import Connection, NoAnswer, read_accounts
from commit_trace import Call, read_calls
from store_checks import verified

from bench.server_process import ServerProcess

CLIENTS = 16
USERS = 8
CALLS = "pwrite64,pwritev,writev,write,fdatasync,fsync"
NO_SNAPSHOTS = ("--snapshot-interval-s", "3600", "--snapshot-entries", "1000000")
META_PAGE_BYTES = 120
WAIT_S = 60.0

# The first commit of a store writes its page and the meta page by one pwrite64 each; the second
# its pages by one writev, so the third pwrite64 is its meta page.
FAILURES = {
    "fdatasync": "fdatasync:error=EIO:when=6",
    "the meta page": "pwrite64:error=EIO:when=3",
    "the pages": "writev:error=ENOSPC:when=6",
}


@pytest.mark.parametrize("failing", FAILURES)
async def test_failed_write_ends_the_server_and_loses_nothing(tmp_path: Path, failing: str) -> None:
    if reason := strace.reason_to_skip():
        pytest.skip(reason)
    trace = tmp_path / "trace"
    data = tmp_path / "data"
    # The store is made before: what making it writes is not to fail.
    with ServerProcess(data) as first:
        assert first.stop() == 0

    inject = ("-e", f"inject={FAILURES[failing]}")
    wrapper = strace.tracing(trace, CALLS, *inject)
    fates: dict[Credit, Fate] = {}
    with ServerProcess(data, *NO_SNAPSHOTS, wrapper=wrapper) as failed:
        with trio.fail_after(WAIT_S):
            await _add_until_it_ends(failed.port, fates)
        assert failed.wait() == 1
        assert "Traceback" not in failed.output()
        (line,) = [line for line in failed.output().splitlines() if not line.startswith("{")]
        assert line.startswith("bitburst: the write-ahead log failed: ")

    failure, *after = _log_calls_from_the_failure_on(trace)
    is_meta_page = f", {META_PAGE_BYTES}, " in failure.arguments
    assert is_meta_page == (failing == "the meta page"), failure
    assert len(after) == is_meta_page, after
    assert Fate.ACKNOWLEDGED in fates.values()
    assert Fate.UNKNOWN in fates.values()
    await _assert_recovered(ServerProcess(data), fates)


async def _add_until_it_ends(port: int, fates: dict[Credit, Fate]) -> None:
    amounts = itertools.count(1)

    async def add(limit: int | None = None) -> None:
        async with Connection(port) as connection:
            for amount in itertools.islice(amounts, limit):
                credit = Credit(f"user-{amount % USERS}", amount, f"key-{amount}")
                fates[credit] = Fate.UNKNOWN
                try:
                    reply = await connection.add(credit)
                except NoAnswer:
                    return
                if reply.status == 200:
                    fates[credit] = Fate.ACKNOWLEDGED
                else:
                    assert reply.status == 503, reply
                    assert b'"type":"/docs#outcome-unknown"' in reply.body

    await add(1)
    async with trio.open_nursery() as nursery:
        for _ in range(CLIENTS):
            nursery.start_soon(add)


def _log_calls_from_the_failure_on(trace: Path) -> list[Call]:
    with trace.open(errors="replace") as lines:
        calls = list(read_calls(lines))
    on_log = [call for call in calls if call.descriptor[1].endswith("/log/data.mdb")]
    (failed,) = [number for number, call in enumerate(on_log) if call.result < 0]
    return on_log[failed:]


async def _assert_recovered(server: ServerProcess, fates: dict[Credit, Fate]) -> None:
    users = sorted({credit.user for credit in fates})
    assert verified(server.data_dir)
    with server:
        assert violations(fates, await read_accounts(server.port, users)) == []
        async with Connection(server.port) as connection:
            for credit in fates:
                reply = await connection.add(credit)
                assert reply.status == 200, reply
                assert reply.replayed or fates[credit] is Fate.UNKNOWN
        everything = dict.fromkeys(fates, Fate.ACKNOWLEDGED)
        assert violations(everything, await read_accounts(server.port, users)) == []
        assert server.stop() == 0
    assert verified(server.data_dir)
