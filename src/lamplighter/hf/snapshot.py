"""Prices of hardware that Hugging Face has published, as they were on one day: for a first run, and for bad days."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import cache
from importlib import resources

from lamplighter.domain.money import Quote, Unit
from lamplighter.domain.prices import SNAPSHOT, Kind, Listing, exact, hardware_subject

_FILE = "hardware_prices.toml"


@cache
def published() -> Sequence[Listing]:
    """The prices of all hardware, each without a region: the page tells one for all regions of a vendor."""
    text = resources.files("lamplighter.hf").joinpath(_FILE).read_text("utf-8")
    told = tomllib.loads(text, parse_float=str)
    day = told["as_of"]
    at = datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()
    listings = []
    for vendor, types in told["prices"].items():
        for instance_type, sizes in types.items():
            for size, price in sizes.items():
                amount = exact(price)
                assert amount is not None
                quote = Quote(
                    subject=hardware_subject(vendor, "", instance_type, size),
                    unit=Unit.REPLICA_HOUR,
                    amount=amount,
                    source=f"{SNAPSHOT} {day.isoformat()}",
                    at=at,
                )
                listings.append(Listing(kind=Kind.HARDWARE, provider=vendor, quote=quote, estimate=True))
    return tuple(listings)


def published_price(vendor: str, instance_type: str, instance_size: str) -> Listing | None:
    """The published price of hardware, wherever it stands; None where there is none."""
    subject = hardware_subject(vendor, "", instance_type, instance_size)
    return next((one for one in published() if one.quote.subject == subject), None)
