"""`/api/audit`: who operated what, when, from where, and how it went."""

from __future__ import annotations

import difflib
from typing import Annotated, Literal, Protocol, TypeAlias

from fastapi import APIRouter, Depends, Query, Request
from pydantic import BaseModel, ConfigDict

from lamplighter.api.access import Admin
from lamplighter.api.problems import FAILED, INVALID, RESPONSES, Problem, Responses
from lamplighter.errors import InvalidInput, NotFound
from lamplighter.store.records import AuditFilter, AuditRow

_ABSENT: Responses = {404: {"model": Problem, "description": "This server keeps no records"}}

router = APIRouter(prefix="/api", tags=["audit"], responses=RESPONSES | _ABSENT)

_MOST = 1000
_LARGEST = 2**63 - 1
"""The largest number of a record that a database can have."""


class AuditRecords(Protocol):
    """Where operations are recorded: `Store` is one."""

    async def audit_page(self, wanted: AuditFilter, *, limit: int) -> list[AuditRow]:
        """Find operations, the newest first. Raises StoreError."""


class _Wire(BaseModel):
    model_config = ConfigDict(use_attribute_docstrings=True)


class AuditEntry(_Wire):
    """One operation. It is never changed, and deleted only when `server.audit_retention` is over."""

    id: int
    """Its number: later ones have higher numbers."""
    at: float
    """When, in Unix seconds."""
    actor: str
    """Who: a key, or what of this server acted by itself, such as `policy` or `request`."""
    operation: str
    """What was done. `ask …` is what somebody asked for; without `ask`, what the provider was told to do for it."""
    endpoint: str | None
    """To which endpoint."""
    success: bool
    """Whether it went well."""
    error: str | None
    """What went wrong."""
    change: str | None
    """What was to be different."""
    source: str | None
    """The address that it came from; null for what this server did by itself."""
    request_id: str | None
    """The `x-request-id` of the request that it came in."""

    @classmethod
    def of(cls, row: AuditRow) -> AuditEntry:
        """Describe a recorded operation."""
        record = row.record
        return cls(id=row.id, **{name: getattr(record, name) for name in cls.model_fields if name != "id"})


class AuditPage(_Wire):
    """Recorded operations, the newest first."""

    success: Literal[True] = True
    """Always true here."""
    entries: list[AuditEntry]
    """As many as there are, up to `limit`."""
    next_cursor: str | None
    """What to give as `cursor` for older ones; null where there are none."""


def _records(request: Request) -> AuditRecords:
    records: AuditRecords | None = request.app.state.audit
    if records is None:
        raise NotFound("This server keeps no records.")
    return records


async def _only_known(request: Request) -> None:
    """Refuse a filter that there is none of: without it the answer would be another one than was asked for."""
    for name in request.query_params:
        if name not in FILTERS:
            near = difflib.get_close_matches(name[:80], FILTERS, n=2)
            hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(FILTERS)}."
            raise InvalidInput(f"{name[:80]}: no such filter; {hint}", field=name[:80])


FILTERS = ("endpoint", "actor", "operation", "success", "since", "until", "after", "cursor", "limit")
"""What can be asked for."""

Recorded: TypeAlias = Annotated[AuditRecords, Depends(_records)]


@router.get("/audit", operation_id="audit", responses=INVALID | FAILED, dependencies=[Depends(_only_known)])
async def audit(
    _: Admin,
    records: Recorded,
    *,
    endpoint: Annotated[str | None, Query(max_length=200, description="To this endpoint alone.")] = None,
    actor: Annotated[str | None, Query(max_length=200, description="By this actor alone.")] = None,
    operation: Annotated[str | None, Query(max_length=200, description="This operation alone.")] = None,
    success: Annotated[bool | None, Query(description="Those that went well, or those that did not.")] = None,
    since: Annotated[float | None, Query(description="From this Unix time on.")] = None,
    until: Annotated[float | None, Query(description="Before this Unix time.")] = None,
    after: Annotated[int | None, Query(ge=0, le=_LARGEST, description="Later than the one with this `id`.")] = None,
    cursor: Annotated[str | None, Query(max_length=20, description="Where to go on: a page's `next_cursor`.")] = None,
    limit: Annotated[int, Query(ge=1, le=_MOST, description="How many at most.")] = 100,
) -> AuditPage:
    """List recorded operations, the newest first. What a server did by itself stands among them."""
    if since is not None and until is not None and since > until:
        raise InvalidInput(f"since: {since:.15g} is after `until`, {until:.15g}: nothing lies between.", field="since")
    wanted = AuditFilter(
        endpoint=endpoint,
        actor=actor,
        operation=operation,
        success=success,
        since=since,
        until=until,
        before=_number(cursor),
        after=after,
    )
    rows = await records.audit_page(wanted, limit=limit + 1)
    page = rows[:limit]
    more = str(page[-1].id) if len(rows) > limit else None
    return AuditPage(entries=[AuditEntry.of(row) for row in page], next_cursor=more)


def _number(cursor: str | None) -> int | None:
    if not cursor:
        return None
    if not cursor.isdecimal() or len(cursor) > 18:
        raise InvalidInput(f"cursor: {cursor!r} is none; take it from `next_cursor` of a page.", field="cursor")
    return int(cursor)
