"""Buckets, against one that is filled token by token."""

from hypothesis import given
from hypothesis import strategies as st
from plain_bucket import START, PlainBucket

from api.token_bucket import Rate, TokenBucket, UserBuckets, Wait
from ledger_actors.identity import UserId

# Rates that a float holds exactly: the plain bucket below then sees the same numbers.
rates = st.sampled_from([Rate(0.5, 1), Rate(1.0, 3), Rate(4.0, 2), Rate(8.0, 20)])
pauses = st.integers(0, 64).map(lambda number: number / 16)
visits = st.lists(st.tuples(pauses, st.integers(1, 30)), max_size=60)


def take(buckets: UserBuckets, user: str, now: float) -> Wait | None:
    return buckets.take(UserId(user), now)


@given(rates, visits)
def test_a_bucket_gives_what_a_plain_one_gives(
    rate: Rate, visited: list[tuple[float, int]]
) -> None:
    bucket, plain, now = TokenBucket(rate), PlainBucket(rate), START
    for pause, tokens in visited:
        now += pause
        wait = bucket.take(now, tokens)
        assert (wait is None) == plain.take(now, tokens)
        if wait is not None:
            assert wait.seconds - 1 < max(1, plain.seconds_until(tokens)) <= wait.seconds
            assert wait.left < min(tokens, rate.burst)


@given(rates, visits)
def test_who_waits_as_long_as_told_is_served(rate: Rate, visited: list[tuple[float, int]]) -> None:
    bucket, now = TokenBucket(rate), START
    for pause, tokens in visited:
        now += pause
        if (wait := bucket.take(now, tokens)) is not None:
            now += wait.seconds
            assert bucket.take(now, tokens) is None


@given(rates, visits)
def test_a_users_bucket_gives_what_a_plain_one_gives(
    rate: Rate, visited: list[tuple[float, int]]
) -> None:
    buckets, plain, now = UserBuckets(rate), PlainBucket(rate), START
    for pause, _ in visited:
        now += pause
        assert (take(buckets, "u", now) is None) == plain.take(now, 1)


def take_quickly(bucket: TokenBucket, now: float) -> bool:
    """As those do who know what is left."""
    if bucket.left and bucket.moment == now:
        bucket.left -= 1
        return True
    return bucket.take(now) is None


def take_quickly_for(buckets: UserBuckets, user: str, now: float) -> bool:
    """As those do who know what is left."""
    if buckets.spare and buckets.moment == now:
        buckets.spare -= 1
        buckets.noted.append(UserId(user))
        return True
    return take(buckets, user, now) is None


@given(rates, visits)
def test_a_bucket_gives_the_same_to_those_who_know_what_is_left(
    rate: Rate, visited: list[tuple[float, int]]
) -> None:
    bucket, plain, now = TokenBucket(rate), PlainBucket(rate), START
    for pause, tokens in visited:
        now += pause
        for _ in range(tokens):
            assert take_quickly(bucket, now) == plain.take(now, 1)
        assert (bucket.take(now, tokens) is None) == plain.take(now, tokens)


moments = st.lists(
    st.tuples(pauses, st.lists(st.tuples(st.sampled_from("abc"), st.booleans()), max_size=12)),
    max_size=30,
)


@given(rates, moments, st.sampled_from([0, 2]))
def test_each_user_is_given_what_a_plain_bucket_gives(
    rate: Rate, visited: list[tuple[float, list[tuple[str, bool]]]], bulk_size: int
) -> None:
    buckets, plain, now = UserBuckets(rate), {user: PlainBucket(rate) for user in "abc"}, START
    for pause, users in visited:
        now += pause
        for user, quickly in users:
            given_ = (
                take_quickly_for(buckets, user, now)
                if quickly
                else take(buckets, user, now) is None
            )
            assert given_ == plain[user].take(now, 1)
        bulk = [user for user, _ in users] * bulk_size
        waits = buckets.take_each([UserId(user) for user in bulk], now)
        refused = [place for place, user in enumerate(bulk) if not plain[user].take(now, 1)]
        assert list(waits) == refused


@given(rates, st.lists(st.tuples(pauses, st.lists(st.integers(0, 30), min_size=1)), max_size=99))
def test_no_more_users_are_kept_than_may_be(
    rate: Rate, visited: list[tuple[float, list[int]]]
) -> None:
    buckets, now = UserBuckets(rate, users_max=8), START
    for pause, users in visited:
        now += pause
        buckets.take_each([UserId(str(user)) for user in users], now)
        assert len(buckets) <= 8
        # Who was only noted is kept before another takes a token.
        take(buckets, "u", now)
        assert len(buckets) <= 8


def test_users_whose_buckets_are_full_again_make_room_for_others() -> None:
    buckets = UserBuckets(Rate(1.0, 1), users_max=100)
    for number in range(1000):
        assert take(buckets, str(number), START + number) is None
    assert buckets.forgotten == 0


@given(rates, st.lists(st.tuples(pauses, st.lists(st.integers(0, 12), max_size=20)), max_size=20))
def test_many_tokens_are_taken_as_one_after_the_other(
    rate: Rate, visited: list[tuple[float, list[int]]]
) -> None:
    together, one_by_one, now = UserBuckets(rate), UserBuckets(rate), START
    for pause, users in visited:
        now += pause
        waits = {place: take(one_by_one, str(user), now) for place, user in enumerate(users)}
        expected = {place: wait for place, wait in waits.items() if wait is not None}
        assert together.take_each([UserId(str(user)) for user in users], now) == expected


def test_nobody_is_kept_once_all_are_full_again() -> None:
    buckets = UserBuckets(Rate(1.0, 2))
    for number in range(1000):
        take(buckets, str(number % 500), START)
    assert len(buckets) == 500
    take(buckets, "late", START + 1)
    assert len(buckets) == 501
    take(buckets, "later", START + 2)
    assert len(buckets) == 1


def test_who_has_the_least_is_forgotten_last() -> None:
    buckets = UserBuckets(Rate(0.001, 5), users_max=100)
    for _ in range(5):
        take(buckets, "greedy", START)
    for number in range(1000):
        take(buckets, str(number), START)
    assert take(buckets, "greedy", START) is not None
    assert buckets.forgotten > 0


def test_what_was_given_back_can_be_taken_again() -> None:
    bucket = TokenBucket(Rate(1.0, 1))
    assert bucket.take(START) is None
    bucket.give_back(1)
    assert bucket.take(START) is None


def test_a_rate_without_a_burst_has_that_of_a_second() -> None:
    assert Rate.of(50.0, None).burst == 50
    assert Rate.of(0.1, None).burst == 1
