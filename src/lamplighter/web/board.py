"""What all open pages show of the endpoints, computed once: rows by name, and what changed since the look before.

A row is what `GET /api/endpoints/status` tells of an endpoint, without what is null, and with moments in the place of
durations that run: a row that nothing happened to stays as it is. Pure; moments are Unix time.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from lamplighter.domain.endpoint import Endpoint

Row: TypeAlias = dict[str, Any]

_JITTER = 0.5
"""By how much a moment may move without having moved: it is computed from two clocks (seconds)."""

_RUNNING = ("state_age", "auto_sleep_in", "starting_for", "url")


@dataclass(frozen=True, slots=True)
class Spending:
    """What an endpoint cost today, in $; `saved` is None where staying awake has no known price."""

    cold_start: float
    serving: float
    idle: float
    saved: float | None


@dataclass(slots=True)
class Delta:
    """What is to be told: rows that are new or changed, names that are gone, spending that changed."""

    rows: dict[str, Row] = field(default_factory=dict)
    gone: list[str] = field(default_factory=list)
    spending: dict[str, Spending] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.rows or self.gone or self.spending)


class Board:
    """The rows as they were told last. `describe` gives the status of an endpoint as the REST does."""

    def __init__(self, describe: Callable[[Endpoint], Mapping[str, Any]]) -> None:
        self._describe = describe
        self._seen: dict[str, tuple[Any, ...]] = {}
        self.rows: dict[str, Row] = {}
        self.spending: dict[str, Spending] = {}
        self._spending: Mapping[str, Spending] = {}  # as it was given last
        self.number = 0
        """Of the last change; each delta has the next one."""

    def look(
        self,
        endpoints: Iterable[Endpoint],
        names: Collection[str],
        wall: float,
        beside: Mapping[str, object],
        spending: Mapping[str, Spending],
    ) -> Delta:
        """Take how some or all are now; `names` are those of all that there are.

        `beside` is what a row depends on besides its endpoint, by name.
        """
        delta = Delta()
        for endpoint in endpoints:
            name = endpoint.spec.name
            shown = _fingerprint(endpoint, beside.get(name))
            if self._seen.get(name) != shown or self._has_moved(name, endpoint, wall):
                self._seen[name] = shown
                self.rows[name] = delta.rows[name] = self._row(endpoint, wall)
        delta.gone = [name for name in self.rows if name not in names]
        for name in delta.gone:
            del self.rows[name], self._seen[name]
        if spending is not self._spending:
            self._spending = spending
            delta.spending = {name: one for name, one in spending.items() if self.spending.get(name) != one}
            self.spending = dict(spending)
        self.number += bool(delta)
        return delta

    def _row(self, endpoint: Endpoint, wall: float) -> Row:
        row = {key: value for key, value in self._describe(endpoint).items() if value is not None}
        for key in _RUNNING:
            row.pop(key, None)
        moments = _moments(endpoint, wall)
        return row | {key: at for key, at in moments.items() if at is not None} | {"leaving": endpoint.leaving}

    def _has_moved(self, name: str, endpoint: Endpoint, wall: float) -> bool:
        row = self.rows[name]
        for key, at in _moments(endpoint, wall).items():
            before = row.get(key)
            if at is None or before is None:
                if at is not before:
                    return True
            elif abs(at - before) > _JITTER:
                return True
        return False


def _moments(endpoint: Endpoint, wall: float) -> dict[str, float | None]:
    left, started = endpoint.auto_sleep_in, endpoint.starting_for
    return {
        "sleeps_at": None if left is None else round(wall + left, 2),
        "started_at": None if started is None else round(wall - started, 2),
    }


def _fingerprint(endpoint: Endpoint, beside: object) -> tuple[Any, ...]:
    return (
        endpoint.phase,
        endpoint.state,
        endpoint.in_flight,
        endpoint.waiting,
        endpoint.message,
        endpoint.held_by,
        endpoint.paused,
        endpoint.leaving,
        len(endpoint.replicas),
        endpoint.expected_start,
        int(endpoint.last_activity or 0),
        endpoint.wake_time,
        endpoint.sleep_time,
        id(endpoint.spec),
        beside,
    )
