"""What the graphs of the metrics route add up to. Pure.

A graph is `{"series": [{…labels…, "<any name>": [{"x": time, "y": number}, …]}]}`. What is not there, or can't be read,
gives None: nothing is invented.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import pairwise
from statistics import median
from typing import Any

from lamplighter.hf.records import Metrics
from lamplighter.sdk.status import decimal, number

LEDGER, ESTIMATE = "ledger", "estimate"
"""Where the cost comes from: what was charged, or uptime times a price."""

Point = tuple[float, float]
"""Unix time, and a value."""

_LONGEST_STEP = 3600.0
_LEAST_GAP = 90.0
_MOST_STEPS = 2.5
_MILLISECONDS = 1e11  # a number above this is no count of seconds


def add_up(graphs: Mapping[str, Any], *, window: float, stop: float, price_per_hour: float | None) -> Metrics:
    """Sum up a window of `window` seconds before the Unix time `stop`; `price_per_hour` is USD per replica.

    `uptime` is the time in which at least one replica ran. The cost is what a Lamplighter's ledger charged, where that
    is told. Else it is the time of all running replicas times the price: an estimate, because starts are billed as well
    and are in no graph.
    """
    running = [points for labels, points in _series(graphs.get("replicasRunning")) if _runs(labels)]
    uptime, replica_seconds = _durations(running, window, stop) if running else (None, None)
    requests, errors = _requests(graphs.get("responseStatusCodeGrouped"))
    cost, source = _cost(graphs, replica_seconds, price_per_hour)
    return Metrics(
        window=window,
        uptime=uptime,
        requests=requests,
        errors=errors,
        tokens=_total([points for _, points in _series(graphs.get("tokens"))]),
        cost=cost,
        price_per_hour=price_per_hour,
        cost_source=source,
        unpriced=number(_ledger(graphs).get("unpriced_seconds")),
        raw=graphs,
    )


def _cost(
    graphs: Mapping[str, Any], replica_seconds: float | None, price_per_hour: float | None
) -> tuple[float | None, str | None]:
    """What it cost in USD, and who says so."""
    charged = decimal(_ledger(graphs).get("cost"))
    if charged is not None:
        return float(charged), LEDGER
    if price_per_hour is None or replica_seconds is None:
        return None, None
    return price_per_hour * replica_seconds / 3600.0, ESTIMATE


def _ledger(graphs: Mapping[str, Any]) -> Mapping[str, Any]:
    """What a Lamplighter charged for the window; nothing of Hugging Face."""
    told = graphs.get("lamplighter")
    return told if isinstance(told, Mapping) else {}


def runs_since(graphs: Mapping[str, Any], stop: float) -> float | None:
    """Since when replicas have been running without a break until the Unix time `stop`, as far as the graph reaches.

    None where it shows none running at the end, or is not there. A hole in the graph is a break: while an endpoint is
    paused nothing may be drawn at all.
    """
    at: defaultdict[float, float] = defaultdict(float)
    for labels, points in _series(graphs.get("replicasRunning")):
        for moment, value in points if _runs(labels) else ():
            at[moment] += value
    moments = sorted(moment for moment in at if moment <= stop)
    steps = [later - earlier for earlier, later in pairwise(moments)]
    longest = max(_LEAST_GAP, _MOST_STEPS * median(steps)) if steps else _LEAST_GAP
    since, following = None, stop
    for moment in reversed(moments):
        if at[moment] <= 0 or following - moment > longest:
            break
        since = following = moment
    return since


def last_request(graphs: Mapping[str, Any]) -> float | None:
    """Unix time of the last point of the graph at which requests were answered; None where it shows none."""
    series = _series(graphs.get("responseStatusCodeGrouped"))
    return max((moment for _, points in series for moment, value in points if value > 0), default=None)


def _durations(running: Iterable[Sequence[Point]], window: float, stop: float) -> tuple[float, float]:
    """Seconds with any replica up, and seconds of all replicas together. A point stands until the next one.

    A gap of more than an hour is no time that anybody has seen.
    """
    at: defaultdict[float, float] = defaultdict(float)
    for points in running:
        for moment, value in points:
            at[moment] += max(0.0, value)
    moments = sorted(at)
    up = together = 0.0
    for moment, following in pairwise([*moments, max(stop, *moments)] if moments else []):
        lasted = min(following - moment, _LONGEST_STEP)
        up += lasted if at[moment] > 0 else 0.0
        together += lasted * at[moment]
    return min(up, window), together


def _requests(graph: Any) -> tuple[int | None, int | None]:
    """All requests, and those that failed on the serving side."""
    series = list(_series(graph))
    if not series:
        return None, None
    failed = [points for labels, points in series if _is_failure(labels)]
    return _total([points for _, points in series]), _total(failed) if failed else 0


def _total(series: Sequence[Sequence[Point]]) -> int | None:
    """The sum, where the values are counts; rates add up to nothing that could be told."""
    values = [value for points in series for _, value in points]
    if not series or any(value < 0 or value != math.floor(value) for value in values):
        return None
    return int(sum(values))


def _runs(labels: Sequence[str]) -> bool:
    """Whether a series counts running replicas: it says so, or says nothing."""
    return not labels or any(label.lower() in {"running", "ready"} for label in labels)


def _is_failure(labels: Sequence[str]) -> bool:
    return any(label[:1] == "5" and len(label) == 3 for label in labels)


def _series(graph: Any) -> Iterator[tuple[list[str], list[Point]]]:
    """The labels and the points of each series of a graph."""
    listed = graph.get("series") if isinstance(graph, Mapping) else None
    for series in listed if isinstance(listed, list) else []:
        if isinstance(series, Mapping):
            yield _labels(series), _points(series)


def _labels(series: Mapping[str, Any]) -> list[str]:
    found: list[str] = []
    for value in series.values():
        if isinstance(value, Mapping):
            found += _labels(value)
        elif isinstance(value, str | int) and not isinstance(value, bool):
            found.append(str(value))
    return found


def _points(series: Mapping[str, Any]) -> list[Point]:
    for value in series.values():
        if isinstance(value, list):
            points = [_point(item) for item in value]
            return [point for point in points if point is not None]
    return []


def _point(item: Any) -> Point | None:
    if not isinstance(item, Mapping):
        return None
    moment, value = _moment(item.get("x")), number(item.get("y"))
    if moment is None or value is None or not math.isfinite(value):
        return None
    return moment, value


def _moment(value: Any) -> float | None:
    """RFC 3339, Unix seconds or Unix milliseconds."""
    if isinstance(value, str):
        try:
            return datetime.fromisoformat(value).timestamp()
        except ValueError:
            return None
    moment = number(value)
    if moment is None or not math.isfinite(moment):
        return None
    return moment / 1000 if moment > _MILLISECONDS else moment
