"""An open-loop load: requests are sent at the moments of a plan, whether or not earlier ones were answered.

`python -m tests.bench.load` reads a Plan as JSON from standard input and prints a Tally when the plan is done, or on
SIGTERM. A latency counts from the moment at which the request was due, so a stall hides no request that it kept from
being sent (no coordinated omission), and this client's own lateness counts as the server's. It is told, too.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import json
import os
import random
import resource
import signal
import subprocess
import sys
from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from time import monotonic, process_time
from typing import cast

import httptools
import msgspec
import uvloop

from tests.bench.tools import ROOT
from tests.bench.wrk import BODY, KEY, NAME

TICK = 0.0002  # seconds; the event loop's own timers are as coarse as a millisecond
TRUSTED_IDLE = 30.0  # seconds; servers hang up later than that
SWEEP = 0.1
SETTLE = 10.0
FAULT_HEADER = "x-bench-fault"
COUNT_SAMPLES = 2_000_000
EXAMPLE = 400  # bytes

# How a request may end, beside a status
CUT = "cut"  # the answer began and broke off
NO_ANSWER = "no answer"  # the connection ended without a byte of an answer
LEFT = "left"  # this client went away, as the plan says
GAVE_UP = "gave up"  # this client's patience was over
NOT_CONNECTED = "not connected"
NOT_SENT = "not sent"  # all connections were taken: the load is at its own limit


class Plan(msgspec.Struct, kw_only=True):
    """What to send. Durations in seconds, rates per second; gaps are random (a Poisson process), the same in each run.

    `stream_share` of them ask for a stream. `faults` are suffered in turn, by one request each second, as a header that
    the endpoint behind the gateway understands; an empty word stands for a second without. Where a fault's name begins
    with `leave`, this client leaves after `leave_after`. The first `warm_up` seconds count for outcomes alone.
    """

    port: int
    rate: float
    seconds: float
    key: str = KEY
    path: str = "/v1/chat/completions"
    model: str = NAME
    warm_up: float = 0.0
    patience: float = 30.0
    connections: int = 4000
    stream_share: float = 0.0
    faults: list[str] = []
    leave_after: float = 0.7


class Tally(msgspec.Struct, kw_only=True):
    """What came of it. `outcomes` are counted for each fault, "" for none; latencies of successes in milliseconds.

    `late_p99` is how late requests were sent, as far as this client is to blame; `busy` its own share of a core.
    `examples` are bodies of answers with a status other than 200, the first one of each.
    """

    sent: int
    seconds: float
    outcomes: dict[str, dict[str, int]]
    p50: float
    p99: float
    p999: float
    longest: float
    late_p99: float
    busy: float
    examples: dict[str, str]

    def failed(self) -> int:
        """How many requests were not answered with 200; how they ended is told on standard error."""
        total = self.total()
        failed = total.total() - total["200"]
        if failed:
            print(f"the load saw {dict(total)}, {self.examples}", file=sys.stderr)  # noqa: T201
        return failed

    def total(self) -> Counter[str]:
        """Outcomes of all requests."""
        total: Counter[str] = Counter()
        for counted in self.outcomes.values():
            total.update(counted)
        return total


class Running:
    """A load in a process of its own."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.bench.load"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT
        )
        assert self._process.stdin is not None
        self._process.stdin.write(msgspec.json.encode(plan))
        self._process.stdin.close()
        self._process.stdin = None

    @property
    def over(self) -> bool:
        """Whether it has ended."""
        return self._process.poll() is not None

    def stop(self) -> None:
        """Have it end early."""
        if not self.over:
            self._process.send_signal(signal.SIGTERM)

    def tally(self) -> Tally:
        """Wait for the end. Raises SystemExit if there is no tally."""
        limit = self._plan.seconds + self._plan.patience + SETTLE + 30
        try:
            text, _ = self._process.communicate(timeout=limit)
        except subprocess.TimeoutExpired:
            self.kill()
            raise SystemExit(f"the load did not end within {limit:g} s") from None
        if self._process.returncode:
            raise SystemExit(f"the load ended with {self._process.returncode}")
        return msgspec.json.decode(text, type=Tally)

    def kill(self) -> None:
        """End it at once."""
        self._process.kill()
        self._process.wait(10)


@contextlib.contextmanager
def running(plan: Plan) -> Iterator[Running]:
    """A load that does not outlive the block."""
    load = Running(plan)
    try:
        yield load
    finally:
        if not load.over:
            load.kill()


class _Connection(asyncio.Protocol):
    """One request at a time."""

    __slots__ = ("_head_seen", "_parser", "_status", "due", "fault", "idle_since", "load", "request", "transport")

    def __init__(self, load: _Load) -> None:
        self.load = load
        self.request: bytes | None = None
        self.fault = ""
        self.due = 0.0
        self.idle_since = 0.0
        self._head_seen = False
        self._status = 0
        self._parser = httptools.HttpResponseParser(self)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def ask(self, request: bytes, due: float, fault: str) -> None:
        self.request, self.due, self.fault = request, due, fault
        self._head_seen = False
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self.transport.abort()

    def on_headers_complete(self) -> None:
        self._head_seen = True
        self._status = self._parser.get_status_code()

    def on_body(self, data: bytes) -> None:
        if self._status != 200:
            self.load.note(str(self._status), data)

    def on_message_complete(self) -> None:
        if self.request is None:
            self.transport.abort()
            return
        self._over(str(self._status))
        if self._parser.should_keep_alive():
            self.load.idle(self)
        else:
            self.transport.close()

    def leave(self, outcome: str) -> None:
        self._over(outcome)
        self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        if self.request is not None:
            self._over(CUT if self._head_seen else NO_ANSWER)

    def _over(self, outcome: str) -> None:
        self.request = None
        self.load.over(self, outcome)


class _Load:
    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.loop = asyncio.get_running_loop()
        self._random = random.Random(8470)
        self._requests = {fault: self._rendered(fault) for fault in {"", *plan.faults}}
        self._streams = {fault: self._rendered(fault, stream=True) for fault in {"", *plan.faults}}
        self._idle: list[_Connection] = []
        self._busy: set[_Connection] = set()
        self._opening: set[asyncio.Task[None]] = set()
        self._outcomes: dict[str, Counter[str]] = {}
        self._examples: dict[str, str] = {}
        self._latencies = array("d")
        self._late = array("d")
        self._sent = 0
        self._faults_done = 0
        self._began = self._next = monotonic() + 0.2
        self._stop = asyncio.Event()

    async def run(self) -> Tally:
        before = process_time()
        timer = _timer(TICK)
        self.loop.add_reader(timer, self._tick, timer)
        sweeper = asyncio.create_task(self._sweep(), name="sweep")
        for number in (signal.SIGTERM, signal.SIGINT):
            self.loop.add_signal_handler(number, self._stop.set)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stop.wait(), 0.2 + self.plan.seconds)
        self.loop.remove_reader(timer)
        os.close(timer)
        lasted = max(0.001, monotonic() - self._began)
        busy = (process_time() - before) / lasted
        await self._settle()
        sweeper.cancel()
        return self._tally(lasted, busy)

    async def _settle(self) -> None:
        """Let what is under way end."""
        deadline = monotonic() + self.plan.patience + SETTLE
        while (self._busy or self._opening) and monotonic() < deadline:  # noqa: ASYNC110 - sets, filled in many places
            await asyncio.sleep(0.05)
        for connection in list(self._busy):
            connection.leave(GAVE_UP)

    def _tick(self, timer: int) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(timer, 8)
        now = monotonic()
        while self._next <= now:
            self._send(self._next, now)
            self._next += self._random.expovariate(self.plan.rate)

    def _send(self, due: float, now: float) -> None:
        fault = self._fault_at(due)
        stream = self._random.random() < self.plan.stream_share
        request = (self._streams if stream else self._requests)[fault]
        self._sent += 1
        if due >= self._began + self.plan.warm_up:
            self._keep(self._late, now - due)
        while self._idle:
            connection = self._idle.pop()
            if connection.transport.is_closing():
                continue
            if now - connection.idle_since > TRUSTED_IDLE:
                connection.transport.abort()
                continue
            self._busy.add(connection)
            connection.ask(request, due, fault)
            return
        if len(self._busy) + len(self._opening) >= self.plan.connections:
            self._count(fault, NOT_SENT)
            return
        task = self.loop.create_task(self._open(request, due, fault))
        self._opening.add(task)
        task.add_done_callback(self._opening.discard)

    async def _open(self, request: bytes, due: float, fault: str) -> None:
        try:
            _, connection = await self.loop.create_connection(lambda: _Connection(self), "127.0.0.1", self.plan.port)
        except OSError:
            self._count(fault, NOT_CONNECTED)
            return
        self._busy.add(connection)
        connection.ask(request, due, fault)

    def _fault_at(self, due: float) -> str:
        """The first request of each second suffers that second's fault."""
        faults = self.plan.faults
        second = int(due - self._began)
        if not faults or second < self._faults_done:
            return ""
        self._faults_done = second + 1
        return faults[second % len(faults)]

    def idle(self, connection: _Connection) -> None:
        connection.idle_since = monotonic()
        self._idle.append(connection)

    def over(self, connection: _Connection, outcome: str) -> None:
        self._busy.discard(connection)
        self._count(connection.fault, outcome)
        if outcome == "200" and connection.due >= self._began + self.plan.warm_up:
            self._keep(self._latencies, monotonic() - connection.due)

    def note(self, outcome: str, body: bytes) -> None:
        if outcome not in self._examples:
            self._examples[outcome] = body[:EXAMPLE].decode("utf-8", "replace")

    def _count(self, fault: str, outcome: str) -> None:
        self._outcomes.setdefault(fault, Counter())[outcome] += 1

    def _keep(self, samples: array[float], value: float) -> None:
        """A bounded number of them; once full, a random one gives way."""
        if len(samples) < COUNT_SAMPLES:
            samples.append(value)
        else:
            place = self._random.randrange(self._sent)
            if place < COUNT_SAMPLES:
                samples[place] = value

    async def _sweep(self) -> None:
        """Leave where the plan says so, and give up where patience is over."""
        while True:
            await asyncio.sleep(SWEEP)
            now = monotonic()
            for connection in list(self._busy):
                if connection.fault.startswith("leave") and now - connection.due > self.plan.leave_after:
                    connection.leave(LEFT)
                elif now - connection.due > self.plan.patience:
                    connection.leave(GAVE_UP)

    def _rendered(self, fault: str, *, stream: bool = False) -> bytes:
        document = json.loads(BODY)
        document["model"] = self.plan.model
        if stream:
            document["stream"] = True
        body = json.dumps(document).encode()
        lines = [
            f"POST {self.plan.path} HTTP/1.1",
            "host: 127.0.0.1",
            f"authorization: Bearer {self.plan.key}",
            "content-type: application/json",
            "accept: application/json",
            "user-agent: OpenAI/Python 3.52.0",
            *([f"{FAULT_HEADER}: {fault}"] if fault else []),
            f"content-length: {len(body)}",
        ]
        return ("\r\n".join(lines) + "\r\n\r\n").encode() + body

    def _tally(self, lasted: float, busy: float) -> Tally:
        latencies = sorted(self._latencies)
        return Tally(
            sent=self._sent,
            seconds=lasted,
            outcomes={fault: dict(counted) for fault, counted in self._outcomes.items()},
            p50=_quantile(latencies, 0.5) * 1000,
            p99=_quantile(latencies, 0.99) * 1000,
            p999=_quantile(latencies, 0.999) * 1000,
            longest=_quantile(latencies, 1.0) * 1000,
            late_p99=_quantile(sorted(self._late), 0.99) * 1000,
            busy=busy,
            examples=self._examples,
        )


def _quantile(ordered: Sequence[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


def _timer(every: float) -> int:
    """A file descriptor that becomes readable every so many seconds (timerfd_create(2))."""
    libc = ctypes.CDLL(None, use_errno=True)
    timer: int = libc.timerfd_create(1, os.O_NONBLOCK | os.O_CLOEXEC)  # 1: CLOCK_MONOTONIC
    if timer < 0:
        raise OSError(ctypes.get_errno(), "timerfd_create")
    nanoseconds = int(every * 1e9)
    if libc.timerfd_settime(timer, 0, (ctypes.c_long * 4)(0, nanoseconds, 0, nanoseconds), None):
        raise OSError(ctypes.get_errno(), "timerfd_settime")
    return timer


async def _main(plan: Plan) -> Tally:
    return await _Load(plan).run()


if __name__ == "__main__":
    _soft, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (_hard, _hard))
    _wanted = msgspec.json.decode(sys.stdin.buffer.read(), type=Plan)
    sys.stdout.buffer.write(msgspec.json.encode(uvloop.run(_main(_wanted))))
