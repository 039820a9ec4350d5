"""The Hub and the router as a marketplace, spoken to over real HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Any

import pytest

from lamplighter.domain.inference import FailureKind, InferenceRequest, failure_of
from lamplighter.domain.model_filter import ModelFilter
from lamplighter.domain.money import Unit
from lamplighter.domain.offers import ModelRecord
from lamplighter.domain.secret import Secret
from lamplighter.errors import (
    Forbidden,
    InvalidInput,
    LamplighterError,
    ModelNotFound,
    ProviderError,
    RateLimited,
    TokenMissing,
)
from lamplighter.hf.hosts import Hosts
from lamplighter.hf.pace import Pace
from lamplighter.providers.huggingface.market import HuggingFaceMarket
from tests.hf_stage import DROPPED, TOKEN, Reply, Stage, Time, stage
from tests.hub_stage import CHAT, DEEP, HUB, QWEN, ROUTER, completion, hub_model, listing, novita, pages, served

ASK = {"messages": [{"role": "user", "content": "2+2?"}]}


@asynccontextmanager
async def market(there: Stage, time: Time | None = None, token: str | None = TOKEN) -> AsyncIterator[HuggingFaceMarket]:
    passing = time or Time()

    async def find() -> Secret | None:
        return Secret(token) if token else None

    hosts = Hosts(management=there.url, hub=there.url, catalog=there.url, is_cloud=True, router=there.url)
    one = HuggingFaceMarket(
        hosts,
        find,
        timeout=5.0,
        pace=Pace(attempts=3, base=1.0, deadline=400.0),
        clock=passing.clock,
        wall=passing.wall,
        sleep=passing.sleep,
        chance=lambda: 0.5,
    )
    try:
        yield one
    finally:
        await one.close()


async def listed(one: HuggingFaceMarket, **wanted: Any) -> list[ModelRecord]:
    return [model async for page in one.list_models(ModelFilter(**wanted)) for model in page.models]


# Listing.


async def test_every_page_is_read_by_the_link_of_the_one_before() -> None:
    async with stage() as there, market(there) as one:
        there.script("GET", HUB, pages([hub_model("a/1"), hub_model("a/2")], [hub_model("a/3")], [hub_model("a/4")]))
        assert [model.id for model in await listed(one, limit=2)] == ["a/1", "a/2", "a/3", "a/4"]
        first, second, _ = there.questions("GET", HUB)
        assert (first.query["limit"], "cursor" in first.query) == ("2", False)
        assert second.query["cursor"] == "1"
        assert first.token == second.token == f"Bearer {TOKEN}"


async def test_a_listing_goes_on_at_a_cursor_with_the_same_filters() -> None:
    async with stage() as there, market(there) as one:
        there.script("GET", HUB, pages([hub_model("a/1")], [hub_model("a/2")], [hub_model("a/3")]))
        found = one.list_models(ModelFilter(search="x", limit=2))
        cursor = (await anext(found)).next
        await found.aclose()  # type: ignore[attr-defined]
        assert [model.id for model in await listed(one, search="x", limit=2, cursor=cursor)] == ["a/2", "a/3"]
        assert there.asked[-1].query["search"] == "x"


@pytest.mark.parametrize("cursor", ["limit=100000", "search=secret", "expand=siblings", "nonsense", "cursor=%zz&="])
async def test_a_cursor_that_no_page_told_is_refused(cursor: str) -> None:
    async with stage() as there, market(there) as one:
        there.script("GET", HUB, pages([hub_model()]))
        if cursor.startswith("cursor"):
            await listed(one, cursor="cursor=0")
            return
        with pytest.raises(InvalidInput, match="cursor"):
            await listed(one, cursor=cursor)
        assert there.questions("GET", HUB) == []


async def test_a_link_to_another_host_is_not_followed_and_no_token_goes_there() -> None:
    async with stage() as there, stage() as elsewhere, market(there) as one:
        elsewhere.script("GET", HUB, Reply(body=[hub_model("evil/one")]))
        there.script("GET", HUB, pages([hub_model()], [hub_model()], to=elsewhere.url))
        with pytest.raises(ProviderError, match="not followed"):
            await listed(one)
        assert elsewhere.asked == []


async def test_a_link_to_another_route_of_the_same_host_is_not_followed() -> None:
    async with stage() as there, market(there) as one:
        link = {"Link": '</api/settings?cursor=1>; rel="next"'}
        there.script("GET", HUB, Reply(body=[hub_model()], headers=link))
        with pytest.raises(ProviderError, match="not followed"):
            await listed(one)


async def test_a_listing_that_goes_in_a_circle_ends() -> None:
    async with stage() as there, market(there) as one:
        link = {"Link": f'<{HUB}?cursor=7>; rel="next"'}
        there.script("GET", HUB, Reply(body=[hub_model()], headers=link))
        assert len(await listed(one)) == 2


async def test_filters_are_the_hubs_own() -> None:
    async with stage() as there, market(there) as one:
        there.script("GET", HUB, Reply(body=[]))
        await listed(one, author="org", task="text-to-image", license="mit", provider="groq", sort="trending", limit=7)
        query = there.asked[-1].query
        assert query | {"expand": ""} == {
            "author": "org",
            "pipeline_tag": "text-to-image",
            "filter": "license:mit",
            "inference_provider": "groq",
            "sort": "trendingScore",
            "limit": "7",
            "expand": "",
        }


async def test_a_kind_of_task_is_sifted_here_for_the_hub_knows_none() -> None:
    async with stage() as there, market(there) as one:
        draws = hub_model("a/draws", pipeline_tag="text-to-image")
        there.script("GET", HUB, pages([hub_model(), draws]))
        assert [model.id for model in await listed(one, task="image")] == ["a/draws"]
        assert "pipeline_tag" not in there.asked[-1].query


async def test_a_card_is_read_and_what_nobody_knows_is_left_out() -> None:
    async with stage() as there, market(there) as one:
        there.script("GET", HUB, pages([hub_model()]))
        (model,) = await listed(one)
        assert model == ModelRecord(
            id=QWEN,
            task="text-generation",
            modality="text",
            license="apache-2.0",
            downloads=1_000_000,
            likes=512,
            parameters=8_190_735_360,
            precision={"BF16": 8_190_735_360},
            providers=model.providers,
            tags=("transformers", "safetensors", "license:apache-2.0", "region:us"),
            source="huggingface",
        )
        assert [(who.provider, who.status, who.task) for who in model.providers] == [
            ("novita", "live", "conversational")
        ]


async def test_a_mapping_by_provider_and_a_gguf_file_are_read_too() -> None:
    mapping = {"groq": {"status": "live", "providerId": "x", "task": "conversational"}, "odd": 3}
    raw = {
        "id": "a/b",
        "inferenceProviderMapping": mapping,
        "gguf": {"total": 5, "context_length": 4096},
        "gated": "auto",
    }
    async with stage() as there, market(there) as one:
        there.script("GET", HUB, Reply(body=[raw]))
        (model,) = await listed(one)
        assert ([who.provider for who in model.providers], model.parameters, model.context) == (["groq"], 5, 4096)
        assert model.gated


async def test_missing_and_odd_fields_are_left_at_nothing() -> None:
    odd = {
        "id": "a/b",
        "pipeline_tag": 7,
        "downloads": "many",
        "likes": -3,
        "tags": "x",
        "safetensors": [],
        "inferenceProviderMapping": [{"status": "live"}, 4],
        "gated": None,
    }
    async with stage() as there, market(there) as one:
        there.script("GET", HUB, Reply(body=[odd, {"no": "id"}, "text", None]))
        assert await listed(one) == [ModelRecord(id="a/b", source="huggingface")]


@pytest.mark.parametrize("body", [{"models": []}, "<html>", b"\xff\xfe", [{"no": "id"}], "[1, 2"])
async def test_garbage_is_told_as_such(body: Any) -> None:
    async with stage() as there, market(there) as one:
        there.script("GET", HUB, Reply(body=body))
        with pytest.raises(ProviderError):
            await listed(one)


async def test_half_a_page_and_a_lost_connection_are_asked_for_again() -> None:
    async with stage() as there, market(there) as one:
        there.script("GET", HUB, Reply(body=[hub_model()], cut=True), DROPPED, Reply(body=[hub_model()]))
        assert len(await listed(one)) == 1


# Rate limits.


async def test_a_429_is_waited_out_by_what_the_hub_says() -> None:
    time = Time()
    async with stage() as there, market(there, time) as one:
        told = {"RateLimit": '"api";r=0;t=120', "RateLimit-Policy": '"fixed window";"api";q=500;w=300'}
        there.script("GET", HUB, Reply(429, {"error": "too many"}, headers=told), pages([hub_model()]))
        assert len(await listed(one)) == 1
        assert time.slept == [pytest.approx(120.5)]


async def test_a_429_beyond_all_patience_is_told_with_its_wait() -> None:
    async with stage() as there, market(there) as one:
        there.script("GET", HUB, Reply(429, {"error": "too many"}, headers={"Retry-After": "1000"}))
        with pytest.raises(RateLimited) as caught:
            await listed(one)
        assert caught.value.retry_after == 1000
        assert len(there.questions("GET", HUB)) == 1


async def test_the_next_page_waits_for_the_next_window_when_this_one_is_used_up() -> None:
    time = Time()
    async with stage() as there, market(there, time) as one:
        there.script("GET", HUB, pages([hub_model("a/1")], [hub_model("a/2")], RateLimit='"api";r=0;t=77'))
        assert len(await listed(one)) == 2
        assert time.slept == [77]


async def test_a_window_that_is_too_far_away_is_told_and_not_waited_for() -> None:
    time = Time()
    async with stage() as there, market(there, time) as one:
        there.script("GET", HUB, pages([hub_model("a/1")], [hub_model("a/2")], RateLimit='"api";r=0;t=9000'))
        with pytest.raises(RateLimited):
            await listed(one)
        assert time.slept == []


# One model.


async def test_one_model_is_found_by_its_name() -> None:
    async with stage() as there, market(there) as one:
        there.script("GET", f"{HUB}/{QWEN}", Reply(body=hub_model()))
        assert [model.id for model in await listed(one, id=QWEN)] == [QWEN]


@pytest.mark.parametrize(
    "reply", [Reply(404, {"error": "Repository not found"}), Reply(401, {}, headers={"X-Error-Code": "RepoNotFound"})]
)
async def test_a_model_that_is_not_there_is_not_found(reply: Reply) -> None:
    async with stage() as there, market(there) as one:
        there.script("GET", f"{HUB}/a/b", reply)
        with pytest.raises(ModelNotFound, match="'a/b'"):
            await listed(one, id="a/b")


async def test_a_gated_model_says_what_to_do() -> None:
    async with stage() as there, market(there) as one:
        there.script("GET", f"{HUB}/a/b", Reply(403, {}, headers={"X-Error-Code": "GatedRepo"}))
        with pytest.raises(Forbidden, match="gated"):
            await listed(one, id="a/b")


# The router.


async def test_what_the_router_serves_is_listed_with_its_terms_and_prices_in_one_question() -> None:
    async with stage() as there, market(there, token=None) as one:
        there.script("GET", ROUTER, listing(served(DEEP, novita(), {"provider": "groq", "status": "error"})))
        (model,) = await listed(one, served=True)
        first, second = model.providers
        assert (first.throughput, first.first_token, first.tools, first.context) == (24.69, 1.49, True, 1048576)
        assert (second.status, second.throughput, second.tools) == ("error", None, None)
        quotes = await one.get_pricing()
        assert {(quote.subject, quote.unit, quote.amount, quote.source) for quote in quotes} == {
            (f"novita/{DEEP}", Unit.MILLION_TOKENS_IN, Decimal("1.69"), "router"),
            (f"novita/{DEEP}", Unit.MILLION_TOKENS_OUT, Decimal("3.38"), "router"),
        }
        assert len(there.asked) == 1
        assert there.asked[0].token is None


@pytest.mark.parametrize("price", [-1, 0, 1e12, "cheap", None, True, [1]])
async def test_an_absurd_price_is_no_quote(price: Any) -> None:
    async with stage() as there, market(there) as one:
        there.script("GET", ROUTER, listing(served(DEEP, novita(pricing={"input": 1.5, "output": price}))))
        assert [quote.unit for quote in await one.get_pricing()] == [Unit.MILLION_TOKENS_IN]


# One call for all.


async def test_a_chat_goes_to_the_router_with_the_token_and_the_pinned_provider() -> None:
    async with stage() as there, market(there) as one:
        there.script("POST", CHAT, completion())
        answer = await one.run_inference(InferenceRequest(model=DEEP, body=ASK, provider="novita"))
        assert (answer.provider, answer.tokens) == ("novita", (5, 7))
        assert answer.json()["choices"][0]["message"]["content"] == "four"
        (asked,) = there.asked
        assert asked.body == {**ASK, "model": f"{DEEP}:novita"}
        assert asked.token == f"Bearer {TOKEN}"


async def test_a_task_goes_to_who_takes_it_by_the_models_mapping() -> None:
    own = {"provider": "hf-inference", "providerId": "org/embed", "status": "live", "task": "feature-extraction"}
    async with stage() as there, market(there) as one:
        there.script("GET", f"{HUB}/org/embed", Reply(body=hub_model("org/embed", inferenceProviderMapping=[own])))
        there.script("POST", "/hf-inference/models/org/embed/pipeline/feature-extraction", Reply(body=[[0.5]]))
        answer = await one.run_inference(InferenceRequest(model="org/embed", body={"inputs": "hi"}))
        assert answer.json() == [[0.5]]


async def test_a_name_that_leads_elsewhere_is_no_name_whoever_tells_it() -> None:
    mapping = [{"provider": "hf-inference", "providerId": "../../whoami-v2", "status": "live", "task": "fill-mask"}]
    async with stage() as there, market(there) as ours:
        there.script("GET", f"{HUB}/{QWEN}", Reply(body=hub_model(inferenceProviderMapping=mapping)))
        with pytest.raises(ProviderError, match="a name of it that is none"):
            await ours.run_inference(InferenceRequest(model=QWEN, body={"inputs": "x"}))
        assert there.questions("POST") == []


async def test_an_image_comes_back_as_it_is() -> None:
    own = {"hf-inference": {"providerId": "org/draw", "status": "live", "task": "text-to-image"}}
    async with stage() as there, market(there) as one:
        there.script("GET", f"{HUB}/org/draw", Reply(body=hub_model("org/draw", inferenceProviderMapping=own)))
        image = Reply(body=b"\x89PNG\xff", headers={"Content-Type": "image/png"})
        there.script("POST", "/hf-inference/models/org/draw", image)
        answer = await one.run_inference(InferenceRequest(model="org/draw", body={"inputs": "a lamp"}))
        assert (answer.content_type, answer.body) == ("image/png", b"\x89PNG\xff")


async def test_a_task_that_nobody_takes_in_its_own_form_says_who_serves_the_model() -> None:
    async with stage() as there, market(there) as one:
        there.script("GET", f"{HUB}/{QWEN}", Reply(body=hub_model()))
        with pytest.raises(ModelNotFound, match="served by novita"):
            await one.run_inference(InferenceRequest(model=QWEN, body={"inputs": "hi"}))


@pytest.mark.parametrize("body", [{"input": "x"}, {"prompt": "x"}, {**ASK, "stream": True}])
async def test_what_the_router_does_not_take_is_refused_before_anything_is_asked(body: dict[str, Any]) -> None:
    async with stage() as there, market(there) as one:
        with pytest.raises(InvalidInput):
            await one.run_inference(InferenceRequest(model=DEEP, body=body))
        assert there.asked == []


async def test_without_a_token_nothing_is_called_and_the_variable_is_named() -> None:
    async with stage() as there, market(there, token=None) as one:
        with pytest.raises(TokenMissing, match="HF_TOKEN"):
            await one.run_inference(InferenceRequest(model=DEEP, body=ASK))
        assert there.asked == []


NOT_SUPPORTED = {
    "error": {
        "message": "The requested model 'x' is not supported by any provider you have enabled.",
        "type": "invalid_request_error",
        "param": "model",
        "code": "model_not_supported",
    }
}


@pytest.mark.parametrize(
    ("reply", "failure"),
    [
        (Reply(401, {"error": "Invalid credentials in Authorization header"}), FailureKind.AUTH),
        (Reply(403, {"error": "missing permissions: inference.serverless.write"}), FailureKind.AUTH),
        (Reply(402, {"error": "You have exceeded your monthly included credits"}), FailureKind.PAYMENT),
        (Reply(429, {"error": "too many"}, headers={"Retry-After": "100"}), FailureKind.RATE_LIMIT),
        (Reply(400, NOT_SUPPORTED), FailureKind.NOT_FOUND),
        (Reply(404, {"error": "Not Found"}), FailureKind.NOT_FOUND),
        (Reply(400, {"error": {"message": "messages: field required"}}), FailureKind.BAD_INPUT),
        (Reply(422, {"error": ["temperature must be positive"]}), FailureKind.BAD_INPUT),
        (Reply(413, "too large"), FailureKind.BAD_INPUT),
        (Reply(503, {"error": "Model too busy"}), FailureKind.OVERLOADED),
        (Reply(529, {"error": "overloaded"}), FailureKind.OVERLOADED),
        (Reply(504, "<html>Gateway Timeout</html>"), FailureKind.TIMEOUT),
        (Reply(500, {"error": "boom"}), FailureKind.UNAVAILABLE),
        (Reply(502, ""), FailureKind.UNAVAILABLE),
        (DROPPED, FailureKind.UNAVAILABLE),
    ],
)
async def test_every_refusal_is_one_of_the_set_and_is_not_sent_twice(reply: Reply, failure: FailureKind) -> None:
    async with stage() as there, market(there) as one:
        there.script("POST", CHAT, reply)
        with pytest.raises(LamplighterError) as caught:
            await one.run_inference(InferenceRequest(model=DEEP, body=ASK, timeout=60))
        assert failure_of(caught.value) is failure
        assert TOKEN not in caught.value.message
        assert len(there.asked) == 1


async def test_a_429_is_waited_out_for_nothing_was_executed() -> None:
    time = Time()
    async with stage() as there, market(there, time) as one:
        there.script("POST", CHAT, Reply(429, {}, headers={"Retry-After": "2"}), completion())
        assert (await one.run_inference(InferenceRequest(model=DEEP, body=ASK))).tokens == (5, 7)
        assert time.slept == [pytest.approx(2.25, abs=0.3)]
