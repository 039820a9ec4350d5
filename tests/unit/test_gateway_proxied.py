"""Replicas behind a provider's proxy: what it says for an endpoint that sleeps is waited out, and never doubled."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Callable

import pytest
import trustme

from lamplighter.control.demand import SOMEBODY, Caller
from lamplighter.domain.endpoint import Replica
from lamplighter.domain.usage import Outcome
from lamplighter.errors import EndpointPaused
from lamplighter.gateway import proxied
from lamplighter.gateway.settings import GatewaySettings
from tests.gateway_stage import SOON, ScriptedEndpoint, Stage, StageDemand, Visit, answer, endpoint, stage, until

TOKEN = "Bearer hf_" + "secret"
COLD = b'{"error":"503 Service Unavailable","code":"SERVICE_UNAVAILABLE"}'
OLD = b'{"error":"502 Bad Gateway","code":"BAD_GATEWAY"}'
PAUSED = b'{"error":"Bad Request: The endpoint is paused, ask a maintainer to restart it","code":"BAD_REQUEST"}'
NOBODY = b'{"error":"401 Unauthorized","code":"UNAUTHORIZED"}'
UNAVAILABLE = answer(COLD, status="503 Service Unavailable")


class Proxy:
    """Gives its answers one by one, the last one for ever, and keeps what it was asked."""

    def __init__(self, *answers: bytes) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[str, dict[str, str], bytes]] = []

    async def __call__(self, visit: Visit) -> None:
        while True:
            self.asked.append(await visit.request())
            await visit.say(self.answers.pop(0) if len(self.answers) > 1 else self.answers[0])


class ProxiedDemand(StageDemand):
    """Grants the same replica again; `wakes` counts the claims that were raised for it."""

    async def claim(self, name: str, timeout: float | None, caller: Caller = SOMEBODY):
        self.asked.append(timeout)
        assert self.replica is not None
        return self._grant(self.replica)


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proxied, "FIRST_PAUSE", 0.001)
    monkeypatch.setattr(proxied, "LONGEST_PAUSE", 0.002)


@contextlib.asynccontextmanager
async def behind(
    proxy: Callable[[Visit], object], settings: GatewaySettings = SOON
) -> AsyncIterator[tuple[Stage, ScriptedEndpoint]]:
    async with endpoint(proxy) as there:  # type: ignore[arg-type]
        demand = ProxiedDemand(there.url, (("authorization", TOKEN),), proxied=True)
        async with stage(demand, settings) as here:
            yield here, there


@pytest.mark.parametrize("method", ["POST", "GET", "DELETE"])
@pytest.mark.parametrize(
    "cold", [UNAVAILABLE, answer(OLD, status="502 Bad Gateway"), answer(PAUSED, status="400 Bad Request")]
)
async def test_what_the_proxy_says_for_a_sleeping_endpoint_is_waited_out(method: str, cold: bytes) -> None:
    proxy = Proxy(cold, cold, answer(b"done"))
    async with behind(proxy) as (s, _):
        reply = await s.ask("/endpoints/lamp/x", b"some body" if method == "POST" else None, method=method)
        assert (reply.status, reply.body) == (200, b"done")
        assert [claim.failures for claim in s.demand.claims] == [1, 1, 0]
        assert [claim.releases for claim in s.demand.claims] == [1, 1, 1]
        assert len({(line, body) for line, _, body in proxy.asked}) == 1
        record = await s.usage.one()
        assert (record.outcome, record.status) == (Outcome.SERVED, 200)
        assert record.waited > 0
        assert s.idle


@pytest.mark.parametrize(
    "said",
    [
        answer(b'{"error":{"message":"Loading model","code":503}}', status="503 Service Unavailable"),
        answer(
            b'{"error":"Model is overloaded","error_type":"overloaded","code":"X"}', status="503 Service Unavailable"
        ),
        answer(b'{"error":"queue is full","code":"OVERLOADED"}', status="503 Service Unavailable"),
        answer(
            b'{"error":"503 Service Unavailable: x","code":"SERVICE_UNAVAILABLE","reason":"upstream_broken"}',
            status="503 Service Unavailable",
        ),
        answer(b"", status="503 Service Unavailable"),
        answer(b"[" * 3000, status="503 Service Unavailable"),
        answer(b'{"error":"' + b"x" * 5000 + b'","code":"X"}', status="503 Service Unavailable"),
        answer(b'{"error":"the engine broke","code":"upstream_broken"}', status="502 Bad Gateway"),
        answer(b'{"error":"Bad Request: no such option","code":"BAD_REQUEST"}', status="400 Bad Request"),
        answer(NOBODY, status="401 Unauthorized"),
        answer(b'{"error":"missing permissions: inference.endpoints.infer.write"}', status="403 Forbidden"),
        answer(COLD, status="500 Internal Server Error"),
    ],
)
async def test_every_other_answer_is_the_endpoints_own_and_passes_as_it_is(said: bytes) -> None:
    proxy = Proxy(said)
    async with behind(proxy) as (s, _):
        reply = await s.ask("/endpoints/lamp/x", b"body")
        head, _, body = said.partition(b"\r\n\r\n")
        assert reply.status == int(head.split()[1])
        assert reply.body == body
        assert len(proxy.asked) == 1
        assert s.demand.asked == []
        assert s.demand.claims[0].failures == 0


async def test_a_streamed_answer_with_such_a_status_is_not_held_back() -> None:
    async def script(visit: Visit) -> None:
        await visit.request()
        await visit.say(b"HTTP/1.1 503 X\r\nTransfer-Encoding: chunked\r\n\r\n")
        await visit.say(b"1388\r\n" + b"x" * 5000 + b"\r\n")
        await visit.gone()

    async with behind(script) as (s, _), s.client() as client:
        client.send(b"POST /endpoints/lamp/x HTTP/1.1\r\nhost: g\r\ncontent-length: 0\r\n\r\n")
        assert (await client.head()).status == 503
        assert await client.chunk() == b"x" * 5000


async def test_an_answer_that_breaks_off_is_no_word_of_the_proxys() -> None:
    async def script(visit: Visit) -> None:
        await visit.request()
        await visit.say(b"HTTP/1.1 503 X\r\nContent-Length: 100\r\n\r\n" + COLD)

    async with behind(script) as (s, _):
        reply = await s.ask("/endpoints/lamp/x", b"body")
        assert (reply.status, reply.cut) == (503, True)
        assert (await s.usage.one()).outcome is Outcome.CUT


async def test_the_providers_hold_gets_the_whole_seconds_that_are_left() -> None:
    proxy = Proxy(UNAVAILABLE, answer())
    async with behind(proxy) as (s, _):
        await s.ask("/endpoints/lamp/x", b"body", x_scale_up_timeout="90.7")
        s.demand.patience = 200.0
        await s.ask("/endpoints/lamp/x", b"body")
        s.demand.patience = 0.9
        await s.ask("/endpoints/lamp/x", b"body")
    held = [headers["x-scale-up-timeout"] for _, headers, _ in proxy.asked]
    assert held == ["90", "90", "199", "1"]
    assert s.demand.asked[0] is not None
    assert 80 < s.demand.asked[0] <= 90.7


async def test_a_replica_without_a_proxy_is_sent_no_such_header_and_its_503_is_its_own() -> None:
    proxy = Proxy(UNAVAILABLE)
    async with endpoint(proxy) as there, stage(StageDemand(there.url)) as s:
        reply = await s.ask("/endpoints/lamp/x", b"body", x_scale_up_timeout="90")
        assert reply.status == 503
        assert "x-scale-up-timeout" not in proxy.asked[0][1]
        assert s.demand.asked == []


async def test_a_cloud_that_stays_cold_ends_in_503_with_the_learned_time() -> None:
    proxy = Proxy(UNAVAILABLE)
    async with behind(proxy) as (s, _):
        s.demand.patience = 0.05
        reply = await s.ask("/endpoints/lamp/x", b"body")
        assert reply.status == 503
        assert reply.headers["retry-after"] == "41"
        assert (reply.json["code"], reply.json["reason"]) == ("SERVICE_UNAVAILABLE", "wake_timeout")
        record = await s.usage.one()
        assert record.outcome is Outcome.DEADLINE
        assert 0.05 <= record.waited < 5
        assert s.idle
        assert all(claim.releases == 1 for claim in s.demand.claims)


async def test_a_paused_endpoint_that_may_not_be_woken_is_told_as_that() -> None:
    class Barred(ProxiedDemand):
        async def claim(self, name: str, timeout: float | None, caller: Caller = SOMEBODY):
            raise EndpointPaused(name)

    proxy = Proxy(answer(PAUSED, status="400 Bad Request"))
    async with endpoint(proxy) as there, stage(Barred(there.url, proxied=True)) as s:
        reply = await s.ask("/endpoints/lamp/x", b"body")
        assert (reply.status, reply.json["reason"]) == (400, "endpoint_paused")
        assert (await s.usage.one()).outcome is Outcome.REFUSED


async def test_a_client_that_leaves_ends_the_asking() -> None:
    proxy = Proxy(UNAVAILABLE)
    async with behind(proxy) as (s, _):
        async with s.client() as client:
            client.send(b"POST /endpoints/lamp/x HTTP/1.1\r\nhost: g\r\ncontent-length: 4\r\n\r\nbody")
            await until(lambda: len(proxy.asked) > 2)
        assert (await s.usage.one()).outcome is Outcome.CLIENT_GONE
        assert s.idle


async def test_a_health_probe_is_answered_from_what_is_known() -> None:
    proxy = Proxy(answer())
    async with behind(proxy) as (s, _):
        reply = await s.ask("/endpoints/lamp/health", method="GET")
        assert (reply.status, reply.json) == (200, {"status": "ok"})
        assert proxy.asked == []
        assert [claim.counts for claim in s.demand.claims] == [False]
        assert [claim.releases for claim in s.demand.claims] == [1]


async def test_the_token_goes_to_its_replica_over_tls_and_nowhere_else() -> None:
    authority = trustme.CA()
    there_tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(there_tls)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    first = Proxy(answer(b"", status="307 Temporary Redirect", headers="Location: http://localhost:1/\r\n"))
    second = Proxy(answer())
    async with endpoint(first, ssl=there_tls) as cloud, endpoint(second) as other:
        demand = StageDemand(cloud.url, (("authorization", TOKEN),), proxied=True)
        async with stage(demand, tls=trusting) as s:
            reply = await s.ask("/endpoints/lamp/x", b"body", authorization="Bearer mine", cookie="a=b")
            assert reply.status == 307
            demand.replica = Replica(id="2", url=other.url, proxied=True)
            await s.ask("/endpoints/lamp/x", b"body", authorization="Bearer mine")
    assert first.asked[0][1]["authorization"] == TOKEN
    assert "cookie" not in first.asked[0][1]
    assert "authorization" not in second.asked[0][1]
    assert TOKEN not in repr(demand.replica)


async def test_many_requests_to_a_cold_endpoint_are_all_answered_once() -> None:
    served: list[bytes] = []

    async def script(visit: Visit) -> None:
        while True:
            _, _, body = await visit.request()
            cold = visit.number <= 10
            if not cold:
                served.append(body)
            await visit.say(UNAVAILABLE if cold else answer(body))
            if cold:
                return

    async with behind(script) as (s, _):
        replies = await asyncio.gather(*(s.ask("/endpoints/lamp/x", b"%d" % n) for n in range(20)))
    assert [reply.body for reply in replies] == [b"%d" % n for n in range(20)]
    assert sorted(served) == sorted(b"%d" % n for n in range(20))


def test_pauses_double_up_to_a_bound_and_are_spread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    assert [proxied.pause_before(n, 1.0) for n in range(7)] == [0.5, 1.0, 2.0, 4.0, 8.0, 8.0, 8.0]
    assert proxied.pause_before(0, 0.0) == 0.25
    assert proxied.pause_before(10**6, 1.0) == 8.0


@pytest.mark.parametrize(
    ("body", "sent"),
    [
        (b'{"model": "lamp", "x": 1.10, "y": "\\u00e9"}', b'{"model":"org/big","x":1.10,"y":"\\u00e9"}'),
        (b'{"x": {"model": "lamp"}, "model": "lamp"}', b'{"x":{"model": "lamp"},"model":"org/big"}'),
    ],
)
async def test_the_engine_is_told_the_name_that_it_knows_its_model_by(body: bytes, sent: bytes) -> None:
    proxy = Proxy(UNAVAILABLE, answer(b"done"))
    async with endpoint(proxy) as there:
        demand = ProxiedDemand(there.url, proxied=True, model="org/big")
        async with stage(demand) as s:
            assert (await s.ask("/v1/chat/completions", body)).status == 200
            assert [asked for _, _, asked in proxy.asked] == [sent, sent]
            await s.ask("/endpoints/lamp/v1/chat/completions", body)
            assert proxy.asked[-1][2] == body
            assert s.idle
