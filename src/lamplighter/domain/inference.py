"""One call for any model, wherever it is: what is asked, what is answered, and the one set of ways to fail. Pure."""

from __future__ import annotations

import enum
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lamplighter.errors import (
    EndpointBusy,
    EndpointPaused,
    InvalidInput,
    LamplighterError,
    NoCapacity,
    NotAllowed,
    NotFound,
    Overloaded,
    PaymentRequired,
    ProviderError,
    QueueFull,
    QuotaExceeded,
    WakeTimeout,
)

TASK = "task"
"""The surface of Hugging Face's tasks: `inputs` and `parameters`."""

SURFACES = (
    "chat/completions",
    "completions",
    "embeddings",
    "responses",
    "rerank",
    "score",
    "classify",
    "moderations",
    "messages",
    "audio/speech",
    "images/generations",
    TASK,
)
"""What a payload can be meant for: the paths below `/v1/` that take JSON, and `task`."""

LONGEST_TIMEOUT = 3600.0
DEFAULT_TIMEOUT = 300.0

_LONGEST_NAME = 500
_PROVIDER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}").fullmatch
_TELLING = {"messages": "chat/completions", "prompt": "completions", "input": "embeddings", "inputs": TASK}


class FailureKind(enum.StrEnum):
    """Why an inference failed, in one of eight words, whoever refused it."""

    AUTH = "auth"
    RATE_LIMIT = "rate_limit"
    PAYMENT = "payment"
    NOT_FOUND = "not_found"
    BAD_INPUT = "bad_input"
    OVERLOADED = "overloaded"
    TIMEOUT = "timeout"
    UNAVAILABLE = "unavailable"


@dataclass(frozen=True, slots=True, kw_only=True)
class InferenceRequest:
    """A payload for a model. `body` is the JSON object of the surface, without `model`.

    `surface` None: told from the body, see `surface_of`. `provider` pins who answers where several could. `timeout`
    bounds the whole call in seconds. Raises InvalidInput.
    """

    model: str
    body: Mapping[str, Any] = field(repr=False)
    surface: str | None = None
    provider: str | None = None
    timeout: float = DEFAULT_TIMEOUT

    def __post_init__(self) -> None:
        if not is_model_name(self.model):
            raise InvalidInput(f"model: {_short(self.model)} is no name of a model", field="model")
        if self.provider is not None and not _PROVIDER(self.provider):
            text = f"provider: {_short(self.provider)} should be a name: letters, digits and . _ -, at most 100"
            raise InvalidInput(text, field="provider")
        if not isinstance(self.body, Mapping) or not all(isinstance(key, str) for key in self.body):
            raise InvalidInput("payload: it should be an object, such as {'messages': […]}", field="payload")
        if isinstance(self.timeout, bool) or not 0 < self.timeout <= LONGEST_TIMEOUT:
            text = f"timeout: {self.timeout!r} should be more than 0 and at most {LONGEST_TIMEOUT:g} seconds"
            raise InvalidInput(text, field="timeout")
        surface_of(self.body, self.surface)

    def written(self, **more: Any) -> bytes:
        """The body as JSON, with `more` members. Raises InvalidInput for what JSON in UTF-8 can't hold."""
        try:
            text = json.dumps({**self.body, **more}, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
            return text.encode()
        except (ValueError, TypeError, RecursionError):
            text = "payload: it holds what JSON can't: NaN, an infinity, half a character, or a value that is no JSON"
            raise InvalidInput(text, field="payload") from None

    @property
    def meant_for(self) -> str:
        """The surface that is meant, one of `SURFACES`."""
        return surface_of(self.body, self.surface)


@dataclass(frozen=True, slots=True, kw_only=True)
class InferenceAnswer:
    """What came back. `provider` is who answered, as far as that was told; `content_type` is without parameters."""

    model: str
    provider: str
    content_type: str
    body: bytes = field(repr=False)

    def json(self) -> Any:
        """The body as JSON. Raises ProviderError where it is something else (`content_type` says what)."""
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):
            kind = self.content_type or "something without a type"
            raise ProviderError(f"{self.provider} answered {self.model} with {kind}, which is no JSON.") from None

    @property
    def tokens(self) -> tuple[int, int]:
        """Tokens in and out, as the answer says of its own usage; 0 where it says nothing."""
        if self.content_type != "application/json":
            return 0, 0
        try:
            usage = json.loads(self.body).get("usage")
        except (ValueError, RecursionError, AttributeError):
            return 0, 0
        if not isinstance(usage, Mapping):
            return 0, 0
        return _count(usage, "prompt_tokens", "input_tokens"), _count(usage, "completion_tokens", "output_tokens")


def is_model_name(value: object) -> bool:
    """Whether something may be the name of a model: printable, and no way to anywhere else where it becomes a path."""
    if not isinstance(value, str) or not value.strip() or len(value) > _LONGEST_NAME or not value.isprintable():
        return False
    return not any(part in {"", ".", ".."} for part in value.split("/"))


def _count(usage: Mapping[str, Any], *names: str) -> int:
    return next((value for name in names if type(value := usage.get(name)) is int and value >= 0), 0)


def surface_of(body: Mapping[str, Any], said: str | None = None) -> str:
    """What a payload is for: what was `said`, else by its members.

    `messages` is a chat, `prompt` a completion, `input` an embedding, `inputs` a task of Hugging Face. Raises
    InvalidInput.
    """
    if said is not None:
        if said not in SURFACES:
            text = f"surface: {_short(said)} is none; known are {', '.join(SURFACES)}"
            raise InvalidInput(text, field="surface")
        return said
    found = next((surface for member, surface in _TELLING.items() if member in body), None)
    if found is None:
        members = ", ".join(sorted(body)[:10]) or "nothing"
        text = (
            f"payload: it has {members[:200]}; one of messages, prompt, input and inputs tells what it is for, "
            "or `surface` does"
        )
        raise InvalidInput(text, field="payload")
    return found


def failure_of(error: LamplighterError) -> FailureKind:
    """The one word for any of our errors."""
    for kinds, failure in _FAILURES:
        if isinstance(error, kinds):
            return failure
    return _BY_STATUS.get(error.status, FailureKind.UNAVAILABLE)


_FAILURES: tuple[tuple[tuple[type[LamplighterError], ...], FailureKind], ...] = (
    ((NotAllowed,), FailureKind.AUTH),
    ((NotFound,), FailureKind.NOT_FOUND),
    ((PaymentRequired, QuotaExceeded), FailureKind.PAYMENT),
    ((WakeTimeout,), FailureKind.TIMEOUT),
    ((Overloaded, EndpointBusy, QueueFull, NoCapacity), FailureKind.OVERLOADED),
    ((EndpointPaused,), FailureKind.UNAVAILABLE),
    ((InvalidInput,), FailureKind.BAD_INPUT),
)
_BY_STATUS = {429: FailureKind.RATE_LIMIT, 504: FailureKind.TIMEOUT}


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:79] + "…"
