"""`/api/models`, `/api/offers` and `/api/inference/{model}`: what can be had, what it costs, and one call for all."""

from __future__ import annotations

import json
from contextlib import AbstractContextManager
from dataclasses import replace
from decimal import Decimal
from typing import Annotated, Any, Literal, Protocol, TypeAlias

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi import Path as PathParameter
from starlette.types import Receive, Scope, Send

from lamplighter.api.access import AnyKey, CallingKey
from lamplighter.api.bodies import read_body
from lamplighter.api.filters import only_known
from lamplighter.api.inference import Passed
from lamplighter.api.market_shapes import ModelsShape, OffersShape
from lamplighter.api.problems import FAILED, INVALID, RESPONSES, Problem, Responses
from lamplighter.control.market import Market
from lamplighter.domain.inference import DEFAULT_TIMEOUT, LONGEST_TIMEOUT, InferenceAnswer, InferenceRequest
from lamplighter.domain.keys import ApiKey, Role
from lamplighter.domain.model_filter import LONGEST_CURSOR, MOST_PER_PAGE, ModelFilter
from lamplighter.domain.offer_choice import OfferFilter
from lamplighter.domain.routing import TokenPrice
from lamplighter.errors import InvalidInput, NotAllowed, NotFound, ProviderError

_ABSENT: Responses = {404: {"model": Problem, "description": "No such model is on offer, or there is no marketplace"}}
_CALLED: Responses = {
    200: {"content": {"application/json": {}, "*/*": {}}, "description": "What the model answered, as it came"},
    402: {"model": Problem, "description": "The account can't pay, or its quota is used up"},
    413: {"model": Problem, "description": "The payload is too large"},
    504: {"model": Problem, "description": "The model did not answer in time"},
}
_BODY_TIMEOUT = 60.0
_MOST_BODY = 64_000_000
_LARGEST_OFFSET = 1_000_000

router = APIRouter(prefix="/api", tags=["marketplace"], responses=RESPONSES | INVALID | FAILED | _ABSENT)


class Call(Protocol):
    """A call of a model elsewhere, that is counted."""

    bytes_in: int

    def answered(self, target: str, *, size: int, tokens: tuple[int, int], price: TokenPrice | None) -> None:
        """Note who answered, the answer's size in bytes, the tokens in and out that it tells, and their price."""


class Door(Protocol):
    """Where requests to models pass: the gateway."""

    @property
    def max_body_bytes(self) -> int:
        """The largest body that is taken."""

    def knows(self, model: str) -> bool:
        """Whether a name leads to a route or an endpoint here."""

    def counted(self, key: ApiKey, model: str) -> AbstractContextManager[Call]:
        """Count a call of a model elsewhere as one of the key's."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request to a model here."""


def _market(request: Request) -> Market:
    market: Market | None = request.app.state.market
    if market is None:
        raise NotFound("This server has no marketplace.")
    return market


def _door(request: Request) -> Door | None:
    door: Door | None = request.app.state.door
    return door


Kept: TypeAlias = Annotated[Market, Depends(_market)]
Task: TypeAlias = Annotated[
    str | None, Query(description="Only for this: text, image, audio, video, …, or a task of the Hub.")
]
MarketName: TypeAlias = Annotated[str | None, Query(description="Only at this marketplace; all by default.")]


@router.get("/models", operation_id="models", dependencies=[Depends(only_known)])
async def list_models(
    _: AnyKey,
    market_: Kept,
    *,
    id: Annotated[str | None, Query(description="Only the model of this whole name.")] = None,  # noqa: A002
    search: Annotated[str | None, Query(description="Only those whose name holds this.")] = None,
    author: Annotated[str | None, Query(description="Only those of this user or organization.")] = None,
    task: Task = None,
    license: Annotated[str | None, Query(description="Only under this licence, such as apache-2.0.")] = None,  # noqa: A002
    provider: Annotated[str | None, Query(description="Only those that this provider serves.")] = None,
    served: Annotated[bool, Query(description="Only those that somebody serves, with the terms.")] = False,
    sort: Annotated[
        Literal["downloads", "likes", "trending", "created", "modified"] | None,
        Query(description="The most, or the newest, first."),
    ] = None,
    limit: Annotated[int, Query(ge=1, le=MOST_PER_PAGE, description="The most models of a page.")] = 50,
    cursor: Annotated[
        str | None, Query(max_length=LONGEST_CURSOR, description="Go on after a page: its `next`.")
    ] = None,
    market: MarketName = None,
) -> ModelsShape:
    """List models, a page at a time. What a page tells may be some minutes old: `age` says so."""
    wanted = ModelFilter(
        id=id,
        search=search,
        author=author,
        task=task,
        license=license,
        provider=provider,
        served=served,
        sort=sort,
        limit=limit,
        cursor=cursor,
    )
    return ModelsShape.of(await market_.models(wanted, market=market))


@router.get("/offers", operation_id="offers", dependencies=[Depends(only_known)])
async def list_offers(
    key: AnyKey,
    market: Kept,
    *,
    model: Annotated[
        str | None, Query(description="Only of this model, by its whole name; with the hardware that it fits on.")
    ] = None,
    search: Annotated[str | None, Query(description="Only of models whose name holds this.")] = None,
    task: Task = None,
    region: Annotated[
        str | None, Query(description="Only there: us, eu, ap, …, a provider's own region, or gdpr.")
    ] = None,
    provider: Annotated[str | None, Query(description="Only from this provider.")] = None,
    kind: Annotated[Literal["serverless", "hardware"] | None, Query(description="Only paid for like this.")] = None,
    max_price: Annotated[
        float | None,
        Query(ge=0, le=1e9, description="At most so many $ per million tokens out, or per hour of hardware."),
    ] = None,
    context: Annotated[int | None, Query(ge=1, description="At least so many tokens of context.")] = None,
    tools: Annotated[bool | None, Query(description="Only where tools can, or can't, be used.")] = None,
    sort: Annotated[
        Literal["price", "throughput", "first-token", "context", "model", "provider"],
        Query(description="In which order; what is not told comes last."),
    ] = "price",
    limit: Annotated[int, Query(ge=1, le=1000, description="The most offers of a page.")] = 100,
    offset: Annotated[int, Query(ge=0, le=_LARGEST_OFFSET, description="How many to pass over: a page's `next`.")] = 0,
) -> OffersShape:
    """Tell what models can be had for: served by the token, on this server, or by the hour on hardware."""
    wanted = OfferFilter(
        model=model,
        search=search,
        task=task,
        region=region,
        provider=provider,
        kind=kind,
        max_price=None if max_price is None else Decimal(repr(max_price)),
        context=context,
        tools=tools,
        sort=sort,
    )
    found = await market.offers(wanted)
    seen = [offer for offer in found.offers if offer.endpoint is None or key.may_see(offer.endpoint)]
    costs = key.role.covers(Role.OPERATE)  # what is spent here is for those who may see the costs
    return OffersShape.of(replace(found, offers=seen), offset=offset, limit=limit, costs=costs, age=market.age)


@router.post("/inference/{model:path}", operation_id="run_inference", response_class=Response, responses=_CALLED)
async def run_inference(
    model: Annotated[str, PathParameter(description="The model's name, here or elsewhere; it may hold slashes.")],
    request: Request,
    key: CallingKey,
    market_: Kept,
    *,
    surface: Annotated[
        str | None, Query(description="What the payload is for: chat/completions, task, …; by default told from it.")
    ] = None,
    provider: Annotated[str | None, Query(description="Who is to answer, of those who serve it elsewhere.")] = None,
    timeout: Annotated[
        float | None,
        Query(
            gt=0, le=LONGEST_TIMEOUT, description="How long it may take, in seconds: here to wake, elsewhere in all."
        ),
    ] = None,
    market: MarketName = None,
) -> Response:
    """Have a model answer: one of this server (which wakes it), or one of a marketplace, with this server's token.

    The payload is the JSON of OpenAI's API, or `inputs` and `parameters` of a task. Whoever refuses, `error.kind` is
    one of auth, rate_limit, payment, not_found, bad_input, overloaded, timeout and unavailable.
    """
    door = _door(request)
    content = await read_body(
        request, "payload", most=_MOST_BODY if door is None else door.max_body_bytes, timeout=_BODY_TIMEOUT
    )
    body = _object(content)
    body.pop("model", None)
    payload = InferenceRequest(
        model=model, body=body, surface=surface, provider=provider, timeout=timeout or DEFAULT_TIMEOUT
    )
    if door is not None and market is None and provider is None and door.knows(model):
        return Passed(door, payload, hold=timeout)
    if door is not None and provider is not None and "/" not in model and key.may_call(model) and door.knows(model):
        raise InvalidInput(
            f"provider: {model!r} is a model of this server; leave this out to call it", field="provider"
        )
    if door is None:
        return _answer(await _elsewhere(market_, payload, market))
    with door.counted(key, model) as call:
        call.bytes_in = len(content)
        answered = await _elsewhere(market_, payload, market)
        price = market_.token_price(answered.provider, model)
        call.answered(answered.provider, size=len(answered.body), tokens=answered.tokens, price=price)
        return _answer(answered)


async def _elsewhere(market: Market, payload: InferenceRequest, name: str | None) -> InferenceAnswer:
    """What a marketplace answers. That it refuses this server's token says nothing of the client's key."""
    try:
        return await market.run_inference(payload, market=name)
    except NotAllowed as error:
        raise ProviderError(f"The token that this server has is refused: {error.message}", permanent=True) from None


def _answer(answered: InferenceAnswer) -> Response:
    shown = "".join(one if one.isascii() and one.isprintable() else "?" for one in answered.provider[:200])
    headers = {"x-lamplighter-provider": shown}
    if answered.content_type:
        headers["content-type"] = answered.content_type
    return Response(answered.body, headers=headers)


def _object(content: bytes) -> dict[str, Any]:
    try:
        value = json.loads(content)
    except (ValueError, RecursionError) as error:
        problem = f"is not JSON: {error}" if content.strip() else "is empty"
        raise InvalidInput(f"payload: it {problem[:200]}", field="payload") from None
    if not isinstance(value, dict):
        raise InvalidInput("payload: it should be an object of JSON, such as {'messages': […]}", field="payload")
    return value
