"""What the endpoint gets: the request, whole, with its own headers and none of the client's secrets."""

import asyncio
import contextlib
import socket

import pytest

from lamplighter.domain.endpoint import Replica
from lamplighter.errors import UpstreamUnreachable
from lamplighter.gateway.address import Addresses
from lamplighter.gateway.settings import GatewaySettings
from tests.gateway_stage import StageDemand, Visit, answer, endpoint, relayed, request, stage, until

CHAT = "/v1/chat/completions"


class Heard:
    """A script that keeps what it was asked."""

    def __init__(self, said: bytes = b"") -> None:
        self.said = said or answer()
        self.lines: list[str] = []
        self.headers: list[dict[str, str]] = []
        self.bodies: list[bytes] = []

    async def __call__(self, visit: Visit) -> None:
        while True:
            line, headers, body = await visit.request()
            self.lines.append(line)
            self.headers.append(headers)
            self.bodies.append(body)
            await visit.say(self.said)


async def test_the_path_goes_on_as_it_came():
    heard = Heard()
    async with endpoint(heard) as there, stage(StageDemand(there.url + "/base")) as s:
        await s.ask("/v1/chat/completions?a=%20b&c")
        await s.ask("/endpoints/bulb/x%2Fy/%E2%82%AC//z?q=1%262", method="GET")
        await s.ask("/endpoints/l%61mp", method="DELETE")
        await s.ask("/endpoints/lamp/put", b"data", method="PUT")
    assert heard.lines == [
        "POST /base/v1/chat/completions?a=%20b&c HTTP/1.1",
        "GET /base/x%2Fy/%E2%82%AC//z?q=1%262 HTTP/1.1",
        "DELETE /base/ HTTP/1.1",
        "PUT /base/put HTTP/1.1",
    ]
    assert heard.bodies[3] == b"data"
    assert "content-length" not in heard.headers[1]


async def test_no_secret_of_the_client_s_goes_to_the_endpoint():
    heard = Heard()
    own = (("Authorization", "Bearer theirs"), ("X-Tenant", "ours"))
    async with relayed(heard, headers=own) as s:
        await s.ask(
            authorization="Bearer mine", x_api_key="mine", proxy_authorization="mine", cookie="mine=1", x_tenant="mine"
        )
    (headers,) = heard.headers
    assert not [value for value in headers.values() if "mine" in value]
    assert headers["authorization"] == "Bearer theirs"
    assert headers["x-tenant"] == "ours"


async def test_headers_of_one_hop_do_not_travel_on():
    said = answer(
        headers="Connection: keep-alive, X-Hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\nUpgrade: h2c\r\nTrailer: a\r\n"
        "Proxy-Authenticate: x\r\nSet-Cookie: a=b\r\nX-Kept: yes\r\nX-Lamplighter-Target: forged\r\n"
    )
    heard = Heard(said)
    async with relayed(heard) as s:
        reply = await s.ask(
            connection="keep-alive, x-private, close",
            x_private="1",
            te="trailers",
            trailer="a",
            keep_alive="1",
            proxy_connection="x",
            x_public="yes",
        )
    (headers,) = heard.headers
    host = s.demand.claims[0].replica.url.removeprefix("http://")
    assert headers == {
        "host": host,
        "content-type": "application/json",
        "x-public": "yes",
        "x-request-id": reply.headers["x-request-id"],
        "content-length": "17",
    }
    assert reply.headers == {
        "content-length": "11",
        "x-kept": "yes",
        "connection": "close",
        "x-lamplighter-target": "lamp",
        "x-lamplighter-waited-ms": "0",
        "x-request-id": reply.headers["x-request-id"],
    }


@pytest.mark.parametrize(
    ("given", "kept"), [("a.B_c-1", True), ("x" * 128, True), ("x" * 129, False), ("a b", False), ("a\\r", False)]
)
async def test_a_sane_request_id_is_kept_and_any_other_replaced(given, kept):
    heard = Heard()
    async with relayed(heard) as s:
        reply = await s.ask(x_request_id=given)
    assert (reply.headers["x-request-id"] == given) is kept
    assert heard.headers[0]["x-request-id"] == reply.headers["x-request-id"]


async def test_expect_is_answered_here_and_not_passed_on():
    heard = Heard()
    async with relayed(heard) as s, s.client() as client:
        client.send(b"POST /v1/x HTTP/1.1\r\nhost: g\r\nexpect: 100-continue\r\ncontent-length: 17\r\n\r\n")
        assert (await client.head()).status == 100
        client.send(b'{"model": "lamp"}')
        assert (await client.reply()).status == 200
    assert "expect" not in heard.headers[0]


async def test_a_chunked_body_goes_on_with_a_length():
    heard = Heard()
    async with relayed(heard) as s, s.client() as client:
        client.send(b"POST /v1/x HTTP/1.1\r\nhost: g\r\ntransfer-encoding: chunked\r\n\r\n")
        client.send(b'8\r\n{"model"\r\n9\r\n: "lamp"}\r\n0\r\n\r\n')
        assert (await client.reply()).status == 200
    assert heard.headers[0]["content-length"] == "17"
    assert heard.bodies == [b'{"model": "lamp"}']


async def test_a_large_body_arrives_whole_at_an_endpoint_that_reads_slowly():
    body = b'{"model": "lamp", "pad": "' + bytes(range(97, 123)) * 300_000 + b'"}'
    held = GatewaySettings(sweep_every=0.01)

    async def script(visit):
        await visit.reader.readuntil(b"\r\n\r\n")
        got = bytearray()
        while len(got) < len(body):
            got += await visit.reader.read(100_000)
            await asyncio.sleep(0)
        await visit.say(answer(b"same" if got == body else b"different"))

    async with relayed(script, held) as s:
        assert (await s.ask(CHAT, body)).body == b"same"
        assert (await s.usage.one()).bytes_in == len(body)
        assert s.idle


async def test_an_answer_that_comes_before_the_body_is_read_is_passed_on():
    body = b'{"model": "lamp", "pad": "' + b"x" * 20_000_000 + b'"}'

    async def script(visit):
        await visit.reader.readuntil(b"\r\n\r\n")
        await visit.say(answer(b"too much", status="413 Too Large"))
        await visit.gone()

    async with relayed(script) as s:
        reply = await s.ask(CHAT, body)
        assert (reply.status, reply.body) == (413, b"too much")


async def test_a_clean_connection_is_used_again():
    async with endpoint(Heard()) as there, stage(StageDemand(there.url)) as s:
        for _ in range(5):
            assert (await s.ask()).status == 200
        assert len(there.visits) == 1


@pytest.mark.parametrize(
    "said",
    [
        answer(headers="Connection: close\r\n"),
        answer() + b"left over",
        b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nhi",
    ],
)
async def test_a_connection_that_is_not_clean_is_not_used_again(said):
    async with endpoint(Heard(said)) as there, stage(StageDemand(there.url)) as s:
        for _ in range(2):
            assert (await s.ask()).status == 200
        assert len(there.visits) == 2


async def test_bytes_that_nobody_asked_for_end_an_idle_connection():
    talk = asyncio.Event()

    async def script(visit):
        await visit.request()
        await visit.say(answer(b"%d" % visit.number))
        await talk.wait()
        await visit.say(answer(b"forged"))
        await visit.gone()

    async with endpoint(script) as there, stage(StageDemand(there.url)) as s:
        assert (await s.ask()).body == b"1"
        talk.set()
        (origin,) = s.gateway._services.pool._origins.values()
        (idle,) = origin.idle
        await until(lambda: idle.ended)
        assert (await s.ask()).body == b"2"


async def _stale(visit):
    """Serves one request on the first connection, then reads another and hangs up without a word."""
    await visit.request()
    await visit.say(answer(b"%d" % visit.number))
    await visit.request()
    if visit.number > 1:
        await visit.say(answer(b"again %d" % visit.number))
        await visit.gone()


async def test_an_idempotent_request_on_a_stale_connection_is_sent_again_once():
    async with endpoint(_stale) as there, stage(StageDemand(there.url)) as s:
        assert (await s.ask("/endpoints/lamp/", method="GET")).body == b"1"
        assert (await s.ask("/endpoints/lamp/", method="GET")).body == b"2"
        assert len(there.visits) == 2
        assert all(claim.failures == 0 for claim in s.demand.claims)


async def test_a_post_that_may_have_been_executed_is_not_sent_again():
    async with endpoint(_stale) as there, stage(StageDemand(there.url)) as s:
        assert (await s.ask()).body == b"1"
        reply = await s.ask()
        assert (reply.status, reply.json["error"]["code"]) == (502, "upstream_broken")
        assert len(there.visits) == 1


async def test_a_connection_that_said_goodbye_while_idle_is_not_tried():
    async def script(visit):
        await visit.request()
        await visit.say(answer(b"%d" % visit.number))

    async with endpoint(script) as there, stage(StageDemand(there.url)) as s:
        for number in (b"1", b"2", b"3"):
            assert (await s.ask()).body == number


async def test_idle_connections_are_bounded_and_do_not_stay():
    settings = GatewaySettings(idle_connections=2, idle_connection_timeout=0.05, sweep_every=0.01)
    together = asyncio.Barrier(4)

    async def script(visit):
        await visit.request()
        await together.wait()
        await visit.say(answer())
        await visit.gone()

    async with endpoint(script) as there, stage(StageDemand(there.url), settings) as s:
        await asyncio.gather(*(s.ask() for _ in range(4)))
        pool = s.gateway._services.pool
        assert sum(len(origin.idle) for origin in pool._origins.values()) <= 2
        await until(lambda: not pool._origins)


async def test_a_host_that_does_not_answer_is_given_up_on():
    settings = GatewaySettings(connect_timeout=0.05, sweep_every=0.01)
    with socket.create_server(("127.0.0.1", 0), backlog=0) as deaf, contextlib.ExitStack() as queue:
        url = f"http://127.0.0.1:{deaf.getsockname()[1]}"
        for _ in range(4):  # so that the next one finds no room, and is not answered
            waiting = queue.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(deaf.getsockname())
        async with stage(StageDemand(url), settings) as s, s.client() as client:
            client.send(request(CHAT))
            await s.demand.waiting.wait()
            s.demand.wake(url)
            reply = await client.reply()
            assert (reply.status, "in time" in reply.json["error"]["message"]) == (502, True)


def test_a_target_is_rendered_once_for_each_replica():
    addresses = Addresses()
    replica = Replica(id="1", url="https://user@Example.org/base/", headers=(("X-A", "b"),))
    target = addresses.of(replica)
    assert addresses.of(replica) is target
    assert target.origin == ("example.org", 443, True)
    assert (target.base, target.lines) == (b"/base", b"host: Example.org\r\nX-A: b\r\n")
    fresh = addresses.of(Replica(id="1", url=replica.url, headers=(("X-A", "c"),)))
    assert fresh.lines.endswith(b"X-A: c\r\n")


def test_a_header_that_would_break_the_request_is_refused():
    for bad in (("X-A", "b\r\nX-B: c"), ("X A", "b"), ("", "b")):
        with pytest.raises(UpstreamUnreachable, match="header"):
            Addresses().of(Replica(id="1", url="http://h", headers=(bad,)))
