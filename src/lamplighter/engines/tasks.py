"""What requests in Hugging Face task form mean to an endpoint whose engine itself speaks OpenAI's API alone."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass

from lamplighter.domain.endpoint import EngineSpec, Spec


class Task(enum.StrEnum):
    """The tasks that are translated, in Hugging Face's words."""

    TEXT_GENERATION = "text-generation"
    FEATURE_EXTRACTION = "feature-extraction"
    SENTENCE_SIMILARITY = "sentence-similarity"


_EMBEDDING = frozenset({"feature-extraction", "sentence-similarity", "sentence-embeddings"})
_GENERATING = frozenset(
    {"", "custom", "text-generation", "text2text-generation", "conversational", "image-text-to-text", "any-to-any"}
)
_ONLY_OPENAI = frozenset({"llamacpp", "vllm", "sglang"})
_ALL = tuple(Task)


@dataclass(frozen=True, slots=True, kw_only=True)
class RootTasks:
    """What an endpoint does with a POST to its root URL.

    `main` is what a plain text in `inputs` asks for, None when the endpoint's own task can't be translated (`task`
    says which one that is). `served` are the tasks that the engine can do, as far as its settings tell.
    """

    engine: str
    main: Task | None
    served: tuple[Task, ...]
    task: str | None = None


def root_tasks(spec: Spec) -> RootTasks | None:
    """Tell what a POST to the root URL means; None where the endpoint answers it itself."""
    engine = spec.engine.engine
    if engine not in _ONLY_OPENAI or spec.remote is not None:
        return None
    embeds = _embeds(spec.engine)
    return RootTasks(
        engine=engine, main=_main(spec.task, embeds=embeds), served=_served(engine, embeds), task=spec.task
    )


def _main(task: str | None, *, embeds: bool) -> Task | None:
    if task in _EMBEDDING or (embeds and task in {None, "", "custom"}):
        return Task.FEATURE_EXTRACTION
    return Task.TEXT_GENERATION if task is None or task in _GENERATING else None


def _served(engine: str, embeds: bool) -> tuple[Task, ...]:
    if engine == "llamacpp":
        return _ALL if embeds else (Task.TEXT_GENERATION,)
    # vLLM and SGLang find out from the model; told to embed, they do nothing else.
    return (Task.FEATURE_EXTRACTION, Task.SENTENCE_SIMILARITY) if embeds else _ALL


def _embeds(engine: EngineSpec) -> bool:
    words = engine.args
    if engine.engine == "llamacpp":
        return "--embeddings" in words
    if engine.engine == "sglang":
        return "--is-embedding" in words
    return (
        _option(words, "--task") in {"embed", "embedding"}
        or _option(words, "--convert") == "embed"
        or _option(words, "--runner") == "pooling"
    )


def _option(words: Sequence[str], name: str) -> str | None:
    for at, word in enumerate(words):
        if word == name:
            return words[at + 1] if at + 1 < len(words) else None
        if word.startswith(f"{name}="):
            return word.partition("=")[2]
    return None
