"""What the same requests cost by the token and by the hour, and at which pace both are the same."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lamplighter.domain.breakeven import (
    DAY,
    Amount,
    Asked,
    Basis,
    BreakEven,
    Compared,
    Pattern,
    Terms,
    break_even,
    by_the_hour,
    by_use,
    recommendation,
)
from lamplighter.domain.money import Quote, Unit

TERMS = Terms(per_hour=Decimal("3.6"), idle_timeout=900.0, start=100.0)  # $0.001 a second
ASKED = Asked(since=0.0, until=10 * DAY, requests=100, told=100, tokens_in=1_000_000, tokens_out=500_000)


def quote(unit: Unit, amount: str) -> Quote:
    return Quote(subject="x", unit=unit, amount=Decimal(amount), source="test", at=0.0)


TOKENS = (quote(Unit.MILLION_TOKENS_IN, "0.10"), quote(Unit.MILLION_TOKENS_OUT, "0.40"))


def test_requests_close_together_share_a_wake_and_others_have_their_own() -> None:
    pattern = Pattern([(0.0, 10.0), (110.0, 120.0), (5000.0, 5010.0)], DAY)
    assert pattern.wakes(900.0) == 2
    assert pattern.awake(900.0, start=100.0) == pytest.approx(30 + 100 + 2 * 900 + 2 * 100)
    assert pattern.wakes(60.0) == 3
    assert pattern.awake(60.0, start=0.0) == pytest.approx(30 + 3 * 60)


def test_requests_side_by_side_are_busy_once() -> None:
    assert Pattern([(0.0, 10.0), (5.0, 12.0), (12.0, 20.0), (1.0, 2.0)], DAY).busy == pytest.approx(20.0)


def test_what_never_sleeps_is_awake_all_the_time() -> None:
    pattern = Pattern([(0.0, 10.0), (5000.0, 5010.0)], DAY)
    assert pattern.awake(None, start=100.0) == DAY
    assert pattern.wakes(None) == 1


def awake_by_walking(spells: list[tuple[float, float]], idle: float, start: float, pace: float) -> float:
    """The slow way: second after second of each wake, with every gap shortened."""
    merged: list[list[float]] = []
    for begin, end in sorted(spells):
        if merged and begin <= merged[-1][1]:
            merged[-1][1] = max(merged[-1][1], end)
        else:
            merged.append([begin, end])
    total, sleeps_at = 0.0, None
    now = 0.0
    for index, (begin, end) in enumerate(merged):
        now += (begin - merged[index - 1][1]) / pace if index else 0.0
        if sleeps_at is None or now > sleeps_at:
            total += start + idle
        else:
            total += idle - (sleeps_at - now)
        now += end - begin
        total += end - begin
        sleeps_at = now + idle
    return total


spells = st.lists(
    st.tuples(st.integers(0, 100_000), st.integers(0, 500)).map(lambda one: (float(one[0]), float(sum(one)))),
    min_size=1,
    max_size=60,
)


@given(spells, st.sampled_from([0.0, 60.0, 900.0]), st.sampled_from([0.0, 30.0]), st.sampled_from([0.1, 1.0, 3.7, 1e4]))
def test_the_sum_over_sorted_gaps_is_what_walking_through_them_gives(
    given_spells: list[tuple[float, float]], idle: float, start: float, pace: float
) -> None:
    found = Pattern(given_spells, 200_000.0).awake(idle, start, pace)
    assert found == pytest.approx(awake_by_walking(given_spells, idle, start, pace))


def test_tokens_cost_exactly_what_they_are_quoted_at() -> None:
    assert by_use(ASKED, TOKENS) == Amount(Decimal("0.300000000"), Basis.EXACT)


def test_what_can_not_be_said_says_why() -> None:
    assert by_use(ASKED, ()).why == "no price known"
    assert by_use(replace(ASKED, told=0, tokens_in=0, tokens_out=0), TOKENS).why == "no tokens measured"
    assert "million_tokens_in" in by_use(ASKED, TOKENS[:1]).why
    some = by_use(replace(ASKED, told=88), TOKENS)
    assert (some.basis, some.why) == (Basis.AT_LEAST, "12 of 100 requests told no tokens and are not in it")
    assert by_use(ASKED, (), is_free=True).dollars == 0


def test_a_price_for_a_request_or_an_image_counts_requests() -> None:
    assert by_use(ASKED, (quote(Unit.REQUEST, "0.02"),)).dollars == 2
    image = by_use(ASKED, (quote(Unit.IMAGE, "0.04"),), task="text-to-image")
    assert (image.dollars, image.basis) == (Decimal(4), Basis.ESTIMATE)
    assert by_use(ASKED, (quote(Unit.IMAGE, "0.04"),), task="text-generation").dollars is None


def test_hardware_costs_its_hours_awake_and_says_where_the_start_is_not_known() -> None:
    pattern = Pattern([(0.0, 10.0)], DAY)
    assert by_the_hour(pattern, TERMS) == Amount(Decimal("1.010000000"), Basis.ESTIMATE)
    unknown = by_the_hour(pattern, replace(TERMS, start=None))
    assert (unknown.dollars, "never measured" in unknown.why) == (Decimal("0.910000000"), True)


@given(spells, st.integers(1, 100_000))
def test_at_the_break_even_both_cost_the_same(given_spells: list[tuple[float, float]], cents: int) -> None:
    pattern, rent = Pattern(given_spells, 10 * DAY), Decimal(cents) / 1000
    found = break_even(pattern, ASKED, TERMS, rent=rent, hardware="here", rented="there")
    if found.per_day is None:
        assert TERMS.cost(pattern, 1e9) > rent
    elif not found.per_day:
        assert TERMS.cost(pattern, 1e-6) <= rent
    else:
        pace = float(found.per_day / ASKED.per_day)
        assert TERMS.cost(pattern, pace * 1.02 + 1e-3) <= rent  # above it the hardware is cheaper
        assert TERMS.cost(pattern, max(1e-6, pace * 0.98 - 1e-3)) >= rent * Decimal("0.999")


def test_a_break_even_is_worked_out_by_hand() -> None:
    """100 requests of no length, an hour apart; each wake costs $1, an hour awake $3.60."""
    pattern = Pattern([(3600.0 * index, 3600.0 * index) for index in range(100)], 360_000.0)
    asked = replace(ASKED, until=360_000.0)
    found = break_even(pattern, asked, TERMS, rent=Decimal(50), hardware="here", rented="there")
    # One wake, then 99 gaps: 1 + 99 x gap x 0.001 = 50, so that the gap is 494.9 s instead of 3600.
    assert found.per_day is not None
    assert float(found.per_day / asked.per_day) == pytest.approx(3600 / 494.9, rel=0.001)


def compared(own: str | None, **others: str) -> list[Compared]:
    def amount(text: str | None, basis: Basis) -> Amount:
        return Amount(None if text is None else Decimal(text), basis)

    rows = [Compared(name="as it was", amount=amount(own, Basis.LEDGER), is_own=True)]
    return rows + [Compared(name=name, amount=amount(text, Basis.EXACT)) for name, text in others.items()]


def test_less_than_a_day_of_requests_tells_no_number_a_day() -> None:
    terms = Terms(per_hour=Decimal(1), idle_timeout=900.0, start=60.0)

    def found(count: int, until: float, rent: str) -> BreakEven:
        pattern = Pattern([(at * 60.0, at * 60.0 + 1) for at in range(count)], until)
        asked = Asked(since=0.0, until=until, requests=count, told=count)
        return break_even(pattern, asked, terms, rent=Decimal(rent), hardware="chat", rented="far")

    hour, day = found(60, 3600.0, "0.60"), found(1440, DAY, "14.40")
    assert (hour.per_day, "a whole day" in hour.why) == (None, True)
    assert day.per_day == pytest.approx(Decimal(2473), abs=1)
    assert "costs more" in found(60, 3600.0, "0.01").why  # that holds at any pace


def test_the_recommendation_is_one_sentence() -> None:
    found = BreakEven(hardware="chat", rented="novita", per_day=Decimal(320))
    said = recommendation("chat", ASKED, compared("4.00", novita="1.00"), found)
    assert said == (
        "novita would have cost $1.00 instead of $4.00, 75 % less, up to about 320 requests a day; there were 10."
    )
    assert recommendation("chat", ASKED, compared("0.50", novita="1.00"), found) == (
        "Stay with chat: it cost $0.50, and novita, the next, $1.00."
    )
    assert recommendation("chat", ASKED, compared("0.50"), None).startswith("Stay with chat: what the same")
    assert recommendation("chat", ASKED, compared(None, novita="0.0012"), None).startswith("Of what is known novita")


def test_without_any_use_it_says_what_to_do() -> None:
    nothing = Asked(since=0.0, until=DAY)
    assert "send it requests" in recommendation("chat", nothing, compared("4.00", novita="1.00"), None)
    assert nothing.per_day == 0
