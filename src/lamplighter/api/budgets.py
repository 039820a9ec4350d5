"""`/api/budgets`: how much of each budget is spent and set aside, and when it renews."""

from __future__ import annotations

import difflib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal, TypeAlias

from fastapi import APIRouter, Depends, Query, Request
from pydantic import BaseModel, ConfigDict, Field

from lamplighter.api.access import Operator
from lamplighter.api.problems import INVALID, RESPONSES, Problem, Responses
from lamplighter.domain.budgets import AtLimit, Budget, Period, Scope, Standing, standing
from lamplighter.domain.calendar import Calendar
from lamplighter.domain.keys import ApiKey
from lamplighter.domain.prices import money
from lamplighter.errors import InvalidInput, NotFound

_ABSENT: Responses = {404: {"model": Problem, "description": "No such budget or key, or this server keeps no budgets"}}

router = APIRouter(prefix="/api/budgets", tags=["costs"], responses=RESPONSES | INVALID | _ABSENT)

_MOST_NAMES = 100  # more would not fit into a request's head
_LONGEST = 300
_SHOWN = 80
_MOST_TOLD = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetBook:
    """What is told of budgets. `standings` are those that count; `keys` tells all keys, revoked ones too."""

    standings: Callable[[], Sequence[Standing]]
    configured: Callable[[], Sequence[Budget]]
    keys: Callable[[], Sequence[ApiKey]]
    calendar: Calendar

    def told(self, now: float) -> Sequence[Standing]:
        """All of them in the order of the configuration; also those that each has, and nobody has used."""
        found: dict[str, list[Standing]] = {}
        for one in self.standings():
            found.setdefault(one.budget.name, []).append(one)
        return [
            one
            for budget in self.configured()
            for one in found.get(budget.name) or [self._unused(budget, budget.member, now)]
        ]

    def under(self, endpoint: str | None, key: ApiKey | None, now: float) -> Sequence[Standing]:
        """Those that a spending counts under, at this endpoint and on this key's account; None: at any, on any."""
        found = {(one.budget.name, one.member): one for one in self.standings()}
        members = [(budget, _member(budget, endpoint, key)) for budget in self.configured()]
        return [
            found.get((budget.name, member)) or self._unused(budget, member, now)
            for budget, member in members
            if member is not None
        ]

    def _unused(self, budget: Budget, member: str, now: float) -> Standing:
        return standing(budget, member, spent=0, reserved=0, now=int(now), calendar=self.calendar)


def _member(budget: Budget, endpoint: str | None, key: ApiKey | None) -> str | None:
    if budget.scope is Scope.ENDPOINT and endpoint is None:
        return None
    return budget.member_of(endpoint or "", key)


class _Wire(BaseModel):
    model_config = ConfigDict(use_attribute_docstrings=True)


class BudgetStanding(_Wire):
    """How a budget is used now. Amounts are exact decimals in $."""

    name: str
    """As the configuration calls it."""
    scope: Scope
    """Whose spending counts: everybody's, that of an endpoint, of a key, or of the keys with a tag."""
    whose: str
    """The same in words: `all`, `endpoint chat`, `key web`, `tag team=research`."""
    tag: str | None
    """The name of the tag, where the scope is one."""
    member: str
    """The endpoint, the key, or the tag's value; empty for `all`. `*`: each has it, and nobody has spent any of it."""
    limit: str
    """How much may be spent in a period."""
    spent: str
    """How much of that is spent in this period, up to this moment."""
    reserved: str
    """How much is set aside for wakes that were let through and have not cost it yet."""
    left: str
    """How much a wake may still cost: the limit less both, 0 at least."""
    share: float
    """How much of the limit is spent; 1 is all of it, and it may be more."""
    level: Literal[0, 50, 80, 100]
    """The highest of these percentages that is reached."""
    is_spent: bool
    """Whether the limit is reached: nothing is woken before it renews."""
    period: Period
    """How long a period is. Weeks begin on Monday."""
    begins_at: int
    """When this period began, in Unix seconds."""
    renews_at: int
    """When the next one begins, in Unix seconds."""
    at_limit: AtLimit
    """What becomes of what is awake once it is spent: it sleeps when `idle`; `drain` lets nothing in; `cut` at once."""
    unpriced: list[str]
    """Endpoints under it that are awake and whose price nobody knows: what they cost is not counted."""
    missing: bool
    """Whether there is no endpoint or key of that name now."""

    @classmethod
    def of(cls, found: Standing) -> BudgetStanding:
        """Describe how a budget is used."""
        budget = found.budget
        return cls.model_validate(
            {
                "name": budget.name,
                "scope": budget.scope,
                "whose": found.whose,
                "tag": budget.tag or None,
                "member": found.member,
                "limit": money(budget.limit),
                "spent": money(found.spent),
                "reserved": money(found.reserved),
                "left": money(found.left),
                "share": found.share,
                "level": found.level,
                "is_spent": found.is_spent,
                "period": budget.period,
                "begins_at": found.begins_at,
                "renews_at": found.renews_at,
                "at_limit": budget.at_limit,
                "unpriced": list(found.unpriced),
                "missing": found.missing,
            }
        )


class AllBudgets(_Wire):
    """Budgets, up to now."""

    success: Literal[True] = True
    """Always true here."""
    at: float
    """Up to when they count, in Unix seconds."""
    time_zone: str
    """Whose days, weeks and months these are."""
    currency: Literal["USD"] = "USD"
    """What amounts are in."""
    budgets: list[BudgetStanding]
    """In the order of the configuration; one that each endpoint, key or value has for itself by whoever used it."""


PARAMETERS = ("name", "endpoint", "key")
"""What can be asked for."""


async def _only_known(request: Request) -> None:
    """Refuse what there is none of: without it the answer would be another one than was asked for."""
    for name in request.query_params:
        if name not in PARAMETERS:
            text = f"{name[:_SHOWN]}: no such parameter; there are {', '.join(PARAMETERS)}."
            raise InvalidInput(text, field=name[:_SHOWN])


def _book(request: Request) -> BudgetBook:
    book: BudgetBook | None = request.app.state.budgets
    if book is None:
        raise NotFound("This server keeps no budgets.")
    return book


Kept: TypeAlias = Annotated[BudgetBook, Depends(_book)]
Name: TypeAlias = Annotated[str, Field(max_length=_SHOWN)]


@router.get("", operation_id="budgets", dependencies=[Depends(_only_known)])
async def budgets(
    _: Operator,
    book: Kept,
    *,
    name: Annotated[
        list[Name], Query(max_length=_MOST_NAMES, description="Only the budgets of these names; repeated for more.")
    ] = [],  # noqa: B006 - FastAPI copies it
    endpoint: Annotated[
        str | None, Query(max_length=_LONGEST, description="Only those that any wake of this endpoint counts under.")
    ] = None,
    key: Annotated[
        str | None,
        Query(
            max_length=_LONGEST,
            description="Only those that what this key spends counts under, by its name; with `endpoint`: there.",
        ),
    ] = None,
) -> AllBudgets:
    """Tell how much of each budget is spent and set aside, when it renews, and what happens at its limit."""
    now = time.time()
    holder = None if key is None else _key_of(key, book)
    _check_names(name, book)
    found = book.told(now) if endpoint is None and holder is None else book.under(endpoint, holder, now)
    told = [BudgetStanding.of(one) for one in found if not name or one.budget.name in name]
    return AllBudgets(at=now, time_zone=book.calendar.name, budgets=told)


def _check_names(names: Sequence[str], book: BudgetBook) -> None:
    known = [budget.name for budget in book.configured()]
    for name in names:
        if name not in known:
            raise NotFound(f"There is no budget {name[:_SHOWN]!r}{_hint(name, known, 'budgets')}")


def _key_of(name: str, book: BudgetBook) -> ApiKey:
    keys = book.keys()
    for key in keys:
        if key.name == name:
            return key
    raise NotFound(f"There is no key {name[:_SHOWN]!r}{_hint(name, [key.name for key in keys], 'keys')}")


def _hint(name: str, known: Sequence[str], what: str) -> str:
    """What may have been meant, or what there is."""
    if near := difflib.get_close_matches(name[:_SHOWN], known, n=3):
        return f"; did you mean {' or '.join(repr(one) for one in near)}?"
    more = f" and {len(known) - _MOST_TOLD} more" if len(known) > _MOST_TOLD else ""
    return f"; {what} there are: {', '.join(sorted(known)[:_MOST_TOLD])}{more}." if known else f"; there are no {what}."
