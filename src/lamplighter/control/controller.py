"""The one task that looks after one endpoint: look, decide, act, over and over.

Only this task calls the provider's verbs for its endpoint, and only what `decide` says. Everything else (requests,
people, other endpoints that need room) leaves a word here and nudges it.
"""

from __future__ import annotations

import asyncio
import dataclasses
import random
from collections.abc import Callable, Mapping

import structlog

from lamplighter.control import portrait
from lamplighter.control.clock import Clock
from lamplighter.control.gate import ActiveClaim, Gate
from lamplighter.control.history import History
from lamplighter.control.journal import Journal, Memory
from lamplighter.control.ledger import VERB_TIMEOUT, Ledger, text_of
from lamplighter.control.revision import Revision
from lamplighter.control.room import RoomKeeper
from lamplighter.control.trouble import Trouble, is_doubtful, is_lasting, pause_of
from lamplighter.control.wishes import Wishes
from lamplighter.domain.endpoint import ASLEEP, SERVING, STARTING, Endpoint, Spec, State, Status
from lamplighter.domain.lifecycle import (
    QUIET_LOOK,
    ROOM_LOOK,
    SETTLE_TIME,
    STABLE_TIME,
    Action,
    Fail,
    GiveRoom,
    Look,
    Room,
    Sleep,
    TakeRoom,
    Update,
    Verb,
    View,
    Wait,
    Wake,
    backoff,
    decide,
)
from lamplighter.errors import (
    Conflict,
    EndpointNotFound,
    EndpointPaused,
    InvalidInput,
    LamplighterError,
    ProviderUnreachable,
    QueueFull,
    ShuttingDown,
    WakeFailed,
    WakeTimeout,
)
from lamplighter.providers.base import Provider

log = structlog.get_logger("lamplighter.control")

_ASLEEP = Status(state=State.SCALED_TO_ZERO)
_NEVER_BEGUN = "the provider accepted the wake and never began it"
_SOONEST_LOOK = 0.25
_TIMER_SLACK = 0.001  # a timer may come a little early; what is due at its moment would not be due yet
_SUSPICION_PAUSE = 1.0


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
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._revision = Revision(spec)
        self._name = spec.name
        self.gate = Gate(
            clock,
            max_waiting=spec.policy.max_waiting,
            on_demand=self._demanded,
            on_quiet=self._became_quiet,
            on_suspicion=self._suspect,
        )
        self._provider = provider
        self._room = room
        self._journal = journal
        self._clock = clock
        self._ledger = Ledger(spec.name, journal, clock)
        self._history = History(clock, memory)
        self._trouble = Trouble(jitter)
        self._wishes = Wishes(paused=memory.paused)
        self._nudge = asyncio.Event()
        self._pulse = asyncio.Event()

        self._status = _ASLEEP
        self._known: State | None = None  # the last state that the provider told
        self._blind = True  # the provider could not be asked since, or said what nobody here understands
        self._gone = False  # the provider said that it has no such endpoint
        self._stale = True
        self._seen_at = self._look_at = clock.now()
        self._begun: Verb | None = None
        self._begun_at = 0.0
        self._sleeps_into = State.SCALED_TO_ZERO  # what a sleep that is under way leads to
        self._room_wanted = False
        self._room_look_at = 0.0
        self.looks = 0
        """Looks that worked, so that a trouble can be seen to be over."""
        self._watch_quiet()

    # What others say to it. All of this only leaves a word and nudges.

    @property
    def name(self) -> str:
        return self._name

    @property
    def spec(self) -> Spec:
        """The spec in force."""
        return self._revision.spec

    @property
    def target_spec(self) -> Spec:
        """The spec that it has, or is about to have."""
        return self._revision.target

    @property
    def needs(self) -> Mapping[str, float]:
        return self.spec.needs()

    async def claim(self, timeout: float | None) -> ActiveClaim:
        """Wait for an awake endpoint; see `Demand.claim`."""
        self._bar()
        began = self._clock.now()
        try:
            async with asyncio.timeout(self.spec.policy.wake_timeout if timeout is None else timeout):
                return await self.gate.claim()
        except TimeoutError:
            raise self.too_late(self._clock.now() - began) from None
        except QueueFull as error:
            raise QueueFull(error.message, retry_after=self.retry_after()) from None

    async def await_awake(self, timeout: float) -> ActiveClaim:
        """Wait without any demand; see `Demand.await_awake`."""
        self._bar()
        try:
            async with asyncio.timeout(timeout):
                return await self.gate.await_open()
        except TimeoutError:
            raise portrait.not_awake(self.name, timeout, retry_after=self.retry_after()) from None

    def look_now(self) -> None:
        """Say that the provider may have news."""
        self._stale = True
        self._nudge.set()

    def ask_wake(self, actor: str, lease: str | None = None) -> None:
        """An operator wants it awake: withdraws a sleep or a pause, and the idle clock starts anew.

        A lease holds it from this moment on: a pause that comes later ends it.
        """
        self._wishes.ask_wake(actor)
        self._wishes.wake_asked = not self.gate.is_open
        self._wishes.wake_until = self._clock.now() + self.spec.policy.wake_timeout
        self._history.restart_idle_clock()
        self._trouble.retry_now(self._clock.now())
        if lease is not None:
            self.hold(lease)
        self.look_now()  # where a pause had shut the gate before what still runs, that opens it again

    def ask_sleep(self, actor: str, into: State | None = None) -> None:
        """An operator wants it asleep, as soon as nothing is in flight and nothing waits.

        SCALED_TO_ZERO withdraws a pause; None leaves it to the policy, and a pause as it is.
        """
        self._wishes.ask_sleep(actor, into)
        self._lie_down()
        self.look_now()

    def ask_pause(self, actor: str) -> None:
        """An operator wants nobody to be let in or to wake it: those who wait are told, what is in flight may end."""
        self._wishes.ask_pause(actor)
        self.gate.shut()
        self._turn_away()
        self._lie_down()

    @property
    def paused(self) -> bool:
        """Whether an operator's pause stands."""
        return self._wishes.paused

    def hold(self, lease: str) -> None:
        """Add a standing demand. It does not withdraw a pause."""
        self._wishes.leases.add(lease)
        self._demanded()

    def let_go(self, lease: str) -> None:
        """End a standing demand; one that is not there is no error."""
        self._wishes.leases.discard(lease)
        self._history.restart_idle_clock()
        self._nudge.set()

    def holds(self, lease: str) -> bool:
        """Whether this standing demand counts."""
        return lease in self._wishes.leases

    async def change(self, spec: Spec) -> None:
        """Take a new spec as `replace` does, and wait until its provider has taken it, or will when it is asleep.

        Raises what the provider raises; ProviderUnreachable when it can't be told in time, or when nobody knows whether
        it has taken it (then it is told the old one again); Conflict when another change took its place. The old spec
        stays then. Cancelling withdraws a change that the provider has not begun to hear of; after that it goes on.
        """
        answer = self._revision.ask_and_tell(spec)
        self._asked_to_change()
        try:
            await asyncio.wait([answer], timeout=VERB_TIMEOUT)
        finally:
            untold = ProviderUnreachable(f"the provider of {self.name!r} could not be told of the change in time")
            if self._revision.withdraw(answer, untold):
                self._goes_on_as_before()
        await asyncio.wait([answer])  # the provider is being told: that call has a deadline of its own
        answer.result()

    def replace(self, spec: Spec) -> None:
        """Take a new spec: at once if the process stays the same or the provider can, else when nothing is in flight.

        Until the provider has been told, requests go where they went.
        """
        self._revision.ask(spec)
        self._asked_to_change()

    def retire(self) -> None:
        """Serve what waits and what is in flight, sleep, be deleted, end."""
        self._wishes.retiring = True
        self._wishes.leases.clear()
        self.ask_sleep("configuration")

    def want_room(self, wanted: bool) -> None:
        self._room_wanted, before = wanted, self._room_wanted
        self._watch_quiet()
        if wanted is not before:
            self._nudge.set()

    def room_changed(self) -> None:
        self._nudge.set()

    def evictable_since(self) -> float | None:
        if self._begun is Verb.SLEEP:
            return float("-inf")  # on its way out already: count on it before asking anybody else
        view = self.view()
        if view.wanted:
            return None
        if view.state in STARTING:
            return self._history.start_began
        fresh = self._clock.now() < view.awake_since + view.policy.min_awake
        return None if fresh or view.state is not State.RUNNING else view.idle_since

    def ended(self) -> None:
        """It is retired and gone: wake those who wait for that."""
        self._show()

    async def put_out(self) -> None:
        """Record that the provider has ended it together with this server."""
        if self._known not in ASLEEP and self._known is not None:
            self._ledger.because("shutdown", "server")
            self._history.sleep_time = self._clock.wall()
            await self._ledger.changed(self._known, _ASLEEP, self._history.state_changed())
            self._known = State.SCALED_TO_ZERO

    def abandon(self) -> None:
        """Tell everybody who waits that this server is going away."""
        self.gate.fail_all(lambda: ShuttingDown(f"Lamplighter is shutting down before {self.name!r} was ready."))

    # What it tells.

    def view(self) -> View:
        """All that a decision looks at."""
        last, history, wishes, trouble = self.gate.last_activity, self._history, self._wishes, self._trouble
        return View(
            policy=self.spec.policy,
            replicas=self.spec.replicas,
            state=None if self._blind else self._known,
            ready=len(self._status.replicas),
            look_at=float("-inf") if self._stale else self._look_at,
            begun=self._begun,
            begun_at=self._begun_at,
            in_flight=self.gate.in_flight,
            waiting=self.gate.waiting,
            leases=len(wishes.leases),
            wake_asked=wishes.wake_asked,
            sleep_asked=wishes.sleep_asked,
            sleep_into=wishes.sleep_into,
            stay_asleep=wishes.stay_asleep,
            paused=wishes.paused,
            untold=self._revision.untold,
            replacing=self._revision.replacing,
            room_wanted=self._room_wanted,
            room=self._room_state(),
            room_look_at=self._room_look_at,
            idle_since=history.idle_since if last is None else max(last, history.idle_since),
            awake_since=history.awake_since,
            failures=trouble.failures,
            permanent=trouble.permanent,
            retry_at=trouble.retry_at,
            heal_at=trouble.heal_at,
            sleep_retry_at=trouble.sleep_retry_at,
            update_at=trouble.update_at,
        )

    def endpoint(self) -> Endpoint:
        """The endpoint as a person sees it now."""
        view, now = self.view(), self._clock.now()
        return portrait.paint(
            view,
            now,
            self._history,
            spec=self.spec,
            state=self._known,
            status=self._status,
            message=self._message(view),
            state_age=max(0.0, now - self._seen_at),
            last_used=self.gate.last_activity,
            leaving=self._wishes.retiring,
        )

    def keepsake(self) -> Endpoint:
        """The endpoint as it is worth remembering: what is in flight is activity, though its end is yet to come."""
        seen = self.endpoint()
        return dataclasses.replace(seen, last_activity=self._clock.wall()) if seen.in_flight else seen

    async def changed(self) -> None:
        """Wait for the next change that `endpoint` would show."""
        await self._pulse.wait()

    @property
    def gone(self) -> bool:
        """Whether the provider says for certain that it has no such endpoint."""
        return self._gone

    async def looked(self) -> None:
        """Wait until the provider was asked for the first time, whatever came of it."""
        while self._known is None and not self._trouble.error:
            await self.changed()

    def retry_after(self) -> float:
        """Seconds until a request has a chance, from what earlier starts took."""
        pause = 0.0 if self._history.start_began is not None else self._trouble.retry_at - self._clock.now()
        return max(0.0, pause) + self._history.remaining_start()

    # The loop.

    async def run(self) -> None:
        """Look after the endpoint until it is retired."""
        while not self._retired():
            self._nudge.clear()
            await self._act(decide(self.view(), self._clock.now()))
        self._room.give_back(self)
        await self._delete()

    async def _delete(self) -> None:
        """Have the provider forget the endpoint, however often that takes: what it keeps may run and be billed."""
        failures = 0
        while (error := await self._ledger.call("delete", self._provider.delete(self.name))) is not None:
            if isinstance(error, EndpointNotFound):
                return
            failures += 1
            log.error("delete failed: it may still be running, and billed", endpoint=self.name, error=text_of(error))
            await asyncio.sleep(backoff(self.spec.policy, failures, self._trouble.jitter()))

    def _retired(self) -> bool:
        if not self._wishes.retiring or self.gate.waiting:
            return False
        return self._gone or (self._known in ASLEEP and self._begun is None)

    async def _act(self, action: Action) -> None:
        match action:
            case Look():
                await self._look()
            case TakeRoom():
                self._take_room()
            case GiveRoom():
                self._room.give_back(self)
            case Wake(reason):
                await self._wake(reason)
            case Sleep(reason, into):
                await self._sleep(reason, into)
            case Update():
                await self._update()
            case Fail():
                self._fail_waiters()
            case Wait(until):
                await self._rest(until)

    async def _rest(self, until: float) -> None:
        try:
            async with asyncio.timeout_at(until + _TIMER_SLACK):
                await self._nudge.wait()
        except TimeoutError:
            return

    # Looking.

    async def _look(self) -> None:
        self._stale = False  # before asking: a change that comes while the answer travels asks for another look
        try:
            async with asyncio.timeout(VERB_TIMEOUT):
                status = await self._provider.observe(self.name)
        except (LamplighterError, TimeoutError) as error:
            self._cannot_see(error)
        else:
            self._gone = False
            self._trouble.look_worked()
            await self._saw(status)
            self.looks += 1
        self._show()

    def _cannot_see(self, error: Exception) -> None:
        """Nothing is woken or slept by guess; the gate stays as it is, so that what runs is served."""
        self._blind = True
        self._gone = isinstance(error, EndpointNotFound)
        pause = max(self._trouble.look_failed(self.spec.policy, text_of(error)), pause_of(error))
        self._look_at = self._clock.now() + pause
        log.warning("look failed", endpoint=self.name, error=text_of(error), next_look_in=round(pause, 2))

    async def _saw(self, status: Status) -> None:
        """Take in what the provider said. A change is on record before anybody is let through or told of it."""
        if status.state is None:
            self._does_not_understand(status)
            return
        self._trouble.understood()
        before, previous, self._status = self._known, self._status, status
        began = self._settle_verb(status)
        self._notice_resume(before, began, status.state)
        if not self._serves(status):
            self.gate.shut()
        if before is not status.state:
            lasted = None if before is None else self._history.state_changed()
            await self._ledger.changed(before, status, lasted)
        self._known, self._blind, self._seen_at = status.state, False, self._clock.now()
        took = self._conclude(before, began, status, fell=not previous.broken)
        self._look_at = self._seen_at + self._look_interval()
        if self._serves(status):
            self.gate.open_to(status.replicas)
        elif self.view().barred:
            self._turn_away()
        if took is not None:
            await self._journal.started(self.name, self._clock.wall(), took)
        if before is not self._known:
            await self._journal.remember([self.keepsake()])

    def _notice_resume(self, before: State | None, began: Verb | None, state: State) -> None:
        """A pause that stood is over when somebody resumes the endpoint at its provider: theirs is the later word."""
        stood = self._wishes.paused and before is State.PAUSED and began is None
        if stood and state not in ASLEEP and self._provider.capabilities.pauses:
            log.warning("resumed elsewhere: the pause is over", endpoint=self.name, state=state)
            self._wishes.resumed_elsewhere()

    def _does_not_understand(self, status: Status) -> None:
        """A word that nobody here knows: as with a provider that can't be asked, nothing is done by guess."""
        self._blind = True
        self._look_at = self._clock.now() + self._look_interval()
        if self._trouble.not_understood(status.message or ""):
            log.warning("unknown state", endpoint=self.name, state=status.message)

    def _serves(self, status: Status) -> bool:
        free = self._begun is not Verb.SLEEP and not self._revision.replacing and not self._wishes.paused
        return free and status.serves

    def _settle_verb(self, status: Status) -> Verb | None:
        """Tell the verb that was under way; it is over once the provider shows its effect, or a failure."""
        began = self._begun
        if began is Verb.SLEEP and self._known in ASLEEP:  # from one way of being asleep to the other
            shown = status.state is self._sleeps_into or status.state not in ASLEEP
        else:
            shown = status.state in ASLEEP if began is Verb.SLEEP else status.state not in ASLEEP
        if shown or status.broken:
            self._begun = None
        return began

    def _conclude(self, before: State | None, began: Verb | None, status: Status, *, fell: bool) -> float | None:
        """Draw the conclusions from a look; tells how long a start took that is now done (seconds)."""
        state = status.state
        if state is not None and state in ASLEEP:
            self._is_asleep(before, began, state)
        elif status.broken:
            if fell or began is Verb.WAKE:
                self._broke(before, status)
        else:
            self._room.occupy(self)  # it takes up the room, whoever woke it
            if status.serves and state is not State.UPDATING:
                return self._is_awake(before)
            if state in STARTING and self._history.start_began is None:
                self._history.start_begins(own=False)
        return None

    def _is_awake(self, before: State | None) -> float | None:
        came_up = before not in SERVING and before is not None
        if came_up:
            self._history.wake_time = self._clock.wall()
        if self._begun is not Verb.SLEEP:
            self._wishes.wake_asked = False
            self._trouble.error = None
        took = self._history.is_ready(came_up=came_up)
        if took is not None:
            log.info("ready", endpoint=self.name, seconds=round(took, 3), waiting=self.gate.waiting)
        return took

    def _is_asleep(self, before: State | None, began: Verb | None, state: State) -> None:
        if before not in ASLEEP and before is not None:
            self._history.sleep_time = self._clock.wall()
        if self._begun is Verb.WAKE:
            if self._clock.now() < self._begun_at + SETTLE_TIME:
                return  # accepted, not shown yet
            self._wake_failed(_NEVER_BEGUN, permanent=False)
        self._history.start_began = None
        self._wishes.is_asleep(state)
        if self._begun is Verb.SLEEP:
            return  # it is asleep, and not yet in the way that was asked for
        if state is State.PAUSED and before not in (None, state) and began is not Verb.SLEEP:
            self._wishes.paused_elsewhere()
        if began is Verb.SLEEP or before is State.RUNNING:
            self._trouble.is_over()
            self._room.give_back(self)
        elif before in STARTING:
            self._wake_failed("it went back to sleep while it was starting", permanent=False)
        self._ledger.seen()

    def _broke(self, before: State | None, status: Status) -> None:
        now = self._clock.now()
        proved = before is State.RUNNING and now - self._history.awake_since >= STABLE_TIME
        if proved:
            self._trouble.is_proved()
        self._wake_failed(status.message or "the provider gave no reason", permanent=status.permanent)
        if proved:
            self._trouble.retry_now(now)
        self._ledger.seen()

    def _wake_failed(self, error: str, *, permanent: bool, pause: float = 0.0) -> None:
        self._begun = None
        self._history.start_began = None
        self._trouble.wake_failed(self.spec.policy, self._clock.now(), error, permanent=permanent, pause=pause)
        if self.view().given_up:
            self._wishes.wake_asked = False
        log.error("failed", endpoint=self.name, error=error, failures=self._trouble.failures)

    # Acting.

    def _take_room(self) -> None:
        self._room_look_at = self._clock.now() + ROOM_LOOK
        never = self._room.never(self)
        if never is not None:
            self._wake_failed(f"it can't fit: {never}", permanent=True)
        else:
            self._room.take(self)
            if self._wishes.wake_asked and self._room.queued(self) and self._clock.now() >= self._wishes.wake_until:
                self._wishes.wake_asked = False
                self._trouble.error = f"the wake that was asked for {self._message(self.view())} and got none in time"
        self._show()

    async def _wake(self, reason: str) -> None:
        if self._begun is Verb.WAKE:
            self._wake_failed(_NEVER_BEGUN, permanent=False)
            return
        if not self._wishes.retiring:
            self._wishes.end_sleep()
        healing = self._known is State.RUNNING
        if healing:
            self._trouble.healing(self._clock.now())
        else:
            self._history.start_begins(own=True)
            self._begin(Verb.WAKE)
        self._ledger.because(reason, self._actor("request" if self.gate.waiting else "policy"))
        error = await self._ledger.call("wake", self._bring_up())
        if error is not None:
            self._stale = True
            if not healing:
                self._wake_failed(text_of(error), permanent=is_lasting(error), pause=pause_of(error))

    async def _bring_up(self) -> None:
        if self.spec.flaw is not None:
            raise InvalidInput(self.spec.flaw)
        await self._provider.wake(self.name)

    async def _sleep(self, reason: str, into: State) -> None:
        self.gate.shut()  # no await between the decision and this: no claim can slip between
        if self._begun is Verb.SLEEP:
            log.error("sleep not confirmed: it may still be running, and billed", endpoint=self.name)
            self._trouble.sleep_failed(self.spec.policy, self._clock.now(), "the provider accepted it and never did it")
        self._ledger.because(reason, self._actor("policy"))
        self._sleeps_into = into
        self._begin(Verb.SLEEP)
        error = await self._ledger.call(
            "pause" if into is State.PAUSED else "sleep", self._provider.sleep(self.name, into)
        )
        if error is not None:
            self._sleep_failed(error)

    def _sleep_failed(self, error: Exception) -> None:
        self._begun, self._stale = None, True
        self._trouble.sleep_failed(self.spec.policy, self._clock.now(), text_of(error))
        if self._known in ASLEEP:  # paused instead of scaled to zero, or the reverse
            log.error("the way of being asleep was not changed", endpoint=self.name, error=text_of(error))
            if is_lasting(error):
                self._wishes.end_sleep()
        else:
            log.error("sleep failed: it is still running, and billed", endpoint=self.name, error=text_of(error))

    def _begin(self, verb: Verb) -> None:
        self._begun, self._begun_at = verb, self._clock.now()
        self._look_at = min(self._look_at, self._begun_at + self._look_interval())
        self._show()

    async def _update(self) -> None:
        """Tell the provider of a new spec. One that it takes only from an endpoint that is asleep waits for that."""
        spec = self._revision.tell()
        if spec is None:
            return
        self._ledger.because("a new specification", "configuration")
        if self._known in ASLEEP:
            self._room.give_back(self)
        try:
            error = await self._ledger.call("update", self._provider.update(spec), expected=Conflict)
        except asyncio.CancelledError:
            self._revision.be_in_doubt(spec, ShuttingDown(f"Lamplighter shut down during a change of {self.name!r}."))
            raise
        except Exception as fault:
            self._not_taken(spec, fault)
            raise
        self._stale = True
        if error is None:
            self._took_spec(spec)
        elif isinstance(error, Conflict) and self._known not in ASLEEP:
            self._takes_it_asleep(spec)
        else:
            self._not_taken(spec, error)

    def _took_spec(self, spec: Spec) -> None:
        self._trouble.update_worked()
        if self._known in ASLEEP:
            self._trouble.is_over()
        self._revision.take(spec)
        self._watch_quiet()

    def _takes_it_asleep(self, spec: Spec) -> None:
        """The provider knows the new spec and waits for sleep: from here on requests wait for that, too."""
        self._revision.take_asleep(spec)
        if self._revision.replacing:
            self.gate.shut()
            self._watch_quiet()

    def _not_taken(self, spec: Spec, error: Exception) -> None:
        """What was not carried out for certain is told again, or the old one is, where somebody waits for an answer."""
        text = text_of(error)
        if is_doubtful(error):
            self._revision.be_in_doubt(spec, error)
            self._tell_again(text)
        elif self._revision.awaited(spec) or is_lasting(error) or isinstance(error, Conflict):
            log.error("new specification refused", endpoint=self.name, error=text)
            self._trouble.error = f"the new specification was refused: {text}"
            self._revision.refuse(spec, error)
        else:
            self._revision.tell_later(spec)
            self._tell_again(text)
        self._goes_on_as_before()

    def _tell_again(self, error: str) -> None:
        failed = self._trouble.undo_failed if self._revision.undoing else self._trouble.update_failed
        failed(self.spec.policy, self._clock.now(), error)

    def _goes_on_as_before(self) -> None:
        self.gate.bound_waiting(self.target_spec.policy.max_waiting)
        self._watch_quiet()
        self.look_now()

    def _fail_waiters(self) -> None:
        pause = max(1.0, self._trouble.retry_at - self._clock.now())
        text = f"Endpoint {self.name!r} could not be started: {self._trouble.error}"
        count = self.gate.fail_all(lambda: WakeFailed(text, retry_after=pause))
        log.warning("waiters failed", endpoint=self.name, waiters=count, error=self._trouble.error)
        self._show()

    # Small answers.

    def _actor(self, otherwise: str) -> str:
        return (self._wishes.asker if self._wishes.operated else "") or otherwise

    def _room_state(self) -> Room:
        if self._room.holds(self):
            return Room.HELD
        return Room.QUEUED if self._room.queued(self) else Room.NONE

    def _look_interval(self) -> float:
        """How long until the next look: by the provider's word while it is quiet, sooner while something changes."""
        capabilities = self._provider.capabilities
        if not capabilities.reports_changes and self._begun is Verb.SLEEP:
            return min(capabilities.look_every, max(_SOONEST_LOOK, (self._clock.now() - self._begun_at) / 4))
        if not capabilities.reports_changes and self._comes_up():
            return min(capabilities.look_every, self._history.look_pause())
        if self._begun is not None:  # look again when it counts as lost
            overdue = self._begun_at + SETTLE_TIME - self._clock.now()
            return min(capabilities.look_every, max(_SOONEST_LOOK, overdue))
        return capabilities.look_every * (0.9 + 0.2 * self._trouble.jitter())

    def _comes_up(self) -> bool:
        unready = self._known is State.RUNNING and not self._status.replicas
        return self._begun is Verb.WAKE or self._known in STARTING or unready

    def _message(self, view: View) -> str | None:
        return portrait.message(
            view, status=self._status.message, error=self._trouble.error, blocked_by=self._room.blocked_by(self)
        )

    def too_late(self, waited: float) -> WakeTimeout:
        """The error for a request whose time to be held ran out."""
        view = self.view()
        what = self._message(view) or f"it is {portrait.phase(view, self._clock.now())}"
        goes_on = self._begun is Verb.WAKE or self._known in STARTING
        return portrait.too_late(self.name, waited, what, goes_on=goes_on, retry_after=self.retry_after())

    # Signals.

    def _asked_to_change(self) -> None:
        self.gate.bound_waiting(self.target_spec.policy.max_waiting)
        self._trouble.update_worked()
        self._watch_quiet()
        self.look_now()

    def _bar(self) -> None:
        """Refuse who comes to a paused endpoint. Raises EndpointPaused."""
        if self.view().barred:
            if not self._wishes.paused:
                self._suspect()  # it was paused elsewhere, and may have been resumed there
            raise EndpointPaused(self.name)

    def _turn_away(self) -> None:
        """Tell all who wait that it is paused."""
        count = self.gate.fail_all(lambda: EndpointPaused(self.name))
        if count:
            log.warning("waiters refused", endpoint=self.name, waiters=count, reason="paused")

    def _lie_down(self) -> None:
        """Act on a word that ends with it asleep."""
        if self._known in ASLEEP and self._begun is None:
            self._trouble.is_over()
        self._watch_quiet()
        self._nudge.set()
        self._show()

    def _demanded(self) -> None:
        self._wishes.somebody_came()
        self._nudge.set()

    def _became_quiet(self) -> None:
        self._room.arrange()
        self._watch_quiet()
        self._nudge.set()

    def _suspect(self) -> None:
        """A replica did not answer: look soon, but don't let a burst of failures become a burst of looks."""
        self._look_at = min(self._look_at, self._seen_at + _SUSPICION_PAUSE)
        self._nudge.set()

    def _watch_quiet(self) -> None:
        """Be told of the end of the last request only when that matters: most ends need no second look."""
        timeout = self.spec.policy.idle_timeout
        hasty = timeout is not None and timeout < QUIET_LOOK
        self.gate.watched = hasty or self._room.contended or self._room_wanted or self._wants_quiet

    @property
    def _wants_quiet(self) -> bool:
        return self._wishes.want_quiet or self._revision.replacing

    def _show(self) -> None:
        pulse, self._pulse = self._pulse, asyncio.Event()
        pulse.set()
