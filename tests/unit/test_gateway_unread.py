"""A client that does not read what it is told holds nothing that others need, and not for ever. On real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest

from lamplighter.domain.usage import Outcome
from lamplighter.engines.tasks import RootTasks, Task
from lamplighter.gateway.settings import GatewaySettings
from tests.gateway_stage import SOON, Stage, StageDemand, Visit, answer, endpoint, request, stage, until

CHAT = "/v1/chat/completions"
ROOT = "/endpoints/lamp/"
NO_COMPLETION = b'{"choices": []}'
BLOB = request("/endpoints/lamp/blob", method="GET")
GENERATES = RootTasks(engine="llamacpp", main=Task.TEXT_GENERATION, served=(Task.TEXT_GENERATION,))
BRIEF = dataclasses.replace(SOON, between_bytes_timeout=0.2)
PATIENT = dataclasses.replace(SOON, between_bytes_timeout=60.0)


async def blobs(visit: Visit) -> None:
    """Answers with much where that is asked for, and else with something that is no completion."""
    while True:
        line, _, _ = await visit.request()
        await visit.say(answer(b"x" * 200_000 if "blob" in line else NO_COMPLETION))


@dataclass
class Lazy:
    """A client with a small window, that reads only when it is told to."""

    socket: socket.socket

    async def ask(self, data: bytes) -> None:
        await asyncio.get_running_loop().sock_sendall(self.socket, data)

    async def read(self) -> bytes:
        return await asyncio.get_running_loop().sock_recv(self.socket, 100_000)


async def answered(s: Stage, client: Lazy) -> None:
    asked = len(s.usage.all) + 1
    await client.ask(BLOB)
    await until(lambda: len(s.usage.all) == asked)


@contextlib.asynccontextmanager
async def behind(settings: GatewaySettings, **options: Any) -> AsyncIterator[tuple[Stage, Lazy]]:
    """A gateway, and a client that asked for so much, and reads nothing of it, that the next answer can't be written."""
    async with endpoint(blobs) as there:
        demand = StageDemand(there.url)
        demand.tasks = GENERATES
        async with stage(demand, settings, **options) as s:
            with socket.socket() as raw:
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                raw.setblocking(False)
                await asyncio.get_running_loop().sock_connect(raw, ("127.0.0.1", s.port))
                client = Lazy(raw)
                while not any(connection.flow.write_paused for connection in s.connections):
                    await answered(s, client)
                yield s, client


LAST_WORDS = {
    "a refusal": request(CHAT, {"model": "nope"}),
    "a failure": request(ROOT, {"inputs": "Hi"}),
    "a list": request("/v1/models", method="GET"),
    "a refused page": request(CHAT, {"model": "lamp"}, origin="https://evil.example"),
    "a preflight": request(CHAT, method="OPTIONS", origin="https://a.example", access_control_request_method="POST"),
}


@pytest.mark.parametrize("asked", LAST_WORDS.values(), ids=list(LAST_WORDS))
async def test_what_a_client_does_not_read_ends_after_a_while(asked: bytes) -> None:
    async with behind(dataclasses.replace(BRIEF, cors=frozenset({"https://a.example"}))) as (s, client):
        await client.ask(asked)
        await until(lambda: s.gateway.in_progress)
        await until(lambda: s.idle and not s.connections)


async def test_who_does_not_read_an_error_holds_no_claim() -> None:
    async with behind(PATIENT) as (s, client):
        granted = len(s.demand.claims)
        await client.ask(LAST_WORDS["a failure"])
        await until(lambda: len(s.demand.claims) > granted and s.demand.in_flight("lamp") == 0)
        assert s.gateway.in_progress == 1
        assert s.demand.claims[-1].struggles == 1
        s.gateway.hurry()
        await until(lambda: s.idle and not s.connections)
    assert s.usage.all[-1].outcome is Outcome.CUT


async def test_a_shutdown_ends_whoever_does_not_read_that_it_is_refused() -> None:
    async with behind(PATIENT) as (s, client):
        s.gateway.begin_shutdown()
        await client.ask(request(CHAT))
        await until(lambda: s.gateway.in_progress)
        async with asyncio.timeout(5):
            await s.gateway.drain(0.0)
        assert s.idle


async def test_an_idle_client_that_never_reads_is_hung_up_on() -> None:
    async with behind(PATIENT, keep_alive=0.1) as (s, _):
        await until(lambda: not s.connections)


async def test_an_idle_client_that_reads_slowly_gets_all_of_its_answers() -> None:
    async with behind(PATIENT, keep_alive=0.1) as (s, client):
        (connection,) = s.connections
        transport = connection.transport
        await until(lambda: connection._unsent)
        before, got = connection._unsent, 0
        while transport.get_write_buffer_size() == before:
            got += len(await client.read())
        await until(lambda: connection._unsent != before or transport.is_closing())
        while piece := await client.read():
            got += len(piece)
        assert got >= 200_000 * len(s.usage.all)
