"""The marketplace in a real Chromium: a server whose Hub and router are a stand-in, asked over real HTTP."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx2
import pytest

from lamplighter.config import load
from tests.acceptance.harness import LamplighterProcess, eventually, lamplighter
from tests.acceptance.test_page import ADMIN, MARKUP, made_key, signed_in
from tests.browser import browser, faults, opened
from tests.hf_stage import Reply, Stage
from tests.hub_stage import CHAT, DEEP, QWEN, ROUTER, completion, furnish, hub, listing, novita, served

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.acceptance

WORLD = f"""
providers:
  cloud:
    type: memory
    options:
      start_delay: 0.05
      url: HUB
      hardware:
        - {{vendor: aws, region: eu-west-1, instance_type: nvidia-l4, instance_size: x1, gpu_memory_gb: 24,
           price_per_hour: 0.8, max_accelerators: 4}}
upstreams:
  routed:
    {{type: huggingface-router, base_url: HUB/v1, key: env:HF_TOKEN, model: {DEEP}, price: {{input: 1, output: 2}}}}
prices: {{router: true, router_url: HUB/v1}}
endpoints:
  chat: {{provider: cloud, engine: command, command: [none], model: {QWEN}, price_per_hour: 0.9, task: text-generation}}
  marked: {{provider: cloud, engine: command, command: [none], model: "{MARKUP}"}}
"""


def stock(there: Stage) -> None:
    """Two models at the router, and an engine that answers many tokens."""
    furnish(there)
    groq = novita(provider="groq", throughput=600.5, pricing={"input": 0.2, "output": 0.6}, supports_tools=False)
    many = [served(f"org/model-{at}", novita(pricing={"input": 5, "output": 5 + at})) for at in range(70)]
    there.script("GET", ROUTER, listing(served(DEEP), served(QWEN, groq), *many))
    answered: dict[str, Any] = {**completion().body, "usage": {"prompt_tokens": 5, "completion_tokens": 400}}
    there.script("POST", CHAT, Reply(body=answered))


@pytest.fixture(scope="module")
def chrome() -> Iterator[Browser]:
    with browser() as one:
        yield one


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LamplighterProcess]:
    folder = tmp_path_factory.mktemp("market")
    with hub(stock) as there:
        environ = {"LAMPLIGHTER_CLOUD_URL": there, "HF_TOKEN": "hf_OfThePageTest", "HF_HOME": str(folder)}
        with lamplighter(folder, WORLD.replace("HUB", there), page=True, environ=environ) as one:
            # It takes some seconds until what a request has cost is told.
            body = {"model": "chat", "messages": [{"role": "user", "content": "Hello!"}]}
            httpx2.post(f"{one.url}/v1/chat/completions", json=body, timeout=20).raise_for_status()
            yield one


def offer(page: Page, name: str) -> Any:
    return page.get_by_role("article", name=name, exact=True)


def more(page: Page, name: str, item: str) -> None:
    page.get_by_role("button", name=f"More for {name}", exact=True).first.click()
    page.get_by_role("menuitem", name=item).click()


def test_an_offer_says_its_price_who_told_it_and_where_sources_disagree(chrome, server):
    with opened(chrome, server.url, "/market?kind=serverless&q=deepseek") as (page, watch):
        routed, there = offer(page, f"{DEEP} from routed"), offer(page, f"{DEEP} from novita")
        routed.get_by_text("$2.00").wait_for()
        assert "priced by configuration, " in routed.inner_text()
        assert "Sources disagree: router says $1.69 in, $3.38 out (" in routed.inner_text()
        assert there.get_by_text("$3.38").is_visible()
        assert re.search(r"24\.7/s\s*quoted", there.inner_text())
        assert page.get_by_text(re.compile("Told by this server .*huggingface")).is_visible()
        page.get_by_role("button", name="Clear filters").click()
        page.get_by_role("button", name="More offers").click()
        offer(page, f"{MARKUP} from marked").get_by_role("link", name=MARKUP).wait_for()
        page.get_by_text(re.compile(r"^\d+ offers$")).wait_for()
        assert watch.errors == []
        assert watch.foreign == []


def test_filters_live_in_the_address_and_a_wrong_one_says_so_with_a_way_out(chrome, server):
    with opened(chrome, server.url, "/market?provider=groq&tools=false") as (page, _):
        offer(page, f"{QWEN} from groq").wait_for()
        assert page.get_by_role("article").count() == 1
        page.get_by_label("Tools").select_option("any")
        page.get_by_label("At most $").fill("0.1")
        page.wait_for_url(re.compile("provider=groq&price=0.1$"))
        page.get_by_text("No offer fits this filter").wait_for()
        page.get_by_role("button", name="Clear filters").last.click()
        page.get_by_text(re.compile("the first 60 are shown")).wait_for()
        page.goto(f"{server.url}/market?region=atlantis")
        page.get_by_role("alert").get_by_text("region: there is no 'atlantis'").wait_for()
        page.get_by_role("button", name="Clear filters (region is not right)").click()
        offer(page, f"{QWEN} from groq").wait_for()


def test_a_model_shows_what_it_can_run_on_with_an_estimate_and_the_tags_of_its_region(chrome, server):
    with opened(chrome, server.url, "/market?q=qwen&view=table") as (page, _):
        page.get_by_role("link", name=QWEN).first.click()
        page.wait_for_url(re.compile("model="))
        page.get_by_text("8.2 billion parameters").wait_for()
        line = page.get_by_role("row").filter(has_text="aws-eu-west-1-nvidia-l4-x1")
        line.get_by_text("fits: ≈ 20 of 24 GB (estimate)").wait_for()
        assert line.get_by_text("GDPR").is_visible()
        page.go_back()
        page.wait_for_url(re.compile("q=qwen"))
        page.get_by_label("Region").select_option("gdpr")
        page.get_by_text("What does not tell its region is left out").wait_for()


def test_four_stand_side_by_side_and_stay_in_the_address(chrome, server):
    with opened(chrome, server.url, f"/market?model={QWEN}") as (page, _):
        for name in (f"{QWEN} from groq", f"{QWEN} from chat"):
            page.get_by_role("button", name=f"Compare {name}").click()
        for one in page.get_by_role("article", name=f"{QWEN} from cloud").all()[:2]:
            one.get_by_role("button", name=re.compile("Compare")).click()
        assert page.get_by_role("button", name="Compare").and_(page.locator("[aria-pressed=false]")).first.is_disabled()
        page.get_by_role("button", name="Side by side").click()
        page.reload()
        table = page.get_by_role("region", name="Side by side")
        table.get_by_text("groq (by use)").wait_for()
        assert table.get_by_role("columnheader").count() == 5
        page.get_by_role("button", name=f"Do not compare {QWEN} from groq").click()
        page.wait_for_url(lambda url: "groq" not in url)
        page.goto(f"{server.url}/market?view=compare&compare=s~gone~nobody~~")
        page.get_by_text("Not on offer now").wait_for()


def test_deploying_says_what_it_costs_first_and_what_is_wrong_in_its_place(chrome, server):
    with opened(chrome, server.url, f"/market?model={QWEN}") as (page, _):
        page.get_by_role("button", name="Deploy", exact=True).click()
        window = page.get_by_role("dialog", name=f"Deploy {QWEN}")
        window.get_by_label("Hardware").select_option(value="aws-eu-west-1-nvidia-l4-x1")
        window.get_by_text("$0.80 an hour while awake").wait_for()
        window.get_by_label("Name").fill("Not A Name")
        window.get_by_role("button", name="Deploy for $0.80 an hour").click()
        window.get_by_role("alert").get_by_text("name:").wait_for()
        assert window.get_by_label("Name").get_attribute("aria-invalid") == "true"
        assert faults(page) == []
        window.get_by_label("Name").fill("from-the-market")
        window.get_by_role("button", name="Deploy for $0.80 an hour").click()
        page.get_by_text("is made, and starts now").wait_for()
    assert server.status("from-the-market")["price_per_hour"] == 0.8
    made = server.rows("SELECT operation, success FROM audit WHERE endpoint = 'from-the-market'")
    assert ("create", 1) in made


GROQ, OWN = f"s~{QWEN}~groq~~", f"h~{QWEN}~cloud~chat~"
VIEWS = ("q=qwen", f"model={QWEN}&view=table&compare={GROQ}", "view=models", f"view=compare&compare={GROQ},{OWN}")


def test_axe_finds_no_serious_fault_and_nothing_is_wider_than_the_window(chrome, server):
    with opened(chrome, server.url, "/market", viewport={"width": 360, "height": 800}) as (page, _):
        for at, view in enumerate(VIEWS):
            page.goto(f"{server.url}/market?{view}")
            page.get_by_text(re.compile("quoted|apache-2.0")).first.wait_for()
            for width in (360, 768, 1440):
                page.set_viewport_size({"width": width, "height": 800})
                assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0, (view, width)
            page.emulate_media(color_scheme="dark" if at % 2 else "light")
            assert faults(page) == [], view


def test_what_is_shown_for_a_route_is_taken_by_the_configuration(chrome, server, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_OfThePageTest")
    with opened(chrome, server.url, f"/market?model={QWEN}") as (page, _):
        for name, target in (
            (f"{QWEN} from groq", f"{QWEN}:groq"),
            (f"{QWEN} from chat", "chat"),
            (f"{QWEN} from cloud", "deployment"),
        ):
            more(page, name, "Use in a route")
            text = page.get_by_label("YAML of the route").inner_text()
            assert target in text
            page.get_by_role("button", name="Close").click()
            assert _route_in(text, tmp_path / "lamplighter.yaml"), text


def _route_in(text: str, file: Path) -> bool:
    """Whether a configuration with that text in it is right, and has a route."""
    own = "" if "endpoints:" in text else "endpoints: {chat: {remote: my-org/chat, provider: cloud}}\n"
    file.write_text(f"providers: {{cloud: {{type: huggingface}}}}\n{own}{text}")
    return bool(load(file).routes)


def test_what_was_measured_is_told_from_what_is_quoted(chrome, server):
    told = f"{server.url}/api/offers?model=chat"
    eventually(lambda: httpx2.get(told).json()["offers"][0]["cost"] is not None, "a cost that was measured")
    with opened(chrome, server.url, "/market?model=chat") as (page, _):
        one = offer(page, f"{QWEN} from chat")
        one.wait_for()
        assert re.search(r"\d/s\s*measured", one.inner_text())
        assert re.search(r"use has cost .*a million tokens", one.inner_text())
        more(page, f"{QWEN} from chat", "What it would have cost")
        page.get_by_role("row").filter(has_text="as it was").get_by_text("ledger").wait_for()
        page.get_by_role("row").filter(has_text="groq").get_by_text("exact").wait_for()


def test_a_key_that_may_not_deploy_is_not_offered_to_and_a_market_that_is_down_says_why(chrome, tmp_path):
    environ = {
        "LAMPLIGHTER_CLOUD_URL": "http://127.0.0.1:9",
        "HF_TOKEN": "hf_x",
        "HF_HOME": str(tmp_path),
        "LAMPLIGHTER_KEYS": ADMIN,
    }
    with lamplighter(tmp_path, "providers: {cloud: {type: memory}}\n", page=True, environ=environ) as down:
        with signed_in(chrome, down, ADMIN, "/market") as (page, watch):
            page.get_by_role("heading", name="Nothing is known of offers now").wait_for(timeout=30_000)
            assert page.get_by_text(re.compile("huggingface: .*Nothing of it is shown")).is_visible()
            assert watch.foreign == []
        with signed_in(chrome, down, made_key(down, "worker", "operate"), f"/market?model={QWEN}") as (page, _):
            page.get_by_role("button", name="What it would have cost").wait_for(timeout=30_000)
            assert page.get_by_role("button", name="Deploy").count() == 0
