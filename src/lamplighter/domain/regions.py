"""Which part of the world a provider's region is in, and whose rules for data hold there. Pure.

Clouds name regions in their own ways: `us-east-1` and `eu-central-1` (AWS), `us-east4` and `europe-west4` (Google),
`eastus` and `westeurope` (Azure). What is not known for certain gets no tag.
"""

from __future__ import annotations

import re

REGIONS = ("us", "ca", "sa", "eu", "uk", "ch", "me", "il", "af", "ap", "local")
"""The words that `region=` takes. `eu` is the European Economic Area, Norway included; `ap` is Asia and the Pacific."""

GDPR = "gdpr"
"""The tag of places in the European Economic Area. It says where a machine stands, not what a contract promises."""

_EXCEPTIONS = {
    "eu-west-2": "uk",  # London and Zurich: AWS and Google count them to Europe, the Union does not
    "eu-central-2": "ch",
    "europe-west2": "uk",
    "europe-west6": "ch",
    "ca-west-1": "ca",
    "il-central-1": "il",
    "me-west1": "il",
    "mx-central-1": "sa",
    "northamerica-south1": "sa",
}
_BEGINNINGS = (
    (r"us-(gov-)?(east|west|central|south|iso)", "us"),
    (r"ca-|northamerica-northeast", "ca"),
    (r"sa-|southamerica-", "sa"),
    (r"eu-|europe-", "eu"),
    (r"me-", "me"),
    (r"af-|africa-", "af"),
    (r"ap-|asia-|asia(east|south)|australia-", "ap"),
)
_AZURE = (
    (r"(east|west|central|northcentral|southcentral|westcentral)us\d?(euap|stage)?", "us"),
    (r"canada(central|east)", "ca"),
    (r"(brazil|mexico|chile)\w+", "sa"),
    (r"uk(south|west)", "uk"),
    (r"switzerland\w+", "ch"),
    (r"(west|north)europe|(france|germany|italy|norway|poland|spain|sweden|austria|belgium|denmark)\w+", "eu"),
    (r"(uae|qatar)\w+", "me"),
    (r"israel\w+", "il"),
    (r"southafrica\w+", "af"),
    (
        r"\w*asia|\w*india\w*|(australia|japan|korea|indonesia|malaysia|taiwan)\w+",
        "ap",
    ),
)


def region_word(region: str) -> str | None:
    """The part of the world of a provider's region, one of `REGIONS`; None where it can't be told."""
    name = region.strip().lower()
    if name in REGIONS:
        return name
    if name in _EXCEPTIONS:
        return _EXCEPTIONS[name]
    for pattern, word in _BEGINNINGS:
        if re.match(pattern, name):
            return word
    for pattern, word in _AZURE:
        if re.fullmatch(pattern, name):
            return word
    return None


def region_tags(region: str) -> tuple[str, ...]:
    """`region=…` for a region that is known, and `gdpr` in the European Economic Area."""
    word = region_word(region)
    if word is None:
        return ()
    return (f"region={word}", GDPR) if word == "eu" else (f"region={word}",)
