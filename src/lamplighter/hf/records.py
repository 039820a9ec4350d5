"""What the management API answers, as frozen records. `raw` keeps everything, known or not.

Shapes: the `EndpointWithStatus` of API version 2 and the `replica` listing. Moments stay text (RFC 3339, UTC).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lamplighter.domain.endpoint import Phase, State, phase_of

Raw = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """What is served. `image` is the one-key object of the API: `{variant: {...}}`."""

    repository: str
    framework: str
    revision: str | None = None
    task: str | None = None
    image: Raw = field(default_factory=dict)
    command: tuple[str, ...] = ()
    args: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scaling:
    """How many replicas. `scale_to_zero_timeout` is in minutes, None for never."""

    min_replica: int = 0
    max_replica: int = 1
    scale_to_zero_timeout: int | None = None
    measure: Raw = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Compute:
    """What each replica runs on."""

    accelerator: str | None = None
    instance_type: str | None = None
    instance_size: str | None = None
    scaling: Scaling = Scaling()


@dataclass(frozen=True, slots=True, kw_only=True)
class Location:
    """Whose machine, and where."""

    vendor: str | None = None
    region: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointStatus:
    """How it is. `state` is the provider's own word, also one that we have never seen."""

    state: str
    message: str | None = None
    error_message: str | None = None
    url: str | None = None
    ready_replica: int = 0
    target_replica: int = 0
    created_at: str | None = None
    updated_at: str | None = None
    created_by: str | None = None
    last_used_at: str | None = None
    private_service: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """An endpoint as its provider describes it. `raw` is the whole answer."""

    name: str
    namespace: str
    type: str
    health_route: str
    model: Model
    compute: Compute
    provider: Location
    status: EndpointStatus
    tags: tuple[str, ...] = ()
    raw: Raw = field(default_factory=dict, repr=False, compare=False)

    @property
    def state(self) -> str:
        """The provider's word for how it is."""
        return self.status.state

    @property
    def phase(self) -> Phase:
        """What a person needs to know; `unknown` for a state that we have never seen."""
        own = self.raw.get("lamplighter")  # a Lamplighter knows more than a state can say: that it is stopping
        told = own.get("phase") if isinstance(own, Mapping) else None
        if told in set(Phase):
            return Phase(told)
        return phase_of(State(self.state)) if self.state in set(State) else Phase.UNKNOWN

    @property
    def url(self) -> str | None:
        """Where its requests go, without a slash at the end; None before it was first deployed."""
        return self.status.url.rstrip("/") if self.status.url else None

    @classmethod
    def of(cls, raw: Raw, namespace: str) -> Endpoint:
        """Read one answer. What is missing or of an odd type is left at its default: only `name` must be there.

        Raises ProviderError when this is no endpoint at all.
        """
        raise NotImplementedError


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaInfo:
    """One replica of an endpoint."""

    id: str
    stage: str | None = None
    live: bool | None = None
    raw: Raw = field(default_factory=dict, repr=False, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """Whose token it is. `role` is `read`, `write` or `fineGrained`; `permissions` are those of a fine-grained one.

    `expires_at` is RFC 3339 or None. `can_pay` False goes with refused deployments.
    """

    name: str
    kind: str = "user"
    orgs: tuple[str, ...] = ()
    role: str | None = None
    permissions: frozenset[str] = frozenset()
    expires_at: str | None = None
    can_pay: bool | None = None
    is_pro: bool | None = None
    raw: Raw = field(default_factory=dict, repr=False, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Metrics:
    """What an endpoint did in a window of time. None where nobody could tell; nothing is invented.

    `uptime` and `window` are in seconds, `cost` in USD: uptime × price per hour × replicas, an estimate.
    """

    window: float
    uptime: float | None = None
    requests: int | None = None
    errors: int | None = None
    tokens: int | None = None
    cost: float | None = None
    price_per_hour: float | None = None
    raw: Raw = field(default_factory=dict, repr=False, compare=False)
