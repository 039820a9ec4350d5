"""The page's costs in a real Chromium: what is in the books of a real server with ten days on record."""

from __future__ import annotations

import asyncio
import csv
import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx2
import pytest

from lamplighter.domain.endpoint import State, Transition
from lamplighter.domain.usage import Outcome, UsageRecord
from lamplighter.store import Store
from tests.acceptance.harness import LamplighterProcess, lamplighter
from tests.browser import browser, faults, opened

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = pytest.mark.acceptance

HOUR, DAY, DAYS = 3600.0, 86400.0, 10
MARKUP = "<img src=x onerror=document.body.remove()>"
ASLEEP = State.SCALED_TO_ZERO
PROVIDERS = """
providers:
  cloud: {type: memory, options: {start_delay: 1.5, url: "http://127.0.0.1:9"}}
"""
CONFIGURATION = (
    PROVIDERS
    + """
ledger: {time_zone: UTC}
budgets:
  monthly: {limit: 500, per: month}
  tight: {limit: 1, per: month, endpoint: chat, at_limit: drain}
  each: {limit: 10, per: day, endpoint: "*"}
endpoints:
  chat: {engine: command, command: [none], provider: cloud, price_per_hour: 3.6, idle_timeout: 15m}
  embed: {engine: command, command: [none], provider: cloud, price_per_hour: 0.9, idle_timeout: 15m}
"""
)


def used(name: str, at: float, key: str) -> UsageRecord:
    """A request of ten seconds."""
    return UsageRecord(
        endpoint=name,
        at=at,
        route="/v1/chat/completions",
        status=200,
        outcome=Outcome.SERVED,
        duration=10.0,
        waited=0.0,
        first_byte=1.5,
        bytes_in=1,
        bytes_out=1,
        tokens_in=20_000,
        tokens_out=5_000,
        model=name,
        key=key,
    )


def change(name: str, at: float, before: State, after: State, lasted: float) -> Transition:
    return Transition(
        endpoint=name,
        at=at,
        before=before,
        after=after,
        reason="told",
        actor="request",
        duration=lasted,
        provider="cloud",
    )


async def remember(data: Path, names: tuple[str, ...], first: float) -> None:
    """Each day at noon a wake of 100 s, two requests 200 s apart, and sleep 15 min after the last."""
    store = await Store.open(data / "lamplighter.db")
    for name in names:
        for day in range(DAYS):
            noon = first + day * DAY + 12 * HOUR
            await store.add_transition(change(name, noon, ASLEEP, State.INITIALIZING, 1000.0))
            await store.add_transition(change(name, noon + 100, State.INITIALIZING, State.RUNNING, 100.0))
            await store.add_usage([used(name, noon + 110, MARKUP), used(name, noon + 320, "")])
            await store.add_transition(change(name, noon + 1220, State.RUNNING, ASLEEP, 1120.0))
            await store.add_start(name, noon + 100, 100.0)
            await store.save_activity([(name, int(noon), 20.0)])
    await store.close()


@pytest.fixture(scope="module")
def chrome() -> Iterator[Browser]:
    with browser() as one:
        yield one


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LamplighterProcess]:
    folder = tmp_path_factory.mktemp("books")
    midnight = time.time() // DAY * DAY
    (folder / "data").mkdir()
    past = remember(folder / "data", ("chat", "embed"), midnight - (DAYS + 1) * DAY)
    with ThreadPoolExecutor(1) as thread:  # the browser's own loop runs in this one
        thread.submit(asyncio.run, past).result()
    with lamplighter(folder, CONFIGURATION, page=True) as one:
        yield one


def told(server: LamplighterProcess, query: str) -> Any:
    return httpx2.get(f"{server.url}/api/{query}").raise_for_status().json()


def cells(page: Any, region: str, name: str) -> list[str]:
    row = (
        page.get_by_role("region", name=region).get_by_role("row").filter(has=page.get_by_role("rowheader", name=name))
    )
    return [str(one) for one in row.get_by_role("cell").all_text_contents()]


def test_what_is_shown_is_what_the_rest_tells(chrome, server):
    total = told(server, "cost?by=endpoint&since=30d")["total"]
    with opened(chrome, server.url, "/costs") as (page, watch):
        page.get_by_role("region", name="Costs by endpoint").get_by_role("rowheader", name="chat").wait_for()
        shown = cells(page, "Costs by endpoint", "in all")
        assert shown[0] == f"${Decimal(total['total']):.2f}" == "$15.25"  # 10 x 1220 s x ($0.001 + $0.00025)
        assert cells(page, "Costs by endpoint", "chat")[2:5] == ["$1.00", "$0.20", "$11.00"]
        page.get_by_role("region", name="Costs by day").get_by_role("row").nth(5).wait_for(state="attached")
        assert page.locator(".plot .bar").count() == 30
        assert page.locator(".plot rect.idle").count() == DAYS
        assert watch.errors == []
        assert watch.foreign == []


def test_choice_and_period_live_in_the_address(chrome, server):
    with opened(chrome, server.url, "/costs?by=provider&since=7d") as (page, _):
        page.get_by_role("rowheader", name="cloud").wait_for()
        assert page.locator(".plot .bar").count() == 7
        page.get_by_role("combobox", name="Period").select_option("all")
        page.wait_for_url(re.compile("since=all"))
        page.get_by_role("combobox", name="By").select_option("key")
        page.get_by_role("button", name=f"Only {MARKUP}").click()
        page.wait_for_url(re.compile("key=.*img"))
        page.reload()
        page.get_by_role("button", name="Show all, not only key").click()
        page.get_by_role("button", name="Only embed").click()
        page.wait_for_url(re.compile("endpoint=embed"))
        page.get_by_role("button", name="Table").click()
        page.get_by_role("columnheader", name="day").wait_for()


def test_costs_are_saved_as_csv(chrome, server, tmp_path):
    with opened(chrome, server.url, "/costs") as (page, _):
        with page.expect_download() as waiting:
            page.get_by_role("link", name="CSV", exact=True).click()
        waiting.value.save_as(tmp_path / "costs.csv")
        assert waiting.value.suggested_filename == "costs-by-endpoint.csv"
    rows = list(csv.DictReader((tmp_path / "costs.csv").read_text().splitlines()))
    assert [(row["endpoint"], Decimal(row["total"])) for row in rows] == [
        ("chat", Decimal("12.20")),
        ("embed", Decimal("3.05")),
    ]


def test_budgets_say_how_far_they_are_and_what_happens_then(chrome, server):
    (monthly, *_) = told(server, "budgets?name=monthly")["budgets"]
    with opened(chrome, server.url, "/costs") as (page, _):
        meter = page.get_by_role("meter", name="Budget monthly, all: spent")
        meter.wait_for()
        assert meter.get_attribute("aria-valuenow") == str(int(monthly["share"] * 100))
        tight = page.get_by_role("listitem").filter(has=page.get_by_role("heading", name="tight"))
        tight.get_by_text("at the limit nothing is let in").wait_for()
        tight.get_by_text("renews in").wait_for()


def test_what_if_tells_other_idle_timeouts_and_what_they_assume(chrome, server):
    with opened(chrome, server.url, "/costs?whatif=chat") as (page, _):
        region = "What chat would have cost"
        page.get_by_role("region", name=region).wait_for()
        assert cells(page, region, "sleeps after 15 min · as it is set")[0] == "≈ $12.20"
        page.get_by_label("Idle timeout").fill("soon")
        page.get_by_role("button", name="Try it").click()
        page.get_by_role("alert").get_by_text("should be a duration").wait_for()
        page.get_by_label("Idle timeout").fill("2m")
        page.keyboard.press("Enter")
        page.get_by_role("rowheader", name="sleeps after 2 min").wait_for()
        assert cells(page, region, "sleeps after 2 min") == ["≈ $4.60", "\N{MINUS SIGN}$7.60", "20", "+10"]
        page.get_by_text("what it assumes").click()
        page.get_by_text("played again as they came").wait_for()
        assert "idle=2m" in page.url


def test_axe_finds_no_serious_fault_and_nothing_is_wider_than_the_window(chrome, server):
    with opened(chrome, server.url, "/costs") as (page, _):
        page.get_by_role("region", name="What chat would have cost").wait_for()
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            assert faults(page) == [], scheme
        page.get_by_role("button", name="Table").click()
        page.get_by_role("combobox", name="By").select_option("key")
        page.get_by_role("rowheader", name="nobody").wait_for()
        assert faults(page) == []
        for width in (360, 500, 768, 1100, 1440, 2560):
            page.set_viewport_size({"width": width, "height": 800})
            assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0, width


def test_empty_books_say_what_to_do_and_what_is_refused_is_told_in_its_place(chrome, tmp_path):
    with lamplighter(tmp_path, PROVIDERS, page=True) as empty, opened(chrome, empty.url, "/costs") as (page, watch):
        page.get_by_text("Nothing is in the books yet").wait_for()
        page.get_by_text("There is no budget").wait_for()
        page.get_by_text("There is no endpoint to ask about").wait_for()
        assert watch.errors == []
        page.goto(f"{empty.url}/costs?endpoint=gone")
        page.get_by_role("alert").get_by_text("gone").wait_for()
        page.get_by_role("button", name="Start over").click()
        page.get_by_text("Nothing is in the books yet").wait_for()
