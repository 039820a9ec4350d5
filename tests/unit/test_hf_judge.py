"""What we send, beside what the official client sends for the same; and what both make of the same answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from huggingface_hub import HfApi, InferenceEndpoint, close_session, constants

from lamplighter.hf.forms import Changes, DeploymentForm
from lamplighter.hf.records import Endpoint
from tests.hf_stage import TOKEN, Reply, Stage, client, document, stage

PLACE: dict[str, Any] = {
    "repository": "org/model",
    "framework": "pytorch",
    "accelerator": "gpu",
    "instance_size": "x1",
    "instance_type": "nvidia-l4",
    "region": "us-east-1",
    "vendor": "aws",
}

IMAGE = {"url": "registry/x:1", "port": 80, "healthRoute": "/health"}


@pytest.fixture
async def cloud(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Stage]:
    async with stage() as played:
        monkeypatch.setattr(constants, "INFERENCE_ENDPOINTS_ENDPOINT", f"{played.url}/v2")
        played.script("POST", "/v2/endpoint/me", Reply(body=document()))
        played.script("PUT", "/v2/endpoint/me/bert", Reply(body=document()))
        yield played
        close_session()


async def official(call: Callable[[HfApi], Any]) -> Any:
    return await asyncio.to_thread(call, HfApi(token=TOKEN))


def without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: without_nulls(item) for key, item in value.items() if item is not None}
    return value


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ({}, {"min_replica": 0}),
        ({"min_replica": 1, "max_replica": 2}, {"min_replica": 1, "max_replica": 2}),
        ({"scale_to_zero_timeout": 30}, {"min_replica": 0, "scale_to_zero_timeout": 30}),
        ({"image": IMAGE}, {"min_replica": 0, "custom_image": IMAGE}),
        (
            {"image": {"vLLM": {**IMAGE, "tensorParallelSize": 2}}},
            {"min_replica": 0, "custom_image": {"vLLM": {**IMAGE, "tensorParallelSize": 2}}},
        ),
        (
            {"image": {**IMAGE, "credentials": {"username": "u", "password": "p"}}},
            {
                "min_replica": 0,
                "custom_image": IMAGE,
                "container_registry_username": "u",
                "container_registry_password": "p",
            },
        ),
        (
            {"command": ["serve"], "args": ["-x"], "env": {"A": "1"}, "secrets": {"B": "2"}, "tags": ["t"]},
            {
                "min_replica": 0,
                "container_command": ["serve"],
                "container_args": ["-x"],
                "env": {"A": "1"},
                "secrets": {"B": "2"},
                "tags": ["t"],
            },
        ),
        (
            {"type": "public", "revision": "main", "task": "text-generation"},
            {"min_replica": 0, "type": "public", "revision": "main", "task": "text-generation"},
        ),
    ],
)
async def test_a_create_is_what_the_official_client_sends_less_its_nulls(
    cloud: Stage, ours: dict[str, Any], theirs: dict[str, Any]
) -> None:
    await official(lambda hub: hub.create_inference_endpoint("bert", namespace="me", **PLACE, **theirs))
    async with client(cloud.url, namespace="me") as api:
        await api.create(DeploymentForm(name="bert", **PLACE, **ours))
    judge, mine = cloud.questions("POST")
    assert mine.body == without_nulls(judge.body)
    assert mine.path == judge.path


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ({"min_replica": 0, "scale_to_zero_timeout": 15}, {"min_replica": 0, "scale_to_zero_timeout": 15}),
        ({"instance_size": "x4", "accelerator": "gpu"}, {"instance_size": "x4", "accelerator": "gpu"}),
        ({"repository": "a/b", "revision": "v2", "task": "x"}, {"repository": "a/b", "revision": "v2", "task": "x"}),
        ({"image": IMAGE, "args": []}, {"custom_image": IMAGE, "container_args": []}),
        ({"env": {}, "secrets": {"A": "1"}, "tags": []}, {"env": {}, "secrets": {"A": "1"}, "tags": []}),
    ],
)
async def test_an_update_is_what_the_official_client_sends(
    cloud: Stage, ours: dict[str, Any], theirs: dict[str, Any]
) -> None:
    await official(lambda hub: hub.update_inference_endpoint("bert", namespace="me", **theirs))
    async with client(cloud.url, namespace="me") as api:
        await api.update("bert", Changes(**ours))
    judge, mine = cloud.questions("PUT")
    assert mine.body == judge.body
    assert mine.path == judge.path


def test_an_answer_says_the_same_to_both() -> None:
    judge = InferenceEndpoint.from_raw(document(), namespace="me")
    mine = Endpoint.of(document(), "me")
    for word in ("name", "namespace", "type"):
        assert getattr(mine, word) == getattr(judge, word)
    assert (mine.model.repository, mine.model.framework) == (judge.repository, judge.framework)
    assert (mine.model.revision, mine.model.task) == (judge.revision, judge.task)
    assert mine.state == judge.status
    assert judge.url is not None
    assert mine.url == judge.url.rstrip("/")
