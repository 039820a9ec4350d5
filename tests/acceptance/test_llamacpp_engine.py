"""The real engine process with the real model: what it serves, how it ends, what it says when it can't start."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from lamplighter.domain.endpoint import EngineSpec
from lamplighter.engines.llamacpp.engine import LlamaCppEngine
from tests.acceptance.harness import LIKELIEST

pytestmark = pytest.mark.acceptance
pytest.importorskip("xllamacpp")

MODEL = "SmolLM2-135M-Instruct"
QUICK = 1.0


@pytest.fixture(scope="module")
def weights() -> str:
    path = LlamaCppEngine().prepare(EngineSpec(engine="llamacpp", model=MODEL), print)
    assert path is not None
    return path


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def argv(weights: str, port: int, *args: str) -> tuple[str, ...]:
    spec = EngineSpec(engine="llamacpp", model=MODEL, args=("--ctx-size", "2048", *args))
    return LlamaCppEngine().launch(spec, name="chat", host="127.0.0.1", port=port, model=weights).argv


class Server:
    """A running engine process."""

    def __init__(self, weights: str, *args: str) -> None:
        self.port = free_port()
        self.process = subprocess.Popen(argv(weights, self.port, *args), stderr=subprocess.PIPE, text=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def wait_ready(self) -> str:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            if "ready on" in line:
                return line
        raise AssertionError(f"the engine ended with {self.process.wait()}")

    def post(self, route: str, body: dict[str, Any]) -> dict[str, Any]:
        with self.open(route, body) as answer:
            return dict(json.load(answer))

    def open(self, route: str, body: dict[str, Any]) -> Any:
        request = urllib.request.Request(
            self.url + route, json.dumps(body).encode(), {"content-type": "application/json"}
        )
        return urllib.request.urlopen(request, timeout=60)

    def health(self) -> int:
        try:
            with urllib.request.urlopen(f"{self.url}/health", timeout=60) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            error.close()
            return error.code

    def stop(self, number: signal.Signals) -> tuple[int, float]:
        began = time.monotonic()
        self.process.send_signal(number)
        return self.process.wait(30), time.monotonic() - began


@contextmanager
def running(weights: str, *args: str) -> Iterator[Server]:
    server = Server(weights, *args)
    try:
        yield server
    finally:
        server.process.kill()
        server.process.wait()
        assert server.process.stderr is not None
        server.process.stderr.close()


@pytest.fixture(scope="module")
def chat(weights) -> Iterator[Server]:
    with running(weights) as server:
        line = server.wait_ready()
        assert line.startswith(f"llamacpp: ready on http://127.0.0.1:{server.port} after ")
        yield server


MESSAGES = [{"role": "user", "content": "What is the capital of France?"}]


def test_it_is_ready_when_it_says_so_and_tells_its_name(chat):
    assert chat.health() == 200
    with urllib.request.urlopen(f"{chat.url}/v1/models", timeout=60) as answer:
        assert [model["id"] for model in json.load(answer)["data"]] == ["chat"]


def test_it_chats(chat):
    answer = chat.post("/v1/chat/completions", {"messages": MESSAGES, "max_tokens": 8} | LIKELIEST)
    assert answer["choices"][0]["message"]["content"]
    usage = answer["usage"]
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]


def test_it_streams_with_the_usage_in_the_last_chunk(chat):
    body = {"messages": MESSAGES, "max_tokens": 16, "stream": True, "stream_options": {"include_usage": True}}
    body |= LIKELIEST
    with chat.open("/v1/chat/completions", body) as answer:
        lines = [line.strip().removeprefix(b"data: ") for line in answer if line.strip()]
    assert lines[-1] == b"[DONE]"
    chunks = [json.loads(line) for line in lines[:-1]]
    assert "".join(choice["delta"].get("content") or "" for chunk in chunks for choice in chunk["choices"])
    assert chunks[-1]["usage"]["completion_tokens"] == 16
    assert not any(chunk.get("usage") for chunk in chunks[:-1])


def test_it_completes(chat):
    answer = chat.post("/v1/completions", {"prompt": "The capital of France is", "max_tokens": 4, "temperature": 0})
    assert "Paris" in answer["choices"][0]["text"]


def test_it_leaves_out_the_page_the_slots_and_calls_from_web_pages(chat):
    for route in ("/", "/slots"):
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(chat.url + route, timeout=60)
        caught.value.close()
        assert caught.value.code in (404, 501)
    request = urllib.request.Request(f"{chat.url}/health", headers={"origin": "https://example.com"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        assert "access-control-allow-origin" not in answer.headers


def test_one_process_serves_embeddings_and_chat(weights):
    with running(weights, "--embeddings") as server:
        server.wait_ready()
        texts = ["a cat", "a cat", "quarterly tax returns"]
        answer = server.post("/v1/embeddings", {"input": texts})
        first, same, other = (item["embedding"] for item in answer["data"])
        assert len(first) == 576
        assert sum(x * y for x, y in zip(first, same, strict=True)) == pytest.approx(1, abs=1e-3)
        assert sum(x * y for x, y in zip(first, other, strict=True)) < 0.99
        # More than llama.cpp's usual batch of 512 tokens, which would refuse it.
        long = server.post("/v1/embeddings", {"input": "word " * 600})
        assert long["usage"]["prompt_tokens"] >= 600
        answer = server.post("/v1/chat/completions", {"messages": MESSAGES, "max_tokens": 4} | LIKELIEST)
        assert answer["usage"]["completion_tokens"] == 4


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_at_once_when_idle(weights, number):
    with running(weights) as server:
        server.wait_ready()
        code, took = server.stop(number)
    assert code == 0
    assert took < QUICK


def test_it_ends_at_once_during_generation(weights):
    with running(weights) as server:
        server.wait_ready()
        body = {"messages": MESSAGES, "max_tokens": 1500, "stream": True} | LIKELIEST
        with server.open("/v1/chat/completions", body) as answer:
            assert answer.readline()
            code, took = server.stop(signal.SIGTERM)
    assert code == 0
    assert took < QUICK


def test_it_answers_503_while_it_loads_and_ends_at_once_there_too(weights):
    with running(weights) as server:
        while True:
            try:
                status = server.health()
                break
            except urllib.error.URLError:
                assert server.process.poll() is None
        code, took = server.stop(signal.SIGTERM)
    assert status in (200, 503)  # 200 where the machine was quicker than this test
    assert code == 0
    assert took < QUICK


def test_it_outlives_the_process_that_started_it(weights):
    port = free_port()
    starter = "import subprocess, sys; print(subprocess.Popen(sys.argv[1:], start_new_session=True, stderr=2).pid)"
    # The engine's standard error is a pipe whose reader goes away as well.
    command = (sys.executable, "-c", starter, *argv(weights, port))
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        assert parent.stderr is not None
        pid = int(parent.stdout.readline())
        try:
            assert parent.wait(30) == 0
            assert any("ready on" in line for line in iter(parent.stderr.readline, ""))
            parent.stderr.close()
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=60) as answer:
                assert answer.status == 200
        finally:
            os.kill(pid, signal.SIGKILL)


def fails(*command: str) -> str:
    began = time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert time.monotonic() - began < 10
    assert done.stderr.count("\n") == 1, done.stderr
    return done.stderr


def test_a_taken_port_is_one_clear_line(chat, weights):
    said = fails(*argv(weights, chat.port))
    assert said == f"llamacpp: can't listen on 127.0.0.1:{chat.port}: Address already in use\n"


def test_a_missing_file_is_one_clear_line(tmp_path):
    assert (
        fails(*argv(str(tmp_path / "none.gguf"), free_port()))
        == f"llamacpp: there is no model file {tmp_path}/none.gguf\n"
    )


def test_a_truncated_file_is_one_clear_line(tmp_path, weights):
    cut = tmp_path / "cut.gguf"
    with Path(weights).open("rb") as whole:
        cut.write_bytes(whole.read(5_000_000))
    said = fails(*argv(str(cut), free_port()))
    assert said == f"llamacpp: the model {cut} is cut short: it ends after 5000000 bytes, before its tensors do\n"


def test_what_llama_cpp_refuses_is_said_after_its_reasons(tmp_path, weights):
    """Cut in the last tensor: the head is whole, and llama.cpp finds out."""
    cut = tmp_path / "cut.gguf"
    whole = Path(weights)
    with whole.open("rb") as file:
        cut.write_bytes(file.read(whole.stat().st_size - 1000))
    done = subprocess.run(argv(str(cut), free_port()), capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "model is corrupted or incomplete" in done.stderr
    assert done.stderr.splitlines()[-1] == f"llamacpp: llama.cpp could not serve {cut}; its reasons stand above"
