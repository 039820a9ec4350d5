"""How each target has done lately: its breaker, what retries it has left, and until when it wants to be left alone."""

from __future__ import annotations

import enum
import random
from collections.abc import Mapping
from dataclasses import replace
from time import monotonic

from lamplighter.control.demand import Claim, Demand
from lamplighter.domain.breaker import NO_PROBE, Breaker
from lamplighter.domain.choosing import Standing
from lamplighter.domain.endpoint import Replica
from lamplighter.domain.retrying import RetryBudget, pause
from lamplighter.domain.routing import BreakerPolicy, RetryPolicy, RouteTarget, Upstream
from lamplighter.errors import EndpointNotFound

_MANY = 8192
"""Past so many endpoints those are looked for that are gone."""

LONGEST_COOL_DOWN = 300.0
"""A target that wants to be left alone for longer than this is asked again all the same (seconds)."""


class Verdict(enum.Enum):
    """What an attempt told of its target."""

    WORKED = "worked"
    FAILED = "failed"  # it answered with a failure of its own, or too late, or broke its answer off
    UNREACHABLE = "unreachable"  # it did not answer at all
    ABANDONED = "abandoned"  # nothing: the client left, or the request's own time was over


class TargetState:
    """Of one target. `replica` is where an upstream is; None for an endpoint, whose replicas the fleet knows.

    `takes_usage`: it has not refused yet to be asked for the usage of a stream.
    """

    __slots__ = ("breaker", "budget", "cool_until", "in_flight", "most_in_flight", "replica", "retry", "takes_usage")

    def __init__(self, breaker: BreakerPolicy | None, retry: RetryPolicy, upstream: Upstream | None = None) -> None:
        self.breaker = Breaker(breaker) if breaker is not None else None
        self.budget = RetryBudget(retry)
        self.retry = retry
        self.cool_until = 0.0
        self.in_flight = 0
        self.takes_usage = True
        self.most_in_flight = upstream.max_in_flight if upstream is not None else None
        self.replica = _replica_of(upstream) if upstream is not None else None

    def admits(self, now: float) -> bool:
        """Whether it may be asked now: its breaker lets it, and it has not asked to be left alone."""
        return now >= self.cool_until and (self.breaker is None or self.breaker.admits(now))

    def admitted_in(self, now: float) -> float:
        """Seconds until it may be asked."""
        opens = self.breaker.retry_at if self.breaker is not None and not self.breaker.is_closed else now
        return max(0.0, self.cool_until - now, opens - now)

    def begin(self, now: float, *, again: bool) -> int:
        """An attempt begins, the first of its request or a further one. What this gives is shown to `end`."""
        if not again:
            self.budget.note_request(now)
        breaker = self.breaker
        return NO_PROBE if breaker is None or breaker.is_closed else breaker.began(now)

    def end(self, verdict: Verdict, now: float, probe: int) -> None:
        """An attempt has ended, once."""
        breaker = self.breaker
        if breaker is None:
            return
        if verdict is Verdict.WORKED:
            breaker.succeeded(now, probe)
        elif verdict is Verdict.ABANDONED:
            breaker.abandoned(probe)
        else:
            breaker.failed(now, probe, jitter=random.random())  # noqa: S311 - not a secret

    def leave_alone(self, now: float, seconds: float) -> None:
        """It asked for a pause."""
        self.cool_until = max(self.cool_until, now + min(seconds, LONGEST_COOL_DOWN))

    def pause(self, attempt: int) -> float:
        """Seconds before the n-th repetition."""
        return pause(self.retry, attempt, random.random())  # noqa: S311 - not a secret

    def is_full(self) -> bool:
        """Whether as many requests are in flight there as may be."""
        return self.most_in_flight is not None and self.in_flight >= self.most_in_flight

    def claim(self) -> UpstreamClaim:
        """A place at an upstream."""
        assert self.replica is not None
        self.in_flight += 1
        return UpstreamClaim(self, self.replica)


class UpstreamClaim(Claim):
    """One request's place at an upstream, which never sleeps."""

    __slots__ = ("_state", "replica", "waited")

    def __init__(self, state: TargetState, replica: Replica) -> None:
        self._state: TargetState | None = state
        self.replica = replica
        self.waited = 0.0

    def uncount(self) -> None:
        """There is no idle clock."""

    def release(self) -> None:
        state, self._state = self._state, None
        if state is not None:
            state.in_flight -= 1

    def failed(self) -> None:
        """The breaker knows."""

    def struggled(self) -> None:
        """The breaker knows."""

    def abandoned(self) -> None:
        """The breaker knows."""


class Standings:
    """The states of all targets, made when they are first asked for."""

    def __init__(
        self,
        demand: Demand,
        upstreams: Mapping[str, Upstream],
        *,
        breaker: BreakerPolicy | None,
        retry: RetryPolicy,
    ) -> None:
        self._demand = demand
        self._breaker = breaker
        self._retry = retry
        self._upstreams: Mapping[str, Upstream] = {}
        self._endpoints: dict[str, TargetState] = {}
        self._far: dict[str, TargetState] = {}
        self.take(upstreams, breaker=breaker, retry=retry)

    def take(self, upstreams: Mapping[str, Upstream], *, breaker: BreakerPolicy | None, retry: RetryPolicy) -> None:
        """Take another configuration. What has not changed keeps its state; requests under way keep theirs anyway."""
        alike = breaker == self._breaker and retry == self._retry
        before, self._upstreams, self._breaker, self._retry = self._upstreams, upstreams, breaker, retry
        self._endpoints = self._endpoints if alike else {}
        kept = {name for name, upstream in upstreams.items() if alike and before.get(name) == upstream}
        self._far = {
            name: self._far[name] if name in kept else TargetState(breaker, retry, upstream)
            for name, upstream in upstreams.items()
        }

    def of(self, endpoint: str) -> TargetState:
        """The state of an endpoint."""
        return self._endpoints.get(endpoint) or self._begin(endpoint)

    def of_target(self, target: RouteTarget) -> TargetState:
        """The state of a route's target. Raises EndpointNotFound for an upstream that a reload has taken out."""
        if not target.is_upstream:
            return self.of(target.name)
        state = self._far.get(target.name)
        if state is None:
            raise EndpointNotFound(target.name, self._far)
        return state

    def look(self, target: RouteTarget) -> Standing:
        """What the order of attempts is made from."""
        state = self.of_target(target)
        admitted = state.admits(monotonic())
        if state.replica is not None:
            return Standing(is_awake=True, admitted=admitted, in_flight=state.in_flight, full=state.is_full())
        demand, name = self._demand, target.name
        if demand.is_awake(name):
            return Standing(admitted=admitted, in_flight=demand.in_flight(name))
        return Standing(is_awake=False, is_starting=demand.is_starting(name), admitted=admitted)

    def look_closely(self, target: RouteTarget) -> Standing:
        """The same, and whether an endpoint that is awake has a slot left: the order of a route need not know that."""
        standing = self.look(target)
        if target.is_upstream or not standing.is_awake:
            return standing
        return replace(standing, full=self._demand.expected_wait(target.name) > 0.0)

    def states(self) -> Mapping[str, str]:
        """The breaker of each target that was asked so far and is there: closed, open or half-open."""
        self._forget_the_gone()
        known = self._endpoints | self._far
        return {name: str(state.breaker.state) for name, state in known.items() if state.breaker is not None}

    def _begin(self, endpoint: str) -> TargetState:
        if len(self._endpoints) >= _MANY:
            self._forget_the_gone()
        self._endpoints[endpoint] = state = TargetState(self._breaker, self._retry)
        return state

    def _forget_the_gone(self) -> None:
        there = self._demand.resolve
        self._endpoints = {name: state for name, state in self._endpoints.items() if there(name) == name}


def _replica_of(upstream: Upstream) -> Replica:
    """Where it is. What its clients call the base URL stands for the `/v1` that the paths here begin with."""
    url = upstream.url.rstrip("/")
    headers = (*upstream.headers.items(), ("accept-encoding", "identity"))  # what is compressed tells no tokens
    return Replica(id=f"upstream {upstream.name}", url=url, headers=headers, model=upstream.model, strip="/v1")
