"""Budgets of a whole server, as they are told: over REST, to Prometheus, on the command line and as alarms."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import re
import time
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx2
import pytest

from lamplighter import runtime
from lamplighter.config import parse
from lamplighter.control.alarms import AlarmKeeper, Delivery
from lamplighter.runtime import Server, running
from tests.gateway_stage import always, answer, endpoint

PRICE = 3600  # $ an hour: a dollar a second
MINIMUM = 60  # seconds that each awake period is billed at least: $60

BUDGETS = {
    "all": {"limit": 1000, "per": "month"},
    "chat": {"limit": 100, "per": "day", "endpoint": "chat", "at_limit": "drain"},
    "each": {"limit": 500, "per": "week", "endpoint": "*"},
    "team": {"limit": 80.5, "per": "week", "tag": "team=*"},
    "web": {"limit": 50, "per": "month", "key": "web"},
}


def configuration(folder: Path, url: str, **sections: Any) -> str:
    options = {"start_delay": 0.02, "stop_delay": 0.02, "url": url, "billing": {"minimum": MINIMUM}}
    chat = {"provider": "memory", "command": "none"}
    return json.dumps(
        {
            "server": {"port": 0, "data": str(folder), "drain_timeout": 1},
            "providers": {"memory": {"options": options}},
            "endpoints": {"chat": chat | {"price_per_hour": PRICE}, "free": chat},
            "ledger": {"time_zone": "Europe/Berlin"},
            "budgets": BUDGETS,
        }
        | sections
    )


@contextlib.asynccontextmanager
async def serving(folder: Path, **sections: Any) -> AsyncIterator[tuple[Server, httpx2.AsyncClient]]:
    reply = always(answer(b'{"choices":[]}', headers="content-type: application/json\r\n"))
    async with endpoint(reply) as engine:
        settings = parse(configuration(folder, engine.url, **sections), "lamplighter.yaml", {})
        async with running(settings) as server, httpx2.AsyncClient(base_url=server.url, trust_env=False) as client:
            yield server, client


async def told(client: httpx2.AsyncClient, **query: Any) -> list[dict[str, Any]]:
    page = (await client.get("/api/budgets", params=query)).raise_for_status().json()
    found: list[dict[str, Any]] = page["budgets"]
    return found


async def names(client: httpx2.AsyncClient, **query: Any) -> list[tuple[str, str]]:
    return [(one["name"], one["member"]) for one in await told(client, **query)]


async def called(client: httpx2.AsyncClient, model: str = "chat", **headers: str) -> httpx2.Response:
    return await client.post("/v1/chat/completions", json={"model": model}, headers=headers)


async def until_spent(client: httpx2.AsyncClient, name: str) -> dict[str, Any]:
    """How a budget is used, once something of it is."""
    async with asyncio.timeout(10):
        while True:
            for one in await told(client, name=name):
                if Decimal(one["spent"]) > 0:
                    return one
            await asyncio.sleep(0.02)


async def test_every_budget_is_told_whole_and_exactly(tmp_path: Path) -> None:
    async with serving(tmp_path) as (_, client):
        assert (await called(client)).status_code == 200
        await until_spent(client, "each")
        page = (await client.get("/api/budgets")).json()
        assert page["time_zone"] == "Europe/Berlin"
        assert page["currency"] == "USD"
        assert abs(page["at"] - time.time()) < 60
        assert [(one["name"], one["member"], one["whose"]) for one in page["budgets"]] == [
            ("all", "", "all"),
            ("chat", "chat", "endpoint chat"),
            ("each", "chat", "endpoint chat"),
            ("team", "*", "tag team=*"),
            ("web", "web", "key web"),
        ]
        chat = page["budgets"][1]
        assert chat["begins_at"] <= page["at"] < chat["renews_at"]
        assert chat["renews_at"] - chat["begins_at"] in {23 * 3600, 24 * 3600, 25 * 3600}
        spent, reserved, left = (Decimal(chat[name]) for name in ("spent", "reserved", "left"))
        assert spent > 0
        assert spent + reserved >= MINIMUM
        assert left == 100 - spent - reserved
        assert chat["share"] == float(spent / 100)
        for name in ("begins_at", "renews_at", "spent", "reserved", "left", "share", "level"):
            chat.pop(name)
        assert chat == {
            "name": "chat",
            "scope": "endpoint",
            "whose": "endpoint chat",
            "tag": None,
            "member": "chat",
            "limit": "100.00",
            "is_spent": False,
            "period": "day",
            "at_limit": "drain",
            "unpriced": [],
            "missing": False,
        }
        team, web = page["budgets"][3:]
        assert (team["limit"], team["spent"], team["tag"], team["left"]) == ("80.50", "0.00", "team", "80.50")
        assert web["missing"] is True


async def test_what_has_no_price_is_said_where_it_is_awake(tmp_path: Path) -> None:
    async with serving(tmp_path) as (_, client):
        assert (await called(client, "free")).status_code == 200
        async with asyncio.timeout(10):
            while True:
                if unpriced := (await told(client, name="all"))[0]["unpriced"]:
                    break
                await asyncio.sleep(0.02)
        assert unpriced == ["free"]
        assert not any(one["unpriced"] for one in await told(client, name=["chat", "team", "web"]))


async def test_budgets_are_asked_for_by_name_endpoint_and_key(tmp_path: Path) -> None:
    async with serving(tmp_path) as (_, client):
        assert await names(client, name="all") == [("all", "")]
        assert await names(client, name=["web", "all"]) == [("all", ""), ("web", "web")], "in the file's order"
        assert await names(client, endpoint="free") == [("all", ""), ("each", "free")]
        assert await names(client, endpoint="chat", name="chat") == [("chat", "chat")]
        root = (await client.post("/api/keys", json={"name": "root", "role": "admin"})).json()["secret"]
        client.headers["authorization"] = f"Bearer {root}"
        made = await client.post("/api/keys", json={"name": "web", "tags": {"team": "sales"}})
        assert made.status_code == 201, made.text
        assert await names(client, key="web") == [("all", ""), ("team", "sales"), ("web", "web")]
        assert await names(client, key="root", endpoint="chat") == [("all", ""), ("chat", "chat"), ("each", "chat")]
        refused = await client.get("/api/budgets", headers={"authorization": f"Bearer {made.json()['secret']}"})
        assert refused.status_code == 403, "a key that may only call models"


async def test_what_there_is_not_is_said(tmp_path: Path) -> None:
    wrong: list[tuple[dict[str, Any], int, str]] = [
        ({"name": "char"}, 404, "There is no budget 'char'; did you mean 'chat'?"),
        ({"name": ["all", "x"]}, 404, "There is no budget 'x'; budgets there are: all, chat, each, team, web."),
        ({"key": "nobody"}, 404, "There is no key 'nobody'; there are no keys."),
        ({"names": "all"}, 400, "names: no such parameter; there are name, endpoint, key."),
        ({"name": "a" * 400}, 422, "name"),
    ]
    async with serving(tmp_path) as (_, client):
        for query, status, words in wrong:
            refused = await client.get("/api/budgets", params=query)
            assert words in refused.json()["error"]["message"]
            assert refused.status_code == status


async def test_a_server_without_budgets_tells_of_none(tmp_path: Path) -> None:
    async with serving(tmp_path, budgets={}) as (_, client):
        assert await told(client) == []
        assert (await client.get("/api/budgets?name=x")).json()["error"]["message"] == (
            "There is no budget 'x'; there are no budgets."
        )


async def test_prometheus_is_told_of_each_budget_and_whose_it_is(tmp_path: Path) -> None:
    async with serving(tmp_path) as (_, client):
        assert (await called(client)).status_code == 200
        await until_spent(client, "each")
        text = (await client.get("/metrics")).text
        limits, spent, reserved = (amounts(text, name) for name in ("limit", "spent", "reserved"))
        assert limits == {("all", ""): 1000, ("chat", "chat"): 100, ("each", "chat"): 500, ("web", "web"): 50}
        assert spent["all", ""] == spent["chat", "chat"] == spent["each", "chat"] > 0
        assert spent["web", "web"] == 0
        assert spent["chat", "chat"] + reserved["chat", "chat"] >= MINIMUM
        assert limits.keys() == spent.keys() == reserved.keys()


def amounts(text: str, name: str) -> dict[tuple[str, str], float]:
    """What is told of each budget, by its name and member."""
    pattern = rf'^lamplighter_budget_{name}_dollars\{{budget="(\w+)",member="(\w*)"\}} (\S+)$'
    return {(budget, member): float(value) for budget, member, value in re.findall(pattern, text, re.MULTILINE)}


async def test_a_budget_that_is_spent_is_an_alarm_and_wakes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hasty = functools.partial(AlarmKeeper, delivery=Delivery(look_every=0.02))
    monkeypatch.setattr(runtime, "AlarmKeeper", hasty)
    budgets = {"little": {"limit": 0.05, "per": "day"}}
    options = {"start_delay": 0.02, "stop_delay": 0.02}
    async with serving(tmp_path, budgets=budgets, providers={"memory": {"options": options}}) as (_, client):
        await client.post("/api/endpoints/wake/chat")
        async with asyncio.timeout(10):
            while True:
                alarms = (await client.get("/api/alarms")).json()["alarms"]
                if any(one["alarm"] == "budget_100" for one in alarms):
                    break
                await asyncio.sleep(0.02)
        (alarm,) = alarms
        assert alarm["endpoint"] == "little"
        assert re.match(r"Budget 'little': \$[\d.]+ of \$0\.05 a day \(all\) is spent, \d{3,} %\. ", alarm["text"])
        assert (
            "00:00 (Europe/Berlin). Until then nothing is woken and no upstream paid under it, and what is awake sleeps"
            in alarm["text"]
        )
        assert (await called(client, "free")).status_code == 402
        async with asyncio.timeout(10):
            while True:
                if (shown := await status(client, "chat"))["status"] == "sleeping":
                    break
                await asyncio.sleep(0.02)
        assert "Budget 'little'" in shown["message"]
        assert (await client.get("/api/endpoints/status")).status_code == 200
        assert (await client.get("/metrics")).status_code == 200
        refused = await client.post("/api/endpoints/wake/chat")
        assert (refused.status_code, refused.json()["error"]["code"]) == (402, "budget_spent")


async def status(client: httpx2.AsyncClient, name: str) -> dict[str, Any]:
    """An endpoint as the status route tells it."""
    shown: dict[str, Any] = (await client.get(f"/api/endpoints/status/{name}")).raise_for_status().json()["endpoint"]
    return shown
