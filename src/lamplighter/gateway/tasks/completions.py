"""What llama.cpp, vLLM and SGLang answer to `/v1/completions`: their common part, and what each adds."""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec

from lamplighter.errors import UpstreamError

NO_ID = -1
"""Stands for a token's id where the engine does not tell it."""


class Choice(msgspec.Struct, gc=False):
    """The only choice of an answer. `stop_reason` is vLLM's, `matched_stop` SGLang's, `token_ids` vLLM's."""

    text: str = ""
    finish_reason: str | None = None
    logprobs: Any = None
    stop_reason: Any = None
    matched_stop: Any = None
    token_ids: list[int] | None = None


class Usage(msgspec.Struct, gc=False):
    """Tokens counted by the engine."""

    prompt_tokens: int = 0
    completion_tokens: int = 0


class Completion(msgspec.Struct, gc=False):
    """An answer, or a chunk of a streamed one."""

    choices: list[Choice] = []
    usage: Usage | None = None
    error: Any = None


class Token(NamedTuple):
    """One token; `id` is NO_ID and `logprob` None where the engine does not tell.

    `ends` says of a token without text that the model ended there; where a stop sequence cut the text it is False.
    """

    id: int
    text: str
    logprob: float | None
    ends: bool = False

    def shown(self, *, special: bool) -> dict[str, object]:
        """The token as text-generation-inference words it."""
        return {"id": self.id, "text": self.text, "logprob": self.logprob, "special": special}


_decoder = msgspec.json.Decoder(Completion)


def decode(body: bytes) -> Completion:
    """Read an answer or a chunk. Raises UpstreamError."""
    try:
        return _decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UpstreamError(f"The engine's answer is not a completion: {error}.") from None


def tokens(choice: Choice) -> list[Token]:
    """The tokens of a choice, as far as the engine tells them: llama.cpp lists objects, the others columns."""
    logprobs = choice.logprobs if isinstance(choice.logprobs, dict) else {}
    content = logprobs.get("content")
    if isinstance(content, list):
        return [_of_object(one) for one in content if isinstance(one, dict)]
    texts = logprobs.get("tokens")
    if not isinstance(texts, list):
        return []
    values = logprobs.get("token_logprobs")
    values = values if isinstance(values, list) and len(values) == len(texts) else [None] * len(texts)
    ids = choice.token_ids if choice.token_ids is not None and len(choice.token_ids) == len(texts) else None
    return [
        Token(ids[n] if ids else NO_ID, str(text), _number(value))
        for n, (text, value) in enumerate(zip(texts, values, strict=True))
    ]


def _of_object(one: dict[str, Any]) -> Token:
    number, text = one.get("id"), str(one.get("token", ""))
    ends = not text and _likeliest(one).get("id") == number and not _likeliest(one).get("token")
    return Token(number if isinstance(number, int) else NO_ID, text, _number(one.get("logprob")), ends)


def _likeliest(one: dict[str, Any]) -> dict[str, Any]:
    """The likeliest token there, which mostly is the one that was taken, with its text uncut."""
    top = one.get("top_logprobs")
    return top[0] if isinstance(top, list) and top and isinstance(top[0], dict) else {}


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) else None
