"""The API describes itself, and needs nobody else for it."""

import re

import httpx2
import pytest

from lamplighter.api import management
from lamplighter.api.hf import ServedWire
from lamplighter.api.hf.translate import Translator


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


async def test_the_page_loads_nothing_from_elsewhere(http):
    answer = await http.get("/docs")
    assert answer.status_code == 200
    assert not re.search(r"(https?:)?//[a-z]", answer.text)
    assert answer.headers["content-security-policy"].startswith("default-src 'none'")
