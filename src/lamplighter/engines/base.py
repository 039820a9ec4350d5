"""The one thing that an engine must be able to do: say how it is started.

An engine knows nothing of who starts it: the local provider today, a cluster's actor tomorrow.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from lamplighter.domain.endpoint import EngineSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """How to start one replica. `env` is added to the environment of the process that starts it."""

    argv: tuple[str, ...]
    env: Mapping[str, str]
    cwd: str | None
    health_route: str


Progress = Callable[[str], None]
"""Called with one line for people ("downloading SmolLM2-135M-Instruct: 40 of 98 MB"), from any thread."""


class Engine(Protocol):
    """A kind of model server. Implementations have no state."""

    def check(self, spec: EngineSpec) -> None:
        """Raise InvalidInput naming the field when this spec can't work; touches neither network nor model files."""

    def prepare(self, spec: EngineSpec, progress: Progress) -> str | None:
        """Bring the model here; runs in a thread and may take long. Returns what `{model}` stands for, if anything.

        Raises EngineError, with `permanent` where trying again can't help.
        """

    def launch(self, spec: EngineSpec, *, name: str, host: str, port: int, model: str | None) -> Launch:
        """Tell how to start a replica of endpoint `name` on this address."""
