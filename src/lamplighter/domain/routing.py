"""Routes: a model's name → targets in order, and what to do while the first one wakes. Pure; durations in seconds."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal

from lamplighter.domain.money import nanos
from lamplighter.domain.secret import SecretTexts

_MILLION = 1_000_000


class WhileWaking(enum.StrEnum):
    """What a request does that finds a target asleep; that target is woken all the same.

    `hold`: wait for it, up to the request's time. `bridge`: wait for at most `bridge_after`, then take the next target.
    `fail`: take the next target at once, and fail with a Retry-After where there is none.
    """

    HOLD = "hold"
    BRIDGE = "bridge"
    FAIL = "fail"


class Choose(enum.StrEnum):
    """Which of a route's targets a request goes to first.

    `order`: as the route names them. `cheapest`: all are equals, and the one comes first where one more request is
    expected to cost least.
    """

    ORDER = "order"
    CHEAPEST = "cheapest"


class Repeat(enum.StrEnum):
    """Which requests may be sent once more after a failure.

    `not-executed`: those that can't have been executed (no connection, lost before they were read, refused with 429 or
    503), and idempotent methods. `always`: also after a reset, a time-out or any other 5xx.
    """

    NOT_EXECUTED = "not-executed"
    ALWAYS = "always"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """What a target can serve; a request that it can't is sent on to the next one. None, or True: no bound known.

    `context` counts tokens of the request (estimated from its size) and of the answer that it asks for (`max_tokens`).
    """

    context: int | None = None
    tools: bool = True
    images: bool = True
    json_schema: bool = True
    is_any: bool = field(init=False, repr=False, compare=False)
    """Whether every request fits, so that none has to be looked at."""

    def __post_init__(self) -> None:
        is_any = self.context is None and self.tools and self.images and self.json_schema
        object.__setattr__(self, "is_any", is_any)  # once for all: it is asked for at every request


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteTarget:
    """One of a route's targets: the endpoint or upstream `name`.

    `model` takes the place of the model's name in requests to it. `weight` says how much it gets among equals.
    """

    name: str
    is_upstream: bool = False
    model: str | None = None
    weight: float = 1.0
    fit: Fit = Fit()


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """`tiers` are tried in order; the targets of one tier are equals, and share the requests.

    `deadline` bounds a request from its arrival to the first byte of its answer, waits and attempts together; None
    leaves it to the endpoint's `wake_timeout` and the gateway's own bounds. `first_byte_timeout` is how long one
    attempt may take from the sent request to the first byte of the answer; None for the gateway's bound. `max_attempts`
    None: see `most_attempts`. `sticky` names a header: requests with the same value go to the same of several equals.
    `rent`: while an endpoint is asleep, requests go to the route's upstreams as long as that is cheaper than waking it.
    `implied` is set for the route that every endpoint has by itself.
    """

    name: str
    tiers: tuple[tuple[RouteTarget, ...], ...]
    aliases: tuple[str, ...] = ()
    while_waking: WhileWaking = WhileWaking.HOLD
    bridge_after: float = 0.0
    deadline: float | None = None
    first_byte_timeout: float | None = None
    max_attempts: int | None = None
    repeat: Repeat = Repeat.NOT_EXECUTED
    sticky: str | None = None
    feedback: bool = False
    """Whether streams that are held get SSE comments with the endpoint's state while they wait."""
    rent: bool = False
    choose: Choose = Choose.ORDER
    implied: bool = False

    @property
    def targets(self) -> tuple[RouteTarget, ...]:
        """All of them in order."""
        return tuple(target for tier in self.tiers for target in tier)

    @property
    def most_attempts(self) -> int:
        """How often a request is sent at most: three times, or once to each target, if nothing else is said."""
        return self.max_attempts or max(3, sum(map(len, self.tiers)))


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenPrice:
    """What an upstream charges, in $ per million tokens."""

    input: float
    output: float

    def nanodollars(self, tokens_in: int, tokens_out: int) -> int:
        """What so many tokens cost, exactly and then rounded half to even."""
        millions = Decimal(str(self.input)) * tokens_in + Decimal(str(self.output)) * tokens_out
        return nanos(millions / _MILLION)


@dataclass(frozen=True, slots=True, kw_only=True)
class Upstream:
    """A model API that is always on. `url` is what its clients call the base URL, such as `https://host/v1`.

    `headers` go with each request (its key, for one) and are secret: whatever is given becomes SecretTexts.
    `max_in_flight` None: no bound. `price` None: not known.
    """

    name: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    model: str | None = None
    max_in_flight: int | None = None
    price: TokenPrice | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "headers", SecretTexts(self.headers))


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakerPolicy:
    """When a target is left alone, and for how long.

    It opens when, of at least `least` requests in the last `window` seconds, a share of `rate` or more failed. After
    `pause` (doubling up to `longest_pause` while it goes on failing, jittered) one real request in flight at a time
    probes; `proofs` good ones in a row close it.
    """

    rate: float = 0.5
    least: int = 10
    window: float = 30.0
    pause: float = 5.0
    longest_pause: float = 60.0
    proofs: int = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """Pauses between attempts on one target, and how many retries it takes beside its first attempts.

    The n-th pause is random up to `base · 2^n`, at most `cap`. `budget` is the share of retries among a target's
    requests of the last ten seconds; `least` a second are always allowed.
    """

    base: float = 0.05
    cap: float = 2.0
    budget: float = 0.2
    least: float = 3.0
