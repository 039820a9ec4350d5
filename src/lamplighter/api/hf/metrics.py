"""`/metrics`, `/open-metrics` and `/replica`: what an endpoint did, and what runs of it."""

from __future__ import annotations

import asyncio
import time
from typing import Annotated, Any, TypeAlias

from fastapi import APIRouter, Path, Request, Response

from lamplighter.api.hf import documents, graphs, moments
from lamplighter.api.hf.context import Caller, Records, Served, ServedWire
from lamplighter.api.hf.endpoints import answer
from lamplighter.api.hf.exposition import CONTENT_TYPE, exposed
from lamplighter.api.hf.graphs import Load, Window
from lamplighter.api.hf.loglines import replica_id
from lamplighter.api.hf.problems import RESPONSES
from lamplighter.api.media import OPENMETRICS, answers
from lamplighter.domain.endpoint import Endpoint, Phase
from lamplighter.domain.prices import money
from lamplighter.errors import InvalidInput, NotFound
from lamplighter.store.records import UsageBucket

router = APIRouter(tags=["metrics"], responses=RESPONSES)

_ONE = "/v2/endpoint/{namespace}/{name}"
_MOST_TRANSITIONS = 10_000
_DAY = 86_400.0
_LONGEST = 400 * _DAY
_STAGES = {Phase.RUNNING: "running", Phase.STARTING: "initializing", Phase.STOPPING: "terminating"}

Graph: TypeAlias = Annotated[str, Path(description="Which one, such as `replica-running`.")]

_GRAPHS = {
    "response-status-code": "responseStatusCodeGrouped",
    "response-elapsed": "responseElapsed",
    "pending-request": "pendingRequest",
    "replica-running": "replicasRunning",
    "replica-status": "replicasRunning",
    "hardware-cpu": "hardwareCpu",
    "hardware-mem": "hardwareMem",
    "hardware-gpu": "hardwareGpu",
    "hardware-gpu-mem": "hardwareGpuMem",
}


@router.get(_ONE + "/replica")
async def list_replicas(name: str, served: Served, _: Caller) -> dict[str, Any]:
    """List the replicas that there are."""
    endpoint = served.operations.endpoint(name)
    names = graphs.replica_names(endpoint)
    stage = _STAGES.get(endpoint.phase, "running")
    items = [{"id": one, "status": {"stage": stage, "live": True}} for one in names]
    if not items and endpoint.phase in {Phase.STARTING, Phase.STOPPING}:
        items = [{"id": replica_id(endpoint.spec.name, 0), "status": {"stage": stage, "live": False}}]
    return {"items": items}


@router.post(_ONE + "/metrics")
async def all_metrics(name: str, request: Request, served: Served, _: Caller) -> Response:
    """All graphs of a window: `{"start": …, "stop": …}` in RFC 3339; by default the last 24 hours.

    What the window cost stands beside them, in `lamplighter`.
    """
    window = _window(await documents.body_of(request))
    found = await _all_graphs(served, name, window)
    return answer(found | {"lamplighter": await _cost(served, name, window)})


@router.post(_ONE + "/metrics/{graph:path}")
async def one_metric(name: str, graph: Graph, request: Request, served: Served, _: Caller) -> Response:
    """One graph of a window. Graphs of an engine's inner life (`vllm/…`) have no series here."""
    window = _window(await documents.body_of(request))
    found = await _all_graphs(served, name, window)
    if graph.startswith("vllm/"):
        return answer(dict(graphs.EMPTY))
    key = _GRAPHS.get(graph, graph)
    if found.get(key) is None:
        raise NotFound(f"There is no graph {graph[:60]!r}; known are {', '.join(_GRAPHS)}.")
    return answer(found[key])


@router.get(_ONE + "/open-metrics", response_class=Response, responses=answers(OPENMETRICS))
async def open_metrics(name: str, served: Served, _: Caller) -> Response:
    """Latencies, answers by status and processor time in the OpenMetrics text format, since the server started."""
    endpoint = served.operations.endpoint(name)
    figures = served.meter.of(endpoint.spec.name)
    loads = await _loads(served, endpoint)
    return Response(exposed(figures.latency, figures.statuses, loads), media_type=None, headers=_TEXT)


_TEXT = {"Content-Type": CONTENT_TYPE}


async def _all_graphs(served: ServedWire, name: str, window: Window) -> dict[str, Any]:
    endpoint = served.operations.endpoint(name)
    if served.records is None:
        raise NotFound("This server keeps no records.")
    own = endpoint.spec.name
    usage, transitions, loads = await asyncio.gather(
        _usage(served.records, own, window),
        served.records.transitions(own, since=window.start, limit=_MOST_TRANSITIONS),
        _loads(served, endpoint),
    )
    return graphs.all_graphs(endpoint, window, usage=usage, transitions=transitions[::-1], loads=loads, now=time.time())


async def _cost(served: ServedWire, name: str, window: Window) -> dict[str, Any]:
    """What the ledger charged for the window in $, exact decimals; null where facts of then are kept no more."""
    endpoint = served.operations.endpoint(name).spec.name
    until = min(window.stop, time.time())
    found = await served.costs.between(endpoint, window.start, until) if served.costs and window.start < until else None
    if found is None:
        return {"cost": None, "estimated": None, "unpriced_seconds": None}
    return {
        "cost": money(found.amount),
        "estimated": money(found.estimated),
        "unpriced_seconds": float(found.unpriced),
    }


async def _usage(records: Records, name: str, window: Window) -> list[UsageBucket]:
    """Add up day by day: what else wants to be read or written has its turn in between."""
    found: list[UsageBucket] = []
    since, slice_ = window.start, window.step * max(1, int(_DAY // window.step))
    while since < window.stop:
        until = min(window.stop, since + slice_)
        found += await records.usage_over_time(name, since=since, until=until, step=window.step)
        since += slice_
    return found


def _window(body: Any) -> Window:
    """Read `MetricsParams`. Raises InvalidInput."""
    given = body if isinstance(body, dict) else {}
    stop = _moment(given.get("stop"), "stop", time.time())
    start = _moment(given.get("start"), "start", stop - _DAY)
    if not 0 < stop - start <= _LONGEST:
        raise InvalidInput("start: it should lie before `stop`, by 400 days at most.", field="start")
    return Window(start, stop)


def _moment(given: Any, field: str, otherwise: float) -> float:
    if given is None:
        return otherwise
    try:
        return float(given) if isinstance(given, int | float) else moments.read(given)
    except (ValueError, TypeError, AttributeError, OverflowError):
        raise InvalidInput(
            f"{field}: {str(given)[:40]!r} should be a moment such as 2026-10-01T12:00:00Z.", field=field
        ) from None


async def _loads(served: ServedWire, endpoint: Endpoint) -> list[Load]:
    return await served.loads.of(endpoint) if served.loads is not None else []
