"""`/api/pricing`: what things cost, who said so, and how old that is."""

from __future__ import annotations

import base64
import binascii
import json
import time
from collections.abc import Iterable, Sequence
from typing import Annotated, Literal, TypeAlias

from fastapi import APIRouter, Depends, Query, Request
from pydantic import BaseModel, ConfigDict

from lamplighter.api.access import AnyKey, Operator
from lamplighter.api.filters import only_known
from lamplighter.api.problems import INVALID, RESPONSES, Problem, Responses
from lamplighter.control.prices import PriceBook
from lamplighter.domain.catalogue import Entry
from lamplighter.domain.money import Unit
from lamplighter.domain.prices import CONFIGURATION, RULE, FeedState, Kind, money
from lamplighter.errors import InvalidInput, NotFound

_ABSENT: Responses = {404: {"model": Problem, "description": "This server knows no prices"}}

router = APIRouter(prefix="/api", tags=["prices"], responses=RESPONSES | _ABSENT)

_MOST = 1000
_MOST_REFUSED = 20


class _Wire(BaseModel):
    model_config = ConfigDict(use_attribute_docstrings=True)


class OtherPrice(_Wire):
    """What another source says of the same thing."""

    source: str
    """Which one."""
    amount: str
    """Dollars, as a decimal."""


class Price(_Wire):
    """What somebody said that something costs."""

    kind: Kind
    """`hardware`, `model` (at somebody who charges by use), or `endpoint`."""
    subject: str
    """Hardware by its id (without a region where the price is for all of them), a model behind who serves it, or a
    name."""
    provider: str
    """Who charges: a vendor, a provider of models, or the endpoint's own provider."""
    region: str
    """In the provider's words; empty where the price is for all regions."""
    unit: Unit
    """What the amount is for."""
    amount: str
    """Dollars, as an exact decimal."""
    currency: str
    """Always `USD`."""
    source: str
    """Who said so: `configuration`, a provider by its name, `router`, `genai-prices`, or `snapshot` and its day."""
    at: float
    """Since when it is so, in Unix seconds."""
    age: float
    """How many seconds ago the source was last found to say so."""
    estimate: bool
    """Whether less or more may be paid: a published list, the first of several tiers, power that is only guessed."""
    free: bool
    """Whether it was told to cost nothing."""
    counts: bool
    """Whether this is the price that counts, by `rule`."""
    others: list[OtherPrice]
    """What other sources say of the same thing, where they do."""
    disagrees: bool
    """Whether one of those names another amount."""

    @classmethod
    def of(cls, entry: Entry, now: float) -> Price:
        """Describe a price."""
        listing, quote = entry.listing, entry.listing.quote
        return cls(
            kind=listing.kind,
            subject=quote.subject,
            provider=listing.provider,
            region=quote.region,
            unit=quote.unit,
            amount=money(quote.amount),
            currency=quote.currency,
            source=quote.source,
            at=quote.at,
            age=max(0.0, now - entry.confirmed_at),
            estimate=listing.estimate,
            free=listing.free,
            counts=entry.counts,
            others=[OtherPrice(source=one.quote.source, amount=money(one.quote.amount)) for one in entry.others],
            disagrees=entry.disagrees,
        )


class PriceFeed(_Wire):
    """A source that is asked for prices."""

    source: str
    """Its name."""
    asks: str
    """Where it asks."""
    age: float | None
    """How many seconds ago it last told prices; null where it never did."""
    next_in: float | None
    """In how many seconds it is asked again; null while it is."""
    failing_since: float | None
    """Since when it tells none, in Unix seconds; null where it does."""
    error: str | None
    """Why."""
    listed: int
    """How many prices of its last answer were believed."""
    left_out: int
    """How many entries of that were too damaged to be read."""
    refused: list[str]
    """Prices that were not believed, and why: the first of them."""

    @classmethod
    def of(cls, state: FeedState, now: float) -> PriceFeed:
        """Describe a feed."""
        return cls(
            source=state.source,
            asks=state.asks,
            age=state.age(now),
            next_in=None if state.next_at is None else max(0.0, state.next_at - now),
            failing_since=state.failing_since,
            error=state.error,
            listed=state.listed,
            left_out=state.left_out,
            refused=[str(one) for one in state.refused[:_MOST_REFUSED]],
        )


class PricePage(_Wire):
    """Prices, sorted by kind, subject, unit and source."""

    success: Literal[True] = True
    """Always true here."""
    rule: str
    """Which of several prices of one thing counts."""
    prices: list[Price]
    """As many as there are, up to `limit`."""
    next_cursor: str | None
    """What to give as `cursor` for more; null where there are none."""
    feeds: list[PriceFeed]
    """The sources that are asked, and how each is."""


def _book(request: Request) -> PriceBook:
    book: PriceBook | None = request.app.state.prices
    if book is None:
        raise NotFound("This server knows no prices.")
    return book


FILTERS = ("kind", "subject", "provider", "region", "unit", "source", "counts", "cursor", "limit")
"""What can be asked for."""

Known: TypeAlias = Annotated[PriceBook, Depends(_book)]


@router.get("/pricing", operation_id="pricing", responses=INVALID, dependencies=[Depends(only_known)])
async def pricing(
    key: AnyKey,
    book: Known,
    *,
    kind: Annotated[Kind | None, Query(description="Of this kind alone.")] = None,
    subject: Annotated[str | None, Query(max_length=300, description="Whose subject has this in it.")] = None,
    provider: Annotated[str | None, Query(max_length=300, description="Of whom this is the one who charges.")] = None,
    region: Annotated[str | None, Query(max_length=300, description="In this region, or in all.")] = None,
    unit: Annotated[Unit | None, Query(description="For this unit alone.")] = None,
    source: Annotated[str | None, Query(max_length=300, description="Told by this source; `snapshot`: any.")] = None,
    counts: Annotated[bool | None, Query(description="Those that count, or those that do not.")] = None,
    cursor: Annotated[str | None, Query(max_length=2000, description="Where to go on: a page's `next_cursor`.")] = None,
    limit: Annotated[int, Query(ge=1, le=_MOST, description="How many at most.")] = 100,
) -> PricePage:
    """List what things cost: of each thing what every source says, and which of that counts."""
    after = _key_of(cursor)
    found = [
        entry
        for entry in book.entries()
        if (kind is None or entry.listing.kind is kind)
        and (subject is None or subject.lower() in entry.listing.quote.subject.lower())
        and (provider is None or entry.listing.provider == provider)
        and (region is None or entry.listing.quote.region in {"", region})
        and (unit is None or entry.listing.quote.unit is unit)
        and (source is None or _is_from(entry, source))
        and (counts is None or entry.counts is counts)
        and (after is None or entry.listing.key > after)
        and (not _is_own(entry) or key.may_see(entry.listing.quote.subject))
    ]
    page = found[:limit]
    more = _cursor_of(page[-1]) if len(found) > limit else None
    return _page(book, page, more)


@router.post("/pricing/refresh", operation_id="refresh_pricing")
async def refresh(_: Operator, book: Known) -> PricePage:
    """Ask every source now, but those that want to be left alone, and tell how each is; no prices are in this."""
    await book.refresh()
    return _page(book, (), None)


def _page(book: PriceBook, entries: Iterable[Entry], more: str | None) -> PricePage:
    now = time.time()
    feeds: Sequence[FeedState] = book.feeds()
    return PricePage(
        rule=RULE,
        prices=[Price.of(entry, now) for entry in entries],
        next_cursor=more,
        feeds=[PriceFeed.of(state, now) for state in feeds],
    )


def _is_own(entry: Entry) -> bool:
    """Whether it is about something of this server: an endpoint, or an upstream or provider of its configuration."""
    return entry.listing.kind is Kind.ENDPOINT or entry.listing.quote.source == CONFIGURATION


def _is_from(entry: Entry, source: str) -> bool:
    said = entry.listing.quote.source
    return said == source or (source == "snapshot" and said.startswith("snapshot "))


def _cursor_of(entry: Entry) -> str:
    return base64.urlsafe_b64encode(json.dumps(entry.listing.key).encode()).decode()


def _key_of(cursor: str | None) -> tuple[str, ...] | None:
    if not cursor:
        return None
    try:
        key = json.loads(base64.urlsafe_b64decode(cursor))
    except (binascii.Error, ValueError, RecursionError):
        key = None
    if not isinstance(key, list) or len(key) != 4 or not all(isinstance(part, str) for part in key):
        raise InvalidInput(f"cursor: {cursor[:80]!r} is none; take it from `next_cursor` of a page.", field="cursor")
    return tuple(key)
