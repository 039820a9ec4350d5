"""What the ledger carries from one hour to the next, as JSON and back."""

from __future__ import annotations

from typing import Any

from lamplighter.domain.endpoint import State
from lamplighter.domain.ledger import Carried, Period
from lamplighter.domain.timeline import Standing, Stretch


def document_of(carried: Carried) -> dict[str, Any]:
    """As it is kept."""
    standing, period = carried.standing, carried.period
    return {
        "standing": {
            "state": standing.state,
            "since": standing.since,
            "told": standing.told,
            "replicas": standing.replicas,
            "provider": standing.provider,
            "account": [standing.cause, standing.route],
            "ahead": [_stretch(one) for one in standing.ahead],
        },
        "period": None if period is None else _period(period),
        "rest": carried.rest,
        "rest_always": carried.rest_always,
    }


def read(document: dict[str, Any]) -> Carried:
    """As the ledger knows it."""
    standing, period = document["standing"], document["period"]
    cause, route = standing["account"]
    return Carried(
        standing=Standing(
            state=_state(standing["state"]),
            since=standing["since"],
            told=standing["told"],
            replicas=standing["replicas"],
            provider=standing["provider"],
            cause=cause,
            route=route,
            ahead=tuple(Stretch(one[0], one[1], _state(one[2]), *one[3:]) for one in standing["ahead"]),
        ),
        period=None if period is None else _read_period(period),
        rest=document["rest"],
        rest_always=document["rest_always"],
    )


def _state(value: str | None) -> State | None:
    return None if value is None else State(value)


def _stretch(one: Stretch) -> list[Any]:
    return [one.begin, one.end, one.state, one.replicas, one.provider, one.cause, one.route, one.estimated]


def _period(period: Period) -> dict[str, Any]:
    return {
        "began": period.began,
        "provider": period.provider,
        "account": list(period.account),
        "warm": period.warm,
        "replicas": [list(some) for some in period.replicas],
        "shares": [[*account, weight] for account, weight in period.shares],
        "cost": period.cost,
    }


def _read_period(period: dict[str, Any]) -> Period:
    cause, route = period["account"]
    return Period(
        began=period["began"],
        provider=period["provider"],
        account=(cause, route),
        warm=period["warm"],
        replicas=tuple((count, billed) for count, billed in period["replicas"]),
        shares=tuple(((who, where), weight) for who, where, weight in period["shares"]),
        cost=period["cost"],
    )
