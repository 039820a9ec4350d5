"""Where a request goes after a failure: who is asked again, who is waited for, and where it ends. On real sockets."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Mapping
from typing import Any

import pytest
import uvloop

from lamplighter.control.demand import SOMEBODY, Caller, Claim
from lamplighter.domain.endpoint import Replica
from lamplighter.domain.routing import Fit, Repeat, RetryPolicy, RouteTarget, TokenPrice, WhileWaking
from lamplighter.errors import WakeTimeout
from lamplighter.gateway.router import Routing
from tests.gateway_stage import Script, StageDemand, Visit, always, answer, endpoint, stage
from tests.unit.test_gateway_routes import ASK, DEAD, routing, upstream

REFUSING = always(answer(status="503 Service Unavailable"))
PRICE = TokenPrice(input=1, output=1)


class Several(StageDemand):
    """Endpoints by their URLs: none for one that sleeps, several for its replicas, of which the first is granted."""

    def __init__(self, **urls: str | tuple[str, ...]) -> None:
        super().__init__()
        self.urls = urls
        self.full: set[str] = set()
        self.waited_for: list[str] = []
        self.woken: list[str] = []
        self.comes_up: dict[str, str] = {}
        """What comes up after `start` seconds when it is waited for."""
        self.start = 0.1

    def resolve(self, model: str) -> str | None:
        return model if model in self.urls else None

    def try_claim(self, name: str) -> Claim | None:
        urls = self.urls[name]
        if not urls or name in self.full:
            return None
        url = urls if isinstance(urls, str) else urls[sum(claim.failures for claim in self.claims) % len(urls)]
        return self._grant(Replica(id=name, url=url))

    def want(self, name: str, caller: Caller = SOMEBODY) -> bool:
        self.woken.append(name)
        return True

    def is_awake(self, name: str) -> bool:
        return bool(self.urls[name])

    def is_starting(self, name: str) -> bool:
        return not self.is_awake(name) and name in self.waited_for

    def expected_wait(self, name: str) -> float:
        return 0.0 if self.urls[name] else self.start

    async def claim(self, name: str, timeout: float | None, caller: Caller = SOMEBODY) -> Claim:
        self.waited_for.append(name)
        try:
            async with asyncio.timeout(300.0 if timeout is None else timeout):
                await asyncio.sleep(self.start)
                self.urls[name] = self.comes_up.get(name) or await asyncio.get_running_loop().create_future()
        except TimeoutError:
            raise WakeTimeout(f"{name} is not ready.", retry_after=9.0) from None
        claim = self.try_claim(name)
        assert claim is not None
        return claim


def hiccuping(good: bytes, first: bytes = answer(status="503 Service Unavailable")) -> Script:
    """Refuses the first request, and answers all others."""
    refused = False

    async def script(visit: Visit) -> None:
        nonlocal refused
        while True:
            await visit.request()
            await visit.say(answer(good) if refused else first)
            refused = True

    return script


def renting(*targets: Any, upstreams: Mapping[str, Any]) -> Routing:
    return dataclasses.replace(routing(*targets, upstreams=dict(upstreams), rent=True), prices={"big": 10.0})


async def test_a_chain_that_is_busy_and_asleep_fails_whoever_allows_no_time_for_waiting() -> None:
    demand = Several(big=DEAD, small="")
    demand.full.add("big")
    async with stage(demand, routing=routing("big", "small", upstreams={}, while_waking=WhileWaking.BRIDGE)) as s:
        reply = await s.ask(body=ASK, x_scale_up_timeout="0")
    assert (reply.status, reply.json["error"]["code"]) == (503, "all_targets_failed")


async def test_a_deadline_leaves_time_for_who_is_behind_a_sleeping_target() -> None:
    async def script(visit: Visit) -> None:
        await visit.request()
        await asyncio.sleep(0.1)
        await visit.say(answer(b'"small"'))

    async with endpoint(script) as small:
        demand = Several(big="", small=small.url)
        async with stage(demand, routing=routing("big", "small", upstreams={}, deadline=0.8)) as s:
            assert (await s.ask(body=ASK)).body == b'"small"'
    assert demand.waited_for == ["big"]


@pytest.mark.parametrize("bridge_after", [0.0, 0.15])
async def test_a_bridge_that_does_not_hold_leads_to_waiting_however_long_was_waited_before(bridge_after: float) -> None:
    async with endpoint(REFUSING) as bad, endpoint(always(answer(b'"big"'))) as good:
        demand = Several(big="")
        demand.comes_up, demand.start = {"big": good.url}, 0.1
        config = routing(
            "big",
            "far",
            upstreams={"far": upstream("far", bad.url)},
            while_waking=WhileWaking.BRIDGE,
            bridge_after=bridge_after,
        )
        async with stage(demand, routing=config) as s:
            demand.start = 0.3 if bridge_after else 0.1
            demand.expected_wait = lambda name: 0.1  # type: ignore[method-assign] # it takes longer than was expected
            assert (await s.ask(body=ASK)).body == b'"big"'


async def test_a_bridge_that_shakes_is_crossed_before_anybody_waits() -> None:
    async with endpoint(hiccuping(b'"far"')) as far:
        demand = Several(big="")
        config = routing("big", "far", upstreams={"far": upstream("far", far.url)}, while_waking=WhileWaking.BRIDGE)
        async with stage(demand, routing=config) as s:
            assert (await s.ask(body=ASK)).body == b'"far"'
    assert demand.woken == ["big"]
    assert demand.waited_for == []


async def test_what_is_busy_is_waited_for_when_the_bridge_does_not_hold() -> None:
    async with endpoint(REFUSING) as bad, endpoint(always(answer(b'"big"'))) as good:
        demand = Several(big=good.url)
        demand.full.add("big")
        demand.comes_up = {"big": good.url}
        config = routing("big", "far", upstreams={"far": upstream("far", bad.url)}, while_waking=WhileWaking.BRIDGE)
        async with stage(demand, routing=config) as s:
            asked = asyncio.create_task(s.ask(body=ASK))
            await asyncio.sleep(0.05)
            demand.full.clear()
            assert (await asked).body == b'"big"'


async def test_an_endpoint_that_was_left_asleep_for_its_price_is_woken_where_the_upstream_fails() -> None:
    async with endpoint(REFUSING) as bad, endpoint(always(answer(b'"big"'))) as good:
        demand = Several(big="")
        demand.comes_up = {"big": good.url}
        config = renting("big", "far", upstreams={"far": upstream("far", bad.url, price=PRICE)})
        async with stage(demand, routing=config) as s:
            assert (await s.ask(body=ASK)).body == b'"big"'


@pytest.mark.parametrize(
    ("path", "fit"), [("/v1/tokenize", Fit()), ("/v1/chat/completions", Fit(tools=False))], ids=["path", "misfit"]
)
async def test_nothing_is_rented_for_what_no_upstream_serves(path: str, fit: Fit) -> None:
    async with endpoint(always(answer(b'"big"'))) as good:
        demand = Several(big="")
        demand.comes_up = {"big": good.url}
        target = RouteTarget(name="far", is_upstream=True, fit=fit)
        config = renting("big", target, upstreams={"far": upstream("far", good.url, price=PRICE)})
        async with stage(demand, routing=config) as s:
            reply = await s.ask(path, body=ASK | {"tools": [{"type": "function"}]})
            assert (reply.body, reply.headers["x-lamplighter-target"]) == (b'"big"', "big")
    assert demand.waited_for == ["big"]


async def test_a_target_that_wants_a_long_pause_is_passed_by() -> None:
    slow = always(answer(status="429 Too Many Requests", headers="retry-after: 60\r\n"))
    async with endpoint(slow) as a, endpoint(hiccuping(b'"b"')) as b:
        ups = {"a": upstream("a", a.url), "b": upstream("b", b.url)}
        async with stage(routing=routing("a", "b", upstreams=ups)) as s:
            assert (await s.ask(body=ASK)).body == b'"b"'


async def test_one_target_s_wish_for_a_pause_does_not_bind_another() -> None:
    slow = always(answer(status="503 Service Unavailable", headers="retry-after: 60\r\n"))
    async with endpoint(hiccuping(b'"a"')) as a, endpoint(slow) as b:
        ups = {"a": upstream("a", a.url), "b": upstream("b", b.url)}
        async with stage(routing=routing("a", "b", upstreams=ups)) as s:
            assert (await s.ask(body=ASK)).body == b'"a"'


async def test_every_target_has_its_turn_however_many_there_are() -> None:
    async with endpoint(REFUSING) as bad, endpoint(always(answer(b'"e"'))) as good:
        ups = {name: upstream(name, bad.url) for name in "abcd"} | {"e": upstream("e", good.url)}
        async with stage(routing=routing(*"abcde", upstreams=ups)) as s:
            assert (await s.ask(body=ASK)).body == b'"e"'


async def test_who_was_not_tried_for_the_bound_on_attempts_is_said_to_be_so() -> None:
    async with endpoint(REFUSING) as bad:
        ups = {name: upstream(name, bad.url) for name in "ab"}
        async with stage(routing=routing("a", "b", upstreams=ups, max_attempts=1)) as s:
            error = (await s.ask(body=ASK)).json["error"]
    assert error["message"].endswith("b: not tried, 1 attempts are allowed")


def test_a_pause_is_over_when_the_next_attempt_begins() -> None:
    """uvloop's timers go off up to a millisecond early; a target that is still cooling down would not be asked."""

    async def script(visit: Visit) -> None:
        while True:
            await visit.request()
            await visit.say(answer(status="429 Too Many Requests", headers="Retry-After: 0.0105\r\n"))
            await visit.request()
            await visit.say(answer())

    async def scene() -> None:
        async with endpoint(script) as a:
            config = routing("a", upstreams={"a": upstream("a", a.url)})
            retry = RetryPolicy(base=0.0001, cap=2.0, least=1000)
            async with stage(routing=dataclasses.replace(config, retry=retry)) as s:
                assert [(await s.ask(body=ASK)).status for _ in range(40)] == [200] * 40

    uvloop.run(scene())


async def test_a_post_is_not_sent_elsewhere_because_a_reload_took_its_target_out() -> None:
    asked, go = asyncio.Event(), asyncio.Event()

    async def script(visit: Visit) -> None:
        await visit.request()
        await visit.say(answer())
        await visit.request()
        asked.set()
        await go.wait()
        await visit.say(answer(status="500 Internal Server Error"))

    async with endpoint(script) as a, endpoint(always(answer(b'"b"'))) as b:
        ups = {"a": upstream("a", a.url), "b": upstream("b", b.url)}
        async with stage(routing=routing("a", "b", upstreams=ups)) as s:
            await s.ask(body=ASK)
            under_way = asyncio.create_task(s.ask(body=ASK))
            await asked.wait()
            s.gateway.take(routing("b", upstreams={"b": ups["b"]}))
            go.set()
            reply = await under_way
    assert (reply.status, reply.headers["x-lamplighter-target"]) == (500, "a")
    assert b.visits == []


async def test_a_route_whose_target_is_taken_out_meanwhile_is_still_known() -> None:
    asked, go = asyncio.Event(), asyncio.Event()

    async def script(visit: Visit) -> None:
        await visit.request()
        asked.set()
        await go.wait()
        await visit.say(answer(status="503 Service Unavailable"))

    async with endpoint(REFUSING) as a, endpoint(script) as b:
        ups = {"a": upstream("a", a.url), "b": upstream("b", b.url)}
        async with stage(routing=routing("a", "b", upstreams=ups, max_attempts=3)) as s:
            under_way = asyncio.create_task(s.ask(body=ASK))
            await asked.wait()
            s.gateway.take(routing("b", upstreams={"b": ups["b"]}))
            go.set()
            reply = await under_way
    assert (reply.status, reply.json["error"]["code"]) == (503, "all_targets_failed")


async def test_another_replica_is_asked_where_nobody_waits() -> None:
    async with endpoint(always(answer(b'"second"'))) as second:
        demand = Several(big=(DEAD, second.url))
        config = routing("big", upstreams={}, while_waking=WhileWaking.FAIL)
        async with stage(demand, routing=config) as s:
            assert (await s.ask(body=ASK)).body == b'"second"'


async def test_one_attempt_is_one_whether_its_connection_is_new_or_kept() -> None:
    async def script(visit: Visit) -> None:
        await visit.request()
        await visit.say(answer())
        await visit.request()
        await visit.gone()

    async with endpoint(script) as a, endpoint(always(answer(b'"b"'))) as b:
        ups = {"a": upstream("a", a.url), "b": upstream("b", b.url)}
        config = routing("a", "b", upstreams=ups, max_attempts=1, repeat=Repeat.ALWAYS, first_byte_timeout=0.1)
        async with stage(routing=config) as s:
            await s.ask(body=ASK)
            assert (await s.ask(body=ASK)).status >= 500
    assert b.visits == []


async def test_of_sleeping_equals_one_is_woken() -> None:
    demand = Several(left="", right="")
    async with stage(demand, routing=routing(("left", "right"), upstreams={})) as s:
        await asyncio.gather(*(s.ask(body=ASK, x_scale_up_timeout="0.05") for _ in range(8)))
    assert demand.waited_for[:8] == ["left"] * 8


async def test_a_fallback_s_retries_are_measured_by_what_it_was_asked() -> None:
    async with endpoint(REFUSING) as bad, endpoint(always(answer(b'"b"'))) as b:
        ups = {"a": upstream("a", bad.url), "b": upstream("b", b.url)}
        async with stage(routing=routing("a", "b", upstreams=ups)) as s:
            for _ in range(5):
                assert (await s.ask(body=ASK)).body == b'"b"'
            budget = s.gateway._services.standings._far["b"].budget
            assert budget._requests.total(asyncio.get_running_loop().time()) == 5


async def test_what_is_told_of_a_request_that_may_have_run_is_that() -> None:
    """The last failure counts, also of a target that had failed before another one."""

    async def script(visit: Visit) -> None:
        await visit.request()
        await visit.say(answer(status="503 Service Unavailable"))
        await visit.request()
        visit.reset()

    async with endpoint(script) as a:
        ups = {"a": upstream("a", a.url), "b": upstream("b", DEAD)}
        async with stage(routing=routing("a", "b", upstreams=ups)) as s:
            reply = await s.ask(body=ASK)
    assert reply.json["error"]["code"] == "upstream_broken"


@pytest.mark.parametrize("targets", [(("left", "right"), "far"), ("left", "right", "far")], ids=["equals", "chain"])
async def test_no_endpoint_is_woken_where_renting_is_cheaper(targets: tuple[Any, ...]) -> None:
    async with endpoint(always(answer(b'"far"'))) as far:
        demand = Several(left="", right="")
        config = renting(*targets, upstreams={"far": upstream("far", far.url, price=PRICE)})
        config = dataclasses.replace(config, prices={"left": 10.0, "right": 10.0})
        async with stage(demand, routing=config) as s:
            assert (await s.ask(body=ASK)).body == b'"far"'
    assert (demand.waited_for, demand.woken) == ([], [])


async def test_one_of_equals_is_woken_where_nobody_waits_the_one_that_starts_already() -> None:
    async with endpoint(always(answer(b'"far"'))) as far:
        demand = Several(left="", right="")
        demand.waited_for = ["right"]
        config = routing(
            ("left", "right"), "far", upstreams={"far": upstream("far", far.url)}, while_waking=WhileWaking.BRIDGE
        )
        async with stage(demand, routing=config) as s:
            assert (await s.ask(body=ASK)).body == b'"far"'
    assert demand.woken == ["right"]


async def test_who_has_time_is_asked_again_though_another_one_was_told_to_wait_longer() -> None:
    """Two requests are told to come back; the pause of the second is the longer one, and both wait for its end."""
    seen = 0
    both, longer = asyncio.Event(), asyncio.Event()

    async def script(visit: Visit) -> None:
        nonlocal seen
        while True:
            await visit.request()
            seen += 1
            if seen == 1:
                await both.wait()
                await visit.say(answer(status="429 Too Many Requests", headers="Retry-After: 0.1\r\n"))
            elif seen == 2:
                both.set()
                await longer.wait()
                await visit.say(answer(status="429 Too Many Requests", headers="Retry-After: 0.3\r\n"))
            else:
                await visit.say(answer())

    async with endpoint(script) as a, stage(routing=routing("a", upstreams={"a": upstream("a", a.url)})) as s:
        asked = [asyncio.create_task(s.ask(body=ASK, x_scale_up_timeout="5")) for _ in range(2)]
        await both.wait()
        await asyncio.sleep(0.04)
        longer.set()
        assert [(await one).status for one in asked] == [200, 200]


async def test_a_long_deadline_does_not_prolong_what_an_endpoint_has_for_its_start() -> None:
    async with endpoint(always(answer(b'"small"'))) as small:
        demand = Several(big="", small=small.url)
        demand.patience = 0.1
        async with stage(demand, routing=routing("big", "small", upstreams={}, deadline=600.0)) as s:
            assert (await s.ask(body=ASK)).body == b'"small"'


async def test_a_proxy_holds_no_longer_than_the_route_has_a_request_wait() -> None:
    held: list[str] = []

    async def proxy(visit: Visit) -> None:
        while True:
            _, headers, _ = await visit.request()
            held.append(headers["x-scale-up-timeout"])
            body = b'{"error":"503 Service Unavailable","code":"SERVICE_UNAVAILABLE"}'
            await visit.say(answer(body, status="503 Service Unavailable"))

    class Remote(Several):
        def try_claim(self, name: str) -> Claim | None:
            claim = super().try_claim(name)
            if claim is not None and name == "big":
                claim.replica = dataclasses.replace(claim.replica, proxied=True)
                self.urls["big"] = ""  # asleep, as is seen when it has been asked
            return claim

    async with endpoint(proxy) as big, endpoint(always(answer(b'"small"'))) as small:
        demand = Remote(big=big.url, small=small.url)
        config = routing("big", "small", upstreams={}, while_waking=WhileWaking.BRIDGE)
        async with stage(demand, routing=config) as s:
            assert (await s.ask(body=ASK)).body == b'"small"'
    assert held == ["1"]
    assert demand.woken == ["big"]
    assert demand.waited_for == []
