"""Image variants and the engines that stand for them on this machine.

A variant names a container image. Here its engine is run as it is installed; `url` and `port` say nothing then.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from lamplighter.engines import template
from lamplighter.engines.models import KNOWN_MODELS
from lamplighter.errors import InvalidInput

Words = tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """`flags` tells the argument for each field of the variant; `task` is what its endpoints do if nobody says."""

    key: str
    engine: str
    framework: str
    flags: Mapping[str, str] = field(default_factory=dict)
    task: str | None = None
    revision: str | None = None
    """The argument that takes the revision; None where the engine has none."""


_TEXT = "text-generation"

VARIANTS: Mapping[str, Variant] = MappingProxyType(
    {
        variant.key: variant
        for variant in (
            Variant(
                key="llamacpp",
                engine="llamacpp",
                framework="llamacpp",
                flags={"ctxSize": "--ctx-size", "nParallel": "--parallel", "nGpuLayers": "--gpu-layers"},
                task=_TEXT,
            ),
            Variant(
                key="vLLM",
                engine="vllm",
                framework="custom",
                flags={
                    "tensorParallelSize": "--tensor-parallel-size",
                    "dataParallelSize": "--data-parallel-size",
                    "kvCacheDtype": "--kv-cache-dtype",
                    "maxNumBatchedTokens": "--max-num-batched-tokens",
                    "maxNumSeqs": "--max-num-seqs",
                },
                task=_TEXT,
                revision="--revision",
            ),
            Variant(
                key="sGLang",
                engine="sglang",
                framework="custom",
                flags={
                    "tensorParallelSize": "--tp-size",
                    "kvCacheDtype": "--kv-cache-dtype",
                    "chunkedPrefillSize": "--chunked-prefill-size",
                    "maxPrefillTokens": "--max-prefill-tokens",
                    "maxRunningRequests": "--max-running-requests",
                },
                task=_TEXT,
                revision="--revision",
            ),
            Variant(
                key="tei",
                engine="tei",
                framework="custom",
                flags={
                    "maxBatchTokens": "--max-batch-tokens",
                    "maxConcurrentRequests": "--max-concurrent-requests",
                    "pooling": "--pooling",
                },
                task="feature-extraction",
                revision="--revision",
            ),
            Variant(key="huggingface", engine="transformers", framework="pytorch"),
            Variant(key="hfServe", engine="transformers", framework="pytorch"),
            Variant(key="custom", engine="command", framework="custom"),
        )
    }
)
"""What can be run here."""

ELSEWHERE = ("tgi", "tgiNeuron", "tgiTpu", "huggingfaceNeuron", "vLLMNeuron", "vLLMOmni")
"""What this API knows and this machine has no engine for."""

_POOLINGS = frozenset({"none", "mean", "cls", "last", "rank"})
_MODES: Mapping[str, tuple[Words, str]] = {
    "embeddings": (("--embeddings",), "feature-extraction"),
    "reranking": (("--embeddings", "--pooling", "rank"), "text-ranking"),
}


def variant_of_engine(engine: str) -> tuple[str, str]:
    """The variant and the framework that an engine is shown as."""
    for variant in VARIANTS.values():
        if variant.engine == engine:
            return variant.key, variant.framework
    return "custom", "custom"


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """How a model is run here: the parts of an EngineSpec that a document decides."""

    engine: str
    model: str | None
    command: Words = ()
    args: Words = ()
    task: str | None = None


def run_of(model: Mapping[str, Any]) -> Run:
    """Read a document's `model`. Raises InvalidInput naming the field, for what can't run on this machine."""
    key, fields = _variant(model)
    command = tuple(model.get("command") or ())
    args = tuple(model.get("args") or ())
    if command:
        return _own_command(model, command, args)
    if key == "custom":
        raise InvalidInput(
            "model.image.custom: a container image can't be run on this machine. Give the program that serves the "
            "model in `model.command` (with {port} where its port belongs), or deploy at another vendor.",
            field="model.image.custom",
        )
    if key == "llamacpp" or (key in {"huggingface", "hfServe"} and model.get("framework") == "llamacpp"):
        return _llamacpp(model, fields, args)
    variant = VARIANTS[key]
    words = (*_revision(variant, model), *_flags(variant, fields), *args)
    return Run(engine=variant.engine, model=model["repository"], args=words, task=variant.task)


def _variant(model: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
    image = model.get("image") or {"huggingface": {}}
    key, fields = next(iter(image.items()))
    if key in VARIANTS:
        return key, fields or {}
    known = ", ".join(VARIANTS)
    why = "this machine has no engine for it" if key in ELSEWHERE else "it is not known"
    raise InvalidInput(f"model.image: {key!r} can't be run here: {why}. Here are: {known}.", field="model.image")


def _own_command(model: Mapping[str, Any], command: Words, args: Words) -> Run:
    if not template.uses((*command, *args), "port"):
        raise InvalidInput(
            "model.command: the program has to be told where to listen: put {port} where the port belongs, "
            "such as ['my-server', '--port', '{port}'].",
            field="model.command",
        )
    return Run(engine="command", model=model["repository"], command=command, args=args, task=None)


def _llamacpp(model: Mapping[str, Any], fields: Mapping[str, Any], args: Words) -> Run:
    for name in ("mmprojModelPath", "specModelPath"):
        if fields.get(name):
            raise InvalidInput(
                f"model.image.llamacpp.{name}: a second model can't be loaded here; leave it out.",
                field=f"model.image.llamacpp.{name}",
            )
    variant = VARIANTS["llamacpp"]
    mode, task = _mode(fields)
    words = [*_flags(variant, {**fields, "nGpuLayers": _layers(fields.get("nGpuLayers"))}), *mode]
    if fields.get("pooling") and "--pooling" not in words:
        words += ["--pooling", _pooling(fields["pooling"])]
    return Run(engine="llamacpp", model=_gguf(model, fields), args=(*words, *args), task=task)


def _mode(fields: Mapping[str, Any]) -> tuple[Words, str]:
    mode = fields.get("mode")
    if mode is None:
        return (), _TEXT
    if mode not in _MODES:
        known = " or ".join(repr(name) for name in _MODES)
        raise InvalidInput(f"model.image.llamacpp.mode: {mode!r} should be {known}.", field="model.image.llamacpp.mode")
    return _MODES[mode]


def _pooling(value: Any) -> str:
    if value not in _POOLINGS:
        known = ", ".join(sorted(_POOLINGS))
        field_name = "model.image.llamacpp.pooling"
        raise InvalidInput(f"{field_name}: {value!r} should be one of {known}.", field=field_name)
    return str(value)


def _layers(value: Any) -> Any:
    """A negative number means all of them, as llama.cpp has it."""
    return "all" if isinstance(value, int) and value < 0 else value


def _gguf(model: Mapping[str, Any], fields: Mapping[str, Any]) -> str:
    """The file, as the model store names it: a known model, a path on this machine, or a file on the Hub."""
    repository, revision = model["repository"], model.get("revision")
    path = (fields.get("modelPath") or "").removeprefix("/repository").lstrip("/")
    known = _known_model(repository, path)
    if known is not None:
        return known
    if repository.startswith(("/", "~")):
        return f"{repository.rstrip('/')}/{path}" if path else repository
    if not path:
        raise InvalidInput(
            f"model.image.llamacpp.modelPath: which GGUF file of {repository!r} should be served? Give its path.",
            field="model.image.llamacpp.modelPath",
        )
    at = f"@{revision.replace('/', '%2F')}" if revision else ""
    return f"hf://{repository}{at}/{path}"


def _known_model(repository: str, path: str) -> str | None:
    wanted = repository.rpartition("/")[2].lower().removesuffix("-gguf")
    for known in KNOWN_MODELS:
        if known.name.lower() == wanted and path in {"", known.file_name}:
            return known.name
    return None


def _revision(variant: Variant, model: Mapping[str, Any]) -> Words:
    revision = model.get("revision")
    if revision is None or (variant.revision is None and revision == "main"):
        return ()
    if variant.revision is None:
        raise InvalidInput(
            f"model.revision: the engine {variant.engine!r} takes no revision here; leave it out.",
            field="model.revision",
        )
    return (variant.revision, revision)


def _flags(variant: Variant, fields: Mapping[str, Any]) -> list[str]:
    words: list[str] = []
    for name, flag in variant.flags.items():
        value = fields.get(name)
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            where = f"model.image.{variant.key}.{name}"
            raise InvalidInput(f"{where}: {value!r} should be a number or a word.", field=where)
        words += [flag, str(value)]
    return words
