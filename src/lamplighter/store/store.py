"""The store's door: asynchronous outside, one thread and one connection inside."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

from sqlalchemy import Connection

from lamplighter.domain.closing import Position
from lamplighter.domain.endpoint import Transition
from lamplighter.domain.keys import ApiKey
from lamplighter.domain.usage import UsageRecord
from lamplighter.errors import StoreError
from lamplighter.store import charging, costing, past, queries, quotes, rebuilding, tables, using, windows
from lamplighter.store.charging import Terms
from lamplighter.store.costing import CostFilter, CostRow
from lamplighter.store.database import Database
from lamplighter.store.past import Past, Taken
from lamplighter.store.quotes import SavedQuote
from lamplighter.store.records import (
    AuditFilter,
    AuditRecord,
    AuditRow,
    SavedDeployment,
    SavedEndpoint,
    SavedLease,
    UsageBucket,
)
from lamplighter.store.using import Answered, Spell
from lamplighter.store.windows import Charged

P = ParamSpec("P")
T = TypeVar("T")

_PRUNED_AT_ONCE = 5000
"""Rows deleted in one transaction: what else wants to be written waits some milliseconds, not for all of it."""


class Store:
    """What outlives the process.

    A method that writes returns when the row is on the disk; one call is one transaction, and calls run in the order
    in which they were made. Cancelling a call does not stop its write. Every method raises StoreError when
    the database fails.
    """

    def __init__(self, database: Database, thread: ThreadPoolExecutor) -> None:
        """Use `open`."""
        self._database = database
        self._thread = thread
        self._closed = False
        self.trouble: str | None = None
        """What the last call failed with, for a readiness probe; None when it did what it should."""

    @classmethod
    async def open(cls, where: str | Path) -> Store:
        """Open the database, made and brought up to date where needed.

        `where` is a file (its folder is made too), `:memory:` or a `sqlite:///` URL. Raises Conflict with the process
        id of the server that holds it, InvalidInput for another kind of URL, StoreError.
        """
        thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="store")
        try:
            database = await asyncio.get_running_loop().run_in_executor(thread, Database, where)
        except BaseException:
            thread.shutdown(wait=False)
            raise
        return cls(database, thread)

    async def close(self) -> None:
        """Finish what was asked for, then close the database and release its lock. A second call does nothing."""
        if self._closed:
            return
        self._closed = True
        await asyncio.get_running_loop().run_in_executor(self._thread, self._database.close)
        self._thread.shutdown(wait=False)

    async def save_endpoints(self, saved: Sequence[SavedEndpoint]) -> None:
        """Keep endpoints as they are now (`SavedEndpoint.of`), in place of what was kept before; all or none."""
        await self._run(queries.save_endpoints, saved)

    async def load_endpoints(self) -> dict[str, SavedEndpoint]:
        """All saved endpoints by name."""
        return await self._run(queries.load_endpoints)

    async def forget_endpoint(self, name: str) -> None:
        """Remove a saved endpoint; its history stays until it is pruned."""
        await self._run(queries.forget_endpoint, name)

    async def add_transition(self, transition: Transition) -> None:
        """Record a change of state."""
        await self._run(queries.add_transition, transition)

    async def transitions(
        self, endpoint: str | None = None, *, since: float | None = None, limit: int = 100
    ) -> list[Transition]:
        """Find recorded changes, the newest first; `since` is Unix time, and included."""
        return await self._run(queries.select_transitions, endpoint, since, limit)

    async def past(self, endpoint: str, *, since: float, until: float, limit: int) -> Past:
        """Find the newest `limit` changes and starts of a window (Unix time), `until` excluded."""
        return await self._run(past.select_past, endpoint, since, until, limit)

    async def add_start(self, endpoint: str, at: float, duration: float) -> None:
        """Record that a start which ended at the Unix time `at` took `duration` seconds."""
        await self._run(queries.add_start, endpoint, at, duration)

    async def recent_starts(self, endpoint: str, limit: int = 10) -> list[float]:
        """Tell how long the last starts took in seconds; the newest is the last."""
        return await self._run(queries.recent_starts, endpoint, limit)

    async def add_usage(self, records: Sequence[UsageRecord]) -> None:
        """Record what requests used, all or none."""
        await self._run(queries.add_usage, records)

    async def usage(
        self, endpoint: str | None = None, *, since: float | None = None, limit: int = 100
    ) -> list[UsageRecord]:
        """Find what requests used, the newest first; `since` is Unix time, and included."""
        return await self._run(queries.select_usage, endpoint, since, limit)

    async def add_audit(self, record: AuditRecord) -> None:
        """Record a management operation."""
        await self._run(queries.add_audit, record)

    async def audit(
        self, endpoint: str | None = None, *, since: float | None = None, limit: int = 100
    ) -> list[AuditRecord]:
        """Find recorded operations, the newest first; `since` is Unix time, and included."""
        return await self._run(queries.select_audit, endpoint, since, limit)

    async def audit_page(self, wanted: AuditFilter, *, limit: int) -> list[AuditRow]:
        """Find recorded operations, the newest first."""
        return await self._run(queries.select_audit_page, wanted, limit)

    async def usage_over_time(self, endpoint: str, *, since: float, until: float, step: float) -> list[UsageBucket]:
        """Add up what requests used in each `step` (seconds) of a window (Unix time), by status, the oldest first."""
        return await self._run(queries.select_usage_over_time, endpoint, since, until, step)

    async def taken(self, endpoint: str, *, since: float, until: float, step: float) -> list[Taken]:
        """Add up what requests took in each `step` (seconds) of a window (Unix time), the oldest first."""
        return await self._run(past.select_taken, endpoint, since, until, step)

    async def spells(
        self, targets: Sequence[str], *, route: str | None = None, since: float, until: float
    ) -> list[Spell]:
        """When requests were answered (Unix time), the oldest first: by `targets`, or by whoever for none of them.

        With `route` only those that came by it.
        """
        return await self._run(using.select_spells, targets, route, since, until)

    async def answered(self, target: str, *, since: float) -> Answered:
        """How fast a target has answered since a moment (Unix time)."""
        return await self._run(using.select_answered, target, since)

    async def save_deployment(self, saved: SavedDeployment) -> None:
        """Keep a deployment in place of what was kept of it before."""
        await self._run(queries.save_deployment, saved)

    async def load_deployments(self) -> list[SavedDeployment]:
        """All deployments by name."""
        return await self._run(queries.load_deployments)

    async def forget_deployment(self, name: str) -> None:
        """Remove a deployment; one that is not there is no error."""
        await self._run(queries.forget_deployment, name)

    async def save_lease(self, saved: SavedLease) -> None:
        """Keep a lease in place of what was kept of it before."""
        await self._run(queries.save_lease, saved)

    async def load_leases(self) -> list[SavedLease]:
        """All leases, also those whose time is over."""
        return await self._run(queries.load_leases)

    async def forget_lease(self, lease: str) -> None:
        """Remove a lease; one that is not there is no error."""
        await self._run(queries.forget_lease, lease)

    async def add_key(self, key: ApiKey) -> None:
        """Keep a new key."""
        await self._run(queries.add_key, key)

    async def load_keys(self) -> list[ApiKey]:
        """All keys, also those that no longer count, the oldest first."""
        return await self._run(queries.load_keys)

    async def revoke_key(self, key_id: str, at: float) -> None:
        """Let a key count no more from the Unix time `at` on; one that is not there is no error."""
        await self._run(queries.revoke_key, key_id, at)

    async def forget_keys(self, ids: Sequence[str]) -> None:
        """Remove keys for good; one that is not there is no error."""
        await self._run(queries.forget_keys, ids)

    async def add_quotes(self, saved: Sequence[SavedQuote]) -> None:
        """Record changes of prices, all or none."""
        await self._run(quotes.add_quotes, saved)

    async def load_prices(self) -> list[SavedQuote]:
        """The newest row of each price, and all rows of endpoints' prices, the oldest first."""
        return [*await self._run(quotes.load_lines), *await self._run(quotes.load_endpoint_prices)]

    async def quotes(
        self, subject: str | None = None, *, source: str | None = None, since: float | None = None, limit: int = 100
    ) -> list[SavedQuote]:
        """Find recorded changes of prices, the newest first; `since` is Unix time, and included."""
        return await self._run(quotes.select_quotes, subject, source, since, limit)

    async def save_feed(self, source: str, checked_at: float) -> None:
        """Note the Unix time at which a feed of prices was last found to be good."""
        await self._run(quotes.save_feed, source, checked_at)

    async def load_feeds(self) -> dict[str, float]:
        """When each feed of prices was last found to be good."""
        return await self._run(quotes.load_feeds)

    async def prune(self, before: float, *, audit_before: float | None = None, only_counted: bool = False) -> int:
        """Delete transitions, starts, usage and activity older than the Unix time `before`; returns how many rows.

        Audit rows older than `audit_before`, or than `before` where that is not given. With `only_counted`, facts stay
        that the ledger has not counted. Works in small steps, so that others can write meanwhile.
        """
        until = before if audit_before is None else audit_before
        deleted = await self._run(charging.prune_ledger, before) if only_counted else 0
        for table in (tables.transitions, tables.starts, tables.usage, tables.audit):
            moment = until if table is tables.audit else before
            facts = only_counted and table in {tables.transitions, tables.usage}
            prune = charging.prune_counted if facts else queries.prune
            while count := await self._run(prune, table, moment, _PRUNED_AT_ONCE):
                deleted += count
        return deleted

    # The ledger.

    async def watched_until(self) -> float | None:
        """The Unix time until which an earlier run looked on; None where there was none."""
        return (await self._run(charging.load_marks)).get(charging.WATCHED)

    async def save_watched(self, at: float) -> None:
        """Keep until when this run has looked on (Unix time)."""
        await self._run(charging.set_mark, charging.WATCHED, at)

    async def save_activity(self, rows: Sequence[tuple[str, int, float]]) -> None:
        """Keep for how many seconds endpoints were busy in hours (Unix time), in place of what was kept before."""
        await self._run(charging.save_activity, rows)

    async def load_activity(self, since: int) -> dict[tuple[str, int], float]:
        """How many seconds endpoints were busy in each hour from `since` on (Unix time)."""
        return await self._run(charging.load_activity, since)

    async def ledger_names(self) -> list[str]:
        """All endpoints that the ledger knows, and those of which there is something new."""
        return await self._run(charging.new_names)

    async def close_hours(self, names: Sequence[str], until: int, terms: Terms) -> None:
        """Charge the hours of these endpoints that end up to `until` (Unix time, the end of an hour); all or none."""
        await self._run(charging.close_hours, names, until, terms)

    async def note_counted(self) -> None:
        """Note up to which rows all facts have been counted."""
        await self._run(charging.note_counted)

    async def rebuild_charges(self, until: int, terms: Terms) -> date | None:
        """Charge everything anew from the facts, up to `until` (the end of an hour), all or nothing.

        Tells the day with which that begins, where facts have been pruned; what is older stays. Takes minutes where a
        year of a thousand endpoints is on record, in which nothing else is written.
        """
        return await self._run(rebuilding.rebuild, until, terms)

    async def open_positions(self, now: int, terms: Terms) -> dict[str, Position]:
        """How each endpoint stands at a moment (microseconds), with what its awake period has cost so far."""
        return await self._run(charging.open_positions, now, terms)

    async def costs(self, wanted: CostFilter, now: int, terms: Terms, made: Callable[[list[CostRow]], T]) -> T:
        """What is `made` of what endpoints cost, added up by what is wanted, up to the moment `now` (microseconds).

        It is made in the thread of the database: of a thousand endpoints that takes long.
        """

        def make(connection: Connection) -> T:
            return made(costing.select_costs(connection, wanted, now, terms))

        return await self._run(make)

    async def charged_between(self, name: str, since: int, until: int, terms: Terms) -> Charged | None:
        """What an endpoint was charged between two moments (microseconds); None where facts of then are gone."""
        return await self._run(windows.charged_between, name, since, until, terms)

    async def _run(self, query: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        if self._closed:
            raise StoreError("The store is closed.")

        def transact() -> T:
            with self._database.transaction() as connection:
                return query(connection, *args, **kwargs)

        # A row on its way is written even if nobody waits for it any more.
        call = asyncio.get_running_loop().run_in_executor(self._thread, transact)
        try:
            result = await asyncio.shield(call)
        except StoreError as error:
            self.trouble = error.message
            raise
        self.trouble = None
        return result
