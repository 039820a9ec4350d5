"""Does to an endpoint what was decided: takes room, wakes, sleeps, gives up, deletes."""

from __future__ import annotations

import asyncio

import structlog

from lamplighter.control import portrait
from lamplighter.control.demand import Caller
from lamplighter.control.ledger import SLEEP_NOT_CONFIRMED, text_of
from lamplighter.control.situation import Situation
from lamplighter.control.trouble import is_lasting, is_refusal, pause_of
from lamplighter.domain.accounts import KEY, LEASE, OPERATOR, Account
from lamplighter.domain.endpoint import ASLEEP, State
from lamplighter.domain.lifecycle import ROOM_LOOK, Verb, backoff
from lamplighter.errors import BudgetSpent, EndpointNotFound, InvalidInput, LamplighterError, WakeFailed

log = structlog.get_logger("lamplighter.control")

BUDGET_LOOK = 10.0
"""How long after a wake that a budget did not allow the next one is tried, where nothing is told before (seconds)."""

_NEXT_ACCOUNT = 0.05  # seconds
_NEVER_DONE = "the provider accepted it and never did it"


class Acting:
    """Calls the provider's verbs, one at a time, and notes in the situation what was begun or went wrong."""

    def __init__(self, situation: Situation) -> None:
        self._here = situation

    async def take_room(self) -> None:
        """Ask for the provider's resources, or find that they can never be had."""
        here = self._here
        if self._is_refused(here.purse.refusal(here.name, account_of(here)[0])):
            return  # before anybody is put to sleep to make room
        here.room_look_at = here.clock.now() + ROOM_LOOK
        never = here.room.never(here)
        asker = here.wishes.asker if here.wishes.wake_asked else None
        if never is not None:
            here.wake_failed(f"it can't fit: {never}", permanent=True)
            if asker is not None:
                here.ledger.wake_failed(f"it can't fit: {never}", asker=asker)
        else:
            here.room.take(here)
            if here.wishes.wake_asked and here.room.queued(here) and here.clock.now() >= here.wishes.wake_until:
                here.wishes.wake_asked = False
                here.trouble.error = f"the wake that was asked for {here.message(here.view())} and got none in time"
                if not here.wishes.wake_overdue:
                    here.ledger.wake_failed(here.trouble.error, asker=asker)
        here.show()
        await here.ledger.settle()

    async def wake(self, reason: str) -> None:
        """Begin to bring up what is not up; one that was begun and had no effect has failed."""
        here = self._here
        if here.begun is Verb.WAKE:
            here.wake_lost()
            await here.ledger.settle()
            return
        healing = here.known is State.RUNNING
        if not healing and self._is_refused(here.purse.reserve(here.name, account_of(here)[0])):
            return
        if not here.wishes.retiring:
            here.wishes.end_sleep()
        if healing:
            here.trouble.healing(here.clock.now())
        else:
            here.history.start_begins(own=True)
            self._begin(Verb.WAKE)
        here.ledger.because(reason, self._actor("request" if here.view().awaited else "policy"), account_of(here))
        error = await here.ledger.call("wake", self._bring_up())
        if error is None and not healing:
            here.ledger.wake_accepted()
        if error is not None:
            here.stale = True
            if not healing:  # the failed call is on record
                here.wake_failed(text_of(error), permanent=is_lasting(error), pause=pause_of(error))

    def _is_refused(self, refused: BudgetSpent | None) -> bool:
        """Whether a budget does not allow a wake: tells those on whose account it may not be.

        Others who wait are looked at again soon, now that it would be on theirs.
        """
        here = self._here
        if refused is None:
            return False
        purse, name = here.purse, here.name
        here.gate.fail_callers(lambda caller: purse.refusal(name, account_of_caller(caller)))
        here.refuse(refused, here.clock.now() + (_NEXT_ACCOUNT if here.gate.waiting else BUDGET_LOOK))
        here.show()
        return True

    async def _bring_up(self) -> None:
        here = self._here
        if here.spec.flaw is not None:
            raise InvalidInput(here.spec.flaw)
        await here.provider.wake(here.name)

    async def sleep(self, reason: str, into: State) -> None:
        """Let nobody in any more, and begin to put it to sleep."""
        here = self._here
        here.gate.shut()  # no await between the decision and this: no claim can slip between
        unconfirmed = here.begun is Verb.SLEEP
        if unconfirmed:
            log.error("sleep not confirmed: it may still be running, and billed", endpoint=here.name)
            here.trouble.sleep_failed(here.spec.policy, here.clock.now(), _NEVER_DONE)
        here.ledger.wake_is_over()
        here.ledger.because(reason, self._actor("policy"))
        if unconfirmed:
            await here.ledger.failed(SLEEP_NOT_CONFIRMED, _NEVER_DONE)
        here.sleeps_into = into
        self._begin(Verb.SLEEP)
        error = await here.ledger.call(
            "pause" if into is State.PAUSED else "sleep", here.provider.sleep(here.name, into)
        )
        if error is not None:
            self._sleep_failed(error)

    def _sleep_failed(self, error: Exception) -> None:
        here = self._here
        here.begun, here.stale = None, True
        refused = is_refusal(error)
        here.trouble.sleep_failed(here.spec.policy, here.clock.now(), text_of(error), refused=refused)
        if here.known in ASLEEP:  # paused instead of scaled to zero, or the reverse
            log.error("the way of being asleep was not changed", endpoint=here.name, error=text_of(error))
            if is_lasting(error):
                here.wishes.end_sleep()
        else:
            log.error("sleep failed: it is still running, and billed", endpoint=here.name, error=text_of(error))

    def _begin(self, verb: Verb) -> None:
        here = self._here
        here.begun, here.begun_at = verb, here.clock.now()
        here.look_at = min(here.look_at, here.begun_at + here.look_interval())
        here.show()

    def fail_waiters(self) -> None:
        """Tell all who wait why it does not come up."""
        here = self._here
        pause = max(1.0, here.trouble.retry_at - here.clock.now())
        text = f"Endpoint {here.name!r} could not be started: {here.trouble.error}"
        count = here.gate.fail_all(lambda: WakeFailed(text, retry_after=pause))
        log.warning("waiters failed", endpoint=here.name, waiters=count, error=here.trouble.error)
        here.wishes.call_ends()
        here.show()

    def dismiss(self) -> None:
        """Tell the bystanders that nobody wakes it any more."""
        here = self._here
        count = here.gate.fail_bystanders(self._why_not)
        log.info("bystanders refused", endpoint=here.name, waiters=count)
        here.show()

    def _why_not(self, caller: Caller) -> LamplighterError:
        """Why nobody wakes it for a bystander: want of money, or of the right to."""
        here = self._here
        return here.purse.refusal(here.name, account_of_caller(caller)) or portrait.may_not_wake(here.name)

    async def delete(self) -> None:
        """Have the provider forget the endpoint, however often that takes: what it keeps may run and be billed."""
        here = self._here
        failures = 0
        while (error := await here.ledger.call("delete", here.provider.delete(here.name))) is not None:
            if isinstance(error, EndpointNotFound):
                return
            failures += 1
            log.error("delete failed: it may still be running, and billed", endpoint=here.name, error=text_of(error))
            await asyncio.sleep(backoff(here.spec.policy, failures, here.trouble.jitter()))

    def _actor(self, otherwise: str) -> str:
        return (self._here.wishes.asker if self._here.wishes.operated else "") or otherwise


def account_of(here: Situation) -> Account:
    """On whose account an endpoint is woken now, and for which route: a person's word comes before a request."""
    wishes = here.wishes
    if wishes.wake_asked and wishes.asker:
        return account_of_operator(wishes.asker, wishes.holder), ""
    caller = here.gate.first_caller() or (wishes.called_by if here.called else None)
    if caller is not None:
        return account_of_caller(caller), caller.route
    accounts = list(dict.fromkeys(wishes.leases.values()))
    funded = (account for account in accounts if here.purse.refusal(here.name, account) is None)
    return next(funded, accounts[0] if accounts else ""), ""


def account_of_caller(caller: Caller) -> str:
    """On whose account a request's wake is; empty where it came without a key."""
    return KEY + caller.key if caller.key else ""


def account_of_operator(actor: str, holder: str = "") -> str:
    """On whose account a wake is that somebody asked for, by a key or for a lease if one is `holder`."""
    return f"{LEASE}{holder}" if holder and not actor.startswith(KEY) else f"{OPERATOR}{actor}"
