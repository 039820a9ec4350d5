"""What the gateway and the management routes know of the controllers.

The gateway expresses demand: claim, release, and a list to show. A person or a program operates: wake, sleep, look.
The controllers live in this process today. Behind these interfaces they may live in another one.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from lamplighter.domain.endpoint import Endpoint, Phase, Replica


class Claim(Protocol):
    """One request's right to an awake endpoint, from the grant to the last byte."""

    replica: Replica
    waited: float
    """Seconds that the request was held; 0.0 when the endpoint was awake."""

    def uncount(self) -> None:
        """Say that this request is no activity: its end leaves the idle clock as it is."""

    def release(self) -> None:
        """End the claim, once: in-flight falls and the idle clock starts. Never blocks; a second call does nothing."""

    def failed(self) -> None:
        """Tell that this replica did not answer at all: nobody else is sent there until the provider was asked.

        Releases nothing.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """An endpoint as `/v1/models` shows it."""

    name: str
    model: str | None
    phase: Phase
    task: str | None
    created: int


class Demand(Protocol):
    """What requests may express: nothing but demand."""

    def resolve(self, model: str) -> str | None:
        """The endpoint's name behind a name that clients use, or None."""

    def known(self) -> Sequence[str]:
        """All names that `resolve` takes."""

    def listings(self) -> Sequence[Listing]:
        """All endpoints, for showing. Wakes nothing."""

    def is_probe(self, name: str, path: str) -> bool:
        """Whether a GET of this path of the endpoint only asks how it is."""

    def try_claim(self, name: str) -> Claim | None:
        """Grant at once if the endpoint is awake, else None. Never waits: the hot path."""

    async def claim(self, name: str, timeout: float | None) -> Claim:
        """Raise demand and wait for the grant; `timeout` in seconds, None for the endpoint's own `wake_timeout`.

        Cancelling the call withdraws the demand.
        Raises EndpointNotFound, WakeTimeout, WakeFailed, QueueFull, ShuttingDown.
        """


class Operations(Protocol):
    """What the management routes may ask for. Every method that takes a name raises EndpointNotFound."""

    def endpoints(self) -> Sequence[Endpoint]:
        """All endpoints as they are now, by name. Wakes nothing."""

    def endpoint(self, name: str) -> Endpoint:
        """One endpoint as it is now."""

    async def wake(self, name: str, *, actor: str) -> Endpoint:
        """Begin to wake, on record. Joins a wake under way; does nothing to an endpoint that is awake."""

    async def sleep(self, name: str, *, actor: str) -> Endpoint:
        """Begin to put to sleep, on record: as soon as nothing is in flight, nothing waits and no lease holds it.

        A later `wake` withdraws it.
        """

    async def settled(self, name: str, phase: Phase, *, timeout: float) -> Endpoint:
        """Wait until the endpoint is in `phase`, or has failed to get there; at most `timeout` seconds."""

    def logs(self, name: str, *, tail: int, follow: bool) -> AsyncIterator[str]:
        """Lines of the engine's output."""
