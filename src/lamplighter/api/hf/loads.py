"""What the engines of an endpoint use of this machine."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Protocol

import psutil

from lamplighter.api.hf.graphs import Load
from lamplighter.api.hf.loglines import replica_id
from lamplighter.domain.endpoint import Endpoint

_MOST = 4096


class Processes(Protocol):
    """Tells the processes of an endpoint that run on this machine."""

    def processes(self, name: str) -> Sequence[tuple[int, int]]:
        """`(number of the replica, id of its leading process)`; none for one that runs elsewhere."""


class Loads:
    """Remembers what each process had used when it was last looked at, because processor time is only counted."""

    def __init__(self, source: Processes) -> None:
        self._source = source
        self._seen: dict[tuple[int, float], tuple[float, float]] = {}

    async def of(self, endpoint: Endpoint) -> list[Load]:
        """What each replica uses: processor time since it was last asked for, memory now."""
        name = endpoint.spec.name
        found = self._source.processes(name)
        return await asyncio.to_thread(self._measured, name, found) if found else []

    def _measured(self, name: str, found: Sequence[tuple[int, int]]) -> list[Load]:
        return [load for slot, pid in found if (load := self._load(replica_id(name, slot), pid)) is not None]

    def _load(self, replica: str, pid: int) -> Load | None:
        try:
            leader = psutil.Process(pid)
            family = [leader, *leader.children(recursive=True)]
        except psutil.Error:
            return None
        used = [self._use(process) for process in family]
        return Load(replica=replica, cpu=sum(cpu for cpu, _ in used), memory=sum(memory for _, memory in used))

    def _use(self, process: psutil.Process) -> tuple[float, int]:
        """Percent of one processor since the last look, or since its start; and bytes."""
        try:
            with process.oneshot():
                times, memory, born = process.cpu_times(), process.memory_info().rss, process.create_time()
        except psutil.Error:  # it has just ended
            return 0.0, 0
        now, spent = time.time(), times.user + times.system
        key = (process.pid, born)
        at, before = self._seen.get(key, (born, 0.0))
        if len(self._seen) >= _MOST:
            self._seen.clear()
        self._seen[key] = (now, spent)
        return 100.0 * max(0.0, spent - before) / max(0.001, now - at), memory
