"""A client's connection is kept for its next request, and closed when none comes."""

import asyncio
from time import monotonic

from lamplighter.gateway.settings import GatewaySettings
from tests.gateway_stage import SOON, always, answer, relayed, request, until

CHAT = "/v1/chat/completions"
KEPT = 0.2
SLACK = 0.02  # uvloop's clock counts milliseconds, and stands still while a callback runs


async def test_a_connection_is_kept_for_a_while_after_its_last_answer():
    async with relayed(always(answer()), keep_alive=KEPT) as s, s.client() as client:
        for _ in range(3):
            client.send(request(CHAT))
            assert (await client.reply()).status == 200
            answered = monotonic()
            await asyncio.sleep(KEPT / 2)
        assert await client.reader.read() == b""
        assert monotonic() - answered >= KEPT - SLACK


async def test_a_request_may_take_longer_than_a_connection_is_kept():
    asked = asyncio.Event()
    answering = asyncio.Event()

    async def script(visit):
        while True:
            await visit.request()
            asked.set()
            await answering.wait()
            await visit.say(answer())

    async with relayed(script, keep_alive=KEPT) as s, s.client() as client:
        answering.set()
        client.send(request(CHAT))
        assert (await client.reply()).status == 200
        asked.clear()
        answering.clear()
        client.send(request(CHAT))
        await asked.wait()
        (connection,) = s.connections
        await until(lambda: connection.timeout_keep_alive_task is None)
        answering.set()
        assert (await client.reply()).status == 200
        answered = monotonic()
        assert await client.reader.read() == b""
        assert monotonic() - answered >= KEPT - SLACK


async def test_a_head_that_has_begun_may_take_longer_than_a_connection_is_kept():
    async with relayed(always(answer()), GatewaySettings(head_timeout=5), keep_alive=KEPT) as s, s.client() as client:
        client.send(request(CHAT))
        assert (await client.reply()).status == 200
        client.send(request(CHAT)[:30])
        (connection,) = s.connections
        await until(lambda: connection.timeout_keep_alive_task is None)
        client.send(request(CHAT)[30:])
        assert (await client.reply()).status == 200


async def test_a_connection_has_one_timer_for_all_of_its_requests_and_none_after_its_end():
    async with relayed(always(answer()), SOON) as s:
        async with s.client() as client:
            client.send(request(CHAT))
            assert (await client.reply()).status == 200
            (connection,) = s.connections
            timer = connection.timeout_keep_alive_task
            client.send(request(CHAT) * 3)
            assert [(await client.reply()).status for _ in range(3)] == [200] * 3
            assert connection.timeout_keep_alive_task is timer
            assert not timer.cancelled()
        await until(lambda: not s.connections)
        assert connection.timeout_keep_alive_task is None
        assert timer.cancelled()


async def test_line_breaks_between_requests_do_not_keep_a_connection():
    async with relayed(always(answer()), keep_alive=KEPT) as s, s.client() as client:
        client.send(request(CHAT))
        assert (await client.reply()).status == 200
        client.send(b"\r\n")
        async with asyncio.timeout(5):
            assert await client.reader.read() == b""


async def test_a_connection_to_an_endpoint_that_carried_a_stream_is_not_used_again():
    stream = (
        b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
        b"8\r\ndata: 1\n\r\n0\r\n\r\n"
    )
    visits = []

    async def script(visit):
        visits.append(visit)
        while True:
            await visit.request()
            await visit.say(stream)

    async with relayed(script) as s, s.client() as client:
        for _ in range(3):
            client.send(request(CHAT))
            assert (await client.reply()).status == 200
    assert len(visits) == 3
