"""Programs that a benchmark needs, processes it starts, and the processor time that they take."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

import psutil

ROOT = Path(__file__).parents[2]
_PATH = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
_START_WITHIN = 15.0
_INSTALL_WITHIN = 900.0


class Unavailable(SystemExit):
    """What a benchmark needs can't be had here; the text says what and why. Ends the run where nobody can do without."""


def program(name: str, package: str = "") -> str:
    """Where a program is; installed if it is missing and we may. Raises Unavailable."""
    found = shutil.which(name, path=_PATH)
    if found is None and os.geteuid() == 0 and shutil.which("apt-get"):
        install = ["apt-get", "install", "-y", "-qq", package or name]
        try:
            done(install)
        except Unavailable:  # the lists of packages may be missing or old
            done(["apt-get", "update", "-qq"])
            done(install)
        found = shutil.which(name, path=_PATH)
    if found is None:
        hint = f"sudo apt-get install {package or name}"
        raise Unavailable(f"{name} is missing. Install it, for one with: {hint}")
    return found


def done(command: Sequence[str], *, env: Mapping[str, str] | None = None, cwd: Path | None = None) -> str:
    """Run a command to its end; what it printed. Raises Unavailable with the last line of what it complained of."""
    try:
        finished = subprocess.run(
            command, check=True, capture_output=True, text=True, timeout=_INSTALL_WITHIN, env=_with(env), cwd=cwd
        )
    except subprocess.CalledProcessError as error:
        last = (error.stderr or error.stdout or "").strip().rpartition("\n")[2]
        raise Unavailable(f"`{' '.join(command[:4])}` ended with {error.returncode}: {last[:300]}") from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unavailable(f"`{' '.join(command[:4])}`: {error}") from error
    return finished.stdout


def cache(name: str) -> Path:
    """A folder of this bench's own that outlives the run, outside of the repository."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = home / "lamplighter-bench" / name
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def free_port() -> int:
    """A port of the loopback interface that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextlib.contextmanager
def running(
    command: Sequence[str],
    port: int,
    *,
    env: Mapping[str, str] | None = None,
    log: Path | None = None,
    within: float = _START_WITHIN,
) -> Iterator[psutil.Process]:
    """A process that listens on a loopback port, ended with its children when the block ends.

    What it prints goes to the file `log`, where one is given. Raises Unavailable when it does not listen in time.
    """
    with contextlib.ExitStack() as stack:
        output = stack.enter_context(log.open("ab")) if log is not None else None
        process = subprocess.Popen(command, env=_with(env), stdout=output, stderr=output)
        stack.callback(_end, process)
        _await_port(process, port, within)
        yield psutil.Process(process.pid)


def _with(env: Mapping[str, str] | None) -> dict[str, str] | None:
    return None if env is None else {**os.environ, **env}


def _end(process: subprocess.Popen[bytes]) -> None:
    family = []
    with contextlib.suppress(psutil.NoSuchProcess):
        family = psutil.Process(process.pid).children(recursive=True)
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for one in psutil.wait_procs(family, timeout=2)[1]:
        with contextlib.suppress(psutil.NoSuchProcess):
            one.kill()


def _await_port(process: subprocess.Popen[bytes], port: int, within: float) -> None:
    deadline = time.monotonic() + within
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise Unavailable(f"{process.args!r} ended with {process.returncode}")
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.02)
    raise Unavailable(f"{process.args!r} did not listen within {within:g} s")


def processor_time(process: psutil.Process) -> float:
    """User and system time in seconds that a process and its children have taken so far."""
    total = 0.0
    for one in [process, *process.children(recursive=True)]:
        times = one.cpu_times()
        total += times.user + times.system
    return total


def split_cores() -> tuple[frozenset[int], frozenset[int]]:
    """One core for what is measured, the others for the load and what stands behind. Raises Unavailable with one core."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        raise Unavailable("a core for the server and one for the load are needed, and this machine has one")
    return frozenset(cores[:1]), frozenset(cores[1:])


@contextlib.contextmanager
def on_cores(cores: Collection[int]) -> Iterator[None]:
    """What this thread starts inside runs on these cores alone."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
