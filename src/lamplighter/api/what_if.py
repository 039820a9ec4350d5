"""`/api/cost/what-if`: what an endpoint would have cost always on, or at another idle timeout."""

from __future__ import annotations

import difflib
from datetime import date
from typing import Annotated, Literal, TypeAlias

from fastapi import APIRouter, Depends, Query, Request
from pydantic import BaseModel, ConfigDict, Field

from lamplighter.api.access import Operator
from lamplighter.api.cost import Day
from lamplighter.api.problems import FAILED, INVALID, NAMED, RESPONSES, Problem, Responses
from lamplighter.control.what_if import Supposed, WhatIf
from lamplighter.domain.breakeven import Amount
from lamplighter.domain.days import FORMS, NamedDay
from lamplighter.domain.prices import money
from lamplighter.domain.what_if import Setting
from lamplighter.errors import InvalidInput, NotFound

_ABSENT: Responses = {404: {"model": Problem, "description": "No such endpoint, or this server keeps no books"}}

router = APIRouter(prefix="/api/cost", tags=["costs"], responses=RESPONSES | INVALID | FAILED | NAMED | _ABSENT)

_MOST_TIMEOUTS = 20
_LONGEST = 300
_YEAR = 366 * 86400.0


class _Wire(BaseModel):
    model_config = ConfigDict(use_attribute_docstrings=True)


class SupposedCost(_Wire):
    """What one way of having had it comes to."""

    idle_timeout: float | None
    """After how many seconds without a request it is put to sleep; null: never."""
    is_own: bool
    """Whether it is set so now."""
    cost: str | None
    """What it comes to in $, as an exact decimal; null where that can't be said."""
    basis: Literal["ledger", "exact", "at least", "estimate", "unknown"]
    """`ledger`: from what was charged; `estimate`: from when requests came."""
    why: str
    """What is to be said of it: why there is no cost."""
    seconds: float | None
    """For how long replicas would be billed; null where nobody counted that."""
    cold_starts: int
    """How often a request would have found it asleep."""
    more_cold_starts: int
    """By how much that is more often than at the idle timeout that it has; below 0: less often."""

    @classmethod
    def of(cls, setting: Setting) -> SupposedCost:
        """Describe one."""
        return cls(
            idle_timeout=setting.idle_timeout,
            is_own=setting.is_own,
            cost=_dollars(setting.amount),
            basis=setting.amount.basis.value,
            why=setting.amount.why,
            seconds=setting.seconds,
            cold_starts=setting.cold_starts,
            more_cold_starts=setting.more,
        )


class PaidCost(_Wire):
    """What was charged."""

    cost: str | None
    """What was paid in $, as an exact decimal; null where no price was known."""
    basis: Literal["ledger", "exact", "at least", "estimate", "unknown"]
    """`ledger`: all of it; `at least`: for a part of the time no price was known."""
    why: str
    """What is to be said of it."""
    seconds: float
    """For how long replicas were billed."""


class WhatIfAnswer(_Wire):
    """What an endpoint has cost, and would have cost otherwise."""

    success: Literal[True] = True
    """Always true here."""
    endpoint: str
    """Of which endpoint this is."""
    since: date
    """The first day; later than asked for where requests of before are on record no more."""
    until: date | None
    """The day before which it ends; null: now."""
    time_zone: str
    """Whose days these are."""
    at: float
    """Up to when it counts, in Unix seconds."""
    currency: Literal["USD"] = "USD"
    """What amounts are in."""
    requests: int
    """How many requests were answered: these are played again."""
    idle_timeout: float | None
    """What it is set to now, in seconds; null: it never sleeps by itself."""
    start: float | None
    """How many seconds a cold start is taken to last; null: never measured, and not counted."""
    price_per_hour: str | None
    """What an hour of one replica costs now in $; null where nobody told."""
    price_source: str | None
    """Who said so."""
    as_it_was: PaidCost
    """What was charged."""
    always_on: SupposedCost
    """Awake all the time."""
    timeouts: list[SupposedCost]
    """At some idle timeouts, its own and those asked for among them, the shortest first."""
    assumptions: list[str]
    """What estimates rest on, in sentences."""

    @classmethod
    def of(cls, told: Supposed) -> WhatIfAnswer:
        """Describe all of it."""
        price = told.price
        paid = PaidCost(
            cost=_dollars(told.amount), basis=told.amount.basis.value, why=told.amount.why, seconds=told.seconds
        )
        return cls(
            endpoint=told.endpoint,
            since=told.since,
            until=told.until,
            time_zone=told.time_zone,
            at=told.at,
            requests=told.requests,
            idle_timeout=told.idle_timeout,
            start=told.start,
            price_per_hour=None if price is None else money(price.amount),
            price_source=None if price is None else price.source,
            as_it_was=paid,
            always_on=SupposedCost.of(told.always),
            timeouts=[SupposedCost.of(one) for one in told.timeouts],
            assumptions=list(told.assumptions),
        )


def _dollars(amount: Amount) -> str | None:
    return None if amount.dollars is None else money(amount.dollars)


PARAMETERS = ("endpoint", "since", "until", "idle_timeout")
"""What can be asked for."""


async def _only_known(request: Request) -> None:
    """Refuse what there is none of: without it the answer would be another one than was asked for."""
    for name in request.query_params:
        if name not in PARAMETERS:
            near = difflib.get_close_matches(name[:80], PARAMETERS, n=2)
            hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(PARAMETERS)}."
            raise InvalidInput(f"{name[:80]}: no such parameter; {hint}", field=name[:80])


def _what_if(request: Request) -> WhatIf:
    found: WhatIf | None = request.app.state.what_if
    if found is None:
        raise NotFound("This server keeps no books.")
    return found


Timeout: TypeAlias = Annotated[float, Field(ge=0, le=_YEAR, allow_inf_nan=False)]


@router.get("/what-if", operation_id="what_if", dependencies=[Depends(_only_known)])
async def what_if(
    _: Operator,
    found: Annotated[WhatIf, Depends(_what_if)],
    *,
    endpoint: Annotated[str, Query(min_length=1, max_length=_LONGEST, description="Which endpoint.")],
    since: Annotated[
        Day | None, Query(description=f"The first day: {FORMS}. By default 30 days before the end.")
    ] = None,
    until: Annotated[
        Day | None, Query(description="The day before which it ends, like `since`. By default now.")
    ] = None,
    idle_timeout: Annotated[
        list[Timeout],
        Query(max_length=_MOST_TIMEOUTS, description="An idle timeout to try, in seconds; repeated for more."),
    ] = [],  # noqa: B006 - FastAPI copies it
) -> WhatIfAnswer:
    """Tell what an endpoint would have cost always on, and at other idle timeouts; and how many more cold starts.

    What was charged, and what always on would have cost, is from the ledger. Other idle timeouts are estimates: the
    requests on record are played again as they came. Changes nothing.
    """
    told = await found.suppose(
        endpoint,
        since=None if since is None else NamedDay.of(since),
        until=None if until is None else NamedDay.of(until),
        timeouts=idle_timeout,
    )
    return WhatIfAnswer.of(told)
