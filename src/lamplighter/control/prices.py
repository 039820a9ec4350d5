"""The price book: what things cost, who said so and when, and what endpoints have cost at any moment."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Protocol

import structlog

from lamplighter.control.clock import Clock
from lamplighter.control.feed_keeper import FeedKeeper, FeedPace
from lamplighter.control.feeds import Feed, RouterFeed, source_of
from lamplighter.control.list_prices import ListPrices
from lamplighter.domain.catalogue import Catalogue, Entry, candidates, place_of, sorted_entries
from lamplighter.domain.endpoint import Endpoint
from lamplighter.domain.money import Quote, Unit
from lamplighter.domain.prices import (
    CONFIGURATION,
    Change,
    FeedState,
    Kind,
    Listing,
    PriceHistory,
    Rank,
    Tariff,
    counting,
    hardware_subject,
    rank,
)
from lamplighter.domain.routing import TokenPrice, Upstream
from lamplighter.errors import EndpointNotFound, StoreError
from lamplighter.hf.router import ServedModel, choice_of
from lamplighter.store.quotes import SavedQuote

log = structlog.get_logger("lamplighter.prices")

LOOK_EVERY = 10.0
"""How often it is looked whether endpoints run on something else now (seconds)."""

_MOST_PENDING = 100_000
_MOST_NAMES = 1000


class PriceStore(Protocol):
    """Where quotes are kept: `Store` is one. Every method raises StoreError."""

    async def add_quotes(self, saved: Sequence[SavedQuote]) -> None: ...

    async def load_prices(self) -> list[SavedQuote]: ...

    async def quotes(
        self, subject: str | None = None, *, source: str | None = None, since: float | None = None, limit: int = 100
    ) -> list[SavedQuote]: ...

    async def save_feed(self, source: str, checked_at: float) -> None: ...

    async def load_feeds(self) -> dict[str, float]: ...


class PricedFleet(Protocol):
    """The endpoints whose prices are wanted."""

    def endpoints(self) -> Sequence[Endpoint]: ...

    def endpoint(self, name: str) -> Endpoint:
        """Raises EndpointNotFound."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Priced:
    """What an hour of a replica costs in $; who said so, and how long ago that was found to hold, in seconds.

    `estimate`: less or more may be paid.
    """

    amount: Decimal
    source: str
    age: float
    estimate: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """Where prices come from: the configuration, feeds, a published snapshot.

    `routers` are the names of upstreams that are Hugging Face's router. `listed` is asked for the names of models at
    other upstreams.
    """

    tariff: Tariff = field(default_factory=Tariff)
    feeds: Sequence[Feed] = ()
    snapshot: Sequence[Listing] = ()
    routers: Collection[str] = frozenset()
    listed: ListPrices | None = None
    pace: FeedPace = field(default_factory=FeedPace)


class PriceBook:
    """Knows prices. One task asks the feeds and looks what endpoints run on; nothing waits for it.

    Everything that does not say `async` answers from memory.
    """

    def __init__(
        self,
        fleet: PricedFleet,
        store: PriceStore,
        clock: Clock,
        sources: Sources,
        *,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._fleet = fleet
        self._store = store
        self._clock = clock
        self._sources = sources
        self._chance = chance
        self._catalogue = Catalogue()
        self._histories: dict[str, PriceHistory] = {}
        self._estimates: dict[str, bool] = {}
        self._checked: dict[str, float] = {}
        self._keepers: list[FeedKeeper] = []
        self._pending: deque[SavedQuote] = deque(maxlen=_MOST_PENDING)
        self._writing = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None
        self._names: dict[tuple[str, str], str | None] = {}

    # Its life.

    async def open(self) -> None:
        """Read what is on record, and begin to ask. Raises StoreError."""
        self._checked = await self._store.load_feeds()
        for saved in await self._store.load_prices():
            self._recall(saved)
        self._take_configuration()
        self._begin()

    async def close(self) -> None:
        """Stop asking, and write what is not on record yet."""
        await self._end()
        await self._write()

    async def apply(self, sources: Sources) -> None:
        """Take other sources: the prices of the configuration count from now on."""
        await self._end()
        self._sources = sources
        self._names.clear()
        self._take_configuration()
        self._begin()

    def _begin(self) -> None:
        left_alone = {(one.feed.source, one.feed.asks): one.not_before for one in self._keepers}
        self._keepers = [
            FeedKeeper(
                feed,
                self._catalogue,
                self._take,
                self._clock,
                self._sources.pace,
                checked_at=self._checked.get(feed.source),
                not_before=left_alone.get((feed.source, feed.asks), float("-inf")),
                chance=self._chance,
            )
            for feed in self._sources.feeds
        ]
        self._task = asyncio.create_task(self._run(), name="prices")

    async def _end(self) -> None:
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        await asyncio.gather(*(keeper.feed.close() for keeper in self._keepers), return_exceptions=True)

    async def _run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            for keeper in self._keepers:
                tasks.create_task(keeper.ask_for_ever(), name=f"prices of {keeper.feed.source}")
            tasks.create_task(self._look_for_ever(), name="prices of endpoints")

    async def _look_for_ever(self) -> None:
        while True:
            try:
                self._look()
                await self._write()
            except Exception:  # the next look may work: this task has to live
                log.exception("looking at what endpoints cost broke")
            await asyncio.sleep(LOOK_EVERY)

    # What endpoints cost.

    def price_of(self, endpoint: str, at: float | None = None) -> Quote | None:
        """What an hour of one replica costs in $ at the Unix time `at`; None for `at`: now. None: not known.

        Before the first price that is known, that one counts: its own `at` is later then. Answers for endpoints that
        are gone as well.
        """
        now = self._clock.wall()
        if at is None or endpoint not in self._histories:
            with contextlib.suppress(EndpointNotFound):
                self._resolve(self._fleet.endpoint(endpoint), now)
        history = self._histories.get(endpoint)
        return None if history is None else history.at(now if at is None else at)

    def priced(self, endpoint: str) -> Priced | None:
        """What an hour of one replica costs now, with what is to be said of that."""
        quote = self.price_of(endpoint)
        if quote is None:
            return None
        return Priced(
            amount=quote.amount, source=quote.source, age=self.age(quote), estimate=self._estimates.get(endpoint, False)
        )

    def changes(self, endpoint: str, since: float, until: float) -> Sequence[Change]:
        """What an hour of one replica cost in a time: from `since` on the first one, then each from its moment on."""
        history = self._histories.get(endpoint)
        return [Change(since, self.price_of(endpoint, since))] if history is None else history.between(since, until)

    def is_estimate(self, endpoint: str) -> bool:
        """Whether the present price of an endpoint is one that may differ from what is paid."""
        return self._estimates.get(endpoint, False)

    def age(self, quote: Quote) -> float:
        """How many seconds ago a price was last found to hold. What the configuration says holds now."""
        return self._age(quote.source, quote.at)

    def _age(self, source: str, at: float) -> float:
        if source == CONFIGURATION:
            return 0.0
        return max(0.0, self._clock.wall() - self._checked.get(source, at))

    @property
    def rates(self) -> Mapping[str, float]:
        """What endpoints cost now, all replicas together, in $ an hour. A view: it is looked up when it is asked."""
        return _Rates(self)

    def rate(self, endpoint: str) -> float | None:
        """What all replicas of an endpoint cost together now."""
        quote = self.price_of(endpoint)
        if quote is None:
            return None
        try:
            return float(quote.amount * self._fleet.endpoint(endpoint).spec.replicas)
        except EndpointNotFound:
            return None

    @property
    def known(self) -> Sequence[str]:
        """The endpoints whose price is known, or was once."""
        return list(self._histories)

    def _look(self) -> None:
        now = self._clock.wall()
        for endpoint in self._fleet.endpoints():
            self._resolve(endpoint, now)

    def _resolve(self, endpoint: Endpoint, now: float) -> None:
        """Note what an endpoint costs now, where that has changed."""
        spec = endpoint.spec
        found = counting(candidates(endpoint, source_of(spec.provider), self._sources.tariff, self._catalogue))
        history = self._histories.get(spec.name)
        if found is None and not self._is_over(endpoint, history):
            return
        if history is None:
            history = self._histories[spec.name] = PriceHistory()
        self._estimates[spec.name] = found is not None and found.estimate
        change = history.add(None if found is None else found.quote, now)
        if change is not None:
            self._pending.append(_row(endpoint, change, estimate=self._estimates[spec.name]))

    def _is_over(self, endpoint: Endpoint, history: PriceHistory | None) -> bool:
        """Whether there is no price any more; not where it is only unknown for the moment what it runs on."""
        last = history.last if history is not None else None
        if last is None or last.quote is None:
            return False
        return last.quote.source == CONFIGURATION or place_of(endpoint) is not None

    # What is known.

    def entries(self) -> list[Entry]:
        """All prices that are known now, sorted by their keys; of each whether it counts, and what others say.

        What endpoints cost is as it was found at the last look, at most LOOK_EVERY ago.
        """
        return [*sorted_entries(self._endpoint_entries()), *self._catalogue.all_entries()]  # by kind, to begin with

    def _endpoint_entries(self) -> Iterator[Entry]:
        now = self._clock.wall()
        for endpoint in self._fleet.endpoints():
            spec = endpoint.spec
            history = self._histories.get(spec.name)
            quote = history.at(now) if history is not None else None
            if quote is None:
                continue
            said = list(candidates(endpoint, source_of(spec.provider), self._sources.tariff, self._catalogue))
            listing = Listing(
                kind=Kind.ENDPOINT, provider=spec.provider, quote=quote, estimate=self.is_estimate(spec.name)
            )
            yield Entry(
                listing=listing,
                counts=True,
                others=[one for one in said if one.quote.source != quote.source],
                confirmed_at=now - self.age(quote),
            )

    def told_of_endpoint(self, endpoint: Endpoint) -> Sequence[Quote]:
        """What is said of a replica's hour of an endpoint: first the one that counts, then what others say."""
        spec = endpoint.spec
        said = candidates(endpoint, source_of(spec.provider), self._sources.tariff, self._catalogue)
        return _in_order(said, self.price_of(spec.name))

    def told_of_upstream(self, upstream: Upstream, model: str | None) -> Sequence[Quote]:
        """The same for the tokens of what an upstream calls so: one quote for each unit and source."""
        name = model or upstream.model
        subject = self._subject(upstream, name) if name else None
        found: list[Quote] = []
        for unit in (Unit.MILLION_TOKENS_IN, Unit.MILLION_TOKENS_OUT):
            said = self._catalogue.about(Kind.MODEL, upstream.name, unit)
            said += self._catalogue.about(Kind.MODEL, subject, unit) if subject is not None else []
            found += _in_order(said)
        return found

    def told_of_model(self, subject: str, unit: Unit) -> Sequence[Quote]:
        """The same for a model at somebody who charges by the token, by its name in the book."""
        return _in_order(self._catalogue.about(Kind.MODEL, subject, unit))

    def told_of_hardware(self, provider: str, place: tuple[str, str, str, str]) -> Sequence[Quote]:
        """The same for a replica's hour of hardware: `place` is vendor, region, instance type and size."""
        return _in_order(self._of_hardware(provider, place))

    def hardware_price(self, provider: str, place: tuple[str, str, str, str]) -> Listing | None:
        """What hardware costs a replica and hour: `place` is vendor, region, instance type and size."""
        return counting(self._of_hardware(provider, place))

    def _of_hardware(self, provider: str, place: tuple[str, str, str, str]) -> Iterator[Listing]:
        published = provider in self._sources.tariff.published
        source = source_of(provider)
        about = self._catalogue.about(Kind.HARDWARE, hardware_subject(*place), Unit.REPLICA_HOUR, place[1])
        for one in about:
            if one.quote.source == source or (published and rank(one.quote.source) is Rank.SNAPSHOT):
                yield one

    def token_price(self, upstream: Upstream, model: str | None) -> TokenPrice | None:
        """What an upstream charges for requests that call its model so: configured, else known."""
        if upstream.price is not None:
            return upstream.price
        name = model or upstream.model
        subject = self._subject(upstream, name) if name else None
        if subject is None:
            return None
        told = [
            counting(self._catalogue.about(Kind.MODEL, subject, unit))
            for unit in (Unit.MILLION_TOKENS_IN, Unit.MILLION_TOKENS_OUT)
        ]
        if told[0] is None or told[1] is None:
            return None
        return TokenPrice(input=float(told[0].quote.amount), output=float(told[1].quote.amount))

    def _subject(self, upstream: Upstream, model: str) -> str | None:
        """The name in the book of what an upstream would ask for a model."""
        if upstream.name in self._sources.routers:
            repository, _, policy = model.partition(":")
            served = choice_of([one for one in self.served if one.model == repository], policy)
            return served.subject if served is not None else None
        listed = self._sources.listed
        if listed is None or not listed.are_read:
            return None
        key = (upstream.url, model)
        if key not in self._names:
            if len(self._names) >= _MOST_NAMES:
                self._names.clear()
            self._names[key] = listed.subject(*key)
        return self._names[key]

    @property
    def served(self) -> Sequence[ServedModel]:
        """What the router told last of models and who serves them, with context, speed and tools; empty before that."""
        return next((one.feed.served for one in self._keepers if isinstance(one.feed, RouterFeed)), ())

    async def quotes(
        self, subject: str | None = None, *, source: str | None = None, since: float | None = None, limit: int = 1000
    ) -> list[SavedQuote]:
        """Every change that is on record, the newest first; `since` is Unix time, and included. Raises StoreError."""
        return await self._store.quotes(subject, source=source, since=since, limit=limit)

    def feeds(self) -> Sequence[FeedState]:
        """How each feed is that is asked."""
        return [keeper.state for keeper in self._keepers]

    @property
    def ages(self) -> Mapping[str, float]:
        """How many seconds ago each source was last found to say what it says, by its name."""
        now = self._clock.wall()
        return {source: max(0.0, now - at) for source, at in self._checked.items()}

    async def refresh(self) -> Sequence[FeedState]:
        """Ask all feeds now but those that want to be left alone; returns when each has answered or failed."""
        await asyncio.gather(*(keeper.ask_again() for keeper in self._keepers))
        return self.feeds()

    # Taking prices.

    async def _take(self, listings: Sequence[Listing], source: str, at: float) -> None:
        """Take the good part of a whole answer."""
        for listing in listings:
            if self._catalogue.put(listing, at):
                self._pending.append(SavedQuote.of(listing))
        for gone in self._catalogue.unconfirmed(source, at - self._sources.pace.forget):
            self._withdraw(gone, at)
        self._checked[source] = at
        self._look()
        await self._write()
        try:
            await self._store.save_feed(source, at)
        except StoreError as error:
            log.warning("age of prices not on record", source=source, error=error.message)

    def _take_configuration(self) -> None:
        """Take what the configuration says, and the snapshot; what it says no more ends now."""
        now = self._clock.wall()
        said = [*_configured(self._sources.tariff, now)]
        keys = {one.key for one in said}
        for gone in self._catalogue.of_source(CONFIGURATION):
            if gone.key not in keys:
                self._withdraw(gone, now)
        for listing in said:
            if self._catalogue.put(listing, now):
                self._pending.append(SavedQuote.of(listing))
        sources = {one.quote.source for one in self._sources.snapshot}
        self._drop_snapshots(sources)
        for listing in self._sources.snapshot:
            self._checked[listing.quote.source] = listing.quote.at
            if self._catalogue.put(listing, listing.quote.at):
                self._pending.append(SavedQuote.of(listing))
        self._look()

    def _drop_snapshots(self, but: Collection[str]) -> None:
        """Older snapshots, and one that is not wanted, do not count any more."""
        for entry in list(self._catalogue.entries()):
            source = entry.listing.quote.source
            if rank(source) is Rank.SNAPSHOT and source not in but:
                self._catalogue.drop(entry.listing.key)

    def _withdraw(self, listing: Listing, at: float) -> None:
        self._catalogue.drop(listing.key)
        self._pending.append(replace(SavedQuote.of(listing), at=at, nanos=None))

    def _recall(self, saved: SavedQuote) -> None:
        """Take a row that an earlier run wrote."""
        try:
            listing = saved.listing
        except ValueError:  # of a unit or kind that only a later version knows
            return
        if saved.kind == Kind.ENDPOINT.value:
            history = self._histories.setdefault(saved.subject, PriceHistory())
            history.add(None if listing is None else listing.quote, saved.at)
            self._estimates[saved.subject] = saved.estimate
        elif listing is not None:
            self._catalogue.put(listing, max(saved.at, self._checked.get(saved.source, saved.at)))

    async def _write(self) -> None:
        """Write what is not on record yet; what can't be written is written later."""
        async with self._writing:
            rows, self._pending = self._pending, deque(maxlen=_MOST_PENDING)
            if not rows:
                return
            try:
                await self._store.add_quotes(list(rows))
            except StoreError as error:
                log.warning("prices not on record", count=len(rows), error=error.message)
                self._keep(rows)
            except Exception:  # a fault of the store is none of whoever told the prices
                log.exception("writing prices broke", count=len(rows))
                self._keep(rows)

    def _keep(self, rows: Iterable[SavedQuote]) -> None:
        """For the next time; those that were told since come after them."""
        self._pending = deque([*rows, *self._pending], maxlen=_MOST_PENDING)


def _in_order(said: Iterable[Listing], counts: Quote | None = None) -> list[Quote]:
    """Of each source what it says, in the order in which they are believed."""
    listings = sorted(said, key=lambda one: (rank(one.quote.source), not one.quote.region, -one.quote.at, one.key))
    quotes = [one.quote for one in listings]
    if counts is not None:
        quotes = [counts, *(one for one in quotes if one.source != counts.source)]
    return quotes


class _Rates(Mapping[str, float]):
    def __init__(self, book: PriceBook) -> None:
        self._book = book

    def __getitem__(self, endpoint: str) -> float:
        rate = self._book.rate(endpoint)
        if rate is None:
            raise KeyError(endpoint)
        return rate

    def __iter__(self) -> Iterator[str]:
        return (name for name in self._book.known if self._book.rate(name) is not None)

    def __len__(self) -> int:
        return sum(1 for _ in self)


def _row(endpoint: Endpoint, change: Change, *, estimate: bool) -> SavedQuote:
    nothing = Quote(
        subject=endpoint.spec.name, unit=Unit.REPLICA_HOUR, amount=Decimal(0), source=CONFIGURATION, at=change.at
    )
    listing = Listing(
        kind=Kind.ENDPOINT, provider=endpoint.spec.provider, quote=change.quote or nothing, estimate=estimate
    )
    saved = replace(SavedQuote.of(listing), at=change.at)
    return saved if change.quote is not None else replace(saved, nanos=None)


def _configured(tariff: Tariff, at: float) -> Iterator[Listing]:
    """What the configuration says of providers and upstreams; of endpoints it is in their historys."""
    for name, rate in tariff.rates.items():
        yield _said(Kind.HARDWARE, name, Unit.REPLICA_HOUR, rate.amount, at, estimate=rate.estimate)
    for name, tokens in tariff.upstreams.items():
        yield _said(Kind.MODEL, name, Unit.MILLION_TOKENS_IN, tokens.input, at)
        yield _said(Kind.MODEL, name, Unit.MILLION_TOKENS_OUT, tokens.output, at)


def _said(kind: Kind, name: str, unit: Unit, amount: Decimal, at: float, *, estimate: bool = False) -> Listing:
    quote = Quote(subject=name, unit=unit, amount=amount, source=CONFIGURATION, at=at)
    return Listing(kind=kind, provider=name, quote=quote, estimate=estimate, free=not amount)
