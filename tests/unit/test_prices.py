"""What a price must be like to be believed, which of several counts, and what was so when."""

from __future__ import annotations

import json
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lamplighter.control.feed_keeper import FeedPace
from lamplighter.control.list_prices import ListPrices
from lamplighter.domain.alarms import AlarmKind, Bounds, Watch
from lamplighter.domain.catalogue import Catalogue
from lamplighter.domain.money import Quote, Unit
from lamplighter.domain.prices import (
    JUMP,
    UNITS,
    FeedState,
    Kind,
    Listing,
    PriceHistory,
    Rate,
    Refusal,
    Told,
    counting,
    exact,
    judged,
    money,
)
from lamplighter.hf.snapshot import published, published_price

NOW = 1_700_000_000.0


def told(amount: object, **more: object) -> Told:
    given = {"kind": Kind.HARDWARE, "provider": "aws", "subject": "aws-us-east-1-nvidia-l4-x1", "per": "hour"}
    return Told(amount=amount, **given | more)  # type: ignore[arg-type]


def listing(amount: str, source: str, *, at: float = NOW, region: str = "", **more: object) -> Listing:
    subject = f"aws-{region}-nvidia-l4-x1" if region else "aws-nvidia-l4-x1"
    quote = Quote(subject=subject, unit=Unit.REPLICA_HOUR, amount=Decimal(amount), source=source, at=at, region=region)
    return Listing(kind=Kind.HARDWARE, provider="aws", quote=quote, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        (told(0), "is nothing, and is not said to be free"),
        (told(Decimal("-0.8")), "less than nothing"),
        (told("NaN"), "is no number"),
        (told(Decimal("NaN")), "is no number"),
        (told(Decimal("Infinity")), "is no number"),
        (told("1e999999"), "is no number"),
        (told(Decimal("1e-5000")), "is no number"),
        (told(0.8), "is no number"),
        (told(True), "is no number"),
        (told(None), "is no number"),
        (told({"amount": 1}), "is no number"),
        (told("eighty cents"), "is no number"),
        (told(10**400), "is no number"),
        (told(10_000_000), "is more than $1,000,000"),
        (told(Decimal("1e-30")), "less than a billionth of a dollar"),
        (told(Decimal(500000), per="second"), "more than $1,000,000"),
        (told(1, currency="EUR"), "is in EUR, and only USD is understood"),
        (told(1, currency=None), "is in None"),
        (told(1, per="fortnight"), "is for fortnight, a unit that is not known"),
        (told(Decimal(801)), f"is more than {JUMP:,} times the last good one, $0.80"),
        (told(Decimal("0.000799")), "is less than 1/1,000 of the last good one, $0.80"),
    ],
)
def test_an_absurd_price_is_refused_and_the_reason_is_told(wrong: Told, why: str) -> None:
    found = judged(wrong, "huggingface", NOW, Decimal("0.8"))
    assert isinstance(found, Refusal)
    assert why in found.reason
    assert (found.source, found.subject) == ("huggingface", wrong.subject)
    assert len(str(found)) < 400


@pytest.mark.parametrize("amount", ["800", "0.0008", "0.8", "0.85"])
def test_a_price_within_a_thousand_times_of_the_last_good_one_is_believed(amount: str) -> None:
    found = judged(told(amount), "huggingface", NOW, Decimal("0.8"))
    assert isinstance(found, Listing)
    assert found.quote.amount == Decimal(amount)


def test_what_is_said_to_be_free_may_cost_nothing() -> None:
    found = judged(told(0, free=True), "router", NOW, Decimal(1))
    assert isinstance(found, Listing)
    assert found.free
    assert found.quote.amount == 0


@pytest.mark.parametrize(
    ("per", "amount", "unit", "one"),
    [
        ("second", "0.0002", Unit.REPLICA_HOUR, "0.72"),
        ("minute", "0.01", Unit.REPLICA_HOUR, "0.6"),
        ("token_in", "0.0000015", Unit.MILLION_TOKENS_IN, "1.5"),
        ("thousand_tokens_out", "0.002", Unit.MILLION_TOKENS_OUT, "2"),
        ("thousand_requests", "5", Unit.REQUEST, "0.005"),
        ("audio_hour", "0.36", Unit.AUDIO_MINUTE, "0.006"),
    ],
)
def test_units_are_converted_exactly(per: str, amount: str, unit: Unit, one: str) -> None:
    found = judged(told(amount, per=per), "x", NOW, None)
    assert isinstance(found, Listing)
    assert (found.quote.unit, found.quote.amount) == (unit, Decimal(one))


@given(st.decimals(min_value="0.001", max_value="999", places=9), st.sampled_from(sorted(UNITS)))
def test_a_price_survives_json_and_the_table_without_loss(amount: Decimal, per: str) -> None:
    read = json.loads(f'{{"price": {amount}}}', parse_float=Decimal)["price"]
    found = judged(told(read, per=per), "x", NOW, None)
    if isinstance(found, Listing) and UNITS[per][1] == 1:
        assert found.quote.amount == amount


@given(st.one_of(st.text(max_size=80), st.integers(), st.decimals(), st.floats(), st.none(), st.booleans()))
def test_whatever_stands_there_is_a_price_or_a_refusal(value: object) -> None:
    found = judged(told(value), "x", NOW, Decimal(1))
    assert isinstance(found, Refusal) or found.quote.amount > 0


def test_a_float_is_no_exact_number() -> None:
    assert exact(0.1) is None
    assert exact(Decimal("0.1")) == Decimal("0.1")


@pytest.mark.parametrize(
    ("amount", "text"), [("0.8", "0.80"), ("12", "12.00"), ("0.000001", "0.000001"), ("1E+2", "100.00")]
)
def test_an_amount_is_written_as_a_plain_decimal(amount: str, text: str) -> None:
    assert money(Decimal(amount)) == text


def test_the_configuration_counts_before_feeds_before_the_snapshot() -> None:
    sources = ["snapshot 2026-08-20", "genai-prices", "router", "huggingface", "configuration"]
    known = [listing(str(index + 1), source, at=NOW - index) for index, source in enumerate(sources)]
    for position, source in reversed(list(enumerate(sources))):
        best = counting(known[: position + 1])
        assert best is not None
        assert best.quote.source == source
    assert counting([]) is None


# The catalogue.


def test_only_what_is_new_is_news() -> None:
    known = Catalogue()
    assert known.put(listing("0.8", "huggingface", region="us-east-1"), NOW)
    assert not known.put(listing("0.8", "huggingface", region="us-east-1", at=NOW + 5), NOW + 5)
    assert known.put(listing("0.9", "huggingface", region="us-east-1"), NOW + 9)
    assert known.confirmed_at(("hardware", "aws-us-east-1-nvidia-l4-x1", "replica_hour", "huggingface")) == NOW + 9


def test_two_that_disagree_are_both_shown_and_one_of_them_counts() -> None:
    known = Catalogue()
    for one in (
        listing("0.8", "snapshot 2026-08-20"),
        listing("0.9", "huggingface", region="us-east-1"),
        listing("0.8", "huggingface", region="eu-west-1"),
    ):
        known.put(one, NOW)
    found = {(one.listing.quote.region, one.listing.quote.source): one for one in known.entries()}
    east, west, any_region = (
        found["us-east-1", "huggingface"],
        found["eu-west-1", "huggingface"],
        found["", "snapshot 2026-08-20"],
    )
    assert (east.counts, east.disagrees) == (True, True)
    assert [one.quote.source for one in east.others] == ["snapshot 2026-08-20"]
    assert (west.counts, west.disagrees) == (True, False)  # another region's price is no contradiction
    assert (any_region.counts, any_region.disagrees) == (False, True)


def test_the_first_price_of_a_region_is_measured_by_the_published_one() -> None:
    known = Catalogue()
    known.put(listing("0.8", "snapshot 2026-08-20"), NOW)
    last = known.last_good(Kind.HARDWARE, "aws-us-east-1-nvidia-l4-x1", Unit.REPLICA_HOUR, "huggingface", "us-east-1")
    assert last == Decimal("0.8")


def test_a_promotion_is_not_what_later_prices_are_measured_by() -> None:
    known = Catalogue()
    known.put(listing("0.8", "huggingface"), NOW)
    known.put(listing("0", "huggingface", free=True), NOW)
    assert known.last_good(Kind.HARDWARE, "aws-nvidia-l4-x1", Unit.REPLICA_HOUR, "huggingface", "") == Decimal("0.8")


# What was so when.


def quote(amount: str, source: str = "huggingface") -> Quote:
    return Quote(subject="e", unit=Unit.REPLICA_HOUR, amount=Decimal(amount), source=source, at=0.0)


def test_the_past_has_the_prices_of_the_past() -> None:
    history = PriceHistory()
    assert history.at(5.0) is None
    assert history.add(None, 5.0) is None
    for amount, at in (("1", 10.0), ("1", 15.0), ("2", 20.0)):
        history.add(quote(amount), at)
    history.add(None, 30.0)
    history.add(quote("3"), 40.0)
    amounts = {
        at: found.amount if (found := history.at(at)) else None for at in (9.0, 10.0, 19.9, 20.0, 30.0, 39.0, 41.0)
    }
    assert amounts == {9.0: 1, 10.0: 1, 19.9: 1, 20.0: 2, 30.0: None, 39.0: None, 41.0: 3}


def test_an_interval_is_told_with_every_change_in_it() -> None:
    history = PriceHistory()
    for amount, at in (("1", 10.0), ("2", 20.0), ("3", 30.0)):
        history.add(quote(amount), at)

    def told_between(since: float, until: float) -> list[tuple[float, object]]:
        return [(one.at, one.quote.amount if one.quote else None) for one in history.between(since, until)]

    assert told_between(12.0, 30.0) == [(12.0, 1), (20.0, 2)]
    assert told_between(20.0, 31.0) == [(20.0, 2), (30.0, 3)]
    assert told_between(0.0, 15.0) == [(0.0, 1)]  # before the first one that one counts
    assert told_between(50.0, 60.0) == [(50.0, 3)]


def test_a_clock_that_goes_back_does_not_reorder_prices() -> None:
    history = PriceHistory()
    history.add(quote("1"), 100.0)
    change = history.add(quote("2"), 50.0)
    assert change is not None
    assert change.at == 100.0
    assert history.at(100.0) is change.quote


def test_a_clock_that_was_far_ahead_freezes_no_price() -> None:
    year = 365 * 86400.0
    history = PriceHistory()
    for amount, at in (("1", NOW), ("2", NOW + 10 * year), ("3", NOW + 60), ("4", NOW + 120)):
        history.add(quote(amount), at)
    steps = [(one.at - NOW, one.quote.amount) for one in history.between(NOW, NOW + 1000) if one.quote]
    assert steps == [(0.0, Decimal(1)), (60.0, Decimal(3)), (120.0, Decimal(4))]
    healed = PriceHistory()  # from rows that were written with the wrong moment
    for amount in ("1", "2", "4"):
        healed.add(quote(amount), NOW + 10 * year)
    change = healed.add(quote("4"), NOW + 200)
    assert change is not None
    assert (change.at, healed.at(NOW + 200)) == (NOW + 200, change.quote)


@given(
    st.lists(st.tuples(st.floats(0, 1000), st.one_of(st.none(), st.integers(1, 3))), max_size=30),
    st.floats(-10, 1010),
    st.floats(0, 100),
)
def test_an_interval_agrees_with_its_moments(
    steps: list[tuple[float, int | None]], since: float, length: float
) -> None:
    history = PriceHistory()
    for at, amount in sorted(steps, key=lambda step: step[0]):
        history.add(None if amount is None else quote(str(amount)), at)
    until = since + length
    found = history.between(since, until)
    assert found[0].at == since
    assert [one.at for one in found] == sorted(one.at for one in found)
    for one, following in zip(found, [*(one.at for one in found[1:]), until], strict=True):
        middle = (one.at + following) / 2
        if one.at < middle < following:
            assert history.at(one.at) == one.quote
            assert history.at(middle) == one.quote


def test_a_history_has_a_bound() -> None:
    history = PriceHistory(most=3)
    for second in range(10):
        history.add(quote(str(second + 1)), float(second))
    assert [one.at for one in history.between(0.0, 100.0)] == [0.0, 8.0, 9.0]


def test_power_costs_watts_times_the_price_of_a_kilowatt_hour() -> None:
    rate = Rate.of_power(Decimal(350), Decimal("0.30"))
    assert (rate.amount, rate.estimate) == (Decimal("0.105"), True)


# What comes along.


def test_the_published_snapshot_is_dated_and_has_no_absurd_price() -> None:
    listings = published()
    assert len(listings) == 55
    assert {one.quote.source for one in listings} == {"snapshot 2026-08-20"}
    assert all(one.estimate and 0 < one.quote.amount < 100 for one in listings)
    small = published_price("aws", "nvidia-l4", "x1")
    assert small is not None
    assert small.quote.amount == Decimal("0.8")
    assert published_price("aws", "nvidia-l4", "x3") is None


def test_the_worked_example_of_the_pricing_page_comes_out_to_the_cent() -> None:
    found = published_price("aws", "nvidia-t4", "x1")
    assert found is not None
    rate = found.quote.amount
    assert rate * (1 * 1 + Decimal("0.25") * 2) == Decimal("0.75")
    assert rate * (730 * 1 + Decimal("182.5") * 2) == Decimal("547.5")


def test_list_prices_are_believable_and_named_after_who_charges() -> None:
    prices = ListPrices()
    found = prices.told(["https://api.openai.com/v1"], NOW)
    assert found
    assert {one.provider for one in found} <= {"openai", "openai-decisions"}
    assert not [one for told in found if isinstance(one := judged(told, "genai-prices", NOW, None), Refusal)]
    assert prices.told(["https://models.example.com/v1"], NOW) == []
    assert prices.subject("https://api.openai.com/v1", "gpt-4o-mini") == "openai/gpt-4o-mini"
    assert prices.subject("https://api.openai.com/v1", "no such model") is None
    assert prices.subject("https://models.example.com/v1", "gpt-4o-mini") is None


# When to ask again, and when to tell people.


def test_a_feed_is_asked_hourly_with_jitter_and_with_growing_pauses_after_failures() -> None:
    pace = FeedPace()
    assert (pace.after_success(0.0), pace.after_success(1.0)) == pytest.approx((3240.0, 3960.0))
    assert [pace.after_failure(n, 1.0, None) for n in (1, 2, 3, 40)] == [30.0, 60.0, 120.0, 1800.0]
    assert pace.after_failure(1, 0.0, None) == 15.0
    assert pace.after_failure(1, 0.0, 600.0) == 600.0
    assert pace.after_failure(1, 0.5, 1e9) == 86400.0 + 15.0


def test_prices_that_are_refused_are_an_alarm_as_long_as_they_are() -> None:
    watch = Watch()
    refused = tuple(
        Refusal(source="router", subject=f"x/m{n}", value="-1", reason="is less than nothing") for n in range(5)
    )
    state = FeedState(source="router", checked_at=NOW, refused=refused)
    found = watch.look((), {}, NOW, feeds=[state])
    alarm = found[AlarmKind.PRICE_REFUSED, "router"]
    assert "5 prices are not believed" in alarm.text
    assert "x/m0: -1 is less than nothing" in alarm.text
    assert "and 2 more" in alarm.text
    assert not watch.look((), {}, NOW, feeds=[FeedState(source="router", checked_at=NOW)])


def test_a_feed_that_is_down_is_an_alarm_once_its_prices_are_old() -> None:
    watch = Watch(Bounds(prices=3600.0))
    state = FeedState(source="huggingface", checked_at=NOW, failing_since=NOW + 60, error="No connection.")
    assert not watch.look((), {}, NOW + 3599, feeds=[state])
    alarm = watch.look((), {}, NOW + 3600, feeds=[state])[AlarmKind.PRICES_OLD, "huggingface"]
    assert alarm.since == NOW
    assert alarm.text == "huggingface has told no prices for 1 h: No connection."
    never = FeedState(source="huggingface", failing_since=NOW)
    assert (AlarmKind.PRICES_OLD, "huggingface") in watch.look((), {}, NOW + 3600, feeds=[never])


def test_hardware_of_the_same_name_costs_at_each_provider_what_that_says() -> None:
    known = Catalogue()
    for amount, source in (("0.8", "huggingface"), ("5", "cloud")):
        known.put(listing(amount, source, region="us-east-1"), NOW)
    known.put(listing("0.7", "snapshot 2026-08-20"), NOW)
    counts = {one.listing.quote.source: one.counts for one in known.entries()}
    assert counts == {"huggingface": True, "cloud": True, "snapshot 2026-08-20": False}


def test_every_list_price_is_an_estimate() -> None:
    assert all(one.estimate for one in ListPrices().told(None, NOW))
