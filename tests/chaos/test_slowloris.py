"""Who takes too long is dropped, whatever it takes long for, and honest callers do not notice."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
import trio
from slowloris import Crowd, Honest, Manner, fill_a_page, flags_of, honest_callers

from bench.server_process import ServerProcess

CALLERS = 20
REQUEST_TIMEOUT_S = 1.0
DROPPED_WITHIN_S = 30.0
HONEST_ROUNDS = 10


@pytest.fixture(params=["hypercorn", "fast-lane"], scope="module")
def impatient_server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ServerProcess]:
    flags = flags_of(request.param)
    if request.param == "fast-lane" and not flags:
        pytest.skip("there is no such kind of server")
    timeout = ("--request-timeout-s", str(REQUEST_TIMEOUT_S))
    directory = tmp_path_factory.mktemp("slowloris")
    with ServerProcess(directory / "data", *timeout, *flags) as running:
        fill_a_page(running)
        yield running


@pytest.mark.parametrize("behind", [False, True], ids=["plain", "not plain"])
@pytest.mark.parametrize("manner", Manner)
async def test_slow_callers_are_dropped_while_honest_ones_go_on(
    impatient_server: ServerProcess, manner: Manner, behind: bool
) -> None:
    server, crowd, newcomer = impatient_server, Crowd(behind), Honest()
    with trio.fail_after(DROPPED_WITHIN_S):
        async with honest_callers(server.port, 2) as honest, trio.open_nursery() as nursery:
            for _ in range(CALLERS):
                nursery.start_soon(partial(crowd.dawdle, server.port, manner, again=False))
            await trio.sleep(REQUEST_TIMEOUT_S / 2)
            await newcomer.call(server.port, b"newcomer", HONEST_ROUNDS)

    assert len(crowd.dropped_after_s[manner]) == CALLERS
    assert min(crowd.dropped_after_s[manner]) >= REQUEST_TIMEOUT_S * 0.9
    assert honest.answered
    assert not honest.wrong
    assert newcomer.answered == 2 * HONEST_ROUNDS
    assert "Traceback" not in server.output()


async def test_a_server_that_is_stopped_does_not_wait_for_who_never_reads(tmp_path: Path) -> None:
    flags = ("--shutdown-s", "1", "--request-timeout-s", "1000")
    with ServerProcess(tmp_path / "data", *flags) as server:
        fill_a_page(server)
        async with trio.open_nursery() as nursery:
            dawdle = partial(Crowd().dawdle, server.port, Manner.DEAF, again=False)
            nursery.start_soon(dawdle)
            await trio.sleep(0.5)

            assert await trio.to_thread.run_sync(server.stop) == 0
