"""Alarms, the audit log, keys and settings on the page, in a real Chromium before a real server."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import httpx2
import pytest

from tests.acceptance.harness import LamplighterProcess, lamplighter
from tests.acceptance.test_page import ADMIN, CLOUD, endpoint, made_key, signed_in
from tests.browser import browser, faults, opened

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = pytest.mark.acceptance

HOOK = "http://127.0.0.1:9/a-secret-address"
PLAIN = "a-secret-that-somebody-wrote-down"
MARKUP = "<img src=x onerror=document.body.remove()>"
CONFIGURATION = (
    "alarms: {webhook: env:HOOK}\n"
    + CLOUD
    + endpoint("chat", env={"PLAIN": PLAIN, "NAMED": "${HOOK}"}, idle_timeout="20m")
    + endpoint("coder", provider="lab")
    + endpoint("broken")
)
SCREENS = ("activity", "keys", "settings")


@pytest.fixture(scope="module")
def chrome() -> Iterator[Browser]:
    with browser() as one:
        yield one


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LamplighterProcess]:
    environ = {"LAMPLIGHTER_KEYS": ADMIN, "HOOK": HOOK, "ENDPOINT_WAKE_TIMEOUT": "120"}
    with lamplighter(tmp_path_factory.mktemp("kept"), CONFIGURATION, page=True, environ=environ) as one:
        yield one


@pytest.fixture(scope="module")
def rest(server: LamplighterProcess) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=server.url, headers={"authorization": f"Bearer {ADMIN}"}) as client:
        yield client


@pytest.fixture(scope="module")
def admin(chrome: Browser, server: LamplighterProcess) -> Iterator[Any]:
    """A page that is signed in, and whatever its console complains of before axe does its work."""
    with signed_in(chrome, server, ADMIN, "/activity") as (page, watch):
        yield page, watch


def test_alarms_stand_first_and_a_test_tells_what_each_place_took(admin, server, rest):
    page, watch = admin
    rest.post("/api/endpoints/wake/broken")
    standing = page.get_by_role("region", name=re.compile("Alarms"))
    standing.get_by_text("could not be woken").wait_for(timeout=20_000)
    assert standing.get_by_role("code").filter(has_text="lamplighter wake broken").is_visible()
    standing.get_by_role("button", name="Send a test message").click()
    standing.get_by_text("no answer").wait_for()
    assert "a-secret-address" not in page.content()
    assert watch.errors == []


def test_the_audit_log_is_filtered_by_its_address_and_tells_what_comes(admin, server, rest):
    page, _ = admin
    rest.post("/api/keys", json={"name": MARKUP})
    page.goto(f"{server.url}/activity?success=false&operation=create+key")
    log = page.get_by_role("region", name="Audit log")
    log.get_by_role("row").filter(has_text="create key").first.wait_for()
    assert log.get_by_text(MARKUP).first.is_visible()
    assert log.get_by_role("row").filter(has_text="went well").count() == 0
    log.get_by_role("button", name="Show all").click()
    page.wait_for_url(f"{server.url}/activity")
    log.get_by_label("Endpoint").fill("coder")
    page.wait_for_url(re.compile("endpoint=coder"))
    log.get_by_text("Nothing on record fits this filter").wait_for()
    rest.post("/api/endpoints/wake/coder")
    log.get_by_role("rowheader", name="ask wake").wait_for()
    page.reload()
    log.get_by_role("rowheader", name="ask wake").wait_for()
    log.get_by_label("When").select_option("1h")
    page.wait_for_url(re.compile("when=1h"))
    log.get_by_role("rowheader", name="ask wake").wait_for()


def test_older_entries_follow_page_by_page(admin, server, rest):
    page, _ = admin
    for _ in range(105):
        rest.delete("/api/keys/nobody")
    page.goto(f"{server.url}/activity?operation=revoke+key")
    log = page.get_by_role("region", name="Audit log")
    log.get_by_text("100 entries, and older ones", exact=True).wait_for()
    log.get_by_role("button", name="Show older ones").click()
    log.get_by_text(re.compile(r"^10[5-9] entries$")).wait_for()


def test_a_key_is_made_shown_once_and_taken_back(admin, server):
    page, _ = admin
    page.goto(f"{server.url}/keys")
    page.get_by_role("button", name="Make a key").click()
    form = page.get_by_role("form", name="A new key")
    form.get_by_label("Name", exact=True).fill("ci")
    form.get_by_label("Ends after").fill("soon")
    form.get_by_role("button", name="Make the key").click()
    form.get_by_text("should be a duration").wait_for()
    assert form.get_by_label("Ends after").evaluate("one => one === document.activeElement")
    form.get_by_label("Ends after").fill("30d")
    form.get_by_label("Requests a minute").fill("0")
    form.get_by_role("button", name="Make the key").click()
    form.get_by_text("should be from 1 to").wait_for()
    assert form.get_by_label("Requests a minute").get_attribute("aria-invalid") == "true"
    form.get_by_label("Requests a minute").fill("60")
    form.get_by_label("operate").check()
    form.get_by_label("Its requests wake what sleeps").uncheck()
    form.get_by_role("button", name="chat").click()
    form.get_by_label("Tags").fill("team=search")
    form.get_by_role("button", name="Make the key").click()

    page.get_by_text("it is not shown again").wait_for()
    secret = page.get_by_label("The key's secret").input_value()
    assert httpx2.get(f"{server.url}/api/alarms", headers={"x-api-key": secret}).status_code == 200
    page.get_by_role("button", name="I have it").click()
    row = page.get_by_role("row").filter(has=page.get_by_role("rowheader", name=re.compile("^ci ?")))
    for text in ("operate", "chat", "60 requests a minute, wakes nothing", "team=search", "ends in 30 d"):
        assert row.get_by_text(text).first.is_visible(), text
    assert secret not in page.content()

    row.get_by_role("button", name="Revoke ci").click()
    question = page.get_by_role("dialog", name="Revoke ci?")
    assert question.get_by_role("button", name="Revoke for good").is_disabled()
    question.get_by_label("Type ci to go on").fill("ci")
    question.get_by_role("button", name="Revoke for good").click()
    row.wait_for(state="detached")
    assert httpx2.get(f"{server.url}/api/alarms", headers={"x-api-key": secret}).status_code == 401
    page.get_by_label(re.compile("that ended")).check()
    page.wait_for_url(re.compile("ended=1"))
    row.get_by_text("revoked").wait_for()


def test_the_first_key_is_seen_before_it_closes_the_server(chrome, tmp_path):
    with (
        lamplighter(tmp_path, CLOUD + endpoint("chat"), page=True) as fresh,
        opened(chrome, fresh.url, "/keys") as (page, _),
    ):
        page.get_by_role("heading", name="No key yet").wait_for()
        page.get_by_role("button", name="Make a key").click()
        page.get_by_label("Name", exact=True).fill("root")
        page.get_by_role("button", name="Make the key").click()
        secret = page.get_by_label("The key's secret").input_value()
        page.wait_for_timeout(2500)  # longer than an open page outlives its right to be
        assert page.get_by_label("The key's secret").input_value() == secret
        assert page.get_by_text("The server can't be heard.").count() == 0
        page.get_by_role("button", name="I have it").click()
        page.get_by_label("Key").fill(secret)
        page.get_by_role("button", name="Sign in").click()
        page.get_by_role("rowheader", name=re.compile("^root")).wait_for()
        assert page.get_by_text("root · admin").is_visible()


def test_settings_tell_who_said_so_and_no_secret(admin, server, rest):
    told = rest.get("/api/settings")
    assert "secret" not in told.text.replace("is_secret", "")
    keys = {one["key"]: one for one in told.json()["settings"]}
    assert (keys["alarms.webhook"]["text"], keys["alarms.webhook"]["is_secret"]) == ("env:HOOK", True)
    assert keys["defaults.wake_timeout"]["variable"] == "ENDPOINT_WAKE_TIMEOUT"
    page, _ = admin
    page.goto(f"{server.url}/settings?by=said&q=timeout")
    page.get_by_role("row", name="chat.idle_timeout 20m line").wait_for()
    assert page.get_by_role("row", name="wake_timeout 2m environment ENDPOINT_WAKE_TIMEOUT").is_visible()
    page.get_by_label("Filter by key, value or variable").fill("env")
    page.get_by_role("row", name=re.compile("webhook env:HOOK")).wait_for()
    assert page.get_by_role("row", name=re.compile(r"chat.env.PLAIN \[not shown\]")).is_visible()
    page.wait_for_url(re.compile("q=env"))
    assert PLAIN not in page.content()
    assert HOOK not in page.content()


def test_these_screens_keep_out_nobody_and_break_no_policy(admin, server, rest):
    page, watch = admin
    rest.post("/api/endpoints/wake/coder")  # something on record
    watch.errors.clear()  # browsers complain of each refusal
    for screen in SCREENS:
        page.goto(f"{server.url}/{screen}")
        page.get_by_role("table").first.wait_for()
        if screen == "keys":
            page.get_by_role("button", name="Make a key").click()
        assert watch.errors == [], screen
        for width in (360, 768, 1440):
            page.set_viewport_size({"width": width, "height": 900})
            assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0, (screen, width)
            assert page.get_by_role("button", name="Sign out").is_visible()
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            assert faults(page) == [], (screen, scheme)
        watch.errors.clear()  # axe adds styles of its own
    assert watch.foreign == []


def test_to_a_role_that_may_not_they_are_not_offered(chrome, server):
    with signed_in(chrome, server, made_key(server, "worker", "operate"), "/activity") as (page, _):
        page.get_by_text("worker · operate").wait_for()
        page.get_by_text("The audit log is for keys with the role admin.").wait_for()
        assert page.get_by_role("region", name=re.compile("Alarms")).is_visible()
        names = page.get_by_role("navigation", name="Screens").get_by_role("link").all_text_contents()
        assert "Activity" in names
        assert not {"Keys", "Settings"} & set(names)
        page.goto(f"{server.url}/keys")
        page.get_by_role("heading", name="There is nothing at this address").wait_for()
