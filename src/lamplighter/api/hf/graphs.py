"""The graphs of a window of time, from what was recorded. Pure.

A graph is `{"series": [{…labels…, "data": [{"x": moment, "y": number}, …]}]}`.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lamplighter.api.hf import moments
from lamplighter.api.hf.loglines import replica_id
from lamplighter.domain.endpoint import SERVING, Endpoint, State, Transition
from lamplighter.store.records import UsageBucket

EMPTY: Mapping[str, Any] = {"series": []}

_ENDLESS = 1 << 62
_POINTS = 120
_SHORTEST_STEP, _LONGEST_STEP = 1.0, 3600.0


@dataclass(frozen=True, slots=True)
class Window:
    """From `start` on, before `stop`, both Unix time, in steps of so many seconds."""

    start: float
    stop: float

    @property
    def step(self) -> float:
        """Such that a graph has about 120 points; a whole number of seconds, at most an hour."""
        return float(min(_LONGEST_STEP, max(_SHORTEST_STEP, (self.stop - self.start) // _POINTS)))

    def moments(self) -> list[float]:
        """The beginnings of its steps."""
        count = -int(-(self.stop - self.start) // self.step)
        return [self.start + index * self.step for index in range(count)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What a replica uses of this machine now: percent of one processor, and bytes."""

    replica: str
    cpu: float
    memory: int


def all_graphs(
    endpoint: Endpoint,
    window: Window,
    *,
    usage: Sequence[UsageBucket],
    transitions: Sequence[Transition],
    loads: Sequence[Load],
    now: float,
) -> dict[str, Any]:
    """Everything that there is a record of; what there is none of has no series. `transitions` oldest first."""
    return {
        "responseStatusCodeGrouped": by_status(usage),
        "responseElapsed": mean_latency(usage),
        "pendingRequest": pending(endpoint, window, now),
        "replicasRunning": replicas_running(endpoint, window, transitions),
        "hardwareCpu": _now(window, now, [(load.replica, load.cpu) for load in loads]),
        "hardwareMem": _now(window, now, [(load.replica, float(load.memory)) for load in loads]),
        "hardwareGpu": dict(EMPTY),
        "hardwareGpuMem": dict(EMPTY),
        "inference": None,
    }


def by_status(usage: Sequence[UsageBucket]) -> dict[str, Any]:
    """How many requests were answered in each step, by status."""
    statuses = sorted({bucket.status for bucket in usage})
    return {
        "series": [
            {
                "statusCode": str(status),
                "data": [_point(one.at, one.requests) for one in usage if one.status == status],
            }
            for status in statuses
        ]
    }


def mean_latency(usage: Sequence[UsageBucket]) -> dict[str, Any]:
    """The mean time to an answer's last byte in seconds, of all statuses; quantiles over time are not recorded."""
    sums: dict[float, tuple[int, float]] = {}
    for bucket in usage:
        requests, duration = sums.get(bucket.at, (0, 0.0))
        sums[bucket.at] = (requests + bucket.requests, duration + bucket.duration)
    data = [_point(at, duration / requests) for at, (requests, duration) in sums.items() if requests]
    return {"series": [{"percentile": "mean", "data": data}]} if data else dict(EMPTY)


def pending(endpoint: Endpoint, window: Window, now: float) -> dict[str, Any]:
    """Requests without an answer yet: known of this moment alone."""
    return _now(window, now, [(None, float(endpoint.in_flight + endpoint.waiting))])


def replicas_running(endpoint: Endpoint, window: Window, transitions: Sequence[Transition]) -> dict[str, Any]:
    """How many replicas ran: at each step, and at each change. A point stands until the next one."""
    changes = [one for one in transitions if window.start <= one.at < window.stop]
    before = changes[0].before if changes else endpoint.state  # nothing changed: it was as it is
    counts = [(window.start, _running(endpoint, before))]
    counts += [(one.at, _running(endpoint, one.after)) for one in changes]
    at_steps = [(at, _latest(counts, at)) for at in window.moments()[1:]]
    data = [_point(at, count) for at, count in sorted({**dict(at_steps), **dict(counts)}.items())]
    return {"series": [{"status": "running", "data": data}]}


def _latest(counts: Sequence[tuple[float, int]], at: float) -> int:
    """The count that stands at a moment; they are in order, and the first is not later."""
    return counts[bisect_right(counts, (at, _ENDLESS)) - 1][1]


def _running(endpoint: Endpoint, state: State | None) -> int:
    return endpoint.spec.replicas if state in SERVING else 0


def _now(window: Window, now: float, values: Iterable[tuple[str | None, float]]) -> dict[str, Any]:
    """A single point for each replica, if the window reaches to this moment."""
    if not window.start <= now <= window.stop + window.step:
        return dict(EMPTY)
    series = [
        ({"replicaId": replica} if replica is not None else {}) | {"data": [_point(now, value)]}
        for replica, value in values
    ]
    return {"series": series}


def _point(at: float, value: float) -> dict[str, Any]:
    return {"x": moments.written(at), "y": value}


def replica_names(endpoint: Endpoint) -> list[str]:
    """The replicas that answer now, as logs call them."""
    return [replica_id(endpoint.spec.name, index) for index in range(len(endpoint.replicas))]
