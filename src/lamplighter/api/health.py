"""Whether the process lives, and whether it can do its work."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict

router = APIRouter(tags=["health"])


class HealthSource(Protocol):
    """Tells what keeps this server from doing its work."""

    def problems(self) -> Sequence[str]:
        """One line for people for each thing that is wrong now (the store fails, a provider is not open).

        Called on the event loop for each probe: it looks at what is known and asks nobody.
        """


class Alive(BaseModel):
    """The process lives and its event loop turns."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    status: str = "ok"
    """Always `ok`: a process that can't say so does not answer."""
    version: str
    """The version of Lamplighter."""


class Readiness(BaseModel):
    """Whether requests should be sent here."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    ready: bool
    """Whether nothing is wrong."""
    problems: list[str]
    """What is wrong, for people."""


@router.head("/healthz", include_in_schema=False)
@router.get("/healthz", operation_id="healthz")
async def healthz(request: Request) -> Alive:
    """Tell that the process is alive. Needs no key and touches nothing."""
    return Alive(version=request.app.version)


@router.head("/readyz", include_in_schema=False)
@router.get(
    "/readyz",
    operation_id="readyz",
    responses={503: {"model": Readiness, "description": "Something is wrong; `problems` tells what"}},
)
async def readyz(request: Request, response: Response) -> Readiness:
    """Tell whether the store works and the providers are open. Needs no key."""
    source: HealthSource = request.app.state.health
    problems = list(source.problems())
    response.status_code = 503 if problems else 200
    return Readiness(ready=not problems, problems=problems)
