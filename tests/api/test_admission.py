"""Who is admitted, against plain buckets of the key and of each user."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from plain_bucket import START, PlainBucket

from api.admission import Admission, Rates
from api.api_keys import READ, make_key
from api.problems import Throttled
from api.token_bucket import Rate
from ledger_actors.credit import Credit
from ledger_actors.identity import UserId
from ledger_actors.money import Micros

KEY, TOKEN = make_key(bytes(6), "A" * 43, datetime(2026, 1, 1, tzinfo=UTC), ["read"])
AUTHORIZATION = b"Bearer " + TOKEN.encode()
# Rates that a float holds exactly: the plain bucket then sees the same numbers.
rates = st.sampled_from([None, Rate(0.5, 1), Rate(1.0, 3), Rate(4.0, 2), Rate(8.0, 20)])
pauses = st.integers(0, 32).map(lambda number: number / 16)


@given(rates, rates, st.lists(st.tuples(pauses, st.integers(0, 2)), max_size=60))
def test_a_request_takes_a_token_of_its_key_and_one_of_its_user_or_none(
    key_rate: Rate | None, user_rate: Rate | None, visits: list[tuple[float, int]]
) -> None:
    admission, now = Admission(), START
    admission.adopt([KEY], Rates(key_rate, user_rate))
    of_key = None if key_rate is None else PlainBucket(key_rate)
    of_users = [None if user_rate is None else PlainBucket(user_rate) for _ in range(3)]
    for pause, user in visits:
        now += pause
        admission.now = now
        plain = [bucket for bucket in (of_key, of_users[user]) if bucket is not None]
        expected = all(bucket.has(now) for bucket in plain)
        if expected:
            for bucket in plain:
                bucket.take(now, 1)
            assert admission.admit(AUTHORIZATION, READ, b"%%6%d" % user) == chr(96 + user)
        else:
            with pytest.raises(Throttled):
                admission.admit(AUTHORIZATION, READ, b"%%6%d" % user)


def test_however_a_user_is_spelled_the_bucket_is_the_same() -> None:
    admission = Admission()
    admission.adopt(None, Rates(None, Rate(1.0, 3)))
    admission.now = START
    for spelling in (b"ann", b"%61nn", b"a%6en"):
        assert admission.admit(None, READ, spelling) == "ann"
    for spelling in (b"an%6e", b"ann", b"%61%6E%6e"):
        with pytest.raises(Throttled):
            admission.admit(None, READ, spelling)


@given(
    st.sampled_from([Rate(0.5, 1), Rate(1.0, 3), Rate(8.0, 20), Rate(256.0, 4)]),
    st.lists(st.tuples(pauses, st.lists(st.integers(0, 4), min_size=1, max_size=30)), max_size=30),
)
def test_a_credit_of_a_bulk_takes_the_token_that_one_alone_would(
    rate: Rate, visits: list[tuple[float, list[int]]]
) -> None:
    admission, now = Admission(), START
    admission.adopt(None, Rates(None, rate))
    of_users = [PlainBucket(rate) for _ in range(5)]
    for pause, users in visits:
        now += pause
        admission.now = now
        expected = [not of_users[user].take(now, 1) for user in users]
        if len(users) == 1:
            refused = [False]
            try:
                admission.admit(None, READ, b"u%d" % users[0])
            except Throttled:
                refused = [True]
        else:
            credits_ = [Credit(UserId(f"u{user}"), Micros(1)) for user in users]
            waits = admission.take_many(None, len(users), credits_)
            refused = [place in waits for place in range(len(users))]
        assert refused == expected
