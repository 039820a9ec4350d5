"""The API describes itself, and needs nobody else for it."""

import asyncio
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI
from pydantic import create_model

from lamplighter.api import management
from lamplighter.api.app import _describe_together
from lamplighter.api.hf import ServedWire
from lamplighter.api.hf.translate import Translator
from lamplighter.domain.inference import FailureKind
from tests.wire_stage import NAMESPACE, configured, wire_stage


@pytest.fixture
async def http():
    served = ServedWire(
        operations=None,  # type: ignore[arg-type]
        deployments=None,  # type: ignore[arg-type]
        translator=Translator(),
        namespace="lamplighter",
        version="1.2.3",
        started=0.0,
        meter=None,  # type: ignore[arg-type]
    )
    app = management(None, health=None, served=served, version="1.2.3")  # type: ignore[arg-type]
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url="http://localhost") as http:
        yield http


async def test_every_input_field_and_answer_is_described(http):
    api = (await http.get("/openapi.json")).json()
    for path, verbs in api["paths"].items():
        for operation in verbs.values():
            assert operation["description"], path
            for parameter in operation.get("parameters", []):
                assert parameter["name"] == "name" or parameter["description"], path
            for response in operation["responses"].values():
                assert response["description"], path
    for name, shape in api["components"]["schemas"].items():
        for field, schema in shape.get("properties", {}).items():
            assert schema.get("description") or "$ref" in schema, f"{name}.{field}"


async def test_the_routes_of_inference_endpoints_are_described_too(http):
    api = (await http.get("/openapi.json")).json()
    for path in ("/v2/endpoint/{namespace}/{name}", "/v3/endpoint/{namespace}/{name}/logs", "/api/whoami-v2"):
        assert path in api["paths"]
    assert "HTTPValidationError" not in api["components"]["schemas"]


async def test_failures_are_described_as_they_are_answered(http):
    api = (await http.get("/openapi.json")).json()
    assert "HTTPValidationError" not in api["components"]["schemas"]
    wake = api["paths"]["/api/endpoints/wake/{name}"]["post"]["responses"]
    assert {"200", "202", "401", "403", "404", "422", "429", "502", "503"} == set(wake)
    for status in ("401", "404", "422", "429", "503"):
        assert wake[status]["content"]["application/json"]["schema"]["$ref"].endswith("/Problem")


async def test_what_an_inference_fails_with_is_one_of_eight_words(http):
    schemas = (await http.get("/openapi.json")).json()["components"]["schemas"]
    assert set(schemas["FailureKind"]["enum"]) == {kind.value for kind in FailureKind}
    assert set(schemas["Failure"]["properties"]) == {"error", "code", "reason"}


def test_two_schemas_of_one_name_are_no_document():
    one, other = FastAPI(), FastAPI()
    one.get("/one", response_model=create_model("Answer", text=(str, ...)))(lambda: {"text": ""})
    other.get("/other", response_model=create_model("Answer", number=(int, ...)))(lambda: {"number": 1})
    _describe_together(one, other)
    with pytest.raises(ValueError, match="one name: Answer"):
        one.openapi()


async def test_the_page_loads_nothing_from_elsewhere(http):
    answer = await http.get("/docs")
    assert answer.status_code == 200
    assert not re.search(r"(https?:)?//[a-z]", answer.text)
    assert answer.headers["content-security-policy"].startswith("default-src 'none'")


# What it says is answered.

KEY = "open-sesame"
PLACES = {
    "namespace": NAMESPACE,
    "name": "chat",
    "graph": "replica-running",
    "lease_id": "none",
    "key": "none",
    "model": "none",
}
BODIES = {
    ("POST", "/api/keys"): {"name": "ci", "role": "admin"},
    ("POST", "/api/endpoints/{name}/leases"): {"holder": "me"},
    ("PATCH", "/api/inference-endpoints/{namespace}/{name}"): {"status": "paused"},
    ("POST", "/api/v1/catalog/model/{repo_id}/deploy"): {"namespace": NAMESPACE},
}


async def head_of(app: FastAPI, method: str, path: str, body: object = None) -> tuple[int, str]:
    """The status and the type of an answer; what comes behind them may never end."""
    told: asyncio.Queue[Any] = asyncio.Queue()
    sent = json.dumps(body).encode() if body is not None else b""
    headers = [(b"x-api-key", KEY.encode()), (b"content-type", b"application/json")]
    scope: dict[str, Any] = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
    }
    scope |= {"path": path, "raw_path": path.encode(), "query_string": b"", "root_path": "", "headers": headers}
    scope |= {"client": ("127.0.0.1", 1), "server": ("127.0.0.1", 8470)}

    requests: Iterator[dict[str, Any]] = iter([{"type": "http.request", "body": sent, "more_body": False}])

    async def receive() -> Any:
        return next(requests, None) or await asyncio.Event().wait()

    answering = asyncio.create_task(app(scope, receive, told.put))
    begun = await asyncio.wait_for(told.get(), 10)
    answering.cancel()
    await asyncio.wait([answering])
    media = dict(begun["headers"]).get(b"content-type", b"").decode()
    return begun["status"], media.partition(";")[0]


def documented(operation: dict[str, Any], status: int) -> set[str]:
    """The types that the document tells for a status; none where it does not know that one."""
    responses = operation["responses"]
    return set(responses.get(str(status), responses.get("default", {})).get("content", {}))


async def test_every_route_answers_what_the_document_says(tmp_path: Path) -> None:
    async with wire_stage(tmp_path, configured(), keys=(KEY,)) as here:
        paths = here.app.openapi()["paths"]
        seen, wrong = set(), []
        for path, verbs in paths.items():
            for verb, operation in verbs.items():
                method = verb.upper()
                for name in ("chat", "nobody"):
                    place = path.format(repo_id="none", recipe_id="none", **(PLACES | {"name": name}))
                    status, media = await head_of(here.app, method, place, BODIES.get((method, path)))
                    if media not in documented(operation, status):
                        wrong.append(f"{method} {place}: {status} {media}")
                    seen.add((method, path, status < 300))
    assert wrong == []
    for path in ("/v2/endpoint/{namespace}/{name}", "/v3/endpoint/{namespace}/{name}"):
        assert {("GET", f"{path}/logs/sse", True), ("GET", f"{path}/logs/sse", False)} <= seen


async def test_what_is_no_json_is_said_to_be_none(http):
    api = (await http.get("/openapi.json")).json()["paths"]
    one = "/v2/endpoint/{namespace}/{name}"
    expected = {
        "/api/endpoints/{name}/logs": {"text/plain"},
        "/api/inference-endpoints/{namespace}/{name}/logs": {"text/plain"},
        f"{one}/logs": {"text/plain"},
        f"{one}/logs/sse": {"text/event-stream"},
        "/v3/endpoint/{namespace}/{name}/logs/sse": {"text/event-stream"},
        f"{one}/open-metrics": {"application/openmetrics-text"},
        "/api/cost": {"application/json", "text/csv"},
        "/metrics": {"text/plain", "application/openmetrics-text"},
    }
    told = {path: set(verbs["get"]["responses"]["200"]["content"]) for path, verbs in api.items() if "get" in verbs}
    assert {path: media for path, media in told.items() if media != {"application/json"}} == expected
