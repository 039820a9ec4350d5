"""Where an operation came from, for the audit log: set where a request comes in, read where it is recorded."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """`source` is an address, `request_id` that of the request."""

    source: str | None = None
    request_id: str | None = None


NOWHERE = Origin()

ORIGIN: ContextVar[Origin] = ContextVar("origin", default=NOWHERE)
"""Of the request that this task serves. Tasks that outlive it (controllers) must not read it: they inherit it."""
