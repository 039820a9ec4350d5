"""Chromium, as Debian packages it, driven by Playwright: nothing is downloaded."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def place_of_chromium() -> str | None:
    """Where it is; None where there is none."""
    return next((place for name in _NAMES if (place := shutil.which(name))), None)


def chromium() -> str:
    """Where it is. Skips the test where it is not, unless LAMPLIGHTER_BROWSER=required says that it has to be."""
    found = place_of_chromium()
    if found is None:
        text = "needs Chromium: make browser installs it"
        if os.environ.get("LAMPLIGHTER_BROWSER") == "required":
            pytest.fail(text)
        pytest.skip(text)
    return found


@contextlib.contextmanager
def browser() -> Iterator[Browser]:
    """One for as long as the context lasts."""
    place = chromium()
    from playwright.sync_api import sync_playwright  # noqa: PLC0415 - takes a while, and only tests of the page need it

    with sync_playwright() as playwright:
        # In a container root has no sandbox; what is opened is our own server.
        one = playwright.chromium.launch(executable_path=place, args=["--no-sandbox", "--disable-dev-shm-usage"])
        try:
            yield one
        finally:
            one.close()


class Watch:
    """What a page said and asked for: `errors` of its console, breaches of its policy among them, and foreign hosts."""

    def __init__(self, page: Page, url: str) -> None:
        self.errors: list[str] = []
        self.foreign: list[str] = []
        self._own = url.partition("://")[2]
        page.on("console", lambda message: self.errors.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("request", lambda request: self._note(request.url))
        page.on("websocket", lambda socket: self._note(socket.url))

    def _note(self, url: str) -> None:
        scheme, _, rest = url.partition("://")
        if scheme in {"http", "https", "ws", "wss"} and rest.partition("/")[0] != self._own:
            self.foreign.append(url)


@contextlib.contextmanager
def opened(one: Browser, url: str, path: str = "/", **options: Any) -> Iterator[tuple[Page, Watch]]:
    """A page in a context of its own, loaded."""
    context = one.new_context(**{"viewport": {"width": 1440, "height": 900}, **options})
    page = context.new_page()
    page.set_default_timeout(10_000)
    watch = Watch(page, url)
    try:
        page.goto(url + path)
        yield page, watch
    finally:
        context.close()


def faults(page: Page) -> list[str]:
    """What axe finds that keeps people out: the rule, and where."""
    from axe_playwright_python.sync_playwright import Axe  # noqa: PLC0415 - as above

    found = Axe().run(page).response["violations"]
    return [
        f"{one['id']}: {node['target']} {node.get('failureSummary', '')}"
        for one in found
        if one["impact"] in {"serious", "critical"}
        for node in one["nodes"][:3]
    ]
