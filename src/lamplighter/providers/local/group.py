"""All processes of one replica, grandchildren too, and how they are ended."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

from lamplighter.errors import ProviderError
from lamplighter.providers.local.listeners import holder, holds, listening_sockets
from lamplighter.providers.local.process import reap, start_mark

MARKER = "LAMPLIGHTER_REPLICA"
"""The environment variable by which a replica's processes are found again, whatever session they moved to."""

_PROC = Path("/proc/self/environ").exists()

KILL_WAIT = 10.0
"""Seconds after SIGKILL within which a group has to be gone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """The processes that belong to one replica.

    Those of its session or process group, `leader`'s, and those that bear its marker. `mark` is the leader's start
    mark: with another one, the leader's id has been given to a stranger, and only the marker counts.
    """

    leader: int
    mark: str | None
    marker: str

    def members(self) -> list[int]:
        """Everything that lives. Zombies do not count: where nobody reaps orphans, they stay for ever."""
        ours = start_mark(self.leader) in (self.mark, None)
        return [pid for pid in psutil.pids() if ((ours and self._in_session(pid)) or self._bears(pid)) and _alive(pid)]

    def _in_session(self, pid: int) -> bool:
        try:
            return self.leader in (os.getsid(pid), os.getpgid(pid))
        except OSError:  # it has just ended
            return False

    def _bears(self, pid: int) -> bool:
        return marker_of(pid) == self.marker

    async def end(self, grace: float, gone: Callable[[], bool]) -> None:
        """SIGTERM, `grace` seconds, SIGKILL; returns when nothing is left.

        `gone` tells cheaply whether the leader has ended, so that a quick end is noticed quickly. Raises ProviderError
        when something survives even SIGKILL (a process stuck in the kernel).
        """
        pids = await asyncio.to_thread(self.members)
        _signal(pids, signal.SIGTERM)
        if pids and not await self._empty_within(grace, gone):
            await self._kill()
        reap(self.leader)

    async def _kill(self) -> None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + KILL_WAIT
        while pids := await asyncio.to_thread(self.members):
            if loop.time() > deadline:
                raise ProviderError(f"processes {_listed(pids)} are still there after SIGKILL")
            _signal(pids, signal.SIGKILL)
            await asyncio.sleep(0.02)

    async def _empty_within(self, seconds: float, gone: Callable[[], bool]) -> bool:
        loop = asyncio.get_running_loop()
        began = loop.time()
        for pause in _pauses():
            if gone() and not await asyncio.to_thread(self.members):
                return True
            if loop.time() - began >= seconds:
                return False
            await asyncio.sleep(min(pause, max(0.0, began + seconds - loop.time())))
        return False


def foreign_listener(group: Group, port: int) -> bool:
    """Whether it is certain that a stranger listens on the port, not this group.

    Strange is a process that was there before the group, or that bears another replica's marker. Where the listener
    can't be seen it counts as ours: a container's port, for one, is opened by the container runtime.
    """
    sockets = listening_sockets(port)
    if not sockets or holds(group.leader, sockets):
        return False
    pid = holder(sockets)
    if pid is None or pid in group.members():
        return False
    marker = marker_of(pid)
    return (marker is not None and marker != group.marker) or _born(pid) < _born(group.leader)


def marker_of(pid: int) -> str | None:
    """The marker in a process's environment, None where there is none or it can't be read."""
    try:
        variables = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return _portable_marker(pid) if not _PROC else None
    name = f"{MARKER}=".encode()
    return next((v.removeprefix(name).decode("utf-8", "replace") for v in variables if v.startswith(name)), None)


def _portable_marker(pid: int) -> str | None:
    try:
        return psutil.Process(pid).environ().get(MARKER)
    except (psutil.Error, OSError):
        return None


def marked(prefix: str) -> dict[int, str]:
    """Live processes whose marker begins so, by their ids, oldest first."""
    found = {pid: marker_of(pid) or "" for pid in psutil.pids()}
    born = {pid: _born(pid) for pid, marker in found.items() if marker.startswith(prefix) and _alive(pid)}
    return {pid: found[pid] for pid in sorted(born, key=lambda pid: (born[pid], pid))}


def _born(pid: int) -> float:
    try:
        return psutil.Process(pid).create_time()
    except psutil.Error:
        return float("inf")


def _alive(pid: int) -> bool:
    return start_mark(pid) is not None


def _signal(pids: Iterable[int], number: signal.Signals) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):  # ended, or not ours: seen at the next look
            os.kill(pid, number)


def _pauses() -> Iterator[float]:
    """Growing pauses in seconds, 10 ms to 100 ms."""
    pause = 0.01
    while True:
        yield pause
        pause = min(0.1, pause * 1.3)


def _listed(pids: list[int]) -> str:
    return ", ".join(str(pid) for pid in pids[:10]) + (", …" if len(pids) > 10 else "")
