"""How a server starts and ends when it is not let alone: signals in every phase, addresses that are taken."""

from __future__ import annotations

import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx2
import pytest

from tests.acceptance.harness import LamplighterProcess, eventually, lamplighter

pytestmark = pytest.mark.acceptance

NEVER_READY = "endpoints:\n  slow: {command: [sleep, '1000'], start_timeout: 60s}\n"
READY = """
endpoints:
  quick:
    command: [python3, -m, http.server, "{port}", --bind, 127.0.0.1]
    health_route: /
"""
STUBBORN = """
endpoints:
  stubborn:
    command: [sh, -c, "trap '' TERM; python3 -m http.server {port} --bind 127.0.0.1 & wait; wait; sleep 100"]
    health_route: /
    stop_grace: 1s
"""
HELD = {"model": "slow", "messages": []}


def held(server: LamplighterProcess) -> httpx2.Response:
    return httpx2.post(f"{server.url}/v1/chat/completions", json=HELD, timeout=60)


def test_a_second_signal_does_not_wait_for_held_requests(tmp_path: Path) -> None:
    with lamplighter(tmp_path, NEVER_READY, server="drain_timeout: 60s") as server, ThreadPoolExecutor() as threads:
        waiting = threads.submit(held, server)
        eventually(lambda: server.status("slow")["waiting"] == 1, "a request is held")
        began = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        server.await_line(lambda line: "shutting down" in line, "word of the shutdown")
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(20) == 0
        assert time.monotonic() - began < 20
        assert waiting.result(5).status_code == 503
        assert not server.engines()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_while_the_server_starts_ends_it_quietly(tmp_path: Path, number: signal.Signals) -> None:
    server = LamplighterProcess(tmp_path, NEVER_READY).launch()
    eventually((server.data / "lamplighter.db").exists, "it has begun to start")
    assert server.stop(number) == 0
    assert not [line for line in server.lines if "Traceback" in line]
    assert not server.engines()


def test_a_signal_while_an_engine_ignores_its_own_ends_both(tmp_path: Path) -> None:
    with lamplighter(tmp_path, STUBBORN) as server:
        server.wake("stubborn")
        assert server.engines()
        httpx2.post(f"{server.url}/api/endpoints/sleep/stubborn", timeout=10).raise_for_status()
        assert server.stop() == 0
        assert not server.engines()


def test_engines_that_are_to_be_left_are_adopted_by_the_next_server(tmp_path: Path) -> None:
    with lamplighter(tmp_path, READY, server="on_shutdown: leave") as server:
        server.wake("quick")
        before = {engine.pid for engine in server.engines()}
        assert server.stop() == 0
        assert {engine.pid for engine in server.engines()} == before
        server.start()
        assert server.status("quick")["status"] == "running"
        assert {engine.pid for engine in server.engines()} == before


def test_an_address_that_is_taken_is_said_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "first").mkdir()
    (tmp_path / "second").mkdir()
    with lamplighter(tmp_path / "first", NEVER_READY) as server:
        port = int(server.url.rpartition(":")[2])
        second = LamplighterProcess(tmp_path / "second", NEVER_READY, port=port).launch()
        assert second.process.wait(20) == 1
        second.await_line(lambda line: line == "", "its end")
        assert [line for line in second.lines if line] == [
            f"error: Can't listen on 127.0.0.1 port {port}: Address already in use. Try another --port.\n"
        ]
