"""An endpoint's spec, and the one that is to follow it."""

from __future__ import annotations

import asyncio

from lamplighter.control.ledger import text_of
from lamplighter.domain.endpoint import Spec
from lamplighter.errors import LamplighterError, ProviderUnreachable


class Revision:
    """`spec` is in force. A new one that keeps the process is in force at once; another one waits to be taken.

    The provider is told of both; what it has to do only from sleep is `replacing` until then.
    """

    def __init__(self, spec: Spec) -> None:
        self.spec = spec
        self._before = spec
        self._next: Spec | None = None
        self._untold: Spec | None = None
        self._answer: asyncio.Future[None] | None = None

    @property
    def target(self) -> Spec:
        """The spec that it has, or is about to have."""
        return self._next or self.spec

    @property
    def untold(self) -> bool:
        """Whether the provider has yet to hear of a new one."""
        return self._untold is not None

    @property
    def replacing(self) -> bool:
        """Whether a new one can only be taken when the endpoint is asleep."""
        return self._next is not None and self._untold is None

    @property
    def awaited(self) -> bool:
        """Whether somebody waits to hear what becomes of a change."""
        return self._answer is not None

    def ask(self, spec: Spec) -> None:
        """Want this one."""
        self._before, self._untold = self.spec, spec
        if self.spec.same_process(spec):
            self.spec, self._next = spec, None
        else:
            self._next = spec

    def ask_and_tell(self, spec: Spec) -> asyncio.Future[None]:
        """Want this one; the future ends when the provider has taken it, or has said that it will, or raises."""
        self.ask(spec)
        self._answer = asyncio.get_running_loop().create_future()
        return self._answer

    def tell(self) -> Spec | None:
        """The one to tell the provider of now; None if there is none."""
        spec, self._untold = self._untold or self._next, None
        return spec

    def tell_later(self, spec: Spec) -> None:
        """The provider could not be told: it has to be told again, unless something newer was asked for."""
        if self._untold is None and self._next in (None, spec):
            self._untold = spec

    def take(self, spec: Spec) -> None:
        """The provider has taken it."""
        self.spec = spec
        self._drop(spec)
        self.answer(None)

    def refuse(self, spec: Spec, error: Exception | None = None) -> None:
        """The provider will not take it, or nobody wants it any more: go on with the old one."""
        if self.spec is spec:
            self.spec = self._before
        self._drop(spec)
        self.answer(error)

    def answer(self, error: Exception | None) -> None:
        """Tell who waits for it what became of a change."""
        answer, self._answer = self._answer, None
        if answer is None or answer.done():
            return
        if error is None:
            answer.set_result(None)
        else:
            known = isinstance(error, LamplighterError)
            answer.set_exception(error if known else ProviderUnreachable(text_of(error)))

    def _drop(self, spec: Spec) -> None:
        self._untold = None if self._untold is spec else self._untold
        self._next = None if self._next is spec else self._next
