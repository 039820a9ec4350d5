"""Streams that are held get words about the wait; whatever comes afterwards is an event of the stream."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import openai
import pytest
from uvicorn import Config
from uvicorn.server import ServerState

from lamplighter.control.demand import Caller, Claim
from lamplighter.domain.endpoint import Replica
from lamplighter.domain.routing import Route
from lamplighter.errors import LamplighterError, WakeFailed
from lamplighter.gateway import feedback, relay
from lamplighter.gateway.address import render
from lamplighter.gateway.app import Gateway
from lamplighter.gateway.asgi import Receive, Scope, Send
from lamplighter.gateway.exchange import Exchange
from lamplighter.gateway.request import Request
from tests.gateway_stage import (
    PATIENCE,
    SOON,
    Client,
    Records,
    StageClaim,
    StageDemand,
    always,
    answer,
    endpoint,
    request,
    until,
)

ROUTE = Route(name="lamp", tiers=(), feedback=True)
CHAT = "/v1/chat/completions"
ASKED = {"model": "lamp", "stream": True, "messages": [{"role": "user", "content": "Hello"}]}
CHUNK = b'data: {"id":"1","object":"chat.completion.chunk","created":1,"model":"m","choices":[]}\n\n'
STREAM = answer(CHUNK + b"data: [DONE]\n\n", headers="content-type: text/event-stream\r\n")


class Stage:
    """A server that holds each request with feedback, asks the endpoint, and answers as the module says."""

    def __init__(self, demand: StageDemand, grace: float, every: float) -> None:
        self.demand = demand
        self.usage = Records()
        self.gateway = Gateway(demand, self.usage, SOON)
        self.grace, self.every = grace, every
        self.port = 0
        self.exchanges: list[Exchange] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        x = Exchange(self.gateway._services, Request(scope), receive, send)
        x.services.sweeper.enter(x)
        self.exchanges.append(x)
        x.way, x.endpoint, x.body = ROUTE, "lamp", (await receive())["body"]
        assert feedback.is_wanted(x)
        try:
            await self._serve(x)
        except asyncio.CancelledError:
            x.interruption()
        except LamplighterError as error:
            await feedback.end_with_error(x, error)
        finally:
            x.finish()

    async def _serve(self, x: Exchange) -> None:
        x.watch()
        claim = x.services.demand.claim("lamp", None, Caller())
        x.claim = await feedback.hold_with_feedback(x, claim, grace=self.grace, every=self.every)
        address = x.address = render(x.claim.replica)
        if x.feedback:
            address = feedback.plain(address)
        head = relay.render_head(x.request, address, x.path, len(x.body))
        x.upstream = await relay.ask(x.services.pool, x.address, head, x.body, method="POST", connected=lambda: None)
        if x.feedback and not feedback.can_be_passed_on(x.upstream):
            await feedback.end_with_answer(x)
            return
        if not x.feedback:
            await x.send({"type": "http.response.start", "status": x.upstream.status, "headers": x.upstream.headers})
        while True:
            piece, last = x.upstream.take(), x.upstream.complete
            await x.send({"type": "http.response.body", "body": piece, "more_body": not last})
            if last:
                return
            await x.upstream.more()

    @contextlib.asynccontextmanager
    async def client(self) -> AsyncIterator[Client]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            async with asyncio.timeout(PATIENCE):
                yield Client(reader, writer)
        finally:
            writer.close()

    def openai(self) -> openai.AsyncOpenAI:
        return openai.AsyncOpenAI(base_url=f"http://127.0.0.1:{self.port}/v1", api_key="none", max_retries=0)


@contextlib.asynccontextmanager
async def stage(grace: float = 0.02, every: float = 0.02) -> AsyncIterator[Stage]:
    s = Stage(StageDemand(), grace, every)
    config = Config(s, http="httptools", log_config=None)
    config.load()
    state = ServerState()
    protocol: Any = config.http_protocol_class
    server = await asyncio.get_running_loop().create_server(lambda: protocol(config, state, {}), "127.0.0.1", 0)
    s.port = server.sockets[0].getsockname()[1]
    try:
        yield s
        async with asyncio.timeout(PATIENCE):
            while state.tasks:
                await asyncio.wait(state.tasks)
    finally:
        for connection in list(state.connections):
            connection.transport.abort()
        server.close()
        await server.wait_closed()
        s.gateway.close()


async def _events(client: Client) -> list[bytes]:
    """All that is left of the answer, as events and comments."""
    rest = b""
    while part := await client.chunk():
        rest += part
    return [event for event in rest.split(b"\n\n") if event]


def _data(event: bytes) -> Any:
    return json.loads(event.split(b"data: ", 1)[1])


async def test_a_stream_that_is_held_gets_words_about_the_wait_and_then_the_answers_body() -> None:
    async with endpoint(always(STREAM)) as there, stage() as s, s.client() as client:
        client.send(request(CHAT, ASKED, x_request_id="mine"))
        head = await client.head()
        assert (head.status, head.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
        assert (head.headers["x-request-id"], head.headers["x-lamplighter-target"]) == ("mine", "lamp")
        words = [await client.chunk() for _ in range(3)]
        assert all(word.startswith(b": lamp is starting, 0 s of about 7 s\n\n") for word in words)
        s.demand.wake(there.url)
        events = await _events(client)
        assert events[-2:] == [CHUNK.strip(), b"data: [DONE]"]


async def test_a_wait_that_is_over_within_the_grace_is_answered_like_any_other() -> None:
    async with endpoint(always(STREAM)) as there, stage(grace=5.0) as s, s.client() as client:
        client.send(request(CHAT, ASKED))
        await s.demand.waiting.wait()
        s.demand.wake(there.url)
        head = await client.head()
        assert head.headers["content-type"] == "text/event-stream"
        assert "x-accel-buffering" not in head.headers
        assert not s.exchanges[0].feedback


async def test_what_waits_for_a_slot_is_told_that_the_endpoint_is_busy() -> None:
    async with endpoint(always(STREAM)) as there, stage() as s, s.client() as client:
        s.demand.replica = Replica(id="1", url=there.url)
        client.send(request(CHAT, ASKED))
        await client.head()
        assert await client.chunk() == b": lamp is busy, 0 s of about 0 s\n\n"
        s.demand.wake(there.url)
        await _events(client)


@pytest.mark.parametrize("chats", [True, False])
async def test_an_official_client_passes_over_the_words_and_raises_what_goes_wrong_afterwards(chats: bool) -> None:
    async with stage() as s, s.openai() as client:
        stream: Any
        if chats:
            stream = await client.chat.completions.create(model="lamp", messages=[], stream=True)
        else:
            stream = await client.responses.create(model="lamp", input="x", stream=True)
        s.demand.refuse(WakeFailed("Endpoint 'lamp' could not be started: no such file", retry_after=7))
        with pytest.raises(openai.APIError, match="no such file") as caught:
            async for _ in stream:
                pass
        assert (caught.value.code, caught.value.type) == ("wake_failed", "server_error")
        x = s.exchanges[0]
        assert (x.status, x.bytes_out > 0) == (503, True)


async def test_an_official_client_reads_the_stream_behind_the_words() -> None:
    async with endpoint(always(STREAM)) as there, stage() as s, s.openai() as client:
        stream = await client.chat.completions.create(model="lamp", messages=[], stream=True)
        s.demand.wake(there.url)
        assert [chunk.id async for chunk in stream] == ["1"]


@pytest.mark.parametrize(
    ("said", "status", "message"),
    [
        (b'{"error":{"message":"too long","type":"x","param":null,"code":"c"}}', "400 Bad Request", "too long"),
        (b'{"error":"overloaded"}', "503 Service Unavailable", "overloaded"),
        (b'{"object":"error","message":"no such\\nmodel","code":404}', "404 Not Found", "no such\nmodel"),
        (b'{"detail":"not here"}', "404 Not Found", "not here"),
        (b'{"detail":[{"loc":[]}]}', "422 Unprocessable Entity", "The endpoint answered 422."),
        (b"<html>\n\nBad gateway</html>", "502 Bad Gateway", "<html>\n\nBad gateway</html>"),
        (b"", "500 Internal Server Error", "The endpoint answered 500."),
        (b"[" * 50_000, "500 Internal Server Error", "[" * 500),
        (b"\xff", "500 Internal Server Error", "\ufffd"),
        (b'{"choices":[]}', "200 OK", "The endpoint was asked for a stream and answered 200 with something else."),
    ],
)
async def test_an_answer_that_is_no_stream_becomes_an_error_event(said: bytes, status: str, message: str) -> None:
    async with endpoint(always(answer(said, status=status))) as there, stage() as s, s.client() as client:
        client.send(request(CHAT, ASKED))
        await client.head()
        await client.chunk()
        s.demand.wake(there.url)
        *_, error, done = await _events(client)
        assert _data(error)["error"]["message"] == message
        assert done == b"data: [DONE]"
        assert s.exchanges[0].status == (502 if status.startswith("200") else int(status[:3]))


async def test_no_compressed_answer_is_asked_for_and_none_is_passed_on() -> None:
    packed = answer(b"\x1f\x8b", headers="content-type: text/event-stream\r\ncontent-encoding: gzip\r\n")
    heard: list[dict[str, str]] = []

    async def script(visit: Any) -> None:
        heard.append((await visit.request())[1])
        await visit.say(packed)

    async with endpoint(script) as there, stage() as s, s.client() as client:
        client.send(request(CHAT, ASKED, accept_encoding="gzip, br"))
        await client.head()
        await client.chunk()
        s.demand.wake(there.url)
        *_, error, _done = await _events(client)
        assert "something else" in _data(error)["error"]["message"]
        assert heard[0]["accept-encoding"] == "identity"


async def test_errors_on_other_paths_have_their_own_form() -> None:
    failed = WakeFailed("it broke")
    async with stage() as s:
        for path in ("/v1/messages", "/v1/responses?x=1"):
            async with s.client() as client:
                client.send(request(path, ASKED))
                await client.head()
                await client.chunk()
                s.demand.refuse(failed)
                *_, event = await _events(client)
                assert event.startswith(b"event: error\ndata: ")
                told = _data(event)
                assert told["type"] == "error"
                assert told["error"]["message"] == "it broke"
                kind, code = ("api_error", None) if path == "/v1/messages" else ("server_error", "wake_failed")
                assert ("request_id" in told) is (path == "/v1/messages")
                assert (told["error"]["type"], told.get("code")) == (kind, code)


async def test_a_client_that_leaves_withdraws_its_claim() -> None:
    async with stage() as s:
        async with s.client() as client:
            client.send(request(CHAT, ASKED))
            await client.head()
            await client.chunk()
        async with asyncio.timeout(PATIENCE):
            await s.demand.cancelled.wait()


async def test_a_grant_that_comes_as_the_request_is_cancelled_is_handed_back() -> None:
    granted = StageClaim(Replica(id="1", url="http://127.0.0.1:9"))

    async def claim() -> Claim:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        return granted

    async with stage() as s:
        scope = {"method": "POST", "path": CHAT, "raw_path": CHAT.encode(), "query_string": b"", "headers": []}

        async def send(_: Any) -> None:
            return None

        async def receive() -> Any:
            raise AssertionError

        x = Exchange(s.gateway._services, Request(scope), receive, send)
        x.way, x.endpoint = ROUTE, "lamp"
        task = asyncio.create_task(feedback.hold_with_feedback(x, claim(), grace=0.01, every=0.01))
        await until(lambda: x.feedback)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        async with asyncio.timeout(PATIENCE):
            await granted.released.wait()
        assert granted.releases == 1


@pytest.mark.parametrize(
    ("body", "route", "method", "wanted"),
    [
        (b'{"stream": true}', ROUTE, "POST", True),
        (b'{"stream": false}', ROUTE, "POST", False),
        (b'{"model": "stream: true"}', ROUTE, "POST", False),
        (b'{"stream": "yes"}', ROUTE, "POST", False),
        (b"--form--", ROUTE, "POST", False),
        (b'{"stream": true}', Route(name="lamp", tiers=()), "POST", False),
        (b'{"stream": true}', ROUTE, "GET", False),
    ],
)
async def test_only_streams_of_routes_that_want_it_get_words(
    body: bytes, route: Route, method: str, wanted: bool
) -> None:
    async with stage() as s:
        scope = {"method": method, "path": CHAT, "raw_path": CHAT.encode(), "query_string": b"", "headers": []}
        s.gateway._services.sweeper.loop = asyncio.get_running_loop()

        async def nothing(*_: Any) -> Any:
            raise AssertionError

        x = Exchange(s.gateway._services, Request(scope), nothing, nothing)
        x.way, x.body = route, body
        assert feedback.is_wanted(x) is wanted
