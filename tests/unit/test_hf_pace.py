"""When a question is asked again."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lamplighter.hf.pace import Pace, retry_after, told_wait

NOW = 1_445_412_480.0  # Wed, 21 Oct 2015 07:28:00 GMT


def test_pauses_double_up_to_their_cap() -> None:
    pace = Pace(base=1.0, cap=8.0, attempts=7, deadline=1000.0)
    assert [pace.pause(n, spent=0.0, chance=1.0) for n in range(1, 8)] == [1.0, 2.0, 4.0, 8.0, 8.0, 8.0, None]


@given(st.integers(1, 100), st.floats(0, 1), st.floats(0, 100))
def test_a_pause_is_never_less_than_half_nor_more_than_the_cap(attempt: int, chance: float, spent: float) -> None:
    pace = Pace(base=0.5, cap=8.0, attempts=50, deadline=60.0)
    pause = pace.pause(attempt, spent=spent, chance=chance)
    if pause is None:
        assert attempt >= 50 or spent + 8.0 >= 60.0 or spent >= 52.0
    else:
        assert 0.25 <= pause <= 8.0
        assert spent + pause < 60.0


@given(st.floats(0, 50), st.floats(0, 1))
def test_what_was_told_is_never_undercut(told: float, chance: float) -> None:
    pause = Pace(deadline=60.0).pause(1, spent=0.0, chance=chance, told=told)
    assert pause is not None
    assert told <= pause <= told + 1.0


def test_beyond_the_deadline_there_is_no_waiting() -> None:
    assert Pace(deadline=60.0).pause(1, spent=0.0, chance=0.0, told=61.0) is None
    assert Pace(deadline=60.0).pause(1, spent=59.9, chance=0.0) is None


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("120", 120.0),
        (" 1.5 ", 1.5),
        ("Wed, 21 Oct 2015 07:28:30 GMT", 30.0),
        ("Wed, 21 Oct 2015 07:27:00 GMT", 0.0),
        ("Wed, 21 Oct 2015 07:28:30", 30.0),
        ("Wed, 21 Oct 2015 03:28:30 -0400", 30.0),
        ("Wed, 99 Oct 99999 07:28:30 GMT", None),
        ("", None),
        ("soon", None),
        ("-5", None),
        ("9" * 400, None),
        ("\u0663", None),
    ],
)
def test_retry_after_is_seconds_or_a_date(value: str, seconds: float | None) -> None:
    assert retry_after(value, NOW) == seconds


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"ratelimit": '"api";r=0;t=55'}, 55.0),
        ({"ratelimit": '"api";r=3;t=55'}, None),
        ({"ratelimit": '"api" ; r = 0 ; t = 55, "pages";r=5;t=9'}, 55.0),
        ({"ratelimit": '"api";r=0;t=55', "retry-after": "5"}, 55.0),
        ({"ratelimit": '"api";r=0;t=5', "retry-after": "55"}, 55.0),
        ({"ratelimit": "api;r=0;t=55"}, None),
        ({"ratelimit": '"' * 5000}, None),
    ],
)
def test_the_longer_of_both_ways_to_ask_for_a_pause_counts(headers: dict[str, str], seconds: float | None) -> None:
    assert told_wait(headers, NOW) == seconds
