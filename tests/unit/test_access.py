"""What each role may do on the management routes, how often, and how keys are made there."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI

from lamplighter.api import management, refused
from lamplighter.api.access import Access, TooManyRequests
from lamplighter.control.clock import Clock
from lamplighter.control.journal import MemoryJournal
from lamplighter.control.keyring import Keyring
from lamplighter.control.recorder import Recorder
from lamplighter.domain.keys import ANYBODY, Role
from lamplighter.errors import EndpointNotFound, NotAllowed
from tests.wire_stage import NAMESPACE, ROOT, Healthy, WireStage, configured, wire_stage

OPEN = {"/healthz", "/readyz", "/docs", "/openapi.json", "/docs/oauth2-redirect", "/v2/provider"}
ANY_KEY = {
    ("GET", "/api/whoami-v2"),
    ("GET", "/api/models"),
    ("GET", "/api/offers"),
    ("GET", "/api/pricing"),
    ("POST", "/api/inference/{model}"),
}
ADMINS = {
    ("GET", "/api/audit"),
    ("POST", "/api/cost/rebuild"),
    ("GET", "/api/settings"),
    ("POST", "/api/keys"),
    ("GET", "/api/keys"),
    ("DELETE", "/api/keys/{key}"),
    ("POST", "/v2/endpoint/{namespace}"),
    ("PUT", "/v2/endpoint/{namespace}/{name}"),
    ("DELETE", "/v2/endpoint/{namespace}/{name}"),
    ("POST", "/api/inference-endpoints"),
    ("POST", "/api/inference-endpoints/{namespace}"),
    ("PUT", "/api/inference-endpoints/{namespace}/{name}"),
    ("DELETE", "/api/inference-endpoints/{namespace}/{name}"),
    ("GET", "/v2/audit-logs/{namespace}"),
    ("POST", "/api/v1/catalog/model/{repo_id}/deploy"),
    ("POST", "/api/v1/catalog/recipe/{recipe_id}/deploy"),
}


@dataclasses.dataclass
class Stage:
    """A closed server, and what each role's key is shown as."""

    wire: WireStage
    keyring: Keyring
    shown: dict[Role, dict[str, str]]
    journal: MemoryJournal

    async def ask(self, method: str, path: str, role: Role | None = Role.ADMIN, body: Any = None) -> httpx2.Response:
        headers = self.shown[role] if role else {}
        return await self.wire.ask(method, path, body, **headers)


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[Stage]:
    journal = MemoryJournal()

    def resolve(name: str) -> str:
        if name not in {"chat", "alias"}:
            raise EndpointNotFound(name, ["chat"])
        return "chat"

    keyring, shown = Keyring(recorder=Recorder(journal, Clock()), resolve=resolve), {}
    for role in (Role.ADMIN, Role.OPERATE, Role.INFER):
        _, secret = await keyring.make(f"the-{role}", actor="test", role=role)
        shown[role] = {"Authorization": f"Bearer {secret.reveal()}"}
    async with wire_stage(tmp_path, configured(), keyring=keyring) as wire:
        yield Stage(wire, keyring, shown, journal)


def routes_of(app: FastAPI) -> list[tuple[str, str]]:
    """The routes of both, as they are described."""
    return [(method.upper(), path) for path, verbs in app.openapi()["paths"].items() for method in verbs]


def needed_for(method: str, path: str) -> Role | None:
    """None where no key is needed."""
    if path in OPEN:
        return None
    if (method, path) in ANY_KEY:
        return Role.INFER
    return Role.ADMIN if (method, path) in ADMINS else Role.OPERATE


def filled(path: str) -> str:
    values = {"namespace": NAMESPACE, "name": "chat", "repo_id": "a/b", "key": "nobody"}
    for name in ("recipe_id", "lease_id", "metric", "graph", "replica", "model"):
        values[name] = "none"
    for name, value in values.items():
        path = path.replace(f"{{{name}}}", value)
    return path


async def test_every_route_asks_for_its_role_and_says_which_it_is(here: Stage) -> None:
    routes = routes_of(here.wire.app)
    assert len(routes) > 50
    assert {*ADMINS, *ANY_KEY} <= set(routes)
    for method, path in routes:
        needed = needed_for(method, path)
        if needed is None:
            continue
        place = filled(path)
        assert "{" not in place, path
        assert (await here.ask(method, place, None)).status_code == 401, path
        for role in Role:
            if role.covers(needed):
                continue
            answer = await here.ask(method, place, role)
            assert answer.status_code == 403, (method, path, role)
            assert f"'{needed}'" in answer.text
            assert f"'the-{role}' has '{role}'" in answer.text
            assert "role_missing" in answer.text


async def test_a_key_for_models_alone_does_not_learn_which_endpoints_there_are(here: Stage) -> None:
    named = [(method, path) for method, path in routes_of(here.wire.app) if "{name}" in path]
    assert len(named) > 20
    for method, path in named:
        there, missing = [
            await here.ask(method, filled(path.replace("{name}", name)), Role.INFER) for name in ("chat", "gone")
        ]
        assert (there.status_code, there.text) == (missing.status_code, missing.text), (method, path)


async def test_who_asks_for_a_change_without_the_right_to_it_is_on_record(here: Stage) -> None:
    await here.ask("POST", "/api/endpoints/wake/chat", Role.INFER)
    await here.ask("GET", "/api/endpoints/status", Role.INFER)
    rows = [row for row in await here.wire.store.audit() if row.operation == "refused"]
    assert [(row.actor, row.change, row.success) for row in rows] == [
        ("key:the-infer", "POST /api/endpoints/wake/chat", False)
    ]
    assert "'the-infer' has 'infer'" in str(rows[0].error)


async def test_who_has_no_key_that_counts_or_says_what_nobody_can_read_is_on_record_too(here: Stage) -> None:
    await here.ask("DELETE", "/api/keys/the-operate")
    for role in (None, Role.OPERATE):
        assert (await here.ask("POST", "/api/keys", role, {"name": "x"})).status_code == 401
    assert (await here.ask("POST", "/api/keys", body={"name": 7, "tags": {"a": "s3cret"}})).status_code == 422
    assert (await here.ask("GET", "/api/keys", None)).status_code == 401
    rows = sorted((row for row in await here.wire.store.audit() if row.operation == "refused"), key=lambda row: row.at)
    assert [(row.actor, row.change, row.success) for row in rows] == [
        ("nobody", "POST /api/keys", False),
        ("nobody", "POST /api/keys", False),
        ("key:the-admin", "POST /api/keys", False),
    ]
    assert "No key was given" in str(rows[0].error)
    assert "'the-operate' was revoked" in str(rows[1].error)
    assert str(rows[2].error).startswith("name: ")
    assert "s3cret" not in str(rows)


async def test_a_flood_of_refusals_fills_no_disk_and_how_many_there_were_is_told(
    here: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr(refused, "time", SimpleNamespace(monotonic=lambda: now))
    for _ in range(refused.A_MINUTE + 10):
        await here.ask("POST", "/api/endpoints/wake/chat", None)
    await here.ask("POST", "/api/endpoints/wake/chat", Role.INFER)
    rows = [row for row in await here.wire.store.audit(limit=1000) if row.operation == "refused"]
    assert sum(row.actor == "nobody" for row in rows) == refused.A_MINUTE
    assert sum(row.actor == "key:the-infer" for row in rows) == 1
    now += 5.0
    await here.ask("POST", "/api/endpoints/wake/chat", None)
    rows = [row for row in await here.wire.store.audit(limit=1000) if row.actor == "nobody"]
    assert len(rows) == refused.A_MINUTE + 1
    assert max(rows, key=lambda row: row.at).change == (
        "POST /api/endpoints/wake/chat (and 10 more that are not on record)"
    )


async def test_an_infer_key_sees_who_it_is_and_nothing_else(here: Stage) -> None:
    answer = (await here.ask("GET", "/api/whoami-v2", Role.INFER)).json()
    assert answer["auth"]["accessToken"]["role"] == "read"
    assert answer["lamplighter"]["role"] == "infer"
    for path in ("/api/endpoints/status", f"{ROOT}/chat", ROOT, "/metrics", "/api/leases"):
        assert (await here.ask("GET", path, Role.INFER)).status_code == 403


@pytest.mark.parametrize(("role", "told"), [(Role.OPERATE, "write"), (Role.ADMIN, "write")])
async def test_whoever_may_operate_reads_write(here: Stage, role: Role, told: str) -> None:
    assert (await here.ask("GET", "/api/whoami-v2", role)).json()["auth"]["accessToken"]["role"] == told


async def test_an_operator_operates_and_changes_nothing(here: Stage) -> None:
    assert (await here.ask("POST", "/api/endpoints/wake/chat", Role.OPERATE)).status_code == 202
    assert (await here.ask("POST", f"{ROOT}/chat/pause", Role.OPERATE)).status_code == 200
    assert (await here.ask("PUT", f"{ROOT}/chat", Role.OPERATE, {"tags": ["x"]})).status_code == 403
    records = await here.wire.store.audit("chat")
    assert {record.actor for record in records if record.operation.startswith("ask")} == {"key:the-operate"}


async def test_a_key_is_made_told_once_and_listed_without_it(here: Stage) -> None:
    form = {
        "name": "ci",
        "role": "operate",
        "routes": ["alias"],
        "may_wake": False,
        "priority": 3,
        "limits": {"requests_per_minute": 60},
        "tags": {"team": "search"},
        "expires_in": 3600,
    }
    answer = await here.ask("POST", "/api/keys", body=form)
    made = answer.json()
    assert (answer.status_code, answer.headers["cache-control"], made["closed_server"]) == (201, "no-store", False)
    key = made["key"]
    assert (key["routes"], key["limits"]["requests_per_minute"], key["created_by"]) == (["chat"], 60, "key:the-admin")
    assert (await here.wire.ask("GET", "/api/whoami-v2", Authorization=f"Bearer {made['secret']}")).status_code == 200
    listed = await here.ask("GET", "/api/keys")
    assert made["secret"] not in listed.text
    assert next(one for one in listed.json()["keys"] if one["name"] == "ci") == key
    told = here.journal.operations[-1]
    assert (told.operation, told.actor, told.request_id is not None) == ("create key", "key:the-admin", True)
    assert made["secret"] not in str(list(here.journal.operations))


async def test_a_revoked_key_opens_nothing_from_that_moment_on(here: Stage) -> None:
    answer = await here.ask("DELETE", "/api/keys/the-operate")
    assert (answer.status_code, answer.json()["key"]["counts"]) == (200, False)
    refused = await here.ask("GET", "/api/endpoints/status", Role.OPERATE)
    assert (refused.status_code, refused.json()["error"]["code"]) == (401, "revoked_api_key")
    on_the_wire = await here.ask("GET", ROOT, Role.OPERATE)
    assert (on_the_wire.status_code, on_the_wire.json()["reason"]) == (401, "revoked_api_key")
    assert (await here.ask("DELETE", "/api/keys/the-operate")).status_code == 200


@pytest.mark.parametrize(
    ("form", "status", "field"),
    [
        ({}, 422, "name"),
        ({"name": "x", "role": "king"}, 422, "role"),
        ({"name": "x", "color": "red"}, 422, "color"),
        ({"name": "x y"}, 400, "name"),
        ({"name": "x", "routes": ["nobody"]}, 400, "routes"),
        ({"name": "x", "routes": ["a\u2028b"]}, 400, "routes"),
        ({"name": "x", "limits": {"concurrent": 0}}, 400, "limits.concurrent"),
        ({"name": "x", "limits": {"concurrent": "many"}}, 422, "limits.concurrent"),
        ({"name": "x", "limits": {"concurrent": True}}, 422, "limits.concurrent"),
        ({"name": "x", "limits": {"requests_per_minute": "60"}}, 422, "limits.requests_per_minute"),
        ({"name": "x", "expires_in": -1}, 400, "expires_in"),
        ({"name": "x", "expires_in": True}, 422, "expires_in"),
        ({"name": "x", "expires_in": "3600"}, 422, "expires_in"),
        ({"name": "x", "may_wake": "yes"}, 422, "may_wake"),
        ({"name": "x", "priority": True}, 422, "priority"),
        ({"name": "x", "tags": {"a": "b\0"}}, 400, "tags"),
        ({"name": "x", "priority": 10**30}, 400, "priority"),
        ({"name": "the-infer"}, 409, None),
    ],
)
async def test_what_is_not_right_of_a_key_is_named(
    here: Stage, form: dict[str, Any], status: int, field: str | None
) -> None:
    answer = await here.ask("POST", "/api/keys", body=form)
    assert (answer.status_code, answer.json()["error"].get("field")) == (status, field)
    assert len(here.keyring.list()) == 3


async def test_the_first_key_of_an_open_server_closes_it_and_the_answer_says_so(tmp_path: Path) -> None:
    async with wire_stage(tmp_path, configured()) as wire:
        wrong = await wire.ask("POST", "/api/keys", {"name": "ci"})
        assert (wrong.status_code, wrong.json()["error"]["field"]) == (400, "role")
        assert (await wire.ask("GET", "/api/whoami-v2")).json()["auth"]["accessToken"]["displayName"] == "api"
        made = (await wire.ask("POST", "/api/keys", {"name": "root", "role": "admin"})).json()
        assert made["closed_server"] is True
        assert (await wire.ask("GET", "/api/keys")).status_code == 401
        header = {"Authorization": f"Bearer {made['secret']}"}
        assert (await wire.ask("GET", "/api/keys", **header)).status_code == 200
        last = await wire.ask("DELETE", "/api/keys/root", **header)
        assert (last.status_code, "last admin key" in last.text) == (409, True)


async def test_management_requests_are_bounded_for_each_key_and_health_is_not(tmp_path: Path) -> None:
    keyring = Keyring()
    _, first = await keyring.make("root", actor="test", role=Role.ADMIN)
    _, second = await keyring.make("other", actor="test", role=Role.ADMIN)
    async with wire_stage(tmp_path, configured(), keyring=keyring, rate=3) as wire:
        header = {"Authorization": f"Bearer {first.reveal()}"}
        for path in ("/api/keys", ROOT, "/api/endpoints/status"):
            assert (await wire.ask("GET", path, **header)).status_code == 200
        for path in ("/api/keys", ROOT):
            answer = await wire.ask("GET", path, **header)
            assert answer.status_code == 429
            assert 19 <= int(answer.headers["retry-after"]) <= 20
        assert (await wire.ask("GET", "/api/keys", **{"x-api-key": second.reveal()})).status_code == 200
        statuses = [(await wire.ask("GET", "/api/keys")).status_code for _ in range(4)]
        assert statuses == [401, 401, 401, 429]
        assert (await wire.ask("GET", "/v2/provider")).status_code == 429
        assert (await wire.ask("GET", "/healthz")).status_code == 200


def test_callers_that_were_counted_do_not_pile_up() -> None:
    access = Access(Keyring(), rate=2)
    for number in range(20_000):
        assert access.enter(None, f"10.0.{number >> 8}.{number & 255}", 1.0) is ANYBODY
    assert len(access._buckets) <= 10_000
    access.enter(None, "10.0.78.31", 1.0)
    with pytest.raises(TooManyRequests):
        access.enter(None, "10.0.78.31", 1.0)


def test_a_wrong_key_is_counted_by_address() -> None:
    access = Access(Keyring({"0" * 64}), rate=1)
    with pytest.raises(NotAllowed, match="not known"):
        access.enter(b"wrong", "here", 1.0)
    with pytest.raises(TooManyRequests):
        access.enter(b"wrong", "here", 1.0)


def test_without_a_keyring_the_routes_are_open() -> None:
    app = management(None, health=Healthy(), version="1")  # type: ignore[arg-type]
    assert app.state.access.keyring.is_open
