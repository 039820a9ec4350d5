"""Requests in Hugging Face task form, translated for engines that speak OpenAI's API alone."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import math
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lamplighter.domain.endpoint import EngineSpec, Remote, Spec
from lamplighter.domain.usage import Outcome
from lamplighter.engines.tasks import RootTasks, Task, root_tasks
from lamplighter.errors import QueueFull, UpstreamError
from lamplighter.gateway.refusals import TaskInvalid
from lamplighter.gateway.settings import GatewaySettings
from lamplighter.gateway.tasks.choosing import translation_of
from lamplighter.gateway.tasks.events import Events
from lamplighter.gateway.tasks.failures import failure
from lamplighter.gateway.tasks.translation import Translation
from tests.gateway_stage import (
    SOON,
    Script,
    Stage,
    StageDemand,
    Visit,
    always,
    answer,
    endpoint,
    request,
    stage,
    until,
)

ALL = tuple(Task)
GENERATES = RootTasks(engine="llamacpp", main=Task.TEXT_GENERATION, served=(Task.TEXT_GENERATION,))
EMBEDS = RootTasks(engine="llamacpp", main=Task.FEATURE_EXTRACTION, served=ALL)


def spec(engine: str = "llamacpp", *args: str, task: str | None = None, remote: Remote | None = None) -> Spec:
    engine_spec = EngineSpec(engine=engine, model="m", args=args)
    return Spec(name="lamp", provider="local", engine=engine_spec, task=task, remote=remote)


def translation(document: object, tasks: RootTasks = GENERATES) -> Translation:
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    return translation_of(body, tasks, "lamp")


def generates(engine: str, **parameters: Any) -> dict[str, Any]:
    """The engine's request for a prompt with these parameters."""
    tasks = RootTasks(engine=engine, main=Task.TEXT_GENERATION, served=ALL)
    made = translation({"inputs": "Hi", "parameters": parameters}, tasks)
    assert made.request.path == b"/v1/completions"
    document: dict[str, Any] = json.loads(made.request.body)
    return document


def embeds(engine: str = "llamacpp", **fields: Any) -> dict[str, Any]:
    """The engine's request for these fields."""
    made = translation(fields, RootTasks(engine=engine, main=Task.FEATURE_EXTRACTION, served=ALL))
    assert made.request.path == b"/v1/embeddings"
    document: dict[str, Any] = json.loads(made.request.body)
    return document


def refusal(document: object, tasks: RootTasks = GENERATES) -> str:
    with pytest.raises(TaskInvalid) as caught:
        translation(document, tasks)
    return caught.value.message


# Which endpoints, which task


@pytest.mark.parametrize("engine", ["tei", "transformers", "command", "something"])
def test_engines_that_serve_their_root_are_left_alone(engine: str) -> None:
    assert root_tasks(spec(engine)) is None


def test_endpoints_elsewhere_are_left_alone() -> None:
    assert root_tasks(spec("vllm", remote=Remote())) is None


@pytest.mark.parametrize(
    ("given", "main", "served"),
    [
        (spec("llamacpp"), Task.TEXT_GENERATION, (Task.TEXT_GENERATION,)),
        (spec("llamacpp", "--embeddings"), Task.FEATURE_EXTRACTION, ALL),
        (spec("llamacpp", "--embeddings", task="text-generation"), Task.TEXT_GENERATION, ALL),
        (spec("llamacpp", "--embeddings", task="sentence-similarity"), Task.FEATURE_EXTRACTION, ALL),
        (spec("vllm", task="custom"), Task.TEXT_GENERATION, ALL),
        (spec("vllm", "--task", "embed"), Task.FEATURE_EXTRACTION, ALL[1:]),
        (spec("vllm", "--runner=pooling"), Task.FEATURE_EXTRACTION, ALL[1:]),
        (spec("vllm", "--convert", "embed"), Task.FEATURE_EXTRACTION, ALL[1:]),
        (spec("vllm", task="feature-extraction"), Task.FEATURE_EXTRACTION, ALL),
        (spec("vllm", "--task"), Task.TEXT_GENERATION, ALL),
        (spec("sglang", "--is-embedding"), Task.FEATURE_EXTRACTION, ALL[1:]),
        (spec("sglang", task="text-classification"), None, ALL),
    ],
)
def test_the_task_follows_from_the_endpoint(given: Spec, main: Task | None, served: tuple[Task, ...]) -> None:
    tasks = root_tasks(given)
    assert tasks is not None
    assert (tasks.main, tasks.served) == (main, served)


def test_the_task_follows_from_the_inputs() -> None:
    both = RootTasks(engine="vllm", main=Task.TEXT_GENERATION, served=ALL)
    paths = [
        translation({"inputs": inputs}, both).request.path
        for inputs in ("Hi", ["Hi"], {"source_sentence": "a", "sentences": ["b"]})
    ]
    assert paths == [b"/v1/completions", b"/v1/embeddings", b"/v1/embeddings"]


def test_a_task_that_the_engine_does_not_serve_is_refused_with_what_it_serves() -> None:
    text = refusal({"inputs": {"source_sentence": "a", "sentences": ["b"]}})
    assert "'lamp' runs llamacpp" in text
    assert "does not serve sentence-similarity here; it serves text-generation" in text
    assert "--embeddings" in text
    other = RootTasks(engine="vllm", main=None, served=ALL, task="text-classification")
    assert "does not serve text-classification" in refusal({"inputs": "Hi"}, other)
    assert "does not serve this form of inputs" in refusal({"inputs": {"question": "a", "context": "b"}})


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"", "body is empty"),
        (b"\x00\x01", "not JSON"),
        (b"[" * 100_000, "nested too deeply"),
        (b"[1]", "must be an object; got a list of 1"),
        (b"{}", "inputs is missing"),
        (b'{"messages": []}', "/endpoints/lamp/v1/chat/completions"),
        (b'{"inputs": 7}', "inputs must be a text; got 7"),
        (b'{"inputs": null}', "inputs must be a text; got null"),
        (b'{"inputs": "a", "parameters": []}', "parameters must be an object; got a list of 0"),
        (b'{"inputs": "a", "stream": "yes"}', "stream must be true or false; got 'yes'"),
    ],
)
def test_a_body_that_is_no_request_is_refused_with_what_is_wrong(body: bytes, text: str) -> None:
    assert text in refusal(body)


# text-generation, the request


def test_a_plain_prompt_is_continued_with_the_likeliest_tokens() -> None:
    assert generates("llamacpp") == {
        "model": "lamp",
        "prompt": "Hi",
        "max_tokens": 100,
        "temperature": 0.0,
        "stream": False,
    }


def test_parameters_take_the_engines_names() -> None:
    given = {
        "max_new_tokens": 5,
        "temperature": 0.5,
        "top_p": 0.9,
        "top_k": 3,
        "typical_p": 0.8,
        "seed": 7,
        "repetition_penalty": 1.1,
        "frequency_penalty": 0.2,
        "stop": ["a"],
        "stop_sequences": ["b"],
        "truncate": 100,
        "watermark": True,
        "nobody_knows": {},
        "best_of": 1,
    }
    common = {
        "model": "lamp",
        "prompt": "Hi",
        "stream": False,
        "max_tokens": 5,
        "temperature": 0.5,
        "top_p": 0.9,
        "top_k": 3,
        "seed": 7,
        "frequency_penalty": 0.2,
        "stop": ["a", "b"],
    }
    assert generates("llamacpp", **given) == common | {"repeat_penalty": 1.1, "typical_p": 0.8}
    assert generates("vllm", **given) == common | {"repetition_penalty": 1.1, "truncate_prompt_tokens": 100}
    assert generates("sglang", **given) == common | {"repetition_penalty": 1.1}


@pytest.mark.parametrize(
    ("parameters", "temperature"),
    [
        ({}, 0.0),
        ({"do_sample": False, "temperature": 0.7}, 0.0),
        ({"do_sample": True}, 1.0),
        ({"top_p": 0.5}, 1.0),
        ({"temperature": 0.7}, 0.7),
        ({"temperature": 0}, 0.0),
    ],
)
def test_chance_comes_in_when_something_asks_for_it(parameters: dict[str, Any], temperature: float) -> None:
    assert generates("vllm", **parameters)["temperature"] == temperature


def test_no_top_k_is_said_in_the_engines_way() -> None:
    assert generates("llamacpp", top_k=0)["top_k"] == 0
    assert generates("sglang", top_k=0)["top_k"] == -1


def test_details_make_the_engine_tell_tokens() -> None:
    assert generates("llamacpp", details=True)["logprobs"] == 1
    told = generates("vllm", details=True)
    assert (told["logprobs"], told["return_token_ids"]) == (0, True)
    streamed = json.loads(translation({"inputs": "Hi", "stream": True}).request.body)
    assert (streamed["stream"], streamed["logprobs"]) == (True, 1)
    assert streamed["stream_options"] == {"include_usage": True}


SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}}


def test_a_grammar_is_said_in_the_engines_way() -> None:
    assert generates("llamacpp", grammar={"type": "json", "value": SCHEMA})["json_schema"] == SCHEMA
    named = {"type": "json_schema", "value": {"name": "x", "schema": SCHEMA}}
    assert generates("llamacpp", grammar=named)["json_schema"] == SCHEMA
    wrapped = generates("vllm", grammar={"type": "json", "value": SCHEMA})["response_format"]
    assert wrapped == {"type": "json_schema", "json_schema": {"name": "grammar", "schema": SCHEMA}}
    assert generates("vllm", grammar={"type": "regex", "value": "a+"})["structured_outputs"] == {"regex": "a+"}
    assert generates("sglang", grammar={"type": "regex", "value": "a+"})["regex"] == "a+"


@pytest.mark.parametrize(
    ("parameters", "text"),
    [
        ({"max_new_tokens": 0}, "parameters.max_new_tokens must be a whole number of at least 1; got 0"),
        ({"max_new_tokens": True}, "parameters.max_new_tokens must be a whole number of at least 1; got true"),
        ({"max_new_tokens": "9"}, "must be a whole number of at least 1; got '9'"),
        ({"temperature": -1}, "parameters.temperature must be a number at least 0; got -1"),
        ({"temperature": 10**400}, "parameters.temperature must be a number at least 0 and at most 1000000; got 1000"),
        ({"repetition_penalty": 1e300}, "must be a number greater than 0 and at most 1000000; got 1e+300"),
        ({"top_p": 1.5}, "parameters.top_p must be a number greater than 0 and at most 1; got 1.5"),
        ({"top_k": 1.5}, "parameters.top_k must be a whole number of at least 0; got 1.5"),
        ({"seed": -1}, "parameters.seed must be"),
        ({"repetition_penalty": 0}, "parameters.repetition_penalty must be a number greater than 0; got 0"),
        ({"frequency_penalty": 3}, "parameters.frequency_penalty must be a number at least -2 and at most 2; got 3"),
        ({"stop": [""]}, "parameters.stop must be a list of texts that are not empty; got a list of 1"),
        ({"stop": [1]}, "parameters.stop must be a list of texts"),
        ({"details": 1}, "parameters.details must be true or false; got 1"),
        ({"do_sample": "x" * 99}, "…"),
        ({"best_of": 2}, "parameters.best_of must be 1"),
        ({"adapter_id": "a"}, "parameters.adapter_id is not taken here"),
        ({"grammar": {"type": "ebnf"}}, "parameters.grammar.type must be 'json', 'json_schema' or 'regex'; got 'ebnf'"),
        ({"grammar": {"type": "json", "value": "{}"}}, "parameters.grammar.value must be a JSON schema as an object"),
        ({"grammar": {"type": "regex", "value": "a"}}, "llama.cpp takes no regular expressions"),
        ({"grammar": {"type": "regex"}}, "parameters.grammar.value must be a regular expression as a text; got null"),
    ],
)
def test_a_wrong_parameter_is_named_with_its_value_and_what_is_right(parameters: dict[str, Any], text: str) -> None:
    assert text in refusal({"inputs": "Hi", "parameters": parameters})


# text-generation, the answer


def completion(text: str, finish: str | None = "length", logprobs: Any = None, **more: Any) -> bytes:
    choice = {"text": text, "index": 0, "finish_reason": finish, "logprobs": logprobs} | more
    return json.dumps({"choices": [choice], "usage": {"prompt_tokens": 2, "completion_tokens": 3}}).encode()


def content(*pieces: tuple[int, str], uncut: str | None = None) -> dict[str, Any]:
    """Tokens as llama.cpp tells them; `uncut` is the whole text of those whose text was cut away."""
    return {
        "content": [
            {
                "id": number,
                "token": text,
                "logprob": -0.5,
                "top_logprobs": [{"id": number, "token": text or uncut or ""}],
            }
            for number, text in pieces
        ]
    }


def answered(body: bytes, engine: str = "llamacpp", full: bool = False, **parameters: Any) -> dict[str, Any]:
    tasks = RootTasks(engine=engine, main=Task.TEXT_GENERATION, served=ALL)
    given = {"inputs": "Hi", "parameters": parameters | ({"return_full_text": True} if full else {})}
    (one,) = json.loads(translation(given, tasks).answer(body))
    assert isinstance(one, dict)
    return one


def test_the_text_comes_back_in_a_list_of_one() -> None:
    assert answered(completion(" there")) == {"generated_text": " there"}
    assert answered(completion(" there"), full=True) == {"generated_text": "Hi there"}


def test_details_tell_reason_count_and_tokens() -> None:
    told = answered(completion(" there", logprobs=content((5, " the"), (6, "re"))), details=True, seed=7)["details"]
    assert (told["finish_reason"], told["generated_tokens"], told["seed"]) == ("length", 3, 7)
    assert told["tokens"] == [
        {"id": 5, "text": " the", "logprob": -0.5, "special": False},
        {"id": 6, "text": "re", "logprob": -0.5, "special": False},
    ]
    columns = {"tokens": [" the", "re"], "token_logprobs": [None, -1.5]}
    told = answered(completion(" there", logprobs=columns, token_ids=[8, 9]), "vllm", details=True)["details"]
    assert [(one["id"], one["text"], one["logprob"]) for one in told["tokens"]] == [(8, " the", None), (9, "re", -1.5)]
    told = answered(completion(" there", logprobs=columns), "sglang", details=True)["details"]
    assert [one["id"] for one in told["tokens"]] == [-1, -1]


@pytest.mark.parametrize(
    ("engine", "stop", "more", "reason"),
    [
        ("llamacpp", [], {"logprobs": content((5, "x"))}, "eos_token"),
        ("llamacpp", ["7"], {"logprobs": content((5, "x"), (2, ""))}, "eos_token"),
        ("llamacpp", ["7"], {"logprobs": content((5, "x"))}, "stop_sequence"),
        ("llamacpp", ["7"], {"logprobs": content((5, "x"), (9, ""), uncut="7")}, "stop_sequence"),
        ("vllm", ["7"], {"stop_reason": "7"}, "stop_sequence"),
        ("vllm", ["7"], {"stop_reason": None}, "eos_token"),
        ("sglang", ["7"], {"matched_stop": "7"}, "stop_sequence"),
        ("sglang", ["7"], {"matched_stop": 2}, "eos_token"),
    ],
)
def test_the_models_own_end_is_told_from_a_stop_sequence(
    engine: str, stop: list[str], more: dict[str, Any], reason: str
) -> None:
    told = answered(completion("x", "stop", **more), engine, details=True, stop=stop)
    assert told["details"]["finish_reason"] == reason


@pytest.mark.parametrize("body", [b"no JSON", b"[]", b'{"choices": []}', b'{"choices": [{"text": 7}]}', b"[" * 99_999])
def test_an_answer_that_is_no_completion_is_the_engines_fault(body: bytes) -> None:
    with pytest.raises(UpstreamError):
        translation({"inputs": "Hi"}).answer(body)


# text-generation, streams


def chunk(text: str, finish: str | None = None, logprobs: Any = None, usage: Any = None, **more: Any) -> bytes:
    choice = {"text": text, "index": 0, "finish_reason": finish, "logprobs": logprobs} | more
    return b"data: " + json.dumps({"choices": [choice], "usage": usage}).encode() + b"\n\n"


DONE = b"data: [DONE]\n\n"
USAGE = {"prompt_tokens": 2, "completion_tokens": 3}
LLAMACPP = (
    chunk(" the", logprobs=content((5, " the")))
    + chunk("ré", logprobs=content((6, "ré")))
    + chunk("", logprobs=content((2, "")))
    + chunk("", "stop", usage=USAGE)
    + DONE
)
USAGE_APART = b"data: " + json.dumps({"choices": [], "usage": USAGE}).encode() + b"\n\n"
VLLM = (
    chunk(" the", logprobs={"tokens": [" the"], "token_logprobs": [-0.5]}, token_ids=[5])
    + chunk("ré", "length", logprobs={"tokens": ["ré"], "token_logprobs": [-0.5]}, token_ids=[6])
    + USAGE_APART
    + DONE
)


def streamed(engine: str = "llamacpp", **parameters: Any) -> Any:
    tasks = RootTasks(engine=engine, main=Task.TEXT_GENERATION, served=ALL)
    translator = translation({"inputs": "Hi", "parameters": parameters, "stream": True}, tasks).stream()
    assert translator is not None
    return translator


def told(raw: bytes) -> list[dict[str, Any]]:
    """The events of a translated stream, each on a line as clients expect it."""
    events = raw.split(b"\n\n")
    assert events.pop() == b""
    assert all(event.startswith(b"data:{") and b"\n" not in event for event in events)
    return [json.loads(event[5:]) for event in events]


def test_a_stream_is_told_token_by_token_with_the_whole_at_its_end() -> None:
    translator = streamed(details=True, return_full_text=True)
    first, second, last = told(translator.feed(LLAMACPP) + translator.end())
    assert first == {
        "index": 1,
        "token": {"id": 5, "text": " the", "logprob": -0.5, "special": False},
        "generated_text": None,
        "details": None,
    }
    assert (second["index"], second["token"]["text"]) == (2, "ré")
    assert last == {
        "index": 3,
        "token": {"id": 2, "text": "", "logprob": -0.5, "special": True},
        "generated_text": "Hi theré",
        "details": {"finish_reason": "eos_token", "generated_tokens": 3, "input_length": 2, "seed": None},
    }


def test_a_stream_whose_end_and_usage_come_apart_is_told_the_same_way() -> None:
    translator = streamed("vllm", details=True)
    first, second, last = told(translator.feed(VLLM) + translator.end())
    assert [one["token"]["id"] for one in (first, second, last)] == [5, 6, -1]
    assert last["generated_text"] == " theré"
    assert last["details"] == {"finish_reason": "length", "generated_tokens": 3, "input_length": 2, "seed": None}
    translator = streamed("vllm")
    assert told(translator.feed(VLLM) + translator.end())[-1]["details"] is None


@given(st.lists(st.integers(0, len(LLAMACPP)), max_size=12))
def test_it_does_not_matter_where_a_stream_was_cut(cuts: list[int]) -> None:
    whole = streamed(details=True)
    expected = whole.feed(LLAMACPP) + whole.end()
    translator, places = streamed(details=True), [0, *sorted(cuts), len(LLAMACPP)]
    pieces = [LLAMACPP[a:b] for a, b in itertools.pairwise(places)]
    assert b"".join(translator.feed(piece) for piece in pieces) + translator.end() == expected


def test_several_tokens_in_a_chunk_are_told_apart() -> None:
    translator = streamed()
    both = {"tokens": [" a", "b"], "token_logprobs": [-1, -2]}
    torn = {"tokens": [" \ufffd", "\ufffd"], "token_logprobs": [-1, -2]}
    events = told(translator.feed(chunk(" ab", logprobs=both) + chunk(" é", logprobs=torn)))
    assert [event["token"]["text"] for event in events] == [" a", "b", " é"]
    assert [event["token"]["logprob"] for event in events] == [-1, -2, None]


def test_a_failure_in_a_stream_is_told_and_ends_it() -> None:
    translator = streamed()
    failing = b'data: {"error": {"message": "out of memory", "code": 500}}\n\n'
    events = told(translator.feed(chunk("a") + failing + chunk("b") + DONE) + translator.end())
    assert [event.get("error") for event in events] == [None, "out of memory"]
    assert events[-1]["error_type"] == "generation"


def test_a_stream_that_ends_without_its_end_is_broken() -> None:
    translator = streamed()
    translator.feed(chunk("a"))
    with pytest.raises(UpstreamError, match="without a reason"):
        translator.end()
    with pytest.raises(UpstreamError, match="not a completion"):
        streamed().feed(b"data: {nonsense\n\n")


def test_events_are_found_however_they_are_written() -> None:
    events = Events()
    assert events.feed(b": hello\r\nevent: x\r\ndata: a\r\ndata:b\r") == []
    assert events.feed(b"\n\r\ndata: c\n\n\n\ndata: d") == [b"a\nb", b"c"]
    with pytest.raises(UpstreamError, match="without end"):
        events.feed(b"x" * (5 * 1024 * 1024))


# feature-extraction


def vectors(*values: list[float]) -> bytes:
    data = [{"index": n, "embedding": value, "object": "embedding"} for n, value in enumerate(values)]
    return json.dumps({"object": "list", "data": data[::-1]}).encode()


def features(body: bytes, inputs: Any = "a", **options: Any) -> Any:
    return json.loads(translation({"inputs": inputs} | options, EMBEDS).answer(body))


def test_texts_become_vectors_in_their_order() -> None:
    assert embeds(inputs="a") == {"model": "lamp", "input": ["a"]}
    assert embeds(inputs=["a", "b"])["input"] == ["a", "b"]
    assert features(vectors([3.0, 4.0])) == [[3.0, 4.0]]
    assert features(vectors([3.0, 4.0], [1.0, 0.0]), ["a", "b"]) == [[3.0, 4.0], [1.0, 0.0]]


def test_vectors_keep_every_digit() -> None:
    body = b'{"data": [{"index": 0, "embedding": [0.10000000000000000555, -1e-3]}]}'
    assert translation({"inputs": "a"}, EMBEDS).answer(body) == b"[[0.10000000000000000555, -1e-3]]"


def test_vectors_are_shaped_as_asked() -> None:
    assert features(vectors([3.0, 4.0]), normalize=True) == [[0.6, 0.8]]
    assert features(vectors([3.0, 4.0, 5.0]), dimensions=2) == [[0.6, 0.8]]
    assert features(vectors([3.0, 4.0, 5.0]), dimensions=2, normalize=False) == [[3.0, 4.0]]
    assert features(vectors([0.0, 0.0]), normalize=True) == [[0.0, 0.0]]
    assert features(vectors([3.0, 4.0]), parameters={"normalize": True}) == [[0.6, 0.8]]


def test_what_the_engine_can_do_is_left_to_it() -> None:
    assert embeds(inputs="a", normalize=False)["embd_normalize"] == -1
    assert embeds("vllm", inputs="a", normalize=False, truncate=True) == {
        "model": "lamp",
        "input": ["a"],
        "normalize": False,
        "truncate_prompt_tokens": -1,
    }
    assert embeds("sglang", inputs="a", normalize=False, truncate=True) == {"model": "lamp", "input": ["a"]}


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"inputs": ""}, "inputs must be a list of texts that are not empty; got ''"),
        ({"inputs": []}, "inputs must be a text that is not empty, or a list of such texts; got a list of 0"),
        ({"inputs": ["a", 7]}, "inputs must be a list of texts"),
        ({"inputs": "a", "normalize": "no"}, "normalize must be true or false; got 'no'"),
        ({"inputs": "a", "parameters": {"dimensions": 0}}, "parameters.dimensions must be a whole number"),
        ({"inputs": "a", "prompt_name": "query"}, "prompt_name is not known here"),
        ({"inputs": "a", "encoding_format": "base64"}, "encoding_format must be 'float', or be left out; got 'base64'"),
        ({"inputs": "a", "truncation_direction": "up"}, "truncation_direction must be 'left' or 'right'; got 'up'"),
    ],
)
def test_wrong_options_of_features_are_named(fields: dict[str, Any], text: str) -> None:
    assert text in refusal(fields, EMBEDS)


def test_more_dimensions_than_there_are_is_the_clients_mistake() -> None:
    with pytest.raises(TaskInvalid, match="dimensions must be at most 2 here; got 3"):
        features(vectors([3.0, 4.0]), dimensions=3)


@pytest.mark.parametrize("body", [b"{}", b"x", vectors(), vectors([1.0], [2.0]), b"[" * 99_999])
def test_an_answer_without_the_vectors_is_the_engines_fault(body: bytes) -> None:
    with pytest.raises(UpstreamError):
        features(body)
    with pytest.raises(UpstreamError, match="pooling"):
        features(b'{"data": [{"embedding": [[1.0]]}]}', normalize=True)


# sentence-similarity


def test_likeness_is_the_cosine_to_the_source() -> None:
    asked = {"inputs": {"source_sentence": "a", "sentences": ["b", "c", "d"]}, "parameters": {}}
    made = translation(asked, EMBEDS)
    assert json.loads(made.request.body)["input"] == ["a", "b", "c", "d"]
    likeness = json.loads(made.answer(vectors([2.0, 0.0], [3.0, 0.0], [0.0, 1.0], [-1.0, 1.0])))
    assert likeness == pytest.approx([1.0, 0.0, -1 / math.sqrt(2)])


@pytest.mark.parametrize(
    ("inputs", "text"),
    [
        ({"sentences": ["a"]}, "inputs.source_sentence must be a text that is not empty; got null"),
        ({"source_sentence": "", "sentences": ["a"]}, "inputs.source_sentence must be a text"),
        ({"source_sentence": "a"}, "inputs.sentences must be a list of at least one text; got null"),
        ({"source_sentence": "a", "sentences": []}, "inputs.sentences must be a list of at least one text"),
        ({"source_sentence": "a", "sentences": [{}]}, "inputs.sentences must be a list of texts"),
    ],
)
def test_wrong_sentences_are_named(inputs: object, text: str) -> None:
    assert text in refusal({"inputs": inputs}, EMBEDS)


# Failures


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (400, b'{"error": {"message": "too long", "code": 400}}', {"error": "too long", "error_type": "validation"}),
        (501, b'{"error": "no embeddings"}', {"error": "no embeddings", "error_type": "validation"}),
        (422, b'{"detail": [{"msg": "x"}]}', {"error": '[{"msg":"x"}]', "error_type": "validation"}),
        (429, b'{"message": "busy"}', {"error": "busy", "error_type": "overloaded"}),
        (503, b"loading", {"error": "loading", "error_type": "overloaded"}),
        (502, b"<html>x</html>", {"error": "The engine answered 502.", "error_type": "generation"}),
        (500, b"[1]", {"error": "The engine answered 500.", "error_type": "generation"}),
    ],
)
def test_an_engines_failure_gets_the_form_of_the_task(status: int, body: bytes, expected: dict[str, str]) -> None:
    assert json.loads(failure(status, body)) == expected


# On the wire


@contextlib.asynccontextmanager
async def tasked(
    script: Script, tasks: RootTasks | None = GENERATES, settings: GatewaySettings = SOON
) -> AsyncIterator[Stage]:
    async with endpoint(script) as there:
        demand = StageDemand(there.url)
        demand.tasks = tasks
        async with stage(demand, settings) as here:
            yield here


def keeping(requests: list[tuple[str, dict[str, str], bytes]], data: bytes) -> Script:
    async def script(visit: Visit) -> None:
        while True:
            requests.append(await visit.request())
            await visit.say(data)

    return script


async def test_a_request_at_the_root_is_translated_there_and_back() -> None:
    got: list[tuple[str, dict[str, str], bytes]] = []
    said = answer(completion(" there"), headers="Content-Type: application/json\r\nServer: engine\r\n")
    async with tasked(keeping(got, said)) as here:
        for path in ("/endpoints/lamp", "/endpoints/bulb/?a=b"):
            reply = await here.ask(path, {"inputs": "Hi"}, content_type="text/plain", accept_encoding="gzip")
            assert (reply.status, reply.json) == (200, [{"generated_text": " there"}])
            assert reply.headers["content-type"] == "application/json"
            assert reply.headers["server"] == "engine"
            assert reply.headers["x-lamplighter-target"] == "lamp"
        await until(lambda: len(here.usage.all) == 2)
    record = here.usage.all[0]
    assert (record.status, record.outcome, record.bytes_out) == (200, Outcome.SERVED, len(reply.body))
    assert (record.bytes_in, record.route) == (len(b'{"inputs": "Hi"}'), "/endpoints/*")
    line, headers, body = got[0]
    assert line == "POST /v1/completions HTTP/1.1"
    assert headers["content-type"] == "application/json"
    assert "accept-encoding" not in headers
    assert json.loads(body)["prompt"] == "Hi"
    assert here.idle


async def test_a_body_without_a_content_type_is_read() -> None:
    async with tasked(always(answer(completion("!")))) as here, here.client() as client:
        body = b'{"inputs":"Hi"}'
        client.send(b"POST /endpoints/lamp HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body))
        assert (await client.reply()).json == [{"generated_text": "!"}]


async def test_an_engine_that_serves_its_root_gets_the_request_as_it_is() -> None:
    got: list[tuple[str, dict[str, str], bytes]] = []
    async with tasked(keeping(got, answer(b"[[1]]")), None) as here:
        reply = await here.ask("/endpoints/lamp", b'{"inputs":"Hi"}', content_type="text/plain")
    assert reply.body == b"[[1]]"
    assert (got[0][0], got[0][1]["content-type"], got[0][2]) == (
        "POST / HTTP/1.1",
        "text/plain",
        b'{"inputs":"Hi"}',
    )


async def test_other_paths_and_methods_pass_as_they_are() -> None:
    got: list[tuple[str, dict[str, str], bytes]] = []
    async with tasked(keeping(got, answer(b"{}"))) as here:
        await here.ask("/endpoints/lamp/v1/x", {"inputs": "Hi"})
        await here.ask("/endpoints/lamp", None, method="GET")
    assert [line for line, _, _ in got] == ["POST /v1/x HTTP/1.1", "GET / HTTP/1.1"]
    assert got[0][2] == b'{"inputs": "Hi"}'


async def test_a_client_that_knows_no_model_gets_the_endpoints() -> None:
    got: list[tuple[str, dict[str, str], bytes]] = []
    body = b'{"model":"dummy","messages":[]}'
    async with tasked(keeping(got, answer(b"{}"))) as here:
        await here.ask("/endpoints/lamp/v1/chat/completions", body)
        here.demand.tasks = None
        await here.ask("/endpoints/lamp/v1/chat/completions", body)
    assert [body for _, _, body in got] == [b'{"model":"lamp","messages":[]}', body]


async def test_a_wrong_request_wakes_nothing_and_says_what_is_right() -> None:
    demand = StageDemand()
    demand.tasks = GENERATES
    async with stage(demand) as here:
        reply = await here.ask("/endpoints/lamp", {"inputs": "Hi", "parameters": {"top_p": 7}})
    assert reply.status == 422
    assert reply.json["error_type"] == "validation"
    assert "parameters.top_p" in reply.json["error"]
    assert not demand.touched


async def test_a_sleeping_endpoint_is_woken_and_the_request_translated() -> None:
    async with endpoint(always(answer(completion(" there")))) as there:
        demand = StageDemand()
        demand.tasks = GENERATES
        async with stage(demand) as here:
            asked = asyncio.ensure_future(here.ask("/endpoints/lamp", {"inputs": "Hi"}, x_scale_up_timeout="9"))
            await demand.waiting.wait()
            demand.wake(there.url)
            reply = await asked
    assert reply.json == [{"generated_text": " there"}]
    assert reply.headers["x-lamplighter-waited-ms"] == "1500"


async def test_no_room_to_wait_is_told_as_overload() -> None:
    demand = StageDemand()
    demand.tasks = GENERATES
    async with stage(demand) as here:
        asked = asyncio.ensure_future(here.ask("/endpoints/lamp", {"inputs": "Hi"}))
        await demand.waiting.wait()
        demand.refuse(QueueFull("full"))
        reply = await asked
    assert (reply.status, reply.json["error_type"]) == (503, "overloaded")


async def test_an_engines_refusal_keeps_its_status_and_says_why() -> None:
    said = answer(b'{"error":{"message":"too long"}}', status="400 Bad Request", headers="Retry-After: 3\r\n")
    async with tasked(always(said)) as here:
        reply = await here.ask("/endpoints/lamp", {"inputs": "Hi", "stream": True})
        assert (reply.status, reply.json) == (400, {"error": "too long", "error_type": "validation"})
        assert reply.headers["retry-after"] == "3"
        assert (await here.usage.one()).status == 400


async def test_an_answer_that_makes_no_sense_is_a_bad_gateway() -> None:
    async with tasked(always(answer(b"<html>"))) as here:
        reply = await here.ask("/endpoints/lamp", {"inputs": "Hi"})
        assert (reply.status, reply.json["code"]) == (502, "BAD_GATEWAY")
        assert here.demand.claims[0].failures == 0


async def test_an_answer_without_bound_is_not_held() -> None:
    settings = GatewaySettings(sweep_every=0.01, max_body_bytes=10_000)
    async with tasked(always(answer(vectors([0.5] * 5_000))), EMBEDS, settings) as here:
        reply = await here.ask("/endpoints/lamp", {"inputs": "Hi"})
        assert (reply.status, reply.json["code"]) == (502, "BAD_GATEWAY")
        assert "10000 bytes" in reply.json["error"]
    assert here.idle


async def test_a_long_answer_is_translated_beside_the_loop() -> None:
    long = [0.123456789] * 60_000
    async with tasked(always(answer(vectors(long))), EMBEDS) as here:
        reply = await here.ask("/endpoints/lamp", {"inputs": "Hi", "normalize": True})
    assert math.hypot(*reply.json[0]) == pytest.approx(1.0)


STREAM_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


def framed(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


async def test_a_stream_is_passed_on_as_it_comes() -> None:
    go_on = asyncio.Event()

    async def script(visit: Visit) -> None:
        await visit.request()
        await visit.say(STREAM_HEAD + framed(chunk("a")))
        await go_on.wait()
        await visit.say(framed(chunk("b", "length")) + framed(DONE) + framed(b""))

    async with tasked(script) as here, here.client() as client:
        client.send(request("/endpoints/lamp", {"inputs": "Hi", "stream": True}))
        head = await client.head()
        assert head.headers["content-type"] == "text/event-stream"
        first = await client.chunk()
        assert told(first)[0]["token"]["text"] == "a"
        go_on.set()
        rest = b""
        while piece := await client.chunk():
            rest += piece
        assert told(rest)[-1]["generated_text"] == "ab"
        record = await here.usage.one()
    assert (record.outcome, record.bytes_out) == (Outcome.SERVED, len(first + rest))


async def test_a_stream_that_breaks_off_is_broken_off() -> None:
    async def script(visit: Visit) -> None:
        await visit.request()
        await visit.say(STREAM_HEAD + framed(chunk("a")))
        await asyncio.sleep(0)
        visit.reset()

    async with tasked(script) as here:
        reply = await here.ask("/endpoints/lamp", {"inputs": "Hi", "stream": True})
        assert reply.cut
        assert (await here.usage.one()).outcome is Outcome.CUT


async def test_a_client_that_leaves_a_stream_ends_it_at_the_engine() -> None:
    left = asyncio.Event()

    async def script(visit: Visit) -> None:
        await visit.request()
        await visit.say(STREAM_HEAD + framed(chunk("a")))
        await visit.gone()
        left.set()

    async with tasked(script) as here:
        async with here.client() as client:
            client.send(request("/endpoints/lamp", {"inputs": "Hi", "stream": True}))
            await client.head()
        async with asyncio.timeout(5):
            await left.wait()
        assert (await here.usage.one()).outcome is Outcome.CLIENT_GONE


async def test_a_client_that_reads_slowly_slows_the_engine_down() -> None:
    sent = 0
    long = framed(chunk("x" * 20_000))

    async def script(visit: Visit) -> None:
        nonlocal sent
        await visit.request()
        await visit.say(STREAM_HEAD)
        while sent < 50_000_000:
            await visit.say(long)
            sent += len(long)

    async with tasked(script, GENERATES, GatewaySettings(sweep_every=0.01, between_bytes_timeout=0.5)) as here:
        async with here.client() as client:
            client.send(request("/endpoints/lamp", {"inputs": "Hi", "stream": True}))
            await client.head()
            assert (await here.usage.one()).outcome is Outcome.CLIENT_GONE  # it read nothing for too long
        assert sent < 30_000_000
