"""Prices of a whole server: over REST, on the command line, in status, wire, hardware, alarms and renting."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from lamplighter import runtime
from lamplighter.api.pricing import FILTERS
from lamplighter.cli.main import main
from lamplighter.config import diff, parse
from lamplighter.config.values import digest
from lamplighter.control.alarms import AlarmKeeper, Delivery
from lamplighter.errors import ConfigError
from lamplighter.runtime import Server, running
from tests.cli_stage import Script, scripted_server
from tests.cli_world import clean_environment
from tests.hf_stage import Reply, Stage, stage
from tests.unit.test_price_book import HARDWARE, MODELS, compute, listed, model, served, vendors

NAMED = {
    "name": "e",
    "type": "protected",
    "provider": {"vendor": "aws", "region": "us-east-1"},
    "compute": {
        "accelerator": "gpu",
        "instanceType": "nvidia-l4",
        "instanceSize": "x1",
        "scaling": {"minReplica": 0, "maxReplica": 1},
    },
    "model": {"repository": "org/model", "framework": "pytorch", "image": {"huggingface": {}}},
    "status": {"state": "paused", "readyReplica": 0, "targetReplica": 0},
}


def configuration(folder: Path, played: Stage, **sections: Any) -> str:
    return json.dumps(
        {
            "server": {"port": 0, "data": str(folder), "drain_timeout": 1},
            "providers": {
                "huggingface": {
                    "options": {
                        "base_url": played.url,
                        "namespace": "me",
                        "retry": {"attempts": 1, "base": 0.01, "deadline": 5},
                    }
                }
            },
            "prices": {"router": True, "router_url": f"{played.url}/v1"},
        }
        | sections
    )


@contextlib.asynccontextmanager
async def serving(folder: Path, **sections: Any) -> AsyncIterator[tuple[Server, httpx2.AsyncClient, Stage]]:
    async with stage() as played:
        played.script("GET", HARDWARE, Reply(body=vendors(compute(0.8), compute(3.8, size="x4"))))
        played.script("GET", MODELS, Reply(body=listed(model("a/b", served(), served("groq", 0.15, 0.6)))))
        played.script("GET", "/v2/endpoint/me/e", Reply(body=NAMED))
        played.script("GET", "/v2/endpoint/me", Reply(body={"items": [NAMED]}))
        settings = parse(configuration(folder, played, **sections), "lamplighter.yaml", {})
        async with running(settings) as server, httpx2.AsyncClient(base_url=server.url, trust_env=False) as client:
            await told(client)
            yield server, client, played


async def told(client: httpx2.AsyncClient, **headers: str) -> dict[str, Any]:
    """The prices, once every source has told some, or failed to."""
    async with asyncio.timeout(10):
        while True:
            page: dict[str, Any] = (await client.get("/api/pricing", headers=headers)).raise_for_status().json()
            if all(feed["next_in"] is not None for feed in page["feeds"]):
                return page
            await asyncio.sleep(0.01)


async def subjects(client: httpx2.AsyncClient, **query: Any) -> list[str]:
    page = (await client.get("/api/pricing", params=query)).raise_for_status().json()
    return [one["subject"] for one in page["prices"]]


async def test_every_price_is_told_with_its_source_and_age(tmp_path: Path) -> None:
    async with serving(tmp_path) as (_, client, _):
        page = await told(client)
        first = page["prices"][0]
        assert 0 <= first.pop("age") < 60
        assert first.pop("at") > 1_700_000_000
        assert first == {
            "kind": "hardware",
            "subject": "aws-us-east-1-nvidia-l4-x1",
            "provider": "aws",
            "region": "us-east-1",
            "unit": "replica_hour",
            "amount": "0.80",
            "currency": "USD",
            "source": "huggingface",
            "estimate": False,
            "free": False,
            "counts": True,
            "others": [],
            "disagrees": False,
        }
        assert [(feed["source"], feed["listed"], feed["error"]) for feed in page["feeds"]] == [
            ("huggingface", 2, None),
            ("router", 4, None),
        ]


async def test_prices_are_filtered_and_paged(tmp_path: Path) -> None:
    async with serving(tmp_path) as (_, client, _):
        assert await subjects(client, kind="hardware") == ["aws-us-east-1-nvidia-l4-x1", "aws-us-east-1-nvidia-l4-x4"]
        assert await subjects(client, provider="groq") == ["groq/a/b", "groq/a/b"]
        assert await subjects(client, unit="million_tokens_out") == ["groq/a/b", "novita/a/b"]
        assert await subjects(client, source="huggingface", subject="X4") == ["aws-us-east-1-nvidia-l4-x4"]
        assert await subjects(client, kind="hardware", region="eu-west-1") == []
        assert await subjects(client, counts=False) == []
        everything = await subjects(client)
        paged: list[str] = []
        cursor = ""
        while True:
            answer = await client.get("/api/pricing", params={"limit": 2, **({"cursor": cursor} if cursor else {})})
            page = answer.raise_for_status().json()
            assert len(page["prices"]) <= 2
            paged += [one["subject"] for one in page["prices"]]
            if (cursor := page["next_cursor"]) is None:
                break
        assert paged == everything
        assert len(everything) == 6


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"sauce": "router"}, "sauce"),
        ({"cursor": "nonsense"}, "cursor"),
        ({"cursor": "WzFd"}, "cursor"),
        ({"limit": 0}, "limit"),
        ({"kind": "car"}, "kind"),
        ({"unit": "mile"}, "unit"),
    ],
)
async def test_a_filter_that_there_is_none_of_is_refused(tmp_path: Path, query: dict[str, Any], field: str) -> None:
    async with serving(tmp_path) as (_, client, _):
        answer = await client.get("/api/pricing", params=query)
        assert answer.status_code in {400, 422}
        assert field in answer.text


def test_the_filters_of_the_route_are_those_that_are_named() -> None:
    page = (Path(__file__).parents[2] / "docs" / "http.md").read_text("utf-8")
    (line,) = [line for line in page.splitlines() if "`GET /api/pricing`" in line]
    assert all(f"`{name}`" in line or f"`?{name}=`" in line for name in FILTERS)


async def test_who_may_call_models_may_read_prices_and_who_may_operate_may_have_them_asked_for(tmp_path: Path) -> None:
    keys = {"server": {"port": 0, "data": str(tmp_path), "keys": [f"sha256:{digest('root')}"]}}
    async with stage() as played:
        settings = parse(configuration(tmp_path, played, **keys), "lamplighter.yaml", {})
        async with running(settings) as server, httpx2.AsyncClient(base_url=server.url, trust_env=False) as client:
            root = {"authorization": "Bearer root"}
            made = {
                role: (await client.post("/api/keys", json={"name": role, "role": role}, headers=root)).json()["secret"]
                for role in ("infer", "operate")
            }
            as_infer, as_operate = ({"authorization": f"Bearer {made[role]}"} for role in ("infer", "operate"))
            assert (await client.get("/api/pricing")).status_code == 401
            assert (await client.get("/api/pricing", headers=as_infer)).status_code == 200
            assert (await client.post("/api/pricing/refresh", headers=as_infer)).status_code == 403
            assert (await client.post("/api/pricing/refresh", headers=as_operate)).status_code == 200


async def test_a_refresh_asks_anew_and_tells_what_it_found(tmp_path: Path) -> None:
    async with serving(tmp_path) as (_, client, played):
        played.script("GET", HARDWARE, Reply(body=vendors(compute(0.9), compute(-1, size="x4"))))
        answer = (await client.post("/api/pricing/refresh")).raise_for_status().json()
        hardware = answer["feeds"][0]
        assert hardware["refused"] == ["aws-us-east-1-nvidia-l4-x4: -1 is less than nothing"]
        page = (await client.get("/api/pricing", params={"kind": "hardware"})).json()
        assert [one["amount"] for one in page["prices"]] == ["0.90", "3.80"]


ENDPOINT = {"e": {"provider": "huggingface"}}


async def shown(client: httpx2.AsyncClient, name: str = "e") -> dict[str, Any]:
    answer = await client.get(f"/v2/endpoint/lamplighter/{name}")
    own: dict[str, Any] = answer.raise_for_status().json()["lamplighter"]
    return {key: own[key] for key in own if key.startswith("price")}


async def test_the_wire_tells_what_an_endpoint_costs_and_who_says_so(tmp_path: Path) -> None:
    async with serving(tmp_path, endpoints=ENDPOINT) as (_, client, _):
        told_of = await shown(client)
        assert 0 <= told_of.pop("price_age") < 60
        assert told_of == {"price_per_hour": 0.8, "price_source": "huggingface", "price_estimate": False}


async def test_a_configured_price_shows_in_the_wire_and_a_reload_takes_another(tmp_path: Path) -> None:
    async with serving(tmp_path, endpoints={"e": {"provider": "huggingface", "price_per_hour": 0.5}}) as (
        server,
        client,
        played,
    ):
        assert (await shown(client))["price_source"] == "configuration"
        cheaper = {"e": {"provider": "huggingface", "price_per_hour": 0.25}}
        await server.apply(parse(configuration(tmp_path, played, endpoints=cheaper), "lamplighter.yaml", {}))
        assert (await shown(client))["price_per_hour"] == 0.25
        await server.apply(parse(configuration(tmp_path, played, endpoints=ENDPOINT), "lamplighter.yaml", {}))
        assert (await shown(client))["price_per_hour"] == 0.8


async def test_hardware_tells_who_told_its_price(tmp_path: Path) -> None:
    async with serving(tmp_path) as (_, client, _):
        listing = (await client.get("/v2/provider/lamplighter")).raise_for_status().json()
        (found,) = [one for one in listing["vendors"][0]["regions"][0]["computes"] if one["instanceSize"] == "x1"]
        assert found["pricePerHour"] == 0.8
        assert found["lamplighter"]["priceSource"] == "huggingface"
        assert 0 <= found["lamplighter"]["priceAge"] < 60


async def test_an_absurd_price_is_an_alarm_and_does_not_show_in_the_listing_of_hardware(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hasty = functools.partial(AlarmKeeper, delivery=Delivery(look_every=0.02))
    monkeypatch.setattr(runtime, "AlarmKeeper", hasty)
    async with serving(tmp_path) as (_, client, played):
        played.script("GET", HARDWARE, Reply(body=vendors(compute(900.0), compute(3.8, size="x4"))))
        await client.post("/api/pricing/refresh")
        alarms = (await client.get("/api/alarms")).json()["alarms"]
        async with asyncio.timeout(10):
            while not alarms:  # they are looked for every few seconds
                await asyncio.sleep(0.02)
                alarms = (await client.get("/api/alarms")).json()["alarms"]
        assert [(one["alarm"], one["endpoint"]) for one in alarms] == [("price_refused", "huggingface")]
        listing = (await client.get("/v2/provider/lamplighter")).raise_for_status().json()
        prices = {one["instanceSize"]: one["pricePerHour"] for one in listing["vendors"][0]["regions"][0]["computes"]}
        assert prices == {"x1": 0.8, "x4": 3.8}


async def test_a_server_starts_without_any_source_of_prices(tmp_path: Path) -> None:
    settings = parse(json.dumps({"server": {"port": 0, "data": str(tmp_path)}}), "lamplighter.yaml", {})
    async with running(settings) as server, httpx2.AsyncClient(base_url=server.url, trust_env=False) as client:
        page = (await client.get("/api/pricing")).raise_for_status().json()
        assert (page["prices"], page["feeds"]) == ([], [])


async def test_no_token_is_in_what_prices_tell_or_in_what_is_kept(tmp_path: Path) -> None:
    secret = "hf_abcdefghijklmnopqrstuvwxyz0123456"
    (tmp_path / "token").write_text(secret)
    async with stage() as played:
        played.script("GET", HARDWARE, Reply(401, {"error": f"no such token: {secret}"}))
        played.script("GET", MODELS, Reply(401, {"error": f"no such token: {secret}"}))
        given = json.loads(configuration(tmp_path / "data", played))
        given["providers"]["huggingface"]["options"]["token"] = f"file:{tmp_path / 'token'}"
        settings = parse(json.dumps(given), "lamplighter.yaml", {})
        async with running(settings) as server, httpx2.AsyncClient(base_url=server.url, trust_env=False) as client:
            page = await told(client)
            assert page["feeds"][0]["error"] is not None
            assert not [asked for asked in played.questions("GET", MODELS) if asked.token is not None]
            assert secret not in json.dumps(page["feeds"][0])
        assert not [
            file for file in (tmp_path / "data").rglob("*") if file.is_file() and secret.encode() in file.read_bytes()
        ]


# What the configuration may say.


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("providers: {local: {watts: 350}}", "providers.local.watts: needs a `price_per_kwh`"),
        ("providers: {local: {price_per_kwh: 0.3}}", "providers.local.price_per_kwh: needs `watts`"),
        ("providers: {local: {price_per_hour: 1, watts: 350, price_per_kwh: 0.3}}", "one of them is enough"),
        ("providers: {local: {price_per_hour: -1}}", "providers.local.price_per_hour: -1"),
        ("providers: {local: {price_per_hour: .nan}}", "providers.local.price_per_hour"),
        ("providers: {local: {price_per_hour: 1, options: {price_per_hour: 1}}}", "leave this one out"),
        (
            "providers: {local: {price_per_hour: 1e12}}",
            "providers.local.price_per_hour: 1000000000000.0 should be less",
        ),
        ("providers: {local: {watts: 1e6, price_per_kwh: 1e4}}", "watts: comes to more than $1,000,000 an hour"),
        ("providers: {local: {options: {price_per_hour: 1e11}}}", "price_per_hour: comes to more than $1,000,000"),
        ("upstreams: {u: {base_url: http://h/v1, price: {input: 1e11, output: 1}}}", "upstreams.u.price.input"),
        ("endpoints: {e: {engine: vllm, model: x, price_per_hour: 1e7}}", "endpoints.e.price_per_hour"),
        ("prices: {router: perhaps}", "prices.router: 'perhaps' should be true or false"),
        ("prices: {refresh_every: 1s}", "prices.refresh_every"),
        ("prices: {rooter: true}", "prices.rooter: unknown key; did you mean router?"),
        ("alarms: {prices_older_than: never}", "alarms.prices_older_than"),
    ],
)
def test_what_is_wrong_with_prices_is_told_by_its_key(text: str, wrong: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(text, "lamplighter.yaml", {})
    assert wrong in str(caught.value)


ROUTED = """
endpoints: {e: {engine: vllm, model: x}}
upstreams: {far: {base_url: 'https://api.example.com/v1'}}
routes: {r: {targets: [e, far], rent: true}}
"""


@pytest.mark.parametrize(
    ("more", "missing"),
    [
        ("", ["endpoints.e.price_per_hour", "upstreams.far.price"]),
        ("providers: {local: {price_per_hour: 1}}\n", ["upstreams.far.price"]),
        ("providers: {local: {options: {price_per_hour: 1}}}\n", ["upstreams.far.price"]),
        ("prices: {list_prices: true}\n", ["endpoints.e.price_per_hour"]),
        ("providers: {local: {watts: 350, price_per_kwh: 0.3}}\nprices: {list_prices: true}\n", []),
    ],
)
def test_renting_needs_two_prices_that_may_come_to_be_known(more: str, missing: list[str]) -> None:
    try:
        parse(ROUTED + more, "lamplighter.yaml", {})
    except ConfigError as error:
        told_of = str(error)
    else:
        told_of = ""
    assert [word for word in ("endpoints.e.price_per_hour", "upstreams.far.price") if word in told_of] == missing


LISTED = """
endpoints: {e: {engine: vllm, model: x, price_per_hour: 1}}
upstreams: {far: {base_url: 'https://api.openai.com/v1', model: MODEL}}
routes: {r: {targets: [e, far], choose: cheapest}}
"""


def test_a_model_whose_list_price_counts_by_default_needs_no_price() -> None:
    assert parse(LISTED.replace("MODEL", "gpt-4o"), "lamplighter.yaml", {}).routes()
    for missing in (
        LISTED.replace("MODEL", "own-model"),
        LISTED.replace("MODEL", "gpt-4o") + "prices: {list_prices: false}",
    ):
        with pytest.raises(ConfigError, match=r"needs upstreams\.far\.price"):
            parse(missing, "lamplighter.yaml", {})


def test_what_is_wrong_with_an_upstream_is_not_told_of_renting_too() -> None:
    text = ROUTED.replace("'https://api.example.com/v1'", "'http://h/v1', key: env:NOBODY_SET_THIS")
    with pytest.raises(ConfigError) as caught:
        parse(text.replace("model: x", "model: x, price_per_hour: 1"), "lamplighter.yaml", {})
    assert "NOBODY_SET_THIS" in str(caught.value)
    assert "rent" not in str(caught.value)


def test_nothing_is_rented_in_place_of_what_comes_after_it() -> None:
    with pytest.raises(ConfigError, match=r"routes\.r\.rent: does nothing while an upstream comes first, 'far'"):
        parse(ROUTED.replace("[e, far]", "[far, e]") + "prices: {list_prices: true}", "lamplighter.yaml", {})


def test_at_hugging_face_both_prices_of_renting_may_be_left_out() -> None:
    text = """
    endpoints: {e: {provider: huggingface}}
    upstreams: {far: {type: huggingface-router}}
    routes: {r: {targets: [e, far], rent: true}}
    """
    token = {"HF_TOKEN": "hf_abcdefghijklmnopqrstuvwxyz0123456"}
    assert parse(text, "lamplighter.yaml", token).routes()["r"].rent


def test_a_change_of_prices_takes_no_restart() -> None:
    def read(text: str) -> Any:
        return parse(text, "lamplighter.yaml", {})

    before = read("providers: {local: {price_per_hour: 1}}\nprices: {refresh_every: 1h}")
    changes = diff(before, read("providers: {local: {price_per_hour: 2}}\nprices: {refresh_every: 2h}"))
    assert changes.parts() == {"policies": ("prices",)}
    assert diff(before, read("providers: {local: {resources: {gpu: 1}}}")).restart == ("providers.local",)


# On the command line.


PRICE = {
    "kind": "hardware",
    "subject": "aws-us-east-1-nvidia-l4-x1",
    "provider": "aws",
    "region": "us-east-1",
    "unit": "replica_hour",
    "amount": "0.90",
    "currency": "USD",
    "source": "huggingface",
    "at": 1_700_000_000.0,
    "age": 720.0,
    "estimate": False,
    "free": False,
    "counts": True,
    "others": [{"source": "snapshot 2026-08-20", "amount": "0.80"}],
    "disagrees": True,
}
FEED = {
    "source": "huggingface",
    "asks": "provider huggingface",
    "age": 720.0,
    "next_in": 60.0,
    "failing_since": None,
    "error": None,
    "listed": 1,
    "left_out": 0,
    "refused": [],
}


def page(*prices: dict[str, Any], feed: dict[str, Any] = FEED, cursor: str | None = None) -> dict[str, Any]:
    return {"success": True, "rule": "the first", "prices": list(prices), "next_cursor": cursor, "feeds": [feed]}


@pytest.fixture
def said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str]]:
    clean_environment(monkeypatch, tmp_path)

    def run(*words: str) -> tuple[int, str]:
        code = main(words)
        told = capsys.readouterr()
        return code, told.out + told.err

    return run


@pytest.fixture
def script() -> Iterator[Script]:
    with scripted_server() as there:
        yield there


def test_prices_are_shown_with_source_age_and_what_others_say(
    script: Script, said: Callable[..., tuple[int, str]]
) -> None:
    script.put("/api/pricing", page(PRICE))
    code, text = said("prices", "--server", script.url, "nvidia-l4", "--region", "us-east-1")
    assert code == 0
    for words in (
        "aws-us-east-1-nvidia-l4-x1",
        "$0.90",
        "a replica's hour",
        "huggingface",
        "12 min ago",
        "snapshot 2026-08-20 $0.80",
    ):
        assert words in text
    assert "subject=nvidia-l4&region=us-east-1&counts=true" in script.asked[-1]


def test_all_pages_are_shown(script: Script, said: Callable[..., tuple[int, str]]) -> None:
    other = PRICE | {"subject": "second", "estimate": True, "disagrees": False}
    script.put("/api/pricing", page(PRICE, cursor="abc"), page(other))
    code, text = said("prices", "--server", script.url, "--json")
    assert code == 0
    assert [one["subject"] for one in json.loads(text)["prices"]] == [PRICE["subject"], "second"]
    assert "cursor=abc" in script.asked[-1]


def test_a_source_that_tells_none_is_told_and_is_exit_code_1(
    script: Script, said: Callable[..., tuple[int, str]]
) -> None:
    down = FEED | {
        "error": "No connection to api.example.com.",
        "failing_since": 1_700_000_000.0,
        "refused": ["x: -1 is less than nothing"],
    }
    script.put("/api/pricing/refresh", page(feed=down))
    script.put("/api/pricing", page(feed=down))
    code, text = said("prices", "--server", script.url, "--refresh")
    assert code == 1
    assert script.asked[0] == "POST /api/pricing/refresh"
    assert "huggingface tells no prices: No connection to api.example.com." in text
    assert "not believed: x: -1 is less than nothing" in text
    assert "No price is known" in text


def test_without_server_and_token_the_published_prices_are_shown(said: Callable[..., tuple[int, str]]) -> None:
    code, text = said("prices", "nvidia-l4", "--provider", "gcp", "--json")
    assert code == 0
    found = json.loads(text)["prices"]
    assert [(one["subject"], one["amount"], one["source"], one["estimate"]) for one in found] == [
        ("gcp-nvidia-l4-x1", "0.70", "snapshot 2026-08-20", True),
        ("gcp-nvidia-l4-x4", "3.80", "snapshot 2026-08-20", True),
    ]
    code, text = said("prices", "nvidia-l4")
    assert "~$0.80" in text
    assert "snapshot 2026-08-20" in text
    assert "an estimate" in text


def test_a_refused_filter_of_the_command_is_a_mistake_of_the_user(said: Callable[..., tuple[int, str]]) -> None:
    code, text = said("prices", "--unit", "mile")
    assert code == 2
    assert "replica_hour" in text


def test_status_and_hardware_say_who_told_a_price(tmp_path: Path, said: Callable[..., tuple[int, str]]) -> None:
    async def ask() -> tuple[tuple[int, str], tuple[int, str], tuple[int, str]]:
        async with serving(tmp_path / "data", endpoints=ENDPOINT) as (server, _, _):
            return (
                await asyncio.to_thread(said, "hardware", "--server", server.url),
                await asyncio.to_thread(said, "hardware", "--server", server.url, "--json"),
                await asyncio.to_thread(said, "status", "e", "--server", server.url),
            )

    drawn, as_json, status = asyncio.run(ask())
    assert drawn[0] == as_json[0] == status[0] == 0
    assert "huggingface, " in drawn[1]
    (found,) = [one for one in json.loads(as_json[1]) if one["id"] == "aws-us-east-1-nvidia-l4-x1"]
    assert (found["price_per_hour"], found["price_source"]) == (0.8, "huggingface")
    assert "price" not in found
    assert "$0.80 per replica and hour (huggingface)" in status[1]
