"""What the management API answers, as frozen records. `raw` keeps everything, known or not.

Shapes: the `EndpointWithStatus` of API version 2 and the `replica` listing. Moments stay text (RFC 3339, UTC).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from lamplighter.domain.endpoint import Phase, State, phase_of
from lamplighter.errors import ProviderError
from lamplighter.hf.reading import Raw, flag, part, parts, string_map, text, texts, whole

UNKNOWN = "unknown"
"""Our word where no state was told."""

_PHASES = {phase.value: phase for phase in Phase}
_PHASE_OF_STATE = {state.value: phase_of(state) for state in State}


DEFAULT_HEALTH_ROUTE = "/health"


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
        told = text(self.lamplighter, "phase")  # a Lamplighter knows more than a state can say: that it is stopping
        if told in _PHASES:
            return _PHASES[told]
        return _PHASE_OF_STATE.get(self.status.state, Phase.UNKNOWN)

    @property
    def lamplighter(self) -> Raw:
        """What a Lamplighter tells beyond the shape of Hugging Face; empty for one that is elsewhere."""
        return part(self.raw, "lamplighter")

    @property
    def url(self) -> str | None:
        """Where its requests go, without a slash at the end; None before it was first deployed."""
        return self.status.url.rstrip("/") if self.status.url else None

    @classmethod
    def of(cls, raw: Raw, namespace: str) -> Endpoint:
        """Read one answer. What is missing or of an odd type is left at its default: only `name` must be there.

        Raises ProviderError when this is no endpoint at all.
        """
        name = text(raw, "name") if isinstance(raw, Mapping) else None
        if not name:
            raise ProviderError("The provider answered with something that is no endpoint: it has no name.")
        return cls(
            name=name,
            namespace=namespace,
            type=text(raw, "type") or "",
            health_route=text(raw, "healthRoute") or DEFAULT_HEALTH_ROUTE,
            model=_model(part(raw, "model")),
            compute=_compute(part(raw, "compute")),
            provider=_location(part(raw, "provider")),
            status=_status(part(raw, "status")),
            tags=texts(raw, "tags"),
            raw=raw,
        )


def _model(raw: Raw) -> Model:
    return Model(
        repository=text(raw, "repository") or "",
        framework=text(raw, "framework") or "",
        revision=text(raw, "revision"),
        task=text(raw, "task"),
        image=part(raw, "image"),
        command=texts(raw, "command"),
        args=texts(raw, "args"),
        env=string_map(raw, "env"),
    )


def _compute(raw: Raw) -> Compute:
    return Compute(
        accelerator=text(raw, "accelerator"),
        instance_type=text(raw, "instanceType"),
        instance_size=text(raw, "instanceSize"),
        scaling=_scaling(part(raw, "scaling")),
    )


def _scaling(raw: Raw) -> Scaling:
    least, most = whole(raw, "minReplica"), whole(raw, "maxReplica")
    return Scaling(
        min_replica=0 if least is None else least,
        max_replica=1 if most is None else most,
        scale_to_zero_timeout=whole(raw, "scaleToZeroTimeout"),
        measure=part(raw, "measure"),
    )


def _location(raw: Raw) -> Location:
    return Location(vendor=text(raw, "vendor"), region=text(raw, "region"))


def _status(raw: Raw) -> EndpointStatus:
    return EndpointStatus(
        state=text(raw, "state") or UNKNOWN,
        message=text(raw, "message"),
        error_message=text(raw, "errorMessage"),
        url=text(raw, "url"),
        ready_replica=whole(raw, "readyReplica") or 0,
        target_replica=whole(raw, "targetReplica") or 0,
        created_at=text(raw, "createdAt"),
        updated_at=text(raw, "updatedAt"),
        created_by=_who(raw, "createdBy"),
        last_used_at=text(raw, "lastUsedAt"),
        private_service=text(part(raw, "private"), "serviceName"),
    )


def _who(raw: Raw, key: str) -> str | None:
    return text(part(raw, key), "name") or text(raw, key)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaInfo:
    """One replica of an endpoint."""

    id: str
    stage: str | None = None
    live: bool | None = None
    raw: Raw = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def of(cls, raw: Raw) -> ReplicaInfo:
        """Read one item of the listing. Raises ProviderError when it has no id."""
        identity = text(raw, "id")
        if not identity:
            raise ProviderError("The provider answered with something that is no replica: it has no id.")
        status = part(raw, "status")
        return cls(id=identity, stage=text(status, "stage"), live=flag(status, "live"), raw=raw)


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

    @property
    def lamplighter(self) -> str | None:
        """The version of the Lamplighter that answered; None at Hugging Face. There, and only there, are leases."""
        return text(part(self.raw, "lamplighter"), "version")

    def may(self, permission: str, namespace: str | None = None) -> bool | None:
        """Whether the token has a right such as `inference.endpoints.write` in a namespace; None where nobody told.

        Without a namespace it is asked for the owner's own.
        """
        if self.role == "write":
            return True
        if self.role == "read":
            return not permission.endswith(".write") or permission == CALL
        if self.role != "fineGrained":
            return None
        return permission in _granted(self.raw, namespace or self.name)

    @classmethod
    def of(cls, raw: Raw) -> Owner:
        """Read the answer of `whoami-v2`. Raises ProviderError when it names nobody."""
        name = text(raw, "name") if isinstance(raw, Mapping) else None
        if not name:
            raise ProviderError("The provider did not say whose token this is: the answer has no name.")
        auth = part(raw, "auth")
        return cls(
            name=name,
            kind=text(raw, "type") or "user",
            orgs=tuple(org for item in parts(raw, "orgs") if (org := text(item, "name"))),
            role=text(part(auth, "accessToken"), "role"),
            permissions=_granted(raw, None),
            expires_at=text(auth, "expiresAt"),
            can_pay=flag(raw, "canPay"),
            is_pro=flag(raw, "isPro"),
            raw=raw,
        )


CALL = "inference.endpoints.infer.write"
"""The right to send requests to an endpoint; a classic token with the read role has it too."""


def _granted(raw: Raw, namespace: str | None) -> frozenset[str]:
    """What a fine-grained token may do in a namespace; None: anywhere."""
    fine = part(part(part(raw, "auth"), "accessToken"), "fineGrained")
    granted = set(texts(fine, "global"))
    for scope in parts(fine, "scoped"):
        if namespace is None or text(part(scope, "entity"), "name") == namespace:
            granted.update(texts(scope, "permissions"))
    return frozenset(granted)


@dataclass(frozen=True, slots=True, kw_only=True)
class Metrics:
    """What an endpoint did in a window of time. None where nobody could tell; nothing is invented.

    `uptime` and `window` are in seconds, `cost` in USD. `cost_source` says where that comes from: `ledger`, what a
    Lamplighter charged for the window (starts included, at the prices of the time), or `estimate`, uptime times the
    price per hour of now times replicas. Of `unpriced` seconds, which cost nothing, the ledger knew no price.
    """

    window: float
    uptime: float | None = None
    requests: int | None = None
    errors: int | None = None
    tokens: int | None = None
    cost: float | None = None
    price_per_hour: float | None = None
    cost_source: str | None = None
    unpriced: float | None = None
    raw: Raw = field(default_factory=dict, repr=False, compare=False)
