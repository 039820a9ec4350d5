"""Waiting for an endpoint to get somewhere. Times are in seconds."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from lamplighter.cli.base.refusals import StillAwake
from lamplighter.cli.reach.answers import EndpointView
from lamplighter.cli.reach.connection import Reply
from lamplighter.cli.show.words import one_line, whole
from lamplighter.errors import LamplighterError, WakeFailed, WakeTimeout

_EVERY = 0.2


@dataclass(frozen=True, slots=True)
class Goal:
    """Where a verb leads, and how failing to get there is told."""

    verb: str
    phase: str

    def failure(self, view: EndpointView) -> LamplighterError | None:
        """What says that waiting on is useless."""
        if self.verb != "wake":
            return None
        if view.status == "error":
            return WakeFailed(f"{view.name} could not be started: {(view.message or 'no reason is known').strip()}")
        if view.status in {"sleeping", "stopping"}:
            return WakeFailed(f"{view.name} was put to sleep again before it was ready")
        return None

    def too_late(self, view: EndpointView, timeout: float) -> LamplighterError:
        """What to raise when the time is up."""
        said = f" ({one_line(view.message)})" if view.message else ""
        held = f", held awake by {', '.join(view.held_by)}" if view.held_by else ""
        text = (
            f"{view.name} is still {view.status} after {whole(timeout)}{held}{said}. "
            f"What was begun goes on; `lamplighter status {view.name}` shows it."
        )
        return WakeTimeout(text) if self.verb == "wake" else StillAwake(text)


WAKE = Goal("wake", "running")
SLEEP = Goal("sleep", "sleeping")


def follow(
    look: Callable[[], Reply],
    goal: Goal,
    timeout: float,
    *,
    clock: Callable[[], float] = time.monotonic,
    pause: Callable[[float], None] = time.sleep,
) -> Iterator[Reply]:
    """Yield each look until the goal is reached; the last one shows it. Raises WakeFailed, WakeTimeout, StillAwake."""
    deadline = clock() + timeout
    while True:
        reply = look()
        view = reply.endpoint()
        yield reply
        if view.status == goal.phase:
            return
        if failure := goal.failure(view):
            raise failure
        left = deadline - clock()
        if left <= 0:
            raise goal.too_late(view, timeout)
        pause(min(_EVERY, left))
