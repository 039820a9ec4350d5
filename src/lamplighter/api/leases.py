"""Sessions: open a lease on an endpoint, renew it, end it."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from fastapi import APIRouter, Depends, Path, Query, Request
from pydantic import BaseModel, ConfigDict, Field

from lamplighter.api.access import Operator
from lamplighter.api.problems import FAILED, INVALID, NAMED, RESPONSES, Problem, Responses
from lamplighter.control import demand
from lamplighter.control.leases import LONGEST, LONGEST_HOLDER, SHORTEST
from lamplighter.errors import NotFound

router = APIRouter(prefix="/api", tags=["leases"], responses=RESPONSES)


class _Wire(BaseModel):
    model_config = ConfigDict(use_attribute_docstrings=True)


class LeaseForm(_Wire):
    """What a session asks for."""

    model_config = ConfigDict(use_attribute_docstrings=True, extra="forbid")

    holder: Annotated[str, Field(min_length=1, max_length=LONGEST_HOLDER)]
    """Whose it is, for people: `user@host pid 42`."""
    ttl: Annotated[float, Field(ge=SHORTEST, le=LONGEST)] = 60.0
    """After how many seconds without a heartbeat it ends."""
    pause_at_end: bool = True
    """Whether the endpoint is paused when its last lease has ended; else it is left to its idle timeout."""


class LeaseInfo(_Wire):
    """A session's standing demand: the endpoint is kept awake while it lasts."""

    id: str
    """Its name: who knows it can renew and end the lease."""
    endpoint: str
    """The endpoint that it holds."""
    holder: str
    """Whose it is."""
    ttl: float
    """After how many seconds without a heartbeat it ends."""
    created_at: float
    """When it began, in Unix seconds."""
    expires_at: float
    """When it ends unless a heartbeat comes before, in Unix seconds."""
    pause_at_end: bool
    """Whether the endpoint is paused when its last lease has ended."""

    @classmethod
    def of(cls, lease: demand.Lease) -> LeaseInfo:
        """Describe `lease`."""
        return cls(**{name: getattr(lease, name) for name in cls.model_fields})


class OneLease(_Wire):
    """One lease."""

    success: Literal[True] = True
    """Always true here."""
    lease: LeaseInfo
    """As it is now."""


class AllLeases(_Wire):
    """The leases that are held."""

    success: Literal[True] = True
    """Always true here."""
    leases: list[LeaseInfo]
    """By endpoint, the oldest first."""


def _leases(request: Request) -> demand.Leases:
    leases: demand.Leases | None = request.app.state.leases
    if leases is None:
        raise NotFound("This server keeps no leases.")
    return leases


Held: TypeAlias = Annotated[demand.Leases, Depends(_leases)]
LeaseId: TypeAlias = Annotated[str, Path(max_length=64, description="The `id` that the lease was given.")]
_ENDED: Responses = {404: {"model": Problem, "description": "It has ended; what it held may be asleep"}}


@router.get("/leases", operation_id="leases", responses=NAMED)
async def list_leases(
    _: Operator, leases: Held, endpoint: Annotated[str | None, Query(description="Of this endpoint alone.")] = None
) -> AllLeases:
    """Tell which leases are held."""
    return AllLeases(leases=[LeaseInfo.of(lease) for lease in leases.list(endpoint)])


@router.post("/endpoints/{name}/leases", operation_id="open_lease", status_code=201, responses=INVALID | NAMED | FAILED)
async def open_lease(name: str, form: LeaseForm, actor: Operator, leases: Held) -> OneLease:
    """Begin a lease: withdraws a pause, begins to wake the endpoint, and keeps it awake until the lease ends.

    Answers at once; whether the endpoint is ready is another question.
    """
    lease = await leases.open(name, holder=form.holder, ttl=form.ttl, pause_at_end=form.pause_at_end, actor=actor)
    return OneLease(lease=LeaseInfo.of(lease))


@router.put("/leases/{lease_id}", operation_id="renew_lease", responses=_ENDED)
async def renew_lease(lease_id: LeaseId, _: Operator, leases: Held) -> OneLease:
    """Take a heartbeat: the lease lasts another `ttl` seconds from now. 404 once it has ended."""
    return OneLease(lease=LeaseInfo.of(await leases.renew(lease_id)))


@router.delete("/leases/{lease_id}", operation_id="end_lease", responses=_ENDED)
async def end_lease(lease_id: LeaseId, actor: Operator, leases: Held) -> OneLease:
    """End a lease. The last one out pauses the endpoint, if any of them asked for it."""
    return OneLease(lease=LeaseInfo.of(await leases.end(lease_id, actor=actor)))
