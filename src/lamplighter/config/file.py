"""The shape of `lamplighter.yaml`. What stands under each field is its description in the schema, too."""

from __future__ import annotations

from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from lamplighter.config.values import (
    Alias,
    Duration,
    FilePath,
    IdleTimeout,
    KeyDigest,
    Name,
    PositiveDuration,
    Size,
    Substituted,
    Words,
)
from lamplighter.domain.endpoint import EngineSpec, Policy, Spec

_POLICY = Policy()
_ENGINE = EngineSpec(engine="")


Amount: TypeAlias = Annotated[float, Field(ge=0)]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False)


class ServerSettings(_Model):
    """The server itself. A change here takes a restart, but for `drain_timeout`."""

    host: str = "127.0.0.1"
    """The address to listen on. Any other than this machine's own needs keys."""
    port: int = Field(default=8470, ge=0, le=65535)
    """The port to listen on; 0 takes a free one."""
    keys: frozenset[KeyDigest] = Field(default=frozenset(), repr=False)
    """Who may use this server: each key by its place (env:NAME, file:PATH) or its digest (sha256:…). None: all."""
    data: FilePath = Field(default=Path("~/.local/state/lamplighter"), validate_default=True)
    """The folder of the database, run files and logs. By default `lamplighter` in $XDG_STATE_HOME."""
    max_body: Size = 64_000_000
    """The largest request body in bytes."""
    max_held: Size = 256_000_000
    """How many bytes of requests may be held in all while endpoints wake."""
    max_hold: PositiveDuration = 3600.0
    """The longest time that a request may ask to be held."""
    drain_timeout: Duration = 30.0
    """How long a shutdown waits for requests to end."""
    on_shutdown: Literal["stop", "leave"] = "stop"
    """Whether a shutdown ends the engines, or leaves them to the next start."""
    retention: PositiveDuration = 90 * 86400.0
    """How long the history is kept: state changes, start times, what requests used, who operated what."""


class PolicySettings(_Model):
    """When to wake, sleep and give up."""

    idle_timeout: IdleTimeout = _POLICY.idle_timeout
    """Put to sleep after this long without a request, counted from the end of the last answer; or never."""
    min_awake: Duration = _POLICY.min_awake
    """How long a fresh wake is safe from being put to sleep for another endpoint's sake."""
    keep_warm: bool = _POLICY.keep_warm
    """Wake at the start, and never put to sleep by itself."""
    wake_timeout: PositiveDuration = _POLICY.wake_timeout
    """How long a request is held unless it says otherwise."""
    max_waiting: int = Field(default=_POLICY.max_waiting, ge=1)
    """How many requests may wait at once."""
    wake_attempts: int = Field(default=_POLICY.wake_attempts, ge=1)
    """After how many failed starts in a row the waiting requests fail."""
    backoff_base: PositiveDuration = _POLICY.backoff_base
    """The pause after the first failed start; it doubles with each further one."""
    backoff_cap: PositiveDuration = _POLICY.backoff_cap
    """The longest pause between two starts."""

    def over(self, defaults: PolicySettings) -> Policy:
        """The policy in force: what is set here, then what is set in `defaults`, then what is built in."""
        merged = {name: getattr(self if name in self.model_fields_set else defaults, name) for name in _POLICY_FIELDS}
        return Policy(**merged)


_POLICY_FIELDS = tuple(PolicySettings.model_fields)


class ProviderSettings(_Model):
    """A place where endpoints live."""

    type: str = ""
    """The kind of provider; by default the name it stands under."""
    resources: dict[str, Amount] = {}
    """What may be in use at once, such as {gpu: 1, memory_gb: 16}. Nothing given: no bound."""
    options: dict[str, Any] = Field(default={}, repr=False)
    """What this kind of provider wants to know beside that."""

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
    """The model, as the engine names it."""
    task: str | None = None
    """What it does, such as text-generation."""
    aliases: tuple[Alias, ...] = ()
    """Further model names that lead here."""
    replicas: int = Field(default=1, ge=1)
    """How many copies run when it is awake."""
    resources: dict[str, Amount] = {}
    """What one replica takes of the provider's resources."""
    command: Words = ()
    """The command to run instead of the engine's own. {port}, {host}, {model} and {name} are filled in."""
    args: Words = ()
    """Arguments behind the engine's own."""
    env: dict[str, Substituted] = Field(default={}, repr=False)
    """Environment variables of the engine."""
    cwd: FilePath | None = None
    """The folder that the engine runs in."""
    health_route: str | None = Field(default=None, pattern="^/")
    """The path that answers 200 when the engine is ready."""
    start_timeout: PositiveDuration = _ENGINE.start_timeout
    """How long a start may take."""
    stop_grace: Duration = _ENGINE.stop_grace
    """How long the engine may take to end before it is killed."""
    headers: dict[str, Substituted] = Field(default={}, repr=False)
    """Headers for every request to the engine, such as its own API key."""

    @model_validator(mode="after")
    def _runs_something(self) -> EndpointSettings:
        if self.engine is None and not self.command:
            raise ValueError("needs an `engine`, such as llamacpp, or a `command`")
        return self

    def spec(self, name: str, defaults: PolicySettings) -> Spec:
        """The endpoint as the rest of the program knows it."""
        return Spec(
            name=name,
            provider=self.provider,
            engine=self._engine_spec(),
            policy=self.over(defaults),
            aliases=self.aliases,
            replicas=self.replicas,
            resources=MappingProxyType(dict(self.resources)),
            task=self.task,
        )

    def _engine_spec(self) -> EngineSpec:
        return EngineSpec(
            engine=self.engine or "command",
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


class File(_Model):
    """The configuration of Lamplighter."""

    server: ServerSettings = Field(default_factory=dict, validate_default=True)
    """The server itself."""
    defaults: PolicySettings = PolicySettings()
    """The policy of every endpoint that does not say otherwise."""
    providers: dict[str, ProviderSettings] = {}
    """The places where endpoints live, by name. `local`, this machine, is always there."""
    endpoints: dict[Name, EndpointSettings] = {}
    """The endpoints by name: lower-case letters, digits, dots and hyphens, at most 63."""

    @field_validator("server", "defaults", "providers", "endpoints", mode="before")
    @classmethod
    def _empty_is_left_out(cls, value: Any) -> Any:
        return {} if value is None else value


_SECTIONS: dict[str, type[BaseModel]] = {
    "server": ServerSettings,
    "defaults": PolicySettings,
    "providers": ProviderSettings,
    "endpoints": EndpointSettings,
}


def known_keys(section: str | int | None) -> list[str]:
    """The keys that may stand in a section (in each entry, for providers and endpoints), or at the top for None."""
    model = _SECTIONS.get(str(section), File)
    return list(model.model_fields)


def json_schema() -> dict[str, Any]:
    """The JSON schema of the file, for editors and other programs."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema"} | File.model_json_schema()
