"""The official client calls endpoints of a real Lamplighter by their URLs, with real llama.cpp behind them."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import httpx2
import numpy as np
import pytest
from huggingface_hub import AsyncInferenceClient, InferenceClient, TextGenerationInputGrammarType, constants
from huggingface_hub.errors import (
    BadRequestError,
    HfHubHTTPError,
    InferenceTimeoutError,
    OverloadedError,
    ValidationError,
)

from tests.acceptance.harness import CHAT, LIKELIEST, LamplighterProcess, eventually, lamplighter

pytestmark = pytest.mark.acceptance

KEY = "a-key-of-the-tests"
ENDPOINTS = f"""
defaults: {{idle_timeout: 5m}}
endpoints:
{CHAT}
  embed:
    engine: llamacpp
    model: SmolLM2-135M-Instruct
    args: [--embeddings]
  never:
    command: [{sys.executable}, -c, "import time; time.sleep(600)"]
    health_route: /health
    max_waiting: 1
"""
PROMPT = "The lamp is"
HELLO = [{"role": "user", "content": "Say hello."}]


@dataclass
class Place:
    """A server with a key, and how to talk to it."""

    server: LamplighterProcess

    def url(self, name: str) -> str:
        return f"{self.server.url}/endpoints/{name}"

    def client(self, name: str, **options: object) -> InferenceClient:
        return InferenceClient(model=self.url(name), **{"token": KEY, "timeout": 60} | options)  # type: ignore[arg-type]

    def operate(self, path: str) -> None:
        url = f"{self.server.url}{path}"
        httpx2.post(url, headers={"authorization": f"Bearer {KEY}"}, timeout=60).raise_for_status()

    def status(self, name: str) -> dict[str, object]:
        url = f"{self.server.url}/api/endpoints/status/{name}"
        answer = httpx2.get(url, headers={"authorization": f"Bearer {KEY}"}, timeout=10).raise_for_status()
        endpoint: dict[str, object] = answer.json()["endpoint"]
        return endpoint


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("inference-client")
    with lamplighter(folder, ENDPOINTS, environ={"LAMPLIGHTER_KEYS": KEY}) as server:
        yield Place(server)


@pytest.fixture
def chat(place: Place) -> Iterator[InferenceClient]:
    with place.client("chat") as client:
        yield client


@pytest.fixture
def embed(place: Place) -> Iterator[InferenceClient]:
    with place.client("embed") as client:
        yield client


@pytest.fixture
async def waking(place: Place) -> AsyncIterator[AsyncInferenceClient]:
    async with AsyncInferenceClient(model=place.url("chat"), token=KEY, timeout=60) as client:
        yield client


def test_chat_goes_to_the_url_without_a_models_name(chat: InferenceClient) -> None:
    answer = chat.chat_completion(HELLO, max_tokens=8, extra_body=LIKELIEST)
    assert answer.choices[0].message.content
    assert answer.model == "chat"
    assert answer.usage.completion_tokens == 8


def test_chat_streams(chat: InferenceClient) -> None:
    whole = chat.chat_completion(HELLO, max_tokens=8, extra_body=LIKELIEST).choices[0].message.content
    pieces = list(chat.chat_completion(HELLO, max_tokens=8, stream=True, extra_body=LIKELIEST))
    assert "".join(choice.delta.content or "" for piece in pieces for choice in piece.choices) == whole
    assert len(pieces) > 3
    assert [choice.finish_reason for choice in pieces[-1].choices] == ["length"]


def test_text_is_continued(chat: InferenceClient) -> None:
    text = chat.text_generation(PROMPT, max_new_tokens=6)
    assert text
    assert not text.startswith(PROMPT)
    assert chat.text_generation(PROMPT, max_new_tokens=6) == text  # the likeliest tokens, each time
    assert chat.text_generation(PROMPT, max_new_tokens=6, return_full_text=True) == PROMPT + text


def test_text_comes_with_details(chat: InferenceClient) -> None:
    output = chat.text_generation(PROMPT, max_new_tokens=6, details=True, seed=3, temperature=0.5, top_k=20)
    assert output.details is not None
    assert output.details.finish_reason == "length"
    assert output.details.generated_tokens == 6
    assert output.details.seed == 3
    assert "".join(token.text for token in output.details.tokens) == output.generated_text
    assert all(token.id >= 0 and token.logprob <= 0 for token in output.details.tokens)


def test_text_streams_token_by_token(chat: InferenceClient) -> None:
    whole = chat.text_generation(PROMPT, max_new_tokens=6)
    assert "".join(chat.text_generation(PROMPT, max_new_tokens=6, stream=True)) == whole
    *events, last = chat.text_generation(PROMPT, max_new_tokens=6, stream=True, details=True)
    assert [event.index for event in events] == [1, 2, 3, 4, 5, 6]
    assert all(event.token.id >= 0 and event.generated_text is None for event in events)
    assert last.generated_text == whole
    assert last.token.special
    assert last.details is not None
    assert (last.details.finish_reason, last.details.generated_tokens) == ("length", 6)
    assert last.details.input_length > 0


def test_a_stop_sequence_and_the_models_own_end_are_told_apart(chat: InferenceClient) -> None:
    stopped = chat.text_generation("1 2 3 4", max_new_tokens=20, stop=["7"], details=True)
    assert stopped.details is not None
    assert (stopped.generated_text, stopped.details.finish_reason) == (" 5 6 ", "stop_sequence")
    *_, streamed = chat.text_generation("1 2 3 4", max_new_tokens=20, stop=["7"], details=True, stream=True)
    assert streamed.details is not None
    assert (streamed.generated_text, streamed.details.finish_reason) == (" 5 6 ", "stop_sequence")
    said = "<|im_start|>user\nSay hi<|im_end|>\n<|im_start|>assistant\nHi<|im_end|>"
    ended = chat.text_generation(said, max_new_tokens=20, stop=["7"], details=True)
    assert ended.details is not None
    assert ended.details.finish_reason == "eos_token"


def test_a_grammar_shapes_the_text(chat: InferenceClient) -> None:
    schema = {"type": "object", "properties": {"lit": {"type": "boolean"}}, "required": ["lit"]}
    grammar = TextGenerationInputGrammarType(type="json", value=schema)
    text = chat.text_generation(PROMPT, max_new_tokens=30, grammar=grammar)
    assert text.lstrip().startswith("{")


def test_features_are_vectors_one_for_each_text(embed: InferenceClient) -> None:
    one = embed.feature_extraction("a lamp", normalize=True)
    assert one.shape == (1, 576)
    assert one.dtype == np.float32
    assert np.linalg.norm(one) == pytest.approx(1.0, abs=1e-5)
    raw = embed.feature_extraction("a lamp", normalize=False)
    assert np.linalg.norm(raw) > 2
    assert np.allclose(raw / np.linalg.norm(raw), one, atol=1e-5)
    assert embed.feature_extraction("a lamp", dimensions=64).shape == (1, 64)
    three = embed.feature_extraction(["a lamp", "a lantern", "tax law"])
    assert three.shape == (3, 576)
    assert np.allclose(three[0], one[0], atol=1e-3)


def test_sentences_are_compared(embed: InferenceClient) -> None:
    same, near, far = embed.sentence_similarity("a lamp", ["a lamp", "a lantern", "tax law"])
    assert same == pytest.approx(1.0, abs=1e-3)
    assert same > near > far


def test_a_task_that_is_not_served_is_a_validation_error_that_names_what_is(chat: InferenceClient) -> None:
    with pytest.raises(HfHubHTTPError) as caught:
        chat.sentence_similarity("a", ["b"])
    assert caught.value.response.status_code == 422
    assert "it serves text-generation" in str(caught.value)


def test_a_wrong_parameter_is_the_clients_validation_error(chat: InferenceClient) -> None:
    with pytest.raises(ValidationError, match=r"parameters\.top_p must be a number"):
        chat.text_generation(PROMPT, top_p=7.0)
    with pytest.raises(ValidationError, match="context size"):
        chat.text_generation("a " * 9000, max_new_tokens=1)


def test_a_sleeping_endpoint_is_woken_and_the_request_held(place: Place, chat: InferenceClient) -> None:
    place.operate("/api/endpoints/sleep/chat?wait=30")
    assert chat.text_generation(PROMPT, max_new_tokens=3)
    place.operate("/api/endpoints/sleep/chat?wait=30")
    assert "".join(chat.text_generation(PROMPT, max_new_tokens=3, stream=True))


async def test_the_async_client_wakes_it_as_well(place: Place, waking: AsyncInferenceClient) -> None:
    place.operate("/api/endpoints/sleep/chat?wait=30")
    assert await waking.text_generation(PROMPT, max_new_tokens=3)
    pieces = [piece async for piece in await waking.text_generation(PROMPT, max_new_tokens=3, stream=True)]
    assert len(pieces) == 4
    answer = await waking.chat_completion(HELLO, max_tokens=4, extra_body=LIKELIEST)
    assert answer.choices[0].message.content
    with pytest.raises(ValidationError):
        await waking.text_generation(PROMPT, max_new_tokens=-1)


def test_a_request_is_held_no_longer_than_it_says(place: Place) -> None:
    with place.client("never", headers={"X-Scale-Up-Timeout": "1"}) as client:
        began = time.monotonic()
        with pytest.raises(HfHubHTTPError) as caught:
            client.text_generation(PROMPT)
    assert caught.value.response.status_code == 503
    assert caught.value.response.headers["retry-after"]
    assert 1 <= time.monotonic() - began < 10


def test_a_client_that_gives_up_first_takes_its_demand_with_it(place: Place) -> None:
    with place.client("never", timeout=0.5) as client, pytest.raises(InferenceTimeoutError):
        client.text_generation(PROMPT)
    eventually(lambda: place.status("never")["waiting"] == 0, "nobody waits")


def test_too_many_that_wait_are_told_of_the_overload(place: Place) -> None:
    left = threading.Event()

    def wait() -> None:
        try:
            held = place.client("never", headers={"X-Scale-Up-Timeout": "20"}, timeout=20)
            with held as client, pytest.raises(BadRequestError, match="paused"):
                client.text_generation(PROMPT)
        finally:
            left.set()

    with ThreadPoolExecutor(1) as pool:
        held = pool.submit(wait)
        eventually(lambda: place.status("never")["waiting"] == 1, "one waits")
        with place.client("never") as client, pytest.raises(OverloadedError):
            client.text_generation(PROMPT)
        assert not left.is_set()
        place.operate("/v2/endpoint/lamplighter/never/pause")
        held.result(30)
        place.operate("/v2/endpoint/lamplighter/never/scale-to-zero")


def test_a_paused_endpoint_stays_paused_and_says_so(place: Place, chat: InferenceClient) -> None:
    place.operate("/v2/endpoint/lamplighter/chat/pause")
    try:
        for call in (chat.text_generation, lambda text: chat.chat_completion([{"role": "user", "content": text}])):
            with pytest.raises(BadRequestError, match="The endpoint is paused, ask a maintainer to restart it"):
                call(PROMPT)
    finally:
        place.operate("/v2/endpoint/lamplighter/chat/resume")
    assert chat.text_generation(PROMPT, max_new_tokens=2)


@pytest.mark.parametrize("token", ["a-wrong-key", None])
def test_without_a_known_key_nothing_is_served(place: Place, token: object, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(place.server.folder / "no-token"))
    with place.client("chat", token=token) as client:
        for call in (client.text_generation, client.feature_extraction):
            with pytest.raises(HfHubHTTPError) as caught:
                call(PROMPT)
            assert caught.value.response.status_code == 401
    assert KEY not in str(caught.value)
