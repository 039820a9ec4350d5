"""Where the processor time of a request goes: `python -m tests.bench.profiling`.

Prints user and system time, system calls per request (by strace), shares by library (by perf), and shares by function of
ours and of Python's libraries (by py-spy, which samples from outside). Each tool runs by itself: they slow the server down.
"""

from __future__ import annotations

import contextlib
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from tests.bench import nginx, server, wrk
from tests.bench.report import machine
from tests.bench.server import Ours
from tests.bench.tools import Unavailable, cache, done, on_cores, program, split_cores

SECONDS = 6
CONNECTIONS = 32
SAMPLES = 999  # a second; no divisor of the timers' own pace
SHOWN = 30
_LOOP = "run_forever"


def main() -> None:
    """Measure and print."""
    own, others = split_cores()
    with contextlib.ExitStack() as stack:
        stack.enter_context(on_cores(others))
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        _, port = stack.enter_context(nginx.endpoint(folder))
        ours = stack.enter_context(server.running(server.endpoint(port), cores=own))
        _load(folder, ours, 2)
        _say(", ".join(f"{key}: {value}" for key, value in machine().items()))
        for part in (_times, _system_calls, _libraries, _functions):
            try:
                for line in part(folder, ours):
                    _say(line)
            except Unavailable as reason:
                _say(f"not measured: {reason}")


def _times(folder: Path, ours: Ours) -> Iterator[str]:
    before = ours.process.cpu_times()
    requests = _load(folder, ours, SECONDS)
    after = ours.process.cpu_times()
    user, system = ((getattr(after, kind) - getattr(before, kind)) / requests * 1e6 for kind in ("user", "system"))
    yield f"\nprocessor time per request: {user:.1f} µs user, {system:.1f} µs system"


def _system_calls(folder: Path, ours: Ours) -> Iterator[str]:
    found, requests = _watched(folder, ours, [program("strace"), "-c", "-f", "-p", str(ours.process.pid)])
    yield "\nsystem calls per request (strace -c -f)"
    rows = (line.split() for line in found.splitlines())
    counted = {
        row[-1]: int(row[3]) / requests for row in rows if len(row) > 4 and row[3].isdigit() and row[-1] != "total"
    }
    yield from (f"{share:8.3f}  {name}" for name, share in sorted(counted.items(), key=lambda one: -one[1])[:8])


def _libraries(folder: Path, ours: Ours) -> Iterator[str]:
    data = folder / "perf.data"
    perf = program("perf", "linux-perf")
    _watched(folder, ours, [perf, "record", "-q", "-F", str(SAMPLES), "-o", str(data), "-p", str(ours.process.pid)])
    yield "\nshares by library (perf record, perf report --sort dso)"
    for line in done([perf, "report", "-i", str(data), "--sort", "dso", "--stdio", "-q"]).splitlines()[:10]:
        if line.strip():
            yield "  " + line.strip()


def _functions(folder: Path, ours: Ours) -> Iterator[str]:
    raw = folder / "stacks"
    words = ["record", "--rate", str(SAMPLES), "--duration", "3600", "--format", "raw", "--output", str(raw)]
    _watched(folder, ours, [str(_py_spy()), *words, "--pid", str(ours.process.pid)])
    own, within = _counted(raw.read_text())
    total = own.total()
    yield f"\nshares by function (py-spy record, {total} samples of the event loop's thread): itself, with what it calls"
    for name, count in own.most_common(SHOWN):
        yield f"{count / total * 100:6.1f} % {within[name] / total * 100:6.1f} %  {name}"


def _py_spy() -> Path:
    environment = cache("py-spy")
    command = environment / "bin" / "py-spy"
    if not command.exists():
        done([sys.executable, "-m", "venv", "--clear", str(environment)])
        done([str(environment / "bin" / "python"), "-m", "pip", "install", "--quiet", "py-spy"])
    return command


def _counted(stacks: str) -> tuple[Counter[str], Counter[str]]:
    """Samples by function: in the function itself, and in it or what it calls. Lines are `outer;…;inner count`."""
    own: Counter[str] = Counter()
    within: Counter[str] = Counter()
    for line in stacks.splitlines():
        stack, _, count = line.rpartition(" ")
        names = [re.sub(r":\d+\)$", ")", frame) for frame in stack.split(";")]
        if any(name.startswith(("run (asyncio", "Runner.run", "run (uvloop", _LOOP)) for name in names):
            own[names[-1]] += int(count)
            within.update(dict.fromkeys(names, int(count)))
    return own, within


def _watched(folder: Path, ours: Ours, command: list[str]) -> tuple[str, int]:
    """Run a tool that watches the server under load; what it said, and how many requests it saw."""
    tool = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        time.sleep(1)
        requests = _load(folder, ours, SECONDS)
        tool.send_signal(signal.SIGINT)
        said, _ = tool.communicate(timeout=60)
    finally:
        if tool.poll() is None:
            tool.kill()
            tool.wait()
    return said, requests


def _load(folder: Path, ours: Ours, seconds: int) -> int:
    return wrk.run(folder, ours.port, connections=CONNECTIONS, seconds=seconds, key=ours.key).requests


def _say(line: str) -> None:
    print(line, flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
