"""From facts to dollars: exact sums, what is charged for what and to whom, whatever the clock and the server do."""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lamplighter.domain.accounts import Account
from lamplighter.domain.calendar import Calendar
from lamplighter.domain.closing import Facts, Position, advance
from lamplighter.domain.endpoint import ASLEEP, State
from lamplighter.domain.ledger import EXACT, FRACTION, Charge, Hour, Kind, Prices, Used, close, cost_of
from lamplighter.domain.money import BillingRule, dollars, nanos
from lamplighter.domain.shares import divide
from lamplighter.domain.timeline import SECOND, Sighting

HOUR = 3600
START = 1_699_999_200  # a full hour
BY_MINUTE = BillingRule(billed=frozenset({State.INITIALIZING, State.RUNNING}), step=60.0)
UTC = Calendar()
ANN, BOB = ("key:ann", "chat"), ("key:bob", "chat")


def seen(
    number: int,
    at: float,
    before: State | None,
    after: State | None,
    lasted: float | None = None,
    **rest: object,
) -> Sighting:
    """Something seen so many seconds after the start."""
    lasting = None if lasted is None else round(lasted * SECOND)
    if "seen_until" in rest:
        rest["seen_until"] = round((START + float(str(rest["seen_until"]))) * SECOND)
    return Sighting(
        number=number,
        at=round((START + at) * SECOND),
        before=before,
        after=after,
        lasted=lasting,
        **rest,  # type: ignore[arg-type]
    )


def hourly(price: str) -> Prices:
    return [(0, nanos(Decimal(price)))]


def charge(
    sightings: list[Sighting],
    seconds: float,
    prices: Prices,
    *,
    rule: BillingRule = EXACT,
    busy: dict[int, int] | None = None,
    used: dict[int, dict[Account, Used]] | None = None,
) -> list[tuple[int, Charge]]:
    """All charges up to so many seconds after the start, each with the hour (0, 1, …) of which it is."""
    facts = Facts(
        sightings,
        {START + hour * HOUR: length * SECOND for hour, length in (busy or {}).items()},
        {START + hour * HOUR: accounts for hour, accounts in (used or {}).items()},
    )
    until = round((START + seconds) * SECOND)
    run = advance(Position(), facts, until, calendar=UTC, prices=prices, rules={"": rule})
    return [((begin - START) // HOUR, one) for begin, charges in run for one in charges]


def paid(charges: list[tuple[int, Charge]], kind: Kind | None = None, **wanted: object) -> Decimal:
    """What was charged, of one kind or all."""
    return dollars(
        sum(
            one.nanos
            for _, one in charges
            if one.kind is not Kind.ALWAYS
            and kind in (None, one.kind)
            and all(getattr(one, name) == value for name, value in wanted.items())
        )
    )


def hours_of(charges: list[tuple[int, Charge]]) -> set[int]:
    return {hour for hour, one in charges if one.nanos and one.kind is not Kind.ALWAYS}


# Worked examples of the public pricing page (Hugging Face, Inference Endpoints).


def test_an_endpoint_of_75_cents_an_hour_costs_547_dollars_50_a_month() -> None:
    always = [seen(1, 0, None, State.RUNNING)]
    charges = charge(always, 730 * HOUR, hourly("0.75"), rule=BY_MINUTE)
    assert paid(charges) == Decimal("547.50")


@pytest.mark.parametrize(("least", "most", "scaled_up"), [(1, 2, 15), (1, 3, 7.5), (2, 5, 1.25)])
def test_autoscaling_costs_rate_times_hours_of_all_and_scale_up_hours_of_the_extra_replicas(
    least: int, most: int, scaled_up: float
) -> None:
    month = 730
    up, down = 100 * HOUR, (100 + scaled_up) * HOUR
    history = [
        seen(1, 0, None, State.RUNNING, replicas=least),
        seen(2, up, State.RUNNING, State.RUNNING, up, replicas=most),
        seen(3, down, State.RUNNING, State.RUNNING, down - up, replicas=least),
    ]
    charges = charge(history, month * HOUR, hourly("0.5"), rule=BY_MINUTE)
    expected = Decimal("0.5") * (month * least + Decimal(scaled_up) * (most - least))
    assert paid(charges) == expected


# Rounding.


def test_a_period_is_rounded_up_to_the_minute_once_for_each_replica() -> None:
    history = [
        seen(1, 0, None, State.PAUSED, replicas=2),
        seen(2, 100, State.PAUSED, State.INITIALIZING, 100, replicas=2),
        seen(3, 130, State.INITIALIZING, State.RUNNING, 30, replicas=2),
        seen(4, 161, State.RUNNING, State.SCALED_TO_ZERO, 31, replicas=2),
    ]
    charges = charge(history, 3600, hourly("3.6"), rule=BY_MINUTE)
    assert paid(charges) == Decimal("0.24"), "two replicas, two minutes each"
    assert paid(charges, Kind.COLD_START) == Decimal("0.06")
    assert paid(charges, Kind.IDLE) == Decimal("0.18"), "what rounding adds is idle"


def test_a_period_costs_the_minimum_at_least() -> None:
    history = [seen(1, 0, None, State.RUNNING), seen(2, 10, State.RUNNING, State.PAUSED, 10)]
    rule = dataclasses.replace(BY_MINUTE, minimum=300.0)
    assert paid(charge(history, 3600, hourly("3.6"), rule=rule)) == Decimal("0.3")


def test_a_replica_that_came_and_went_is_rounded_by_itself() -> None:
    history = [
        seen(1, 0, None, State.RUNNING),
        seen(2, 60, State.RUNNING, State.RUNNING, 60, replicas=2),
        seen(3, 70, State.RUNNING, State.RUNNING, 10, replicas=1),
        seen(4, 120, State.RUNNING, State.PAUSED, 50),
    ]
    assert paid(charge(history, 3600, hourly("3.6"), rule=BY_MINUTE)) == Decimal("0.18")


# Prices.


def test_a_price_that_changes_amid_an_interval_counts_from_its_moment_on() -> None:
    prices = [(0, nanos(Decimal(1))), ((START + 900) * SECOND, nanos(Decimal(2)))]
    charges = charge([seen(1, 0, None, State.RUNNING)], 3600, prices)
    assert paid(charges) == Decimal("1.75")


def test_time_without_a_price_costs_nothing_and_is_counted() -> None:
    prices = [((START + 3000) * SECOND, nanos(Decimal(6)))]
    charges = charge([seen(1, 0, None, State.RUNNING, replicas=2)], 3600, prices)
    assert paid(charges) == Decimal(2)
    assert sum(one.unpriced for _, one in charges if one.kind is Kind.IDLE) == 6000 * SECOND


def test_sums_of_hours_that_do_not_divide_are_exact() -> None:
    """A price of 10 nanodollars an hour: each sleep ends after a third of one."""
    history = [seen(1, 0, None, State.PAUSED)]
    at = 0.0
    for number in range(2, 62, 2):
        history.append(seen(number, at + 1000, State.PAUSED, State.RUNNING, 1000))
        history.append(seen(number + 1, at + 2200, State.RUNNING, State.PAUSED, 1200))
        at += 2200
    charges = charge(history, at + 3600, [(0, 10)])
    assert paid(charges) == dollars(100)


# Restarts.


def test_an_unobserved_stretch_is_billed_where_it_was_awake_on_both_sides() -> None:
    history = [
        seen(1, 0, None, State.RUNNING, cause="key:ann"),
        seen(2, 7200, None, State.RUNNING, seen_until=1000),
        seen(3, 9000, State.RUNNING, State.PAUSED, 1800),
    ]
    charges = charge(history, 4 * HOUR, hourly("3.6"))
    assert paid(charges) == Decimal(9)
    assert paid(charges, estimated=True) == 0
    assert {one.account[0] for _, one in charges if one.nanos and one.kind is not Kind.ALWAYS} == {"key:ann"}


def test_an_unobserved_stretch_is_an_estimate_where_it_was_found_asleep() -> None:
    history = [seen(1, 0, None, State.RUNNING), seen(2, 9000, None, State.SCALED_TO_ZERO, seen_until=1000)]
    charges = charge(history, 4 * HOUR, hourly("3.6"))
    assert paid(charges, estimated=False) == Decimal(1)
    assert paid(charges, Kind.IDLE, estimated=True) == Decimal(8)


def test_what_is_looked_after_no_more_is_billed_until_it_was_last_seen() -> None:
    history = [seen(1, 0, None, State.RUNNING), seen(2, 9000, None, None, seen_until=1000)]
    assert paid(charge(history, 4 * HOUR, hourly("3.6"))) == Decimal(1)


def test_a_sleep_that_is_confirmed_late_is_billed_until_then() -> None:
    """What is on record is what the provider confirmed; when it was asked for counts nowhere."""
    history = [seen(1, 0, None, State.RUNNING), seen(2, 5400, State.RUNNING, State.PAUSED, 5400)]
    assert paid(charge(history, 4 * HOUR, hourly("3.6"))) == Decimal("5.4")


def test_an_endpoint_that_is_gone_costs_nothing_and_would_cost_nothing() -> None:
    history = [seen(1, 0, None, State.RUNNING), seen(2, 1800, State.RUNNING, None, 1800)]
    charges = charge(history, 24 * HOUR, hourly("2"))
    assert paid(charges) == Decimal(1)
    assert sum(one.nanos for _, one in charges if one.kind is Kind.ALWAYS) == nanos(Decimal(1))


# Clocks.


def test_a_clock_that_is_set_back_loses_and_doubles_nothing() -> None:
    """It ran from 0 to 9000 by the true clock; at 7200 the wall clock was set back by an hour."""
    history = [
        seen(1, 0, None, State.RUNNING),
        seen(2, 3605, State.RUNNING, State.RUNNING, 7205),
        seen(3, 5400, State.RUNNING, State.PAUSED, 1795),
    ]
    for closed in (1, 2, 3):
        facts = Facts(history)
        position = Position()
        first = list(
            advance(
                position,
                Facts(history[:1]),
                (START + closed * HOUR) * SECOND,
                calendar=UTC,
                prices=hourly("3.6"),
                rules={},
            )
        )
        rest = list(
            advance(
                position, Facts(history[1:]), (START + 6 * HOUR) * SECOND, calendar=UTC, prices=hourly("3.6"), rules={}
            )
        )
        total = sum(one.nanos for _, charges in first + rest for one in charges if one.kind is not Kind.ALWAYS)
        assert dollars(total) == Decimal(9) if closed < 3 else dollars(total) == Decimal("10.8")
        assert facts.sightings == history


def test_a_clock_that_is_set_forward_bills_no_time_that_was_not() -> None:
    day = 24 * HOUR
    history = [
        seen(1, 0, None, State.RUNNING),
        seen(2, day + 1800, State.RUNNING, State.RUNNING, 1800),
        seen(3, day + 5400, State.RUNNING, State.PAUSED, 3600),
    ]
    charges = charge(history, 3 * day, hourly("2"))
    assert paid(charges) == Decimal(3)
    assert hours_of(charges) == {0, 24, 25}


def test_a_moment_far_in_the_future_holds_nothing_up() -> None:
    year = 365 * 24 * HOUR
    history = [
        seen(1, 0, None, State.PAUSED),
        seen(2, year, State.PAUSED, State.RUNNING, 600),
        seen(3, 1200, State.RUNNING, State.RUNNING, 600),
        seen(4, 1800, State.RUNNING, State.PAUSED, 600),
    ]
    assert paid(charge(history, 4 * HOUR, hourly("3.6"))) == Decimal("1.2")


@pytest.mark.parametrize(
    ("zone", "day", "hours"),
    [("Europe/Berlin", "2026-03-29", 23), ("Europe/Berlin", "2026-10-25", 25), ("Asia/Kolkata", "2026-10-25", 24)],
)
def test_days_have_as_many_hours_as_their_zone_gives_them(zone: str, day: str, hours: int) -> None:
    calendar = Calendar(zone)
    noon = int(calendar.begin_of(__import__("datetime").date.fromisoformat(day))) + 12 * HOUR
    begin, end = calendar.begin_of(calendar.day_of(noon)), calendar.end_of_day(noon)
    running = Sighting(number=1, at=(begin - HOUR) * SECOND, before=None, after=State.RUNNING)
    run = advance(Position(), Facts([running]), (end + HOUR) * SECOND, calendar=calendar, prices=hourly("1"), rules={})
    costs: dict[str, int] = defaultdict(int)
    for at, charges in run:
        costs[str(calendar.day_of(at))] += sum(one.nanos for one in charges if one.kind is Kind.IDLE)
    assert costs[day] == nanos(Decimal(hours))


# Who is charged.


def test_a_cold_start_is_charged_to_who_woke_it_and_serving_to_who_used_it() -> None:
    history = [
        seen(1, 0, None, State.PAUSED),
        seen(2, 600, State.PAUSED, State.INITIALIZING, 600, cause="key:ann", route="chat"),
        seen(3, 1600, State.INITIALIZING, State.RUNNING, 1000, cause="key:ann", route="chat"),
    ]
    used = {0: {ANN: Used(100 * SECOND, 1), BOB: Used(300 * SECOND, 3, 10, 20)}}
    charges = charge(history, 7200, hourly("3.6"), busy={0: 400}, used=used)
    assert paid(charges, Kind.COLD_START, account=ANN) == Decimal(1)
    assert paid(charges, Kind.SERVING, account=ANN) == Decimal("0.1")
    assert paid(charges, Kind.SERVING, account=BOB) == Decimal("0.3")
    assert paid(charges, Kind.IDLE, account=ANN) == (Decimal("1.6") + Decimal("3.6")) / 4, "the hour after, too"
    assert sum(one.requests for _, one in charges) == 4
    assert sum(one.tokens_in + one.tokens_out for _, one in charges) == 30


def test_idle_without_any_serving_is_charged_to_who_woke_it() -> None:
    charges = charge([seen(1, 0, None, State.RUNNING, cause="operator:mert")], 7200, hourly("1"))
    assert paid(charges, Kind.IDLE, account=("operator:mert", "")) == Decimal(2)


def test_who_used_an_earlier_period_pays_nothing_for_a_later_one() -> None:
    history = [
        seen(1, 0, None, State.RUNNING, cause="key:bob"),
        seen(2, 1800, State.RUNNING, State.PAUSED, 1800),
        seen(3, 7200, State.PAUSED, State.RUNNING, 5400, cause="key:ann"),
    ]
    charges = charge(history, 4 * HOUR, hourly("1"), busy={0: 10}, used={0: {BOB: Used(10 * SECOND)}})
    assert paid(charges, account=("key:ann", "")) == Decimal(2)


@given(st.integers(0, 10**15), st.lists(st.integers(0, 10**12), min_size=1, max_size=30).filter(any))
def test_parts_sum_to_the_whole_and_are_off_by_less_than_one(whole: int, weights: list[int]) -> None:
    parts = divide(whole, weights)
    assert sum(parts) == whole
    for part, weight in zip(parts, weights, strict=True):
        assert abs(part - Fraction(whole * weight, sum(weights))) < 1


def test_nothing_can_be_divided_by_nothing() -> None:
    assert divide(0, [0, 0]) == [0, 0]
    with pytest.raises(ValueError, match="can't be divided"):
        divide(1, [0, 0])


# Against a slow reference: second by second, replica by replica, in fractions.


@dataclass
class Step:
    state: State | None
    length: int
    replicas: int
    cause: str
    restarted: bool
    watched: float


@dataclass
class History:
    steps: list[Step]
    prices: list[tuple[int, int | None]]
    rule: BillingRule
    busy: dict[int, int]
    used: dict[int, dict[Account, int]]
    cuts: list[int] = field(default_factory=list)

    @property
    def length(self) -> int:
        return sum(step.length for step in self.steps)

    @property
    def hours(self) -> int:
        return -(-self.length // HOUR)

    def sightings(self) -> list[Sighting]:
        found, at = [], 0
        before: Step | None = None
        for number, step in enumerate(self.steps, 1):
            known = before is not None and before.state is not None and not step.restarted
            one = seen(
                number,
                at,
                before.state if known and before else None,
                step.state,
                before.length if known and before else None,
                replicas=step.replicas,
                cause=step.cause,
            )
            if before is not None and step.restarted:
                watched = at - before.length + int(before.length * step.watched)
                one = dataclasses.replace(one, seen_until=(START + watched) * SECOND)
            found.append(one)
            at += step.length
            before = step
        return found


STATES = [State.PAUSED, State.SCALED_TO_ZERO, State.PENDING, State.INITIALIZING, State.RUNNING, State.UPDATING, None]

steps = st.builds(
    Step,
    state=st.sampled_from([*STATES, State.RUNNING, State.RUNNING]),
    length=st.one_of(st.integers(1, 120), st.integers(1, 8000)),
    replicas=st.integers(1, 3),
    cause=st.sampled_from(["", "key:ann", "key:bob", "lease:job"]),
    restarted=st.booleans(),
    watched=st.floats(0, 1),
)


@st.composite
def histories(draw: st.DrawFn) -> History:
    made = draw(st.lists(steps, min_size=1, max_size=8))
    length = sum(step.length for step in made)
    hours = st.integers(0, -(-length // HOUR) - 1)
    moments = sorted(draw(st.sets(st.integers(1, length), max_size=4)))
    amounts = st.one_of(st.none(), st.integers(1, 5 * 10**9))
    accounts = st.sampled_from([ANN, BOB, ("", "chat")])
    rules = st.sampled_from([EXACT, BY_MINUTE, dataclasses.replace(BY_MINUTE, minimum=200.0, step=7.0)])
    return History(
        steps=made,
        prices=[(at, draw(amounts)) for at in [0, *moments]],
        rule=draw(rules),
        busy=draw(st.dictionaries(hours, st.integers(0, 4000))),
        used=draw(st.dictionaries(hours, st.dictionaries(accounts, st.integers(0, 5000), min_size=1))),
        cuts=sorted(draw(st.sets(st.integers(1, max(1, -(-length // HOUR)))))),
    )


@dataclass
class Second:
    state: State | None
    replicas: int
    cause: str
    price: int | None
    estimated: bool
    period: int | None = None
    cold: bool = False


def second_by_second(history: History) -> list[Second]:
    seconds: list[Second] = []
    for index, step in enumerate(history.steps):
        following = history.steps[index + 1] if index + 1 < len(history.steps) else None
        unseen = following is not None and following.restarted and step.state not in ASLEEP
        for passed in range(step.length):
            blind = unseen and passed >= int(step.length * following.watched)  # type: ignore[union-attr]
            lost = blind and following is not None and following.state is None
            doubtful = blind and following is not None and following.state in ASLEEP
            price = [amount for at, amount in history.prices if at <= len(seconds)][-1]
            seconds.append(Second(None if lost else step.state, step.replicas, step.cause, price, doubtful))
    # A length of full hours: what is open goes on to the end of the last one.
    last = seconds[-1]
    while len(seconds) < history.hours * HOUR:
        seconds.append(dataclasses.replace(last, price=history.prices[-1][1], estimated=False))
    period, warm, awake = -1, False, False
    for one in seconds:
        billed = one.state in history.rule.billed
        if billed and not awake:
            period, warm = period + 1, False
        awake = billed
        if billed:
            warm = warm or one.state is State.RUNNING
            one.period, one.cold = period, not warm
    return seconds


def rounding(history: History, seconds: list[Second]) -> list[tuple[int, int, Fraction]]:
    """What rounding adds: the hour of the end, the period, and nanodollars, replica by replica."""
    found = []
    for replica in range(3):
        length = 0
        for at, one in enumerate([*seconds, None]):
            if one is not None and one.period is not None and one.replicas > replica:
                before = seconds[at - 1] if at else None
                length = length + 1 if before and before.period == one.period else 1
                continue
            if length and one is not None:
                least, step = int(history.rule.minimum), int(history.rule.step)
                full = max(length, least)
                full = -(-full // step) * step if step else full
                if one.price is not None and (period := seconds[at - 1].period) is not None:
                    found.append((at // HOUR, period, Fraction(one.price * (full - length), HOUR)))
            length = 0
    return found


Expected = dict[tuple[int, Kind, bool, Account], Fraction]


def reference(history: History) -> Expected:
    """What each account owes in each hour, exactly."""
    seconds = second_by_second(history)
    owed: Expected = defaultdict(Fraction)
    added = rounding(history, seconds)
    causes: dict[int, Account] = {}
    last_use: dict[int, dict[Account, int]] = {}
    for hour in range(history.hours):
        here = seconds[hour * HOUR : (hour + 1) * HOUR]
        running = sum(1 for one in here if one.period is not None and not one.cold and not one.estimated)
        busy = Fraction(min(history.busy.get(hour, 0), running), running) if running else Fraction(0)
        weights = {who: flight for who, flight in history.used.get(hour, {}).items() if flight}
        seconds_paid: dict[tuple[int, Kind, bool], int] = defaultdict(int)  # nanodollars per hour, for a second each
        for one in here:
            if one.period is None:
                continue
            causes.setdefault(one.period, (one.cause, ""))
            kind = Kind.COLD_START if one.cold else Kind.IDLE if one.estimated else Kind.SERVING
            seconds_paid[one.period, kind, one.estimated] += (one.price or 0) * one.replicas
        costs: dict[tuple[int, Kind, bool], Fraction] = defaultdict(Fraction)
        for (period, kind, estimated), for_seconds in seconds_paid.items():
            paid = Fraction(for_seconds, HOUR)
            costs[period, kind, estimated] += paid * busy if kind is Kind.SERVING else paid
            if kind is Kind.SERVING:
                costs[period, Kind.IDLE, estimated] += paid * (1 - busy)
        for when, period, amount in added:
            if when == hour:
                costs[period, Kind.IDLE, False] += amount
        for (period, kind, estimated), amount in costs.items():
            users = weights or last_use.get(period) or {causes[period]: 1}
            users = {causes[period]: 1} if kind is Kind.COLD_START else users
            for who, weight in users.items():
                owed[hour, kind, estimated, who] += amount * Fraction(weight, sum(users.values()))
        if weights:
            for period in {one.period for one in here if one.period is not None}:
                last_use[period] = weights
    return owed


def _known(sightings: list[Sighting], until: int) -> list[Sighting]:
    """What is on record when hours up to `until` are closed: after a restart, that is not before it was seen again."""
    known = [one for one in sightings if one.at < until]
    return known + [one for one in sightings[len(known) : len(known) + 1] if one.seen_until is not None]


def charged(history: History, *, at_once: bool) -> dict[tuple[int, Kind, bool, Account], int]:
    """The same by the ledger: all hours at once, or a few at a time with what is known by then."""
    sightings = history.sightings()
    position, used_up = Position(), 0
    found: dict[tuple[int, Kind, bool, Account], int] = defaultdict(int)
    cuts = [] if at_once else [cut for cut in history.cuts if cut < history.hours]
    for first, cut in zip([0, *cuts], [*cuts, history.hours], strict=True):
        until = (START + cut * HOUR) * SECOND
        known = sightings[used_up:] if at_once else _known(sightings[used_up:], until)
        facts = Facts(
            known,
            {START + h * HOUR: busy * SECOND for h, busy in history.busy.items() if first <= h < cut},
            {
                START + h * HOUR: {who: Used(flight * SECOND) for who, flight in used.items()}
                for h, used in history.used.items()
                if first <= h < cut
            },
        )
        prices = [((START + at) * SECOND if at else 0, amount) for at, amount in history.prices]
        for begin, charges in advance(position, facts, until, calendar=UTC, prices=prices, rules={"": history.rule}):
            for one in charges:
                if one.kind is not Kind.ALWAYS:
                    found[(begin - START) // HOUR, one.kind, one.estimated, one.account] += one.nanos
        used_up = position.last_transition
    return found


def step(state: State | None, length: int, replicas: int = 1, *, watched: float | None = None) -> Step:
    """`watched`: a server began here, after one that had looked on for this part of the step before."""
    return Step(state, length, replicas, "", watched is not None, watched or 0.0)


LEFT_UNSEEN = History(
    steps=[step(State.PAUSED, 6), step(State.INITIALIZING, 1), step(None, 1, watched=0.0)],
    prices=[(0, 18)],
    rule=dataclasses.replace(BY_MINUTE, minimum=200.0),
    busy={},
    used={},
)
"""It was billed for no time at all: so it costs no minimum."""

GONE_AFTER_THE_HOUR = History(
    steps=[step(State.RUNNING, 3130, 2), step(State.RUNNING, 3085, 3), step(None, 172, watched=0.45)],
    prices=[(0, 7567)],
    rule=BY_MINUTE,
    busy={},
    used={},
    cuts=[1],
)
"""One period, and rounded up once: that it is gone is known when the first hour is closed, and is no end of that."""


@settings(max_examples=150, deadline=None)
@given(histories())
@example(LEFT_UNSEEN)
@example(GONE_AFTER_THE_HOUR)
def test_charges_are_those_of_the_reference(history: History) -> None:
    expected, found = reference(history), charged(history, at_once=True)
    assert sum(found.values()) == int(sum(expected.values(), Fraction(0))), "exact in sum, rounded down"
    for key in expected.keys() | found.keys():
        assert abs(found.get(key, 0) - expected.get(key, Fraction(0))) < 4, key


@settings(max_examples=150, deadline=None)
@given(histories())
@example(GONE_AFTER_THE_HOUR)
def test_hours_closed_one_after_the_other_charge_what_they_do_at_once(history: History) -> None:
    assert charged(history, at_once=False) == charged(history, at_once=True)


def test_the_cost_of_a_time_is_in_fractions_of_a_nanodollar() -> None:
    assert cost_of(hourly("1"), START * SECOND, (START + HOUR) * SECOND, 2) == (2 * 10**9 * FRACTION, 0)


def test_an_hour_without_anything_charges_nothing() -> None:
    charges, _ = close(Position().carried, Hour(0, HOUR * SECOND), (), {})
    assert charges == []
