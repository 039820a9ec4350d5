"""How each target has done lately: its breaker, what retries it has left, and until when it wants to be left alone."""

from __future__ import annotations

import random
from collections.abc import Mapping
from time import monotonic

from lamplighter.control.demand import Claim, Demand
from lamplighter.domain.breaker import NO_PROBE, Breaker
from lamplighter.domain.choosing import Standing
from lamplighter.domain.endpoint import Replica
from lamplighter.domain.retrying import RetryBudget, pause
from lamplighter.domain.routing import BreakerPolicy, RetryPolicy, Upstream

_MAX_KNOWN = 8192
"""Targets that are remembered. Their names come from the configuration and the fleet, so this is never reached."""

LONGEST_COOL_DOWN = 300.0
"""A target that wants to be left alone for longer than this is asked again all the same (seconds)."""


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

    def begin(self, now: float) -> int:
        """An attempt begins. What this gives is shown at its end, to `worked`, `failed` or `abandoned`."""
        self.budget.note_request(now)
        breaker = self.breaker
        return NO_PROBE if breaker is None or breaker.is_closed else breaker.began(now)

    def worked(self, now: float, probe: int) -> None:
        """It answered as it should."""
        if self.breaker is not None:
            self.breaker.succeeded(now, probe)

    def failed(self, now: float, probe: int) -> None:
        """It did not answer, or with a failure of its own."""
        if self.breaker is not None:
            self.breaker.failed(now, probe, jitter=random.random())  # noqa: S311 - not a secret

    def abandoned(self, probe: int) -> None:
        """The attempt ended without telling anything of it."""
        if self.breaker is not None:
            self.breaker.abandoned(probe)

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
        self._upstreams = upstreams
        self._breaker = breaker
        self._retry = retry
        self._known: dict[str, TargetState] = {}

    def take(self, upstreams: Mapping[str, Upstream], *, breaker: BreakerPolicy | None, retry: RetryPolicy) -> None:
        """Take another configuration. What has not changed keeps its state; requests under way keep theirs anyway."""
        alike = breaker == self._breaker and retry == self._retry
        changed = {
            name
            for name in self._upstreams.keys() | upstreams.keys()
            if self._upstreams.get(name) != upstreams.get(name)
        }
        self._known = {name: state for name, state in self._known.items() if alike and name not in changed}
        self._upstreams, self._breaker, self._retry = upstreams, breaker, retry

    def of(self, name: str) -> TargetState:
        """The state of a target."""
        return self._known.get(name) or self._begin(name)

    def look(self, name: str) -> Standing:
        """What the order of attempts is made from."""
        state = self.of(name)
        admitted = state.admits(monotonic())
        if state.replica is not None:
            return Standing(is_awake=True, admitted=admitted, in_flight=state.in_flight, full=state.is_full())
        demand = self._demand
        return Standing(is_awake=demand.is_awake(name), admitted=admitted, in_flight=demand.in_flight(name), full=False)

    def states(self) -> Mapping[str, str]:
        """The breaker of each target that was asked so far: closed, open or half-open."""
        return {name: str(state.breaker.state) for name, state in self._known.items() if state.breaker is not None}

    def _begin(self, name: str) -> TargetState:
        if len(self._known) >= _MAX_KNOWN:
            del self._known[next(iter(self._known))]
        self._known[name] = state = TargetState(self._breaker, self._retry, self._upstreams.get(name))
        return state


def _replica_of(upstream: Upstream) -> Replica:
    """Where it is. What its clients call the base URL stands for the `/v1` that the paths here begin with."""
    url = upstream.url.rstrip("/")
    headers = (*upstream.headers.items(), ("accept-encoding", "identity"))  # what is compressed tells no tokens
    return Replica(id=f"upstream {upstream.name}", url=url, headers=headers, model=upstream.model, strip="/v1")
