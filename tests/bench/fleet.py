"""What a thousand endpoints cost that nobody uses."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

from tests.acceptance.harness import lamplighter
from tests.bench.report import Figure
from tests.bench.tools import processor_time

ENDPOINTS = 1000
SETTLE = 5.0
SECONDS = 65.0  # every endpoint is looked at once in it


def measure() -> Iterator[Figure]:
    """All figures of this group, in a bit more than a minute."""
    endpoints = "".join(f"  e{n}: {{command: [sleep, '1000']}}\n" for n in range(ENDPOINTS))
    with tempfile.TemporaryDirectory() as name, lamplighter(Path(name), f"endpoints:\n{endpoints}") as server:
        process = psutil.Process(server.process.pid)
        time.sleep(SETTLE)
        before = processor_time(process)
        time.sleep(SECONDS)
        share = (processor_time(process) - before) / SECONDS * 100
        yield Figure(figure=f"{ENDPOINTS} endpoints asleep, share of one core", value=share, unit="%", target=2)
        memory = process.memory_info().rss / 1e6
        yield Figure(figure=f"{ENDPOINTS} endpoints asleep, memory", value=memory, unit="MB", target=200)
