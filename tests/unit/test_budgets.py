"""Budgets: what counts, what a wake costs at least, and what becomes of what is awake. In simulated time."""

from __future__ import annotations

import asyncio
from datetime import date
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lamplighter.control.costs import CostQuery, Dimension
from lamplighter.domain.budgets import (
    AtLimit,
    Budget,
    Period,
    Scope,
    Sums,
    least_cost,
    period_of,
    standing,
)
from lamplighter.domain.calendar import Calendar
from lamplighter.domain.endpoint import Phase, State
from lamplighter.domain.keys import ApiKey
from lamplighter.domain.ledger import EXACT
from lamplighter.domain.money import NANOS, BillingRule, in_words
from lamplighter.errors import BudgetSpent
from lamplighter.providers.memory import MemoryProvider
from tests.ledger_stage import Books, InlineStore, PriceList, books, endpoint
from tests.virtual_time import VirtualClock, virtual

ANN = ApiKey(id="ann", name="ann", tags={"team": "research"})
BOB = ApiKey(id="bob", name="bob", tags={"team": "sales"})
MINUTES = BillingRule(billed=frozenset({State.INITIALIZING, State.RUNNING}), step=60.0)


def budget(limit: str = "1", **said: Any) -> Budget:
    given: dict[str, Any] = {"name": "b", "limit": Decimal(limit), "period": Period.DAY}
    return Budget(**(given | said))


def late() -> VirtualClock:
    """A clock that shows a quarter of an hour to midnight."""
    clock = VirtualClock()
    clock.offset += 86400 - clock.wall() % 86400 - 900
    return clock


async def spend(one: Books, dollars: float, key: str = "ann") -> None:
    """Keep `chat` busy for so many dollars of 3.6 an hour: a cent is ten seconds. The start comes on top."""
    await one.serve(key=key, seconds=dollars * 1000)


async def spent_today(one: Books) -> Decimal:
    today = one.costs.calendar.day_of(int(one.clock.wall()))
    return (await one.costs.report(CostQuery(since=today))).total.total


# Pure.


@pytest.mark.parametrize(
    ("period", "day", "begin", "end"),
    [
        (Period.DAY, date(2026, 11, 21), date(2026, 11, 21), date(2026, 11, 22)),
        (Period.WEEK, date(2026, 11, 22), date(2026, 11, 16), date(2026, 11, 23)),
        (Period.WEEK, date(2027, 1, 1), date(2026, 12, 28), date(2027, 1, 4)),
        (Period.MONTH, date(2026, 12, 31), date(2026, 12, 1), date(2027, 1, 1)),
        (Period.DAY, date(2026, 3, 29), date(2026, 3, 29), date(2026, 3, 30)),
    ],
)
@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin", "America/New_York"])
def test_a_period_begins_and_ends_at_midnight_of_the_ledger_s_zone(
    period: Period, day: date, begin: date, end: date, zone: str
) -> None:
    calendar = Calendar(zone)
    noon = calendar.begin_of(day) + 12 * 3600
    assert period_of(period, noon, calendar) == (calendar.begin_of(begin), calendar.begin_of(end))


@given(st.sampled_from(Period), st.integers(1_600_000_000, 2_000_000_000), st.sampled_from(["UTC", "Europe/Berlin"]))
def test_every_moment_lies_in_its_period_and_the_next_one_follows_without_a_gap(
    period: Period, at: int, zone: str
) -> None:
    calendar = Calendar(zone)
    begin, end = period_of(period, at, calendar)
    assert begin <= at < end
    assert period_of(period, end, calendar)[0] == end


def test_the_least_cost_of_a_wake_is_its_start_rounded_up_by_the_provider_s_rule() -> None:
    assert least_cost(Decimal("3.6"), 1, EXACT, 30.0) == NANOS * 3 // 100
    assert least_cost(Decimal("3.6"), 2, EXACT, 30.0) == NANOS * 6 // 100
    assert least_cost(Decimal("3.6"), 1, MINUTES, 61.0) == NANOS * 12 // 100
    assert least_cost(Decimal("3.6"), 1, MINUTES, None) == NANOS * 6 // 100, "one step, where no start was seen yet"
    running = BillingRule(billed=frozenset({State.RUNNING}), minimum=300.0)
    assert least_cost(Decimal("3.6"), 1, running, 500.0) == NANOS * 3 // 10, "a start that is not billed costs nothing"
    assert least_cost(None, 4, MINUTES, 30.0) == 0


@pytest.mark.parametrize(
    ("said", "chat_by_ann", "other_by_bob", "chat_by_nobody"),
    [
        ({}, "", "", ""),
        ({"scope": Scope.ENDPOINT, "member": "chat"}, "chat", None, "chat"),
        ({"scope": Scope.ENDPOINT, "member": "*"}, "chat", "other", "chat"),
        ({"scope": Scope.KEY, "member": "ann"}, "ann", None, None),
        ({"scope": Scope.KEY, "member": "*"}, "ann", "bob", None),
        ({"scope": Scope.TAG, "tag": "team", "member": "sales"}, None, "sales", None),
        ({"scope": Scope.TAG, "tag": "team", "member": "*"}, "research", "sales", None),
        ({"scope": Scope.TAG, "tag": "use", "member": "*"}, None, None, None),
    ],
)
def test_a_budget_counts_what_falls_under_its_scope(
    said: dict[str, Any], chat_by_ann: str | None, other_by_bob: str | None, chat_by_nobody: str | None
) -> None:
    one = budget(**said)
    assert one.member_of("chat", ANN) == chat_by_ann
    assert one.member_of("other", BOB) == other_by_bob
    assert one.member_of("chat", None) == chat_by_nobody


def test_sums_are_kept_by_budget_and_member() -> None:
    each, whole = budget(name="each", scope=Scope.KEY, member="*"), budget(name="whole")
    sums = Sums()
    sums.add([each, whole], "chat", ANN, 3)
    sums.add([each, whole], "chat", BOB, 4)
    sums.add([each, whole], "chat", None, 5)
    assert (sums.of(each, "ann"), sums.of(each, "bob"), sums.of(whole, "")) == (3, 4, 12)
    assert list(sums.members(each)) == ["ann", "bob"]


@pytest.mark.parametrize(
    ("spent", "reserved", "level", "fits"),
    [
        (0, 0, 0, True),
        (499, 0, 0, True),
        (500, 0, 50, True),
        (799, 100, 50, True),
        (800, 101, 80, False),
        (900, 0, 80, True),
        (901, 0, 80, False),
        (1000, 0, 100, False),
        (2000, 0, 100, False),
    ],
)
def test_levels_are_of_what_is_spent_and_a_wake_has_to_fit_beside_what_is_set_aside(
    spent: int, reserved: int, level: int, fits: bool
) -> None:
    found = standing(budget("0.000001"), "", spent=spent, reserved=reserved, now=1_800_000_000, calendar=Calendar())
    assert found.level == level
    assert found.budget.is_exceeded(spent, reserved, 100) is not fits


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        ("12.346", "$12.35"),
        ("0.05", "$0.05"),
        ("0", "$0.00"),
        ("1", "$1.00"),
        ("0.5", "$0.50"),
        ("0.034", "$0.034"),
        ("0.00341", "$0.0034"),
        ("0.000000001", "$0.000000001"),
        ("1234.5", "$1,234.50"),
    ],
)
def test_amounts_are_told_to_the_cent_or_with_two_digits_that_count(amount: str, text: str) -> None:
    assert in_words(Decimal(amount)) == text


# A wake and its budget.


@virtual
async def test_a_wake_that_fits_goes_on_and_one_that_does_not_is_refused_with_the_budget_and_its_renewal() -> None:
    async with books(budgets=[budget("0.05", name="daily")], keys=[ANN]) as one:
        await one.serve(seconds=10.0)  # 30 s of start, 10 s of serving, 60 s idle: 0.10 in all
        await asyncio.sleep(120)
        with pytest.raises(BudgetSpent) as refused:
            await one.serve()
        assert refused.value.budget == "daily"
        assert "'daily'" in refused.value.message
        assert "renews at 20" in refused.value.message
        assert "00:00 (UTC)" in refused.value.message
        assert "budgets.daily.limit" in refused.value.message
        renews_at = one.budgets.standings()[0].renews_at
        assert refused.value.retry_after == pytest.approx(renews_at - one.clock.wall(), abs=1)
        assert one.provider.counts("chat") == (1, 1)
        assert one.fleet.endpoint("chat").phase is Phase.SLEEPING


@virtual
async def test_what_is_spent_is_what_the_ledger_charges_also_between_its_sums() -> None:
    async with books(budgets=[budget("100")], keys=[ANN]) as one:
        serving = asyncio.create_task(one.serve(seconds=3000.0))
        for _ in range(12):
            await asyncio.sleep(24.3)
            [found] = one.budgets.standings()
            assert found.spent == pytest.approx((await spent_today(one)), abs=Decimal("0.003"))
        await serving


@virtual
async def test_a_budget_renews_with_its_period_and_keep_warm_endpoints_come_up_again() -> None:
    async with books(endpoint(keep_warm=True), clock=late(), budgets=[budget("0.10")], keys=[ANN]) as one:
        await asyncio.sleep(400)
        seen = one.fleet.endpoint("chat")
        assert seen.phase is Phase.STARTING or seen.message is not None
        assert one.provider.counts("chat") == (1, 1)
        assert "Budget 'b'" in (seen.message or "")
        [found] = one.budgets.standings()
        assert found.is_spent
        await asyncio.sleep(found.renews_at - one.clock.wall() + 60)
        assert one.fleet.endpoint("chat").phase is Phase.RUNNING
        assert one.provider.counts("chat") == (2, 1)


@virtual
async def test_many_wakes_at_once_cannot_spend_the_same_dollar() -> None:
    names = [f"e{number}" for number in range(10)]
    prices = PriceList(**dict.fromkeys(names, "3.6"))
    provider = MemoryProvider(start_delay=30.0, stop_delay=1.0, billing={"minimum": 100})
    async with books(
        *(endpoint(name) for name in names), prices=prices, provider=provider, budgets=[budget("0.35")]
    ) as one:
        results = await asyncio.gather(*(one.serve(name) for name in names), return_exceptions=True)
        assert sum(isinstance(result, BudgetSpent) for result in results) == 7, "0.35 has room for three times 0.10"
        assert sum(one.provider.counts(name)[0] for name in names) == 3
        assert all(result is None or isinstance(result, BudgetSpent) for result in results)


@virtual
async def test_what_was_set_aside_is_free_again_when_the_wake_comes_to_nothing() -> None:
    provider = MemoryProvider(start_delay=30.0, stop_delay=1.0, billing={"minimum": 100})
    prices = PriceList(chat="3.6", other="3.6")
    async with books(endpoint(), endpoint("other"), provider=provider, prices=prices, budgets=[budget("0.15")]) as one:
        assert one.budgets.reserve("chat", "") is None
        assert isinstance(one.budgets.refusal("other", ""), BudgetSpent)
        await asyncio.sleep(60)
        assert one.budgets.refusal("other", "") is None


@virtual
async def test_a_spent_key_wakes_nothing_another_key_does_and_the_first_may_wait_along() -> None:
    keyed = budget("0.05", scope=Scope.KEY, member="ann", name="anns")
    async with books(budgets=[keyed], keys=[ANN, BOB]) as one:
        await one.serve(key="ann")
        await asyncio.sleep(120)
        with pytest.raises(BudgetSpent, match="key ann"):
            await one.serve(key="ann")
        bobs = asyncio.create_task(one.serve(key="bob"))
        await asyncio.sleep(1)
        await asyncio.wait_for(one.serve(key="ann"), 100)
        await bobs
        assert one.provider.counts("chat")[0] == 2


@virtual
async def test_an_operator_and_a_lease_are_refused_as_well_and_that_is_on_record() -> None:
    async with books(budgets=[budget("0.05")], keys=[ANN]) as one:
        await one.serve()
        await asyncio.sleep(120)
        with pytest.raises(BudgetSpent):
            await one.fleet.wake("chat", actor="cli")
        with pytest.raises(BudgetSpent):
            await one.fleet.resume("chat", actor="cli", lease="l1", holder="someone@host")
        with pytest.raises(BudgetSpent):
            one.fleet.want("chat")
        refused = [record for record in await one.store.audit(limit=100) if not record.success]
        assert {record.operation for record in refused} == {"ask wake", "ask resume"}


@virtual
async def test_an_endpoint_of_unknown_price_is_woken_and_said_to_be_uncounted() -> None:
    async with books(prices=PriceList(), budgets=[budget("0.05")], keys=[ANN]) as one:
        serving = asyncio.create_task(one.serve(seconds=1000))
        await asyncio.sleep(100)
        [found] = one.budgets.standings()
        assert found.unpriced == ("chat",)
        assert found.spent == 0
        await serving


@virtual
async def test_what_upstreams_charge_counts_and_once_a_budget_is_spent_they_are_asked_no_more() -> None:
    own = budget("1", name="far", scope=Scope.ENDPOINT, member="far")
    anns = budget("2", name="anns", scope=Scope.KEY, member="ann")
    async with books(budgets=[own, anns], keys=[ANN, BOB]) as one:
        await one.charge("far", NANOS // 2)
        await asyncio.sleep(40)
        assert one.budgets.by_use("far", "bob") is None
        await one.charge("far", NANOS // 2, key="bob")
        await one.charge("near", NANOS * 2)
        await asyncio.sleep(40)
        assert [standing.is_spent for standing in one.budgets.standings()] == [True, True]
        refused = one.budgets.by_use("far", "bob")
        assert refused is not None
        assert refused.budget == "far"
        assert one.budgets.by_use("near", "bob") is None
        assert one.budgets.by_use("near", "ann") is not None
        assert not one.budgets.closed_keys, "what is awake answers it still"


# At the limit.


@virtual
async def test_at_the_limit_what_is_in_flight_ends_what_idles_sleeps_and_the_idle_timeout_does_not_matter() -> None:
    async with books(endpoint(idle_timeout=5000.0), budgets=[budget("0.20")], keys=[ANN]) as one:
        await spend(one, 0.5)  # far beyond it: it was in flight
        await asyncio.sleep(5)
        seen = one.fleet.endpoint("chat")
        assert seen.phase is Phase.SLEEPING
        assert "Budget 'b'" in (seen.message or ""), "who looks is told that the next request does not wake it"
        assert one.provider.counts("chat") == (1, 1)


@virtual
async def test_a_lease_does_not_keep_awake_what_nobody_can_pay() -> None:
    async with books(budgets=[budget("0.20")], keys=[ANN]) as one:
        await one.fleet.resume("chat", actor="cli", lease="l1", holder="someone@host")
        await asyncio.sleep(240)
        assert one.fleet.endpoint("chat").phase is not Phase.RUNNING
        assert one.provider.counts("chat") == (1, 1)


@virtual
async def test_idle_serves_requests_that_find_it_awake_drain_does_not_and_cut_ends_them() -> None:
    for word, phase in ((AtLimit.IDLE, Phase.RUNNING), (AtLimit.DRAIN, Phase.RUNNING), (AtLimit.CUT, Phase.SLEEPING)):
        async with books(budgets=[budget("0.20", at_limit=word)], keys=[ANN]) as one:
            long = asyncio.create_task(one.serve(seconds=500))
            await asyncio.sleep(300)
            assert one.fleet.endpoint("chat").phase is phase, word
            assert (one.fleet.try_claim("chat") is not None) is (word is AtLimit.IDLE), word
            if word is AtLimit.DRAIN:
                with pytest.raises(BudgetSpent):
                    await one.serve()
            await long
            await asyncio.sleep(10)


@virtual
async def test_a_raised_limit_opens_what_was_drained() -> None:
    async with books(budgets=[budget("0.20", at_limit=AtLimit.DRAIN)], keys=[ANN]) as one:
        long = asyncio.create_task(one.serve(seconds=1000))
        await asyncio.sleep(300)
        assert one.fleet.try_claim("chat") is None
        one.budgets.apply([budget("20", at_limit=AtLimit.DRAIN)])
        await asyncio.sleep(5)
        claim = one.fleet.try_claim("chat")
        assert claim is not None
        claim.release()
        await long


@virtual
async def test_a_key_s_spent_budget_puts_to_sleep_what_it_pays_for_alone() -> None:
    keyed = budget("0.20", scope=Scope.TAG, tag="team", member="research")
    prices = PriceList(chat="3.6", other="3.6")
    patient: dict[str, Any] = {"idle_timeout": 5000.0}
    async with books(
        endpoint(**patient), endpoint("other", **patient), prices=prices, budgets=[keyed], keys=[ANN, BOB]
    ) as one:
        await asyncio.gather(one.serve(key="ann"), one.serve("other", key="bob"))
        await asyncio.sleep(400)
        assert one.fleet.endpoint("chat").phase is Phase.SLEEPING
        assert one.fleet.endpoint("other").phase is Phase.RUNNING


@virtual
async def test_a_key_whose_spent_budget_says_drain_is_closed_until_it_renews() -> None:
    keyed = budget("0.05", scope=Scope.KEY, member="*", at_limit=AtLimit.DRAIN)
    async with books(budgets=[keyed], keys=[ANN, BOB], clock=late()) as one:
        await one.serve(key="ann")
        await asyncio.sleep(20)
        assert set(one.budgets.closed_keys) == {"ann"}
        assert "ann" in one.budgets.closed("ann").message
        [found] = one.budgets.standings()
        await asyncio.sleep(found.renews_at - one.clock.wall() + 10)
        assert not one.budgets.closed_keys


# Over restarts.


@virtual
async def test_a_restart_forgets_nothing_of_what_was_spent() -> None:
    store, clock = InlineStore(), VirtualClock()
    provider = MemoryProvider(start_delay=30.0, stop_delay=1.0)
    daily = [budget("0.05")]
    async with books(store=store, provider=provider, clock=clock, budgets=daily, keys=[ANN]) as one:
        await one.serve()
        await asyncio.sleep(120)
    async with books(store=store, provider=provider, clock=clock, budgets=daily, keys=[ANN]) as one:
        with pytest.raises(BudgetSpent):
            await one.serve()


@virtual
async def test_keep_warm_endpoints_wait_at_the_start_until_the_budgets_are_summed_up() -> None:
    store, clock = InlineStore(), VirtualClock()
    provider = MemoryProvider(start_delay=30.0, stop_delay=1.0)
    async with books(store=store, provider=provider, clock=clock, keys=[ANN]) as one:
        await one.serve()
        await asyncio.sleep(120)
    async with books(
        endpoint(keep_warm=True), store=store, provider=provider, clock=clock, budgets=[budget("0.05")], keys=[ANN]
    ) as one:
        await asyncio.sleep(60)
        assert one.provider.counts("chat")[0] <= 1
        assert one.fleet.endpoint("chat").phase is not Phase.RUNNING


@virtual
async def test_a_key_that_is_spent_while_it_waits_first_does_not_hold_up_one_behind_it_that_is_not() -> None:
    keyed = budget("0.10", scope=Scope.KEY, member="ann", name="anns")
    provider = MemoryProvider(start_delay=30.0, stop_delay=20.0)
    async with books(provider=provider, budgets=[keyed], keys=[ANN, BOB]) as one:
        await one.serve(key="ann", seconds=20.0)
        await asyncio.sleep(62)  # it is stopping, and still billed to her
        assert one.fleet.endpoint("chat").phase is Phase.STOPPING
        anns = asyncio.create_task(one.serve(key="ann"))
        await asyncio.sleep(1)
        bobs = asyncio.create_task(one.serve(key="bob"))
        with pytest.raises(BudgetSpent):
            await anns
        await bobs
        assert one.provider.counts("chat")[0] == 2
        periods = await one.costs.report(CostQuery(by=(Dimension.KEY,)))
        assert {line.group[0] for line in periods.lines} == {"ann", "bob"}


@virtual
async def test_what_an_operator_put_to_sleep_is_woken_on_the_account_of_who_asks_next() -> None:
    async with books(keys=[ANN]) as one:
        await one.serve(key="ann")
        await one.fleet.sleep("chat", actor="cli")
        await one.serve(key="ann")
        await asyncio.sleep(120)
        report = await one.costs.report(CostQuery(by=(Dimension.KEY,)))
        assert {line.group[0] for line in report.lines if line.total} == {"ann"}
