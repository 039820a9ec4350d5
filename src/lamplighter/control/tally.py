"""Counts what becomes of endpoints since the start: wakes, sleeps, stops that failed, how long starts took.

It stands before the journal, and so sees what goes on record, when it does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lamplighter.control.clock import Clock
from lamplighter.control.journal import Journal, Memory
from lamplighter.domain.endpoint import ASLEEP, BROKEN, Endpoint, State, Transition
from lamplighter.domain.latency import Histogram
from lamplighter.store import AuditRecord

MOST_ENDPOINTS = 4096
"""Endpoints that are counted at a time; the one first seen longest ago is forgotten for another."""

CAUSES = ("request", "policy", "operator", "server", "provider")
RESULTS = ("ready", "refused", "lost", "failed")

_OPERATOR = "operator"
_STOPS = frozenset({"sleep", "pause"})


class EndpointTally:
    """Of one endpoint.

    `wakes` are counted by cause and result, `sleeps` by cause. Causes: `request`, `policy`, `operator` (a person or
    program by name), `server` (its shutdown) and `provider` (nobody here). Results: `ready`; `refused` by the
    provider; `lost`, which it took and never began; `failed` on the way up. `states` counts how often each was entered.
    """

    __slots__ = ("_awake", "_awake_since", "_cause", "_stopping", "failed_stops", "sleeps", "starts", "states", "wakes")

    def __init__(self) -> None:
        self.wakes: dict[tuple[str, str], int] = {}
        self.sleeps: dict[str, int] = {}
        self.states: dict[State, int] = {}
        self.starts = Histogram()
        self.failed_stops = 0
        self._cause: str | None = None  # of the wake that is under way
        self._stopping = False  # a stop was accepted, and has not been seen to be done
        self._awake = 0.0
        self._awake_since: float | None = None

    def awake_seconds(self, now: float) -> float:
        """How long it was not asleep: starting, running, or in any state that a provider may bill."""
        return self._awake + (now - self._awake_since if self._awake_since is not None else 0.0)

    def called(self, operation: str, actor: str, success: bool) -> None:
        """A verb was said to the provider."""
        if operation == "wake" and self._awake_since is None:
            self._wake_called(cause_of(actor), success)
        elif operation in _STOPS:
            self.failed_stops += self._stopping + (not success)
            self._stopping = success

    def _wake_called(self, cause: str, success: bool) -> None:
        if self._cause is not None:
            self._woken("lost")
        if success:
            self._cause = cause
        else:
            self._count(cause, "refused")

    def changed(self, before: State | None, after: State | None, actor: str, now: float) -> None:
        """It went from one state to another."""
        if after is None or after is before:
            return
        self.states[after] = self.states.get(after, 0) + 1
        if after in ASLEEP:
            self._fell_asleep(before, actor, now)
            return
        if self._awake_since is None:
            self._awake_since = now
            if before is not None and self._cause is None:
                self._cause = cause_of(actor)
        if after is State.RUNNING:
            self._woken("ready")
        elif after in BROKEN:
            self._woken("failed")

    def _fell_asleep(self, before: State | None, actor: str, now: float) -> None:
        self._stopping = False
        self._woken("failed")
        if self._awake_since is not None:
            self._awake += now - self._awake_since
            self._awake_since = None
        if before is not None and before not in ASLEEP:
            cause = cause_of(actor)
            self.sleeps[cause] = self.sleeps.get(cause, 0) + 1

    def _woken(self, result: str) -> None:
        cause, self._cause = self._cause, None
        if cause is not None:
            self._count(cause, result)

    def _count(self, cause: str, result: str) -> None:
        self.wakes[cause, result] = self.wakes.get((cause, result), 0) + 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Tallied:
    """What was counted of one endpoint, as it was at one moment."""

    endpoint: str
    wakes: Mapping[tuple[str, str], int]
    sleeps: Mapping[str, int]
    states: Mapping[State, int]
    starts: Histogram
    failed_stops: int
    awake_seconds: float


class Tally(Journal):
    """A journal that counts and passes on."""

    def __init__(self, journal: Journal, clock: Clock) -> None:
        self._journal = journal
        self._clock = clock
        self._known: dict[str, EndpointTally] = {}

    def of_all(self) -> list[Tallied]:
        """All that was counted, by endpoint: what is counted later does not change it."""
        now = self._clock.now()
        return [_tallied(name, tally, now) for name, tally in self._known.items()]

    async def recall(self, endpoint: str) -> Memory:
        self._of(endpoint)
        return await self._journal.recall(endpoint)

    async def transition(self, transition: Transition) -> None:
        now = self._clock.now()
        self._of(transition.endpoint).changed(transition.before, transition.after, transition.actor, now)
        await self._journal.transition(transition)

    async def started(self, endpoint: str, at: float, duration: float) -> None:
        self._of(endpoint).starts.add(duration)
        await self._journal.started(endpoint, at, duration)

    async def operation(self, record: AuditRecord) -> None:
        tally = self._known.get(record.endpoint or "")  # people may ask for names that nothing has
        if tally is not None:
            tally.called(record.operation, record.actor, record.success)
        await self._journal.operation(record)

    async def remember(self, endpoints: Sequence[Endpoint]) -> None:
        await self._journal.remember(endpoints)

    async def forget(self, endpoint: str) -> None:
        self._known.pop(endpoint, None)
        await self._journal.forget(endpoint)

    def _of(self, endpoint: str) -> EndpointTally:
        tally = self._known.get(endpoint)
        if tally is None:
            if len(self._known) >= MOST_ENDPOINTS:
                del self._known[next(iter(self._known))]
            self._known[endpoint] = tally = EndpointTally()
        return tally


def cause_of(actor: str) -> str:
    """Who is behind something, as one of few words."""
    return actor if actor in CAUSES else _OPERATOR


def _tallied(name: str, tally: EndpointTally, now: float) -> Tallied:
    return Tallied(
        endpoint=name,
        wakes=dict(tally.wakes),
        sleeps=dict(tally.sleeps),
        states=dict(tally.states),
        starts=tally.starts.copy(),
        failed_stops=tally.failed_stops,
        awake_seconds=tally.awake_seconds(now),
    )
