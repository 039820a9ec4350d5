"""Routes: target after target until one answers, bridges over a wake, breakers, repetitions. On real sockets."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from typing import Any

import pytest

from lamplighter.control.keyring import Keyring
from lamplighter.domain.keys import Role
from lamplighter.domain.routing import (
    BreakerPolicy,
    Choose,
    Fit,
    Repeat,
    RetryPolicy,
    Route,
    RouteTarget,
    TokenPrice,
    Upstream,
    WhileWaking,
)
from lamplighter.domain.usage import Outcome
from lamplighter.errors import EndpointPaused, WakeFailed, WakeTimeout
from lamplighter.gateway.router import Routing
from tests.gateway_stage import StageDemand, Visit, always, answer, endpoint, once, request, stage, until

HASTY = RetryPolicy(base=0.001, cap=0.002)
NEVER = BreakerPolicy(least=1000)


def routing(*targets: Any, upstreams: dict[str, Upstream], breaker: BreakerPolicy = NEVER, **more: Any) -> Routing:
    """A route `smart` to these targets: names, RouteTargets, or tuples of them as equals."""
    tiers = tuple(tier if isinstance(tier, tuple) else (tier,) for tier in targets)
    whole = tuple(tuple(RouteTarget(name=one) if isinstance(one, str) else one for one in tier) for tier in tiers)
    route = Route(name="smart", tiers=whole, aliases=("clever",), **more)
    return Routing(routes={"smart": route}, upstreams=upstreams, breaker=breaker, retry=HASTY)


def upstream(name: str, url: str, **more: Any) -> Upstream:
    return Upstream(name=name, url=f"{url}/v1", **more)


ASK = {"model": "smart", "messages": []}
DEAD = "http://127.0.0.1:9"  # the discard port, where nobody listens


async def test_the_first_target_answers_and_the_name_is_its_own() -> None:
    seen: list[Any] = []

    async def script(visit: Visit) -> None:
        line, headers, body = await visit.request()
        seen.append((line, headers.get("authorization"), json.loads(body)))
        await visit.say(answer(b'{"usage":{"prompt_tokens":3,"completion_tokens":5}}'))

    async with endpoint(script) as there:
        ups = {"far": upstream("far", there.url, headers={"authorization": "Bearer s3cret"}, model="org/big")}
        async with stage(routing=routing("far", upstreams=ups)) as s:
            reply = await s.ask(body=ASK | {"model": "clever"})
            record = await s.usage.one()
    assert (reply.status, reply.headers["x-lamplighter-target"]) == (200, "far")
    assert "x-lamplighter-fallback" not in reply.headers
    assert seen == [("POST /v1/chat/completions HTTP/1.1", "Bearer s3cret", ASK | {"model": "org/big"})]
    assert (record.model, record.endpoint, record.tokens_in, record.tokens_out) == ("smart", "far", 3, 5)


async def test_a_base_url_stands_for_the_version_in_a_path() -> None:
    lines: list[str] = []

    async def script(visit: Visit) -> None:
        lines.append((await visit.request())[0])
        await visit.say(answer())

    async with endpoint(script) as there:
        ups = {"far": Upstream(name="far", url=f"{there.url}/v1beta/openai/")}
        async with stage(routing=routing("far", upstreams=ups)) as s:
            await s.ask(body=ASK)
    assert lines == ["POST /v1beta/openai/chat/completions HTTP/1.1"]


RENT = TokenPrice(input=1.0, output=10.0)


async def test_an_upstream_answers_as_long_as_that_is_cheaper_than_a_wake() -> None:
    used = answer(b'{"usage":{"prompt_tokens":0,"completion_tokens":40000}}')  # $0.40
    async with endpoint(always(used)) as there:
        ups = {"far": upstream("far", there.url, price=RENT)}
        config = routing("lamp", "far", upstreams=ups, while_waking=WhileWaking.BRIDGE, rent=True)
        config = dataclasses.replace(config, prices={"lamp": 4.0})  # a wake: 907 s, about $1.01
        async with stage(StageDemand(), routing=config) as s:
            for _ in range(3):
                assert (await s.ask(body=ASK)).status == 200
                assert s.demand.wanted == 0
            assert (await s.ask(body=ASK)).status == 200
            assert s.demand.wanted == 1


async def test_an_upstream_is_rented_at_the_price_that_its_model_has_elsewhere() -> None:
    asked: list[tuple[str, str | None]] = []

    def known(upstream: Upstream, model: str | None) -> TokenPrice | None:
        asked.append((upstream.name, model))
        return RENT

    used = answer(b'{"usage":{"prompt_tokens":0,"completion_tokens":40000}}')  # $0.40
    async with endpoint(always(used)) as there:
        ups = {"far": upstream("far", there.url)}
        far = RouteTarget(name="far", model="org/m")
        config = routing("lamp", far, upstreams=ups, while_waking=WhileWaking.BRIDGE, rent=True)
        config = dataclasses.replace(config, prices={"lamp": 4.0}, token_price=known)
        async with stage(StageDemand(), routing=config) as s:
            for _ in range(3):
                assert (await s.ask(body=ASK)).status == 200
                assert s.demand.wanted == 0
            assert (await s.ask(body=ASK)).status == 200
            assert s.demand.wanted == 1
    assert set(asked) == {("far", "org/m")}


async def test_a_key_that_may_not_wake_leaves_what_was_rented_on_the_account() -> None:
    ring = Keyring()
    await ring.make("root", actor="test", role=Role.ADMIN)
    _, shy = await ring.make("shy", actor="test", may_wake=False)
    _, bold = await ring.make("bold", actor="test")
    used = answer(b'{"usage":{"prompt_tokens":0,"completion_tokens":40000}}')  # $0.40
    async with endpoint(always(used)) as there:
        ups = {"far": upstream("far", there.url, price=RENT)}
        config = routing("lamp", "far", upstreams=ups, while_waking=WhileWaking.BRIDGE, rent=True)
        config = dataclasses.replace(config, prices={"lamp": 4.0})  # a wake: 907 s, about $1.01
        async with stage(StageDemand(), routing=config, keyring=ring) as s:
            for _ in range(8):
                assert (await s.ask(body=ASK, authorization=f"Bearer {shy.reveal()}")).status == 200
            assert s.demand.wanted == 0
            assert (await s.ask(body=ASK, authorization=f"Bearer {bold.reveal()}")).status == 200
            assert s.demand.wanted == 1
            assert (await s.ask(body=ASK, authorization=f"Bearer {bold.reveal()}")).status == 200
            assert s.demand.wanted == 1  # the wake has begun, and the account anew


@pytest.mark.parametrize("while_waking", [WhileWaking.BRIDGE, WhileWaking.HOLD])
async def test_a_pause_leaves_what_was_rented_on_the_account(while_waking: WhileWaking) -> None:
    used = answer(b'{"usage":{"prompt_tokens":0,"completion_tokens":40000}}')  # $0.40
    async with endpoint(always(used)) as there:
        ups = {"far": upstream("far", there.url, price=RENT)}
        config = routing("lamp", "far", upstreams=ups, while_waking=while_waking, rent=True)
        config = dataclasses.replace(config, prices={"lamp": 4.0})
        async with stage(StageDemand(), routing=config) as s:
            s.demand.paused = True
            for _ in range(5):
                assert (await s.ask(body=ASK)).status == 200
            s.demand.paused = False
            asked = asyncio.create_task(s.ask(body=ASK))
            await until(lambda: s.demand.wanted or s.demand.asked)
            if while_waking is WhileWaking.HOLD:
                s.demand.wake(there.url)
            assert (await asked).status == 200


async def test_without_prices_an_endpoint_is_woken() -> None:
    async with endpoint(always(answer())) as there:
        ups = {"far": upstream("far", there.url, price=RENT)}
        config = routing("lamp", "far", upstreams=ups, while_waking=WhileWaking.BRIDGE, rent=True)
        async with stage(StageDemand(), routing=config) as s:
            await s.ask(body=ASK)
            assert s.demand.wanted == 1


# choose: cheapest.


def cheapest(*targets: Any, upstreams: dict[str, Upstream], price: float | None = 4.0, **more: Any) -> Routing:
    config = routing(tuple(targets), upstreams=upstreams, choose=Choose.CHEAPEST, **more)
    return dataclasses.replace(config, prices={} if price is None else {"lamp": price})


CHEAP, DEAR = TokenPrice(input=0.1, output=1.0), TokenPrice(input=1.0, output=10.0)
SAID = answer(b'{"usage":{"prompt_tokens":10,"completion_tokens":1000}}')


async def test_the_upstream_whose_tokens_cost_least_answers_and_the_header_says_why() -> None:
    async with endpoint(always(SAID)) as there:
        ups = {"dear": upstream("dear", there.url, price=DEAR), "low": upstream("low", there.url, price=CHEAP)}
        async with stage(routing=cheapest("dear", "low", upstreams=ups)) as s:
            first = await s.ask(body=ASK)
            second = await s.ask(body=ASK)
    assert first.headers["x-lamplighter-target"] == second.headers["x-lamplighter-target"] == "low"
    assert "x-lamplighter-fallback" not in first.headers
    assert first.headers["x-lamplighter-choice"].startswith("cheapest; low=")
    # By now it is known how long answers are: 1000 tokens, at $1 and $10 a million.
    assert second.headers["x-lamplighter-choice"] == "cheapest; low=0.001 tokens; dear=0.01 tokens"


async def test_what_a_request_itself_allows_bounds_what_its_answer_is_expected_to_cost() -> None:
    async with endpoint(always(SAID)) as there:
        ups = {"dear": upstream("dear", there.url, price=DEAR), "low": upstream("low", there.url, price=CHEAP)}
        async with stage(routing=cheapest("dear", "low", upstreams=ups)) as s:
            await s.ask(body=ASK)
            told = (await s.ask(body=ASK | {"max_tokens": 10})).headers["x-lamplighter-choice"]
    assert told.startswith("cheapest; low=1.")
    assert "e-05" in told


async def test_a_sleeping_endpoint_is_left_asleep_until_enough_requests_come() -> None:
    async with endpoint(always(SAID)) as there:
        ups = {"far": upstream("far", there.url, price=TokenPrice(input=0.0, output=500.0))}  # $0.50 an answer
        config = cheapest("lamp", "far", upstreams=ups, while_waking=WhileWaking.BRIDGE)  # a wake: about $1.01
        async with stage(StageDemand(), routing=config) as s:
            await s.ask(body=ASK | {"max_tokens": 1000})
            reply = await s.ask(body=ASK)
            assert reply.headers["x-lamplighter-target"] == "far"
            assert reply.headers["x-lamplighter-choice"] == "cheapest; far=0.5 tokens; lamp=0.805 asleep"
            for _ in range(2):
                await s.ask(body=ASK)
            assert s.demand.wanted == 0
            for _ in range(2):
                reply = await s.ask(body=ASK)
            assert s.demand.wanted
            assert reply.headers["x-lamplighter-choice"].startswith("cheapest; lamp=0.4")
            assert reply.headers["x-lamplighter-target"] == "far"  # which answers while it wakes


async def test_an_awake_endpoint_costs_what_it_is_kept_awake_for() -> None:
    async with endpoint(always(SAID)) as there:
        ups = {"far": upstream("far", there.url, price=TokenPrice(input=0.0, output=10.0))}  # $0.01 an answer
        config = cheapest("lamp", "far", upstreams=ups)
        for sleeps_in, target, told in (
            (899.0, "lamp", "lamp=0.00111 awake; far=0.01 tokens"),
            (300.0, "far", "far=0.01 tokens; lamp=0.667 awake"),
            (None, "lamp", "lamp=0 awake; far=0.01 tokens"),
        ):
            now = dataclasses.replace(config, sleeps_in={"lamp": sleeps_in}.__getitem__)
            async with stage(StageDemand(there.url), routing=now) as s:
                reply = await s.ask(body=ASK | {"max_tokens": 1000})
            assert (reply.headers["x-lamplighter-target"], reply.headers["x-lamplighter-choice"]) == (
                target,
                f"cheapest; {told}",
            )


async def test_what_has_no_price_comes_last_and_the_next_answers_where_the_cheapest_fails() -> None:
    async with endpoint(always(answer(status="503 No"))) as bad, endpoint(always(SAID)) as good:
        ups = {
            "odd": upstream("odd", good.url),
            "bad": upstream("bad", bad.url, price=CHEAP),
            "dear": upstream("dear", good.url, price=DEAR),
        }
        async with stage(routing=cheapest("odd", "dear", "bad", upstreams=ups)) as s:
            reply = await s.ask(body=ASK)
    assert reply.headers["x-lamplighter-target"] == "dear"
    names = [part.partition("=")[0] for part in reply.headers["x-lamplighter-choice"].split("; ")]
    assert names == ["cheapest", "bad", "dear", "odd"]
    assert reply.headers["x-lamplighter-choice"].endswith("odd=unknown no-price")


def by_model(upstream: Upstream, model: str | None) -> TokenPrice | None:
    return {"org/dear": DEAR, "org/low": CHEAP}.get(model or "")


TWICE = (RouteTarget(name="far", model="org/dear"), RouteTarget(name="far", model="org/low"))


async def test_one_upstream_under_two_names_of_the_model_is_charged_by_the_one_that_answered() -> None:
    async with endpoint(always(SAID)) as there:
        config = cheapest(*TWICE, upstreams={"far": upstream("far", there.url)})
        async with stage(routing=dataclasses.replace(config, token_price=by_model)) as s:
            await s.ask(body=ASK | {"max_tokens": 1000})
            reply = await s.ask(body=ASK)
    assert reply.headers["x-lamplighter-choice"] == "cheapest; far (org/low)=0.001 tokens; far (org/dear)=0.01 tokens"
    assert [one.nanodollars for one in s.usage.all] == [1_001_000, 1_001_000]  # 10 at $0.1 and 1000 at $1 a million


async def test_a_chain_over_one_upstream_is_charged_by_the_model_that_answered() -> None:
    said = SAID

    async def script(visit: Visit) -> None:
        while True:
            body = (await visit.request())[2]
            await visit.say(said if b"org/low" in body else answer(status="503 No"))

    async with endpoint(script) as there:
        config = routing(*TWICE, upstreams={"far": upstream("far", there.url)})
        async with stage(routing=dataclasses.replace(config, token_price=by_model)) as s:
            assert (await s.ask(body=ASK)).status == 200
            assert (await s.usage.one()).nanodollars == 1_001_000


async def test_an_answer_that_tells_tokens_after_every_attempt_failed_is_charged_all_the_same() -> None:
    failed = answer(b'{"usage":{"prompt_tokens":10,"completion_tokens":1000}}', status="500 Oops")
    async with endpoint(always(failed)) as there:
        ups = {"far": upstream("far", there.url, price=CHEAP)}
        async with stage(routing=routing("far", upstreams=ups, repeat=Repeat.ALWAYS, max_attempts=3)) as s:
            reply = await s.ask(body=ASK)
            record = await s.usage.one()
    assert (reply.status, reply.body[:8], record.nanodollars) == (500, b'{"usage"', 1_001_000)


async def test_a_target_that_can_not_serve_the_request_is_no_bargain() -> None:
    async with endpoint(always(SAID)) as there:
        ups = {"small": upstream("small", there.url, price=CHEAP), "large": upstream("large", there.url, price=DEAR)}
        small = RouteTarget(name="small", fit=Fit(context=10))
        async with stage(routing=cheapest(small, "large", upstreams=ups)) as s:
            reply = await s.ask(body=ASK | {"max_tokens": 1000})
    assert reply.headers["x-lamplighter-target"] == "large"
    assert reply.headers["x-lamplighter-choice"].endswith("small=unknown does-not-fit")


async def test_an_endpoint_with_every_slot_taken_is_no_bargain_as_long_as_others_are_idle() -> None:
    asked = asyncio.Event()

    async def held(visit: Visit) -> None:
        await visit.request()
        asked.set()
        await visit.gone()

    async with endpoint(held) as lamp, endpoint(always(SAID)) as there:
        demand = StageDemand(lamp.url)
        config = cheapest("lamp", "far", upstreams={"far": upstream("far", there.url, price=DEAR)})
        config = dataclasses.replace(config, sleeps_in={"lamp": 900.0}.__getitem__)
        async with stage(demand, routing=config) as s, s.client() as client:
            client.send(request("/v1/chat/completions", ASK))
            await asked.wait()
            demand.is_full = True
            reply = await s.ask(body=ASK | {"max_tokens": 1000})
    assert reply.headers["x-lamplighter-target"] == "far"
    assert reply.headers["x-lamplighter-choice"] == "cheapest; far=0.01 tokens; lamp=0 full"


async def test_what_is_paused_or_left_alone_is_no_choice_and_said_to_be_so() -> None:
    async with endpoint(always(SAID)) as there, endpoint(always(answer(status="500 Oops"))) as bad:
        ups = {"bad": upstream("bad", bad.url, price=CHEAP), "dear": upstream("dear", there.url, price=DEAR)}
        touchy = BreakerPolicy(least=1)
        config = cheapest("lamp", "bad", "dear", upstreams=ups, price=0.0001, breaker=touchy, repeat=Repeat.ALWAYS)
        demand = StageDemand()
        demand.paused = True
        async with stage(demand, routing=config) as s:
            first = await s.ask(body=ASK | {"max_tokens": 1000})
            told = (await s.ask(body=ASK | {"max_tokens": 1000})).headers["x-lamplighter-choice"]
            known = s.gateway.expected("smart", (10, 1000))["smart"]
            unknown = s.gateway.expected("smart", None)["smart"]
    assert first.headers["x-lamplighter-choice"].endswith("lamp=unknown paused")
    assert told == "cheapest; dear=0.01 tokens; lamp=unknown paused"
    assert [(bid.target.name, bid.why) for bid in known] == [
        ("dear", "tokens"),
        ("lamp", "paused"),
        ("bad", "left-alone"),
    ]
    assert {bid.target.name: (bid.cost, bid.why) for bid in unknown} == {
        "dear": (None, "no-tokens"),
        "lamp": (None, "paused"),
        "bad": (None, "left-alone"),
    }


async def test_a_route_that_goes_in_order_says_nothing_of_a_choice() -> None:
    async with endpoint(always(SAID)) as there:
        ups = {"far": upstream("far", there.url, price=CHEAP)}
        async with stage(routing=routing("far", upstreams=ups)) as s:
            assert "x-lamplighter-choice" not in (await s.ask(body=ASK)).headers


@pytest.mark.parametrize("status", [429, 503, 529, 401, 403])
async def test_what_refused_the_request_for_certain_leads_to_the_next_target(status: int) -> None:
    async with endpoint(always(answer(status=f"{status} No"))) as bad, endpoint(always(answer(b'"b"'))) as good:
        ups = {"a": upstream("a", bad.url), "b": upstream("b", good.url)}
        async with stage(routing=routing("a", "b", upstreams=ups)) as s:
            reply = await s.ask(body=ASK)
            assert (reply.status, reply.body, reply.headers["x-lamplighter-target"]) == (200, b'"b"', "b")
            assert reply.headers["x-lamplighter-fallback"]
            record = await s.usage.one()
            assert (record.outcome, record.attempts) == (Outcome.SERVED, 2)
            await until(lambda: s.idle)


async def test_a_target_that_nobody_listens_at_leads_to_the_next_one() -> None:
    async with endpoint(always(answer())) as good:
        ups = {"a": upstream("a", DEAD), "b": upstream("b", good.url)}
        async with stage(routing=routing("a", "b", upstreams=ups)) as s:
            assert (await s.ask(body=ASK)).headers["x-lamplighter-target"] == "b"


@pytest.mark.parametrize("said", [answer(status="500 Oops"), b"", b"SSH-2.0\r\n"])
async def test_what_may_have_been_executed_is_only_repeated_where_the_route_allows(said: bytes) -> None:
    async with endpoint(once(said)) as bad, endpoint(always(answer())) as good:
        ups = {"a": upstream("a", bad.url), "b": upstream("b", good.url)}
        async with stage(routing=routing("a", "b", upstreams=ups)) as s:
            reply = await s.ask(body=ASK)
            assert reply.status in {500, 502}
            assert reply.headers["x-lamplighter-target"] == "a"
            assert not good.visits
        async with stage(routing=routing("a", "b", upstreams=ups, repeat=Repeat.ALWAYS)) as s:
            reply = await s.ask(body=ASK)
            assert (reply.status, reply.headers["x-lamplighter-target"]) == (200, "b")


async def test_a_mistake_of_the_client_is_told_by_the_first_target() -> None:
    async with endpoint(always(answer(b'{"error":"no"}', status="422 No"))) as a, endpoint(always(answer())) as b:
        ups = {"a": upstream("a", a.url), "b": upstream("b", b.url)}
        async with stage(routing=routing("a", "b", upstreams=ups)) as s:
            reply = await s.ask(body=ASK)
            assert (reply.status, reply.json) == (422, {"error": "no"})
            assert not b.visits


async def test_when_every_target_fails_one_error_lists_what_was_tried_and_why() -> None:
    async with endpoint(always(answer(status="503 Busy"))) as busy:
        ups = {"a": upstream("a", DEAD), "b": upstream("b", busy.url)}
        async with stage(routing=routing("a", "b", upstreams=ups)) as s:
            reply = await s.ask(body=ASK)
            record = await s.usage.one()
    said = reply.json["error"]
    assert (reply.status, said["code"], said["type"]) == (503, "all_targets_failed", "server_error")
    assert "a: The endpoint does not accept connections." in said["message"]
    assert "b: it answered 503" in said["message"]
    assert int(reply.headers["retry-after"]) >= 1
    assert record.outcome is Outcome.FAILED
    assert record.attempts == 3


async def test_a_target_that_is_silent_is_left_for_the_next_one_in_time() -> None:
    async def silent(visit: Visit) -> None:
        await visit.request()
        await visit.gone()

    async with endpoint(silent) as stuck, endpoint(always(answer())) as good:
        ups = {"a": upstream("a", stuck.url), "b": upstream("b", good.url)}
        config = routing("a", "b", upstreams=ups, repeat=Repeat.ALWAYS, first_byte_timeout=0.05)
        async with stage(routing=config) as s:
            assert (await s.ask(body=ASK)).headers["x-lamplighter-target"] == "b"
            await until(lambda: s.idle)


async def test_a_deadline_bounds_all_attempts_together() -> None:
    async def silent(visit: Visit) -> None:
        await visit.request()
        await visit.gone()

    async with endpoint(silent) as stuck:
        ups = {name: upstream(name, stuck.url) for name in "abc"}
        config = routing("a", "b", "c", upstreams=ups, repeat=Repeat.ALWAYS, deadline=0.1)
        async with stage(routing=config) as s:
            reply = await s.ask(body=ASK)
    assert reply.status == 504
    assert len(stuck.visits) == 1


async def test_a_sleeping_target_is_bridged_and_woken_all_the_same() -> None:
    async with endpoint(always(answer(b'"far"'))) as good:
        ups = {"far": upstream("far", good.url)}
        config = routing("lamp", "far", upstreams=ups, while_waking=WhileWaking.BRIDGE, bridge_after=1.0)
        async with stage(StageDemand(), routing=config) as s:
            reply = await s.ask(body=ASK)
            assert (reply.body, s.demand.wanted) == (b'"far"', 1)
            assert reply.headers["x-lamplighter-fallback"] == "target_waking"
            assert s.demand.asked == []


async def test_the_way_back_from_a_bridge_is_taken_when_the_target_is_awake() -> None:
    async with endpoint(always(answer(b'"lamp"'))) as lamp, endpoint(always(answer(b'"far"'))) as far:
        ups = {"far": upstream("far", far.url)}
        config = routing("lamp", "far", upstreams=ups, while_waking=WhileWaking.BRIDGE)
        demand = StageDemand()
        async with stage(demand, routing=config) as s:
            assert (await s.ask(body=ASK)).body == b'"far"'
            demand.replica = StageDemand(lamp.url).replica
            reply = await s.ask(body=ASK)
            assert (reply.body, reply.headers["x-lamplighter-target"]) == (b'"lamp"', "lamp")


async def test_a_short_wait_is_waited_out_before_a_bridge_is_taken() -> None:
    async with endpoint(always(answer(b'"lamp"'))) as lamp, endpoint(always(answer(b'"far"'))) as far:
        ups = {"far": upstream("far", far.url)}
        config = routing("lamp", "far", upstreams=ups, while_waking=WhileWaking.BRIDGE, bridge_after=9.0)
        async with stage(StageDemand(), routing=config) as s, s.client() as client:
            client.send(request("/v1/chat/completions", ASK))
            await s.demand.waiting.wait()
            assert s.demand.asked == [9.0]
            s.demand.wake(lamp.url)
            assert (await client.reply()).body == b'"lamp"'


async def test_a_bridge_that_leads_nowhere_ends_in_waiting() -> None:
    async with endpoint(always(answer(b'"lamp"'))) as lamp:
        ups = {"far": upstream("far", DEAD)}
        config = routing("lamp", "far", upstreams=ups, while_waking=WhileWaking.BRIDGE)
        async with stage(StageDemand(), routing=config) as s, s.client() as client:
            client.send(request("/v1/chat/completions", ASK))
            await s.demand.waiting.wait()
            s.demand.wake(lamp.url)
            assert (await client.reply()).body == b'"lamp"'


async def test_a_route_that_waits_for_nothing_fails_at_once_and_says_when_to_come_back() -> None:
    config = routing("lamp", upstreams={}, while_waking=WhileWaking.FAIL)
    async with stage(StageDemand(), routing=config) as s:
        reply = await s.ask(body=ASK)
        assert (reply.status, reply.headers["retry-after"], s.demand.wanted) == (503, "7", 1)


@pytest.mark.parametrize(
    "error", [WakeTimeout("late", retry_after=3.0), WakeFailed("broken", retry_after=3.0), EndpointPaused("lamp")]
)
async def test_an_endpoint_that_does_not_come_up_leads_to_the_next_target(error: Exception) -> None:
    async with endpoint(always(answer(b'"far"'))) as far:
        ups = {"far": upstream("far", far.url)}
        async with stage(StageDemand(), routing=routing("lamp", "far", upstreams=ups)) as s, s.client() as client:
            client.send(request("/v1/chat/completions", ASK))
            await s.demand.waiting.wait()
            s.demand.refuse(error)  # type: ignore[arg-type]
            reply = await client.reply()
            assert (reply.body, reply.headers["x-lamplighter-fallback"]) == (b'"far"', error.code)  # type: ignore[attr-defined]


async def test_a_target_that_goes_on_failing_is_left_alone_and_asked_again_later() -> None:
    failing = True

    async def script(visit: Visit) -> None:
        while True:
            await visit.request()
            await visit.say(answer(status="503 Busy") if failing else answer(b'"a"'))

    async with endpoint(script) as bad, endpoint(always(answer(b'"b"'))) as good:
        ups = {"a": upstream("a", bad.url), "b": upstream("b", good.url)}
        policy = BreakerPolicy(least=3, pause=0.05, longest_pause=0.05, proofs=1)
        async with stage(routing=routing("a", "b", upstreams=ups, breaker=policy)) as s:
            standings = s.gateway._services.standings
            for _ in range(3):
                assert (await s.ask(body=ASK)).body == b'"b"'
            assert standings.states()["a"] == "open"
            asked = len(bad.visits)
            assert (await s.ask(body=ASK)).headers["x-lamplighter-fallback"] == "target_left_alone"
            assert len(bad.visits) == asked
            failing = False
            async with asyncio.timeout(5):
                while (await s.ask(body=ASK)).body != b'"a"':
                    pass
            assert standings.states()["a"] == "closed"


async def test_a_target_that_asks_for_a_pause_gets_it() -> None:
    tired = answer(status="429 Slow Down", headers="Retry-After: 60\r\n")
    async with endpoint(always(tired)) as a, endpoint(always(answer(b'"b"'))) as b:
        ups = {"a": upstream("a", a.url), "b": upstream("b", b.url)}
        async with stage(routing=routing("a", "b", upstreams=ups)) as s:
            for _ in range(4):
                assert (await s.ask(body=ASK)).body == b'"b"'
            assert len(a.visits) == 1


async def test_an_only_target_that_asks_for_a_pause_is_quoted() -> None:
    tired = answer(b'{"error":"slow"}', status="429 Slow Down", headers="Retry-After: 60\r\n")
    async with endpoint(always(tired)) as a, stage(routing=routing("a", upstreams={"a": upstream("a", a.url)})) as s:
        reply = await s.ask(body=ASK)
        assert (reply.status, reply.headers["retry-after"], reply.json) == (429, "60", {"error": "slow"})


async def test_a_target_that_is_busy_for_a_moment_is_asked_again() -> None:
    async def script(visit: Visit) -> None:
        await visit.request()
        await visit.say(answer(status="503 Busy"))
        await visit.request()
        await visit.say(answer(b'"now"'))

    async with endpoint(script) as a, stage(routing=routing("a", upstreams={"a": upstream("a", a.url)})) as s:
        assert (await s.ask(body=ASK)).body == b'"now"'


async def test_equals_share_the_requests_and_one_sticky_value_goes_to_one_of_them() -> None:
    async with endpoint(always(answer(b'"a"'))) as a, endpoint(always(answer(b'"b"'))) as b:
        ups = {"a": upstream("a", a.url), "b": upstream("b", b.url)}
        async with stage(routing=routing(("a", "b"), upstreams=ups, sticky="x-session")) as s:
            mixed = {(await s.ask(body=ASK)).body for _ in range(40)}
            same = {(await s.ask(body=ASK, x_session="7")).body for _ in range(10)}
    assert mixed == {b'"a"', b'"b"'}
    assert len(same) == 1


async def test_a_request_that_does_not_fit_is_served_by_who_can() -> None:
    async with endpoint(always(answer(b'"a"'))) as a, endpoint(always(answer(b'"b"'))) as b:
        ups = {"a": upstream("a", a.url), "b": upstream("b", b.url)}
        small = RouteTarget(name="a", fit=Fit(context=100, tools=False))
        async with stage(routing=routing(small, "b", upstreams=ups)) as s:
            assert (await s.ask(body=ASK)).body == b'"a"'
            assert (await s.ask(body=ASK | {"max_tokens": 500})).body == b'"b"'
            assert (await s.ask(body=ASK | {"tools": [{"type": "function"}]})).body == b'"b"'
        async with stage(routing=routing(small, upstreams=ups)) as s:
            reply = await s.ask(body=ASK | {"max_tokens": 500})
            assert (reply.status, reply.json["error"]["code"]) == (400, "does_not_fit")


async def test_an_upstream_takes_no_more_than_it_may() -> None:
    hold = asyncio.Event()

    async def slow(visit: Visit) -> None:
        await visit.request()
        await hold.wait()
        await visit.say(answer(b'"a"'))

    async with endpoint(slow) as a, endpoint(always(answer(b'"b"'))) as b:
        ups = {"a": upstream("a", a.url, max_in_flight=1), "b": upstream("b", b.url)}
        async with stage(routing=routing("a", "b", upstreams=ups)) as s, s.client() as client:
            client.send(request("/v1/chat/completions", ASK))
            await until(lambda: a.visits)
            assert (await s.ask(body=ASK)).body == b'"b"'
            hold.set()
            assert (await client.reply()).body == b'"a"'


async def test_a_stream_that_breaks_off_is_cut_and_not_repeated() -> None:
    async def script(visit: Visit) -> None:
        await visit.request()
        await visit.say(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        await visit.say(b"8\r\ndata: 1\n\r\n")
        visit.reset()

    async with endpoint(script) as a, endpoint(always(answer())) as b:
        ups = {"a": upstream("a", a.url), "b": upstream("b", b.url)}
        async with stage(routing=routing("a", "b", upstreams=ups, repeat=Repeat.ALWAYS)) as s:
            reply = await s.ask(body=ASK | {"stream": True})
            assert (reply.status, reply.cut) == (200, True)
            assert not b.visits
            assert (await s.usage.one()).outcome is Outcome.CUT


async def test_a_stream_is_asked_for_its_usage_and_the_client_does_not_see_it() -> None:
    asked: list[Any] = []
    events = [b'data: {"choices":[{"delta":{"content":"hi"}}],"usage":null}\n\n', b"data: [DONE]\n\n"]
    usage = b'data: {"choices":[],"usage":{"prompt_tokens":4,"completion_tokens":6}}\n\n'

    async def script(visit: Visit) -> None:
        asked.append(json.loads((await visit.request())[2]))
        await visit.say(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        for event in (events[0], usage, events[1], b""):
            await visit.say(b"%x\r\n%b\r\n" % (len(event), event))

    async with endpoint(script) as lamp, stage(StageDemand(lamp.url)) as s:
        reply = await s.ask(body={"model": "lamp", "stream": True})
        record = await s.usage.one()
    assert asked[0]["stream_options"] == {"include_usage": True}
    assert reply.body == events[0].replace(b',"usage":null', b"") + events[1]
    assert (record.tokens_in, record.tokens_out) == (4, 6)


async def test_an_engine_that_can_not_tell_its_usage_is_asked_as_the_client_asked() -> None:
    asked: list[Any] = []

    async def script(visit: Visit) -> None:
        while True:
            asked.append(json.loads((await visit.request())[2]))
            old = "stream_options" in asked[-1]
            refusal = answer(b'{"error":"unknown field stream_options"}', status="400 Bad Request")
            await visit.say(refusal if old else answer(b"data: x\n\n", headers="Content-Type: text/event-stream\r\n"))

    async with endpoint(script) as lamp, stage(StageDemand(lamp.url)) as s:
        for _ in range(2):
            reply = await s.ask(body={"model": "lamp", "stream": True})
            assert (reply.status, reply.body) == (200, b"data: x\n\n")
    assert ["stream_options" in one for one in asked] == [True, False, False]


async def test_routes_are_listed_as_models() -> None:
    ups = {"far": upstream("far", DEAD)}
    async with stage(StageDemand(), routing=routing("lamp", "far", upstreams=ups)) as s:
        listed = (await s.ask("/v1/models", method="GET", body=b"")).json["data"]
        assert [one["id"] for one in listed] == ["lamp", "smart"]
        one = (await s.ask("/v1/models/clever", method="GET", body=b"")).json
        assert (one["id"], one["phase"], one["targets"]) == ("smart", "running", ["lamp", "far"])


async def test_other_routes_are_taken_while_requests_are_under_way() -> None:
    hold = asyncio.Event()

    async def slow(visit: Visit) -> None:
        await visit.request()
        await hold.wait()
        await visit.say(answer(b'"a"'))

    async with endpoint(slow) as a, endpoint(always(answer(b'"b"'))) as b:
        first = routing("x", upstreams={"x": upstream("x", a.url)})
        async with stage(routing=first) as s, s.client() as client:
            client.send(request("/v1/chat/completions", ASK))
            await until(lambda: a.visits)
            s.gateway.take(routing("x", upstreams={"x": upstream("x", b.url)}))
            assert (await s.ask(body=ASK)).body == b'"b"'
            hold.set()
            assert (await client.reply()).body == b'"a"'
            s.gateway.take(Routing())
            assert (await s.ask(body=ASK)).status == 404
