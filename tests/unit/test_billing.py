"""What a configuration may say of how its own machines are billed, and what providers bill by themselves."""

import asyncio
from pathlib import Path

import pytest

from lamplighter.control.clock import Clock
from lamplighter.control.demand import Caller
from lamplighter.control.gate import Gate
from lamplighter.domain.calendar import Calendar
from lamplighter.domain.endpoint import Replica, State
from lamplighter.domain.ledger import EXACT
from lamplighter.domain.money import BillingRule
from lamplighter.errors import InvalidInput
from lamplighter.providers.billing import billing_rule
from lamplighter.providers.registry import Site, make_provider
from tests.virtual_time import virtual


def test_own_machines_bill_all_awake_states_exactly_unless_told_otherwise(tmp_path: Path) -> None:
    for kind in ("local", "memory"):
        assert make_provider(kind, Site(name=kind, data=tmp_path)).capabilities.billing == EXACT
        told = {"billing": {"states": ["running"], "step": 60}}
        rule = make_provider(kind, Site(name=kind, data=tmp_path, options=told)).capabilities.billing
        assert rule == BillingRule(billed=frozenset({State.RUNNING}), step=60.0)


def test_hugging_face_bills_by_the_minute_from_initializing_on(tmp_path: Path) -> None:
    site = Site(name="huggingface", data=tmp_path, options={"base_url": "http://127.0.0.1:9"})
    rule = make_provider("huggingface", site).capabilities.billing
    assert rule == BillingRule(billed=frozenset({State.INITIALIZING, State.RUNNING}), step=60.0)


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("hourly", "billing: 'hourly' should be a mapping"),
        ({"every": 60}, "billing.every: unknown key; known: states, step, minimum"),
        ({"states": []}, r"billing.states: \[\] should be a list of states"),
        ({"states": ["awake"]}, "billing.states: 'awake' should be a state; known: pending, "),
        ({"step": -1}, "billing.step: -1 should be a number of seconds from 0 to 86400"),
        ({"minimum": True}, "billing.minimum: True should be a number"),
        ({"step": float("nan")}, "billing.step: nan should be a number"),
    ],
)
def test_what_is_wrong_with_a_rule_is_told(value: object, told: str) -> None:
    with pytest.raises(InvalidInput, match=told):
        billing_rule(value)


def test_a_time_zone_that_is_none_is_refused() -> None:
    for wrong in ("Mars/Olympus", "", "../etc/passwd"):
        with pytest.raises(InvalidInput, match="is no time zone; give an IANA name such as Europe/Berlin"):
            Calendar(wrong)


@virtual
async def test_a_gate_tells_for_how_long_anything_was_in_flight() -> None:
    gate = Gate(Clock(), max_waiting=10, on_demand=_nothing, on_quiet=_nothing, on_suspicion=_nothing, on_outlier=_none)
    gate.open_to([Replica(id="1", url="http://127.0.0.1:9")])
    first = gate.try_claim()
    assert first is not None
    await asyncio.sleep(2)
    second = gate.try_claim()
    assert second is not None
    await asyncio.sleep(3)
    first.release()
    await asyncio.sleep(4)
    assert gate.busy == pytest.approx(9)
    second.release()
    await asyncio.sleep(100)
    assert gate.busy == pytest.approx(9)
    third = await gate.claim()
    await asyncio.sleep(1)
    third.release()
    assert gate.busy == pytest.approx(10)


@virtual
async def test_a_gate_tells_who_has_waited_longest_of_those_who_may_wake() -> None:
    gate = Gate(Clock(), max_waiting=10, on_demand=_nothing, on_quiet=_nothing, on_suspicion=_nothing, on_outlier=_none)
    assert gate.first_caller() is None
    callers = [Caller(key="guest", may_wake=False), Caller(key="ann"), Caller(key="boss", priority=9)]
    waiting = []
    for caller in callers:
        waiting.append(asyncio.create_task(gate.claim(caller)))
        await asyncio.sleep(1)
    assert gate.first_caller() == callers[1]
    waiting[1].cancel()
    await asyncio.sleep(1)
    assert gate.first_caller() == callers[2]
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)


def _nothing() -> None:
    return


def _none(replica: Replica, seconds: float) -> None:
    del replica, seconds
