"""Sessions' leases: standing demands that outlive the process and end when their heartbeats stop."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import math
import secrets
import weakref
from collections import OrderedDict
from collections.abc import Sequence
from typing import Protocol

import structlog

from lamplighter.control.clock import Clock
from lamplighter.control.demand import Lease
from lamplighter.control.journal import Journal
from lamplighter.control.recorder import Recorder
from lamplighter.domain.endpoint import Endpoint, State
from lamplighter.errors import (
    EndpointNotFound,
    EndpointPaused,
    InvalidInput,
    LamplighterError,
    NotFound,
    QueueFull,
    StoreError,
)
from lamplighter.store import SavedLease

log = structlog.get_logger("lamplighter.control")

SHORTEST, LONGEST = 5.0, 3600.0
"""Bounds of a lease's `ttl` (seconds)."""

MOST_PER_ENDPOINT = 1000
LONGEST_HOLDER = 200

_RETRY = 5.0
_REMEMBERED = 1000  # ended leases: to end one twice is no error
_EXPIRY = "lease"  # the actor of what nobody asked for


class Holding(Protocol):
    """What leases need of the fleet."""

    def endpoint(self, name: str) -> Endpoint: ...

    def hold(self, name: str, lease: str, holder: str = "", actor: str = "") -> None: ...

    def let_go(self, name: str, lease: str) -> None: ...

    def holds(self, name: str, lease: str) -> bool:
        """Whether the lease still counts: pausing or deleting an endpoint ends its leases."""

    async def pause(self, name: str, *, actor: str) -> Endpoint: ...

    async def resume(self, name: str, *, actor: str, lease: str | None = None, holder: str = "") -> Endpoint:
        """Withdraw a pause, wake, and hold with the lease, in one step: what pauses later ends the lease."""


class LeaseStore(Protocol):
    """Where leases are kept."""

    async def save_lease(self, saved: SavedLease) -> None: ...

    async def load_leases(self) -> list[SavedLease]: ...

    async def forget_lease(self, lease: str) -> None: ...


@dataclasses.dataclass(slots=True)
class _Entry:
    """A lease and when it ends by the loop's clock: setting the machine's clock moves no deadline."""

    lease: Lease
    ends: float


class LeaseKeeper:
    """Implements `Leases`. One task ends what nobody renews, at the moment when it is due.

    Operations on one endpoint's leases take turns, so that "the last one out" is one of them and not two or none.
    """

    def __init__(self, fleet: Holding, store: LeaseStore, journal: Journal, clock: Clock) -> None:
        self._fleet = fleet
        self._store = store
        self._recorder = Recorder(journal, clock)
        self._clock = clock
        self._entries: dict[str, _Entry] = {}
        self._locks: weakref.WeakValueDictionary[str, asyncio.Lock] = weakref.WeakValueDictionary()
        self._ended: OrderedDict[str, Lease] = OrderedDict()
        self._unforgotten: set[str] = set()  # ended, and still in the database
        self._forget_at = 0.0
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Take up what an earlier run left, once the fleet is open; what expired meanwhile ends now.

        Raises StoreError.
        """
        for saved in await self._store.load_leases():
            await self._take_up(saved)
        self._task = asyncio.create_task(self._end_for_ever(), name="leases")

    async def close(self) -> None:
        """Stop ending leases; they are taken up again by the next run."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    # Leases.

    async def open(self, name: str, *, holder: str, ttl: float, pause_at_end: bool, actor: str) -> Lease:
        async with self._recorder.recorded("begin lease", name, actor) as note:
            lease = await self._open(name, holder=holder, ttl=ttl, pause_at_end=pause_at_end, actor=actor)
            note.change = _described(lease)
        return lease

    async def _open(self, name: str, *, holder: str, ttl: float, pause_at_end: bool, actor: str) -> Lease:
        _check(holder, ttl)
        name = self._fleet.endpoint(name).spec.name
        async with self._lock(name):
            await self._drop_dead(name)
            if len(self._of(name)) >= MOST_PER_ENDPOINT:
                raise QueueFull(f"{name!r} has {MOST_PER_ENDPOINT} leases already; that is the limit.")
            now = self._clock.wall()
            lease = Lease(
                id=secrets.token_hex(16),
                endpoint=name,
                holder=holder,
                ttl=ttl,
                created_at=now,
                expires_at=now + ttl,
                pause_at_end=pause_at_end,
                actor=actor,
            )
            await self._store.save_lease(_saved(lease))
            try:
                await self._resume(lease, actor)
            except BaseException:
                self._fleet_let_go(lease)
                await self._forget(lease.id)
                raise
            self._keep(lease)
        return lease

    async def _resume(self, lease: Lease, actor: str) -> None:
        """Wake and hold. Raises EndpointPaused when somebody paused it in the meantime: that is the later word."""
        await self._fleet.resume(lease.endpoint, actor=actor, lease=lease.id, holder=lease.holder)
        if not self._counts(lease):
            raise EndpointPaused(lease.endpoint)

    async def renew(self, lease_id: str) -> Lease:
        name = self._find(lease_id).lease.endpoint
        async with self._lock(name):
            entry = self._find(lease_id)
            lease = dataclasses.replace(entry.lease, expires_at=self._clock.wall() + entry.lease.ttl)
            self._keep(lease)
            try:
                await self._store.save_lease(_saved(lease))
            except StoreError as error:
                # A database that fails must not end sessions; after a crash this one would end a heartbeat earlier.
                log.warning("heartbeat not written", endpoint=name, lease=_short(lease_id), error=error.message)
        return lease

    async def end(self, lease_id: str, *, actor: str) -> Lease:
        entry = self._entries.get(lease_id)
        if entry is not None:
            await self._end(entry.lease, "end lease", actor)
        elif lease_id not in self._ended:
            error = NotFound("This lease ended long ago, or was never given.")
            await self._recorder.write("end lease", None, actor, error=error)
            raise error
        return entry.lease if entry is not None else self._ended[lease_id]

    def list(self, name: str | None = None) -> Sequence[Lease]:
        wanted = None if name is None else self._fleet.endpoint(name).spec.name
        held = [entry.lease for entry in self._entries.values() if self._counts(entry.lease)]
        found = [lease for lease in held if wanted in (None, lease.endpoint)]
        return sorted(found, key=lambda lease: (lease.endpoint, lease.created_at))

    # Ending.

    async def _end(self, lease: Lease, operation: str, actor: str) -> None:
        """End a lease, once; done again from the start if it was interrupted."""
        async with self._lock(lease.endpoint):
            if (entry := self._entries.get(lease.id)) is None:
                return
            lease = entry.lease  # as it is now: it may have taken over another one's wish
            async with self._recorder.recorded(operation, lease.endpoint, actor) as note:
                note.change = _described(lease)
                if self._counts(lease):
                    await self._carry_out(lease, actor)
                await self._drop(lease)

    async def _drop(self, lease: Lease) -> None:
        self._fleet_let_go(lease)
        self._entries.pop(lease.id, None)
        self._ended[lease.id] = lease
        while len(self._ended) > _REMEMBERED:
            self._ended.popitem(last=False)
        await self._forget(lease.id)

    async def _drop_dead(self, name: str) -> None:
        """Take out what a pause, or a deletion and a new endpoint of the same name, has ended."""
        for entry in list(self._entries.values()):
            if entry.lease.endpoint == name and not self._counts(entry.lease):
                await self._drop(entry.lease)

    async def _carry_out(self, lease: Lease, actor: str) -> None:
        """Pause if this is the last one out; else leave the wish to pause to one of those that stay."""
        if not lease.pause_at_end:
            return
        others = [other for other in self._of(lease.endpoint) if other.id != lease.id]
        if not others:
            with contextlib.suppress(EndpointNotFound):
                await self._fleet.pause(lease.endpoint, actor=actor)
        elif not any(other.pause_at_end for other in others):
            heir = dataclasses.replace(others[-1], pause_at_end=True)
            await self._store.save_lease(_saved(heir))
            self._entries[heir.id].lease = heir

    async def _end_for_ever(self) -> None:
        while True:
            self._changed.clear()
            now = self._clock.now()
            due = [entry.lease for entry in self._entries.values() if entry.ends <= now]
            failed = not all([await self._expire(lease) for lease in due])
            if self._unforgotten and now >= self._forget_at:
                await asyncio.gather(*(self._forget(lease_id) for lease_id in sorted(self._unforgotten)))
            await self._rest(now + _RETRY if failed else math.inf)

    async def _expire(self, lease: Lease) -> bool:
        entry = self._entries.get(lease.id)
        if entry is None or entry.ends > self._clock.now():
            return True  # ended or renewed while others were dealt with
        log.warning("lease expired", endpoint=lease.endpoint, holder=lease.holder, ttl=lease.ttl)
        try:
            await self._end(lease, "expire lease", _EXPIRY)
        except LamplighterError as error:
            log.error("lease not ended", endpoint=lease.endpoint, error=error.message, retry_in=_RETRY)  # noqa: TRY400
            return False
        except Exception:
            log.exception("ending a lease broke", endpoint=lease.endpoint)  # the others have to end all the same
            return False
        return True

    async def _rest(self, until: float) -> None:
        now = self._clock.now()
        soonest = min((entry.ends for entry in self._entries.values() if entry.ends > now), default=math.inf)
        due = min(until, soonest, self._forget_at if self._unforgotten else math.inf)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(None if due == math.inf else due):
                await self._changed.wait()

    # Keeping.

    async def _take_up(self, saved: SavedLease) -> None:
        """Hold again what was held. A pause since then was somebody's word, and ended the lease."""
        lease = _lease(saved)
        left = min(lease.expires_at - self._clock.wall(), lease.ttl)
        if not self._may_be_held(lease.endpoint):
            await self._forget(lease.id)
            return
        self._fleet.hold(lease.endpoint, lease.id, lease.holder, lease.actor)
        self._entries[lease.id] = _Entry(lease, self._clock.now() + max(0.0, left))
        self._changed.set()

    def _may_be_held(self, name: str) -> bool:
        try:
            endpoint = self._fleet.endpoint(name)
        except EndpointNotFound:
            return False
        return not endpoint.paused and endpoint.state is not State.PAUSED

    def _keep(self, lease: Lease) -> None:
        self._entries[lease.id] = _Entry(lease, self._clock.now() + lease.ttl)
        self._changed.set()

    async def _forget(self, lease_id: str) -> None:
        try:
            await self._store.forget_lease(lease_id)
        except StoreError as error:
            self._unforgotten.add(lease_id)
            self._forget_at = self._clock.now() + _RETRY
            self._changed.set()
            log.warning("ended lease not removed", lease=_short(lease_id), error=error.message, retry_in=_RETRY)
        else:
            self._unforgotten.discard(lease_id)

    def _fleet_let_go(self, lease: Lease) -> None:
        with contextlib.suppress(EndpointNotFound):
            self._fleet.let_go(lease.endpoint, lease.id)

    def _find(self, lease_id: str) -> _Entry:
        entry = self._entries.get(lease_id)
        if entry is None or not self._counts(entry.lease):
            raise NotFound("This lease has ended, or was never given: what it held may be asleep. Open a new one.")
        return entry

    def _of(self, name: str) -> Sequence[Lease]:
        leases = (entry.lease for entry in self._entries.values() if entry.lease.endpoint == name)
        return [lease for lease in leases if self._counts(lease)]

    def _counts(self, lease: Lease) -> bool:
        return self._fleet.holds(lease.endpoint, lease.id)

    def _lock(self, name: str) -> asyncio.Lock:
        return self._locks.setdefault(name, asyncio.Lock())


def _described(lease: Lease) -> str:
    """What of a lease is worth having on record; its id would let others end it."""
    return f"holder {lease.holder}, ttl {lease.ttl:g} s, pause at end: {'yes' if lease.pause_at_end else 'no'}"


def _check(holder: str, ttl: float) -> None:
    if not (math.isfinite(ttl) and SHORTEST <= ttl <= LONGEST):
        raise InvalidInput(f"ttl: {ttl!r} s is not between {SHORTEST:g} and {LONGEST:g} seconds.", field="ttl")
    if not holder.strip() or len(holder) > LONGEST_HOLDER or not holder.isprintable():
        text = f"holder: {holder[:40]!r} is not a text of 1 to {LONGEST_HOLDER} printable characters."
        raise InvalidInput(text, field="holder")


def _short(lease_id: str) -> str:
    """Enough to recognise a lease in a log, too little to end it with."""
    return f"{lease_id[:8]}…"


def _saved(lease: Lease) -> SavedLease:
    fields = {field.name: getattr(lease, field.name) for field in dataclasses.fields(lease) if field.name != "id"}
    return SavedLease(lease=lease.id, **fields)


def _lease(saved: SavedLease) -> Lease:
    fields = {field.name: getattr(saved, field.name) for field in dataclasses.fields(saved) if field.name != "lease"}
    return Lease(id=saved.lease, **fields)
