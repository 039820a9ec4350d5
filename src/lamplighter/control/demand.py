"""What the gateway and the management routes know of the controllers.

The gateway expresses demand: claim, release, and a list to show. A person or a program operates: wake, sleep, look.
The controllers live in this process today. Behind these interfaces they may live in another one.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from lamplighter.domain.endpoint import Deployment, Endpoint, Phase, Replica, Spec
from lamplighter.domain.hardware import Hardware
from lamplighter.engines.tasks import RootTasks
from lamplighter.errors import LamplighterError, Unavailable


class Claim(Protocol):
    """One request's right to an awake endpoint, from the grant to the last byte."""

    replica: Replica
    waited: float
    """Seconds that the request was held; 0.0 when the endpoint was awake."""

    def uncount(self) -> None:
        """Say that this request only asks how the endpoint is.

        Its slot is free at once, its end leaves the idle clock as it is, and it tells nothing of how well the replica
        answers. In-flight counts it until it is released.
        """

    def release(self) -> None:
        """End the claim, once: in-flight falls and the idle clock starts. Never blocks; a second call does nothing."""

    def failed(self) -> None:
        """Tell that this replica did not answer at all: nobody else is sent there until the provider was asked.

        Releases nothing.
        """

    def struggled(self) -> None:
        """Tell that this replica answered badly: a 5xx of its own, an answer cut or too late, or a reset.

        A claim that ends without this word or `abandoned` was answered well. Releases nothing.
        """

    def abandoned(self) -> None:
        """Tell that nobody knows how this replica would have answered: neither well nor badly. Releases nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who waits, as far as the order of those who wait goes: fair between keys, a higher priority first.

    One that may not wake waits only where somebody else has begun to wake. `key` is a key's id. What a wake costs is
    charged to the key, and the route, that asked for it.
    """

    key: str = ""
    priority: int = 0
    may_wake: bool = True
    route: str = ""


SOMEBODY = Caller()


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

    def root_tasks(self, name: str) -> RootTasks | None:
        """What a POST to the endpoint's root URL means; None where the endpoint answers it itself."""

    def is_public(self, name: str) -> bool:
        """Whether the endpoint may be called without a key."""

    def try_claim(self, name: str) -> Claim | None:
        """Grant at once if the endpoint is awake, else None. Never waits: the hot path."""

    async def claim(self, name: str, timeout: float | None, caller: Caller = SOMEBODY) -> Claim:
        """Raise demand and wait for the grant; `timeout` in seconds, None for the endpoint's own `wake_timeout`.

        A caller who may not wake raises none: it waits where somebody else does, or where an awake endpoint is busy.
        Cancelling the call withdraws the demand. Raises EndpointNotFound, EndpointPaused, WakeTimeout, EndpointBusy,
        WakeFailed, QueueFull, ShuttingDown, and Forbidden for a caller for whom nobody wakes it.
        """

    def want(self, name: str, caller: Caller = SOMEBODY) -> bool:
        """Raise demand without waiting, as a request would until it is awake or its policy's `wake_timeout` is over.

        Does nothing, and tells so by False, to an endpoint that is awake or paused, or that failed to start and is left
        alone for a while. Said again it counts from then. Raises EndpointNotFound, BudgetSpent.
        """

    def is_awake(self, name: str) -> bool:
        """Whether requests are let through, at once or as others end; False for a name that is not known."""

    def is_starting(self, name: str) -> bool:
        """Whether it is asleep and on its way; False for a name that is not known."""

    def is_paused(self, name: str) -> bool:
        """Whether an operator's pause stands, so that no request wakes it; False for a name that is not known."""

    def expected_wait(self, name: str) -> float:
        """Seconds until a request has a chance, as `Retry-After` tells them; 0.0 where it would be let through now.

        Raises EndpointNotFound.
        """

    def in_flight(self, name: str) -> int:
        """Requests that the endpoint is answering; 0 for a name that is not known."""

    def idle_timeout(self, name: str) -> float | None:
        """After how many seconds without a request it is put to sleep; None for never. Raises EndpointNotFound."""

    def wake_timeout(self, name: str) -> float:
        """How long a request for this endpoint is held unless it says otherwise (seconds)."""

    def too_late(self, name: str, waited: float) -> Unavailable:
        """The error for a request whose time to be held ran out after `waited` seconds; tells when to come again.

        A WakeTimeout, or EndpointBusy where it is awake and every slot is taken.
        """

    async def await_awake(self, name: str, timeout: float) -> Claim:
        """Wait until the endpoint is awake without any demand: it is neither woken nor kept awake by that.

        The claim counts as no activity. Raises as `claim` does, and Unavailable after `timeout` seconds (at once for
        0 where the endpoint is not awake).
        """


class Operations(Protocol):
    """What the management routes may ask for. Every method that takes a name raises EndpointNotFound."""

    def endpoints(self) -> Sequence[Endpoint]:
        """All endpoints as they are now, by name. Wakes nothing."""

    def endpoint(self, name: str) -> Endpoint:
        """One endpoint as it is now."""

    def is_billed(self, endpoint: Endpoint) -> bool:
        """Whether its provider bills the state that it is in."""

    async def wake(self, name: str, *, actor: str) -> Endpoint:
        """Begin to wake, on record. Joins a wake under way; does nothing to an endpoint that is awake."""

    async def sleep(self, name: str, *, actor: str) -> Endpoint:
        """Begin to put to sleep, on record: as soon as nothing is in flight, nothing waits and no lease holds it.

        A later `wake` withdraws it.
        """

    async def pause(self, name: str, *, actor: str) -> Endpoint:
        """Begin to pause, on record: no request is let in or wakes it until `resume`; what is in flight ends first.

        What waits is refused with EndpointPaused. Ends the endpoint's leases. Lasts over a restart.
        """

    async def resume(self, name: str, *, actor: str) -> Endpoint:
        """Withdraw a pause and begin to wake, on record."""

    async def scale_to_zero(self, name: str, *, actor: str) -> Endpoint:
        """Begin to put to sleep so that the next request wakes it, on record; withdraws a pause."""

    async def settled(self, name: str, phase: Phase, *, timeout: float) -> Endpoint:
        """Wait until the endpoint is in `phase`, or has failed to get there; at most `timeout` seconds."""

    def logs(self, name: str, *, tail: int, follow: bool) -> AsyncIterator[str]:
        """Lines of the engine's output."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """Hardware, and the key of the provider in this server that has it."""

    provider: str
    hardware: Hardware


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokenDeployment:
    """A deployment that nobody looks after, because it could not be brought back: why, and what is known of it."""

    deployment: Deployment
    provider: str
    reason: str


Revise = Callable[[Deployment], Spec]
"""Makes the new spec from a deployment as it is now. Raises InvalidInput."""


class Deployments(Protocol):
    """Endpoints that are made, changed and deleted over the management API. They outlive the process."""

    async def create(self, spec: Spec, *, actor: str) -> Endpoint:
        """Make an endpoint, on record. Raises EndpointExists, InvalidInput, and what the provider raises.

        Two that come at once: one is made, the other one raises EndpointExists. ProviderUnreachable that is `in_doubt`:
        it may have been made; it is kept and looked for until that is certain, and can be deleted.
        """

    async def update(self, name: str, revise: Revise, *, actor: str) -> Endpoint:
        """Give an endpoint a new spec, on record. `revise` is called when it is this change's turn.

        Raises EndpointNotFound, Conflict for one that stands in the configuration file, InvalidInput; a refused
        change leaves the endpoint as it was.
        """

    async def delete(self, name: str, *, actor: str, forget: bool = False) -> None:
        """Take an endpoint out, on record: what is in flight ends first. Raises as `update` does.

        Conflict, too, for a broken one that can't be deleted at its provider; with `forget` it is forgotten here alone.
        """

    async def record_refusal(self, operation: str, name: str, actor: str, error: LamplighterError) -> None:
        """Put on record what was refused before it came this far."""

    def deployment(self, name: str) -> Deployment | None:
        """As it was last asked for, also while that is still being brought about; None for a configured endpoint."""

    @property
    def broken(self) -> Mapping[str, BrokenDeployment]:
        """Those that could not be brought back, by name: they can be updated and deleted, and serve nothing."""

    @property
    def flaws(self) -> Mapping[str, str]:
        """What is wrong with others, by name: they are looked after, and a change can mend them."""

    async def offers(self) -> Sequence[Offer]:
        """What endpoints can be made on, at all providers; one that can't be asked has what it told last."""

    def known_hardware(self) -> Mapping[str, Sequence[Hardware]]:
        """What the providers told last; asks nobody."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """A session's standing demand. It ends when no heartbeat came for `ttl` seconds; `expires_at` is Unix time.

    `pause_at_end` says what becomes of the endpoint when its last lease ends: paused, or left to its idle timeout.
    `holder` tells people whose it is (`user@host pid 42`), `actor` who opened it, as it stands on record.
    """

    id: str
    endpoint: str
    holder: str
    ttl: float
    created_at: float
    expires_at: float
    pause_at_end: bool = True
    actor: str = ""


class Leases(Protocol):
    """The sessions on endpoints. They outlive the process: one whose heartbeats stopped ends, whoever was down."""

    async def open(self, name: str, *, holder: str, ttl: float, pause_at_end: bool, actor: str) -> Lease:
        """Begin a lease: withdraws a pause and wakes the endpoint.

        Raises EndpointNotFound, EndpointPaused when somebody pauses it before the lease is given, InvalidInput for
        `ttl`.
        """

    async def renew(self, lease_id: str) -> Lease:
        """Take a heartbeat. Raises NotFound when the lease has ended: its holder must not believe that it holds."""

    async def end(self, lease_id: str, *, actor: str) -> Lease:
        """End a lease; the last one out pauses, if any of them asked for it. One that ended already is no error."""

    def list(self, name: str | None = None) -> Sequence[Lease]:
        """The leases that are held, of one endpoint or all."""
