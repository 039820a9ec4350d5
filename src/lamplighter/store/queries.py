"""Every question to the database, by name. Each runs in the caller's transaction, in the store's thread."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from sqlalchemy import Connection, Select, Table, bindparam, delete, func, insert, select, update

from lamplighter.domain.endpoint import State, Transition
from lamplighter.domain.keys import ApiKey, KeyLimits, Role
from lamplighter.domain.usage import Outcome, UsageRecord
from lamplighter.store import tables
from lamplighter.store.records import (
    AuditFilter,
    AuditRecord,
    AuditRow,
    SavedDeployment,
    SavedEndpoint,
    SavedLease,
    UsageBucket,
)

_LONGEST_TEXT = 2000
"""Characters kept of a text that comes from outside (a path, an error): rows must not grow with what clients send."""


def save_endpoints(connection: Connection, saved: Sequence[SavedEndpoint]) -> None:
    """Write the endpoints' rows, new or not: two statements however many there are."""
    if saved:
        names = [{"b_name": endpoint.name} for endpoint in saved]
        connection.execute(delete(tables.endpoints).where(tables.endpoints.c.name == bindparam("b_name")), names)
        connection.execute(insert(tables.endpoints), [_row(endpoint) for endpoint in saved])


def load_endpoints(connection: Connection) -> dict[str, SavedEndpoint]:
    """All saved endpoints by name."""
    rows = connection.execute(select(tables.endpoints).order_by(tables.endpoints.c.name)).mappings()
    return {row["name"]: SavedEndpoint(**{**row, "state": state_of(row["state"])}) for row in rows}


def forget_endpoint(connection: Connection, name: str) -> None:
    """Remove the endpoint's row; its history stays until it is pruned."""
    connection.execute(delete(tables.endpoints).where(tables.endpoints.c.name == name))


def add_transition(connection: Connection, transition: Transition) -> None:
    """Record a change of state."""
    connection.execute(insert(tables.transitions).values(_clean(_row(transition))))


def select_transitions(
    connection: Connection, endpoint: str | None, since: float | None, limit: int
) -> list[Transition]:
    """Find the newest transitions first."""
    rows = connection.execute(_newest(tables.transitions, endpoint, since, limit)).mappings()
    return [
        Transition(**{**without_id(row), "before": state_of(row["before"]), "after": state_of(row["after"])})
        for row in rows
    ]


def add_start(connection: Connection, endpoint: str, at: float, duration: float) -> None:
    """Record that a start which ended at `at` took `duration` seconds."""
    connection.execute(insert(tables.starts).values(endpoint=endpoint, at=at, duration=duration))


def recent_starts(connection: Connection, endpoint: str, limit: int) -> list[float]:
    """Tell how long the last starts took in seconds, the newest last."""
    durations = connection.scalars(
        _newest(tables.starts, endpoint, None, limit).with_only_columns(tables.starts.c.duration)
    )
    return list(reversed(durations.all()))


def add_usage(connection: Connection, records: Sequence[UsageRecord]) -> None:
    """Record what requests used, all or none."""
    if records:
        connection.execute(insert(tables.usage), [_clean(asdict(record)) for record in records])


def select_usage(connection: Connection, endpoint: str | None, since: float | None, limit: int) -> list[UsageRecord]:
    """Find the newest usage records first."""
    rows = connection.execute(_newest(tables.usage, endpoint, since, limit)).mappings()
    return [UsageRecord(**{**without_id(row), "outcome": Outcome(row["outcome"])}) for row in rows]


def add_audit(connection: Connection, record: AuditRecord) -> None:
    """Record a management operation."""
    connection.execute(insert(tables.audit).values(_clean(asdict(record))))


def select_audit(connection: Connection, endpoint: str | None, since: float | None, limit: int) -> list[AuditRecord]:
    """Find the newest operations first."""
    rows = connection.execute(_newest(tables.audit, endpoint, since, limit)).mappings()
    return [AuditRecord(**without_id(row)) for row in rows]


def select_audit_page(connection: Connection, wanted: AuditFilter, limit: int) -> list[AuditRow]:
    """Find the newest operations first."""
    audit = tables.audit.c
    bounds = (
        None if wanted.endpoint is None else audit.endpoint == wanted.endpoint,
        None if wanted.actor is None else audit.actor == wanted.actor,
        None if wanted.operation is None else audit.operation == wanted.operation,
        None if wanted.success is None else audit.success == wanted.success,
        None if wanted.since is None else audit.at >= wanted.since,
        None if wanted.until is None else audit.at < wanted.until,
        None if wanted.before is None else audit.id < wanted.before,
        None if wanted.after is None else audit.id > wanted.after,
    )
    query = select(tables.audit).where(*(bound for bound in bounds if bound is not None))
    rows = connection.execute(query.order_by(audit.id.desc()).limit(limit)).mappings()
    return [AuditRow(id=row["id"], record=AuditRecord(**without_id(row))) for row in rows]


def select_usage_over_time(
    connection: Connection, endpoint: str, since: float, until: float, step: float
) -> list[UsageBucket]:
    """Add up what requests used in each step from `since` on, by status, the oldest first."""
    usage = tables.usage.c
    bucket = func.floor((usage.at - since) / step)
    query = (
        select(
            bucket.label("bucket"),
            usage.status,
            func.sum(usage.requests).label("requests"),
            func.sum(usage.duration).label("duration"),
            func.sum(usage.waited).label("waited"),
        )
        .where(usage.endpoint == endpoint, usage.at >= since, usage.at < until)
        .group_by(bucket, usage.status)
        .order_by(bucket, usage.status)
    )
    return [
        UsageBucket(
            at=since + row["bucket"] * step,
            status=row["status"],
            requests=row["requests"],
            duration=row["duration"],
            waited=row["waited"],
        )
        for row in connection.execute(query).mappings()
    ]


def save_deployment(connection: Connection, saved: SavedDeployment) -> None:
    """Write the deployment's row in place of an earlier one."""
    connection.execute(delete(tables.deployments).where(tables.deployments.c.name == saved.name))
    connection.execute(insert(tables.deployments).values(asdict(saved)))


def load_deployments(connection: Connection) -> list[SavedDeployment]:
    """All deployments by name."""
    rows = connection.execute(select(tables.deployments).order_by(tables.deployments.c.name)).mappings()
    return [SavedDeployment(**row) for row in rows]


def forget_deployment(connection: Connection, name: str) -> None:
    """Remove the deployment's row."""
    connection.execute(delete(tables.deployments).where(tables.deployments.c.name == name))


def save_lease(connection: Connection, saved: SavedLease) -> None:
    """Write the lease's row in place of an earlier one."""
    connection.execute(delete(tables.leases).where(tables.leases.c.lease == saved.lease))
    connection.execute(insert(tables.leases).values(asdict(saved)))


def load_leases(connection: Connection) -> list[SavedLease]:
    """All leases, also those whose time is over."""
    rows = connection.execute(select(tables.leases).order_by(tables.leases.c.lease)).mappings()
    return [SavedLease(**row) for row in rows]


def forget_lease(connection: Connection, lease: str) -> None:
    """Remove the lease's row."""
    connection.execute(delete(tables.leases).where(tables.leases.c.lease == lease))


def add_key(connection: Connection, key: ApiKey) -> None:
    """Keep a new key."""
    row = {**_row(key), "role": key.role.value, "routes": sorted(key.routes), "tags": dict(key.tags)}
    connection.execute(insert(tables.keys).values({**row, "limits": asdict(key.limits)}))


def load_keys(connection: Connection) -> list[ApiKey]:
    """All keys, also those that no longer count, the oldest first."""
    rows = connection.execute(select(tables.keys).order_by(tables.keys.c.created_at, tables.keys.c.id)).mappings()
    return [
        ApiKey(
            **{
                **row,
                "role": Role(row["role"]),
                "routes": frozenset(row["routes"]),
                "limits": KeyLimits(**row["limits"]),
            }
        )
        for row in rows
    ]


def revoke_key(connection: Connection, key_id: str, at: float) -> None:
    """Let a key count no more from the Unix time `at` on; one that was revoked before stays so."""
    keys = tables.keys.c
    connection.execute(update(tables.keys).where(keys.id == key_id, keys.revoked_at.is_(None)).values(revoked_at=at))


def forget_keys(connection: Connection, ids: Sequence[str]) -> None:
    """Remove keys for good."""
    if ids:
        gone = [{"b_id": key_id} for key_id in ids]
        connection.execute(delete(tables.keys).where(tables.keys.c.id == bindparam("b_id")), gone)


def prune(connection: Connection, table: Table, before: float, limit: int) -> int:
    """Delete at most `limit` rows that are older than `before`; returns how many there were."""
    old = select(table.c.id).where(table.c.at < before).limit(limit)
    return connection.execute(delete(table).where(table.c.id.in_(old))).rowcount


def _newest(table: Table, endpoint: str | None, since: float | None, limit: int) -> Select[Any]:
    query = select(table).order_by(table.c.at.desc(), table.c.id.desc()).limit(limit)
    if endpoint is not None:
        query = query.where(table.c.endpoint == endpoint)
    return query if since is None else query.where(table.c.at >= since)


def _row(record: SavedEndpoint | Transition | ApiKey) -> dict[str, Any]:
    return {key: getattr(record, key) for key in record.__slots__}


def without_id(row: Mapping[Any, Any]) -> dict[str, Any]:
    """A row without its number."""
    return {key: value for key, value in row.items() if key != "id"}


def state_of(value: str | None) -> State | None:
    """Read a state as it was written."""
    return None if value is None else State(value)


def _clean(row: dict[str, Any]) -> dict[str, Any]:
    """Cut long texts, and replace what UTF-8 can't hold: one odd request must not spoil the batch it is in."""
    return {key: _clean_text(value) if isinstance(value, str) else value for key, value in row.items()}


def _clean_text(text: str) -> str:
    return text[:_LONGEST_TEXT].encode("utf-8", "replace").decode("utf-8").replace("\0", "�")
