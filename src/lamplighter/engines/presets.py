"""Model servers that others make: how each is started, as one table."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from lamplighter.domain.endpoint import EngineSpec
from lamplighter.engines import template
from lamplighter.engines.base import Launch, Progress
from lamplighter.errors import EngineError, InvalidInput

DEFAULT_HEALTH_ROUTE = "/health"


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """One model server. It is ready when `health_route` answers 200.

    `command` is how it is called and gives way to the spec's own `command` (another path, a container's `run`);
    `args` follow it, and the spec's `args` come last. `hint` tells how to install it. Tokens such as HF_TOKEN reach
    it through the environment only.
    """

    key: str
    command: tuple[str, ...]
    args: tuple[str, ...]
    hint: str
    health_route: str = DEFAULT_HEALTH_ROUTE

    def check(self, spec: EngineSpec) -> None:
        """Raise InvalidInput naming `model`, `command`, `args` or `health_route`."""
        _check_command(self, spec)
        _check_model(self, spec)
        check_health_route(spec)
        template.check_words(spec.command, field="command")
        template.check_words(spec.args, field="args")

    def prepare(self, spec: EngineSpec, progress: Progress) -> str | None:
        """Look for the program; these servers fetch their models themselves, so `{model}` is the spec's word.

        Raises EngineError with `permanent` when the program is not there.
        """
        del progress
        self._find_program(spec)
        return spec.model

    def launch(self, spec: EngineSpec, *, name: str, host: str, port: int, model: str | None) -> Launch:
        """Tell how to start a replica of endpoint `name` on this address."""
        values = {"name": name, "host": host, "port": str(port)} | ({"model": model} if model is not None else {})
        return Launch(
            argv=template.fill((*(spec.command or self.command), *self.args, *spec.args), values),
            env=spec.env,
            cwd=spec.cwd,
            health_route=spec.health_route or self.health_route,
        )

    def _find_program(self, spec: EngineSpec) -> None:
        program = (spec.command or self.command)[0]
        # A word with a slash is looked up from the folder that the process will run in.
        place = os.path.join(spec.cwd or "", program) if os.path.dirname(program) else program  # noqa: PTH118, PTH120
        if shutil.which(place, path=spec.env.get("PATH")) is None:
            raise EngineError(f"The program {program!r} was not found. {self.hint}", permanent=True)


def check_health_route(spec: EngineSpec) -> None:
    """Raise InvalidInput unless the route is a path, or left out."""
    if spec.health_route is not None and not spec.health_route.startswith("/"):
        raise InvalidInput(
            f"health_route: {spec.health_route!r} must begin with a slash, such as '/health'.", field="health_route"
        )


def _check_command(preset: Preset, spec: EngineSpec) -> None:
    if not (spec.command or preset.command):
        raise InvalidInput(
            "command: the engine 'command' needs the words of a command that serves HTTP, "
            "such as ['my-server', '--port', '{port}'].",
            field="command",
        )
    if spec.command and not spec.command[0]:
        raise InvalidInput("command: the first word is empty; it must be a program.", field="command")


def _check_model(preset: Preset, spec: EngineSpec) -> None:
    if spec.model:
        return
    if template.uses((*preset.args, *spec.command, *spec.args), "model"):
        raise InvalidInput(
            f"model: the engine {preset.key!r} needs a model here, such as a Hugging Face id 'owner/name' or a folder.",
            field="model",
        )


_INSTALL = "Install it, or give its path in `command`"
_TABLE = (
    Preset(
        key="vllm",
        command=("vllm",),
        args=("serve", "{model}", "--host", "{host}", "--port", "{port}", "--served-model-name", "{name}"),
        hint=f"{_INSTALL}: pip install vllm",
    ),
    Preset(
        key="sglang",
        command=("python3",),
        args=(
            *("-m", "sglang.launch_server", "--model-path", "{model}"),
            *("--host", "{host}", "--port", "{port}", "--served-model-name", "{name}"),
        ),
        hint="Give a Python that has SGLang (pip install sglang) in `command`.",
    ),
    Preset(
        key="tei",
        command=("text-embeddings-router",),
        args=("--model-id", "{model}", "--hostname", "{host}", "--port", "{port}"),
        hint=f"{_INSTALL}: https://huggingface.co/docs/text-embeddings-inference",
    ),
    # The model in front, fixed for all requests and never unloaded, is how Transformers 5 takes it.
    Preset(
        key="transformers",
        command=("transformers",),
        args=("serve", "{model}", "--host", "{host}", "--port", "{port}"),
        hint=f"{_INSTALL}: pip install 'transformers[serving]>=5'",
    ),
    Preset(key="command", command=(), args=(), hint="Check `command`, `cwd`, and PATH in `env`."),
)

PRESETS: Mapping[str, Preset] = MappingProxyType({preset.key: preset for preset in _TABLE})
