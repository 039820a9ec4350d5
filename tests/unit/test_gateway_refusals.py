"""What can be refused is refused before anything is woken, in the words of the surface."""

import asyncio
import hashlib

import pytest

from lamplighter.domain.usage import Outcome
from lamplighter.errors import (
    Forbidden,
    InvalidInput,
    NotAllowed,
    QueueFull,
    ShuttingDown,
    UpstreamBroken,
    UpstreamTimeout,
    WakeFailed,
    WakeTimeout,
)
from lamplighter.gateway.refusals import BodyTooLarge
from lamplighter.gateway.settings import GatewaySettings
from lamplighter.gateway.sweeper import Sweeper
from lamplighter.gateway.wording import proxy_error
from tests.gateway_stage import SOON, StageDemand, always, answer, endpoint, relayed, request, stage, until

KEYED = GatewaySettings(keys=frozenset({hashlib.sha256(b"sesame").hexdigest()}), sweep_every=0.01)
CHAT = "/v1/chat/completions"


async def test_an_unknown_model_is_not_found_and_told_what_is_near():
    async with stage() as s:
        reply = await s.ask(CHAT, {"model": "lmap"})
        error = reply.json["error"]
        assert (reply.status, error["code"], error["param"]) == (404, "model_not_found", "model")
        assert error["type"] == "invalid_request_error"
        assert "Did you mean 'lamp'" in error["message"]
        assert "Known: bulb, lamp." in error["message"]
        assert not s.demand.touched
        assert not s.usage.all


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b" ", "empty"),
        (b"{", "not JSON"),
        (b"model=lamp", "not JSON"),
        (b"[]", "Expected `object`"),
        (b'"lamp"', "Expected `object`"),
        (b"{}", "missing required field `model`"),
        (b'{"model": 7}', "Expected `str`"),
        (b'{"model": null}', "Expected `str`"),
        (b'{"x": ' + b"[" * 100_000 + b"]" * 100_000 + b', "model": "lamp"}', "nested too deeply"),
    ],
)
async def test_a_body_that_names_no_model_is_told_what_would_be_right(body, words):
    async with stage() as s:
        reply = await s.ask(CHAT, body)
        assert reply.status == 400
        assert words in reply.json["error"]["message"]
        assert '{"model": "my-endpoint"' in reply.json["error"]["message"]
        assert not s.demand.touched


async def test_no_body_at_all_is_told_what_would_be_right():
    async with stage() as s:
        reply = await s.ask(CHAT, b"")
        assert (reply.status, "empty" in reply.json["error"]["message"]) == (400, True)


async def test_a_model_name_that_no_text_can_hold_is_refused():
    async with stage() as s:
        assert (await s.ask(CHAT, b'{"model": "\\ud800"}')).status in {400, 404}
        assert (await s.ask(CHAT, b'{"model": "\xff\xfe"}')).status in {400, 404}


async def test_a_wrong_method_is_told_the_right_one():
    async with stage() as s:
        reply = await s.ask(CHAT, method="GET")
        assert (reply.status, reply.headers["allow"]) == (405, "POST")
        reply = await s.ask("/v1/models", {})
        assert (reply.status, reply.headers["allow"]) == (405, "GET, HEAD")
        assert not s.demand.touched


async def test_a_path_that_tells_no_model_is_explained():
    async with stage() as s:
        reply = await s.ask("/v1/files", method="GET")
        assert reply.status == 404
        assert "x-lamplighter-model" in reply.json["error"]["message"]


@pytest.mark.parametrize("value", ["soon", "-1", "nan", "inf", "1_000", "", "1e3", "10s"])
async def test_a_hold_that_is_no_number_of_seconds_wakes_nothing(value):
    async with stage() as s:
        reply = await s.ask(CHAT, x_scale_up_timeout=value)
        assert reply.status == 400
        assert "number of seconds" in reply.json["error"]["message"]
        assert reply.json["error"]["param"] == "X-Scale-Up-Timeout"
        assert not s.demand.touched


async def test_a_path_that_could_leave_the_endpoint_is_refused():
    async with stage() as s:
        for path in ("/endpoints/lamp/a/../../b", "/endpoints/lamp/%2e%2e/b", "/v1/x/..%2fb"):
            assert (await s.ask(path)).status == 400
        assert not s.demand.touched


async def test_plain_errors_on_the_pass_through_surface():
    async with stage() as s:
        reply = await s.ask("/endpoints/nobody/health", method="GET")
        assert reply.status == 404
        assert (reply.json["code"], reply.json["reason"]) == ("NOT_FOUND", "model_not_found")
        assert reply.json["error"].startswith("404 Not Found: There is no endpoint or model 'nobody'.")


@pytest.mark.parametrize(
    ("error", "status", "code", "text"),
    [
        (InvalidInput("not so"), 400, "BAD_REQUEST", "Bad Request: not so"),
        (NotAllowed("show a key"), 401, "UNAUTHORIZED", "401 Unauthorized: show a key"),
        (Forbidden("not you"), 403, "FORBIDDEN", "403 Forbidden: not you"),
        (BodyTooLarge(5), 413, "PAYLOAD_TOO_LARGE", "413 "),
        (UpstreamBroken("cut"), 502, "BAD_GATEWAY", "502 Bad Gateway: cut"),
        (WakeTimeout("still starting"), 503, "SERVICE_UNAVAILABLE", "503 Service Unavailable: still starting"),
        (UpstreamTimeout("silence"), 504, "GATEWAY_TIMEOUT", "504 Gateway Timeout: silence"),
    ],
)
def test_errors_of_the_pass_through_surface_are_worded_as_the_cloud_does(error, status, code, text):
    body = proxy_error(error)
    assert (error.status, body["code"], body["reason"]) == (status, code, error.code)
    assert str(body["error"]).startswith(text)


async def test_a_paused_endpoint_is_told_as_that_on_both_surfaces_and_expresses_no_demand():
    async with stage() as s:
        s.demand.paused = True
        reply = await s.ask("/endpoints/lamp/generate", {"inputs": "x"})
        assert reply.status == 400
        assert reply.json["error"] == "Bad Request: The endpoint is paused, ask a maintainer to restart it"
        assert (reply.json["code"], reply.json["reason"]) == ("BAD_REQUEST", "endpoint_paused")
        reply = await s.ask(CHAT)
        error = reply.json["error"]
        assert (reply.status, error["code"], error["type"]) == (400, "endpoint_paused", "invalid_request_error")
        reply = await s.ask("/endpoints/lamp/health", method="GET", x_scale_up_timeout="60")
        assert (reply.status, reply.json["reason"]) == (400, "endpoint_paused")
        reply = await s.ask("/endpoints/lamp/health", method="GET")
        assert (reply.status, reply.json["reason"]) == (400, "endpoint_paused")
        assert not s.demand.touched
        assert {record.outcome for record in s.usage.all} == {Outcome.REFUSED}


async def test_a_preflight_wakes_nothing():
    async with stage() as s:
        for path in (CHAT, "/endpoints/lamp/generate"):
            reply = await s.ask(path, method="OPTIONS", access_control_request_method="POST")
            assert reply.status == 405
        assert not s.demand.touched


async def test_a_websocket_is_refused():
    async with stage() as s:
        reply = await s.ask("/endpoints/lamp/ws", method="GET", connection="upgrade", upgrade="websocket")
        assert (reply.status, reply.json["reason"]) == (501, "upgrade_not_supported")
        assert not s.demand.touched


@pytest.mark.parametrize(
    "shown", [{}, {"authorization": "Bearer wrong"}, {"authorization": "Basic sesame"}, {"x_api_key": "wrong"}]
)
@pytest.mark.parametrize("path", [CHAT, "/v1/models", "/endpoints/lamp/"])
async def test_without_a_known_key_nothing_is_woken_or_shown(path, shown):
    async with stage(settings=KEYED) as s:
        reply = await s.ask(path, **shown)
        assert reply.status == 401
        assert reply.headers["www-authenticate"] == "Bearer"
        body = reply.json
        assert (body["error"]["code"] if path.startswith("/v1") else body["reason"]) == "invalid_api_key"
        assert not s.demand.touched


@pytest.mark.parametrize("shown", [{}, {"authorization": "Bearer wrong"}])
async def test_a_public_endpoint_needs_no_key_at_its_own_address_and_nowhere_else(shown):
    async with endpoint(always(answer())) as there, stage(StageDemand(there.url), KEYED) as s:
        s.demand.public = True
        assert (await s.ask("/endpoints/lamp/x", **shown)).status == 200
        assert len(s.demand.claims) == 1
        assert (await s.ask(CHAT, **shown)).status == 401
        assert (await s.ask("/endpoints/unknown/x", **shown)).status == 401
        assert len(s.demand.claims) == 1


@pytest.mark.parametrize("shown", [{"authorization": "Bearer sesame"}, {"x_api_key": "sesame"}])
async def test_a_known_key_opens_each_time(shown):
    async with endpoint(always(answer())) as there, stage(StageDemand(there.url), KEYED) as s:
        for _ in range(2):
            assert (await s.ask(**shown)).status == 200


async def test_a_right_key_in_one_header_does_not_make_another_header_right():
    async with endpoint(always(answer())) as there, stage(StageDemand(there.url), KEYED) as s:
        assert (await s.ask(authorization="Basic junk", x_api_key="sesame")).status == 200
        assert (await s.ask(authorization="Basic junk")).status == 401


async def test_an_announced_body_over_the_limit_is_refused_unread():
    async with stage(settings=GatewaySettings(max_body_bytes=100)) as s, s.client() as client:
        client.send(b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 101\r\n\r\n")
        assert (await client.reply()).status == 413
        assert not s.demand.touched


async def test_an_unannounced_body_over_the_limit_is_refused_when_it_gets_there():
    async with stage(settings=GatewaySettings(max_body_bytes=100)) as s, s.client() as client:
        client.send(b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n")
        client.send(b"65\r\n" + b" " * 101 + b"\r\n")
        assert (await client.reply()).status == 413
        assert not s.demand.touched


async def test_a_body_that_dribbles_is_given_up_on():
    settings = GatewaySettings(body_timeout=0.05, sweep_every=0.01)
    async with stage(settings=settings) as s, s.client() as client:
        client.send(b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 50\r\n\r\n{")
        reply = await client.reply()
        assert (reply.status, reply.headers["connection"]) == (408, "close")
        assert not s.demand.touched
        assert s.idle


async def test_a_head_that_dribbles_or_never_ends_is_given_up_on():
    settings = GatewaySettings(head_timeout=0.05)
    async with stage(settings=settings) as s, s.client() as client:
        client.send(b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\n")
        assert (await client.head()).status == 408
    async with stage(settings=GatewaySettings(max_head_bytes=1000)) as s, s.client() as client:
        client.send(b"POST / HTTP/1.1\r\nx: " + b"a" * 1001)
        assert (await client.head()).status == 431
    async with stage(settings=GatewaySettings(max_head_bytes=1000)) as s, s.client() as client:
        client.send(b"POST / HTTP/1.1\r\nx: " + b"a" * 1001 + b"\r\n\r\n")
        assert (await client.head()).status == 431


async def test_bytes_held_in_all_are_bounded():
    settings = GatewaySettings(max_held_bytes=300, sweep_every=0.01)
    big = {"model": "lamp", "pad": "x" * 180}
    async with endpoint(always(answer())) as there, stage(settings=settings) as s:
        async with s.client() as first:
            first.send(request(CHAT, big))
            await s.demand.waiting.wait()
            refused = await s.ask(CHAT, big)
            assert (refused.status, refused.json["error"]["code"]) == (503, "queue_full")
            assert int(refused.headers["retry-after"]) >= 1
            s.demand.wake(there.url)
            assert (await first.reply()).status == 200
        assert s.idle


@pytest.mark.parametrize(
    ("error", "outcome", "retry"),
    [
        (WakeTimeout("not in time", retry_after=12.2), "deadline", "13"),
        (WakeFailed("no such command"), "failed", "1"),
        (QueueFull("full", retry_after=0.1), "refused", "1"),
        (ShuttingDown("bye"), "refused", "1"),
    ],
)
async def test_a_claim_that_is_not_granted_says_when_to_come_back(error, outcome, retry):
    async with stage() as s, s.client() as client:
        client.send(request(CHAT))
        await s.demand.waiting.wait()
        s.demand.refuse(error)
        reply = await client.reply()
        assert (reply.status, reply.headers["retry-after"]) == (503, retry)
        assert reply.json["error"]["code"] == error.code
        assert reply.headers["x-lamplighter-target"] == "lamp"
        record = await s.usage.one()
        assert (record.outcome, record.status, record.endpoint) == (outcome, 503, "lamp")
        assert s.idle


async def test_models_are_listed_with_their_phase_and_woken_by_nobody():
    async with stage() as s:
        reply = await s.ask("/v1/models", method="GET")
        shown = {
            "id": "lamp",
            "object": "model",
            "created": 7,
            "owned_by": "lamplighter",
            "model": "org/lamp",
            "phase": "sleeping",
            "task": "text-generation",
        }
        assert reply.json == {"object": "list", "data": [shown]}
        assert (await s.ask("/v1/models/bulb", method="GET")).json == shown
        assert (await s.ask("/v1/models/none", method="GET")).status == 404
        assert (await s.ask("/v1/models", method="HEAD")).status == 200
        assert not s.demand.touched


async def test_a_model_that_is_known_and_not_listed_yet_is_not_found(monkeypatch):
    async with stage() as s:
        monkeypatch.setattr(s.demand, "listings", list)
        reply = await s.ask("/v1/models/lamp", body=b"", method="GET")
        assert (reply.status, reply.json["error"]["code"]) == (404, "model_not_found")


async def test_who_has_no_key_costs_no_search_for_near_names(monkeypatch):
    """Which takes up to 50 µs for each name that there is."""
    searched: list[str] = []

    def search(name: str, *_: object, **__: object) -> list[str]:
        searched.append(name)
        return []

    monkeypatch.setattr("difflib.get_close_matches", search)
    async with stage(settings=KEYED) as s:
        for path in ("/endpoints/lmap/v1/x", CHAT):
            assert (await s.ask(path, {"model": "lmap"})).status == 401
        assert not searched
        assert (await s.ask("/endpoints/lmap/v1/x", authorization="Bearer sesame")).status == 404
        assert len(searched) == 1


class Broken:
    def tick(self, now: float) -> None:
        raise ZeroDivisionError(now)


class Sound:
    def __init__(self, swept: list[float]) -> None:
        self.swept = swept

    def tick(self, now: float) -> None:
        self.swept.append(now)


async def test_a_deadline_that_can_not_be_looked_at_takes_no_other_one_its_own():
    swept: list[float] = []

    def idle_work(now: float) -> bool:
        raise ZeroDivisionError(now)

    sweeper = Sweeper(0.001, idle_work)
    sweeper.enter(Broken())
    for _ in range(9):
        sweeper.enter(Sound(swept))
    sweeper.enter(Broken())
    await until(lambda: len(swept) >= 27)
    sweeper.close()


async def test_after_the_shutdown_began_nothing_new_is_taken():
    async with relayed(always(answer())) as s:
        s.gateway.begin_shutdown()
        reply = await s.ask()
        assert (reply.status, reply.headers["connection"]) == (503, "close")
        assert reply.json["error"]["code"] == "shutting_down"
        assert not s.demand.touched


async def test_other_paths_belong_to_the_management_application():
    async def management(scope, receive, send):
        await send({"type": "http.response.start", "status": 299, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})

    async with stage(management=management) as s:
        for path in ("/", "/v2/endpoint", "/v1", "/endpoints", "/health"):
            assert (await s.ask(path, method="GET")).status == 299
    async with stage() as s:
        assert (await s.ask("/health", method="GET")).status == 404


async def test_a_refused_request_leaves_the_connection_usable():
    async with stage(settings=SOON) as s, s.client() as client:
        for _ in range(3):
            client.send(request(CHAT, {"model": "nobody"}))
            assert (await client.reply()).status == 404
        await asyncio.sleep(0)
        assert s.idle


async def test_a_connection_on_which_nobody_speaks_is_closed_without_a_word():
    async with stage(settings=GatewaySettings(head_timeout=0.02)) as s, s.client() as client:
        assert await client.reader.read() == b""
