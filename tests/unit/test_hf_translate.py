"""What a document becomes on this machine, and what is refused with the reason."""

from __future__ import annotations

from typing import Any

import pytest

from lamplighter.api.hf.loglines import Reader, level_of
from lamplighter.api.hf.translate import Translator, check_installed, find_offer, resources_of
from lamplighter.control.demand import Offer
from lamplighter.domain.endpoint import Deployment, Policy, Spec
from lamplighter.domain.hardware import Hardware
from lamplighter.errors import InvalidInput
from tests.wire_stage import document, with_model, with_scaling

REPOSITORY = "HuggingFaceTB/SmolLM2-135M-Instruct"


def here(**model: Any) -> dict[str, Any]:
    body = document(provider={"vendor": "local", "region": "local"})
    return with_model(body, **{"repository": REPOSITORY, "framework": "custom"} | model)


def spec_of(body: dict[str, Any], *, defaults: Policy | None = None, **secrets: str) -> Spec:
    deployment = Deployment(document=body, secrets=secrets)
    return Translator(defaults).spec(deployment, provider="local", resources={})


@pytest.mark.parametrize(
    ("image", "engine", "args"),
    [
        ({"llamacpp": {}}, "llamacpp", ()),
        (
            {"llamacpp": {"url": "x", "ctxSize": 1024, "nParallel": 2, "nGpuLayers": -1, "threadsHttp": 4}},
            "llamacpp",
            ("--ctx-size", "1024", "--parallel", "2", "--gpu-layers", "all"),
        ),
        ({"llamacpp": {"mode": "embeddings", "pooling": "cls"}}, "llamacpp", ("--embeddings", "--pooling", "cls")),
        ({"llamacpp": {"mode": "reranking"}}, "llamacpp", ("--embeddings", "--pooling", "rank")),
        (
            {"vLLM": {"tensorParallelSize": 2, "maxNumSeqs": 8, "kvCacheDtype": "fp8", "unknown": 1}},
            "vllm",
            ("--tensor-parallel-size", "2", "--kv-cache-dtype", "fp8", "--max-num-seqs", "8"),
        ),
        ({"sGLang": {"chunkedPrefillSize": -1}}, "sglang", ("--chunked-prefill-size", "-1")),
        ({"tei": {"maxBatchTokens": 100, "pooling": "cls"}}, "tei", ("--max-batch-tokens", "100", "--pooling", "cls")),
        ({"huggingface": {}}, "transformers", ()),
        ({"hfServe": {"url": "x"}}, "transformers", ()),
    ],
)
def test_each_variant_becomes_its_engine_with_its_fields_as_arguments(image, engine, args):
    spec = spec_of(here(image=image, args=None))
    assert spec.engine.engine == engine
    assert spec.engine.args == args


def test_own_arguments_come_behind_the_variant_s(tmp_path):
    spec = spec_of(here(image={"llamacpp": {"ctxSize": 1}}, args=["--cache-ram", "1"], framework="llamacpp"))
    assert spec.engine.args == ("--ctx-size", "1", "--cache-ram", "1")


def test_the_default_image_with_the_llamacpp_framework_is_llamacpp():
    assert spec_of(here(image={"huggingface": {}}, framework="llamacpp")).engine.engine == "llamacpp"


@pytest.mark.parametrize(
    ("repository", "revision", "path", "model"),
    [
        (REPOSITORY, None, None, "SmolLM2-135M-Instruct"),
        ("smollm2-135m-instruct", None, "/repository/SmolLM2-135M-Instruct.Q4_1.gguf", "SmolLM2-135M-Instruct"),
        ("org/model-GGUF", None, "/repository/a/b.gguf", "hf://org/model-GGUF/a/b.gguf"),
        ("org/model", "refs/pr/1", "b.gguf", "hf://org/model@refs%2Fpr%2F1/b.gguf"),
        ("/models/a.gguf", None, None, "/models/a.gguf"),
        ("/models", None, "a.gguf", "/models/a.gguf"),
    ],
)
def test_a_gguf_file_is_found_where_the_document_says(repository, revision, path, model):
    image = {"llamacpp": {"modelPath": path} if path else {}}
    assert spec_of(here(image=image, repository=repository, revision=revision)).engine.model == model


def test_a_command_is_run_whatever_the_image():
    for image in ({"custom": {"url": "x", "healthRoute": "/up"}}, {"tei": {"healthRoute": "/up"}}):
        spec = spec_of(here(image=image, command=["serve", "--port", "{port}"], args=["-v"]))
        assert spec.engine.engine == "command"
        assert spec.engine.command == ("serve", "--port", "{port}")
        assert spec.engine.args == ("-v",)
        assert spec.engine.health_route == "/up"


def test_secrets_and_variables_are_the_engine_s_environment():
    spec = spec_of(here(image={"llamacpp": {}}, env={"A": "1"}), TOKEN="hush")
    assert dict(spec.engine.env) == {"A": "1", "TOKEN": "hush"}
    assert "hush" not in repr(spec)


@pytest.mark.parametrize(
    ("model", "field", "words"),
    [
        ({"image": {"custom": {"url": "x"}}}, "model.image.custom", "container image can't be run"),
        ({"image": {"tgi": {"url": "x"}}}, "model.image", "no engine for it"),
        ({"image": {"vLLMNeuron": {}}}, "model.image", "no engine for it"),
        ({"image": {"custom": {}}, "command": ["serve"]}, "model.command", "{port}"),
        ({"image": {"llamacpp": {}}, "repository": "org/other"}, "model.image.llamacpp.modelPath", "which GGUF file"),
        ({"image": {"llamacpp": {"mmprojModelPath": "x"}}}, "model.image.llamacpp.mmprojModelPath", "second model"),
        ({"image": {"llamacpp": {"mode": "sing"}}}, "model.image.llamacpp.mode", "'embeddings' or 'reranking'"),
        ({"image": {"llamacpp": {"pooling": "sum"}}}, "model.image.llamacpp.pooling", "cls"),
        ({"image": {"llamacpp": {}}, "args": ["--jinja"]}, "model.args", "unknown: --jinja"),
        ({"image": {"vLLM": {"maxNumSeqs": [1]}}}, "model.image.vLLM.maxNumSeqs", "number"),
        ({"image": {"huggingface": {}}, "revision": "abc"}, "model.revision", "no revision"),
        ({"image": {"vLLM": {}}, "args": ["--token", "hf_" + "a" * 30]}, "model.args", "access token"),
    ],
)
def test_what_can_t_run_here_is_refused_with_the_field_and_the_reason(model, field, words):
    with pytest.raises(InvalidInput, match=words.replace("{", r"\{")) as refused:
        spec_of(here(**model))
    assert refused.value.field == field


def test_an_engine_that_is_not_installed_is_refused_before_it_is_made():
    spec = spec_of(here(image={"tei": {}}, env={"PATH": "/nowhere"}))
    with pytest.raises(InvalidInput, match="text-embeddings-router"):
        check_installed(spec)
    check_installed(spec_of(here(image={"llamacpp": {}})))


@pytest.mark.parametrize(
    ("scaling", "replicas", "idle", "warm"),
    [
        ({"minReplica": 0, "scaleToZeroTimeout": 20}, 1, 1200.0, False),
        ({"minReplica": 0, "scaleToZeroTimeout": None, "maxReplica": 4}, 1, 77.0, False),
        ({"minReplica": 1}, 1, 77.0, True),
        ({"minReplica": 3, "maxReplica": 3}, 3, 77.0, True),
    ],
)
def test_scaling_becomes_copies_and_a_policy(scaling, replicas, idle, warm):
    spec = spec_of(with_scaling(here(image={"llamacpp": {}}), **scaling), defaults=Policy(idle_timeout=77.0))
    assert (spec.replicas, spec.policy.idle_timeout, spec.policy.keep_warm) == (replicas, idle, warm)


def test_a_task_is_kept_or_is_what_the_engine_is_for():
    assert spec_of(here(image={"llamacpp": {}}, task="my-task")).task == "my-task"
    assert spec_of(here(image={"llamacpp": {}})).task == "text-generation"
    assert spec_of(here(image={"tei": {}})).task == "feature-extraction"
    assert spec_of(here(image={"huggingface": {}})).task is None


def test_elsewhere_any_image_goes():
    spec = spec_of(with_model(document(type="public"), image={"tgi": {"url": "x"}}))
    assert spec.engine.engine == "hosted"
    assert spec.engine.model == "org/model"
    assert spec.public


def hardware(vendor: str, region: str, kind: str, size: int) -> Offer:
    one = Hardware(
        id=f"{vendor}-{kind}-x{size}",
        vendor=vendor,
        region=region,
        accelerator=kind,
        instance_type=kind,
        instance_size=f"x{size}",
        architecture="",
        num_accelerators=size,
    )
    return Offer(provider=f"the-{vendor}", hardware=one)


OFFERS = (hardware("local", "local", "cpu", 1), hardware("local", "local", "gpu", 2), hardware("aws", "us", "gpu", 1))


def test_hardware_chooses_the_provider_and_accelerators_are_set_aside():
    body = document(provider={"vendor": "local", "region": "local"})
    body["compute"] |= {"accelerator": "gpu", "instanceType": "gpu", "instanceSize": "x2"}
    offer = find_offer(body, OFFERS)
    assert offer.provider == "the-local"
    assert resources_of(offer.hardware) == {"gpu": 2.0}
    assert resources_of(OFFERS[0].hardware) == {}


@pytest.mark.parametrize(
    ("place", "compute", "words"),
    [
        ({"vendor": "awss", "region": "us"}, {}, "Did you mean 'aws'"),
        ({"vendor": "aws", "region": "eu"}, {}, "There is 'us'"),
        ({"vendor": "local", "region": "local"}, {"accelerator": "neuron"}, "compute.accelerator"),
        ({"vendor": "local", "region": "local"}, {"instanceType": "cpus"}, "Did you mean 'cpu'"),
    ],
)
def test_a_place_that_is_not_there_is_told_with_those_that_are(place, compute, words):
    body = document(provider=place)
    body["compute"] |= compute
    with pytest.raises(InvalidInput, match=words):
        find_offer(body, OFFERS)
    with pytest.raises(InvalidInput, match="nothing can be deployed"):
        find_offer(body, ())


def test_lines_bear_the_moment_that_the_engine_wrote_or_that_of_the_line_before():
    reader = Reader("chat", replicas=2, began=0.0)
    lines = [
        reader.read(text)
        for text in (
            "[1] loading",
            "2026-10-01T00:00:00Z ERROR out of memory\n",
            "  Traceback",
            "2026-10-01 00:00:01,500 warning: slow",
            "2026-99-99 00:00:00 odd",
        )
    ]
    assert [line.at - 1790812800.0 for line in lines] == [-1790812800.0, 0.0, 0.0, 1.5, 1.5]
    assert [line.level for line in lines] == ["info", "error", "error", "warning", "info"]
    assert [line.replica for line in lines] == ["chat-1", "chat-0", "chat-0", "chat-0", "chat-0"]
    assert lines[0].text == "loading"
    assert lines[1].row(30) == "- 2026-10-01T00:00:00.000000Z 2026-10-01T00:00:00Z ERROR out"


def test_levels_have_other_names():
    assert (level_of("WARN"), level_of("err"), level_of("loud")) == ("warning", "error", None)


def test_sleep_is_left_to_a_provider_only_where_that_has_a_timer() -> None:
    defaults = Policy(slept_by_provider=True)
    deployment = Deployment(document=here(image={"llamacpp": {}}))
    for translator, left in ((Translator(defaults), False), (Translator(defaults, timed={"cloud"}), True)):
        spec = translator.spec(deployment, provider="cloud", resources={})
        assert spec.policy.slept_by_provider is left
