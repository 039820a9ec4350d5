"""One request's way along its route: what was tried, why that failed, and what is tried next."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING

from lamplighter.domain.choosing import order
from lamplighter.domain.retrying import may_repeat
from lamplighter.domain.routing import Route, RouteTarget
from lamplighter.errors import LamplighterError, RateLimited, Unavailable, UpstreamUnreachable

if TYPE_CHECKING:
    from lamplighter.gateway.exchange import Exchange

_LONGEST_REASON = 300


class AllTargetsFailed(Unavailable):
    """Every target of a route was tried, or could not be."""

    code = "all_targets_failed"


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a target gave no answer. `executed`: it may have done the work all the same."""

    target: str
    error: LamplighterError
    executed: bool = False
    same_again: bool = False
    """Whether the same target may do it on another attempt."""


class Plan:
    """`order` are the targets in the order of this request; `sent` counts attempts that reached for a target."""

    __slots__ = ("_again", "_at", "_rounds", "failures", "order", "route", "sent")

    def __init__(self, route: Route, order: Sequence[RouteTarget]) -> None:
        self.route = route
        self.order = order
        self.failures: list[Failure] = []
        self.sent = 0
        self._at = 0
        self._rounds = 0
        self._again: list[RouteTarget] = []

    @property
    def current(self) -> RouteTarget:
        """The target whose turn it is."""
        return self.order[self._at]

    def is_fallback(self, name: str) -> bool:
        """Whether another target would have answered if all were well."""
        return all(target.name != name for target in self.route.tiers[0])

    @property
    def reason(self) -> str:
        """A word for why a target of the first tier did not answer."""
        return self.failures[0].error.code if self.failures else "left_alone"

    def first_target(self, name: str) -> bool:
        """Whether this is the endpoint that the route wakes: the first one of it."""
        return self.route.implied or self.route.tiers[0][0].name == name

    @property
    def first_round(self) -> bool:
        """Whether every target is tried for the first time."""
        return not self._rounds

    def fail(self, failure: Failure) -> None:
        """Note why the current target gave no answer."""
        self.failures.append(failure)
        if failure.same_again:
            self._again.append(self.current)

    @property
    def missed(self) -> bool:
        """Whether nobody was met at the last attempt, so that the endpoint may have to be woken."""
        return bool(self.failures) and isinstance(self.failures[-1].error, UpstreamUnreachable)

    def may_go_on(self, method: str) -> bool:
        """Whether the request may be sent once more, after the last failure."""
        last = self.failures[-1]
        if self.sent >= self.route.max_attempts:
            return False
        return may_repeat(self.route.repeat, method=method, executed=last.executed)

    def advance(self) -> bool:
        """Turn to the next target; after the last one to those that may do it on another attempt. False: none left."""
        self._at += 1
        if self._at < len(self.order):
            return True
        if not self._again:
            return False
        self.order, self._again = self._again, []
        self._at = 0
        self._rounds += 1
        return True

    @property
    def repetition(self) -> int:
        """How often all targets have been tried before."""
        return self._rounds

    def verdict(self) -> LamplighterError:
        """What to tell the client: the one failure there was, or all of them."""
        failures = self.failures
        if len({failure.target for failure in failures}) == 1:
            return failures[-1].error
        said = "; ".join(f"{one.target}: {_reason(one.error)}" for one in _last_of_each(failures))
        text = f"No target of {self.route.name!r} could answer. {said}"
        return AllTargetsFailed(text, retry_after=_soonest(failures))


def _last_of_each(failures: Sequence[Failure]) -> Sequence[Failure]:
    return tuple({failure.target: failure for failure in failures}.values())


def _reason(error: LamplighterError) -> str:
    text = error.message
    return text if len(text) <= _LONGEST_REASON else text[: _LONGEST_REASON - 1] + "…"


def _soonest(failures: Sequence[Failure]) -> float | None:
    """The soonest moment at which any of them may do better (seconds)."""
    told = [one.error.retry_after for one in failures if isinstance(one.error, Unavailable | RateLimited)]
    soonest = min((seconds for seconds in told if seconds is not None), default=inf)
    return None if soonest == inf else soonest


def plan_of(x: Exchange, route: Route) -> Plan:
    """The order of this request's attempts."""
    if route.implied:
        return Plan(route, route.tiers[0])
    sticky = x.request.header(route.sticky.encode()) if route.sticky is not None else None
    text = None if sticky is None else sticky.decode("latin-1")
    return Plan(route, order(route, x.services.standings.look, sticky=text, draw=random.random()))  # noqa: S311
