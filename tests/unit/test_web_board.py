"""The board: what open pages are told of, and what not."""

from __future__ import annotations

import dataclasses
from typing import Any

from lamplighter.domain.endpoint import Endpoint, EngineSpec, Phase, Policy, Spec, State
from lamplighter.web.board import Board, Spending


def endpoint(name: str = "chat", **changes: Any) -> Endpoint:
    spec = Spec(name=name, provider="cloud", engine=EngineSpec(engine="command"), policy=Policy())
    made = Endpoint(
        spec=spec,
        state=State.RUNNING,
        phase=Phase.RUNNING,
        replicas=(),
        message=None,
        state_age=1.0,
        last_activity=None,
        wake_time=None,
        sleep_time=None,
        auto_sleep_in=60.0,
        starting_for=None,
        expected_start=None,
        in_flight=0,
        waiting=0,
        held_by=(),
        paused=False,
        leaving=False,
        gave_up=False,
    )
    return dataclasses.replace(made, **changes)


SPEC = endpoint()


def board() -> Board:
    return Board(lambda one: {"name": one.spec.name, "in_flight": one.in_flight, "message": one.message})


def look(one: Board, *endpoints: Endpoint, wall: float = 1000.0, names: set[str] | None = None, **spending: Spending):
    found = {each.spec.name for each in endpoints} if names is None else names
    return one.look(endpoints, found, wall, {}, spending)


def test_a_row_that_nothing_happened_to_is_not_told_again_though_its_time_runs():
    one, later = board(), dataclasses.replace(SPEC, auto_sleep_in=55.0, state_age=6.0)
    assert look(one, SPEC).rows["chat"]["sleeps_at"] == 1060.0
    assert not look(one, later, wall=1005.0)
    assert one.number == 1


def test_a_deadline_that_moves_is_told():
    one = board()
    look(one, SPEC)
    assert look(one, SPEC, wall=1005.0).rows["chat"]["sleeps_at"] == 1065.0


def test_a_deadline_that_ends_leaves_the_row():
    one = board()
    look(one, SPEC)
    assert "sleeps_at" not in look(one, dataclasses.replace(SPEC, auto_sleep_in=None)).rows["chat"]


def test_what_is_null_is_not_told():
    assert "message" not in look(board(), SPEC).rows["chat"]


def test_a_look_at_some_takes_the_others_as_they_were():
    one, other = board(), endpoint("coder")
    look(one, SPEC, other)
    delta = look(one, dataclasses.replace(SPEC, in_flight=2), names={"chat", "coder"})
    assert list(delta.rows) == ["chat"]
    assert set(one.rows) == {"chat", "coder"}


def test_an_endpoint_that_is_gone_is_told_once():
    one = board()
    look(one, SPEC)
    assert look(one).gone == ["chat"]
    assert not look(one)


def test_each_delta_has_the_next_number_and_no_news_has_none():
    one = board()
    look(one, SPEC)
    look(one, SPEC)
    look(one, dataclasses.replace(SPEC, in_flight=1))
    assert one.number == 2


def test_only_spending_that_changed_is_told():
    one, first = board(), {"chat": Spending(1, 0, 0, None), "coder": Spending(0, 0, 0, None)}
    assert set(one.look([], (), 0.0, {}, first).spending) == {"chat", "coder"}
    assert not one.look([], (), 0.0, {}, first)
    second = {**first, "chat": Spending(2, 0, 0, 5.0)}
    assert one.look([], (), 0.0, {}, second).spending == {"chat": Spending(2, 0, 0, 5.0)}
