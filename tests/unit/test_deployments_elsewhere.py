"""Endpoints that were made over our wire at a provider that keeps them: nothing of them is forgotten while it runs.

The provider is another server, which goes on when ours ends. What goes wrong between both is done by a proxy.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sqlite3
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest

from lamplighter.config import Settings, parse
from lamplighter.control import deployments
from lamplighter.providers.huggingface import provider
from lamplighter.runtime import running
from lamplighter.store.seal import KEY_FILE
from tests import fault_proxy as faults
from tests.fault_proxy import FaultProxy
from tests.hf_cloud import DOCUMENT, NAMESPACE, Cloud, cloud

ROOT = f"/v2/endpoint/{NAMESPACE}"
AT = f"{ROOT}/e"
PATIENCE = 20.0
SECRET = {**DOCUMENT, "model": {**DOCUMENT["model"], "secrets": {"TOKEN": "hush-hush"}}}


@dataclass
class World:
    """A folder of ours, and a cloud behind a proxy that outlives our servers."""

    folder: Path
    cloud: Cloud
    proxy: FaultProxy

    @property
    def data(self) -> Path:
        return self.folder / "front"

    def settings(self, endpoints: dict[str, Any] | None = None) -> Settings:
        given = {"base_url": self.proxy.url, "namespace": NAMESPACE, "look_every": 5}
        retry = {"attempts": 2, "base": 0.01, "deadline": 5}
        text = {
            "server": {"port": 0, "data": str(self.data), "drain_timeout": 1},
            "defaults": {"backoff_base": 0.05, "backoff_cap": 0.2},
            "providers": {"huggingface": {"options": given | {"retry": retry}}},
            "endpoints": endpoints or {},
        }
        return parse(json.dumps(text), "front.yaml", {})

    @contextlib.asynccontextmanager
    async def front(self, endpoints: dict[str, Any] | None = None) -> AsyncIterator[Front]:
        """Ours, started on what the last one left."""
        async with running(self.settings(endpoints)) as server:
            yield Front(self, server)

    async def there(self) -> str | None:
        """The state of the endpoint as the cloud itself tells it."""
        async with httpx2.AsyncClient(timeout=PATIENCE) as client:
            answer = await client.get(f"{self.cloud.url}{AT}")
        return None if answer.status_code == 404 else str(answer.json()["status"]["state"])

    async def until_there(self, state: str | None) -> None:
        async with asyncio.timeout(PATIENCE):
            while await self.there() != state:  # noqa: ASYNC110 - over HTTP
                await asyncio.sleep(0.02)

    def lose_the_key(self) -> None:
        (self.data / KEY_FILE).rename(self.data / "lost.key")

    def row(self) -> tuple[str, str] | None:
        """The document and the sealed secrets, as they are written."""
        with contextlib.closing(sqlite3.connect(self.data / "lamplighter.db")) as database:
            found: tuple[str, str] | None = database.execute("select document, secrets from deployments").fetchone()
        return found


@dataclass
class Front:
    world: World
    server: Any

    async def ask(self, method: str, path: str, body: Any = None) -> httpx2.Response:
        async with httpx2.AsyncClient(timeout=PATIENCE) as client:
            return await client.request(method, f"{self.server.url}{path}", json=body)

    async def make(self, body: Any = None) -> None:
        answer = await self.ask("POST", ROOT, SECRET if body is None else body)
        assert answer.status_code == 200, answer.text
        await self.until("running")

    async def endpoint(self) -> dict[str, Any]:
        answer = await self.ask("GET", AT)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    async def until(self, state: str) -> dict[str, Any]:
        return await self.eventually(lambda found: found["status"]["state"] == state)

    async def eventually(self, is_so: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        async with asyncio.timeout(PATIENCE):
            while not is_so(found := await self.endpoint()):  # noqa: ASYNC110 - over HTTP
                await asyncio.sleep(0.02)
        return found

    async def until_gone(self) -> None:
        async with asyncio.timeout(PATIENCE):
            while (await self.ask("GET", AT)).status_code != 404:  # noqa: ASYNC110 - over HTTP
                await asyncio.sleep(0.02)

    async def problems(self) -> list[str]:
        found: list[str] = (await self.ask("GET", "/readyz")).json()["problems"]
        return found


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with cloud(tmp_path) as far:
        with FaultProxy(far.url) as proxy:
            yield World(tmp_path, far, proxy)


# Over a restart


async def test_what_runs_there_is_found_again_and_deleted_there(world: World) -> None:
    async with world.front() as here:
        await here.make()
    assert await world.there() == "running"
    async with world.front() as here:
        assert (await here.until("running"))["model"]["secrets"] == {"TOKEN": ""}
        assert await here.problems() == []
        assert (await here.ask("DELETE", AT)).status_code == 200
        await here.until_gone()
        assert await world.there() is None
    assert world.row() is None


async def test_without_its_secrets_it_is_looked_after_and_says_what_is_wrong(world: World) -> None:
    async with world.front() as here:
        await here.make()
    world.lose_the_key()
    async with world.front() as here:
        shown = await here.until("running")
        assert "secret.key is gone" in shown["status"]["message"]
        (problem,) = await here.problems()
        assert problem.startswith("endpoint e: The key file")
        assert (await here.ask("POST", f"{AT}/pause")).status_code == 200
        await world.until_there("paused")
        assert (await here.ask("POST", f"{AT}/resume")).status_code == 200  # its provider has the secrets
        await world.until_there("running")
        assert (await here.ask("POST", f"{AT}/scale-to-zero")).status_code == 200
        await world.until_there("scaledToZero")
        said = await here.ask("POST", "/v1/chat/completions", {"model": "e"})
        assert said.status_code == 200
        assert (await here.ask("DELETE", AT)).status_code == 200
        await here.until_gone()
        assert await here.problems() == []
    assert await world.there() is None
    assert world.row() is None


async def test_a_change_that_gives_its_secrets_anew_mends_it_where_it_is(world: World) -> None:
    async with world.front() as here:
        await here.make()
    world.lose_the_key()
    async with world.front() as here:
        refused = await here.ask("PUT", AT, {"tags": ["x"]})
        assert (refused.status_code, refused.json()["code"]) == (400, "VALIDATION_FAILED")
        assert "model.secrets.TOKEN" in refused.json()["error"]
        mended = await here.ask("PUT", AT, {"tags": ["x"], "model": {"secrets": {"TOKEN": "new"}}})
        assert mended.status_code == 200, mended.text
        assert await here.problems() == []
        spec = world.cloud.server.fleet.endpoint("e").spec
        assert spec.deployment is not None
        assert dict(spec.deployment.secrets) == {"TOKEN": "new"}
        assert world.cloud.simulated.counts("e")[0] <= 2  # it was changed, not made again
    async with world.front() as here:
        assert await here.problems() == []
        assert (await here.endpoint())["tags"] == ["x"]


async def test_a_document_that_makes_no_spec_any_more_leaves_it_looked_after(world: World) -> None:
    async with world.front() as here:
        await here.make(DOCUMENT)
    with contextlib.closing(sqlite3.connect(world.data / "lamplighter.db")) as database, database:
        (text,) = database.execute("select document from deployments").fetchone()
        damaged = json.loads(text) | {"compute": 1, "model": "?"}
        database.execute("update deployments set document = ?", (json.dumps(damaged),))
    async with world.front() as here:
        assert (await here.until("running"))["status"]["message"].startswith("Endpoint is ready (")
        assert len(await here.problems()) == 1
        assert (await here.ask("POST", f"{AT}/pause")).status_code == 200
        await world.until_there("paused")
        whole = {key: DOCUMENT[key] for key in ("compute", "model")}
        mended = await here.ask("PUT", AT, whole)
        assert mended.status_code == 200, mended.text
        assert await here.problems() == []
        assert (await here.ask("DELETE", AT)).status_code == 200
        await here.until_gone()
    assert await world.there() is None


@pytest.mark.parametrize("fault", [faults.html(200), faults.html(500), faults.html(402)], ids=["200", "500", "402"])
async def test_an_api_that_hiccups_while_the_server_starts_breaks_nothing(world: World, fault: faults.Fault) -> None:
    async with world.front() as here:
        await here.make()
    world.proxy.plan(fault, plane="management", times=None)
    configured = {"other": {"provider": "huggingface", "remote": "e2"}}
    async with world.front(endpoints=configured) as here:
        assert (await here.endpoint())["lamplighter"]["phase"] == "unknown"
        assert await here.problems() == []
        world.proxy.clear()
        await here.until("running")
        assert (await here.ask("DELETE", AT)).status_code == 200
        await here.until_gone()
    assert await world.there() is None


async def test_one_whose_provider_is_not_there_is_not_deleted_but_may_be_forgotten(world: World) -> None:
    async with world.front() as here:
        await here.make(DOCUMENT)
    with contextlib.closing(sqlite3.connect(world.data / "lamplighter.db")) as database, database:
        (text,) = database.execute("select document from deployments").fetchone()
        moved = json.loads(text)
        moved["lamplighter"]["provider"] = "gone"
        database.execute("update deployments set document = ?", (json.dumps(moved),))
    async with world.front() as here:
        assert len(await here.problems()) == 1
        refused = await here.ask("DELETE", AT)
        assert refused.status_code == 409
        assert "billed" in refused.json()["error"]
        brought_back = await here.ask("PUT", AT, {"tags": ["back"]})  # what it is made on is at another provider's name
        assert brought_back.status_code == 200, brought_back.text
        assert await here.problems() == []
        assert world.cloud.simulated.counts("e")[0] <= 2
        moved["lamplighter"]["provider"] = "gone"
    with contextlib.closing(sqlite3.connect(world.data / "lamplighter.db")) as database, database:
        database.execute("update deployments set document = ?", (json.dumps(moved),))
    async with world.front() as here:
        assert (await here.ask("DELETE", f"{AT}?forget=true")).status_code == 200
        assert (await here.ask("GET", AT)).status_code == 404
    assert world.row() is None
    assert await world.there() is not None


async def test_what_the_configuration_hides_is_told_as_long_as_it_may_run(world: World) -> None:
    async with world.front() as here:
        await here.make(DOCUMENT)
    hidden = {"e": {"provider": "huggingface", "remote": "another"}}
    async with world.front(endpoints=hidden) as here:
        (problem,) = await here.problems()
        assert "the configuration file has its name" in problem
    same = {"other": {"provider": "huggingface", "remote": "e"}}
    async with world.front(endpoints=same) as here:
        (problem,) = await here.problems()
        assert "are the same endpoint" in problem
        assert (await here.ask("DELETE", AT)).status_code == 409
    async with world.front() as here:
        await here.until("running")
        assert await here.problems() == []


# The key


async def test_a_change_that_fails_neither_makes_a_key_nor_touches_the_row(world: World) -> None:
    async with world.front() as here:
        await here.make()
    before = world.row()
    world.lose_the_key()
    async with world.front() as here:
        await here.until("running")
        world.proxy.plan(faults.error(403, "Forbidden: no"), method="PUT", times=None)
        refused = await here.ask("PUT", AT, {"model": {"secrets": {"TOKEN": "new"}}})
        assert refused.status_code >= 400
        other = await here.ask("POST", ROOT, {**SECRET, "name": "other"})
        assert other.status_code == 500
        assert "secret.key is gone" in other.json()["error"]
        assert not (world.data / KEY_FILE).exists()
        assert world.row() == before
    (world.data / "lost.key").rename(world.data / KEY_FILE)
    world.proxy.clear()
    async with world.front() as here:
        assert await here.problems() == []
        spec = here.server.fleet.endpoint("e").spec
        assert dict(spec.deployment.secrets) == {"TOKEN": "hush-hush"}


# Without an answer


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deployments, "DOUBT_PATIENCE", 0.05)


@pytest.mark.usefixtures("impatient")
async def test_one_that_was_made_without_an_answer_is_found_and_adopted(world: World) -> None:
    async with world.front() as here:
        world.proxy.plan(faults.lost_answer(), method="POST", path=r"/v2/endpoint/lamplighter$", times=None)
        world.proxy.plan(faults.html(503), method="GET", path=r"/e$", times=None)
        answer = await here.ask("POST", ROOT, SECRET)
        assert answer.status_code == 502
        assert "may have been made" in answer.json()["error"]
        assert await world.there() is not None
        again = await here.ask("POST", ROOT, SECRET)
        assert again.status_code == 409
        assert "being looked for" in again.json()["error"]
        assert (await here.endpoint())["name"] == "e"
        assert (await here.ask("PUT", AT, {"tags": ["x"]})).status_code == 409
        world.proxy.clear()
        await here.until("running")
        async with asyncio.timeout(PATIENCE):
            while (await here.ask("PUT", AT, {"tags": ["x"]})).status_code != 200:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        assert (await here.ask("POST", ROOT, SECRET)).json()["reason"] == "endpoint_exists"
        assert (await here.ask("DELETE", AT)).status_code == 200
        await here.until_gone()
    assert await world.there() is None


@pytest.mark.usefixtures("impatient")
async def test_one_without_an_answer_can_be_deleted_before_it_is_found(world: World) -> None:
    async with world.front() as here:
        world.proxy.plan(faults.lost_answer(), method="POST", path=r"/v2/endpoint/lamplighter$", times=None)
        world.proxy.plan(faults.html(503), method="GET", path=r"/e$", times=None)
        assert (await here.ask("POST", ROOT, SECRET)).status_code == 502
        assert (await here.ask("DELETE", AT)).status_code == 200
        world.proxy.clear()
        await here.until_gone()
    assert await world.there() is None
    assert world.row() is None


@pytest.mark.usefixtures("impatient")
async def test_one_without_an_answer_is_looked_for_over_a_restart(world: World) -> None:
    async with world.front() as here:
        world.proxy.plan(faults.lost_answer(), method="POST", path=r"/v2/endpoint/lamplighter$", times=None)
        world.proxy.plan(faults.html(503), method="GET", path=r"/e$", times=None)
        assert (await here.ask("POST", ROOT, SECRET)).status_code == 502
    async with world.front() as here:
        assert (await here.ask("POST", ROOT, SECRET)).status_code == 409
        world.proxy.clear()
        await here.until("running")
    row = world.row()
    assert row is not None
    assert json.loads(row[0])["lamplighter"]["doubtful"] is False


@pytest.mark.usefixtures("impatient")
async def test_one_that_was_not_made_is_forgotten_once_that_is_certain(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(provider, "DOUBT", 0.3)
    async with world.front() as here:
        world.proxy.plan(faults.html(503), method="POST", path=r"/v2/endpoint/lamplighter$", times=None)
        assert (await here.ask("POST", ROOT, SECRET)).status_code == 502
        await here.until_gone()
        world.proxy.clear()
        await here.make()
    assert await world.there() == "running"


async def test_a_create_that_is_refused_leaves_nothing(world: World) -> None:
    async with world.front() as here:
        world.proxy.plan(faults.error(402, "Payment required"), method="POST", times=None)
        assert (await here.ask("POST", ROOT, SECRET)).status_code == 402
        assert (await here.ask("GET", AT)).status_code == 404
    assert world.row() is None


# The record, and turns


async def test_what_was_refused_is_in_the_audit_log_too(world: World) -> None:
    async with world.front() as here:
        await here.make()
        await here.ask("POST", ROOT, SECRET)
        await here.ask("POST", ROOT, {"name": "bad"})
        await here.ask("PUT", AT, {"type": "secret"})
        await here.ask("PUT", f"{ROOT}/nope", {"tags": []})
        await here.ask("DELETE", f"{ROOT}/nope")
        await here.ask("POST", f"{ROOT}/nope/pause")
        await here.ask("POST", f"{AT}/resume")
        items = (await here.ask("GET", f"/v2/audit-logs/{NAMESPACE}?limit=100&username=api")).json()["items"]
    refused = [(item["action"], item["endpoint"]) for item in reversed(items) if not item["success"]]
    assert refused == [
        ("create", "e"),
        ("create", "bad"),
        ("update", "e"),
        ("update", "nope"),
        ("delete", "nope"),
        ("ask pause", "nope"),
        ("ask resume", "e"),
    ]
    assert all(item["error"] for item in items if not item["success"])


async def test_a_reload_during_a_change_does_not_undo_it(world: World) -> None:
    async with world.front() as here:
        await here.make(DOCUMENT)
        rule = world.proxy.plan(faults.Delay(0.3), method="PUT", path=r"/e$")
        changing = asyncio.create_task(here.ask("PUT", AT, {"tags": ["new"]}))
        async with asyncio.timeout(PATIENCE):
            while not rule.hits:  # noqa: ASYNC110 - in another thread
                await asyncio.sleep(0.005)
        await here.server.apply(world.settings())
        assert (await changing).status_code == 200
        assert (await here.endpoint())["tags"] == ["new"]
        spec = world.cloud.server.fleet.endpoint("e").spec
        assert spec.deployment is not None
        assert spec.deployment.document["tags"] == ["new"]
    async with world.front() as here:
        assert (await here.endpoint())["tags"] == ["new"]
