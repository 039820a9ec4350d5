"""Counts what requests do since the start, on their way to the usage records: by target, and by route that led there.

On the hot path: a dictionary look-up or two and a few additions a request.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from lamplighter.domain.latency import Histogram
from lamplighter.domain.usage import Outcome, UsageRecord, UsageSink

MOST_SERIES = 4096
"""Pairs of target and route that are counted at a time; the one first seen longest ago is forgotten for another."""

_ODD = 0  # stands for every status that HTTP does not have


class Figures:
    """Of one target, by one route or all, in seconds, bytes of bodies, and tokens."""

    __slots__ = (
        "_others",
        "attempts",
        "bytes_in",
        "bytes_out",
        "first_byte",
        "held",
        "latency",
        "plain",
        "tokens_in",
        "tokens_out",
        "waited",
    )

    def __init__(self) -> None:
        self.latency = Histogram()
        self.first_byte = Histogram()
        self.plain = 0  # answers with status 200 that were served whole: nearly all
        self._others: dict[tuple[int, Outcome], int] = {}
        self.held = 0
        self.waited = 0.0
        self.attempts = 0
        self.bytes_in = 0
        self.bytes_out = 0
        self.tokens_in = 0
        self.tokens_out = 0

    def note(self, status: int, outcome: Outcome) -> None:
        """Count an answer. A target may send any three digits, so what can be a label is bounded here."""
        answer = (status if 100 <= status < 600 else _ODD, outcome)
        self._others[answer] = self._others.get(answer, 0) + 1

    @property
    def answers(self) -> Mapping[tuple[int, Outcome], int]:
        """Requests by the status and the outcome that they had."""
        plain = (200, Outcome.SERVED)
        return self._others if not self.plain else {plain: self.plain, **self._others}

    @property
    def statuses(self) -> Mapping[int, int]:
        """Answers by status."""
        found: dict[int, int] = {}
        for (status, _), count in self.answers.items():
            found[status] = found.get(status, 0) + count
        return found

    def copy(self) -> Figures:
        """One like it, that what is counted later does not change."""
        twin = Figures()
        twin.latency, twin.first_byte = self.latency.copy(), self.first_byte.copy()
        twin._add_counters(self)
        return twin

    def absorb(self, other: Figures) -> None:
        """Add up."""
        self.latency.absorb(other.latency)
        self.first_byte.absorb(other.first_byte)
        self._add_counters(other)

    def _add_counters(self, other: Figures) -> None:
        self.plain += other.plain
        for answer, count in other._others.items():
            self._others[answer] = self._others.get(answer, 0) + count
        self.held += other.held
        self.waited += other.waited
        self.attempts += other.attempts
        self.bytes_in += other.bytes_in
        self.bytes_out += other.bytes_out
        self.tokens_in += other.tokens_in
        self.tokens_out += other.tokens_out


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """What was counted of the requests to `model` that `target` answered, or was meant to."""

    model: str
    target: str
    figures: Figures


class Meter:
    """A UsageSink that counts and passes on."""

    def __init__(self, sink: UsageSink) -> None:
        self._sink = sink
        self._figures: dict[tuple[str, str], Figures] = {}

    def add(self, record: UsageRecord) -> None:
        """Count a record and pass it on; never blocks, never raises."""
        pair = (record.endpoint, record.model)
        figures = self._figures.get(pair) or self._begin(pair)
        figures.latency.add(record.duration)
        if record.first_byte:
            figures.first_byte.add(record.first_byte)
        if record.status == 200 and record.outcome is Outcome.SERVED:
            figures.plain += 1
        else:
            figures.note(record.status, record.outcome)
        figures.attempts += record.attempts
        figures.bytes_in += record.bytes_in
        figures.bytes_out += record.bytes_out
        if record.tokens_in or record.tokens_out:
            figures.tokens_in += record.tokens_in
            figures.tokens_out += record.tokens_out
        if record.waited:
            figures.held += 1
            figures.waited += record.waited
        self._sink.add(record)

    def of(self, endpoint: str) -> Figures:
        """What was counted of an endpoint, by whichever route; nothing of one that was never called."""
        total = Figures()
        for (target, _), figures in self._figures.items():
            if target == endpoint:
                total.absorb(figures)
        return total

    def series(self) -> list[Series]:
        """All that was counted, as it is now: what is counted later does not change it."""
        return [
            Series(model=model, target=target, figures=figures.copy())
            for (target, model), figures in self._figures.items()
        ]

    def _begin(self, pair: tuple[str, str]) -> Figures:
        if len(self._figures) >= MOST_SERIES:
            del self._figures[next(iter(self._figures))]
        self._figures[pair] = figures = Figures()
        return figures
