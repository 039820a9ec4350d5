"""The verbs of the provider for Hugging Face, against a real HTTP server that plays one endpoint as the cloud does."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import structlog.testing

from lamplighter.domain.endpoint import Creation, Deployment, Making, Policy, Remote, Spec, State
from lamplighter.errors import (
    Conflict,
    EndpointExists,
    EndpointNotFound,
    EndpointPaused,
    Forbidden,
    InvalidInput,
    ProviderError,
    ProviderUnreachable,
    QuotaExceeded,
    TokenMissing,
)
from lamplighter.hf.records import Endpoint
from lamplighter.providers.huggingface import HuggingFaceProvider, make_provider, provider, reading
from lamplighter.providers.huggingface.known import Known
from tests.gateway_stage import until
from tests.hf_cloud import DOCUMENT
from tests.hf_cloud import SPEC as HOSTED
from tests.hf_stage import DROPPED, TOKEN, Asked, Reply, Stage, document, stage

AT = "/v2/endpoint/me/bert"
SPEC = dataclasses.replace(HOSTED, name="bert", policy=Policy(idle_timeout=600.0))
MADE = dataclasses.replace(
    SPEC, remote=Remote(create=Creation.IF_MISSING), deployment=Deployment(document={**DOCUMENT, "name": "bert"})
)
OWN = dataclasses.replace(
    SPEC, remote=None, deployment=Deployment(document={**DOCUMENT, "name": "bert"}, created_at=1.0, created_by="me")
)


class Play:
    """One endpoint, as the cloud has it. `calls` are the verbs that changed it, in their order."""

    def __init__(self, cloud: Stage) -> None:
        self.cloud = cloud
        self.there = True
        self.state = "scaledToZero"
        self.ready = True
        self.resumes_to = "initializing"
        self.scaling: dict[str, Any] = {"minReplica": 0, "maxReplica": 1, "scaleToZeroTimeout": 15}
        self.said: dict[str, Any] = {}
        self.calls: list[str] = []
        self.bodies: list[Any] = []
        cloud.script("GET", AT, self._read)
        cloud.script("PUT", AT, self._update)
        cloud.script("DELETE", AT, self._delete)
        cloud.script("POST", "/v2/endpoint/me", self._create)
        cloud.script("GET", "/v2/endpoint/me", self._list)
        cloud.script("GET", "/dp/health", self._health)
        cloud.script("GET", "/dp/v1/models", self._poked)
        cloud.script("POST", f"{AT}/pause", lambda _: self._verb("pause", "paused"))
        cloud.script("POST", f"{AT}/scale-to-zero", lambda _: self._verb("scale-to-zero", "scaledToZero"))
        cloud.script("POST", f"{AT}/resume", lambda _: self._verb("resume", None))

    def document(self) -> dict[str, Any]:
        raw = document("bert", state=self.state)
        raw["compute"]["scaling"] = dict(self.scaling)
        raw["status"] |= {"url": f"{self.cloud.url}/dp", **self.said}
        return raw

    def _shown(self) -> Reply:
        return Reply(body=self.document()) if self.there else _missing()

    def _read(self, _: Asked) -> Reply:
        return self._shown()

    def _list(self, _: Asked) -> Reply:
        return Reply(body={"items": [self.document()] if self.there else [document("other")]})

    def _create(self, asked: Asked) -> Reply:
        self.calls.append("create")
        self.bodies.append(asked.body)
        if self.there:
            return Reply(409, {"error": "Conflict: endpoint already exists", "code": "CONFLICT"})
        self.there, self.state = True, "pending"
        return self._shown()

    def _update(self, asked: Asked) -> Reply:
        self.calls.append("update")
        self.bodies.append(asked.body)
        self.scaling |= asked.body.get("compute", {}).get("scaling", {})
        return self._shown()

    def _delete(self, _: Asked) -> Reply:
        self.calls.append("delete")
        if not self.there:
            return _missing()
        self.there = False
        return Reply()

    def _verb(self, verb: str, state: str | None) -> Reply:
        self.calls.append(verb)
        if verb == "resume" and self.state == "running":
            return Reply(400, {"error": "Bad Request: Endpoint is already running", "code": "BAD_REQUEST"})
        self.state = state or self.resumes_to
        return self._shown()

    def _health(self, _: Asked) -> Reply:
        return Reply(200 if self.ready and self.state == "running" else 503)

    def _poked(self, _: Asked) -> Reply:
        self.calls.append("poke")
        self.state = "initializing"
        return Reply(503, {"error": "503 Service Unavailable", "code": "SERVICE_UNAVAILABLE"})


def _missing() -> Reply:
    return Reply(404, {"error": "Not Found: endpoint", "code": "NOT_FOUND"})


@contextlib.asynccontextmanager
async def theatre(monkeypatch: pytest.MonkeyPatch, **options: Any) -> AsyncIterator[tuple[HuggingFaceProvider, Play]]:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    async with stage() as cloud:
        monkeypatch.setenv("LAMPLIGHTER_CLOUD_URL", cloud.url)
        play = Play(cloud)
        ours = make_provider({"retry": {"attempts": 2, "base": 0.01, "deadline": 5}} | options, {})
        await ours.open(lambda _: None)
        try:
            yield ours, play
        finally:
            await ours.close()


@pytest.fixture
async def both(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[HuggingFaceProvider, Play]]:
    async with theatre(monkeypatch) as pair:
        yield pair


Both = tuple[HuggingFaceProvider, Play]


# Finding, making, forgetting


async def test_an_endpoint_that_stands_is_adopted_and_nothing_is_changed(both: Both) -> None:
    ours, play = both
    play.state = "running"
    status = await ours.create(SPEC)
    assert status.state is State.RUNNING
    (replica,) = status.replicas
    assert (replica.url, replica.proxied) == (f"{play.cloud.url}/dp", True)
    assert dict(replica.headers) == {"authorization": f"Bearer {TOKEN}"}
    assert play.calls == []
    assert {asked.token for asked in play.cloud.asked} == {f"Bearer {TOKEN}"}


@pytest.mark.parametrize("remote", [Remote(name="bert", namespace="me"), Remote(name="bert"), Remote(url="{url}/dp")])
async def test_it_is_found_in_each_way_that_it_can_be_named(both: Both, remote: Remote) -> None:
    ours, play = both
    if remote.url:
        remote = Remote(url=remote.url.format(url=play.cloud.url))
    spec = dataclasses.replace(SPEC, name="chat", remote=remote)
    assert (await ours.create(spec)).state is State.SCALED_TO_ZERO
    await ours.wake("chat")
    assert play.calls[-1] == "resume"


async def test_one_listing_finds_many_by_their_addresses(both: Both) -> None:
    ours, play = both
    many = [document(f"e{n}") for n in range(5)]
    for n, raw in enumerate(many):
        raw["status"] |= {"url": f"https://e{n}.cloud", "state": "paused"}
        play.cloud.script("GET", f"/v2/endpoint/me/e{n}", Reply(body=raw))
    play.cloud.script("GET", "/v2/endpoint/me", Reply(body={"items": many}))
    for n in range(5):
        spec = dataclasses.replace(SPEC, name=f"n{n}", remote=Remote(url=f"https://E{n}.cloud"))
        assert (await ours.create(spec)).state is State.PAUSED
    assert len(play.cloud.questions("GET", "/v2/endpoint/me")) == 1


async def test_one_that_is_missing_is_an_error_that_says_how_to_have_it_made(both: Both) -> None:
    ours, play = both
    await ours.end_orphans()
    play.there = False
    with pytest.raises(InvalidInput, match=r"there is no endpoint me/bert.*`create: if-missing`") as raised:
        await ours.create(SPEC)
    assert raised.value.field == "endpoints.bert.remote"
    with pytest.raises(InvalidInput, match=r"no endpoint that this token can see has the address https://x\.cloud"):
        await ours.create(dataclasses.replace(SPEC, remote=Remote(url="https://x.cloud")))
    play.there = True
    with pytest.raises(InvalidInput, match="Did you mean 'bert'"):
        await ours.create(dataclasses.replace(SPEC, remote=Remote(name="bort")))
    with pytest.raises(EndpointNotFound):
        await ours.observe("bert")


async def test_one_that_is_missing_at_the_start_keeps_no_server_from_starting(both: Both) -> None:
    ours, play = both
    play.there = False
    await ours.close()
    await ours.open(lambda _name: None)
    with structlog.testing.capture_logs() as logged:
        status = await ours.create(SPEC)
    assert status.state is None
    assert "create: if-missing" in (status.message or "")
    assert [(line["event"], line["log_level"]) for line in logged] == [("missing", "error")]
    await ours.end_orphans()
    with pytest.raises(EndpointNotFound):
        await ours.observe("bert")
    play.there = True
    assert (await ours.observe("bert")).state is State.SCALED_TO_ZERO


@pytest.mark.parametrize(
    ("args", "name"),
    [
        ([], "org/model"),
        (["--served-model-name", "big"], "big"),
        (["--max-model-len", "8", "--served-model-name=big"], "big"),
        (["--served-model-name"], "org/model"),
    ],
)
def test_the_name_that_an_engine_knows_its_model_by(args: list[str], name: str) -> None:
    raw = document("bert")
    raw["model"] |= {"repository": "org/model", "args": args}
    assert reading.model_of(Endpoint.of(raw, "me")) == name
    assert reading.model_of(Endpoint.of({**raw, "lamplighter": {}}, "me")) == "bert"


async def test_two_names_for_one_endpoint_are_refused(both: Both) -> None:
    ours, _ = both
    await ours.create(SPEC)
    with pytest.raises(InvalidInput, match="are the same endpoint, me/bert"):
        await ours.create(dataclasses.replace(SPEC, name="b", remote=Remote(namespace="me", name="bert")))


async def test_one_that_may_be_made_is_made_by_its_first_wake_and_not_before(both: Both) -> None:
    ours, play = both
    play.there = False
    status = await ours.create(MADE)
    assert (status.state, status.message) == (State.SCALED_TO_ZERO, "me/bert is not there; a request makes it")
    await ours.sleep("bert")
    assert play.calls == []
    await ours.wake("bert")
    assert play.calls == ["create"]
    assert play.bodies[0]["compute"]["scaling"]["scaleToZeroTimeout"] == 15
    assert (await ours.observe("bert")).state is State.PENDING
    await ours.delete("bert")
    assert play.calls == ["create"]
    assert play.there


async def test_what_was_asked_for_over_the_wire_is_made_at_once_and_deleted_with_its_spec(
    both: Both, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, play = both
    await ours.end_orphans()
    with pytest.raises(EndpointExists):
        await ours.create(OWN)
    play.there = False
    assert (await ours.create(OWN)).state is State.PENDING
    assert play.calls == ["create", "create"]
    monkeypatch.setattr(provider, "_GONE_LOOK", 0.001)
    await ours.delete("bert")
    assert play.calls[-1] == "delete"
    assert not play.there


async def test_what_was_made_before_a_restart_is_found_and_not_made_again(both: Both) -> None:
    ours, play = both
    assert (await ours.create(OWN)).state is State.SCALED_TO_ZERO
    play.there = False
    gone = dataclasses.replace(OWN, name="gone")
    assert (await ours.create(gone)).state is None
    with pytest.raises(EndpointNotFound):
        await ours.observe("gone")
    with pytest.raises(EndpointNotFound):
        await ours.wake("gone")
    assert play.calls == []


async def test_a_delete_that_lingers_is_waited_for_and_then_reported(
    both: Both, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, play = both
    monkeypatch.setattr(provider, "GONE", 0.05)
    monkeypatch.setattr(provider, "_GONE_LOOK", 0.001)
    await ours.create(OWN)
    play.cloud.script("DELETE", AT, Reply())
    with pytest.raises(ProviderError, match="still shown"):
        await ours.delete("bert")
    play.cloud.script("GET", AT, Reply(body=play.document()), Reply(body=play.document()), _missing())
    await ours.delete("bert")
    with pytest.raises(EndpointNotFound):
        await ours.observe("bert")


async def test_an_answer_to_a_create_that_was_lost_makes_nothing_twice(both: Both) -> None:
    ours, play = both
    await ours.end_orphans()
    play.there = False

    def made_and_silent(asked: Asked) -> Reply:
        play._create(asked)
        return DROPPED

    play.cloud.script("POST", "/v2/endpoint/me", made_and_silent)
    play.said = {"createdAt": None}
    play.document = as_asked(play)  # type: ignore[method-assign]
    assert (await ours.create(OWN)).state is State.PENDING
    assert play.calls == ["create"]


async def test_an_endpoint_whose_making_got_no_answer_is_looked_for_until_it_is_found(both: Both) -> None:
    ours, play = both
    await ours.end_orphans()
    play.there = False
    play.cloud.script("POST", "/v2/endpoint/me", DROPPED)
    with pytest.raises(ProviderUnreachable) as raised:
        await ours.create(OWN)
    assert raised.value.in_doubt
    with pytest.raises(ProviderUnreachable, match="no answer came to the making of me/bert"):
        await ours.observe("bert")
    play.document = as_asked(play)  # type: ignore[method-assign]
    play.there = True
    assert (await ours.observe("bert")).state is State.SCALED_TO_ZERO
    play.there = False
    with pytest.raises(EndpointNotFound):  # it was there: from here on a no is a no
        await ours.observe("bert")


async def test_a_doubt_ends_with_a_sure_no_when_it_is_too_late_for_it_to_come(
    both: Both, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, play = both
    await ours.end_orphans()
    play.there = False
    play.cloud.script("POST", "/v2/endpoint/me", Reply(503))
    with pytest.raises(ProviderUnreachable):
        await ours.create(OWN)
    with pytest.raises(ProviderUnreachable):
        await ours.observe("bert")
    monkeypatch.setattr(provider, "_now", lambda: asyncio.get_running_loop().time() + provider.DOUBT)
    with pytest.raises(EndpointNotFound):
        await ours.observe("bert")
    await ours.delete("bert")
    assert "delete" not in play.calls


async def test_a_making_that_is_given_up_is_in_doubt(both: Both) -> None:
    ours, play = both
    await ours.end_orphans()
    play.there = False
    play.cloud.script("POST", "/v2/endpoint/me", Reply(pieces=(asyncio.Event(),)))
    making = asyncio.create_task(ours.create(OWN))
    await until(lambda: play.cloud.questions("POST", "/v2/endpoint/me"))
    making.cancel()
    await asyncio.gather(making, return_exceptions=True)
    play.document = as_asked(play)  # type: ignore[method-assign]
    play.there = True
    assert (await ours.observe("bert")).state is State.SCALED_TO_ZERO
    await ours.delete("bert")
    assert play.calls == ["delete"]


async def test_somebody_elses_endpoint_that_has_the_name_is_neither_adopted_nor_deleted(both: Both) -> None:
    ours, play = both
    await ours.end_orphans()
    play.there = False
    play.cloud.script("POST", "/v2/endpoint/me", DROPPED)
    with pytest.raises(ProviderUnreachable):
        await ours.create(OWN)
    play.there = True  # on other hardware
    with pytest.raises(EndpointNotFound):
        await ours.observe("bert")
    await ours.delete("bert")
    assert play.calls == []
    assert play.there


async def test_a_quota_that_the_lost_one_itself_uses_up_refuses_nothing(both: Both) -> None:
    ours, play = both
    await ours.end_orphans()
    play.there = False
    play.document = as_asked(play)  # type: ignore[method-assign]

    def full(_: Asked) -> Reply:
        play.there = True  # shown only now
        return Reply(403, {"error": "Forbidden: quota exceeded", "code": "FORBIDDEN"})

    play.cloud.script("POST", "/v2/endpoint/me", DROPPED, full)
    assert (await ours.create(OWN)).state is State.SCALED_TO_ZERO


async def test_a_refusal_leaves_no_doubt(both: Both) -> None:
    ours, play = both
    await ours.end_orphans()
    play.there = False
    play.cloud.script("POST", "/v2/endpoint/me", Reply(403, {"error": "Forbidden: quota exceeded"}))
    with pytest.raises(QuotaExceeded) as raised:
        await ours.create(OWN)
    assert not raised.value.in_doubt
    with pytest.raises(EndpointNotFound):
        await ours.observe("bert")


async def test_one_that_may_have_been_made_before_a_restart_is_looked_for_and_not_made(both: Both) -> None:
    ours, play = both
    play.there = False
    assert (await ours.create(dataclasses.replace(OWN, making=Making.DOUBTFUL))).state is None
    with pytest.raises(ProviderUnreachable):
        await ours.observe("bert")
    play.document = as_asked(play)  # type: ignore[method-assign]
    play.there = True
    assert (await ours.observe("bert")).state is State.SCALED_TO_ZERO
    assert play.calls == []


async def test_what_was_made_earlier_is_brought_back_by_a_change_and_made_only_where_it_is_gone(
    both: Both, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, play = both
    monkeypatch.setattr(provider, "_GONE_LOOK", 0.001)
    await ours.end_orphans()
    made = dataclasses.replace(OWN, making=Making.MADE)
    assert (await ours.create(made)).state is State.SCALED_TO_ZERO
    assert play.calls == ["update"]
    assert play.bodies[0]["model"]["repository"] == "org/model"
    assert "name" not in play.bodies[0]
    await ours.delete("bert")
    play.calls.clear()
    assert (await ours.create(made)).state is State.PENDING
    assert play.calls == ["create"]


def as_asked(play: Play) -> Callable[[], dict[str, Any]]:
    """The document of an endpoint that is what `OWN` asks for."""
    body = {**document("bert"), **{key: DOCUMENT[key] for key in ("type", "provider", "compute", "model")}}
    return lambda: {**body, "status": {"state": play.state, "url": None}}


# Changing


async def test_a_policy_is_taken_at_once_and_another_endpoint_only_asleep(both: Both) -> None:
    ours, play = both
    play.state = "running"
    await ours.create(SPEC)
    lazy = dataclasses.replace(SPEC, policy=Policy(idle_timeout=7200.0))
    assert (await ours.update(lazy)).state is State.RUNNING
    play.state = "running"
    reworded = dataclasses.replace(SPEC, remote=Remote(namespace="me", name="bert"))
    assert (await ours.update(reworded)).state is State.RUNNING
    assert (await ours.update(SPEC)).state is State.RUNNING
    moved = dataclasses.replace(SPEC, remote=Remote(name="other"))
    play.cloud.script("GET", "/v2/endpoint/me/other", Reply(body=document("other", state="paused")))
    with pytest.raises(Conflict, match="has to be asleep"):
        await ours.update(moved)
    play.state = "paused"
    assert (await ours.update(moved)).state is State.PAUSED
    with pytest.raises(InvalidInput, match="there is no endpoint me/nope"):
        await ours.update(dataclasses.replace(SPEC, remote=Remote(name="nope")))
    assert play.calls == []


async def test_a_change_of_what_was_made_over_the_wire_goes_to_the_provider_as_what_differs(both: Both) -> None:
    ours, play = both
    play.state = "running"
    await ours.create(OWN)
    assert OWN.deployment is not None
    newer = {**OWN.deployment.document, "tags": ["a"], "odd": {"x": 1}}
    changed = dataclasses.replace(OWN, deployment=dataclasses.replace(OWN.deployment, document=newer))
    assert (await ours.update(changed)).state is State.RUNNING
    assert play.bodies == [{"tags": ["a"], "odd": {"x": 1}}]
    await ours.update(changed)
    assert len(play.bodies) == 1
    play.cloud.script("PUT", AT, Reply(400, {"error": "Bad Request: tags: no", "code": "BAD_REQUEST"}))
    with pytest.raises(InvalidInput):
        await ours.update(OWN)


# Waking and sleeping, and the provider's own timer


@pytest.mark.parametrize("state", ["paused", "scaledToZero", "failed", "updateFailed"])
async def test_a_wake_sets_the_timer_first_and_resumes(both: Both, state: str) -> None:
    ours, play = both
    play.state = state
    play.said = {"readyReplica": 0}
    spec = dataclasses.replace(SPEC, policy=Policy(idle_timeout=3600.0))
    await ours.create(spec)
    assert play.calls == []
    await ours.wake("bert")
    assert play.calls == ["update", "resume"]
    assert play.bodies == [{"compute": {"scaling": {"scaleToZeroTimeout": 65}}}]
    assert play.scaling["maxReplica"] == 1


@pytest.mark.parametrize("state", ["running", "initializing", "pending", "updating"])
async def test_a_wake_of_what_is_up_or_coming_changes_nothing(both: Both, state: str) -> None:
    ours, play = both
    play.state = state
    await ours.create(dataclasses.replace(SPEC, policy=Policy(idle_timeout=3600.0)))
    await ours.wake("bert")
    assert play.calls == []


async def test_one_that_stays_at_zero_when_resumed_is_woken_by_a_request(both: Both) -> None:
    ours, play = both
    play.resumes_to = "scaledToZero"
    await ours.create(SPEC)
    await ours.wake("bert")
    assert play.calls == ["resume", "poke"]
    play.state = "scaledToZero"
    play.cloud.script("POST", f"{AT}/resume", Reply(400, {"error": "Bad Request: not paused", "code": "BAD_REQUEST"}))
    await ours.wake("bert")
    assert play.calls == ["resume", "poke", "poke"]


async def test_a_wake_that_is_refused_says_why(both: Both) -> None:
    ours, play = both
    play.state = "paused"
    await ours.create(SPEC)
    text = {"error": "Forbidden: missing permissions: inference.endpoints.write", "code": "FORBIDDEN"}
    play.cloud.script("POST", f"{AT}/resume", Reply(403, text))
    with pytest.raises(Forbidden, match=r"inference\.endpoints\.write"):
        await ours.wake("bert")


async def test_a_timer_that_cannot_be_set_keeps_nobody_from_waking_or_sleeping(both: Both) -> None:
    ours, play = both
    play.scaling["scaleToZeroTimeout"] = 60
    play.cloud.script("PUT", AT, Reply(409, {"error": "Conflict: it stands in a file", "code": "CONFLICT"}))
    await ours.create(SPEC)
    with structlog.testing.capture_logs() as logs:
        await ours.wake("bert")
        play.state = "running"
        await ours.sleep("bert")
    assert play.calls == ["resume", "scale-to-zero"]
    assert [entry["log_level"] for entry in logs] == ["warning", "warning"]


async def test_one_that_runs_without_the_timer_is_warned_of_once_and_left_alone(both: Both) -> None:
    ours, play = both
    play.state, play.scaling["scaleToZeroTimeout"] = "running", None
    with structlog.testing.capture_logs() as logs:
        await ours.create(SPEC)
        await ours.observe("bert")
    assert [entry["event"] for entry in logs if "timer" in entry["event"]] == [
        "it runs without the provider's own timer behind it; that is set at the next sleep"
    ]
    assert play.calls == []
    await ours.sleep("bert")
    assert play.calls == ["scale-to-zero", "update"]
    assert play.scaling["scaleToZeroTimeout"] == 15


async def test_scaling_to_zero_makes_zero_possible_first(both: Both) -> None:
    ours, play = both
    play.state, play.scaling = "running", {"minReplica": 1, "maxReplica": 4, "scaleToZeroTimeout": None}
    await ours.create(SPEC)
    await ours.sleep("bert")
    assert play.calls == ["update", "scale-to-zero"]
    assert play.scaling == {"minReplica": 0, "maxReplica": 4, "scaleToZeroTimeout": 15}


async def test_what_is_never_put_to_sleep_by_itself_keeps_its_timer(both: Both) -> None:
    ours, play = both
    play.state, play.scaling = "running", {"minReplica": 1, "maxReplica": 1, "scaleToZeroTimeout": None}
    await ours.create(dataclasses.replace(SPEC, policy=Policy(idle_timeout=None)))
    await ours.sleep("bert")
    assert play.bodies == [{"compute": {"scaling": {"minReplica": 0}}}]


async def test_a_pause_pauses_and_a_second_one_asks_nothing(both: Both) -> None:
    ours, play = both
    play.state = "running"
    await ours.create(SPEC)
    await ours.sleep("bert", State.PAUSED)
    await ours.sleep("bert", State.PAUSED)
    assert play.calls == ["pause"]
    assert (await ours.observe("bert")).state is State.PAUSED


# Looking


async def test_running_counts_only_when_the_health_route_answers(both: Both) -> None:
    ours, play = both
    play.state, play.ready = "running", False
    status = await ours.create(SPEC)
    assert (status.state, status.replicas) == (State.RUNNING, ())
    assert status.message == "runs, and /health does not answer yet"
    play.ready = True
    assert len((await ours.observe("bert")).replicas) == 1


async def test_the_health_route_is_not_asked_at_every_look(both: Both, monkeypatch: pytest.MonkeyPatch) -> None:
    ours, play = both
    play.state = "running"
    loop = asyncio.get_running_loop()
    now = [1000.0]
    monkeypatch.setattr(loop, "time", lambda: now[0])
    await ours.create(SPEC)
    for _ in range(5):
        now[0] += 28.0
        assert (await ours.observe("bert")).replicas
    assert len(play.cloud.questions("GET", "/dp/health")) == 1
    now[0] += 1.0  # somebody found it not answering
    play.ready = False
    assert not (await ours.observe("bert")).replicas


async def test_the_end_of_a_start_is_told_at_once_where_the_proxy_holds_the_question(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with theatre(monkeypatch) as (_, play):
        held: asyncio.Event = asyncio.Event()
        heard: asyncio.Queue[str] = asyncio.Queue()
        ours = make_provider({}, {})
        await ours.open(heard.put_nowait)
        play.state = "initializing"
        play.cloud.script("GET", "/dp/health", Reply(pieces=(held,)))
        await ours.create(SPEC)
        await until(lambda: play.cloud.questions("GET", "/dp/health"))
        assert play.cloud.questions("GET", "/dp/health")[0].headers["x-scale-up-timeout"] == "60"
        await ours.observe("bert")
        assert len(play.cloud.questions("GET", "/dp/health")) == 1
        held.set()
        async with asyncio.timeout(5):
            assert await heard.get() == "bert"
        await ours.close()


async def test_a_question_that_is_held_ends_when_the_endpoint_is_put_to_sleep(both: Both) -> None:
    ours, play = both
    play.state = "initializing"
    play.cloud.script("GET", "/dp/health", Reply(pieces=(asyncio.Event(),)))
    await ours.create(SPEC)
    assert list(ours._vigils._tasks) == ["bert"]
    await ours.sleep("bert")
    assert list(ours._vigils._tasks) == []


async def test_an_unknown_state_is_told_as_its_word(both: Both) -> None:
    ours, play = both
    play.state = "hibernating"
    status = await ours.create(SPEC)
    assert (status.state, status.message) == (None, "hibernating")


async def test_a_failure_is_told_with_the_providers_reason(both: Both) -> None:
    ours, play = both
    play.state, play.said = "failed", {"errorMessage": "out of memory"}
    status = await ours.create(SPEC)
    assert (status.state, status.message, status.broken) == (State.FAILED, "out of memory", True)


async def test_an_update_that_failed_leaves_the_old_replica_serving(both: Both) -> None:
    ours, play = both
    play.state = "updateFailed"
    play.cloud.script("GET", "/dp/health", Reply())
    status = await ours.create(SPEC)
    assert status.serves


async def test_one_that_vanished_is_not_found(both: Both) -> None:
    ours, play = both
    await ours.create(SPEC)
    play.there = False
    with pytest.raises(EndpointNotFound, match="namespace 'me'"):
        await ours.observe("bert")
    with pytest.raises(EndpointNotFound):
        await ours.wake("bert")
    await ours.delete("bert")


async def test_one_that_vanished_and_may_be_made_is_made_again_on_demand_alone(both: Both) -> None:
    ours, play = both
    await ours.create(MADE)
    play.there = False
    assert (await ours.observe("bert")).state is State.SCALED_TO_ZERO
    assert play.calls == []
    await ours.wake("bert")
    assert play.calls == ["create"]


async def test_a_token_that_may_not_call_lets_requests_through_to_be_told_so(both: Both) -> None:
    ours, play = both
    play.state = "running"
    text = {"error": "Forbidden: missing permissions: inference.endpoints.infer.write", "code": "FORBIDDEN"}
    play.cloud.script("GET", "/dp/health", Reply(403, text))
    with structlog.testing.capture_logs() as logs:
        status = await ours.create(SPEC)
        await ours.observe("bert")
    assert status.serves
    assert "inference.endpoints.infer.write" in (status.message or "")
    assert len([entry for entry in logs if "may not call" in entry["event"]]) == 1


async def test_the_token_does_not_go_to_an_address_that_is_not_the_providers(both: Both) -> None:
    ours, play = both
    play.state, play.said = "running", {"url": "https://elsewhere.example/dp"}
    play.cloud.script("GET", AT, Reply(body=play.document()))
    known = Known(SPEC)
    endpoint = await ours._api.get("bert", "me")
    assert ours._replicas(known, endpoint)[0].headers == ()


# When the API is down


async def test_an_api_that_is_down_at_the_start_keeps_nobody_from_starting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with theatre(monkeypatch) as (ours, play):
        play.cloud.script("GET", AT, DROPPED)
        assert (await ours.create(SPEC)).state is None
        asked = len(play.cloud.asked)
        other = dataclasses.replace(SPEC, name="other", remote=Remote(name="other"))
        assert (await ours.create(other)).state is None
        assert len(play.cloud.asked) == asked  # one wait is enough for a start
        with pytest.raises(ProviderUnreachable):
            await ours.observe("bert")
        play.cloud.script("GET", AT, play._read)
        assert (await ours.observe("bert")).state is State.SCALED_TO_ZERO
        await ours.end_orphans()
        play.cloud.script("GET", "/v2/endpoint/me/third", DROPPED)
        with pytest.raises(ProviderUnreachable):
            await ours.create(dataclasses.replace(SPEC, name="third", remote=Remote(name="third", namespace="me")))
        assert play.calls == []


async def test_an_api_that_stalls_at_the_start_is_waited_for_only_so_long(
    both: Both, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, play = both
    monkeypatch.setattr(provider, "OPENING", 0.05)
    play.cloud.script("GET", AT, Reply(pieces=(asyncio.Event(),)))
    assert (await ours.create(SPEC)).state is None


@pytest.mark.parametrize("spec", [SPEC, OWN], ids=["configured", "made over the wire"])
@pytest.mark.parametrize(
    "reply",
    [
        Reply(200, b"<html>Good morning</html>", {"Content-Type": "text/html"}),
        Reply(302, b"", {"Location": "https://login.example/here"}),
        Reply(400, {"error": "Bad Request: not now", "code": "BAD_REQUEST"}),
        Reply(402, {"error": "Payment Required", "code": "PAYMENT_REQUIRED"}),
        Reply(409, {"error": "Conflict: moving", "code": "CONFLICT"}),
        Reply(500, b"oops"),
        Reply(501, b""),
        Reply(body=[1]),
    ],
)
async def test_no_failure_of_the_api_keeps_a_server_from_starting_or_breaks_an_endpoint(
    both: Both, spec: Spec, reply: Reply
) -> None:
    ours, play = both
    play.cloud.script("GET", AT, reply)
    status = await ours.create(spec)
    assert status.state is None
    await ours.end_orphans()
    play.cloud.script("GET", AT, play._read)
    assert (await ours.observe("bert")).state is State.SCALED_TO_ZERO


async def test_a_token_owner_that_is_not_told_keeps_no_server_from_starting(both: Both) -> None:
    ours, play = both
    play.cloud.script("GET", "/api/whoami-v2", Reply(body={"type": "robot"}))
    assert (await ours.create(SPEC)).state is None


async def test_a_mistake_of_the_configuration_is_raised_at_the_start(both: Both) -> None:
    ours, _ = both
    await ours.create(SPEC)
    with pytest.raises(InvalidInput, match="the same endpoint"):
        await ours.create(dataclasses.replace(SPEC, name="other", remote=Remote(name="bert")))


async def test_a_token_that_is_not_known_there_is_told_and_stops_no_server(both: Both) -> None:
    ours, play = both
    play.cloud.script("GET", AT, Reply(401, {"error": "Unauthorized", "code": "UNAUTHORIZED"}))
    status = await ours.create(SPEC)
    assert status.state is None
    assert "does not know this token" in (status.message or "")


async def test_without_a_token_nothing_is_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MINE", raising=False)
    ours = make_provider({"token": "env:MINE"}, {})
    with pytest.raises(TokenMissing):
        await ours.open(lambda _: None)


async def test_a_paused_endpoint_refuses_to_be_poked(both: Both) -> None:
    ours, play = both
    play.resumes_to = "scaledToZero"
    text = "Bad Request: The endpoint is paused, ask a maintainer to restart it"
    play.cloud.script("GET", "/dp/v1/models", Reply(400, {"error": text, "code": "BAD_REQUEST"}))
    await ours.create(SPEC)
    with pytest.raises(EndpointPaused):
        await ours.wake("bert")


def test_a_spec_of_another_kind_needs_no_place() -> None:
    plain: Spec = dataclasses.replace(SPEC, remote=None)
    assert plain.same_process(SPEC)


async def test_who_asks_for_hardware_side_by_side_gets_one_answer_and_a_failure_is_not_kept(both: Both) -> None:
    ours, play = both
    compute = {"instanceType": "nvidia-l4", "instanceSize": "x1", "status": "available", "pricePerHour": 0.8}
    listed = {"vendors": [{"name": "aws", "regions": [{"name": "us-east-1", "computes": [compute]}]}]}
    play.cloud.script("GET", "/v2/provider/me", Reply(403, {"error": "no"}), Reply(body=listed))
    with pytest.raises(Forbidden):
        await ours.hardware()
    one, other = await asyncio.gather(ours.hardware(), ours.hardware())
    assert one == other
    assert [hardware.instance_type for hardware in one] == ["nvidia-l4"]
    assert len(play.cloud.questions("GET", "/v2/provider/me")) == 2
    await ours.hardware()  # who comes later is told how it is then
    assert len(play.cloud.questions("GET", "/v2/provider/me")) == 3
