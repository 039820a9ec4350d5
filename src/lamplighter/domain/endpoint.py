"""What an endpoint is: its spec (what and how), its status (what the provider says), its phase (what a person needs).

All records are frozen. Durations and moments are in seconds; a moment is Unix time unless its name ends in `_mono`.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lamplighter.domain.secret import SecretTexts


class State(enum.StrEnum):
    """What a provider says of an endpoint (the words of Hugging Face Inference Endpoints)."""

    PENDING = "pending"
    INITIALIZING = "initializing"
    UPDATING = "updating"
    UPDATE_FAILED = "updateFailed"
    RUNNING = "running"
    PAUSED = "paused"
    FAILED = "failed"
    SCALED_TO_ZERO = "scaledToZero"


class Phase(enum.StrEnum):
    """What a person needs to know of an endpoint."""

    RUNNING = "running"
    SLEEPING = "sleeping"
    STARTING = "starting"
    STOPPING = "stopping"
    UNKNOWN = "unknown"
    ERROR = "error"


ASLEEP = frozenset({State.PAUSED, State.SCALED_TO_ZERO})
STARTING = frozenset({State.PENDING, State.INITIALIZING, State.UPDATING})
BROKEN = frozenset({State.FAILED, State.UPDATE_FAILED})
SERVING = frozenset({State.RUNNING, State.UPDATING, State.UPDATE_FAILED})

PROBE_ROUTES = frozenset({"/health", "/healthz", "/livez", "/ping", "/readyz"})
"""Paths that load balancers and monitors ask by custom, whatever the engine's own health route is."""


def phase_of(state: State | None) -> Phase:
    """Map a provider's state to a phase; None means that the provider could not be asked."""
    if state is None:
        return Phase.UNKNOWN
    if state in ASLEEP:
        return Phase.SLEEPING
    if state in STARTING:
        return Phase.STARTING
    return Phase.ERROR if state in BROKEN else Phase.RUNNING


def is_broken(state: State | None, ready: int) -> bool:
    """Whether an endpoint with so many ready replicas failed: a failed update may leave the old ones serving."""
    return state is State.FAILED or (state is State.UPDATE_FAILED and not ready)


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSpec:
    """How the process that serves a model is run.

    `args` are added behind the preset's own. `{port}`, `{host}`, `{model}` and `{name}` are replaced in `command` and
    `args`. `headers` go with every request to the engine (an engine's own API key, for one) and are secret, as `env`
    is: whatever is given becomes SecretTexts.
    """

    engine: str
    model: str | None = None
    command: tuple[str, ...] = ()
    args: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    cwd: str | None = None
    health_route: str | None = None
    start_timeout: float = 1800.0
    stop_grace: float = 10.0
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "env", SecretTexts(self.env))
        object.__setattr__(self, "headers", SecretTexts(self.headers))


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """When to wake, sleep and give up.

    `idle_timeout` None means never put to sleep. `wake_timeout` is how long a request is held unless it says otherwise.
    `concurrency` is how many requests one replica answers at once, the others wait; None: no bound. `min_awake`
    protects a fresh wake from being put to sleep for another endpoint's sake. `wake_attempts` failures in a row fail
    the waiters; then `backoff_base · 2^n`, at most `backoff_cap`, passes before the next attempt. `sleep_into` is the
    state that being idle leads to: scaled to zero or paused. `slept_by_provider` leaves going idle to the provider's
    own timer. `wake_paused` lets a request resume an endpoint that was paused elsewhere; one that was paused here is
    only woken by a `resume`.
    """

    idle_timeout: float | None = 900.0
    min_awake: float = 0.0
    keep_warm: bool = False
    wake_timeout: float = 300.0
    max_waiting: int = 10_000
    concurrency: int | None = None
    wake_attempts: int = 2
    backoff_base: float = 1.0
    backoff_cap: float = 300.0
    sleep_into: State = State.SCALED_TO_ZERO
    slept_by_provider: bool = False
    wake_paused: bool = True


class Creation(enum.StrEnum):
    """Whether an endpoint that its provider does not have is made there."""

    NEVER = "never"
    IF_MISSING = "if-missing"


@dataclass(frozen=True, slots=True, kw_only=True)
class Remote:
    """Where an endpoint is that its provider already has, or is to make.

    `name` and `namespace` are the provider's; None for the endpoint's own name, and for the token owner's namespace.
    `url` finds it by its data-plane address instead.
    """

    name: str | None = None
    namespace: str | None = None
    url: str | None = None
    create: Creation = Creation.NEVER


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """What was asked for when an endpoint was made over the management API, or is to be made at its provider.

    `document` has the shape of that API's create body (HF Inference Endpoints v2), kept with what we do not know of.
    `secrets` are kept apart and never shown. Moments are Unix time, 0.0 before it was made.
    """

    document: Mapping[str, Any] = field(repr=False)  # may hold a registry's password
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)
    created_at: float = 0.0
    created_by: str = ""
    updated_at: float = 0.0
    updated_by: str = ""


class Making(enum.Enum):
    """Whether what was asked for over the management API has been made at its provider."""

    NEW = "new"
    MADE = "made"
    DOUBTFUL = "doubtful"  # no answer came: it may be there, or not, or somebody else's may have the name


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """One endpoint as configured. `resources` are per replica, in the provider's own units (`gpu`, `memory_gb`).

    `public` lets anybody call it, without a key. `deployment` is there for what was made over the management API,
    `remote` for what lives at a provider elsewhere. `making` is of use only while it is made known to its provider.
    `flaw` is the reason why it can't be brought up as it stands, for people; it is looked after all the same.
    """

    name: str
    provider: str
    engine: EngineSpec
    policy: Policy = Policy()
    aliases: tuple[str, ...] = ()
    replicas: int = 1
    resources: Mapping[str, float] = field(default_factory=dict)
    task: str | None = None
    public: bool = False
    remote: Remote | None = None
    deployment: Deployment | None = None
    making: Making = field(default=Making.NEW, compare=False)
    flaw: str | None = None

    @property
    def deployed(self) -> bool:
        """Whether it was made over the management API, and not by the configuration."""
        return self.deployment is not None and self.deployment.created_at > 0

    def needs(self) -> dict[str, float]:
        """What all replicas together take of the provider's resources."""
        return {key: amount * self.replicas for key, amount in self.resources.items()}

    def is_probe(self, path: str) -> bool:
        """Whether a GET of this path only asks how the endpoint is: such requests neither wake nor keep awake."""
        return (path == self.engine.health_route and path != "/") or path in PROBE_ROUTES

    def same_process(self, other: Spec) -> bool:
        """Whether replicas of this spec serve the other one just as well: only policy, names or task differ."""
        mine = (self.engine, self.replicas, dict(self.resources), self.provider)
        same = mine == (other.engine, other.replicas, dict(other.resources), other.provider)
        return same and self.same_place(other)

    def same_place(self, other: Spec) -> bool:
        """Whether both mean the same endpoint of a provider elsewhere."""
        mine, its = self.remote or Remote(), other.remote or Remote()
        return (mine.namespace, mine.name, mine.url) == (its.namespace, its.name, its.url)


@dataclass(frozen=True, slots=True, kw_only=True)
class Replica:
    """One running copy that answers requests. `url` is `scheme://host:port[/base]`, without a slash at the end.

    `proxied` says that a provider's proxy stands before it, whose own 503 and 400 tell that the endpoint fell asleep,
    and which holds a request that comes with `X-Scale-Up-Timeout`. `model` is the name under which it knows its model,
    where that differs from the name that clients use here. `strip` is taken from the front of a request's path.
    """

    id: str
    url: str
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    proxied: bool = False
    model: str | None = None
    strip: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """What the provider said when it was last asked.

    `state` None: the provider said a word that is none of ours, and `message` is that word. `replicas` are those whose
    health route has answered 200. `permanent` says of a failure that it will come back until somebody changes
    something (no such command, no such file). `document` is the endpoint as its provider describes it, in the words of
    the management API, where it does. So many replicas are `billed` while it is awake; None: as many as the spec wants.
    """

    state: State | None
    replicas: tuple[Replica, ...] = ()
    message: str | None = None
    permanent: bool = False
    billed: int | None = None
    document: Mapping[str, Any] | None = field(default=None, compare=False, repr=False)

    @property
    def serves(self) -> bool:
        """Whether requests can go to its replicas: also to those that an update, or one that failed, left running."""
        return self.state in SERVING and bool(self.replicas)

    @property
    def broken(self) -> bool:
        """Whether it failed and serves nothing."""
        return is_broken(self.state, len(self.replicas))


@dataclass(frozen=True, slots=True, kw_only=True)
class Transition:
    """A recorded change of state, or of what it costs: then `before` and `after` are the same.

    `duration` is how long it had been as before, by a clock that nobody sets, where that is known. `after` None says
    that it is looked after no more, or is gone. `cause` is on whose account it is what it is (`key:ID`,
    `operator:NAME`, `lease:HOLDER`, or empty), `route` the route that led there. So many `replicas` are billed while it
    is awake. `seen_until` is the Unix time until which an earlier run had looked on, where the duration is not known.
    """

    endpoint: str
    at: float
    before: State | None
    after: State | None
    reason: str
    actor: str
    message: str | None = None
    duration: float | None = None
    cause: str = ""
    route: str = ""
    provider: str = ""
    replicas: int = 1
    seen_until: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """An endpoint as a person sees it now.

    `wake_time` and `sleep_time` are when it was last found awake and asleep. `auto_sleep_in` counts down in seconds
    and is None when asleep, when something holds it awake, and when it never sleeps by itself. While it starts,
    `starting_for` is the time since the wake began and `expected_start` what it took before. `held_by` says what
    keeps it from sleep ("2 in flight", "keep_warm"). `state_age` is how long ago the provider said `state`.
    `paused` is somebody's word that was given here: requests are refused until it is withdrawn. `leaving` says that it
    was taken out, and is still there until what is in flight has ended and its provider has let go of it. `gave_up`
    says that enough starts failed in a row for its requests to be told, `sleep_failed_at` when putting it to sleep last
    failed or was not confirmed; None once it sleeps. `document` is how its provider describes it, see `Status`.
    """

    spec: Spec
    state: State | None
    phase: Phase
    replicas: tuple[Replica, ...] = ()
    message: str | None = None
    state_age: float | None = None
    last_activity: float | None = None
    wake_time: float | None = None
    sleep_time: float | None = None
    auto_sleep_in: float | None = None
    starting_for: float | None = None
    expected_start: float | None = None
    in_flight: int = 0
    waiting: int = 0
    held_by: tuple[str, ...] = ()
    paused: bool = False
    leaving: bool = False
    gave_up: bool = False
    sleep_failed_at: float | None = None
    document: Mapping[str, Any] | None = field(default=None, compare=False, repr=False)
