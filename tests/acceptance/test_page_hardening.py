"""The page before people who mean no good, and a network that is in the way: asked as programs ask, without a browser."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx2
import psutil
import pytest

from tests.acceptance.harness import LamplighterProcess, eventually, lamplighter

pytestmark = pytest.mark.acceptance

ADMIN = "an-admin-key-for-the-page"
HTML = b"<script>fetch('/page/rest/api/endpoints/wake', {method: 'POST'})</script>"
MARKUP = "</script><script>alert(1)</script>"


class Engine(BaseHTTPRequestHandler):
    """Answers with a page of its own, or with a stream that ends when nobody reads it any more."""

    protocol_version = "HTTP/1.1"
    left = threading.Event()

    def do_GET(self) -> None:
        self.send_response(200)
        if self.path == "/stream":
            self.send_header("content-type", "text/event-stream")
            self.send_header("connection", "close")
            self.end_headers()
            try:
                while True:
                    self.wfile.write(b"data: x\n\n")
                    time.sleep(0.05)
            except OSError:
                self.left.set()
                self.close_connection = True
            return
        self.send_header("content-type", "text/html")
        self.send_header("content-security-policy", "script-src *")
        self.send_header("content-length", str(len(HTML)))
        self.end_headers()
        self.wfile.write(HTML)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture(scope="module")
def configuration() -> Iterator[str]:
    engine = ThreadingHTTPServer(("127.0.0.1", 0), Engine)
    threading.Thread(target=engine.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{engine.server_address[1]}"
    with contextlib.closing(engine.socket):
        yield f"""
providers: {{memory: {{options: {{start_delay: 0, url: "{url}"}}}}}}
endpoints:
  chat: {{provider: memory, command: [none]}}
"""
    engine.shutdown()


@pytest.fixture(scope="module")
def keyed(tmp_path_factory: pytest.TempPathFactory, configuration: str) -> Iterator[LamplighterProcess]:
    settings = "drain_timeout: 1s, trusted_proxies: [127.0.0.2]"
    environ = {"LAMPLIGHTER_KEYS": ADMIN}
    folder = tmp_path_factory.mktemp("keyed")
    with lamplighter(folder, configuration, page=True, environ=environ, server=settings) as one:
        yield one


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, configuration: str) -> Iterator[LamplighterProcess]:
    with lamplighter(tmp_path_factory.mktemp("open"), configuration, page=True) as one:
        yield one


@contextlib.contextmanager
def signed_in(server: LamplighterProcess, key: str = ADMIN) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=server.url, headers={"origin": server.url}) as client:
        answer = client.post("/sign-in", data={"key": key})
        assert answer.status_code == 303, answer.text
        yield client


def made_key(server: LamplighterProcess, name: str, role: str) -> str:
    headers = {"authorization": f"Bearer {ADMIN}"}
    answer = httpx2.post(f"{server.url}/api/keys", json={"name": name, "role": role}, headers=headers)
    assert answer.is_success, answer.text
    return str(answer.json()["secret"])


def sent(server: LamplighterProcess, head: str, body: bytes = b"", source: str = "127.0.0.1") -> bytes:
    """What comes back for a request that is written by hand."""
    port = int(server.url.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), timeout=10, source_address=(source, 0)) as line:
        line.sendall(head.replace("\n", "\r\n").encode() + b"\r\n\r\n" + body)
        return b"".join(iter(lambda: line.recv(65536), b""))


ADDRESSES = (
    "/",
    "/page/board",
    "/page/rest/api/endpoints/status",
    "/page/rest/endpoints/chat/",
    "/page%2Frest/api/endpoints/status",
    "/_nicegui_ws/",
    "/_nicegui_ws/socket.io/?EIO=4&transport=polling",
    "/_nicegui_ws/other",
    "/_nicegui/other",
    "/_nicegui/client/x/upload/1",
    "/_nicegui/auto-index/x",
    "/_nicegui/3.18.0/static/../../nicegui.py",
    "/_nicegui/3.18.0/static/%2e%2e/nicegui.py",
    "/_nicegui/3.18.0/static/..%2fnicegui.py",
    "/page/assets/../site.py",
    "/page/assets/%2e%2e/site.py",
)


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "OPTIONS", "TRACE"])
def test_who_is_not_signed_in_is_told_nothing_but_where_to_do_so(keyed, method):
    for address in ADDRESSES:
        answer = sent(keyed, f"{method} {address} HTTP/1.1\nhost: x\norigin: http://x\nconnection: close")
        head = answer.partition(b"\r\n\r\n")[0]
        assert int(head.split()[1]) in {303, 401, 403, 404, 405}, (address, head)
        assert b"def " not in answer
        assert b"client_id" not in answer


def test_what_a_stranger_asks_of_the_toolkit_costs_no_memory_and_no_line_of_the_log(keyed):
    process, lines = psutil.Process(keyed.process.pid), len(keyed.lines)
    with httpx2.Client(base_url=keyed.url) as client:
        for at in range(900):
            if at == 300:  # what is made once is there
                before = process.memory_info().rss
            client.get(f"/_nicegui/x{at}")
            client.get(f"/_nicegui/3.18.0/static/x{at}.js")
        assert process.memory_info().rss - before < 12_000_000  # a document that was drawn for each took 40 MB
    assert len(keyed.lines) == lines


@pytest.mark.parametrize(
    "place",
    [
        "//evil.example",
        "/\\evil.example",
        "https://evil.example",
        "/%09/evil.example",
        "javascript:alert(1)",
        "///x",
        "/\r\nx: y",
    ],
)
def test_signing_in_leads_nowhere_else(keyed, place):
    with httpx2.Client(base_url=keyed.url, headers={"origin": keyed.url}) as client:
        answer = client.post("/sign-in", params={"next": place}, data={"key": ADMIN})
        assert answer.status_code == 303
        assert answer.headers["location"] == "/"


def test_no_page_of_another_site_signs_anybody_in_or_out(keyed):
    with signed_in(keyed) as client:
        for origin in ("http://evil.example", "null", ""):
            headers = {"origin": origin}
            assert client.post("/sign-in", data={"key": ADMIN}, headers=headers).status_code == 403
            assert client.post("/sign-out", headers=headers).status_code == 403
        assert client.get("/").status_code == 200


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_a_link_from_another_site_reads_nothing_through_the_page(keyed, site):
    with signed_in(keyed) as client:
        headers = {"sec-fetch-site": site, "origin": keyed.url}
        del client.headers["origin"]
        del headers["origin"]
        assert client.get("/page/rest/api/keys", headers=headers).status_code == 403
        assert client.get("/page/board", headers=headers).status_code == 403


def test_every_answer_keeps_a_browser_careful(keyed):
    with signed_in(keyed) as client:
        for path in (
            "/",
            "/sign-in",
            "/page/board",
            "/page/rest/api/endpoints/status",
            "/page/x",
            "/favicon.ico",
            "/page/rest/api/none",
        ):
            headers = client.get(path).headers
            assert headers["x-frame-options"] == "DENY", path
            assert headers["x-content-type-options"] == "nosniff", path
            assert headers.get_list("referrer-policy") == ["same-origin"], path
        for path in ("/", "/page/board", "/page/rest/api/endpoints/status"):
            assert client.get(path).headers["cache-control"] == "no-store", path
        policy = client.get("/").headers["content-security-policy"]
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy


def test_nothing_of_a_request_is_repeated_in_a_document(keyed):
    with signed_in(keyed) as client:
        headers = {
            "x-forwarded-prefix": "/evil",
            "accept": "text/markdown",
            "user-agent": "GPTBot",
            "accept-language": "evil",
        }
        answer = client.get("/", params={"evil": MARKUP}, headers=headers)
        assert answer.headers["content-type"].startswith("text/html")
        assert "evil" not in answer.text
        assert "alert" not in answer.text


def test_a_role_reaches_no_more_through_the_page_than_without(keyed):
    key = made_key(keyed, "caller", "infer")
    shown = {"authorization": f"Bearer {key}"}
    calls = [
        ("GET", "/api/keys"),
        ("POST", "/api/endpoints/wake/chat"),
        ("GET", "/api/endpoints/status"),
        ("GET", "/api/audit"),
        ("DELETE", "/v2/endpoint/lamplighter/chat"),
        ("POST", "/api/keys"),
        ("GET", "/metrics"),
        ("GET", "/v1/models"),
    ]
    with signed_in(keyed, key) as client:
        for method, path in calls:
            through = client.request(method, f"/page/rest{path}").status_code
            assert through == httpx2.request(method, f"{keyed.url}{path}", headers=shown).status_code, path
        smuggled = {"authorization": f"Bearer {ADMIN}", "x-api-key": ADMIN}
        assert client.get("/page/rest/api/keys", headers=smuggled).status_code == 403
        assert client.get("/page/board").status_code == 404


def test_an_address_that_is_written_two_ways_leads_nowhere(keyed):
    with signed_in(keyed) as client:
        for path in ("/page%2Frest/api/endpoints/status", "/%70age/rest/api/endpoints/status"):
            assert client.get(path).status_code == 404
        assert client.get("/page/rest/%61pi/endpoints/status").status_code == 200


def test_what_an_engine_answers_is_inert_when_it_is_opened(keyed):
    with signed_in(keyed) as client:
        answer = client.get("/page/rest/endpoints/chat/ui")
        assert answer.content == HTML
        assert answer.headers.get_list("content-security-policy") == [
            "default-src 'none'; frame-ancestors 'none'; sandbox"
        ]


def test_an_engines_own_page_has_no_part_in_this_site(server):
    navigation = {"upgrade-insecure-requests": "1", "accept": "text/html"}
    answer = httpx2.get(f"{server.url}/endpoints/chat/ui", headers=navigation)
    assert answer.content == HTML
    assert "sandbox" in answer.headers.get_list("content-security-policy")
    assert "sandbox" not in httpx2.get(f"{server.url}/endpoints/chat/ui").headers.get_list("content-security-policy")


def test_a_stream_that_the_page_stops_reading_frees_its_engine(keyed):
    Engine.left.clear()
    with signed_in(keyed) as client, client.stream("GET", "/page/rest/endpoints/chat/stream") as answer:
        assert next(answer.iter_raw())
    assert Engine.left.wait(10)
    headers = {"authorization": f"Bearer {ADMIN}"}
    status = f"{keyed.url}/api/endpoints/status/chat"
    eventually(lambda: httpx2.get(status, headers=headers).json()["endpoint"]["in_flight"] == 0, "end")


def cookie_of(answer: bytes) -> str:
    return next(line.decode() for line in answer.split(b"\r\n") if line.lower().startswith(b"set-cookie:"))


@pytest.mark.parametrize(
    ("source", "said", "origin", "secure"),
    [
        ("127.0.0.1", "https", "http://page.example", False),  # anybody can say that
        ("127.0.0.2", "https", "http://page.example", True),
        ("127.0.0.2", "http", "http://page.example", False),
        ("127.0.0.1", "http", "https://page.example", True),  # the browser itself says where its page came from
    ],
)
def test_a_cookie_is_secure_behind_https_as_a_trusted_proxy_tells(keyed, source, said, origin, secure):
    body = f"key={ADMIN}".encode()
    head = (
        f"POST /sign-in HTTP/1.1\nhost: page.example\norigin: {origin}\nx-forwarded-proto: {said}\n"
        f"connection: close\ncontent-length: {len(body)}"
    )
    answer = sent(keyed, head, body, source)
    assert b" 303 " in answer, answer
    cookie = cookie_of(answer)
    assert cookie.endswith("; Secure") is secure
    assert ("__Host-" in cookie) is secure


@pytest.mark.parametrize(
    "head",
    [
        "POST /sign-in HTTP/1.1\nhost: {host}\norigin: http://{host}\ntransfer-encoding: chunked\ncontent-length: 4",
        "POST /sign-in HTTP/1.1\nhost: {host}\norigin: http://{host}\ncontent-length: 4\ncontent-length: 5",
        "POST /sign-in HTTP/1.1\nhost: {host}\norigin: http://{host}\ntransfer-encoding: xchunked\nconnection: close",
        "POST /sign-in HTTP/1.1\nhost: {host}\nhost: evil.example\norigin: http://evil.example\ncontent-length: 0\nconnection: close",
    ],
)
def test_a_request_that_can_be_read_two_ways_is_refused(keyed, head):
    answer = sent(keyed, head.format(host=keyed.url.partition("://")[2]), b"0\r\n\r\nGET / HTTP/1.1\r\n\r\n")
    assert int(answer.split()[1]) in {400, 403}
    assert b" 303 " not in answer


def test_bodies_without_end_are_cut_short(keyed):
    host = keyed.url.partition("://")[2]
    process = psutil.Process(keyed.process.pid)
    with signed_in(keyed) as client:
        cookie = f"lamplighter_session={client.cookies['lamplighter_session']}"
        before = process.memory_info().rss
        body = b"".join(b"100000\r\n" + b"a" * 0x100000 + b"\r\n" for _ in range(30)) + b"0\r\n\r\n"
        for path in (
            "/sign-in",
            "/",
            "/page/board",
            "/_nicegui_ws/socket.io/?EIO=4&transport=polling&sid=x",
        ):
            head = f"POST {path} HTTP/1.1\nhost: {host}\norigin: http://{host}\ncookie: {cookie}\nconnection: close\ntransfer-encoding: chunked"
            with contextlib.suppress(OSError):  # it hangs up
                assert sent(keyed, head, body).split()[1] in {b"400", b"404", b"405", b"303"}
        assert process.memory_info().rss - before < 20_000_000


def test_sockets_take_only_this_servers_page_by_its_own_name(server):
    from websockets.exceptions import InvalidHandshake  # noqa: PLC0415 - comes with the page
    from websockets.sync.client import connect  # noqa: PLC0415

    port = server.url.rpartition(":")[2]
    place = "/_nicegui_ws/socket.io/?EIO=4&transport=websocket"
    with connect(f"ws://127.0.0.1:{port}{place}", origin=server.url) as one:
        assert str(one.recv()).startswith("0{")
    neighbours = (f"http://127.0.0.1:{int(port) + 1}", f"http://localhost:{port}")
    origins: list[Any] = [None, "null", "http://evil.example", *neighbours]
    for origin in origins:
        with pytest.raises(InvalidHandshake), connect(f"ws://127.0.0.1:{port}{place}", origin=origin):
            pass
    for path in ("/_nicegui_ws/", "/_nicegui_ws/other", "/_nicegui_ws/socket.io", "/_nicegui_ws/socket.io/x"):
        with pytest.raises(InvalidHandshake), connect(f"ws://127.0.0.1:{port}{path}", origin=server.url):
            pass
    rebound = (
        f"GET {place} HTTP/1.1\nhost: evil.example:{port}\norigin: http://evil.example:{port}\nupgrade: websocket\n"
        "connection: upgrade\nsec-websocket-version: 13\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA=="
    )
    assert int(sent(server, rebound).split()[1]) in {403, 421}
    assert not [line for line in server.lines if "Traceback" in line]


def test_a_site_whose_name_was_pointed_here_is_refused(server):
    host = f"evil.example:{server.url.rpartition(':')[2]}"
    headers = {"host": host, "origin": f"http://{host}"}
    for method, path in (("GET", "/"), ("GET", "/page/board"), ("POST", "/page/rest/api/endpoints/wake/chat")):
        assert httpx2.request(method, server.url + path, headers=headers).status_code == 421
    polling = "/_nicegui_ws/socket.io/?EIO=4&transport=polling"
    assert httpx2.get(server.url + polling, headers=headers).status_code == 421


def test_sockets_have_a_bound_whichever_way_they_come(server):
    place = "/_nicegui_ws/socket.io/?EIO=4&transport=polling"
    with httpx2.Client(base_url=server.url, headers={"origin": server.url}) as client:
        first = client.get(place)
        assert first.status_code == 200
        sid = json.loads(first.text[1:])["sid"]
        statuses = [client.get(place).status_code for _ in range(1001)]
        assert statuses[-1] == 503
        assert client.post(f"{place}&sid={sid}", content="40").status_code == 200  # who is there stays
        assert client.get("/").status_code == 200


def test_a_session_that_was_ended_stays_so_over_a_restart(tmp_path, configuration):
    environ = {"LAMPLIGHTER_KEYS": ADMIN}
    with (
        lamplighter(tmp_path, configuration, page=True, environ=environ) as first,
        signed_in(first) as client,
        signed_in(first) as other,
    ):
        kept = client.cookies["lamplighter_session"]
        stays = other.cookies["lamplighter_session"]
        assert client.post("/sign-out").status_code == 303
        (written,) = (tmp_path / "data" / "page").glob("signed-out*")
        assert written.stat().st_mode & 0o077 == 0
    with lamplighter(tmp_path, configuration, page=True, environ=environ) as second:
        for value, status in ((kept, 303), (stays, 200)):
            headers = {"cookie": f"lamplighter_session={value}"}
            assert httpx2.get(second.url, headers=headers).status_code == status


BLOCKED = """
import sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == {missing!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Blocker())
"""


@pytest.mark.parametrize("missing", ["nicegui", "websockets"])
def test_a_server_without_the_pages_package_says_so_in_a_line_and_serves_on(tmp_path, configuration, missing):
    modules: Path = tmp_path / "modules"
    modules.mkdir()
    (modules / "sitecustomize.py").write_text(BLOCKED.format(missing=missing))
    environ = {"PYTHONPATH": os.pathsep.join(filter(None, (str(modules), os.environ.get("PYTHONPATH", ""))))}
    probe = [sys.executable, "-c", f"import {missing}"]
    assert subprocess.run(probe, env={**os.environ, **environ}, capture_output=True, check=False).returncode != 0
    with lamplighter(tmp_path, configuration, page=True, environ=environ) as server:
        said = [json.loads(line) for line in server.lines if "lamplighter[page]" in line]
        assert [(one["level"], one["missing"]) for one in said] == [("warning", missing)]
        assert httpx2.get(f"{server.url}/api/endpoints/status").status_code == 200
        assert httpx2.get(server.url).status_code == 404
        assert httpx2.get(f"{server.url}/endpoints/chat/ui").content == HTML
