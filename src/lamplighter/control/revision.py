"""An endpoint's spec, the one that is to follow it, and what its provider may know of both."""

from __future__ import annotations

import asyncio

from lamplighter.control.ledger import text_of
from lamplighter.domain.endpoint import Spec
from lamplighter.errors import Conflict, LamplighterError, ProviderUnreachable


class Revision:
    """`spec` is in force. A new one that keeps the process is in force at once; another one waits to be taken.

    The last word counts. One that somebody waits for stands only when the provider has taken it, or has said that it
    will; until then another one may overtake it, and when it is refused the word before it stands again.

    A call that fails without a clear no may have been carried out. Nobody knows then what the provider has: that is in
    doubt until it has taken something, and what stands is told again for its sake.
    """

    def __init__(self, spec: Spec) -> None:
        self.spec = spec
        self._taken = spec  # what the provider has, if nothing is in doubt
        self._standing = spec  # what is wanted if the change that somebody waits for comes to nothing
        self._wanted = spec
        self._untold = False
        self._telling: Spec | None = None
        self._doubted: Spec | None = None  # what the provider may have instead
        self._keeps_process = True
        self._answer: asyncio.Future[None] | None = None

    @property
    def target(self) -> Spec:
        """The spec that it has, or is about to have."""
        return self._wanted

    @property
    def untold(self) -> bool:
        """Whether the provider has yet to hear of a new one."""
        return self._untold

    @property
    def replacing(self) -> bool:
        """Whether a new one can only be taken when the endpoint is asleep."""
        return not self._keeps_process and not self._untold

    @property
    def undoing(self) -> bool:
        """Whether the old one has to be told again, since nobody knows what the provider has."""
        return self._doubted is not None and self._wanted is self._taken

    # Words.

    def ask(self, spec: Spec) -> None:
        """Want this one, whoever wanted another one before."""
        self._overtake()
        self._standing = spec
        self._want(spec)

    def ask_and_tell(self, spec: Spec) -> asyncio.Future[None]:
        """Want this one; the future ends when the provider has taken it, or has said that it will, or raises."""
        self._overtake()
        self._want(spec)
        self._answer = asyncio.get_running_loop().create_future()
        self._answer.add_done_callback(_hear)
        return self._answer

    def withdraw(self, answer: asyncio.Future[None], error: Exception) -> bool:
        """Take back a change that the provider has not begun to hear of; False for one that it has: that goes on."""
        if self._answer is not answer or self._telling is self._wanted:
            return False
        self._end(error)
        self._fall_back()
        return True

    # What becomes of them.

    def tell(self) -> Spec | None:
        """The one to tell the provider of now; None if there is none."""
        if not self._untold and self._keeps_process:
            return None
        self._untold = False
        self._telling = self._wanted
        return self._wanted

    def awaited(self, spec: Spec) -> bool:
        """Whether somebody waits to hear what becomes of this one."""
        return self._answer is not None and spec is self._wanted

    def take(self, spec: Spec) -> None:
        """The provider has taken it. One that was overtaken meanwhile counts as the old one."""
        self._telling = self._doubted = None
        self._taken = spec
        self._untold = spec is not self._wanted
        if not self._untold:
            self._stand()
        self._arrange()

    def take_asleep(self, spec: Spec) -> None:
        """The provider will take it when the endpoint is asleep; what keeps the process need not wait for that."""
        self._telling = None
        if spec is not self._wanted:
            return
        self._stand()
        if self._keeps_process:
            self._taken = spec

    def refuse(self, spec: Spec, error: Exception) -> None:
        """The provider will not take it: go on with the word before it."""
        self._telling = None
        if spec is self._taken:  # the old one, told again for safety's sake: there is nothing better to tell
            self._doubted = None
        if spec is self._standing:
            self._standing = self._taken
        if spec is self._wanted:
            self._end(error)
            self._fall_back()

    def be_in_doubt(self, spec: Spec, error: Exception) -> None:
        """It is not known whether the provider has taken it. Who waits for it is told, and it does not stand."""
        self._telling = None
        if self._doubted is None or self._taken.same_process(self._doubted):
            self._doubted = spec
        if self.awaited(spec):
            self._end(error)
            self._fall_back()
        else:
            self._want(self._wanted)

    def tell_later(self, spec: Spec) -> None:
        """The provider could not be told: it has to be told again, unless something newer was asked for."""
        self._telling = None
        self._untold = self._untold or spec is self._wanted

    def _want(self, spec: Spec) -> None:
        self._wanted, self._untold = spec, True
        self._arrange()

    def _stand(self) -> None:
        self._standing = self._wanted
        self._end(None)

    def _fall_back(self) -> None:
        """Want what stands, and tell it where the provider may have something else."""
        self._want(self._standing)
        self._untold = self._doubted is not None or self._standing is not self._taken

    def _arrange(self) -> None:
        """What is in force: the new one at once if whatever the provider has serves it just as well."""
        known = (self._taken, self._doubted or self._taken)
        self._keeps_process = all(one.same_process(self._wanted) for one in known)
        self.spec = self._wanted if self._keeps_process else self._taken

    def _overtake(self) -> None:
        name = self._wanted.name
        self._end(Conflict(f"Another change of {name!r} came in before this one was done, and took its place."))

    def _end(self, error: Exception | None) -> None:
        """Tell who waits for it what became of a change."""
        answer, self._answer = self._answer, None
        if answer is None or answer.done():
            return
        if error is None:
            answer.set_result(None)
        else:
            known = isinstance(error, LamplighterError)
            answer.set_exception(error if known else ProviderUnreachable(text_of(error)))


def _hear(answer: asyncio.Future[None]) -> None:
    """Who asked may have left: an answer that nobody reads is no fault."""
    if not answer.cancelled():
        answer.exception()
