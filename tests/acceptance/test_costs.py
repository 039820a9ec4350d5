"""A real server fills the ledger: what it charges is the price times the seconds that its engine was awake."""

from __future__ import annotations

import asyncio
import sys
import time
from decimal import Decimal
from pathlib import Path

import httpx2
import pytest

from lamplighter.domain.calendar import Calendar
from lamplighter.domain.ledger import Kind
from lamplighter.domain.money import dollars, nanos
from lamplighter.domain.timeline import micros
from lamplighter.store import Store
from lamplighter.store.charging import Terms
from lamplighter.store.costing import CostFilter, CostRow
from tests.acceptance.harness import LamplighterProcess, eventually, lamplighter

pytestmark = pytest.mark.acceptance

PRICE = Decimal(3600)  # a dollar a second

ENGINE = """
import http.server, sys, time
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        self.answer(b"{}")
    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        time.sleep(1.0)
        self.answer(b'{"usage": {"prompt_tokens": 3, "completion_tokens": 5}, "choices": []}')
    def answer(self, body):
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *args):
        pass
time.sleep(0.5)
http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


def configuration(folder: Path) -> str:
    engine = folder / "engine.py"
    engine.write_text(ENGINE)
    return f"""
endpoints:
  chat:
    command: [{sys.executable}, {engine}, "{{port}}"]
    health_route: /health
    idle_timeout: 5m
    price_per_hour: {PRICE}
"""


def ask(server: LamplighterProcess) -> None:
    body = {"model": "chat", "messages": []}
    httpx2.post(f"{server.url}/v1/chat/completions", json=body, timeout=30).raise_for_status()


def charged(database: Path) -> list[CostRow]:
    """What the ledger comes to, from what the server has left on the disk."""

    async def read() -> list[CostRow]:
        store = await Store.open(database)
        try:
            terms = Terms(calendar=Calendar(), prices={"chat": [(0, nanos(PRICE))]})
            return await store.costs(CostFilter(by=("cause",)), micros(time.time()), terms, list)
        finally:
            await store.close()

    return asyncio.run(read())


def of(rows: list[CostRow], *kinds: Kind) -> float:
    return float(dollars(sum(row.nanos for row in rows if row.kind in kinds)))


PAID = (Kind.COLD_START, Kind.SERVING, Kind.IDLE)


def test_what_is_charged_is_the_price_times_the_seconds_awake(tmp_path: Path) -> None:
    with lamplighter(tmp_path, configuration(tmp_path)) as server:
        eventually(lambda: bool(server.rows("select 1 from quotes where subject = 'chat'")), "a price on record", 20)
        began = time.monotonic()
        ask(server)
        cold = time.monotonic() - began - 1.0
        ask(server)
        served = time.monotonic()
        server.sleep("chat")
        ended = time.monotonic()
        assert server.stop() == 0
    rows = charged(server.data / "lamplighter.db")
    assert of(rows, *PAID) == pytest.approx(ended - began, abs=1.0)
    assert of(rows, Kind.COLD_START) == pytest.approx(cold, abs=0.5)
    assert of(rows, Kind.SERVING) == pytest.approx(2.0, abs=0.3)
    assert of(rows, Kind.IDLE) == pytest.approx(ended - served, abs=0.8)
    assert sum(row.requests for row in rows) == 2
    assert (sum(row.tokens_in for row in rows), sum(row.tokens_out for row in rows)) == (6, 10)
    assert {row.group for row in rows if row.kind is not Kind.ALWAYS} == {("key:anybody",)}


def test_a_server_that_is_killed_goes_on_billing_what_it_left_running(tmp_path: Path) -> None:
    with lamplighter(tmp_path, configuration(tmp_path)) as server:
        began = time.monotonic()
        ask(server)
        server.kill()
        server.start()
        eventually(lambda: server.status("chat")["status"] == "running", "the engine is adopted")
        server.sleep("chat")
        ended = time.monotonic()
        assert server.stop() == 0
    rows = charged(server.data / "lamplighter.db")
    assert of(rows, *PAID) == pytest.approx(ended - began, abs=1.0)
    assert not any(row.estimated for row in rows)
