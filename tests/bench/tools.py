"""Programs that a benchmark needs, processes it starts, and the processor time that they take."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence

import psutil

_PATH = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
_START_WITHIN = 15.0


def program(name: str) -> str:
    """Where a program is; installed if it is missing and we may."""
    found = shutil.which(name, path=_PATH)
    if found is None and os.geteuid() == 0 and shutil.which("apt-get"):
        subprocess.run(["apt-get", "install", "-y", "-qq", name], check=True, stdout=subprocess.DEVNULL, timeout=300)
        found = shutil.which(name, path=_PATH)
    if found is None:
        raise SystemExit(f"{name} is missing. Install it, for one with: sudo apt-get install {name}")
    return found


def free_port() -> int:
    """A port of the loopback interface that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextlib.contextmanager
def running(command: Sequence[str], port: int) -> Iterator[psutil.Process]:
    """A process that listens on a loopback port, ended with its children when the block ends."""
    process = subprocess.Popen(command)
    try:
        _await_port(process, port)
        yield psutil.Process(process.pid)
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _await_port(process: subprocess.Popen[bytes], port: int) -> None:
    deadline = time.monotonic() + _START_WITHIN
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise SystemExit(f"{process.args!r} ended with {process.returncode}")
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.02)
    raise SystemExit(f"{process.args!r} did not listen within {_START_WITHIN:g} s")


def processor_time(process: psutil.Process) -> float:
    """User and system time in seconds that a process and its children have taken so far."""
    total = 0.0
    for one in [process, *process.children(recursive=True)]:
        times = one.cpu_times()
        total += times.user + times.system
    return total
