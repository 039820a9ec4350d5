"""What is added up is what was charged: sums by day, month and key, closed hour by hour, or charged anew."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import TypeAlias

from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, select

from lamplighter.domain.accounts import KEY
from lamplighter.domain.calendar import Calendar
from lamplighter.domain.closing import Facts, Position, advance
from lamplighter.domain.endpoint import State, Transition
from lamplighter.domain.ledger import Kind, Used
from lamplighter.domain.money import BillingRule
from lamplighter.domain.timeline import SECOND, Sighting
from lamplighter.domain.usage import Outcome, UsageRecord
from lamplighter.store import charging, costing, queries, rebuilding, tables
from lamplighter.store.charging import Terms
from lamplighter.store.costing import DIMENSIONS, CostFilter
from lamplighter.store.database import Database
from lamplighter.store.facts import load_facts

HOUR = 3600
BERLIN = Calendar("Europe/Berlin")
START = BERLIN.begin_of(date(2026, 10, 24))  # a week that has a day of 25 hours and the end of a month
HOURS = 9 * 24 + 1
NAMES = ("chat", "mert", "sort")
RULE = BillingRule(billed=frozenset({State.INITIALIZING, State.RUNNING}), step=60.0)
TERMS = Terms(
    calendar=BERLIN,
    prices={
        "chat": [(0, 123_456_789)],
        "mert": [(0, 7), ((START + 50 * HOUR + 17) * SECOND, 10**9 + 1)],
        "sort": [((START + 100 * HOUR) * SECOND, 31)],
    },
    rules={"local": RULE},
)


@dataclass(frozen=True)
class Life:
    """An endpoint sleeps, starts and runs for so many seconds each; each time a key wakes it, and some use it."""

    name: str
    naps: Sequence[tuple[int, int, int]]
    woken_by: Sequence[str]
    used_by: Sequence[str]

    def transitions(self) -> Iterator[Transition]:
        at, before, lasted = START, None, 0
        for (asleep, starting, running), key in zip(self.naps, self.woken_by, strict=True):
            for state, length in (
                (State.PAUSED, asleep),
                (State.INITIALIZING, starting),
                (State.RUNNING, running),
            ):
                cause = "" if state is State.PAUSED else KEY + key
                yield Transition(
                    endpoint=self.name,
                    at=float(at),
                    before=before,
                    after=state,
                    reason="test",
                    actor="test",
                    duration=None if before is None else float(lasted),
                    cause=cause,
                    route="all",
                    provider="local",
                )
                at, before, lasted = at + length, state, length

    def usage(self) -> Iterator[UsageRecord]:
        at = START
        for (asleep, starting, running), key in zip(self.naps, self.used_by, strict=True):
            at += asleep + starting + running
            yield UsageRecord(
                endpoint=self.name,
                at=at - running / 2,
                route="/v1/completions",
                status=200,
                outcome=Outcome.SERVED,
                waited=0.0,
                duration=float(running // 3),
                bytes_in=0,
                bytes_out=0,
                model="all",
                key=key,
                tokens_in=running,
                tokens_out=2 * running,
                nanodollars=7 * running,
            )


keys = st.sampled_from(["", "ann", "bob"])
lengths = st.one_of(st.integers(60, 3000), st.integers(60, 40 * HOUR))


@st.composite
def lives(draw: st.DrawFn) -> list[Life]:
    found = []
    for name in NAMES:
        naps = draw(st.lists(st.tuples(lengths, st.integers(1, 4000), lengths), min_size=1, max_size=4))
        some = st.lists(keys, min_size=len(naps), max_size=len(naps))
        found.append(Life(name, naps, draw(some), draw(some)))
    return found


def record(connection: Connection, facts: Sequence[Transition | UsageRecord]) -> None:
    for one in facts:
        if isinstance(one, Transition):
            queries.add_transition(connection, one)
        else:
            queries.add_usage(connection, [one])
            busy = (one.endpoint, BERLIN.hour_of(int(one.at)), min(one.duration, float(HOUR)))
            charging.save_activity(connection, [busy])


def in_order(some: Sequence[Life], until: float) -> list[Transition | UsageRecord]:
    facts: list[Transition | UsageRecord] = []
    for life in some:
        facts += [*life.transitions(), *life.usage()]
    return sorted((one for one in facts if one.at < until), key=lambda one: one.at)


_Told: TypeAlias = dict[tuple[tuple[str, ...], str], tuple[int, ...]]
_Charged: TypeAlias = tuple[tuple[str, ...], str, tuple[int, ...]]


def charged(life: Life, until: int) -> Iterator[_Charged]:
    """All charges of a life, worked out in one go from what is in memory: day and so on, kind, and sums."""
    moments = [one for one in life.transitions() if one.at < until]
    sightings = [
        Sighting(
            number=number,
            at=int(one.at) * SECOND,
            before=one.before,
            after=one.after,
            lasted=None if one.duration is None else int(one.duration) * SECOND,
            provider=one.provider,
            cause=one.cause,
            route=one.route,
        )
        for number, one in enumerate(moments)
    ]
    facts = Facts(sightings)
    for one in life.usage():
        if one.at < until:
            hour = BERLIN.hour_of(int(one.at))
            facts.busy[hour] = min(int(one.duration), HOUR) * SECOND
            account = (KEY + one.key if one.key else "", "all")
            used = Used(int(one.duration) * SECOND, 1, one.tokens_in, one.tokens_out, one.nanodollars)
            had = facts.used.setdefault(hour, {})
            had[account] = had[account].plus(used) if account in had else used
    run = advance(Position(), facts, until * SECOND, calendar=BERLIN, prices=TERMS.prices[life.name], rules=TERMS.rules)
    for begin, charges in run:
        for kind, provider, (cause, route), _, *sums in charges:
            day = BERLIN.day_of(begin).isoformat()
            yield (day, life.name, provider, cause, route), kind.value, tuple(sums)


def raw(charges: Iterable[_Charged], wanted: CostFilter) -> _Told:
    """The charges, chosen, grouped and added up one by one."""
    found: _Told = {}
    for values, kind, sums in charges:
        day, name, _, cause, _ = values
        if (
            (wanted.since is not None and day < wanted.since.isoformat())
            or (wanted.until is not None and day >= wanted.until.isoformat())
            or (wanted.endpoints is not None and name not in wanted.endpoints)
            or (wanted.causes is not None and cause not in wanted.causes)
        ):
            continue
        key = (tuple(values[DIMENSIONS.index(one)] for one in wanted.by), kind)
        had = found.get(key, (0,) * len(sums))
        found[key] = tuple(one + more for one, more in zip(had, sums, strict=True))
    return found


def told(connection: Connection, wanted: CostFilter, now: int) -> _Told:
    return {
        (row.group, row.kind.value): (
            *(row.nanos, row.micros, row.unpriced),
            *(row.requests, row.tokens_in, row.tokens_out),
        )
        for row in costing.select_costs(connection, wanted, now * SECOND, TERMS)
    }


def every_sum(connection: Connection) -> set[tuple[object, ...]]:
    return {tuple(row) for row in connection.execute(select(tables.charges))}


days = st.none() | st.integers(0, 10).map(lambda passed: date(2026, 10, 24) + timedelta(days=passed))
questions = st.builds(
    CostFilter,
    by=st.lists(st.sampled_from(DIMENSIONS), unique=True).map(tuple),
    since=days,
    until=days,
    endpoints=st.none() | st.frozensets(st.sampled_from([*NAMES, "none"])),
    causes=st.none() | st.frozensets(st.sampled_from(["", "key:ann", "key:bob"])),
)


@settings(max_examples=20, deadline=None)
@given(lives(), st.sets(st.integers(1, HOURS - 1), max_size=8), st.integers(0, HOUR - 1), st.lists(questions))
def test_reports_tell_the_sum_of_all_charges_whatever_is_asked_and_however_they_came(
    some: list[Life], cuts: set[int], moment: int, asked: list[CostFilter]
) -> None:
    """Hours are closed a few at a time, then charged anew; then there is more in the hour that is open."""
    closed = START + HOURS * HOUR
    now = closed + moment
    facts = in_order(some, now)
    charges = [one for life in some for one in charged(life, closed)]
    database = Database(":memory:")
    with database.transaction() as connection:
        for cut in sorted({*cuts, HOURS}):
            until = START + cut * HOUR
            record(connection, [fact for fact in facts if fact.at < until])
            facts = [fact for fact in facts if fact.at >= until]
            charging.close_hours(connection, NAMES, until, TERMS)
            charging.note_counted(connection)
        for wanted in asked:
            assert told(connection, wanted, closed) == raw(charges, wanted), wanted
        one_after_the_other = every_sum(connection)
        rebuilding.rebuild(connection, closed, TERMS)
        assert every_sum(connection) == one_after_the_other, "charged anew, all is the same"
        record(connection, facts)
        charges = [one for life in some for one in charged(life, now)]
        for wanted in asked:
            assert paid(told(connection, wanted, now)) == paid(raw(charges, wanted)), "what is open counts, too"
    database.close()


def paid(found: _Told) -> int:
    return sum(sums[0] for (_, kind), sums in found.items() if kind != Kind.ALWAYS)


def test_use_counts_in_the_hour_that_the_zones_clocks_show_also_where_they_once_showed_half_past() -> None:
    singapore = Calendar("Asia/Singapore")  # 7:30 ahead until 1982, 8:00 since
    database = Database(":memory:")
    with database.transaction() as connection:
        life = Life("chat", [(60, 60, 7200)], ["ann"], ["ann"])  # what ended, did so at 1:02 of 24 hours
        record(connection, in_order([life], START + HOUR * 2))
        facts = load_facts(
            connection,
            {"chat": Position()},
            calendar=singapore,
            providers={},
            low=0,
            last_usage=10,
            until=START + 2 * HOUR,
        )
        assert list(facts["chat"].used) == [START + HOUR]
    database.close()


def test_an_endpoint_that_has_run_since_before_facts_were_pruned_is_charged_anew_in_another_time_zone() -> None:
    """No month of the new zone begins where one of the old one did, whose positions were put aside."""
    month, until = BERLIN.begin_of(date(2026, 11, 1)), BERLIN.begin_of(date(2026, 11, 3))
    utc = Terms(calendar=Calendar(), prices=TERMS.prices, rules=TERMS.rules)
    database = Database(":memory:")
    with database.transaction() as connection:
        record(connection, in_order([Life("chat", [(60, 60, 40 * 24 * HOUR)], ["ann"], ["ann"])], until))
        record(connection, in_order([Life("mert", [(60, 60, 60), (60, 60, 60)], ["", ""], ["", ""])], until))
        charging.close_hours(connection, NAMES, until, TERMS)
        charging.note_counted(connection)
        charging.prune_ledger(connection, month)
        while charging.prune_counted(connection, tables.transitions, month, 2):
            pass
        left = connection.execute(select(tables.transitions.c.endpoint, tables.transitions.c.after)).all()
        assert sorted(left) == [("chat", State.RUNNING), ("mert", State.RUNNING)], "how each of them stood"
        assert rebuilding.rebuild(connection, until, utc) == date(2026, 11, 1)
        wanted = CostFilter(endpoints=frozenset({"chat"}), since=date(2026, 11, 1))
        rows = costing.select_costs(connection, wanted, until * SECOND, utc)
        seconds = sum(row.micros for row in rows if row.kind is not Kind.ALWAYS) // SECOND
        assert seconds == until - Calendar().begin_of(date(2026, 11, 1))
    database.close()
