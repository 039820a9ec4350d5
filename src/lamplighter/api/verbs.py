"""Wake and sleep, for one endpoint or all, with or without waiting for the end."""

from __future__ import annotations

import asyncio
import enum
from dataclasses import dataclass

from lamplighter.control.demand import Operations
from lamplighter.domain.endpoint import Endpoint, Phase
from lamplighter.errors import LamplighterError, ProviderError, WakeFailed


class Verb(enum.Enum):
    """What can be done with an endpoint."""

    WAKE = "wake"
    SLEEP = "sleep"

    @property
    def goal(self) -> Phase:
        """The phase that it leads to."""
        return Phase.RUNNING if self is Verb.WAKE else Phase.SLEEPING


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How far an operation got: `done`, under way, or `error`."""

    endpoint: Endpoint | None = None
    error: LamplighterError | None = None
    done: bool = False
    waited: bool = False


async def one_of_them(operations: Operations, verb: Verb, name: str, actor: str, wait: float | None) -> Outcome:
    """Begin, and wait for at most `wait` seconds. A wait that ends first is no failure: the operation goes on."""
    endpoint: Endpoint | None = None
    try:
        begin = operations.wake if verb is Verb.WAKE else operations.sleep
        endpoint = await begin(name, actor=actor)
        if wait is not None:
            endpoint = await operations.settled(name, verb.goal, timeout=wait)
            _raise_if_failed(verb, endpoint)
    except LamplighterError as error:
        return Outcome(endpoint=endpoint, error=error)
    return Outcome(endpoint=endpoint, done=endpoint.phase is verb.goal, waited=wait is not None)


async def all_of_them(operations: Operations, verb: Verb, actor: str, wait: float | None) -> dict[str, Outcome]:
    """Do it for all endpoints side by side; one that fails stops no other."""
    names = [endpoint.spec.name for endpoint in operations.endpoints() if not endpoint.leaving]
    outcomes = await asyncio.gather(*(one_of_them(operations, verb, name, actor, wait) for name in names))
    return dict(zip(names, outcomes, strict=True))


def _raise_if_failed(verb: Verb, endpoint: Endpoint) -> None:
    if endpoint.phase is not Phase.ERROR:
        return
    reason = endpoint.message or "its provider tells no reason"
    if verb is Verb.WAKE:
        raise WakeFailed(f"{endpoint.spec.name} could not be started: {reason}")
    raise ProviderError(f"{endpoint.spec.name} could not be put to sleep: {reason}")
