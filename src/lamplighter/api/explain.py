"""`/api/offers/explain`: what one's own requests have cost, and what they would have cost elsewhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Annotated, Any, Literal, Protocol

from fastapi import APIRouter, Depends, Query, Request
from pydantic import BaseModel, ConfigDict

from lamplighter.api.access import Operator
from lamplighter.api.market_shapes import OfferShape, QuoteShape, SourceShape
from lamplighter.api.problems import FAILED, INVALID, RESPONSES, Problem, Responses
from lamplighter.control.explaining import LONGEST, Explainer, Explanation, Row
from lamplighter.domain.breakeven import BreakEven
from lamplighter.domain.choosing import Bid
from lamplighter.domain.money import Quote
from lamplighter.domain.prices import RULE, money
from lamplighter.errors import NotFound

_ABSENT: Responses = {404: {"model": Problem, "description": "This server keeps no account of what is used"}}
_THIRTY_DAYS = 30 * 86400.0

router = APIRouter(prefix="/api", tags=["marketplace"], responses=RESPONSES | INVALID | FAILED | _ABSENT)


class _Wire(BaseModel):
    model_config = ConfigDict(use_attribute_docstrings=True)


class AgedQuoteShape(QuoteShape):
    """What somebody said that something costs, and how old that is."""

    age: float
    """How many seconds ago it was last found to hold."""


class AskedShape(_Wire):
    """What was asked, and answered."""

    since: float
    """From when on: the beginning of the time, or the first request if that came later."""
    until: float
    """Until when."""
    requests: int
    """So many requests."""
    requests_per_day: str
    """The same a day, as an exact decimal; what lasted less than a day counts as one."""
    told: int
    """So many of them told their tokens."""
    tokens_in: int
    """Tokens in, of those."""
    tokens_out: int
    """Tokens out, of those."""


class PaidShape(_Wire):
    """What was paid, in US dollars, as exact decimals."""

    cold_start: str
    """For starts."""
    serving: str
    """While requests were answered."""
    idle: str
    """While none was."""
    by_use: str | None
    """To upstreams, by the tokens; null where that is not known."""
    total: str
    """All that is known of it."""


class ComparedShape(_Wire):
    """One way of having had the same requests answered."""

    name: str
    """`as it was`, or who has the offer: an endpoint, an upstream, a provider, hardware."""
    cost: str | None
    """What it comes to in US dollars, as an exact decimal; null where that can't be said."""
    basis: Literal["ledger", "exact", "at least", "estimate", "unknown"]
    """Charged by the ledger; exact from tokens; exact from those that were told; estimated from when requests came."""
    why: str
    """What is to be said of it: why there is no cost, or what is assumed."""
    hours_awake: float | None
    """How long hardware was awake, or would have been."""
    quotes: list[AgedQuoteShape]
    """The prices that count."""
    others: list[AgedQuoteShape]
    """What other sources say of the same."""
    offer: OfferShape | None
    """The offer; null for how it was."""

    @classmethod
    def of(cls, row: Row) -> ComparedShape:
        """Describe one."""
        return cls(
            name=row.name,
            cost=None if row.amount.dollars is None else money(row.amount.dollars),
            basis=row.amount.basis.value,
            why=row.amount.why,
            hours_awake=row.hours,
            quotes=[_aged(*one) for one in row.quotes],
            others=[_aged(*one) for one in row.others],
            offer=OfferShape.of(row.offer) if row.offer is not None else None,
        )


class BreakEvenShape(_Wire):
    """Where hardware and tokens cost the same, for requests that come in the same way, closer together or further."""

    hardware: str
    """What is paid by the hour."""
    rented: str
    """What is paid by use."""
    requests_per_day: str | None
    """Below so many a day what is paid by use is cheaper, above it the hardware; null: there is none, see `why`."""
    why: str
    """Where there is none: which of both is always cheaper, or what is missing to tell."""

    @classmethod
    def of(cls, found: BreakEven) -> BreakEvenShape:
        """Describe it."""
        per_day = None if found.per_day is None else money(found.per_day)
        return cls(hardware=found.hardware, rented=found.rented, requests_per_day=per_day, why=found.why)


class BidShape(_Wire):
    """What one more request is expected to cost at a target."""

    target: str
    """An endpoint or an upstream."""
    model: str | None
    """The model's name there, where the route gives one: it may lead to one upstream under several."""
    cost: float | None
    """In US dollars; null where that is not known, or without end."""
    why: str
    """`tokens`, `in-use`, `full`, `awake`, `starting`, `asleep`.

    Where the cost is not known: `no-price`, `no-tokens` (no request has told how many it has), `paused`, `left-alone`
    (it failed too often lately, or asked for a pause), `gone`.
    """


class ChoiceShape(_Wire):
    """Where a route that chooses by cost would send a request now."""

    route: str
    """The route."""
    targets: list[BidShape]
    """What is expected of each target, the first choice first."""


class Bids(Protocol):
    """Who knows what requests are expected to cost now: the gateway."""

    def expected(self, name: str, tokens: tuple[int, int] | None) -> Mapping[str, Sequence[Bid]]:
        """For a request of so many tokens in and out (None: not known), in the order in which targets are tried.

        By route: those of this name, or that lead to it, and choose by cost.
        """


class ExplanationShape(_Wire):
    """What one's own requests have cost, and what they would have cost elsewhere."""

    success: Literal[True] = True
    """Always true here."""
    subject: str
    """What was asked about."""
    kind: Literal["endpoint", "route", "upstream", "model"]
    """What that is."""
    models: list[str]
    """What it serves."""
    targets: list[str]
    """The endpoints and upstreams of this server that answer for it."""
    asked: AskedShape
    """What was asked of it."""
    paid: PaidShape
    """What that has cost."""
    compared: list[ComparedShape]
    """Everything that the same requests could have gone to, the cheapest first, what can't be had now behind it."""
    break_even: BreakEvenShape | None
    """At how many requests a day that changes; null where there is nothing to compare."""
    no_break_even: str
    """What is missing for that."""
    choices: list[ChoiceShape]
    """Where routes with `choose: cheapest` would send one more such request now."""
    recommendation: str
    """What to do, in one sentence."""
    rule: str
    """Which of several prices of one thing counts."""
    sources: list[SourceShape]
    """Who was asked for offers."""

    @classmethod
    def of(cls, told: Explanation, choices: Mapping[str, Sequence[Bid]]) -> ExplanationShape:
        """Describe all of it."""
        asked, paid = told.asked, told.paid
        values: dict[str, Any] = {
            "since": asked.since,
            "until": asked.until,
            "requests": asked.requests,
            "requests_per_day": money(asked.per_day),
            "told": asked.told,
            "tokens_in": asked.tokens_in,
            "tokens_out": asked.tokens_out,
        }
        return cls(
            subject=told.subject,
            kind=told.kind,
            models=list(told.models),
            targets=list(told.targets),
            asked=AskedShape(**values),
            paid=PaidShape(
                cold_start=money(paid.cold_start),
                serving=money(paid.serving),
                idle=money(paid.idle),
                by_use=None if paid.rented is None else money(paid.rented),
                total=money(paid.total),
            ),
            compared=[ComparedShape.of(row) for row in told.rows],
            break_even=BreakEvenShape.of(told.break_even) if told.break_even is not None else None,
            no_break_even=told.why_none,
            choices=[_choice(route, bids) for route, bids in choices.items()],
            recommendation=told.recommendation,
            rule=RULE,
            sources=[SourceShape.of(source) for source in told.sources],
        )


def _choice(route: str, bids: Sequence[Bid]) -> ChoiceShape:
    known = {bid.target: bid.cost if bid.cost is not None and isfinite(bid.cost) else None for bid in bids}
    targets = [
        BidShape(target=bid.target.name, model=bid.target.model, cost=known[bid.target], why=bid.why) for bid in bids
    ]
    return ChoiceShape(route=route, targets=targets)


def _aged(quote: Quote, age: float) -> AgedQuoteShape:
    return AgedQuoteShape(**QuoteShape.of(quote, age=age).model_dump())


def _explainer(request: Request) -> Explainer:
    explainer: Explainer | None = request.app.state.explainer
    if explainer is None:
        raise NotFound("This server keeps no account of what is used.")
    return explainer


@router.get("/offers/explain", operation_id="explain_offers")
async def explain_offers(
    _: Operator,
    request: Request,
    explainer: Annotated[Explainer, Depends(_explainer)],
    name: Annotated[
        str,
        Query(min_length=1, max_length=200, description="An endpoint, route, upstream or whole model name."),
    ],
    since: Annotated[
        float, Query(gt=0, le=LONGEST, description="How far to look back, in seconds, from the beginning of that day.")
    ] = _THIRTY_DAYS,
) -> ExplanationShape:
    """Tell what the requests of this server have cost, and what they would have cost on each other offer."""
    told = await explainer.explain(name, since=since)
    bids: Bids | None = request.app.state.door
    asked = told.asked
    each = (asked.tokens_in // asked.told, asked.tokens_out // asked.told) if asked.told else None
    return ExplanationShape.of(told, bids.expected(told.subject, each) if bids is not None else {})
