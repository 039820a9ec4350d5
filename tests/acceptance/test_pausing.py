"""A pause over the wire, with real processes: what is in flight ends, nobody else comes in, and no restart undoes it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx2
import pytest

from tests.acceptance.harness import LamplighterProcess, eventually, lamplighter

pytestmark = pytest.mark.acceptance

SLOW = """
import http.server, sys, time

class Slow(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        time.sleep(3 if self.path == "/slow" else 0)
        self.send_response(200)
        self.send_header("content-length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Slow).serve_forever()
"""
ENDPOINT = """
endpoints:
  quick: {{command: [python3, {script}, "{{port}}"], health_route: /health}}
"""
PAUSED = {
    "error": "Bad Request: The endpoint is paused, ask a maintainer to restart it",
    "code": "BAD_REQUEST",
    "reason": "endpoint_paused",
}


def configuration(folder: Path) -> str:
    (folder / "slow.py").write_text(SLOW)
    return ENDPOINT.format(script=folder / "slow.py")


def operate(server: LamplighterProcess, verb: str) -> str:
    answer = httpx2.post(f"{server.url}/v2/endpoint/lamplighter/quick/{verb}", timeout=10)
    answer.raise_for_status()
    return str(answer.json()["status"]["state"])


def ask(server: LamplighterProcess, path: str, **headers: str) -> httpx2.Response:
    return httpx2.get(f"{server.url}/endpoints/quick{path}", headers=headers, timeout=60)


def test_a_pause_lets_what_is_in_flight_end_and_outlasts_a_killed_server(tmp_path: Path) -> None:
    with lamplighter(tmp_path, configuration(tmp_path)) as server, ThreadPoolExecutor() as threads:
        server.wake("quick")
        running = threads.submit(ask, server, "/slow")
        eventually(lambda: server.status("quick")["in_flight"] == 1, "a request is in flight")
        operate(server, "pause")
        refused = ask(server, "/other")
        assert (refused.status_code, refused.json()) == (400, PAUSED)
        assert running.result(10).text == "ok"
        eventually(lambda: not server.engines(), "its engine has ended")
        server.kill()
        server.start()
        assert ask(server, "/health", **{"X-Scale-Up-Timeout": "30"}).status_code == 400
        assert ask(server, "/other").json() == PAUSED
        assert server.status("quick")["state"] == "paused"
        assert not server.engines()
        operate(server, "scale-to-zero")
        assert ask(server, "/other").text == "ok", "the next request wakes it"


def test_an_engine_that_a_killed_server_left_is_paused_by_the_next_one(tmp_path: Path) -> None:
    with lamplighter(tmp_path, configuration(tmp_path)) as server, ThreadPoolExecutor() as threads:
        server.wake("quick")
        cut = threads.submit(ask, server, "/slow")
        eventually(lambda: server.status("quick")["in_flight"] == 1, "a request is in flight")
        operate(server, "pause")
        server.kill()
        with pytest.raises(httpx2.HTTPError):
            cut.result(10)
        assert server.engines()
        server.start()
        eventually(lambda: not server.engines(), "what was to be paused has ended")
        assert server.status("quick")["state"] == "paused"


def test_a_held_probe_notices_a_start_at_once_and_causes_none(tmp_path: Path) -> None:
    with lamplighter(tmp_path, configuration(tmp_path)) as server, ThreadPoolExecutor() as threads:
        probe = threads.submit(ask, server, "/health", **{"X-Scale-Up-Timeout": "30"})
        with pytest.raises(TimeoutError):
            probe.result(0.5)
        assert not server.engines()
        server.wake("quick")
        assert probe.result(1).status_code == 200
        assert server.status("quick")["last_activity"] is None
