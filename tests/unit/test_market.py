"""The marketplace of a server, over its own routes, and for clients with and without one."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx2
import pytest

from lamplighter import AsyncClient
from lamplighter.config import parse
from lamplighter.control.clock import Clock
from lamplighter.control.kept import Kept
from lamplighter.control.market import Market
from lamplighter.domain.inference import FailureKind, InferenceAnswer, InferenceRequest, failure_of
from lamplighter.domain.model_filter import ModelFilter, ModelPage
from lamplighter.domain.money import Quote, Unit
from lamplighter.domain.offer_choice import OfferFilter
from lamplighter.domain.offers import ModelRecord, ServedBy
from lamplighter.errors import InvalidInput, LamplighterError, ModelNotFound, ProviderUnreachable
from lamplighter.runtime import Server, running
from tests.cli_world import VARIABLES
from tests.gateway_stage import always, answer, endpoint
from tests.hf_stage import TOKEN, Reply, Stage, stage
from tests.hub_stage import CHAT, DEEP, HUB, QWEN, ROUTER, furnish, listing, novita, served
from tests.unit import test_price_book as books
from tests.virtual_time import virtual

ASK = {"messages": [{"role": "user", "content": "2+2?"}], "max_tokens": 8}
SAID = {
    "choices": [{"message": {"role": "assistant", "content": "from here"}}],
    "usage": {"prompt_tokens": 5, "completion_tokens": 700},
}


# What is kept of what was told.


@virtual
async def test_an_answer_is_kept_and_asked_for_again_when_it_is_old() -> None:
    kept, asked = Kept[int](Clock(), fresh=100.0), list[int]()

    async def ask() -> int:
        asked.append(1)
        return len(asked)

    assert [(await kept.get("x", ask)).value for _ in range(3)] == [1, 1, 1]
    await asyncio.sleep(60)
    assert (await kept.get("x", ask)).age == pytest.approx(60)
    await asyncio.sleep(60)
    assert (await kept.get("x", ask)).value == 2


@virtual
async def test_the_last_answer_serves_with_its_age_while_nobody_tells_a_newer_one() -> None:
    kept, works = Kept[str](Clock(), fresh=10.0, stale=1000.0, pause=5.0), [True]

    async def ask() -> str:
        if works:
            return "good"
        raise ProviderUnreachable("nobody is there")

    await kept.get("x", ask)
    works.clear()
    await asyncio.sleep(500)
    told = await kept.get("x", ask)
    assert (told.value, told.trouble) == ("good", "nobody is there")
    assert told.age == pytest.approx(500)
    await asyncio.sleep(600)
    with pytest.raises(ProviderUnreachable):
        await kept.get("x", ask)


@virtual
async def test_many_who_ask_at_once_are_one_question_and_a_silent_one_is_given_up() -> None:
    kept, asked = Kept[int](Clock(), patience=30.0), list[int]()

    async def ask() -> int:
        asked.append(1)
        await asyncio.sleep(3600)
        return 1

    outcomes = await asyncio.gather(*(kept.get("x", ask) for _ in range(20)), return_exceptions=True)
    assert len(asked) == 1
    assert all(isinstance(one, LamplighterError) for one in outcomes)


@virtual
async def test_what_is_kept_is_bounded() -> None:
    kept, asked = Kept[str](Clock(), most=2), list[str]()

    async def get(name: str) -> str:
        async def ask() -> str:
            asked.append(name)
            return name

        return (await kept.get(name, ask)).value

    for name in ("a", "b", "a", "c", "a", "b"):
        await get(name)
    assert asked == ["a", "b", "c", "b"]


# Several marketplaces.


class Stall:
    """A marketplace of a few models."""

    def __init__(self, name: str, *models: str, fails: LamplighterError | None = None) -> None:
        self._name, self._models, self._fails = name, models, fails
        self.closed = 0

    async def list_models(self, wanted: ModelFilter) -> AsyncIterator[ModelPage]:
        if self._fails is not None:
            raise self._fails
        at = int(wanted.cursor or 0)
        try:
            for number in range(at, len(self._models)):
                who = (ServedBy(provider=self._name),)
                model = ModelRecord(id=self._models[number], source=self._name, providers=who)
                onward = str(number + 1) if number + 1 < len(self._models) else None
                yield ModelPage(models=(model,) if wanted.takes(model) else (), next=onward)
        finally:
            self.closed += 1

    async def get_pricing(self) -> Sequence[Quote]:
        return []

    async def run_inference(self, payload: InferenceRequest) -> InferenceAnswer:
        if self._fails is not None:
            raise self._fails
        if payload.model not in self._models:
            raise ModelNotFound("not here", model=payload.model)
        return InferenceAnswer(model=payload.model, provider=self._name, content_type="text/plain", body=b"x")


async def every(market: Market, **wanted: Any) -> list[str]:
    found, cursor = list[str](), None
    while True:
        page = (await market.models(ModelFilter(cursor=cursor, **wanted))).value
        found += [model.id for model in page.models]
        if (cursor := page.next) is None:
            return found


@virtual
async def test_the_pages_of_several_marketplaces_follow_each_other() -> None:
    one = Stall("one", "a/1", "a/2")
    market = Market({"one": one, "two": Stall("two"), "three": Stall("three", "b/1")}, Clock())
    assert await every(market) == ["a/1", "a/2", "b/1"]
    assert one.closed == 2  # each page was left in order
    assert [model.id for model in (await market.models(ModelFilter(), market="three")).value.models] == ["b/1"]


@virtual
async def test_a_page_that_holds_nothing_that_is_wanted_is_passed_over() -> None:
    market = Market({"one": Stall("one", "a/1", "a/2", "b/3")}, Clock())
    assert [model.id for model in (await market.models(ModelFilter(author="b"))).value.models] == ["b/3"]


@virtual
@pytest.mark.parametrize("cursor", ["nonsense", "nowhere~1"])
async def test_a_cursor_of_nobodys_is_refused(cursor: str) -> None:
    with pytest.raises(InvalidInput, match="cursor"):
        await Market({"one": Stall("one")}, Clock()).models(ModelFilter(cursor=cursor))


@virtual
async def test_a_marketplace_that_fails_takes_nothing_away_from_the_others() -> None:
    down = Stall("down", fails=ProviderUnreachable("it is down"))
    market = Market({"down": down, "up": Stall("up", "a/1")}, Clock())
    found = await market.offers(OfferFilter())
    assert [offer.model for offer in found.offers] == ["a/1"]
    assert [(source.name, source.trouble) for source in found.sources] == [("down", "it is down"), ("up", None)]


@virtual
async def test_an_inference_goes_to_the_first_who_has_the_model() -> None:
    market = Market({"one": Stall("one", "a/1"), "two": Stall("two", "b/1")}, Clock())
    request = InferenceRequest(model="b/1", body=ASK)
    assert (await market.run_inference(request)).provider == "two"
    with pytest.raises(ModelNotFound):
        await market.run_inference(request, market="one")
    with pytest.raises(InvalidInput, match="known are one, two"):
        await market.run_inference(request, market="three")


# A server, and clients.


@dataclass
class World:
    """A server, what plays Hugging Face, and what asks the server."""

    server: Server
    there: Stage
    http: httpx2.AsyncClient

    async def get(self, path: str, **query: Any) -> Any:
        answered = await self.http.get(path, params=query)
        assert answered.status_code == 200, answered.text
        return answered.json()


ADMIN = "an-admins-key"
CONFIGURATION: dict[str, Any] = {
    "providers": {"memory": {"options": {"start_delay": 0.01, "stop_delay": 0.01}}},
    "endpoints": {
        "chat": {
            "provider": "memory",
            "model": "org/own",
            "task": "text-generation",
            "command": "x --port {port}",
            "health_route": "/health",
            "price_per_hour": 3.6,
        }
    },
    "upstreams": {
        "elsewhere": {
            "base_url": "http://127.0.0.1:9/v1",
            "model": "org/rented",
            "price": {"input": 0.1, "output": 0.4},
        }
    },
}


@asynccontextmanager
async def world(
    folder: Path, monkeypatch: pytest.MonkeyPatch, *, keys: bool = False, told: bytes | None = None
) -> AsyncIterator[World]:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    body = answer(json.dumps(SAID).encode(), headers="content-type: application/json\r\n") if told is None else told
    async with stage() as there, endpoint(always(body)) as engine:
        monkeypatch.setenv("LAMPLIGHTER_CLOUD_URL", there.url)
        furnish(there)
        settings = json.loads(json.dumps(CONFIGURATION))
        settings["providers"]["memory"]["options"]["url"] = engine.url
        settings["server"] = {"port": 0, "data": str(folder / "data"), "drain_timeout": 1}
        if keys:
            settings["server"]["keys"] = [f"sha256:{hashlib.sha256(ADMIN.encode()).hexdigest()}"]
        async with (
            running(parse(json.dumps(settings), "server.yaml", {})) as server,
            httpx2.AsyncClient(base_url=server.url, timeout=20, trust_env=False) as http,
        ):
            there.asked.clear()
            yield World(server, there, http)


async def test_models_are_told_a_page_at_a_time_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with world(tmp_path, monkeypatch) as here:
        first = await here.get("/api/models", limit=2)
        assert [model["id"] for model in first["models"]] == [QWEN, "org/two"]
        assert first["models"][0]["license"] == "apache-2.0"
        second = await here.get("/api/models", limit=2, cursor=first["next"])
        assert ([model["id"] for model in second["models"]], second["next"]) == (["org/three"], None)
        before = len(here.there.asked)
        assert (await here.get("/api/models", limit=2))["models"] == first["models"]
        assert len(here.there.asked) == before


async def test_offers_join_what_is_here_with_what_is_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with world(tmp_path, monkeypatch) as here:
        found = await here.get("/api/offers", sort="model")
        by_model = {one["model"]: one for one in found["offers"]}
        assert set(by_model) == {DEEP, "org/own", "org/rented"}
        deep, own, rented = by_model[DEEP], by_model["org/own"], by_model["org/rented"]
        assert (deep["provider"], deep["price_per_million"], deep["context"]) == ("novita", "3.38", 1048576)
        assert (rented["price_per_million"], rented["endpoint"]) == ("0.40", "elsewhere")
        assert own["quotes"][0] | {"at": 0} == {
            "subject": "chat",
            "unit": "replica_hour",
            "amount": "3.60",
            "currency": "USD",
            "source": "configuration",
            "region": "",
            "at": 0,
            "age": 0,
        }
        assert 0 <= deep["quotes"][0]["age"] < 60
        assert (own["price_per_million"], own["price_basis"]) == (None, "not measured")
        assert {source["name"]: source["trouble"] for source in found["sources"]} == {"here": None, "huggingface": None}


async def test_an_hour_becomes_a_price_per_token_once_requests_were_answered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with world(tmp_path, monkeypatch) as here:
        answered = await here.http.post("/api/inference/chat", json=ASK)
        assert answered.json()["choices"][0]["message"]["content"] == "from here"
        (own,) = (await here.get("/api/offers", model="chat"))["offers"]
        assert own["measured"]["tokens"] == 700
        speed = own["measured"]["tokens_per_second"]
        assert float(own["price_per_million"]) == pytest.approx(3.6 / (speed * 3600) * 1e6, rel=1e-6)
        assert "700 tokens" in own["price_basis"]
        assert own["cold_start"] > 0


async def test_offers_are_paged_and_filtered_by_the_query(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with world(tmp_path, monkeypatch) as here:
        first = await here.get("/api/offers", limit=2)
        second = await here.get("/api/offers", limit=2, offset=first["next"])
        assert (first["total"], len(first["offers"]), len(second["offers"]), second["next"]) == (3, 2, 1, None)
        assert [one["model"] for one in (await here.get("/api/offers", max_price=1, kind="serverless"))["offers"]] == [
            "org/rented"
        ]
        assert [one["model"] for one in (await here.get("/api/offers", tools=True))["offers"]] == [DEEP]


WRONG: list[tuple[str, dict[str, Any], int, str, str]] = [
    ("/api/offers", {"region": "atlantis"}, 400, "region", "atlantis"),
    ("/api/offers", {"max_price": "cheap"}, 422, "max_price", "'cheap'"),
    ("/api/offers", {"max_price": "nan"}, 422, "max_price", "nan"),
    ("/api/offers", {"sort": "beauty"}, 422, "sort", "'beauty'"),
    ("/api/offers", {"limit": 0}, 422, "limit", "'0'"),
    ("/api/models", {"limit": 1000}, 422, "limit", "'1000'"),
    ("/api/models", {"market": "bazaar"}, 400, "market", "bazaar"),
    ("/api/models", {"cursor": "x"}, 400, "cursor", "begin anew"),
    ("/api/models", {"search": "a\nb"}, 400, "search", "'a\\nb'"),
    ("/api/models", {"id": "a/../../whoami-v2"}, 400, "id", "no name of a model"),
    ("/api/offers", {"model": ""}, 400, "model", "no name of a model"),
    ("/api/models", {"id": "a//b"}, 400, "id", "no name of a model"),
]


async def test_a_query_that_is_wrong_is_told_by_field_and_value(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with world(tmp_path, monkeypatch) as here:
        for path, query, status, field, says in WRONG:
            answered = await here.http.get(path, params=query)
            error = answered.json()["error"]
            assert (answered.status_code, error["field"]) == (status, field), query
            assert says in error["message"]
        assert here.there.questions("GET", HUB) == []


async def test_a_task_that_is_none_is_told_where_the_hub_just_lists_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with world(tmp_path, monkeypatch) as here:
        here.there.script("GET", HUB, Reply(body=[]))
        answered = await here.http.get("/api/models", params={"task": "text-to-imige"})
        error = answered.json()["error"]
        assert (answered.status_code, error["field"]) == (400, "task")
        assert "did you mean text-to-image" in error["message"]
        assert (await here.get("/api/models", task="text-to-image"))["models"] == []


WRONG_CALLS: list[tuple[str, dict[str, Any], bytes, str, str]] = [
    (f"/api/inference/{DEEP}", {}, b'{"messages": [{"content": NaN}]}', "payload", "NaN"),
    ("/api/inference/chat", {}, b'{"messages": [{"content": Infinity}]}', "payload", "NaN"),
    (f"/api/inference/{DEEP}", {}, b'{"messages": [{"content": "\\ud800"}]}', "payload", "half a character"),
    ("/api/inference/chat", {}, b'{"messages": [{"content": "\\ud800"}]}', "payload", "half a character"),
    ("/api/inference/a%00b", {}, b'{"messages": []}', "model", "no name of a model"),
    ("/api/inference/%2e%2e/whoami-v2", {}, b'{"inputs": "x"}', "model", "no name of a model"),
    ("/api/inference/a/%2e%2e%2f%2e%2e/whoami-v2", {}, b'{"inputs": "x"}', "model", "no name of a model"),
    (f"/api/inference/{DEEP}", {"provider": "a:b\r\nx"}, b'{"messages": []}', "provider", "should be a name"),
    (f"/api/inference/{DEEP}", {"timeout": "0"}, b'{"messages": []}', "timeout", "should be more than 0; got '0'"),
]


async def test_a_call_that_can_not_be_made_is_told_and_goes_nowhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with world(tmp_path, monkeypatch) as here:
        for path, query, content, field, says in WRONG_CALLS:
            url = f"{here.server.url}{path}"
            answered = await here.http.post(url, content=content, params=query)
            error = answered.json()["error"]
            assert (answered.status_code in {400, 422}, error["kind"]) == (True, "bad_input"), (path, error)
            assert error["field"] == field
            assert says in error["message"]
        assert here.there.asked == []


async def test_a_feed_that_is_down_is_told_and_the_rest_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with world(tmp_path, monkeypatch) as here:
        here.there.script("GET", ROUTER, Reply(404, {"error": "gone"}))
        found = await here.get("/api/offers")
        assert {one["model"] for one in found["offers"]} == {"org/own", "org/rented"}
        assert "404" in next(one["trouble"] for one in found["sources"] if one["name"] == "huggingface")


async def test_an_infer_key_reads_and_calls_what_is_here_and_nobody_without_one_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with world(tmp_path, monkeypatch, keys=True) as here:
        for method, path in (("GET", "/api/models"), ("GET", "/api/offers"), ("POST", f"/api/inference/{DEEP}")):
            assert (await here.http.request(method, path, json=ASK)).status_code == 401
        assert here.there.asked == []
        made = await here.http.post("/api/keys", json={"name": "ci"}, headers={"x-api-key": ADMIN})
        mine = {"authorization": f"Bearer {made.json()['secret']}"}
        assert (await here.http.get("/api/offers", headers=mine)).status_code == 200
        assert (await here.http.post("/api/inference/chat", json=ASK, headers=mine)).status_code == 200


async def made_key(here: World, **form: Any) -> dict[str, str]:
    """The header that shows a new key."""
    made = await here.http.post("/api/keys", json={"name": "ci", **form}, headers={"x-api-key": ADMIN})
    assert made.status_code == 201, made.text
    return {"authorization": f"Bearer {made.json()['secret']}"}


@pytest.mark.parametrize("query", [{}, {"market": "huggingface"}, {"provider": "novita"}])
async def test_a_key_spends_the_servers_token_only_where_somebody_decided_so(
    query: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with world(tmp_path, monkeypatch, keys=True) as here:
        infer = await made_key(here, name="infer")
        local = await made_key(here, name="local", routes=["chat"])
        named = await made_key(here, name="named", routes=["chat", DEEP])
        operate = await made_key(here, name="operate", role="operate")
        bound = await made_key(here, name="bound", role="operate", routes=["chat"])

        async def call(key: dict[str, str], model: str) -> tuple[int, str | None]:
            answered = await here.http.post(f"/api/inference/{model}", json=ASK, headers=key, params=query)
            return answered.status_code, answered.json().get("error", {}).get("kind")

        assert await call(infer, DEEP) == (403, "auth")
        assert await call(local, DEEP) == await call(bound, DEEP) == (404, "not_found")
        assert await call(named, QWEN) == await call(named, f"{DEEP}:fastest") == (404, "not_found")
        if query:  # then it is no name of this server, and the right to call that one is no right to this
            assert await call(local, "chat") == ((400, "bad_input") if "provider" in query else (404, "not_found"))
            assert await call(named, "other") == (404, "not_found")
        assert here.there.questions("POST") == []
        assert await call(named, DEEP) == await call(operate, DEEP) == (200, None)


async def test_why_a_key_may_not_call_what_is_elsewhere_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with world(tmp_path, monkeypatch, keys=True) as here:
        refused = await here.http.post(f"/api/inference/{DEEP}", json=ASK, headers=await made_key(here))
        error = refused.json()["error"]
        assert error["code"] == "role_missing"
        assert DEEP in error["message"]
        assert "'operate', or one that was made for this very model" in error["message"]


async def test_a_key_for_some_models_calls_no_others_wherever_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with world(tmp_path, monkeypatch, keys=True) as here:
        form = {"name": "ci", "routes": ["chat"], "limits": {"requests_per_minute": 1}}
        made = await here.http.post("/api/keys", json=form, headers={"x-api-key": ADMIN})
        mine = {"authorization": f"Bearer {made.json()['secret']}"}
        refused = await here.http.post(f"/api/inference/{DEEP}", json=ASK, headers=mine)
        assert (refused.status_code, refused.json()["error"]["kind"]) == (404, "not_found")
        assert here.there.questions("POST") == []


async def test_calls_elsewhere_count_towards_the_limits_of_a_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with world(tmp_path, monkeypatch, keys=True) as here:
        form = {"name": "ci", "routes": ["chat", DEEP], "limits": {"requests_per_minute": 1}}
        made = await here.http.post("/api/keys", json=form, headers={"x-api-key": ADMIN})
        mine = {"authorization": f"Bearer {made.json()['secret']}"}
        assert (await here.http.post(f"/api/inference/{DEEP}", json=ASK, headers=mine)).status_code == 200
        for model in (DEEP, "chat"):
            refused = await here.http.post(f"/api/inference/{model}", json=ASK, headers=mine)
            assert (refused.status_code, refused.json()["error"]["kind"]) == (429, "rate_limit")


async def test_a_model_elsewhere_answers_with_the_servers_token_and_not_the_clients_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with world(tmp_path, monkeypatch, keys=True) as here:
        answered = await here.http.post(f"/api/inference/{DEEP}", json=ASK, headers={"x-api-key": ADMIN})
        assert answered.headers["x-lamplighter-provider"] == "novita"
        (asked,) = here.there.questions("POST", CHAT)
        assert asked.token == f"Bearer {TOKEN}"
        assert asked.body["model"] == DEEP
        assert ADMIN not in str(asked)


async def test_a_refused_token_of_the_server_says_nothing_of_the_clients_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with world(tmp_path, monkeypatch) as here:
        here.there.script("POST", CHAT, Reply(401, {"error": "Invalid credentials"}))
        refused = await here.http.post(f"/api/inference/{DEEP}", json=ASK)
        error = refused.json()["error"]
        assert (refused.status_code, error["kind"]) == (502, "unavailable")
        assert "token that this server has" in error["message"]
        assert "www-authenticate" not in refused.headers


async def test_a_payload_that_is_wrong_is_told_before_anything_is_woken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = {b"": "empty", b"{": "not JSON", b"[1]": "object", b'{"text": 1}': "messages, prompt, input and inputs"}
    async with world(tmp_path, monkeypatch) as here:
        for content, says in wrong.items():
            refused = await here.http.post("/api/inference/chat", content=content)
            error = refused.json()["error"]
            assert (refused.status_code, error["field"], error["kind"]) == (400, "payload", "bad_input")
            assert says in error["message"]
        assert (await here.get("/api/endpoints/status/chat"))["endpoint"]["status"] == "sleeping"


async def test_a_failure_of_a_model_here_has_the_same_shape(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    body = b'{"error": {"message": "temperature must be positive", "type": "invalid_request_error"}}'
    told = answer(body, status="400 Bad Request", headers="content-type: application/json\r\n")
    async with world(tmp_path, monkeypatch, told=told) as here:
        refused = await here.http.post("/api/inference/chat", json=ASK)
        error = refused.json()["error"]
        assert (refused.status_code, error["kind"], refused.headers["x-lamplighter-target"]) == (
            400,
            "bad_input",
            "chat",
        )
        assert "temperature must be positive" in error["message"]


async def test_a_model_that_nobody_has_is_not_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with world(tmp_path, monkeypatch) as here:
        here.there.script("POST", CHAT, Reply(404, {"error": "no such model"}))
        refused = await here.http.post("/api/inference/no/body", json=ASK)
        error = refused.json()["error"]
        assert (refused.status_code, error["code"], error["kind"]) == (404, "model_not_found", "not_found")


async def test_a_stream_of_a_model_here_passes_through(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = answer(b'data: {"x": 1}\n\ndata: [DONE]\n\n', headers="content-type: text/event-stream\r\n")
    async with world(tmp_path, monkeypatch, told=told) as here:
        answered = await here.http.post("/api/inference/chat", json={**ASK, "stream": True})
        assert answered.headers["content-type"] == "text/event-stream"
        assert answered.text.endswith("data: [DONE]\n\n")
        assert len(answered.headers.get_list("x-request-id")) == 1


# Clients.


async def test_a_client_of_a_server_has_models_offers_and_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with world(tmp_path, monkeypatch) as here, AsyncClient(here.server.url) as client:
        found = await client.models(limit=2)
        assert ([model.id for model in found], found.more) == ([QWEN, "org/two"], True)
        assert found[0].precision == {"BF16": 8_190_735_360}
        everything = await client.models(limit=50)
        assert (len(everything), everything.more) == (3, False)
        offers = await client.offers(kind="serverless")
        assert [(offer.model, offer.price_per_million) for offer in offers] == [
            ("org/rented", Decimal("0.4")),
            (DEEP, Decimal("3.38")),
        ]
        assert {source.name for source in offers.sources} == {"here", "huggingface"}
        assert (await client.run_inference("chat", ASK)).tokens == (5, 700)
        assert (await client.run_inference(DEEP, ASK)).provider == "novita"


async def test_a_client_sends_nothing_that_is_no_json(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with world(tmp_path, monkeypatch) as here, AsyncClient(here.server.url) as client:
        for wrong in (float("nan"), "\ud800", {1, 2}):
            with pytest.raises(InvalidInput, match="payload: it holds what JSON can't"):
                await client.run_inference("chat", {"messages": [], "more": wrong})


async def test_a_client_of_a_server_is_told_failures_by_the_same_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with world(tmp_path, monkeypatch) as here, AsyncClient(here.server.url) as client:
        for status, failure in ((402, FailureKind.PAYMENT), (503, FailureKind.OVERLOADED), (504, FailureKind.TIMEOUT)):
            here.there.script("POST", CHAT, Reply(status, {"error": "no"}))
            with pytest.raises(LamplighterError) as caught:
                await client.run_inference(DEEP, ASK)
            assert failure_of(caught.value) is failure


async def test_a_client_without_a_server_asks_hugging_face_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    async with stage() as there:
        for name in VARIABLES:
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        monkeypatch.setenv("LAMPLIGHTER_CLOUD_URL", there.url)
        furnish(there)
        there.script("GET", ROUTER, listing(served(DEEP), served("org/b", novita(pricing={"output": 0.5}))))
        async with AsyncClient() as client:
            assert [model.id for model in await client.models()] == [QWEN, "org/two", "org/three"]
            assert [offer.model for offer in await client.offers()] == ["org/b", DEEP]
            assert (await client.run_inference(DEEP, ASK)).json()["choices"][0]["message"]["content"] == "four"
            for wrong in ({"limit": 0}, {"limit": 1.5}):
                with pytest.raises(InvalidInput, match="limit"):
                    await client.models(**wrong)
            with pytest.raises(InvalidInput, match="max_price"):
                await client.offers(max_price="cheap")


async def test_a_model_is_offered_on_hardware_that_it_fits_on(monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.cli_cloud import HARDWARE  # noqa: PLC0415

    async with stage() as there:
        for name in VARIABLES:
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        monkeypatch.setenv("LAMPLIGHTER_CLOUD_URL", there.url)
        furnish(there)
        there.script("GET", "/v2/provider/me", Reply(body=HARDWARE))
        async with AsyncClient() as client:
            (found,) = await client.offers(model=QWEN)
            assert (found.hardware, found.region, found.tags) == (
                "aws-us-east-1-nvidia-l4-x1",
                "us-east-1",
                ("region=us",),
            )
            assert [quote.amount for quote in found.quotes] == [Decimal("0.8")]
            assert found.price_basis == "not measured"
            there.script("GET", f"{HUB}/org/none", Reply(404, {"error": "no"}))
            assert await client.offers(model="org/none") == []


async def test_a_key_for_a_route_sees_no_offers_and_prices_of_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with world(tmp_path, monkeypatch, keys=True) as here:
        root = {"x-api-key": ADMIN}

        async def seen(key: dict[str, str]) -> tuple[set[str], set[str], dict[str, Any]]:
            offers = (await here.http.get("/api/offers", headers=key)).raise_for_status().json()
            prices = (await here.http.get("/api/pricing", headers=key)).raise_for_status().json()["prices"]
            own = {one["endpoint"] for one in offers["offers"] if one["endpoint"]}
            assert offers["total"] == len(offers["offers"])
            return own, {one["subject"] for one in prices if one["source"] == "configuration"}, offers

        everything = {"chat", "elsewhere"}
        assert (await seen(root))[:2] == (everything, everything)
        assert (await seen(await made_key(here, name="any")))[:2] == (everything, everything)
        own, priced, offers = await seen(await made_key(here, name="one", routes=["chat"]))
        assert (own, priced) == ({"chat"}, {"chat"})
        assert {one["cost_basis"] for one in offers["offers"]} == {"told to keys with the role operate"}
        assert DEEP in {one["model"] for one in offers["offers"]}  # what the world has on offer is nobody's secret
        assert (await seen(await made_key(here, name="both", role="operate", routes=["chat"])))[0] == everything


@pytest.mark.parametrize(("path", "wrong"), [("/api/offers", "max_prices"), ("/api/models", "modality")])
async def test_a_filter_that_a_route_has_none_of_is_refused(
    path: str, wrong: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with world(tmp_path, monkeypatch) as here:
        refused = await here.http.get(path, params={wrong: "1"})
        assert refused.status_code == 400
        assert f"{wrong}: no such filter" in refused.text


class Priced(Stall):
    """One that names prices."""

    quotes: Sequence[Quote] = ()

    async def get_pricing(self) -> Sequence[Quote]:
        return self.quotes


async def test_an_offer_has_no_price_that_the_book_refuses_also_right_after_a_start() -> None:
    async with stage() as played:
        played.script(
            "GET", "/v1/models", Reply(body=books.listed(books.model("a/b", books.served("novita", 0.1, 0.2))))
        )
        async with books.opened(books.router_feed(played)) as book:
            stall = Priced("novita", "a/b")
            stall.quotes = [
                Quote(subject="novita/a/b", unit=unit, amount=amount, source="router", at=1.0)
                for unit, amount in ((Unit.MILLION_TOKENS_IN, Decimal(500)), (Unit.MILLION_TOKENS_OUT, Decimal("0.3")))
            ]
            market = Market({"router": stall}, Clock(), prices=book)  # new: what it was told before it does not know
            (offer,) = (await market.offers(OfferFilter())).offers
            assert [one.amount for one in offer.quotes] == [Decimal("0.1"), Decimal("0.3")]


async def test_a_provider_for_a_model_of_this_server_is_told_to_be_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with world(tmp_path, monkeypatch) as here:
        refused = await here.http.post("/api/inference/chat", params={"provider": "x"}, json=ASK)
        assert (refused.status_code, refused.json()["error"]["field"]) == (400, "provider")
        assert "a model of this server" in refused.text
