"""Costs as they are asked for: days in words, names that are checked, bills, and what is kept at hand of them."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable
from datetime import date, timedelta
from decimal import Decimal
from typing import Any, TypeVar

import pytest

from lamplighter.control.costs import CostReport, Dimension
from lamplighter.control.recorder import Recorder
from lamplighter.control.reports import Reports, Wanted
from lamplighter.control.spending import Spending
from lamplighter.domain.days import NamedDay
from lamplighter.domain.keys import ApiKey
from lamplighter.domain.ledger import Kind
from lamplighter.domain.reconciling import Amounts, read_bill
from lamplighter.errors import Conflict, EndpointNotFound, InvalidInput, StoreError
from lamplighter.store import Store
from lamplighter.store.charging import Terms
from lamplighter.store.costing import CostFilter, CostRow
from lamplighter.store.records import AuditFilter
from tests.ledger_stage import Books, InlineStore, PriceList, books, endpoint
from tests.virtual_time import VirtualClock, virtual

T = TypeVar("T")

HOUR = 3600.0
DAY = 24 * HOUR
TODAY = date(2023, 11, 14)  # when simulated time begins
TUESDAY = date(2026, 11, 24)


def reports(run: Books, *, store: Store | None = None) -> Reports:
    async def read(bill_csv: str) -> Amounts:
        return read_bill(bill_csv)  # no thread, where time jumps

    recorder, books = Recorder(run.journal, run.clock), store or run.store
    return Reports(run.costs, books, run.fleet, run.clock, keys=lambda: run.keys, recorder=recorder, read=read)


def key(name: str, **tags: str) -> ApiKey:
    return ApiKey(id=f"id-{name}", name=name, digest=name, created_at=1.0, created_by="me", tags=tags)


async def told(run: Books, *by: Dimension, **rest: Any) -> CostReport:
    return await reports(run).report(Wanted(by=by, **rest))


class FailingStore(InlineStore):
    """One that can't add up for a while."""

    fails = False

    async def costs(self, wanted: CostFilter, now: int, terms: Terms, made: Callable[[list[CostRow]], T]) -> T:
        if self.fails:
            raise StoreError("The disk is gone.")
        return await super().costs(wanted, now, terms, made)


# Days.


@pytest.mark.parametrize(
    ("text", "day"),
    [
        ("2026-11-01", date(2026, 11, 1)),
        ("today", TUESDAY),
        ("Yesterday", TUESDAY - timedelta(days=1)),
        ("week", date(2026, 11, 23)),
        ("month", date(2026, 11, 1)),
        ("year", date(2026, 1, 1)),
        ("1d", TUESDAY),
        ("7d", TUESDAY - timedelta(days=6)),
        ("4w", TUESDAY - timedelta(days=27)),
        ("all", None),
    ],
)
def test_days_are_named_as_people_do(text: str, day: date | None) -> None:
    assert NamedDay.of(text).on(TUESDAY) == day


@pytest.mark.parametrize(
    "text", ["", "0d", "24h", "-7d", "2026-02-30", "26-11-01", "1969-12-31", "9999-12-31", "next week", "7", "\u0667d"]
)
def test_what_names_no_day_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        NamedDay.of(text)


def test_two_spans_leave_the_days_between_them() -> None:
    since, until = NamedDay.of("14d").on(TUESDAY), NamedDay.of("7d").on(TUESDAY)
    assert since is not None
    assert until is not None
    assert (until - since).days == 7


@virtual
async def test_days_are_those_of_the_ledgers_time_zone_also_where_one_has_25_hours() -> None:
    clock = VirtualClock()
    clock.offset = 1698526800.0 - clock.now()  # 2023-10-28 23:00 in Berlin
    prices, spec = PriceList(chat="1"), endpoint(keep_warm=True)
    async with books(spec, clock=clock, prices=prices, zone="Europe/Berlin", every=HOUR) as run:
        await asyncio.sleep(DAY + 3 * HOUR)  # to 01:00 on the 30th, with the hour that came twice
        found = await told(run, Dimension.DAY, since=NamedDay.of("3d"))
        days = {line.group[0]: line.total for line in found.lines}
        assert found.time_zone == "Europe/Berlin"
        assert days["2023-10-28"] == pytest.approx(Decimal(1), abs=Decimal("0.01"))
        assert days["2023-10-29"] == pytest.approx(Decimal(25), abs=Decimal("0.01"))
        assert (await told(run, since=NamedDay.of("today"))).query.since == date(2023, 10, 30)


# Names.


@virtual
async def test_thirty_days_before_the_end_are_told_where_nobody_says_since_when() -> None:
    async with books() as run:
        assert (await told(run)).query.since == TODAY - timedelta(days=29)
        assert (await told(run, until=NamedDay.of("2023-03-31"))).query.since == date(2023, 3, 1)
        assert (await told(run, since=NamedDay.of("all"))).query.since is None


@virtual
async def test_a_name_that_there_is_none_of_is_refused_with_those_that_there_are() -> None:
    async with books() as run:
        run.keys = [key("ann", team="research")]
        for given, field, hint in (
            ({"keys": ("anne",)}, "key", "did you mean ann"),
            ({"keys": ("zoe",)}, "key", "known are ann"),
            ({"providers": ("aws",)}, "provider", "known are memory"),
            ({"tag": "team=sales"}, "tag", "team=research"),
            ({"tag": "team"}, "tag", "by=tag"),
        ):
            with pytest.raises(InvalidInput, match=hint) as caught:
                await told(run, **given)
            assert caught.value.field == field
        with pytest.raises(EndpointNotFound, match="'chat'"):
            await told(run, endpoints=("chta",))


@virtual
async def test_a_time_that_ends_before_it_begins_is_refused() -> None:
    async with books() as run:
        with pytest.raises(InvalidInput) as caught:
            await told(run, since=NamedDay.of("today"), until=NamedDay.of("yesterday"))
        assert caught.value.field == "until"


@virtual
async def test_an_endpoint_is_found_by_its_alias_and_after_it_is_gone() -> None:
    async with books(dataclasses.replace(endpoint(), aliases=("gossip",))) as run:
        await run.serve()
        await asyncio.sleep(HOUR)
        by_name = (await told(run, endpoints=("chat",))).total.total
        assert by_name > 0
        assert (await told(run, endpoints=("gossip",))).total.total == by_name
        await run.fleet.apply({})
        await asyncio.sleep(HOUR)
        assert (await told(run, endpoints=("chat",))).total.total == by_name


@virtual
async def test_keys_are_found_by_name_id_and_tag() -> None:
    async with books() as run:
        run.keys = [key("ann", team="research"), key("bob", team="sales")]
        await asyncio.gather(run.serve(key="id-ann", seconds=30), run.serve(key="id-bob", seconds=10))
        await asyncio.sleep(HOUR)
        whole = {line.group[0]: line.total for line in (await told(run, Dimension.KEY)).lines}
        assert set(whole) == {"id-ann", "id-bob"}
        for asked in ({"keys": ("ann",)}, {"keys": ("id-ann",)}, {"tag": "team=research"}):
            found = await told(run, **asked)
            assert found.total.total == whole["id-ann"]
            assert found.total.saved is None, "what an endpoint saved is no single key's"
        both = await told(run, tag="team=research", keys=("bob",))
        assert both.total.total == 0
        by_tag = await told(run, Dimension.TAG, tag="team")
        assert {line.group[0]: line.total for line in by_tag.lines} == {
            "research": whole["id-ann"],
            "sales": whole["id-bob"],
        }


@virtual
async def test_a_server_without_anything_in_its_books_tells_nothing_and_no_error() -> None:
    async with books() as run:
        found = await told(run, Dimension.DAY, since=NamedDay.of("2020-01-01"), until=NamedDay.of("2021-01-01"))
        assert found.lines == []
        assert found.total.total == 0


# Bills, and charging anew.


@virtual
async def test_a_bill_is_equal_within_its_cents_and_is_on_record() -> None:
    async with books(prices=PriceList(chat="1.111")) as run:
        await run.serve(seconds=600)
        await asyncio.sleep(HOUR)
        charged = (await told(run)).total.total
        cents = charged.quantize(Decimal("0.01"))
        bill = f"endpoint,day,amount\nchat,{TODAY},{cents}\n"
        one = await reports(run).reconcile(bill, tolerance=Decimal("0.01"), actor="me")
        assert (one.differences, one.within) == ([], 1)
        assert (one.billed, one.charged) == (cents, charged)
        exact = await reports(run).reconcile(bill, tolerance=Decimal(0), actor="me")
        assert [two.difference for two in exact.differences] == [cents - charged]
        rows = await run.store.audit_page(AuditFilter(), limit=10)
        assert [row.record.operation for row in rows[:2]] == ["reconcile a bill", "reconcile a bill"]


@pytest.mark.parametrize(
    "bill", ["", "endpoint,day,amount\n", "endpoint,day,amount\nchat,9999-12-31,1\n", "name,when,cost\na,b,c\n"]
)
@virtual
async def test_a_bill_of_no_use_is_refused(bill: str) -> None:
    async with books() as run:
        with pytest.raises(InvalidInput) as caught:
            await reports(run).reconcile(bill, tolerance=Decimal(0), actor="me")
        assert caught.value.field == "bill"


@virtual
async def test_charging_anew_is_done_once_at_a_time_and_changes_no_sum() -> None:
    async with books() as run:
        await run.serve(tokens=100)
        await asyncio.sleep(3 * HOUR)
        before = (await told(run, Dimension.DAY)).lines
        one = reports(run)
        done, refused = await asyncio.gather(one.rebuild(actor="me"), one.rebuild(actor="you"), return_exceptions=True)
        assert done is None
        assert isinstance(refused, Conflict) or refused is None, "the first may have ended before the second came"
        assert (await told(run, Dimension.DAY)).lines == before
        async with one._rebuilding:
            with pytest.raises(Conflict):
                await one.rebuild(actor="you")


# What is kept at hand.


def counted(spending: Spending) -> dict[Kind, Decimal]:
    return {one.kind: one.dollars for one in spending.counted() if one.endpoint == "chat"}


@virtual
async def test_counters_begin_at_nothing_grow_with_the_ledger_and_go_over_midnight() -> None:
    async with books(endpoint(keep_warm=True), every=HOUR) as run:
        await asyncio.sleep(HOUR)  # what was spent before
        spending = Spending(run.costs, run.clock)
        await spending.look()
        assert sum(counted(spending).values()) == 0
        before = (await told(run)).total.total
        for _ in range(8):
            await asyncio.sleep(HOUR)
            earlier = counted(spending)
            await spending.look()
            assert all(counted(spending)[kind] >= amount for kind, amount in earlier.items())
        grown = (await told(run)).total.total - before
        assert sum(counted(spending).values()) == pytest.approx(grown, abs=Decimal("0.001"))
        assert grown > 25


@virtual
async def test_a_counter_never_goes_back() -> None:
    prices = PriceList(chat="3.6")
    async with books(endpoint(keep_warm=True), prices=prices, every=HOUR) as run:
        spending = Spending(run.costs, run.clock)
        await spending.look()
        await asyncio.sleep(2 * HOUR)
        await spending.look()
        dear = counted(spending)
        prices.set("chat", 0.0, "0.036")
        await reports(run).rebuild(actor="me")
        await spending.look()
        assert (await told(run)).total.total < 1
        assert counted(spending) == dear


@virtual
async def test_today_is_what_a_report_of_today_says() -> None:
    async with books(endpoint(), endpoint("free"), prices=PriceList(chat="3.6"), every=HOUR) as run:
        spending = Spending(run.costs, run.clock)
        assert spending.of("chat", is_priced=True) is None
        await asyncio.sleep(3 * HOUR)  # over midnight
        await run.serve()
        await asyncio.sleep(HOUR)
        await spending.look()
        report = await told(run, Dimension.ENDPOINT, since=NamedDay.of("today"))
        today = spending.today
        assert today is not None
        assert today.total.cost == report.total.total
        assert today.total.saved == report.total.saved
        chat = spending.of("chat", is_priced=True)
        assert chat is not None
        assert chat.cost > 0
        assert spending.of("free", is_priced=False) is None, "nobody knows its price"


@virtual
async def test_a_ledger_that_can_not_be_read_is_asked_again() -> None:
    store = FailingStore()
    async with books(store=store) as run:
        spending = Spending(run.costs, run.clock, every=10.0)
        spending.start()
        await asyncio.sleep(1)
        first = spending.today
        assert first is not None
        store.fails = True
        await asyncio.sleep(15)
        assert spending.today is first
        store.fails = False
        await asyncio.sleep(15)
        assert spending.today is not first
        await spending.close()


# From one moment to another.


@virtual
async def test_a_window_costs_what_reports_before_and_after_it_differ_by() -> None:
    async with books(every=HOUR) as run:
        moments, sums = [], []
        for seconds in (700.0, 40.0, 3000.0, 10.0, 900.0):
            await run.serve(seconds=seconds / 3)
            await asyncio.sleep(seconds)
            moments.append(run.clock.wall())
            sums.append((await told(run)).total.total)
        end = run.clock.wall()
        for at, amount in zip(moments, sums, strict=True):
            found = await run.costs.between("chat", at, end)
            assert found is not None
            assert found.amount == pytest.approx(sums[-1] - amount, abs=Decimal("0.00001"))
            assert found.estimated == found.unpriced == 0
        everything = await run.costs.between("chat", 0.0, end)
        assert everything is not None
        assert everything.amount == sums[-1]


@virtual
async def test_a_window_whose_facts_are_gone_costs_nobody_knows_what() -> None:
    store, clock = InlineStore(), VirtualClock()
    async with books(store=store, clock=clock) as run:
        await run.serve()
        await asyncio.sleep(HOUR)
    clock.offset += 40 * DAY
    async with books(store=store, clock=clock) as run:
        await run.serve()
        await asyncio.sleep(HOUR)
        now = run.clock.wall()
        await run.store.prune(now - 2 * DAY, only_counted=True)
        assert await run.costs.between("chat", now - 39 * DAY, now) is None
        assert (await told(run, since=NamedDay.of("all"))).total.requests == 2
