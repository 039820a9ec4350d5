"""Finding out what a request in task form asks for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from lamplighter.engines.tasks import RootTasks, Task
from lamplighter.gateway.refusals import TaskInvalid
from lamplighter.gateway.tasks.embedding import FeatureExtraction, SentenceSimilarity
from lamplighter.gateway.tasks.fields import Fields, shown
from lamplighter.gateway.tasks.generation import Generation
from lamplighter.gateway.tasks.translation import Translation

_EXAMPLE = 'Send a JSON object such as {"inputs": "…"}.'


def translation_of(body: bytes, tasks: RootTasks, name: str) -> Translation:
    """Read the body of a POST to the root URL of endpoint `name`. Raises TaskInvalid."""
    document = _decoded(body)
    fields = Fields(document)
    task = _task_of(document, tasks, name)
    if task is Task.TEXT_GENERATION:
        return Generation(fields, engine=tasks.engine, model=name)
    if task is Task.FEATURE_EXTRACTION:
        return FeatureExtraction(fields, engine=tasks.engine, model=name)
    return SentenceSimilarity(fields, engine=tasks.engine, model=name)


def _decoded(body: bytes) -> dict[str, Any]:
    if not body.strip():
        raise TaskInvalid(f"The body is empty. {_EXAMPLE}")
    try:
        document = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise TaskInvalid(f"The body is not JSON: {error}. {_EXAMPLE}") from None
    except RecursionError:
        raise TaskInvalid(f"The body is nested too deeply. {_EXAMPLE}") from None
    if not isinstance(document, dict):
        raise TaskInvalid(f"The body must be an object; got {shown(document)}. {_EXAMPLE}")
    return document


def _task_of(document: Mapping[str, Any], tasks: RootTasks, name: str) -> Task:
    if "inputs" not in document:
        hint = f" Chat is served at /endpoints/{name}/v1/chat/completions." if "messages" in document else ""
        raise TaskInvalid(f"inputs is missing. {_EXAMPLE}{hint}", field="inputs")
    task = _asked_for(document["inputs"], tasks)
    if task is None or task not in tasks.served:
        raise _not_served(task, tasks, name)
    return task


def _asked_for(inputs: object, tasks: RootTasks) -> Task | None:
    """The task by the shape of `inputs`."""
    if isinstance(inputs, dict):
        return Task.SENTENCE_SIMILARITY if "source_sentence" in inputs or "sentences" in inputs else None
    if isinstance(inputs, list) and tasks.main is not None:
        return Task.FEATURE_EXTRACTION
    return tasks.main


def _not_served(task: Task | None, tasks: RootTasks, name: str) -> TaskInvalid:
    served = ", ".join(tasks.served)
    wanted = task or (tasks.task if tasks.main is None else "this form of inputs")
    hint = " Start it with `args: [--embeddings]` for more." if task and tasks.engine == "llamacpp" else ""
    text = f"Endpoint {name!r} runs {tasks.engine}, which does not serve {wanted} here; it serves {served}.{hint}"
    return TaskInvalid(text, field="inputs")
