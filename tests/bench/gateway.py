"""What the gateway costs: processor time per request and per streamed chunk, and the latency that it adds."""

from __future__ import annotations

import contextlib
import statistics
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil

from tests.acceptance.harness import lamplighter
from tests.bench import nginx, streams, wrk
from tests.bench.report import Figure
from tests.bench.tools import processor_time

KEY = wrk.KEY
NAME = wrk.NAME
CONNECTIONS = 32
ROUNDS = 9  # neighbours of a virtual machine come and go: the median of many short rounds
SECONDS = 2


def measure() -> Iterator[Figure]:
    """All figures of this group, in about a minute."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        yield from _requests(folder)
        yield _chunks()


@contextlib.contextmanager
def _gateway(upstream_port: int) -> Iterator[tuple[psutil.Process, int]]:
    """The whole server, with keys, usage records and its database, before an endpoint that is awake."""
    configuration = f"""
providers: {{memory: {{options: {{start_delay: 0, url: "http://127.0.0.1:{upstream_port}"}}}}}}
endpoints:
  {NAME}: {{provider: memory, command: [none], keep_warm: true, headers: {{Authorization: Bearer upstream-key}}}}
"""
    environ = {"LAMPLIGHTER_KEYS": KEY}
    with tempfile.TemporaryDirectory() as name, lamplighter(Path(name), configuration, environ=environ) as server:
        yield psutil.Process(server.process.pid), int(server.url.rpartition(":")[2])


def _requests(folder: Path) -> Iterator[Figure]:
    with (
        nginx.endpoint(folder) as (_, direct),
        nginx.proxy(folder, direct) as (peer, peer_port),
        _gateway(direct) as (ours, our_port),
    ):
        for port in (our_port, peer_port, direct):
            wrk.run(folder, port, connections=CONNECTIONS, seconds=1)
        yield from _cost(folder, (ours, our_port), (peer, peer_port))
        yield from _latency(folder, our_port, direct)


def _cost(folder: Path, ours: tuple[psutil.Process, int], peer: tuple[psutil.Process, int]) -> Iterator[Figure]:
    own: list[float] = []
    other: list[float] = []
    rates: list[float] = []
    other_rates: list[float] = []
    for _ in range(ROUNDS):
        for (process, port), costs, speeds in ((ours, own, rates), (peer, other, other_rates)):
            before = processor_time(process)
            load = wrk.run(folder, port, connections=CONNECTIONS, seconds=SECONDS)
            costs.append((processor_time(process) - before) / load.requests * 1e6)
            speeds.append(load.per_second)
    yield Figure(
        figure="processor time per request, awake, 0.5 kB JSON, 32 connections",
        value=statistics.median(own),
        unit="µs",
        target=80,
        against="nginx as a plain proxy",
        against_value=statistics.median(other),
        max_ratio=4,
    )
    yield Figure(
        figure="requests per second of one process, same load",
        value=statistics.median(rates),
        unit="1/s",
        against="nginx as a plain proxy",
        against_value=statistics.median(other_rates),
    )


def _latency(folder: Path, our_port: int, direct_port: int) -> Iterator[Figure]:
    through, direct = [], []
    for _ in range(ROUNDS):
        through.append(wrk.run(folder, our_port, connections=1, seconds=2))
        direct.append(wrk.run(folder, direct_port, connections=1, seconds=2))
    for figure, field, target in (("median", "median", 0.3), ("99th percentile", "p99", 1.5)):
        own = statistics.median(getattr(load, field) for load in through)
        base = statistics.median(getattr(load, field) for load in direct)
        yield Figure(figure=f"latency added at one connection, {figure}", value=own - base, unit="ms", target=target)


def _chunks() -> Figure:
    with streams.endpoint() as upstream_port, _gateway(upstream_port) as (ours, port):
        streams.read(port, count=CONNECTIONS)
        before = processor_time(ours)
        arrived = streams.read(port, count=CONNECTIONS)
        cost = (processor_time(ours) - before) / arrived.chunks * 1e6
    return Figure(figure="processor time per streamed chunk, 32 streams", value=cost, unit="µs", target=25)
