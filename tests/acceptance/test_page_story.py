"""The whole story in a real browser before a real model: woken, talked to, and asleep again, by the page alone."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.acceptance.harness import CHAT, eventually, lamplighter
from tests.browser import browser, opened

pytestmark = pytest.mark.acceptance

CONFIGURATION = f"""
providers: {{local: {{type: local, price_per_hour: 0.36}}}}
endpoints:{CHAT}    idle_timeout: 6s
    args: [--embeddings]
routes:
  assistant: {{targets: [chat]}}
"""

# Each phase that the card goes through, however short: its name tells it.
WITNESS = """
() => {
  const card = document.querySelector('article[aria-label^="chat:"]');
  window.witnessed = [card.getAttribute("aria-label")];
  new MutationObserver(() => {
    const now = card.getAttribute("aria-label");
    if (now !== window.witnessed.at(-1)) window.witnessed.push(now);
  }).observe(card, { attributes: true, attributeFilter: ["aria-label"] });
}
"""


def card(page: Any) -> Any:
    return page.get_by_role("article", name=re.compile("^chat:"))


def seconds_left(page: Any) -> int:
    found = re.search(r"sleeps in (\d+):(\d\d)", card(page).text_content())
    assert found, card(page).text_content()
    return int(found[1]) * 60 + int(found[2])


def asked(page: Any, text: str) -> Any:
    """Send a message, and give the answer once it is whole."""
    page.get_by_role("textbox", name="Message").fill(text)
    page.keyboard.press("Enter")
    answer = page.get_by_role("article", name="Answer of chat").last
    answer.locator(".play-text").wait_for(timeout=60_000)
    page.get_by_role("button", name="Send").wait_for(timeout=60_000)
    return answer


def figures(answer: Any) -> dict[str, str]:
    parts = answer.get_by_label("What this answer took")
    return dict(zip(parts.locator("dt").all_text_contents(), parts.locator("dd").all_text_contents(), strict=True))


def test_a_sleeping_model_is_woken_from_the_page_talked_to_and_seen_to_sleep_again(tmp_path):
    with (
        lamplighter(tmp_path, CONFIGURATION, page=True) as server,
        browser() as chrome,
        opened(chrome, server.url) as (page, watch),
    ):
        page.set_default_timeout(60_000)  # a model starts, and the machine may be busy
        card(page).get_by_text("sleeping", exact=True).wait_for()
        page.evaluate(WITNESS)
        card(page).get_by_role("button", name="Wake chat").click()
        card(page).get_by_text("running", exact=True).wait_for()
        assert page.evaluate("window.witnessed") == ["chat: sleeping", "chat: starting", "chat: running"]

        # It is talked to: an answer in pieces, with what it took and cost.
        page.get_by_role("link", name="Playground").click()
        page.get_by_label("Model").select_option("chat")
        assert "model=chat" in page.url
        page.get_by_label("System text").fill("You are brief.")
        page.get_by_label("Temperature").fill("0")
        page.get_by_label("Max tokens").fill("24")
        answer = asked(page, "What is the capital of France?")
        assert answer.locator(".play-text").text_content().strip()  # what it says is up to the model
        told = figures(answer)
        assert told["answered by"] == "chat"
        assert re.fullmatch(r"\d+ in, \d+ out", told["tokens"])
        assert re.fullmatch(r"≈ \$0\.\d+ estimate", told["cost"])
        assert float(told["tokens/s"]) > 0

        # Nothing is asked any more: the countdown falls, and it sleeps.
        page.get_by_role("link", name="Endpoints", exact=True).click()
        card(page).get_by_text("sleeps in").wait_for()
        first = seconds_left(page)
        card(page).get_by_text(re.compile(f"sleeps in 0:0[0-{max(0, first - 1)}]")).wait_for()
        card(page).get_by_text("sleeping", exact=True).wait_for()
        assert server.status("chat")["status"] == "sleeping"

        # A message wakes it as well, by a route; vectors come of it, too.
        page.get_by_role("link", name="Playground").click()
        page.get_by_label("Model").select_option("assistant")
        again = asked(page, "And of Italy?")
        assert figures(again)["wait"] != "0 ms"
        page.get_by_role("button", name="Embeddings").click()
        page.get_by_role("button", name="Compare").click()
        matrix = page.get_by_role("region", name="How similar the texts are")
        matrix.wait_for()
        assert matrix.get_by_role("cell").count() == 9
        assert matrix.get_by_role("cell").first.text_content() == "1.000"
        eventually(lambda: server.status("chat")["in_flight"] == 0, "nothing in flight")
        assert watch.errors == []
        assert watch.foreign == []
