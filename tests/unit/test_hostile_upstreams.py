"""Endpoints that stall, lie, talk too much and pretend: a client never gets another's answer, or half of one as a whole."""

import asyncio
import contextlib
import datetime as dt
import os
import resource
import ssl
from time import monotonic

import pytest
import trustme

from lamplighter.gateway.settings import GatewaySettings
from tests.gateway_stage import SOON, Stage, StageDemand, Visit, answer, endpoint, once, relayed, request, stage, until

CHAT = "/v1/chat/completions"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
OK = answer(b"hi")
GET = {"path": "/endpoints/lamp/x", "method": "GET"}
QUICK = GatewaySettings(first_byte_timeout=0.05, between_bytes_timeout=0.05, sweep_every=0.01)


def then_silence(said: bytes):
    async def script(visit: Visit) -> None:
        await visit.request()
        await visit.say(said)
        await visit.gone()

    return script


def then_drops(every: float, drop: bytes, said: bytes = b""):
    """Says something, and then goes on dribbling for ever."""

    async def script(visit: Visit) -> None:
        await visit.request()
        await visit.say(said)
        while True:
            await visit.say(drop)
            await asyncio.sleep(every)

    return script


async def asked_again_in_vain(s: Stage, url: str) -> str:
    """Ask an endpoint that is twice found unreachable; the error's text."""
    async with s.client() as client:
        client.send(request(CHAT))
        await s.demand.waiting.wait()
        s.demand.wake(url)
        reply = await client.reply()
    assert (reply.status, reply.json["error"]["code"]) == (502, "upstream_unreachable")
    assert [(claim.failures, claim.releases) for claim in s.demand.claims] == [(1, 1), (1, 1)]
    assert s.idle
    return str(reply.json["error"]["message"])


# Stalls


@pytest.mark.parametrize(
    "script",
    [
        then_silence(b""),
        then_silence(b"HTTP/1."),
        then_silence(b"HTTP/1.1 200 OK\r\nX-Half: a"),
        then_silence(b"HTTP/1.1 200 OK\r\nX-Whole: a\r\n"),
        then_silence(b"HTTP/1.1 100 Continue\r\n\r\n"),
        then_drops(0.005, b"a", b"HTTP/1.1 200 OK\r\nX: "),
        then_drops(0.005, b"HTTP/1.1 102 Processing\r\n\r\n"),
    ],
    ids=["before", "within the first line", "within a header", "between headers", "after 100", "drops", "102 for ever"],
)  # fmt: skip
async def test_a_head_that_is_not_whole_in_time_is_a_gateway_timeout(script):
    async with relayed(script, QUICK) as s:
        reply = await s.ask()
        assert (reply.status, reply.json["error"]["code"]) == (504, "upstream_timeout")
        assert (s.demand.claims[0].failures, s.demand.claims[0].releases) == (0, 1)
        assert (await s.usage.one()).outcome == "failed"
        assert s.idle


@pytest.mark.parametrize(
    "said",
    [
        CHUNKED,
        CHUNKED + b"2\r\nhi\r\n",
        CHUNKED + b"2\r\nhi\r\n0\r\n",
        CHUNKED + b"2\r\nhi\r\n0\r\nTrailer: a",
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nhi",
        b"HTTP/1.1 200 OK\r\n\r\nhi",
    ],
    ids=[
        "before the body",
        "between chunks",
        "before the end",
        "within trailers",
        "a byte missing",
        "without a length",
    ],
)
async def test_a_body_that_stands_still_is_cut(said):
    async with relayed(then_silence(said), QUICK) as s:
        assert (await s.ask()).cut
        assert (await s.usage.one()).outcome == "cut"
        assert (s.demand.claims[0].failures, s.demand.claims[0].releases) == (0, 1)
        assert s.idle


async def test_an_endpoint_that_takes_no_body_is_given_up_on_and_nothing_stays_held():
    async def script(visit):
        visit.writer.transport.pause_reading()
        await asyncio.Event().wait()

    async with relayed(script, QUICK) as s:
        reply = await s.ask(CHAT, b'{"model": "lamp", "pad": "' + b"x" * 20_000_000 + b'"}')
        assert reply.status == 504
        assert s.idle


async def test_an_endpoint_that_never_shakes_hands_is_unreachable():
    async def script(visit):
        await visit.gone()

    async with endpoint(script) as there:
        url = there.url.replace("http:", "https:")
        async with stage(StageDemand(url), GatewaySettings(connect_timeout=0.05, sweep_every=0.01)) as s:
            assert "in time" in await asked_again_in_vain(s, url)


# Interim answers


@pytest.mark.parametrize(
    "interim",
    [
        b"HTTP/1.1 102 Processing\r\n\r\n",
        b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\nX-Early: 1\r\nConnection: x-kept\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 199 Whatever\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n" * 50,
    ],
    ids=lambda interim: interim[9:13],
)
@pytest.mark.parametrize("torn", [False, True], ids=["whole", "torn"])
async def test_interim_answers_leave_no_trace(interim, torn):  # fmt: skip
    said = interim + b"HTTP/1.1 200 OK\r\nX-Kept: yes\r\n\r\nuntil the end"

    async def script(visit):
        await visit.request()
        for piece in [said[i : i + 13] for i in range(0, len(said), 13)] if torn else [said]:
            await visit.say(piece)
            await asyncio.sleep(0)

    async with relayed(script) as s:
        reply = await s.ask(**GET)
        assert (reply.status, reply.body, reply.cut) == (200, b"until the end", False)
        assert reply.headers["x-kept"] == "yes"
        assert "x-early" not in reply.headers


@pytest.mark.parametrize(
    "said",
    [
        b"HTTP/1.1 103 Hints\r\nContent-Length: 2\r\n\r\nhi",
        b"HTTP/1.1 100 Continue\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
        b"HTTP/1.1 099 Odd\r\nContent-Length: 2\r\n\r\nhi",
        b"HTTP/1.1 000 Odd\r\n\r\n",
    ],
    ids=["with a length", "in chunks", "099", "000"],
)
async def test_what_is_no_interim_answer_does_not_slip_into_the_next_one(said):
    async with relayed(once(said + OK)) as s:
        reply = await s.ask()
        assert (reply.status, reply.json["error"]["code"]) == (502, "upstream_broken")
        assert s.idle


# More than was asked for


@pytest.mark.parametrize(
    "more",
    [
        answer(b"forged"),
        b"HTTP/1.1 100 Continue\r\n\r\n",
        b"forged",
        b"\r\n\r\n",
        b"H",
    ],
    ids=["an answer", "an interim one", "bytes", "line breaks", "a byte"],
)
@pytest.mark.parametrize("together", [True, False], ids=["in one go", "a little later"])
async def test_a_second_answer_is_never_given_to_the_next_request(more, together):  # fmt: skip
    async def script(visit):
        while True:
            line, _, _ = await visit.request()
            said = answer(line.encode())
            if together:
                await visit.say(said + more)
            else:
                await visit.say(said)
                await asyncio.sleep(0.002)
                await visit.say(more)

    async with endpoint(script) as there, stage(StageDemand(there.url)) as s, s.client() as client:
        for number in range(5):
            client.send(request(f"/endpoints/lamp/{number}", method="GET"))
            reply = await client.reply()
            assert (reply.status, reply.body) == (200, b"GET /%d HTTP/1.1" % number)
            await asyncio.sleep(0 if together else 0.004)


async def test_an_endpoint_that_speaks_before_it_is_asked_is_no_endpoint():
    connected = asyncio.Event()

    async def script(visit):
        await visit.say(answer(b"forged"))
        connected.set()
        await visit.request()
        await visit.say(b"SSH-2.0 banner\r\n")

    async with relayed(script) as s:
        reply = await s.ask()
        # Nobody can tell an answer that comes very early from one that nobody asked for; it must come once at most.
        assert (reply.status, reply.body) == (200, b"forged") or reply.status == 502
        assert connected.is_set()
        pool = s.gateway._services.pool
        await until(lambda: all(one.ended for origin in pool._origins.values() for one in origin.idle))


@pytest.mark.parametrize(
    ("method", "said"),
    [
        ("HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"),
        ("HEAD", CHUNKED + b"2\r\nhi\r\n0\r\n\r\n"),
        ("HEAD", b"HTTP/1.1 200 OK\r\n\r\nhi"),
        ("GET", b"HTTP/1.1 204 No\r\nContent-Length: 2\r\n\r\nhi"),
        ("GET", b"HTTP/1.1 204 No\r\n\r\nhi"),
        ("GET", b"HTTP/1.1 304 Same\r\nContent-Length: 2\r\n\r\nhi"),
        ("GET", b"HTTP/1.1 204 No\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n"),
    ],
)
async def test_a_body_where_none_may_be_is_dropped_and_disturbs_nothing(method, said):
    async with relayed(once(said)) as s, s.client() as client:
        for _ in range(3):
            client.send(request("/endpoints/lamp/x", method=method))
            reply = await client.reply(method=method)
            assert reply.status == int(said[9:12])
        await until(lambda: s.idle)
        assert {record.outcome for record in s.usage.all} == {"served"}


@pytest.mark.parametrize(
    ("start", "endless"),
    [
        (b"HTTP/1.1 200 OK\r\n", b"X: y\r\n" * 100),
        (b"HTTP/1.1 200 OK\r\nX: ", b"y" * 1000),
        (b"HTTP/1.1 200 ", b"y" * 1000),
        (b"", b"HTTP/1.1 102 Processing\r\n\r\n" * 50),
    ],
    ids=["headers", "a header", "a reason", "interim answers"],
)
async def test_a_head_without_end_is_a_bad_gateway(start, endless):
    async with relayed(then_drops(0, endless, start)) as s:
        assert (await s.ask()).status == 502
        assert s.idle


@pytest.mark.parametrize(
    "endless",
    [b"0\r\n" + b"X: y\r\n" * 100, b"0\r\nX: " + b"y" * 1000, b"1;" + b"y" * 1000],
    ids=["trailers", "a trailer", "an extension"],
)
async def test_what_comes_beside_a_body_without_end_is_cut(endless):
    async with relayed(then_drops(0, endless[4:], CHUNKED + b"2\r\nhi\r\n" + endless)) as s:
        reply = await s.ask()
        assert (reply.cut, reply.body) == (True, b"hi")
        assert (await s.usage.one()).outcome == "cut"


async def test_a_body_without_a_length_that_ends_in_a_reset_is_no_whole_one():
    async def script(visit):
        await visit.request()
        await visit.say(b"HTTP/1.1 200 OK\r\n\r\nhalf")
        await asyncio.sleep(0.01)
        visit.reset()

    async with relayed(script) as s:
        reply = await s.ask()
        assert (reply.cut, reply.body) == (True, b"half")


async def test_a_request_to_change_the_protocol_is_not_passed_on_and_not_granted():
    async def script(visit):
        _, headers, _ = await visit.request()
        assert not headers.keys() & {"upgrade", "connection", "sec-websocket-key"} or "connection" not in headers
        await visit.say(b"HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n")

    async with relayed(script) as s:
        reply = await s.ask(connection="upgrade", upgrade="h2c")
        assert (reply.status, reply.json["error"]["code"]) == (502, "upstream_broken")


# Names and certificates


@pytest.mark.parametrize("host", ["nowhere.invalid", "a..b", "x" * 70 + ".invalid"])
async def test_a_host_that_nobody_knows_is_unreachable(host):  # fmt: skip
    url = f"http://{host}:1/"
    async with stage(StageDemand(url)) as s:
        assert "not known" in await asked_again_in_vain(s, url)


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def _certificate(authority: trustme.CA, kind: str) -> trustme.LeafCert:
    if kind == "expired":
        then = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
        return authority.issue_cert("localhost", not_before=then, not_after=then + dt.timedelta(days=9))
    if kind == "of another host":
        return authority.issue_cert("elsewhere.example")
    return trustme.CA().issue_cert("localhost")


@pytest.mark.parametrize(
    ("kind", "word"),
    [("expired", "expired"), ("of another host", "mismatch"), ("of another authority", "unable to get local issuer")],
)
async def test_a_wrong_certificate_gets_no_request(authority, kind, word):
    heard = []
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _certificate(authority, kind).configure_cert(context)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)

    async def script(visit):
        heard.append(await visit.request())

    async with endpoint(script, ssl=context) as there, stage(StageDemand(there.url), tls=trusting) as s:
        told = await asked_again_in_vain(s, there.url)
        assert "secure connection" in told
        assert word in told
    assert not heard


async def test_plain_speech_where_tls_was_meant_is_unreachable():
    async def script(visit):
        await visit.reader.read(10)
        await visit.say(answer())

    async with endpoint(script) as there:
        url = there.url.replace("http:", "https:")
        async with stage(StageDemand(url), GatewaySettings(connect_timeout=2, sweep_every=0.01)) as s:
            assert "secure connection" in await asked_again_in_vain(s, url)


# What is our own


async def test_open_files_that_have_run_out_are_not_blamed_on_the_endpoint():  # fmt: skip
    """Last in line: a lowered limit holds for this process alone and is put back."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    async with relayed(once(OK)) as s, s.client() as client:
        with contextlib.ExitStack() as opened:
            resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, 512), hard))
            opened.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
            with contextlib.suppress(OSError):
                while True:
                    opened.callback(os.close, os.open(os.devnull, os.O_RDONLY))
            client.send(request("/endpoints/lamp/x", method="GET"))
            reply = await client.reply()
            assert (reply.status, reply.json["reason"]) == (503, "queue_full")
            assert (s.demand.claims[0].failures, s.demand.claims[0].releases) == (0, 1)
        client.send(request("/endpoints/lamp/x", method="GET"))
        assert (await client.reply()).status == 200


async def test_a_hundred_requests_to_an_endpoint_that_does_all_of_it_in_turn_are_all_accounted_for():
    """Whatever the endpoint does, each request ends once, in time, and nothing stays held."""
    said = [
        OK,
        b"",
        b"HTTP/1.1 200",
        b"GARBAGE",
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhi",
        CHUNKED + b"2\r\nhi\r\n",
        OK + OK,
        b"HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n",
        answer(b"bye", headers="Connection: close\r\n"),
    ]

    async def script(visit):
        while True:
            line, _, _ = await visit.request()
            number = int(line.split()[1].removeprefix("/"))
            await visit.say(said[number % len(said)])
            if number % 3 == 0:
                visit.reset()
            if number % 3 == 1:
                return

    began = monotonic()
    async with endpoint(script) as there, stage(StageDemand(there.url), QUICK) as s:
        replies = await asyncio.gather(*(s.ask(f"/endpoints/lamp/{n}", method="GET") for n in range(100)))
        assert {reply.status for reply in replies} <= {200, 500, 502, 504}
        assert {reply.status for reply in replies if reply.headers.get("content-type") == "application/json"} <= {
            502,
            504,
        }
        await until(lambda: s.idle)
        assert len(s.usage.all) == 100
        assert [claim.releases for claim in s.demand.claims] == [1] * len(s.demand.claims)
        cut = [record for record in s.usage.all if record.outcome == "cut"]
        assert len(cut) == len([reply for reply in replies if reply.cut])
    assert monotonic() - began < 5
    assert SOON.first_byte_timeout == 600
