"""Alarms of budgets: each level is told once as it is reached, and once that it is over. Time is handed in."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from lamplighter.config import parse
from lamplighter.control.alarms import FILE, AlarmKeeper, Delivery, Rules
from lamplighter.domain.alarms import Alarm, AlarmKind, Bounds, Watch
from lamplighter.domain.budgets import EACH, AtLimit, Budget, Period, Scope, Standing, standing
from lamplighter.domain.bulletin import CALM, Bulletin, Notice
from lamplighter.domain.calendar import Calendar
from lamplighter.domain.endpoint import Endpoint, EngineSpec, Phase, Spec, State
from lamplighter.errors import ConfigError
from tests.unit.test_alarms import Recorded, until
from tests.virtual_time import VirtualClock

HOUR, DAY = 3600.0, 86400.0
BERLIN = Calendar("Europe/Berlin")
NOW = 1_700_000_000  # 14 November 2023, a Tuesday
REPEAT = 6 * HOUR

MONTHLY = Budget(name="monthly", limit=Decimal(10), period=Period.MONTH)


def used(spent: str, budget: Budget = MONTHLY, *, member: str | None = None, **more: Any) -> Standing:
    """How a budget is used of which so many dollars are spent."""
    whose = budget.member if member is None else member
    found = standing(budget, whose, spent=int(Decimal(spent) * 10**9), reserved=0, now=NOW, calendar=BERLIN)
    return replace(found, **more)


def running(name: str, state: State = State.RUNNING) -> Endpoint:
    phase = Phase.RUNNING if state is State.RUNNING else Phase.SLEEPING
    spec = Spec(name=name, provider="local", engine=EngineSpec(engine="command"))
    return Endpoint(spec=spec, phase=phase, state=state, held_by=("a lease",))


class Told:
    """What people are told while a budget is used more and more: one look every ten seconds."""

    def __init__(self, *levels: int) -> None:
        self.watch = Watch(Bounds(budgets=levels) if levels else Bounds())
        self.bulletin = Bulletin(repeat_every=REPEAT)
        self.now = float(NOW)
        self.notices: list[Notice] = []

    def look(self, *standings: Standing, seconds: float = 10.0) -> list[str]:
        """Look on for so long; returns the titles of what was told meanwhile."""
        told = []
        for _ in range(int(seconds / 10)):
            self.now += 10
            found = self.watch.look((), {}, self.now, budgets=standings, calendar=BERLIN)
            told += self.bulletin.news(found, self.now)
        self.notices += told
        return [notice.title for notice in told]

    @property
    def standing(self) -> list[str]:
        return [case.alarm.kind.value for case in self.bulletin.standing]


def alarm(found: Standing, *endpoints: Endpoint, levels: Sequence[int] = (50, 80, 100)) -> Alarm:
    (one,) = Watch(Bounds(budgets=levels)).look(endpoints, {}, NOW, budgets=[found], calendar=BERLIN).values()
    return one


def test_each_level_is_told_once_as_it_is_reached_and_none_is_repeated() -> None:
    people = Told()
    assert people.look(used("4.99"), seconds=HOUR) == []
    assert people.look(used("5")) == ["monthly: budget_50"]
    assert people.look(used("7.99"), seconds=3 * REPEAT) == []
    assert people.look(used("8")) == ["monthly: budget_80"]
    assert people.look(used("9.99"), seconds=3 * REPEAT) == []
    assert people.look(used("10")) == ["monthly: budget_100"]
    assert people.look(used("12"), seconds=3 * REPEAT) == []
    assert people.standing == ["budget_100"]


def test_a_level_that_is_left_out_at_once_is_not_told_afterwards() -> None:
    people = Told()
    assert people.look(used("9")) == ["monthly: budget_80"]
    assert people.look(used("9"), seconds=HOUR) == []


def test_that_it_renewed_is_told_once_and_the_next_period_begins_anew() -> None:
    people = Told()
    people.look(used("6"))
    people.look(used("11"))
    assert people.look(used("0"), seconds=HOUR) == ["monthly: budget_100 is over"]
    assert people.notices[-1].text.startswith("monthly: budget_100 is over, after ")
    assert people.standing == []
    assert people.look(used("5")) == ["monthly: budget_50"]


def test_a_dip_of_a_moment_tells_nobody() -> None:
    people = Told()
    people.look(used("10"))
    assert people.look(used("7"), seconds=CALM - 20) == []
    assert people.look(used("10"), seconds=HOUR) == []


def test_a_limit_that_was_raised_is_told_as_the_milder_level_and_the_worse_ones_again() -> None:
    people, raised = Told(), replace(MONTHLY, limit=Decimal(20))
    people.look(used("11"))
    assert people.look(used("11", raised), seconds=CALM + 20) == ["monthly: budget_50"]
    assert people.look(used("16", raised)) == ["monthly: budget_80"]
    assert people.look(used("20", raised)) == ["monthly: budget_100"]


def test_levels_that_are_turned_off_are_not_told() -> None:
    assert Told(100).look(used("9.99"), seconds=HOUR) == []
    people = Told(50)
    assert people.look(used("12")) == ["monthly: budget_50"]
    assert Watch(Bounds(budgets=())).look((), {}, NOW, budgets=[used("12")]) == {}


def test_a_budget_that_is_taken_out_is_over() -> None:
    people = Told()
    people.look(used("8"))
    assert people.look(seconds=HOUR) == ["monthly: budget_80 is over"]


def test_two_budgets_and_two_members_of_one_are_told_apart() -> None:
    team = Budget(name="team", limit=Decimal(10), period=Period.WEEK, scope=Scope.TAG, tag="team", member=EACH)
    people = Told()
    told = people.look(used("5"), used("8", team, member="sales"), used("5", team, member="research"))
    assert sorted(told) == ["monthly: budget_50", "team (research): budget_50", "team (sales): budget_80"]


def test_the_text_says_which_how_much_until_when_and_what_happens_at_the_limit() -> None:
    found = alarm(used("8.1"))
    assert found.text == (
        "Budget 'monthly': $8.10 of $10.00 a month (all) is spent, 81 %. It renews at 2023-12-01 00:00 (Europe/Berlin)."
    )
    assert found.advice.startswith(
        "Once all of it is, nothing is woken and no upstream paid under it, and what is awake sleeps as soon as it is idle."
    )
    assert found.advice.endswith(
        "`lamplighter cost` shows what it went into; `budgets.monthly.limit` in the configuration allows more."
    )


def test_once_it_is_spent_the_text_names_what_is_still_awake() -> None:
    awake, asleep = running("chat"), running("coder", State.SCALED_TO_ZERO)
    spent = used("10.5")
    assert alarm(spent, awake, asleep, running("embed")).text.endswith(
        "is spent, 105 %. It renews at 2023-12-01 00:00 (Europe/Berlin)."
    )
    assert "Until then nothing is woken and no upstream paid under it" in alarm(spent, awake).advice
    assert " Still awake: chat, embed. " in alarm(spent, running("embed"), asleep, awake).advice
    assert " Nothing is awake. " in alarm(spent, asleep).advice
    one = replace(MONTHLY, scope=Scope.ENDPOINT, member="embed")
    assert " Still awake: embed. " in alarm(used("10", one), awake, running("embed")).advice


@pytest.mark.parametrize(
    ("scope", "at_limit", "words"),
    [
        (
            Scope.ENDPOINT,
            AtLimit.DRAIN,
            "paid under it, no request is let in, and what is awake sleeps when those in flight",
        ),
        (Scope.ENDPOINT, AtLimit.CUT, "what is awake is put to sleep at once"),
        (
            Scope.KEY,
            AtLimit.IDLE,
            "no upstream paid on its account, and what is awake on it sleeps as soon as it is idle",
        ),
        (Scope.KEY, AtLimit.DRAIN, "all of its requests are refused"),
    ],
)
def test_the_text_says_what_this_budget_does_at_its_limit(scope: Scope, at_limit: AtLimit, words: str) -> None:
    budget = replace(MONTHLY, scope=scope, member="web", at_limit=at_limit)
    assert words in alarm(used("6", budget)).advice
    assert words in alarm(used("10", budget)).advice


def test_what_has_no_price_is_said_in_the_text() -> None:
    assert "Not in this is what chat, coder costs: nobody knows the price." in (
        alarm(used("6", unpriced=("chat", "coder"))).advice
    )


def test_a_budget_that_each_has_is_told_by_whose_it_is() -> None:
    each = replace(MONTHLY, scope=Scope.ENDPOINT, member=EACH)
    assert alarm(used("6", each, member="chat")).text.startswith(
        "Budget 'monthly (chat)': $6.00 of $10.00 a month (endpoint chat) is spent, 60 %."
    )


async def test_a_restart_does_not_tell_again_what_was_told(tmp_path: Path) -> None:
    place, clock, now = Recorded(), VirtualClock(), [used("8")]

    async def kept(kinds: list[str], told: list[str]) -> None:
        """Look until this was told, and then a few times more."""
        looks = 0

        def standings() -> Sequence[Standing]:
            nonlocal looks
            looks += 1
            return now

        rules, delivery = Rules(places=[place]), Delivery(look_every=0.01)
        memory = tmp_path / FILE
        keeper = AlarmKeeper(tuple, rules, clock, memory=memory, delivery=delivery, budgets=standings, calendar=BERLIN)
        await keeper.start()
        await until(lambda: place.told == told)
        until_then = looks
        await until(lambda: looks > until_then + 3)
        assert place.told == told
        assert [case.alarm.kind.value for case in keeper.standing] == kinds
        if not kinds:
            assert [case.clear_since is not None for case in keeper._bulletin.standing] == [True]
            clock.offset += CALM
            await until(lambda: not keeper._bulletin.standing)
        await keeper.close()

    await kept(["budget_80"], ["monthly: budget_80"])
    await kept(["budget_80"], ["monthly: budget_80"])
    now[0] = used("10")
    await kept(["budget_100"], ["monthly: budget_80", "monthly: budget_100"])
    now.clear()
    await kept([], ["monthly: budget_80", "monthly: budget_100"])
    assert place.told[2:] == ["monthly: budget_100 is over"]


async def test_what_an_older_version_remembered_is_read(tmp_path: Path) -> None:
    alarm = {"kind": "stop_failed", "endpoint": "chat", "since": 1.0, "text": "It could not.", "advice": ""}
    saved = {"alarm": alarm, "told_at": 1.0, "calm": CALM, "clear_since": None, "ended_at": None}
    (tmp_path / FILE).write_text(json.dumps([saved]))
    place, clock = Recorded(), VirtualClock()
    keeper = AlarmKeeper(
        tuple, Rules(places=[place]), clock, memory=tmp_path / FILE, delivery=Delivery(look_every=0.01)
    )
    await keeper.start()
    assert [case.told for case in keeper._bulletin.standing] == [AlarmKind.STOP_FAILED]
    await until(lambda: keeper._bulletin.standing[0].clear_since is not None)
    clock.offset += CALM
    await until(lambda: place.told == ["chat: stop_failed is over"])
    await keeper.close()


def test_the_configuration_says_which_levels_are_told() -> None:
    def levels(text: str) -> tuple[int, ...]:
        return parse(f"endpoints: {{}}\n{text}", "c.yaml", {}).alarms.budget_levels

    assert levels("") == (50, 80, 100)
    assert levels("alarms: {budget_levels: [100]}") == (100,)
    assert levels("alarms: {budget_levels: []}") == ()
    with pytest.raises(ConfigError, match=r"alarms\.budget_levels\[0\].*50, 80 or 100"):
        levels("alarms: {budget_levels: [90]}")


def test_a_level_is_worse_than_the_ones_below_and_other_alarms_have_none() -> None:
    degrees = [AlarmKind.BUDGET_50, AlarmKind.BUDGET_80, AlarmKind.BUDGET_100]
    assert [one.degree for one in degrees] == [0, 1, 2]
    assert {one.family for one in degrees} == {AlarmKind.BUDGET_50}
    assert all(one.family is one for one in AlarmKind if one not in degrees)
    assert [one for one in AlarmKind if not one.repeats] == degrees
