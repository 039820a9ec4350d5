"""One request's way along its route: what was tried, why that failed, and what is tried next."""

from __future__ import annotations

import enum
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


class Again(enum.Enum):
    """What another attempt at the same target may come to."""

    NEVER = "never"  # it will not do, or all of the request's time was waited for it
    RETRY = "retry"  # it may do better in a moment
    WAIT = "wait"  # it is asleep or busy, and was not waited for, or not for all of the request's time


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a target gave no answer. `executed`: it may have done the work all the same."""

    target: str
    error: LamplighterError
    executed: bool = False
    again: Again = Again.NEVER

    @property
    def wish(self) -> float:
        """The pause that the target asked for (seconds)."""
        return getattr(self.error, "retry_after", None) or 0.0


class Plan:
    """Whose turn it is, and whose next. `order` are the targets of this round.

    The first round has all targets that take requests now. Those of them that may do better in a moment have further
    rounds, as often as a request may be sent. Those that were not waited for come last, once, and are waited for with
    all the time that is left: nothing else is. So it ends.
    """

    __slots__ = ("_again", "_asleep", "_at", "_first", "_rounds", "failures", "is_last_hope", "order", "route")

    def __init__(self, route: Route, order: Sequence[RouteTarget]) -> None:
        self.route = route
        self.order = self._first = order
        self.failures: list[Failure] = []
        self.is_last_hope = False
        """Whether the targets of this round are waited for because everything else was tried."""
        self._at = 0
        self._rounds = 0
        self._again: list[RouteTarget] = []
        self._asleep: list[RouteTarget] = []

    @property
    def current(self) -> RouteTarget:
        """The target whose turn it is; at the end the last one."""
        return self.order[self._at]

    @property
    def last(self) -> Failure:
        """The failure that came last."""
        return self.failures[-1]

    @property
    def woken(self) -> str:
        """The endpoint that this request wakes: the first that it tries of the route's first tier. Empty for none."""
        tier = _names(self.route.tiers[0])
        return next((one.name for one in self._first if one.name in tier and not one.is_upstream), "")

    @property
    def has_more(self) -> bool:
        """Whether another target has its turn in this round."""
        return self._at + 1 < len(self.order)

    @property
    def first_round(self) -> bool:
        """Whether every target is tried for the first time."""
        return not self._rounds

    @property
    def repetition(self) -> int:
        """How often the current target was tried before; 0 for one that is waited for now."""
        return 0 if self.is_last_hope else self._rounds

    def is_fallback(self, name: str) -> bool:
        """Whether another target would have answered if all were well."""
        return all(target.name != name for target in self.route.tiers[0])

    def reason(self, name: str) -> str:
        """A word for why the targets before this one did not answer."""
        first = next((one.error.code for one in self.failures if one.target != name), None)
        return first or LeftAlone.code

    def was_tried(self, name: str) -> bool:
        """Whether an attempt at it has failed already."""
        return any(one.target == name for one in self.failures)

    def wish(self, name: str) -> float:
        """The pause that a target asked for, when it last failed (seconds)."""
        return next((one.wish for one in reversed(self.failures) if one.target == name), 0.0)

    def missed(self, name: str) -> bool:
        """Whether nobody was met there at the last attempt, so that the endpoint may have to be woken."""
        if not self.failures:
            return False
        return self.last.target == name and isinstance(self.last.error, UpstreamUnreachable)

    def fail(self, failure: Failure) -> None:
        """Note why the current target gave no answer."""
        self.failures.append(failure)
        if failure.again is Again.RETRY:
            self._again.append(self.current)
        elif failure.again is Again.WAIT and not self.is_last_hope:
            self._asleep.append(self.current)

    def may_go_on(self, method: str) -> bool:
        """Whether the request may be sent once more, after the last failure."""
        return may_repeat(self.route.repeat, method=method, executed=self.last.executed)

    def advance(self, begun: int) -> bool:
        """Turn to the next target, after so many attempts at any of them. False: none left."""
        most = self.route.most_attempts
        if begun >= most:
            return False
        self._at += 1
        if self._at < len(self.order):
            return True
        if self._again and begun + bool(self._asleep) < most and self._rounds < most:
            self.order, self._again, self.is_last_hope = self._again, [], False
        elif self._asleep:
            self.order, self._asleep, self.is_last_hope = self._asleep, [], True
        else:
            self._at = len(self.order) - 1
            return False
        self._at = 0
        self._rounds += 1
        return True

    def last_speaks(self, method: str) -> bool:
        """Whether the client gets what the last target said: it is the only one, or may have done the work."""
        return len(self.route.targets) == 1 or not self.may_go_on(method)

    def verdict(self, method: str) -> LamplighterError:
        """What to tell the client: the one failure that counts, or all of them."""
        if self.last_speaks(method) or isinstance(self.last.error, DeadlinePassed):
            return self.last.error
        last = _last_of_each(self.failures)
        said = "; ".join(f"{one.target}: {_reason(one.error)}" for one in last)
        said += "".join(f"; {name}: {self._why_not(name)}" for name in self._untried())
        text = f"No target of {self.route.name!r} could answer. {said}"
        if all(isinstance(one.error, DoesNotFit) for one in last):
            return DoesNotFit(text)
        alike = {type(one.error) for one in last}
        if len(alike) == 1 and self.last.error.status in {402, 403, 404} | {EndpointPaused.status}:
            return self.last.error
        return AllTargetsFailed(text, retry_after=_soonest(last))

    def _untried(self) -> list[str]:
        return [name for name in dict.fromkeys(_listed(self.route.targets)) if not self.was_tried(name)]

    def _why_not(self, name: str) -> str:
        if name not in _names(self._first):
            return "left alone, it failed too often lately or takes no more"
        return f"not tried, {self.route.most_attempts} attempts are allowed"


def _listed(targets: Sequence[RouteTarget]) -> list[str]:
    return [target.name for target in targets]


def _names(targets: Sequence[RouteTarget]) -> frozenset[str]:
    return frozenset(_listed(targets))


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
