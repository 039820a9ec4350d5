"""What the SDK sends, what it refuses before it sends anything, and what it tells of what is missing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from lamplighter import (
    AsyncClient,
    Changes,
    Client,
    EndpointNotFound,
    InvalidInput,
    ProviderTimeout,
    ProviderUnreachable,
)
from lamplighter.hf.api import ManagementApi
from lamplighter.hf.pace import ONCE
from lamplighter.sdk.blocking import _Session
from tests.hf_cloud import DOCUMENT, cloud

pytestmark = pytest.mark.acceptance


@pytest.fixture(autouse=True)
def _own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.delenv("LAMPLIGHTER_KEY", raising=False)


@asynccontextmanager
async def staged(folder: Path, *names: str) -> AsyncIterator[AsyncClient]:
    async with cloud(folder) as stage, AsyncClient(stage.url) as client:
        api = await client._open()
        for name in names:
            await api.create_from({**DOCUMENT, "name": name})
        yield client


# What is sent.


async def test_an_update_sends_what_differs_and_nothing_where_nothing_does(tmp_path: Path) -> None:
    async with staged(tmp_path, "mert") as client:
        before = await client.get("mert")
        same = await client.update("mert", max_replica=1, min_replica=0, accelerator="cpu", tags=[])
        assert same.status.updated_at == before.status.updated_at
        changed = await client.update("mert", max_replica=2, min_replica=0, tags=["a"])
        assert changed.status.updated_at != before.status.updated_at
        assert (changed.compute.scaling.max_replica, changed.tags) == (2, ("a",))
        assert Changes(max_replica=2, tags=["b"]).against(changed) == Changes(tags=["b"])
        hardware = Changes(accelerator="cpu", instance_type="cpu", instance_size="x2")
        assert hardware.against(changed) == hardware
        hidden = Changes(secrets={"TOKEN": "new"})
        assert hidden.against(changed) == hidden
        assert Changes(secrets={}, env={}).against(changed).is_empty


# What is missing.


async def test_a_missing_endpoint_is_told_with_near_names_whatever_was_to_be_done(tmp_path: Path) -> None:
    async with staged(tmp_path, "mert", "other") as client:
        for ask in (
            client.get,
            client.start,
            client.wait,
            client.stop,
            client.pause,
            client.resume,
            client.scale_to_zero,
            client.update,
            client.status,
            client.metrics,
            client.replicas,
        ):
            with pytest.raises(EndpointNotFound, match=r"'merd'.*Did you mean 'mert'\?.*mert, other"):
                await ask("merd")
        with pytest.raises(EndpointNotFound, match="Did you mean 'mert'"):
            await client.delete("merd", confirm=True)
        with pytest.raises(EndpointNotFound, match=r"Did you mean 'mert'.*create_if_missing"):
            await client.get_or_create("merd")
        with pytest.raises(EndpointNotFound, match="Did you mean 'mert'"):
            async with client.session("merd", lease=10):
                raise AssertionError("it must not get here")
        with pytest.raises(EndpointNotFound, match="Did you mean 'mert'"):
            _ = [line async for line in client.logs("merd")]


# What never answers.


async def test_a_provider_that_does_not_answer_in_time_is_an_error_of_its_own() -> None:
    left = asyncio.Event()

    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()
        await writer.wait_closed()
        left.set()

    async with await asyncio.start_server(say_nothing, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        api = ManagementApi(url, namespace="me", timeout=0.2, pace=ONCE)
        with pytest.raises(ProviderTimeout, match="did not answer in time") as caught:
            await api.list()
        await api.close()
        await asyncio.wait_for(left.wait(), 5)
    assert isinstance(caught.value, ProviderUnreachable)
    assert (caught.value.exit_code, caught.value.code) == (5, "provider_timeout")


# What is refused here.


@pytest.mark.parametrize("value", ["abc", None, 0, -1, float("nan"), float("inf"), True, [1]])
def test_a_wait_that_has_no_end_is_refused_by_its_name(value: Any) -> None:
    with Client("http://127.0.0.1:9", namespace="me") as client:
        for wait in (client.start, client.wait, client.session):
            with pytest.raises(InvalidInput, match="timeout:") as caught:
                wait("x1", timeout=value)
            assert caught.value.field == "timeout"
        with pytest.raises(InvalidInput, match="window:"):
            client.metrics("x1", window=value)
        with pytest.raises(InvalidInput, match="lease:"):
            client.session("x1", lease=value)
    with pytest.raises(InvalidInput, match="timeout:"):
        Client("http://127.0.0.1:9", timeout=value)


@pytest.mark.parametrize("token", ["", "  ", b"bytes", 3])
def test_a_token_that_is_empty_is_no_wish_for_another_one(token: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_" + "x" * 20)
    with pytest.raises(InvalidInput, match="token:") as caught:
        Client(token=token)
    assert caught.value.field == "token"


# What is interrupted.


async def test_a_session_that_is_interrupted_when_it_was_just_entered_is_left(tmp_path: Path) -> None:
    async with staged(tmp_path, "mert") as watcher:
        url = (await watcher._open()).hosts.management

        def work() -> None:
            with Client(url) as client:
                session = client.session("mert", lease=10)
                assert isinstance(session, _Session)
                call, client._portal.call = client._portal.call, _interrupted(client._portal.call)  # type: ignore[method-assign]
                with pytest.raises(KeyboardInterrupt):
                    session.__enter__()
                client._portal.call = call  # type: ignore[method-assign]
                assert client.wait("mert", until="sleeping", timeout=10).state == "paused"

        await asyncio.to_thread(work)


def _interrupted(call: Any) -> Any:
    """The same call, with a Ctrl-C that comes when the first one has its result."""
    told: list[bool] = []

    def calling(work: Any) -> Any:
        result = call(work)
        if not told:
            told.append(True)
            raise KeyboardInterrupt
        return result

    return calling
