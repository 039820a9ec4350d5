"""Questions to the database about prices. Each runs in the caller's transaction, in the store's thread."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import Connection, delete, func, insert, select

from lamplighter.domain.money import Quote, Unit, dollars, nanos
from lamplighter.domain.prices import Kind, Listing
from lamplighter.store import tables

MOST_OF_ENDPOINTS = 200_000
"""Changes of endpoints' prices that are read at a start, the newest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SavedQuote:
    """A row of `quotes`. `nanos` are nanodollars; None: from `at` (Unix time) on it was said no more."""

    kind: str
    provider: str
    subject: str
    unit: str
    source: str
    at: float
    nanos: int | None
    region: str = ""
    currency: str = "USD"
    estimate: bool = False
    free: bool = False

    @classmethod
    def of(cls, listing: Listing) -> SavedQuote:
        """The row that keeps a listing."""
        quote = listing.quote
        return cls(
            kind=listing.kind.value,
            provider=listing.provider,
            subject=quote.subject,
            unit=quote.unit.value,
            source=quote.source,
            at=quote.at,
            nanos=nanos(quote.amount),
            region=quote.region,
            currency=quote.currency,
            estimate=listing.estimate,
            free=listing.free,
        )

    @property
    def listing(self) -> Listing | None:
        """What was kept; None where the row says that there is no price any more."""
        if self.nanos is None:
            return None
        quote = Quote(
            subject=self.subject,
            unit=Unit(self.unit),
            amount=dollars(self.nanos),
            source=self.source,
            at=self.at,
            currency=self.currency,
            region=self.region,
        )
        return Listing(
            kind=Kind(self.kind), provider=self.provider, quote=quote, estimate=self.estimate, free=self.free
        )


def add_quotes(connection: Connection, saved: Sequence[SavedQuote]) -> None:
    """Write changes of prices, all or none."""
    if saved:
        connection.execute(insert(tables.quotes), [asdict(one) for one in saved])


def load_lines(connection: Connection) -> list[SavedQuote]:
    """The newest row of each line that is no endpoint's."""
    quotes = tables.quotes.c
    newest = (
        select(func.max(quotes.id))
        .where(quotes.kind != Kind.ENDPOINT.value)
        .group_by(quotes.kind, quotes.subject, quotes.unit, quotes.source)
    )
    return _read(connection.execute(select(tables.quotes).where(quotes.id.in_(newest)).order_by(quotes.id)).mappings())


def load_endpoint_prices(connection: Connection) -> list[SavedQuote]:
    """What endpoints cost from when on, the oldest first."""
    quotes = tables.quotes.c
    query = select(tables.quotes).where(quotes.kind == Kind.ENDPOINT.value).order_by(quotes.id.desc())
    return _read(connection.execute(query.limit(MOST_OF_ENDPOINTS)).mappings())[::-1]


def select_quotes(
    connection: Connection, subject: str | None, source: str | None, since: float | None, limit: int
) -> list[SavedQuote]:
    """Find recorded changes, the newest first; `since` is Unix time, and included."""
    quotes = tables.quotes.c
    query = select(tables.quotes).order_by(quotes.at.desc(), quotes.id.desc()).limit(limit)
    if subject is not None:
        query = query.where(quotes.subject == subject)
    if source is not None:
        query = query.where(quotes.source == source)
    if since is not None:
        query = query.where(quotes.at >= since)
    return _read(connection.execute(query).mappings())


def save_feed(connection: Connection, source: str, checked_at: float) -> None:
    """Note when a feed was last found to be good."""
    connection.execute(delete(tables.price_feeds).where(tables.price_feeds.c.source == source))
    connection.execute(insert(tables.price_feeds).values(source=source, checked_at=checked_at))


def load_feeds(connection: Connection) -> dict[str, float]:
    """When each feed was last found to be good."""
    return {row.source: row.checked_at for row in connection.execute(select(tables.price_feeds))}


def _read(rows: Iterable[Mapping[Any, Any]]) -> list[SavedQuote]:
    return [SavedQuote(**{key: value for key, value in row.items() if key != "id"}) for row in rows]
