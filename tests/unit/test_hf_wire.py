"""The management API as its official client and strict ones of other languages need it."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub._inference_endpoints import InferenceCatalogModel, InferenceEndpoint, InferenceEndpointHardware
from huggingface_hub.utils._datetime import parse_datetime

from lamplighter.domain.endpoint import Policy, Replica, State
from lamplighter.domain.usage import Outcome, UsageRecord
from lamplighter.providers.memory import Fault
from tests.wire_stage import NAMESPACE, ROOT, configured, document, wire_stage, with_model, with_scaling

KEY = "open-sesame"
AUTHORIZED = {"Authorization": f"Bearer {KEY}"}


@pytest.fixture
async def here(tmp_path: Path):
    async with wire_stage(tmp_path, configured()) as stage:
        yield stage


# What an endpoint looks like.


async def test_every_endpoint_has_what_the_official_client_reads(here):
    await here.make()
    for raw in (await here.ask("GET", ROOT)).json()["items"]:
        endpoint = InferenceEndpoint.from_raw(raw, namespace=NAMESPACE, token="t")
        assert endpoint.health_route.startswith("/")
        assert endpoint.type == "authenticated"
        for key in ("provider", "compute", "experimentalFeatures", "notifications", "tags", "status"):
            assert key in raw
        assert raw["compute"]["instanceType"]
        assert raw["provider"].keys() >= {"vendor", "region"}
        assert len(raw["model"]["image"]) == 1


async def test_moments_end_in_z_and_can_be_read_by_the_client(here):
    status = (await here.make())["status"]
    for key in ("createdAt", "updatedAt"):
        assert status[key].endswith("Z")
        assert parse_datetime(status[key]).tzinfo is not None
    assert status["createdBy"] == {"id": "api", "name": "api"}


async def test_a_configured_endpoint_is_told_from_its_spec_without_what_may_be_secret(here):
    raw = await here.endpoint("chat")
    assert raw["model"]["repository"] == "SmolLM2-135M-Instruct"
    assert raw["model"]["image"] == {"llamacpp": {}}
    assert raw["model"]["framework"] == "llamacpp"
    assert raw["model"]["secrets"] == {"TOKEN": ""}
    assert "hush" not in json.dumps(raw)
    assert raw["compute"]["scaling"]["scaleToZeroTimeout"] == 15
    assert raw["compute"]["scaling"]["minReplica"] == 0
    assert raw["status"]["url"] == "http://localhost:8470/endpoints/chat"


async def test_a_configured_endpoint_that_is_kept_warm_has_a_least_replica_and_no_timeout(tmp_path):
    spec = configured(policy=Policy(keep_warm=True), replicas=2, public=True)
    async with wire_stage(tmp_path, spec) as here:
        raw = await here.endpoint("chat")
        assert raw["type"] == "public"
        assert raw["compute"]["scaling"]["minReplica"] == raw["compute"]["scaling"]["maxReplica"] == 2
        assert raw["compute"]["scaling"]["scaleToZeroTimeout"] is None


async def test_what_is_not_known_is_kept_and_what_is_secret_is_not_shown(here):
    image = {"custom": {"url": "registry/image:1", "port": 80, "credentials": {"username": "u", "password": "hush"}}}
    body = with_model(document(type="private", tags=["a"], futureField={"x": [1]}), image=image, env={"A": "1"})
    body["model"]["secrets"] = {"TOKEN": "hush", "OTHER": "hush"}
    made = await here.make(body)
    assert made["futureField"] == {"x": [1]}
    assert made["type"] == "private"
    assert made["tags"] == ["a"]
    assert made["model"]["env"] == {"A": "1"}
    assert made["model"]["secrets"] == {"OTHER": "", "TOKEN": ""}
    assert made["model"]["image"]["custom"]["credentials"] == {"username": "", "password": None}
    assert made["model"]["image"]["custom"]["url"] == "registry/image:1"
    for path in (ROOT, f"{ROOT}/made", f"/v2/audit-logs/{NAMESPACE}"):
        assert "hush" not in (await here.ask("GET", path)).text


async def test_the_address_is_that_which_the_client_uses_and_is_there_from_the_start(tmp_path):
    async with wire_stage(tmp_path, base="https://lamps.example:9000", start_delay=0.05) as here:
        made = await here.make()
        assert made["status"]["url"] == "https://lamps.example:9000/endpoints/made"
        assert (await here.until("made", "running"))["status"]["url"] == "https://lamps.example:9000/endpoints/made"
        await here.ask("POST", f"{ROOT}/made/pause")
        assert (await here.endpoint("made"))["status"]["url"] is not None


async def test_what_this_api_has_no_words_for_stands_beside(here):
    raw = await here.endpoint("chat")
    beside = raw["lamplighter"]
    assert beside["phase"] == "sleeping"
    assert beside["idle_timeout"] == 900.0
    assert beside.keys() >= {
        *("phase", "in_flight", "waiting", "held_by", "auto_sleep_in", "starting_for", "expected_start"),
        *("last_activity", "state_age", "aliases", "engine", "provider", "message", "price_per_hour", "leases"),
    }
    await here.ask("POST", "/api/endpoints/chat/leases", {"holder": "somebody"})
    (lease,) = (await here.endpoint("chat"))["lamplighter"]["leases"]
    assert lease["holder"] == "somebody"
    assert "id" not in lease


async def test_the_price_is_that_of_the_hardware(here):
    await here.ask("GET", "/v2/provider")
    assert (await here.make())["lamplighter"]["price_per_hour"] == pytest.approx(0.03)


# Verbs.


async def test_a_new_endpoint_goes_from_pending_to_running(tmp_path):
    async with wire_stage(tmp_path, pending_delay=0.3, start_delay=600) as here:
        assert (await here.make())["status"]["state"] == "pending"
        await here.until("made", "initializing")
        here.memory.set_state("made", State.RUNNING)
        running = await here.until("made", "running")
        assert running["status"]["readyReplica"] == running["status"]["targetReplica"] == 1
        assert here.memory.counts("made") == (1, 0)


async def test_pause_resume_and_scale_to_zero_answer_with_the_endpoint_as_it_is_then(here):
    await here.make()
    await here.until("made", "running")
    for verb, state in (("pause", "paused"), ("scale-to-zero", "scaledToZero"), ("pause", "paused")):
        answer = await here.ask("POST", f"{ROOT}/made/{verb}")
        assert (answer.status_code, answer.json()["status"]["state"]) == (200, state)
        assert answer.json()["status"]["targetReplica"] == 0
    answer = await here.ask("POST", f"{ROOT}/made/resume")
    assert answer.status_code == 200
    assert answer.json()["status"]["state"] in {"pending", "initializing"}
    await here.until("made", "running")


async def test_resuming_what_runs_is_told_in_the_words_that_the_client_looks_for(here):
    await here.make()
    await here.until("made", "running")
    answer = await here.ask("POST", f"{ROOT}/made/resume")
    assert answer.status_code == 400
    assert "already running" in answer.text
    assert here.memory.counts("made") == (1, 0)


async def test_a_pause_that_takes_long_is_answered_with_the_state_as_it_still_is(tmp_path, monkeypatch):
    monkeypatch.setattr("lamplighter.api.hf.endpoints.SETTLE", 0.05)
    async with wire_stage(tmp_path, stop_delay=60.0) as here:
        await here.make()
        await here.until("made", "running")
        raw = (await here.ask("POST", f"{ROOT}/made/pause")).json()
        assert raw["status"]["state"] == "running"
        assert raw["lamplighter"]["phase"] == "stopping"
        assert "being paused" in raw["status"]["message"]


@pytest.mark.parametrize("verb", ["pause", "resume", "scale-to-zero"])
async def test_a_verb_takes_an_empty_body_and_configured_endpoints_too(here, verb):
    answer = await here.http.post(f"{ROOT}/chat/{verb}")
    assert answer.status_code == 200
    assert answer.json()["name"] == "chat"


async def test_a_failed_start_is_told_with_its_reason(tmp_path):
    async with wire_stage(tmp_path, translator=None, faults={"made": {"wake": "break"}}) as here:
        await here.make()
        failed = await here.until("made", "failed")
        assert "scripted to fail" in failed["status"]["errorMessage"]


async def test_a_failed_update_is_told(tmp_path):
    async with wire_stage(tmp_path, updates_in_place=True) as here:
        await here.make()
        await here.until("made", "running")
        here.memory.script("made", "update", Fault.UPDATE_FAILED)
        answer = await here.ask("PUT", f"{ROOT}/made", {"model": {"revision": "abc"}})
        assert answer.json()["status"]["state"] == "updating"
        await here.until("made", "updateFailed")


async def test_an_unknown_state_is_no_failure(here):
    await here.make()
    await here.until("made", "running")
    here.memory.set_state("made", None, message="hibernating")
    raw = await here.eventually("made", lambda one: one["lamplighter"]["phase"] == "unknown")
    assert raw["status"]["state"] == "running"
    assert "hibernating" in raw["status"]["message"]


# Changes.


async def test_an_update_merges_and_replaces_lists_images_and_variables_whole(here):
    image = {"vLLM": {"url": "i", "tensorParallelSize": 1, "maxNumSeqs": 4}}
    body = with_model(document(tags=["old"]), image=image, env={"A": "1", "B": "2"}, args=["--x"], task="t")
    await here.make(body)
    change = {
        "model": {"image": {"vLLM": {"url": "i", "tensorParallelSize": 2}}, "env": {"A": "3"}, "args": []},
        "compute": {"scaling": {"maxReplica": 3, "measure": {"pendingRequests": None}}},
        "tags": ["new"],
    }
    answer = await here.ask("PUT", f"{ROOT}/made", change)
    assert answer.status_code == 200, answer.text
    raw = answer.json()
    assert raw["model"]["image"] == {"vLLM": {"url": "i", "tensorParallelSize": 2}}
    assert raw["model"]["env"] == {"A": "3"}
    assert raw["model"]["args"] == []
    assert raw["model"]["task"] == "t"
    assert raw["model"]["repository"] == "org/model"
    assert raw["compute"]["scaling"] == {
        "maxReplica": 3,
        "minReplica": 0,
        "scaleToZeroTimeout": None,
        "measure": {"pendingRequests": None},
    }
    assert raw["compute"]["instanceType"] == "cpu"
    assert raw["tags"] == ["new"]
    assert raw["status"]["updatedAt"] > raw["status"]["createdAt"]


async def test_what_was_read_can_be_sent_back_and_changes_nothing(here):
    body = with_model(document(), env={"A": "1"}, secrets={"TOKEN": "hush"})
    await here.make(body)
    before = await here.endpoint("made")
    answer = await here.ask("PUT", f"{ROOT}/made", before)
    assert answer.status_code == 200, answer.text
    after = answer.json()
    assert after["model"] == before["model"]
    assert here.deployments.deployment("made").secrets == {"TOKEN": "hush"}


@pytest.mark.parametrize("body", [{}, None])
async def test_an_update_of_nothing_answers_with_the_endpoint(here, body):
    made = await here.make()
    answer = await here.http.put(f"{ROOT}/made", **({"json": body} if body is not None else {}))
    assert answer.status_code == 200
    assert answer.json()["status"]["updatedAt"] == made["status"]["updatedAt"]


async def test_secrets_are_replaced_and_blank_ones_stay(here):
    await here.make(with_model(document(), secrets={"A": "one", "B": "two", "C": "three"}))
    await here.ask("PUT", f"{ROOT}/made", {"model": {"secrets": {"A": "", "B": "new"}}})
    assert here.deployments.deployment("made").secrets == {"A": "one", "B": "new"}
    await here.ask("PUT", f"{ROOT}/made", {"model": {"secrets": {}}})
    assert here.deployments.deployment("made").secrets == {}


async def test_two_updates_at_once_lose_neither(here):
    await here.make()
    answers = await asyncio.gather(
        *(here.ask("PUT", f"{ROOT}/made", {f"field{number}": number}) for number in range(5))
    )
    assert [answer.status_code for answer in answers] == [200] * 5
    raw = await here.endpoint("made")
    assert [raw[f"field{number}"] for number in range(5)] == list(range(5))


@pytest.mark.parametrize("method", ["PUT", "DELETE"])
async def test_a_configured_endpoint_is_not_changed_here_and_the_answer_says_where(here, method):
    answer = await here.ask(method, f"{ROOT}/chat", {"tags": ["x"]} if method == "PUT" else None)
    assert (answer.status_code, answer.json()["code"]) == (409, "CONFLICT")
    assert "configuration file" in answer.json()["error"]


async def test_an_update_that_the_provider_refuses_leaves_all_as_it_was(tmp_path):
    async with wire_stage(tmp_path, updates_in_place=True) as here:
        await here.make()
        await here.until("made", "running")
        here.memory.script("made", "update", Fault.QUOTA)
        answer = await here.ask("PUT", f"{ROOT}/made", with_scaling({"compute": {"scaling": {}}}, minReplica=1))
        assert answer.status_code == 429, answer.text
        raw = await here.endpoint("made")
        assert raw["status"]["state"] == "running"
        assert raw["compute"]["scaling"]["minReplica"] == 0
        (saved,) = await here.store.load_deployments()
        assert saved.document["compute"]["scaling"]["minReplica"] == 0


async def test_a_running_endpoint_comes_up_again_after_an_update_that_replaces_it(here):
    await here.make()
    await here.until("made", "running")
    answer = await here.ask("PUT", f"{ROOT}/made", {"model": {"repository": "org/other"}})
    assert answer.json()["status"]["state"] == "updating"
    assert answer.json()["model"]["repository"] == "org/other"
    await here.until("made", "running")
    assert here.memory.counts("made") == (2, 1)


async def test_a_paused_endpoint_stays_paused_through_an_update(here):
    await here.make()
    await here.until("made", "running")
    await here.ask("POST", f"{ROOT}/made/pause")
    await here.ask("PUT", f"{ROOT}/made", {"model": {"repository": "org/other"}})
    assert (await here.endpoint("made"))["status"]["state"] == "paused"


async def test_delete_answers_with_an_empty_object_and_then_it_is_gone(here):
    await here.make()
    answer = await here.ask("DELETE", f"{ROOT}/made")
    assert (answer.status_code, answer.json()) == (200, {})
    assert (await here.ask("GET", f"{ROOT}/made")).status_code == 404
    assert await here.store.load_deployments() == []
    assert (await here.make())["name"] == "made"


async def test_a_delete_that_lingers_is_seen_and_keeps_its_name(tmp_path, monkeypatch):
    monkeypatch.setattr("lamplighter.control.deployments.GONE_PATIENCE", 0.05)
    async with wire_stage(tmp_path, delete_delay=60.0) as here:
        await here.make()
        assert (await here.ask("DELETE", f"{ROOT}/made")).status_code == 200
        assert (await here.endpoint("made"))["lamplighter"]["phase"] in {"stopping", "sleeping"}
        assert (await here.ask("POST", ROOT, document())).status_code == 409
        assert (await here.ask("PUT", f"{ROOT}/made", {"tags": []})).status_code == 409
        assert (await here.ask("DELETE", f"{ROOT}/made")).status_code == 200  # asked for again, it is no error


# Refusals.


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"name": "Not Right"}, "name"),
        ({"name": "x" * 33}, "name"),
        ({"type": "protected"}, "type"),
        ({"type": "secret"}, "type"),
        ({"provider": {"vendor": "memroy", "region": "memory"}}, "provider.vendor"),
        ({"provider": {"vendor": "memory", "region": "mars"}}, "provider.region"),
        ({"model": None}, "model"),
    ],
)
async def test_what_is_not_right_is_named_and_nothing_is_made(here, change, field):
    answer = await here.ask("POST", ROOT, document() | change)
    assert answer.status_code == 400
    body = answer.json()
    assert body["code"] == "VALIDATION_FAILED"
    assert body["error"].startswith(f"Bad Request: {field}"), body
    assert "detail" not in body
    assert (await here.ask("GET", ROOT)).json()["totalItems"] == 1


async def test_an_unknown_place_is_answered_with_the_nearest_ones(here):
    body = document(provider={"vendor": "memroy", "region": "memory"})
    assert "Did you mean 'memory'?" in (await here.ask("POST", ROOT, body)).json()["error"]
    body = document()
    body["compute"] |= {"instanceSize": "x3"}
    assert "There is 'x1', 'x2', 'x4', 'x8'" in (await here.ask("POST", ROOT, body)).json()["error"]


@pytest.mark.parametrize(("minimum", "maximum", "timeout"), [(2, 1, None), (0, 1, 14), (0, 1, 2881), (1, 1, 15)])
async def test_scaling_that_can_t_be_is_refused(here, minimum, maximum, timeout):
    body = with_scaling(document(), minReplica=minimum, maxReplica=maximum, scaleToZeroTimeout=timeout)
    assert (await here.ask("POST", ROOT, body)).status_code == 400


@pytest.mark.parametrize("content", [b"{", b"[]", b"null", b'"x"', b"\xff", b"[" * 100_000])
async def test_a_body_that_is_no_document_is_a_bad_request(here, content):
    answer = await here.http.post(ROOT, content=content)
    assert (answer.status_code, answer.json()["code"]) == (400, "BAD_REQUEST")


async def test_a_body_without_end_is_cut_off(here):
    answer = await here.http.post(ROOT, content=b" " * 1_000_001)
    assert (answer.status_code, answer.json()["code"]) == (413, "PAYLOAD_TOO_LARGE")


async def test_a_body_that_does_not_come_is_not_waited_for(here, monkeypatch):
    monkeypatch.setattr("lamplighter.api.hf.documents.BODY_TIMEOUT", 0.01)

    async def slow() -> AsyncIterator[bytes]:
        yield b"{"
        await asyncio.sleep(60)

    answer = await here.http.post(ROOT, content=slow())
    assert (answer.status_code, answer.json()["code"]) == (408, "REQUEST_TIMEOUT")


async def test_a_name_that_is_taken_is_a_conflict_and_of_two_at_once_one_is_made(here):
    assert (await here.ask("POST", ROOT, document("chat"))).status_code == 409
    answers = await asyncio.gather(*(here.ask("POST", ROOT, document()) for _ in range(4)))
    assert sorted(answer.status_code for answer in answers) == [200, 409, 409, 409]
    assert here.memory.counts("made")[0] <= 1


@pytest.mark.parametrize(
    ("fault", "status", "code"),
    [
        ("quota", 429, "TOO_MANY_REQUESTS"),
        ("payment", 402, "PAYMENT_REQUIRED"),
        ("no_capacity", 503, "SERVICE_UNAVAILABLE"),
        ("forbidden", 502, "BAD_GATEWAY"),
        ("unreachable", 502, "BAD_GATEWAY"),
        ("invalid", 400, "BAD_REQUEST"),
    ],
)
async def test_what_a_provider_refuses_is_told_as_what_it_is_and_leaves_nothing(tmp_path, fault, status, code):
    async with wire_stage(tmp_path, faults={"made": {"create": [fault]}}) as here:
        answer = await here.ask("POST", ROOT, document())
        assert (answer.status_code, answer.json()["code"]) == (status, code)
        assert (await here.ask("GET", f"{ROOT}/made")).status_code == 404
        assert await here.store.load_deployments() == []
        assert (await here.make())["name"] == "made"


async def test_what_is_not_there_is_404_in_this_api_s_shape(here):
    for method, path in (
        ("GET", f"{ROOT}/nope"),
        ("POST", f"{ROOT}/nope/pause"),
        ("GET", "/v2/nope"),
        ("GET", "/v3/x"),
    ):
        answer = await here.ask(method, path)
        assert answer.status_code == 404
        assert answer.json()["code"] == "NOT_FOUND"
        assert isinstance(answer.json()["error"], str)
    assert (await here.ask("PATCH", ROOT)).status_code == 405
    assert (await here.ask("GET", "/api/agent-harnesses")).status_code == 404


async def test_another_namespace_is_refused_with_the_right_one_in_the_text(here):
    for path in ("/v2/endpoint/me", "/v2/provider/me", "/v2/audit-logs/me", "/api/inference-endpoints/me"):
        answer = await here.ask("GET", path)
        assert (answer.status_code, answer.json()["code"]) == (403, "FORBIDDEN")
        assert "'lamplighter'" in answer.json()["error"]
        assert "'lamplighter'" in answer.headers["X-Error-Message"]


async def test_no_fault_tells_of_its_insides(here):
    async def breaks(*_args, **_kwargs):
        raise RuntimeError("hush")

    here.fleet.pause = breaks
    answer = await here.ask("POST", f"{ROOT}/chat/pause")
    assert (answer.status_code, answer.json()["code"]) == (500, "INTERNAL_SERVER_ERROR")
    assert "hush" not in answer.text
    assert answer.headers["x-request-id"]


# Who may.


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic x"}])
@pytest.mark.parametrize(
    "call",
    [
        *("GET /v2/endpoint/lamplighter", "POST /v2/endpoint/lamplighter/chat/pause", "GET /api/whoami-v2"),
        *("GET /v2/provider/lamplighter", "GET /v2/audit-logs/lamplighter", "GET /api/inference-endpoints"),
        *("GET /v3/endpoint/lamplighter/chat/logs", "GET /api/v1/catalog/list", "GET /v2/endpoint/other"),
    ],
)
async def test_without_a_known_key_there_is_401_with_an_object(tmp_path, headers, call):
    method, path = call.split()
    async with wire_stage(tmp_path, configured(), keys=(KEY,)) as here:
        answer = await here.ask(method, path, **headers)
    assert answer.status_code == 401
    assert answer.json()["error"].startswith("401 Unauthorized: ")
    assert answer.json()["code"] == "UNAUTHORIZED"
    assert "chat" not in answer.text


async def test_with_a_key_all_is_open_and_who_did_it_is_on_record(tmp_path):
    async with wire_stage(tmp_path, configured(), keys=(KEY,)) as here:
        answer = await here.ask("POST", f"{ROOT}/chat/pause", **AUTHORIZED, **{"x-request-id": "abc-1"})
        assert answer.status_code == 200
        log = (await here.ask("GET", f"/v2/audit-logs/{NAMESPACE}", **AUTHORIZED)).json()["items"]
        (asked,) = [item for item in log if item["action"] == "ask pause"]
        assert asked["actor"]["name"].startswith("key:")
        assert asked["requestId"] == "abc-1"
        assert asked["sourceIp"] == "127.0.0.1"
        assert asked["endpoint"] == "chat"


async def test_hardware_is_public_without_its_quota(tmp_path):
    async with wire_stage(tmp_path, keys=(KEY,)) as here:
        listed = (await here.ask("GET", "/v2/provider")).json()
        quotas = [one["quota"] for one in listed["vendors"][0]["regions"][0]["computes"]]
        assert all(quota == {"maxAccelerators": 0, "usedAccelerators": 0} for quota in quotas)


async def test_pages_of_other_sites_can_t_operate_a_server_without_keys(here):
    answer = await here.ask("POST", f"{ROOT}/chat/pause", Origin="https://evil.example")
    assert (answer.status_code, answer.json()["code"]) == (403, "FORBIDDEN")
    assert answer.headers["X-Error-Message"]


# Around it.


async def test_every_answer_carries_a_request_id_and_a_sane_one_comes_back(here):
    for path in (ROOT, "/v2/nope", "/api/whoami-v2", "/healthz", "/nope"):
        assert re.fullmatch(r"[A-Za-z0-9._-]+", (await here.ask("GET", path)).headers["x-request-id"])
        assert (await here.ask("GET", path, **{"x-request-id": "mine-1"})).headers["x-request-id"] == "mine-1"
        assert "\n" not in (await here.ask("GET", path, **{"x-request-id": "a b"})).headers["x-request-id"]


async def test_slashes_too_many_lead_nowhere_else(here):
    for path in (f"{ROOT}/", f"/v2//endpoint/{NAMESPACE}", f"{ROOT}/chat/", "/api/inference-endpoints/"):
        answer = await here.ask("GET", path)
        assert answer.status_code == 200, path
    assert (await here.http.post(f"{ROOT}/chat/pause/")).status_code == 200


async def test_whoami_says_that_this_is_a_lamplighter(here):
    raw = (await here.ask("GET", "/api/whoami-v2")).json()
    assert (raw["type"], raw["name"], raw["orgs"]) == ("user", NAMESPACE, [])
    assert raw["lamplighter"] == {"version": "1.2.3", "role": "admin"}


async def test_listings_come_whole_or_in_pages_that_skip_nothing(here):
    for number in range(5):
        await here.make(document(f"made-{number}", tags=["odd"] if number % 2 else ["even", "x"]))
    listing = (await here.ask("GET", ROOT)).json()
    names = [item["name"] for item in listing["items"]]
    assert names == ["chat", *(f"made-{number}" for number in range(5))]
    assert (listing["totalItems"], listing["nextCursor"]) == (6, None)
    seen: list[str] = []
    cursor: str | None = ""
    while cursor is not None:
        page = (await here.ask("GET", f"{ROOT}?limit=2" + (f"&cursor={cursor}" if cursor else ""))).json()
        seen += [item["name"] for item in page["items"]]
        cursor = page["nextCursor"]
        last = page
    assert seen == names
    back = (await here.ask("GET", f"{ROOT}?limit=2&cursor={last['prevCursor']}")).json()
    assert [item["name"] for item in back["items"]] == names[2:4]
    tagged = (await here.ask("GET", f"{ROOT}?tags=even,x")).json()
    assert [item["name"] for item in tagged["items"]] == ["made-0", "made-2", "made-4"]
    found = (await here.ask("GET", f"{ROOT}?search=ADE-3")).json()
    assert [item["name"] for item in found["items"]] == ["made-3"]
    assert (await here.ask("GET", f"{ROOT}?cursor=junk")).status_code == 400
    assert (await here.ask("GET", f"{ROOT}?limit=0")).status_code == 400


async def test_hardware_has_what_the_official_client_reads(here):
    listed = (await here.ask("GET", f"/v2/provider/{NAMESPACE}")).json()
    (vendor,) = listed["vendors"]
    (region,) = vendor["regions"]
    read = [
        InferenceEndpointHardware.from_raw(one, vendor=vendor["name"], region=region["name"])
        for one in region["computes"]
    ]
    assert {one.instance_size for one in read} == {"x1", "x2", "x4", "x8"}
    quotas = (await here.ask("GET", f"/v2/provider/quotas/{NAMESPACE}")).json()
    for quota in quotas["vendors"][0]["quotas"]:
        assert set(quota) == {"instanceType", "architecture", "maxAccelerators", "usedAccelerators"}


async def test_hardware_that_can_t_be_asked_for_is_that_of_the_last_time(here):
    await here.ask("GET", "/v2/provider")
    here.memory.script("*", "hardware", Fault.UNREACHABLE)
    assert (await here.ask("GET", "/v2/provider")).json()["vendors"]


async def test_a_provider_that_can_t_be_asked_is_left_alone_for_a_while(tmp_path, monkeypatch):
    async with wire_stage(tmp_path, reports_changes=False, look_every=0.05) as here:
        asked = 0
        ask = here.memory.hardware

        async def counted():
            nonlocal asked
            asked += 1
            return await ask()

        monkeypatch.setattr(here.memory, "hardware", counted)
        here.memory.script("*", "hardware", Fault.UNREACHABLE)
        answers = await asyncio.gather(*(here.ask("GET", "/v2/provider") for _ in range(5)))
        assert [answer.json()["vendors"] for answer in answers] == [[]] * 5
        assert asked == 1


async def test_graphs_of_a_long_window_add_up_over_its_days(here):
    now = here.fleet._clock.wall()
    for days in (0.5, 1.5, 7.2, 29.9):
        await here.store.add_usage(
            [
                UsageRecord(
                    endpoint="chat",
                    at=now - days * 86400,
                    route="/v1/x",
                    status=200,
                    outcome=Outcome.SERVED,
                    waited=0.0,
                    duration=1.0,
                    bytes_in=1,
                    bytes_out=1,
                )
            ]
        )
    graphs = (await here.ask("POST", f"{ROOT}/chat/metrics", {"start": now - 30 * 86400, "stop": now})).json()
    (answered,) = graphs["responseStatusCodeGrouped"]["series"]
    moments = [point["x"] for point in answered["data"]]
    assert len(moments) == 4
    assert moments == sorted(moments)


async def test_the_aliases_do_the_same(here):
    root = f"/api/inference-endpoints/{NAMESPACE}"
    made = await here.ask("POST", "/api/inference-endpoints", document())
    assert made.status_code == 200
    assert (await here.ask("GET", root)).json()["totalItems"] == 2
    assert (await here.ask("GET", "/api/inference-endpoints?search=made")).json()["totalItems"] == 1
    await here.until("made", "running")
    assert (await here.ask("PATCH", f"{root}/made", {"status": "paused"})).json()["status"]["state"] == "paused"
    assert (await here.ask("PATCH", f"{root}/made", {"status": "running"})).status_code == 200
    await here.until("made", "running")
    assert (await here.ask("PATCH", f"{root}/made", {"status": "running"})).status_code == 200
    assert (await here.ask("PATCH", f"{root}/made", {"status": "gone"})).status_code == 400
    assert (await here.ask("PUT", f"{root}/made", {"tags": ["t"]})).json()["tags"] == ["t"]
    assert (await here.ask("POST", f"{root}/made/scale-to-zero")).json()["status"]["state"] == "scaledToZero"
    assert (await here.ask("DELETE", f"{root}/made")).json() == {}


# What it tells of the inside.


async def test_replicas_are_listed(here):
    assert (await here.ask("GET", f"{ROOT}/chat/replica")).json() == {"items": []}
    await here.make()
    await here.until("made", "running")
    (replica,) = (await here.ask("GET", f"{ROOT}/made/replica")).json()["items"]
    assert replica == {"id": "made-0", "status": {"stage": "running", "live": True}}


async def test_logs_are_rows_with_a_moment(here):
    answer = await here.ask("GET", f"{ROOT}/chat/logs?tail=10")
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    rows = answer.text.splitlines()
    assert len(rows) == 2
    for row in rows:
        assert re.fullmatch(r"- \d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z .+", row)
    assert (await here.ask("GET", f"{ROOT}/chat/logs?tail=10")).text == answer.text
    assert len((await here.ask("GET", f"{ROOT}/chat/logs?tail=1")).text.splitlines()) == 1
    assert (await here.ask("GET", f"{ROOT}/nope/logs")).status_code == 404


async def test_structured_logs_are_searched(here):
    root = f"/v3/endpoint/{NAMESPACE}/chat/logs"
    rows = (await here.ask("GET", root)).json()
    assert [row["line"] for row in rows] == ["0 wakes, 0 sleeps", "state scaledToZero"]
    assert rows[0].keys() == {"timestamp", "line", "stream", "replica_id", "level"}
    assert [row["line"] for row in (await here.ask("GET", f"{root}?order=desc&limit=1")).json()] == [
        "state scaledToZero"
    ]
    assert len((await here.ask("GET", f"{root}?search=WAKES")).json()) == 1
    assert (await here.ask("GET", f"{root}?level=error")).json() == []
    assert (await here.ask("GET", f"{root}?until=2020-01-01T00:00:00Z")).json() == []
    for query in ("level=loud", "since=yesterday", "order=up", "limit=0"):
        assert (await here.ask("GET", f"{root}?{query}")).status_code == 400


@pytest.mark.parametrize("version", ["v2", "v3"])
async def test_followed_logs_are_events_and_end_with_the_client(here, version, monkeypatch):
    monkeypatch.setattr("lamplighter.api.hf.logs.BEAT", 0.01)
    sent: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    gone = asyncio.Event()

    async def receive():
        await gone.wait()
        return {"type": "http.disconnect"}

    path = f"/{version}/endpoint/{NAMESPACE}/chat/logs/sse"
    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": b"tail=1",
        "headers": [],
        "server": ("localhost", 80),
        "client": ("127.0.0.1", 1),
    }
    app = here.http._transport.app
    async with asyncio.timeout(10):
        call = asyncio.create_task(app(scope, receive, sent.put))
        start = await sent.get()
        assert (b"content-type", b"text/event-stream; charset=utf-8") in start["headers"]
        event = (await sent.get())["body"].decode()
        assert event.startswith("data: ")
        assert event.endswith("\n\n")
        assert "state scaledToZero" in event
        assert (await sent.get())["body"].startswith(b": ")
        gone.set()
        await call


async def test_graphs_tell_what_is_on_record_and_nothing_else(here):
    await here.make()
    await here.until("made", "running")
    now = here.fleet._clock.wall()
    record = UsageRecord(
        endpoint="made",
        at=now,
        route="/v1/x",
        status=200,
        outcome=Outcome.SERVED,
        waited=0.0,
        duration=3.0,
        bytes_in=1,
        bytes_out=1,
        requests=2,
    )
    await here.store.add_usage([record])
    graphs = (await here.ask("POST", f"{ROOT}/made/metrics")).json()
    (answered,) = graphs["responseStatusCodeGrouped"]["series"]
    assert answered["statusCode"] == "200"
    assert sum(point["y"] for point in answered["data"]) == 2
    assert graphs["responseElapsed"]["series"][0]["data"][0]["y"] == pytest.approx(1.5)
    assert graphs["replicasRunning"]["series"][0]["data"][-1]["y"] == 1
    assert graphs["hardwareGpu"] == {"series": []}
    assert graphs["inference"] is None
    old = {"start": "2020-01-01T00:00:00Z", "stop": "2020-01-02T00:00:00Z"}
    before = (await here.ask("POST", f"{ROOT}/made/metrics", old)).json()
    assert before["responseStatusCodeGrouped"] == {"series": []}
    assert before["pendingRequest"] == {"series": []}
    one = await here.ask("POST", f"{ROOT}/made/metrics/response-status-code")
    assert one.json() == graphs["responseStatusCodeGrouped"] or one.json()["series"]
    assert (await here.ask("POST", f"{ROOT}/made/metrics/vllm/requests")).json() == {"series": []}
    assert (await here.ask("POST", f"{ROOT}/made/metrics/nope")).status_code == 404
    assert (await here.ask("POST", f"{ROOT}/made/metrics", {"start": "now"})).status_code == 400
    assert (
        await here.ask("POST", f"{ROOT}/made/metrics", {"start": old["stop"], "stop": old["start"]})
    ).status_code == 400


async def test_open_metrics_are_in_the_text_format(here):
    for status, duration in ((200, 0.1), (200, 0.2), (503, 5.0), (777, 0.1)):
        here.meter.add(
            UsageRecord(
                endpoint="chat",
                at=1.0,
                route="/v1/x",
                status=status,
                outcome=Outcome.SERVED,
                waited=0.0,
                duration=duration,
                bytes_in=1,
                bytes_out=1,
            )
        )
    answer = await here.ask("GET", f"{ROOT}/chat/open-metrics")
    assert answer.headers["content-type"] == "application/openmetrics-text; version=1.0.0; charset=utf-8"
    lines = answer.text.splitlines()
    assert lines[-1] == "# EOF"
    assert answer.text.endswith("# EOF\n")
    assert "latency_distribution_count 4" in lines
    assert 'http_requests_total{replica_id="all",status_code="200"} 2' in lines
    assert 'http_requests_total{replica_id="all",status_code="other"} 1' in lines
    quantiles = [line for line in lines if line.startswith("latency_distribution{")]
    assert [line.split('"')[1] for line in quantiles] == ["0.5", "0.9", "0.95", "0.99"]
    assert float(quantiles[-1].split()[1]) == pytest.approx(5.0, rel=0.13)


async def test_the_audit_log_comes_in_pages_with_what_was_changed(here):
    await here.make(with_model(document(), secrets={"TOKEN": "hush"}))
    await here.ask("PUT", f"{ROOT}/made", {"tags": ["t"], "model": {"secrets": {"TOKEN": "other-hush"}}})
    root = f"/v2/audit-logs/{NAMESPACE}"
    log = (await here.ask("GET", f"{root}?endpoint=made&limit=1000")).json()["items"]
    (update,) = [item for item in log if item["action"] == "update" and item["change"]]
    assert update["change"] == "model.secrets.TOKEN, tags"
    assert update["success"] is True
    assert "hush" not in json.dumps(log)
    seen: list[str] = []
    cursor: str | None = ""
    while cursor is not None:
        page = (await here.ask("GET", f"{root}?endpoint=made&limit=1" + (f"&cursor={cursor}" if cursor else ""))).json()
        seen += [item["id"] for item in page["items"]]
        cursor = page["nextCursor"]
    assert seen == [item["id"] for item in log]
    assert (await here.ask("GET", f"{root}?username=nobody")).json() == {"items": [], "nextCursor": None}
    assert (await here.ask("GET", f"{root}?cursor=x")).status_code == 400


async def test_a_public_endpoint_is_public_as_soon_as_it_is_made(here):
    await here.make(document(type="public"))
    assert here.fleet.is_public("made")
    assert not here.fleet.is_public("chat")
    await here.ask("PUT", f"{ROOT}/made", {"type": "private"})
    assert not here.fleet.is_public("made")
    assert (await here.endpoint("made"))["type"] == "private"


async def test_the_catalog_lists_what_can_be_deployed_here(here):
    items = (await here.ask("GET", "/api/v1/catalog/list")).json()["items"]
    assert items == []  # nothing here runs engines
    answer = await here.ask(
        "POST", "/api/v1/catalog/model/HuggingFaceTB/SmolLM2-135M-Instruct/deploy", {"namespace": NAMESPACE}
    )
    assert answer.status_code == 400


async def test_a_catalog_deploy_makes_a_whole_endpoint(tmp_path):
    place = {"vendor": "local", "region": "local", "instance_type": "cpu", "instance_size": "x1"}
    async with wire_stage(tmp_path, hardware=[place]) as here:
        items = (await here.ask("GET", "/api/v1/catalog/list")).json()["items"]
        models = [InferenceCatalogModel.from_raw(item) for item in items]
        assert {model.task for model in models} == {"text-generation", "feature-extraction"}
        assert (await here.ask("GET", "/api/v1/catalog/list?task=feature-extraction")).json()["items"] == [items[1]]
        assert (await here.ask("GET", "/api/v1/catalog/list?engine=vllm")).json()["items"] == []
        model, body = f"/api/v1/catalog/model/{models[0].repo_id}/deploy", {"namespace": NAMESPACE}
        first = (await here.ask("POST", model, body)).json()["endpoint"]
        second = (await here.ask("POST", model, body)).json()["endpoint"]
        assert first["name"] == "smollm2-135m-instruct"
        assert second["name"].startswith("smollm2-135m-instruct-")
        assert first["model"]["fromCatalog"] is True
        recipe = f"/api/v1/catalog/recipe/{models[1].recipes[0].id}/deploy"
        third = (await here.ask("POST", recipe, {**body, "config": {"name": "embed"}})).json()["endpoint"]
        assert third["name"] == "embed"
        assert third["model"]["task"] == "feature-extraction"
        assert "--embeddings" in here.fleet.endpoint("embed").spec.engine.args
        assert (await here.ask("POST", recipe, {"namespace": "other"})).status_code == 403
        assert (await here.ask("POST", "/api/v1/catalog/recipe/nope/deploy", body)).status_code == 404
        assert (await here.ask("POST", "/api/v1/catalog/model/no/model/deploy", body)).status_code == 404
        assert (await here.ask("POST", model, {**body, "accelerator": "neuron"})).status_code == 400
        assert (await here.ask("POST", model, {**body, "ggufFile": "x.gguf"})).status_code == 400


async def test_replicas_of_a_provider_elsewhere_stay_out_of_the_answer(here):
    here.memory.set_state("chat", State.RUNNING)
    raw = await here.until("chat", "running")
    assert Replica(id="x", url=here.memory.url).url not in json.dumps(raw)
