"""What an endpoint went through: its states and starts, and in each step of a time what its requests took."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, case, func, literal_column, select

from lamplighter.domain.endpoint import Transition
from lamplighter.domain.latency import BUCKETS, bounds
from lamplighter.domain.usage import Outcome
from lamplighter.store import tables
from lamplighter.store.queries import state_of, without_id

_OK = 400


@dataclass(frozen=True, slots=True)
class Past:
    """States of a time: `before` is the change that led into it, the others are in it, the newest first.

    `starts` are those that ended in it and succeeded: when (Unix time) and how long each took (seconds), the newest
    first.
    """

    before: Transition | None
    transitions: Sequence[Transition]
    starts: Sequence[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Taken:
    """The requests that ended in one step, `at` its beginning (Unix time), and took about as long: `bucket` tells.

    `failed` of them were answered with a status from 400 on. `waited` sums the seconds for which they were held;
    `seconds` those that answers with tokens took, without the waiting.
    """

    at: float
    bucket: int
    requests: int
    failed: int
    waited: float
    tokens_in: int
    tokens_out: int
    seconds: float


def select_past(connection: Connection, endpoint: str, since: float, until: float, limit: int) -> Past:
    """Find the newest `limit` changes and starts of a time."""
    moves, starts = tables.transitions, tables.starts.c
    own = moves.c.endpoint == endpoint
    newest = select(moves).order_by(moves.c.at.desc(), moves.c.id.desc())
    inside = connection.execute(newest.where(own, moves.c.at >= since, moves.c.at < until).limit(limit)).mappings()
    earlier = connection.execute(newest.where(own, moves.c.at < since).limit(1)).mappings().first()
    began = (
        select(starts.at, starts.duration)
        .where(starts.endpoint == endpoint, starts.at >= since, starts.at < until)
        .order_by(starts.at.desc(), starts.id.desc())
        .limit(limit)
    )
    return Past(
        before=None if earlier is None else _transition(dict(earlier)),
        transitions=[_transition(dict(row)) for row in inside],
        starts=[(at, duration) for at, duration in connection.execute(began)],
    )


def select_taken(connection: Connection, endpoint: str, since: float, until: float, step: float) -> list[Taken]:
    """Add up what requests took in each step from `since` on, the oldest first."""
    usage = tables.usage.c
    part = func.floor((usage.at - since) / step)
    well = and_(usage.status == 200, usage.outcome == Outcome.SERVED.value, usage.tokens_out > 0)
    query = (
        select(
            part.label("part"),
            _BUCKET.label("bucket"),
            func.sum(usage.requests),
            func.sum(case((usage.status >= _OK, usage.requests), else_=0)),
            func.sum(usage.waited),
            func.sum(usage.tokens_in),
            func.sum(usage.tokens_out),
            func.sum(case((well, usage.duration - usage.waited), else_=0.0)),
        )
        .where(usage.endpoint == endpoint, usage.at >= since, usage.at < until)
        .group_by("part", "bucket")
        .order_by("part", "bucket")
    )
    return [Taken(since + part * step, *rest) for part, *rest in connection.execute(query)]


def _bucket(low: int, high: int) -> ColumnElement[int]:
    """Which bucket of a histogram a mean duration belongs to, found in halves: not every SQLite has logarithms."""
    if high - low == 1:
        return literal_column(str(low))
    middle = (low + high) // 2
    is_shorter = tables.usage.c.duration < literal_column(repr(bounds(middle))) * tables.usage.c.requests
    return case((is_shorter, _bucket(low, middle)), else_=_bucket(middle, high))


_BUCKET = _bucket(0, BUCKETS)


def _transition(row: dict[str, Any]) -> Transition:
    states = {"before": state_of(row["before"]), "after": state_of(row["after"])}
    return Transition(**{**without_id(row), **states})
