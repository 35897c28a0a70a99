"""How much is forgotten at a time: a fifth of the time's worth, between bounds."""

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from ledger_actors.forgetting import (
    ENTRIES_PER_STEP_MAX,
    ENTRIES_PER_STEP_MIN,
    REST,
    ForgettingPace,
)

STEP_S = 0.001


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
    pace = ForgettingPace()
    assert pace.entries == ENTRIES_PER_STEP_MIN
    mock_clock.jump(STEP_S)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(pace.rest, ENTRIES_PER_STEP_MIN)
        await wait_all_tasks_blocked()
        mock_clock.jump(away_s)
    assert abs(pace.entries - entries) <= 1


async def test_a_step_that_took_no_time_changes_nothing(mock_clock: MockClock) -> None:
    pace = ForgettingPace()
    await pace.rest(0)
    assert pace.entries == ENTRIES_PER_STEP_MIN
