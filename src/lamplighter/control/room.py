"""Who holds a provider's resources, and who waits for them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from lamplighter.domain.capacity import Evict, Fits, Full, Holder, never_fits, plan


class Tenant(Protocol):
    """An endpoint, as far as its room is concerned."""

    @property
    def name(self) -> str: ...

    @property
    def needs(self) -> Mapping[str, float]: ...

    def evictable_since(self) -> float | None:
        """Since when it could have been put to sleep for another's sake; None while it can't."""

    def want_room(self, wanted: bool) -> None:
        """Say whether another endpoint needs this one's room."""

    def room_changed(self) -> None:
        """Say that room was granted, or that what holds it has changed."""


class RoomKeeper:
    """Hands out one provider's resources, first come, first served.

    A wake that waits does not hold up a later one that needs none of what it waits for.
    """

    def __init__(self, total: Mapping[str, float]) -> None:
        self._total = total
        self._held: dict[str, Tenant] = {}
        self._queue: dict[str, Tenant] = {}
        self._blocked_by: dict[str, tuple[str, ...]] = {}
        self._leaving: set[str] = set()

    def holds(self, tenant: Tenant) -> bool:
        return tenant.name in self._held

    def queued(self, tenant: Tenant) -> bool:
        return tenant.name in self._queue

    @property
    def contended(self) -> bool:
        """Whether anybody waits."""
        return bool(self._queue)

    def blocked_by(self, tenant: Tenant) -> tuple[str, ...]:
        """Names of the endpoints that hold what this one waits for."""
        return self._blocked_by.get(tenant.name, ())

    def never(self, tenant: Tenant) -> str | None:
        """Why this one can never have its room; None if it can."""
        return never_fits(self._total, tenant.needs)

    def occupy(self, tenant: Tenant) -> None:
        """Take room without asking: the endpoint is awake already."""
        self._queue.pop(tenant.name, None)
        self._held[tenant.name] = tenant

    def take(self, tenant: Tenant) -> None:
        """Ask for room: held at once if there is some, else queued until `room_changed`."""
        if tenant.name not in self._held:
            self._queue.setdefault(tenant.name, tenant)
        self.arrange()

    def give_back(self, tenant: Tenant) -> None:
        """Give up room, and the place in the queue."""
        held = self._held.pop(tenant.name, None)
        queued = self._queue.pop(tenant.name, None)
        self._blocked_by.pop(tenant.name, None)
        if held or queued:
            tenant.want_room(False)
            self.arrange()

    def arrange(self) -> None:
        """Plan anew: grant what fits, ask idle endpoints to leave for the rest."""
        if not self._queue and not self._leaving:
            return
        self._leaving = set()
        short: set[str] = set()
        for tenant in list(self._queue.values()):
            bounded = tenant.needs.keys() & self._total.keys()
            if bounded & short:
                continue
            self._leaving.update(self._place(tenant))
            if tenant.name in self._queue:
                short |= bounded
        for tenant in list(self._held.values()):
            tenant.want_room(tenant.name in self._leaving)

    def _place(self, tenant: Tenant) -> tuple[str, ...]:
        holders = [Holder(t.name, t.needs, t.evictable_since()) for t in self._held.values()]
        match plan(self._total, holders, tenant.needs):
            case Fits():
                del self._queue[tenant.name]
                self._blocked_by.pop(tenant.name, None)
                self._held[tenant.name] = tenant
                tenant.room_changed()
                return ()
            case Evict(names):
                self._blocked_by[tenant.name] = names
                return names
            case Full(names):
                self._blocked_by[tenant.name] = names
                return ()
