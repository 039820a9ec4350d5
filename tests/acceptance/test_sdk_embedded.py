"""A Lamplighter inside of a program, and an application that has endpoints awake while it runs."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import httpx2
import psutil
import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from lamplighter import AsyncClient, Client, EndpointNotFound, InvalidInput, Phase, lifespan
from lamplighter.errors import ConfigError
from tests.local_engines import SCRIPT

pytestmark = pytest.mark.acceptance


def configuration(folder: Path) -> dict[str, Any]:
    script = folder / "engine.py"
    script.write_text(SCRIPT)
    command = [sys.executable, "-I", "-S", str(script), "--host", "{host}", "--port", "{port}"]
    one = {"engine": "command", "command": command, "health_route": "/health", "stop_grace": "1s"}
    return {"endpoints": {"mert": one, "embedder": one}}


@pytest.fixture(autouse=True)
def _own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A state of its own; what a test that fails leaves running is ended with it."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    yield
    for engine in engines(tmp_path):
        engine.kill()


def engines(folder: Path) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        try:
            if str(folder / "engine.py") in process.cmdline() and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.Error:
            continue
    return found


def test_a_whole_lamplighter_runs_in_the_program_with_the_same_names_and_results(tmp_path: Path) -> None:
    with Client.embedded(configuration(tmp_path)) as client:
        assert [endpoint.name for endpoint in client.list()] == ["embedder", "mert"]
        with client.session("mert", lease=10) as endpoint:
            assert client.status("mert").phase is Phase.RUNNING
            assert httpx2.get(f"{endpoint.url}/x").status_code == 401  # nobody else on this machine may use it
            assert len(engines(tmp_path)) == 1
        client.wait("mert", until="sleeping", timeout=15)
        client.start("embedder", timeout=20)
        assert "in this process" in client.where
    assert not engines(tmp_path)


async def test_asynchronously_too_and_several_at_once(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    async with (
        AsyncClient.embedded(configuration(tmp_path)) as one,
        AsyncClient.embedded(configuration(tmp_path / "b")) as other,
    ):
        await asyncio.gather(one.start("mert", timeout=20), other.start("mert", timeout=20))
        assert (len(engines(tmp_path)), len(engines(tmp_path / "b"))) == (1, 1)
    assert not engines(tmp_path) + engines(tmp_path / "b")


def test_without_a_configuration_there_is_no_endpoint_and_nothing_is_left(tmp_path: Path) -> None:
    with Client.embedded() as client:
        assert client.list() == []
        with pytest.raises(EndpointNotFound):
            client.get("mert")
    assert not (tmp_path / "state").exists()


def test_a_configuration_of_no_use_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="idle_timeoutt"):
        Client.embedded({"endpoints": {"mert": {"command": ["x"], "idle_timeoutt": 3}}})
    with pytest.raises(ConfigError, match="can't be read"):
        Client.embedded(tmp_path / "nothing.yaml")


PROGRAM = """
import json, sys
from lamplighter import Client
client = Client.embedded(json.loads(sys.argv[1]))
client.start("mert", timeout=20)
print("ready", flush=True)
exec(sys.argv[2])
"""


@contextmanager
def program(folder: Path, body: str) -> Iterator[subprocess.Popen[str]]:
    """One that has started an endpoint, and goes on with `body`."""
    command = [sys.executable, "-c", PROGRAM, json.dumps(configuration(folder)), body]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as started:
        try:
            assert started.stdout is not None
            assert started.stdout.readline() == "ready\n"
            yield started
        finally:
            started.kill()


@pytest.mark.parametrize(("body", "code"), [("pass", 0), ("sys.exit(3)", 3), ("1 / 0", 1)])
def test_a_program_that_ends_without_closing_leaves_no_engine_behind(tmp_path: Path, body: str, code: int) -> None:
    with program(tmp_path, body) as ended:
        assert ended.wait(20) == code
        assert not engines(tmp_path)


# An application.


async def shown(request: Request) -> JSONResponse:
    return JSONResponse({"state": request.state.endpoints, "app": request.app.state.endpoints})


@asynccontextmanager
async def serving(app: Starlette) -> AsyncIterator[str]:
    """The application behind a real server."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(uvicorn.Config(app, log_config=None, lifespan="on"))
        task = asyncio.create_task(server.serve(sockets=[listener]))
        while not server.started:
            await asyncio.sleep(0.01)
            if task.done():
                raise AssertionError("the application did not start")
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        server.should_exit = True
        await task


async def test_an_application_has_its_endpoints_awake_while_it_runs(tmp_path: Path) -> None:
    async with AsyncClient.embedded(configuration(tmp_path)) as watcher:
        await watcher.list()
        url, key = watcher._api.hosts.management, await watcher._api.token()  # type: ignore[union-attr]
        assert key is not None
        app = Starlette(
            routes=[Route("/", shown)],
            lifespan=lifespan("mert", "embedder", lease=10, client=lambda: AsyncClient(url, token=key.reveal())),
        )
        async with serving(app) as address, httpx2.AsyncClient() as http:
            urls = (await http.get(address)).json()
            assert urls["state"] == urls["app"] == {name: f"{url}/endpoints/{name}" for name in ("mert", "embedder")}
            for name in ("mert", "embedder"):
                status = await watcher.status(name)
                assert (status.phase, status.held_by) == (Phase.RUNNING, ("1 lease",))
        for name in ("mert", "embedder"):
            assert (await watcher.wait(name, until="sleeping", timeout=15)).state == "paused"


async def test_an_endpoint_that_is_missing_keeps_the_application_from_starting_and_the_others_are_paused(
    tmp_path: Path,
) -> None:
    async with AsyncClient.embedded(configuration(tmp_path)) as watcher:
        await watcher.list()
        url, key = watcher._api.hosts.management, await watcher._api.token()  # type: ignore[union-attr]
        assert key is not None
        alive = lifespan("mert", "nobody", lease=10, client=lambda: AsyncClient(url, token=key.reveal()))
        with pytest.raises(EndpointNotFound, match="nobody"):
            async with alive(Starlette()):
                raise AssertionError("it must not start")
        assert (await watcher.wait("mert", until="sleeping", timeout=15)).phase is Phase.SLEEPING
        assert not os.environ.get("LAMPLIGHTER_URL")


def test_an_application_names_its_endpoints_once() -> None:
    for names in ((), ("a", "a")):
        with pytest.raises(InvalidInput, match="names"):
            lifespan(*names)
