"""text-generation: a prompt in `inputs`, answered as text-generation-inference does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec

from lamplighter.errors import UpstreamError
from lamplighter.gateway.refusals import TaskInvalid
from lamplighter.gateway.tasks.completions import NO_ID, Choice, Token, Usage, decode, tokens
from lamplighter.gateway.tasks.events import Events
from lamplighter.gateway.tasks.failures import failure_text
from lamplighter.gateway.tasks.fields import Fields
from lamplighter.gateway.tasks.translation import EngineRequest

DEFAULT_MAX_NEW_TOKENS = 100

_GRAMMARS = {"json", "json_schema", "regex"}
_MAX_TEXT = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What of a request shapes the answer. `doubt` says that a stop may be a stop sequence without being called so."""

    prompt: str
    doubt: bool
    details: bool
    full_text: bool
    streamed: bool
    seed: int | None


class Generation:
    """One request for text. Implements Translation."""

    def __init__(self, body: Fields, *, engine: str, model: str) -> None:
        """Raises TaskInvalid. `model` is what the engine calls it."""
        prompt = body.raw("inputs")
        if not isinstance(prompt, str):
            raise body.wrong("inputs", prompt, "a text")
        parameters = body.inside("parameters")
        self.wish = _wish(prompt, parameters, engine, streamed=bool(body.flag("stream")))
        document = {"model": model, "prompt": prompt} | _sampling(parameters, engine) | _asked(self.wish, engine)
        document |= _grammar(parameters, engine)
        _refuse_what_would_mislead(parameters)
        self.request = EngineRequest(path=b"/v1/completions", body=msgspec.json.encode(document))

    def stream(self) -> GenerationStream | None:
        """See Translation."""
        return GenerationStream(self.wish) if self.wish.streamed else None

    def answer(self, body: bytes) -> bytes:
        """See Translation: a list of one, as text-generation-inference answers at its root."""
        completion = decode(body)
        if not completion.choices:
            raise UpstreamError("The engine's answer has no text.")
        choice = completion.choices[0]
        said = tokens(choice)
        answer: dict[str, object] = {"generated_text": _full(self.wish, choice.text)}
        if self.wish.details:
            count = completion.usage.completion_tokens if completion.usage else len(said)
            answer["details"] = {
                "finish_reason": _reason(self.wish, choice, ended=bool(said) and said[-1].ends),
                "generated_tokens": count,
                "seed": self.wish.seed,
                "prefill": [],
                "tokens": [token.shown(special=not token.text) for token in said],
            }
        return msgspec.json.encode([answer])


class GenerationStream:
    """The engine's chunks as text-generation-inference's events.

    The last event has an empty, special token, the whole text, and the details if they were asked for: engines tell
    the end in a chunk of its own, and no token waits here to see whether it was the last.
    """

    def __init__(self, wish: Wish) -> None:
        self._wish = wish
        self._events = Events()
        self._text: list[str] = []
        self._size = 0
        self._index = 0
        self._ending: Token | None = None
        self._last: Choice | None = None
        self._usage: Usage | None = None
        self._over = False

    def feed(self, data: bytes) -> bytes:
        """See StreamTranslator."""
        return b"".join([self._on(event) for event in self._events.feed(data)])

    def end(self) -> bytes:
        """See StreamTranslator."""
        return b"" if self._over else self._finish()

    def _on(self, event: bytes) -> bytes:
        if self._over:
            return b""
        if event == b"[DONE]":
            return self._finish()
        chunk = decode(event)
        if chunk.error is not None:
            self._over = True
            return _event({"error": failure_text(event), "error_type": "generation"})
        self._usage = chunk.usage or self._usage
        return b"".join(self._said(choice) for choice in chunk.choices[:1])

    def _said(self, choice: Choice) -> bytes:
        if choice.finish_reason is not None:
            self._last = choice
        said = tokens(choice)
        if not choice.text:
            self._ending = said[-1] if said and not said[-1].text else self._ending
            return b""
        self._size += len(choice.text)
        if self._size > _MAX_TEXT:
            raise UpstreamError("The engine's stream has no end.")
        self._text.append(choice.text)
        return b"".join(self._event_of(token) for token in _apart(choice.text, said))

    def _event_of(self, token: Token) -> bytes:
        self._index += 1
        shown = token.shown(special=False)
        return _event({"index": self._index, "token": shown, "generated_text": None, "details": None})

    def _finish(self) -> bytes:
        if self._last is None:
            raise UpstreamError("The engine's stream ended without a reason.")
        self._over = True
        ending = self._ending or Token(NO_ID, "", None)
        document = {
            "index": self._index + 1,
            "token": ending.shown(special=True),
            "generated_text": _full(self._wish, "".join(self._text)),
            "details": self._details(self._last) if self._wish.details else None,
        }
        return _event(document)

    def _details(self, last: Choice) -> dict[str, object]:
        return {
            "finish_reason": _reason(self._wish, last, ended=self._ending is not None and self._ending.ends),
            "generated_tokens": self._usage.completion_tokens if self._usage else self._index,
            "input_length": self._usage.prompt_tokens if self._usage else 0,
            "seed": self._wish.seed,
        }


def _event(document: dict[str, object]) -> bytes:
    return b"data:" + msgspec.json.encode(document) + b"\n\n"


def _apart(text: str, said: list[Token]) -> list[Token]:
    """A chunk token by token where that is what it is: an engine that guesses ahead sends several at once."""
    if len(said) > 1 and "".join(token.text for token in said) == text:
        return [token for token in said if token.text]
    return [said[0]._replace(text=text) if len(said) == 1 else Token(NO_ID, text, None)]


def _full(wish: Wish, text: str) -> str:
    return wish.prompt + text if wish.full_text else text


def _reason(wish: Wish, choice: Choice, *, ended: bool) -> str:
    """Why it ended, in text-generation-inference's words. OpenAI's `stop` means two things; `ended` tells one."""
    if choice.finish_reason != "stop":
        return choice.finish_reason or "length"
    if isinstance(choice.stop_reason, str) or isinstance(choice.matched_stop, str):
        return "stop_sequence"
    return "stop_sequence" if wish.doubt and not ended else "eos_token"


def _wish(prompt: str, parameters: Fields, engine: str, *, streamed: bool) -> Wish:
    return Wish(
        prompt=prompt,
        doubt=engine == "llamacpp" and bool(_stops(parameters)),
        details=bool(parameters.flag("details")),
        full_text=bool(parameters.flag("return_full_text")),
        streamed=streamed,
        seed=parameters.count("seed", least=0),
    )


def _stops(parameters: Fields) -> list[str]:
    return (parameters.texts("stop") or []) + (parameters.texts("stop_sequences") or [])


def _asked(wish: Wish, engine: str) -> dict[str, object]:
    """What makes the engine tell what the answer needs."""
    asked: dict[str, object] = {"stream": wish.streamed}
    if wish.streamed:
        asked["stream_options"] = {"include_usage": True}
    if wish.streamed or wish.details:
        asked["logprobs"] = 1 if engine == "llamacpp" else 0
        if engine == "vllm":
            asked["return_token_ids"] = True
    return asked


def _sampling(parameters: Fields, engine: str) -> dict[str, object]:
    """How tokens are chosen, in the engine's words.

    As with text-generation-inference the most likely one, unless something asks for chance.
    """
    top_k = parameters.count("top_k", least=0)
    chosen: dict[str, object | None] = {
        "max_tokens": parameters.count("max_new_tokens", least=1) or DEFAULT_MAX_NEW_TOKENS,
        "temperature": parameters.number("temperature", above=0, least=True),
        "top_p": parameters.number("top_p", above=0, most=1),
        "top_k": -1 if top_k == 0 and engine == "sglang" else top_k,
        "typical_p": parameters.number("typical_p", above=0, most=1),
        "seed": parameters.count("seed", least=0),
        "frequency_penalty": parameters.number("frequency_penalty", above=-2, least=True, most=2),
        _PENALTY.get(engine, "repetition_penalty"): parameters.number("repetition_penalty", above=0),
        "stop": _stops(parameters) or None,
        "truncate_prompt_tokens": parameters.count("truncate", least=1),
    }
    by_chance = any(chosen[name] is not None for name in ("temperature", "top_p", "top_k", "typical_p"))
    do_sample = parameters.flag("do_sample")
    if do_sample is False or not (do_sample or by_chance):
        chosen["temperature"] = 0.0
    elif chosen["temperature"] is None:
        chosen["temperature"] = 1.0
    for name in _UNKNOWN.get(engine, ()):
        chosen[name] = None
    return {name: value for name, value in chosen.items() if value is not None}


_PENALTY = {"llamacpp": "repeat_penalty"}
_UNKNOWN = {
    "llamacpp": ("truncate_prompt_tokens",),
    "vllm": ("typical_p",),
    "sglang": ("typical_p", "truncate_prompt_tokens"),
}


def _grammar(parameters: Fields, engine: str) -> dict[str, object]:
    """What the text must be like. Not to know how is an error: a text of another form would break its reader."""
    if "grammar" not in parameters:
        return {}
    grammar = parameters.inside("grammar")
    kind, value = grammar.raw("type"), grammar.raw("value")
    if kind not in _GRAMMARS:
        raise grammar.wrong("type", kind, "'json', 'json_schema' or 'regex'")
    if kind == "regex":
        return _regex(grammar, value, engine)
    schema = value.get("schema", value) if kind == "json_schema" and isinstance(value, dict) else value
    if not isinstance(schema, dict):
        raise grammar.wrong("value", value, "a JSON schema as an object")
    return _json(schema, engine)


def _json(schema: dict[str, Any], engine: str) -> dict[str, object]:
    if engine == "llamacpp":
        return {"json_schema": schema}
    return {"response_format": {"type": "json_schema", "json_schema": {"name": "grammar", "schema": schema}}}


def _regex(grammar: Fields, value: object, engine: str) -> dict[str, object]:
    if not isinstance(value, str):
        raise grammar.wrong("value", value, "a regular expression as a text")
    if engine == "llamacpp":
        raise grammar.wrong("type", "regex", "'json' here: llama.cpp takes no regular expressions")
    return {"structured_outputs": {"regex": value}} if engine == "vllm" else {"regex": value}


def _refuse_what_would_mislead(parameters: Fields) -> None:
    if (parameters.count("best_of", least=1) or 1) > 1:
        raise parameters.wrong("best_of", parameters.raw("best_of"), "1: one text is made for each request here")
    if "adapter_id" in parameters:
        text = "parameters.adapter_id is not taken here: load the adapter with the engine's own `args`."
        raise TaskInvalid(text, field="parameters.adapter_id")
