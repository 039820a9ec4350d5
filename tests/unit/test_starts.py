"""What earlier starts say about the next one."""

from __future__ import annotations

from itertools import pairwise
from statistics import median

import pytest

from lamplighter.domain.starts import STEADY_LOOK, expected_start, look_pause, remaining_start


def test_the_expected_start_is_the_median_of_the_last_ten() -> None:
    assert expected_start([]) is None
    assert expected_start([4.0]) == 4.0
    assert expected_start([1000.0] * 5 + [2.0] * 10) == 2.0


def test_one_slow_start_does_not_move_the_expectation() -> None:
    assert expected_start([2.0, 2.0, 300.0, 2.0, 2.0]) == 2.0


def test_what_remains_shrinks_and_never_promises_less_than_a_second() -> None:
    assert remaining_start(60.0, 0.0) == 60.0
    assert remaining_start(60.0, 45.0) == 15.0
    assert remaining_start(60.0, 59.9) == 1.0


def test_a_start_that_takes_longer_than_ever_is_expected_to_go_on_in_proportion() -> None:
    assert remaining_start(60.0, 120.0) == 30.0


def test_without_experience_the_time_that_passed_is_the_guess() -> None:
    assert remaining_start(None, 0.0) == 5.0
    assert remaining_start(None, 90.0) == 90.0


def looks_of(expected: float | None, until: float) -> list[float]:
    """The moments of all looks at a start, until one that comes after `until`."""
    moments = [0.0]
    while moments[-1] < until:
        moments.append(moments[-1] + look_pause(moments[-1], expected, len(moments)))
    return moments


@pytest.mark.parametrize("expected", [None, 1.0, 20.0, 84.0, 360.0])
def test_a_start_is_looked_at_no_more_than_twelve_times_a_minute(expected: float | None) -> None:
    moments = looks_of(expected, 600.0)
    per_minute = [sum(start <= moment < start + 60 for moment in moments) for start in range(0, 600, 60)]
    assert median(per_minute) <= 12
    assert len([moment for moment in moments if moment <= 600.0]) <= 600 / STEADY_LOOK + 4
    assert all(0 < later - earlier <= 10.0 for earlier, later in pairwise(moments))


@pytest.mark.parametrize("took", [30.0, 84.0, 100.0, 360.0])
def test_a_start_that_takes_what_it_took_before_is_noticed_within_two_seconds(took: float) -> None:
    for actual in (took * 0.92, took, took * 1.1):
        noticed = looks_of(took, actual)[-1]
        assert noticed - actual <= 2.0


def test_a_start_that_is_over_at_once_is_noticed_at_once() -> None:
    assert looks_of(None, 0.9)[-1] - 0.9 <= 0.5
    assert looks_of(2.0, 2.1)[-1] - 2.1 <= 0.5


def test_a_start_that_takes_longer_than_ever_is_still_looked_at() -> None:
    moments = looks_of(20.0, 1000.0)
    assert max(later - earlier for earlier, later in pairwise(moments) if earlier > 40) <= STEADY_LOOK
