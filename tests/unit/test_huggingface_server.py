"""A whole server before endpoints elsewhere: another server that serves the management API, and requests, over HTTP."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import pytest

from lamplighter.config import Settings, parse
from lamplighter.domain.endpoint import State
from lamplighter.runtime import Server, running
from tests import fault_proxy as faults
from tests.fault_proxy import FaultProxy
from tests.hf_cloud import DOCUMENT, Cloud, cloud
from tests.hf_stage import TOKEN

PATIENCE = 20.0
DEPLOYMENT = {
    "repository": "org/model",
    "vendor": "memory",
    "region": "memory",
    "accelerator": "cpu",
    "instance_type": "cpu",
    "instance_size": "x1",
}
L4: dict[str, Any] = {
    "vendor": "aws",
    "region": "us-east-1",
    "accelerator": "gpu",
    "instance_type": "nvidia-l4",
    "instance_size": "x1",
    "max_accelerators": 2,
}
ENDPOINT: dict[str, Any] = {"provider": "huggingface", "create": "if-missing", "deployment": DEPLOYMENT}


@dataclass
class Front:
    """Ours, and what is behind it."""

    server: Server
    cloud: Cloud
    proxy: FaultProxy
    settings: Callable[..., Settings] = field(repr=False)

    async def ask(self, method: str, path: str, **options: Any) -> httpx2.Response:
        async with httpx2.AsyncClient(timeout=PATIENCE) as client:
            return await client.request(method, f"{self.server.url}{path}", **options)

    async def say(self, name: str = "e", hold: float = 10.0) -> httpx2.Response:
        headers = {"x-scale-up-timeout": f"{hold:g}"}
        return await self.ask("POST", "/v1/chat/completions", json={"model": name}, headers=headers)

    async def status(self, name: str = "e") -> dict[str, Any]:
        endpoint: dict[str, Any] = (await self.ask("GET", f"/api/endpoints/status/{name}")).json()["endpoint"]
        return endpoint

    async def until(self, phase: str, name: str = "e") -> dict[str, Any]:
        async with asyncio.timeout(PATIENCE):
            while (status := await self.status(name))["status"] != phase:  # noqa: ASYNC110 - over HTTP
                await asyncio.sleep(0.02)
        return status

    async def until_there(self, state: str | None, name: str = "e") -> None:
        async with asyncio.timeout(PATIENCE):
            while await self.there(name) != state:  # noqa: ASYNC110 - over HTTP
                await asyncio.sleep(0.02)

    async def there(self, name: str = "e") -> str | None:
        """The state of an endpoint as the cloud itself tells it."""
        async with httpx2.AsyncClient(timeout=PATIENCE) as client:
            answer = await client.get(f"{self.cloud.url}/v2/endpoint/lamplighter/{name}")
        return None if answer.status_code == 404 else str(answer.json()["status"]["state"])


def settings_for(folder: Path, base: str) -> Callable[..., Settings]:
    def read(endpoints: dict[str, Any], **options: Any) -> Settings:
        given = {"base_url": base, "namespace": "lamplighter", "look_every": 5} | options
        text = {
            "server": {"port": 0, "data": str(folder / "front"), "drain_timeout": 1},
            "defaults": {"backoff_base": 0.05, "backoff_cap": 0.2},
            "providers": {"huggingface": {"options": given | {"retry": {"attempts": 2, "base": 0.01, "deadline": 5}}}},
            "endpoints": endpoints,
        }
        return parse(json.dumps(text), "front.yaml", {})

    return read


@contextlib.asynccontextmanager
async def front(folder: Path, endpoints: dict[str, Any] | None = None, **options: Any) -> AsyncIterator[Front]:
    """Ours with these endpoints, `e` by default, before a cloud that is made with `options`."""
    async with cloud(folder, **options) as far:
        with FaultProxy(far.url) as proxy:
            read = settings_for(folder, proxy.url)
            async with running(read({"e": ENDPOINT} if endpoints is None else endpoints)) as server:
                yield Front(server, far, proxy, read)


async def test_the_environment_alone_brings_up_what_it_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with cloud(tmp_path) as far:
        async with httpx2.AsyncClient(base_url=far.url) as client:
            made = await client.post("/v2/endpoint/lamplighter", json={**DOCUMENT, "name": "gpt"})
            assert made.status_code == 200
            far.simulated.set_state("gpt", State.RUNNING)
            await client.post("/v2/endpoint/lamplighter/gpt/scale-to-zero")
        monkeypatch.setenv("LAMPLIGHTER_CLOUD_URL", far.url)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        environ = {
            "HF_BASE_URL_120B": f"{far.url}/endpoints/gpt/v1",
            "LAMPLIGHTER_PORT": "0",
            "LAMPLIGHTER_DATA": str(tmp_path / "front"),
        }
        async with running(parse("", "the environment", environ)) as server:
            ours = Front(server, far, None, None)  # type: ignore[arg-type]
            assert (await ours.status("120b"))["status"] == "sleeping"
            assert (await ours.say("120b")).status_code == 200
            assert await ours.there("gpt") == "running"


async def test_an_adopted_endpoint_is_shown_as_what_it_is_there(tmp_path: Path) -> None:
    async with cloud(tmp_path, hardware=[{**L4, "price_per_hour": 0.8}]) as far:
        async with httpx2.AsyncClient(base_url=far.url) as client:
            place = {"provider": {"vendor": "aws", "region": "us-east-1"}, "tags": ["t"], "odd": 1}
            compute = {"accelerator": "gpu", "instanceType": "nvidia-l4", "instanceSize": "x1"}
            scaling = {"scaling": DOCUMENT["compute"]["scaling"]}
            body = {**DOCUMENT, **place, "name": "big", "compute": compute | scaling}
            assert (await client.post("/v2/endpoint/lamplighter", json=body)).status_code == 200
        read = settings_for(tmp_path, far.url)
        async with running(read({"120b": {"provider": "huggingface", "remote": "big"}})) as server:
            ours = Front(server, far, None, read)  # type: ignore[arg-type]
            await ours.ask("GET", "/v2/provider/lamplighter")  # by then the hardware has been asked for
            shown = (await ours.ask("GET", "/v2/endpoint/lamplighter/120b")).json()
    assert (shown["name"], shown["provider"], shown["odd"]) == ("120b", place["provider"], 1)
    assert {key: shown["compute"][key] for key in compute} == compute
    assert shown["model"]["repository"] == "org/model"
    assert shown["lamplighter"]["price_per_hour"] == 0.8


async def test_health_probes_are_no_requests_in_the_figures(tmp_path: Path) -> None:
    async with front(tmp_path) as ours:
        await ours.say()
        for _ in range(3):
            assert (await ours.ask("GET", "/endpoints/e/health")).status_code == 200
        text = (await ours.ask("GET", "/v2/endpoint/lamplighter/e/open-metrics")).text
        assert 'status_code="200"} 1' in text


async def test_a_request_makes_it_and_a_sleep_is_a_sleep_there(tmp_path: Path) -> None:
    async with front(tmp_path) as ours:
        assert await ours.there() is None
        assert (await ours.status())["status"] == "sleeping"
        assert (await ours.say()).status_code == 200
        assert await ours.there() == "running"
        assert (await ours.ask("POST", "/api/endpoints/sleep/e?wait=10")).status_code == 200
        assert await ours.there() == "scaledToZero"
        assert (await ours.say()).status_code == 200


async def test_paused_sleep_is_woken_by_a_request_and_a_pause_is_not(tmp_path: Path) -> None:
    async with front(tmp_path, {"e": ENDPOINT | {"sleep": "pause"}}) as ours:
        assert (await ours.say()).status_code == 200
        await ours.ask("POST", "/api/endpoints/sleep/e?wait=10")
        assert await ours.there() == "paused"
        assert (await ours.say()).status_code == 200
        await ours.ask("POST", "/v2/endpoint/lamplighter/e/pause")
        await ours.until("sleeping")
        assert await ours.there() == "paused"
        assert (await ours.say()).status_code == 400
        assert await ours.there() == "paused"
        await ours.ask("POST", "/v2/endpoint/lamplighter/e/resume")
        assert (await ours.say()).status_code == 200


async def test_one_that_fell_asleep_unseen_is_woken_by_the_request_that_finds_it_so(tmp_path: Path) -> None:
    async with front(tmp_path) as ours:
        assert (await ours.say()).status_code == 200
        ours.cloud.simulated.set_state("e", State.SCALED_TO_ZERO)
        for fault in (faults.unavailable(), faults.unavailable()):
            ours.proxy.plan(fault, plane="data", path="/v1/chat")
        assert (await ours.say()).status_code == 200
        assert await ours.there() == "running"


@pytest.mark.parametrize(("may", "status"), [(True, 200), (False, 400)])
async def test_one_that_somebody_paused_there_is_resumed_if_it_may_be(tmp_path: Path, may: bool, status: int) -> None:
    async with front(tmp_path, {"e": ENDPOINT | {"wake_paused": may}}) as ours:
        assert (await ours.say()).status_code == 200
        async with httpx2.AsyncClient(base_url=ours.cloud.url) as client:
            await client.post("/v2/endpoint/lamplighter/e/pause")
        reply = await ours.say()
        assert reply.status_code == status
        assert await ours.there() == ("running" if may else "paused")


async def test_an_api_that_is_down_leaves_what_runs_served_and_the_rest_alone(tmp_path: Path) -> None:
    async with front(tmp_path) as ours:
        assert (await ours.say()).status_code == 200
        ours.proxy.plan(faults.html(503), plane="management", times=None)
        ours.server.fleet._controllers["e"].look_now()
        status = await ours.until("unknown")
        assert status["state"] == "running"
        assert status["state_age"] >= 0
        assert (await ours.say()).status_code == 200
        ours.cloud.simulated.set_state("e", State.SCALED_TO_ZERO)
        starts, stops = ours.cloud.simulated.counts("e")
        assert (await ours.status())["status"] == "unknown"
        assert ours.cloud.simulated.counts("e") == (starts, stops)
        ours.proxy.clear()
        await ours.until("sleeping")


async def test_a_server_starts_while_the_api_is_down_and_knows_when_it_is_back(tmp_path: Path) -> None:
    async with cloud(tmp_path) as far:
        with FaultProxy(far.url) as proxy:
            read = settings_for(tmp_path, proxy.url)
            proxy.plan(faults.html(503), plane="management", times=None)
            async with running(read({"e": ENDPOINT, "f": ENDPOINT})) as server:
                ours = Front(server, far, proxy, read)
                status = await ours.status()
                assert (status["status"], status["state"]) == ("unknown", None)
                assert (await ours.say(hold=0.2)).status_code == 503
                assert await ours.there() is None
                proxy.clear()
                assert (await ours.say()).status_code == 200
                await ours.until("sleeping", "f")


async def test_one_that_was_made_over_our_wire_is_made_and_deleted_there(tmp_path: Path) -> None:
    async with front(tmp_path, {}) as ours:
        document = {**DOCUMENT, "provider": {"vendor": "aws", "region": "us-east-1"}}
        answer = await ours.ask("POST", "/v2/endpoint/lamplighter", json={**document, "cacheHttpResponses": True})
        assert answer.status_code == 400  # nobody has such hardware
        made = await ours.ask("POST", "/v2/endpoint/lamplighter", json={**DOCUMENT, "cacheHttpResponses": True})
        assert made.status_code == 200
        async with httpx2.AsyncClient(base_url=ours.cloud.url) as client:
            far = (await client.get("/v2/endpoint/lamplighter/e")).json()
        assert far["cacheHttpResponses"] is True
        assert (await ours.say()).status_code == 200
        again = await ours.ask("POST", "/v2/endpoint/lamplighter", json=DOCUMENT)
        assert again.status_code == 409
        change = {"tags": ["mine"], "model": {"env": {"A": "1"}}}
        assert (await ours.ask("PUT", "/v2/endpoint/lamplighter/e", json=change)).status_code == 200
        async with httpx2.AsyncClient(base_url=ours.cloud.url) as client:
            far = (await client.get("/v2/endpoint/lamplighter/e")).json()
        assert (far["tags"], far["model"]["env"]) == (["mine"], {"A": "1"})
        assert (await ours.ask("DELETE", "/v2/endpoint/lamplighter/e")).status_code == 200
        await ours.until_there(None)


async def test_one_that_is_taken_out_of_the_configuration_is_put_to_sleep_and_left_there(tmp_path: Path) -> None:
    async with front(tmp_path) as ours:
        assert (await ours.say()).status_code == 200
        await ours.server.apply(ours.settings({}))
        await ours.until_there("scaledToZero")
        assert (await ours.say()).status_code == 404


async def test_what_ends_with_the_server_is_only_the_server(tmp_path: Path) -> None:
    async with cloud(tmp_path) as far:
        read = settings_for(tmp_path, far.url)
        async with running(read({"e": ENDPOINT})) as server:
            assert (await Front(server, far, None, read).say()).status_code == 200  # type: ignore[arg-type]
        async with running(read({"e": ENDPOINT})) as server:
            ours = Front(server, far, None, read)  # type: ignore[arg-type]
            assert await ours.there() == "running"
            assert (await ours.status())["status"] == "running"
