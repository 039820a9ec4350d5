"""The page in a real Chromium when luck is bad: clocks, budgets, others who act at the same moment."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import httpx2
import pytest

from tests.acceptance.harness import LamplighterProcess, lamplighter
from tests.browser import browser, opened
from tests.wire_stage import document

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = pytest.mark.acceptance

CONFIGURATION = """
providers:
  memory: {options: {start_delay: 0, url: "http://127.0.0.1:9"}}
endpoints:
  chat: {provider: memory, command: [none], idle_timeout: 3600, price_per_hour: 0.8}
  poor: {provider: memory, command: [none], price_per_hour: 3600}
  held: {provider: memory, command: [none]}
budgets:
  spent: {limit: 0.0001, per: month, endpoint: poor}
"""

DAY = 86_400_000
OTHER_CLOCK = """
(() => {
  const real = Date;
  window.offBy = %d;
  window.Date = class extends real {
    constructor(...given) { given.length ? super(...given) : super(real.now() + window.offBy); }
    static now() { return real.now() + window.offBy; }
  };
})();
"""


@pytest.fixture(scope="module")
def chrome() -> Iterator[Browser]:
    with browser() as one:
        yield one


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LamplighterProcess]:
    with lamplighter(tmp_path_factory.mktemp("troubles"), CONFIGURATION, page=True) as one:
        yield one


def card(page: Any, name: str) -> Any:
    return page.get_by_role("article", name=re.compile(f"^{name}:"))


def live(page: Any) -> None:
    page.locator(".brand .lamp.running").wait_for()


def made(server: LamplighterProcess, name: str) -> None:
    answer = httpx2.post(f"{server.url}/v2/endpoint/lamplighter", json=document(name))
    assert answer.is_success, answer.text


def delete(server: LamplighterProcess, name: str) -> httpx2.Response:
    return httpx2.delete(f"{server.url}/v2/endpoint/lamplighter/{name}")


def seconds(text: str) -> int:
    minutes, rest = text.removeprefix("sleeps in ").split(":")[-2:]
    return int(minutes) * 60 + int(rest)


@pytest.mark.parametrize("off_by", [DAY, -DAY])
def test_a_browser_whose_clock_is_wrong_by_a_day_counts_down_rightly(chrome, server, off_by):
    server.wake("chat")
    context = chrome.new_context()
    page = context.new_page()
    page.add_init_script(OTHER_CLOCK % off_by)
    page.goto(server.url)
    text = card(page, "chat").get_by_text("sleeps in")

    def shows_what_is_so() -> bool:
        left = server.status("chat")["auto_sleep_in"]
        return bool(abs(seconds(text.inner_text()) - left) < 5)

    text.wait_for()
    assert shows_what_is_so()
    page.evaluate("window.offBy = 3 * 3600 * 1000")  # it is set while nothing else happens
    before = text.inner_text()
    text.filter(has_not_text=before).wait_for()
    assert shows_what_is_so()
    context.close()
    server.sleep("chat")


def test_what_a_budget_refuses_is_told_in_its_place(chrome, server):
    server.wake("poor")
    deadline = time.monotonic() + 20
    while httpx2.post(f"{server.url}/api/endpoints/wake/poor").status_code != 402:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    with opened(chrome, server.url) as (page, _):
        wake = card(page, "poor").get_by_role("button", name="Wake poor")
        wake.click()
        page.get_by_role("status").get_by_text("budget").wait_for()
        assert wake.is_enabled()
        page.get_by_role("button", name="Dismiss what was said of poor").click()
        page.get_by_role("status").get_by_text("budget").wait_for(state="detached")


def test_an_endpoint_that_is_gone_while_its_question_is_open(chrome, server):
    made(server, "passing")
    with opened(chrome, server.url) as (page, watch):
        page.get_by_role("button", name="More for passing").click()
        page.get_by_role("menuitem", name="Delete").click()
        question = page.get_by_role("dialog", name="Delete passing?")
        question.get_by_label("Type passing to go on").fill("passing")
        assert delete(server, "passing").is_success
        question.get_by_role("alert").get_by_text("There is no passing any more").wait_for()
        question.get_by_role("button", name="Delete for good").click()
        question.get_by_role("alert").get_by_text("passing").wait_for()
        question.get_by_role("button", name="Cancel").click()
        question.wait_for(state="detached")
        card(page, "chat").wait_for()
        assert [error for error in watch.errors if "404" not in error] == []


def test_what_two_people_do_at_once_ends_in_one_state_that_both_see(chrome, server):
    with opened(chrome, server.url) as (mine, _), opened(chrome, server.url) as (yours, _):
        live(mine)
        live(yours)
        mine.get_by_role("button", name="More for held").click()
        mine.get_by_role("menuitem", name="Pause").click()
        card(yours, "held").get_by_role("button", name="Wake held").click()
        card(mine, "held").get_by_text("running", exact=True).wait_for()
        mine.get_by_role("dialog").get_by_role("button", name="Pause").click()
        for page in (mine, yours):
            card(page, "held").get_by_text("paused", exact=True).wait_for()
    assert server.status("held")["paused"]


def test_deleting_and_waking_at_once_breaks_nothing(server):
    routes = [("POST", "/api/endpoints/wake/both"), ("DELETE", "/v2/endpoint/lamplighter/both")] * 4
    for _ in range(3):
        made(server, "both")
        with ThreadPoolExecutor(len(routes)) as people:
            asked = [
                people.submit(
                    httpx2.request, method, f"{server.url}/page/rest{path}", headers={"origin": server.url}, timeout=30
                )
                for method, path in routes
            ]
            statuses = [one.result().status_code for one in asked]
        assert set(statuses) <= {200, 202, 204, 404, 409}, statuses
        assert "both" not in httpx2.get(f"{server.url}/api/endpoints/status").json()["endpoints"]
    board = httpx2.get(f"{server.url}/page/board").json()
    assert "both" not in board["rows"]
    assert not [line for line in server.lines if "Traceback" in line]


def test_a_board_that_could_not_be_had_is_asked_for_again(chrome, server):
    context = chrome.new_context()
    page = context.new_page()
    asked = []

    def refuse_first(route: Any) -> None:
        asked.append(route.request.url)
        if len(asked) < 3:
            route.fulfill(status=429, body=json.dumps({"error": {"message": "too many"}}))
        else:
            route.continue_()

    page.route("**/page/board", refuse_first)
    page.goto(server.url)
    page.get_by_text("The endpoints could not be read").wait_for()
    card(page, "chat").wait_for(timeout=15_000)
    context.close()


def test_what_a_stranger_typed_into_an_address_is_told_as_text(chrome, server):
    with opened(chrome, server.url, "/?q=<img src=x onerror=alert(1)>&view=%&sort=constructor&group=__proto__") as (
        page,
        watch,
    ):
        page.get_by_text("No endpoint fits this filter.").wait_for()
        page.get_by_role("button", name="Show all").click()
        page.get_by_text("chat").first.wait_for()
        assert page.title() == "Endpoints · Lamplighter"
        assert watch.errors == []
