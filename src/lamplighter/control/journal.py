"""What controllers write down, and what they find again after a restart."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from lamplighter.domain.endpoint import State, Transition


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """What is worth knowing of an endpoint after a restart. Moments in Unix time, `starts` in seconds, oldest first."""

    last_activity: float | None = None
    wake_time: float | None = None
    sleep_time: float | None = None
    starts: Sequence[float] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """What is kept of an endpoint between transitions. Moments in Unix time."""

    endpoint: str
    provider: str
    state: State | None
    last_activity: float | None
    wake_time: float | None
    sleep_time: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """Somebody's management operation, for the audit."""

    at: float
    actor: str
    operation: str
    endpoint: str
    error: str | None = None


class Journal(Protocol):
    """A place to write to. Its methods return when the record is safe, or when waiting longer would do harm.

    They never raise: a database that is full or locked must not keep an endpoint from being put to sleep. What could
    not be written is kept and written later.
    """

    async def recall(self, endpoint: str) -> Memory:
        """What earlier runs left."""

    async def transition(self, transition: Transition) -> None: ...

    async def started(self, endpoint: str, at: float, duration: float) -> None:
        """A start that succeeded took `duration` seconds."""

    async def operation(self, operation: Operation) -> None: ...

    async def remember(self, snapshots: Sequence[Snapshot]) -> None: ...


class MemoryJournal:
    """A journal that forgets with the process."""

    def __init__(self) -> None:
        self.transitions: deque[Transition] = deque(maxlen=100_000)
        self.operations: deque[Operation] = deque(maxlen=10_000)
        self.starts: dict[str, list[float]] = {}
        self.snapshots: dict[str, Snapshot] = {}

    async def recall(self, endpoint: str) -> Memory:
        seen = self.snapshots.get(endpoint)
        starts = tuple(self.starts.get(endpoint, ()))
        if seen is None:
            return Memory(starts=starts)
        return Memory(
            last_activity=seen.last_activity, wake_time=seen.wake_time, sleep_time=seen.sleep_time, starts=starts
        )

    async def transition(self, transition: Transition) -> None:
        self.transitions.append(transition)

    async def started(self, endpoint: str, at: float, duration: float) -> None:  # noqa: ARG002 - kept by the store
        self.starts.setdefault(endpoint, []).append(duration)

    async def operation(self, operation: Operation) -> None:
        self.operations.append(operation)

    async def remember(self, snapshots: Sequence[Snapshot]) -> None:
        self.snapshots.update({snapshot.endpoint: snapshot for snapshot in snapshots})
