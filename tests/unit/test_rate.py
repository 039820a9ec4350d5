"""A bucket gives what it holds, fills steadily, and owes what was charged beyond that."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lamplighter.domain.rate import MINUTE, Bucket

START = 1000.0


def taken(bucket: Bucket, now: float, tries: int) -> int:
    return sum(bucket.take(now) for _ in range(tries))


def test_a_full_bucket_gives_a_minutes_worth_at_once_and_no_more():
    bucket = Bucket(5)
    assert taken(bucket, START, 10) == 5
    assert bucket.left(START) == 0


def test_what_was_taken_flows_in_again_steadily():
    bucket = Bucket(6)
    taken(bucket, START, 6)
    assert bucket.wait(START) == pytest.approx(10.0)
    assert not bucket.take(START + 9.99)
    assert bucket.take(START + 10.0)
    assert not bucket.take(START + 10.0)
    assert bucket.left(START + 10.0 + MINUTE) == 6


def test_it_never_holds_more_than_a_minutes_worth():
    bucket = Bucket(3)
    assert taken(bucket, START, 9) == 3
    assert taken(bucket, START + 10 * MINUTE, 9) == 3


def test_what_is_charged_beyond_what_it_holds_is_owed():
    bucket = Bucket(100)
    bucket.charge(250, START)
    assert bucket.left(START) == 0
    assert bucket.wait(START) == pytest.approx(150 * 0.6 + 0.6)
    assert not bucket.take(START + 90.0)
    assert bucket.take(START + 90.7)


def test_a_charge_of_nothing_changes_nothing():
    bucket = Bucket(10)
    bucket.charge(0, START)
    assert (bucket.left(START), bucket.full_in(START), bucket.wait(START)) == (10, 0.0, 0.0)


@given(
    per_minute=st.integers(1, 5000),
    steps=st.lists(st.tuples(st.floats(0, 100), st.integers(0, 200)), min_size=1, max_size=30),
)
def test_in_any_stretch_of_time_no_more_is_given_than_it_held_and_what_flowed_in(per_minute, steps):
    bucket, now, given_out = Bucket(per_minute), START, 0
    for pause, tries in steps:
        now += pause
        left = bucket.left(now)
        got = taken(bucket, now, tries)
        assert got == min(left, tries)
        given_out += got
        assert given_out <= per_minute + (now - START) * per_minute / MINUTE + 1e-3
        assert 0 <= bucket.full_in(now) <= MINUTE + 1e-6
        assert bucket.left(now) > 0 or bucket.wait(now) > 0


@given(per_minute=st.integers(1, 5000), used=st.integers(0, 20_000))
def test_after_the_wait_one_can_be_taken(per_minute, used):
    bucket = Bucket(per_minute)
    bucket.charge(used, START)
    assert bucket.take(START + bucket.wait(START))
