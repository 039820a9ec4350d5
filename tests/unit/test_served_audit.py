"""The audit log and the alarms of a whole server, over REST and on the command line."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import time
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import httpx2
import pytest

from lamplighter import runtime
from lamplighter.api.audit import FILTERS
from lamplighter.cli.announcement import announce
from lamplighter.cli.audit import follow_on
from lamplighter.cli.base.refusals import ServerUnreachable
from lamplighter.cli.main import main
from lamplighter.config import parse
from lamplighter.control.alarms import AlarmKeeper, Delivery
from lamplighter.errors import LamplighterError
from lamplighter.runtime import Server, running
from lamplighter.store import AuditRecord, Store
from lamplighter.store.records import AuditFilter

YAML = """
server: {{data: {data}, port: 0, trusted_proxies: [{trusted}]}}
defaults: {{wake_attempts: 1}}
providers:
  memory: {{options: {{start_delay: 0.01, stop_delay: 0.01, faults: {{bad: {{wake: refuse}}}}}}}}
endpoints:
  good: {{provider: memory, command: x}}
  bad: {{provider: memory, command: x}}
"""


@contextlib.asynccontextmanager
async def serving(folder: Path, trusted: str = "") -> AsyncIterator[tuple[Server, httpx2.AsyncClient]]:
    settings = parse(YAML.format(data=folder, trusted=trusted), "lamplighter.yaml", {})
    async with running(settings) as server, httpx2.AsyncClient(base_url=server.url, trust_env=False) as client:
        yield server, client


async def entries(client: httpx2.AsyncClient, **query: Any) -> list[dict[str, Any]]:
    answer = await client.get("/api/audit", params=query)
    answer.raise_for_status()
    found: list[dict[str, Any]] = answer.json()["entries"]
    return found


async def test_each_operation_is_on_record_with_who_where_from_in_which_request_and_how_it_went(
    tmp_path: Path,
) -> None:
    async with serving(tmp_path) as (_, client):
        for path in ("/api/endpoints/wake/good?wait=5", "/api/endpoints/sleep/good?wait=5", "/api/endpoints/wake/none"):
            await client.post(path, headers={"x-request-id": "mine-1"})
        for verb in ("pause", "resume", "scale-to-zero"):
            answer = await client.post(f"/v2/endpoint/lamplighter/good/{verb}", headers={"x-request-id": "mine-1"})
            assert answer.status_code == 200
        form = {"holder": "me", "ttl": 60}
        mine = {"x-request-id": "mine-1"}
        lease = (await client.post("/api/endpoints/good/leases", json=form, headers=mine)).json()["lease"]["id"]
        await client.post("/api/endpoints/none/leases", json=form, headers=mine)
        await client.delete(f"/api/leases/{lease}", headers=mine)
        await client.delete("/api/leases/none", headers=mine)
        await client.post("/api/alarms/test", headers=mine)
        asked = [one for one in await entries(client, limit=1000) if one["request_id"] == "mine-1"]
        assert {(one["operation"], one["endpoint"], one["success"]) for one in asked} == {
            ("ask wake", "good", True),
            ("ask sleep", "good", True),
            ("ask wake", "none", False),
            ("ask pause", "good", True),
            ("ask resume", "good", True),
            ("ask scale to zero", "good", True),
            ("begin lease", "good", True),
            ("begin lease", "none", False),
            ("end lease", "good", True),
            ("end lease", None, False),
            ("test alarms", None, True),
        }
        assert {one["source"] for one in asked} == {"127.0.0.1"}
        assert {one["actor"] for one in asked} == {"api"}
        assert lease not in json.dumps(asked)


@pytest.mark.parametrize(
    ("trusted", "forwarded", "source"),
    [
        ("", "9.8.7.6", "127.0.0.1"),
        ("127.0.0.1", "9.8.7.6", "9.8.7.6"),
        ("127.0.0.0/8, 10.0.0.0/8", "6.6.6.6, 9.8.7.6, 10.0.0.3", "9.8.7.6"),
        ("127.0.0.1", "9.8.7.6:1234", "9.8.7.6"),
        ("127.0.0.1", "[2001:db8::1]:443", "2001:db8::1"),
        ("127.0.0.1", "nonsense", "127.0.0.1"),
        ("127.0.0.1", "", "127.0.0.1"),
    ],
)
async def test_only_a_trusted_proxy_is_believed_where_a_request_came_from(
    tmp_path: Path, trusted: str, forwarded: str, source: str
) -> None:
    async with serving(tmp_path, trusted) as (_, client):
        await client.post("/api/endpoints/sleep/good", headers={"x-forwarded-for": forwarded})
        (one,) = await entries(client, operation="ask sleep")
        assert one["source"] == source


async def test_the_log_is_filtered_and_paged(tmp_path: Path) -> None:
    began = time.time() - 100
    async with opened(tmp_path) as store:
        for number in range(10):
            await store.add_audit(
                record(began + number, endpoint="chat" if number % 2 else "mert", success=number != 3)
            )
        assert [row.id for row in await store.audit_page(AuditFilter(), limit=3)] == [10, 9, 8]
        assert [row.id for row in await store.audit_page(AuditFilter(before=8), limit=2)] == [7, 6]
        assert [row.id for row in await store.audit_page(AuditFilter(after=8), limit=9)] == [10, 9]
        assert [row.id for row in await store.audit_page(AuditFilter(success=False), limit=9)] == [4]
        assert [row.id for row in await store.audit_page(AuditFilter(endpoint="chat", since=began + 6), limit=9)] == [
            10,
            8,
        ]
        assert [row.id for row in await store.audit_page(AuditFilter(until=began + 1), limit=9)] == [1]
        assert await store.audit_page(AuditFilter(actor="nobody"), limit=9) == []
        assert await store.audit_page(AuditFilter(operation="x"), limit=9) == []
    async with serving(tmp_path) as (_, client):
        page = (await client.get("/api/audit", params={"limit": 4, "actor": "me"})).json()
        assert [one["id"] for one in page["entries"]] == [10, 9, 8, 7]
        rest = (await client.get("/api/audit", params={"actor": "me", "cursor": page["next_cursor"]})).json()
        assert [one["id"] for one in rest["entries"]] == [6, 5, 4, 3, 2, 1]
        assert rest["next_cursor"] is None
        for query, status in (
            ({"cursor": "x"}, 400),
            ({"limit": "0"}, 422),
            ({"since": "yesterday"}, 422),
            ({"limt": "3"}, 400),
            ({"since": "20", "until": "10"}, 400),
        ):
            refused = await client.get("/api/audit", params=query)
            assert (refused.status_code, refused.json()["error"]["field"]) == (status, next(iter(query)))


async def test_a_filter_that_there_is_none_of_is_told_with_near_ones_and_all_others_are_known(tmp_path: Path) -> None:
    async with serving(tmp_path) as (_, client):
        refused = (await client.get("/api/audit?limt=3")).json()["error"]
        assert refused["message"] == "limt: no such filter; did you mean limit?"
        described = (await client.get("/openapi.json")).json()["paths"]["/api/audit"]["get"]["parameters"]
        assert {one["name"] for one in described} == set(FILTERS)


ROUTES = """
server: {{data: {data}, port: 0}}
providers: {{memory: {{options: {{start_delay: 0.01, stop_delay: 0.01}}}}}}
endpoints: {{big: {{provider: memory, command: x}}}}
upstreams: {{far: {{base_url: "http://127.0.0.1:9/v1"}}}}
breaker: {{least: 2}}
routes: {{assistant: {{aliases: [org/gpt], targets: [far, big], max_attempts: 1}}}}
"""


async def test_the_status_tells_of_routes_and_breakers_as_they_are_now(tmp_path: Path) -> None:
    settings = parse(ROUTES.format(data=tmp_path), "lamplighter.yaml", {})
    async with running(settings) as server, httpx2.AsyncClient(base_url=server.url, trust_env=False) as client:

        async def routes(path: str = "/api/endpoints/status") -> list[dict[str, Any]]:
            found: list[dict[str, Any]] = (await client.get(path)).json()["routes"]
            return found

        (route,) = await routes()
        assert (route["name"], route["aliases"]) == ("assistant", ["org/gpt"])
        assert [(one["name"], one["kind"], one["tier"]) for one in route["targets"]] == [
            ("far", "upstream", 0),
            ("big", "endpoint", 1),
        ]
        assert "open" not in {one["breaker"] for one in route["targets"]}
        body = {"model": "org/gpt", "messages": []}
        for _ in range(3):
            await client.post("/v1/chat/completions", json=body)
        (route,) = await routes("/api/endpoints/status/big")
        assert route["targets"][0]["breaker"] == "open"
        without = ROUTES.format(data=tmp_path).replace("assistant", "other")
        await server.apply(parse(without, "lamplighter.yaml", {}))
        assert [one["name"] for one in await routes()] == ["other"]


async def test_the_line_to_try_shows_a_key_once_one_was_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with serving(tmp_path) as (server, client):
        announce(server)
        assert "Authorization" not in capsys.readouterr().err
        made = await client.post("/api/keys", json={"name": "root", "role": "admin"})
        assert made.status_code == 201
        announce(server)
        assert '-H "Authorization: Bearer $LAMPLIGHTER_KEY"' in capsys.readouterr().err


def record(at: float, **changes: Any) -> AuditRecord:
    one = AuditRecord(at=at, actor="me", operation="wake", endpoint="chat", success=True)
    return dataclasses.replace(one, **changes)


@contextlib.asynccontextmanager
async def opened(folder: Path) -> AsyncIterator[Store]:
    store = await Store.open(folder / "lamplighter.db")
    try:
        yield store
    finally:
        await store.close()


async def test_the_audit_log_has_a_retention_of_its_own(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        for at in (1.0, 5.0, 9.0):
            await store.add_audit(record(at))
            await store.add_start("chat", at, 1.0)
        assert await store.prune(8.0, audit_before=3.0) == 2 + 1
        assert [row.record.at for row in await store.audit_page(AuditFilter(), limit=9)] == [9.0, 5.0]


async def test_alarms_are_told_over_rest_and_by_every_command_that_shows_how_things_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def command(*words: str) -> tuple[int, str]:
        code = await asyncio.to_thread(main, words)
        return code, capsys.readouterr().out

    monkeypatch.setattr(runtime, "AlarmKeeper", partial(AlarmKeeper, delivery=Delivery(look_every=0.05)))
    async with serving(tmp_path) as (server, client):
        monkeypatch.setenv("LAMPLIGHTER_URL", server.url)
        monkeypatch.delenv("LAMPLIGHTER_KEY", raising=False)
        code, text = await command("alarms")
        assert (code, "No alarm stands." in text) == (0, True)
        code, text = await command("alarms", "test")
        assert (code, "There is no place to send to" in text) == (0, True)
        refused = await client.post("/v1/chat/completions", json={"model": "bad", "messages": []})
        assert refused.status_code == 503
        (alarm,) = await standing(client)
        assert (alarm["alarm"], alarm["endpoint"]) == ("wake_failed", "bad")
        assert "`lamplighter wake bad`" in alarm["text"]
        code, text = await command("alarms")
        assert (code, "wake_failed" in text) == (1, True)
        for words in (("status",), ("status", "bad")):
            code, text = await command(*words)
            assert (code, "wake_failed" in text) == (0, True)
        assert "wake_failed" not in (await command("status", "good"))[1]
        assert "wake_failed" not in (await command("status", "--json"))[1]
        code, text = await command("audit", "--failed", "--since", "1h")
        assert (code, "  wake bad by request: wake was refused" in text) == (0, True)
        code, text = await command("audit", "--json", "--limit", "1", "--endpoint", "bad")
        assert json.loads(text.splitlines()[-1])["endpoint"] == "bad"


async def standing(client: httpx2.AsyncClient) -> list[dict[str, Any]]:
    """The alarms, once there are some: the server looks every few seconds."""
    async with asyncio.timeout(20):
        while not (found := (await client.get("/api/alarms")).json()["alarms"]):  # noqa: ASYNC110 - it tells nobody
            await asyncio.sleep(0.05)
    told: list[dict[str, Any]] = found
    return told


def test_following_goes_on_behind_what_was_shown_and_over_a_restart() -> None:
    answers: list[Any] = [[{"id": 7}, {"id": 6}], [], ServerUnreachable("http://here"), [{"id": 9}]]
    asked: list[int] = []

    def ask(after: int) -> Any:
        asked.append(after)
        if not answers:
            raise LamplighterError("the end of this test")
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    found = follow_on(ask, 5, pause=lambda _: None)
    shown = [one["id"] for _ in range(2) for one in reversed(next(found))]
    with pytest.raises(LamplighterError, match="the end"):
        next(found)
    assert shown == [6, 7, 9]
    assert asked == [5, 7, 7, 7, 9]
