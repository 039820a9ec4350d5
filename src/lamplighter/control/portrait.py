"""An endpoint as a person sees it: from what its controller knows to phase, countdown and words."""

from __future__ import annotations

from lamplighter.control.history import History
from lamplighter.domain.endpoint import ASLEEP, SERVING, Endpoint, Phase, Spec, State, Status, phase_of
from lamplighter.domain.lifecycle import Room, Verb, View, idle_deadline
from lamplighter.errors import EndpointBusy, Forbidden, Unavailable, WakeTimeout


def paint(
    view: View,
    now: float,
    history: History,
    *,
    spec: Spec,
    state: State | None,
    status: Status,
    message: str | None,
    state_age: float,
    last_used: float | None,
    leaving: bool,
    sleep_failed_at: float | None = None,
) -> Endpoint:
    """The endpoint as a person sees it now; `last_used` is a moment of the monotonic clock."""
    seen = phase(view, now)
    return Endpoint(
        spec=spec,
        state=state,
        phase=seen,
        replicas=status.replicas,
        message=message,
        state_age=state_age,
        last_activity=history.last_activity(last_used),
        wake_time=history.wake_time,
        sleep_time=history.sleep_time,
        auto_sleep_in=auto_sleep_in(view, now),
        starting_for=history.starting_for() if seen is Phase.STARTING else None,
        expected_start=history.expected_start(),
        in_flight=view.in_flight,
        waiting=view.waiting + view.bystanders,
        held_by=held_by(view) if seen is Phase.RUNNING else (),
        paused=view.paused,
        leaving=leaving,
        gave_up=view.given_up,
        sleep_failed_at=sleep_failed_at,
        document=status.document,
    )


def phase(view: View, now: float) -> Phase:
    """Map state, verb under way and demand to what a person needs to know."""
    if view.state is None:
        return Phase.UNKNOWN
    if view.begun is Verb.SLEEP or view.misplaced or (view.paused and view.state not in ASLEEP):
        return Phase.STOPPING
    if view.state is State.RUNNING and not view.ready:
        return Phase.STARTING
    if view.state in SERVING and view.ready:
        return Phase.RUNNING
    if view.state not in ASLEEP and not view.broken:
        return phase_of(view.state)
    gave_up = view.given_up and now < view.retry_at
    if view.begun is Verb.WAKE or (view.demand and not gave_up):
        return Phase.STARTING
    return Phase.ERROR if view.given_up else phase_of(view.state)


def held_by(view: View) -> tuple[str, ...]:
    """What keeps an awake endpoint from being put to sleep."""
    held = []
    if view.in_flight:
        held.append(f"{view.in_flight} in flight")
    if view.waiting:
        held.append(f"{view.waiting} waiting")
    if view.leases:
        held.append("1 lease" if view.leases == 1 else f"{view.leases} leases")
    if view.policy.keep_warm:
        held.append("keep_warm")
    return tuple(held)


def auto_sleep_in(view: View, now: float) -> float | None:
    """Seconds until it is put to sleep if nothing comes; None where nothing counts down."""
    deadline = idle_deadline(view)
    if deadline is None or phase(view, now) is not Phase.RUNNING or held_by(view):
        return None
    return max(0.0, deadline - now)


def message(view: View, *, status: str | None, error: str | None, blocked_by: tuple[str, ...]) -> str | None:
    """What is going on, in words: what it waits for, what the provider says, what failed last."""
    if view.room is Room.QUEUED:
        return f"waits for room, held by {', '.join(blocked_by) or 'others'}"
    if view.begun is Verb.SLEEP:
        return error
    if view.begun is Verb.WAKE or view.state is None:  # what the provider said was before that
        return error
    if view.barred:
        return error or _paused(view)
    return status or error


def _paused(view: View) -> str:
    if view.in_flight and view.paused:
        return f"paused: {view.in_flight} in flight may end, nothing else is let in"
    return "paused: no request wakes it" + ("" if view.paused else "; that was done at its provider")


def too_late(name: str, waited: float, what: str, *, goes_on: bool, retry_after: float) -> WakeTimeout:
    """What to tell a request whose time to be held ran out."""
    rest = "The wake goes on; try again." if goes_on else "Try again."
    return WakeTimeout(
        f"Endpoint {name!r} was not ready after {waited:.1f} s ({what}). {rest}", retry_after=retry_after
    )


def busy(name: str, waited: float, slots: int, *, retry_after: float) -> EndpointBusy:
    """What to tell a request that found no slot free."""
    taken = "its only slot is" if slots == 1 else f"all its {slots} slots are"
    text = f"Endpoint {name!r} had no slot free within {waited:.1f} s: {taken} taken. Try again."
    return EndpointBusy(text, retry_after=retry_after)


def not_awake(name: str, waited: float, *, retry_after: float) -> Unavailable:
    """What to tell a health probe."""
    after = f" after {round(waited, 1):g} s" if waited else ""
    text = f"Endpoint {name!r} is not awake{after}, and a health probe does not wake it."
    return Unavailable(text, retry_after=retry_after)


def may_not_wake(name: str) -> Forbidden:
    """What to tell a caller who may not wake, where nobody else does."""
    return Forbidden(
        f"Endpoint {name!r} is asleep, and this key may not wake endpoints. Somebody whose key may has to: "
        f"`lamplighter wake {name}`, or a request."
    )
