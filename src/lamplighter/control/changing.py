"""Takes a new spec to the provider, and tells who waits for it what became of it."""

from __future__ import annotations

import asyncio

import structlog

from lamplighter.control.ledger import VERB_TIMEOUT, text_of
from lamplighter.control.situation import Situation
from lamplighter.control.trouble import is_doubtful, is_refusal
from lamplighter.domain.endpoint import ASLEEP, Spec
from lamplighter.errors import Conflict, ProviderUnreachable, ShuttingDown

log = structlog.get_logger("lamplighter.control")


class Changing:
    """The way of a change from the word to its end; `Revision` remembers what holds."""

    def __init__(self, situation: Situation) -> None:
        self._here = situation

    async def change(self, spec: Spec) -> None:
        """See `Controller.change`."""
        here = self._here
        answer = here.revision.ask_and_tell(spec)
        self._asked_to_change()
        try:
            await asyncio.wait([answer], timeout=VERB_TIMEOUT)
        finally:
            untold = ProviderUnreachable(f"the provider of {here.name!r} could not be told of the change in time")
            if here.revision.withdraw(answer, untold):
                self._wants_another()
        await asyncio.wait([answer])  # the provider is being told: that call has a deadline of its own
        answer.result()

    def replace(self, spec: Spec) -> None:
        """See `Controller.replace`."""
        self._here.revision.ask(spec)
        self._asked_to_change()

    async def tell(self) -> None:
        """Tell the provider of a new spec. One that it takes only from an endpoint that is asleep waits for that."""
        here = self._here
        spec = here.revision.tell()
        if spec is None:
            return
        here.ledger.because("a new specification", "configuration")
        if here.known in ASLEEP:
            here.room.give_back(here)
        try:
            error = await here.ledger.call("update", here.provider.update(spec), expected=Conflict)
        except asyncio.CancelledError:
            here.revision.be_in_doubt(spec, ShuttingDown(f"Lamplighter shut down during a change of {here.name!r}."))
            raise
        except Exception as fault:
            self._not_taken(spec, fault)
            raise
        here.stale = True
        if error is None:
            self._took_spec(spec)
        elif isinstance(error, Conflict) and here.known not in ASLEEP:
            self._takes_it_asleep(spec)
        else:
            self._not_taken(spec, error)

    def _took_spec(self, spec: Spec) -> None:
        here = self._here
        here.trouble.update_worked()
        if here.known in ASLEEP:
            here.trouble.is_over()
        here.revision.take(spec)
        here.bound_gate()
        here.watch_quiet()

    def _takes_it_asleep(self, spec: Spec) -> None:
        """The provider knows the new spec and waits for sleep: from here on requests wait for that, too."""
        here = self._here
        here.revision.take_asleep(spec)
        if here.revision.replacing:
            here.gate.shut()
            here.watch_quiet()

    def _not_taken(self, spec: Spec, error: Exception) -> None:
        """What was not carried out for certain is told again, or the old one is, where somebody waits for an answer."""
        here = self._here
        text = text_of(error)
        if is_doubtful(error):
            here.revision.be_in_doubt(spec, error)
            self._tell_again(text)
        elif here.revision.awaited(spec) or is_refusal(error):
            log.error("new specification refused", endpoint=here.name, error=text)
            here.trouble.error = f"the new specification was refused: {text}"
            here.revision.refuse(spec, error)
        else:
            here.revision.tell_later(spec)
            self._tell_again(text)
        self._wants_another()

    def _tell_again(self, error: str) -> None:
        here = self._here
        failed = here.trouble.undo_failed if here.revision.undoing else here.trouble.update_failed
        failed(here.spec.policy, here.clock.now(), error)

    def _asked_to_change(self) -> None:
        self._here.trouble.update_worked()
        self._wants_another()

    def _wants_another(self) -> None:
        """What is wanted is not what it was."""
        here = self._here
        here.bound_gate()
        here.watch_quiet()
        here.look_now()
