"""Who calls what, how much of it, and from where: decided at the gateway's door."""

import asyncio
import re
from typing import Any

import openai
import pytest

from lamplighter.control.keyring import Keyring
from lamplighter.domain.keys import ApiKey, KeyLimits, Role
from lamplighter.gateway.limits import Meter, Meters
from lamplighter.gateway.refusals import KeyRateLimited
from lamplighter.gateway.settings import GatewaySettings
from tests.gateway_stage import SOON, Reply, Stage, always, answer, relayed, request, stage, until

CHAT = "/v1/chat/completions"
USED = b'{"usage": {"prompt_tokens": 30, "completion_tokens": 12}}'


async def ring_with(*made: tuple[str, dict[str, Any]]) -> tuple[Keyring, dict[str, str]]:
    """A closed keyring, and what each key is shown as."""
    ring, shown = Keyring(), {}
    for name, given in (("root", {"role": Role.ADMIN}), *made):
        _, secret = await ring.make(name, actor="test", **given)
        shown[name] = f"Bearer {secret.reveal()}"
    return ring, shown


async def test_the_record_of_a_request_names_the_key():
    ring, shown = await ring_with(("ci", {}))
    async with relayed(always(answer()), keyring=ring) as s:
        assert (await s.ask(CHAT, authorization=shown["ci"])).status == 200
        assert (await s.usage.one()).key == next(key.id for key in ring.list() if key.name == "ci")


async def test_a_key_stops_counting_the_moment_it_is_revoked_and_is_told_so():
    ring, shown = await ring_with(("ci", {}))
    async with relayed(always(answer()), keyring=ring) as s:
        assert (await s.ask(CHAT, authorization=shown["ci"])).status == 200
        assert (await s.ask(CHAT, x_api_key=shown["ci"].removeprefix("Bearer "))).status == 200
        await ring.revoke("ci", actor="test")
        for header in ({"authorization": shown["ci"]}, {"x_api_key": shown["ci"].removeprefix("Bearer ")}):
            reply = await s.ask(CHAT, **header)
            assert (reply.status, reply.json["error"]["code"]) == (401, "revoked_api_key")
            assert "'ci' was revoked" in reply.json["error"]["message"]
        assert (await s.ask(CHAT, authorization="Bearer ll_unknown")).json["error"]["code"] == "invalid_api_key"


async def test_a_key_that_was_let_in_before_is_refused_from_its_expiry_on(monkeypatch):
    ring, shown = await ring_with(("short", {"expires_in": 60.0}))
    async with relayed(always(answer()), keyring=ring) as s:
        assert (await s.ask(CHAT, authorization=shown["short"])).status == 200
        expires_at = next(key.expires_at for key in ring.list() if key.name == "short")
        monkeypatch.setattr("lamplighter.gateway.keys.time", lambda: expires_at)
        reply = await s.ask(CHAT, authorization=shown["short"])
        assert (reply.status, reply.json["error"]["code"]) == (401, "expired_api_key")


@pytest.mark.parametrize("change", [{"public": False}, {"resolve": lambda _: None}], ids=["closed", "gone"])
async def test_who_calls_a_public_endpoint_without_a_key_learns_no_names_when_it_ends_meanwhile(change, monkeypatch):
    ring, _ = await ring_with()
    async with relayed(always(answer()), keyring=ring) as s, s.client() as client:
        s.demand.public = True
        asked = request("/endpoints/lamp/x")
        client.send(asked[:-1])
        await until(lambda: s.gateway.in_progress)
        for name, value in change.items():
            monkeypatch.setattr(s.demand, name, value)
        client.send(asked[-1:])
        reply = await client.reply()
        assert reply.status == 404
        assert b"bulb" not in reply.body
        assert not s.demand.touched


async def test_the_first_key_closes_the_gateway_at_once():
    ring = Keyring()
    async with relayed(always(answer()), keyring=ring) as s:
        assert (await s.ask(CHAT)).status == 200
        _, secret = await ring.make("root", actor="api", role=Role.ADMIN)
        assert (await s.ask(CHAT)).status == 401
        assert (await s.ask(CHAT, authorization=f"Bearer {secret.reveal()}")).status == 200


async def test_a_key_calls_its_own_models_and_sees_no_other():
    ring, shown = await ring_with(("own", {"routes": ["lamp"]}), ("other", {"routes": ["elsewhere"]}))
    async with relayed(always(answer()), keyring=ring) as s:
        for path in (CHAT, "/endpoints/lamp/x"):
            assert (await s.ask(path, authorization=shown["own"])).status == 200
        for there, missing in (
            (("/endpoints/lamp/x", None), ("/endpoints/lmap/x", None)),
            (("/endpoints/bulb/", None), ("/endpoints/lmap/", None)),
            ((CHAT, {"model": "lamp"}), (CHAT, {"model": "lmap"})),
            ((CHAT, {"model": "bulb"}), (CHAT, {"model": "lmap"})),
            (("/v1/messages", {"model": "lamp"}), ("/v1/messages", {"model": "lmap"})),
        ):
            one, other = [await s.ask(*asked, authorization=shown["other"]) for asked in (there, missing)]
            assert (one.status, other.status) == (404, 404)
            assert b"Known: elsewhere." in other.body
            own = {"date", "content-length", "x-request-id"}
            assert {name: one.headers[name] for name in one.headers.keys() - own} == {
                name: other.headers[name] for name in other.headers.keys() - own
            }
            said = [
                re.sub(rb"'(lamp|bulb|lmap)'|" + r.headers["x-request-id"].encode(), b"it", r.body)
                for r in (one, other)
            ]
            assert said[0] == said[1]
            assert re.findall(rb"lamp|bulb", other.body) == []
        looked = [
            await s.ask(f"/v1/models/{name}", body=b"", method="GET", authorization=shown["other"])
            for name in ("lamp", "bulb", "lmap")
        ]
        assert {reply.status for reply in looked} == {404}
        listed = {
            name: [
                one["id"] for one in (await s.ask("/v1/models", method="GET", authorization=shown[name])).json["data"]
            ]
            for name in ("own", "other")
        }
        assert listed == {"own": ["lamp"], "other": []}
    assert len(s.demand.claims) == 2


async def test_a_public_endpoint_is_open_to_keys_of_other_models_too():
    ring, shown = await ring_with(("other", {"routes": ["elsewhere"]}))
    async with relayed(always(answer()), keyring=ring) as s:
        s.demand.public = True
        assert (await s.ask("/endpoints/lamp/x", authorization=shown["other"])).status == 200
        assert (await s.ask("/endpoints/lamp/x")).status == 200


async def test_requests_beyond_a_minutes_worth_are_told_when_to_come_again_and_wake_nothing():
    ring, shown = await ring_with(("ci", {"limits": KeyLimits(requests_per_minute=2)}))
    async with relayed(always(answer()), keyring=ring) as s:
        replies = [await s.ask(CHAT, authorization=shown["ci"]) for _ in range(3)]
        assert [reply.status for reply in replies] == [200, 200, 429]
        assert [reply.headers["x-ratelimit-remaining-requests"] for reply in replies] == ["1", "0", "0"]
        assert {reply.headers["x-ratelimit-limit-requests"] for reply in replies} == {"2"}
        assert 29 <= int(replies[2].headers["retry-after"]) <= 30
        error = replies[2].json["error"]
        assert (error["type"], error["code"]) == ("rate_limit_error", "rate_limit_exceeded")
        assert "2 requests a minute" in error["message"]
        assert len(s.demand.claims) == 2
        plain = await s.ask("/endpoints/lamp/x", authorization=shown["ci"])
        assert (plain.status, plain.json["reason"]) == (429, "rate_limit_exceeded")
        assert (await s.ask(CHAT, authorization=shown["root"])).status == 200


async def test_what_a_target_tells_of_our_limits_there_is_not_told_to_a_client_with_its_own():
    ring, shown = await ring_with(("ci", {"limits": KeyLimits(requests_per_minute=9)}))
    theirs = answer(headers="x-ratelimit-limit-requests: 5000\r\nx-ratelimit-reset-tokens: 1s\r\n")
    async with relayed(always(theirs), keyring=ring) as s:
        client_of_ours = await s.ask(CHAT, authorization=shown["ci"])
        assert client_of_ours.headers["x-ratelimit-limit-requests"] == "9"
        assert "x-ratelimit-reset-tokens" not in client_of_ours.headers
        assert (await s.ask(CHAT, authorization=shown["root"])).headers["x-ratelimit-limit-requests"] == "5000"


async def test_tokens_are_charged_when_the_answer_tells_them_and_may_be_owed():
    ring, shown = await ring_with(("ci", {"limits": KeyLimits(tokens_per_minute=40)}))
    async with relayed(always(answer(USED)), keyring=ring) as s:
        assert (await s.ask(CHAT, authorization=shown["ci"])).status == 200
        await until(lambda: s.idle)
        reply = await s.ask(CHAT, authorization=shown["ci"])
        assert (reply.status, reply.headers["x-ratelimit-remaining-tokens"]) == (429, "0")
        assert 4 <= int(reply.headers["retry-after"]) <= 5
        assert "40 tokens a minute" in reply.json["error"]["message"]


async def test_as_many_requests_at_once_as_the_key_may_and_each_end_makes_room():
    ring, shown = await ring_with(("ci", {"limits": KeyLimits(concurrent=1)}))
    go_on = asyncio.Event()

    async def slow(visit):
        while True:
            await visit.request()
            await go_on.wait()
            await visit.say(answer())

    async with relayed(slow, keyring=ring) as s, s.client() as first:
        first.send(request(CHAT, authorization=shown["ci"]))
        await until(lambda: s.demand.claims)
        reply = await s.ask(CHAT, authorization=shown["ci"])
        assert (reply.status, reply.headers["retry-after"]) == (429, "1")
        assert "1 requests at once" in reply.json["error"]["message"]
        go_on.set()
        assert (await first.reply()).status == 200
        await until(lambda: s.idle)
        assert (await s.ask(CHAT, authorization=shown["ci"])).status == 200


async def test_a_client_that_leaves_or_fails_gives_its_place_back():
    ring, shown = await ring_with(("ci", {"limits": KeyLimits(concurrent=1)}))
    async with stage(keyring=ring) as s:
        async with s.client() as leaver:
            leaver.send(request(CHAT, authorization=shown["ci"]))
            await s.demand.waiting.wait()
        await until(lambda: s.idle)
        for _ in range(3):
            assert (await s.ask(CHAT, {"model": "nobody"}, authorization=shown["ci"])).status == 404
            assert (await s.ask("/v1/x/../y", authorization=shown["ci"])).status == 400


async def test_the_official_client_takes_it_for_a_rate_limit():
    ring, shown = await ring_with(("ci", {"limits": KeyLimits(requests_per_minute=1)}))
    async with relayed(always(answer()), keyring=ring) as s:
        await s.ask(CHAT, authorization=shown["ci"])
        client = openai.AsyncOpenAI(
            base_url=f"http://127.0.0.1:{s.port}/v1", api_key=shown["ci"].removeprefix("Bearer "), max_retries=0
        )
        with pytest.raises(openai.RateLimitError) as limited:
            await client.chat.completions.create(model="lamp", messages=[])
        await client.close()
        assert limited.value.code == "rate_limit_exceeded"


def test_a_key_without_limits_has_no_meter_and_a_gone_one_none_any_more():
    meters = Meters()
    limited = ApiKey(id="a", name="a", limits=KeyLimits(concurrent=1))
    assert meters.of(ApiKey(id="b", name="b")) is None
    meter = meters.of(limited)
    assert meters.of(limited) is meter
    meters.keep({"b"})
    assert meters.of(limited) is not meter


def test_a_refused_request_takes_nothing():
    meter = Meter(ApiKey(id="a", name="a", limits=KeyLimits(requests_per_minute=5, concurrent=1)))
    meter.enter(100.0)
    for _ in range(10):
        with pytest.raises(KeyRateLimited):
            meter.enter(100.0)
    assert dict(meter.standing(100.0))[b"x-ratelimit-remaining-requests"] == b"4"


@pytest.mark.parametrize(("used", "told"), [(0, b"0ms"), (1, b"600ms"), (2, b"1.2s"), (100, b"1m0s"), (1000, b"10m0s")])
def test_durations_are_told_as_openai_tells_them(used, told):
    meter = Meter(ApiKey(id="a", name="a", limits=KeyLimits(tokens_per_minute=100)))
    meter.enter(5.0)
    meter.leave(used, 5.0)
    assert dict(meter.standing(5.0))[b"x-ratelimit-reset-tokens"] == told


APP = "https://app.example.com"
NAMED = GatewaySettings(sweep_every=0.01, cors=frozenset({APP}))
ANY = GatewaySettings(sweep_every=0.01, cors=frozenset({"*"}))


async def preflight(s: Stage, path: str = CHAT, origin: str = APP, **headers: str) -> Reply:
    asked = {"access-control-request-method": "POST", **headers}
    return await s.ask(path, b"", method="OPTIONS", origin=origin, **asked)


async def test_a_preflight_of_a_named_origin_needs_no_key_and_wakes_nothing():
    ring, _ = await ring_with()
    async with stage(settings=NAMED, keyring=ring) as s:
        for path in (CHAT, "/endpoints/lamp/x", "/api/endpoints/status"):
            wanted = {"access-control-request-headers": "authorization, content-type"}
            reply = await preflight(s, path, **wanted)
            assert (reply.status, reply.headers["access-control-allow-origin"]) == (204, APP)
            assert reply.headers["access-control-allow-headers"] == "authorization, content-type"
            assert "POST" in reply.headers["access-control-allow-methods"]
            assert reply.headers["vary"] == "Origin"
        assert not s.demand.touched


async def test_answers_and_refusals_tell_a_named_origin_that_it_may_read_them():
    noisy = answer(headers="access-control-allow-origin: *\r\naccess-control-allow-credentials: true\r\n")
    ring, shown = await ring_with()
    async with relayed(always(noisy), NAMED, keyring=ring) as s:
        good = await s.ask(CHAT, authorization=shown["root"], origin=APP)
        bad = await s.ask(CHAT, origin=APP)
        for reply, status in ((good, 200), (bad, 401)):
            assert (reply.status, reply.headers["access-control-allow-origin"]) == (status, APP)
            assert "retry-after" in reply.headers["access-control-expose-headers"]
            assert "access-control-allow-credentials" not in reply.headers
        managed = await s.ask("/api/x", method="GET", origin=APP)
        assert (managed.status, managed.headers["access-control-allow-origin"]) == (404, APP)


@pytest.mark.parametrize("settings", [SOON, NAMED])
async def test_no_other_page_may_read_anything_whatever_the_endpoint_says(settings):
    seen = []

    async def script(visit):
        while True:
            _, headers, _ = await visit.request()
            seen.append(headers)
            await visit.say(answer(headers="access-control-allow-origin: *\r\n"))

    ring, shown = await ring_with()
    async with relayed(script, settings, keyring=ring) as s:
        for origin in ("https://evil.example", f"{APP}.evil.example", "null", APP.upper()):
            reply = await s.ask(CHAT, authorization=shown["root"], origin=origin)
            assert reply.status == 200
            assert not [name for name in reply.headers if name.startswith("access-control")]
            assert (await preflight(s, origin=origin)).status == 405
            managed = await s.ask("/api/x", method="GET", origin=origin)
            assert "access-control-allow-origin" not in managed.headers
        assert (await s.ask(CHAT, authorization=shown["root"])).status == 200
    assert all("origin" not in headers for headers in seen)


async def test_a_star_lets_every_page_read_answers():
    async with relayed(always(answer()), ANY) as s:
        reply = await s.ask(CHAT, origin="https://anybody.example")
        assert (reply.status, reply.headers["access-control-allow-origin"]) == (200, "*")
        assert (await preflight(s, origin="https://anybody.example")).headers["access-control-allow-origin"] == "*"


async def test_a_page_of_another_site_uses_no_open_server():
    async with relayed(always(answer()), NAMED) as s:
        reply = await s.ask(CHAT, origin="https://evil.example", content_type="text/plain")
        assert (reply.status, reply.json["error"]["code"]) == (403, "foreign_origin")
        assert (await s.ask("/endpoints/lamp/x", origin="https://evil.example")).status == 403
        assert (await s.ask(CHAT, origin="http://gateway")).status == 403  # a name that may have been pointed here
        assert not s.demand.touched
        own = await s.ask(CHAT, origin="http://localhost:8470", host="localhost:8470")
        assert own.status == 200
        assert (await s.ask(CHAT, origin=APP)).status == 200


async def test_a_stream_to_a_page_that_breaks_is_cut_not_ended():
    async def script(visit):
        await visit.request()
        await visit.say(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n")

    async with relayed(script, NAMED) as s:
        reply = await s.ask(CHAT, origin=APP)
        assert (reply.status, reply.cut, reply.headers["access-control-allow-origin"]) == (200, True, APP)


HERE = GatewaySettings(sweep_every=0.01, hosts=frozenset({"box.lan"}))


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "localhost:8470",
        "LOCALHOST",
        "localhost.",
        "a.localhost:1",
        "127.0.0.1:8470",
        "127.9.9.9",
        "[::1]:8470",
        "box.lan:80",
    ],
)
async def test_an_open_server_here_answers_to_names_of_this_machine(host):
    async with relayed(always(answer()), HERE) as s:
        for _ in range(2):
            assert (await s.ask(CHAT, host=host)).status == 200
        assert (await s.ask("/api/x", method="GET", host=host)).status == 404


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8470", "localhost.evil.example", "10.0.0.1", "[::2]", "", "lan"]
)
async def test_an_open_server_here_answers_to_no_other_name(host):
    async with relayed(always(answer()), HERE) as s:
        reply = await s.ask(CHAT, host=host)
        assert (reply.status, reply.json["error"]["code"]) == (421, "wrong_host")
        assert "server.hosts" in reply.json["error"]["message"]
        for path in ("/api/x", "/healthz"):
            managed = await s.ask(path, method="GET", host=host)
            assert (managed.status, managed.json["error"]["code"]) == (421, "wrong_host")
        assert not s.demand.touched


async def test_with_keys_any_name_is_right():
    ring, shown = await ring_with()
    async with relayed(always(answer()), HERE, keyring=ring) as s:
        assert (await s.ask(CHAT, host="models.example.com", authorization=shown["root"])).status == 200


async def test_host_names_that_are_tried_do_not_pile_up():
    async with relayed(always(answer()), HERE) as s:
        hosts = s.gateway._hosts
        assert hosts is not None
        for port in range(3000):
            hosts.check(b"localhost:%d" % port)
        assert len(hosts.right) <= 1024


async def test_ways_to_write_a_key_do_not_pile_up():
    ring, shown = await ring_with()
    async with relayed(always(answer()), keyring=ring) as s:
        keys = s.gateway._services.keys
        for blanks in range(6000):
            keys.check({b"authorization": shown["root"].encode() + b" " * blanks})
        assert len(keys._seen) <= 4096
