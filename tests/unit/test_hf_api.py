"""The client of the management API against a real HTTP server that answers by script."""

from __future__ import annotations

import asyncio
import json
import ssl
import time as real_time
import warnings
from typing import Any

import pytest
import trustme

from lamplighter.domain.secret import Secret
from lamplighter.errors import (
    EndpointExists,
    EndpointNotFound,
    EndpointPaused,
    Forbidden,
    InvalidInput,
    ProviderError,
    ProviderUnreachable,
    QuotaExceeded,
    RateLimited,
    TokenMissing,
    TokenWrong,
)
from lamplighter.hf.api import ManagementApi
from lamplighter.hf.exchange import Question
from lamplighter.hf.forms import Changes
from lamplighter.hf.hosts import find_hosts
from lamplighter.hf.pace import ONCE
from lamplighter.hf.records import Endpoint
from tests.hf_stage import DROPPED, OWNER, SHORT, TOKEN, Asked, Reply, Time, client, document, form, stage

BERT = "/v2/endpoint/me/bert"
MINE = "/v2/endpoint/me"


def pages(total: int) -> Any:
    """A listing of so many endpoints in pages of the size that is asked for."""

    def answer(asked: Asked) -> Reply:
        start, size = int(asked.query.get("cursor", "0")), int(asked.query.get("limit", "20"))
        body: dict[str, Any] = {
            "items": [document(f"e{at}") for at in range(start, min(total, start + size))],
            "totalItems": total,
        }
        if start + size < total:
            body["nextCursor"] = str(start + size)
        return Reply(body=body)

    return answer


# Listing


async def test_every_page_of_a_listing_is_followed() -> None:
    async with stage() as cloud, client(cloud.url) as api:
        cloud.script("GET", MINE, pages(250))
        assert [e.name for e in await api.list()] == [f"e{at}" for at in range(250)]
        assert [asked.query for asked in cloud.questions("GET", MINE)] == [
            {"limit": "100"},
            {"limit": "100", "cursor": "100"},
            {"limit": "100", "cursor": "200"},
        ]


async def test_a_bare_array_is_a_listing_too() -> None:
    async with stage() as cloud, client(cloud.url) as api:
        cloud.script("GET", MINE, Reply(body=[document("a"), document("b")]))
        assert [e.name for e in await api.list()] == ["a", "b"]


async def test_tags_and_search_are_passed_on_with_every_page() -> None:
    async with stage() as cloud, client(cloud.url) as api:
        cloud.script("GET", MINE, pages(150))
        await api.list(tags=["a", "b"], search="be")
        assert [asked.query for asked in cloud.questions("GET", MINE)] == [
            {"tags": "a,b", "search": "be", "limit": "100"},
            {"tags": "a,b", "search": "be", "limit": "100", "cursor": "100"},
        ]


async def test_a_listing_that_goes_in_a_circle_ends() -> None:
    async with stage() as cloud, client(cloud.url) as api:
        one = Reply(body={"items": [document("a")], "nextCursor": "x"})
        two = Reply(body={"items": [document("b")], "nextCursor": "x"})
        cloud.script("GET", MINE, one, two, Reply(500))
        assert [e.name for e in await api.list()] == ["a", "b"]


async def test_all_namespaces_are_listed_and_those_without_access_left_out() -> None:
    owner = OWNER | {"orgs": [{"name": "open"}, {"name": "closed"}, {"name": "broke"}]}
    async with stage(owner) as cloud, client(cloud.url) as api:
        cloud.script("GET", MINE, Reply(body={"items": [document("a")]}))
        cloud.script("GET", "/v2/endpoint/open", Reply(body={"items": [document("b")]}))
        cloud.script("GET", "/v2/endpoint/closed", Reply(403, {"error": "Forbidden: no"}))
        cloud.script("GET", "/v2/endpoint/broke", Reply(401, {"error": "no billing"}))
        assert [(e.namespace, e.name) for e in await api.list("*")] == [("me", "a"), ("open", "b")]
        assert len(cloud.questions("GET", "/api/whoami-v2")) == 1


async def test_all_namespaces_with_no_access_to_ones_own_is_an_error() -> None:
    async with stage(OWNER | {"orgs": [{"name": "open"}]}) as cloud, client(cloud.url) as api:
        cloud.script("GET", MINE, Reply(403, {"error": "missing permissions: inference.endpoints.read"}))
        cloud.script("GET", "/v2/endpoint/open", Reply(body=[document("b")]))
        with pytest.raises(Forbidden) as caught:
            await api.list("*")
        assert caught.value.permission == "inference.endpoints.read"


async def test_an_item_that_is_no_endpoint_fails_the_listing_by_our_own_name() -> None:
    async with stage() as cloud, client(cloud.url) as api:
        cloud.script("GET", MINE, Reply(body=[{"no": "name"}]))
        with pytest.raises(ProviderError, match="has no name"):
            await api.list()


async def test_an_answer_that_is_too_large_is_refused() -> None:
    async with stage() as cloud, client(cloud.url) as api:
        cloud.script("GET", "/v2/endpoint/me/bert/open-metrics", Reply(body=b"x" * 100_000))
        small = Question(method="GET", url=f"{cloud.url}{BERT}/open-metrics", most_bytes=50_000)
        with pytest.raises(ProviderError, match="more than 50000 bytes"):
            await api._calls.wire.ask(small)


# Whose token it is


async def test_the_owner_is_asked_for_once_by_all_who_wait() -> None:
    async with stage() as cloud, client(cloud.url) as api:
        cloud.script("GET", BERT, Reply(body=document()))
        await asyncio.gather(*(api.get("bert") for _ in range(20)))
        assert len(cloud.questions("GET", "/api/whoami-v2")) == 1


async def test_one_who_stops_waiting_for_the_owner_leaves_the_others_theirs() -> None:
    gate = asyncio.Event()
    async with stage() as cloud, client(cloud.url) as api:
        head = b'{"type": "user", "name": "me"}'
        cloud.script("GET", "/api/whoami-v2", Reply(pieces=(head[:5], gate, head[5:])))
        first, second = asyncio.create_task(api.owner()), asyncio.create_task(api.owner())
        await cloud.was_asked.wait()
        first.cancel()
        gate.set()
        assert (await second).name == "me"
        assert first.cancelled() or isinstance(first.exception(), asyncio.CancelledError)


async def test_a_failure_to_ask_for_the_owner_is_not_kept() -> None:
    async with stage() as cloud, client(cloud.url) as api:
        cloud.script("GET", "/api/whoami-v2", Reply(401, {"error": "Invalid credentials"}), Reply(body=OWNER))
        with pytest.raises(TokenWrong):
            await api.owner()
        assert (await api.owner()).name == "me"


async def test_a_namespace_that_is_given_saves_the_question() -> None:
    async with stage() as cloud, client(cloud.url, namespace="acme") as api:
        cloud.script("GET", "/v2/endpoint/acme/bert", Reply(body=document()))
        assert (await api.get("bert")).namespace == "acme"
        assert not cloud.questions("GET", "/api/whoami-v2")


async def test_an_owner_that_is_no_user_is_told_how_to_name_a_namespace() -> None:
    async with stage({"type": "app", "name": "robot"}) as cloud, client(cloud.url) as api:
        with pytest.raises(InvalidInput, match="--namespace"):
            await api.namespace()


async def test_the_star_stands_for_no_single_namespace() -> None:
    async with stage() as cloud, client(cloud.url) as api:
        with pytest.raises(InvalidInput, match="only a listing"):
            await api.get("bert", "*")
        assert not cloud.asked


# Retries


async def test_a_read_is_asked_again_after_failures_and_lost_connections() -> None:
    async with stage() as cloud, client(cloud.url, namespace="me") as api:
        cloud.script(
            "GET", BERT, Reply(500), DROPPED, Reply(503), Reply(cut=True, body=document()), Reply(body=document())
        )
        assert (await api.get("bert")).name == "bert"
        assert len(cloud.asked) == 5


async def test_the_pause_that_a_provider_asks_for_is_kept() -> None:
    time = Time()
    async with stage() as cloud, client(cloud.url, time=time, namespace="me") as api:
        limited = {"RateLimit": '"api";r=0;t=12', "RateLimit-Policy": '"fixed window";"api";q=500;w=300'}
        cloud.script(
            "GET", BERT, Reply(429, headers={"Retry-After": "7"}), Reply(429, headers=limited), Reply(body=document())
        )
        await api.get("bert")
        assert 7.0 <= time.slept[0] < 8.0
        assert 12.0 <= time.slept[1] < 13.0


async def test_a_pause_beyond_the_deadline_is_told_instead_of_waited() -> None:
    time = Time()
    async with stage() as cloud, client(cloud.url, time=time, namespace="me") as api:
        cloud.script("GET", BERT, Reply(429, headers={"RateLimit": '"api";r=0;t=290'}))
        with pytest.raises(RateLimited) as caught:
            await api.get("bert")
        assert caught.value.retry_after == 290.0
        assert time.slept == []


async def test_retries_end_and_the_last_failure_is_told() -> None:
    time = Time()
    async with stage() as cloud, client(cloud.url, time=time, namespace="me", pace=SHORT) as api:
        cloud.script("GET", BERT, Reply(503, {"error": "503 Service Unavailable"}))
        with pytest.raises(ProviderUnreachable, match="503"):
            await api.get("bert")
        assert len(cloud.asked) == 3
        assert time.slept == [0.75, 1.5]


async def test_what_takes_long_because_it_is_asked_again_is_told_and_a_quick_repetition_is_not(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO", logger="lamplighter.hf.wire")
    async with stage() as cloud, client(cloud.url, namespace="me") as api:
        cloud.script("GET", BERT, Reply(503), Reply(body=document()))
        await api.get("bert")
        assert caplog.messages == []
        cloud.script("GET", BERT, Reply(429, headers={"Retry-After": "7"}), Reply(body=document()))
        await api.get("bert")
    (told,) = caplog.messages
    assert "answered 429; asking again in" in told
    assert TOKEN not in told


async def test_a_quota_is_not_asked_about_again() -> None:
    async with stage() as cloud, client(cloud.url, namespace="me") as api:
        cloud.script("POST", f"{BERT}/resume", Reply(429, {"error": "Quota exceeded for nvidia-l4 in aws"}))
        with pytest.raises(QuotaExceeded):
            await api.resume("bert")
        assert len(cloud.asked) == 1


async def test_nobody_on_this_machine_is_soon_given_up() -> None:
    async with stage() as cloud:
        url = cloud.url
    time = Time()
    async with client(url, time=time, namespace="me") as api:
        with pytest.raises(ProviderUnreachable, match=r"No connection to 127\.0\.0\.1"):
            await api.get("bert")
        assert len(time.slept) == 2


async def test_a_server_that_never_answers_is_given_up() -> None:
    async with stage() as cloud, client(cloud.url, namespace="me", timeout=0.05, pace=SHORT) as api:
        cloud.script("GET", BERT, Reply(pieces=(asyncio.Event(),)))
        with pytest.raises(ProviderUnreachable, match="in time"):
            await api.get("bert")


async def test_an_answer_that_drips_is_bounded_as_a_whole() -> None:
    async with stage() as cloud, client(cloud.url, namespace="me", timeout=0.3, pace=ONCE) as api:
        cloud.script("GET", BERT, Reply(pieces=(b"{",), drips=0.02))
        with pytest.raises(ProviderUnreachable, match="in time"):
            async with asyncio.timeout(5.0):
                await api.get("bert")


# Verbs


async def test_a_create_sends_the_form_and_gives_the_endpoint() -> None:
    async with stage() as cloud, client(cloud.url) as api:
        cloud.script("POST", MINE, Reply(body=document()))
        made = await api.create(form(env={"A": "1"}, secrets={"KEY": "s3cret"}, scale_to_zero_timeout=15))
        assert made.name == "bert"
        assert cloud.questions("POST")[0].body == {
            "name": "bert",
            "type": "authenticated",
            "provider": {"vendor": "aws", "region": "us-east-1"},
            "compute": {
                "accelerator": "gpu",
                "instanceType": "nvidia-l4",
                "instanceSize": "x1",
                "scaling": {"minReplica": 0, "maxReplica": 1, "scaleToZeroTimeout": 15},
            },
            "model": {
                "repository": "org/model",
                "framework": "pytorch",
                "env": {"A": "1"},
                "secrets": {"KEY": "s3cret"},
                "image": {"huggingface": {}},
            },
        }


@pytest.mark.parametrize("failure", [DROPPED, Reply(500), Reply(504), Reply(cut=True, body=document())])
async def test_a_create_whose_answer_was_lost_is_found_and_not_made_twice(failure: Reply) -> None:
    async with stage() as cloud, client(cloud.url) as api:
        cloud.script("POST", MINE, failure)
        cloud.script("GET", BERT, Reply(body=document(state="pending")))
        assert (await api.create(form())).state == "pending"
        assert len(cloud.questions("POST")) == 1


async def test_a_create_that_was_not_executed_is_asked_again() -> None:
    async with stage() as cloud, client(cloud.url) as api:
        cloud.script("POST", MINE, DROPPED, Reply(429), Reply(body=document()))
        cloud.script("GET", BERT, Reply(404, {"error": "Not Found"}))
        assert (await api.create(form())).name == "bert"
        assert len(cloud.questions("POST")) == 3


async def test_a_create_that_turns_out_to_be_executed_when_asked_again_is_found() -> None:
    async with stage() as cloud, client(cloud.url) as api:
        cloud.script("POST", MINE, DROPPED, Reply(409, {"error": "Conflict: name taken"}))
        cloud.script("GET", BERT, Reply(404, {"error": "Not Found"}), Reply(body=document()))
        assert (await api.create(form())).name == "bert"


async def test_what_is_found_after_a_lost_answer_must_be_what_was_asked_for() -> None:
    async with stage() as cloud, client(cloud.url) as api:
        cloud.script("POST", MINE, DROPPED)
        cloud.script("GET", BERT, Reply(body=document()))
        with pytest.raises(EndpointExists, match="bert"):
            await api.create(form(repository="somebody/elses"))


async def test_an_endpoint_that_is_there_already_is_told_at_once() -> None:
    async with stage() as cloud, client(cloud.url) as api:
        cloud.script("POST", MINE, Reply(409, {"error": "Conflict: bert", "code": "CONFLICT"}))
        cloud.script("GET", BERT, Reply(body=document()))
        with pytest.raises(EndpointExists):
            await api.create(form())
        assert not cloud.questions("GET", BERT)


async def test_a_refused_create_names_the_nearest_hardware() -> None:
    compute = {"instanceType": "nvidia-l4", "instanceSize": "x1", "accelerator": "gpu"}
    regions = [{"name": "us-east-1", "computes": [compute]}, {"name": "eu-west-1", "computes": [compute]}]
    async with stage() as cloud, client(cloud.url) as api:
        cloud.script("POST", MINE, Reply(400, {"error": "Bad Request: invalid compute", "code": "BAD_REQUEST"}))
        cloud.script("GET", "/v2/provider/me", Reply(body={"vendors": [{"name": "aws", "regions": regions}]}))
        with pytest.raises(InvalidInput, match=r"region: 'us-eest-1'.*did you mean 'us-east-1'") as caught:
            await api.create(form(region="us-eest-1"))
        assert caught.value.field == "region"


async def test_a_refused_create_keeps_its_reason_where_the_hardware_is_right() -> None:
    async with stage() as cloud, client(cloud.url) as api:
        refusal = {"error": "Bad Request: model.task: expected value", "code": "VALIDATION_FAILED"}
        cloud.script("POST", MINE, Reply(400, refusal))
        with pytest.raises(InvalidInput, match="expected value") as caught:
            await api.create(form())
        assert caught.value.field == "model.task"


async def test_what_is_against_the_rules_is_not_even_asked() -> None:
    async with stage() as cloud, client(cloud.url, namespace="me") as api:
        with pytest.raises(InvalidInput, match="my-model"):
            await api.create(form(name="My Model"))
        assert not cloud.asked


async def test_an_update_sends_only_what_changes() -> None:
    async with stage() as cloud, client(cloud.url, namespace="me") as api:
        cloud.script("PUT", BERT, Reply(body=document()))
        await api.update("bert", Changes(min_replica=1, args=[]))
        assert [(a.method, a.body) for a in cloud.asked] == [
            ("PUT", {"compute": {"scaling": {"minReplica": 1}}, "model": {"args": []}})
        ]


async def test_a_refused_update_names_the_nearest_hardware() -> None:
    compute = {"instanceType": "nvidia-l4", "instanceSize": "x4", "accelerator": "gpu"}
    offered = {"vendors": [{"name": "aws", "regions": [{"name": "us-east-1", "computes": [compute]}]}]}
    async with stage() as cloud, client(cloud.url) as api:
        cloud.script("GET", BERT, Reply(body=document()))
        cloud.script("PUT", BERT, Reply(400, {"error": "Bad Request: invalid compute", "code": "BAD_REQUEST"}))
        cloud.script("GET", "/v2/provider/me", Reply(body=offered))
        with pytest.raises(InvalidInput, match="'x40' is no size of nvidia-l4 in us-east-1; did you mean 'x4'"):
            await api.update("bert", Changes(instance_size="x40"))
        with pytest.raises(InvalidInput, match="invalid compute"):
            await api.update("bert", Changes(max_replica=3))


async def test_an_update_of_nothing_sends_nothing() -> None:
    async with stage() as cloud, client(cloud.url, namespace="me") as api:
        cloud.script("GET", BERT, Reply(body=document()))
        assert (await api.update("bert", Changes())).name == "bert"
        assert [a.method for a in cloud.asked] == ["GET"]


async def test_an_image_of_which_a_part_changes_is_sent_whole() -> None:
    async with stage() as cloud, client(cloud.url, namespace="me") as api:
        cloud.script("GET", BERT, Reply(body=document()))
        cloud.script("PUT", BERT, Reply(body=document()))
        await api.update("bert", Changes(image={"vLLM": {"tensorParallelSize": 2}}))
        assert cloud.questions("PUT")[0].body["model"]["image"] == {
            "vLLM": {
                "url": "vllm/vllm-openai:v0.23.0",
                "port": 8000,
                "healthRoute": "/health",
                "tensorParallelSize": 2,
            }
        }


async def test_blanked_credentials_are_never_sent_back() -> None:
    shown = document()
    shown["model"]["image"] = {"custom": {"url": "a/b", "credentials": {"username": "", "password": None}}}
    async with stage() as cloud, client(cloud.url, namespace="me") as api:
        cloud.script("GET", BERT, Reply(body=shown))
        with pytest.raises(InvalidInput, match="give the credentials again"):
            await api.update("bert", Changes(image={"custom": {"port": 80}}))
        assert not cloud.questions("PUT")


async def test_resume_of_what_runs_already_reads_it() -> None:
    async with stage() as cloud, client(cloud.url, namespace="me") as api:
        cloud.script("POST", f"{BERT}/resume", Reply(400, {"error": "Bad Request: Endpoint is Already Running"}))
        cloud.script("GET", BERT, Reply(body=document()))
        assert (await api.resume("bert")).state == "running"


async def test_a_verb_whose_answer_was_lost_is_repeated() -> None:
    async with stage() as cloud, client(cloud.url, namespace="me") as api:
        cloud.script("POST", f"{BERT}/pause", DROPPED, Reply(body=document(state="paused")))
        assert (await api.pause("bert")).state == "paused"
        assert cloud.asked[0].body is None
        assert "content-type" not in cloud.asked[0].headers


@pytest.mark.parametrize(("verb", "state"), [("pause", "paused"), ("scale-to-zero", "scaledToZero")])
async def test_what_is_asleep_already_is_no_error(verb: str, state: str) -> None:
    async with stage() as cloud, client(cloud.url, namespace="me") as api:
        cloud.script("POST", f"{BERT}/{verb}", Reply(400, {"error": "Bad Request: Invalid state"}))
        cloud.script("GET", BERT, Reply(body=document(state=state)))
        slept = await (api.pause("bert") if verb == "pause" else api.scale_to_zero("bert"))
        assert slept.state == state


async def test_a_pause_that_is_refused_while_it_runs_is_an_error() -> None:
    async with stage() as cloud, client(cloud.url, namespace="me") as api:
        cloud.script("POST", f"{BERT}/pause", Reply(400, {"error": "Bad Request: not now"}))
        cloud.script("GET", BERT, Reply(body=document()))
        with pytest.raises(InvalidInput, match="not now"):
            await api.pause("bert")


async def test_a_delete_whose_answer_was_lost_is_done_when_it_is_gone() -> None:
    async with stage() as cloud, client(cloud.url, namespace="me") as api:
        cloud.script("DELETE", BERT, DROPPED, Reply(404, {"error": "Not Found"}))
        await api.delete("bert")
        assert len(cloud.asked) == 2


async def test_a_delete_of_what_is_not_there_is_an_error() -> None:
    async with stage() as cloud, client(cloud.url, namespace="me") as api:
        cloud.script("DELETE", BERT, Reply(429), Reply(404, {"error": "Not Found"}))
        with pytest.raises(EndpointNotFound):
            await api.delete("bert")


@pytest.mark.parametrize("answer", [Reply(200, b""), Reply(204, b""), Reply(202, b"{}"), Reply(200, b"null")])
async def test_a_delete_needs_no_body(answer: Reply) -> None:
    async with stage() as cloud, client(cloud.url, namespace="me") as api:
        cloud.script("DELETE", BERT, answer)
        await api.delete("bert")


@pytest.mark.parametrize("name", ["", "..", ".", "x" * 300])
async def test_a_name_that_would_lead_elsewhere_is_not_asked_for(name: str) -> None:
    async with stage() as cloud, client(cloud.url, namespace="me") as api:
        with pytest.raises(InvalidInput, match="name"):
            await api.delete(name)
        assert not cloud.asked


async def test_a_name_with_a_slash_stays_one_part_of_the_path() -> None:
    async with stage() as cloud, client(cloud.url, namespace="me") as api:
        with pytest.raises(EndpointNotFound):
            await api.get("a/b?c")
        assert cloud.asked[0].path == "/v2/endpoint/me/a%2Fb%3Fc"


async def test_a_missing_endpoint_is_told_with_near_names_where_they_are_known() -> None:
    async with stage() as cloud, client(cloud.url) as api:
        cloud.script("GET", MINE, Reply(body=[document("bert"), document("whisper")]))
        with pytest.raises(EndpointNotFound, match=r"There is no endpoint 'berd' in namespace 'me'\.$"):
            await api.get("berd")
        await api.list()
        with pytest.raises(EndpointNotFound, match=r"Did you mean 'bert'\?"):
            await api.get("berd")


# The token


async def test_the_token_goes_to_the_data_plane_of_this_host_and_to_no_other() -> None:
    async with stage() as cloud, client(cloud.url) as api:
        cloud.script("GET", "/x/health", Reply())
        here = Endpoint.of(document(status={"state": "running", "url": f"{cloud.url}/x"}), "me")
        assert await api.is_ready(here)
        assert cloud.asked[-1].token == f"Bearer {TOKEN}"
    async with stage() as elsewhere, client("https://lamplighter.example", token=Secret(TOKEN)) as api:
        elsewhere.script("GET", "/x/health", Reply())
        there = Endpoint.of(document(status={"state": "running", "url": f"{elsewhere.url}/x"}), "me")
        assert await api.is_ready(there)
        assert elsewhere.asked[-1].token is None


@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_a_redirect_to_another_host_is_not_followed(status: int) -> None:
    async with stage() as cloud, stage() as thief, client(cloud.url, namespace="me") as api:
        cloud.script("GET", BERT, Reply(status, headers={"Location": f"{thief.url}{BERT}"}))
        with pytest.raises(ProviderError, match="sends us on"):
            await api.get("bert")
        assert not thief.asked


async def test_a_redirect_within_the_host_is_followed() -> None:
    async with stage() as cloud, client(cloud.url, namespace="me") as api:
        cloud.script("GET", BERT, Reply(307, headers={"Location": f"{BERT}/"}))
        cloud.script("GET", f"{BERT}/", Reply(body=document()))
        assert (await api.get("bert")).name == "bert"


async def test_a_redirect_in_a_circle_ends() -> None:
    async with stage() as cloud, client(cloud.url, namespace="me") as api:
        cloud.script("GET", BERT, Reply(307, headers={"Location": BERT}))
        with pytest.raises(ProviderError, match="circle"):
            await api.get("bert")


async def test_a_create_is_not_turned_into_a_read_by_a_redirect() -> None:
    async with stage() as cloud, client(cloud.url, namespace="me") as api:
        cloud.script("POST", MINE, Reply(302, headers={"Location": f"{MINE}/"}))
        with pytest.raises(ProviderError, match="302"):
            await api.create(form())
        assert [a.method for a in cloud.asked] == ["POST"]


async def test_a_token_that_is_echoed_is_not_repeated_in_the_error() -> None:
    async with stage() as cloud, client(cloud.url, namespace="me") as api:
        cloud.script("GET", BERT, Reply(400, {"error": f"what is {TOKEN}?"}))
        with pytest.raises(InvalidInput) as caught:
            await api.get("bert")
        assert TOKEN not in str(caught.value)
        assert "[redacted]" in str(caught.value)


async def test_a_renewed_token_is_used_for_the_next_question() -> None:
    tokens = iter(["hf_one", "hf_two"])
    async with stage() as cloud, client(cloud.url, namespace="me", token=lambda: Secret(next(tokens))) as api:
        cloud.script("GET", BERT, Reply(body=document()))
        await api.get("bert")
        await api.get("bert")
        assert [a.token for a in cloud.asked] == ["Bearer hf_one", "Bearer hf_two"]


async def test_a_server_that_wants_a_key_where_there_is_none_names_the_variable(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("LAMPLIGHTER_KEY", raising=False)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    async with stage() as cloud, client(cloud.url, namespace="me", token=None) as api:
        cloud.script("GET", BERT, Reply(401, {"error": "401 Unauthorized", "code": "UNAUTHORIZED"}))
        with pytest.raises(TokenMissing, match="LAMPLIGHTER_KEY"):
            await api.get("bert")
        assert cloud.asked[0].token is None, "the Hugging Face token is nobody else's"


async def test_the_cloud_is_not_asked_without_a_token(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    for name in ("HF_TOKEN", "HUGGINGFACE_API_KEY", "HF_OIDC_RESOURCE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "none"))
    async with stage() as cloud:
        monkeypatch.setenv("LAMPLIGHTER_CLOUD_URL", cloud.url)
        async with client(None, token=None) as api:  # type: ignore[arg-type]
            with pytest.raises(TokenMissing, match="HF_TOKEN"):
                await api.list()
            assert not cloud.asked


async def test_a_stand_in_for_the_cloud_gets_the_cloud_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", f" {TOKEN}\n")
    async with stage() as cloud:
        monkeypatch.setenv("LAMPLIGHTER_CLOUD_URL", f"{cloud.url}/")
        cloud.script("GET", MINE, Reply(body=[]))
        cloud.script("GET", "/api/v1/catalog/list", Reply(body={"items": [{"repoId": "a/b"}]}))
        async with client(None, token=None) as api:  # type: ignore[arg-type]
            assert await api.list() == []
            assert [m["repoId"] for m in await api.catalog(task="text-generation")] == ["a/b"]
        assert {a.token for a in cloud.asked} == {f"Bearer {TOKEN}"}


async def test_a_text_that_can_not_be_a_token_is_refused_unseen() -> None:
    async with stage() as cloud, client(cloud.url, namespace="me", token=Secret("hf_\u00e4bc\r\nX: y")) as api:
        with pytest.raises(TokenWrong) as caught:
            await api.get("bert")
        assert "X: y" not in str(caught.value)
        assert not cloud.asked


async def test_a_namespace_without_access_is_told_from_a_wrong_token() -> None:
    async with stage() as cloud, client(cloud.url) as api:
        cloud.script("GET", "/v2/endpoint/acme", Reply(401, {"error": "401 Unauthorized"}))
        with pytest.raises(Forbidden, match="'me' is good, but has no access to namespace 'acme'"):
            await api.list("acme")


async def test_a_wrong_token_stays_one_whatever_the_namespace() -> None:
    async with stage() as cloud, client(cloud.url) as api:
        cloud.script("GET", "/v2/endpoint/acme", Reply(401, {"error": "401 Unauthorized"}))
        cloud.script("GET", "/api/whoami-v2", Reply(401, {"error": "Invalid credentials in Authorization header"}))
        with pytest.raises(TokenWrong):
            await api.list("acme")


async def test_a_read_only_token_is_told_as_one() -> None:
    owner = OWNER | {"auth": {"accessToken": {"role": "read"}}}
    async with stage(owner) as cloud, client(cloud.url) as api:
        cloud.script("POST", f"{BERT}/pause", Reply(403, {"error": "Forbidden: no"}))
        with pytest.raises(Forbidden, match="may only read") as caught:
            await api.pause("bert")
        assert caught.value.permission == "inference.endpoints.write"


# What else there is


async def test_what_is_no_json_is_told_as_such() -> None:
    async with stage() as cloud, client(cloud.url, namespace="me") as api:
        cloud.script("GET", BERT, Reply(body="<html>hello</html>", headers={"Content-Type": "text/html"}))
        with pytest.raises(ProviderError, match="not JSON"):
            await api.get("bert")


async def test_replicas_hardware_and_quotas_are_read() -> None:
    async with stage() as cloud, client(cloud.url, namespace="me") as api:
        replica = {"id": "6pajyw3k-z7ghx", "status": {"stage": "running", "live": True}}
        cloud.script("GET", f"{BERT}/replica", Reply(body={"items": [replica]}))
        quota = {"instanceType": "t4", "architecture": "T4", "maxAccelerators": 4, "usedAccelerators": 1}
        cloud.script("GET", "/v2/provider/quotas/me", Reply(body={"vendors": [{"name": "aws", "quotas": [quota]}]}))
        assert [(r.id, r.stage, r.live) for r in await api.replicas("bert")] == [("6pajyw3k-z7ghx", "running", True)]
        assert await api.quotas() == [{"vendor": "aws", **quota}]


async def test_metrics_and_audit_logs_are_passed_through() -> None:
    async with stage() as cloud, client(cloud.url, namespace="me") as api:
        cloud.script("POST", f"{BERT}/metrics", Reply(body={"replicasRunning": {"series": []}}))
        cloud.script("GET", f"{BERT}/open-metrics", Reply(body="cpu_usage_percent 3\n"))
        cloud.script("GET", "/v2/audit-logs/me", Reply(body={"items": [{"a": 1}, {"a": 2}]}))
        window = {"start": "2026-10-01T00:00:00Z", "stop": "2026-10-02T00:00:00Z"}
        assert await api.metrics("bert", **window) == {"replicasRunning": {"series": []}}
        assert cloud.asked[-1].body == window
        assert await api.open_metrics("bert") == "cpu_usage_percent 3\n"
        assert await api.audit_logs(endpoint="bert", limit=1) == [{"a": 1}]
        assert cloud.asked[-1].query == {"limit": "1", "endpoint": "bert"}


async def test_a_catalog_deployment_is_made_once() -> None:
    path = "/api/v1/catalog/model/org/model/deploy"
    async with stage() as cloud, client(cloud.url) as api:
        cloud.script("POST", path, DROPPED, Reply(body={"endpoint": document()}))
        with pytest.raises(ProviderUnreachable):
            await api.deploy_from_catalog("org/model")
        assert len(cloud.questions("POST")) == 1, "without a name it can't be found again, so it is not asked again"
        cloud.script("GET", BERT, Reply(404, {}))
        made = await api.deploy_from_catalog("org/model", name="bert", accelerator="gpu")
        assert made.name == "bert"
        assert cloud.questions("POST")[-1].body == {
            "namespace": "me",
            "config": {"name": "bert"},
            "accelerator": "gpu",
        }


async def test_an_unknown_filter_of_the_catalog_is_refused_with_the_nearest() -> None:
    async with stage() as cloud, client(cloud.url) as api:
        with pytest.raises(InvalidInput, match="did you mean 'license'"):
            await api.catalog(licence="mit")
        assert not cloud.asked


async def test_other_routes_of_the_host_can_be_called() -> None:
    async with stage() as cloud, client(cloud.url) as api:
        cloud.script("POST", "/api/leases", Reply(201, {"success": True}))
        assert await api.call("POST", "/api/leases", body={"ttl": 60}, repeatable=False) == {"success": True}
        with pytest.raises(InvalidInput, match="begin with /"):
            await api.call("GET", "@elsewhere/")
        cloud.script("POST", "/api/leases", DROPPED)
        with pytest.raises(ProviderUnreachable):
            await api.call("POST", "/api/leases", repeatable=False)
        assert len(cloud.asked) == 2


# The data plane


def awake(url: str) -> Endpoint:
    return Endpoint.of(document(status={"state": "running", "url": url}), "me")


@pytest.mark.parametrize(("status", "ready"), [(200, True), (503, False), (502, False), (400, False), (404, False)])
async def test_ready_means_that_the_health_route_answers_200(status: int, ready: bool) -> None:
    async with stage() as cloud, client(cloud.url) as api:
        cloud.script("GET", "/health", Reply(status))
        assert await api.is_ready(awake(cloud.url)) is ready
        assert len(cloud.asked) == 1


async def test_a_held_probe_says_for_how_long() -> None:
    async with stage() as cloud, client(cloud.url) as api:
        cloud.script("GET", "/health", Reply())
        await api.is_ready(awake(cloud.url), hold=25.0)
        await api.is_ready(awake(cloud.url))
        assert [a.headers.get("x-scale-up-timeout") for a in cloud.asked] == ["25", None]


async def test_an_endpoint_that_can_not_be_reached_yet_is_not_ready() -> None:
    async with stage() as gone:
        url = gone.url
    async with client(url) as api:
        assert await api.is_ready(awake(url)) is False
        assert await api.is_ready(Endpoint.of({"name": "new"}, "me")) is False


async def test_rights_that_are_missing_on_the_data_plane_are_told() -> None:
    async with stage() as cloud, client(cloud.url) as api:
        cloud.script("GET", "/health", Reply(403, {"error": "missing permissions: inference.endpoints.infer.write"}))
        with pytest.raises(Forbidden) as caught:
            await api.is_ready(awake(cloud.url))
        assert caught.value.permission == "inference.endpoints.infer.write"


@pytest.mark.parametrize("url", ["ftp://x/y", "http://[broken", "nonsense", "http://a b/"])
async def test_an_address_that_is_none_is_told_instead_of_waited_for(url: str) -> None:
    async with stage() as cloud, client(cloud.url) as api:
        with pytest.raises(ProviderError, match="no address"):
            await api.is_ready(awake(url))


async def test_cookies_of_an_endpoint_are_not_kept_and_reach_nobody() -> None:
    async with stage() as cloud, client(cloud.url, namespace="me") as api:
        cloud.script("GET", "/health", Reply(headers={"Set-Cookie": "session=evil; Path=/"}))
        cloud.script("GET", BERT, Reply(body=document()))
        await api.is_ready(awake(cloud.url))
        await api.get("bert")
        assert "cookie" not in cloud.asked[-1].headers
        assert not any(kept.cookies.jar for kept in api._calls.wire._clients.values())


async def test_a_certificate_that_can_not_be_trusted_is_told_at_once() -> None:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0, ssl=context)
    url = f"https://localhost:{server.sockets[0].getsockname()[1]}"
    time = Time()
    async with server, client(url, time=time, namespace="me") as api:
        with pytest.raises(ProviderUnreachable, match=r"certificate of localhost.*SSL_CERT_FILE"):
            await api.get("bert")
        with pytest.raises(ProviderUnreachable, match="certificate"):
            await api.is_ready(awake(url))
        assert time.slept == []


async def test_a_poke_asks_a_route_that_wakes() -> None:
    async with stage() as cloud, client(cloud.url) as api:
        cloud.script(
            "GET", "/v1/models", Reply(503, {"error": "503 Service Unavailable", "code": "SERVICE_UNAVAILABLE"})
        )
        await api.poke(awake(cloud.url))
        assert cloud.asked[0].headers["x-scale-up-timeout"] == "1"


async def test_a_poke_of_a_paused_endpoint_is_told() -> None:
    text = "Bad Request: The endpoint is paused, ask a maintainer to restart it"
    async with stage() as cloud, client(cloud.url) as api:
        cloud.script("GET", "/v1/models", Reply(400, {"error": text, "code": "BAD_REQUEST"}))
        with pytest.raises(EndpointPaused):
            await api.poke(awake(cloud.url))


async def test_a_poke_of_an_engine_without_that_route_is_good_enough() -> None:
    async with stage() as cloud, client(cloud.url) as api:
        await api.poke(awake(cloud.url))
        assert len(cloud.asked) == 1


# Figures and life


async def test_a_thousand_endpoints_cost_little_on_our_side() -> None:
    async with stage() as cloud, client(cloud.url, namespace="me") as api:
        bodies = {
            str(start): Reply(
                body={
                    "items": [document(f"e{at}") for at in range(start, start + 100)],
                    **({"nextCursor": str(start + 100)} if start < 900 else {}),
                }
            )
            for start in range(0, 1000, 100)
        }
        ready = {key: Reply(body=reply.content()) for key, reply in bodies.items()}
        cloud.script("GET", MINE, lambda asked: ready[asked.query.get("cursor", "0")])
        await api.list(search="warm")
        began = real_time.process_time()
        assert len(await api.list()) == 1000
        assert real_time.process_time() - began < 1.0  # the server's part included; 0.1 on the machine of the figures


def test_a_client_serves_one_event_loop_after_another() -> None:
    api = ManagementApi("http://127.0.0.1:9", token=Secret(TOKEN), namespace="me")
    used: list[object] = []

    async def ask() -> str:
        async with stage() as cloud:
            api._hosts = api._calls.hosts = api._calls.wire.hosts = find_hosts(cloud.url, None)
            cloud.script("GET", BERT, Reply(pieces=(json.dumps(document()).encode(),)))
            found = await api.get("bert")
            used.extend(api._calls.wire._clients.values())
            return found.name

    assert asyncio.run(ask()) == asyncio.run(ask()) == "bert"
    assert len({id(each) for each in used}) == 2, "connections of a loop that is gone are not used again"
    asyncio.run(api.close())


async def test_an_odd_type_in_the_answer_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    async with stage() as cloud, client(cloud.url) as api:
        cloud.script("POST", MINE, Reply(body=document(type="private")))
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            await api.create(form(type="public"))
        assert "asked for as public and made as private" in caplog.text
