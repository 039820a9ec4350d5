"""Attempts at the edges: what a failure tells of whom, what is counted, and what never leaves. On real sockets."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import socket
from typing import Any

import pytest

from lamplighter.control.keyring import Keyring
from lamplighter.domain.keys import KeyLimits, Role
from lamplighter.domain.routing import BreakerPolicy, Fit, Repeat, RetryPolicy, RouteTarget, TokenPrice, WhileWaking
from lamplighter.domain.usage import Outcome
from lamplighter.gateway.router import Routing
from lamplighter.gateway.settings import GatewaySettings
from tests.gateway_stage import Stage, StageDemand, Visit, always, answer, endpoint, request, stage, until
from tests.unit.test_gateway_routes import ASK, DEAD, routing, upstream

CHAT = "/v1/chat/completions"
STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
EAGER = BreakerPolicy(least=1, pause=60)


def to_far(url: str, **more: Any) -> Routing:
    """A route to one upstream."""
    return routing("far", upstreams={"far": upstream("far", url, **more)})


def failures(s: Stage, name: str, *, far: bool = True) -> float:
    standings = s.gateway._services.standings
    state = standings._far[name] if far else standings.of(name)
    assert state.breaker is not None
    return state.breaker._bad.total(asyncio.get_running_loop().time())


async def test_silence_on_a_kept_connection_leads_on_as_on_a_new_one() -> None:
    answered = 0

    async def script(visit: Visit) -> None:
        nonlocal answered
        while True:
            await visit.request()
            if answered:
                await visit.gone()
            answered += 1
            await visit.say(answer(b'"a"'))

    async with endpoint(script) as a, endpoint(always(answer(b'"b"'))) as b:
        ups = {"a": upstream("a", a.url), "b": upstream("b", b.url)}
        config = routing("a", "b", upstreams=ups, repeat=Repeat.ALWAYS, first_byte_timeout=0.1)
        async with stage(routing=config) as s:
            assert [(await s.ask(body=ASK)).body for _ in range(3)] == [b'"a"', b'"b"', b'"b"']


async def test_a_host_that_accepts_nothing_has_executed_nothing() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        crowd = [socket.socket() for _ in range(4)]
        for one in crowd:
            one.setblocking(False)
            one.connect_ex(listener.getsockname())
        async with endpoint(always(answer(b'"b"'))) as b:
            ups = {"a": upstream("a", url), "b": upstream("b", b.url)}
            async with stage(routing=routing("a", "b", upstreams=ups, first_byte_timeout=0.1)) as s:
                assert (await s.ask(body=ASK)).body == b'"b"'
        for one in crowd:
            one.close()


async def test_a_health_probe_that_meets_nobody_wakes_nobody() -> None:
    async with stage(StageDemand(DEAD)) as s:
        assert (await s.ask("/endpoints/lamp/health", body=b"", method="GET")).status == 502
        assert s.demand.asked == []
        assert s.demand.wanted == 0


async def test_a_client_that_reads_nothing_is_its_own_fault() -> None:
    async def script(visit: Visit) -> None:
        await visit.request()
        await visit.say(STREAM)
        while True:
            await visit.say(b"10000\r\n%b\r\n" % (b"x" * 65536))

    settings = GatewaySettings(sweep_every=0.01, between_bytes_timeout=0.3)
    async with endpoint(script) as a, stage(StageDemand(a.url), settings, routing=Routing(breaker=EAGER)) as s:
        with socket.socket() as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.connect(("127.0.0.1", s.port))
            client.sendall(request(CHAT, {"model": "lamp", "stream": True}))
            record = await s.usage.one()
        assert record.outcome is Outcome.CLIENT_GONE
        assert s.gateway.breakers == {"lamp": "closed"}
        assert [(claim.struggles, claim.abandons) for claim in s.demand.claims] == [(0, 1)]


async def test_a_client_that_leaves_tells_nothing_of_its_target() -> None:
    async def script(visit: Visit) -> None:
        await visit.request()
        await visit.gone()

    async with endpoint(script) as a, stage(StageDemand(a.url), routing=Routing(breaker=EAGER)) as s:
        async with s.client() as client:
            client.send(request(CHAT))
            await until(lambda: a.visits)
        await until(lambda: s.idle)
        assert s.gateway.breakers == {"lamp": "closed"}
        assert [(claim.struggles, claim.abandons) for claim in s.demand.claims] == [(0, 1)]


@pytest.mark.parametrize("body", [b' {"model":"dear","messages":[]}', b'\n{"model":"dear"}'])
async def test_what_a_body_names_counts_however_it_is_written(body: bytes) -> None:
    async with endpoint(always(answer())) as a, stage(routing=to_far(a.url, model="cheap")) as s:
        reply = await s.ask(body=body, x_lamplighter_model="smart")
    assert (reply.status, a.visits) == (404, [])


async def test_an_upstream_gets_the_name_that_it_knows_in_every_form_of_body() -> None:
    seen: list[bytes] = []

    async def script(visit: Visit) -> None:
        while True:
            seen.append((await visit.request())[2])
            await visit.say(answer())

    form = b'--x\r\nContent-Disposition: form-data; name="model"\r\n\r\nsmart\r\n--x\r\nX: y\r\n\r\nrest\r\n--x--\r\n'
    async with endpoint(script) as a, stage(routing=to_far(a.url, model="cheap")) as s:
        assert (await s.ask(body=b' {"model":"smart"}')).status == 200
        multipart = {"content_type": "multipart/form-data; boundary=x"}
        assert (await s.ask("/v1/audio/transcriptions", form, **multipart)).status == 200
        refused = await s.ask(
            "/v1/audio/transcriptions", b"sound", content_type="audio/wav", x_lamplighter_model="smart"
        )
    assert json.loads(seen[0]) == {"model": "cheap"}
    assert seen[1] == form.replace(b"smart", b"cheap")
    assert (refused.status, refused.json["error"]["code"], len(seen)) == (400, "does_not_fit", 2)


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/v1/organization/api_keys"), ("DELETE", "/v1/files/f-1"), ("POST", "/v1/fine_tuning/jobs")],
)
async def test_an_upstream_is_asked_for_answers_alone(method: str, path: str) -> None:
    async with endpoint(always(answer())) as a, stage(routing=to_far(a.url)) as s:
        reply = await s.ask(path, b'{"model":"smart"}', method=method, x_lamplighter_model="smart")
    assert (reply.status, reply.json["error"]["code"], a.visits) == (400, "does_not_fit", [])


async def test_a_client_does_not_choose_the_account_at_an_upstream() -> None:
    heads: list[dict[str, str]] = []

    async def script(visit: Visit) -> None:
        heads.append((await visit.request())[1])
        await visit.say(answer())

    async with endpoint(script) as a, stage(routing=to_far(a.url)) as s:
        await s.ask(body=ASK, openai_organization="org-x", openai_project="p", x_kept="yes")
    assert heads[0]["x-kept"] == "yes"
    assert not {"openai-organization", "openai-project"} & set(heads[0])


async def test_a_body_that_can_not_be_read_is_the_clients_mistake() -> None:
    async with endpoint(always(answer())) as a, stage(routing=to_far(a.url, model="cheap")) as s:
        assert (await s.ask(body=b'{"model":"smart","\xff":1}')).status == 400


async def test_a_bridge_that_does_not_tell_usage_is_crossed_all_the_same() -> None:
    asked: list[Any] = []

    async def script(visit: Visit) -> None:
        while True:
            asked.append(json.loads((await visit.request())[2]))
            refusal = answer(b'{"error":"stream_options"}', status="400 Bad")
            done = answer(b"data: [DONE]\n\n", headers="Content-Type: text/event-stream\r\n")
            await visit.say(refusal if "stream_options" in asked[-1] else done)

    async with endpoint(script) as a:
        ups = {"far": upstream("far", a.url)}
        config = routing("lamp", "far", upstreams=ups, while_waking=WhileWaking.BRIDGE, max_attempts=1)
        async with stage(routing=config) as s:
            for _ in range(2):
                assert (await s.ask(body=ASK | {"stream": True})).body == b"data: [DONE]\n\n"
    assert ["stream_options" in one for one in asked] == [True, False, False]


async def test_a_full_upstream_is_not_asked_for_ever() -> None:
    async def script(visit: Visit) -> None:
        await visit.request()
        await visit.gone()

    async with endpoint(script) as a, stage(routing=to_far(a.url, max_in_flight=1)) as s, s.client() as first:
        first.send(request(CHAT, ASK))
        await until(lambda: a.visits)
        reply = await s.ask(body=ASK)
    assert (reply.status, reply.json["error"]["code"]) == (503, "queue_full")


@pytest.mark.parametrize(
    ("status", "headers"), [("429 Slow", ""), ("503 No", "Retry-After: 7\r\n"), ("500 Oops", ""), ("502 Bad", "")]
)
async def test_an_only_target_speaks_for_itself(status: str, headers: str) -> None:
    async with endpoint(always(answer(b'{"error":"mine"}', status=status, headers=headers))) as a:
        config = routing("a", upstreams={"a": upstream("a", a.url)}, repeat=Repeat.ALWAYS, max_attempts=2)
        async with stage(routing=config) as s:
            reply = await s.ask(body=ASK)
            assert (reply.status, reply.json) == (int(status[:3]), {"error": "mine"})
            assert reply.headers.get("retry-after") == ("7" if headers else None)


async def test_each_attempt_is_counted_once() -> None:
    async with endpoint(always(answer(status="503 No"))) as a, endpoint(always(answer(status="503 No"))) as b:
        ups = {"a": upstream("a", a.url), "b": upstream("b", b.url)}
        async with stage(routing=routing("a", "b", upstreams=ups, max_attempts=2)) as s:
            assert (await s.ask(body=ASK)).status == 503
            assert (failures(s, "a"), failures(s, "b")) == (1, 1)


async def test_a_target_that_breaks_off_its_streams_is_left_alone() -> None:
    async def script(visit: Visit) -> None:
        await visit.request()
        await visit.say(STREAM + b"5\r\ndata:\r\n")
        visit.reset()

    async with endpoint(script) as a, endpoint(always(answer(b'"b"'))) as b:
        ups = {"a": upstream("a", a.url), "b": upstream("b", b.url)}
        policy = BreakerPolicy(least=3, rate=0.6, pause=60)
        async with stage(routing=routing("a", "b", upstreams=ups, breaker=policy)) as s:
            for _ in range(3):
                assert (await s.ask(body=ASK)).cut
            assert (await s.ask(body=ASK)).body == b'"b"'


async def test_a_deadline_that_passes_is_not_the_targets_fault() -> None:
    async def script(visit: Visit) -> None:
        await visit.request()
        await visit.gone()

    async with endpoint(script) as a:
        config = routing("a", upstreams={"a": upstream("a", a.url)}, deadline=0.1, breaker=EAGER)
        async with stage(routing=config) as s:
            reply = await s.ask(body=ASK)
            assert (reply.status, reply.json["error"]["code"]) == (504, "deadline_passed")
            assert failures(s, "a") == 0


async def test_what_no_target_can_serve_is_told_as_such() -> None:
    async with endpoint(always(answer())) as a:
        ups = {name: upstream(name, a.url) for name in "ab"}
        small = [RouteTarget(name=name, fit=Fit(tools=False)) for name in "ab"]
        async with stage(routing=routing(*small, upstreams=ups)) as s:
            reply = await s.ask(body=ASK | {"tools": [{"type": "function"}]})
    assert (reply.status, reply.json["error"]["code"]) == (400, "does_not_fit")
    assert "retry-after" not in reply.headers
    assert "a: " in reply.json["error"]["message"]
    assert "b: " in reply.json["error"]["message"]


async def test_who_was_left_alone_is_in_the_list_of_what_was_tried() -> None:
    async with endpoint(always(answer(status="429 Slow", headers="Retry-After: 60\r\n"))) as a:
        ups = {"a": upstream("a", a.url), "b": upstream("b", DEAD)}
        async with stage(routing=routing("a", "b", upstreams=ups)) as s:
            for _ in range(2):
                said = (await s.ask(body=ASK)).json["error"]
                assert said["code"] == "all_targets_failed"
                assert "a: " in said["message"]
                assert "b: " in said["message"]


async def test_an_endpoint_is_not_taken_for_an_upstream_of_its_name() -> None:
    async with endpoint(always(answer(b'"far"'))) as far, endpoint(always(answer(b'"lamp"'))) as lamp:
        config = routing("lamp", upstreams={"lamp": upstream("lamp", far.url)})
        async with stage(StageDemand(lamp.url), routing=config) as s:
            assert (await s.ask("/endpoints/lamp/v1/x")).body == b'"lamp"'
            assert (await s.ask(body=ASK)).body == b'"far"'


async def test_an_upstream_with_a_header_that_can_not_be_sent_is_passed_by() -> None:
    async with endpoint(always(answer(b'"b"'))) as b:
        ups = {"a": upstream("a", b.url, headers={"authorization": "Bearer x\ny"}), "b": upstream("b", b.url)}
        async with stage(routing=routing("a", "b", upstreams=ups)) as s:
            assert (await s.ask(body=ASK)).headers["x-lamplighter-target"] == "b"


async def limited(tokens: int) -> tuple[Keyring, dict[str, str]]:
    ring = Keyring()
    await ring.make("root", actor="test", role=Role.ADMIN)
    _, secret = await ring.make("few", actor="test", limits=KeyLimits(tokens_per_minute=tokens))
    return ring, {"authorization": f"Bearer {secret.reveal()}"}


EVENT = b'data: {"choices":[{"delta":{"content":"x"}}]}\n\n'


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (CHAT, {"model": "lamp", "stream": 1}),
        (CHAT, b'{"model":"lamp","\\u0073tream":true}'),
        (CHAT + "/", {"model": "lamp", "stream": True}),
        ("/endpoints/lamp/v1/chat/completions", {"model": "lamp", "stream": True}),
    ],
)
async def test_tokens_that_no_answer_tells_are_charged_by_estimate(path: str, body: Any) -> None:
    async def script(visit: Visit) -> None:
        while True:
            await visit.request()
            await visit.say(STREAM)
            for _ in range(50):
                await visit.say(b"%x\r\n%b\r\n" % (len(EVENT), EVENT))
            await visit.say(b"0\r\n\r\n")

    ring, key = await limited(60)
    async with endpoint(script) as a, stage(StageDemand(a.url), keyring=ring) as s:
        statuses = [(await s.ask(path, body, **key)).status for _ in range(3)]
    assert statuses[0] == 200
    assert statuses[2] == 429


@pytest.mark.parametrize(
    ("method", "path", "content_type", "size"),
    [
        ("GET", "/endpoints/lamp/metrics", "text/plain", 60_000),
        ("GET", "/endpoints/lamp/slots", "application/json", 60_000),
        ("POST", "/v1/audio/speech", "audio/mpeg", 60_000),
        ("POST", "/v1/audio/speech", "audio/mpeg", 600_000),
    ],
)
async def test_bytes_that_are_no_tokens_are_not_charged(method: str, path: str, content_type: str, size: int) -> None:
    ring, key = await limited(1000)
    told = answer(b"x" * size, headers=f"content-type: {content_type}\r\n")
    async with endpoint(always(told)) as a, stage(StageDemand(a.url), keyring=ring) as s:
        body = b"" if method == "GET" else None
        statuses = [(await s.ask(path, body, method=method, **key)).status for _ in range(2)]
        remaining = (await s.ask(path, body, method=method, **key)).headers["x-ratelimit-remaining-tokens"]
    assert statuses == [200, 200]
    assert remaining == "1000"


async def test_the_bytes_of_a_recording_are_not_charged() -> None:
    form = b'--b\r\ncontent-disposition: form-data; name="model"\r\n\r\nlamp\r\n--b\r\n'
    form += b'content-disposition: form-data; name="file"\r\n\r\n' + b"x" * 60_000 + b"\r\n--b--"
    ring, key = await limited(1000)
    headers = key | {"content_type": "multipart/form-data; boundary=b"}
    told = answer(b'{"text": "hello"}', headers="content-type: application/json\r\n")
    async with endpoint(always(told)) as a, stage(StageDemand(a.url), keyring=ring) as s:
        statuses = [(await s.ask("/v1/audio/transcriptions", form, **headers)).status for _ in range(2)]
    assert statuses == [200, 200]


@pytest.mark.parametrize("size", [3000, 300_000])
async def test_json_that_tells_no_tokens_is_charged_by_its_size(size: int) -> None:
    ring, key = await limited(500)
    told = answer(b'{"text": "' + b"x" * size + b'"}', headers="content-type: application/json\r\n")
    async with endpoint(always(told)) as a, stage(StageDemand(a.url), keyring=ring) as s:
        assert [(await s.ask(**key)).status for _ in range(2)] == [200, 429]


async def test_a_mistake_of_a_client_does_not_end_the_counting_of_its_target() -> None:
    """An answer that quotes the request names what we added to it, whatever was wrong."""

    async def script(visit: Visit) -> None:
        while True:
            _, _, body = await visit.request()
            if b"messages" in body:
                more = b'data: {"choices":[],"usage":{"prompt_tokens":7,"completion_tokens":9}}\n\n'
                events = EVENT + more * (b"stream_options" in body)
                await visit.say(answer(events, headers="content-type: text/event-stream\r\n"))
            else:
                await visit.say(answer(b"messages: missing in " + body, status="400 Bad Request"))

    good = {"model": "lamp", "messages": [], "stream": True}
    async with endpoint(script) as a, stage(StageDemand(a.url)) as s:
        replies = [await s.ask(body=body) for body in (good, {"model": "lamp", "stream": True}, good)]
        await until(lambda: len(s.usage.all) == 3)
        assert [reply.status for reply in replies] == [200, 400, 200]
        assert b"stream_options" not in replies[1].body
        assert [(one.tokens_in, one.tokens_out) for one in s.usage.all] == [(7, 9), (0, 0), (7, 9)]


@pytest.mark.parametrize("digits", [400, 4300])
async def test_a_number_of_tokens_that_none_can_be_is_no_fault_of_ours(digits: int) -> None:
    asked = b'{"model":"smart","messages":[],"max_tokens":' + b"9" * digits + b"}"
    async with endpoint(always(answer())) as a:
        ups = {"far": upstream("far", a.url, price=TokenPrice(input=1.0, output=1.0))}
        target = RouteTarget(name="far", is_upstream=True, fit=Fit(context=100))
        async with stage(routing=routing(target, upstreams=ups)) as s:
            reply = await s.ask(body=asked)
            assert (reply.status, reply.json["error"]["code"]) == (400, "does_not_fit")
        rented = dataclasses.replace(routing("lamp", "far", upstreams=ups, rent=True), prices={"lamp": 10.0})
        async with stage(routing=rented) as s, s.client() as client:
            client.send(request(CHAT, asked))
            await s.demand.waiting.wait()  # an answer of so many tokens is dearer than any wake
            s.demand.wake(a.url)
            assert (await client.reply()).status == 200


async def test_a_body_under_another_name_counts_as_held() -> None:
    settings = GatewaySettings(sweep_every=0.01, max_held_bytes=1000)
    async with endpoint(always(answer())) as a:
        ups = {"far": upstream("far", a.url, model="org/x")}
        async with stage(settings=settings, routing=routing("far", upstreams=ups)) as s:
            reply = await s.ask(body=ASK | {"pad": "x" * 5000})
            assert (reply.status, reply.json["error"]["code"]) == (503, "queue_full")
            assert (await s.ask(body=ASK | {"pad": "x" * 500})).status == 200
            assert s.idle


async def test_a_stream_that_is_hung_up_on_is_charged_for_what_came() -> None:
    async def script(visit: Visit) -> None:
        await visit.request()
        await visit.say(STREAM)
        for _ in range(50):
            await visit.say(b"%x\r\n%b\r\n" % (len(EVENT), EVENT))
        await visit.gone()

    ring, key = await limited(40)
    async with endpoint(script) as a, stage(StageDemand(a.url), keyring=ring) as s:
        async with s.client() as client:
            client.send(request(CHAT, {"model": "lamp", "stream": True}, **key))
            await client.head()
            came = b""
            while came.count(b"data:") < 50:
                came += await client.chunk()
        await until(lambda: s.idle)
        assert (await s.ask(**key)).status == 429


async def test_a_rented_answer_that_tells_no_usage_costs_what_it_is_estimated_at() -> None:
    async with endpoint(always(answer())) as a:
        ups = {"far": upstream("far", a.url, price=TokenPrice(input=0.0, output=10.0))}
        config = dataclasses.replace(routing("lamp", "far", upstreams=ups, rent=True), prices={"lamp": 4.0})
        async with stage(routing=config) as s:
            for _ in range(2):
                assert (await s.ask(body=ASK | {"max_tokens": 40_000})).status == 200  # $0.40 of $1.01
                assert s.demand.asked == []
            async with s.client() as client:
                client.send(request(CHAT, ASK | {"max_tokens": 40_000}))
                await s.demand.waiting.wait()


async def test_what_is_busy_is_not_said_to_be_asleep() -> None:
    demand = StageDemand()
    demand.busy = True
    async with stage(demand, routing=routing("lamp", upstreams={}, while_waking=WhileWaking.FAIL)) as s:
        reply = await s.ask(body=ASK)
    assert (reply.status, reply.json["error"]["code"], demand.wanted) == (503, "endpoint_busy", 0)


async def test_retries_are_no_first_attempts() -> None:
    async with endpoint(always(answer(status="503 No"))) as a:
        config = routing("a", upstreams={"a": upstream("a", a.url)}, max_attempts=3)
        config = dataclasses.replace(config, retry=RetryPolicy(base=0.001, cap=0.002))
        async with stage(routing=config) as s:
            await s.ask(body=ASK)
            budget = s.gateway._services.standings._far["a"].budget
            assert budget._requests.total(asyncio.get_running_loop().time()) == 1


async def test_an_upstream_that_a_reload_takes_out_is_passed_by() -> None:
    hold = asyncio.Event()

    async def slow(visit: Visit) -> None:
        await visit.request()
        await hold.wait()
        await visit.say(answer(status="503 No"))

    async with endpoint(slow) as a, endpoint(always(answer(b'"c"'))) as c:
        ups = {"a": upstream("a", a.url), "b": upstream("b", c.url), "c": upstream("c", c.url)}
        async with stage(routing=routing("a", "b", "c", upstreams=ups)) as s, s.client() as client:
            client.send(request(CHAT, ASK))
            await until(lambda: a.visits)
            s.gateway.take(routing("c", upstreams={"c": ups["c"]}))
            hold.set()
            assert (await client.reply()).headers["x-lamplighter-target"] == "c"
