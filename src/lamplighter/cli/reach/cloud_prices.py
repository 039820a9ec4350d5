"""What of the prices that Hugging Face tells of its hardware can be believed, where no server has judged them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from lamplighter.domain.hardware import Hardware
from lamplighter.domain.prices import Listing, Refusal, judged, told_of_hardware
from lamplighter.hf.snapshot import published_price

SOURCE = "huggingface"


def judged_prices(found: Sequence[Hardware], at: float) -> tuple[list[Listing], list[Refusal]]:
    """The good prices, and those that are not believed; measured by the published ones. `at` is Unix time."""
    good, refused = list[Listing](), list[Refusal]()
    for one in found:
        if (told := told_of_hardware(one)) is None:
            continue
        known = published_price(one.vendor, one.instance_type, one.instance_size)
        outcome = judged(told, SOURCE, at, known.quote.amount if known is not None else None)
        if isinstance(outcome, Listing):
            good.append(outcome)
        else:
            refused.append(outcome)
    return good, refused


def with_judged_prices(found: Sequence[Hardware], at: float) -> tuple[list[Hardware], list[Refusal]]:
    """The same hardware, each with its price for an hour in $; without one where that is not believed."""
    good, refused = judged_prices(found, at)
    amounts = {(one.provider, one.quote.subject): float(one.quote.amount) for one in good}
    priced = [
        replace(one, price_per_hour=amounts.get((told.provider, told.subject)) if told is not None else None)
        for one, told in ((one, told_of_hardware(one)) for one in found)
    ]
    return priced, refused
