"""What the page makes a person wait for, and what 50 open ones cost the gateway: the same requests with and without."""

from __future__ import annotations

import contextlib
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil

from tests.acceptance.harness import LamplighterProcess, lamplighter
from tests.bench import nginx, views, wrk
from tests.bench.report import Figure, Skipped
from tests.bench.tools import ROOT, processor_time

PAGES = 50
ENDPOINTS = 100
MANY = 1000
ROUNDS = 7
SECONDS = 2
CONNECTIONS = 32
UPSTREAM_IS_NEVER_ASKED = 9


def measure() -> Iterator[Figure | Skipped]:
    """All figures of this group, in about two minutes."""
    yield from _seen()
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        _, direct = stack.enter_context(nginx.endpoint(folder))
        watched = stack.enter_context(_server(folder / "watched", direct))
        alone = stack.enter_context(_server(folder / "alone", direct))
        pages = stack.enter_context(_pages(watched))
        rates: dict[str, list[float]] = {"watched": [], "alone": []}
        costs: dict[str, list[float]] = {"watched": [], "alone": []}
        for _ in range(ROUNDS):
            for kind, server in (("watched", watched), ("alone", alone)):
                process = psutil.Process(server.process.pid)
                before = processor_time(process)
                load = wrk.run(folder, _port(server), connections=CONNECTIONS, seconds=SECONDS)
                rates[kind].append(load.per_second)
                costs[kind].append((processor_time(process) - before) / load.requests * 1e6)
        heard = _ask(pages)
    rate = {kind: statistics.median(values) for kind, values in rates.items()}
    cost = {kind: statistics.median(values) for kind, values in costs.items()}
    yield Figure(
        figure=f"requests a second with {PAGES} open pages, beside none",
        value=round(rate["watched"]),
        unit="1/s",
        against="no page",
        against_value=round(rate["alone"]),
    )
    lost = (1 - rate["watched"] / rate["alone"]) * 100
    yield Figure(figure=f"requests a second lost to {PAGES} open pages", value=round(lost, 1), unit="%", target=10)
    yield Figure(
        figure=f"processor time a request with {PAGES} open pages",
        value=round(cost["watched"], 1),
        unit="µs",
        against="no page",
        against_value=round(cost["alone"], 1),
    )
    yield Figure(figure="changes that each page was told", value=round(heard / PAGES), unit="messages")


def _seen() -> Iterator[Figure | Skipped]:
    """What is seen of the page, with nothing else going on."""
    for endpoints in (ENDPOINTS, MANY):
        with (
            tempfile.TemporaryDirectory() as name,
            _server(Path(name) / "seen", UPSTREAM_IS_NEVER_ASKED, endpoints) as server,
        ):
            yield from views.measure(server, endpoints, changing="other-0")


@contextlib.contextmanager
def _server(folder: Path, upstream: int, endpoints: int = ENDPOINTS) -> Iterator[LamplighterProcess]:
    folder.mkdir()
    others = "".join(f"  other-{at}: {{provider: memory, command: [none]}}\n" for at in range(endpoints - 1))
    configuration = f"""
providers: {{memory: {{options: {{start_delay: 0, url: "http://127.0.0.1:{upstream}"}}}}}}
endpoints:
  {wrk.NAME}: {{provider: memory, command: [none], keep_warm: true}}
{others}"""
    with lamplighter(folder, configuration, environ={"LAMPLIGHTER_KEYS": wrk.KEY}, page=True) as server:
        yield server


@contextlib.contextmanager
def _pages(server: LamplighterProcess) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "tests.bench.pages", server.url, str(PAGES), wrk.KEY]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "open\n"
            yield process
        finally:
            process.terminate()


def _ask(process: subprocess.Popen[str]) -> int:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write("\n")
    process.stdin.flush()
    return int(process.stdout.readline())


def _port(server: LamplighterProcess) -> int:
    return int(server.url.rpartition(":")[2])
