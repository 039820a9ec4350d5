"""The one task that looks after one endpoint: look, decide, act, over and over.

Only this task calls the provider's verbs for its endpoint, and only what `decide` says. Everything else (requests,
people, other endpoints that need room) leaves a word here and nudges it.
"""

from __future__ import annotations

import asyncio
import dataclasses
import random
from collections.abc import Callable

import structlog

from lamplighter.control import portrait
from lamplighter.control.acting import Acting, account_of_caller, account_of_operator
from lamplighter.control.changing import Changing
from lamplighter.control.clock import Clock
from lamplighter.control.demand import SOMEBODY, Caller
from lamplighter.control.gate import ActiveClaim
from lamplighter.control.journal import Journal, Memory
from lamplighter.control.looking import Looking
from lamplighter.control.purse import Purse
from lamplighter.control.room import RoomKeeper
from lamplighter.control.situation import Situation
from lamplighter.domain.endpoint import ASLEEP, Endpoint, Spec, State, Status
from lamplighter.domain.lifecycle import (
    Action,
    Dismiss,
    Fail,
    GiveRoom,
    Look,
    Sleep,
    TakeRoom,
    Update,
    View,
    Wait,
    Wake,
    decide,
)
from lamplighter.errors import EndpointNotFound, EndpointPaused, QueueFull, ShuttingDown, Unavailable
from lamplighter.providers.base import Provider

log = structlog.get_logger("lamplighter.control")

_TIMER_SLACK = 0.001  # a timer may come a little early; what is due at its moment would not be due yet


class Controller:
    """Looks after one endpoint from its creation until it is retired."""

    def __init__(
        self,
        spec: Spec,
        provider: Provider,
        room: RoomKeeper,
        journal: Journal,
        *,
        clock: Clock,
        memory: Memory,
        purse: Purse | None = None,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._here = here = Situation(
            spec, provider, room, journal, clock=clock, memory=memory, purse=purse, jitter=jitter
        )
        self.gate = here.gate
        self._looking = Looking(here)
        self._acting = Acting(here)
        self._changing = Changing(here)

    # What others say to it. All of this only leaves a word and nudges.

    @property
    def name(self) -> str:
        return self._here.name

    @property
    def spec(self) -> Spec:
        """The spec in force."""
        return self._here.spec

    @property
    def target_spec(self) -> Spec:
        """The spec that it has, or is about to have."""
        return self._here.target_spec

    @property
    def paused(self) -> bool:
        """Whether an operator's pause stands."""
        return self._here.wishes.paused

    async def claim(self, timeout: float | None, caller: Caller = SOMEBODY) -> ActiveClaim:
        """Wait for an awake endpoint; see `Demand.claim`."""
        here = self._here
        self._bar()
        if not caller.may_wake and not here.view().comes_up:
            raise portrait.may_not_wake(self.name)
        caller = self._funded(caller)
        began = here.clock.now()
        try:
            async with asyncio.timeout(here.spec.policy.wake_timeout if timeout is None else timeout):
                return await self.gate.claim(caller)
        except TimeoutError:
            raise here.too_late(here.clock.now() - began) from None
        except QueueFull as error:
            raise QueueFull(error.message, retry_after=here.retry_after()) from None

    def want(self, caller: Caller = SOMEBODY) -> bool:
        """Raise demand without waiting; see `Demand.want`."""
        here = self._here
        if self.gate.is_open or here.wishes.retiring:
            return False
        now = here.clock.now()
        if now >= here.wishes.called_until:
            if here.barred:
                self._look_for_resume()
                return False
            if here.given_up and now < here.trouble.retry_at:
                return False
            if not here.is_starting():
                self._check_funds(account_of_caller(caller))
            here.nudge.set()
        here.wishes.call(now + here.spec.policy.wake_timeout, caller)
        return True

    async def await_awake(self, timeout: float) -> ActiveClaim:
        """Wait without any demand; see `Demand.await_awake`."""
        self._bar()
        try:
            async with asyncio.timeout(timeout):
                return await self.gate.await_open()
        except TimeoutError:
            raise portrait.not_awake(self.name, timeout, retry_after=self._here.retry_after()) from None

    def look_now(self) -> None:
        """Say that the provider may have news."""
        self._here.look_now()

    def ask_wake(self, actor: str, lease: str | None = None, holder: str = "") -> None:
        """An operator wants it awake: withdraws a sleep or a pause, and the idle clock starts anew.

        A lease holds it from this moment on, on its holder's account: a pause that comes later ends it.
        """
        here = self._here
        here.wishes.ask_wake(actor, holder)
        here.wishes.wake_asked = not self.gate.is_open
        here.wishes.wake_until = here.clock.now() + here.spec.policy.wake_timeout
        here.history.restart_idle_clock()
        here.trouble.retry_now(here.clock.now())
        if lease is not None:
            self.hold(lease, account_of_operator(actor, holder))
        here.look_now()  # where a pause had shut the gate before what still runs, that opens it again

    def ask_sleep(self, actor: str, into: State | None = None) -> None:
        """An operator wants it asleep, as soon as nothing is in flight and nothing waits.

        SCALED_TO_ZERO withdraws a pause; None leaves it to the policy, and a pause as it is.
        """
        self._here.wishes.ask_sleep(actor, into)
        self._lie_down()
        self._here.look_now()

    def ask_pause(self, actor: str) -> None:
        """An operator wants nobody to be let in or to wake it: those who wait are told, what is in flight may end."""
        self._here.wishes.ask_pause(actor)
        self.gate.shut()
        self._here.turn_away()
        self._lie_down()

    def hold(self, lease: str, account: str = "") -> None:
        """Add a standing demand, on an account. It does not withdraw a pause."""
        self._here.wishes.leases[lease] = account
        self._here.demanded()

    def let_go(self, lease: str) -> None:
        """End a standing demand; one that is not there is no error."""
        here = self._here
        here.wishes.leases.pop(lease, None)
        here.history.restart_idle_clock()
        here.nudge.set()

    def holds(self, lease: str) -> bool:
        """Whether this standing demand counts."""
        return lease in self._here.wishes.leases

    async def change(self, spec: Spec) -> None:
        """Take a new spec as `replace` does, and wait until its provider has taken it, or will when it is asleep.

        Raises what the provider raises; ProviderUnreachable when it can't be told in time, or when nobody knows whether
        it has taken it (then it is told the old one again); Conflict when another change took its place. The old spec
        stays then. Cancelling withdraws a change that the provider has not begun to hear of; after that it goes on.
        """
        await self._changing.change(spec)

    def replace(self, spec: Spec) -> None:
        """Take a new spec: at once if the process stays the same or the provider can, else when nothing is in flight.

        Until the provider has been told, requests go where they went.
        """
        self._changing.replace(spec)

    def funds_changed(self) -> None:
        """A budget was spent or has renewed: look again whether it may run, and let in whom."""
        here = self._here
        if here.is_drained:
            self.gate.shut()
            count = self.gate.fail_all(lambda: here.purse.spent(self.name) or EndpointPaused(self.name))
            if count:
                log.warning("waiters refused", endpoint=self.name, waiters=count, reason="budget")
        here.funds_changed()

    def check_funds(self, account: str) -> None:
        """Refuse to wake it for somebody whose budget leaves nothing. Raises BudgetSpent."""
        here = self._here
        if not self.gate.is_open and not here.is_starting():
            self._check_funds(account)

    def _check_funds(self, account: str) -> None:
        refused = self._here.purse.refusal(self.name, account)
        if refused is not None:
            raise refused

    def _funded(self, caller: Caller) -> Caller:
        """A caller who may not wake it for want of money waits where it comes up for others. Raises BudgetSpent."""
        here = self._here
        if not caller.may_wake or self.gate.is_open:
            return caller
        refused = here.purse.refusal(self.name, account_of_caller(caller))
        if refused is None:
            return caller
        if here.is_starting() and not here.is_drained:
            return dataclasses.replace(caller, may_wake=False)
        raise refused

    def retire(self) -> None:
        """Serve what waits and what is in flight, sleep, be deleted, end."""
        self._here.wishes.retiring = True
        self._here.wishes.leases.clear()
        self.ask_sleep("configuration")

    def ended(self) -> None:
        """It is retired and gone: wake those who wait for that."""
        self._here.show()

    async def put_out(self) -> None:
        """Record that the provider has ended it together with this server."""
        here = self._here
        if here.known not in ASLEEP and here.known is not None:
            here.ledger.because("shutdown", "server")
            here.history.sleep_time = here.clock.wall()
            asleep = Status(state=State.SCALED_TO_ZERO)
            await here.ledger.changed(here.known, asleep, here.history.state_changed(), here.spec.replicas)
            here.known = State.SCALED_TO_ZERO

    async def note_clock(self) -> None:
        """Put on record how long it has been awake, now that the wall clock was set: it tells that no more."""
        here = self._here
        if here.known is not None and self.may_be_billed:
            await here.ledger.still(here.known, here.history.state_changed(), "clock")

    @property
    def may_be_billed(self) -> bool:
        """Whether it was there, and not asleep, when its provider was asked last."""
        here = self._here
        return here.known is not None and here.known not in ASLEEP and not here.gone

    async def part(self) -> None:
        """Put on record that it is looked after no more."""
        await self._here.ledger.over(self._here.known, self._here.history.state_changed(), "removed")

    def abandon(self) -> None:
        """Tell everybody who waits that this server is going away."""
        self.gate.fail_all(lambda: ShuttingDown(f"Lamplighter is shutting down before {self.name!r} was ready."))

    def _bar(self) -> None:
        """Refuse who comes to a paused endpoint. Raises EndpointPaused."""
        here = self._here
        if here.barred:
            self._look_for_resume()
            raise EndpointPaused(self.name)

    def _look_for_resume(self) -> None:
        """What was paused elsewhere may have been resumed there."""
        if not self._here.wishes.paused:
            self._here.suspect()

    def _lie_down(self) -> None:
        """Act on a word that ends with it asleep."""
        here = self._here
        if here.known in ASLEEP and here.begun is None:
            here.trouble.is_over()
        here.watch_quiet()
        here.nudge.set()
        here.show()

    # What it tells.

    @property
    def looks(self) -> int:
        """Looks that worked, so that a trouble can be seen to be over."""
        return self._here.looks

    def view(self) -> View:
        """All that a decision looks at."""
        return self._here.view()

    def endpoint(self) -> Endpoint:
        """The endpoint as a person sees it now."""
        return self._here.endpoint()

    def stamp(self) -> tuple[object, ...]:
        """Another one as soon as `endpoint` would tell something else, but for what time alone changes; cheap.

        Its first part is another object when more than the requests at the gate has changed.
        """
        here, gate = self._here, self.gate
        return here.pulse, gate.in_flight, gate.waiting, gate.last_activity

    def keepsake(self) -> Endpoint:
        """The endpoint as it is worth remembering: what is in flight is activity, though its end is yet to come."""
        return self._here.keepsake()

    def retry_after(self) -> float:
        """Seconds until a request has a chance, from what earlier starts took."""
        return self._here.retry_after()

    def expected_wait(self) -> float:
        """Seconds until a request has a chance; 0.0 where it would be let through now."""
        return self._here.expected_wait()

    def expected_start(self) -> float | None:
        """How long a start takes, from earlier ones (seconds); None where there were none."""
        return self._here.history.expected_start()

    def is_starting(self) -> bool:
        """Whether it is asleep and on its way."""
        return self._here.is_starting()

    def too_late(self, waited: float) -> Unavailable:
        """The error for a request whose time to be held ran out."""
        return self._here.too_late(waited)

    async def changed(self) -> None:
        """Wait for the next change that `endpoint` would show."""
        await self._here.pulse.wait()

    @property
    def gone(self) -> bool:
        """Whether the provider says for certain that it has no such endpoint."""
        return self._here.gone

    async def looked(self) -> None:
        """Wait until the provider was asked for the first time, whatever came of it."""
        while self._here.known is None and not self._here.trouble.error:
            await self.changed()

    # The loop.

    async def run(self) -> None:
        """Look after the endpoint until it is retired."""
        here = self._here
        while not self._retired():
            here.nudge.clear()
            await self._act(decide(here.view(), here.clock.now()))
        here.room.give_back(here)
        self.gate.fail_all(lambda: EndpointNotFound(self.name, None))
        await self._acting.delete()

    def _retired(self) -> bool:
        here = self._here
        if not here.wishes.retiring or self.gate.waiting:
            return False
        refused = here.status.broken and here.trouble.sleep_refused  # nothing of it runs, and it can't be put to sleep
        return here.gone or refused or (here.known in ASLEEP and here.begun is None)

    async def _act(self, action: Action) -> None:
        match action:
            case Look():
                await self._looking.look()
            case TakeRoom():
                await self._acting.take_room()
            case GiveRoom():
                self._here.room.give_back(self._here)
            case Wake(reason):
                await self._acting.wake(reason)
            case Sleep(reason, into):
                await self._acting.sleep(reason, into)
            case Update():
                await self._changing.tell()
            case Fail():
                self._acting.fail_waiters()
            case Dismiss():
                self._acting.dismiss()
            case Wait(until):
                await self._rest(until)

    async def _rest(self, until: float) -> None:
        try:
            async with asyncio.timeout_at(until + _TIMER_SLACK):
                await self._here.nudge.wait()
        except TimeoutError:
            return
