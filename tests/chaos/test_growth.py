from growth import SAMPLES_MIN, growth


def life(*held: float) -> list[dict[str, float]]:
    return [{"files": one} for one in held]


def test_what_goes_up_and_down_does_not_grow() -> None:
    assert growth([life(*[5, 9, 7, 30, 5, 6] * 10)]) == {"files": 0}


def test_what_is_taken_at_the_start_does_not_grow() -> None:
    assert growth([life(*range(20), *[20] * 40)]) == {"files": 0}


def test_a_leak_grows_in_whatever_life_it_is() -> None:
    steady, leaking = life(*[5] * 60), life(*range(60))
    assert growth([steady, leaking]) == {"files": 20}
    assert growth([leaking, steady]) == {"files": 20}


def test_a_peak_at_the_end_is_none() -> None:
    assert growth([life(*[5] * 59, 500)]) == {"files": 0}


def test_a_short_life_shows_nothing() -> None:
    assert growth([life(*range(SAMPLES_MIN - 1))]) == {}


def test_a_moment_without_callers_is_none() -> None:
    middle = [41.0] * 18 + [22.0, 22.0]
    assert growth([life(*[41.0] * 20, *middle, *[41.0] * 20)]) == {"files": 0}
