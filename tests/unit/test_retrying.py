"""What is sent once more, when, and how often."""

from __future__ import annotations

from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lamplighter.domain.retrying import (
    LONGEST_RETRY_AFTER,
    RetryBudget,
    is_failure,
    may_repeat,
    pause,
    retry_after,
    was_refused,
)
from lamplighter.domain.routing import Repeat, RetryPolicy

NOW = 1_700_000_000.0


def test_a_few_retries_are_always_allowed_and_a_storm_is_not() -> None:
    budget = RetryBudget(RetryPolicy(budget=0.2, least=1.0))
    assert sum(budget.may_retry(5.0) for _ in range(1000)) == 10
    for _ in range(1000):
        budget.note_request(6.0)
    assert sum(budget.may_retry(6.0) for _ in range(1000)) == 190  # a fifth of a thousand, and ten are gone
    assert not budget.may_retry(14.0)
    assert budget.may_retry(15.0)  # the first ten are forgotten


def test_a_budget_of_nothing_allows_nothing() -> None:
    budget = RetryBudget(RetryPolicy(budget=0.0, least=0.0))
    budget.note_request(1.0)
    assert not budget.may_retry(1.0)


@given(st.lists(st.tuples(st.sampled_from([0.0, 0.01, 0.5, 3.0]), st.booleans()), max_size=300))
def test_over_any_history_retries_stay_within_their_share(history: list[tuple[float, bool]]) -> None:
    policy = RetryPolicy(budget=0.5, least=0.3)
    budget, requests, retries, now = RetryBudget(policy), list[float](), list[float](), 1000.0
    for wait, is_retry in history:
        now += wait
        if not is_retry:
            budget.note_request(now)
            requests.append(now)
        elif budget.may_retry(now):
            retries.append(now)
            surely, perhaps = sum(at > now - 9 for at in retries), sum(at > now - 10 for at in requests)
            assert surely <= max(3.0, 0.5 * perhaps)
        else:
            assert sum(at > now - 10 for at in retries) + 1 > max(3.0, 0.5 * sum(at > now - 9 for at in requests))


def test_pauses_are_random_and_their_bound_doubles_up_to_a_cap() -> None:
    policy = RetryPolicy(base=0.1, cap=1.0)
    assert [pause(policy, attempt, 1.0) for attempt in (1, 2, 3, 4, 10_000)] == [0.2, 0.4, 0.8, 1.0, 1.0]
    assert pause(policy, 2, 0.5) == 0.2
    assert pause(policy, 2, 0.0) == 0.0


@pytest.mark.parametrize(
    ("repeat", "method", "executed", "allowed"),
    [
        (Repeat.NOT_EXECUTED, "POST", False, True),
        (Repeat.NOT_EXECUTED, "POST", True, False),
        (Repeat.NOT_EXECUTED, "PATCH", True, False),
        (Repeat.NOT_EXECUTED, "GET", True, True),
        (Repeat.NOT_EXECUTED, "HEAD", True, True),
        (Repeat.NOT_EXECUTED, "DELETE", True, True),
        (Repeat.ALWAYS, "POST", True, True),
    ],
)
def test_what_may_have_been_executed_is_repeated_only_where_that_does_no_harm(
    repeat: Repeat, method: str, executed: bool, allowed: bool
) -> None:
    assert may_repeat(repeat, method=method, executed=executed) is allowed


def test_a_failure_is_the_targets_fault() -> None:
    failures = [500, 502, 503, 504, 520, 521, 522, 523, 524, 529]
    assert [status for status in range(100, 600) if is_failure(status)] == failures


def test_a_refusal_was_certainly_not_executed() -> None:
    assert [status for status in range(100, 600) if was_refused(status)] == [429, 503, 529]


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0.0),
        ("7", 7.0),
        (" 7 ", 7.0),
        ("1.5", 1.5),
        ("999999999999", LONGEST_RETRY_AFTER),
        (formatdate(NOW + 30, usegmt=True), 30.0),
        (formatdate(NOW - 30, usegmt=True), 0.0),
        (formatdate(NOW + 1e9, usegmt=True), LONGEST_RETRY_AFTER),
        ("Tuesday, 14-Nov-23 22:13:50 GMT", 30.0),  # the old forms of RFC 9110 section 5.6.7
        ("Tue Nov 14 22:13:50 2023", 30.0),
        (None, None),
        ("", None),
        ("soon", None),
        ("-5", None),
        ("1e3", None),
        ("nan", None),
        ("٣", None),
        ("Tue, 99 Nov 2023 22:13:50 GMT", None),
        ("9" * 5000, None),
    ],
)
def test_retry_after_is_seconds_or_a_date_and_has_a_bound(value: str | None, seconds: float | None) -> None:
    assert retry_after(value, NOW) == seconds


@given(st.text())
def test_no_text_of_a_retry_after_does_harm(value: str) -> None:
    assert 0.0 <= (retry_after(value, NOW) or 0.0) <= LONGEST_RETRY_AFTER
