"""What an endpoint went through is told as it was recorded, and no more of it than was asked for."""

import time
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest

from lamplighter.api import management
from lamplighter.api.access import Access
from lamplighter.control.keyring import Keyring
from lamplighter.domain.endpoint import State, Transition
from lamplighter.domain.usage import Outcome, UsageRecord
from lamplighter.store import Store
from tests.unit.test_api_endpoints import AUTHORIZED, DIGEST, Fleet, Health, endpoint

ZERO, PENDING, RUNNING, FAILED = State.SCALED_TO_ZERO, State.PENDING, State.RUNNING, State.FAILED
NOW = 1_700_000_000.0


@pytest.fixture
async def store() -> AsyncIterator[Store]:
    store = await Store.open(":memory:")
    yield store
    await store.close()


@pytest.fixture
async def http(store) -> AsyncIterator[httpx2.AsyncClient]:
    fleet = Fleet(endpoint("chat"))
    app = management(
        fleet,
        health=Health(),
        past=store,
        configured_in="/etc/lamplighter.yaml",
        access=Access(Keyring((DIGEST,))),
        version="1.2.3",
    )
    transport = httpx2.ASGITransport(app=app, raise_app_exceptions=False)
    async with httpx2.AsyncClient(transport=transport, base_url="http://localhost", headers=AUTHORIZED) as http:
        yield http


def moved(at: float, before: State | None, after: State | None, **more) -> Transition:
    return Transition(endpoint="chat", at=at, before=before, after=after, **{"reason": "r", "actor": "policy", **more})


def used(at: float, duration: float, **more) -> UsageRecord:
    facts = {"endpoint": "chat", "status": 200, "outcome": Outcome.SERVED, "waited": 0.0, **more}
    return UsageRecord(at=at, duration=duration, route="/v1/chat/completions", bytes_in=1, bytes_out=1, **facts)


async def asked(http: httpx2.AsyncClient, what: str, **given: Any) -> Any:
    answer = await http.get(f"/api/endpoints/chat/{what}", params=given)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_a_history_tells_the_state_at_its_beginning_each_change_and_who_woke_it(http, store):
    await store.add_transition(moved(NOW - 50, RUNNING, ZERO, reason="idle"))
    woken = {"reason": "a request waits", "actor": "request", "cause": "key:k1", "route": "chat"}
    await store.add_transition(moved(NOW, ZERO, PENDING, **woken))
    await store.add_transition(moved(NOW + 20, PENDING, RUNNING, **woken))
    await store.add_start("chat", NOW + 20, 20.5)
    await store.add_transition(moved(NOW + 90, RUNNING, FAILED, message="out of memory"))
    found = await asked(http, "history", since=NOW - 10, until=NOW + 100)
    assert found["before"]["phase"] == "sleeping"
    assert [one["phase"] for one in found["changes"]] == ["starting", "running", "error"]
    assert found["changes"][-1]["message"] == "out of memory"
    (start,) = found["starts"]
    assert start == {"at": NOW + 20, "duration": 20.5, **woken}
    assert not found["truncated"]


async def test_what_nobody_saw_is_told_as_such(http, store):
    await store.add_transition(moved(NOW, RUNNING, RUNNING))
    await store.add_transition(moved(NOW + 50, None, ZERO, seen_until=NOW + 10))
    first, second = (await asked(http, "history", since=NOW, until=NOW + 100))["changes"]
    assert (first["seen_until"], second["seen_until"]) == (None, NOW + 10)
    assert second["duration"] is None


async def test_of_too_many_changes_the_newest_are_told(http, store):
    for at in range(6):
        await store.add_transition(moved(NOW + at, ZERO, PENDING, reason=str(at)))
    found = await asked(http, "history", since=NOW, until=NOW + 10, limit=2)
    assert [one["reason"] for one in found["changes"]] == ["4", "5"]
    assert found["truncated"]


async def test_what_ends_is_excluded_and_what_begins_is_included(http, store):
    for at in (NOW, NOW + 10):
        await store.add_transition(moved(at, ZERO, PENDING))
        await store.add_usage([used(at, 1.0)])
    assert [one["at"] for one in (await asked(http, "history", since=NOW, until=NOW + 10))["changes"]] == [NOW]
    assert (await asked(http, "requests", since=NOW, until=NOW + 10))["total"]["requests"] == 1


async def test_quantiles_are_near_what_was_recorded(http, store):
    await store.add_usage([used(NOW + at / 100, (at + 1) / 100, tokens_out=10, tokens_in=3) for at in range(100)])
    total = (await asked(http, "requests", since=NOW, until=NOW + 60))["total"]
    for name, exact in (("p50", 0.5), ("p90", 0.9), ("p99", 0.99)):
        assert total[name] == pytest.approx(exact, rel=0.05)
    assert (total["requests"], total["failed"], total["tokens_in"], total["tokens_out"]) == (100, 0, 300, 1000)
    assert total["tokens_per_second"] == pytest.approx(1000 / 50.5, rel=0.001)


@pytest.mark.parametrize("duration", [0.0, 1e-9, 0.0001, 1.0, 7000.0, 1e9])
async def test_no_duration_is_too_short_or_too_long(http, store, duration):
    await store.add_usage([used(NOW, duration)])
    total = (await asked(http, "requests", since=NOW, until=NOW + 1))["total"]
    assert total["requests"] == 1
    assert total["p50"] == pytest.approx(min(duration, 8192), rel=0.1, abs=0.0002)


async def test_requests_are_told_step_by_step_over_many_days(http, store):
    await store.add_usage([used(NOW + day * 86_400, 1.0, requests=2, waited=0.5) for day in range(5)])
    await store.add_usage([used(NOW + 86_400, 3.0, status=503, outcome=Outcome.FAILED)])
    found = await asked(http, "requests", since=NOW, until=NOW + 5 * 86_400, step=86_400)
    assert [one["at"] for one in found["steps"]] == [NOW + day * 86_400 for day in range(5)]
    assert [one["requests"] for one in found["steps"]] == [2, 3, 2, 2, 2]
    assert found["steps"][1]["failed"] == 1
    assert found["steps"][0]["tokens_per_second"] is None
    assert found["total"]["waited"] == 2.5


async def test_a_time_without_requests_has_no_quantiles(http):
    found = await asked(http, "requests")
    assert found["steps"] == []
    assert found["total"]["p50"] is None
    assert found["until"] == pytest.approx(time.time(), abs=5)
    assert found["until"] - found["since"] == 86_400


@pytest.mark.parametrize(
    ("what", "given", "field"),
    [
        ("history", {"since": NOW, "until": NOW}, "since"),
        ("history", {"since": 0, "until": NOW}, "since"),
        ("history", {"since": "nan"}, "since"),
        ("history", {"limit": 0}, "limit"),
        ("requests", {"since": NOW - 86_400 * 36, "until": NOW}, "since"),
        ("requests", {"since": NOW - 1000, "until": NOW, "step": 2}, "step"),
        ("requests", {"step": 0}, "step"),
    ],
)
async def test_what_makes_no_sense_is_refused_with_the_field(http, what, given, field):
    answer = await http.get(f"/api/endpoints/chat/{what}", params=given)
    assert answer.status_code in {400, 422}
    assert answer.json()["error"]["field"] == field


@pytest.mark.parametrize("what", ["history", "requests", "specification"])
async def test_none_of_it_is_told_without_a_key_or_of_what_is_not_there(http, what):
    assert (await http.get(f"/api/endpoints/none/{what}")).status_code == 404
    http.headers.clear()
    assert (await http.get(f"/api/endpoints/chat/{what}")).status_code == 401


async def test_a_specification_says_where_it_stands_and_keeps_what_is_secret(http):
    answer = await http.get("/api/endpoints/chat/specification")
    found = answer.json()
    assert found["configured_in"] == "/etc/lamplighter.yaml"
    assert not found["deployed"]
    assert found["specification"]["engine"]["env"] == ["TOKEN"]
    assert "hush" not in answer.text


async def test_a_server_without_records_says_so():
    app = management(Fleet(endpoint("chat")), health=Health(), version="1.2.3")
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url="http://localhost") as http:
        for what in ("history", "requests"):
            assert (await http.get(f"/api/endpoints/chat/{what}")).status_code == 404
