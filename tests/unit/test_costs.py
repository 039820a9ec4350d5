"""What a running server's endpoints cost: its facts are kept, its hours are closed, its reports add up."""

from __future__ import annotations

import asyncio
import sqlite3
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from lamplighter.control.bookkeeping import EVERY
from lamplighter.control.costs import CostQuery, CostReport, Dimension
from lamplighter.domain.endpoint import State
from lamplighter.domain.keys import ApiKey
from lamplighter.domain.reconciling import read_bill
from lamplighter.errors import InvalidInput
from lamplighter.providers.memory import MemoryProvider
from lamplighter.store.database import Database
from tests.ledger_stage import Books, InlineStore, PriceList, books, endpoint
from tests.virtual_time import BEGINNING, VirtualClock, virtual

HOUR = 3600.0
CENT = Decimal("0.01")  # ten seconds at 3.6 $ an hour
TODAY = date(2023, 11, 14)  # when simulated time begins


async def report(run: Books, *by: Dimension, **rest: object) -> CostReport:
    found = await run.costs.report(CostQuery(by=by, **rest))  # type: ignore[arg-type]
    sums = [sum((getattr(line, name) for line in found.lines), Decimal(0)) for name in ("total", "seconds")]
    assert sums == [found.total.total, found.total.seconds], "lines sum to the total to the nanodollar"
    assert found.total.requests == sum(line.requests for line in found.lines)
    return found


def lines(found: CostReport) -> dict[tuple[str, ...], Decimal]:
    return {line.group: line.total for line in found.lines}


def about(amount: Decimal | str, *, off: str = "0.0005") -> object:
    return pytest.approx(Decimal(amount), abs=Decimal(off))


@virtual
async def test_a_request_a_minute_of_idling_and_a_sleep_cost_what_they_took() -> None:
    async with books() as run:
        await run.serve(seconds=20)
        await asyncio.sleep(2 * HOUR)
        total = (await report(run, Dimension.ENDPOINT)).total
        assert total.cold_start == about("0.03")
        assert total.serving == about("0.02")
        assert total.idle == about("0.061"), "a minute, and the second that stopping took"
        assert total.seconds == about("111", off="0.5")
        assert total.total == Decimal("0.001") * total.seconds, "price times seconds, exactly"
        assert total.saved == about(Decimal("7.2") + Decimal("0.05") - total.total, off="0.01")
        assert total.per_request == total.total


@virtual
async def test_what_upstreams_charge_stands_beside_what_endpoints_cost_and_is_charged_to_who_asked() -> None:
    async with books() as run:
        await run.serve(key="bob")
        await run.charge("far", 3_000_000_001, key="ann")
        await run.charge("elsewhere/novita", 7, key="ann")
        for _ in range(2):  # while the hour is open, and once it is closed
            found = await report(run, Dimension.ENDPOINT)
            by_use = {line.group[0]: line.by_use for line in found.lines}
            assert by_use == {"far": Decimal("3.000000001"), "elsewhere/novita": Decimal("0.000000007"), "chat": 0}
            assert next(line for line in found.lines if line.group == ("far",)).per_million_tokens == Decimal(
                "15000.000005"
            )
            awake = found.total.cold_start + found.total.serving + found.total.idle
            assert found.total.total == awake + Decimal("3.000000008")
            assert lines(await report(run, Dimension.KEY))["ann",] == Decimal("3.000000008")
            assert lines(await report(run, Dimension.PROVIDER))["far",] == Decimal("3.000000001")
            saved = found.total.saved
            assert saved is not None
            assert saved + awake == about(Decimal("0.001") * Decimal(run.clock.wall() - BEGINNING), off="0.02")
            await asyncio.sleep(2 * HOUR)


@virtual
async def test_what_runs_now_is_counted_up_to_this_moment_and_accrues() -> None:
    async with books(endpoint(keep_warm=True)) as run:
        await asyncio.sleep(90 * 60)
        first = (await report(run)).total
        assert first.total == about("5.4")
        assert run.costs.accrued()["chat"].amount == about("5.4")
        assert run.costs.accrued()["chat"].began == pytest.approx(BEGINNING, abs=0.1)
        await asyncio.sleep(10)
        assert (await report(run)).total.total - first.total == about(CENT)
        assert run.costs.accrued()["chat"].amount == about("5.41")
        await run.fleet.pause("chat", actor="me")
        await asyncio.sleep(2)
        assert run.costs.accrued() == {}


@virtual
async def test_a_wake_is_charged_to_the_key_that_waited_longest_and_serving_to_each_by_its_seconds() -> None:
    async with books() as run:
        first = asyncio.create_task(run.serve(key="ann", seconds=10))
        await asyncio.sleep(1)
        await asyncio.gather(first, run.serve(key="bob", seconds=30))
        await asyncio.sleep(HOUR)
        found = {line.group[0]: line for line in (await report(run, Dimension.KEY)).lines}
        assert found["ann"].cold_start == about("0.03")
        assert found["bob"].cold_start == 0
        assert found["bob"].serving == about(3 * found["ann"].serving)
        assert found["ann"].serving + found["bob"].serving == about("0.03")
        assert found["bob"].idle == about(3 * found["ann"].idle)
        assert found["ann"].saved is None


@virtual
async def test_a_wake_without_a_request_is_charged_to_the_operator_or_the_leases_holder() -> None:
    async with books(endpoint(), endpoint("mert"), prices=PriceList(chat="3.6", mert="3.6")) as run:
        await run.fleet.wake("chat", actor="zoe")
        await run.fleet.resume("mert", actor="zoe", lease="1", holder="ann@box pid 7")
        await asyncio.sleep(HOUR)
        charged = lines(await report(run, Dimension.ENDPOINT, Dimension.KEY))
        assert set(charged) == {("chat", "operator:zoe"), ("mert", "lease:ann@box pid 7")}


@virtual
async def test_what_an_operator_does_with_a_key_is_the_keys_and_its_tags() -> None:
    async with books() as run:
        run.keys = [ApiKey(id="k1", name="ann", tags={"team": "research", "use": "batch"}), ApiKey(id="k2", name="bob")]
        await run.fleet.wake("chat", actor="key:ann")
        await asyncio.sleep(HOUR)
        await run.serve(key="k2")
        await asyncio.sleep(HOUR)
        by_key, by_tag = await report(run, Dimension.KEY), await report(run, Dimension.TAG)
        assert set(lines(by_key)) == {("k1",), ("k2",)}
        assert lines(by_tag) == {
            ("team=research, use=batch",): lines(by_key)["k1",],
            ("",): lines(by_key)["k2",],
        }
        assert ("research",) in lines(await report(run, Dimension.TAG, tag="team"))
        only = await run.costs.report(CostQuery(keys=frozenset({"k1"})))
        assert only.total.total == lines(by_key)["k1",]


@virtual
async def test_reports_by_any_dimensions_add_up_to_the_same_total() -> None:
    async with books(endpoint(), endpoint("mert"), prices=PriceList(chat="3.1", mert="0.7"), every=600.0) as run:
        for number in range(40):
            await run.serve("mert" if number % 3 else "chat", key="ann" if number % 2 else "bob", tokens=number)
            await asyncio.sleep(HOUR * 1.7)
        total = (await report(run)).total
        assert total.tokens_out == 2 * total.tokens_in == 2 * sum(range(40))
        assert total.per_million_tokens == total.total * 10**6 / (3 * sum(range(40)))
        for by in Dimension:
            one = (await report(run, by)).total
            assert (one.total, one.requests, one.saved) == (total.total, 40, total.saved)
        both = await report(run, Dimension.DAY, Dimension.ENDPOINT, Dimension.KIND, Dimension.KEY, Dimension.PROVIDER)
        assert both.total.total == total.total
        days = lines(await report(run, Dimension.DAY))
        assert list(days) == sorted(days)
        assert len(days) == 4
        some = [
            await report(run, since=TODAY + timedelta(days=n), until=TODAY + timedelta(days=n + 1)) for n in range(4)
        ]
        assert [one.total.total for one in some] == list(days.values())


@virtual
async def test_a_price_that_changes_counts_from_its_moment_on() -> None:
    async with books(endpoint(keep_warm=True)) as run:
        run.prices.set("chat", BEGINNING + 1.5 * HOUR, "36")
        await asyncio.sleep(3 * HOUR)
        assert (await report(run)).total.total == about(Decimal("5.4") + Decimal(54), off="0.05")


@virtual
async def test_replicas_are_billed_each_and_a_change_of_their_number_is_on_record() -> None:
    provider = MemoryProvider(start_delay=0.0, stop_delay=0.0, updates_in_place=True)
    async with books(endpoint(keep_warm=True), provider=provider) as run:
        await asyncio.sleep(HOUR)
        await run.fleet.update(endpoint(keep_warm=True, replicas=3))
        await asyncio.sleep(HOUR)
        assert (await report(run)).total.total == about("14.4", off="0.02")


@virtual
async def test_charging_anew_gives_the_same() -> None:
    two, clock = PriceList(chat="3.1", mert="0.7"), VirtualClock()
    clock.offset += 15 * 24 * HOUR  # close to the end of a month
    async with books(endpoint(), endpoint("mert"), prices=two, clock=clock, zone="Asia/Kolkata", every=1800.0) as run:
        for number in range(20):
            await run.serve("mert" if number % 3 else "chat", key="ann" if number % 2 else "bob", tokens=number)
            await asyncio.sleep(HOUR * 6.7)
        by = tuple(Dimension)
        before = lines(await report(run, *by))
        assert await run.costs.rebuild() is None
        assert lines(await report(run, *by)) == before
        await run.store.prune(BEGINNING + 15.5 * 24 * HOUR, only_counted=True)
        assert await run.costs.rebuild() == date(2023, 12, 1)
        assert lines(await report(run, *by)) == before
        assert [line.group[0] for line in (await report(run, Dimension.DAY)).lines][::3] == ["2023-11-30", "2023-12-03"]


@virtual
async def test_pruning_leaves_what_is_not_counted_yet_and_charges_outlive_the_facts() -> None:
    async with books() as run:
        await run.serve()
        await asyncio.sleep(300)
        await run.store.prune(run.clock.wall(), only_counted=True)
        assert len(await run.store.usage()) == 1, "its hour is open"
        await asyncio.sleep(HOUR)
        await run.serve()
        await asyncio.sleep(2 * HOUR)
        before = lines(await report(run, *Dimension))
        await run.store.prune(run.clock.wall(), only_counted=True)
        assert len(await run.store.usage()) == 1, "the newest stays, so that numbers go on"
        assert len(await run.store.transitions()) == 1
        assert lines(await report(run, *Dimension)) == before
        await run.serve()
        await asyncio.sleep(2 * HOUR)
        assert (await report(run)).total.requests == 3


# Restarts.


@virtual
async def test_a_server_that_was_away_bills_what_was_awake_before_and_after() -> None:
    store, clock = InlineStore(), VirtualClock()
    provider = MemoryProvider(start_delay=0.0)
    async with books(endpoint(keep_warm=True), store=store, clock=clock, provider=provider, killed=True):
        await asyncio.sleep(1.5 * HOUR)
    await asyncio.sleep(5 * HOUR)
    async with books(endpoint(keep_warm=True), store=store, clock=clock, provider=provider) as run:
        await asyncio.sleep(HOUR)
        total = (await report(run)).total
        assert total.total == about("27", off="0.02")
        assert total.estimated == 0
        assert run.costs.accrued()["chat"].amount == about("27", off="0.02")


@virtual
async def test_what_is_found_asleep_after_a_time_away_is_billed_and_told_as_an_estimate() -> None:
    store, clock, provider = InlineStore(), VirtualClock(), MemoryProvider(start_delay=0.0)
    async with books(endpoint(keep_warm=True), store=store, clock=clock, provider=provider, killed=True):
        await asyncio.sleep(1.5 * HOUR)
    await asyncio.sleep(5 * HOUR)
    provider.set_state("chat", State.PAUSED)
    async with books(store=store, clock=clock, provider=provider) as run:
        await asyncio.sleep(HOUR)
        total = (await report(run)).total
        assert total.total == about("23.4", off="0.02")
        assert total.estimated == about("18", off="0.02")
        assert (await report(run, Dimension.DAY)).total.estimated == total.estimated


@virtual
async def test_what_was_taken_out_while_the_server_was_away_is_billed_until_it_was_last_seen() -> None:
    store, clock = InlineStore(), VirtualClock()
    async with books(endpoint(keep_warm=True), store=store, clock=clock, killed=True):
        await asyncio.sleep(1.5 * HOUR)
    await asyncio.sleep(5 * HOUR)
    async with books(endpoint("other"), store=store, clock=clock) as run:
        await asyncio.sleep(3 * HOUR)
        assert (await report(run)).total.total == about("5.4", off="0.02")
        assert run.costs.accrued() == {}


@virtual
async def test_a_killed_server_loses_seconds_of_busy_time_and_no_more() -> None:
    store, clock = InlineStore(), VirtualClock()
    async with books(endpoint(keep_warm=True), store=store, clock=clock, killed=True) as run:
        await asyncio.sleep(40)
        request = asyncio.create_task(run.serve(seconds=1000))
        await asyncio.sleep(300)
        request.cancel()
        busy = sum((await store.load_activity(0)).values())
        assert 300 - EVERY <= busy <= 300


# Clocks.


@virtual
async def test_the_wall_clock_may_be_set_without_any_time_billed_twice_or_not_at_all() -> None:
    for jump in (-1.7 * HOUR, 5.3 * HOUR, 400 * 24 * HOUR):
        clock = VirtualClock()
        async with books(endpoint(keep_warm=True), clock=clock) as run:
            await asyncio.sleep(0.7 * HOUR)
            clock.offset += jump
            await asyncio.sleep(1.4 * HOUR)
            clock.offset -= jump
            await asyncio.sleep(0.4 * HOUR)
            await run.fleet.pause("chat", actor="me")
            await asyncio.sleep(7 * HOUR)  # the ledger may be ahead of a clock that was set back
            assert (await report(run)).total.total == about("9", off="0.05"), jump


@virtual
async def test_an_endpoint_that_is_gone_at_its_provider_is_billed_no_longer() -> None:
    async with books(endpoint(keep_warm=True)) as run:
        await asyncio.sleep(HOUR)
        await run.provider.delete("chat")
        run.fleet._on_change("chat")
        await asyncio.sleep(1.5 * HOUR)
        assert (await report(run)).total.total == about("3.6", off="0.1")


@virtual
async def test_an_endpoint_that_is_taken_out_and_one_without_a_price_cost_nothing_more() -> None:
    async with books(endpoint(), endpoint("free")) as run:
        await asyncio.gather(run.serve(), run.serve("free"))
        run.fleet.remove("chat")
        await asyncio.sleep(3 * HOUR)
        found = {line.group[0]: line for line in (await report(run, Dimension.ENDPOINT)).lines}
        assert found["chat"].total == about("0.041", off="0.001")
        assert found["free"].total == 0
        assert found["free"].unpriced == found["free"].seconds > 90


# Bad luck and bad questions.


@virtual
async def test_a_database_that_fails_for_hours_loses_no_hour(tmp_path: Path) -> None:
    file = tmp_path / "lamplighter.db"
    async with books(store=InlineStore(Database(file))) as run:
        await run.serve()
        await asyncio.sleep(600)
        with sqlite3.connect(file) as other:
            other.execute("ALTER TABLE ledger_states RENAME TO hidden")
        await asyncio.sleep(5 * HOUR)
        with sqlite3.connect(file) as other:
            other.execute("ALTER TABLE hidden RENAME TO ledger_states")
        await asyncio.sleep(2 * HOUR)
        found = await report(run, Dimension.DAY)
        assert found.total.total == about("0.101", off="0.001")
        assert (await run.store.open_positions(0, run.keeper._tariffs.terms(())))["chat"].until is not None
    await run.store.close()


@virtual
async def test_a_question_that_can_not_be_is_refused() -> None:
    async with books() as run:
        with pytest.raises(InvalidInput, match="until: 2023-11-14 is not after 2023-11-14"):
            await run.costs.report(CostQuery(since=TODAY, until=TODAY))
        with pytest.raises(InvalidInput, match="names one twice"):
            await run.costs.report(CostQuery(by=(Dimension.DAY, Dimension.DAY)))


@virtual
async def test_a_bill_is_compared_with_what_was_charged() -> None:
    async with books(endpoint(keep_warm=True)) as run:
        await asyncio.sleep(1.5 * HOUR)
        charged = (await report(run, Dimension.DAY)).lines[0]
        bill = f"endpoint,day,amount\nchat,2023-11-14,{charged.total}\n"
        assert await run.costs.reconcile(read_bill(bill)) == []
        found = await run.costs.reconcile(read_bill(bill + "chat,2023-11-14,1\nother,2023-11-14,2\n"))
        assert [(one.endpoint, one.difference) for one in found] == [("chat", Decimal(1)), ("other", Decimal(2))]
