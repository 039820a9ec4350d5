"""Counts what requests do, on their way to the usage records: latencies and statuses of each endpoint since the start.

On the hot path: one dictionary look-up and a few additions a request.
"""

from __future__ import annotations

from lamplighter.domain.latency import Histogram
from lamplighter.domain.usage import UsageRecord, UsageSink

MOST_ENDPOINTS = 4096
"""Endpoints that are counted at a time; the one that was first seen longest ago is forgotten for another."""

_ODD = 0  # stands for every status that HTTP does not have


class Figures:
    """Of one endpoint: `statuses` counts answers by status."""

    __slots__ = ("latency", "statuses")

    def __init__(self) -> None:
        self.latency = Histogram()
        self.statuses: dict[int, int] = {}


class Meter:
    """A UsageSink that counts and passes on."""

    def __init__(self, sink: UsageSink) -> None:
        self._sink = sink
        self._figures: dict[str, Figures] = {}

    def add(self, record: UsageRecord) -> None:
        """Count a record and pass it on; never blocks, never raises."""
        figures = self._figures.get(record.endpoint) or self._begin(record.endpoint)
        figures.latency.add(record.duration)
        statuses = figures.statuses
        status = record.status
        if status in statuses:
            statuses[status] += 1
        else:
            self._first(statuses, status)
        self._sink.add(record)

    def of(self, endpoint: str) -> Figures:
        """What was counted of an endpoint; nothing of one that was never called."""
        return self._figures.get(endpoint) or Figures()

    def _begin(self, endpoint: str) -> Figures:
        if len(self._figures) >= MOST_ENDPOINTS:
            del self._figures[next(iter(self._figures))]
        self._figures[endpoint] = figures = Figures()
        return figures

    @staticmethod
    def _first(statuses: dict[int, int], status: int) -> None:
        """An upstream may answer with any three digits, so what can be a label is bounded here."""
        key = status if 100 <= status < 600 else _ODD
        statuses[key] = statuses.get(key, 0) + 1
