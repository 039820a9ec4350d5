"""What the gateway costs and stands with all on that production needs, beside other gateways in the same run."""

from __future__ import annotations

import contextlib
import statistics
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from tests.bench import breaker, load, nginx, peers, server, streams, wrk
from tests.bench.report import Figure, Skipped
from tests.bench.server import Ours
from tests.bench.tools import Unavailable, on_cores, processor_time, split_cores

CONNECTIONS = 32
ROUNDS = 7
SECONDS = 3
SLOW_ROUNDS = 2
SLOW_SECONDS = 15
SUSTAINED_ROUNDS = 3
SUSTAINED_SECONDS = 15
LATENCY_SECONDS = 30
STREAMS = 500
STREAM_CHUNKS = 200
STREAM_INTERVAL = 0.025

_TARGETS: dict[str, dict[str, float]] = {
    "nginx": {"target": 80, "max_ratio": 4},
    "Portkey": {"peer_at_least": 15},
    "LiteLLM": {"peer_at_least": 150},
}


def measure() -> Iterator[Figure | Skipped]:
    """All figures of this group, in about eight minutes."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        yield from _beside_peers(folder)
        yield from _sustained(folder)
    yield from _chunks()
    yield from breaker.measure()


@dataclass(slots=True)
class _Side:
    """One of those who are compared: `costs` in µs of processor time per request, `rates` in requests per second."""

    process: psutil.Process
    port: int
    key: str = wrk.KEY
    headers: dict[str, str] = field(default_factory=dict)
    costs: list[float] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)

    def run(self, folder: Path, seconds: int) -> None:
        """One round. What was on its way at the end counts as answered, which is in a slow peer's favour."""
        before = processor_time(self.process)
        seen = wrk.run(folder, self.port, connections=CONNECTIONS, seconds=seconds, key=self.key, headers=self.headers)
        self.costs.append((processor_time(self.process) - before) / (seen.requests + CONNECTIONS) * 1e6)
        self.rates.append(seen.per_second)

    def warm_up(self, folder: Path, seconds: int) -> None:
        self.run(folder, seconds)
        self.costs.clear()
        self.rates.clear()


def _beside_peers(folder: Path) -> Iterator[Figure | Skipped]:
    with nginx.endpoint(folder) as (_, direct), server.running(server.endpoint(direct)) as ours:
        side = _Side(ours.process, ours.port, ours.key)
        side.warm_up(folder, 1)
        for kind in peers.KINDS:
            try:
                with kind.run(folder, direct) as peer:
                    other = _Side(peer.process, peer.port, headers=dict(peer.headers))
                    _take_turns(folder, side, other, slow=kind.slow)
            except Unavailable as reason:
                yield Skipped(skipped=f"{kind.name} beside ours", why=str(reason))
                continue
            yield _cost(side, other, kind.name, peer.version)
            if kind.name == "nginx":
                yield _rate(side, other)
            side.costs.clear()
            side.rates.clear()


def _take_turns(folder: Path, ours: _Side, other: _Side, *, slow: bool) -> None:
    other.warm_up(folder, 5 if slow else 1)
    for _ in range(SLOW_ROUNDS if slow else ROUNDS):
        ours.run(folder, SECONDS)
        other.run(folder, SLOW_SECONDS if slow else SECONDS)


def _cost(side: _Side, other: _Side, name: str, version: str) -> Figure:
    targets = _TARGETS.get(name, {})
    return Figure(
        figure="processor time per request: keys, limits, usage, metrics, access log; 0.5 kB JSON, 32 connections",
        value=statistics.median(side.costs),
        unit="µs",
        against=f"{name} {version}",
        against_value=statistics.median(other.costs),
        **targets,
    )


def _rate(side: _Side, other: _Side) -> Figure:
    return Figure(
        figure="requests per second of one process, same load",
        value=statistics.median(side.rates),
        unit="1/s",
        against="nginx",
        against_value=statistics.median(other.rates),
    )


def _sustained(folder: Path) -> Iterator[Figure | Skipped]:
    """What one core bears, with the load and the endpoint on others; and the latency at half of it."""
    try:
        own, others = split_cores()
    except Unavailable as reason:
        yield Skipped(skipped="sustained rate on one core, and latency at half of it", why=str(reason))
        return
    with contextlib.ExitStack() as stack:
        stack.enter_context(on_cores(others))
        _, direct = stack.enter_context(nginx.endpoint(folder))
        ours = stack.enter_context(server.running(server.endpoint(direct), cores=own))
        rate = _most(folder, ours)
        yield Figure(figure="sustained requests per second on one core", value=rate, unit="1/s", at_least=10_000)
        plan = load.Plan(port=ours.port, key=ours.key, rate=rate / 2, seconds=LATENCY_SECONDS, warm_up=3)
        with load.running(plan) as running:
            tally = running.tally()
        yield Figure(
            figure="99th percentile of latency at half that rate, open loop", value=tally.p99, unit="ms", target=3
        )
        yield Figure(figure="median of it", value=tally.p50, unit="ms")
        yield Figure(figure="the load's own lateness in it, 99th percentile", value=tally.late_p99, unit="ms")
        yield Figure(figure="requests failed of those", value=tally.failed(), unit="", target=0)


def _most(folder: Path, ours: Ours) -> float:
    """The median of some rounds, each long enough for all that is done by the second to be in it."""
    rates = []
    for _ in range(SUSTAINED_ROUNDS):
        seen = wrk.run(folder, ours.port, connections=CONNECTIONS, seconds=SUSTAINED_SECONDS, key=ours.key)
        rates.append(seen.per_second)
    return statistics.median(rates)


def _chunks() -> Iterator[Figure]:
    shape = streams.Shape(chunks=STREAM_CHUNKS, interval=STREAM_INTERVAL)
    with streams.endpoint(shape) as upstream_port, server.running(server.endpoint(upstream_port)) as ours:
        streams.read(ours.port, count=STREAMS, shape=shape, key=ours.key)
        before = processor_time(ours.process)
        seen = streams.read(ours.port, count=STREAMS, shape=shape, key=ours.key)
        cost = (processor_time(ours.process) - before) / seen.chunks * 1e6
    yield Figure(figure=f"processor time per streamed chunk, {STREAMS} streams", value=cost, unit="µs", target=20)
    merged = (1 - seen.pieces / seen.chunks) * 100
    yield Figure(figure="share of those that arrived together with another", value=max(0.0, merged), unit="%")
