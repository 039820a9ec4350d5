"""Renting costs never more than about twice what whoever had known the future would have paid."""

from __future__ import annotations

from itertools import accumulate
from math import inf

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lamplighter.domain.renting import (
    MEMORY,
    Arrivals,
    Rent,
    cheaper_to_rent,
    cost_asleep,
    cost_awake,
    cost_of_tokens,
    cost_of_wake,
)
from lamplighter.domain.routing import TokenPrice


def test_a_wake_costs_its_start_and_its_tail() -> None:
    assert cost_of_wake(6.0, start=300.0, tail=900.0) == pytest.approx(2.0)
    assert cost_of_wake(6.0, start=300.0, tail=None) == inf
    assert cost_of_wake(0.0, start=300.0, tail=900.0) == 0.0


def test_tokens_cost_by_the_million() -> None:
    price = TokenPrice(input=0.5, output=2.0)
    assert cost_of_tokens(price, tokens_in=2_000_000, tokens_out=500_000) == pytest.approx(2.0)


def test_it_is_rented_until_that_would_cost_more_than_a_wake() -> None:
    rent, rented = Rent(), 0
    while cheaper_to_rent(wake=1.0, spent=rent.spent(0.0), request=0.125):
        rent.add(0.125, 0.0)
        rented += 1
    assert rented == 8
    rent.settle()
    assert cheaper_to_rent(wake=1.0, spent=rent.spent(0.0), request=0.125)


def test_what_was_rented_is_forgotten() -> None:
    rent = Rent()
    assert rent.spent(0.0) == 0.0
    rent.add(1.0, 100.0)
    assert rent.spent(100.0) == 1.0
    assert rent.spent(100.0 + MEMORY) == pytest.approx(0.3679, abs=1e-3)
    rent.add(1.0, 100.0 + MEMORY)
    assert rent.spent(100.0 + 100 * MEMORY) < 1e-9
    assert rent.spent(50.0) == rent.spent(100.0 + MEMORY)  # a clock that goes back makes nothing dearer


WAKE = 1.0


def by_the_rule(requests: list[tuple[float, float]], lasts: float) -> float:
    """What all requests cost, each (when, rent): a wake serves those of the next `lasts` seconds."""
    rent, paid, awake_until = Rent(), 0.0, -inf
    for now, cost in requests:
        if now < awake_until:
            continue
        if cheaper_to_rent(wake=WAKE, spent=rent.spent(now), request=cost):
            rent.add(cost, now)
            paid += cost
        else:
            rent.settle()
            paid += WAKE
            awake_until = now + lasts
    return paid


def in_hindsight(requests: list[tuple[float, float]], lasts: float) -> float:
    """The least that they could have cost: each is rented, or begins a wake that serves what follows in its time."""
    best = [0.0] * (len(requests) + 1)
    for index in range(len(requests) - 1, -1, -1):
        now, cost = requests[index]
        after = next((later for later in range(index, len(requests)) if requests[later][0] >= now + lasts), None)
        best[index] = min(cost + best[index + 1], WAKE + (best[after] if after is not None else 0.0))
    return best[0]


gaps = st.sampled_from([0.0, 1.0, 60.0, 500.0, 1300.0, 5000.0, 100_000.0])
costs = st.sampled_from([0.0, 0.001, 0.05, 0.3, 0.49, 0.51, 0.999, 1.0, 1.001, 40.0])


@given(st.lists(st.tuples(gaps, costs), max_size=80), st.sampled_from([60.0, 1200.0, 3600.0]))
@example([(0.0, 1.0), (0.0, 0.001)], 1200.0)  # a whole wake's rent, and then the wake
@example([(1200.0, 0.28)] * 80, 1200.0)  # just slowly enough to be forgotten for ever
@settings(max_examples=500, deadline=None)
def test_it_never_costs_more_than_about_twice_the_best_in_hindsight(
    given_requests: list[tuple[float, float]], lasts: float
) -> None:
    moments = accumulate(gap for gap, _ in given_requests)
    requests = [(now, cost) for now, (_, cost) in zip(moments, given_requests, strict=True)]
    bound = 2 + lasts / MEMORY
    assert by_the_rule(requests, lasts) <= bound * in_hindsight(requests, lasts) + 1e-9


def test_no_better_bound_can_be_promised_than_twice() -> None:
    requests = [(0.0, 0.001)] * 1001
    assert by_the_rule(requests, 1200.0) / in_hindsight(requests, 1200.0) == pytest.approx(2.0, abs=0.01)


# Where a request is expected to cost least.


def test_a_sleeping_endpoint_shares_its_wake_with_those_who_are_expected() -> None:
    assert cost_asleep(1.0, lasts=1000.0, rate=0.0) == 1.0
    assert cost_asleep(1.0, lasts=1000.0, rate=0.009) == pytest.approx(0.1)


def test_an_awake_endpoint_costs_what_its_sleep_is_put_off_by() -> None:
    assert cost_awake(3.6, idle_for=0.0, asleep=5.0) == 0.0
    assert cost_awake(3.6, idle_for=60.0, asleep=5.0) == pytest.approx(0.06)
    assert cost_awake(3.6, idle_for=60.0, asleep=0.01) == 0.01  # never more than if it slept
    assert cost_awake(3.6, idle_for=-1.0, asleep=5.0) == 0.0


def test_requests_are_counted_over_about_an_hour() -> None:
    arrivals = Arrivals()
    assert (arrivals.rate(0.0), arrivals.tokens_out) == (0.0, None)
    for _ in range(36):
        arrivals.come(0.0)
    assert arrivals.rate(0.0) == pytest.approx(0.01)
    assert arrivals.rate(MEMORY) == pytest.approx(0.01 * 0.3679, rel=1e-3)
    arrivals.answered(100, MEMORY)
    arrivals.answered(300, MEMORY)
    assert arrivals.tokens_out == pytest.approx(200)
    arrivals.answered(1000, 20 * MEMORY)
    assert arrivals.tokens_out == pytest.approx(1000)


def test_the_rate_comes_to_be_that_of_steady_requests() -> None:
    arrivals = Arrivals()
    for second in range(0, 40_000, 10):
        arrivals.come(float(second))
    assert arrivals.rate(40_000.0) == pytest.approx(0.1, rel=0.01)


def by_the_cheapest(gap: float, rent: float, count: int) -> tuple[float, float]:
    """What steady requests cost where each goes to the cheapest, and what the better of renting and waking all would.

    An hour awake costs $3.60; a wake lasts 100 s, and 900 s after the last request.
    """
    price, start, tail = 3.6, 100.0, 900.0
    arrivals, now, paid, sleeps_at = Arrivals(), 0.0, 0.0, -inf
    for _ in range(count):
        asleep = cost_asleep(cost_of_wake(price, start=start, tail=tail), lasts=start + tail, rate=arrivals.rate(now))
        here = cost_awake(price, idle_for=tail - (sleeps_at - now), asleep=asleep) if now < sleeps_at else asleep
        arrivals.come(now)
        if here <= rent:
            paid += start * 0.001 + tail * 0.001 if now >= sleeps_at else (tail - (sleeps_at - now)) * 0.001
            sleeps_at = now + tail
        else:
            paid += rent
        now += gap
    awake = 1.0 + (count - 1) * min(gap * 0.001, 1.0)
    return paid, min(awake, rent * count)


@pytest.mark.parametrize("gap", [1.0, 10.0, 60.0, 300.0, 800.0, 2000.0])
@pytest.mark.parametrize("rent", [0.0005, 0.005, 0.02, 0.1, 0.5, 0.99, 2.0])
def test_steady_requests_cost_hardly_more_than_the_better_of_both_ways(gap: float, rent: float) -> None:
    paid, best = by_the_cheapest(gap, rent, 4000)
    assert paid <= 1.6 * best + 2.0
