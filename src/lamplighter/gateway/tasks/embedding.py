"""feature-extraction and sentence-similarity: vectors of texts, and how alike texts are."""

from __future__ import annotations

import math
from operator import mul
from typing import Any, TypeVar

import msgspec

from lamplighter.errors import UpstreamError
from lamplighter.gateway.refusals import TaskInvalid
from lamplighter.gateway.tasks.fields import Fields
from lamplighter.gateway.tasks.translation import EngineRequest

Vector = list[float]
T = TypeVar("T")


class _Item(msgspec.Struct, gc=False):
    embedding: msgspec.Raw
    index: int = 0


class _Answer(msgspec.Struct, gc=False):
    data: list[_Item]


_answer = msgspec.json.Decoder(_Answer)
_vector = msgspec.json.Decoder(list[float])


class FeatureExtraction:
    """One request for vectors, one for each text. Implements Translation."""

    def __init__(self, body: Fields, *, engine: str, model: str) -> None:
        """Raises TaskInvalid. Options stand beside `inputs`, or in `parameters`."""
        texts = _texts(body)
        self._count = len(texts)
        options = (body, body.inside("parameters"))
        self._normalize = _first(*(one.flag("normalize") for one in options))
        self._dimensions = _first(*(one.count("dimensions", least=1) for one in options))
        truncate = _first(*(one.flag("truncate") for one in options))
        for one in options:
            _check_rest(one)
        self.request = _ask(texts, engine, model, truncate=bool(truncate), raw=self._normalize is False)

    def stream(self) -> None:
        """See Translation."""

    def answer(self, body: bytes) -> bytes:
        """See Translation: a list of vectors, for a single text as well."""
        items = _items(body, self._count)
        if self._dimensions is None and not self._normalize:
            return b"[" + b",".join([bytes(item.embedding) for item in items]) + b"]"
        return msgspec.json.encode([self._shaped(_numbers(item)) for item in items])

    def _shaped(self, vector: Vector) -> Vector:
        if self._dimensions is not None:
            if self._dimensions > len(vector):
                text = f"dimensions must be at most {len(vector)} here; got {self._dimensions}."
                raise TaskInvalid(text, field="dimensions")
            vector = vector[: self._dimensions]
        return vector if self._normalize is False else _unit(vector)


class SentenceSimilarity:
    """One request for how alike sentences are to another. Implements Translation."""

    def __init__(self, body: Fields, *, engine: str, model: str) -> None:
        """Raises TaskInvalid."""
        inputs = body.inside("inputs")
        source = inputs.raw("source_sentence")
        if not isinstance(source, str) or not source:
            raise inputs.wrong("source_sentence", source, "a text that is not empty")
        sentences = inputs.texts("sentences")
        if not sentences:
            raise inputs.wrong("sentences", inputs.raw("sentences"), "a list of at least one text")
        self._count = 1 + len(sentences)
        self.request = _ask([source, *sentences], engine, model, truncate=False, raw=False)

    def stream(self) -> None:
        """See Translation."""

    def answer(self, body: bytes) -> bytes:
        """See Translation: a number for each sentence, 1 for the same direction, 0 for nothing in common."""
        source, *others = (_unit(_numbers(item)) for item in _items(body, self._count))
        return msgspec.json.encode([_product(source, other) for other in others])


def _texts(body: Fields) -> list[str]:
    texts = body.texts("inputs")
    if not texts:
        raise body.wrong("inputs", body.raw("inputs"), "a text that is not empty, or a list of such texts")
    return texts


def _check_rest(options: Fields) -> None:
    if "prompt_name" in options:
        text = "prompt_name is not known here: the engine has no named prompts. Put the prompt before the text."
        raise TaskInvalid(text, field="prompt_name")
    encoding = options.raw("encoding_format")
    if encoding not in {None, "float"}:
        raise options.wrong("encoding_format", encoding, "'float', or be left out")
    direction = options.raw("truncation_direction")
    if not isinstance(direction, str | None) or (direction or "right").lower() not in {"left", "right"}:
        raise options.wrong("truncation_direction", direction, "'left' or 'right'")


def _ask(texts: list[str], engine: str, model: str, *, truncate: bool, raw: bool) -> EngineRequest:
    document: dict[str, Any] = {"model": model, "input": texts}
    if truncate and engine == "vllm":
        document["truncate_prompt_tokens"] = -1
    if raw and engine == "llamacpp":
        document["embd_normalize"] = -1
    if raw and engine == "vllm":
        document["normalize"] = False
    return EngineRequest(path=b"/v1/embeddings", body=msgspec.json.encode(document))


def _items(body: bytes, count: int) -> list[_Item]:
    try:
        items = sorted(_answer.decode(body).data, key=lambda item: item.index)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UpstreamError(f"The engine's answer holds no embeddings: {error}.") from None
    if len(items) != count:
        raise UpstreamError(f"The engine answered with {len(items)} embeddings for {count} texts.")
    return items


def _numbers(item: _Item) -> Vector:
    try:
        return _vector.decode(item.embedding)
    except (msgspec.DecodeError, RecursionError):
        text = "The engine answered with something else than one vector for each text; see its pooling."
        raise UpstreamError(text) from None


def _unit(vector: Vector) -> Vector:
    length = math.hypot(*vector)
    return [value / length for value in vector] if length else vector


def _product(a: Vector, b: Vector) -> float:
    if len(a) != len(b):
        raise UpstreamError("The engine answered with vectors of different lengths.")
    return float(sum(map(mul, a, b)))


def _first(*values: T | None) -> T | None:
    return next((value for value in values if value is not None), None)
