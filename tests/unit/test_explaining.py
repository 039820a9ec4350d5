"""What requests have cost and would have cost elsewhere: a server with ten days on record, over its own routes."""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx2
import pytest
from click.testing import CliRunner

from lamplighter.cli.main import root
from lamplighter.config import parse
from lamplighter.domain.endpoint import State, Transition
from lamplighter.domain.usage import Outcome, UsageRecord
from lamplighter.runtime import running
from lamplighter.store import Store
from tests.cli_world import VARIABLES
from tests.gateway_stage import always, answer, endpoint
from tests.hf_stage import TOKEN, Reply, stage
from tests.hub_stage import DEEP, HUB, ROUTER, furnish, hub_model, listing, novita, served

HOUR, DAY = 3600.0, 86400.0
MINUTE = 60.0
DAYS = 10
SERVER: dict[str, Any] = {
    "providers": {"memory": {"options": {"start_delay": 0.01, "stop_delay": 0.01}}},
    "endpoints": {
        name: {
            "provider": "memory",
            "model": DEEP,
            "task": "text-generation",
            "command": "x --port {port}",
            "health_route": "/health",
            "price_per_hour": price,
            "idle_timeout": "15m",
        }
        for name, price in (("chat", 3.6), ("spare", 0.9), ("quiet", 1.0))
    },
    "upstreams": {
        "rented": {"base_url": "http://127.0.0.1:9/v1", "model": "other/name", "price": {"input": 0.5, "output": 1.0}},
        "untold": {"base_url": "http://127.0.0.1:9/v1", "model": "nobody/knows"},
    },
    "routes": {"assistant": {"targets": ["chat", "rented"]}},
    "server": {"port": 0, "drain_timeout": 1},
    "ledger": {"time_zone": "UTC"},
}
ASK = ["offers", "explain", "chat"]
TOKENS_IN, TOKENS_OUT = 20_000, 5_000


def used(name: str, at: float, route: str = "chat", **more: Any) -> UsageRecord:
    """A request of ten seconds, answered from its second on."""
    given: dict[str, Any] = {"tokens_in": TOKENS_IN, "tokens_out": TOKENS_OUT, "duration": 10.0, "first_byte": 1.5}
    return UsageRecord(
        endpoint=name,
        at=at,
        route="/v1/chat/completions",
        status=200,
        outcome=Outcome.SERVED,
        waited=0.0,
        bytes_in=1,
        bytes_out=1,
        model=route,
        **given | more,
    )


def change(at: float, before: State, after: State, lasted: float) -> Transition:
    return Transition(
        endpoint="chat",
        at=at,
        before=before,
        after=after,
        reason="told",
        actor="request",
        duration=lasted,
        provider="memory",
    )


async def remember(folder: Path, first: float) -> None:
    """Ten days: each day at noon a wake of 100 s, two requests 200 s apart, and sleep 15 min after the last."""
    store = await Store.open(folder / "lamplighter.db")
    for day in range(DAYS):
        noon = first + day * DAY + 12 * HOUR
        asleep = State.SCALED_TO_ZERO
        await store.add_transition(change(noon, asleep, State.INITIALIZING, 1000.0))
        await store.add_transition(change(noon + 100, State.INITIALIZING, State.RUNNING, 100.0))
        await store.add_usage([used("chat", noon + 110), used("chat", noon + 320)])
        await store.add_transition(change(noon + 1220, State.RUNNING, asleep, 1120.0))
        await store.add_start("chat", noon + 100, 100.0)
        await store.save_activity([("chat", int(noon), 20.0)])
    await store.close()


@dataclass
class World:
    http: httpx2.AsyncClient
    url: str

    async def explain(self, name: str, **query: Any) -> Any:
        answered = await self.http.get("/api/offers/explain", params={"name": name, **query})
        assert answered.status_code == 200, answered.text
        return answered.json()


@asynccontextmanager
async def world(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    past: bool = True,
    usage: Sequence[UsageRecord] = (),
    served_by: Sequence[Any] = (),
    **more: Any,
) -> AsyncIterator[World]:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    data = folder / "data"
    if past:
        data.mkdir()
        midnight = time.time() // DAY * DAY
        await remember(data, midnight - (DAYS + 1) * DAY)
    if usage:
        data.mkdir(exist_ok=True)
        store = await Store.open(data / "lamplighter.db")
        await store.add_usage(list(usage))
        await store.close()
    async with stage() as there, endpoint(always(answer(b"{}"))) as engine:
        monkeypatch.setenv("LAMPLIGHTER_CLOUD_URL", there.url)
        furnish(there)
        groq = novita(provider="groq", pricing={"input": 0.2, "output": 0.6})
        silent = novita(provider="silent", pricing=None)
        there.script("GET", ROUTER, listing(served(DEEP, novita(), groq, silent, *served_by)))
        there.script("GET", f"{HUB}/{DEEP}", Reply(body=hub_model(DEEP)))
        settings = json.loads(json.dumps(SERVER | more))
        settings["providers"]["memory"]["options"]["url"] = engine.url
        settings["server"] = SERVER["server"] | settings["server"] | {"data": str(data)}
        async with (
            running(parse(json.dumps(settings), "server.yaml", {})) as server,
            httpx2.AsyncClient(base_url=server.url, timeout=20, trust_env=False) as http,
        ):
            yield World(http, server.url)


def named(told: Any) -> dict[str, Any]:
    return {row["name"]: row for row in told["compared"]}


async def test_the_same_requests_are_priced_on_every_offer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with world(tmp_path, monkeypatch) as here:
        told = await here.explain("chat")
    assert (told["kind"], told["models"], told["targets"]) == ("endpoint", [DEEP], ["chat"])
    asked = told["asked"]
    assert (asked["requests"], asked["told"], asked["tokens_in"], asked["tokens_out"]) == (20, 20, 400_000, 100_000)
    rows = named(told)
    was = rows["as it was"]
    assert (Decimal(was["cost"]), was["basis"]) == (Decimal("12.20"), "ledger")  # 10 x 1220 s x $0.001
    assert {kind: Decimal(amount) for kind, amount in told["paid"].items()} == {
        "cold_start": Decimal("1.00"),
        "serving": Decimal("0.20"),
        "idle": Decimal("11.00"),
        "by_use": Decimal(0),
        "total": Decimal("12.20"),
    }
    assert (Decimal(rows["groq"]["cost"]), rows["groq"]["basis"]) == (Decimal("0.14"), "exact")
    assert Decimal(rows["novita"]["cost"]) == Decimal("1.014")
    assert (Decimal(rows["rented"]["cost"]), rows["rented"]["basis"]) == (Decimal("0.30"), "exact")
    assert (rows["silent"]["cost"], rows["silent"]["why"]) == (None, "no price known")
    spare = rows["spare"]
    assert (spare["basis"], spare["why"]) == ("estimate", "its start and its speed are taken to be those of chat")
    # Ten wakes of 100 s start, 10 + 200 + 10 s of use, 900 s idle, at $0.9 an hour.
    assert float(spare["cost"]) == pytest.approx(10 * (100 + 220 + 900) * 0.9 / 3600, rel=1e-4)
    assert spare["hours_awake"] == pytest.approx(12_200 / 3600, rel=1e-4)
    small = rows["memory-memory-cpu-x1"]
    assert (small["cost"], small["why"].startswith("does not fit: estimate: (8.19 billion x 2 B")) == (None, True)
    assert rows["memory-memory-gpu-x1"]["basis"] == "estimate"
    assert [row["name"] for row in told["compared"]][:2] == ["groq", "rented"]


async def test_the_break_even_and_what_to_do_are_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with world(tmp_path, monkeypatch) as here:
        told = await here.explain("chat")
    found = told["break_even"]
    assert (found["hardware"], found["rented"]) == ("chat", "groq")
    # Even in one piece, 200 s busy, 900 s of idling and a start cost $1.20, and groq asks $0.14.
    assert (found["requests_per_day"], "costs more" in found["why"]) == (None, True)
    assert told["recommendation"] == "groq would have cost $0.14 instead of $12.20, 99 % less."


async def test_prices_have_a_source_an_age_and_what_others_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with world(tmp_path, monkeypatch) as here:
        told = await here.explain("chat")
    groq = named(told)["groq"]["quotes"]
    assert {(one["unit"], one["amount"], one["source"]) for one in groq} == {
        ("million_tokens_in", "0.20", "router"),
        ("million_tokens_out", "0.60", "router"),
    }
    assert all(0 <= one["age"] < 60 for one in groq)
    assert "configuration before" in told["rule"]
    assert named(told)["as it was"]["quotes"][0]["source"] == "configuration"


async def test_a_route_a_model_and_an_upstream_can_be_asked_about(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with world(tmp_path, monkeypatch) as here:
        route, model, far = [await here.explain(name) for name in ("assistant", DEEP, "rented")]
        unknown = await here.http.get("/api/offers/explain", params={"name": "no/such"})
    assert (route["kind"], route["targets"], route["asked"]["requests"]) == ("route", ["chat", "rented"], 0)
    assert (model["kind"], model["asked"]["requests"], set(model["targets"])) == (
        "model",
        20,
        {"chat", "spare", "quiet"},
    )
    assert "rented" not in named(far)
    assert (unknown.status_code, unknown.json()["error"]["field"]) == (400, "name")
    assert "no/such" in unknown.json()["error"]["message"]


async def test_who_is_not_live_is_shown_last_with_its_status_and_not_recommended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    freebie = novita(provider="freebie", status="staging", is_free=True, pricing={"input": 0, "output": 0})
    dead = novita(provider="gone", status="error", pricing={"input": 0.01, "output": 0.01})
    async with world(tmp_path, monkeypatch, served_by=[freebie, dead]) as here:
        told = await here.explain("chat")
        answered = await here.http.get("/api/offers", params={"model": DEEP})
        runner = CliRunner(env={"COLUMNS": "240"})
        said = await asyncio.to_thread(runner.invoke, root, [*ASK, "--server", here.url])
    assert told["recommendation"] == "groq would have cost $0.14 instead of $12.20, 99 % less."
    assert told["break_even"]["rented"] == "groq"
    known = [row["name"] for row in told["compared"] if row["cost"] is not None]
    assert known[-2:] == ["freebie", "gone"]
    rows = named(told)
    assert rows["freebie"]["why"].endswith("not to be had now, its status is staging")
    assert (rows["gone"]["offer"]["status"], Decimal(rows["gone"]["cost"])) == ("error", Decimal("0.005"))
    assert [one["provider"] for one in answered.json()["offers"]][-2:] == ["freebie", "gone"]
    (line,) = [line for line in said.output.splitlines() if line.startswith("freebie")]
    assert "staging" in line.split()


async def test_a_cpu_is_not_recommended_in_the_place_of_something_faster_and_replicas_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    noon = (time.time() // DAY - 1) * DAY + 12 * HOUR
    much = used("chat", noon, tokens_in=10**9)  # by the token that is $200 and more
    slow = {"type": "memory", "options": SERVER["providers"]["memory"]["options"]}
    endpoints = {**SERVER["endpoints"], "chat": SERVER["endpoints"]["chat"] | {"replicas": 2}}
    providers = {**SERVER["providers"], "attic": slow}
    async with world(tmp_path, monkeypatch, usage=[much], endpoints=endpoints, providers=providers) as here:
        told = await here.explain("chat")
    rows = named(told)
    cpu, gpu = rows["memory-memory-cpu-x8 (memory)"], rows["memory-memory-gpu-x1 (attic)"]
    assert rows["memory-memory-gpu-x1 (memory)"]["offer"]["provider"] == "memory"
    assert Decimal(cpu["cost"]) < Decimal(gpu["cost"]) < Decimal(rows["groq"]["cost"])
    assert "a CPU is hardly as fast, and not recommended" in cpu["why"]
    assert gpu["why"] == "its start and its speed are taken to be those of chat; for 2 replicas"
    assert float(gpu["cost"]) == pytest.approx(2 * gpu["hours_awake"] * 0.5, rel=1e-4)
    assert told["recommendation"].startswith("memory-memory-gpu-x1 (")


async def test_where_it_is_not_known_what_was_paid_no_sum_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    noon = (time.time() // DAY - 1) * DAY + 12 * HOUR
    async with world(tmp_path, monkeypatch, past=False, usage=[used("untold", noon, "odd")]) as here:
        ask = ["offers", "explain", "untold", "--server", here.url]
        said = await asyncio.to_thread(CliRunner(env={"COLUMNS": "200"}).invoke, root, ask)
    assert "paid is not known, this is all that was charged: cold start $0.00" in said.output


async def test_what_upstreams_were_paid_is_what_the_ledger_says_and_not_what_they_ask_today(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    noon = (time.time() // DAY - 1) * DAY + 12 * HOUR
    async with world(
        tmp_path,
        monkeypatch,
        past=False,
        usage=[
            used("rented", noon, "assistant", nanodollars=14_000),
            used("rented", noon + 60, "other", nanodollars=6_000),
            used("elsewhere/novita", noon + 120, DEEP, nanodollars=2_000),
            used("untold", noon + 180, "odd"),
        ],
    ) as here:
        upstream, route, model, untold = [await here.explain(one) for one in ("rented", "assistant", DEEP, "untold")]
    was = named(upstream)["as it was"]  # at today's prices 2 x (20,000 x $0.5 + 5,000 x $1) a million: $0.03
    assert (Decimal(was["cost"]), was["basis"]) == (Decimal("0.00002"), "ledger")
    assert Decimal(upstream["paid"]["by_use"]) == Decimal("0.00002")
    assert Decimal(route["paid"]["by_use"]) == Decimal("0.000014")
    assert (Decimal(model["paid"]["by_use"]), model["asked"]["requests"]) == (Decimal("0.000002"), 1)
    assert (untold["paid"]["by_use"], named(untold)["as it was"]["cost"]) == (None, None)


async def test_what_was_never_used_says_so_and_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with world(tmp_path, monkeypatch, past=False) as here:
        told = await here.explain("quiet")
    assert told["asked"]["requests"] == 0
    assert told["recommendation"] == "Nothing was asked of quiet in this time: send it requests, and ask again."
    assert (told["break_even"], told["no_break_even"]) == (None, "nothing was asked")
    assert {row["why"] for row in told["compared"] if row["name"] in {"groq", "spare"}} <= {
        "nothing was asked",
        "no tokens measured",
        "its start was never measured and is not counted; its speed is taken to be that of quiet",
    }


async def test_offers_tell_what_use_has_cost_and_how_fast_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with world(tmp_path, monkeypatch) as here:
        answered = await here.http.get("/api/offers", params={"model": DEEP})
    offers = {one["endpoint"] or one["provider"]: one for one in answered.json()["offers"]}
    cost, speed = offers["chat"]["cost"], offers["chat"]["measured"]
    assert (Decimal(cost["dollars"]), cost["requests"]) == (Decimal("12.20"), 20)
    assert Decimal(cost["per_million_tokens"]) == Decimal("24.40")  # 500,000 tokens
    assert Decimal(cost["per_request"]) == Decimal("0.61")
    assert (speed["tokens"], speed["seconds"], speed["first_token"]) == (100_000, 200.0, 1.5)
    assert (offers["quiet"]["cost"], offers["quiet"]["cost_basis"][:12]) == (None, "not measured")
    assert offers["groq"]["cost_basis"] == "not measured: this server has not got it"


async def test_requests_without_tokens_and_another_time_count_as_what_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with world(tmp_path, monkeypatch) as here:
        last = await here.explain("chat", since=4 * DAY)
        wrong = await here.http.get("/api/offers/explain", params={"name": "chat", "since": -1})
        none = await here.http.get("/api/offers/explain")
    assert last["asked"]["requests"] == 2 * 3
    assert Decimal(named(last)["as it was"]["cost"]) == Decimal("3.66")
    assert (wrong.status_code, wrong.json()["error"]["field"]) == (422, "since")
    assert (none.status_code, none.json()["error"]["field"]) == (422, "name")


async def test_a_route_that_chooses_by_cost_tells_where_a_request_would_go_now(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    routes = {"assistant": {"targets": ["chat", "rented", "spare"], "choose": "cheapest"}}
    async with world(tmp_path, monkeypatch, routes=routes) as here:
        told = await here.explain("chat")
    (choice,) = told["choices"]
    assert (choice["route"], choice["targets"][0]) == (
        "assistant",
        {
            "target": "rented",
            "model": None,
            "cost": pytest.approx(0.015),
            "why": "tokens",
        },  # 20,000 in and 5,000 out, as they were
    )
    asleep = {one["target"]: one for one in choice["targets"][1:]}
    assert {one["why"] for one in asleep.values()} == {"asleep"}
    assert asleep["chat"]["cost"] == pytest.approx(1.0)  # a start of 100 s, and 900 s until it sleeps


async def test_before_any_request_told_its_tokens_nothing_is_said_of_what_one_more_costs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    routes = {"assistant": {"targets": ["rented", "chat"], "choose": "cheapest"}}
    async with world(tmp_path, monkeypatch, past=False, routes=routes) as here:
        (choice,) = (await here.explain("assistant"))["choices"]
        ask = ["offers", "explain", "assistant", "--server", here.url]
        said = await asyncio.to_thread(CliRunner(env={"COLUMNS": "200"}).invoke, root, ask)
    bids = {one["target"]: (one["cost"], one["why"]) for one in choice["targets"]}
    assert bids["rented"] == (None, "no-tokens")
    assert "would send" not in said.output
    assert "no request that told its tokens" in said.output


async def test_where_sources_disagree_both_are_shown_and_it_is_said_which_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    far = {"base_url": "https://api.openai.com/v1", "model": "gpt-4o", "price": {"input": 7, "output": 8}}
    more: dict[str, Any] = {"upstreams": SERVER["upstreams"] | {"openai": far}, "prices": {"list_prices": True}}
    async with world(tmp_path, monkeypatch, past=False, **more) as here:
        for _ in range(200):
            answered = await here.http.get("/api/offers", params={"provider": "openai"})
            (offer,) = answered.json()["offers"]
            if offer["others"]:
                break
            await asyncio.sleep(0.05)  # until the list has been read, in a thread
        told = await here.explain("openai")
    assert {(one["unit"], one["amount"], one["source"]) for one in offer["quotes"]} == {
        ("million_tokens_in", "7.00", "configuration"),
        ("million_tokens_out", "8.00", "configuration"),
    }
    assert offer["disagrees"]
    assert {(one["unit"], one["source"]) for one in offer["others"]} == {
        ("million_tokens_in", "genai-prices"),
        ("million_tokens_out", "genai-prices"),
    }
    assert named(told)["as it was"]["others"]
    assert told["rule"].startswith("configuration before")


async def test_what_is_spent_is_for_those_who_may_see_costs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    admin = f"sha256:{hashlib.sha256(b'admins-key').hexdigest()}"
    async with world(tmp_path, monkeypatch, server={**SERVER["server"], "keys": [admin]}) as here:
        made = await here.http.post("/api/keys", json={"name": "ci"}, headers={"x-api-key": "admins-key"})
        mine = {"authorization": f"Bearer {made.json()['secret']}"}
        seen = await here.http.get("/api/offers", params={"model": "chat"}, headers=mine)
        all_of_it = await here.http.get("/api/offers", params={"model": "chat"}, headers={"x-api-key": "admins-key"})
        refused = await here.http.get("/api/offers/explain", params={"name": "chat"}, headers=mine)
    assert seen.json()["offers"][0]["cost"] is None
    assert all_of_it.json()["offers"][0]["cost"] is not None
    assert refused.status_code == 403


async def test_people_get_a_table_sorted_by_cost_and_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with world(tmp_path, monkeypatch) as here:
        runner = CliRunner(env={"COLUMNS": "200"})
        said = await asyncio.to_thread(runner.invoke, root, [*ASK, "--all", "--server", here.url])
        machine = await asyncio.to_thread(runner.invoke, root, [*ASK, "--json", "--server", here.url])
        odd = await asyncio.to_thread(runner.invoke, root, ["offers", "--tools", "explain", "chat"])
    assert said.exit_code == 0, said.output
    text = said.output
    assert text.index("groq") < text.index("rented") < text.index("as it was") < text.index("silent")
    assert "paid $12.20: cold start $1.00" in text
    assert "no price known" in text
    assert "router (just now)" in text
    assert text.rstrip().endswith("groq would have cost $0.14 instead of $12.20, 99 % less.")
    assert json.loads(machine.output)["break_even"]["rented"] == "groq"
    assert odd.exit_code == 2
    assert "--tools" in odd.output


def test_nobody_asks_about_no_time_at_all() -> None:
    refused = CliRunner().invoke(root, [*ASK, "--since", "0s"])
    assert refused.exit_code == 2
    assert "--since" in refused.output
