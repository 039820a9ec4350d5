"""The shape of `lamplighter.yaml`. What stands under each field is its description in the schema, too."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, Field, field_validator, model_validator

from lamplighter.config.budgets import BudgetSettings
from lamplighter.config.ledger import LedgerSettings
from lamplighter.config.prices import PricesSettings
from lamplighter.config.routes import (
    BreakerSection,
    BreakerSettings,
    Dollars,
    PriceSettings,
    RetrySettings,
    RouteSettings,
    TargetSettings,
    UpstreamSettings,
)
from lamplighter.config.section import Section
from lamplighter.config.values import (
    Alias,
    BoundOrNever,
    DeploymentValues,
    Duration,
    FilePath,
    Flag,
    HeaderName,
    HeaderText,
    IdleTimeout,
    KeyDigest,
    LogPlace,
    Name,
    Namespace,
    Network,
    Number,
    PositiveDuration,
    RemotePlace,
    SecretText,
    Size,
    VariableName,
    VariableText,
    Whole,
    Words,
)
from lamplighter.config.web import HostName, PageOrigin
from lamplighter.domain.endpoint import Creation, Deployment, EngineSpec, Policy, Remote, Spec, State

_POLICY = Policy()
_ENGINE = EngineSpec(engine="")
_SLEEPS = {"scale-to-zero": State.SCALED_TO_ZERO, "pause": State.PAUSED}
HOSTED = "hosted"
"""What stands for the engine of an endpoint that runs elsewhere: nobody here knows or cares what it is."""


Amount: TypeAlias = Annotated[Number, Field(ge=0)]


class ServerSettings(Section):
    """The server itself. A change here takes a restart, but for `drain_timeout`."""

    host: str = "127.0.0.1"
    """The address to listen on. Any other than this machine's own needs keys."""
    port: Whole = Field(default=8470, ge=0, le=65535)
    """The port to listen on; 0 takes a free one."""
    keys: frozenset[KeyDigest] = Field(default=frozenset(), repr=False)
    """Admins' keys: each by its place (env:NAME and so on) or its digest (sha256:…). Others are made later."""
    cors: tuple[PageOrigin, ...] = ()
    """The origins of web pages that may read answers: exact ones (https://app.example.com), or "*" for all."""
    hosts: tuple[HostName, ...] = ()
    """Further names under which a server without keys on this machine's own address may be asked for."""
    management_rate: Whole = Field(default=600, ge=1, le=1_000_000)
    """How many management requests a minute each key, or each address without one, may make."""
    data: FilePath = Field(default=Path("~/.local/state/lamplighter"), validate_default=True)
    """The folder of the database, run files and logs. By default `lamplighter` in $XDG_STATE_HOME."""
    max_body: Size = 64_000_000
    """The largest request body in bytes."""
    max_held: Size = 256_000_000
    """How many bytes of requests may be held in all while endpoints wake."""
    max_hold: PositiveDuration = 3600.0
    """The longest time that a request may ask to be held."""
    max_connections: Whole = Field(default=10_000, ge=1)
    """How many connections of clients there may be at once; more are answered 503."""
    drain_timeout: Duration = 30.0
    """How long a shutdown waits for requests to end."""
    on_shutdown: Literal["stop", "leave"] = "stop"
    """Whether a shutdown ends the engines, or leaves them to the next start."""
    retention: PositiveDuration = 90 * 86400.0
    """How long the history is kept: state changes, start times, what requests used."""
    audit_retention: PositiveDuration = 365 * 86400.0
    """How long the audit log is kept: who operated what."""
    takeover_wait: Duration = 60.0
    """How long a start on a listener that was handed to it waits for the server before it to let go of the data."""
    trusted_proxies: tuple[Network, ...] = ()
    """Reverse proxies whose X-Forwarded-For is believed, for the audit log: addresses, or networks."""
    namespace: Namespace = "lamplighter"
    """The namespace of this server's endpoints for clients of the management API."""
    access_log: LogPlace = "off"
    """Where a line of JSON is written for each request: off, stderr, or a file, which SIGHUP opens anew."""
    tracing: Flag | None = None
    """Whether traces are made. Left out: where OTEL_EXPORTER_OTLP_ENDPOINT says where to send them."""


class PolicySettings(Section):
    """When to wake, sleep and give up."""

    idle_timeout: IdleTimeout = _POLICY.idle_timeout
    """Put to sleep after this long without a request, counted from the end of the last answer; or never."""
    min_awake: Duration = _POLICY.min_awake
    """How long a fresh wake is safe from being put to sleep for another endpoint's sake."""
    keep_warm: Flag = _POLICY.keep_warm
    """Wake at the start, and never put to sleep by itself."""
    wake_timeout: PositiveDuration = _POLICY.wake_timeout
    """How long a request is held unless it says otherwise."""
    max_waiting: Whole = Field(default=_POLICY.max_waiting, ge=1)
    """How many requests may wait at once."""
    concurrency: Whole | None = Field(default=_POLICY.concurrency, ge=1)
    """How many requests one replica answers at once; the others wait. Nothing given: no bound."""
    wake_attempts: Whole = Field(default=_POLICY.wake_attempts, ge=1)
    """After how many failed starts in a row the waiting requests fail."""
    backoff_base: PositiveDuration = _POLICY.backoff_base
    """The pause after the first failed start; it doubles with each further one."""
    backoff_cap: PositiveDuration = _POLICY.backoff_cap
    """The longest pause between two starts."""
    sleep: Literal["scale-to-zero", "pause"] = "scale-to-zero"
    """What sleep means: scaled to zero keeps the provider's quota; paused frees it."""
    slept_by: Literal["lamplighter", "provider"] = "lamplighter"
    """Who puts it to sleep: Lamplighter, with the provider's own timer behind it, or that timer alone."""
    wake_paused: Flag = _POLICY.wake_paused
    """Whether a request resumes it when it was paused at its provider by somebody else."""

    def over(self, defaults: PolicySettings) -> Policy:
        """The policy in force: what is set here, then what is set in `defaults`, then what is built in."""
        merged = {name: getattr(self if name in self.model_fields_set else defaults, name) for name in _POLICY_FIELDS}
        sleep, slept_by = merged.pop("sleep"), merged.pop("slept_by")
        return Policy(**merged, sleep_into=_SLEEPS[sleep], slept_by_provider=slept_by == "provider")


_POLICY_FIELDS = tuple(PolicySettings.model_fields)


class AlarmSettings(Section):
    """When people are told that something costs money for nobody, or fails, and where."""

    urls: tuple[SecretText, ...] = Field(default=(), repr=False)
    """Services of apprise to tell (slack://…, mailto://…): each by the place of its URL, such as env:NAME."""
    webhook: SecretText | None = Field(default=None, repr=False)
    """Where alarms are posted as JSON: the place of its URL, such as env:NAME."""
    repeat_every: PositiveDuration = 6 * 3600.0
    """How often an alarm that stands is told again."""
    awake_longer_than: BoundOrNever = None
    """Tell of an endpoint that has been awake for this long without having slept; or never."""
    idle_longer_than: BoundOrNever = 3600.0
    """Tell of a running endpoint without an idle timeout that nobody has used for this long; or never."""
    overdue_longer_than: PositiveDuration = 600.0
    """Tell of one that still runs this long after its idle timeout."""
    unknown_longer_than: PositiveDuration = 600.0
    """Tell of one whose provider could not say for this long how it is."""
    prices_older_than: PositiveDuration = 86400.0
    """Tell of a source of prices that has told none for this long."""
    budget_levels: tuple[Literal[50, 80, 100], ...] = (50, 80, 100)
    """Tell of a budget of which so many percent are spent. An empty list: never."""


class ProviderSettings(Section):
    """A place where endpoints live."""

    type: str = ""
    """The kind of provider; by default the name it stands under."""
    resources: dict[str, Amount] = Field(default={})
    """What may be in use at once, such as {gpu: 1, memory_gb: 16}. Nothing given: no bound."""
    options: dict[str, Any] = Field(default={}, repr=False)
    """What this kind of provider wants to know beside that."""
    price_per_hour: Dollars | None = None
    """What a GPU of a replica costs an hour in $; else a CPU that it takes; else the replica."""
    watts: Annotated[Number, Field(ge=0)] | None = None
    """In place of that: what it draws in watts while it runs."""
    price_per_kwh: Dollars | None = None
    """What a kilowatt-hour costs in $."""

    @model_validator(mode="before")
    @classmethod
    def _empty_is_left_out(cls, value: Any) -> Any:
        return {} if value is None else value


class EndpointSettings(PolicySettings):
    """A model server: what it runs, where, and when it is awake. A policy that is not set here stands in `defaults`."""

    provider: str = "local"
    """The name of the provider it lives at."""
    engine: str | None = None
    """What runs the model, such as llamacpp or vllm; `command` for a command of one's own."""
    model: str | None = None
    """The model, as the engine names it; for showing alone where it lives elsewhere."""
    task: str | None = None
    """What it does, such as text-generation."""
    aliases: tuple[Alias, ...] = ()
    """Further model names that lead here."""
    replicas: Whole = Field(default=1, ge=1)
    """How many copies run when it is awake."""
    resources: dict[str, Amount] = Field(default={})
    """What one replica takes of the provider's resources."""
    command: Words = ()
    """The command to run instead of the engine's own. {port}, {host}, {model} and {name} are filled in."""
    args: Words = ()
    """Arguments behind the engine's own."""
    env: dict[VariableName, VariableText] = Field(default={}, repr=False)
    """Environment variables of the engine."""
    cwd: FilePath | None = None
    """The folder that the engine runs in."""
    health_route: str | None = Field(default=None, pattern="^/")
    """The path that answers 200 when the engine is ready."""
    start_timeout: PositiveDuration = _ENGINE.start_timeout
    """How long a start may take."""
    stop_grace: Duration = _ENGINE.stop_grace
    """How long the engine may take to end before it is killed."""
    headers: dict[HeaderName, HeaderText] = Field(default={}, repr=False)
    """Headers for every request to the engine, such as its own API key."""
    remote: RemotePlace | None = None
    """Which endpoint of the provider it is: namespace/name, a name, or a URL. By default the one of the same name."""
    create: Literal["never", "if-missing"] = "never"
    """Whether it is made at its provider, by the first request, when it is not there."""
    deployment: DeploymentValues | None = Field(default=None, repr=False)
    """What to make then: repository, vendor, region, accelerator, instance_type, instance_size and so on."""
    price_per_hour: Dollars | None = None
    """What it costs while it is awake, in $ per hour, all replicas together."""

    def place(self) -> Remote:
        """Which endpoint of a provider elsewhere it is."""
        return replace(self.remote or Remote(), create=Creation(self.create))

    def spec(
        self, name: str, defaults: PolicySettings, *, remote: Remote | None = None, deployment: Deployment | None = None
    ) -> Spec:
        """The endpoint as the rest of the program knows it; `remote` for one that lives elsewhere."""
        policy = self.over(defaults)
        return Spec(
            name=name,
            provider=self.provider,
            engine=self._engine_spec(remote),
            policy=policy if remote else replace(policy, slept_by_provider=False),
            aliases=self.aliases,
            replicas=self.replicas,
            resources=MappingProxyType(dict(self.resources)),
            task=self.task,
            remote=remote,
            deployment=deployment,
        )

    def _engine_spec(self, remote: Remote | None) -> EngineSpec:
        return EngineSpec(
            engine=HOSTED if remote else self.engine or "command",
            model=self.model,
            command=self.command,
            args=self.args,
            env=MappingProxyType(dict(self.env)),
            cwd=str(self.cwd) if self.cwd else None,
            health_route=self.health_route,
            start_timeout=self.start_timeout,
            stop_grace=self.stop_grace,
            headers=MappingProxyType(dict(self.headers)),
        )


class File(Section):
    """The configuration of Lamplighter."""

    server: ServerSettings = Field(default_factory=dict, validate_default=True)
    """The server itself."""
    defaults: PolicySettings = PolicySettings()
    """The policy of every endpoint that does not say otherwise."""
    alarms: AlarmSettings = AlarmSettings()
    """When people are told that something costs money or fails, and where."""
    providers: dict[str, ProviderSettings] = Field(default={})
    """The places where endpoints live, by name. `local`, this machine, is always there."""
    endpoints: dict[Name, EndpointSettings] = Field(default={})
    """The endpoints by name: lower-case letters, digits, dots and hyphens, at most 63."""
    groups: dict[Name, tuple[str, ...]] = Field(default={})
    """Endpoints that are started and stopped together, by the name of the group."""
    upstreams: dict[Name, UpstreamSettings] = Field(default={})
    """Model APIs that are always on, by name. Routes lead to them."""
    routes: dict[Name, RouteSettings] = Field(default={})
    """Where the requests for a model go, by its name."""
    breaker: BreakerSection = BreakerSettings()
    """When a target that goes on failing is left alone, and for how long. false: never."""
    retry: RetrySettings = RetrySettings()
    """How requests are sent once more, and how often."""
    prices: PricesSettings = PricesSettings()
    """Where prices come from."""
    ledger: LedgerSettings = LedgerSettings()
    """Whose days count where costs are told."""
    budgets: dict[Name, BudgetSettings] = Field(default={})
    """How much may be spent, by name."""

    @field_validator(
        *("server", "defaults", "alarms", "providers", "endpoints", "groups", "upstreams", "routes", "retry", "prices"),
        *("ledger", "budgets"),
        mode="before",
    )
    @classmethod
    def _empty_is_left_out(cls, value: Any) -> Any:
        return {} if value is None else value


_SECTIONS: dict[str, type[BaseModel]] = {
    "server": ServerSettings,
    "defaults": PolicySettings,
    "alarms": AlarmSettings,
    "providers": ProviderSettings,
    "endpoints": EndpointSettings,
    "upstreams": UpstreamSettings,
    "routes": RouteSettings,
    "breaker": BreakerSettings,
    "retry": RetrySettings,
    "prices": PricesSettings,
    "ledger": LedgerSettings,
    "budgets": BudgetSettings,
}
_INNER: dict[str, type[BaseModel]] = {"targets": TargetSettings, "price": PriceSettings}


def known_keys(section: str | int | None, *inner: str | int) -> list[str]:
    """The keys that may stand in a section, or at the top for None.

    Of sections whose entries have names: the keys of each entry, and with a path into it those of what stands there.
    """
    model = next((_INNER[str(part)] for part in inner[1:] if part in _INNER), _SECTIONS.get(str(section), File))
    return list(model.model_fields)


def json_schema() -> dict[str, Any]:
    """The JSON schema of the file, for editors and other programs."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema"} | File.model_json_schema()
