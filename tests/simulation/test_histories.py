"""The judge of what callers saw, compared with one that looks at every pair."""

from hypothesis import given
from hypothesis import strategies as st
from simulation.histories import Observations


def test_reads_that_go_back_are_a_contradiction() -> None:
    seen = Observations()
    seen.read("ann", seen.now(), 2)
    assert seen.contradiction() is None
    seen.read("ann", seen.now(), 1)
    assert "1 entries read after 2 entries read" in str(seen.contradiction())


def test_a_read_that_began_before_another_ended_may_see_less() -> None:
    seen = Observations()
    began = seen.now()
    seen.read("ann", seen.now(), 2)
    seen.read("ann", began, 1)
    assert seen.contradiction() is None


def test_a_credit_must_show_in_a_read_that_begins_after_its_answer() -> None:
    seen = Observations()
    seen.made("ann", seen.now(), 1)
    seen.at_most("ann", seen.now(), 0)
    assert "at most 0 entries read after entry 1 made" in str(seen.contradiction())


def test_an_entry_cannot_have_been_seen_before_it_was_asked_for() -> None:
    seen = Observations()
    seen.read("ann", seen.now(), 1)
    seen.made("ann", seen.now(), 1)
    assert "entry 1 made after 1 entries read" in str(seen.contradiction())


def test_a_replay_shows_that_the_entry_was_there() -> None:
    seen = Observations()
    seen.at_least("ann", seen.now(), 3)
    seen.read("ann", seen.now(), 2)
    assert seen.contradiction() is not None


def test_users_have_nothing_to_do_with_each_other() -> None:
    seen = Observations()
    seen.read("ann", seen.now(), 2)
    seen.read("bob", seen.now(), 1)
    assert seen.contradiction() is None


@given(st.lists(st.tuples(st.integers(0, 8), st.integers(0, 3), st.booleans()), max_size=9))
def test_it_agrees_with_a_look_at_every_pair(drawn: list[tuple[int, int, bool]]) -> None:
    seen = Observations()
    operations = []
    for back, length, made in drawn:
        began = max(seen.now() - back, 0)
        if made:
            seen.made("ann", began, length)
            operations.append((began, seen.now() - 1, length, length - 1))
        else:
            seen.read("ann", began, length)
            operations.append((began, seen.now() - 1, length, length))
    contradicted = any(
        ended < began and reached > not_past
        for _, ended, reached, _ in operations
        for began, _, _, not_past in operations
    )
    assert (seen.contradiction() is not None) == contradicted
