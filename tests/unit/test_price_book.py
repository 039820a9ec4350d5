"""The price book over real HTTP: feeds that tell, change, lie, break off, and are gone; and what endpoints then cost."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from lamplighter.config import parse
from lamplighter.control.clock import Clock
from lamplighter.control.feed_keeper import FeedKeeper, FeedPace
from lamplighter.control.feeds import Feed, HardwareFeed, Heard, ListFeed, RouterFeed
from lamplighter.control.list_prices import ListPrices
from lamplighter.control.price_sources import price_sources
from lamplighter.control.prices import PriceBook, Sources
from lamplighter.domain.catalogue import Catalogue
from lamplighter.domain.endpoint import Endpoint, EngineSpec, Phase, Spec, State
from lamplighter.domain.money import Unit
from lamplighter.domain.prices import FeedState, Kind, Listing, Rate, Tariff, Told
from lamplighter.domain.routing import TokenPrice, Upstream
from lamplighter.errors import EndpointNotFound, ProviderError, StoreError
from lamplighter.hf.pace import ONCE, Pace
from lamplighter.hf.router import RouterApi
from lamplighter.hf.snapshot import published
from lamplighter.providers.huggingface import make_provider
from lamplighter.providers.local import LocalProvider
from lamplighter.providers.memory import MemoryProvider
from lamplighter.store import Store
from tests.hf_stage import DROPPED, Reply, Stage, stage
from tests.virtual_time import virtual

NOW = 1_800_000_000.0
HOUR = 3600.0
HARDWARE = "/v2/provider/me"
MODELS = "/v1/models"
SOON = FeedPace(deadline=5.0)

Place = dict[str, str]
L4: Place = {"vendor": "aws", "region": "us-east-1", "type": "nvidia-l4", "size": "x1"}


class Settable(Clock):
    """Unix time that a test sets."""

    def __init__(self) -> None:
        super().__init__()
        self.unix = NOW

    def wall(self) -> float:
        return self.unix


class Endpoints:
    """The fleet, as far as prices are concerned."""

    def __init__(self, *endpoints: Endpoint) -> None:
        self.by_name = {one.spec.name: one for one in endpoints}

    def endpoints(self) -> Sequence[Endpoint]:
        return list(self.by_name.values())

    def endpoint(self, name: str) -> Endpoint:
        if name not in self.by_name:
            raise EndpointNotFound(name, self.by_name)
        return self.by_name[name]

    def put(self, endpoint: Endpoint) -> None:
        self.by_name[endpoint.spec.name] = endpoint


def endpoint(name: str = "e", place: Place | None = None, **more: Any) -> Endpoint:
    document = None
    if place is not None:
        document = {
            "provider": {"vendor": place["vendor"], "region": place["region"]},
            "compute": {"instanceType": place["type"], "instanceSize": place["size"]},
        }
    spec = Spec(name=name, provider=more.pop("provider", "huggingface"), engine=EngineSpec(engine="hosted"), **more)
    return Endpoint(spec=spec, state=State.SCALED_TO_ZERO, phase=Phase.SLEEPING, document=document)


def compute(price: object = 0.8, *, kind: str = "nvidia-l4", size: str = "x1", **more: Any) -> dict[str, Any]:
    found = {
        "id": f"aws-us-east-1-{kind}-{size}",
        "accelerator": "gpu",
        "numAccelerators": 1,
        "numCpus": 7,
        "memoryGb": 30.0,
        "gpuMemoryGb": 24,
        "instanceType": kind,
        "instanceSize": size,
        "architecture": "Nvidia",
        "status": "available",
        "pricePerHour": price,
        "quota": {"maxAccelerators": 16, "usedAccelerators": 1},
    }
    return {key: value for key, value in (found | more).items() if value is not ...}


def vendors(*computes: dict[str, Any]) -> dict[str, Any]:
    region = {"name": "us-east-1", "label": "N. Virginia", "status": "available", "computes": list(computes)}
    return {"vendors": [{"name": "aws", "status": "available", "regions": [region]}]}


def model(name: str = "deepseek-ai/DeepSeek-V4-Pro", *providers: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": name,
        "object": "model",
        "created": 1776837885,
        "owned_by": name.partition("/")[0],
        "architecture": {"input_modalities": ["text"], "output_modalities": ["text"]},
        "providers": list(providers or (served(),)),
    }


def served(provider: str = "novita", input: object = 1.69, output: object = 3.38, **more: Any) -> dict[str, Any]:  # noqa: A002
    return {
        "provider": provider,
        "status": "live",
        "context_length": 1048576,
        "pricing": {"input": input, "output": output},
        "is_free": False,
        "supports_tools": True,
        "supports_structured_output": False,
        "first_token_latency_ms": 1490,
        "throughput": 24.69,
        "is_model_author": False,
    } | more


def listed(*models: dict[str, Any]) -> dict[str, Any]:
    return {"object": "list", "data": list(models)}


class OwnFeed(HardwareFeed):
    """The feed of a provider that nobody else closes."""

    async def close(self) -> None:
        await self._provider.close()


def hardware_feed(played: Stage, name: str = "huggingface", **retry: Any) -> OwnFeed:
    given = {"base_url": played.url, "namespace": "me", "retry": {"attempts": 1, "base": 0.01, "deadline": 5} | retry}
    return OwnFeed(name, make_provider(given, {}))


def router_feed(played: Stage, *, pace: Pace = ONCE, **more: Any) -> RouterFeed:
    return RouterFeed(RouterApi(f"{played.url}/v1", pace=pace, timeout=5.0, **more))


@contextlib.asynccontextmanager
async def opened(
    *feeds: Feed,
    fleet: Endpoints | None = None,
    store: Store | None = None,
    clock: Settable | None = None,
    pace: FeedPace = SOON,
    **sources: Any,
) -> AsyncIterator[PriceBook]:
    """A book whose feeds have been asked once."""
    kept = store or await Store.open(":memory:")
    book = PriceBook(
        fleet or Endpoints(),
        kept,
        clock or Settable(),
        Sources(feeds=feeds, pace=pace, **sources),
        chance=lambda: 0.5,
    )
    await book.open()
    try:
        await heard(book)
        yield book
    finally:
        await book.close()
        if store is None:
            await kept.close()


async def heard(book: PriceBook) -> None:
    async with asyncio.timeout(10):
        while any(state.next_at is None for state in book.feeds()):  # noqa: ASYNC110 - nobody tells that it was asked
            await asyncio.sleep(0.005)


def amounts(book: PriceBook, source: str | None = None) -> dict[tuple[str, Unit], Decimal]:
    return {
        (entry.listing.quote.subject, entry.listing.quote.unit): entry.listing.quote.amount
        for entry in book.entries()
        if source is None or entry.listing.quote.source == source
    }


def only(states: Sequence[FeedState]) -> FeedState:
    (state,) = states
    return state


L4_SUBJECT = ("aws-us-east-1-nvidia-l4-x1", Unit.REPLICA_HOUR)
NOVITA = "novita/deepseek-ai/DeepSeek-V4-Pro"


# What feeds tell.


async def test_hardware_is_priced_by_what_its_provider_tells_exactly() -> None:
    async with stage() as played:
        text = json.dumps(vendors(compute(1), compute(2, size="x4"))).replace(
            '"pricePerHour": 1', '"pricePerHour": 0.10000000001'
        )
        played.script("GET", HARDWARE, Reply(body=text.replace('"pricePerHour": 2', '"pricePerHour": 3.8')))
        async with opened(hardware_feed(played)) as book:
            found = amounts(book)
            assert found[L4_SUBJECT] == Decimal("0.1")  # to the nanodollar
            assert found["aws-us-east-1-nvidia-l4-x4", Unit.REPLICA_HOUR] == Decimal("3.8")
            state = only(book.feeds())
            assert (state.source, state.checked_at, state.error, state.listed) == ("huggingface", NOW, None, 2)
            assert state.next_at == NOW + HOUR


async def test_models_are_priced_by_the_router_at_each_of_their_providers() -> None:
    async with stage() as played:
        played.script(
            "GET", MODELS, Reply(body=listed(model("a/b", served(), served("groq", 0.15, 0.6)), model("c/d")))
        )
        async with opened(router_feed(played)) as book:
            assert amounts(book) == {
                ("novita/a/b", Unit.MILLION_TOKENS_IN): Decimal("1.69"),
                ("novita/a/b", Unit.MILLION_TOKENS_OUT): Decimal("3.38"),
                ("groq/a/b", Unit.MILLION_TOKENS_IN): Decimal("0.15"),
                ("groq/a/b", Unit.MILLION_TOKENS_OUT): Decimal("0.6"),
                ("novita/c/d", Unit.MILLION_TOKENS_IN): Decimal("1.69"),
                ("novita/c/d", Unit.MILLION_TOKENS_OUT): Decimal("3.38"),
            }
            one = book.served[0]
            assert (one.context, one.tools, one.throughput, one.first_token) == (1048576, True, 24.69, 1.49)
            assert not [asked for asked in played.asked if asked.token is not None]


async def test_the_router_s_listing_is_read_to_its_last_page() -> None:
    async with stage() as played:
        link = {"Link": f'<{played.url}/v1/models?cursor=2>; rel="next"'}
        played.script("GET", MODELS, Reply(body=listed(model("a/b")), headers=link), Reply(body=listed(model("c/d"))))
        async with opened(router_feed(played)) as book:
            assert {subject for subject, _ in amounts(book)} == {"novita/a/b", "novita/c/d"}
            assert [asked.query for asked in played.questions("GET", MODELS)] == [{}, {"cursor": "2"}]


async def test_list_prices_are_those_of_the_upstreams_that_are_configured() -> None:
    clock = Settable()
    feed = ListFeed(ListPrices(), ["https://api.openai.com/v1"], clock)
    async with opened(feed, clock=clock) as book:
        assert amounts(book)["openai/gpt-4o-mini", Unit.MILLION_TOKENS_IN] > 0
        assert {entry.listing.quote.source for entry in book.entries()} == {"genai-prices"}
        assert only(book.feeds()).error is None


async def test_of_apis_that_nobody_knows_there_are_no_list_prices_and_that_is_no_failure() -> None:
    clock = Settable()
    async with opened(ListFeed(ListPrices(), ["https://models.example.com/v1"], clock), clock=clock) as book:
        assert not book.entries()
        assert only(book.feeds()).error is None


async def test_a_model_without_a_price_is_known_and_has_none() -> None:
    async with stage() as played:
        unpriced = {key: value for key, value in served().items() if key != "pricing"}
        played.script("GET", MODELS, Reply(body=listed(model("a/b"), model("no/price", unpriced))))
        async with opened(router_feed(played)) as book:
            assert {subject for subject, _ in amounts(book)} == {"novita/a/b"}
            assert [one.model for one in book.served] == ["a/b", "no/price"]
            assert only(book.feeds()).error is None


async def test_a_free_promotion_costs_nothing_and_is_no_alarm() -> None:
    async with stage() as played:
        played.script("GET", MODELS, Reply(body=listed(model("a/b", served(input=0, output=0, is_free=True)))))
        async with opened(router_feed(played)) as book:
            assert set(amounts(book).values()) == {Decimal(0)}
            assert not only(book.feeds()).refused


# What becomes of bad answers.


async def after_a_bad_answer(
    bad: Reply, *, feed: Callable[[Stage], Feed], good: object, path: str
) -> tuple[FeedState, int]:
    """What is known after a good answer and a bad one, an hour apart: the feed's state, and how many prices."""
    clock = Settable()
    async with stage() as played:
        played.script("GET", path, Reply(body=good), bad)
        async with opened(feed(played), clock=clock) as book:
            before = amounts(book)
            clock.unix += HOUR
            state = only(await book.refresh())
            assert amounts(book) == before
            assert all(clock.unix - entry.confirmed_at == HOUR for entry in book.entries())
            return state, len(before)


BAD_ANYWHERE = [
    pytest.param(Reply(500, {"error": "oops"}), "", id="fails"),
    pytest.param(DROPPED, "lost", id="hangs up"),
    pytest.param(Reply(body=b""), "", id="empty"),
    pytest.param(Reply(body="<html>hello</html>"), "is not JSON", id="a web page"),
    pytest.param(Reply(body="[1, 2"), "is not JSON", id="half a document"),
    pytest.param(Reply(body={"error": "no"}), "", id="another document"),
    pytest.param(Reply(body=[]), "", id="an empty list"),
    pytest.param(
        Reply(302, headers={"Location": "http://198.51.100.7/v1/models"}),
        "sends us on to 198.51.100.7",
        id="leads to another host",
    ),
]


@pytest.mark.parametrize(
    ("bad", "why"), [*BAD_ANYWHERE, pytest.param(Reply(body={"vendors": []}), "tells no price", id="nothing")]
)
async def test_a_bad_answer_of_hardware_leaves_the_last_good_prices(bad: Reply, why: str) -> None:
    good = vendors(compute(), compute(size="x4", price=3.8))
    state, count = await after_a_bad_answer(bad, feed=hardware_feed, good=good, path=HARDWARE)
    assert (count, state.failing_since) == (2, NOW + HOUR)
    assert state.error is not None
    assert why in state.error
    assert state.checked_at == NOW


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        *BAD_ANYWHERE,
        pytest.param(Reply(body=listed()), "lists no model", id="nothing"),
        pytest.param(Reply(body=listed(model()), cut=True), "lost", id="cut off"),
        pytest.param(
            Reply(body='{"data": [{"id": "a/b", "providers": [{"provider": "x", "pricing": {"input": NaN}}]}]}'),
            "is not JSON",
            id="no number of JSON",
        ),
        pytest.param(Reply(body={"data": [model(), {"x": 1}, 7, "y"]}), "3 of 4 entries", id="mostly damaged"),
    ],
)
async def test_a_bad_answer_of_the_router_leaves_the_last_good_prices(bad: Reply, why: str) -> None:
    state, count = await after_a_bad_answer(bad, feed=router_feed, good=listed(model("a/b"), model("c/d")), path=MODELS)
    assert (count, state.failing_since) == (4, NOW + HOUR)
    assert state.error is not None
    assert why in state.error


async def test_a_listing_whose_second_page_fails_is_refused_as_a_whole() -> None:
    async with stage() as played:
        link = {"Link": f'<{played.url}/v1/models?cursor=2>; rel="next"'}
        played.script("GET", MODELS, Reply(body=listed(model("a/b")), headers=link), Reply(500))
        async with opened(router_feed(played)) as book:
            assert not book.entries()
            assert not book.served
            assert only(book.feeds()).failing_since == NOW


async def test_a_listing_that_goes_on_at_another_host_is_not_followed() -> None:
    async with stage() as played, stage() as elsewhere:
        link = {"Link": f'<{elsewhere.url}/v1/models>; rel="next"'}
        played.script("GET", MODELS, Reply(body=listed(model("a/b")), headers=link))
        elsewhere.script("GET", MODELS, Reply(body=listed(model("c/d"))))
        async with opened(router_feed(played)) as book:
            assert "goes on at" in (only(book.feeds()).error or "")
            assert not book.entries()
            assert not elsewhere.asked


async def test_a_few_damaged_entries_are_left_out_and_counted() -> None:
    async with stage() as played:
        damaged = {key: value for key, value in served().items() if key != "provider"}
        played.script("GET", MODELS, Reply(body=listed(model("a/b", served(), damaged), model("c/d"), {"id": 7})))
        async with opened(router_feed(played)) as book:
            state = only(book.feeds())
            assert (state.error, state.left_out) == (None, 2)
            assert {subject for subject, _ in amounts(book)} == {"novita/a/b", "novita/c/d"}


async def test_a_huge_answer_is_not_read_to_its_end() -> None:
    async with stage() as played:
        played.script("GET", MODELS, Reply(body=listed(*(model(f"a/b{n}") for n in range(100)))))
        async with opened(router_feed(played, most_bytes=10_000)) as book:
            assert "more than 10000 bytes" in (only(book.feeds()).error or "")
            assert not book.entries()


async def test_a_feed_that_does_not_answer_in_time_is_given_up_and_holds_up_nobody() -> None:
    async with stage() as slow, stage() as played:
        slow.script("GET", HARDWARE, Reply(pieces=(b"{", asyncio.Event())))
        played.script("GET", MODELS, Reply(body=listed(model("a/b"))))
        pace = FeedPace(deadline=0.3)
        async with opened(hardware_feed(slow), router_feed(played), pace=pace) as book:
            first, second = book.feeds()
            assert first.error == "no whole answer within 0.3 s"
            assert second.error is None
            assert len(book.entries()) == 2


async def test_a_feed_that_wants_to_be_left_alone_is() -> None:
    clock = Settable()
    async with stage() as played:
        played.script(
            "GET", MODELS, Reply(429, {"error": "slow down"}, {"Retry-After": "600"}), Reply(body=listed(model()))
        )
        async with opened(router_feed(played), clock=clock) as book:
            state = only(book.feeds())
            assert state.next_at is not None
            assert state.next_at >= NOW + 600
            await book.refresh()
            assert len(played.questions("GET", MODELS)) == 1


async def test_a_reload_leaves_a_feed_alone_that_wants_to_be() -> None:
    async with stage() as played:
        reply = Reply(429, {"error": "slow down"}, {"Retry-After": "600"})
        played.script("GET", MODELS, reply, Reply(body=listed(model())))
        async with opened(router_feed(played)) as book:
            told = only(book.feeds()).next_at
            await book.apply(Sources(feeds=(router_feed(played),), pace=SOON))
            await heard(book)
            await asyncio.sleep(0.05)
            await book.refresh()
            assert len(played.questions("GET", MODELS)) == 1
            assert only(book.feeds()).next_at == pytest.approx(told, abs=2.0)
            await book.apply(Sources(feeds=(), pace=SOON))


class Scripted:
    """A feed that tells a price, or that it is down, as the list says; it notes when it was asked."""

    source = "scripted"
    asks = "nobody"

    def __init__(self, clock: Clock, *up: bool) -> None:
        self._clock = clock
        self._up = list(up)
        self.asked: list[float] = []

    async def ask(self) -> Heard:
        self.asked.append(self._clock.now())
        if not self._up.pop(0):
            raise ProviderError("It is down.")
        return Heard([Told(kind=Kind.MODEL, provider="p", subject="p/m", amount=Decimal(1), per="million_tokens_in")])

    async def close(self) -> None:
        """Nothing is open."""


@virtual
async def test_a_refresh_that_fails_is_followed_by_a_retry_as_it_says() -> None:
    clock = Clock()
    feed = Scripted(clock, True, False, True)
    pace = FeedPace(every=HOUR, base=30.0)

    async def take(listings: Sequence[Listing], source: str, at: float) -> None:
        assert (len(listings), source) == (1, "scripted")

    keeper = FeedKeeper(feed, Catalogue(), take, clock, pace, chance=lambda: 0.5)
    begun = clock.now()
    task = asyncio.create_task(keeper.ask_for_ever())
    await asyncio.sleep(10.0)
    await keeper.ask_again()
    said = [keeper.state.error]
    await asyncio.sleep(60.0)
    said.append(keeper.state.error)
    assert said == ["It is down.", None]
    assert [moment - begun for moment in feed.asked] == pytest.approx([0.0, 10.0, 32.5], abs=0.01)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_rate_limits_in_the_headers_of_a_503_are_obeyed_too() -> None:
    async with stage() as played:
        headers = {"RateLimit": '"api";r=0;t=300', "RateLimit-Policy": '"fixed window";"api";q=500;w=300'}
        played.script("GET", MODELS, Reply(503, {"error": "full"}, headers))
        async with opened(router_feed(played)) as book:
            state = only(book.feeds())
            assert state.next_at is not None
            assert state.next_at >= NOW + 300


async def test_a_short_wait_that_is_asked_for_is_waited_within_one_question() -> None:
    waited: list[float] = []

    async def sleep(seconds: float) -> None:
        waited.append(seconds)

    async with stage() as played:
        played.script("GET", MODELS, Reply(429, {}, {"Retry-After": "7"}), Reply(body=listed(model("a/b"))))
        async with opened(router_feed(played, pace=Pace(attempts=3, deadline=25.0), sleep=sleep)) as book:
            assert only(book.feeds()).error is None
            assert len(book.entries()) == 2
            assert waited[0] >= 7


# What is believed.


@pytest.mark.parametrize("absurd", [0, -1, "cheap", 900.0, 0.0001, 1e9])
async def test_an_absurd_price_is_kept_out_and_told(absurd: object) -> None:
    clock = Settable()
    async with stage() as played:
        good = vendors(compute(0.8), compute(3.8, size="x4"))
        bad = vendors(compute(absurd), compute(3.9, size="x4"))
        played.script("GET", HARDWARE, Reply(body=good), Reply(body=bad))
        async with opened(hardware_feed(played), clock=clock) as book:
            clock.unix += HOUR
            state = only(await book.refresh())
            assert [one.subject for one in state.refused] == ["aws-us-east-1-nvidia-l4-x1"]
            found = amounts(book)
            assert found[L4_SUBJECT] == Decimal("0.8")
            assert found["aws-us-east-1-nvidia-l4-x4", Unit.REPLICA_HOUR] == Decimal("3.9")
            assert (state.error, state.checked_at) == (None, clock.unix)


async def test_the_first_price_is_measured_by_the_published_one() -> None:
    async with stage() as played:
        played.script("GET", HARDWARE, Reply(body=vendors(compute(900.0), compute(3.9, size="x4"))))
        async with opened(hardware_feed(played), snapshot=published()) as book:
            assert "last good one, $0.80" in str(only(book.feeds()).refused[0])


async def test_an_answer_of_absurd_prices_alone_is_none() -> None:
    async with stage() as played:
        played.script("GET", HARDWARE, Reply(body=vendors(compute(-1), compute(0, size="x4"))))
        async with opened(hardware_feed(played)) as book:
            state = only(book.feeds())
            assert "none of its prices can be believed" in (state.error or "")
            assert (len(state.refused), state.checked_at) == (2, None)


async def test_unknown_units_and_currencies_are_kept_out() -> None:
    async with stage() as played:
        euros = compute(1.0, size="x2", currency="EUR")
        fortnight = compute(1.0, size="x8", priceUnit="fortnight")
        minute = compute(0.01, size="x16", priceUnit="minute")
        played.script("GET", HARDWARE, Reply(body=vendors(compute(), euros, fortnight, minute)))
        async with opened(hardware_feed(played)) as book:
            reasons = " ".join(str(one) for one in only(book.feeds()).refused)
            assert "is in EUR" in reasons
            assert "is for fortnight" in reasons
            assert amounts(book) == {
                L4_SUBJECT: Decimal("0.8"),
                ("aws-us-east-1-nvidia-l4-x16", Unit.REPLICA_HOUR): Decimal("0.6"),
            }


async def test_the_router_s_units_and_currencies_are_looked_at() -> None:
    async with stage() as played:
        thousands = served("a", pricing={"input": 0.001, "output": 0.002, "unit": "thousand_tokens"})
        euros = served("b", pricing={"input": 1, "output": 2, "currency": "EUR"})
        played.script("GET", MODELS, Reply(body=listed(model("m/m", thousands, euros))))
        async with opened(router_feed(played)) as book:
            assert amounts(book) == {
                ("a/m/m", Unit.MILLION_TOKENS_IN): Decimal(1),
                ("a/m/m", Unit.MILLION_TOKENS_OUT): Decimal(2),
            }
            assert len(only(book.feeds()).refused) == 2


async def test_hardware_without_a_price_or_a_name_is_left_out() -> None:
    async with stage() as played:
        nameless = compute(instanceType=...)
        played.script(
            "GET", HARDWARE, Reply(body=vendors(compute(), compute(None, size="x4"), compute(..., size="x8"), nameless))
        )
        async with opened(hardware_feed(played)) as book:
            assert amounts(book) == {L4_SUBJECT: Decimal("0.8")}


# What endpoints cost.


async def test_an_endpoint_costs_the_published_price_until_its_provider_tells_another() -> None:
    fleet, clock = Endpoints(endpoint(place=L4)), Settable()
    tariff = Tariff(published=frozenset({"huggingface"}))
    async with stage() as played:
        played.script("GET", HARDWARE, Reply(500), Reply(body=vendors(compute(0.9))))
        async with opened(hardware_feed(played), fleet=fleet, clock=clock, tariff=tariff, snapshot=published()) as book:
            first = book.price_of("e")
            assert first is not None
            assert (first.amount, first.source) == (Decimal("0.8"), "snapshot 2026-08-20")
            assert book.is_estimate("e")
            assert book.age(first) > 30 * 86400  # the snapshot's own age, not ours
            clock.unix += HOUR
            await book.refresh()
            second = book.price_of("e")
            assert second is not None
            assert (second.amount, second.source, second.at) == (Decimal("0.9"), "huggingface", NOW + HOUR)
            assert not book.is_estimate("e")
            assert book.price_of("e", NOW + 60) == first
            assert [
                (one.at, one.quote and one.quote.amount) for one in book.changes("e", NOW + 60, NOW + 2 * HOUR)
            ] == [
                (NOW + 60, Decimal("0.8")),
                (NOW + HOUR, Decimal("0.9")),
            ]


async def test_the_configuration_counts_before_every_feed_and_both_are_shown() -> None:
    fleet = Endpoints(endpoint(place=L4))
    async with stage() as played:
        played.script("GET", HARDWARE, Reply(body=vendors(compute(0.8))))
        async with opened(hardware_feed(played), fleet=fleet, tariff=Tariff(endpoints={"e": Decimal("0.5")})) as book:
            found = book.price_of("e")
            assert found is not None
            assert (found.amount, found.source, book.age(found)) == (Decimal("0.5"), "configuration", 0.0)
            (entry,) = [one for one in book.entries() if one.listing.kind == "endpoint"]
            assert entry.disagrees
            assert [(one.quote.source, one.quote.amount) for one in entry.others] == [("huggingface", Decimal("0.8"))]


async def test_a_price_that_is_taken_out_of_the_configuration_ends_with_it() -> None:
    fleet, clock = Endpoints(endpoint(provider="local")), Settable()
    tariff = Tariff(endpoints={"e": Decimal("0.5")})
    async with opened(fleet=fleet, clock=clock, tariff=tariff) as book:
        assert book.price_of("e") is not None
        clock.unix += HOUR
        await book.apply(Sources())
        assert book.price_of("e") is None
        assert book.price_of("e", NOW + 1) is not None
        assert [one.quote is None for one in book.changes("e", NOW, clock.unix + 1)] == [False, True]


async def test_a_configured_price_is_shared_by_the_replicas() -> None:
    fleet = Endpoints(endpoint(provider="local", replicas=3))
    async with opened(fleet=fleet, tariff=Tariff(endpoints={"e": Decimal(1)})) as book:
        found = book.price_of("e")
        assert found is not None
        assert found.amount == Decimal("0.333333333")
        assert book.rates["e"] == pytest.approx(1.0)
        assert book.rates.get("nobody") is None


@pytest.mark.parametrize(
    ("resources", "amount"),
    [({}, "0.4"), ({"gpu": 2.0}, "0.8"), ({"gpu": 0.5}, "0.2"), ({"cpu": 4.0}, "1.6"), ({"memory_gb": 64.0}, "0.4")],
)
async def test_hardware_of_one_s_own_costs_by_its_accelerators(resources: dict[str, float], amount: str) -> None:
    fleet = Endpoints(endpoint(provider="local", resources=resources))
    async with opened(fleet=fleet, tariff=Tariff(rates={"local": Rate(amount=Decimal("0.4"))})) as book:
        found = book.price_of("e")
        assert found is not None
        assert found.amount == Decimal(amount)


async def test_power_is_an_estimate() -> None:
    fleet = Endpoints(endpoint(provider="local"))
    rate = Rate.of_power(Decimal(350), Decimal("0.3"))
    async with opened(fleet=fleet, tariff=Tariff(rates={"local": rate})) as book:
        found = book.price_of("e")
        assert found is not None
        assert found.amount == Decimal("0.105")
        assert book.is_estimate("e")


async def test_an_endpoint_that_moves_to_other_hardware_costs_that_from_then_on() -> None:
    fleet, clock = Endpoints(endpoint(place=L4)), Settable()
    async with stage() as played:
        played.script("GET", HARDWARE, Reply(body=vendors(compute(0.8), compute(3.8, size="x4"))))
        async with opened(hardware_feed(played), fleet=fleet, clock=clock) as book:
            clock.unix += 100
            fleet.put(endpoint(place=L4 | {"size": "x4"}))
            now, then = book.price_of("e"), book.price_of("e", NOW + 50)
            assert now is not None
            assert then is not None
            assert (now.amount, then.amount) == (Decimal("3.8"), Decimal("0.8"))
            fleet.put(endpoint(place=L4 | {"size": "x99"}))
            clock.unix += 100
            assert book.price_of("e") is None


async def test_a_price_is_kept_while_nobody_can_tell_what_an_endpoint_runs_on() -> None:
    fleet = Endpoints(endpoint(place=L4))
    async with stage() as played:
        played.script("GET", HARDWARE, Reply(body=vendors(compute(0.8))))
        async with opened(hardware_feed(played), fleet=fleet) as book:
            fleet.put(endpoint())
            found = book.price_of("e")
            assert found is not None
            assert found.amount == Decimal("0.8")


async def test_prices_of_another_provider_s_feed_are_not_an_endpoint_s() -> None:
    fleet = Endpoints(endpoint(place=L4, provider="other"))
    async with stage() as played, stage() as other:
        played.script("GET", HARDWARE, Reply(body=vendors(compute(0.8))))
        other.script("GET", HARDWARE, Reply(body=vendors(compute(0.7))))
        async with opened(hardware_feed(played), hardware_feed(other, "other"), fleet=fleet) as book:
            found = book.price_of("e")
            assert found is not None
            assert (found.amount, found.source) == (Decimal("0.7"), "other")


async def test_what_is_gone_has_the_price_that_it_had() -> None:
    fleet = Endpoints(endpoint(place=L4))
    async with stage() as played:
        played.script("GET", HARDWARE, Reply(body=vendors(compute(0.8))))
        async with opened(hardware_feed(played), fleet=fleet) as book:
            del fleet.by_name["e"]
            found = book.price_of("e", NOW + 10)
            assert found is not None
            assert found.amount == Decimal("0.8")
            assert book.price_of("nobody") is None


# Over restarts.


async def test_the_last_good_prices_serve_after_a_restart_with_their_age(tmp_path: Path) -> None:
    fleet, clock = Endpoints(endpoint(place=L4)), Settable()
    async with stage() as played:
        played.script("GET", HARDWARE, Reply(body=vendors(compute(0.8))), Reply(body=vendors(compute(0.9))), DROPPED)
        store = await Store.open(tmp_path / "x.db")
        async with opened(hardware_feed(played), fleet=fleet, clock=clock, store=store) as book:
            clock.unix += HOUR
            await book.refresh()
        await store.close()
        clock.unix += HOUR
        store = await Store.open(tmp_path / "x.db")
        async with opened(hardware_feed(played), fleet=fleet, clock=clock, store=store) as book:
            found = book.price_of("e")
            assert found is not None
            assert (found.amount, book.age(found)) == (Decimal("0.9"), HOUR)
            past = book.price_of("e", NOW + 60)
            assert past is not None
            assert past.amount == Decimal("0.8")
            assert only(book.feeds()).age(clock.unix) == HOUR
            rows = await book.quotes("aws-us-east-1-nvidia-l4-x1")
            assert [(row.at, row.nanos) for row in rows] == [(NOW + HOUR, 900_000_000), (NOW, 800_000_000)]
            assert len(await book.quotes(since=NOW + HOUR)) == 2
            assert {row.source for row in await book.quotes(source="huggingface")} == {"huggingface"}
        await store.close()


async def test_only_changes_are_written(tmp_path: Path) -> None:
    clock = Settable()
    async with stage() as played:
        played.script("GET", HARDWARE, Reply(body=vendors(compute(0.8))))
        store = await Store.open(tmp_path / "x.db")
        async with opened(hardware_feed(played), clock=clock, store=store) as book:
            for _ in range(3):
                clock.unix += HOUR
                await book.refresh()
            assert len(await book.quotes()) == 1
            (entry,) = book.entries()
            assert entry.confirmed_at == clock.unix
        await store.close()


async def test_what_was_not_told_for_a_month_is_shown_no_more() -> None:
    clock = Settable()
    async with stage() as played:
        both = vendors(compute(0.8), compute(3.8, size="x4"))
        played.script("GET", HARDWARE, Reply(body=both), Reply(body=vendors(compute(0.8))))
        async with opened(hardware_feed(played), clock=clock) as book:
            clock.unix += HOUR
            await book.refresh()
            assert len(book.entries()) == 2  # half an answer forgets nothing
            clock.unix += 31 * 86400
            await book.refresh()
            assert amounts(book) == {L4_SUBJECT: Decimal("0.8")}
            assert (await book.quotes("aws-us-east-1-nvidia-l4-x4"))[0].nanos is None


class Failing(Store):
    """A store whose disk is full for a while."""

    full = False
    broken = False

    async def add_quotes(self, saved: Sequence[Any]) -> None:
        if self.broken:
            raise OverflowError("Python int too large to convert to SQLite INTEGER")
        if self.full:
            raise StoreError("The disk is full.")
        await super().add_quotes(saved)


@pytest.mark.parametrize("failure", ["full", "broken"])
async def test_prices_count_while_they_can_t_be_written_and_are_written_later(failure: str) -> None:
    clock = Settable()
    store = await Failing.open(":memory:")
    assert isinstance(store, Failing)
    setattr(store, failure, True)
    async with stage() as played:
        played.script("GET", HARDWARE, Reply(body=vendors(compute(0.8))))
        async with opened(hardware_feed(played), clock=clock, store=store) as book:
            assert amounts(book) == {L4_SUBJECT: Decimal("0.8")}
            assert not await book.quotes()
            assert [feed.error for feed in book.feeds()] == [None]
            setattr(store, failure, False)
            await book.refresh()
            assert len(await book.quotes()) == 1
    await store.close()


# What upstreams charge.


ROUTED = Upstream(name="router", url="https://router.huggingface.co/v1")


@pytest.mark.parametrize(
    ("name", "price"),
    [
        ("a/b", (0.15, 0.6)),
        ("a/b:fastest", (0.15, 0.6)),
        ("a/b:cheapest", (0.1, 0.5)),
        ("a/b:novita", (1.69, 3.38)),
        ("a/b:nobody", None),
        ("no/model", None),
        (None, None),
    ],
)
async def test_the_router_charges_as_who_serves_the_model(name: str | None, price: tuple[float, float] | None) -> None:
    async with stage() as played:
        fast = served("groq", 0.15, 0.6, throughput=900.0)
        down = served("down", 0.01, 0.01, status="error", throughput=9000.0)
        cheap = served("cheap", 0.1, 0.5, throughput=None)
        played.script("GET", MODELS, Reply(body=listed(model("a/b", served(), fast, down, cheap))))
        async with opened(router_feed(played), routers={"router"}) as book:
            expected = None if price is None else TokenPrice(input=price[0], output=price[1])
            assert book.token_price(ROUTED, name) == expected


async def test_a_configured_price_of_an_upstream_counts_first() -> None:
    mine = TokenPrice(input=1.0, output=2.0)
    async with opened() as book:
        assert book.token_price(replace(ROUTED, price=mine), "a/b") is mine


async def test_known_apis_charge_their_list_prices() -> None:
    clock, prices = Settable(), ListPrices()
    url = "https://api.openai.com/v1"
    async with opened(ListFeed(prices, [url], clock), clock=clock, listed=prices) as book:
        upstream = Upstream(name="far", url=url, model="gpt-4o-mini")
        found = book.token_price(upstream, None)
        assert found is not None
        assert 0 < found.input < found.output
        assert book.token_price(upstream, "no such model") is None


# What is asked at all.


def sources_of(text: str) -> list[str]:
    settings = parse(text, "lamplighter.yaml", {"HF_TOKEN": "hf_abcdefghijklmnopqrstuvwxyz0123456"})
    providers: dict[str, Any] = {"memory": MemoryProvider()}
    if "huggingface:" in text:
        providers["huggingface"] = make_provider({}, {})
    return [feed.asks for feed in price_sources(settings, providers).feeds]


async def test_nobody_is_asked_who_is_not_configured(tmp_path: Path) -> None:
    local = LocalProvider(resources={}, state_dir=tmp_path / "run", log_dir=tmp_path / "logs", engines={})
    settings = parse("{}", "lamplighter.yaml", {})
    assert not price_sources(settings, {"local": local}).feeds
    assert not price_sources(settings, {"local": local}).snapshot


@pytest.mark.parametrize(
    ("text", "asked"),
    [
        ("{}", ["provider memory"]),
        ("prices: {hardware: false}", []),
        ("providers: {huggingface: {}}", ["provider memory", "provider huggingface"]),
        ("upstreams: {r: {type: huggingface-router}}", ["provider memory", "https://router.huggingface.co/v1/models"]),
        (
            "upstreams: {r: {type: huggingface-router, base_url: 'https://proxy.example.com/v1'}}",
            ["provider memory", "https://proxy.example.com/v1/models"],
        ),
        ("upstreams: {r: {type: huggingface-router}}\nprices: {router: false}", ["provider memory"]),
        ("prices: {router: true, hardware: false}", ["https://router.huggingface.co/v1/models"]),
        (
            "prices: {router: true, router_url: 'http://127.0.0.1:9/v1', hardware: false}",
            ["http://127.0.0.1:9/v1/models"],
        ),
        ("prices: {list_prices: true, hardware: false}", ["the package genai-prices"]),
        (
            "upstreams: {o: {base_url: 'https://api.openai.com/v1'}}\nprices: {hardware: false}",
            ["the package genai-prices"],
        ),
        ("upstreams: {o: {base_url: 'https://api.openai.com/v1'}}\nprices: {list_prices: false, hardware: false}", []),
    ],
)
async def test_who_is_asked_is_said_by_the_configuration(text: str, asked: list[str]) -> None:
    assert sources_of(text) == asked


def snapshots(listings: Sequence[Listing]) -> set[str]:
    return {one.quote.source for one in listings}


async def test_the_snapshot_is_for_hugging_face_alone() -> None:
    token = {"HF_TOKEN": "hf_abcdefghijklmnopqrstuvwxyz0123456"}
    there = parse("providers: {huggingface: {}}", "x.yaml", token)
    assert snapshots(price_sources(there, {}).snapshot) == {"snapshot 2026-08-20"}
    elsewhere = parse("providers: {huggingface: {options: {base_url: 'http://127.0.0.1:9'}}}", "x.yaml", token)
    assert not price_sources(elsewhere, {}).snapshot
    unwanted = parse("providers: {huggingface: {}}\nprices: {snapshot: false}", "x.yaml", token)
    assert not price_sources(unwanted, {}).snapshot
