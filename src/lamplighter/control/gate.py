"""Who is let through to an endpoint, and who waits before it.

Everything here but the waiting itself is synchronous: in one event loop nothing can come between the look at a gate and
the step through it, so a claim and a sleep cannot race.
"""

from __future__ import annotations

import asyncio
import random
import sys
from collections.abc import Callable, Iterable
from functools import partial

from lamplighter.control.clock import Clock
from lamplighter.control.demand import SOMEBODY, Caller
from lamplighter.control.slots import Slot, Slots
from lamplighter.domain.endpoint import Replica
from lamplighter.domain.fairness import FairQueue
from lamplighter.domain.turnover import Turnover
from lamplighter.errors import LamplighterError, QueueFull

_UNBOUNDED = sys.maxsize


class ActiveClaim:
    """A granted claim; see `lamplighter.control.demand.Claim`."""

    __slots__ = ("_counts", "_gate", "_slot", "_well", "replica", "waited")

    def __init__(self, gate: Gate, slot: Slot, waited: float) -> None:
        self._gate: Gate | None = gate
        self._slot = slot
        self._counts = True
        self._well = True
        self.replica = slot.replica
        self.waited = waited

    def uncount(self) -> None:
        if self._gate is not None and self._counts:
            self._counts = self._well = False
            self._gate.give_slot_back(self._slot)

    def release(self) -> None:
        gate, self._gate = self._gate, None
        if gate is not None:
            gate.leave(self._slot, self._counts, self._well)

    def failed(self) -> None:
        if self._gate is not None:
            self._well = False
            self._gate.set_aside(self._slot)

    def struggled(self) -> None:
        if self._gate is not None and self._well:
            self._well = False
            self._gate.doubt(self._slot)

    def abandoned(self) -> None:
        self._well = False


class _Waiter:
    __slots__ = ("caller", "future", "since")

    def __init__(self, caller: Caller, future: asyncio.Future[ActiveClaim], since: float) -> None:
        self.caller = caller
        self.future = future
        self.since = since


class Gate:
    """The way to one endpoint's replicas, each of which answers at most `concurrency` requests at once.

    While the gate is open somebody waits only if every slot is taken; each end of a request lets one through then.

    `on_demand` is called when a request has to wait for a wake, `on_quiet` when the last one in flight has ended while
    somebody watches for that, `on_suspicion` when a replica was set aside since it can't be reached, `on_outlier` with
    a replica and the seconds for which it is set aside since it answers badly. None of them may block.
    """

    __slots__ = (
        "_attentive",
        "_busy",
        "_busy_since",
        "_bystanders",
        "_clock",
        "_max_waiting",
        "_most",
        "_on_demand",
        "_on_quiet",
        "_on_suspicion",
        "_open",
        "_probes",
        "_queue",
        "_slots",
        "_turnover",
        "_watched",
        "in_flight",
        "last_activity",
    )

    def __init__(
        self,
        clock: Clock,
        *,
        max_waiting: int,
        on_demand: Callable[[], None],
        on_quiet: Callable[[], None],
        on_suspicion: Callable[[], None],
        concurrency: int | None = None,
        on_outlier: Callable[[Replica, float], None] = lambda _replica, _seconds: None,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._clock = clock
        self._on_demand = on_demand
        self._on_quiet = on_quiet
        self._on_suspicion = on_suspicion
        self._slots = Slots(clock, jitter=jitter, on_back=self._let_in, on_rest=on_outlier)
        self._open = self._slots.open
        self._queue: FairQueue[_Waiter] = FairQueue()
        self._bystanders: set[_Waiter] = set()
        self._probes: dict[asyncio.Future[ActiveClaim], float] = {}
        self._turnover = Turnover()
        self._max_waiting = max_waiting
        self._most = _UNBOUNDED if concurrency is None else concurrency
        self._watched = False
        self._attentive = False
        self._mind()
        self._busy = self._busy_since = 0.0
        self.in_flight = 0
        self.last_activity: float | None = None

    # What it tells.

    @property
    def waiting(self) -> int:
        """How many wait who want the endpoint awake."""
        return len(self._queue) - len(self._bystanders)

    @property
    def bystanders(self) -> int:
        """How many wait who may not wake it."""
        return len(self._bystanders)

    @property
    def busy(self) -> float:
        """For how many seconds in all, since the gate was made, at least one request was in flight."""
        return self._busy + (self._clock.now() - self._busy_since if self.in_flight else 0.0)

    def first_caller(self) -> Caller | None:
        """Who has waited longest of those who may wake it; None where nobody does. Looks at everybody who waits."""
        waiting = (waiter for waiter in self._queue if waiter.caller.may_wake)
        first = min(waiting, key=lambda waiter: waiter.since, default=None)
        return None if first is None else first.caller

    @property
    def held(self) -> int:
        """How many requests wait, be they allowed to wake it or not."""
        return len(self._queue)

    @property
    def is_open(self) -> bool:
        return bool(self._open)

    @property
    def is_busy(self) -> bool:
        """Whether it is open, and every slot is taken."""
        return bool(self._open) and self._free() is None

    @property
    def slots(self) -> int | None:
        """How many requests are let through at once; None without a bound."""
        return None if self._most == _UNBOUNDED else self._most * len(self._open)

    def expected_wait(self) -> float:
        """Seconds until a slot is free for one more, from the rate at which requests end; 0.0 where one is."""
        if not self.is_busy:
            return 0.0
        return self._turnover.expected_wait(len(self._queue) + 1, self._clock.now())

    # Bounds and watching.

    def bound(self, *, max_waiting: int, concurrency: int | None) -> None:
        """Change how many may wait and be let through; those who wait already, or are in flight, may stay."""
        self._max_waiting = max_waiting
        self._most = _UNBOUNDED if concurrency is None else concurrency
        self._mind()
        self._let_in()

    @property
    def watched(self) -> bool:
        """Whether `on_quiet` is to be called."""
        return self._watched

    @watched.setter
    def watched(self, watched: bool) -> None:
        self._watched = watched
        self._mind()

    def _mind(self) -> None:
        """Find out whether the end of a request means more than that: for most it does not, and they pay nothing."""
        self._attentive = self._watched or self._most != _UNBOUNDED or self._slots.doubtful

    # Coming.

    def try_claim(self) -> ActiveClaim | None:
        """Let through at once, to the replica with the fewest in flight; None while shut, or with every slot taken."""
        slots = self._open
        if not slots:
            return None
        slot = slots[0]
        if len(slots) > 1:
            for other in slots:  # `min` takes three times as long for the few that there are
                if other.in_flight < slot.in_flight:
                    slot = other
        if slot.in_flight >= self._most:
            return None
        slot.in_flight += 1
        if not self.in_flight:
            self._busy_since = self._clock.now()
        self.in_flight += 1
        return ActiveClaim(self, slot, 0.0)

    async def claim(self, caller: Caller = SOMEBODY) -> ActiveClaim:
        """Wait until let through. Cancelling withdraws. Raises QueueFull, and what `fail_all` is given."""
        claim = self.try_claim()
        if claim is not None:
            return claim
        waiter = self._line_up(caller)
        try:
            return await waiter.future
        except BaseException:
            self._take_out(waiter)
            _hand_back(waiter.future)
            raise

    async def await_open(self) -> ActiveClaim:
        """Wait for the gate as nobody whom the endpoint is woken for. Takes no slot; the claim is no activity."""
        if self._open:
            return self._enter_without_slot(0.0)
        return await self._wait_for_opening()

    async def _wait_for_opening(self) -> ActiveClaim:
        if len(self._probes) >= self._max_waiting:
            raise _full(len(self._probes))
        future: asyncio.Future[ActiveClaim] = asyncio.get_running_loop().create_future()
        self._probes[future] = self._clock.now()
        try:
            return await future
        except BaseException:
            self._probes.pop(future, None)
            _hand_back(future)
            raise

    def _line_up(self, caller: Caller) -> _Waiter:
        """Begin to wait. A full queue turns away whoever has the most in it. Raises QueueFull."""
        if len(self._queue) >= self._max_waiting:
            self._make_room(caller)
        now = self._clock.now()
        waiter = _Waiter(caller, asyncio.get_running_loop().create_future(), now)
        self._queue.add(waiter, key=caller.key, priority=caller.priority)
        if not caller.may_wake:
            self._bystanders.add(waiter)
        if self._open:
            self._turnover.begin(now)
        elif caller.may_wake:
            self._on_demand()
        return waiter

    def _make_room(self, caller: Caller) -> None:
        count = len(self._queue)
        displaced = self._queue.displace(key=caller.key, priority=caller.priority)
        if displaced is None:
            raise _full(count)
        self._bystanders.discard(displaced)
        if not displaced.future.done():
            displaced.future.set_exception(_full(count))

    # Opening and shutting.

    def open_to(self, replicas: Iterable[Replica]) -> None:
        """Open to these replicas, and let through those who wait, as many as there are slots."""
        self._slots.set(replicas)
        self._mind()
        if not self._open:
            return
        self._let_in()
        probes, self._probes = self._probes, {}
        now = self._clock.now()
        for future, since in probes.items():
            if not future.done():
                future.set_result(self._enter_without_slot(now - since))

    def shut(self) -> None:
        """Let nobody through from now on; those in flight go on."""
        self._slots.clear()
        self._turnover.stop()
        self._mind()

    def set_aside(self, slot: Slot) -> None:
        """Send nobody else to a replica that did not answer, until the provider has been asked about it."""
        if self._slots.lose(slot):
            self._let_in()  # one that rested may be back
            self._on_suspicion()

    def doubt(self, slot: Slot) -> None:
        """A replica answered badly."""
        self._slots.struggled(slot)
        self._mind()

    def fail_all(self, error: Callable[[], LamplighterError]) -> int:
        """Give everybody who waits an error of their own; tells how many that were."""
        waiting = [*self._probes]
        self._probes.clear()
        while self._queue:
            waiting.append(self._queue.pop().future)
        self._bystanders.clear()
        self._turnover.stop()
        return _fail(waiting, error)

    def fail_callers(self, error: Callable[[Caller], LamplighterError | None]) -> int:
        """Give those who may wake it the errors that there are for them; tells how many that were."""
        told = [(one, why) for one in self._queue if one.caller.may_wake and (why := error(one.caller)) is not None]
        for waiter, why in told:
            self._take_out(waiter)
            if not waiter.future.done():
                waiter.future.set_exception(why)
        return len(told)

    def fail_bystanders(self, error: Callable[[Caller], LamplighterError]) -> int:
        """Give those who may not wake it an error of their own; tells how many that were."""
        bystanders = list(self._bystanders)
        for waiter in bystanders:
            self._take_out(waiter)
            _fail([waiter.future], partial(error, waiter.caller))
        return len(bystanders)

    # Leaving.

    def leave(self, slot: Slot, counts: bool, well: bool) -> None:
        """End a claim: called by the claim, once."""
        now = self._clock.now()
        self.in_flight -= 1
        if not self.in_flight:
            self._busy += now - self._busy_since
        if counts:
            slot.in_flight -= 1
            self.last_activity = now
        if self._attentive:
            self._after(slot, counts, well)

    def give_slot_back(self, slot: Slot) -> None:
        """A claim needs no slot, and ends later: called by the claim, once."""
        slot.in_flight -= 1
        if self._queue:
            self._let_in()

    def _after(self, slot: Slot, counts: bool, well: bool) -> None:
        """What else the end of a request means."""
        if well and slot.standing.bad:
            slot.standing.did_well()
            self._mind()
        if counts and self._queue and self._open:
            self._turnover.note(self._clock.now())
            self._let_in()
        if self._watched and not self.in_flight:
            self._on_quiet()

    def _let_in(self) -> None:
        """Let through whoever is next, as long as slots are free."""
        queue = self._queue
        while queue and (slot := self._free()) is not None:
            waiter = queue.pop()
            self._bystanders.discard(waiter)
            if not waiter.future.done():
                waiter.future.set_result(self._enter(slot, self._clock.now() - waiter.since))
        if not queue:
            self._turnover.stop()
        elif self._open:
            self._turnover.begin(self._clock.now())

    def _free(self) -> Slot | None:
        slot = min(self._open, key=_load, default=None)
        return slot if slot is not None and slot.in_flight < self._most else None

    def _enter(self, slot: Slot, waited: float) -> ActiveClaim:
        slot.in_flight += 1
        if not self.in_flight:
            self._busy_since = self._clock.now()
        self.in_flight += 1
        return ActiveClaim(self, slot, waited)

    def _enter_without_slot(self, waited: float) -> ActiveClaim:
        claim = self._enter(min(self._open, key=_load), waited)
        claim.uncount()
        return claim

    def _take_out(self, waiter: _Waiter) -> None:
        """Let one wait no longer; one that does not wait any more is no error."""
        self._queue.discard(waiter, key=waiter.caller.key, priority=waiter.caller.priority)
        self._bystanders.discard(waiter)
        if not self._queue:
            self._turnover.stop()


def _hand_back(future: asyncio.Future[ActiveClaim]) -> None:
    """Undo a wait that was given up: a grant that came at the same moment goes to the next."""
    if future.done() and not future.cancelled() and future.exception() is None:
        claim = future.result()
        claim.abandoned()
        claim.release()


def _fail(waiting: Iterable[asyncio.Future[ActiveClaim]], error: Callable[[], LamplighterError]) -> int:
    count = 0
    for future in waiting:
        count += 1
        if not future.done():
            future.set_exception(error())
    return count


def _full(count: int) -> QueueFull:
    waiting = "1 request is" if count == 1 else f"{count} requests are"
    return QueueFull(f"{waiting} waiting already; that is the limit.", retry_after=None)


def _load(slot: Slot) -> int:
    return slot.in_flight
