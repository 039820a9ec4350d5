"""A request is held while its endpoint wakes, and everything it held is given back however it ends."""

import asyncio
import socket

import pytest

from lamplighter.gateway import server as server_module
from lamplighter.gateway.app import Gateway
from lamplighter.gateway.server import GatewayServer, uvicorn_config
from lamplighter.gateway.settings import GatewaySettings
from tests.gateway_stage import (
    SOON,
    Client,
    Records,
    StageDemand,
    answer,
    endpoint,
    once,
    relayed,
    request,
    stage,
    until,
)
from tests.gateway_stage import always as always_answering

CHAT = "/v1/chat/completions"

LOOK = 0.005


async def test_a_held_request_is_served_after_the_grant():
    async with endpoint(always_answering(answer(b'{"lit":1}'))) as there, stage() as s, s.client() as client:
        client.send(request(CHAT, {"model": "bulb"}))
        await s.demand.waiting.wait()
        s.demand.wake(there.url)
        reply = await client.reply()
        assert (reply.status, reply.json) == (200, {"lit": 1})
        assert reply.headers["x-lamplighter-target"] == "lamp"
        assert reply.headers["x-lamplighter-waited-ms"] == "1500"
        record = await s.usage.one()
        assert (record.outcome, record.waited, record.status) == ("served", 1.5, 200)
        assert (record.bytes_out, record.route) == (9, CHAT)
        assert s.demand.asked == [None]
        assert s.demand.claims[0].releases == 1
        assert s.idle


@pytest.mark.parametrize(("given", "passed", "told"), [("2.5", 2.5, None), ("0", 0.0, None), ("9000", 60.0, "60")])
async def test_the_client_says_how_long_it_may_be_held_up_to_a_bound(given, passed, told):
    settings = GatewaySettings(max_hold=60, sweep_every=0.01)
    async with endpoint(always_answering(answer())) as there, stage(settings=settings) as s, s.client() as client:
        client.send(request(CHAT, x_scale_up_timeout=given))
        await s.demand.waiting.wait()
        assert s.demand.asked[0] == pytest.approx(passed, abs=1.0)
        s.demand.wake(there.url)
        reply = await client.reply()
        assert reply.headers.get("x-lamplighter-hold-limit") == told


async def test_a_client_that_leaves_while_held_withdraws_its_demand():
    async with stage() as s:
        async with s.client() as client:
            client.send(request(CHAT))
            await s.demand.waiting.wait()
        await asyncio.wait_for(s.demand.cancelled.wait(), 5)
        record = await s.usage.one()
        assert (record.outcome, record.status) == ("client_gone", 499)
        assert s.idle


async def test_a_client_that_leaves_amid_its_body_wakes_nothing():
    async with stage() as s:
        async with s.client() as client:
            client.send(request(CHAT, {"model": "lamp"})[:-3])
            await until(lambda: s.gateway.in_progress)
        await until(lambda: not s.gateway.in_progress)
        assert not s.demand.touched
        assert not s.usage.all


async def test_a_client_that_leaves_before_the_first_byte_ends_the_endpoint_s_work():
    gone = asyncio.Event()
    reached = asyncio.Event()

    async def script(visit):
        await visit.request()
        reached.set()
        await visit.gone()
        gone.set()

    async with relayed(script) as s:
        async with s.client() as client:
            client.send(request(CHAT))
            await reached.wait()
        await asyncio.wait_for(gone.wait(), 5)
        assert (await s.usage.one()).outcome == "client_gone"
        assert s.demand.claims[0].releases == 1
        assert s.demand.claims[0].failures == 0
        assert s.idle


async def test_a_client_that_leaves_amid_a_stream_ends_the_endpoint_s_work():
    gone = asyncio.Event()

    async def script(visit):
        await visit.request()
        await visit.say(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n")
        await visit.gone()
        gone.set()

    async with relayed(script) as s:
        async with s.client() as client:
            client.send(request(CHAT))
            await client.head()
            assert await client.chunk() == b"hi"
            assert s.demand.claims[0].releases == 0
        await asyncio.wait_for(gone.wait(), 5)
        record = await s.usage.one()
        assert (record.outcome, record.status, record.bytes_out) == ("client_gone", 200, 2)
        assert s.demand.claims[0].releases == 1


async def test_an_endpoint_that_can_t_be_reached_is_claimed_again_once():
    async with endpoint(once(b"")) as gone_soon:
        dead = gone_soon.url
    async with endpoint(always_answering(answer())) as there, stage(StageDemand(dead)) as s:
        async with s.client() as client:
            client.send(request(CHAT))
            await s.demand.waiting.wait()
            assert [(claim.failures, claim.releases) for claim in s.demand.claims] == [(1, 1)]
            s.demand.wake(there.url)
            assert (await client.reply()).status == 200
        assert [claim.releases for claim in s.demand.claims] == [1, 1]


async def test_an_endpoint_that_stays_unreachable_is_a_bad_gateway():
    async with endpoint(once(b"")) as gone_soon:
        dead = gone_soon.url
    async with stage(StageDemand(dead)) as s, s.client() as client:
        client.send(request(CHAT))
        await s.demand.waiting.wait()
        s.demand.wake(dead)
        reply = await client.reply()
        assert (reply.status, reply.json["error"]["code"]) == (502, "upstream_unreachable")
        assert reply.json["error"]["type"] == "server_error"
        assert (await s.usage.one()).outcome == "failed"
        assert [(claim.failures, claim.releases) for claim in s.demand.claims] == [(1, 1), (1, 1)]


@pytest.mark.parametrize("url", ["ftp://x", "http://", "http://h:99999", "http://h/\r\nx"])
async def test_a_replica_whose_url_is_no_good_is_a_bad_gateway(url):
    async with stage(StageDemand(url)) as s:
        assert (await s.ask()).status == 502
        assert (s.demand.claims[0].failures, s.demand.claims[0].releases) == (1, 1)


async def test_the_server_s_end_lets_streams_finish_until_the_deadline():
    going_on = asyncio.Event()

    async def script(visit):
        await visit.request()
        await visit.say(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n")
        await going_on.wait()
        await visit.say(b"0\r\n\r\n")

    async with relayed(script) as s, s.client() as client:
        client.send(request(CHAT))
        await client.head()
        await client.chunk()
        draining = asyncio.create_task(s.gateway.drain(5))
        await asyncio.sleep(0)
        going_on.set()
        assert await client.chunk() == b""
        await draining
        assert (await s.usage.one()).outcome == "served"


async def test_a_stream_finishes_while_the_server_goes_away():
    going_on = asyncio.Event()

    async def script(visit):
        await visit.request()
        await visit.say(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n")
        await going_on.wait()
        await visit.say(b"0\r\n\r\n")

    async with endpoint(script) as there:
        usage = Records()
        gateway = Gateway(StageDemand(there.url), usage)
        with socket.create_server(("127.0.0.1", 0)) as listener:
            server = GatewayServer(gateway, uvicorn_config(gateway, log_config=None), grace=5)
            serving = asyncio.create_task(server.serve([listener]))
            await until(lambda: server.started)
            address = listener.getsockname()
            reader, writer = await asyncio.open_connection(*address)
            client = Client(reader, writer)
            client.send(request(CHAT))
            await client.head()
            server.should_exit = True
            await until(lambda: gateway.closing)
            with pytest.raises(ConnectionRefusedError):
                await asyncio.open_connection(*address)
            going_on.set()
            assert await client.reader.read() == b"2\r\nhi\r\n0\r\n\r\n"
            await serving
            writer.close()
        assert (await usage.one()).outcome == "served"


async def test_a_request_that_has_begun_to_come_is_answered_by_the_server_that_hands_over(monkeypatch):
    monkeypatch.setattr(server_module, "_LINGER_LOOK", LOOK)
    async with endpoint(always_answering(answer())) as there:
        gateway = Gateway(StageDemand(there.url), Records())
        with socket.create_server(("127.0.0.1", 0)) as listener:
            config = uvicorn_config(gateway, log_config=None)
            server = GatewayServer(gateway, config, grace=5, hands_over=True)
            serving = asyncio.create_task(server.serve([listener]))
            await until(lambda: server.started)
            reader, writer = await asyncio.open_connection(*listener.getsockname())
            client = Client(reader, writer)
            whole = request(CHAT)
            client.send(whole[:40])
            await until(lambda: any(one.is_asked for one in server._connections()))
            server.should_exit = True
            await until(lambda: gateway.closing)
            await asyncio.sleep(10 * LOOK)
            client.send(whole[40:])
            assert (await client.reply()).status == 200
            await serving
            writer.close()


async def test_at_the_deadline_of_the_server_s_end_waiters_are_told_and_streams_are_cut():
    async def script(visit):
        await visit.request()
        await visit.say(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n")
        await visit.gone()

    async with relayed(script) as s, s.client() as streaming, s.client() as waiting:
        streaming.send(request(CHAT))
        await streaming.head()
        await streaming.chunk()
        s.demand.replica = None
        waiting.send(request(CHAT))
        await s.demand.waiting.wait()
        await s.gateway.drain(0.01)
        reply = await waiting.reply()
        assert (reply.status, reply.json["error"]["code"]) == (503, "shutting_down")
        with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
            await streaming.chunk()
        assert {record.outcome for record in s.usage.all} == {"cut", "refused"}
        assert s.idle


async def test_a_form_s_model_field_chooses_the_endpoint():
    form = (
        b'--b0\r\nContent-Disposition: form-data; name="file"; filename="model"\r\n\r\nnoise\r\n--b0\r\n'
        b'Content-Disposition: form-data; name="model"\r\n\r\nbulb\r\n--b0--\r\n'
    )
    async with relayed(always_answering(answer())) as s:
        reply = await s.ask("/v1/audio/transcriptions", form, content_type="multipart/form-data; boundary=b0")
        assert (reply.status, reply.headers["x-lamplighter-target"]) == (200, "lamp")
        nameless = form.replace(b'name="model"', b'name="other"')
        reply = await s.ask("/v1/audio/transcriptions", nameless, content_type="multipart/form-data; boundary=b0")
        assert (reply.status, "no field 'model'" in reply.json["error"]["message"]) == (400, True)
        reply = await s.ask("/v1/audio/transcriptions", form, content_type="multipart/form-data")
        assert (reply.status, "no boundary" in reply.json["error"]["message"]) == (400, True)


async def test_a_header_can_name_the_model_where_the_body_can_t():
    async with relayed(always_answering(answer())) as s:
        assert (await s.ask("/v1/files/7", method="GET", x_lamplighter_model="bulb")).status == 200
        assert (await s.ask("/v1/raw", b"\x00", x_lamplighter_model="bulb")).status == 200
        assert (await s.ask("/v1/raw", b"\x00", x_lamplighter_model="none")).status == 404


async def test_without_our_server_protocol_everything_works_as_well():
    """The extensions are a short cut, not a condition."""
    async with relayed(always_answering(answer(b"12345"))) as s:
        sent = []
        body = b'{"model": "lamp"}'
        incoming = [{"type": "http.request", "body": body[:5], "more_body": True}]
        incoming.append({"type": "http.request", "body": body[5:], "more_body": False})

        async def receive():
            if incoming:
                return incoming.pop(0)
            return await asyncio.Future()

        async def send(message):
            sent.append(message)

        scope = {"type": "http", "method": "POST", "path": CHAT, "raw_path": CHAT.encode(), "query_string": b"q=1"}
        await s.gateway(scope | {"headers": []}, receive, send)
        assert sent[0]["status"] == 200
        assert b"".join(message.get("body", b"") for message in sent[1:]) == b"12345"
        assert s.idle


async def test_a_hundred_clients_at_once_are_all_served():
    async with relayed(always_answering(answer()), SOON) as s:
        replies = await asyncio.gather(*(s.ask() for _ in range(100)))
        assert {reply.status for reply in replies} == {200}
        assert len({reply.headers["x-request-id"] for reply in replies}) == 100
        assert all(claim.releases == 1 for claim in s.demand.claims)


async def test_a_health_probe_of_a_sleeping_endpoint_is_answered_and_wakes_nothing():
    async with stage() as s, s.client() as client:
        client.send(request("/endpoints/lamp/health", method="GET"))
        reply = await client.reply()
        assert (reply.status, reply.json["reason"]) == (503, "unavailable")
        assert not s.demand.touched


async def test_a_health_probe_that_asks_to_be_held_is_answered_when_the_endpoint_is_awake_and_wakes_nothing():
    async with (
        endpoint(always_answering(answer(b'{"ok":1}'))) as there,
        stage() as s,
        s.client() as client,
    ):
        client.send(request("/endpoints/lamp/health", method="GET", x_scale_up_timeout="30"))
        await s.demand.waiting.wait()
        assert not s.demand.touched
        s.demand.open(there.url)
        assert (await client.reply()).status == 200
        assert s.demand.probed == [pytest.approx(30, abs=1)]
        assert [claim.counts for claim in s.demand.claims] == [False]
        await s.demand.claims[0].released.wait()


async def test_a_health_probe_is_held_no_longer_than_it_asks_for():
    async with stage() as s:
        reply = await s.ask("/endpoints/lamp/health", method="GET", x_scale_up_timeout="0.05")
        assert (reply.status, reply.json["code"], reply.json["reason"]) == (503, "SERVICE_UNAVAILABLE", "unavailable")
        assert reply.headers["retry-after"]
        assert not s.demand.touched
        assert s.idle


async def test_held_health_probes_do_not_hold_up_the_end_of_the_server():
    async with stage() as s, s.client() as client:
        client.send(request("/endpoints/lamp/health", method="GET", x_scale_up_timeout="600"))
        await s.demand.waiting.wait()
        await s.gateway.drain(600.0)
        assert (await client.reply()).json["reason"] == "shutting_down"


async def test_a_client_that_leaves_ends_its_held_probe():
    async with stage() as s:
        async with s.client() as client:
            client.send(request("/endpoints/lamp/health", method="GET", x_scale_up_timeout="600"))
            await s.demand.waiting.wait()
        await until(lambda: s.idle)


async def test_a_health_probe_of_an_awake_endpoint_is_passed_on_and_does_not_keep_it_awake():
    async with (
        endpoint(always_answering(answer(b'{"ok":1}'))) as there,
        stage(StageDemand(there.url)) as s,
        s.client() as client,
    ):
        client.send(request("/endpoints/lamp/health", method="GET"))
        assert (await client.reply()).status == 200
        client.send(request("/endpoints/lamp/other", method="GET"))
        assert (await client.reply()).status == 200
        assert [claim.counts for claim in s.demand.claims] == [False, True]
