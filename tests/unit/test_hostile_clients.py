"""Clients that lie, dawdle, leave and flood: each request is understood one way or refused, and costs a bounded amount."""

import asyncio
import resource
import socket

import pytest

from lamplighter.domain.endpoint import Replica
from lamplighter.gateway import server as gateway_server
from lamplighter.gateway.descriptors import connections_possible
from lamplighter.gateway.settings import GatewaySettings
from tests.gateway_stage import (
    SOON,
    Client,
    StageDemand,
    Visit,
    always,
    answer,
    endpoint,
    relayed,
    request,
    reset,
    stage,
    until,
)

CHAT = "/v1/chat/completions"
BODY = b'{"model": "lamp"}'
POST = b"POST /v1/x HTTP/1.1\r\nhost: g\r\n"
LENGTH = b"content-length: 17\r\n"
CHUNKED = b"transfer-encoding: chunked\r\n"
CHUNKS = b"11\r\n" + BODY + b"\r\n0\r\n\r\n"
SECOND = b"GET /endpoints/lamp/second HTTP/1.1\r\nhost: g\r\n\r\n"
STREAM = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n"


class Recorder:
    """An endpoint that reads as strictly as HTTP allows, and keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, bytes]] = []
        self.headers: list[dict[str, str]] = []

    async def __call__(self, visit: Visit) -> None:
        while True:
            line, headers, body = await visit.request()
            method, path, version = line.split(" ")
            assert version == "HTTP/1.1"
            assert "transfer-encoding" not in headers
            self.asked.append((f"{method} {path}", body))
            self.headers.append(headers)
            await visit.say(answer(b"%d" % len(self.asked)))


async def rest_of(client: Client) -> bytes:
    """All that comes until the server hangs up."""
    got = b""
    try:
        while piece := await client.reader.read(65536):
            got += piece
    except ConnectionError:
        pass
    return got


def statuses(raw: bytes) -> list[int]:
    return [int(part[:3]) for part in raw.split(b"HTTP/1.1 ")[1:]]


# Framing

REFUSED = {
    "length and chunks": POST + LENGTH + CHUNKED + b"\r\n" + CHUNKS,
    "chunks and length": POST + CHUNKED + LENGTH + b"\r\n" + CHUNKS,
    "two lengths": POST + LENGTH + b"content-length: 18\r\n\r\n" + BODY,
    "the same length twice": POST + LENGTH + LENGTH + b"\r\n" + BODY,
    "a list of lengths": POST + b"content-length: 17, 17\r\n\r\n" + BODY,
    "a signed length": POST + b"content-length: +17\r\n\r\n" + BODY,
    "a negative length": POST + b"content-length: -17\r\n\r\n" + BODY,
    "a length in another base": POST + b"content-length: 0x11\r\n\r\n" + BODY,
    "a length in two words": POST + b"content-length: 1 7\r\n\r\n" + BODY,
    "a length beyond any number": POST + b"content-length: 99999999999999999999\r\n\r\n" + BODY,
    "an empty length": POST + b"content-length: \r\n\r\n" + BODY,
    "a space before the colon of the length": POST + b"content-length : 17\r\n\r\n" + BODY,
    "a space before the colon of the coding": POST + b"transfer-encoding : chunked\r\n\r\n" + CHUNKS,
    "a coding that nobody knows": POST + b"transfer-encoding: xchunked\r\n\r\n" + CHUNKS,
    "the identity coding": POST + b"transfer-encoding: identity\r\n\r\n" + CHUNKS,
    "chunks that are not the last coding": POST + b"transfer-encoding: chunked, identity\r\n\r\n" + CHUNKS,
    "chunked twice": POST + CHUNKED + CHUNKED + b"\r\n" + CHUNKS,
    "a control character before the coding": POST + b"transfer-encoding: \x0bchunked\r\n\r\n" + CHUNKS,
    "a folded coding": POST + b"transfer-encoding:\r\n chunked\r\n\r\n" + CHUNKS,
    "a folded header": POST + b"a: b\r\n c\r\n" + LENGTH + b"\r\n" + BODY,
    "line feeds alone": POST.replace(b"\r", b"") + b"content-length: 17\n\n" + BODY,
    "a line feed within a header": POST + b"a: b\nc: d\r\n" + LENGTH + b"\r\n" + BODY,
    "a carriage return within a header": POST + b"a: b\rc: d\r\n" + LENGTH + b"\r\n" + BODY,
    "a zero byte within a header": POST + b"a: b\x00c\r\n" + LENGTH + b"\r\n" + BODY,
    "a space within a header's name": POST + b"a b: c\r\n" + LENGTH + b"\r\n" + BODY,
    "a header without a colon": POST + b"abc\r\n" + LENGTH + b"\r\n" + BODY,
    "a header without a name": POST + b": c\r\n" + LENGTH + b"\r\n" + BODY,
    "a space before the first header": b"POST /v1/x HTTP/1.1\r\n host: g\r\n" + LENGTH + b"\r\n" + BODY,
    "a negative chunk": POST + CHUNKED + b"\r\n-11\r\n" + BODY + b"\r\n0\r\n\r\n",
    "a chunk with a prefix": POST + CHUNKED + b"\r\n0x11\r\n" + BODY + b"\r\n0\r\n\r\n",
    "a chunk beyond any number": POST + CHUNKED + b"\r\nffffffffffffffffff\r\n" + BODY + b"\r\n0\r\n\r\n",
    "a space after a chunk's size": POST + CHUNKED + b"\r\n11 \r\n" + BODY + b"\r\n0\r\n\r\n",
    "line feeds alone between chunks": POST + CHUNKED + b"\r\n11\n" + BODY + b"\n0\n\n",
    "a line feed in a chunk's extension": POST + CHUNKED + b"\r\n11;a\n" + BODY + b"\r\n0\r\n\r\n",
    "a chunk that is longer than it says": POST + CHUNKED + b"\r\n11\r\n" + BODY + b"XX\r\n0\r\n\r\n",
    "a chunk that is shorter than it says": POST + CHUNKED + b"\r\n14\r\n" + BODY + b"\r\n0\r\n\r\n",
    "a chunk without a size": POST + CHUNKED + b"\r\n\r\n",
    "a length among the trailers": POST + CHUNKED + b"\r\n11\r\n" + BODY + b"\r\n0\r\ncontent-length: 3\r\n\r\n",
    "the end of the connection among the trailers": POST
    + CHUNKED
    + b"\r\n11\r\n"
    + BODY
    + b"\r\n0\r\nconnection: close\r\n\r\n",
    "a coding among the trailers": POST
    + CHUNKED
    + b"\r\n11\r\n"
    + BODY
    + b"\r\n0\r\ntransfer-encoding: chunked\r\n\r\n",
    "a tab within the target": b"GET /endpoints/lamp/a\tHTTP/1.1 HTTP/1.1\r\nhost: g\r\n\r\n",
    "a form feed within the target": b"GET /endpoints/lamp/a\x0cb HTTP/1.1\r\nhost: g\r\n\r\n",
    "a zero byte within the target": b"GET /endpoints/lamp/a\x00b HTTP/1.1\r\nhost: g\r\n\r\n",
    "bytes beyond ASCII within the path": b"GET /endpoints/lamp/\xe9 HTTP/1.1\r\nhost: g\r\n\r\n",
    "bytes beyond ASCII within the query": b"GET /endpoints/lamp/?\xe9 HTTP/1.1\r\nhost: g\r\n\r\n",
    "a target without a path": b"GET http://elsewhere HTTP/1.1\r\nhost: g\r\n\r\n",
    "a tunnel": b"CONNECT lamp:443 HTTP/1.1\r\nhost: g\r\n\r\n",
    "a version that is none": b"GET /endpoints/lamp/a HTTP/1.2\r\nhost: g\r\n\r\n",
    "the preface of HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "a method in small letters": b"get /endpoints/lamp/a HTTP/1.1\r\nhost: g\r\n\r\n",
    "a method that nobody knows": b"SMUGGLE /endpoints/lamp/a HTTP/1.1\r\nhost: g\r\n\r\n",
}

SERVED = {
    "spaces around the length": POST + b"content-length:   17  \r\n\r\n" + BODY,
    "a tab before the coding": POST + b"transfer-encoding:\tchunked\r\n\r\n" + CHUNKS,
    "chunks with extensions": POST + CHUNKED + b'\r\n11;a=b;c="d"\r\n' + BODY + b"\r\n0;e\r\n\r\n",
    "a chunk's size with zeros before it": POST + CHUNKED + b"\r\n" + b"0" * 100 + CHUNKS,
    "empty lines before": b"\r\n\r\n" + POST + LENGTH + b"\r\n" + BODY,
    "an absolute target": POST.replace(b"/v1/x", b"http://elsewhere/v1/x") + LENGTH + b"\r\n" + BODY,
    "a request for HTTP/2": POST + b"connection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\nhttp2-settings: x\r\n" + LENGTH + b"\r\n" + BODY,
    "a request for HTTP/2 in chunks": POST + b"connection: upgrade\r\nupgrade: h2c\r\n" + CHUNKED + b"\r\n" + CHUNKS,
    "a request for TLS": POST + b"connection: keep-alive, upgrade\r\nupgrade: TLS/1.2\r\n" + LENGTH + b"\r\n" + BODY,
}  # fmt: skip


@pytest.mark.parametrize("raw", REFUSED.values(), ids=REFUSED)
async def test_what_two_servers_could_read_in_two_ways_reaches_none(raw):
    recorder = Recorder()
    async with relayed(recorder) as s, s.client() as client:
        client.send(raw + SECOND)
        assert statuses(await rest_of(client)) == [400]
        assert not s.demand.touched
    assert not recorder.asked


@pytest.mark.parametrize("torn", [False, True], ids=["whole", "torn"])
@pytest.mark.parametrize("raw", SERVED.values(), ids=SERVED)
async def test_what_can_be_read_in_one_way_alone_is_served_as_one_request(raw, torn):
    recorder = Recorder()
    async with relayed(recorder) as s, s.client() as client:
        for piece in [raw[i : i + 11] for i in range(0, len(raw), 11)] if torn else [raw]:
            client.send(piece)
            await asyncio.sleep(0.0005 if torn else 0)
        assert (await client.reply()).body == b"1"
        client.send(SECOND)
        assert (await client.reply()).body == b"2"
    assert recorder.asked == [("POST /v1/x", BODY), ("GET /second", b"")]
    assert not recorder.headers[0].keys() & {"connection", "upgrade", "http2-settings", "transfer-encoding"}


async def test_a_request_for_another_protocol_may_come_together_with_the_next_request():
    recorder = Recorder()
    async with relayed(recorder) as s, s.client() as client:
        client.send(SERVED["a request for HTTP/2"] + SECOND)
        assert [(await client.reply()).body for _ in range(2)] == [b"1", b"2"]
    assert recorder.asked == [("POST /v1/x", BODY), ("GET /second", b"")]


async def test_many_requests_for_another_protocol_at_once_are_not_unrolled():
    recorder = Recorder()
    async with relayed(recorder) as s, s.client() as client:
        client.send(SERVED["a request for HTTP/2"] * 1000)
        assert statuses(await rest_of(client)) == [200]
    assert len(recorder.asked) == 1


async def test_a_websocket_is_refused_and_the_connection_stays_good():
    recorder = Recorder()
    async with relayed(recorder) as s, s.client() as client:
        client.send(request("/endpoints/lamp/ws", method="GET", connection="Upgrade", upgrade="websocket"))
        assert (await client.reply()).status == 501
        client.send(SECOND)
        assert (await client.reply()).status == 200


async def test_a_coding_that_would_be_lost_on_the_way_is_refused():
    """What is within the chunks is compressed, and the endpoint would not be told."""
    recorder = Recorder()
    async with relayed(recorder) as s, s.client() as client:
        client.send(POST + b"transfer-encoding: gzip, chunked\r\n\r\n" + CHUNKS)
        reply = await client.reply()
        assert (reply.status, "gzip" in reply.json["error"]["message"]) == (400, True)
    assert not recorder.asked


async def test_a_length_that_has_more_digits_than_any_body_is_refused():
    recorder = Recorder()
    async with relayed(recorder) as s, s.client() as client:
        client.send(POST + b"content-length: " + b"0" * 5000 + b"17\r\n\r\n" + BODY + SECOND)
        reply = await client.reply()
        assert (reply.status, reply.json["error"]["param"]) == (400, "Content-Length")
        assert (await client.reply()).status == 200
    assert recorder.asked == [("GET /second", b"")]


async def test_chunks_of_an_old_client_end_its_connection():
    recorder = Recorder()
    async with relayed(recorder) as s, s.client() as client:
        client.send(POST.replace(b"1.1", b"1.0") + CHUNKED + b"\r\n" + CHUNKS + SECOND)
        assert statuses(await rest_of(client)) == [200]
    assert recorder.asked == [("POST /v1/x", BODY)]


async def test_an_old_client_gets_no_chunks_which_it_could_not_read():
    """RFC 9112, section 6.1: such a body lasts until the connection is closed."""
    chunked = STREAM + b"0\r\n\r\n"
    async with relayed(always(chunked)) as s, s.client() as client:
        client.send(b"GET /endpoints/lamp/x HTTP/1.0\r\n\r\n")
        head, _, body = (await rest_of(client)).partition(b"\r\n\r\n")
        assert (b"transfer-encoding" in head, body) == (False, b"hi")


async def test_an_answer_to_an_old_client_that_breaks_is_cut():
    async def script(visit):
        await visit.request()
        await visit.say(STREAM)
        visit.reset()

    async with relayed(script) as s, s.client() as client:
        client.send(b"GET /endpoints/lamp/x HTTP/1.0\r\n\r\n")
        with pytest.raises(ConnectionResetError):
            await client.reader.read()


async def test_nothing_is_read_on_a_connection_that_the_client_said_it_would_close():
    recorder = Recorder()
    async with relayed(recorder) as s, s.client() as client:
        client.send(POST + b"connection: close\r\n" + LENGTH + b"\r\n" + BODY + SECOND)
        assert statuses(await rest_of(client)) == [200]
    assert recorder.asked == [("POST /v1/x", BODY)]


# What comes beside the body


@pytest.mark.parametrize(
    "name", ["x-secret", "x-scale-up-timeout", "authorization", "x-lamplighter-model", "host", "expect"]
)
async def test_trailers_are_no_headers(name):  # fmt: skip
    recorder = Recorder()
    async with relayed(recorder) as s, s.client() as client:
        client.send(POST + CHUNKED + b"\r\n" + CHUNKS[:-2] + name.encode() + b": 100-continue\r\n\r\n")
        assert (await client.reply()).status == 200
        client.send(SECOND)
        assert (await client.reply()).status == 200
    assert "100-continue" not in recorder.headers[0].values()


@pytest.mark.parametrize(
    "endless",
    [b"x: " + b"a" * 1000, b"x-%d: y\r\n" * 100],
    ids=["one trailer", "many trailers"],
)
async def test_trailers_without_end_are_cut_short(endless):
    async with stage() as s, s.client() as client:
        client.send(POST + CHUNKED + b"\r\n1\r\n{\r\n0\r\n")
        await flood(client, endless)
        assert 431 in statuses(await rest_of(client)) or client.writer.transport.is_closing()
        await until(lambda: s.idle)
        assert not s.demand.touched


async def test_chunk_extensions_without_end_are_cut_short():
    async with stage() as s, s.client() as client:
        client.send(POST + CHUNKED + b"\r\n1\r\n{\r\n1;")
        await flood(client, b"a" * 1000)
        await rest_of(client)
        await until(lambda: s.idle)


async def flood(client: Client, data: bytes, most: int = 8_000_000) -> int:
    """Send the same over and over until the server hangs up; fails if it never does."""
    sent = 0
    try:
        while sent < most:
            client.send(data)
            sent += len(data)
            await client.writer.drain()
            await asyncio.sleep(0)
    except ConnectionError:
        return sent
    raise AssertionError(f"{sent} bytes were taken")


# What comes behind a request


async def test_what_comes_behind_a_request_never_takes_the_place_of_its_answer():  # fmt: skip
    for garbage in (b"GARBAGE\r\n\r\n", b"\x16\x03\x01", b"GET / HTTP/1.1\r\na b: c\r\n\r\n", b"X" + SECOND):
        recorder = Recorder()
        async with relayed(recorder) as s, s.client() as client:
            client.send(POST + LENGTH + b"\r\n" + BODY + garbage)
            assert statuses(await rest_of(client)) == [200]
        assert recorder.asked == [("POST /v1/x", BODY)]


async def test_garbage_behind_several_requests_ends_the_connection_after_their_answers():
    recorder = Recorder()
    async with relayed(recorder) as s, s.client() as client:
        client.send((POST + LENGTH + b"\r\n" + BODY) * 3 + b"GARBAGE\r\n\r\n" + SECOND)
        assert statuses(await rest_of(client)) == [200, 200, 200]
    assert len(recorder.asked) == 3


async def test_garbage_after_an_answer_is_told():
    recorder = Recorder()
    async with relayed(recorder) as s, s.client() as client:
        client.send(POST + LENGTH + b"\r\n" + BODY)
        assert (await client.reply()).status == 200
        client.send(b"GARBAGE\r\n\r\n")
        assert statuses(await rest_of(client)) == [400]


async def test_a_body_that_breaks_in_its_turn_is_told_in_its_turn():
    recorder = Recorder()
    async with relayed(recorder) as s, s.client() as client:
        client.send(POST + LENGTH + b"\r\n" + BODY + POST + CHUNKED + b"\r\n11\r\n" + BODY + b"XX" + SECOND)
        assert statuses(await rest_of(client)) == [200, 400]
    assert recorder.asked == [("POST /v1/x", BODY)]


async def test_half_a_request_behind_a_held_one_does_not_end_it():
    settings = GatewaySettings(head_timeout=0.03, sweep_every=0.01)
    async with endpoint(always(answer())) as there, stage(settings=settings) as s, s.client() as client:
        client.send(request(CHAT) + b"GET /endp")
        await s.demand.waiting.wait()
        (connection,) = s.connections
        await until(lambda: connection._head_timer is None)
        assert not s.demand.cancelled.is_set()
        s.demand.wake(there.url)
        assert statuses(await rest_of(client)) == [200]


async def test_a_head_without_end_behind_a_held_request_does_not_end_it():
    async with endpoint(always(answer())) as there, stage() as s, s.client() as client:
        client.send(request(CHAT) + b"GET / HTTP/1.1\r\nx: ")
        await s.demand.waiting.wait()
        client.send(b"a" * 200_000)
        (connection,) = s.connections
        await until(lambda: connection._head_timer is None)
        s.demand.wake(there.url)
        assert statuses(await rest_of(client)) == [200]


async def test_requests_that_wait_behind_another_are_bounded():
    recorder = Recorder()
    at_most = 1 + gateway_server._MAX_PIPELINED
    async with relayed(recorder) as s, s.client() as client:
        client.send(SECOND * (at_most + 20))
        assert statuses(await rest_of(client)) == [200] * at_most
    assert len(recorder.asked) == at_most


@pytest.mark.parametrize("behind", [1, 5, 100])
async def test_a_client_that_leaves_with_requests_behind_a_held_one_withdraws_its_demand(behind):
    async with stage() as s:
        async with s.client() as client:
            client.send(request(CHAT))
            await s.demand.waiting.wait()
            client.send(request(CHAT) * behind)
            (connection,) = s.connections
            await until(lambda: connection.pipeline)
        await asyncio.wait_for(s.demand.cancelled.wait(), 5)
        assert (await s.usage.one()).outcome == "client_gone"
        await until(lambda: s.idle)
        assert len(s.demand.asked) == 1


@pytest.mark.parametrize(("size", "leave"), [(70_000, "goodbye"), (70_000, "reset"), (5_000_000, "reset")])
async def test_a_client_that_leaves_behind_more_than_is_read_of_it_withdraws_its_demand(size, leave, monkeypatch):
    """A goodbye behind more than the system takes for us comes only when that is read."""
    monkeypatch.setattr(gateway_server, "_GOODBYE_LOOK", 0.02)
    async with stage() as s:
        async with s.client() as client:
            client.send(request(CHAT))
            await s.demand.waiting.wait()
            client.send(request(CHAT, {"model": "lamp", "pad": "x" * size}))
            (connection,) = s.connections
            await until(lambda: connection.pipeline and connection.flow.read_paused)
            reset(client.writer) if leave == "reset" else client.writer.close()
        await asyncio.wait_for(s.demand.cancelled.wait(), 5)
        assert (await s.usage.one()).outcome == "client_gone"
        await until(lambda: s.idle and not s.connections)


async def test_what_was_not_read_behind_a_held_request_is_read_in_its_turn(monkeypatch):
    monkeypatch.setattr(gateway_server, "_GOODBYE_LOOK", 0.02)
    async with endpoint(always(answer())) as there, stage() as s, s.client() as client:
        client.send(request(CHAT))
        await s.demand.waiting.wait()
        client.send(request("/endpoints/lamp/x", b"x" * 2_000_000))
        (connection,) = s.connections
        await until(lambda: connection.flow.read_paused)
        await asyncio.sleep(0.1)  # several looks
        s.demand.replica = Replica(id="1", url=there.url)
        s.demand.wake(there.url)
        assert [(await client.reply()).status for _ in range(2)] == [200, 200]


async def test_a_client_that_leaves_with_requests_behind_a_stream_ends_the_endpoint_s_work():
    gone = asyncio.Event()

    async def script(visit):
        await visit.request()
        await visit.say(STREAM)
        await visit.gone()
        gone.set()

    async with relayed(script) as s:
        async with s.client() as client:
            client.send(request(CHAT) * 3)
            await client.head()
            assert await client.chunk() == b"hi"
        await asyncio.wait_for(gone.wait(), 5)
        assert (await s.usage.one()).outcome == "client_gone"
        assert len(s.demand.claims) == 1


async def test_who_leaves_while_the_third_of_its_requests_is_held_is_noticed_too():
    async with endpoint(always(answer())) as there, stage(StageDemand(there.url)) as s:
        async with s.client() as client:
            client.send(request(CHAT) * 2)
            for _ in range(2):
                assert (await client.reply()).status == 200
            s.demand.replica = None
            client.send(request(CHAT) * 2)
            await s.demand.waiting.wait()
        await asyncio.wait_for(s.demand.cancelled.wait(), 5)
        await until(lambda: s.idle)


# Leaving


@pytest.mark.parametrize("leave", ["goodbye", "reset", "half-closes"])
async def test_each_way_to_leave_a_held_request_withdraws_its_demand(leave):  # fmt: skip
    """A client that closes its half can't be told from one that is gone without writing to it."""
    async with stage() as s, s.client() as client:
        client.send(request(CHAT))
        await s.demand.waiting.wait()
        depart(client, leave)
        await asyncio.wait_for(s.demand.cancelled.wait(), 5)
        assert (await s.usage.one()).outcome == "client_gone"
        await until(lambda: s.idle)


@pytest.mark.parametrize("leave", ["goodbye", "reset", "half-closes"])
async def test_each_way_to_leave_a_stream_that_never_ends_hangs_up_on_its_endpoint(leave):
    gone = asyncio.Event()

    async def script(visit):
        await visit.request()
        await visit.say(STREAM)
        try:
            while True:
                await visit.say(b"2\r\nhi\r\n")
                await asyncio.sleep(0)
        except ConnectionError:
            gone.set()

    async with relayed(script) as s, s.client() as client:
        client.send(request(CHAT))
        await client.head()
        assert (await client.chunk()).startswith(b"hi")
        depart(client, leave)
        await asyncio.wait_for(gone.wait(), 5)
        assert (await s.usage.one()).outcome == "client_gone"
        assert s.demand.claims[0].releases == 1


async def test_a_client_that_stops_reading_a_stream_that_never_ends_and_leaves_is_noticed():
    gone = asyncio.Event()
    stuck = asyncio.Event()

    async def script(visit):
        await visit.request()
        await visit.say(STREAM)
        try:
            while True:
                visit.writer.write(b"10000\r\n" + bytes(65536) + b"\r\n")
                try:
                    await asyncio.wait_for(visit.writer.drain(), 0.1)
                except TimeoutError:
                    stuck.set()
                    await visit.writer.drain()
        except ConnectionError:
            gone.set()

    async with relayed(script) as s:
        async with s.client() as client:
            client.send(request(CHAT))
            await client.head()
            client.reader._transport.pause_reading()  # type: ignore[attr-defined]
            await stuck.wait()
            depart(client, "reset")
        await asyncio.wait_for(gone.wait(), 5)
        assert (await s.usage.one()).outcome == "client_gone"


def depart(client: Client, way: str) -> None:
    if way == "half-closes":
        client.writer.write_eof()
    elif way == "reset":
        reset(client.writer)
    else:
        client.writer.close()


# Dawdling


async def test_a_request_that_comes_byte_by_byte_is_served():  # fmt: skip
    recorder = Recorder()
    async with relayed(recorder) as s, s.client() as client:
        client.writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in POST + LENGTH + b"\r\n" + BODY:
            client.send(bytes([byte]))
            await asyncio.sleep(0.0005)
        assert (await client.reply()).status == 200
    assert recorder.asked == [("POST /v1/x", BODY)]


async def test_chunks_of_one_byte_make_one_body():
    recorder = Recorder()
    async with relayed(recorder) as s, s.client() as client:
        client.send(POST + CHUNKED + b"\r\n")
        for byte in BODY:
            client.send(b"1\r\n%c\r\n" % byte)
            await asyncio.sleep(0.0005)
        client.send(b"0\r\n\r\n")
        assert (await client.reply()).status == 200
    assert recorder.asked == [("POST /v1/x", BODY)]


async def test_a_head_or_a_body_that_dribbles_has_a_deadline_as_a_whole():
    settings = GatewaySettings(head_timeout=0.06, body_timeout=0.06, sweep_every=0.01)
    async with stage(settings=settings) as s:
        for start in (POST, POST + b"content-length: 5000\r\n\r\n", POST + CHUNKED + b"\r\n"):
            dribble = b"1\r\n \r\n" if start.endswith(CHUNKED + b"\r\n") else b"a"
            async with s.client() as client:
                client.send(start)
                reading = asyncio.ensure_future(rest_of(client))
                while not reading.done():
                    client.send(dribble)
                    await asyncio.sleep(0.005)
                assert statuses(await reading) in ([408], []), start
        await until(lambda: s.idle)
        assert not s.demand.touched


async def test_expect_is_answered_by_the_refusal_alone():
    async with stage(settings=GatewaySettings(max_body_bytes=100)) as s, s.client() as client:
        client.send(POST + b"expect: 100-continue\r\ncontent-length: 101\r\n\r\n")
        assert (await client.head()).status == 413


async def test_a_small_body_of_a_refused_request_is_read_away_and_the_connection_kept():
    recorder = Recorder()
    async with relayed(recorder) as s, s.client() as client:
        client.send(b"GET /v1/files HTTP/1.1\r\nhost: g\r\n" + LENGTH + b"\r\n")
        assert (await client.reply()).status == 404
        client.send(BODY + SECOND)
        assert (await client.reply()).status == 200
    assert recorder.asked == [("GET /second", b"")]


async def test_a_body_without_end_of_a_refused_request_ends_the_connection(monkeypatch):
    monkeypatch.setattr(gateway_server, "_REST_OF_BODY", 0.03)
    async with stage(settings=GatewaySettings(max_body_bytes=100)) as s, s.client() as client:
        client.send(POST + b"content-length: 99999999999\r\n\r\n")
        assert (await client.reply()).status == 413
        await flood(client, bytes(65536), most=10_000_000_000)
        await until(lambda: not s.connections)


async def test_a_client_that_sends_less_than_it_said_is_told_after_a_while_and_nothing_is_woken():
    settings = GatewaySettings(body_timeout=0.03, sweep_every=0.01)
    async with stage(settings=settings) as s, s.client() as client:
        client.send(POST + b"content-length: 18\r\n\r\n" + BODY)
        assert statuses(await rest_of(client)) == [408]
        assert not s.demand.touched


# Crowds


async def test_a_connection_too_many_is_told_to_come_again_and_served_when_there_is_room():  # fmt: skip
    settings = GatewaySettings(max_connections=2, sweep_every=0.01)
    async with relayed(always(answer()), settings) as s:
        async with s.client() as first, s.client() as second:
            for client in (first, second):
                client.send(request(CHAT))
                assert (await client.reply()).status == 200
            for sent in (b"", request(CHAT), request(CHAT, b"x" * 1_000_000)):
                async with s.client() as third:
                    third.send(sent)
                    reply = await third.reply()
                    assert (reply.status, reply.json["error"]["code"]) == (503, "too_many_connections")
                    assert (reply.headers["retry-after"], reply.headers["connection"]) == ("1", "close")
                    assert await rest_of(third) == b""
            first.send(request(CHAT))
            assert (await first.reply()).status == 200
            assert len(s.connections) == 2
        await until(lambda: not s.connections)
        assert (await s.ask()).status == 200
        assert len(s.demand.claims) == 4


async def test_a_crowd_that_is_turned_away_takes_no_room_and_disturbs_nobody():
    settings = GatewaySettings(max_connections=1, sweep_every=0.01)
    async with relayed(always(answer()), settings) as s, s.client() as inside:
        inside.send(request(CHAT))
        assert (await inside.reply()).status == 200
        crowd = [await asyncio.open_connection("127.0.0.1", s.port) for _ in range(300)]
        for reader, writer in crowd:
            assert (await reader.readline()).startswith(b"HTTP/1.1 503")
            writer.close()
        inside.send(request(CHAT))
        assert (await inside.reply()).status == 200
        assert len(s.connections) == 1


async def test_a_thousand_connections_on_which_nobody_speaks_are_closed_and_disturb_nobody():
    settings = GatewaySettings(head_timeout=1.0, sweep_every=0.01)
    async with relayed(always(answer()), settings) as s:
        crowd = [await asyncio.open_connection("127.0.0.1", s.port) for _ in range(1000)]
        assert (await s.ask()).status == 200
        for reader, writer in crowd:
            assert await reader.read() == b""
            writer.close()
        await until(lambda: not s.connections)


# Too much of everything


@pytest.mark.parametrize(
    "raw",
    [
        b"GET /endpoints/lamp/" + b"a" * 70_000 + b" HTTP/1.1\r\nhost: g\r\n\r\n",
        b"GET /endpoints/lamp/?" + b"a" * 70_000 + b" HTTP/1.1\r\nhost: g\r\n\r\n",
        POST + b"a: b\r\n" * 20_000 + b"\r\n",
        POST + b"a" * 70_000 + b": b\r\n\r\n",
        POST + b"a: " + b"b" * 70_000 + b"\r\n\r\n",
        POST + b"a: " + b"b" * 3_000_000,
    ],
    ids=["path", "query", "headers", "name", "value", "endless value"],
)  # fmt: skip
async def test_a_head_that_is_too_large_in_any_part_is_refused(raw):
    recorder = Recorder()
    async with relayed(recorder) as s, s.client() as client:
        client.send(raw)
        assert statuses(await rest_of(client)) in ([431], []), "a reset may overtake the answer to one who still sends"
    assert not recorder.asked


async def test_as_many_headers_as_fit_go_through():
    recorder = Recorder()
    async with relayed(recorder) as s, s.client() as client:
        many = b"".join(b"x-%d: y\r\n" % number for number in range(5000))
        client.send(POST + many + LENGTH + b"\r\n" + BODY)
        assert (await client.reply()).status == 200
    assert len([name for name in recorder.headers[0] if name.startswith("x-") and name[2:].isdigit()]) == 5000


@pytest.mark.parametrize(
    "body",
    [
        b'{"x": ' + b"[" * 2_000_000,
        b'{"x": ' * 200_000,
        b"[" * 3_000_000,
        b'{"model": "' + b"a" * 3_000_000 + b'"}',
        b'{"model": "lam' + b"\\u0070" * 500_000 + b'"}',
        b'{"' + b"a" * 3_000_000 + b'": 1}',
        b'{"x": 1' + b"0" * 3_000_000 + b"}",
        b'{"x": 1e999999999}',
        b"{" + b'"a": 1, ' * 300_000 + b'"b": 2}',
    ],
    ids=lambda body: body[:12].decode(),
)
async def test_json_that_has_too_much_of_something_is_refused_quickly_in_few_words(body):
    async with stage() as s:
        began = asyncio.get_running_loop().time()
        reply = await s.ask(CHAT, body)
        assert reply.status in {400, 404}
        assert len(reply.body) < 2000
        assert asyncio.get_running_loop().time() - began < 1.5
        assert not s.demand.touched


@pytest.mark.parametrize(
    "form",
    [
        b'--b\r\nContent-Disposition: form-data; name="x"\r\n\r\n1\r\n' * 65
        + b'--b\r\nContent-Disposition: form-data; name="model"\r\n\r\nlamp\r\n--b--\r\n',
        b"--b\r\n" * 600_000,
        b"\r\n--b" * 600_000,
        b"--b\r\n" + b"a" * 3_000_000 + b"\r\n\r\nlamp\r\n--b--",
        b'--b\r\nContent-Disposition: form-data; name="model"\r\n\r\nlamp',
        b'--b\r\nContent-Disposition: form-data; name="model"; filename="f"\r\n\r\nlamp\r\n--b--',
        b"--b\r\nContent-Disposition: form-data;" + b" ;" * 900 + b'name="mode\r\n\r\nlamp\r\n--b--',
    ],
    ids=["many parts", "delimiters", "empty parts", "long head", "no end", "a file", "semicolons"],
)
async def test_a_form_that_has_too_much_of_something_is_refused_quickly(form):
    async with stage() as s:
        began = asyncio.get_running_loop().time()
        reply = await s.ask("/v1/audio/transcriptions", form, content_type="multipart/form-data; boundary=b")
        assert reply.status == 400
        assert asyncio.get_running_loop().time() - began < 1.5
        assert not s.demand.touched


# Values that we repeat

EVIL = ["lamp\r\nx-evil: 1", "lamp\nx-evil: 1", "\r\n\r\n<script>", "лампа", "\x00\x1b[31m", "\u2028", "a" * 5000]


@pytest.mark.parametrize("name", EVIL, ids=ascii)
async def test_a_name_that_we_repeat_stays_within_the_text_of_an_error(name):  # fmt: skip
    async with stage() as s:
        told = await s.ask(CHAT, {"model": name})
        assert told.status == 404
        assert set(told.headers) <= {"content-type", "content-length", "x-request-id"}
        assert told.headers["content-type"] == "application/json"
        assert told.json["error"]["code"] == "model_not_found"
        assert len(told.body) < 4000
        quoted = "".join(f"%{byte:02x}" for byte in name.encode())
        for path in (f"/endpoints/{quoted}/x", f"/v1/models/{quoted}"):
            told = await s.ask(path, method="GET")
            assert told.status == 404
            assert set(told.headers) <= {"content-type", "content-length", "x-request-id"}
        assert not s.demand.touched


@pytest.mark.parametrize("raw", [b"\xff\xfe", "лампа".encode(), b"lamp\xa0", b"a\tb", b"'\"\\<>%0d%0a"])
async def test_a_model_in_a_header_that_is_no_name_is_not_found(raw):
    async with stage() as s, s.client() as client:
        client.send(b"GET /v1/x HTTP/1.1\r\nhost: g\r\nx-lamplighter-model: " + raw + b"\r\n\r\n")
        reply = await client.reply()
        assert reply.status == 404
        assert set(reply.headers) <= {"content-type", "content-length", "x-request-id"}


@pytest.mark.parametrize("raw", [b"\xff", "ü".encode(), b"a;b", b"a,b", b"", b"%0d%0a", b"a" * 5000])
async def test_a_request_id_that_is_not_safe_everywhere_goes_nowhere(raw):
    recorder = Recorder()
    async with relayed(recorder) as s, s.client() as client:
        client.send(POST + b"x-request-id: " + raw + b"\r\n" + LENGTH + b"\r\n" + BODY)
        given = (await client.reply()).headers["x-request-id"]
    assert given.encode("latin-1") != raw
    assert recorder.headers[0]["x-request-id"] == given


async def test_encoded_line_breaks_of_a_path_stay_encoded():
    recorder = Recorder()
    async with relayed(recorder) as s:
        assert (await s.ask("/endpoints/lamp/a%0d%0ax-evil:%201?b=%0d%0a", method="GET")).status == 200
    assert recorder.asked == [("GET /a%0d%0ax-evil:%201?b=%0d%0a", b"")]
    assert "x-evil" not in recorder.headers[0]


def test_with_few_open_files_there_are_fewer_connections(monkeypatch):
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1024, 4096))
    assert connections_possible(10_000) == 384
    assert connections_possible(100) == 100
    monkeypatch.setattr(resource, "getrlimit", lambda _: (100, 100))
    assert connections_possible(10_000) == 16
    assert SOON.max_connections == 10_000
