"""What earlier starts say about the next one."""

from __future__ import annotations

from lamplighter.domain.starts import expected_start, remaining_start


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
