"""`/v2/endpoint/{namespace}`: list, make, read, change, delete, pause, resume, scale to zero."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Annotated, Any, TypeAlias

import msgspec
from fastapi import APIRouter, Depends, Query, Request, Response

from lamplighter.api.hf import documents
from lamplighter.api.hf.context import AdminCaller, Caller, Served, ServedWire
from lamplighter.api.hf.pages import Page, page_of
from lamplighter.api.hf.problems import RESPONSES
from lamplighter.api.hf.views import all_of_them, one_of_them
from lamplighter.domain.endpoint import Endpoint, Phase, State
from lamplighter.errors import EndpointNotFound, InvalidInput, LamplighterError

SETTLE = 2.0
"""How long the answer to a pause or a scale to zero waits for it to be so, as it mostly is by then (seconds)."""

router = APIRouter(tags=["endpoints"], responses=RESPONSES)

_ROOT = "/v2/endpoint/{namespace}"
_ONE = _ROOT + "/{name}"


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which endpoints of a namespace, and how many of them at a time."""

    tags: frozenset[str]
    search: str
    cursor: str | None
    limit: int | None


def _wanted(
    tags: Annotated[str | None, Query(description="Only those that carry all of these, parted by commas.")] = None,
    search: Annotated[str | None, Query(description="Only those whose name holds this.")] = None,
    cursor: Annotated[str | None, Query(description="Where to go on: `nextCursor` or `prevCursor`.")] = None,
    limit: Annotated[
        int | None, Query(ge=1, le=1000, description="How many at most. With neither this nor a cursor: all.")
    ] = None,
) -> Wanted:
    words = frozenset(tag.strip() for tag in (tags or "").split(",") if tag.strip())
    return Wanted(words, (search or "").lower(), cursor, limit)


Asked: TypeAlias = Annotated[Wanted, Depends(_wanted)]
Forget: TypeAlias = Annotated[
    bool,
    Query(description="Forget here what can't be deleted at its provider. It may go on running there, and be billed."),
]


@router.get(_ROOT)
async def list_endpoints(request: Request, served: Served, _: Caller, wanted: Asked) -> Response:
    """List endpoints by name. Wakes nothing."""
    names = [name for name in _names(served) if wanted.search in name.lower()]
    if wanted.tags:
        names = [name for name in names if wanted.tags <= _tags(served, name)]
    page = page_of(names, wanted.cursor, wanted.limit)
    return answer(_listing(await all_of_them(served, request, page.items), page, len(names)))


@router.post(_ROOT)
async def create_endpoint(request: Request, served: Served, caller: AdminCaller) -> Response:
    """Make an endpoint and begin to start it. The body is a whole `Endpoint`; see docs/wire.md for what runs here."""
    async with refusals_on_record(served, "create", caller) as asked:
        body = await documents.body_of(request)
        asked.name = documents.name_in(body)
        spec = await documents.new_spec(served, body)
    await served.deployments.create(spec, actor=caller)
    return answer(one_of_them(served, request, spec.name))


@router.get(_ONE)
async def read_endpoint(name: str, request: Request, served: Served, _: Caller) -> Response:
    """Tell how one endpoint is. Wakes nothing."""
    return answer(one_of_them(served, request, name))


@router.put(_ONE)
async def update_endpoint(name: str, request: Request, served: Served, caller: AdminCaller) -> Response:
    """Change an endpoint that was made over this API: what is not named stays; lists and `model.image` are replaced."""
    async with refusals_on_record(served, "update", caller, name):
        body = await documents.body_of(request)
        revise = await documents.revision(served, body)
    if body or served.deployments.deployment(name) is None:
        await served.deployments.update(name, revise, actor=caller)
    return answer(one_of_them(served, request, name))


@router.delete(_ONE)
async def delete_endpoint(name: str, served: Served, caller: AdminCaller, *, forget: Forget = False) -> Response:
    """Delete an endpoint that was made over this API. What is in flight ends first; until then it can still be read."""
    await served.deployments.delete(name, actor=caller, forget=forget)
    return answer({})


@router.post(_ONE + "/pause")
async def pause_endpoint(name: str, request: Request, served: Served, caller: Caller) -> Response:
    """Pause: no request wakes it until it is resumed. What is in flight ends first."""
    await _refuse_broken(served, "pause", name, caller)
    await _begin(served, name, served.operations.pause(name, actor=caller), _is_paused)
    return answer(one_of_them(served, request, name))


@router.post(_ONE + "/resume")
async def resume_endpoint(name: str, request: Request, served: Served, caller: Caller) -> Response:
    """Withdraw a pause and begin to start. One that runs already: 400 with the words `already running`."""
    await _refuse_broken(served, "resume", name, caller)
    async with refusals_on_record(served, "ask resume", caller, name):
        if _runs(served, name):
            raise InvalidInput(f"Endpoint {name!r} is already running.")
    await served.operations.resume(name, actor=caller)
    return answer(one_of_them(served, request, name))


async def resume_unless_running(name: str, request: Request, served: Served, caller: Caller) -> Response:
    """The same, where one that runs is as it should be."""
    await _refuse_broken(served, "resume", name, caller)
    if not _runs(served, name):
        await served.operations.resume(name, actor=caller)
    return answer(one_of_them(served, request, name))


@router.post(_ONE + "/scale-to-zero")
async def scale_endpoint_to_zero(name: str, request: Request, served: Served, caller: Caller) -> Response:
    """Put to sleep so that the next request wakes it. What is in flight ends first."""
    await _refuse_broken(served, "scale to zero", name, caller)
    await _begin(served, name, served.operations.scale_to_zero(name, actor=caller), _is_at_zero)
    return answer(one_of_them(served, request, name))


def answer(content: Any) -> Response:
    """A JSON answer."""
    return Response(msgspec.json.encode(content), media_type="application/json")


def _names(served: ServedWire) -> list[str]:
    return sorted({*(one.spec.name for one in served.operations.endpoints()), *served.deployments.broken})


def _tags(served: ServedWire, name: str) -> set[str]:
    broken = served.deployments.broken.get(name)
    deployment = broken.deployment if broken is not None else served.deployments.deployment(name)
    return set(deployment.document.get("tags") or ()) if deployment is not None else set()


def _listing(items: list[dict[str, Any]], page: Page, total: int) -> dict[str, Any]:
    return {"items": items, "nextCursor": page.after, "prevCursor": page.before, "totalItems": total}


@dataclass(slots=True)
class _Asked:
    """Of which endpoint something is asked."""

    name: str


@asynccontextmanager
async def refusals_on_record(served: ServedWire, operation: str, actor: str, name: str = "") -> AsyncIterator[_Asked]:
    """Put on record what is refused here, before anybody else hears of it."""
    asked = _Asked(name)
    try:
        yield asked
    except LamplighterError as error:
        await served.deployments.record_refusal(operation, asked.name, actor, error)
        raise


async def _refuse_broken(served: ServedWire, verb: str, name: str, actor: str) -> None:
    async with refusals_on_record(served, f"ask {verb}", actor, name):
        if (broken := served.deployments.broken.get(name)) is not None:
            raise InvalidInput(f"Endpoint {name!r} can't be operated: {broken.reason} Update or delete it.")


def _runs(served: ServedWire, name: str) -> bool:
    endpoint = served.operations.endpoint(name)
    return endpoint.phase is Phase.RUNNING and not endpoint.paused


def _is_paused(endpoint: Endpoint) -> bool:
    return endpoint.state is State.PAUSED


def _is_at_zero(endpoint: Endpoint) -> bool:
    return endpoint.state is State.SCALED_TO_ZERO


async def _begin(
    served: ServedWire, name: str, begun: Awaitable[Endpoint], is_done: Callable[[Endpoint], bool]
) -> None:
    """Begin, and wait a little for the end of it."""
    endpoint = await begun
    deadline = asyncio.get_running_loop().time() + SETTLE
    while not is_done(endpoint):
        left = deadline - asyncio.get_running_loop().time()
        if left <= 0:
            return
        try:
            endpoint = await served.operations.settled(name, Phase.SLEEPING, timeout=left)
        except EndpointNotFound:
            return
        if not is_done(endpoint):
            await asyncio.sleep(min(left, 0.02))  # asleep already, in the other way: that takes a moment
