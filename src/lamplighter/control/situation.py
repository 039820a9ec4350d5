"""One endpoint's situation: all that is known and wanted of it, in one place.

Who looks, acts, changes and asks shares it; none of them holds anything of its own.
"""

from __future__ import annotations

import asyncio
import dataclasses
import random
from collections.abc import Callable, Mapping

import structlog

from lamplighter.control import portrait
from lamplighter.control.clock import Clock
from lamplighter.control.gate import Gate
from lamplighter.control.history import History
from lamplighter.control.journal import Journal, Memory
from lamplighter.control.ledger import Ledger
from lamplighter.control.purse import NoBudgets, Purse
from lamplighter.control.revision import Revision
from lamplighter.control.room import RoomKeeper
from lamplighter.control.trouble import Trouble
from lamplighter.control.wishes import Wishes
from lamplighter.domain.budgets import AtLimit
from lamplighter.domain.endpoint import ASLEEP, STARTING, Endpoint, Replica, Spec, State, Status
from lamplighter.domain.lifecycle import QUIET_LOOK, SETTLE_TIME, Room, Verb, View, is_barred, is_given_up
from lamplighter.errors import BudgetSpent, EndpointPaused, Unavailable
from lamplighter.providers.base import Provider

log = structlog.get_logger("lamplighter.control")

_SOONEST_LOOK = 0.25
_SUSPICION_PAUSE = 1.0


class Situation:
    """What a decision is made from, what a person is shown, and the signals that something of it has changed."""

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
        self.purse: Purse = purse or NoBudgets()
        self.refused: BudgetSpent | None = None  # why it was not woken when that was last tried
        self.refused_until = 0.0
        self.revision = Revision(spec)
        self.name = spec.name
        self.gate = Gate(
            clock,
            max_waiting=spec.policy.max_waiting,
            concurrency=spec.policy.concurrency,
            on_demand=self.awaited,
            on_quiet=self.became_quiet,
            on_suspicion=self.suspect,
            on_outlier=self.note_outlier,
            jitter=jitter,
        )
        self.provider = provider
        self.room = room
        self.journal = journal
        self.clock = clock
        self.ledger = Ledger(spec.name, journal, clock, provider=spec.provider, watched_until=memory.watched_until)
        self.history = History(clock, memory)
        self.trouble = Trouble(jitter)
        self.wishes = Wishes(paused=memory.paused)
        self.nudge = asyncio.Event()
        self.pulse = asyncio.Event()

        self.status = Status(state=State.SCALED_TO_ZERO)
        self.known: State | None = None  # the last state that the provider told
        self.blind = True  # the provider could not be asked since, or said what nobody here understands
        self.gone = False  # the provider said that it has no such endpoint
        self.stale = True
        self.seen_at = self.look_at = clock.now()
        self.begun: Verb | None = None
        self.begun_at = 0.0
        self.sleeps_into = State.SCALED_TO_ZERO  # what a sleep that is under way leads to
        self.room_wanted = False
        self.room_look_at = 0.0
        self.looks = 0
        """Looks that worked, so that a trouble can be seen to be over."""
        self.watch_quiet()

    @property
    def spec(self) -> Spec:
        """The spec in force."""
        return self.revision.spec

    @property
    def target_spec(self) -> Spec:
        """The spec that it has, or is about to have."""
        return self.revision.target

    # What it tells.

    @property
    def called(self) -> bool:
        """Whether it is to be awake for requests that are answered elsewhere meanwhile."""
        return self.clock.now() < self.wishes.called_until

    @property
    def barred(self) -> bool:
        """As the view tells it, without making one."""
        state, wishes = None if self.blind else self.known, self.wishes
        return is_barred(self.spec.policy, state, paused=wishes.paused, wake_asked=wishes.wake_asked)

    @property
    def given_up(self) -> bool:
        """As the view tells it, without making one."""
        return is_given_up(self.spec.policy, self.trouble.failures, permanent=self.trouble.permanent)

    @property
    def is_drained(self) -> bool:
        """Whether nobody is let in, because a budget is spent that says so."""
        return self.purse.at_limit(self.name) in {AtLimit.DRAIN, AtLimit.CUT}

    def view(self) -> View:
        """All that a decision looks at."""
        last, history, wishes, trouble = self.gate.last_activity, self.history, self.wishes, self.trouble
        return View(
            policy=self.spec.policy,
            replicas=self.spec.replicas,
            state=None if self.blind else self.known,
            ready=len(self.status.replicas),
            look_at=float("-inf") if self.stale else self.look_at,
            begun=self.begun,
            begun_at=self.begun_at,
            in_flight=self.gate.in_flight,
            waiting=self.gate.waiting,
            called=self.called,
            bystanders=self.gate.bystanders,
            leases=sum(not self.purse.is_spent(self.name, account) for account in wishes.leases.values()),
            wake_asked=wishes.wake_asked,
            sleep_asked=wishes.sleep_asked,
            sleep_into=wishes.sleep_into,
            stay_asleep=wishes.stay_asleep,
            paused=wishes.paused,
            untold=self.revision.untold,
            replacing=self.revision.replacing,
            room_wanted=self.room_wanted,
            room=self._room_state(),
            room_look_at=self.room_look_at,
            idle_since=history.idle_since if last is None else max(last, history.idle_since),
            awake_since=history.awake_since,
            failures=trouble.failures,
            permanent=trouble.permanent,
            retry_at=max(trouble.retry_at, self.refused_until),
            heal_at=trouble.heal_at,
            sleep_retry_at=trouble.sleep_retry_at,
            update_at=trouble.update_at,
            at_limit=self.purse.at_limit(self.name),
        )

    def endpoint(self) -> Endpoint:
        """The endpoint as a person sees it now."""
        view, now = self.view(), self.clock.now()
        return portrait.paint(
            view,
            now,
            self.history,
            spec=self.spec,
            state=self.known,
            status=self.status,
            message=self.message(view),
            state_age=max(0.0, now - self.seen_at),
            last_used=self.gate.last_activity,
            leaving=self.wishes.retiring,
            sleep_failed_at=self._wall(self.trouble.sleep_failed_at),
        )

    def _wall(self, moment: float | None) -> float | None:
        """A moment of the monotonic clock in Unix time."""
        return None if moment is None else self.clock.wall() - (self.clock.now() - moment)

    def keepsake(self) -> Endpoint:
        """The endpoint as it is worth remembering: what is in flight is activity, though its end is yet to come."""
        seen = self.endpoint()
        return dataclasses.replace(seen, last_activity=self.clock.wall()) if seen.in_flight else seen

    def retry_after(self) -> float:
        """Seconds until a request has a chance, from what earlier starts took, or from how fast slots get free."""
        if self.gate.is_busy:
            return self.gate.expected_wait()
        pause = 0.0 if self.history.start_began is not None else self.trouble.retry_at - self.clock.now()
        return max(0.0, pause) + self.history.remaining_start()

    def expected_wait(self) -> float:
        """Seconds until a request has a chance; 0.0 where it would be let through now."""
        return 0.0 if self.gate.is_open and not self.gate.is_busy else self.retry_after()

    def too_late(self, waited: float) -> Unavailable:
        """The error for a request whose time to be held ran out."""
        if self.gate.is_busy:
            return portrait.busy(self.name, waited, self.gate.slots or 0, retry_after=self.retry_after())
        view = self.view()
        what = self.message(view) or f"it is {portrait.phase(view, self.clock.now())}"
        goes_on = self.begun is Verb.WAKE or self.known in STARTING
        return portrait.too_late(self.name, waited, what, goes_on=goes_on, retry_after=self.retry_after())

    def message(self, view: View) -> str | None:
        error = self._refusal(view) or self.trouble.error
        return portrait.message(view, status=self.status.message, error=error, blocked_by=self.room.blocked_by(self))

    def _refusal(self, view: View) -> str | None:
        """Why nothing wakes it, where a budget is in the way."""
        if self.known not in ASLEEP:
            return None
        if view.at_limit is not None:
            spent = self.purse.spent(self.name)
            return None if spent is None else spent.message
        return None if self.refused is None else self.refused.message

    def _room_state(self) -> Room:
        if self.room.holds(self):
            return Room.HELD
        return Room.QUEUED if self.room.queued(self) else Room.NONE

    def look_interval(self) -> float:
        """How long until the next look: by the provider's word while it is quiet, sooner while something changes."""
        capabilities = self.provider.capabilities
        if not capabilities.reports_changes and self.begun is Verb.SLEEP:
            return min(capabilities.look_every, max(_SOONEST_LOOK, (self.clock.now() - self.begun_at) / 4))
        if not capabilities.reports_changes and self._comes_up():
            return min(capabilities.look_every, self.history.look_pause())
        if self.begun is not None:  # look again when it counts as lost
            overdue = self.begun_at + SETTLE_TIME - self.clock.now()
            return min(capabilities.look_every, max(_SOONEST_LOOK, overdue))
        return capabilities.look_every * (0.9 + 0.2 * self.trouble.jitter())

    def is_starting(self) -> bool:
        """Whether it is asleep, and on its way, or about to be: somebody waits for it."""
        if self.gate.is_open or self.begun is Verb.SLEEP:
            return False
        return self._comes_up() or self.gate.waiting > 0

    def _comes_up(self) -> bool:
        unready = self.known is State.RUNNING and not self.status.replicas
        return self.begun is Verb.WAKE or self.known in STARTING or unready

    # As a tenant of its provider's room; see `Tenant`.

    @property
    def needs(self) -> Mapping[str, float]:
        return self.spec.needs()

    def want_room(self, wanted: bool) -> None:
        self.room_wanted, before = wanted, self.room_wanted
        self.watch_quiet()
        if wanted is not before:
            self.nudge.set()

    def room_changed(self) -> None:
        self.nudge.set()

    def evictable_since(self) -> float | None:
        if self.begun is Verb.SLEEP:
            return float("-inf")  # on its way out already: count on it before asking anybody else
        view = self.view()
        if view.wanted:
            return None
        if view.state in STARTING:
            return self.history.start_began
        fresh = self.clock.now() < view.awake_since + view.policy.min_awake
        return None if fresh or view.state is not State.RUNNING else view.idle_since

    # Signals.

    def look_now(self) -> None:
        """Say that the provider may have news."""
        self.stale = True
        self.nudge.set()

    def demanded(self) -> None:
        """Somebody wants it awake."""
        self.wishes.somebody_came()
        self.nudge.set()

    def awaited(self) -> None:
        """Somebody waits. Those who come after him are no news: a look for each costs as much as the rest."""
        self.wishes.somebody_came()
        if self.gate.waiting == 1:
            self.nudge.set()

    def became_quiet(self) -> None:
        """The last request in flight has ended."""
        self.room.arrange()
        self.watch_quiet()
        self.nudge.set()

    def suspect(self) -> None:
        """A replica did not answer: look soon, but don't let a burst of failures become a burst of looks."""
        soon = self.seen_at + _SUSPICION_PAUSE
        if soon < self.look_at:
            self.look_at = soon
            self.nudge.set()

    def note_outlier(self, replica: Replica, seconds: float) -> None:
        """A replica is set aside since it answers badly where others do not."""
        log.warning("replica set aside: it answers badly", endpoint=self.name, replica=replica.id, seconds=seconds)

    def bound_gate(self) -> None:
        """Let the gate keep to what is in force; how many may wait is so at once."""
        most = self.target_spec.policy.max_waiting
        self.gate.bound(max_waiting=most, concurrency=self.spec.policy.concurrency)

    def turn_away(self) -> None:
        """Tell all who wait that it is paused."""
        count = self.gate.fail_all(lambda: EndpointPaused(self.name))
        if count:
            log.warning("waiters refused", endpoint=self.name, waiters=count, reason="paused")

    def wake_failed(self, error: str, *, permanent: bool, pause: float = 0.0) -> None:
        """A wake came to nothing: another one is tried after a pause, or given up."""
        self.begun = None
        self.history.start_began = None
        self.ledger.wake_failed(error)
        self.trouble.wake_failed(self.spec.policy, self.clock.now(), error, permanent=permanent, pause=pause)
        if self.given_up:
            self.wishes.wake_asked = False
            self.wishes.call_ends()
        log.error("failed", endpoint=self.name, error=error, failures=self.trouble.failures)

    def refuse(self, error: BudgetSpent, until: float) -> None:
        """It is not woken for want of money, and not tried again before a moment, or before that changes."""
        self.refused, self.refused_until = error, until
        self.wishes.wake_asked = False
        self.wishes.call_ends()
        log.warning("not woken", endpoint=self.name, error=error.message)

    def funds_changed(self) -> None:
        """A budget of its was spent or has renewed."""
        self.refused, self.refused_until = None, 0.0
        self.watch_quiet()
        self.look_now()

    def wake_lost(self) -> None:
        """A wake that was accepted had no effect."""
        self.wake_failed("the provider accepted the wake and never began it", permanent=False)

    def watch_quiet(self) -> None:
        """Be told of the end of the last request only when that matters: most ends need no second look."""
        timeout = self.spec.policy.idle_timeout
        hasty = timeout is not None and timeout < QUIET_LOOK
        ends = self.wishes.want_quiet or self.revision.replacing or self.purse.at_limit(self.name) is not None
        self.gate.watched = hasty or self.room.contended or self.room_wanted or ends

    def show(self) -> None:
        """Wake those who wait for a change that a person would see."""
        pulse, self.pulse = self.pulse, asyncio.Event()
        pulse.set()
