"""When a replica that answers badly is left alone, for how long, and how soon a slot gets free."""

from __future__ import annotations

import pytest

from lamplighter.domain.outliers import OutlierPolicy, Standing
from lamplighter.domain.turnover import LEAST, REMEMBERED, Turnover

POLICY = OutlierPolicy(consecutive=3, pause=10, longest_pause=60)


def test_so_many_bad_answers_in_a_row_make_an_outlier_and_a_good_one_ends_the_row() -> None:
    standing = Standing()
    assert [standing.struggled(POLICY), standing.struggled(POLICY)] == [False, False]
    standing.did_well()
    assert [standing.struggled(POLICY) for _ in range(3)] == [False, False, True]


def test_the_pause_doubles_each_time_up_to_the_longest_and_jitter_adds_a_quarter_at_most() -> None:
    standing, now = Standing(), 0.0
    pauses = []
    for _ in range(5):
        pauses.append(standing.rest(POLICY, now, 0.0))
        now = standing.until
        standing.come_back(now)
    assert pauses == [10, 20, 40, 60, 60]
    assert Standing().rest(POLICY, 0.0, 1.0) == 12.5


def test_who_was_back_for_long_begins_with_the_short_pause_again() -> None:
    standing = Standing()
    standing.rest(POLICY, 0.0, 0.0)
    assert standing.rest(POLICY, 69.9, 0.0) == 20
    assert standing.rest(POLICY, 89.9 + 60.1, 0.0) == 10


def test_coming_back_forgets_what_was_answered_badly_meanwhile() -> None:
    standing = Standing(bad=2)
    standing.rest(POLICY, 0.0, 0.0)
    standing.struggled(POLICY)
    standing.come_back(5.0)
    assert (standing.bad, standing.rests, standing.until) == (0, False, 5.0)


@pytest.mark.parametrize(("replicas", "may_rest"), [(0, 0), (1, 0), (2, 1), (3, 1), (4, 2), (9, 4)])
def test_never_more_than_half_rest(replicas: int, may_rest: int) -> None:
    assert OutlierPolicy().may_rest(replicas) == may_rest


def test_the_wait_for_a_slot_comes_from_the_rate_at_which_requests_ended_while_others_waited() -> None:
    turnover = Turnover()
    assert turnover.expected_wait(7, 50.0) == LEAST, "nobody waits"
    turnover.begin(100.0)
    assert turnover.expected_wait(1, 130.0) == 30.0, "none ended yet: as long as it has taken already"
    for end in range(1, 11):
        turnover.note(100.0 + 2.0 * end)
    turnover.begin(119.0)
    assert turnover.expected_wait(1, 120.0) == 2.0
    assert turnover.expected_wait(50, 120.0) == 100.0
    for end in range(2 * REMEMBERED):
        turnover.note(120.0 + 0.5 * end)
    now = 120.0 + 0.5 * (2 * REMEMBERED - 1)
    assert turnover.expected_wait(10, now) == 5.0, "the last ones count"
    turnover.stop()
    turnover.begin(500.0)
    assert turnover.expected_wait(3, 500.0) == LEAST, "what was before is not carried over"
