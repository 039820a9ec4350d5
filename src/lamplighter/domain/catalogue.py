"""What is known of prices now, and what of that counts for an endpoint. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any, NamedTuple

from lamplighter.domain.endpoint import Endpoint, Spec
from lamplighter.domain.money import Quote, Unit
from lamplighter.domain.prices import (
    CONFIGURATION,
    Kind,
    Listing,
    Rank,
    Tariff,
    counting,
    hardware_subject,
    rank,
    scaled,
)

Key = tuple[str, str, str, str]
Thing = tuple[str, str, str]


class Place(NamedTuple):
    """What an endpoint runs on."""

    vendor: str
    region: str
    instance_type: str
    instance_size: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A listing among the others of the same thing.

    `counts`: it is the one that is believed. `others` are what other sources say. `confirmed_at` is when it was last
    told (Unix time).
    """

    listing: Listing
    counts: bool
    others: Sequence[Listing]
    confirmed_at: float

    @property
    def disagrees(self) -> bool:
        """Whether another source names another amount."""
        return any(one.quote.amount != self.listing.quote.amount for one in self.others)


class Catalogue:
    """One listing for each thing and source: the last good one, and when it was last told."""

    def __init__(self) -> None:
        self._lines: dict[Key, Listing] = {}
        self._confirmed: dict[Key, float] = {}
        self._paid: dict[Key, Decimal] = {}
        self._by_thing: defaultdict[Thing, dict[Key, Listing]] = defaultdict(dict)
        self._entries: Sequence[Entry] | None = None

    def __len__(self) -> int:
        return len(self._lines)

    def put(self, listing: Listing, at: float) -> bool:
        """Take a good listing that was told at `at`; tells whether it says anything new."""
        self._entries = None
        key, before = listing.key, self._lines.get(listing.key)
        self._confirmed[key] = max(at, self._confirmed.get(key, at))
        if listing.quote.amount > 0:
            self._paid[key] = listing.quote.amount
        if before is not None and _alike(before, listing):
            return False
        if before is not None:
            self._by_thing[before.thing].pop(key, None)
        self._lines[key] = listing
        self._by_thing[listing.thing][key] = listing
        return True

    def drop(self, key: Key) -> Listing | None:
        """Forget a listing."""
        self._entries = None
        listing = self._lines.pop(key, None)
        if listing is not None:
            self._confirmed.pop(key, None)
            self._by_thing[listing.thing].pop(key, None)
        return listing

    def last_good(self, kind: Kind, subject: str, unit: Unit, source: str, region: str) -> Decimal | None:
        """The last price of it that was not zero: by this source, else by one that has a price for all regions."""
        found = self._paid.get((kind.value, subject, unit.value, source))
        if found is not None or not region:
            return found
        anywhere = subject.replace(f"-{region}-", "-", 1)
        others = self._by_thing.get((kind.value, anywhere, unit.value), {})
        return next((one.quote.amount for one in others.values() if not one.quote.region), None)

    def of_source(self, source: str) -> list[Listing]:
        """All that a source says."""
        return [one for one in self._lines.values() if one.quote.source == source]

    def unconfirmed(self, source: str, before: float) -> list[Listing]:
        """What a source said once, and has not said again since `before`."""
        return [one for one in self.of_source(source) if self._confirmed[one.key] < before]

    def about(self, kind: Kind, subject: str, unit: Unit, region: str = "") -> list[Listing]:
        """What is said of a thing there: of it by name, and of it in all regions."""
        anywhere = subject.replace(f"-{region}-", "-", 1) if region else subject
        found = self._by_thing.get((kind.value, anywhere, unit.value), {})
        return [one for one in found.values() if one.quote.region in {"", region}]

    def confirmed_at(self, key: Key) -> float:
        """When a listing was last told."""
        return self._confirmed[key]

    def all_entries(self) -> Sequence[Entry]:
        """The same as `entries`, sorted, and reckoned anew only after a change."""
        if self._entries is None:
            self._entries = tuple(sorted_entries(self.entries()))
        return self._entries

    def entries(self) -> Iterator[Entry]:
        """Every listing among the others of its kind."""
        for together in self._by_thing.values():
            for key, one in together.items():
                others = [other for other in together.values() if other is not one and _rivals(one, other)]
                yield Entry(
                    listing=one,
                    counts=counting((one, *others)) is one,
                    others=others,
                    confirmed_at=self._confirmed[key],
                )


def _alike(one: Listing, other: Listing) -> bool:
    same_quote = (one.quote.amount, one.quote.region) == (other.quote.amount, other.quote.region)
    return same_quote and (one.estimate, one.free, one.provider) == (other.estimate, other.free, other.provider)


def _rivals(one: Listing, other: Listing) -> bool:
    """Whether two listings of a thing speak of the same: hardware may cost more in one region than in another."""
    mine, its = one.quote, other.quote
    if one.kind is Kind.HARDWARE and rank(mine.source) is rank(its.source) is Rank.PROVIDER:
        return False  # two providers may call their hardware the same: each charges its own price
    return mine.source != its.source and (mine.region == its.region or not (mine.region and its.region))


# What an endpoint costs.


def place_of(endpoint: Endpoint) -> Place | None:
    """What an endpoint runs on, by what its provider shows of it, else by what it was made from; None: not known."""
    deployment = endpoint.spec.deployment
    for document in (endpoint.document, deployment.document if deployment else None):
        if document is not None and (place := _place(document)) is not None:
            return place
    return None


def _place(document: Mapping[str, Any]) -> Place | None:
    where, on = document.get("provider"), document.get("compute")
    if not isinstance(where, Mapping) or not isinstance(on, Mapping):
        return None
    found = (where.get("vendor"), where.get("region"), on.get("instanceType"), on.get("instanceSize"))
    return Place(*found) if all(isinstance(part, str) and part for part in found) else None  # type: ignore[arg-type]


def candidates(endpoint: Endpoint, source: str, tariff: Tariff, known: Catalogue) -> Iterator[Listing]:
    """What is said of a replica's hour of an endpoint. `source` is its provider's feed."""
    spec = endpoint.spec
    yield from _configured(spec, tariff)
    place = place_of(endpoint)
    if place is None:
        return
    published = spec.provider in tariff.published
    for one in known.about(Kind.HARDWARE, hardware_subject(*place), Unit.REPLICA_HOUR, place.region):
        if one.quote.source == source or (published and rank(one.quote.source) is Rank.SNAPSHOT):
            yield _as_endpoint(spec, one.quote, one.quote.amount, estimate=one.estimate)


def _configured(spec: Spec, tariff: Tariff) -> Iterator[Listing]:
    said = Quote(subject=spec.name, unit=Unit.REPLICA_HOUR, amount=Decimal(0), source=CONFIGURATION, at=0.0)
    if (whole := tariff.endpoints.get(spec.name)) is not None:
        yield _as_endpoint(spec, said, scaled(whole / spec.replicas, 1), estimate=False)
    elif (rate := tariff.rates.get(spec.provider)) is not None:
        accelerators = spec.resources.get("gpu") or spec.resources.get("cpu") or 1
        yield _as_endpoint(spec, said, scaled(rate.amount, accelerators), estimate=rate.estimate)


def _as_endpoint(spec: Spec, quote: Quote, amount: Decimal, *, estimate: bool) -> Listing:
    own = replace(quote, subject=spec.name, amount=amount)
    return Listing(kind=Kind.ENDPOINT, provider=spec.provider, quote=own, estimate=estimate)


def sorted_entries(entries: Iterable[Entry]) -> list[Entry]:
    """In the order in which they are shown and paged."""
    return sorted(entries, key=lambda one: one.listing.key)
