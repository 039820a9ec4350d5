"""`/v2/audit-logs/{namespace}`: who did what to which endpoint, the newest first."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query

from lamplighter.api.hf import moments
from lamplighter.api.hf.context import AdminCaller, Served
from lamplighter.api.hf.problems import RESPONSES
from lamplighter.errors import InvalidInput, NotFound
from lamplighter.store.records import AuditFilter, AuditRow

router = APIRouter(tags=["audit"], responses=RESPONSES)

_ROOT = "/v2/audit-logs/{namespace}"


@router.get(_ROOT)
async def audit_log(
    served: Served,
    _: AdminCaller,
    *,
    endpoint: Annotated[str | None, Query(description="Of this endpoint alone.")] = None,
    username: Annotated[str | None, Query(description="By this actor alone.")] = None,
    cursor: Annotated[str | None, Query(description="Where to go on: `nextCursor`.")] = None,
    limit: Annotated[int, Query(ge=1, le=1000, description="How many at most.")] = 20,
) -> dict[str, Any]:
    """List recorded operations. What controllers did of themselves stands among them, by `policy` or `request`."""
    if served.records is None:
        raise NotFound("This server keeps no records.")
    wanted = AuditFilter(endpoint=endpoint, actor=username, before=_number(cursor))
    rows = await served.records.audit_page(wanted, limit=limit + 1)
    page = rows[:limit]
    return {"items": [_item(row) for row in page], "nextCursor": str(page[-1].id) if len(rows) > limit else None}


def _number(cursor: str | None) -> int | None:
    if not cursor:
        return None
    if not cursor.isdecimal() or len(cursor) > 18:
        raise InvalidInput("cursor: take it from `nextCursor` of a page.", field="cursor")
    return int(cursor)


def _item(row: AuditRow) -> dict[str, Any]:
    record = row.record
    return {
        "id": str(row.id),
        "timestamp": moments.written(record.at),
        "actor": {"id": record.actor, "name": record.actor},
        "action": record.operation,
        "endpoint": record.endpoint,
        "change": record.change,
        "success": record.success,
        "error": record.error,
        "sourceIp": record.source,
        "requestId": record.request_id,
    }
