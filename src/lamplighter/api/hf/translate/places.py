"""Where a document wants to be, among what there is."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from lamplighter.control.demand import Offer
from lamplighter.domain.hardware import Hardware
from lamplighter.errors import InvalidInput

_MOST_SHOWN = 8


_STEPS = (
    ("provider", "vendor"),
    ("provider", "region"),
    ("compute", "accelerator"),
    ("compute", "instanceType"),
    ("compute", "instanceSize"),
)


def find_offer(document: Mapping[str, Any], offers: Sequence[Offer]) -> Offer:
    """What the document asks for. Raises InvalidInput naming the first field that nothing fits, and what would."""
    left = list(offers)
    for section, key in _STEPS:
        wanted = (document.get(section) or {}).get(key)
        fitting = [offer for offer in left if _has(offer.hardware, key) == wanted]
        if not fitting:
            known = {_has(offer.hardware, key) for offer in left}
            raise InvalidInput(_nothing_fits(f"{section}.{key}", wanted, known, left), field=f"{section}.{key}")
        left = fitting
    return left[0]


def _has(hardware: Hardware, key: str) -> str:
    return {
        "vendor": hardware.vendor,
        "region": hardware.region,
        "accelerator": hardware.accelerator,
        "instanceType": hardware.instance_type,
        "instanceSize": hardware.instance_size,
    }[key]


def _nothing_fits(field: str, wanted: Any, known: Iterable[str], left: Sequence[Offer]) -> str:
    if not left:
        return f"{field}: nothing can be deployed on at this server now."
    names = sorted(known)
    near = difflib.get_close_matches(str(wanted)[:80], names, n=3, cutoff=0.5)
    hint = f" Did you mean {' or '.join(repr(name) for name in near)}?" if near else ""
    shown = ", ".join(repr(name) for name in names[:_MOST_SHOWN]) + (", …" if len(names) > _MOST_SHOWN else "")
    what = repr(wanted)[:100] if wanted is not None else "nothing"
    return f"{field}: {what} is not there.{hint} There is {shown}."
