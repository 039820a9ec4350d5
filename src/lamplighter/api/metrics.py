"""`GET /metrics`: what Prometheus, and whatever reads its format, is told."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from fastapi import APIRouter, Request, Response

from lamplighter.api.access import Operator
from lamplighter.api.media import OPENMETRICS, TEXT, answers
from lamplighter.api.problems import RESPONSES, Problem, Responses
from lamplighter.control.meter import Series
from lamplighter.control.spending import Counted, Today
from lamplighter.control.tally import Tallied
from lamplighter.domain.budgets import Standing
from lamplighter.domain.endpoint import Endpoint
from lamplighter.errors import NotFound

router = APIRouter(tags=["health"])

_ANSWERS: Responses = {
    **answers(TEXT, OPENMETRICS),
    404: {"model": Problem, "description": "Nothing is measured here"},
    **{status: RESPONSES[status] for status in (401, 403, 429)},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What a server knows of itself at one moment.

    `spent` is what was spent since the start, `today` since midnight; None: not known yet. `budgets` tells how those
    are used.
    `errors` counts what clients were told, by code. `breakers` are states (closed, open, half-open) by target.
    `waiting` and `dropped` tell of records by their kind (usage, journal, access_log, log): how many wait to be
    written, how many were lost since the start.
    """

    version: str
    in_progress: int = 0
    series: Sequence[Series] = ()
    errors: Mapping[str, int] = field(default_factory=dict)
    endpoints: Sequence[Endpoint] = ()
    tallies: Sequence[Tallied] = ()
    spent: Sequence[Counted] = ()
    today: Today | None = None
    budgets: Sequence[Standing] = ()
    breakers: Mapping[str, str] = field(default_factory=dict)
    waiting: Mapping[str, int] = field(default_factory=dict)
    dropped: Mapping[str, int] = field(default_factory=dict)


class MetricsSource(Protocol):
    """Where the figures come from."""

    def measure(self) -> Measured:
        """Look at all of them, at one moment on the event loop. What it returns does not change any more."""


@router.get("/metrics", operation_id="metrics", response_class=Response, responses=_ANSWERS)
async def metrics(request: Request, actor: Operator) -> Response:  # noqa: ARG001 - being let in is all that it is for
    """Tell all figures in the text format of Prometheus, or as OpenMetrics where that is asked for."""
    source: MetricsSource | None = request.app.state.metrics
    if source is None:
        raise NotFound("Nothing is measured here.")
    measured = source.measure()
    openmetrics = OPENMETRICS in request.headers.get("accept", "")
    body, media_type = await asyncio.to_thread(_rendered, measured, openmetrics)  # many endpoints make a long text
    return Response(body, headers={"content-type": media_type, "cache-control": "no-store"})


def _rendered(measured: Measured, openmetrics: bool) -> tuple[bytes, str]:
    from lamplighter.api.prometheus import render  # noqa: PLC0415 - a server that nobody scrapes does without

    return render(measured, openmetrics=openmetrics)
