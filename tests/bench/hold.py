"""A cold start under load: who is answered, what a held request costs, and how soon the first one is sent."""

from __future__ import annotations

import asyncio
import statistics
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil

from tests.acceptance.harness import LamplighterProcess, lamplighter
from tests.bench.report import Figure

REQUESTS = 2000
HOLD = 6.0
WAKES = 25
START = 0.5
ROOT = Path(__file__).parents[2]

_BODY = b'{"model":"%s","messages":[{"role":"user","content":"%s"}]}'


def measure() -> Iterator[Figure]:
    """All figures of this group, in about a minute."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with lamplighter(folder, _configuration(folder), environ={"PYTHONPATH": str(ROOT)}) as server:
            yield from _burst(server)
            yield _first_request(server, folder / "quick.notes")


def _configuration(folder: Path) -> str:
    def endpoint(name: str, seconds: float) -> str:
        words = [sys.executable, "-m", "tests.bench.engine", "{port}", f"{seconds:g}", str(folder / f"{name}.notes")]
        return f"  {name}: {{command: {words}, idle_timeout: 10m}}\n"

    return "endpoints:\n" + endpoint("slow", HOLD) + endpoint("quick", START)


def _burst(server: LamplighterProcess) -> Iterator[Figure]:
    process = psutil.Process(server.process.pid)
    server.wake("quick")  # everything is imported and warm
    asyncio.run(_send(server.url, "quick", 200))
    before = process.memory_info().rss
    answers, held = asyncio.run(_send(server.url, "slow", REQUESTS, process))
    starts = server.rows("select count(*) from starts where endpoint = 'slow'")[0][0]
    yield Figure(figure=f"starts caused by {REQUESTS} requests during one cold start", value=starts, unit="", target=1)
    lost = REQUESTS - sum(status == 200 for status in answers)
    yield Figure(figure=f"requests lost of {REQUESTS} held during one cold start", value=lost, unit="", target=0)
    cost = (held - before) / REQUESTS / 1000
    yield Figure(figure="memory per held request, its connection included", value=cost, unit="kB", target=20)


async def _send(url: str, model: str, count: int, watched: psutil.Process | None = None) -> tuple[list[int], int]:
    """Send `count` requests at once on connections of their own; tells the statuses and the watched process's memory."""
    calls = [asyncio.create_task(_request(url, model)) for _ in range(count)]
    held = 0
    if watched is not None:
        await asyncio.sleep(HOLD * 0.75)
        held = watched.memory_info().rss
    return await asyncio.gather(*calls), held


async def _request(url: str, model: str) -> int:
    host, _, port = url.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    body = _BODY % (model.encode(), b"x" * 250)
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: {host}\r\ncontent-length: {len(body)}\r\n\r\n"
    writer.write(head.encode() + body)
    status = await reader.readline()
    writer.close()
    return int(status.split(b" ")[1]) if status else 0


def _first_request(server: LamplighterProcess, notes: Path) -> Figure:
    """The time between the moment from which health answers 200 and the arrival of the held request."""
    server.sleep("quick")
    notes.unlink()
    for _ in range(WAKES):
        asyncio.run(_send(server.url, "quick", 1))
        server.sleep("quick")
    moments = [line.split() for line in notes.read_text().splitlines()]
    ready = [float(moment) for what, moment in moments if what == "ready"]
    first = [float(moment) for what, moment in moments if what == "first"]
    delays = [(came - was) * 1000 for was, came in zip(ready, first, strict=True)]
    return Figure(
        figure=f"ready to first held request sent, median of {WAKES}",
        value=statistics.median(delays),
        unit="ms",
        target=25,
    )
