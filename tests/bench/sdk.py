"""How soon a client notices that an endpoint is ready, what listing a thousand costs, and what importing the SDK costs.

Starts are waited for side by side with `huggingface_hub`'s own `resume` and `wait`, at the same server, with engines
that become ready after times which are spread evenly, so that nobody's interval is favoured.
"""

from __future__ import annotations

import contextlib
import os
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import psutil
from huggingface_hub import HfApi, constants

from lamplighter import Client
from tests.acceptance.harness import LamplighterProcess, lamplighter
from tests.bench.report import Figure
from tests.bench.tools import processor_time

STARTS = 12
SHORTEST, LONGEST = 7.0, 17.0
"""Seconds that starts take."""

ENDPOINTS = 1000
LISTINGS = 5
ROUNDS = 15
ROOT = Path(__file__).parents[2]

_STATUS = re.compile(r"/v2/endpoint/[^/]+/([^/]+)$")
_HOLD = "X-Scale-Up-Timeout"


def measure() -> Iterator[Figure]:
    """All figures of this group, in about a minute and a half."""
    yield _import_cost()
    with tempfile.TemporaryDirectory() as name:
        os.environ["XDG_STATE_HOME"] = f"{name}/state"
        yield from _starts(Path(name))
        yield from _listing(Path(name))


# Importing.


def _import_cost() -> Figure:
    command = [sys.executable, "-c", "from lamplighter import Client"]
    costs = []
    for _ in range(ROUNDS):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(command, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        costs.append((after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) * 1000)
    return Figure(
        figure="processor time of `from lamplighter import Client`, interpreter included",
        value=statistics.median(costs),
        unit="ms",
        target=80,
    )


# Starting.


class _Calls:
    """Counts status calls by endpoint, and takes the wish to be held from probes of those that are named `deaf-…`."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}
        self._lock = threading.Lock()

    def see(self, request: httpx2.Request) -> None:
        found = _STATUS.search(request.url.path)
        if found and request.method == "GET":
            with self._lock:
                self.counts[found[1]] = self.counts.get(found[1], 0) + 1
        if "/endpoints/deaf-" in request.url.path:
            request.headers.pop(_HOLD, None)

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Watch both clients at the one place that both go through."""
        plain, asynchronous = httpx2.Client.send, httpx2.AsyncClient.send

        def send(client: httpx2.Client, request: httpx2.Request, **options: Any) -> httpx2.Response:
            self.see(request)
            return plain(client, request, **options)

        async def asend(client: httpx2.AsyncClient, request: httpx2.Request, **options: Any) -> httpx2.Response:
            self.see(request)
            return await asynchronous(client, request, **options)

        httpx2.Client.send, httpx2.AsyncClient.send = send, asend  # type: ignore[method-assign, assignment, unused-ignore]
        try:
            yield
        finally:
            httpx2.Client.send, httpx2.AsyncClient.send = plain, asynchronous  # type: ignore[method-assign, assignment, unused-ignore]


def _starts(folder: Path) -> Iterator[Figure]:
    notes = folder / "starts"
    notes.mkdir()
    kinds = ("ours", "theirs", "deaf")
    lines = [_endpoint(f"{kind}-{number}", _seconds(number), notes) for kind in kinds for number in range(STARTS)]
    with lamplighter(notes, "endpoints:\n" + "".join(lines), environ={"PYTHONPATH": str(ROOT)}) as server:
        calls = _Calls()
        with calls.watching(), Client(server.url) as client:
            for number in range(STARTS):
                for kind in kinds:
                    client.pause(f"{kind}-{number}")
            theirs = _their_start(server)
            first = _race({"ours": client.start, "theirs": theirs, "deaf": client.start}, notes)
            for number in range(STARTS):
                client.stop(f"deaf-{number}")
                client.wait(f"deaf-{number}", until="sleeping")
                (notes / f"deaf-{number}.notes").unlink()
            again = _race({"deaf": client.start}, notes)
    minutes = sum(_seconds(number) for number in range(STARTS)) / 60
    per_minute = {
        kind: sum(count for name, count in calls.counts.items() if name.startswith(f"{kind}-")) / minutes
        for kind in ("ours", "theirs")
    }
    yield Figure(
        figure=f"ready to noticed by `start`, median of {STARTS}",
        value=statistics.median(first["ours"]),
        unit="s",
        target=0.5,
        against="`huggingface_hub` resume and wait",
        against_value=statistics.median(first["theirs"]),
    )
    yield Figure(
        figure="status calls per minute of waiting",
        value=per_minute["ours"],
        unit="",
        against="`huggingface_hub` resume and wait",
        against_value=per_minute["theirs"],
        max_ratio=1.0,
    )
    figure = f"ready to noticed where no proxy holds the question, median of {STARTS}"
    yield Figure(figure=f"{figure}, first start", value=statistics.median(first["deaf"]), unit="s")
    yield Figure(figure=f"{figure}, second start", value=statistics.median(again["deaf"]), unit="s", target=0.5)


def _seconds(number: int) -> float:
    return SHORTEST + (LONGEST - SHORTEST) * number / STARTS


def _endpoint(name: str, seconds: float, folder: Path) -> str:
    words = [sys.executable, "-m", "tests.bench.engine", "{port}", f"{seconds:g}", str(folder / f"{name}.notes")]
    return f"  {name}: {{command: {words}, idle_timeout: 10m}}\n"


def _their_start(server: LamplighterProcess) -> Callable[[str], object]:
    constants.INFERENCE_ENDPOINTS_ENDPOINT = f"{server.url}/v2"
    api = HfApi(endpoint=server.url, token="unused")

    def start(name: str) -> object:
        endpoint = api.get_inference_endpoint(name, namespace="lamplighter")
        endpoint.resume()
        return endpoint.wait(timeout=120)

    return start


def _race(starts: dict[str, Callable[[str], object]], notes: Path) -> dict[str, list[float]]:
    """Start all at once; tells by kind how long after its ready moment each one was noticed (seconds)."""

    def noticed(start: Callable[[str], object], name: str) -> float:
        start(name)
        return time.monotonic()

    with ThreadPoolExecutor(STARTS * len(starts)) as pool:
        jobs = {
            (kind, number): pool.submit(noticed, start, f"{kind}-{number}")
            for kind, start in starts.items()
            for number in range(STARTS)
        }
        moments = {key: job.result(180) for key, job in jobs.items()}
    return {
        kind: [moments[kind, number] - _ready(notes / f"{kind}-{number}.notes") for number in range(STARTS)]
        for kind in starts
    }


def _ready(notes: Path) -> float:
    return next(float(line.split()[1]) for line in notes.read_text().splitlines() if line.startswith("ready"))


# Listing.


def _listing(folder: Path) -> Iterator[Figure]:
    place = folder / "listing"
    place.mkdir()
    endpoints = "".join(f"  e{n}: {{command: [sleep, '1000'], provider: memory}}\n" for n in range(ENDPOINTS))
    configuration = f"providers: {{memory: {{}}}}\nendpoints:\n{endpoints}"
    with lamplighter(place, configuration) as server, Client(server.url) as client:
        process = psutil.Process(server.process.pid)
        client.list()
        waits, costs = [], []
        for _ in range(LISTINGS):
            cost, began = processor_time(process), time.monotonic()
            assert len(client.list()) == ENDPOINTS
            waits.append(time.monotonic() - began)
            costs.append(processor_time(process) - cost)
    whole, own = statistics.median(waits), statistics.median(costs)
    yield Figure(figure=f"listing {ENDPOINTS} endpoints, the server's time included", value=whole, unit="s")
    beside = max(0.0, whole - own)
    yield Figure(
        figure=f"listing {ENDPOINTS} endpoints, beside the server's own time", value=beside, unit="s", target=1
    )
