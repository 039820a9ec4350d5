"""`upstreams`, `routes`, `breaker` and `retry`: where requests go, and what is done when that fails."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any, Final, Literal, TypeAlias

from pydantic import BeforeValidator, Discriminator, Field, Tag, ValidationInfo, model_validator

from lamplighter.config.section import Section
from lamplighter.config.values import (
    Alias,
    BaseUrl,
    Duration,
    Flag,
    HeaderName,
    HeaderValue,
    Number,
    PositiveDuration,
    SecretPlace,
    Whole,
    context_of,
)
from lamplighter.domain.prices import MOST
from lamplighter.domain.routing import (
    BreakerPolicy,
    Choose,
    Fit,
    Repeat,
    RetryPolicy,
    Route,
    RouteTarget,
    TokenPrice,
    Upstream,
    WhileWaking,
)
from lamplighter.domain.secret import Secret
from lamplighter.errors import TokenMissing, TokenWrong
from lamplighter.hf.token import LOGIN, look_for_cloud_token

HUGGING_FACE_ROUTER: Final = "huggingface-router"
ROUTER_URL: Final = "https://router.huggingface.co/v1"
"""Where Hugging Face passes requests on to inference providers (huggingface.co/docs/inference-providers)."""

TAGS: Final = frozenset({"[name]", "[one]", "[equals]"})
"""Parts of a path in pydantic's findings that do not stand in the file."""

_OFF = ("off", "no")
"""Text, but what is meant by it is beyond doubt where a switch stands."""
_BREAKER = BreakerPolicy()
_RETRY = RetryPolicy()
_ROUTE = Route(name="", tiers=())
_TARGET = RouteTarget(name="")

Dollars: TypeAlias = Annotated[Number, Field(ge=0, le=float(MOST))]
"""Of what one would pay: what no feed is believed is no price of the configuration either."""


class PriceSettings(Section):
    """What an upstream charges, in $ per million tokens."""

    input: Dollars
    """For what is sent to it."""
    output: Dollars
    """For what it answers."""


class UpstreamSettings(Section):
    """A model API that is always on, and speaks as OpenAI's does."""

    type: Literal["openai", "huggingface-router"] = "openai"
    """The kind: any API that speaks as OpenAI's does, or Hugging Face's router, whose URL and token are known."""
    base_url: BaseUrl = ""
    """What its clients call the base URL, such as https://api.example.com/v1. ${NAME} is taken from the environment."""
    key: SecretPlace | None = Field(default=None, repr=False)
    """Where its key is (env:NAME, secret:NAME …); it is sent as a bearer token."""
    headers: dict[HeaderName, HeaderValue] = Field(default={}, repr=False)
    """Headers for every request to it. ${NAME} is taken from the environment; a whole value may be a place."""
    model: str | None = Field(default=None, min_length=1)
    """What takes the place of the model's name in requests to it, unless the route's target says otherwise."""
    max_in_flight: Whole | None = Field(default=None, ge=1)
    """How many requests it takes at once."""
    price: PriceSettings | None = None
    """What it charges."""

    @model_validator(mode="before")
    @classmethod
    def _presets(cls, value: Any, info: ValidationInfo) -> Any:
        """What is known of Hugging Face's router. To another address its token goes only if `key` says so."""
        if not isinstance(value, dict) or value.get("type") != HUGGING_FACE_ROUTER or "base_url" in value:
            return value
        known = {"base_url": ROUTER_URL} | ({} if _has_key(value) else {"key": _usual_token(info)})
        return known | value

    @model_validator(mode="after")
    def _whole(self) -> UpstreamSettings:
        if not self.base_url:
            raise ValueError("needs a `base_url`, such as https://api.example.com/v1")
        if self.key is not None and "authorization" in map(str.lower, self.headers):
            raise ValueError("has a `key` and an Authorization header; one of them is enough")
        return self

    def upstream(self, name: str) -> Upstream:
        """The upstream as the rest of the program knows it."""
        headers = dict(self.headers)
        if self.key is not None:
            headers["Authorization"] = f"Bearer {self.key.reveal()}"
        return Upstream(
            name=name,
            url=self.base_url,
            headers=MappingProxyType(headers),
            model=self.model,
            max_in_flight=self.max_in_flight,
            price=TokenPrice(input=self.price.input, output=self.price.output) if self.price else None,
        )


def _has_key(value: Mapping[str, Any]) -> bool:
    headers = value.get("headers")
    named = isinstance(headers, dict) and any(str(header).lower() == "authorization" for header in headers)
    return "key" in value or named


def _usual_token(info: ValidationInfo) -> Secret:
    try:
        found = look_for_cloud_token(context_of(info).environ, context_of(info).secrets)
    except (TokenMissing, TokenWrong) as error:
        raise ValueError(f"needs a Hugging Face token: {error.message}") from None
    if found is None:
        raise ValueError(f"needs a Hugging Face token: set HF_TOKEN, log in with `{LOGIN}`, or give `key`")
    return found.secret


class TargetSettings(Section):
    """Where a route leads: an endpoint or an upstream, and what it can serve."""

    name: str | None = None
    """The endpoint or upstream."""
    endpoint: str | None = None
    """The same, for an endpoint alone."""
    upstream: str | None = None
    """The same, for an upstream alone."""
    model: str | None = Field(default=None, min_length=1)
    """What takes the place of the model's name in requests to it."""
    weight: Number = Field(default=_TARGET.weight, gt=0, le=1_000_000)
    """How much it gets among its equals."""
    context: Whole | None = Field(default=None, ge=1)
    """The most tokens of request and answer together that it takes."""
    tools: Flag = _TARGET.fit.tools
    """Whether it can use tools."""
    images: Flag = _TARGET.fit.images
    """Whether it takes images."""
    json_schema: Flag = _TARGET.fit.json_schema
    """Whether it can answer by a JSON schema."""

    @model_validator(mode="after")
    def _names_one(self) -> TargetSettings:
        if len([name for name in (self.name, self.endpoint, self.upstream) if name is not None]) != 1:
            raise ValueError("needs exactly one of `name`, `endpoint` and `upstream`")
        return self

    @property
    def leads_to(self) -> str:
        """The endpoint's or the upstream's name."""
        return self.name or self.endpoint or self.upstream or ""

    def target(self) -> RouteTarget:
        """The target as the rest of the program knows it."""
        fit = Fit(context=self.context, tools=self.tools, images=self.images, json_schema=self.json_schema)
        return RouteTarget(name=self.leads_to, model=self.model, weight=self.weight, fit=fit)


def _kind(value: object) -> str:
    return "[equals]" if isinstance(value, list | tuple) else _kind_of_one(value)


def _kind_of_one(value: object) -> str:
    return "[one]" if isinstance(value, dict | list | TargetSettings) else "[name]"


_Named: TypeAlias = Annotated[str, Tag("[name]")]
_One: TypeAlias = Annotated[TargetSettings, Tag("[one]")]
_Equal: TypeAlias = Annotated[_Named | _One, Discriminator(_kind_of_one)]
_Equals: TypeAlias = Annotated[tuple[_Equal, ...], Field(min_length=1), Tag("[equals]")]
_Tier: TypeAlias = Annotated[_Named | _One | _Equals, Discriminator(_kind)]


class RouteSettings(Section):
    """A name that clients use as a model, and where its requests go."""

    targets: tuple[_Tier, ...] = Field(min_length=1)
    """Where requests go, in order: a name each, or what is known of it, or a list of equals that share the requests."""
    aliases: tuple[Alias, ...] = ()
    """Further model names that lead here."""
    while_waking: Literal["hold", "bridge", "fail"] = "hold"
    """What a request does while its target wakes: hold, bridge (another target answers), or fail."""
    bridge_after: Duration = _ROUTE.bridge_after
    """How long a request is held before another target answers it, with `while_waking: bridge`."""
    deadline: PositiveDuration | None = _ROUTE.deadline
    """The time from a request's arrival to the first byte of its answer, with all waits and attempts."""
    first_byte_timeout: PositiveDuration | None = _ROUTE.first_byte_timeout
    """The same for one attempt, from the sent request on."""
    max_attempts: Whole | None = Field(default=_ROUTE.max_attempts, ge=1, le=100)
    """How often a request may be sent, to all targets together."""
    repeat: Literal["not-executed", "always"] = "not-executed"
    """Which requests are sent once more after a failure: those that can't have been executed, or all of them."""
    sticky: HeaderName | None = None
    """A header: requests with the same value go to the same one of several equals, as its prompt cache likes it."""
    feedback: Flag = _ROUTE.feedback
    """Whether streams that are held are told meanwhile how far the endpoint is, in comments of the stream."""
    rent: Flag = _ROUTE.rent
    """Whether an endpoint that sleeps is left asleep as long as an upstream with a price is cheaper than waking it."""

    choose: Literal["order", "cheapest"] = "order"
    """Which target comes first: as they are named, or the one where a request is expected to cost least."""

    def tiers(self) -> tuple[tuple[TargetSettings, ...], ...]:
        """The targets in order, those that are equals together."""
        return tuple(
            tuple(_settings_of(one) for one in tier) if isinstance(tier, tuple) else (_settings_of(tier),)
            for tier in self.targets
        )

    def route(self, name: str) -> Route:
        """The route as the rest of the program knows it."""
        tiers = tuple(tuple(one.target() for one in tier) for tier in self.tiers())
        if self.choose == "cheapest":
            tiers = (tuple(target for tier in tiers for target in tier),)  # whose turn it is the cost alone says
        return Route(
            name=name,
            tiers=tiers,
            aliases=self.aliases,
            while_waking=WhileWaking(self.while_waking),
            bridge_after=self.bridge_after,
            deadline=self.deadline,
            first_byte_timeout=self.first_byte_timeout,
            max_attempts=self.max_attempts,
            repeat=Repeat(self.repeat),
            sticky=self.sticky and self.sticky.lower(),
            feedback=self.feedback,
            rent=self.rent,
            choose=Choose(self.choose),
        )


def _settings_of(one: str | TargetSettings) -> TargetSettings:
    return TargetSettings(name=one) if isinstance(one, str) else one


class BreakerSettings(Section):
    """When a target that goes on failing is left alone, and for how long. `breaker: false` for never."""

    enabled: Flag = True
    """Whether there are breakers at all."""
    rate: Number = Field(default=_BREAKER.rate, gt=0, le=1)
    """The share of failed requests that opens the breaker."""
    least: Whole = Field(default=_BREAKER.least, ge=1)
    """How many requests there must have been before it opens."""
    window: PositiveDuration = _BREAKER.window
    """For how long requests count."""
    pause: PositiveDuration = _BREAKER.pause
    """How long a target is left alone before one request tries it again; it doubles while that fails."""
    longest_pause: PositiveDuration = _BREAKER.longest_pause
    """The longest such pause."""
    proofs: Whole = Field(default=_BREAKER.proofs, ge=1)
    """How many requests in a row must succeed before it closes."""

    @model_validator(mode="after")
    def _ordered(self) -> BreakerSettings:
        if self.longest_pause < self.pause:
            raise ValueError(f"longest_pause ({self.longest_pause:g} s) is shorter than pause ({self.pause:g} s)")
        return self

    def policy(self) -> BreakerPolicy | None:
        """The policy in force; None: no breakers."""
        values = self.model_dump(exclude={"enabled"})
        return BreakerPolicy(**values) if self.enabled else None


def _switch(value: object) -> object:
    if value is None or value is True:
        return {}
    if value is False or value in _OFF:
        return {"enabled": False}
    if not isinstance(value, dict | BreakerSettings):
        raise ValueError("should be false, or a mapping of keys to values")  # noqa: TRY004 - pydantic takes this one
    return value


BreakerSection: TypeAlias = Annotated[
    BreakerSettings, BeforeValidator(_switch, json_schema_input_type=bool | BreakerSettings)
]


class RetrySettings(Section):
    """Pauses between attempts at one target, and how many retries it takes."""

    base: PositiveDuration = _RETRY.base
    """Half of the longest first pause; pauses are random, and their bound doubles."""
    cap: PositiveDuration = _RETRY.cap
    """The longest pause."""
    budget: Number = Field(default=_RETRY.budget, ge=0, le=10)
    """How many retries a target takes, as a share of its requests of the last ten seconds."""
    least: Number = Field(default=_RETRY.least, ge=0)
    """How many retries a second it takes in any case."""

    @model_validator(mode="after")
    def _ordered(self) -> RetrySettings:
        if self.cap < self.base:
            raise ValueError(f"cap ({self.cap:g} s) is shorter than base ({self.base:g} s)")
        return self

    def policy(self) -> RetryPolicy:
        """The policy in force."""
        return RetryPolicy(**self.model_dump())
