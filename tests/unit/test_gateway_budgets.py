"""What clients are told once a budget leaves nothing, and where a route goes on then. On real sockets."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from types import MappingProxyType

import pytest

from lamplighter.control.demand import SOMEBODY, Caller, Claim
from lamplighter.control.keyring import Keyring
from lamplighter.control.purse import Spent
from lamplighter.domain.keys import Role
from lamplighter.domain.routing import TokenPrice, WhileWaking
from lamplighter.errors import BudgetSpent
from lamplighter.gateway.settings import GatewaySettings
from tests.gateway_stage import always, answer, endpoint, relayed, stage
from tests.unit.test_gateway_going_on import PRICE, Several
from tests.unit.test_gateway_routes import ASK, routing, upstream


def spent() -> BudgetSpent:
    return BudgetSpent("Budget 'team' is spent. It renews at midnight.", budget="team", retry_after=90.4)


class Closed(Spent):
    def __init__(self, *ids: str) -> None:
        self._ids = dict.fromkeys(ids, True)

    @property
    def closed_keys(self) -> Mapping[str, bool]:
        return MappingProxyType(self._ids)

    def closed(self, key_id: str) -> BudgetSpent:
        assert key_id in self._ids
        return spent()

    def by_use(self, target: str, key_id: str) -> BudgetSpent | None:
        return spent() if target == "far" else None

    def used(self, target: str, key_id: str, nanodollars: int) -> None:
        raise AssertionError("nothing is charged by who is not asked")


class Broke(Several):
    """Endpoints that nobody can pay for, where they are asleep."""

    def want(self, name: str, caller: Caller = SOMEBODY) -> bool:
        raise spent()

    async def claim(self, name: str, timeout: float | None, caller: Caller = SOMEBODY) -> Claim:
        self.waited_for.append(name)
        raise spent()


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("/v1/chat/completions", {"type": "insufficient_quota", "param": None, "code": "budget_spent"}),
        ("/v1/messages", {"type": "billing_error"}),
    ],
)
async def test_a_refused_wake_is_402_in_the_form_of_the_api_with_budget_and_renewal(
    path: str, told: dict[str, object]
) -> None:
    async with stage(Broke(lamp="")) as s:
        reply = await s.ask(path, {"model": "lamp", "messages": []})
    assert reply.status == 402
    assert reply.json["error"] == {"message": "Budget 'team' is spent. It renews at midnight."} | told
    assert reply.headers["retry-after"] == "91"


async def test_behind_an_endpoint_s_own_url_it_is_402_in_the_form_of_hugging_face() -> None:
    async with stage(Broke(lamp="")) as s:
        reply = await s.ask("/endpoints/lamp/v1/chat/completions", {"messages": []})
    assert reply.status == 402
    assert reply.json["error"] == "402 Payment Required: Budget 'team' is spent. It renews at midnight."
    assert reply.headers["retry-after"] == "91"


@pytest.mark.parametrize("while_waking", WhileWaking)
async def test_a_route_goes_on_to_what_costs_no_wake(while_waking: WhileWaking) -> None:
    async with endpoint(always(answer(b'"far"'))) as far:
        config = routing("big", "far", upstreams={"far": upstream("far", far.url)}, while_waking=while_waking)
        async with stage(Broke(big=""), routing=config) as s:
            reply = await s.ask(body=ASK)
    assert (reply.status, reply.body) == (200, b'"far"')


async def test_a_route_all_of_whose_endpoints_nobody_can_pay_for_is_402() -> None:
    demand = Broke(big="", small="")
    async with stage(demand, routing=routing("big", "small", upstreams={})) as s:
        reply = await s.ask(body=ASK)
    assert (reply.status, reply.json["error"]["code"]) == (402, "budget_spent")
    assert demand.waited_for == ["big", "small"]


async def test_an_awake_endpoint_answers_whatever_is_spent_but_not_a_key_that_is_closed() -> None:
    ring = Keyring()
    await ring.make("root", actor="test", role=Role.ADMIN)
    poor, poor_secret = await ring.make("poor", actor="test")
    _, rich_secret = await ring.make("rich", actor="test")
    async with relayed(always(answer(b'"here"')), keyring=ring, spent=Closed(poor.id)) as s:
        refused = await s.ask(body=ASK | {"model": "lamp"}, authorization=f"Bearer {poor_secret.reveal()}")
        assert (refused.status, refused.json["error"]["code"]) == (402, "budget_spent")
        assert (await s.ask(body=ASK | {"model": "lamp"}, authorization=f"Bearer {rich_secret.reveal()}")).status == 200


async def test_whoever_has_no_key_that_counts_is_told_that_and_nothing_of_budgets() -> None:
    keyed = GatewaySettings(keys=frozenset({hashlib.sha256(b"sesame").hexdigest()}), sweep_every=0.01)
    async with stage(settings=keyed, spent=Closed("anybody")) as s:
        assert (await s.ask(body=ASK)).status == 401


async def test_an_upstream_that_charges_is_not_asked_and_one_that_does_not_is() -> None:
    async with endpoint(always(answer(b'"far"'))) as far, endpoint(always(answer(b'"free"'))) as free:
        ups = {"far": upstream("far", far.url, price=PRICE), "free": upstream("free", free.url)}
        async with stage(spent=Closed(), routing=routing("far", "free", upstreams=ups)) as s:
            assert (await s.ask(body=ASK)).body == b'"free"'
        async with stage(spent=Closed(), routing=routing("far", upstreams=ups)) as s:
            reply = await s.ask(body=ASK)
            assert (reply.status, reply.json["error"]["code"]) == (402, "budget_spent")
        unpriced = {"far": upstream("far", far.url)}
        async with stage(spent=Closed(), routing=routing("far", upstreams=unpriced)) as s:
            assert (await s.ask(body=ASK)).body == b'"far"', "what nobody knows to cost anything is not refused"


async def test_what_an_upstream_charges_for_its_tokens_goes_on_record_to_the_nanodollar() -> None:
    told = answer(b'{"usage":{"prompt_tokens":1234567,"completion_tokens":89}}')
    async with endpoint(always(told)) as far:
        ups = {"far": upstream("far", far.url, price=TokenPrice(input=0.3, output=1.7))}
        async with stage(routing=routing("far", upstreams=ups)) as s:
            await s.ask(body=ASK)
            assert (await s.usage.one()).nanodollars == 1234567 * 300 + 89 * 1700
