"""The screen of one endpoint in a real Chromium, before a real server: what it went through, its log, what it is."""

from __future__ import annotations

import asyncio
import json
import random
import re
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx2
import pytest

from lamplighter.domain.endpoint import State, Transition
from lamplighter.domain.usage import Outcome, UsageRecord
from lamplighter.store import Store
from tests.acceptance.harness import LamplighterProcess, lamplighter
from tests.browser import browser, faults, opened
from tests.wire_stage import document

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.acceptance

ADMIN = "an-admin-key-for-one-endpoint"
MARKUP = "<img src=x onerror=document.body.remove()>"
TALKER = f"""
import sys, threading, time
from http.server import BaseHTTPRequestHandler, HTTPServer
print({MARKUP!r}, flush=True)
print("\\x1b[31mred\\x1b[0m, \\x00 a zero and \\u202e turned around", flush=True)
print("x" * 1_000_000 + " end of a million", flush=True)
def talk():
    for number in range(100_000):
        print(f"line {{number}} of slot {{number % 4}}", flush=True)
        time.sleep(0.1)
threading.Thread(target=talk, daemon=True).start()
class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
    def log_message(self, *words):
        pass
HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""
CLOUD = """
providers:
  cloud: {type: memory, options: {start_delay: 0.5, url: "http://127.0.0.1:9", faults: {broken: {wake: no_capacity}}}}
defaults: {wake_attempts: 1}
endpoints:
  chat: {engine: command, command: [none], provider: cloud, price_per_hour: 0.8, aliases: [talk]}
  broken: {engine: command, command: [none], provider: cloud}
  fresh: {engine: command, command: [none], provider: cloud}
"""


async def live_a_day(path: Path, name: str) -> None:
    """A day in which it was awake four times for an hour, with a request a minute; once it failed."""
    zero, pending, running, failed = State.SCALED_TO_ZERO, State.PENDING, State.RUNNING, State.FAILED
    path.parent.mkdir(parents=True)
    store, now, chance = await Store.open(path), time.time(), random.Random(1)

    async def moved(at: float, before: State, after: State, reason: str, **more: Any) -> None:
        facts = {"actor": "request", "provider": "cloud", "duration": 60.0, **more}
        await store.add_transition(Transition(endpoint=name, at=at, before=before, after=after, reason=reason, **facts))

    for start, cause in ((22, "key:unknown-one"), (16, "lease:nightly"), (10, "operator:deploy"), (4, "")):
        at = now - start * 3600
        await moved(at, zero, pending, "a request waits", cause=cause)
        if start == 10:
            await moved(at + 5, pending, failed, "told", message=f"out of memory {MARKUP}")
            await moved(at + 60, failed, zero, "asked for")
            continue
        await moved(at + 12.5, pending, running, "a request waits", cause=cause)
        await store.add_start(name, at + 12.5, 12.5)
        requests = [
            UsageRecord(
                endpoint=name,
                at=at + 30 + minute * 60,
                route="/v1/chat/completions",
                status=503 if minute == 7 else 200,
                outcome=Outcome.FAILED if minute == 7 else Outcome.SERVED,
                waited=0.0,
                duration=chance.uniform(0.4, 1.2),
                bytes_in=100,
                bytes_out=1000,
                tokens_in=20,
                tokens_out=0 if minute == 7 else 40,
            )
            for minute in range(50)
        ]
        await store.add_usage(requests)
        await moved(at + 3600, running, zero, "idle", actor="policy")
    await store.close()


@pytest.fixture(scope="module")
def chrome() -> Iterator[Browser]:
    with browser() as one:
        yield one


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LamplighterProcess]:
    folder = tmp_path_factory.mktemp("one")
    with ThreadPoolExecutor(1) as thread:  # this one has a loop already, the browser's
        thread.submit(lambda: asyncio.run(live_a_day(folder / "data" / "lamplighter.db", "chat"))).result()
    script = folder / "talker.py"
    script.write_text(TALKER)
    command = json.dumps([sys.executable, str(script), "{port}"])
    talker = f"  talker: {{engine: command, command: {command}, health_route: /}}\n"
    with lamplighter(folder, CLOUD + talker, page=True, environ={"LAMPLIGHTER_KEYS": ADMIN}) as one:
        yield one


@pytest.fixture(scope="module")
def signed(chrome: Browser, server: LamplighterProcess) -> Iterator[tuple[Page, list[str]]]:
    """One page for all: each test goes where it wants. What its console says is kept."""
    with opened(chrome, server.url) as (page, watch):
        page.get_by_label("Key").fill(ADMIN)
        page.get_by_role("button", name="Sign in").click()
        page.wait_for_url(f"{server.url}/")
        yield page, watch.errors


@pytest.fixture
def page(signed: tuple[Page, list[str]]) -> Page:
    return signed[0]


def deploy(server: LamplighterProcess, name: str, method: str = "POST", path: str = "", body: Any = None) -> Any:
    headers = {"authorization": f"Bearer {ADMIN}"}
    answer = httpx2.request(method, f"{server.url}/v2/endpoint/lamplighter{path}", json=body, headers=headers)
    assert answer.is_success, (name, answer.text)
    return answer.json()


def test_a_day_is_told_in_states_requests_and_cold_starts_with_who_woke_it(signed, server):
    page, errors = signed
    page.goto(f"{server.url}/endpoint/chat")
    page.get_by_role("img", name=re.compile("running 2 h 59 min.*sleeping.*error 55 s")).wait_for()
    assert page.get_by_text("150", exact=True).is_visible()
    assert page.get_by_role("img", name=re.compile("Requests: 150, of which 3 failed")).is_visible()
    for quantile in ("p50", "p90", "p99"):
        assert page.locator(".summary").get_by_text(quantile, exact=True).is_visible()
    starts = page.get_by_role("table", name="Cold starts")
    assert starts.get_by_text("a request with key unknown-one").is_visible()
    assert starts.get_by_text("the lease of nightly").is_visible()
    assert starts.get_by_text("12.5 s").count() == 3
    assert page.get_by_role("table", name="Errors").get_by_text(f"out of memory {MARKUP}").is_visible()
    page.get_by_text("Changes of state as a table").click()
    assert page.get_by_role("table", name="Changes of state").get_by_text("running → scaledToZero").count() == 3
    assert errors == []


def test_the_time_that_is_looked_at_lives_in_the_address(page, server):
    page.goto(f"{server.url}/endpoint/chat?span=hour")
    page.get_by_text("No request ended in this time.").wait_for()
    page.get_by_role("combobox").select_option("month")
    page.wait_for_url(re.compile("span=month"))
    page.get_by_role("img", name=re.compile("Requests: 150")).wait_for()
    page.get_by_role("button", name="Earlier").click()
    page.wait_for_url(re.compile("until="))
    page.get_by_text("No request ended in this time.").wait_for()
    page.get_by_role("button", name="Now").click()
    page.get_by_role("img", name=re.compile("Requests: 150")).wait_for()


def test_a_wake_is_seen_in_the_record_without_reloading_and_an_error_says_what_to_do(page, server):
    page.goto(f"{server.url}/endpoint/fresh?span=hour")
    page.get_by_text("None in this time.").first.wait_for()
    page.get_by_role("button", name="Wake fresh").click()
    page.get_by_role("progressbar", name="fresh is starting").wait_for()
    page.get_by_role("table", name="Cold starts").get_by_role("row").nth(1).wait_for()
    page.get_by_text("woken by", exact=True).wait_for()
    page.goto(f"{server.url}/endpoint/broken")
    page.get_by_role("button", name="Wake broken").click()
    wrong = page.get_by_role("region", name="What is wrong")
    wrong.get_by_text("There is no hardware free for it").wait_for()
    page.get_by_role("table", name="Errors").get_by_role("row").nth(1).wait_for()
    wrong.get_by_role("button", name="Look into its log").click()
    page.get_by_role("log").wait_for()


def test_a_log_is_followed_searched_and_paused_whatever_stands_in_it(signed, server):
    page, errors = signed
    page.goto(f"{server.url}/endpoint/talker?tab=log")
    page.get_by_role("button", name="Wake talker").click()
    log = page.get_by_role("log")
    log.get_by_text(MARKUP).wait_for()
    log.get_by_text("end of a million").wait_for()
    assert log.get_by_text("red, ␀ a zero and \\u202e turned around").count() == 1
    assert log.get_by_text("end of a million").count() == 1
    log.get_by_text("line 3 of slot 3", exact=True).wait_for()
    search = page.get_by_label("Search in the log")
    search.fill("SLOT 2")
    log.get_by_text("line 3 of slot 3", exact=True).wait_for(state="detached")
    assert log.locator("mark").first.text_content() == "slot 2"
    search.fill("")
    page.get_by_role("button", name="Pause").click()
    before = log.locator(".line").count()
    page.get_by_text(re.compile(r"Paused\. [1-9]\d* lines have come since")).wait_for()
    assert log.locator(".line").count() == before
    page.get_by_role("button", name="Go on").click()
    page.get_by_text(re.compile("Live")).wait_for()
    assert errors == []


def test_a_configured_specification_is_read_only_and_says_where_it_stands(page, server):
    page.goto(f"{server.url}/endpoint/chat?tab=specification")
    page.get_by_text("It stands in the configuration").wait_for()
    assert page.get_by_text(str(server.config), exact=True).is_visible()
    assert page.get_by_role("button", name="Edit").count() == 0


def test_a_deployed_one_is_changed_after_looking_at_the_difference_and_when_it_goes_the_screen_says_so(page, server):
    deploy(server, "made", body=document("made", provider={"vendor": "memory", "region": "memory"}))
    page.goto(f"{server.url}/endpoint/made?tab=specification")
    page.get_by_role("button", name="Edit").click()
    text = page.get_by_label("Specification, as JSON")
    text.fill("{ no JSON")
    page.get_by_text("This is no JSON").wait_for()
    assert page.get_by_role("button", name="Show the difference").is_disabled()
    page.get_by_role("button", name="Cancel").click()
    page.get_by_role("button", name="Edit").click()
    text.fill(text.input_value().replace('"maxReplica": 1', '"maxReplica": 3'))
    deploy(server, "made", "PUT", "/made", {"tags": ["elsewhere"]})  # somebody else, meanwhile
    page.get_by_role("button", name="Show the difference").click()
    difference = page.get_by_role("list", name="What changes")
    assert difference.get_by_text('"maxReplica": 3').is_visible()
    assert difference.get_by_text('"maxReplica": 1').is_visible()
    page.get_by_role("button", name="Apply").click()
    page.get_by_role("alert").get_by_text("Somebody else changed it meanwhile").wait_for()
    page.get_by_role("button", name="Apply").click()
    page.get_by_role("status").get_by_text("Applied").wait_for()
    found = deploy(server, "made", "GET", "/made")
    assert (found["compute"]["scaling"]["maxReplica"], found["tags"]) == (3, ["elsewhere"])
    deploy(server, "made", "DELETE", "/made")
    page.get_by_role("heading", name="made is gone").wait_for()
    page.get_by_role("link", name="All endpoints").first.click()
    page.get_by_role("article", name=re.compile("^chat:")).wait_for()


def test_a_name_that_is_not_there_says_so_and_an_alias_leads_on(page, server):
    page.goto(f"{server.url}/endpoint/talk")
    page.get_by_role("heading", name="There is no endpoint talk").wait_for()
    page.get_by_role("link", name="chat", exact=True).click()
    page.get_by_role("heading", name="chat").wait_for()


def test_axe_finds_no_serious_fault_and_nothing_is_wider_than_the_window(page, server):
    for tab in ("", "log", "specification"):
        page.goto(f"{server.url}/endpoint/chat?tab={tab}")
        page.locator(".endpoint svg, .endpoint .lines, .endpoint pre").first.wait_for()
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            assert faults(page) == [], (tab, scheme)
        for width in (360, 768, 1440):
            page.set_viewport_size({"width": width, "height": 800})
            assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0, (tab, width)
