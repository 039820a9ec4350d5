"""Asks the provider how an endpoint is, and draws the conclusions."""

from __future__ import annotations

import asyncio

import structlog

from lamplighter.control import portrait
from lamplighter.control.ledger import VERB_TIMEOUT, text_of
from lamplighter.control.situation import Situation
from lamplighter.control.trouble import pause_of
from lamplighter.domain.endpoint import ASLEEP, SERVING, STARTING, State, Status
from lamplighter.domain.lifecycle import SETTLE_TIME, STABLE_TIME, Verb
from lamplighter.errors import EndpointNotFound, LamplighterError

log = structlog.get_logger("lamplighter.control")


class Looking:
    """What each look changes in a situation."""

    def __init__(self, situation: Situation) -> None:
        self._here = situation

    async def look(self) -> None:
        """Ask once. A provider that can't be asked is asked again after a pause that grows."""
        here = self._here
        here.stale = False  # before asking: a change that comes while the answer travels asks for another look
        try:
            async with asyncio.timeout(VERB_TIMEOUT):
                status = await here.provider.observe(here.name)
        except (LamplighterError, TimeoutError) as error:
            await self._cannot_see(error)
        else:
            here.gone = False
            here.trouble.look_worked()
            await self._saw(status)
            here.looks += 1
        self._notice_overdue()
        await here.ledger.settle()
        here.show()

    def _notice_overdue(self) -> None:
        """Say once of a wake that was asked for that it takes longer than a request would wait. It goes on."""
        here = self._here
        wishes, now = here.wishes, here.clock.now()
        if not wishes.wake_asked or wishes.wake_overdue:
            return
        if now < wishes.wake_until:
            here.look_at = min(here.look_at, wishes.wake_until)
            return
        wishes.wake_overdue = True
        view = here.view()
        what = here.message(view) or f"it is {portrait.phase(view, now)}"
        here.ledger.wake_failed(f"not up after {here.spec.policy.wake_timeout:g} s: {what}", asker=wishes.asker)

    async def _cannot_see(self, error: Exception) -> None:
        """Nothing is woken or slept by guess; the gate stays as it is, so that what runs is served."""
        here = self._here
        here.blind = True
        here.gone = isinstance(error, EndpointNotFound)
        pause = max(here.trouble.look_failed(here.spec.policy, text_of(error)), pause_of(error))
        here.look_at = here.clock.now() + pause
        log.warning("look failed", endpoint=here.name, error=text_of(error), next_look_in=round(pause, 2))
        if here.gone:  # nothing of it is billed any more
            await here.ledger.over(here.known, here.history.state_changed(), "gone")

    async def _saw(self, status: Status) -> None:
        """Take in what the provider said. A change is on record before anybody is let through or told of it."""
        here = self._here
        if status.state is None:
            self._does_not_understand(status)
            return
        here.trouble.understood()
        before, previous, here.status = here.known, here.status, status
        began = self._settle_verb(status)
        self._notice_resume(before, began, status.state)
        if not self._serves(status):
            here.gate.shut()
        replicas = here.spec.replicas if status.billed is None else status.billed
        if here.ledger.is_news(before, status.state, replicas):
            await here.ledger.changed(before, status, here.history.state_changed(), replicas)
        here.known, here.blind, here.seen_at = status.state, False, here.clock.now()
        took = self._conclude(before, began, status, fell=not previous.broken)
        here.look_at = here.seen_at + here.look_interval()
        if self._serves(status):
            here.gate.open_to(status.replicas)
        elif here.barred:
            here.turn_away()
        if took is not None:
            await here.journal.started(here.name, here.clock.wall(), took)
        if before is not here.known:
            await here.journal.remember([here.keepsake()])

    def _notice_resume(self, before: State | None, began: Verb | None, state: State) -> None:
        """A pause that stood is over when somebody resumes the endpoint at its provider: theirs is the later word."""
        here = self._here
        stood = here.wishes.paused and before is State.PAUSED and began is None
        if stood and state not in ASLEEP and here.provider.capabilities.pauses:
            log.warning("resumed elsewhere: the pause is over", endpoint=here.name, state=state)
            here.wishes.resumed_elsewhere()

    def _does_not_understand(self, status: Status) -> None:
        """A word that nobody here knows: as with a provider that can't be asked, nothing is done by guess."""
        here = self._here
        here.blind = True
        here.look_at = here.clock.now() + here.look_interval()
        if here.trouble.not_understood(status.message or ""):
            log.warning("unknown state", endpoint=here.name, state=status.message)

    def _serves(self, status: Status) -> bool:
        here = self._here
        free = here.begun is not Verb.SLEEP and not here.revision.replacing and not here.wishes.paused
        return free and not here.is_drained and status.serves

    def _settle_verb(self, status: Status) -> Verb | None:
        """Tell the verb that was under way; it is over once the provider shows its effect, or a failure."""
        here = self._here
        began = here.begun
        if began is Verb.SLEEP and here.known in ASLEEP:  # from one way of being asleep to the other
            shown = status.state is here.sleeps_into or status.state not in ASLEEP
        else:
            shown = status.state in ASLEEP if began is Verb.SLEEP else status.state not in ASLEEP
        if shown or status.broken:
            here.begun = None
        return began

    def _conclude(self, before: State | None, began: Verb | None, status: Status, *, fell: bool) -> float | None:
        """Draw the conclusions from a look; tells how long a start took that is now done (seconds)."""
        here = self._here
        state = status.state
        if state is not None and state in ASLEEP:
            self._is_asleep(before, began, state)
        elif status.broken:
            if fell or began is Verb.WAKE:
                self._broke(before, status)
        else:
            here.room.occupy(here)  # it takes up the room, whoever woke it
            if status.serves and state is not State.UPDATING:
                return self._is_awake(before)
            if state in STARTING and here.history.start_began is None:
                here.history.start_begins(own=False)
        return None

    def _is_awake(self, before: State | None) -> float | None:
        here = self._here
        came_up = before not in SERVING and before is not None
        if came_up:
            here.history.wake_time = here.clock.wall()
        if here.begun is not Verb.SLEEP:
            here.wishes.wake_asked = False
            here.wishes.call_ends()
            here.ledger.wake_is_over()
            here.trouble.is_awake(here.clock.now())
        took = here.history.is_ready(came_up=came_up)
        if took is not None:
            log.info("ready", endpoint=here.name, seconds=round(took, 3), waiting=here.gate.waiting)
        return took

    def _is_asleep(self, before: State | None, began: Verb | None, state: State) -> None:
        here = self._here
        if before not in ASLEEP and before is not None:
            here.history.sleep_time = here.clock.wall()
        if here.begun is Verb.WAKE:
            if here.clock.now() < here.begun_at + SETTLE_TIME:
                return  # accepted, not shown yet
            here.wake_lost()
        here.history.start_began = None
        here.wishes.is_asleep(state)
        if here.begun is Verb.SLEEP:
            return  # it is asleep, and not yet in the way that was asked for
        if state is State.PAUSED and before not in (None, state) and began is not Verb.SLEEP:
            here.wishes.paused_elsewhere()
        if began is Verb.SLEEP or before is State.RUNNING:
            here.trouble.is_over()
            here.room.give_back(here)
        elif before in STARTING:
            here.wake_failed("it went back to sleep while it was starting", permanent=False)
        here.ledger.seen()

    def _broke(self, before: State | None, status: Status) -> None:
        here = self._here
        now = here.clock.now()
        proved = before is State.RUNNING and now - here.history.awake_since >= STABLE_TIME
        if proved:
            here.trouble.is_proved()
        here.wake_failed(status.message or "the provider gave no reason", permanent=status.permanent)
        if proved:
            here.trouble.retry_now(now)
        here.ledger.seen()
