"""llama.cpp as an engine: specs, files, command lines. The process itself is in the acceptance tests."""

from __future__ import annotations

import subprocess
import sys

import pytest

from lamplighter.domain.endpoint import EngineSpec
from lamplighter.engines.llamacpp.engine import LlamaCppEngine
from lamplighter.engines.models import ModelStore
from lamplighter.errors import EngineError, InvalidInput


def spec(*args: str, model: str | None = "/models/a.gguf") -> EngineSpec:
    return EngineSpec(engine="llamacpp", model=model, args=args)


def test_the_process_is_told_where_to_listen_what_to_load_and_its_name():
    engine = LlamaCppEngine()
    given = spec("--ctx-size", "2048", "--embeddings")
    engine.check(given)
    launched = engine.launch(given, name="chat", host="127.0.0.1", port=8123, model="/cache/a.gguf")
    assert launched.argv == (
        *(sys.executable, "-m", "lamplighter.engines.llamacpp", "--model", "/cache/a.gguf"),
        *("--host", "127.0.0.1", "--port", "8123", "--alias", "chat", "--ctx-size", "2048", "--embeddings"),
    )
    assert launched.health_route == "/health"


def test_another_python_can_be_named():
    given = EngineSpec(engine="llamacpp", model="a.gguf", command=("/opt/venv/bin/python",))
    argv = LlamaCppEngine().launch(given, name="n", host="h", port=1, model="m").argv
    assert argv[:3] == ("/opt/venv/bin/python", "-m", "lamplighter.engines.llamacpp")


@pytest.mark.parametrize(
    ("given", "field", "said"),
    [
        (spec(model=None), "model", "needs a GGUF model"),
        (spec(model="SmolLM2-135M"), "model", "Did you mean 'SmolLM2-135M-Instruct'"),
        (spec(model="hf://only/repo"), "model", "hf://owner/repo"),
        (spec("--port", "1"), "args", "unknown: --port 1; known: --cache-ram, --ctx-size"),
        (spec("--ctx-size", "many"), "args", "'many' is not a whole number"),
        (spec("--parallel", "0"), "args", "at least 1"),
        (spec("--pooling", "max"), "args", "invalid choice: 'max'"),
        (spec("--gpu-layers", "some"), "args", "'some' is not a whole number"),
    ],
)
def test_a_spec_that_cannot_work_is_refused_naming_the_field(given, field, said):
    with pytest.raises(InvalidInput) as caught:
        LlamaCppEngine().check(given)
    assert caught.value.field == field
    assert said in caught.value.message


def test_a_broken_or_missing_file_is_found_before_a_process_is_started(tmp_path):
    engine = LlamaCppEngine(ModelStore(tmp_path))
    file = tmp_path / "a.gguf"
    for write, said in (
        (lambda: None, "There is no model file"),
        (lambda: file.write_bytes(b"<html>"), "is cut short"),
        (lambda: file.write_bytes(b"<html>404 Not Found</html>"), "is not a GGUF file"),
        (lambda: file.write_bytes(b"GGUF\3\0\0\0" + bytes(2)), "is cut short"),
    ):
        write()
        with pytest.raises(EngineError, match=said) as caught:
            engine.prepare(spec(model=str(file)), print)
        assert caught.value.permanent


def run(*args: str) -> subprocess.CompletedProcess[str]:
    command = (sys.executable, "-m", "lamplighter.engines.llamacpp", *args)
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)


def test_a_wrong_command_line_is_one_line_and_exit_code_2():
    done = run("--model", "a.gguf", "--port", "70000")
    assert done.returncode == 2
    assert done.stderr == "llamacpp: argument --port: '70000' is not a port (1 to 65535)\n"


def test_the_process_starts_without_the_heavy_parts_of_lamplighter():
    """The start of the process is what a waiting request pays for."""
    code = (
        "import sys, lamplighter.engines.llamacpp.stopping, lamplighter.engines.llamacpp.server\n"
        "heavy = {'asyncio', 'httpx2', 'huggingface_hub', 'pydantic', 'lamplighter.errors', 'lamplighter.domain'}\n"
        "sys.exit(str(heavy & set(sys.modules)) if heavy & set(sys.modules) else 0)"
    )
    done = subprocess.run((sys.executable, "-c", code), capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stderr
