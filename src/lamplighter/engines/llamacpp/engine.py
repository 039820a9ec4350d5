"""llama.cpp as an engine: brings the GGUF file here and tells how to start the process."""

from __future__ import annotations

import importlib.util
import sys
from dataclasses import dataclass
from pathlib import Path

from lamplighter.domain.endpoint import EngineSpec
from lamplighter.engines import template
from lamplighter.engines.base import Launch, Progress
from lamplighter.engines.gguf import BadGguf, read_header
from lamplighter.engines.llamacpp.options import BadOption, check_tuning
from lamplighter.engines.models import ModelStore, parse_ref
from lamplighter.engines.presets import DEFAULT_HEALTH_ROUTE, check_health_route
from lamplighter.errors import EngineError, InvalidInput

_MODULE = "lamplighter.engines.llamacpp"


@dataclass(frozen=True, slots=True)
class LlamaCppEngine:
    """Serves a GGUF file: OpenAI chat, completions and, with `--embeddings` in `args`, embeddings.

    `model` is a path, a known name or `hf://owner/repo/file.gguf`. `command` may name another Python that has
    Lamplighter and xllamacpp. Without a store, the user's own is taken.
    """

    store: ModelStore | None = None

    def check(self, spec: EngineSpec) -> None:
        """Raise InvalidInput naming `model`, `command`, `args` or `health_route`."""
        if not spec.model:
            raise InvalidInput(
                "model: llamacpp needs a GGUF model: a path, 'hf://owner/repo/file.gguf' or a known name.",
                field="model",
            )
        parse_ref(spec.model)
        check_health_route(spec)
        template.check_words((*spec.command, *spec.args), field="args")
        try:
            check_tuning(spec.args)
        except BadOption as error:
            raise InvalidInput(f"args: {error}.", field="args") from None

    def prepare(self, spec: EngineSpec, progress: Progress) -> str | None:
        """Bring the file here and read its head. Returns its path.

        Raises EngineError, with `permanent` where xllamacpp or the file is missing, or the file is no whole GGUF.
        """
        if not spec.command and importlib.util.find_spec("xllamacpp") is None:
            raise EngineError("llama.cpp is not installed: pip install 'lamplighter[llamacpp]'", permanent=True)
        path = (self.store or ModelStore()).resolve(spec.model or "", progress)
        _check_file(path)
        return str(path)

    def launch(self, spec: EngineSpec, *, name: str, host: str, port: int, model: str | None) -> Launch:
        """Tell how to start a replica of endpoint `name` on this address; `model` is what `prepare` returned."""
        file = model or spec.model or ""
        python = spec.command or (sys.executable,)
        own = ("-m", _MODULE, "--model", file, "--host", host, "--port", str(port), "--alias", name)
        values = {"host": host, "port": str(port), "name": name, "model": file}
        return Launch(
            argv=(*template.fill(python, values), *own, *template.fill(spec.args, values)),
            env=spec.env,
            cwd=spec.cwd,
            health_route=spec.health_route or DEFAULT_HEALTH_ROUTE,
        )


def _check_file(path: Path) -> None:
    try:
        read_header(path)
    except BadGguf as error:
        raise EngineError(f"The model {path} {error}. Fetch it again, or remove it.", permanent=True) from None
    except (OSError, ValueError) as error:
        raise EngineError(f"The model {path} can't be read: {error}.", permanent=True) from None
