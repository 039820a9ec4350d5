"""The figures of a server as families of metrics. Pure; docs/metrics.md tells what each one means."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Iterator, Mapping, Sequence
from math import inf

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.openmetrics import exposition as openmetrics_format
from prometheus_client.registry import Collector

from lamplighter.api.metrics import Measured
from lamplighter.control.meter import Series
from lamplighter.control.spending import Counted, Today
from lamplighter.control.tally import CAUSES, RESULTS, Tallied
from lamplighter.domain.budgets import Standing
from lamplighter.domain.endpoint import Endpoint, Phase
from lamplighter.domain.latency import Histogram

# An alert on the growth of a counter misses its first step if the counter begins with it: these begin with 0.
_EXPECTED_ERRORS = ("queue_full", "wake_timeout", "wake_failed", "upstream_unreachable", "upstream_timeout")

_BREAKER_STATES = ("closed", "open", "half-open")
_ROUTE = ("model", "target")


def render(measured: Measured, *, openmetrics: bool) -> tuple[bytes, str]:
    """The text and its media type."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Families(measured))
    ProcessCollector(registry=registry)
    if openmetrics:
        text = openmetrics_format.generate_latest(registry)  # type: ignore[no-untyped-call]  # it has no types
        return text, openmetrics_format.CONTENT_TYPE_LATEST
    return generate_latest(registry), CONTENT_TYPE_PLAIN_0_0_4


class _Families(Collector):
    def __init__(self, measured: Measured) -> None:
        self._measured = measured

    def describe(self) -> Iterable[Metric]:
        """Nothing: no other collector could bring the same names."""
        return ()

    def collect(self) -> Iterable[Metric]:
        measured = self._measured
        yield from _server(measured)
        yield from _requests(measured.series)
        yield from _times(measured.series)
        yield from _endpoints(measured.endpoints)
        yield from _lives(measured.tallies)
        yield from _costs(measured.spent, measured.today)
        yield from _budgets(measured.budgets)
        yield _states("lamplighter_breaker_state", _BREAKERS, "target", measured.breakers, _BREAKER_STATES)


_BREAKERS = "Whether a target is asked: 1 for the state that its circuit breaker is in, else 0."


def _server(measured: Measured) -> Iterator[Metric]:
    about = {"version": measured.version, "python": platform.python_version()}
    yield InfoMetricFamily("lamplighter_build", "Which Lamplighter this is.", value=about)
    yield _gauge("lamplighter_requests_in_progress", "Requests that are answered or held now.", measured.in_progress)
    errors = {**dict.fromkeys(_EXPECTED_ERRORS, 0), **measured.errors}
    yield _counters("lamplighter_errors", "Errors that clients were told, by code.", "code", errors)
    text = "Records and log lines that wait to be written."
    waiting = GaugeMetricFamily("lamplighter_records_waiting", text, labels=["kind"])
    for kind, count in measured.waiting.items():
        waiting.add_metric([kind], count)
    yield waiting
    text = "Records and log lines that were lost."
    yield _counters("lamplighter_records_dropped", text, "kind", measured.dropped)


def _requests(all_series: Sequence[Series]) -> Iterator[Metric]:
    answered = CounterMetricFamily(
        "lamplighter_requests", "Requests that have ended.", labels=[*_ROUTE, "status", "outcome"]
    )
    for series in all_series:
        for (status, outcome), count in _by_class(series).items():
            answered.add_metric([series.model, series.target, status, outcome], count)
    yield answered
    for name, text, attribute in (
        ("lamplighter_attempts", "Times that a request was sent to a target, or tried to be.", "attempts"),
        ("lamplighter_requests_held", "Requests that had to wait for a target.", "held"),
        ("lamplighter_request_held_seconds", "Seconds that requests waited for targets.", "waited"),
    ):
        family = CounterMetricFamily(name, text, labels=_ROUTE)
        for series in all_series:
            family.add_metric([series.model, series.target], getattr(series.figures, attribute))
        yield family
    yield _both_ways("lamplighter_tokens", "Tokens, as answers told of their own usage.", all_series, "tokens")
    yield _both_ways("lamplighter_body_bytes", "Bytes of requests' and answers' bodies.", all_series, "bytes")


def _both_ways(name: str, text: str, all_series: Sequence[Series], attribute: str) -> Metric:
    family = CounterMetricFamily(name, text, labels=[*_ROUTE, "direction"])
    for series in all_series:
        for direction in ("in", "out"):
            count = getattr(series.figures, f"{attribute}_{direction}")
            family.add_metric([series.model, series.target, direction], count)
    return family


def _by_class(series: Series) -> Mapping[tuple[str, str], int]:
    found: dict[tuple[str, str], int] = {}
    for (status, outcome), count in series.figures.answers.items():
        key = (f"{status // 100}xx" if status else "none", outcome.value)
        found[key] = found.get(key, 0) + count
    return found


def _times(all_series: Sequence[Series]) -> Iterator[Metric]:
    for name, text, attribute in (
        ("lamplighter_request_duration_seconds", "From a request's arrival to its end.", "latency"),
        (
            "lamplighter_request_first_byte_seconds",
            "From a request's arrival to the first byte of its answer.",
            "first_byte",
        ),
    ):
        family = HistogramMetricFamily(name, text, labels=_ROUTE)
        for series in all_series:
            _add(family, [series.model, series.target], getattr(series.figures, attribute))
        yield family


def _endpoints(endpoints: Sequence[Endpoint]) -> Iterator[Metric]:
    phases = {one.spec.name: one.phase.value for one in endpoints}
    text = "What an endpoint is doing: 1 for the phase that it is in, else 0."
    yield _states("lamplighter_endpoint_phase", text, "endpoint", phases, [phase.value for phase in Phase])
    for name, text, values in (
        ("in_flight", "Requests that an endpoint is answering.", [one.in_flight for one in endpoints]),
        ("waiting", "Requests that wait for an endpoint.", [one.waiting for one in endpoints]),
        ("replicas", "Copies of an endpoint that are ready.", [len(one.replicas) for one in endpoints]),
        ("paused", "Whether somebody paused an endpoint: no request wakes it.", [one.paused for one in endpoints]),
        ("last_activity_timestamp_seconds", "When a request last ended.", [one.last_activity for one in endpoints]),
    ):
        family = GaugeMetricFamily(f"lamplighter_endpoint_{name}", text, labels=["endpoint"])
        for endpoint, value in zip(endpoints, values, strict=True):
            if value is not None:
                family.add_metric([endpoint.spec.name], value)
        yield family


def _lives(tallies: Sequence[Tallied]) -> Iterator[Metric]:
    wakes = CounterMetricFamily(
        "lamplighter_wakes", "Wakes, by who caused them and what came of them.", labels=["endpoint", "cause", "result"]
    )
    sleeps = CounterMetricFamily(
        "lamplighter_sleeps", "Times that an endpoint fell asleep.", labels=["endpoint", "cause"]
    )
    changes = CounterMetricFamily(
        "lamplighter_state_changes", "Times that an endpoint entered a state.", labels=["endpoint", "state"]
    )
    failed = CounterMetricFamily(
        "lamplighter_failed_stops", "Stops that were refused, or taken and not done.", labels=["endpoint"]
    )
    awake = CounterMetricFamily(
        "lamplighter_endpoint_awake_seconds", "How long an endpoint was not asleep.", labels=["endpoint"]
    )
    starts = HistogramMetricFamily(
        "lamplighter_start_duration_seconds", "From a wake until the endpoint was ready.", labels=["endpoint"]
    )
    for one in tallies:
        for cause, result in ((cause, result) for cause in CAUSES for result in RESULTS):
            wakes.add_metric([one.endpoint, cause, result], one.wakes.get((cause, result), 0))
        for cause in CAUSES:
            sleeps.add_metric([one.endpoint, cause], one.sleeps.get(cause, 0))
        for state, count in one.states.items():
            changes.add_metric([one.endpoint, state.value], count)
        failed.add_metric([one.endpoint], one.failed_stops)
        awake.add_metric([one.endpoint], one.awake_seconds)
        _add(starts, [one.endpoint], one.starts)
    yield from (wakes, sleeps, changes, failed, awake, starts)


def _costs(spent: Sequence[Counted], today: Today | None) -> Iterator[Metric]:
    text = "Dollars that an endpoint has cost, by what they went into."
    family = CounterMetricFamily("lamplighter_cost_dollars", text, labels=["endpoint", "provider", "kind"])
    for one in spent:
        family.add_metric([one.endpoint, one.provider, one.kind.value], float(one.dollars))
    yield family
    for name, text, attribute in (
        ("cost", "Dollars that an endpoint has cost since midnight.", "cost"),
        ("saved", "Dollars that staying awake since midnight would have cost on top.", "saved"),
    ):
        gauge = GaugeMetricFamily(f"lamplighter_today_{name}_dollars", text, labels=["endpoint"])
        for endpoint, amount in today.endpoints.items() if today is not None else ():
            gauge.add_metric([endpoint], float(getattr(amount, attribute)))
        yield gauge


def _budgets(standings: Sequence[Standing]) -> Iterator[Metric]:
    for name, text, amounts in (
        ("limit", "Dollars that may be spent in a period.", [one.budget.limit for one in standings]),
        ("spent", "Dollars that are spent in this period.", [one.spent for one in standings]),
        ("reserved", "Dollars that are set aside for wakes.", [one.reserved for one in standings]),
    ):
        family = GaugeMetricFamily(f"lamplighter_budget_{name}_dollars", text, labels=["budget", "member"])
        for one, amount in zip(standings, amounts, strict=True):
            family.add_metric([one.budget.name, one.member], float(amount))
        yield family


def _states(name: str, text: str, label: str, states: Mapping[str, str], known: Sequence[str]) -> Metric:
    """A gauge per state, 1 for the one that holds."""
    kind = name.rpartition("_")[2]
    family = GaugeMetricFamily(name, text, labels=[label, kind])
    for owner, current in states.items():
        for state in known:
            family.add_metric([owner, state], state == current)
    return family


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(name, text, value=value)


def _counters(name: str, text: str, label: str, counts: Mapping[str, int]) -> Metric:
    family = CounterMetricFamily(name, text, labels=[label])
    for value, count in counts.items():
        family.add_metric([value], count)
    return family


def _add(family: HistogramMetricFamily, labels: Sequence[str], histogram: Histogram) -> None:
    buckets = [("+Inf" if edge == inf else repr(edge), count) for edge, count in histogram.below()]
    family.add_metric(labels, buckets, histogram.total)
