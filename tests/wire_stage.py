"""The management API over real controllers and a real database, with endpoints that exist in memory only."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import hashlib
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx2
from fastapi import FastAPI

from lamplighter.api import management
from lamplighter.api.access import Access
from lamplighter.api.hf import ServedWire
from lamplighter.api.hf.translate import Translator
from lamplighter.control.clock import Clock
from lamplighter.control.deployments import DeploymentKeeper
from lamplighter.control.fleet import Fleet
from lamplighter.control.journal import StoreJournal
from lamplighter.control.keyring import Keyring
from lamplighter.control.leases import LeaseKeeper
from lamplighter.control.meter import Meter
from lamplighter.control.recorder import Recorder
from lamplighter.domain.endpoint import EngineSpec, Spec
from lamplighter.domain.usage import UsageRecord
from lamplighter.providers.base import Provider
from lamplighter.providers.memory import MemoryProvider
from lamplighter.store import Store
from lamplighter.store.database import Database
from lamplighter.store.seal import KEY_FILE, Seal

NAMESPACE = "lamplighter"
ROOT = f"/v2/endpoint/{NAMESPACE}"
PATIENCE = 10.0


class Healthy:
    def problems(self) -> list[str]:
        return []


class Unwritten:
    """Takes usage records and keeps none."""

    def add(self, record: UsageRecord) -> None: ...


def configured(name: str = "chat", **changes: Any) -> Spec:
    engine = EngineSpec(engine="llamacpp", model="SmolLM2-135M-Instruct", env={"TOKEN": "hush-hush"})
    return replace(Spec(name=name, provider="cloud", engine=engine, task="text-generation"), **changes)


def document(name: str = "made", **changes: Any) -> dict[str, Any]:
    """A whole create body, with the nulls that huggingface_hub sends."""
    body: dict[str, Any] = {
        "compute": {
            "accelerator": "cpu",
            "instanceSize": "x1",
            "instanceType": "cpu",
            "scaling": {"maxReplica": 1, "minReplica": 0, "scaleToZeroTimeout": None},
        },
        "model": {
            "framework": "pytorch",
            "repository": "org/model",
            "revision": None,
            "image": {"huggingface": {}},
        },
        "name": name,
        "provider": {"region": "memory", "vendor": "memory"},
        "type": "authenticated",
    }
    return body | changes


def with_model(body: Mapping[str, Any], **changes: Any) -> dict[str, Any]:
    return {**body, "model": {**body["model"], **changes}}


def with_scaling(body: Mapping[str, Any], **changes: Any) -> dict[str, Any]:
    compute = body["compute"]
    return {**body, "compute": {**compute, "scaling": {**compute["scaling"], **changes}}}


@dataclass
class WireStage:
    http: httpx2.AsyncClient
    fleet: Fleet
    deployments: DeploymentKeeper
    store: Store
    meter: Meter
    leases: LeaseKeeper
    memory: MemoryProvider
    app: FastAPI

    async def ask(self, method: str, path: str, body: Any = None, **headers: str) -> httpx2.Response:
        content = {"json": body} if body is not None else {}
        return await self.http.request(method, path, headers=headers, **content)

    async def endpoint(self, name: str) -> dict[str, Any]:
        answer = await self.ask("GET", f"{ROOT}/{name}")
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    async def make(self, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        answer = await self.ask("POST", ROOT, document() if body is None else body)
        assert answer.status_code == 200, answer.text
        made: dict[str, Any] = answer.json()
        return made

    async def until(self, name: str, state: str) -> dict[str, Any]:
        return await self.eventually(name, lambda one: one["status"]["state"] == state)

    async def eventually(self, name: str, is_so: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        async with asyncio.timeout(PATIENCE):
            while not is_so(found := await self.endpoint(name)):  # noqa: ASYNC110 - as a client has to
                await asyncio.sleep(0.005)
        return found


@functools.cache
def _empty_database() -> bytes:
    """A database that was brought up to date: to do so anew for every test would take most of its time."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "empty.db"
        Database(path).close()
        return path.read_bytes()


@contextlib.asynccontextmanager
async def wire_stage(
    data: Path,
    *specs: Spec,
    keys: tuple[str, ...] = (),
    keyring: Keyring | None = None,
    rate: int | None = None,
    base: str = "http://localhost:8470",
    more: Mapping[str, Provider] | None = None,
    translator: Translator | None = None,
    **memory: Any,
) -> AsyncIterator[WireStage]:
    """A server without a socket. Another one on the same folder is its successor."""
    options = {"start_delay": 0.02, "stop_delay": 0.01} | memory
    provider = MemoryProvider(**options)
    providers: dict[str, Provider] = {"cloud": provider, **(more or {})}
    translator = translator or Translator()
    async with contextlib.AsyncExitStack() as stack:
        if not (data / "lamplighter.db").exists():
            (data / "lamplighter.db").write_bytes(_empty_database())
        store = await Store.open(data / "lamplighter.db")
        stack.push_async_callback(store.close)
        journal = StoreJournal(store, Clock())
        await journal.open()
        stack.push_async_callback(journal.close)
        fleet = Fleet(providers, journal)
        seal = Seal(data / KEY_FILE)
        deployments = DeploymentKeeper(fleet, providers, store, seal, journal, compile_spec=translator.spec)
        for name, reason in (await fleet.open(specs, await deployments.load())).items():
            deployments.refused(name, reason)
        stack.push_async_callback(fleet.close, drain=0.0)
        stack.push_async_callback(deployments.close)
        deployments.go_on()
        leases = LeaseKeeper(fleet, store, journal, Clock())
        await leases.start()
        stack.push_async_callback(leases.close)
        meter = Meter(Unwritten())
        served = ServedWire(
            operations=fleet,
            deployments=deployments,
            translator=translator,
            namespace=NAMESPACE,
            version="1.2.3",
            started=time.time(),
            meter=meter,
            leases=leases,
            records=store,
        )
        digests = [hashlib.sha256(key.encode()).hexdigest() for key in keys]
        app = management(
            fleet,
            health=Healthy(),
            held=leases,
            served=served,
            access=Access(keyring or Keyring(digests), rate=rate, recorder=Recorder(journal, Clock())),
            version="1.2.3",
        )
        transport = httpx2.ASGITransport(app=app, raise_app_exceptions=False)
        http = await stack.enter_async_context(httpx2.AsyncClient(transport=transport, base_url=base))
        yield WireStage(http, fleet, deployments, store, meter, leases, provider, app)
