"""Making something once, although the answer may be lost on the way."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lamplighter.errors import ProviderUnreachable
from lamplighter.hf.exchange import Answer, Question
from lamplighter.hf.pace import Pace
from lamplighter.hf.records import Endpoint

if TYPE_CHECKING:
    from lamplighter.hf.wire import Wire

_PACE = Pace(attempts=3, deadline=15.0)


class ReadingBack:
    """Looks whether what was asked for is there now. `found` is the answer that showed it."""

    def __init__(self, wire: Wire, question: Question) -> None:
        self.found: Answer | None = None
        self._wire = wire
        self._question = question

    async def __call__(self) -> Answer | None:
        """The answer of reading it, or None where it is not there or could not be asked for."""
        try:
            answer = await self._wire.ask(self._question, pace=_PACE)
        except ProviderUnreachable:
            return None  # the create itself is asked again, or its own failure is told
        self.found = answer if answer.is_success else None
        return self.found


def is_alike(found: Endpoint, asked: Endpoint) -> bool:
    """Whether an endpoint has the repository, type and hardware of a document; what one of them leaves out counts."""
    pairs = (
        (found.model.repository, asked.model.repository),
        (found.type, asked.type),
        (found.provider, asked.provider),
        (found.compute.accelerator, asked.compute.accelerator),
        (found.compute.instance_type, asked.compute.instance_type),
        (found.compute.instance_size, asked.compute.instance_size),
    )
    return all(not there or not wanted or there == wanted for there, wanted in pairs)
