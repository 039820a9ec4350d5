"""`budgets`: how much may be spent, by whom, in a day, week or month."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Literal, TypeAlias

from pydantic import Field, field_validator, model_validator

from lamplighter.config.section import Section
from lamplighter.config.values import Number
from lamplighter.domain.budgets import AtLimit, Budget, Period, Scope

_LEAST = 0.0001  # $
_Limit: TypeAlias = Annotated[Number, Field(le=1e9)]


class BudgetSettings(Section):
    """At most so much in each period. Without `endpoint`, `key` or `tag` all that is spent here counts."""

    limit: _Limit
    """How much may be spent in each period, in $."""
    per: Literal["day", "week", "month"]
    """How long a period is: day, week (from Monday) or month, in `ledger.time_zone`."""
    endpoint: str | None = None
    """What this endpoint costs counts; "*": each endpoint has the budget for itself."""
    key: str | None = None
    """What is charged to the API key of this name counts; "*": each key has the budget for itself."""
    tag: str | None = None
    """What is charged to keys with this tag counts, such as team=research; team=*: each value has it for itself."""
    at_limit: Literal["idle", "drain", "cut"] = "idle"
    """Once it is spent nothing is woken, and: idle (what runs sleeps as soon as it is idle), drain (nothing is let in
    either), cut (what runs sleeps at once)."""

    @field_validator("limit")
    @classmethod
    def _is_something(cls, value: float) -> float:
        if value < _LEAST:
            text = f"{value:g} would let nothing run at all; give at least {_LEAST}, or pause what is to cost nothing"
            raise ValueError(text)
        return value

    @field_validator("endpoint", "key", "tag")
    @classmethod
    def _names_something(cls, value: str | None) -> str | None:
        if value is not None and not value.strip():
            raise ValueError("is empty; leave it out for all that is spent here")
        return None if value is None else value.strip()

    @field_validator("tag")
    @classmethod
    def _has_value(cls, value: str | None) -> str | None:
        name, _, said = (value or "").partition("=")
        if value is not None and not (name.strip() and said.strip()):
            raise ValueError(f"{value!r} is no tag; give its name and value, such as team=research, or team=*")
        return value

    @model_validator(mode="after")
    def _has_one_scope(self) -> BudgetSettings:
        given = [name for name in ("endpoint", "key", "tag") if getattr(self, name) is not None]
        if len(given) > 1:
            raise ValueError(f"{' and '.join(given)}: one of them says whose spending counts; make a budget for each")
        if self.at_limit == "cut" and (self.key or self.tag):
            text = "at_limit: 'cut' would end what others use as well; a budget of a key or tag can 'drain', or 'idle'"
            raise ValueError(text)
        return self

    def budget(self, name: str) -> Budget:
        """As the rest of the program knows it."""
        scope, member, tag = Scope.ALL, "", ""
        if self.endpoint is not None:
            scope, member = Scope.ENDPOINT, self.endpoint
        elif self.key is not None:
            scope, member = Scope.KEY, self.key
        elif self.tag is not None:
            scope = Scope.TAG
            tag, member = (part.strip() for part in self.tag.split("=", 1))
        return Budget(
            name=name,
            limit=Decimal(str(self.limit)),
            period=Period(self.per),
            scope=scope,
            member=member,
            tag=tag,
            at_limit=AtLimit(self.at_limit),
        )
