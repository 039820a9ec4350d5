"""What a controller asks before it spends anything."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from lamplighter.domain.budgets import AtLimit
from lamplighter.errors import BudgetSpent


class Purse(Protocol):
    """Whoever keeps the budgets: `Budgets` does. Nothing of it waits.

    `account` is who is charged for the wake: see domain/accounts.py.
    """

    def refusal(self, endpoint: str, account: str) -> BudgetSpent | None:
        """Why an endpoint may not be woken on this account now; None where it may be."""

    def reserve(self, endpoint: str, account: str) -> BudgetSpent | None:
        """The same; and where it may be woken, what that costs at least is set aside until it is on the ledger."""

    def is_spent(self, endpoint: str, account: str) -> bool:
        """Whether nothing is left to keep an endpoint awake on this account."""

    def at_limit(self, endpoint: str) -> AtLimit | None:
        """What becomes of the endpoint because a budget is spent; None: nothing."""

    def spent(self, endpoint: str) -> BudgetSpent | None:
        """Which budget that is; None where nothing becomes of it."""


class Spent(Protocol):
    """What the gateway asks at each request, so that most have to look at an empty mapping alone."""

    @property
    def closed_keys(self) -> Mapping[str, object]:
        """Keys whose requests are refused altogether, by their ids."""

    def closed(self, key_id: str) -> BudgetSpent:
        """The error for a request of one of them."""

    def by_use(self, target: str, key_id: str) -> BudgetSpent | None:
        """Why nothing may be spent at a target that charges by use on a key's account; None where it may be."""

    def used(self, target: str, key_id: str, nanodollars: int) -> None:
        """Tell what a target has charged for an answer."""


class NoBudgets(Purse, Spent):
    """Where there are none."""

    closed_keys: Mapping[str, object] = {}

    def closed(self, key_id: str) -> BudgetSpent:
        raise KeyError(key_id)

    def by_use(self, target: str, key_id: str) -> BudgetSpent | None:
        del target, key_id
        return None

    def used(self, target: str, key_id: str, nanodollars: int) -> None:
        del target, key_id, nanodollars

    def refusal(self, endpoint: str, account: str) -> BudgetSpent | None:
        del endpoint, account
        return None

    def reserve(self, endpoint: str, account: str) -> BudgetSpent | None:
        del endpoint, account
        return None

    def is_spent(self, endpoint: str, account: str) -> bool:
        del endpoint, account
        return False

    def at_limit(self, endpoint: str) -> AtLimit | None:
        del endpoint
        return None

    def spent(self, endpoint: str) -> BudgetSpent | None:
        del endpoint
        return None
