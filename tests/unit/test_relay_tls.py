"""Endpoints behind TLS: their certificate is checked, and all else is as without."""

import ssl

import pytest
import trustme

from tests.gateway_stage import StageDemand, answer, endpoint, request, stage


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def _server(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    return context


def _client(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


async def test_requests_and_streams_pass_through_tls_and_reuse_the_connection(authority):
    body = bytes(range(256)) * 8192

    async def script(visit):
        while True:
            _, _, got = await visit.request()
            await visit.say(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            await visit.say(b"%x\r\n%b\r\n0\r\n\r\n" % (len(got), got))

    async with (
        endpoint(script, ssl=_server(authority)) as there,
        stage(StageDemand(there.url), tls=_client(authority)) as s,
    ):
        for _ in range(3):
            assert (await s.ask("/endpoints/lamp/echo", body)).body == body
        assert len(there.visits) == 1


async def test_a_certificate_that_nobody_vouches_for_is_unreachable(authority):
    async def script(visit):
        await visit.request()
        await visit.say(answer())

    async with (
        endpoint(script, ssl=_server(authority)) as there,
        stage(StageDemand(there.url)) as s,
        s.client() as client,
    ):
        client.send(request("/v1/x", {"model": "lamp"}))
        await s.demand.waiting.wait()
        s.demand.wake(there.url)
        reply = await client.reply()
        assert reply.status == 502
        assert "secure connection" in reply.json["error"]["message"]
