"""Real processes that are stopped, on a clock that jumps."""

import signal
import subprocess
from collections.abc import Iterator

import pytest
import trio
import trio.testing
from patience import Patience

TIMEOUT_S = 5.0


@pytest.fixture
def process() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["sleep", "60"]) as started:
        yield started
        started.kill()


async def test_what_takes_too_long_is_cancelled(
    process: subprocess.Popen[bytes], autojump_clock: trio.testing.MockClock
) -> None:
    patience = Patience(process.pid, TIMEOUT_S)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(patience.tick)
        with patience.limited() as wait:
            await trio.sleep(2 * TIMEOUT_S)

        assert wait.scope.cancelled_caught
        assert not wait.interrupted
        nursery.cancel_scope.cancel()


async def test_time_in_which_the_server_is_stopped_does_not_count(
    process: subprocess.Popen[bytes], autojump_clock: trio.testing.MockClock
) -> None:
    patience = Patience(process.pid, TIMEOUT_S)
    process.send_signal(signal.SIGSTOP)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(patience.tick)
        with patience.limited() as wait:
            await trio.sleep(2 * TIMEOUT_S)
            process.send_signal(signal.SIGCONT)

        assert not wait.scope.cancelled_caught
        assert wait.interrupted
        assert patience.interrupted == 1
        nursery.cancel_scope.cancel()


async def test_time_in_which_we_are_stopped_does_not_count(
    process: subprocess.Popen[bytes], mock_clock: trio.testing.MockClock
) -> None:
    patience = Patience(process.pid, TIMEOUT_S)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(patience.tick)
        await trio.testing.wait_all_tasks_blocked()
        with patience.limited() as wait:
            # As it looks from here.
            mock_clock.jump(2 * TIMEOUT_S)
            await trio.testing.wait_all_tasks_blocked()

        assert not wait.scope.cancelled_caught
        assert wait.interrupted
        nursery.cancel_scope.cancel()
