"""Who is let through to an endpoint, and who waits before it.

Everything here but `claim` is synchronous: in one event loop nothing can come between the look at a gate and the step
through it, so a claim and a sleep cannot race.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from lamplighter.control.clock import Clock
from lamplighter.control.demand import SOMEBODY, Caller
from lamplighter.domain.endpoint import Replica
from lamplighter.errors import LamplighterError, QueueFull


class _Slot:
    """A replica and how many requests it is answering."""

    __slots__ = ("in_flight", "replica")

    def __init__(self, replica: Replica) -> None:
        self.replica = replica
        self.in_flight = 0


class ActiveClaim:
    """A granted claim; see `lamplighter.control.demand.Claim`."""

    __slots__ = ("_counts", "_gate", "_slot", "_well", "replica", "waited")

    def __init__(self, gate: Gate, slot: _Slot, waited: float) -> None:
        self._gate: Gate | None = gate
        self._slot = slot
        self._counts = True
        self._well = True
        self.replica = slot.replica
        self.waited = waited

    def uncount(self) -> None:
        self._counts = False

    def release(self) -> None:
        gate, self._gate = self._gate, None
        if gate is not None:
            gate.leave(self._slot, self._counts)

    def failed(self) -> None:
        if self._gate is not None:
            self._well = False
            self._gate.set_aside(self._slot)

    def struggled(self) -> None:
        self._well = False


class Gate:
    """The way to one endpoint's replicas.

    `on_demand` is called when a request has to wait, `on_quiet` when the last one in flight has ended while somebody
    watches for that, `on_suspicion` when a replica was set aside. None of them may block.
    """

    __slots__ = (
        "_bystanders",
        "_clock",
        "_max_waiting",
        "_on_demand",
        "_on_quiet",
        "_on_suspicion",
        "_probes",
        "_slots",
        "_waiters",
        "in_flight",
        "last_activity",
        "watched",
    )

    def __init__(
        self,
        clock: Clock,
        *,
        max_waiting: int,
        on_demand: Callable[[], None],
        on_quiet: Callable[[], None],
        on_suspicion: Callable[[], None],
    ) -> None:
        self._clock = clock
        self._max_waiting = max_waiting
        self._on_demand = on_demand
        self._on_quiet = on_quiet
        self._on_suspicion = on_suspicion
        self._slots: list[_Slot] = []
        self._waiters: dict[asyncio.Future[ActiveClaim], float] = {}
        self._bystanders: dict[asyncio.Future[ActiveClaim], float] = {}
        self._probes: dict[asyncio.Future[ActiveClaim], float] = {}
        self.in_flight = 0
        self.last_activity: float | None = None
        self.watched = False

    @property
    def waiting(self) -> int:
        """How many wait who want the endpoint awake."""
        return len(self._waiters)

    @property
    def bystanders(self) -> int:
        """How many wait who may not wake it."""
        return len(self._bystanders)

    @property
    def is_open(self) -> bool:
        return bool(self._slots)

    def bound_waiting(self, most: int) -> None:
        """Change how many may wait; those who wait already may stay."""
        self._max_waiting = most

    def try_claim(self) -> ActiveClaim | None:
        """Let through at once, to the replica with the fewest in flight; None while the gate is shut."""
        slots = self._slots
        if not slots:
            return None
        slot = slots[0] if len(slots) == 1 else min(slots, key=_load)
        return self._enter(slot, 0.0)

    async def claim(self, caller: Caller = SOMEBODY) -> ActiveClaim:
        """Wait until let through. Cancelling withdraws. Raises QueueFull, and what `fail_all` is given."""
        if not caller.may_wake:
            return self.try_claim() or await self._wait(self._bystanders, _nothing)
        return self.try_claim() or await self._wait(self._waiters, self._on_demand)

    async def await_open(self) -> ActiveClaim:
        """Wait as `claim` does, but as nobody whom the endpoint is woken for; the claim counts as no activity."""
        claim = self.try_claim() or await self._wait(self._probes, _nothing)
        claim.uncount()
        return claim

    async def _wait(self, waiters: dict[asyncio.Future[ActiveClaim], float], tell: Callable[[], None]) -> ActiveClaim:
        if len(waiters) >= self._max_waiting:
            raise QueueFull(f"{len(waiters)} requests are waiting already; that is the limit.", retry_after=None)
        waiter: asyncio.Future[ActiveClaim] = asyncio.get_running_loop().create_future()
        waiters[waiter] = self._clock.now()
        tell()
        try:
            return await waiter
        except BaseException:
            self._withdraw(waiter)
            raise

    def open_to(self, replicas: Iterable[Replica]) -> None:
        """Open to these replicas, and let through everybody who waits."""
        known = {slot.replica: slot for slot in self._slots}
        self._slots = [known.get(replica) or _Slot(replica) for replica in replicas]
        probes = set(self._probes)
        waiters = self._all_who_wait()
        now = self._clock.now()
        for waiter, since in waiters.items():
            if not waiter.done():
                claim = self._enter(min(self._slots, key=_load), now - since)
                if waiter in probes:
                    claim.uncount()
                waiter.set_result(claim)

    def shut(self) -> None:
        """Let nobody through from now on; those in flight go on."""
        self._slots = []

    def set_aside(self, slot: _Slot) -> None:
        """Send nobody else to a replica that did not answer, until the provider has been asked about it."""
        if slot in self._slots:
            self._slots = [other for other in self._slots if other is not slot]
            self._on_suspicion()

    def fail_all(self, error: Callable[[], LamplighterError]) -> int:
        """Give everybody who waits an error of their own; tells how many that were."""
        waiters = self._all_who_wait()
        for waiter in waiters:
            if not waiter.done():
                waiter.set_exception(error())
        return len(waiters)

    def fail_bystanders(self, error: Callable[[], LamplighterError]) -> int:
        """Give those who may not wake it an error of their own; tells how many that were."""
        bystanders, self._bystanders = self._bystanders, {}
        for waiter in bystanders:
            if not waiter.done():
                waiter.set_exception(error())
        return len(bystanders)

    def leave(self, slot: _Slot, counts: bool) -> None:
        """End a claim: called by the claim, once."""
        slot.in_flight -= 1
        self.in_flight -= 1
        if counts:
            self.last_activity = self._clock.now()
        if self.watched and not self.in_flight:
            self._on_quiet()

    def _enter(self, slot: _Slot, waited: float) -> ActiveClaim:
        slot.in_flight += 1
        self.in_flight += 1
        return ActiveClaim(self, slot, waited)

    def _all_who_wait(self) -> dict[asyncio.Future[ActiveClaim], float]:
        """Take everybody out; who is woken for comes first."""
        waiters = self._waiters | self._bystanders | self._probes
        self._waiters.clear()
        self._bystanders.clear()
        self._probes.clear()
        return waiters

    def _withdraw(self, waiter: asyncio.Future[ActiveClaim]) -> None:
        """Undo a wait that was given up: a grant that came at the same moment is handed back."""
        self._waiters.pop(waiter, None)
        self._bystanders.pop(waiter, None)
        self._probes.pop(waiter, None)
        if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
            waiter.result().release()


def _nothing() -> None:
    return


def _load(slot: _Slot) -> int:
    return slot.in_flight
