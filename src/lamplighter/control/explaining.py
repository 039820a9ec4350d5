"""What one's own requests have cost, what they would have cost on each other offer, and which is the cheapest."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal

from lamplighter.control.clock import Clock
from lamplighter.control.costs import CostLine
from lamplighter.control.market import Market, MarketSource, model_of
from lamplighter.control.stock import Stock
from lamplighter.domain.breakeven import (
    Amount,
    Asked,
    Basis,
    BreakEven,
    Compared,
    Paid,
    Pattern,
    Terms,
    break_even,
    by_the_hour,
    by_use,
    recommendation,
)
from lamplighter.domain.endpoint import Endpoint, Policy
from lamplighter.domain.money import Quote, Unit
from lamplighter.domain.offer_choice import OfferFilter
from lamplighter.domain.offers import Offer, OfferKind
from lamplighter.domain.routing import Route, Upstream
from lamplighter.errors import InvalidInput
from lamplighter.store.using import Spell

LONGEST = 366 * 86400.0
"""How far back usage is looked at (seconds)."""

AS_IT_WAS = "as it was"
_CPU = "cpu"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One way of having had the same requests answered. `amount` says what it comes to, or why that can't be said.

    `offer` is None for how it was. `hours` are those awake, of hardware. `quotes` are its prices, each with its age in
    seconds; `others` what other sources say of these.
    """

    name: str
    amount: Amount
    offer: Offer | None = None
    hours: float | None = None
    quotes: Sequence[tuple[Quote, float]] = ()
    others: Sequence[tuple[Quote, float]] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """What was asked of `subject` (an endpoint, a route, an upstream or a model), and what it has cost and would have.

    `rows` are sorted by what they come to, what can't be had now behind the others; those of which it can't be said are
    last. `break_even` is None where
    there is nothing to compare: `why_none` says what is missing.
    """

    subject: str
    kind: str
    models: Sequence[str]
    targets: Sequence[str]
    asked: Asked
    paid: Paid
    rows: Sequence[Row]
    break_even: BreakEven | None
    why_none: str
    recommendation: str
    sources: Sequence[MarketSource] = field(default_factory=tuple)


@dataclass(frozen=True, slots=True)
class _Subject:
    """What a name means. `route` restricts usage to what came by it."""

    name: str
    kind: str
    models: tuple[str, ...] = ()
    endpoints: tuple[Endpoint, ...] = ()
    upstreams: tuple[tuple[Upstream, str | None], ...] = ()
    route: str | None = None

    @property
    def targets(self) -> list[str]:
        """The endpoints and upstreams that answer for it."""
        return [one.spec.name for one in self.endpoints] + list(dict.fromkeys(one.name for one, _ in self.upstreams))


class Explainer:
    """Compares. It asks the marketplaces, and the records of what was used and charged; it changes nothing."""

    def __init__(self, market: Market, stock: Stock, clock: Clock) -> None:
        self._market = market
        self._stock = stock
        self._clock = clock

    async def explain(self, name: str, *, since: float) -> Explanation:
        """Compare what was asked in the last `since` seconds, from the beginning of that day on.

        Raises InvalidInput for a name that nothing has, StoreError.
        """
        if not 0 < since <= LONGEST:
            raise InvalidInput(f"since: {since:g} s should be more than 0, and at most 366 days", field="since")
        until = self._clock.wall()
        day, begun = self._stock.day_of(until - since)
        subject = self._subject(name)
        offers, sources = await self._offers(subject)
        if subject.kind == "model" and not subject.targets and not offers:
            text = f"name: no endpoint, route, upstream or model on offer is called {name[:120]!r}"
            raise InvalidInput(text, field="name")
        spells = await self._spells(subject, begun, until)
        lines = await self._stock.charged(day, by_route=True)
        mine = [line for line in lines if _concerns(line, subject)]

        def compare() -> Explanation:
            asked = _asked(spells, begun, until)
            return _Comparison(subject, asked, spells, offers, self._market.age).explain(mine, sources)

        return await asyncio.to_thread(compare)  # a long history takes tenths of a second, and requests are on the loop

    async def _spells(self, subject: _Subject, since: float, until: float) -> list[Spell]:
        """When it was asked; a model also under its own name at somebody elsewhere."""
        if subject.kind != "model":
            return await self._stock.spells(subject.targets, route=subject.route, since=since, until=until)
        found = await self._stock.spells([], route=subject.name, since=since, until=until)
        mine = {*subject.targets}
        if mine:
            here = await self._stock.spells(subject.targets, since=since, until=until)
            found = [*here, *(one for one in found if one.target not in mine)]
        return sorted(found, key=lambda one: one.begin)

    def _subject(self, name: str) -> _Subject:
        """What is meant: a route before an endpoint of the same name, as for clients."""
        endpoints = {one.spec.name: one for one in self._stock.endpoints() if not one.leaving}
        upstreams = {one.name: one for one in self._stock.upstreams()}
        for route in self._stock.routes():
            if name == route.name or name in route.aliases:
                return _of_route(route, endpoints, upstreams)
        for one in endpoints.values():
            if name == one.spec.name or name in one.spec.aliases:
                return _Subject(one.spec.name, "endpoint", _models([one]), (one,))
        if name in upstreams:
            one_upstream = upstreams[name]
            models = (one_upstream.model,) if one_upstream.model else ()
            return _Subject(name, "upstream", models, (), ((one_upstream, None),))
        mine = tuple(one for one in endpoints.values() if (model_of(one) or "").lower() == name.lower())
        far = tuple((one, None) for one in upstreams.values() if (one.model or "").lower() == name.lower())
        return _Subject(name, "model", (name,), mine, far)

    async def _offers(self, subject: _Subject) -> tuple[list[Offer], Sequence[MarketSource]]:
        """Everything else that the same requests could have gone to, each once."""
        asked = [self._market.offers(OfferFilter(model=model), all_sizes=True) for model in subject.models]
        found = await asyncio.gather(*asked)
        offers = [offer for one in found for offer in one.offers]
        offers += [self._market.upstream_offer(*one) for one in self._mates(subject)]
        unique = {(one.kind, one.provider, one.endpoint, one.model.lower(), one.hardware): one for one in offers}
        sources = {source.name: source for one in found for source in one.sources}
        return list(unique.values()), tuple(sources.values())

    def _mates(self, subject: _Subject) -> Iterator[tuple[Upstream, str | None]]:
        """The upstreams that share a route with one of its endpoints, under whichever name of the model."""
        yield from subject.upstreams
        upstreams = {one.name: one for one in self._stock.upstreams()}
        for one in subject.endpoints:
            yield from _beside(one.spec.name, self._stock.routes(), upstreams)


def _of_route(route: Route, endpoints: dict[str, Endpoint], upstreams: dict[str, Upstream]) -> _Subject:
    mine = tuple(endpoints[one.name] for one in route.targets if one.name in endpoints)
    far = tuple((upstreams[one.name], one.model) for one in route.targets if one.name in upstreams)
    return _Subject(route.name, "route", _models(mine, far), mine, far, route.name)


def _beside(
    endpoint: str, routes: Iterable[Route], upstreams: dict[str, Upstream]
) -> list[tuple[Upstream, str | None]]:
    """The upstreams of the routes that lead to an endpoint, each with its name of the model."""
    return [
        (upstreams[one.name], one.model)
        for route in routes
        if any(target.name == endpoint for target in route.targets)
        for one in route.targets
        if one.name in upstreams
    ]


def _models(endpoints: Iterable[Endpoint], upstreams: Iterable[tuple[Upstream, str | None]] = ()) -> tuple[str, ...]:
    """What it is that is served, by the names that others may know it by."""
    named = [model_of(one) for one in endpoints]
    named += [model or upstream.model for upstream, model in upstreams]
    return tuple(dict.fromkeys(one.partition(":")[0] for one in named if one))


def _concerns(line: CostLine, subject: _Subject) -> bool:
    """Whether a sum by target and route is for what was asked; a model is also asked for under its own name."""
    target, route = line.group
    if target in subject.targets:
        return subject.route is None or route == subject.route
    return subject.kind == "model" and route == subject.name


def _asked(spells: Sequence[Spell], since: float, until: float) -> Asked:
    return Asked(
        since=max(since, spells[0].begin) if spells else since,
        until=until,
        requests=sum(one.requests for one in spells),
        told=sum(one.told for one in spells),
        tokens_in=sum(one.tokens_in for one in spells),
        tokens_out=sum(one.tokens_out for one in spells),
    )


class _Comparison:
    """The same requests, everywhere."""

    def __init__(
        self,
        subject: _Subject,
        asked: Asked,
        spells: Sequence[Spell],
        offers: Sequence[Offer],
        age: Callable[[Quote], float],
    ) -> None:
        self._subject = subject
        self._asked = asked
        self._spells = spells
        self._offers = offers
        self._age = age
        self._pattern = Pattern(((one.begin, one.end) for one in spells), asked.until - asked.since)
        self._endpoints = {one.spec.name: one for one in subject.endpoints}
        cpus = {one.hardware for one in offers if one.accelerator == _CPU}
        self._was_on_cpu = any(one.endpoint in self._endpoints and one.hardware in cpus for one in offers)
        places = {(one.hardware, one.provider) for one in offers if one.endpoint is None}
        self._providers_of = Counter(hardware for hardware, _ in places)

    def explain(self, lines: Sequence[CostLine], sources: Sequence[MarketSource]) -> Explanation:
        paid = self._paid(lines)
        own = self._as_it_was(paid, lines)
        others = [self._row(offer) for offer in self._offers if not self._is_all_of_it(offer)]
        usable = [row for row in others if row.offer is not None and self._is_match(row.offer)]
        found, why_none = self._break_even(usable)
        compared = [Compared(name=row.name, amount=row.amount, is_own=row.offer is None) for row in (own, *usable)]
        subject = self._subject
        return Explanation(
            subject=subject.name,
            kind=subject.kind,
            models=subject.models,
            targets=subject.targets,
            asked=self._asked,
            paid=paid,
            rows=sorted((own, *others), key=_by_cost),
            break_even=found,
            why_none=why_none,
            recommendation=recommendation(subject.name, self._asked, compared, found),
            sources=sources,
        )

    def _is_match(self, offer: Offer) -> bool:
        """Whether it may be recommended: it can be had, and is no CPU in the place of something faster."""
        return offer.can_be_had and (offer.accelerator != _CPU or self._was_on_cpu)

    # How it was.

    def _paid(self, lines: Sequence[CostLine]) -> Paid:
        charged = [line.group[0] for line in lines if line.by_use]
        targets = dict.fromkeys([*(one.target for one in self._spells), *charged])
        parts = [self._rented(target, lines) for target in targets]
        known = [part for part in parts if part is not None]
        return Paid(
            cold_start=sum((line.cold_start for line in lines), Decimal(0)),
            serving=sum((line.serving for line in lines), Decimal(0)),
            idle=sum((line.idle for line in lines), Decimal(0)),
            rented=sum(known, Decimal(0)) if len(known) == len(parts) else None,
        )

    def _rented(self, target: str, lines: Sequence[CostLine]) -> Decimal | None:
        """What the ledger has charged for its use; None where that was not priced. An endpoint is paid by the hour.

        Nothing is charged by what is free, and by what had no price when it was asked: only of the former it is known.
        """
        charged = sum((line.by_use for line in lines if line.group[0] == target), Decimal(0))
        if charged or target in self._endpoints:
            return charged
        offer = next((one for one in self._offers if one.kind is OfferKind.SERVERLESS and _name(one) == target), None)
        if offer is None:
            return None
        asked = _asked([one for one in self._spells if one.target == target], self._asked.since, self._asked.until)
        return Decimal(0) if by_use(asked, offer.quotes, task=offer.task, is_free=offer.is_free).dollars == 0 else None

    def _as_it_was(self, paid: Paid, lines: Sequence[CostLine]) -> Row:
        seconds, unpriced = (sum((getattr(one, what) for one in lines), Decimal(0)) for what in ("seconds", "unpriced"))
        offers = [one for one in self._offers if one.endpoint in self._subject.targets]
        quotes = tuple(quote for one in offers for quote in one.quotes)
        amount = Amount(paid.total, Basis.LEDGER)
        if seconds and unpriced >= seconds:
            amount = Amount(None, Basis.UNKNOWN, "no price was known for the time awake")
        elif unpriced:
            amount = Amount(paid.total, Basis.AT_LEAST, f"for {unpriced / 3600:.2f} h awake no price was known")
        elif paid.rented is None:
            amount = Amount(None, Basis.UNKNOWN, "what was paid by use is not known")
        return Row(
            name=AS_IT_WAS,
            amount=amount,
            hours=float(seconds) / 3600 if seconds else None,
            quotes=self._aged(quotes),
            others=self._aged(quote for one in offers for quote in one.others),
        )

    # How it would have been.

    def _is_all_of_it(self, offer: Offer) -> bool:
        """Whether this is how it was: all requests went there."""
        return self._subject.targets == [offer.endpoint]

    def _row(self, offer: Offer) -> Row:
        amount, hours = self._of_hardware(offer) if offer.kind is OfferKind.HARDWARE else (self._of_use(offer), None)
        if not self._asked.requests:
            amount, hours = Amount(None, Basis.UNKNOWN, amount.why or "nothing was asked"), None
        if not offer.can_be_had:
            amount = _noted(amount, f"not to be had now, its status is {offer.status}")
        return Row(
            name=self._title(offer),
            amount=amount,
            offer=offer,
            hours=hours,
            quotes=self._aged(offer.quotes),
            others=self._aged(offer.others),
        )

    def _title(self, offer: Offer) -> str:
        """Who has it, with the provider where several have such hardware, and the model where several are compared."""
        name = _name(offer)
        if offer.endpoint is None and offer.hardware is not None and self._providers_of[offer.hardware] > 1:
            name = f"{name} ({offer.provider})"
        alone = offer.endpoint is not None or len(self._subject.models) < 2
        return name if alone else f"{name} {offer.model}"

    def _of_use(self, offer: Offer) -> Amount:
        return by_use(self._asked, offer.quotes, task=offer.task, is_free=offer.is_free)

    def _of_hardware(self, offer: Offer) -> tuple[Amount, float | None]:
        if offer.fit is not None and offer.fit.fits is False:
            return Amount(None, Basis.UNKNOWN, f"does not fit: {offer.fit.formula}"), None
        terms = self._terms(offer)
        if terms is None:
            return Amount(None, Basis.UNKNOWN, "no price known"), None
        amount = _noted(by_the_hour(self._pattern, terms), *self._assumed(offer, terms))
        if offer.fit is not None and offer.fit.fits is None:
            amount = _noted(amount, "whether it fits is not known")
        return amount, self._pattern.awake(terms.idle_timeout, terms.start or 0.0) / 3600

    def _assumed(self, offer: Offer, terms: Terms) -> Iterator[str]:
        """What is taken for true of hardware that answered none of the requests."""
        if offer.endpoint in self._endpoints:
            return
        start = "its start and " if terms.start is not None and not offer.cold_start else ""
        like = self._like(offer) or "what answered"
        yield f"{start}its speed {'are' if start else 'is'} taken to be {'those' if start else 'that'} of {like}"
        if not self._is_match(offer) and offer.can_be_had:
            yield "a CPU is hardly as fast, and not recommended for that"
        if terms.replicas > 1:
            yield f"for {terms.replicas} replicas"

    def _like(self, offer: Offer) -> str:
        """The endpoint whose terms are taken for hardware that has none of its own."""
        return offer.endpoint if offer.endpoint in self._endpoints else next(iter(self._endpoints), "")

    def _terms(self, offer: Offer) -> Terms | None:
        """On which it would run: as the endpoint that is compared does, with as many replicas."""
        quote = offer.quote(Unit.REPLICA_HOUR)
        if quote is None:
            return None
        like = self._endpoints.get(self._like(offer))
        policy = like.spec.policy if like is not None else Policy()
        return Terms(
            per_hour=quote.amount * (like.spec.replicas if like is not None else 1),
            replicas=like.spec.replicas if like is not None else 1,
            idle_timeout=None if policy.keep_warm else policy.idle_timeout,
            start=offer.cold_start or (like.expected_start if like is not None else None),
        )

    def _break_even(self, rows: Sequence[Row]) -> tuple[BreakEven | None, str]:
        """Between the hardware that is used, else the cheapest, and the cheapest that is paid by use."""
        if not self._asked.requests:
            return None, "nothing was asked"
        rented = _cheapest(rows, OfferKind.SERVERLESS)
        if rented is None or rented.amount.dollars is None:
            return None, "of no offer by the token is it known what the requests would have cost"
        hardware = self._hardware(rows)
        terms = self._terms(hardware) if hardware is not None else None
        if hardware is None or terms is None:
            return None, "there is no hardware with a price to compare with"
        found = break_even(
            self._pattern,
            self._asked,
            terms,
            rent=rented.amount.dollars,
            hardware=self._title(hardware),
            rented=rented.name,
        )
        return found, ""

    def _hardware(self, rows: Sequence[Row]) -> Offer | None:
        mine = (one for one in self._offers if one.endpoint in self._endpoints and one.quote(Unit.REPLICA_HOUR))
        cheapest = _cheapest(rows, OfferKind.HARDWARE)
        return next(mine, cheapest.offer if cheapest is not None else None)

    def _aged(self, quotes: Iterable[Quote]) -> tuple[tuple[Quote, float], ...]:
        return tuple((quote, self._age(quote)) for quote in quotes)


def _name(offer: Offer) -> str:
    return offer.endpoint or offer.hardware or offer.provider


def _noted(amount: Amount, *notes: str) -> Amount:
    """An amount of which more is to be said."""
    return replace(amount, why="; ".join(filter(None, (amount.why, *notes))))


def _by_cost(row: Row) -> tuple[bool, bool, Decimal, str]:
    amount = row.amount.dollars
    usable = row.offer is None or row.offer.can_be_had
    return amount is None, not usable, amount or Decimal(0), row.name


def _cheapest(rows: Sequence[Row], kind: OfferKind) -> Row | None:
    found = (one for one in rows if one.offer is not None and one.offer.kind is kind and one.amount.dollars is not None)
    return min(found, key=_by_cost, default=None)
