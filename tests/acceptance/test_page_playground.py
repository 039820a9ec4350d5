"""The playground in a real Chromium: what it makes of answers that are cut, broken off, refused, or full of markup."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest

from tests.acceptance.harness import LamplighterProcess, eventually, lamplighter
from tests.browser import browser, faults, opened

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = pytest.mark.acceptance

ADMIN = "an-admin-key-for-the-playground"
MARKUP = "<img src=x onerror=document.body.remove()> für 🏮\n<b>zwei</b>"


def event(content: str | None = None, **more: Any) -> bytes:
    choices = [] if content is None and "usage" in more else [{"index": 0, "delta": {"content": content}, **more}]
    whole = {"object": "chat.completion.chunk", "choices": choices, **({"usage": more["usage"]} if not choices else {})}
    return b"data: " + json.dumps(whole, ensure_ascii=False).encode() + b"\r\n\r\n"


STREAM = (
    b": a comment\n\n"
    + b"".join(event(letter) for letter in MARKUP)
    + event("", finish_reason="stop")
    + event(usage={"prompt_tokens": 1_000_000, "completion_tokens": 500_000, "total_tokens": 1_500_000})
    + b"data: [DONE]\n\n"
)


class Api(BaseHTTPRequestHandler):
    """A model API that does what the last message says."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *args: Any) -> None:
        pass

    def _piece(self, data: bytes) -> None:
        self.wfile.write(b"%x\r\n%b\r\n" % (len(data), data))
        self.wfile.flush()

    def _begin(self, kind: str) -> None:
        self.send_response(200)
        self.send_header("content-type", kind)
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        wish = body["messages"][-1]["content"]
        if not body.get("stream"):
            self._begin("application/json")
            self._piece(json.dumps({"choices": [{"message": {"content": f"whole: {wish}"}}]}).encode())
            self._piece(b"")
            return
        self._begin("text/event-stream")
        if wish == "break":
            self._piece(event("Half of wh"))
            time.sleep(0.3)  # what has come is passed on by then
            self.close_connection = True
            return
        if wish == "end early":
            self._piece(event("Half of it"))
        elif wish == "be slow":
            for at in range(200):
                self._piece(event(f"{at} "))
                time.sleep(0.1)
        elif wish == "fail":
            self._piece(event("Some") + b'data: {"error": {"message": "out of memory", "code": "oom"}}\n\n')
        else:
            for at in range(0, len(STREAM), 7):  # in the middle of lines and letters
                self._piece(STREAM[at : at + 7])
        self._piece(b"")


@pytest.fixture(scope="module")
def api() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Api)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}/v1"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, api: str) -> Iterator[LamplighterProcess]:
    configuration = f"""
providers:
  memory: {{options: {{start_delay: 60, url: "http://127.0.0.1:9"}}}}
  quick: {{type: memory, options: {{start_delay: 0.3, url: "http://127.0.0.1:9"}}}}
endpoints:
  asleep: {{provider: memory, command: [none], price_per_hour: 1}}
  dear: {{provider: quick, command: [none], price_per_hour: 3600, idle_timeout: 1h}}
  off: {{provider: memory, command: [none]}}
upstreams:
  far: {{base_url: "{api}", price: {{input: 0.15, output: 0.6}}}}
routes:
  assistant: {{targets: [{{name: far, model: some}}]}}
budgets:
  small: {{limit: 0.5, per: day, endpoint: dear}}
"""
    with lamplighter(tmp_path_factory.mktemp("playground"), configuration, page=True) as one:
        yield one


@pytest.fixture(scope="module")
def chrome() -> Iterator[Browser]:
    with browser() as one:
        yield one


def say(page: Any, text: str) -> Any:
    page.get_by_role("textbox", name="Message").fill(text)
    page.get_by_role("button", name="Send").click()
    return page.get_by_role("article", name="Answer of").last


# The reader of events, fed with a text cut at each place in turn.
EVERY_CUT = """
async (text) => {
  const { eventReader } = await import("lamplighter/screens/playground/events.js");
  const bytes = new TextEncoder().encode(text);
  const read = (pieces) => {
    const heard = [];
    const reader = eventReader({ event: ({ event, data }) => heard.push([event, data]), comment: (words) => heard.push(["comment", words]) });
    pieces.forEach((piece) => reader.push(piece));
    reader.end();
    return JSON.stringify(heard);
  };
  const each = [...bytes].map((_, at) => bytes.slice(at, at + 1));
  const cuts = [...bytes].map((_, at) => read([bytes.slice(0, at), bytes.slice(at)]));
  return [read([bytes]), ...new Set([read(each), ...cuts])];
}
"""


def test_a_stream_means_the_same_wherever_it_is_cut(chrome, server):
    text = ': über 🏮\r\n\r\ndata: {"a": "ü🏮"}\r\n\r\nevent: error\rdata:x\rdata: y\r\r: z\n\ndata: [DONE]'
    with opened(chrome, server.url, "/playground") as (page, _):
        found = page.evaluate(EVERY_CUT, text)
    assert len(found) == 2  # as one piece, and all the ways to cut it, which are one
    assert json.loads(found[0]) == json.loads(found[1])
    assert json.loads(found[0]) == [
        ["comment", "über 🏮"],
        ["message", '{"a": "ü🏮"}'],
        ["error", "x\ny"],
        ["comment", "z"],
        ["message", "[DONE]"],
    ]


def test_what_a_model_answers_is_text_and_its_cost_is_tokens_times_the_upstreams_price(chrome, server):
    with opened(chrome, server.url, "/playground?model=assistant") as (page, watch):
        answer = say(page, "anything")
        answer.get_by_text("$0.45", exact=True).wait_for()  # a million in at 0.15, half a million out at 0.6
        assert answer.locator(".play-text").text_content() == MARKUP
        figures = answer.get_by_label("What this answer took").text_content()
        for told in ("answered byfar", "wait0 ms", "tokens1,000,000 in, 500,000 out"):
            assert told in figures
        assert watch.errors == []
        assert watch.foreign == []


def test_an_answer_that_breaks_off_is_called_half_and_one_can_be_stopped(chrome, server):
    with opened(chrome, server.url, "/playground?model=assistant") as (page, _):
        for wish, got in (("break", "Half of wh"), ("end early", "Half of it"), ("fail", "Some")):
            answer = say(page, wish)
            answer.get_by_text("This is half an answer.").wait_for()
            assert answer.locator(".play-text").text_content() == got
            assert answer.get_by_role("button", name="Try again").is_visible()
        assert answer.get_by_role("alert").get_by_text("out of memory").is_visible()
        answer = say(page, "be slow")
        answer.get_by_text("3 4").wait_for()
        page.get_by_role("button", name="Stop").click()
        answer.get_by_text("Stopped here.").wait_for()
        before = answer.locator(".play-text").text_content()
        assert before.startswith("0 1 2 3 4")
        page.get_by_role("button", name="Send").wait_for()
        assert answer.locator(".play-text").text_content() == before


def test_refusals_are_told_in_the_servers_words_where_they_happen(chrome, server):
    server.wake("dear")  # a dollar a second, of half a dollar
    eventually(lambda: server.status("dear")["status"] == "sleeping", "asleep, its budget spent")
    with opened(chrome, server.url, "/playground?model=dear") as (page, _):
        say(page, "hello").get_by_role("alert").get_by_text("402 budget_spent").wait_for()
        assert page.get_by_role("alert").get_by_text("small").is_visible()
        page.get_by_label("Model").select_option("off")
        assert page.evaluate(
            "fetch('/page/rest/v2/endpoint/lamplighter/off/pause', {method: 'POST'}).then((it) => it.ok)"
        )
        refused = say(page, "hello").get_by_role("alert")
        refused.get_by_role("link", name="Show off among the endpoints").wait_for()
        page.get_by_label("Model").select_option("asleep")
        page.get_by_label("Max wait (s)").fill("1.5")
        late = say(page, "hello")
        late.get_by_text("asleep is starting").wait_for()
        late.get_by_role("progressbar", name="asleep is starting").wait_for()
        late.get_by_role("alert").get_by_role("button", name="Try again").wait_for()
        page.get_by_label("Temperature").fill("warm")
        page.get_by_role("textbox", name="Message").fill("hello")
        page.get_by_role("button", name="Send").click()
        page.get_by_text("Temperature is a number from 0 to 5.").wait_for()
        assert page.get_by_role("textbox", name="Message").input_value() == "hello"


def test_a_raw_request_goes_nowhere_else_and_its_answer_is_shown_whole(chrome, server):
    with opened(chrome, server.url, "/playground?way=raw&model=assistant") as (page, watch):
        path = page.get_by_label("Path")
        for wrong in (
            "/api/endpoints/status",
            "/v1/../api/keys",
            "/endpoints/%2e%2e/api/keys",
            "//evil.example/v1/x",
            "x",
        ):
            path.fill(wrong)
            page.get_by_role("button", name="Send").click()
            page.get_by_text("A path here begins with").wait_for()
        path.fill("/v1/chat/completions")
        page.get_by_label("Headers").fill("content-type: application/json\nx-request-id: mine-1")
        page.get_by_role("textbox", name="Body").fill(
            json.dumps({"model": "assistant", "messages": [{"role": "user", "content": MARKUP}]})
        )
        page.get_by_role("button", name="Send").click()
        answer = page.get_by_role("region", name="Body of the answer")
        answer.wait_for()
        assert json.loads(str(answer.text_content()))["choices"][0]["message"]["content"] == f"whole: {MARKUP}"
        shown = str(page.locator(".play-headers").text_content())
        assert "x-request-idmine-1" in shown
        assert "x-lamplighter-targetfar" in shown
        page.get_by_role("textbox", name="Body").fill('{"model": "nobody"}')
        page.get_by_role("button", name="Send").click()
        page.get_by_text("There is no endpoint or model 'nobody'").wait_for()
        assert page.get_by_text("404", exact=True).is_visible()
        assert [one for one in watch.errors if "404" not in one] == []


def code(page: Any, form: str) -> str:
    page.get_by_role("button", name=form, exact=True).click()
    return str(page.get_by_role("region", name=f"The request as {form}").text_content())


def ran(*command: str) -> str:
    environ = os.environ | {"LAMPLIGHTER_KEY": ADMIN}
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=30, env=environ).stdout


def test_what_is_copied_runs_and_holds_no_key(chrome, tmp_path, api):
    configuration = (
        f'upstreams: {{far: {{base_url: "{api}"}}}}\nroutes: {{one: {{targets: [{{name: far, model: some}}]}}}}\n'
    )
    environ = {"LAMPLIGHTER_KEYS": ADMIN}
    with (
        lamplighter(tmp_path, configuration, page=True, environ=environ) as keyed,
        opened(chrome, keyed.url, "/playground?model=one") as (page, _),
    ):
        page.get_by_label("Key").fill(ADMIN)
        page.get_by_role("button", name="Sign in").click()
        page.get_by_role("textbox", name="Message").fill('it\'s $HOME "here"\nü')
        page.get_by_text("As code").click()
        page.context.grant_permissions(["clipboard-read", "clipboard-write"])
        shell, python, javascript = (code(page, form) for form in ("curl", "Python", "JavaScript"))
        page.get_by_role("button", name="Copy as JavaScript").click()
        page.get_by_text("Copied as JavaScript.").wait_for()
        assert page.evaluate("navigator.clipboard.readText()") == javascript
        assert "$LAMPLIGHTER_KEY" in shell
        assert all("LAMPLIGHTER_KEY" in one and ADMIN not in one for one in (shell, python, javascript))
        assert ran(sys.executable, "-c", python) == 'whole: it\'s $HOME "here"\nü\n'
        assert "[DONE]" in ran("bash", "-c", f"{shell} -s")


def test_axe_finds_no_serious_fault_and_nothing_is_wider_than_the_window(chrome, server):
    with opened(chrome, server.url, "/playground?model=assistant") as (page, _):
        say(page, "fail").get_by_role("alert").wait_for()
        page.get_by_text("As code").click()
        for way in ("Chat", "Embeddings", "Raw request"):
            page.get_by_role("button", name=way).click()
            if way != "Chat":
                page.get_by_role("button", name="Compare" if way == "Embeddings" else "Send").click()
                page.get_by_text("in all").wait_for()
            for scheme in ("light", "dark"):
                page.emulate_media(color_scheme=scheme)
                assert faults(page) == [], (way, scheme)
            for width in (360, 768, 1440, 2560):
                page.set_viewport_size({"width": width, "height": 800})
                assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0, (width, way)
        page.route("**/page/rest/v1/models", lambda route: route.fulfill(json={"object": "list", "data": []}))
        page.reload()
        page.get_by_role("heading", name="No model to ask yet").wait_for()
        assert page.get_by_text("lamplighter catalog deploy").is_visible()
        assert faults(page) == []
