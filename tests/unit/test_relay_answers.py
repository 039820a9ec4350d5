"""Whatever an endpoint says, the client gets it byte for byte, or sees that it was broken."""

import asyncio
import itertools
from time import monotonic

import pytest

from lamplighter.gateway.exchange import Exchange
from lamplighter.gateway.settings import GatewaySettings
from lamplighter.gateway.upstream import HIGH_WATER
from tests.gateway_stage import Client, Reply, Script, Visit, always, answer, once, relayed, request

CHAT = "/v1/chat/completions"
BLOCKS = 1600  # 100 MiB: more than the kernel buffers on its own
GET = {"path": "/endpoints/lamp/x", "method": "GET"}


def _parts(*parts: bytes) -> Script:
    """Answers one request piece by piece, each in a packet of its own as far as a loopback goes."""

    async def script(visit: Visit) -> None:
        await visit.request()
        for part in parts:
            await visit.say(part)
            await asyncio.sleep(0.001)

    return script


async def _read_all(client: Client, head: Reply) -> None:
    if "content-length" in head.headers:
        await client.reader.readexactly(int(head.headers["content-length"]))
        return
    while await client.chunk():
        pass


@pytest.mark.parametrize(
    ("said", "status", "body"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", 200, b"hi"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 200, b""),
        (b"HTTP/1.1 418 \r\nContent-Length: 2\r\n\r\nhi", 418, b"hi"),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", 200, b"hi"),
        (b"HTTP/1.1 103 Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", 200, b"hi"),
        (b"HTTP/1.1 204 No\r\n\r\n", 204, b""),
        (b"HTTP/1.1 304 Same\r\nContent-Length: 5\r\n\r\n", 304, b""),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n", 200, b"hi"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n2;a=b;c\r\nhi\r\n0;x\r\n\r\n", 200, b"hi"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nSum: 7\r\n\r\n", 200, b"hi"),
        (b"HTTP/1.1 200 OK\r\n\r\nuntil the end", 200, b"until the end"),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nhi", 200, b"hi"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi and more", 200, b"hi"),
    ],
)
@pytest.mark.parametrize("torn", [False, True], ids=["whole", "torn"])
async def test_every_framing_of_an_answer(said, status, body, torn):
    pieces = [said[i : i + 7] for i in range(0, len(said), 7)] if torn else [said]
    async with relayed(_parts(*pieces)) as s:
        reply = await s.ask(**GET)
        assert (reply.status, reply.body, reply.cut) == (status, body, False)
        assert "sum" not in reply.headers
        assert "link" not in reply.headers
        assert (await s.usage.one()).outcome == "served"


async def test_the_answer_to_head_has_its_length_and_no_body():
    async with relayed(always(b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n")) as s, s.client() as client:
        for _ in range(2):
            client.send(request("/endpoints/lamp/", method="HEAD"))
            reply = await client.reply(method="HEAD")
            assert (reply.status, reply.headers["content-length"]) == (200, "7")


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"HTTP/1.1 200",
        b"SSH-2.0 OpenSSH_9.2\r\n",
        b"\x16\x03\x01\x02\x00",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nhi",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nxx",
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
        b"HTTP/1.1 999 Odd\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: " + b"0" * 5000 + b"2\r\n\r\nhi",
        b"HTTP/1.1 200 OK\r\nA: b\r\n c\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA: \x00\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA: " + b"a" * 600_000 + b"\r\nContent-Length: 0\r\n\r\n",
    ],
    ids=lambda said: said[:60],
)
async def test_what_is_no_answer_is_a_bad_gateway_and_is_not_asked_twice(said):
    async with relayed(once(said)) as s:
        reply = await s.ask()
        assert (reply.status, reply.json["error"]["code"]) == (502, "upstream_broken")
        assert (await s.usage.one()).outcome == "failed"
        assert (s.demand.claims[0].failures, s.demand.claims[0].releases) == (1, 1)
        assert len(s.demand.claims) == 1


async def test_a_reset_before_the_first_byte_is_a_bad_gateway():
    async def script(visit):
        await visit.request()
        visit.reset()

    async with relayed(script) as s:
        assert (await s.ask()).status == 502


@pytest.mark.parametrize(
    "said",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\nzz\r\n",
    ],
)
@pytest.mark.parametrize("reset", [False, True], ids=["goodbye", "reset"])
async def test_an_answer_that_breaks_off_breaks_off_for_the_client_too(said, reset, caplog):
    begun = asyncio.Event()

    async def script(visit):
        await visit.request()
        await visit.say(said)
        await begun.wait()
        if reset:
            visit.reset()

    async with relayed(script) as s, s.client() as client:
        client.send(request(CHAT))
        head = await client.head()
        begun.set()
        with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
            await _read_all(client, head)
        assert (await s.usage.one()).outcome == "cut"
        assert s.demand.claims[0].releases == 1
    assert not [r for r in caplog.records if r.name.startswith("uvicorn") or r.exc_info]
    assert [r for r in caplog.records if "code=upstream_broken" in r.getMessage()]


async def test_a_chunk_arrives_before_the_next_one_is_said():
    heard = asyncio.Event()

    async def script(visit):
        await visit.request()
        await visit.say(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        for event in (b"data: 1\n\n", b"data: 2\n\n", b"data: [DONE]\n\n"):
            await visit.say(b"%x\r\n%b\r\n" % (len(event), event))
            await heard.wait()
            heard.clear()
        await visit.say(b"0\r\n\r\n")

    async with relayed(script) as s, s.client() as client:
        client.send(request(CHAT))
        assert (await client.head()).headers["content-type"] == "text/event-stream"
        for event in (b"data: 1\n\n", b"data: 2\n\n", b"data: [DONE]\n\n"):
            assert await client.chunk() == event
            assert not s.demand.claims[0].releases
            heard.set()
        assert await client.chunk() == b""
        await asyncio.wait_for(s.demand.claims[0].released.wait(), 5)


async def test_the_head_of_a_stream_arrives_before_its_first_chunk():
    heard = asyncio.Event()

    async def script(visit):
        await visit.request()
        await visit.say(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        await heard.wait()
        await visit.say(b"0\r\n\r\n")

    async with relayed(script) as s, s.client() as client:
        client.send(request(CHAT))
        await client.head()
        heard.set()
        assert await client.chunk() == b""


async def test_a_slow_client_holds_the_endpoint_back_and_not_our_memory():
    block = bytes(range(256)) * 256
    total = BLOCKS * len(block)
    said = 0
    stuck = asyncio.Event()

    async def script(visit):
        nonlocal said
        await visit.request()
        await visit.say(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % total)
        for _ in range(BLOCKS):
            visit.writer.write(block)
            try:
                await asyncio.wait_for(visit.writer.drain(), 0.3)
            except TimeoutError:
                stuck.set()
                await visit.writer.drain()
            said += len(block)

    async with relayed(script) as s, s.client() as client:
        client.send(request(CHAT))
        await client.head()
        await stuck.wait()
        (x,) = s.gateway._services.sweeper.active
        assert isinstance(x, Exchange)
        assert x.upstream is not None
        assert x.upstream._buffered <= 2 * HIGH_WATER
        assert said < total
        seen = 0
        for _ in range(BLOCKS):
            assert await client.reader.readexactly(len(block)) == block
            seen += len(block)
        assert seen == total
        assert (await s.usage.one()).bytes_out == total


async def test_a_hundred_megabytes_pass_unchanged():
    block = bytes(range(256)) * 4096
    count = 100

    async def script(visit):
        await visit.request()
        await visit.say(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(count):
            await visit.say(b"%x\r\n%b\r\n" % (len(block), block))
        await visit.say(b"0\r\n\r\n")

    async with relayed(script) as s, s.client() as client:
        client.send(request(CHAT))
        await client.head()
        at = 0
        while chunk := await client.chunk():
            assert chunk == (block[at % 256 : at % 256 + 256] * (len(chunk) // 256 + 1))[: len(chunk)] or (
                chunk == bytes(itertools.islice(itertools.cycle(block[:256]), at % 256, at % 256 + len(chunk)))
            )
            at += len(chunk)
        assert at == count * len(block)


async def test_an_answer_that_does_not_come_in_time_is_a_gateway_timeout():
    async def script(visit):
        await visit.request()
        await visit.gone()

    async with relayed(script, GatewaySettings(first_byte_timeout=0.03, sweep_every=0.01)) as s:
        reply = await s.ask()
        assert (reply.status, reply.json["error"]["code"]) == (504, "upstream_timeout")
        assert (await s.usage.one()).outcome == "failed"
        assert (s.demand.claims[0].failures, s.demand.claims[0].releases) == (0, 1), "slow is not unreachable"


async def test_an_answer_is_cut_when_it_stands_still_and_not_while_it_moves():
    going_on = asyncio.Event()

    async def script(visit):
        await visit.request()
        await visit.say(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n")
        await going_on.wait()
        await visit.say(b"1\r\nb\r\n")
        await visit.gone()

    settings = GatewaySettings(between_bytes_timeout=300, sweep_every=3600)
    async with relayed(script, settings) as s, s.client() as client:
        client.send(request(CHAT))
        await client.head()
        assert await client.chunk() == b"a"
        (x,) = s.gateway._services.sweeper.active
        now = monotonic()
        x.tick(now)
        x.tick(now + 299)
        going_on.set()
        assert await client.chunk() == b"b"
        x.tick(now + 301)
        x.tick(now + 600)
        x.tick(now + 602)
        with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
            await client.chunk()
        assert (await s.usage.one()).outcome == "cut"


async def test_pipelined_requests_are_answered_in_order():
    numbers = itertools.count()

    async def script(visit):
        while True:
            await visit.request()
            await visit.say(answer(b"%d" % next(numbers)))

    async with relayed(script) as s, s.client() as client:
        client.send(request(CHAT) * 3)
        assert [(await client.reply()).body for _ in range(3)] == [b"0", b"1", b"2"]
