"""The main job, with the real server, real llama.cpp and the official client."""

from __future__ import annotations

import asyncio
import math
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import openai
import psutil
import pytest

from tests.acceptance.harness import CHAT, LIKELIEST, LamplighterProcess, eventually, lamplighter

pytestmark = pytest.mark.acceptance

ENDPOINTS = f"""
defaults: {{idle_timeout: 5m}}
endpoints:
{CHAT}
  embed:
    engine: llamacpp
    model: SmolLM2-135M-Instruct
    args: [--embeddings]
"""

PROMPT: list[openai.types.chat.ChatCompletionMessageParam] = [{"role": "user", "content": "Say hello."}]


def client(server: LamplighterProcess) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0, timeout=90)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LamplighterProcess]:
    with lamplighter(tmp_path_factory.mktemp("first-light"), ENDPOINTS) as one:
        yield one


def test_a_chat_request_wakes_the_model_is_held_and_answered(server: LamplighterProcess) -> None:
    server.sleep("chat")
    with client(server) as openai_client:
        raw = openai_client.chat.completions.with_raw_response.create(
            model="chat", messages=PROMPT, max_tokens=8, extra_body=LIKELIEST
        )
        assert raw.parse().choices[0].message.content
        assert int(raw.headers["x-lamplighter-waited-ms"]) > 0
        assert raw.headers["x-lamplighter-target"] == "chat"
        again = openai_client.chat.completions.with_raw_response.create(model="smollm2", messages=PROMPT, max_tokens=2)
        assert again.headers["x-lamplighter-waited-ms"] == "0"


def test_a_held_request_streams_its_answer_with_usage_in_the_last_chunk(server: LamplighterProcess) -> None:
    server.sleep("chat")
    with client(server) as openai_client:
        stream = openai_client.chat.completions.create(
            model="chat",
            messages=PROMPT,
            max_tokens=12,
            extra_body=LIKELIEST,
            stream=True,
            stream_options={"include_usage": True},
        )
        chunks = list(stream)
    assert len(chunks) > 3
    assert "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == 12


def test_embeddings_over_the_same_weights(server: LamplighterProcess) -> None:
    with client(server) as openai_client:
        answer = openai_client.embeddings.create(model="embed", input=["a lamp", "a lantern", "tax law"])
    lamp, lantern, tax = (item.embedding for item in answer.data)
    assert len(lamp) == 576

    def likeness(a: list[float], b: list[float]) -> float:
        return sum(x * y for x, y in zip(a, b, strict=True)) / (math.hypot(*a) * math.hypot(*b))

    assert likeness(lamp, lantern) > likeness(lamp, tax)


def test_many_requests_during_one_cold_start_cause_one_start_and_all_are_answered(server: LamplighterProcess) -> None:
    server.sleep("chat")
    before = server.rows("select count(*) from starts where endpoint = 'chat'")[0][0]

    async def burst() -> list[str | None]:
        async with openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0, timeout=90) as many:
            calls = (many.chat.completions.create(model="chat", messages=PROMPT, max_tokens=2) for _ in range(24))
            return [answer.choices[0].message.content for answer in await asyncio.gather(*calls)]

    answers = asyncio.run(burst())
    assert len([answer for answer in answers if answer is not None]) == 24
    assert server.rows("select count(*) from starts where endpoint = 'chat'")[0][0] == before + 1


def test_models_are_listed_with_their_phase_and_listing_wakes_nothing(server: LamplighterProcess) -> None:
    server.sleep("chat")
    with client(server) as openai_client:
        phases = {model.id: model.model_extra["phase"] for model in openai_client.models.list() if model.model_extra}
    assert phases["chat"] == "sleeping"
    assert server.status("chat")["status"] == "sleeping"


def test_errors_have_openai_s_shape_and_wake_nothing(server: LamplighterProcess) -> None:
    server.sleep("chat")
    with client(server) as openai_client:
        with pytest.raises(openai.NotFoundError, match="Did you mean 'chat'") as unknown:
            openai_client.chat.completions.create(model="chatt", messages=PROMPT)
        assert unknown.value.code == "model_not_found"
        with pytest.raises(openai.BadRequestError, match="X-Scale-Up-Timeout"):
            openai_client.chat.completions.create(
                model="chat", messages=PROMPT, extra_headers={"X-Scale-Up-Timeout": "soon"}
            )
    assert server.status("chat")["status"] == "sleeping"


def test_a_request_that_may_not_be_held_gets_503_with_retry_after_and_the_wake_goes_on(
    server: LamplighterProcess,
) -> None:
    server.sleep("chat")
    with client(server) as openai_client, pytest.raises(openai.InternalServerError) as caught:
        openai_client.chat.completions.create(
            model="chat", messages=PROMPT, extra_headers={"X-Scale-Up-Timeout": "0.05"}
        )
    assert caught.value.status_code == 503
    assert int(caught.value.response.headers["retry-after"]) >= 1
    eventually(lambda: server.status("chat")["status"] == "running", "the wake goes on")


def test_an_idle_model_s_process_is_gone(tmp_path: Path) -> None:
    with lamplighter(tmp_path, f"defaults: {{idle_timeout: 1s}}\nendpoints:\n{CHAT}") as server:
        with client(server) as openai_client:
            openai_client.chat.completions.create(model="chat", messages=PROMPT, max_tokens=2)
        engines = server.engines()
        assert engines
        eventually(lambda: server.status("chat")["status"] == "sleeping", "asleep again")
        assert not any(engine.is_running() and engine.status() != psutil.STATUS_ZOMBIE for engine in engines)
        assert server.rows("select reason from transitions where after = 'scaledToZero' order by id desc limit 1") == [
            ("idle",)
        ]


def test_a_server_killed_while_a_model_runs_adopts_it_when_it_is_started_again(tmp_path: Path) -> None:
    with lamplighter(tmp_path, f"defaults: {{idle_timeout: 5m}}\nendpoints:\n{CHAT}") as server:
        server.wake("chat")
        before = {engine.pid for engine in server.engines()}
        server.kill()
        server.start()
        with client(server) as openai_client:
            raw = openai_client.chat.completions.with_raw_response.create(
                model="chat", messages=PROMPT, max_tokens=4, extra_body=LIKELIEST
            )
        assert raw.headers["x-lamplighter-waited-ms"] == "0" or int(raw.headers["x-lamplighter-waited-ms"]) < 1000
        assert {engine.pid for engine in server.engines()} == before


def test_a_server_killed_during_a_cold_start_and_in_the_middle_of_a_stream_never_doubles_an_engine(
    tmp_path: Path,
) -> None:
    with lamplighter(tmp_path, f"defaults: {{idle_timeout: 5m}}\nendpoints:\n{CHAT}") as server:
        with client(server) as openai_client, ThreadPoolExecutor() as threads:
            held = threads.submit(
                openai_client.chat.completions.create,
                model="chat",
                messages=PROMPT,
                max_tokens=400,
                extra_body=LIKELIEST,
            )
            eventually(lambda: bool(server.engines()), "an engine was started")
            server.kill()
            with pytest.raises(openai.APIConnectionError):
                held.result(30)
        server.start()
        with client(server) as openai_client:
            stream = openai_client.chat.completions.create(
                model="chat", messages=PROMPT, max_tokens=400, extra_body=LIKELIEST, stream=True
            )
            next(iter(stream))
            assert len(server.engines()) == 1
            server.kill()
        server.start()
        with client(server) as openai_client:
            assert openai_client.chat.completions.create(model="chat", messages=PROMPT, max_tokens=2).choices
        assert len(server.engines()) == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_server_that_is_told_to_stop_ends_its_engines_and_lets_the_answer_finish(
    tmp_path: Path, number: signal.Signals
) -> None:
    with lamplighter(tmp_path, f"defaults: {{idle_timeout: 5m}}\nendpoints:\n{CHAT}") as server:
        server.wake("chat")
        engines = server.engines()
        with client(server) as openai_client, ThreadPoolExecutor() as threads:
            stream = openai_client.chat.completions.create(
                model="chat", messages=PROMPT, max_tokens=40, extra_body=LIKELIEST, stream=True
            )
            first = next(iter(stream))
            rest = threads.submit(list, stream)
            assert server.stop(number) == 0
            assert first.choices
            assert rest.result(10)[-1].choices[0].finish_reason is not None
        assert not any(engine.is_running() and engine.status() != psutil.STATUS_ZOMBIE for engine in engines)


def test_a_server_that_is_told_to_stop_during_a_cold_start_leaves_nothing_behind(tmp_path: Path) -> None:
    slow = "endpoints:\n  slow: {command: [sleep, '1000'], start_timeout: 60s}\n"
    with lamplighter(tmp_path, slow) as server, client(server) as openai_client, ThreadPoolExecutor() as threads:
        held = threads.submit(openai_client.chat.completions.create, model="slow", messages=PROMPT)
        eventually(lambda: bool(server.engines()), "an engine was started")
        assert server.stop() == 0
        with pytest.raises(openai.InternalServerError, match=r"shutting down|going away"):
            held.result(10)
        assert not server.engines()


def test_a_reload_touches_only_what_changed_and_drops_no_request(tmp_path: Path) -> None:
    with lamplighter(tmp_path, f"endpoints:\n{CHAT}") as server:
        server.wake("chat")
        before = {engine.pid for engine in server.engines()}
        with client(server) as openai_client:
            stream = openai_client.chat.completions.create(
                model="chat", messages=PROMPT, max_tokens=60, extra_body=LIKELIEST, stream=True
            )
            next(iter(stream))
            server.write(f"endpoints:\n{CHAT}    idle_timeout: 77s\n  other: {{command: [sleep, '9']}}\n")
            server.process.send_signal(signal.SIGHUP)
            server.await_line(lambda line: "reloaded" in line, "reload")
            assert list(stream)[-1].choices[0].finish_reason is not None
        assert server.status("chat")["idle_timeout"] == 77
        assert server.status("other")["status"] == "sleeping"
        assert {engine.pid for engine in server.engines()} == before
        server.write("endpoints: {chat: {engine: lamacpp}}\n")
        server.process.send_signal(signal.SIGHUP)
        server.await_line(lambda line: "reload refused" in line and "lamacpp" in line, "refusal")
        assert server.status("chat")["status"] == "running"


def test_a_second_server_on_the_same_data_refuses_and_names_the_first(tmp_path: Path) -> None:
    with lamplighter(tmp_path, f"endpoints:\n{CHAT}") as server:
        second = LamplighterProcess(tmp_path, f"endpoints:\n{CHAT}")
        with pytest.raises(AssertionError, match=str(server.process.pid)):
            second.start()
        assert second.process.wait(10) == 1


def test_an_engine_that_dies_in_the_middle_of_a_stream_is_a_broken_transfer_and_the_next_request_wakes_another(
    tmp_path: Path,
) -> None:
    with lamplighter(tmp_path, f"endpoints:\n{CHAT}") as server, client(server) as openai_client:
        stream = openai_client.chat.completions.create(
            model="chat", messages=PROMPT, max_tokens=900, extra_body=LIKELIEST, stream=True
        )
        next(iter(stream))
        (engine,) = server.engines()
        engine.kill()
        with pytest.raises(openai.APIConnectionError):
            list(stream)
        eventually(lambda: server.status("chat")["status"] == "error", "the death was noticed")
        assert "SIGKILL" in server.status("chat")["message"]
        assert openai_client.chat.completions.create(model="chat", messages=PROMPT, max_tokens=2).choices
