"""What an endpoint went through, and what it is: `history`, `requests` and `specification` below its own address."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from time import time
from typing import Annotated, Any, Literal, Protocol, TypeAlias

from fastapi import APIRouter, Depends, Query, Request
from pydantic import BaseModel, ConfigDict

from lamplighter.api.access import Operator
from lamplighter.api.problems import FAILED, INVALID, RESPONSES, Problem, Responses
from lamplighter.control.demand import Operations
from lamplighter.domain.endpoint import Phase, State, Transition, phase_of
from lamplighter.domain.latency import Histogram
from lamplighter.errors import InvalidInput, NotFound
from lamplighter.store.past import Past, Taken
from lamplighter.store.records import without_secrets

_ABSENT: Responses = {404: {"model": Problem, "description": "No such endpoint, or this server keeps no records"}}

router = APIRouter(prefix="/api/endpoints", tags=["endpoints"], responses=RESPONSES | _ABSENT)

_DAY = 86_400.0
_LONGEST = 400 * _DAY
_LONGEST_REQUESTS = 35 * _DAY
_MOST = 5000
_MOST_STEPS = 400
_USUAL_STEPS = 96  # of a day: a quarter of an hour each
_SHORTEST_STEP = 1.0
_SHARES = (0.5, 0.9, 0.99)


class PastRecords(Protocol):
    """What was written down: `Store` is one. Every method raises StoreError."""

    async def past(self, endpoint: str, *, since: float, until: float, limit: int) -> Past: ...

    async def taken(self, endpoint: str, *, since: float, until: float, step: float) -> list[Taken]: ...


class _Wire(BaseModel):
    model_config = ConfigDict(use_attribute_docstrings=True)


class Change(_Wire):
    """A change of state, as it was recorded. Moments are Unix seconds, durations seconds."""

    at: float
    """When."""
    before: State | None
    """The provider's state before; null where nobody knew."""
    after: State | None
    """The provider's state after; null where it is looked after no more."""
    phase: Phase
    """What that means in one word, from then on."""
    reason: str
    """Why."""
    actor: str
    """Who: a key's name, or what of this server acted by itself, such as `policy` or `request`."""
    cause: str
    """On whose account it is awake: `key:ID`, `operator:NAME`, `lease:HOLDER`; empty where on nobody's."""
    route: str
    """The route whose request led there; empty where none did."""
    message: str | None
    """What its provider said: the reason of a failure, for one."""
    duration: float | None
    """How long it had been as before, where that is known."""
    replicas: int
    """How many copies are billed while it is awake."""
    seen_until: float | None
    """Until when an earlier run of this server had looked on, where nobody saw how long it had been as before."""

    @classmethod
    def of(cls, one: Transition) -> Change:
        """Describe a recorded change."""
        names = [name for name in cls.model_fields if name != "phase"]
        return cls(phase=phase_of(one.after), **{name: getattr(one, name) for name in names})


class ColdStart(_Wire):
    """A start from sleep that succeeded."""

    at: float
    """When it was ready."""
    duration: float
    """How long it took from the moment it was woken."""
    actor: str
    """Who woke it; empty where that is not on record."""
    cause: str
    """On whose account, as in a change."""
    route: str
    """The route whose request woke it; empty where none did."""
    reason: str
    """Why; empty where that is not on record."""


class HistoryAnswer(_Wire):
    """What an endpoint went through in a time."""

    success: Literal[True] = True
    """Always true here."""
    name: str
    """The endpoint's own name."""
    since: float
    """From then on."""
    until: float
    """Before that."""
    before: Change | None
    """The change that led to its state at `since`; null where none is on record."""
    changes: list[Change]
    """The oldest first."""
    starts: list[ColdStart]
    """The oldest first."""
    truncated: bool
    """Whether there were more than `limit`: then the newest are told."""


class Step(_Wire):
    """The requests that ended in one step of the time."""

    at: float
    """When the step began."""
    requests: int
    """How many ended in it."""
    failed: int
    """How many of them were answered with a status from 400 on."""
    p50: float | None
    """Half of them took less than that, with the waiting for a wake; null where there were none."""
    p90: float | None
    """Nine in ten took less."""
    p99: float | None
    """99 of 100 took less."""
    waited: float
    """The sum of the seconds for which they were held until it was awake."""
    tokens_in: int
    """The tokens that were read, as far as the answers told."""
    tokens_out: int
    """The tokens that were written, as far as the answers told."""
    tokens_per_second: float | None
    """What one answer wrote in a second, without the waiting; null where no answer told its tokens."""


class RequestsAnswer(_Wire):
    """The requests to an endpoint over a time, those that were turned away for it included.

    Quantiles are off by 5 % at most for requests that ended alone; of several like ones that ended in the same second
    only the mean is on record, and stands for each of them.
    """

    success: Literal[True] = True
    """Always true here."""
    name: str
    """The endpoint's own name."""
    since: float
    """From then on."""
    until: float
    """Before that."""
    step: float
    """How long a step is."""
    total: Step
    """All of the time."""
    steps: list[Step]
    """Those in which requests ended, the oldest first."""


class SpecificationAnswer(_Wire):
    """What an endpoint was told to be."""

    success: Literal[True] = True
    """Always true here."""
    name: str
    """The endpoint's own name."""
    deployed: bool
    """Whether it was made over the management API and can be changed there; else it stands in the configuration."""
    configured_in: str | None
    """The configuration that it stands in: a file of this server, or where else it was read from."""
    specification: dict[str, Any]
    """All that is said of it, defaults included; of environment variables and headers only the names."""


@dataclass(frozen=True, slots=True)
class Window:
    """From `since` on, before `until`, both Unix time."""

    since: float
    until: float


def _window(
    since: Annotated[
        float | None, Query(allow_inf_nan=False, description="From this Unix time on. By default a day before `until`.")
    ] = None,
    until: Annotated[
        float | None, Query(allow_inf_nan=False, description="Before this Unix time. By default now.")
    ] = None,
) -> Window:
    end = time() if until is None else until
    begin = end - _DAY if since is None else since
    if not 0 < end - begin <= _LONGEST:
        raise InvalidInput("since: it should lie before `until`, by 400 days at most.", field="since")
    return Window(begin, end)


def _records(request: Request) -> PastRecords:
    records: PastRecords | None = request.app.state.past
    if records is None:
        raise NotFound("This server keeps no records.")
    return records


def _operations(request: Request) -> Operations:
    operations: Operations = request.app.state.operations
    return operations


Records: TypeAlias = Annotated[PastRecords, Depends(_records)]
Asked: TypeAlias = Annotated[Operations, Depends(_operations)]
Between: TypeAlias = Annotated[Window, Depends(_window)]


@router.get("/{name}/history", operation_id="history", responses=INVALID | FAILED)
async def history(
    name: str,
    _: Operator,
    operations: Asked,
    records: Records,
    window: Between,
    limit: Annotated[int, Query(ge=1, le=_MOST, description="How many changes, and how many starts, at most.")] = 1000,
) -> HistoryAnswer:
    """Tell an endpoint's recorded states and cold starts over a time, and who or what led to each. Wakes nothing."""
    own = operations.endpoint(name).spec.name
    found = await records.past(own, since=window.since, until=window.until, limit=limit + 1)
    changes = list(found.transitions[:limit])[::-1]
    return HistoryAnswer(
        name=own,
        since=window.since,
        until=window.until,
        before=None if found.before is None else Change.of(found.before),
        changes=[Change.of(one) for one in changes],
        starts=_starts(changes, list(found.starts[:limit])[::-1]),
        truncated=max(len(found.transitions), len(found.starts)) > limit,
    )


@router.get("/{name}/requests", operation_id="requests_of_one", responses=INVALID | FAILED)
async def requests(
    name: str,
    _: Operator,
    operations: Asked,
    records: Records,
    window: Between,
    step: Annotated[
        float | None,
        Query(ge=_SHORTEST_STEP, allow_inf_nan=False, description="The length of a step. By default a 96th of all."),
    ] = None,
) -> RequestsAnswer:
    """Tell over a time how many requests an endpoint had, how long they took, and their tokens. Wakes nothing.

    The time is 35 days at most, and has 400 steps at most.
    """
    own, length = operations.endpoint(name).spec.name, window.until - window.since
    if length > _LONGEST_REQUESTS:
        raise InvalidInput("since: it should lie before `until`, by 35 days at most.", field="since")
    step = max(_SHORTEST_STEP, length / _USUAL_STEPS) if step is None else step
    if length / step > _MOST_STEPS:
        least = length / _MOST_STEPS
        raise InvalidInput(f"step: {step:.15g} s makes more than 400 steps; give {least:.0f} or more.", field="step")
    taken = await _taken(records, own, window, step)
    return RequestsAnswer(
        name=own,
        since=window.since,
        until=window.until,
        step=step,
        total=_step(window.since, taken),
        steps=[_step(at, list(ones)) for at, ones in groupby(taken, key=lambda one: one.at)],
    )


@router.get("/{name}/specification", operation_id="specification")
async def specification(name: str, request: Request, _: Operator, operations: Asked) -> SpecificationAnswer:
    """Tell what an endpoint was told to be, and where that can be changed. Wakes nothing."""
    spec = operations.endpoint(name).spec
    return SpecificationAnswer(
        name=spec.name,
        deployed=spec.deployed,
        configured_in=None if spec.deployed else request.app.state.configured_in,
        specification=without_secrets(spec),
    )


async def _taken(records: PastRecords, name: str, window: Window, step: float) -> Sequence[Taken]:
    """Add up about a day at a time: what else wants to be read or written has its turn in between."""
    found: list[Taken] = []
    at, slice_ = window.since, step * max(1, int(_DAY // step))
    while at < window.until:
        end = min(window.until, at + slice_)
        found += await records.taken(name, since=at, until=end, step=step)
        at += slice_
    return found


def _step(at: float, taken: Iterable[Taken]) -> Step:
    durations = Histogram()
    requests = failed = tokens_in = tokens_out = 0
    waited = seconds = 0.0
    for one in taken:
        durations.buckets[one.bucket] += one.requests
        requests += one.requests
        failed += one.failed
        waited += one.waited
        tokens_in += one.tokens_in
        tokens_out += one.tokens_out
        seconds += one.seconds
    p50, p90, p99 = (None if value is None else round(value, 6) for value in durations.quantiles(_SHARES))
    return Step(
        at=at,
        requests=requests,
        failed=failed,
        p50=p50,
        p90=p90,
        p99=p99,
        waited=round(waited, 6),
        tokens_in=tokens_in,
        tokens_out=tokens_out,
        tokens_per_second=round(tokens_out / seconds, 3) if seconds > 0 else None,
    )


def _starts(changes: Sequence[Transition], starts: Sequence[tuple[float, float]]) -> list[ColdStart]:
    """Each start with the change of state that it is told by: the last one that led to an awake state by its end."""
    found: list[ColdStart] = []
    for at, duration in starts:
        led = _led(changes, at, duration)
        known = {} if led is None else {key: getattr(led, key) for key in ("actor", "cause", "route", "reason")}
        found.append(ColdStart(at=at, duration=duration, **{**_NOBODY, **known}))
    return found


_NOBODY: Mapping[str, str] = {"actor": "", "cause": "", "route": "", "reason": ""}
_SLACK = 2.0
"""A start and its changes of state are written one after the other (seconds)."""


def _led(changes: Sequence[Transition], at: float, duration: float) -> Transition | None:
    during = (one for one in reversed(changes) if at - duration - _SLACK <= one.at <= at + _SLACK)
    return next((one for one in during if phase_of(one.after) in {Phase.STARTING, Phase.RUNNING}), None)
