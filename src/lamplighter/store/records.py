"""What the store keeps beside the domain's own records. Moments are Unix time in seconds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from lamplighter.domain.endpoint import Endpoint, Spec, State


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditRecord:
    """One management operation: who did what to which endpoint, and how it went. `error` is for people.

    `change` says what was to be different, `source` where it came from (an address), `request_id` in which request.
    """

    at: float
    actor: str
    operation: str
    endpoint: str | None
    success: bool
    error: str | None = None
    change: str | None = None
    source: str | None = None
    request_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditRow:
    """A recorded operation with the number of its row: later ones have higher numbers."""

    id: int
    record: AuditRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditFilter:
    """Which operations are looked for; None: any. `since` (included) and `until` are Unix time.

    `before` and `after` are numbers of rows, and excluded.
    """

    endpoint: str | None = None
    actor: str | None = None
    operation: str | None = None
    success: bool | None = None
    since: float | None = None
    until: float | None = None
    before: int | None = None
    after: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageBucket:
    """What requests of one status used in one step of time that begins at the Unix time `at`. Durations are sums."""

    at: float
    status: int
    requests: int
    duration: float
    waited: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SavedEndpoint:
    """An endpoint as it was last known. `state` None: the provider could not be asked. `paused` was somebody's word.

    `spec` is for showing and for the ledger, not for starting anything: it names the environment variables and the
    headers of the engine, and leaves their values out, because they may be secret.
    """

    name: str
    provider: str
    spec: Mapping[str, Any]
    state: State | None
    last_activity: float | None
    wake_time: float | None
    sleep_time: float | None
    updated_at: float
    paused: bool = False

    @classmethod
    def of(cls, endpoint: Endpoint, *, at: float) -> SavedEndpoint:
        """Take from `endpoint` what is worth keeping."""
        return cls(
            name=endpoint.spec.name,
            provider=endpoint.spec.provider,
            spec=without_secrets(endpoint.spec),
            state=endpoint.state,
            last_activity=endpoint.last_activity,
            wake_time=endpoint.wake_time,
            sleep_time=endpoint.sleep_time,
            updated_at=at,
            paused=endpoint.paused,
        )


def without_secrets(spec: Spec) -> dict[str, Any]:
    """Turn a spec into JSON's types, equal to what is loaded again; of `env` and `headers` only the names remain."""
    engine = {key: getattr(spec.engine, key) for key in spec.engine.__slots__}
    engine["command"], engine["args"] = list(spec.engine.command), list(spec.engine.args)
    engine["env"] = sorted(spec.engine.env)
    engine["headers"] = sorted(spec.engine.headers)
    return {
        "name": spec.name,
        "provider": spec.provider,
        "engine": engine,
        "policy": asdict(spec.policy),
        "aliases": list(spec.aliases),
        "replicas": spec.replicas,
        "resources": dict(spec.resources),
        "task": spec.task,
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class SavedDeployment:
    """An endpoint that was made over the management API. `secrets` is sealed: see `store.seal`."""

    name: str
    document: Mapping[str, Any]
    secrets: str
    created_at: float
    created_by: str
    updated_at: float
    updated_by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SavedLease:
    """A session's standing demand on an endpoint."""

    lease: str
    endpoint: str
    holder: str
    ttl: float
    created_at: float
    expires_at: float
    pause_at_end: bool
    actor: str = ""
