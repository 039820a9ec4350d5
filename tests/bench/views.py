"""What somebody who looks at the page waits for, in a real Chromium: the first view, and a change of state."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

import httpx2

from tests.acceptance.harness import LamplighterProcess
from tests.bench.report import Figure, Skipped
from tests.bench.wrk import KEY
from tests.browser import browser, place_of_chromium

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext

ROUNDS = 7
PATIENCE = 30_000

# Tells when what is looked for was drawn: the moment, in milliseconds of Unix time, of the frame after it came.
_WATCH = """
window.drawnAt = (find) => new Promise((done) => {
  const look = () => find() && requestAnimationFrame(() => setTimeout(() => done(Date.now())));
  if (!look()) new MutationObserver((_, one) => { if (look()) one.disconnect(); })
    .observe(document, { subtree: true, childList: true, characterData: true, attributes: true });
});
window.firstView = window.drawnAt(() => document.querySelector("article.card button, .line .doing button"))
  .then((at) => at - performance.timeOrigin);
"""
_SHOWS = """(phase) => {
  const one = () => document.querySelector(`article[aria-label="%(name)s: ${phase}"]`)
    || [...document.querySelectorAll(".table .line." + phase)].find((line) => line.querySelector(".name").title === "%(name)s");
  window.shows = window.drawnAt(one);
}"""


def measure(
    server: LamplighterProcess, endpoints: int, *, changing: str, path: str = "/"
) -> Iterator[Figure | Skipped]:
    """The figures of one server that has so many endpoints; the one called `changing` is woken and put to sleep."""
    if place_of_chromium() is None:
        yield Skipped(skipped=f"the page with {endpoints} endpoints in a browser", why="there is no Chromium")
        return
    with browser() as one:
        context = _signed_in(one, server)
        views = [_first_view(one, server, context, path) for _ in range(ROUNDS)]
        changes = _changes(context, server, changing, path)
    yield Figure(
        figure=f"first view of {endpoints} endpoints, nothing cached, median of {ROUNDS}",
        value=round(statistics.median(views)),
        unit="ms",
        target=1500,
    )
    yield Figure(
        figure=f"a change of state on the page of {endpoints} endpoints, after it was asked for, median of {len(changes)}",
        value=round(statistics.median(changes)),
        unit="ms",
        target=300,
    )
    yield Figure(
        figure=f"the slowest of these {len(changes)} changes, {endpoints} endpoints",
        value=round(max(changes)),
        unit="ms",
    )


def _signed_in(one: Browser, server: LamplighterProcess) -> BrowserContext:
    context = one.new_context()
    context.add_init_script(_WATCH)
    page = context.new_page()
    page.goto(f"{server.url}/sign-in")
    if page.url.endswith("/sign-in"):
        page.get_by_label("Key").fill(KEY)
        page.get_by_role("button", name="Sign in").click()
        page.wait_for_url(f"{server.url}/")
    page.close()
    return context


def _first_view(one: Browser, server: LamplighterProcess, signed_in: BrowserContext, path: str) -> float:
    """A browser context of its own has nothing cached: it is given the session alone."""
    context = one.new_context(storage_state=signed_in.storage_state())
    try:
        context.add_init_script(_WATCH)
        page = context.new_page()
        page.goto(server.url + path)
        return float(page.evaluate("window.firstView"))
    finally:
        context.close()


def _changes(context: BrowserContext, server: LamplighterProcess, name: str, path: str) -> list[float]:
    """How long after it was asked for a change stood on the page: asking and doing it are counted in."""
    page = context.new_page()
    page.goto(server.url + path)
    page.evaluate("window.firstView")
    page.locator(".brand .lamp.running").wait_for(timeout=PATIENCE)
    took = []
    headers = {"authorization": f"Bearer {KEY}"}
    with httpx2.Client(base_url=server.url, headers=headers) as client:
        for _ in range(ROUNDS):
            for verb, phase in (("wake", "running"), ("sleep", "sleeping")):
                page.evaluate(_SHOWS % {"name": name}, phase)
                time.sleep(0.37)  # not in step with anything that is done at intervals
                asked = time.time() * 1000
                client.post(f"/api/endpoints/{verb}/{name}", params={"wait": 10}).raise_for_status()
                took.append(float(page.evaluate("window.shows")) - asked)
    return took
