"""A long run at half of what the server bears, with a fault every second: does it grow, and is everything accounted for?

Two loads go through one server: most of it to an engine on this machine, which is killed, resets, stalls, answers errors and
is left by its clients; a little to an endpoint at a provider elsewhere, a second server, which puts it to sleep on its own.
The server has a core of its own, what stands around it has the others.
Ends early on SIGINT or SIGTERM, with the figures of what was done by then.
"""

from __future__ import annotations

import contextlib
import os
import signal
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx2
import msgspec
import psutil

from lamplighter.domain.usage import Outcome
from tests.acceptance.harness import LamplighterProcess, lamplighter
from tests.bench import load, server, wrk
from tests.bench.load import Plan, Tally
from tests.bench.report import Figure
from tests.bench.server import Ours
from tests.bench.tools import free_port, on_cores, running, split_cores
from tests.bench.wrk import NAME

ELSEWHERE = "elsewhere"
ELSEWHERE_RATE = 20.0
PATIENCE = 15.0
CONNECTIONS = 9500  # all that come while an engine starts again are held
STREAMS = 0.02
WARM_UP = 0.2  # share of the run in which memory may still grow
WINDOWS = 5
CALIBRATION = 8
FLUSHED = 3.0
CLOUD_KEY = "cloud-key"

# One each second, in turn. Those that the load itself brings along stand in it under the same name.
KILL, SLEEP, RELOAD = "engine killed", "asleep at its provider", "reload"
_OURS = {KILL, SLEEP, RELOAD}
_TURN = ("stall", "500", "429", "leave", "leave-stream", "cut", SLEEP, RELOAD, "reset")
# An engine that dies again within half a minute is held to be broken, and its callers are told so at once.
FAULTS = (KILL, *_TURN, *(("reset", *_TURN) * 3))

_CONFIGURATION = """
providers:
  huggingface:
    options: {{base_url: "{cloud}", token: "env:CLOUD_KEY", look_every: 5}}
endpoints:
  {name}:
    command: [{python}, -m, tests.bench.faulty, "{{port}}", --core, "{core}"]
    keep_warm: true
    backoff_base: 100ms
  {elsewhere}: {{provider: huggingface, idle_timeout: {idle}}}
"""
_CLOUD = """
providers: {{memory: {{options: {{start_delay: 0.3, url: "http://127.0.0.1:{upstream}"}}}}}}
endpoints:
  {elsewhere}: {{provider: memory, command: [none], idle_timeout: never}}
"""


@dataclass(slots=True)
class _Seen:
    """What is noted on the way: samples of memory in MB with their moments, and faults that were caused from here."""

    memory: list[float] = field(default_factory=list)
    caused: Counter[str] = field(default_factory=Counter)
    ended_early: bool = False


def measure(minutes: float = 30.0, rate: float | None = None) -> Iterator[Figure]:
    """All figures, in a bit more than so many minutes. `rate` is per second; half of what is borne if not given."""
    stop = threading.Event()
    own, others = split_cores()
    with _stopping(stop), contextlib.ExitStack() as stack:
        stack.enter_context(on_cores(others))
        cloud = stack.enter_context(_cloud())
        ours = stack.enter_context(_server(cloud, own))
        rate = rate or _half_of_most(ours)
        time.sleep(FLUSHED)
        before = _records(ours.server)
        seen, tallies = _soak(ours, cloud, stop, minutes * 60, rate)
        _, exposed = server.metrics(ours.server)
        ours.server.stop()
        records = _records(ours.server)
        yield from _figures(seen, tallies, records - before, rate)
        apart = abs(_counted(exposed) - records.total())
        yield Figure(figure="requests that metrics and records count differently", value=apart, unit="", target=0)


@contextlib.contextmanager
def _stopping(stop: threading.Event) -> Iterator[None]:
    """SIGINT and SIGTERM end the run in order."""
    before = {number: signal.signal(number, lambda *_: stop.set()) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def _cloud() -> Iterator[LamplighterProcess]:
    """What plays the provider elsewhere, and what answers for its endpoint."""
    port = free_port()
    with tempfile.TemporaryDirectory() as name, running([sys.executable, "-m", "tests.bench.faulty", str(port)], port):
        configuration = _CLOUD.format(upstream=port, elsewhere=ELSEWHERE)
        environ = {"LAMPLIGHTER_KEYS": CLOUD_KEY}
        with lamplighter(Path(name), configuration, environ=environ, own_session=True) as cloud:
            yield cloud


@contextlib.contextmanager
def _server(cloud: LamplighterProcess, own: Collection[int]) -> Iterator[Ours]:
    """Ours, with its engine awake. It has its own cores; the engine has to stay where this process is."""
    environ = {"CLOUD_KEY": CLOUD_KEY}
    with server.running(_configuration(cloud, 10), cores=own, environ=environ, own_session=True) as ours:
        for name in (NAME, ELSEWHERE):
            url = f"{ours.server.url}/v1/chat/completions"
            answer = httpx2.post(url, headers={"authorization": f"Bearer {ours.key}"}, json={"model": name}, timeout=60)
            answer.raise_for_status()
        yield ours


def _configuration(cloud: LamplighterProcess, idle: int) -> str:
    core = min(os.sched_getaffinity(0))
    return _CONFIGURATION.format(
        cloud=cloud.url, name=NAME, elsewhere=ELSEWHERE, python=sys.executable, idle=f"{idle}m", core=core
    )


def _half_of_most(ours: Ours) -> float:
    """Half of what the server bears on its core."""
    with tempfile.TemporaryDirectory() as name:
        seen = wrk.run(Path(name), ours.port, connections=32, seconds=CALIBRATION, key=ours.key)
    return seen.per_second / 2


def _soak(
    ours: Ours, cloud: LamplighterProcess, stop: threading.Event, seconds: float, rate: float
) -> tuple[_Seen, list[Tally]]:
    brought = ["" if fault in _OURS else fault for fault in FAULTS]
    common = Plan(port=ours.port, key=ours.key, rate=rate, seconds=seconds, patience=PATIENCE, connections=CONNECTIONS)
    most = msgspec.structs.replace(common, faults=brought, stream_share=STREAMS, warm_up=10.0)
    little = msgspec.structs.replace(common, model=ELSEWHERE, rate=ELSEWHERE_RATE)
    seen = _Seen()
    with load.running(most) as first, load.running(little) as second:
        began = time.monotonic()
        while not (first.over or stop.wait(max(0.0, began + len(seen.memory) + 1 - time.monotonic()))):
            if time.monotonic() - began > seconds:
                break
            _each_second(ours, cloud, seen)
        seen.ended_early = stop.is_set()
        for running_load in (first, second):
            if seen.ended_early:
                running_load.stop()
        return seen, [first.tally(), second.tally()]


def _each_second(ours: Ours, cloud: LamplighterProcess, seen: _Seen) -> None:
    """Cause the fault that is due, and look at the memory. Fails when the server has ended."""
    if ours.server.process.poll() is not None:
        raise SystemExit(f"the server ended:\n{''.join(ours.server.lines[-20:])}")
    second = len(seen.memory)
    fault = FAULTS[second % len(FAULTS)]
    if fault not in _OURS or _cause(fault, ours, cloud, second // len(FAULTS)):
        seen.caused[fault] += 1
    seen.memory.append(ours.process.memory_info().rss / 1e6)
    if second % 60 == 59:
        print(f"minute {second // 60 + 1}: {seen.memory[-1]:.1f} MB", file=sys.stderr, flush=True)  # noqa: T201


def _cause(fault: str, ours: Ours, cloud: LamplighterProcess, turn: int) -> bool:
    """Whether it could be done: an engine that is still starting, for one, can't be killed."""
    if fault == KILL:
        return _kill_engine(ours.process)
    if fault == SLEEP:
        url = f"{cloud.url}/v2/endpoint/lamplighter/{ELSEWHERE}/scale-to-zero"
        answer = httpx2.post(url, headers={"authorization": f"Bearer {CLOUD_KEY}"}, timeout=5)
        return answer.is_success
    ours.server.write(_configuration(cloud, 10 + turn % 2))
    ours.process.send_signal(signal.SIGHUP)
    return True


def _kill_engine(process: psutil.Process) -> bool:
    for child in process.children():
        with contextlib.suppress(psutil.NoSuchProcess):
            if "tests.bench.faulty" in child.cmdline():
                child.kill()
                return True
    return False


def _records(ours: LamplighterProcess) -> Counter[str]:
    """What the server has on record, in the load's words."""
    counted: Counter[str] = Counter()
    for outcome, status, requests in ours.rows("select outcome, status, sum(requests) from usage group by 1, 2"):
        counted[_WORDS.get(outcome, str(status))] += requests
    return counted


def _counted(exposed: str) -> float:
    """Requests by the metrics."""
    lines = (line for line in exposed.splitlines() if line.startswith("lamplighter_requests_total{"))
    return sum(float(line.rpartition(" ")[2]) for line in lines)


_WORDS = {Outcome.CUT.value: load.CUT, Outcome.CLIENT_GONE.value: load.LEFT}


def _figures(seen: _Seen, tallies: list[Tally], records: Counter[str], rate: float) -> Iterator[Figure]:
    told: Counter[str] = Counter()
    for tally in tallies:
        told.update(tally.total())
    unsent = told.pop(load.NOT_SENT, 0) + told.pop(load.NOT_CONNECTED, 0)
    minutes = len(seen.memory) / 60
    yield Figure(
        figure=f"length of the soak at {rate:.0f}/s{', ended early' * seen.ended_early}", value=minutes, unit="min"
    )
    yield Figure(figure="requests sent in it", value=told.total(), unit="")
    yield Figure(figure="faults caused in it", value=seen.caused.total(), unit="")
    yield from _growth(seen.memory)
    yield Figure(figure="requests that could not be sent", value=unsent, unit="", target=0)
    yield Figure(
        figure="requests without a record, or records without a request",
        value=abs(told.total() - records.total()),
        unit="",
        target=0,
    )
    # Of a request that the load gave up on, the server may have answered what nobody read: any record will do.
    otherwise = sum((Counter({word: count for word, count in told.items() if word != load.GAVE_UP}) - records).values())
    yield Figure(figure="requests that ended otherwise than their records say", value=otherwise, unit="", target=0)
    failed = sum(tally.outcomes.get("", {}).get(word, 0) for tally in tallies for word in told if word != "200")
    yield Figure(figure="requests failed that no fault was meant for", value=failed, unit="")
    yield Figure(figure=f"requests without an answer after {PATIENCE:g} s", value=told[load.GAVE_UP], unit="")
    yield Figure(figure="99th percentile of latency in it", value=tallies[0].p99, unit="ms")
    yield Figure(figure="the load's own lateness in it, 99th percentile", value=tallies[0].late_p99, unit="ms")
    for name, tally in zip((NAME, ELSEWHERE), tallies, strict=True):
        print(f"callers of {name}: {tally.outcomes}, {tally.examples}", file=sys.stderr)  # noqa: T201
    print(f"records: {dict(records)}", file=sys.stderr)  # noqa: T201


def _growth(memory: list[float]) -> Iterator[Figure]:
    """From the first window after the warm-up to the last one."""
    steady = memory[int(len(memory) * WARM_UP) :]
    size = len(steady) // WINDOWS
    if not size:
        return
    first, last = statistics.median(steady[:size]), statistics.median(steady[-size:])
    yield Figure(
        figure="growth of the server's memory after warm-up", value=(last / first - 1) * 100, unit="%", target=5
    )
    yield Figure(figure="the server's memory at the end", value=last, unit="MB")
