"""The page in a real Chromium, before a real server whose endpoints are simulated."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import httpx2
import pytest

from tests.acceptance.harness import LamplighterProcess, lamplighter
from tests.browser import browser, faults, opened
from tests.wire_stage import document

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = pytest.mark.acceptance

ADMIN = "an-admin-key-for-the-page"
MARKUP = "<img src=x onerror=document.body.remove()>"
CLOUD = """
providers:
  cloud: {type: memory, options: {start_delay: 1.5, url: "http://127.0.0.1:9", faults: {broken: {wake: no_capacity}}}}
  lab: {type: memory, options: {start_delay: 1.5, url: "http://127.0.0.1:9"}}
defaults: {wake_attempts: 1}
endpoints:
"""


def endpoint(name: str, **more: Any) -> str:
    settings = {"engine": "command", "command": ["none"], "provider": "cloud", "price_per_hour": 0.8, **more}
    return f"  {name}: {json.dumps(settings)}\n"


THREE = CLOUD + endpoint("chat", model=MARKUP) + endpoint("coder", provider="lab") + endpoint("broken")


@pytest.fixture(scope="module")
def chrome() -> Iterator[Browser]:
    with browser() as one:
        yield one


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LamplighterProcess]:
    with lamplighter(tmp_path_factory.mktemp("open"), THREE, page=True) as one:
        yield one


@pytest.fixture(scope="module")
def keyed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LamplighterProcess]:
    environ = {"LAMPLIGHTER_KEYS": ADMIN}
    with lamplighter(tmp_path_factory.mktemp("keyed"), THREE, page=True, environ=environ) as one:
        yield one


def made_key(server: LamplighterProcess, name: str, role: str) -> str:
    headers = {"authorization": f"Bearer {ADMIN}"}
    answer = httpx2.post(f"{server.url}/api/keys", json={"name": name, "role": role}, headers=headers)
    assert answer.is_success, answer.text
    return str(answer.json()["secret"])


@contextmanager
def signed_in(chrome: Browser, server: LamplighterProcess, key: str, path: str = "/") -> Iterator[Any]:
    with opened(chrome, server.url, path) as (page, watch):
        page.get_by_label("Key").fill(key)
        page.get_by_role("button", name="Sign in").click()
        page.wait_for_url(server.url + path)
        yield page, watch


def card(page: Any, name: str) -> Any:
    return page.get_by_role("article", name=re.compile(f"^{name}:"))


def live(page: Any) -> None:
    """Wait until the page hears the server: its own lamp is lit then."""
    page.locator(".brand .lamp.running").wait_for()


def test_the_page_breaks_no_policy_asks_no_other_host_and_runs_nothing_that_was_typed(chrome, server):
    with opened(chrome, server.url) as (page, watch):
        card(page, "chat").wait_for()
        assert card(page, "chat").get_by_text(MARKUP).is_visible()
        live(page)
        assert watch.errors == []
        assert watch.foreign == []


def test_the_policy_lets_no_text_become_code():
    from lamplighter.web.policy import content_policy  # noqa: PLC0415 - the package may not be installed

    policy = content_policy("n").decode()
    assert "unsafe" not in policy
    assert "require-trusted-types-for 'script'" in policy
    assert "http" not in policy


def test_a_wake_from_the_page_goes_through_starting_to_running_and_counts_down_then_sleeps(chrome, server):
    with opened(chrome, server.url) as (page, _):
        one = card(page, "coder")
        one.get_by_role("button", name="Wake coder").click()
        one.get_by_text("starting", exact=True).wait_for()
        one.get_by_role("progressbar", name="coder is starting").wait_for()
        one.get_by_text("running", exact=True).wait_for()
        before = one.get_by_text("sleeps in").text_content()
        one.get_by_text("sleeps in").filter(has_not_text=before).wait_for()
        one.get_by_role("button", name="Sleep coder").click()
        one.get_by_text("sleeping", exact=True).wait_for()
        assert server.status("coder")["status"] == "sleeping"


def test_what_is_done_elsewhere_is_seen_without_reloading(chrome, server):
    with opened(chrome, server.url) as (page, _):
        card(page, "coder").wait_for()
        live(page)
        server.wake("coder")
        began = time.monotonic()
        card(page, "coder").get_by_text("running", exact=True).wait_for()
        assert time.monotonic() - began < 2  # measured: a tenth of that; this machine may be busy
        server.sleep("coder")
        card(page, "coder").get_by_text("sleeping", exact=True).wait_for()


def test_an_error_is_told_in_its_place_and_can_be_tried_again(chrome, server):
    with opened(chrome, server.url) as (page, _):
        one = card(page, "broken")
        one.get_by_role("button", name="Wake broken").click()
        one.get_by_text("no such hardware free").wait_for()
        assert one.get_by_text("error", exact=True).is_visible()
        assert one.get_by_role("button", name="Wake broken").is_enabled()


def test_pausing_says_what_it_means_first_and_resuming_takes_it_back(chrome, server):
    with opened(chrome, server.url) as (page, _):
        page.get_by_role("button", name="More for chat").click()
        page.get_by_role("menuitem", name="Pause").click()
        question = page.get_by_role("dialog", name="Pause chat?")
        for term in ("Cost", "Quota", "Undo"):
            assert question.get_by_text(term, exact=True).is_visible()
        question.get_by_role("button", name="Pause").click()
        card(page, "chat").get_by_text("paused", exact=True).wait_for()
        card(page, "chat").get_by_role("button", name="Resume chat").click()
        card(page, "chat").get_by_text("running", exact=True).wait_for()


def test_a_menu_is_worked_with_the_keyboard_and_gives_the_focus_back(chrome, server):
    with opened(chrome, server.url) as (page, _):
        button = page.get_by_role("button", name="More for coder")
        button.focus()
        page.keyboard.press("Enter")
        page.get_by_role("menuitem").first.wait_for()
        page.keyboard.press("ArrowDown")
        page.keyboard.press("Enter")
        page.get_by_role("dialog", name="Pause coder?").wait_for()
        page.keyboard.press("Escape")
        page.get_by_role("dialog").wait_for(state="detached")
        assert button.evaluate("one => one === document.activeElement")


def test_the_filter_lives_in_the_address(chrome, server):
    with opened(chrome, server.url, "/?q=cod&view=table") as (page, _):
        page.get_by_role("rowheader", name="coder").wait_for()
        assert page.get_by_role("rowheader").count() == 1
        page.get_by_label("Filter by name, model, provider or status").fill("lab")
        page.wait_for_url(re.compile("q=lab"))
        page.reload()
        page.get_by_role("rowheader", name="coder").wait_for()
        page.get_by_label("Filter by name, model, provider or status").fill("nothing like it")
        page.get_by_role("button", name="Show all").click()
        page.get_by_role("rowheader", name="chat").wait_for()


def test_the_link_to_the_screen_one_is_on_takes_its_filters_back(chrome, server):
    with opened(chrome, server.url, "/?q=coder") as (page, _):
        live(page)
        card(page, "coder").wait_for()
        assert card(page, "chat").count() == 0
        page.get_by_role("navigation").get_by_role("link", name="Endpoints").click()
        card(page, "chat").wait_for()
        assert page.get_by_label("Filter by name, model, provider or status").input_value() == ""
        page.go_back()
        card(page, "chat").wait_for(state="detached")


def test_axe_finds_no_serious_fault(chrome, server):
    with opened(chrome, server.url, "/?group=provider") as (page, _):
        for view in ("Cards", "Table"):
            page.get_by_role("button", name=view).click()
            for scheme in ("light", "dark"):
                page.emulate_media(color_scheme=scheme)
                assert faults(page) == [], (view, scheme)
        page.get_by_role("button", name="More for chat").click()
        assert faults(page) == []
        page.get_by_role("menuitem", name="Pause").click()
        page.get_by_role("dialog").wait_for()
        assert faults(page) == []


def test_from_360_pixels_on_nothing_is_wider_than_the_window(chrome, server):
    with opened(chrome, server.url) as (page, _):
        for view in ("Cards", "Table"):
            page.get_by_role("button", name=view).click()
            for width in (360, 500, 768, 1100, 1440, 2560):
                page.set_viewport_size({"width": width, "height": 800})
                assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0, (width, view)


NO_WEBSOCKET = """
window.WebSocket = class extends EventTarget {
  constructor() {
    super();
    setTimeout(() => { this.onerror?.(new Event("error")); this.onclose?.(new CloseEvent("close", { code: 1006 })); }, 10);
  }
  send() {}
  close() {}
};
"""


def test_a_page_that_cannot_have_a_websocket_says_so_and_goes_on(chrome, server):
    with opened(chrome, server.url) as (page, _):
        page.add_init_script(NO_WEBSOCKET)
        page.reload()
        page.get_by_text("Websockets are blocked").wait_for()
        server.wake("coder")
        card(page, "coder").get_by_text("running", exact=True).wait_for()
        server.sleep("coder")


def test_a_server_without_endpoints_says_what_to_do_first(chrome, tmp_path):
    with (
        lamplighter(tmp_path, "providers: {memory: {}}\n", page=True) as empty,
        opened(chrome, empty.url) as (page, watch),
    ):
        page.get_by_role("heading", name="No endpoint yet").wait_for()
        assert page.get_by_text("lamplighter catalog deploy").is_visible()
        assert watch.errors == []


def test_a_restart_is_told_and_the_page_comes_back_by_itself_still_signed_in(chrome, tmp_path):
    environ = {"LAMPLIGHTER_KEYS": ADMIN}
    with lamplighter(tmp_path, THREE, page=True, environ=environ) as first:
        port = int(first.url.rpartition(":")[2])
        with signed_in(chrome, first, ADMIN) as (page, _):
            card(page, "chat").wait_for()
            live(page)
            assert first.stop() == 0
            page.get_by_text("The server can't be heard.").wait_for()
            with lamplighter(tmp_path, THREE, page=True, environ=environ, port=port):
                page.get_by_text("The server can't be heard.").wait_for(state="detached", timeout=20_000)
                card(page, "chat").get_by_role("button", name="Wake chat").wait_for(timeout=20_000)


def test_signing_in_keeps_no_key_in_the_browser(chrome, keyed):
    with signed_in(chrome, keyed, ADMIN, "/?view=table") as (page, watch):
        page.get_by_role("rowheader", name="chat").wait_for()
        (cookie,) = page.context.cookies()
        assert cookie["httpOnly"]
        assert cookie["sameSite"] == "Strict"
        assert ADMIN not in cookie["value"]
        stored = page.evaluate("JSON.stringify([{...localStorage}, {...sessionStorage}, document.cookie])")
        assert ADMIN not in stored + page.content()
        assert watch.foreign == []
        page.get_by_role("button", name="Sign out").click()
        page.get_by_label("Key").wait_for()
        page.goto(f"{keyed.url}/")
        page.get_by_label("Key").wait_for()


def test_a_wrong_key_is_told_and_the_form_is_accessible(chrome, keyed):
    with opened(chrome, keyed.url) as (page, _):
        page.get_by_label("Key").fill("wrong")
        page.get_by_role("button", name="Sign in").click()
        page.get_by_role("alert").get_by_text("not known here").wait_for()
        assert faults(page) == []


def test_what_a_role_cannot_do_is_not_offered(chrome, keyed):
    with signed_in(chrome, keyed, made_key(keyed, "worker", "operate")) as (page, _):
        page.get_by_role("button", name="More for chat").click()
        page.get_by_role("menuitem", name="Pause").wait_for()
        assert page.get_by_role("menuitem", name="Delete").count() == 0
    with signed_in(chrome, keyed, made_key(keyed, "caller", "infer")) as (page, _):
        page.get_by_role("heading", name="This key calls models").wait_for()
        assert page.get_by_text("chat").count() == 0


def test_what_is_done_on_the_page_is_on_record_under_the_keys_name(chrome, keyed):
    with signed_in(chrome, keyed, made_key(keyed, "ada", "operate")) as (page, _):
        card(page, "coder").get_by_role("button", name="Wake coder").click()
        card(page, "coder").get_by_text("running", exact=True).wait_for()
    assert ("ask wake", "key:ada") in keyed.rows("SELECT operation, actor FROM audit WHERE endpoint = 'coder'")


def test_a_key_that_is_revoked_ends_the_pages_that_it_opened(chrome, keyed):
    with signed_in(chrome, keyed, made_key(keyed, "leaver", "operate")) as (page, _):
        card(page, "chat").wait_for()
        live(page)
        headers = {"authorization": f"Bearer {ADMIN}"}
        httpx2.delete(f"{keyed.url}/api/keys/leaver", headers=headers).raise_for_status()
        page.get_by_label("Key").wait_for()


def test_deleting_takes_the_name_typed(chrome, keyed):
    headers = {"authorization": f"Bearer {ADMIN}"}
    answer = httpx2.post(f"{keyed.url}/v2/endpoint/lamplighter", json=document("passing"), headers=headers)
    assert answer.is_success, answer.text
    with signed_in(chrome, keyed, ADMIN) as (page, _):
        page.get_by_role("button", name="More for passing").click()
        page.get_by_role("menuitem", name="Delete").click()
        question = page.get_by_role("dialog", name="Delete passing?")
        go = question.get_by_role("button", name="Delete for good")
        assert go.is_disabled()
        question.get_by_label("Type passing to go on").fill("passing")
        go.click()
        card(page, "passing").wait_for(state="detached")


def test_a_thousand_endpoints_stay_fluid(chrome, tmp_path):
    many = CLOUD + "".join(endpoint(f"e-{at:04d}") for at in range(1000))
    with lamplighter(tmp_path, many, page=True) as server, opened(chrome, server.url, "/?sort=name") as (page, _):
        page.get_by_role("rowheader", name="e-0000").wait_for()
        assert page.get_by_role("row").count() < 100
        page.evaluate("scrollTo(0, document.body.scrollHeight)")
        page.get_by_role("rowheader", name="e-0999").wait_for()
        page.get_by_label("Filter by name, model, provider or status").fill("e-0500")
        page.get_by_role("rowheader", name="e-0500").wait_for()
        assert page.get_by_role("rowheader").count() == 1


@pytest.mark.parametrize(
    ("origin", "cookie", "status"),
    [
        (None, False, 401),
        ("https://evil.example", True, 403),
        ("null", True, 403),
        (None, True, 403),
        ("own", True, 202),
    ],
)
def test_only_the_page_itself_can_act_with_its_session(keyed, origin, cookie, status):
    with httpx2.Client(base_url=keyed.url) as client:
        client.post("/sign-in", data={"key": ADMIN}, headers={"origin": keyed.url})
        if not cookie:
            client.cookies.clear()
        headers = {} if origin is None else {"origin": keyed.url if origin == "own" else origin}
        assert client.post("/page/rest/api/endpoints/wake/coder", headers=headers).status_code == status


def test_another_sites_page_gets_no_socket(keyed):
    from websockets.exceptions import InvalidStatus  # noqa: PLC0415 - comes with the page
    from websockets.sync.client import connect  # noqa: PLC0415

    address = f"{keyed.url.replace('http', 'ws')}/_nicegui_ws/socket.io/?EIO=4&transport=websocket"
    with httpx2.Client(base_url=keyed.url) as client:
        client.post("/sign-in", data={"key": ADMIN}, headers={"origin": keyed.url})
        cookie = {"Cookie": f"lamplighter_session={client.cookies['lamplighter_session']}"}
    with connect(address, origin=keyed.url, additional_headers=cookie) as socket:
        assert str(socket.recv()).startswith("0{")
    refused: list[Any] = [("https://evil.example", cookie), (None, cookie), (keyed.url, {})]
    for origin, headers in refused:
        with pytest.raises(InvalidStatus), connect(address, origin=origin, additional_headers=headers):
            pass


def test_without_the_page_nothing_of_it_is_imported(tmp_path):
    code = """
import sys
import lamplighter.cli.main, lamplighter.cli.serve, lamplighter.runtime
print([name for name in sys.modules if name.split(".")[0] in {"nicegui", "socketio", "websockets"} or "lamplighter.web" in name])
"""
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ)
    assert found.stdout == "[]\n"
    with lamplighter(tmp_path, THREE) as server:
        assert httpx2.get(server.url).status_code == 404
        assert httpx2.get(f"{server.url}/_nicegui/x").status_code == 404


def test_all_are_woken_and_put_to_sleep_after_saying_what_that_means(chrome, tmp_path):
    two = CLOUD + endpoint("one") + endpoint("two", provider="lab")
    with lamplighter(tmp_path, two, page=True) as server, opened(chrome, server.url) as (page, _):
        page.get_by_role("button", name="Wake all").click()
        question = page.get_by_role("dialog", name="Wake 2 endpoints?")
        assert question.get_by_text("Up to $1.60 an hour more").is_visible()
        question.get_by_role("button", name="Wake all").click()
        for name in ("one", "two"):
            card(page, name).get_by_text("running", exact=True).wait_for()
        page.get_by_label("Filter by name, model, provider or status").fill("lab")
        page.get_by_role("button", name="Sleep all").click()
        page.get_by_role("dialog", name="Put 1 endpoint to sleep?").get_by_role("button", name="Sleep all").click()
        card(page, "two").get_by_text("sleeping", exact=True).wait_for()
        assert server.status("one")["status"] == "running"
