"""When to wake, sleep, wait, back off and give up: one pure function.

A controller shows what it knows as a `View` and does what `decide` answers, over and over. The function compares what
is with what should be, so a crash, a lost answer or a change made elsewhere heals at the next look.
All moments are in seconds of one monotonic clock.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from lamplighter.domain.budgets import AtLimit
from lamplighter.domain.endpoint import ASLEEP, STARTING, Policy, State, is_broken

SETTLE_TIME = 30.0
"""How long a provider may take to show a verb that it has accepted, before the verb counts as lost (seconds)."""

STABLE_TIME = 30.0
"""An endpoint that was ready this long has proved itself: its next failure starts counting from one (seconds)."""

ROOM_LOOK = 1.0
"""While a wake waits for room, the room is planned anew at least this often (seconds)."""


_BUDGET = "its budget is spent"

QUIET_LOOK = 1.0
"""With an idle timeout below this, the end of the last request in flight has to be told to the controller (seconds)."""


class Verb(enum.StrEnum):
    """What a controller asks of a provider."""

    WAKE = "wake"
    SLEEP = "sleep"


class Room(enum.Enum):
    """Whether the provider's resources that an endpoint needs are set aside for it."""

    NONE = "none"
    QUEUED = "queued"
    HELD = "held"


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """All that a decision looks at.

    `state` is None while the provider can't be asked, or says what nobody here understands; `look_at` is when to ask
    it next. `begun` is the verb that the provider has accepted and not yet shown the effect of. `paused` is an
    operator's word that nothing but his next one withdraws. `called` stands for a request that is answered elsewhere
    and wants it awake for the next ones; `bystanders` wait as well, and may not wake it. `sleep_asked` ends when the
    endpoint is asleep, in `sleep_into` if that was asked for, too. `stay_asleep` is an operator's word that outlasts
    `keep_warm`. `untold` says that the provider has not heard of a new spec yet, `replacing` that it takes it only
    from an endpoint that is asleep. `room_wanted` says that another endpoint needs this one's resources. `at_limit`
    says what becomes of it because a budget is spent; `leases` are those that somebody can pay for. `idle_since` is
    the end of the last response, or the moment of the wake if that came later. `retry_at`, `heal_at`, `sleep_retry_at`
    and `update_at` are the earliest moments for another wake, for bringing back a lost replica, for another sleep
    after one that failed, and for telling of a new spec again; `room_look_at` is when to plan the room anew.
    """

    policy: Policy
    replicas: int = 1
    state: State | None
    ready: int = 0
    look_at: float
    begun: Verb | None = None
    begun_at: float = 0.0
    in_flight: int = 0
    waiting: int = 0
    called: bool = False
    bystanders: int = 0
    leases: int = 0
    wake_asked: bool = False
    sleep_asked: bool = False
    sleep_into: State | None = None
    stay_asleep: bool = False
    paused: bool = False
    untold: bool = False
    replacing: bool = False
    room_wanted: bool = False
    room: Room = Room.HELD
    room_look_at: float = 0.0
    idle_since: float = 0.0
    awake_since: float = 0.0
    failures: int = 0
    permanent: bool = False
    retry_at: float = 0.0
    heal_at: float = 0.0
    sleep_retry_at: float = 0.0
    update_at: float = 0.0
    at_limit: AtLimit | None = None

    @property
    def awaited(self) -> bool:
        """Whether a request wants it awake, be it one that waits or one that was answered elsewhere."""
        return self.waiting > 0 or self.called

    @property
    def demand(self) -> bool:
        """Whether anything that may wants this endpoint awake."""
        if self.barred:
            return False
        warm = self.policy.keep_warm and not self.stay_asleep
        return self.awaited or self.leases > 0 or self.wake_asked or warm

    @property
    def comes_up(self) -> bool:
        """Whether it is awake, or on its way there for somebody else than a bystander, as far as is known."""
        if self.demand or self.begun is Verb.WAKE:
            return True
        return self.begun is not Verb.SLEEP and self.state not in ASLEEP and not self.broken

    @property
    def barred(self) -> bool:
        """Whether requests are refused instead of held: it is paused, and they may not resume it."""
        return is_barred(self.policy, self.state, paused=self.paused, wake_asked=self.wake_asked)

    @property
    def wanted(self) -> bool:
        """Whether anything stands against putting it to sleep for another endpoint's sake."""
        if self.paused:
            return self.in_flight > 0
        used = self.in_flight or self.awaited or self.leases or self.wake_asked
        return bool(used) or self.policy.keep_warm

    @property
    def into(self) -> State:
        """The state that a sleep leads to now."""
        if self.paused:
            return State.PAUSED
        return (self.sleep_into if self.sleep_asked else None) or self.policy.sleep_into

    @property
    def misplaced(self) -> bool:
        """Whether it is asleep, but scaled to zero where a pause was asked for, or the reverse."""
        told = self.paused or (self.sleep_asked and self.sleep_into is not None)
        return told and self.state in ASLEEP and self.state is not self.into

    @property
    def broken(self) -> bool:
        """Whether it failed and serves nothing."""
        return is_broken(self.state, self.ready)

    @property
    def given_up(self) -> bool:
        """Whether enough wakes failed in a row to tell the waiters."""
        return is_given_up(self.policy, self.failures, permanent=self.permanent)


def is_barred(policy: Policy, state: State | None, *, paused: bool, wake_asked: bool) -> bool:
    """See `View.barred`; for those who ask at every request, and need nothing else of a view."""
    return paused or (state is State.PAUSED and not policy.wake_paused and not wake_asked)


def is_given_up(policy: Policy, failures: int, *, permanent: bool) -> bool:
    """See `View.given_up`."""
    return failures > 0 and (permanent or failures >= policy.wake_attempts)


@dataclass(frozen=True, slots=True)
class Look:
    """Ask the provider how the endpoint is."""


@dataclass(frozen=True, slots=True)
class TakeRoom:
    """Ask for the provider's resources; a wake without them is not begun."""


@dataclass(frozen=True, slots=True)
class GiveRoom:
    """Give up the resources, or the place in the queue for them."""


@dataclass(frozen=True, slots=True)
class Wake:
    """Tell the provider to bring up what is not up."""

    reason: str


@dataclass(frozen=True, slots=True)
class Sleep:
    """Tell the provider to end everything; `into` is how it is then asleep."""

    reason: str
    into: State = State.SCALED_TO_ZERO


@dataclass(frozen=True, slots=True)
class Update:
    """Give the provider the new spec."""


@dataclass(frozen=True, slots=True)
class Fail:
    """Give the last failure to every waiter."""


@dataclass(frozen=True, slots=True)
class Dismiss:
    """Tell the bystanders that nobody wakes it any more."""


@dataclass(frozen=True, slots=True)
class Wait:
    """Do nothing until this moment, or until something happens."""

    until: float


Action = Look | TakeRoom | GiveRoom | Wake | Sleep | Update | Fail | Dismiss | Wait


def decide(view: View, now: float) -> Action:
    """Tell what to do now. Never answers with a verb while the provider's state is unknown or due for a look."""
    if now >= view.look_at:
        return Look()
    if view.state is None:
        return Wait(view.look_at)
    if view.begun is not None and now < view.begun_at + SETTLE_TIME:
        return Wait(min(view.look_at, view.begun_at + SETTLE_TIME))
    if view.begun is Verb.SLEEP:
        return _sleep_at(view, now, now, "its sleep was never confirmed")
    if not view.untold:
        return _by_state(view, now)
    if now >= view.update_at:
        return Update()
    action = _by_state(view, now)
    return Wait(min(action.until, view.update_at)) if isinstance(action, Wait) else action


def _by_state(view: View, now: float) -> Action:
    if view.state in STARTING:
        return _while_starting(view, now)
    if view.state in ASLEEP:
        return _while_asleep(view, now)
    return _while_broken(view, now) if view.broken else _while_awake(view, now)


def backoff(policy: Policy, failures: int, jitter: float) -> float:
    """Seconds to wait after the n-th failure in a row: doubling, capped; jitter (0 to 1) spreads the upper half."""
    full = min(policy.backoff_cap, policy.backoff_base * 2.0 ** min(failures - 1, 32))
    return full * (0.5 + 0.5 * jitter)


def idle_deadline(view: View) -> float | None:
    """The moment from which an awake endpoint with nothing to do is put to sleep; None for never."""
    policy = view.policy
    if policy.idle_timeout is None or policy.keep_warm or policy.slept_by_provider:
        return None
    return max(view.idle_since + policy.idle_timeout, view.awake_since + policy.min_awake)


def _while_starting(view: View, now: float) -> Action:
    if view.at_limit is AtLimit.CUT:
        return _sleep_at(view, now, now, _BUDGET)
    if view.in_flight:
        return Wait(view.look_at)
    if view.paused:
        return _sleep_at(view, now, now, "paused")
    if view.replacing:
        return _sleep_at(view, now, now, "a new specification")
    if view.at_limit is not None and not view.awaited:
        return _sleep_at(view, now, now, _BUDGET)
    if view.sleep_asked and not view.awaited and not view.leases:
        return _sleep_at(view, now, now, "asked for")
    if view.room_wanted and not view.wanted:
        return _sleep_at(view, now, now, "room for another endpoint")
    return Wait(view.look_at)


def _while_asleep(view: View, now: float) -> Action:
    if view.replacing:
        return Update() if now >= view.update_at else Wait(min(view.look_at, view.update_at))
    if view.demand:
        return _bring_up(view, now, "demand")
    if view.bystanders:
        return Dismiss()
    if view.misplaced:
        return _sleep_at(view, now, now, "paused" if view.paused else "asked for")
    return _stay_down(view, view.look_at)


def _while_broken(view: View, now: float) -> Action:
    if view.paused or view.replacing or (view.sleep_asked and not view.awaited):
        if view.in_flight:  # that ends by itself: its replica is gone
            return Wait(view.look_at)
        why = "paused" if view.paused else "a new specification" if view.replacing else "asked for"
        return _sleep_at(view, now, now, why)
    if view.demand:
        return _bring_up(view, now, "another attempt")
    return Dismiss() if view.bystanders else _stay_down(view, view.look_at)


def _stay_down(view: View, until: float) -> Action:
    return Wait(until) if view.room is Room.NONE else GiveRoom()


def _bring_up(view: View, now: float, reason: str) -> Action:
    if now < view.retry_at:
        told = view.given_up and (view.awaited or view.bystanders)
        return Fail() if told else _stay_down(view, min(view.look_at, view.retry_at))
    if view.room is Room.HELD:
        return Wake(reason)
    if view.room is Room.NONE or now >= view.room_look_at:
        return TakeRoom()
    return Wait(min(view.look_at, view.room_look_at))


def _while_awake(view: View, now: float) -> Action:  # noqa: PLR0911 - an order of precedence, better seen at once
    if view.at_limit is AtLimit.CUT:
        return _sleep_at(view, now, now, _BUDGET)
    if view.paused:
        return Wait(view.look_at) if view.in_flight else _sleep_at(view, now, now, "paused")
    if view.in_flight:
        return _heal(view, now, _soonest_idle(view, now))
    if view.at_limit is not None and not view.awaited:  # whatever holds it: nobody pays for that any more
        return _sleep_at(view, now, now, _BUDGET)
    if view.leases and not view.replacing:
        return _heal(view, now, view.look_at)
    if view.replacing:
        return _sleep_at(view, now, now, "a new specification")
    if view.awaited:  # awake, but no replica is ready to be given
        return _heal(view, now, view.look_at)
    if view.sleep_asked:
        return _sleep_at(view, now, now, "asked for")
    if view.room_wanted and not view.policy.keep_warm:
        return _sleep_at(view, now, view.awake_since + view.policy.min_awake, "room for another endpoint")
    deadline = idle_deadline(view)
    return _heal(view, now, view.look_at) if deadline is None else _sleep_at(view, now, deadline, "idle")


def _soonest_idle(view: View, now: float) -> float:
    """When a request that ends right now would leave the endpoint idle for long enough; ends need not be told then."""
    timeout = view.policy.idle_timeout
    return view.look_at if timeout is None else min(view.look_at, now + max(timeout, QUIET_LOOK))


def _sleep_at(view: View, now: float, moment: float, reason: str) -> Action:
    due = max(moment, view.sleep_retry_at)
    return Sleep(reason, view.into) if now >= due else Wait(min(view.look_at, due))


def _heal(view: View, now: float, until: float) -> Action:
    gone = not view.ready and not view.demand  # what is in flight is lost, and nobody asks for more
    if view.ready >= view.replicas or gone:
        return Wait(until)
    return Wake("healing") if now >= view.heal_at else Wait(min(until, view.heal_at))
