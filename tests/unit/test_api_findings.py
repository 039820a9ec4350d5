"""Whatever is wrong with an input of a management route is told in our own words: what, what it is, what would be right."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI, Request
from pydantic import ValidationError

from lamplighter.api.findings import findings
from lamplighter.api.keys import KeyForm
from tests.wire_stage import NAMESPACE, WireStage, configured, wire_stage

KEY = "open-sesame"
PYDANTICS_WORDS = re.compile(
    r"Input |Extra inputs|unable to|[Vv]alid (string|integer|number|boolean|list|dict)|String "
)
QUERIES = ["x", "", "-1", "1.5", "1e999", "nan", "9" * 30, "9" * 5000, "y" * 300, "maybe"]
VALUES: list[Any] = [None, True, 7, -7, 1.5, 10**30, "", "x", "y" * 2000, [], ["x"], [[1]], {}, {"a": 1}, ["x"] * 1001]
FORMS = {
    "/api/keys": ("name", "role", "routes", "may_wake", "priority", "limits", "tags", "expires_in"),
    "/api/endpoints/chat/leases": ("holder", "ttl", "pause_at_end"),
}

THREE_MISTAKES = (
    "holder: should be 1 or more characters long; got ''. ttl: should be a number; got 'long'. "
    "pause_at_end: should be true or false; got 7."
)


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[WireStage]:
    async with wire_stage(tmp_path, configured(), keys=(KEY,)) as stage:
        stage.http.headers["x-api-key"] = KEY
        yield stage


def message_of(answer: Any) -> str:
    error = answer.json()["error"]
    return str(error["message"] if isinstance(error, dict) else error.partition(": ")[2])


async def test_every_parameter_of_every_route(here: WireStage) -> None:
    refused = 0
    for path, verbs in here.app.openapi()["paths"].items():
        place = re.sub(r"\{\w+\}", "nobody", path.replace("{namespace}", NAMESPACE))
        for verb, operation in verbs.items():
            for one in operation.get("parameters", ()):
                if one["in"] != "query":
                    continue
                for value in QUERIES:
                    answer = await here.http.request(verb, place, params={one["name"]: value})
                    if answer.status_code not in {400, 422}:
                        continue
                    text = message_of(answer)
                    refused += 1
                    assert not PYDANTICS_WORDS.search(text), text
                    assert "is not right (" not in text, text
                    assert text.startswith(f"{one['name']}: ") or one["name"] in text, text
                    if answer.status_code == 422:
                        assert "should be" in text, text
                        assert repr(value)[:20] in text, text
    assert refused > 50


@pytest.mark.parametrize("path", FORMS)
async def test_every_member_of_every_body(here: WireStage, path: str) -> None:
    refused = 0
    for member in FORMS[path]:
        for value in VALUES:
            body = {"name": "ci", "role": "admin"} if path == "/api/keys" else {"holder": "me"}
            answer = await here.ask("POST", path, body | {member: value})
            if answer.status_code != 422:
                await here.ask("DELETE", "/api/keys/ci")
                continue
            text = message_of(answer)
            refused += 1
            assert not PYDANTICS_WORDS.search(text), text
            assert "is not right (" not in text, text
            assert text.startswith(member), text
            assert "should be" in text or "is required" in text or "no such member" in text, text
    assert refused > 20


@pytest.mark.parametrize(
    ("method", "path", "body", "told"),
    [
        ("POST", "/api/endpoints/wake/chat?wait=soon", None, "wait: should be a number; got 'soon'."),
        ("POST", "/api/endpoints/wake/chat?wait=-1", None, "wait: should be at least 0; got '-1'."),
        ("GET", "/api/endpoints/chat/logs?tail=10001", None, "tail: should be at most 10000; got '10001'."),
        ("GET", "/api/endpoints/chat/logs?follow=si", None, "follow: should be true or false; got 'si'."),
        ("PUT", f"/api/leases/{'x' * 65}", None, f"lease_id: should be at most 64 characters long; got '{'x' * 58}…."),
        ("POST", "/api/keys", {}, "name: is required."),
        ("POST", "/api/keys", {"name": 7}, "name: should be text; got 7."),
        ("POST", "/api/keys", {"name": ["x"]}, "name: should be text; got a list."),
        (
            "POST",
            "/api/keys",
            {"name": "x", "role": "king"},
            "role: should be 'infer', 'operate' or 'admin'; got 'king'.",
        ),
        (
            "POST",
            "/api/keys",
            {"name": "x", "prioritty": 1},
            f"prioritty: no such member; did you mean priority? Known are {', '.join(sorted(FORMS['/api/keys']))}.",
        ),
        (
            "POST",
            "/api/keys",
            {"name": "x", "limits": {"colour": 1}},
            "limits.colour: no such member; known are concurrent, requests_per_minute, tokens_per_minute.",
        ),
        (
            "POST",
            "/api/endpoints/chat/leases",
            {"holder": "", "ttl": "long", "pause_at_end": 7},
            THREE_MISTAKES,
        ),
    ],
)
async def test_what_is_told(here: WireStage, method: str, path: str, body: Any, told: str) -> None:
    answer = await here.ask(method, path, body)
    assert (answer.status_code, message_of(answer)) == (422, told)


async def test_the_wire_tells_the_same_in_its_own_shape(here: WireStage) -> None:
    answer = await here.ask("GET", f"/v3/endpoint/{NAMESPACE}/chat/logs?order=up")
    assert answer.status_code == 400
    assert answer.json()["error"] == "Bad Request: order: should be 'asc' or 'desc'; got 'up'."


async def test_a_thousand_mistakes_make_no_long_answer_and_no_long_record(here: WireStage) -> None:
    answer = await here.ask("POST", "/api/keys", {"name": "x"} | {f"{'n' * 500}{number}": 1 for number in range(1000)})
    assert answer.status_code == 422
    assert message_of(answer).endswith(". And 990 more.")
    assert len(message_of(answer)) < 3000
    record = next(row for row in await here.store.audit() if row.operation == "refused")
    assert len(str(record.error)) <= 200


def test_what_has_no_words_of_its_own_is_told_without_pydantics_sentence() -> None:
    with pytest.raises(ValidationError) as caught:
        KeyForm.model_validate_json("{")
    request = Request({"type": "http", "route": FastAPI().routes[0]})
    (found,) = findings(request, [{**caught.value.errors()[0], "loc": ("body", "x")}])
    assert str(found) == "x: is not right (json invalid); got '{'"
