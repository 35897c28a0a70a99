import pytest

from bench.latency import NS_PER_S, LatencyRecording, nearest_rank, percentiles

MS = 1_000_000


@pytest.mark.parametrize(
    ("per_mille", "expected"), [(1, 1), (500, 50), (900, 90), (990, 99), (999, 100), (1000, 100)]
)
def test_nearest_rank_of_a_hundred_values(per_mille: int, expected: int) -> None:
    assert nearest_rank(list(range(1, 101)), per_mille) == expected


def test_the_thousandth_of_a_thousand_is_only_in_the_maximum() -> None:
    values = [*range(1, 1000), 50_000]
    assert nearest_rank(values, 999) == 999
    assert nearest_rank(values, 1000) == 50_000


def test_a_single_value_is_every_percentile() -> None:
    found = percentiles([7 * MS])
    assert found is not None
    assert (found.p50_ms, found.p999_ms, found.max_ms) == (7.0, 7.0, 7.0)


def test_percentiles_do_not_depend_on_the_order() -> None:
    assert percentiles([3, 1, 2]) == percentiles([1, 2, 3])


def test_nothing_recorded_has_no_percentiles() -> None:
    recording = LatencyRecording(started_ns=5)
    recording.stop(5)
    assert recording.percentiles() is None
    assert recording.per_second == 0.0
    assert recording.windows(NS_PER_S) == []


def recording_of(*ends_s: float, stopped_s: float) -> LatencyRecording:
    start_ns = 1000 * NS_PER_S
    recording = LatencyRecording(start_ns)
    for end_s in ends_s:
        end_ns = start_ns + round(end_s * NS_PER_S)
        recording.record(end_ns - MS, end_ns)
    recording.stop(start_ns + round(stopped_s * NS_PER_S))
    return recording


def test_the_rate_is_over_the_whole_recording() -> None:
    assert recording_of(0.5, 1.0, 1.5, stopped_s=2.0).per_second == 1.5


def test_windows_hold_what_ended_in_them_and_the_last_may_be_short() -> None:
    windows = recording_of(0.1, 0.2, 2.1, 2.5, stopped_s=2.5).windows(NS_PER_S)
    assert [window.answered for window in windows] == [2, 0, 2]
    assert [window.start_s for window in windows] == [0.0, 1.0, 2.0]
    assert [window.length_s for window in windows] == [1.0, 1.0, 0.5]
    assert [window.per_second for window in windows] == [2.0, 0.0, 4.0]
    assert windows[1].latency is None


def test_what_ends_with_the_recording_is_in_the_last_window() -> None:
    windows = recording_of(0.5, 2.0, stopped_s=2.0).windows(NS_PER_S)
    assert [window.answered for window in windows] == [1, 1]


def test_stopping_before_the_last_answer_is_refused() -> None:
    with pytest.raises(AssertionError):
        recording_of(3.0, stopped_s=2.0)
