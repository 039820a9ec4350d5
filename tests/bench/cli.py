"""What the command line costs before it does anything."""

from __future__ import annotations

import resource
import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.bench.report import Figure

ROUNDS = 15


def measure() -> Iterator[Figure]:
    """All figures of this group, in a few seconds. The commands take turns, so that a busy moment hits all alike."""
    scripts = Path(sys.executable).parent
    costs: dict[str, list[float]] = {"ours": [], "peer": [], "status": []}
    commands: dict[str, Sequence[str]] = {
        "ours": [str(scripts / "lamplighter"), "--help"],
        "peer": [str(scripts / "hf"), "endpoints", "--help"],
        "status": [str(scripts / "lamplighter"), "status", "--server", "http://127.0.0.1:1"],
    }
    for command in commands.values():
        _cost(command)  # fills the caches
    for _ in range(ROUNDS):
        for name, command in commands.items():
            costs[name].append(_cost(command))
    middle = {name: statistics.median(values) for name, values in costs.items()}
    yield Figure(
        figure="processor time of `lamplighter --help`",
        value=middle["ours"],
        unit="ms",
        against="`hf endpoints --help`",
        against_value=middle["peer"],
        max_ratio=0.5,
    )
    yield Figure(
        figure="processor time of `lamplighter status` where no server answers", value=middle["status"], unit="ms"
    )


def _cost(command: Sequence[str]) -> float:
    """User and system time of one run, in milliseconds."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) * 1000
