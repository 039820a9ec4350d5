"""`/v1/messages`: what goes wrong here is told in the form of Anthropic's API."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest

from lamplighter.control.keyring import Keyring
from lamplighter.domain.keys import KeyLimits, Role
from lamplighter.errors import (
    EndpointNotFound,
    EndpointPaused,
    Forbidden,
    LamplighterError,
    NotAllowed,
    PaymentRequired,
    QueueFull,
    ShuttingDown,
    StoreError,
    UpstreamBroken,
    UpstreamTimeout,
    WakeFailed,
    WakeTimeout,
)
from lamplighter.gateway.messages import is_messages, messages_error, type_of
from lamplighter.gateway.plan import AllTargetsFailed
from lamplighter.gateway.refusals import BodyTooLarge, DeadlinePassed, KeyRateLimited, MethodNotAllowed, UnknownPath
from lamplighter.gateway.settings import GatewaySettings
from tests.gateway_stage import SOON, Reply, StageDemand, always, answer, endpoint, relayed, request, stage
from tests.unit.test_gateway_routes import DEAD, routing, upstream

MESSAGES = "/v1/messages"
KEYED = GatewaySettings(keys=frozenset({hashlib.sha256(b"sesame").hexdigest()}), sweep_every=0.01)


def told(reply: Reply) -> tuple[int, str]:
    """The status and the type of an answer that has exactly the form that clients of that API read."""
    assert set(reply.json) == {"type", "error", "request_id"}
    assert reply.json["type"] == "error"
    assert set(reply.json["error"]) == {"type", "message"}
    assert reply.json["request_id"] == reply.headers["x-request-id"]
    return reply.status, reply.json["error"]["type"]


@pytest.mark.parametrize("path", [MESSAGES, MESSAGES + "/count_tokens", MESSAGES + "?beta=true"])
async def test_a_model_that_is_not_there_is_told_in_that_form(path: str) -> None:
    async with stage() as s:
        reply = await s.ask(path, {"model": "lmap"})
        assert told(reply) == (404, "not_found_error")
        assert "Did you mean 'lamp'" in reply.json["error"]["message"]


async def test_other_paths_keep_their_own_form() -> None:
    async with stage() as s:
        for path in ("/v1/chat/completions", "/v1/messagesx"):
            assert (await s.ask(path, {"model": "lmap"})).json["error"]["code"] == "model_not_found"
        assert (await s.ask("/endpoints/lmap/v1/messages")).json["reason"] == "model_not_found"


async def test_who_comes_without_a_key_or_too_often_is_told_in_that_form() -> None:
    async with stage(settings=KEYED) as s:
        assert told(await s.ask(MESSAGES)) == (401, "authentication_error")
    ring = Keyring()
    await ring.make("root", actor="test", role=Role.ADMIN)
    _, secret = await ring.make("few", actor="test", limits=KeyLimits(requests_per_minute=1))
    async with relayed(always(answer()), keyring=ring) as s:
        shown = {"x_api_key": secret.reveal()}
        assert (await s.ask(MESSAGES, **shown)).status == 200
        refused = await s.ask(MESSAGES, **shown)
        assert told(refused) == (429, "rate_limit_error")
        assert int(refused.headers["retry-after"]) > 0


async def test_what_can_not_be_read_and_what_is_too_large_is_told_in_that_form() -> None:
    async with stage(settings=GatewaySettings(sweep_every=0.01, max_body_bytes=100)) as s:
        assert told(await s.ask(MESSAGES, b"{")) == (400, "invalid_request_error")
        assert told(await s.ask(MESSAGES, {"model": "lamp", "pad": "x" * 200})) == (413, "request_too_large")
        assert told(await s.ask(MESSAGES, body=b"", method="GET")) == (405, "invalid_request_error")


async def test_what_fails_behind_the_gateway_is_told_in_that_form() -> None:
    ups = {name: upstream(name, DEAD) for name in "ab"}
    async with stage(routing=routing("a", "b", upstreams=ups)) as s:
        assert told(await s.ask(MESSAGES, {"model": "smart"})) == (503, "overloaded_error")
    async with stage(StageDemand(DEAD)) as s, s.client() as client:
        client.send(request(MESSAGES))
        await s.demand.waiting.wait()
        s.demand.refuse(WakeFailed("no such command"))
        assert told(await client.reply()) == (503, "api_error")


async def test_a_page_and_a_server_that_ends_refuse_in_that_form() -> None:
    async with stage() as s:
        assert told(await s.ask(MESSAGES, origin="https://evil.example")) == (403, "permission_error")
        s.gateway.begin_shutdown()
        assert told(await s.ask(MESSAGES)) == (503, "overloaded_error")


async def test_what_an_engine_answers_stays_as_it_is() -> None:
    body = b'{"type":"error","error":{"type":"invalid_request_error","message":"max_tokens: missing"}}'
    async with endpoint(always(answer(body, status="400 Bad"))) as there, stage(StageDemand(there.url), SOON) as s:
        assert (await s.ask(MESSAGES)).body == body


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (NotAllowed("no key"), "authentication_error"),
        (Forbidden("not you"), "permission_error"),
        (EndpointNotFound("x", ()), "not_found_error"),
        (UnknownPath("nothing there"), "not_found_error"),
        (MethodNotAllowed("POST", allow="POST"), "invalid_request_error"),
        (EndpointPaused("x"), "invalid_request_error"),
        (PaymentRequired("no credit"), "billing_error"),
        (BodyTooLarge(5), "request_too_large"),
        (KeyRateLimited("slow", retry_after=1.0, headers=[]), "rate_limit_error"),
        (WakeTimeout("late"), "overloaded_error"),
        (QueueFull("full"), "overloaded_error"),
        (ShuttingDown("bye"), "overloaded_error"),
        (AllTargetsFailed("none"), "overloaded_error"),
        (WakeFailed("broken"), "api_error"),
        (UpstreamBroken("cut"), "api_error"),
        (StoreError("disk"), "api_error"),
        (UpstreamTimeout("late"), "timeout_error"),
        (DeadlinePassed("late"), "timeout_error"),
    ],
)
def test_each_error_has_a_type_of_that_api(error: LamplighterError, kind: str) -> None:
    assert messages_error(error, b"id-1") == {
        "type": "error",
        "error": {"type": kind, "message": error.message},
        "request_id": "id-1",
    }


@pytest.mark.parametrize(
    ("status", "said", "kind"),
    [
        (529, None, "overloaded_error"),
        (500, "overloaded_error", "overloaded_error"),
        (500, "server_error", "api_error"),
        (404, "invalid_request_error", "not_found_error"),
        (400, "BadRequestError", "invalid_request_error"),
        (502, ["no", "text"], "api_error"),
    ],
)
def test_what_an_engine_calls_its_error_counts_where_it_is_a_type_of_that_api(
    status: int, said: Any, kind: str
) -> None:
    assert type_of(status, said=said) == kind


@pytest.mark.parametrize(
    ("path", "belongs"),
    [(MESSAGES, True), (MESSAGES + "/batches", True), ("/v1/messages2", False), ("/v1/message", False)],
)
def test_paths_of_that_api(path: str, belongs: bool) -> None:
    assert is_messages(path) is belongs
