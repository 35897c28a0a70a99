"""How much is forgotten at a time: some while the disk works, else a fifth of the time's worth."""

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from ledger_actors.forgetting import (
    ENTRIES_PER_STEP_MAX,
    ENTRIES_PER_STEP_MIN,
    ENTRIES_PER_SYNC,
    REST,
    REST_S_MAX,
    REST_S_MIN,
    ForgettingPace,
)

STEP_S = 0.001
HOUR_S = 3600.0


async def rested(pace: ForgettingPace, clock: MockClock, away_s: float) -> bool:
    """Whether it goes on when the event loop comes round after so long."""
    with trio.move_on_after(HOUR_S):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(pace.rest, ENTRIES_PER_STEP_MIN)
            await wait_all_tasks_blocked()
            clock.jump(away_s)
            await wait_all_tasks_blocked()
            over = not nursery.child_tasks
            nursery.cancel_scope.cancel()
    return over


@pytest.mark.parametrize(
    ("away_s", "entries"),
    [
        (REST * STEP_S, ENTRIES_PER_STEP_MIN),
        (REST * STEP_S * 2, 2 * ENTRIES_PER_STEP_MIN),
        (REST * STEP_S * 100, ENTRIES_PER_STEP_MAX),
    ],
)
async def test_the_longer_others_are_busy_the_larger_a_step_is(
    away_s: float, entries: int, mock_clock: MockClock
) -> None:
    pace = ForgettingPace(trio.sleep_forever)
    assert pace.entries == ENTRIES_PER_STEP_MIN
    mock_clock.jump(STEP_S)
    assert await rested(pace, mock_clock, away_s)
    assert abs(pace.entries - entries) <= 1


async def test_it_rests_for_four_times_as_long_as_a_step_took(mock_clock: MockClock) -> None:
    pace = ForgettingPace(trio.sleep_forever)
    mock_clock.jump(STEP_S)
    assert not await rested(pace, mock_clock, REST * STEP_S * 0.9)


async def test_after_a_step_that_took_no_time_it_waits_for_the_disk_all_the_same(
    mock_clock: MockClock,
) -> None:
    assert not await rested(ForgettingPace(trio.sleep_forever), mock_clock, REST_S_MIN * 0.9)
    assert await rested(ForgettingPace(trio.sleep_forever), mock_clock, REST_S_MIN * 1.1)


async def test_a_process_that_was_stopped_in_a_step_goes_on_at_once(mock_clock: MockClock) -> None:
    pace = ForgettingPace(trio.sleep_forever)
    mock_clock.jump(HOUR_S)
    assert await rested(pace, mock_clock, REST_S_MAX * 1.1)


async def test_while_the_disk_works_it_goes_on(mock_clock: MockClock) -> None:
    before_sync = trio.lowlevel.ParkingLot()
    pace = ForgettingPace(before_sync.park)
    mock_clock.jump(STEP_S)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(pace.rest, ENTRIES_PER_STEP_MIN)
        await wait_all_tasks_blocked()
        before_sync.unpark_all()
    assert pace.entries == ENTRIES_PER_SYNC
    # And where it does not, as before.
    assert await rested(pace, mock_clock, REST_S_MIN)
    assert pace.entries == ENTRIES_PER_STEP_MIN
