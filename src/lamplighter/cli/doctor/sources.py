"""Whether the secrets can be read that the configuration names, and whether what keeps them is in order."""

from __future__ import annotations

from collections.abc import Iterator

from lamplighter.cli.doctor.findings import Finding, bad, good, note
from lamplighter.cli.show.words import count
from lamplighter.config import named_places
from lamplighter.errors import ConfigError, TokenMissing
from lamplighter.secrets.places import Place, VaultPlace
from lamplighter.secrets.problems import SecretError
from lamplighter.secrets.sources import Secrets, exposure
from lamplighter.secrets.token_source import token_place

_ADVICE = "`lamplighter secrets test` tells of each place by itself"


def examine(secrets: Secrets | None = None) -> Iterator[Finding]:
    """Read every place once, and show none."""
    here = secrets or Secrets()
    yield from _store(here)
    places: set[Place] = set()
    try:
        places.update(named_places(environ=here.environ).values())
        if (named := token_place(here.environ)) is not None:
            places.add(named)
    except ConfigError:
        return  # told as what is wrong with the configuration
    except TokenMissing as error:
        yield bad("secrets", error.message, of_token=True)
    here.begin()
    for place in sorted(places, key=str):
        yield _read(here, place)
    address = here.environ.get("VAULT_ADDR", "")
    if address.startswith("http:") and any(isinstance(place, VaultPlace) for place in places):
        yield note("secrets", f"the Vault at {address} is asked without encryption", "use https, but on this machine")


def _store(here: Secrets) -> Iterator[Finding]:
    try:
        entries = here.store.entries()
    except SecretError as error:
        yield bad("secrets", error.message, "put a copy of the file back")
        return
    if entries:
        yield good("secrets", f"{here.store.path} holds {count(len(entries), 'secret')}")


def _read(here: Secrets, place: Place) -> Finding:
    try:
        here.read(place)
    except SecretError as error:
        return bad("secrets", error.message, _ADVICE)
    if (others := exposure(place)) is not None:
        return note("secrets", f"{place} can be read, and {others}", "chmod 600 keeps others out")
    return good("secrets", f"{place} can be read, from {here.title(place)}")
