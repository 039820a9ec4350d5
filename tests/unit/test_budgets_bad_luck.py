"""Budgets when something goes wrong: a ledger that fails or is slow, clocks that are set, waiters at the limit."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from lamplighter.control.costs import CostQuery, CostReport, Dimension
from lamplighter.domain.budgets import AtLimit, Period, Scope
from lamplighter.domain.endpoint import Phase
from lamplighter.domain.keys import ApiKey
from lamplighter.domain.money import NANOS
from lamplighter.errors import BudgetSpent, StoreError
from lamplighter.providers.memory import MemoryProvider
from tests.ledger_stage import Books, books, endpoint
from tests.unit.test_budgets import ANN, BOB, budget, late
from tests.virtual_time import virtual

ANNS = budget("0.08", scope=Scope.KEY, member="ann", name="anns")
MINUTES: dict[str, Any] = {"start_delay": 1.0, "stop_delay": 0.1, "billing": {"step": 60}}


def breaking(one: Books, *, slow: float = 0.0) -> None:
    """Have the ledger fail from now on, or answer so many seconds late."""
    real = one.costs.report

    async def report(query: CostQuery) -> CostReport:
        if not slow:
            raise StoreError("The database is locked.")
        await asyncio.sleep(slow)
        return await real(query)

    one.costs.report = report  # type: ignore[method-assign]


# Whose account.


@virtual
async def test_what_a_key_s_lease_keeps_awake_stays_asleep_once_the_key_is_spent() -> None:
    async with books(provider=MemoryProvider(**MINUTES), budgets=[ANNS], keys=[ANN, BOB]) as one:
        await one.fleet.resume("chat", actor="key:ann", lease="l1", holder="ann@laptop")
        await asyncio.sleep(400)
        assert one.fleet.endpoint("chat").phase is not Phase.RUNNING
        assert one.provider.counts("chat") == (1, 1)
        report = await one.costs.report(CostQuery(by=(Dimension.KEY,)))
        assert {line.group[0] for line in report.lines} == {"ann"}


@virtual
async def test_somebody_else_s_lease_wakes_it_again_once_and_on_its_own_account() -> None:
    async with books(provider=MemoryProvider(**MINUTES), budgets=[ANNS], keys=[ANN, BOB]) as one:
        await one.fleet.resume("chat", actor="key:ann", lease="l1", holder="ann@laptop")
        await one.fleet.resume("chat", actor="key:bob", lease="l2", holder="bob@laptop")
        await asyncio.sleep(400)
        assert one.fleet.endpoint("chat").phase is Phase.RUNNING
        wakes, _ = one.provider.counts("chat")
        assert wakes <= 2
        report = await one.costs.report(CostQuery(by=(Dimension.KEY,)))
        assert {line.group[0] for line in report.lines} <= {"ann", "bob"}


@virtual
async def test_keep_warm_comes_up_once_more_on_nobody_s_account_and_does_not_flicker() -> None:
    provider = MemoryProvider(**{**MINUTES, "billing": {"minimum": 60}})
    async with books(endpoint(keep_warm=True), provider=provider, budgets=[ANNS], keys=[ANN, BOB]) as one:
        await asyncio.sleep(5)
        await one.fleet.sleep("chat", actor="key:ann")
        await asyncio.sleep(5)
        await one.fleet.wake("chat", actor="key:ann")
        await asyncio.sleep(600)
        wakes, _ = one.provider.counts("chat")
        assert wakes <= 3, "the first, ann's, and the one after her budget was spent"
        assert one.fleet.endpoint("chat").phase is Phase.RUNNING


@virtual
async def test_a_key_made_anew_under_an_old_name_counts_by_its_own_tags() -> None:
    old = ApiKey(id="k1", name="web", tags={"team": "old"}, revoked_at=1.0)
    new = ApiKey(id="k2", name="web", tags={"team": "new"}, created_at=2.0)
    teams = budget("0.01", scope=Scope.TAG, tag="team", member="new", name="new")
    for keys in ([old, new], [new, old]):
        async with books(provider=MemoryProvider(**MINUTES), budgets=[teams], keys=keys) as one:
            with pytest.raises(BudgetSpent):
                await one.fleet.wake("chat", actor="key:web")  # its start costs more than that
        assert one.budgets.closed_keys == {}


@virtual
async def test_a_tag_that_no_key_has_is_told_as_missing() -> None:
    slip = budget(scope=Scope.TAG, tag="taem", member="research")
    async with books(budgets=[slip], keys=[ANN]) as one:
        assert one.budgets.standings()[0].missing


# Who waits at the limit.


@virtual
@pytest.mark.parametrize("word", [AtLimit.DRAIN, AtLimit.CUT])
async def test_who_waits_for_a_start_when_the_money_ends_is_told_so_and_it_sleeps(word: AtLimit) -> None:
    provider = MemoryProvider(start_delay=100.0, stop_delay=1.0)
    async with books(provider=provider, budgets=[budget("0.02", at_limit=word)], keys=[ANN]) as one:
        began = one.clock.now()
        with pytest.raises(BudgetSpent):
            await one.serve()
        assert one.clock.now() - began < 30
        await asyncio.sleep(10)
        assert one.fleet.endpoint("chat").phase is Phase.SLEEPING


@virtual
async def test_who_waits_for_a_slot_of_a_drained_endpoint_is_told_so() -> None:
    drained = budget("0.10", at_limit=AtLimit.DRAIN)
    async with books(endpoint(concurrency=1), budgets=[drained], keys=[ANN]) as one:
        first = asyncio.create_task(one.serve(seconds=200))
        await asyncio.sleep(40)
        with pytest.raises(BudgetSpent):
            await one.serve()
        await first
        await asyncio.sleep(10)
        assert one.fleet.endpoint("chat").phase is Phase.SLEEPING


@virtual
async def test_an_operator_s_refused_wake_gives_way_to_the_request_that_waits_after_a_failed_start() -> None:
    provider = MemoryProvider(start_delay=1.0, stop_delay=0.1, faults={"chat": {"wake": ["no_capacity"]}})
    async with books(provider=provider, budgets=[ANNS], keys=[ANN, BOB]) as one:
        await one.charge("far", NANOS // 10, key="ann")
        await asyncio.sleep(40)
        bobs = asyncio.create_task(one.serve(key="bob"))
        await asyncio.sleep(0.01)
        await one.fleet.resume("chat", actor="key:ann", lease="l1", holder="ann@laptop")
        async with asyncio.timeout(100):
            await bobs
        await asyncio.sleep(100)
        assert one.fleet.endpoint("chat").phase is Phase.SLEEPING, "her lease holds nothing that he would pay for"


@virtual
async def test_who_waited_along_is_told_of_the_budget_where_the_start_is_given_up() -> None:
    provider = MemoryProvider(start_delay=60.0, stop_delay=1.0)
    async with books(provider=provider, budgets=[budget("0.03")], keys=[ANN]) as one:
        first = asyncio.create_task(one.serve())
        await asyncio.sleep(40)
        second = asyncio.create_task(one.serve())
        await asyncio.sleep(1)
        first.cancel()
        await asyncio.sleep(0)
        await one.fleet.sleep("chat", actor="cli")
        with pytest.raises(BudgetSpent):
            await second


# The ledger.


@virtual
@pytest.mark.parametrize("slow", [0.0, 500.0])
async def test_budgets_hold_while_the_ledger_fails_or_is_slow(slow: float) -> None:
    async with books(budgets=[budget("0.20", at_limit=AtLimit.CUT)], keys=[ANN]) as one:
        breaking(one, slow=slow)
        serving = asyncio.create_task(one.serve(seconds=300))
        await asyncio.sleep(240)
        assert one.fleet.endpoint("chat").phase is Phase.SLEEPING
        assert one.fleet.try_claim("chat") is None
        await serving


@virtual
async def test_a_reload_while_the_ledger_fails_asks_it_now_and_then() -> None:
    asked = 0
    async with books(budgets=[budget()], keys=[ANN]) as one:

        async def report(query: CostQuery) -> CostReport:
            nonlocal asked
            asked += 1
            raise StoreError("The database is locked.")

        one.costs.report = report  # type: ignore[method-assign]
        one.budgets.apply([budget("2")])
        await asyncio.sleep(60)
        assert 10 < asked < 40


# Clocks.


@virtual
@pytest.mark.parametrize("step", [3600.0, 8 * 3600.0, -3600.0])
async def test_a_step_of_the_wall_clock_spends_nothing(step: float) -> None:
    async with books(budgets=[budget("5", at_limit=AtLimit.CUT, period=Period.MONTH)], keys=[ANN]) as one:
        serving = asyncio.create_task(one.serve(seconds=300))
        await asyncio.sleep(60)
        one.clock.offset += step
        highest = 0.0
        for _ in range(120):
            await asyncio.sleep(1)
            highest = max(highest, float(one.budgets.standings()[0].spent))
        assert highest < 0.25
        assert one.fleet.endpoint("chat").phase is Phase.RUNNING
        await serving


@virtual
async def test_who_comes_at_the_moment_of_renewal_is_let_in_however_slow_the_ledger_is() -> None:
    async with books(budgets=[budget("0.08")], keys=[ANN], clock=late()) as one:
        await one.serve()
        await asyncio.sleep(120)
        with pytest.raises(BudgetSpent) as refused:
            await one.serve()
        breaking(one, slow=300.0)
        assert refused.value.retry_after is not None
        await asyncio.sleep(refused.value.retry_after + 0.5)
        await one.serve()
        [found] = one.budgets.standings()
        assert found.level < 100
        assert found.begins_at <= one.clock.wall() < found.renews_at


# By use.


@virtual
async def test_what_is_charged_by_use_counts_with_the_answer_and_is_not_counted_twice() -> None:
    async with books(budgets=[budget("1")], keys=[ANN]) as one:
        for _ in range(10):
            one.budgets.used("far", "ann", NANOS // 20)
            await one.charge("far", NANOS // 20)
            await asyncio.sleep(7)
            assert float(one.budgets.standings()[0].spent) == pytest.approx(float(await total(one)), abs=0.051)
        assert one.budgets.by_use("far", "ann") is None
        for _ in range(10):
            one.budgets.used("far", "ann", NANOS // 20)
        assert one.budgets.by_use("far", "ann") is not None


@virtual
async def test_a_budget_that_each_endpoint_has_stops_models_elsewhere_as_well() -> None:
    each = budget("1", scope=Scope.ENDPOINT, member="*")
    async with books(budgets=[each], keys=[ANN]) as one:
        await one.charge("elsewhere/novita", NANOS)
        await one.charge("elsewhere/groq", NANOS)
        await asyncio.sleep(40)
        assert one.budgets.by_use("elsewhere", "ann") is not None
        [found] = one.budgets.standings()
        assert (found.member, int(found.spent)) == ("elsewhere", 2)


async def total(one: Books) -> Any:
    return (await one.costs.report(CostQuery())).total.total
