"""What a session says of an endpoint that does not fall asleep at its end, and what goes on trying."""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette

from lamplighter import AsyncClient, Endpoint, ProviderError, SessionWarning, WakeTimeout, lifespan
from lamplighter.providers.memory import Fault
from lamplighter.sdk import settling, standby, watchdog
from lamplighter.sdk.folders import WATCHED
from tests.hf_cloud import DOCUMENT, Cloud, cloud

pytestmark = pytest.mark.acceptance

SERVED_HERE = ["server", "watchdog"]


@pytest.fixture(autouse=True)
def _own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.delenv("LAMPLIGHTER_KEY", raising=False)
    monkeypatch.setattr(settling, "_STUCK", 0.3)


@asynccontextmanager
async def staged(folder: Path, name: str = "stuck", **options: Any) -> AsyncIterator[tuple[Cloud, AsyncClient]]:
    """A Lamplighter whose provider is a script, with one endpoint, and a client of it."""
    async with cloud(folder, **options) as stage, AsyncClient(stage.url) as client:
        api = await client._open()
        await api.create_from({**DOCUMENT, "name": name})
        yield stage, client


async def until_paused(client: AsyncClient, name: str) -> Endpoint:
    return await client.wait(name, until="sleeping", timeout=15)


@pytest.mark.parametrize("mode", SERVED_HERE)
async def test_a_pause_that_is_accepted_and_fails_is_told_and_goes_on_being_tried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    monkeypatch.setenv("LAMPLIGHTER_SESSIONS", mode)
    async with staged(tmp_path) as (stage, client):
        told = rf"still running.*lamplighter pause stuck --server {stage.url} -n lamplighter"
        with pytest.raises(ProviderError, match=told) as caught:
            async with client.session("stuck", lease=10):
                stage.simulated.script("stuck", "sleep", *[Fault.REFUSE] * 100)
        assert ("The server goes on trying" if mode == "server" else "in the background") in caught.value.message
        assert (await client.status("stuck")).phase != "sleeping"
        stage.simulated._faults._next.clear()
        await until_paused(client, "stuck")
        for process in standby._unreaped:
            assert await asyncio.to_thread(process.wait, 20) == 0


async def test_what_is_under_way_keeps_its_own_error_and_gets_a_note(tmp_path: Path) -> None:
    async with staged(tmp_path) as (stage, client):
        session = client.session("stuck", lease=10)
        await session.__aenter__()
        stage.simulated.script("stuck", "sleep", Fault.REFUSE, Fault.REFUSE, Fault.REFUSE)
        error = ZeroDivisionError()
        with pytest.warns(SessionWarning, match="still running"):
            await session.__aexit__(ZeroDivisionError, error, None)
        assert any("still running" in note for note in error.__notes__)
        await until_paused(client, "stuck")


async def test_one_that_takes_long_to_fall_asleep_is_warned_of_and_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settling.see_asleep, "__kwdefaults__", {"patience": 0.4})
    async with staged(tmp_path, stop_delay=2.0) as (_, client):
        with pytest.warns(SessionWarning, match=r"on its way to sleep.*By hand: `lamplighter pause stuck"):
            async with client.session("stuck", lease=10):
                pass


async def test_one_that_somebody_else_holds_by_then_is_left_to_them(tmp_path: Path) -> None:
    async with staged(tmp_path) as (_, client), client.session("stuck", lease=10):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            async with client.session("stuck", lease=10):
                pass
        assert (await client.status("stuck")).phase == "running"


async def test_a_start_that_is_too_late_says_that_its_session_pauses(tmp_path: Path) -> None:
    async with staged(tmp_path, start_delay=30.0) as (_, client):
        with pytest.raises(WakeTimeout, match=r"Its session has paused it again") as caught:
            async with client.session("stuck", lease=10, timeout=0.5):
                raise AssertionError("it must not get here")
        assert "goes on by itself" not in caught.value.message
        with pytest.raises(WakeTimeout, match="goes on by itself"):
            async with client.session("stuck", lease=10, timeout=0.5, auto_pause=False):
                raise AssertionError("it must not get here")
        await client.stop("stuck")


async def test_a_watchdog_believes_a_state_and_no_word_in_an_error(tmp_path: Path) -> None:
    """An endpoint whose name says paused, refused a pause, is not paused by that."""
    async with staged(tmp_path, name="paused-not", stop_delay=3.0) as (stage, client):
        await client.start("paused-not", timeout=20)
        order = watchdog.Order(
            base=stage.url,
            namespace="elsewhere",
            name="paused-not",
            token=None,
            lease=10,
            folder=tmp_path,
            file=tmp_path / f"x{WATCHED}",
            direct=True,
        )
        refused = await asyncio.to_thread(watchdog._pause, order)
        assert not refused.over
        ours = watchdog.Order.of(order.line().replace(b"elsewhere", b"lamplighter"))
        first = await asyncio.to_thread(watchdog._pause, ours)
        assert not first.over  # accepted, and on its way
        assert "running" in first.text
        assert (await until_paused(client, "paused-not")).state == "paused"
        assert (await asyncio.to_thread(watchdog._pause, ours)).text == "paused"


async def test_an_application_tells_of_each_endpoint_that_could_not_be_paused(tmp_path: Path) -> None:
    async with staged(tmp_path) as (stage, client):
        await (await client._open()).create_from({**DOCUMENT, "name": "second"})
        alive = lifespan("stuck", "second", lease=10, client=lambda: AsyncClient(stage.url))
        running = alive(Starlette())
        await running.__aenter__()
        for name in ("stuck", "second"):
            stage.simulated.script(name, "sleep", *[Fault.REFUSE] * 100)
        told = "('stuck'|'second') could not be paused.*('stuck'|'second') could not be paused"
        with pytest.raises(ProviderError, match=told) as caught:
            await running.__aexit__(None, None, None)
        assert isinstance(caught.value.__cause__, ExceptionGroup)
        stage.simulated._faults._next.clear()
        for name in ("stuck", "second"):
            await until_paused(client, name)
