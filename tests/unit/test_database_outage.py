"""A database that is locked or full for a while: requests are answered all the same, and what they used is on record later.

A whole server, a real file, and an endpoint whose answers come over a real socket; only the pauses are shorter.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from functools import partial
from pathlib import Path

import httpx2
import pytest
from sqlalchemy import Connection

from lamplighter import runtime
from lamplighter.config import parse
from lamplighter.domain.endpoint import Transition
from lamplighter.domain.usage import Outcome, UsageRecord
from lamplighter.errors import StoreError
from lamplighter.runtime import Server, running
from lamplighter.store import AuditRecord, UsageWriter, database
from lamplighter.store.writer import Pace

ANSWER = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}"
YAML = """
server: {{data: {data}, port: 0}}
providers:
  memory: {{options: {{start_delay: 0.01, stop_delay: 0.01, url: "http://127.0.0.1:{port}"}}}}
endpoints:
  chat: {{provider: memory, command: x}}
  other: {{provider: memory, command: x}}
"""
PATIENCE = 20.0

USED = UsageRecord(
    endpoint="filler",
    at=time.time(),
    route="/v1/*",
    status=299,
    outcome=Outcome.SERVED,
    waited=0.0,
    duration=1.0,
    bytes_in=1,
    bytes_out=1,
)
CHANGED = Transition(endpoint="filler", at=time.time(), before=None, after=None, reason="x", actor="me")
DONE = AuditRecord(at=time.time(), actor="me", operation="fill", endpoint="filler", success=True)


async def engine(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.closing(writer), contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            await reader.readexactly(int(head.lower().partition(b"content-length: ")[2].partition(b"\r")[0]))
            writer.write(ANSWER)
            await writer.drain()


class World:
    def __init__(self, server: Server, client: httpx2.AsyncClient) -> None:
        self.server, self.client = server, client
        self.answered = 0
        self.file = server.settings.server.data / "lamplighter.db"

    async def ask(self, count: int, model: str = "chat") -> None:
        for _ in range(count):
            answer = await self.client.post("/v1/chat/completions", json={"model": model, "messages": []}, timeout=10)
            assert answer.status_code == 200, answer.text
            self.answered += 1

    async def operate(self, verb: str, name: str = "chat") -> None:
        answer = await self.client.post(f"/api/endpoints/{verb}/{name}?wait=10", timeout=15)
        assert answer.status_code == 200, answer.text

    async def troubles(self) -> str:
        return str((await self.client.get("/readyz")).json()["problems"])

    def on_record(self, query: str) -> list[tuple[object, ...]]:
        with contextlib.closing(sqlite3.connect(self.file, timeout=5)) as reading:
            return reading.execute(query).fetchall()

    def everything_is_on_record(self) -> bool:
        used = self.on_record("SELECT sum(requests) FROM usage WHERE status = 200")
        return used == [(self.answered,)]


@contextlib.asynccontextmanager
async def world(folder: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    monkeypatch.setattr(database, "_BUSY_TIMEOUT", 20)
    pace = Pace(interval=0.02, backoff_base=0.02, backoff_cap=0.2)
    monkeypatch.setattr(runtime, "UsageWriter", partial(UsageWriter, pace=pace))
    upstream = await asyncio.start_server(engine, "127.0.0.1", 0)
    port = upstream.sockets[0].getsockname()[1]
    settings = parse(YAML.format(data=folder / "data", port=port), "lamplighter.yaml", {})
    try:
        async with running(settings) as server, httpx2.AsyncClient(base_url=server.url, trust_env=False) as client:
            yield World(server, client)
    finally:
        upstream.close()


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not holds():  # noqa: ASYNC110 - a database tells nobody
            await asyncio.sleep(0.02)


@contextlib.contextmanager
def locked(file: Path) -> Iterator[None]:
    """Another program keeps the database locked."""
    with contextlib.closing(sqlite3.connect(file, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


async def test_requests_and_wakes_go_on_while_the_database_is_locked_and_are_on_record_afterwards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with world(tmp_path, monkeypatch) as w:
        await w.ask(20)
        await until(w.everything_is_on_record)
        loop = asyncio.get_running_loop()
        with locked(w.file):
            began = loop.time()
            await w.ask(200)
            assert loop.time() - began < 5  # none of them waits for the database
            began = loop.time()
            await w.operate("sleep")
            await w.ask(20, "other")  # wakes it
            await w.ask(20)
            assert loop.time() - began < 6  # the first change waits a second, and no other one
            assert not w.everything_is_on_record()
            usage = w.server.health.usage
            assert 0 < usage.waiting < 100  # like requests of one second are one row
            assert "another program keeps it locked" in await w.troubles()
        await until(w.everything_is_on_record)
        await until(lambda: w.on_record("SELECT count(*) FROM transitions WHERE after = 'running'") == [(3,)])
        assert w.on_record("SELECT success FROM audit WHERE operation = 'ask sleep'") == [(1,)]
        async with asyncio.timeout(PATIENCE):
            while await w.troubles() != "[]":
                await w.ask(1)
                await asyncio.sleep(0.05)
        assert w.server.health.usage.dropped == w.server.health.journal.dropped == 0


async def test_requests_and_wakes_go_on_while_the_disk_is_full_and_are_on_record_afterwards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with world(tmp_path, monkeypatch) as w:
        await w.ask(20)
        await until(w.everything_is_on_record)
        store = w.server.health.store
        await store._run(fill_up)
        for write in (
            lambda: store.add_usage([USED]),
            lambda: store.add_transition(CHANGED),
            lambda: store.add_audit(DONE),
        ):
            with pytest.raises(StoreError, match="the disk is full; free some space"):
                await for_ever(write)  # each table has some room left
        await w.ask(200)
        await w.operate("sleep")
        await w.ask(20)
        assert "the disk is full" in await w.troubles()
        await store._run(make_room)
        await until(w.everything_is_on_record)
        await until(lambda: w.on_record("SELECT count(*) FROM transitions WHERE after = 'running'") == [(2,)])
        assert w.server.health.usage.dropped == w.server.health.journal.dropped == 0


async def for_ever(write: Callable[[], Awaitable[None]]) -> None:
    while True:
        await write()


def fill_up(connection: Connection) -> None:
    """Let the file grow no more."""
    pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
    connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")


def make_room(connection: Connection) -> None:
    connection.exec_driver_sql("PRAGMA max_page_count = 1000000")
