"""What a provider must be able to do.

One verb runs through every layer: `wake` and `sleep` here are what the controller decides and what the routes offer.
`wake` and `sleep` only *begin*: they return when the provider has taken the order, and `observe` tells how far it is.
Both may be repeated without harm. Only an endpoint's controller calls them, one at a time.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from lamplighter.domain.endpoint import Spec, State, Status
from lamplighter.domain.hardware import Hardware
from lamplighter.domain.ledger import EXACT
from lamplighter.domain.money import BillingRule


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What this provider has.

    `resources` bounds what may be awake at once; empty means without bound. `reports_changes` promises a call of
    `on_change` for each change of an endpoint's status, so that the provider need not be polled. `ends_on_close` says
    that what runs ends with `close`, unless told otherwise. `look_every` is the time between two looks in seconds, for
    the controllers' safety net. `deploys` says that endpoints can be made here over the management API, on what
    `hardware` lists. `pauses` says that paused and scaled to zero are told apart by the provider itself, which scales
    to zero by a timer of its own; elsewhere the provider only remembers which of them it was told. `keeps` says that
    endpoints stand at the provider itself, secrets and all: they outlast this server, and bringing one up needs nothing
    of its spec. Elsewhere nothing is left of an endpoint that `create` did not adopt at the start. `billing` is how
    time here becomes dollars.
    """

    resources: Mapping[str, float] = field(default_factory=dict)
    reports_changes: bool = False
    ends_on_close: bool = False
    deploys: bool = False
    pauses: bool = False
    keeps: bool = False
    look_every: float = 60.0
    billing: BillingRule = EXACT


OnChange = Callable[[str], None]
"""Called on the event loop with an endpoint's name when its status may have changed; must not block or raise."""


class Provider(Protocol):
    """A place where endpoints live. All methods but `capabilities` are called on the event loop."""

    @property
    def capabilities(self) -> Capabilities:
        """May change only in `open`."""

    async def open(self, on_change: OnChange) -> None:
        """Start work. Finds what an earlier process left running, so that `create` can adopt it."""

    async def close(self, *, leave_running: bool = False) -> None:
        """End work; stops what it runs unless told to leave it to the next process."""

    async def create(self, spec: Spec) -> Status:
        """Make an endpoint known, asleep, or adopt the one that runs already. Starts nothing by itself.

        An endpoint that is known already is updated. Raises InvalidInput when the spec can't work here. An error that
        is `in_doubt`, or a call that is given up, may leave it made: then it can be observed and deleted, and `observe`
        raises EndpointNotFound only when it is sure that it is not there, and will not come.
        """

    async def end_orphans(self) -> list[str]:
        """End what an earlier process left running and no `create` has adopted; tells what that was."""

    async def update(self, spec: Spec) -> Status:
        """Replace the spec.

        Raises InvalidInput when it can't work here; else Conflict when it has to be asleep for that, and is not. After
        an update that ended without a clear answer the old spec may be given again: it is made to hold, whatever was
        carried out.
        """

    async def delete(self, name: str) -> None:
        """Forget an endpoint; ends what still runs of it, and waits for that. Raises ProviderError if it can't."""

    async def observe(self, name: str) -> Status:
        """Tell the present status. Raises EndpointNotFound, ProviderUnreachable."""

    async def wake(self, name: str) -> None:
        """Begin to bring up every replica that is not up. Raises ProviderError."""

    async def sleep(self, name: str, into: State = State.SCALED_TO_ZERO) -> None:
        """Begin to end every replica; `observe` then tells `into`, SCALED_TO_ZERO or PAUSED.

        One that is asleep already passes from one to the other. A wake that follows at once may withdraw it.
        Raises ProviderError.
        """

    async def hardware(self) -> Sequence[Hardware]:
        """What can be deployed on here, with prices and what is left; empty where nothing can. Raises ProviderError."""

    def logs(self, name: str, *, tail: int = 100, follow: bool = False) -> AsyncIterator[str]:
        """Yield the last `tail` lines of the engine's output and, with `follow`, each further one as it comes."""


@runtime_checkable
class RunsHere(Protocol):
    """A provider whose replicas are processes of this machine."""

    def processes(self, name: str) -> Sequence[tuple[int, int]]:
        """`(number of the replica, id of its leading process)` of each that runs. Raises EndpointNotFound."""
