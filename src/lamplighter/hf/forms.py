"""What is asked for: a deployment, a change of one. Both know the JSON that the management API wants."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lamplighter.hf.records import Endpoint


@dataclass(frozen=True, slots=True, kw_only=True)
class DeploymentForm:
    """Everything that a new endpoint is made from. The names are those of `lamplighter deploy` and of its file.

    `scale_to_zero_timeout` is in minutes (15 to 2880) and needs `min_replica` 0. `type` is `public`, `authenticated`
    or `private`; the old word `protected` is taken as `authenticated`, with a warning. `image` is `{variant: {...}}`
    or a flat custom container: `{"url", "port", "health_route" or "healthRoute", "credentials"}`.
    """

    name: str
    repository: str
    vendor: str
    region: str
    accelerator: str
    instance_type: str
    instance_size: str
    framework: str = "pytorch"
    revision: str | None = None
    task: str | None = None
    min_replica: int = 0
    max_replica: int = 1
    scale_to_zero_timeout: int | None = None
    type: str = "authenticated"
    image: Mapping[str, Any] | None = None
    command: Sequence[str] | None = None
    args: Sequence[str] | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)
    tags: Sequence[str] = ()

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> DeploymentForm:
        """Read a mapping such as a YAML file's. Raises InvalidInput: unknown key (with a near one), missing, wrong."""
        raise NotImplementedError

    def body(self) -> dict[str, Any]:
        """The body of a create. `model.task` is left out where it is None. Raises InvalidInput by the rules."""
        raise NotImplementedError

    def changes_from(self, current: Endpoint) -> Changes:
        """What would have to change at `current` to be as this form says; what the form leaves out is left alone."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """A change of an endpoint: None leaves a part as it is. Scaling lives under compute in the API."""

    repository: str | None = None
    framework: str | None = None
    revision: str | None = None
    task: str | None = None
    accelerator: str | None = None
    instance_type: str | None = None
    instance_size: str | None = None
    min_replica: int | None = None
    max_replica: int | None = None
    scale_to_zero_timeout: int | None = None
    type: str | None = None
    image: Mapping[str, Any] | None = None
    command: Sequence[str] | None = None
    args: Sequence[str] | None = None
    env: Mapping[str, str] | None = None
    secrets: Mapping[str, str] | None = field(default=None, repr=False)
    tags: Sequence[str] | None = None

    @property
    def is_empty(self) -> bool:
        """Whether nothing changes; then nothing is sent."""
        raise NotImplementedError

    def body(self) -> dict[str, Any]:
        """The body of an update, holding only what changes. Raises InvalidInput by the rules."""
        raise NotImplementedError

    def differences(self, current: Endpoint) -> list[tuple[str, Any, Any]]:
        """`(name, before, after)` of each part that differs, for showing. Secrets show their names alone."""
        raise NotImplementedError
