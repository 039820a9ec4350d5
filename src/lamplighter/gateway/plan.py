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
from lamplighter.errors import (
    EndpointPaused,
    InvalidInput,
    LamplighterError,
    RateLimited,
    Unavailable,
    UpstreamUnreachable,
)
from lamplighter.gateway.refusals import DeadlinePassed

if TYPE_CHECKING:
    from lamplighter.gateway.exchange import Exchange

_LONGEST_REASON = 300


class AllTargetsFailed(Unavailable):
    """Every target of a route was tried, or could not be."""

    code = "all_targets_failed"


class LeftAlone(Unavailable):
    """The target failed too often lately, or asked for a pause: it is not asked now."""

    code = "target_left_alone"


class DoesNotFit(InvalidInput):
    """The target can't serve such a request, whenever it is asked."""

    code = "does_not_fit"


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

    def reason(self, name: str) -> str:
        """A word for why the targets before this one did not answer."""
        first = next((one.error.code for one in self.failures if one.target != name), None)
        return first or LeftAlone.code

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

    def last_speaks(self, method: str) -> bool:
        """Whether the client gets what the last target said: it is the only one, or may have done the work."""
        last = self.failures[-1]
        only = len(self.route.targets) == 1
        return only or not may_repeat(self.route.repeat, method=method, executed=last.executed)

    def verdict(self, method: str) -> LamplighterError:
        """What to tell the client: the one failure that counts, or all of them."""
        last = _last_of_each(self.failures)
        if self.last_speaks(method) or isinstance(last[-1].error, DeadlinePassed):
            return last[-1].error
        said = "; ".join(f"{one.target}: {_reason(one.error)}" for one in last)
        passed = [target.name for target in self.route.targets if target.name not in {one.target for one in last}]
        said += "".join(f"; {name}: left alone, it failed too often lately or takes no more" for name in passed)
        text = f"No target of {self.route.name!r} could answer. {said}"
        if all(isinstance(one.error, DoesNotFit) for one in last):
            return DoesNotFit(text)
        alike = {type(one.error) for one in last}
        if len(alike) == 1 and last[0].error.status in {403, 404} | {EndpointPaused.status}:
            return last[-1].error
        return AllTargetsFailed(text, retry_after=_soonest(last))


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
