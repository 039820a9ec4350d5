"""A process that ends the engines of a Lamplighter in a program that was killed: `python -m lamplighter.sdk.ender`.

It is told over its standard input whose engines they are. When the program is gone without a word, it ends them, unless
the same program is running again by then and has taken them over.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import select
import shutil
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lamplighter.sdk.folders import FileLock, held, is_locked
from lamplighter.sdk.watchdog import DONE, Log, first_line, report_ready

if TYPE_CHECKING:
    from lamplighter.providers.local.leftovers import Leftover
    from lamplighter.providers.local.runfiles import RunFiles

_LOCKS = Path("/proc/locks")
_LOCK_LOOK = 0.05
_LOCK_PATIENCE = 60.0
_LOOK = 1.0  # where the kernel does not tell of a process's end
_LONGEST_GRACE = 10.0


@dataclass(frozen=True, slots=True)
class Charge:
    """Whose engines: of the server with this data folder, in the process `program`.

    A `fleeting` folder is of no use afterwards, and removed.
    """

    data: Path
    program: int
    fleeting: bool

    @classmethod
    def of(cls, line: bytes) -> Charge:
        told = json.loads(line)
        return cls(data=Path(told["data"]), program=int(told["program"]), fleeting=bool(told["fleeting"]))

    def line(self) -> bytes:
        told = {"data": str(self.data), "program": self.program, "fleeting": self.fleeting}
        return json.dumps(told).encode() + b"\n"


def ending_lock(data: Path) -> FileLock:
    """Held while engines are ended, and while a server starts that may want to take them over."""
    return FileLock(data / "ending.lock")


def main() -> int:
    """Stand by, and end engines if need be; returns the exit code."""
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGPIPE, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # it ends with the program, which may be told the same and not heed it
    stdin = os.dup(0)
    first, rest = first_line(stdin)
    if not first:
        return 2
    charge = Charge.of(first)
    report_ready()
    if _is_dismissed(stdin, charge.program, rest):
        return 0
    _act(charge, Log(charge.data, "ender"))
    if charge.fleeting:
        shutil.rmtree(charge.data, ignore_errors=True)
    return 0


def _is_dismissed(stdin: int, program: int, rest: bytes) -> bool:
    """Wait until the program says that all is well (True), or is gone without having said so."""
    exit_notice = _exit_notice(program)
    watched = [stdin] if exit_notice is None else [stdin, exit_notice]
    tail = rest
    while DONE not in tail:
        readable, _, _ = select.select(watched, [], [], _LOOK if exit_notice is None else None)
        piece = os.read(stdin, 4096) if stdin in readable else None
        # A child that was forked keeps the pipe open; so its end is not all that tells.
        if piece == b"" or (piece is None and (exit_notice in readable or os.getppid() != program)):
            return False
        tail = (tail + (piece or b""))[-64:]
    return True


def _exit_notice(program: int) -> int | None:
    """A file descriptor that is readable once the program is gone; None where there is no such thing."""
    try:
        return os.pidfd_open(program)
    except (OSError, AttributeError):
        return None


def _act(charge: Charge, log: Log) -> None:
    lock = ending_lock(charge.data)
    deadline = time.monotonic() + _LOCK_PATIENCE
    with contextlib.suppress(OSError):  # the folder is gone: then nobody starts a server on it either
        while not lock.try_take() and time.monotonic() < deadline:
            time.sleep(_LOCK_LOOK)
    with held(lock):
        for folder in sorted(charge.data.glob("*/run")):
            if _is_taken_over(folder / "lock", charge.program):
                log(f"the engines of {folder} were taken over")
            else:
                asyncio.run(_end_all(folder, log))


def _is_taken_over(lock: Path, program: int) -> bool:
    """Whether another server uses the folder. A child that the program forked holds its lock too, and is no server."""
    if not is_locked(lock):
        return False
    try:
        inode = lock.stat().st_ino
        held_by = [line.split() for line in _LOCKS.read_text(encoding="ascii").splitlines()]
    except (OSError, ValueError):
        return True
    # `1: FLOCK ADVISORY WRITE pid major:minor:inode 0 EOF`; the process is the one that took it, even if it is dead.
    holders = {int(words[4]) for words in held_by if len(words) > 5 and words[5].endswith(f":{inode}")}
    return any(pid != program and Path(f"/proc/{pid}").exists() for pid in holders)


async def _end_all(folder: Path, log: Log) -> None:
    from lamplighter.providers.local.leftovers import Leftovers  # noqa: PLC0415 - most enders never need it
    from lamplighter.providers.local.runfiles import RunFiles  # noqa: PLC0415

    runs = RunFiles(folder)
    await asyncio.gather(*(_end(leftover, runs, log) for leftover in Leftovers.find(runs).take_all()))


async def _end(leftover: Leftover, runs: RunFiles, log: Log) -> None:
    from lamplighter.errors import ProviderError  # noqa: PLC0415
    from lamplighter.providers.local.process import start_mark  # noqa: PLC0415

    group = leftover.group
    try:
        await group.end(min(leftover.grace, _LONGEST_GRACE), lambda: start_mark(group.leader) != group.mark)
    except ProviderError as error:
        log(f"{leftover.id}: not ended: {error}")
        return
    runs.remove(leftover.id)
    log(f"{leftover.id}: ended, because its program was gone")


if __name__ == "__main__":
    sys.exit(main())
