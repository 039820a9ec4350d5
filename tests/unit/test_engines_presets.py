"""What the presets run, and what they say of specs that can't work."""

from __future__ import annotations

import json

import pytest

from lamplighter.domain.endpoint import EngineSpec
from lamplighter.engines.presets import PRESETS
from lamplighter.engines.registry import ENGINES, find_engine
from lamplighter.errors import EngineError, InvalidInput


def launch(spec: EngineSpec, model: str | None = "org/model"):
    return find_engine(spec.engine).launch(spec, name="chat", host="127.0.0.1", port=8123, model=model)


@pytest.mark.parametrize(
    ("engine", "argv"),
    [
        ("vllm", "vllm serve org/model --host 127.0.0.1 --port 8123 --served-model-name chat"),
        (
            "sglang",
            "python3 -m sglang.launch_server --model-path org/model --host 127.0.0.1 --port 8123 --served-model-name chat",
        ),
        ("tei", "text-embeddings-router --model-id org/model --hostname 127.0.0.1 --port 8123"),
        ("transformers", "transformers serve org/model --host 127.0.0.1 --port 8123"),
    ],
)
def test_each_preset_is_called_the_way_its_makers_document(engine, argv):
    spec = EngineSpec(engine=engine, model="org/model", env={"A": "b"}, cwd="/srv")
    find_engine(engine).check(spec)
    launched = launch(spec)
    assert launched.argv == tuple(argv.split())
    assert (launched.env, launched.cwd, launched.health_route) == ({"A": "b"}, "/srv", "/health")


def test_a_command_takes_the_place_of_the_presets_own_and_args_come_last():
    spec = EngineSpec(engine="vllm", model="m", command=("/opt/venv/bin/vllm",), args=("--dtype", "half"))
    argv = launch(spec).argv
    assert argv[:2] == ("/opt/venv/bin/vllm", "serve")
    assert argv[-2:] == ("--dtype", "half")


def test_only_the_four_names_are_replaced_so_json_keeps_its_braces():
    config = json.dumps({"port": "{port}", "a": {}, "b": "{other}", "c": {"name": 1}})
    spec = EngineSpec(
        engine="command", command=("serve", "{model}:{port}", "--host={host}"), args=(config, "{name}", "{")
    )
    assert launch(spec).argv == (
        "serve",
        "org/model:8123",
        "--host=127.0.0.1",
        config.replace("{port}", "8123"),
        "chat",
        "{",
    )


def test_a_replaced_value_is_not_replaced_again():
    spec = EngineSpec(engine="command", command=("serve", "{model}"))
    assert launch(spec, model="{port}").argv == ("serve", "{port}")


def test_the_health_route_can_be_set():
    spec = EngineSpec(engine="command", command=("serve",), health_route="/ready")
    assert launch(spec).health_route == "/ready"
    assert launch(EngineSpec(engine="command", command=("serve",))).health_route == "/health"


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        (EngineSpec(engine="vllm"), "model"),
        (EngineSpec(engine="command"), "command"),
        (EngineSpec(engine="command", command=("",)), "command"),
        (EngineSpec(engine="command", command=("serve", "a\0b")), "command"),
        (EngineSpec(engine="command", command=("serve", "{model}")), "model"),
        (EngineSpec(engine="command", command=("serve",), args=("-m", "{model}")), "model"),
        (EngineSpec(engine="tei", model="m", health_route="health"), "health_route"),
        (EngineSpec(engine="vllm", model="m", args=("--hf-token", "hf_" + "x" * 34)), "args"),
        (EngineSpec(engine="command", command=("serve", "--key=sk-" + "x" * 40)), "command"),
    ],
)
def test_a_spec_that_cannot_work_is_refused_naming_the_field(spec, field):
    with pytest.raises(InvalidInput) as caught:
        find_engine(spec.engine).check(spec)
    assert caught.value.field == field
    assert caught.value.message.startswith(f"{field}: ")
    assert "x" * 20 not in caught.value.message


def test_a_missing_program_is_a_permanent_error_that_tells_how_to_get_it():
    spec = EngineSpec(engine="vllm", model="m", command=("no-such-program-here",))
    with pytest.raises(EngineError, match=r"'no-such-program-here' was not found.*pip install vllm") as caught:
        find_engine("vllm").prepare(spec, print)
    assert caught.value.permanent


def test_programs_are_looked_up_where_the_process_will_run(tmp_path):
    program = tmp_path / "bin" / "serve"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    engine = find_engine("command")
    for spec in (
        EngineSpec(engine="command", command=("./bin/serve",), cwd=str(tmp_path)),
        EngineSpec(engine="command", command=("serve",), env={"PATH": str(program.parent)}),
        EngineSpec(engine="command", command=(str(program),), model="given/as-it-is"),
    ):
        assert engine.prepare(spec, print) == spec.model


def test_an_unknown_engine_is_refused_with_a_near_match_and_the_known_ones():
    with pytest.raises(
        InvalidInput, match=r"'llama.cpp' is not known. Did you mean 'llamacpp'\? Known: command, "
    ) as caught:
        find_engine("llama.cpp")
    assert caught.value.field == "engine"


def test_every_engine_is_registered_under_its_own_key():
    assert set(ENGINES) == {"llamacpp", *PRESETS}
    assert all(key == preset.key for key, preset in PRESETS.items())
