"""LAMPLIGHTER_TOKEN_SOURCE: where the Hugging Face token is, before anywhere else that one may be.

Who names a source means it: when that can't be read, no other token takes its place unseen.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from lamplighter.domain.secret import Secret
from lamplighter.errors import TokenMissing
from lamplighter.secrets.places import PLACES, Place, parse_place
from lamplighter.secrets.problems import SecretError
from lamplighter.secrets.sources import Secrets, usual_secrets

VARIABLE = "LAMPLIGHTER_TOKEN_SOURCE"
_REMEMBERED = 300.0
"""How long a process without a configuration goes on with a token before it reads it again (seconds)."""


def token_place(environ: Mapping[str, str] | None = None) -> Place | None:
    """What the variable names; None where it is not set. Raises TokenMissing where that is no place."""
    text = (os.environ if environ is None else environ).get(VARIABLE, "").strip()
    if not text:
        return None
    try:
        place = parse_place(text)
    except ValueError as error:
        raise TokenMissing(f"{VARIABLE} {error}.") from None
    if place is None:
        raise TokenMissing(f"{VARIABLE} should name where the token is, not hold it: {PLACES}.")
    return place


def read_named(environ: Mapping[str, str] | None = None, secrets: Secrets | None = None) -> Secret | None:
    """The token at the place that is named; None where none is. `secrets` are those that a configuration is read with.

    Raises TokenMissing.
    """
    place = token_place(environ)
    if place is None:
        return None
    try:
        if secrets is not None:
            return secrets.read(place)
        mine = usual_secrets() if environ is None else Secrets(environ)
        return mine.current(place, max_age=_REMEMBERED)
    except SecretError as error:
        raise TokenMissing(f"{VARIABLE} names {error.message}.") from None
