"""What callers notice of a route's dead target, and how much is sent to it once that is known."""

from __future__ import annotations

import contextlib
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.acceptance.harness import LamplighterProcess
from tests.bench import load, nginx, server
from tests.bench.report import Figure
from tests.bench.tools import free_port, running
from tests.bench.wrk import NAME

RATE = 1000
SECONDS = 40.0
SETTLED = 5.0  # from here on the breaker knows
FIRST_BYTE_TIMEOUT = 1.0

_ROUTES = """
upstreams:
  dead: {{base_url: "http://127.0.0.1:{dead}/v1"}}
  alive: {{base_url: "http://127.0.0.1:{alive}/v1"}}
routes:
  {name}: {{targets: [dead, alive], repeat: always, first_byte_timeout: {timeout}}}
"""


def measure() -> Iterator[Figure]:
    """Both ways of being dead, in about two minutes."""
    with tempfile.TemporaryDirectory() as name, nginx.endpoint(Path(name)) as (_, alive):
        yield from _measured("refuses connections", free_port(), alive)
        with stalling() as dead:
            yield from _measured("accepts and never answers", dead, alive)


@contextlib.contextmanager
def stalling() -> Iterator[int]:
    """What accepts connections and answers nothing."""
    port = free_port()
    with running([sys.executable, "-m", "tests.bench.faulty", str(port), "--stall"], port):
        yield port


def _measured(how: str, dead: int, alive: int) -> Iterator[Figure]:
    routes = _ROUTES.format(dead=dead, alive=alive, name=NAME, timeout=FIRST_BYTE_TIMEOUT)
    with server.running(routes) as ours:
        plan = load.Plan(port=ours.port, key=ours.key, rate=RATE, seconds=SECONDS, warm_up=SETTLED)
        with load.running(plan) as running_load:
            time.sleep(SETTLED)
            known = time.time()
            tally = running_load.tally()
        ours.server.stop()
        early, late = _tries(ours.server, f"at < {known}"), _tries(ours.server, f"at >= {known}")
    where = f"a route's first target {how}"
    yield Figure(figure=f"callers' errors at {RATE}/s, {where}", value=tally.failed(), unit="", target=0)
    yield Figure(figure=f"requests that try it after {SETTLED:g} s, {where}", value=late.share, unit="%", target=1)
    every = _Tries(requests=early.requests + late.requests, tries=early.tries + late.tries)
    yield Figure(figure=f"requests that try it in all of {SECONDS:g} s, {where}", value=every.share, unit="%")
    yield Figure(figure=f"99th percentile of latency after {SETTLED:g} s, {where}", value=tally.p99, unit="ms")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Tries:
    """Requests, and how often they were sent somewhere else than to where they were answered."""

    requests: int
    tries: int

    @property
    def share(self) -> float:
        """In percent."""
        return self.tries / self.requests * 100 if self.requests else 0.0


def _tries(ours: LamplighterProcess, when: str) -> _Tries:
    requests, attempts = ours.rows(f"select sum(requests), sum(attempts) from usage where {when}")[0]
    return _Tries(requests=requests or 0, tries=(attempts or 0) - (requests or 0))
