"""`providers.<name>.options` for a provider of type huggingface."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from lamplighter.domain.secret import Secret
from lamplighter.errors import InvalidInput, TokenMissing
from lamplighter.hf import hosts, token
from lamplighter.hf.pace import Pace
from lamplighter.hf.rules import near
from lamplighter.secrets.places import PLACES, Place, parse_place
from lamplighter.secrets.problems import SecretError
from lamplighter.secrets.sources import Secrets
from lamplighter.secrets.token_source import token_place

SOONEST_LOOK = 5.0
"""More often than this nobody is asked about an endpoint that is quiet (seconds)."""

_PACE = Pace(deadline=20.0)
"""Shorter than the time that a controller gives a verb, so that it hears why, and not only that nothing came."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What stands there.

    `token` is a place, such as `env:NAME` or `vault:PATH#FIELD`; None for the usual one (hf/token.py).

    `namespace` is where endpoints are that do not say; None for the token owner's own. `base_url` and `hub_url` replace
    Hugging Face's addresses; to such a server no token goes that is not named by `token`. `look_every` is in seconds.
    """

    namespace: str | None = None
    token: str | None = None
    base_url: str | None = None
    hub_url: str | None = None
    look_every: float = 30.0
    retry: Pace = field(default=_PACE)

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Options:
        """Read what the configuration says. Raises InvalidInput whose `field` is the key (`retry.attempts`)."""
        known = [item.name for item in fields(cls)]
        for key in values:
            if key not in known:
                raise InvalidInput(f"{key}: unknown key; {near(str(key), known)}", field=str(key))
        given = {key: _READERS[key](key, value) for key, value in values.items() if value is not None}
        return cls(**given)

    def find_hosts(self) -> hosts.Hosts:
        """Where to ask. Raises InvalidInput."""
        return hosts.find_hosts(self.base_url, self.hub_url)

    def token_place(self, environ: Mapping[str, str] | None = None) -> Place | None:
        """Where the token is, if that is said. Raises TokenMissing."""
        if self.token is not None:
            return parse_place(self.token)
        return token_place(environ) if self.find_hosts().is_cloud else None

    def find_token(self, secrets: Secrets | None = None) -> Callable[[], Secret | None]:
        """How the token is found; it is looked for at each call, so that a renewed one counts.

        `secrets` are the configuration's: what is slow to read they remember until the next reload. The function raises
        TokenMissing, TokenWrong; None is for a server that may want none.
        """
        mine = secrets or Secrets()
        place = self.token_place(mine.environ)
        if place is not None:
            return lambda: _from_place(place, mine)
        return _usual_token if self.find_hosts().is_cloud else _no_token


def _no_token() -> None:
    return


def _usual_token() -> Secret:
    found = token.find_cloud_token()
    if found is None:
        raise token.cloud_token_missing()
    return found


def _from_place(place: Place, secrets: Secrets) -> Secret:
    try:
        found = secrets.current(place)
    except SecretError as error:
        raise TokenMissing(f"No Hugging Face token: its place is {error.message}.") from None
    return token.checked(found.reveal(), str(place))


def _text(key: str, value: object) -> str:
    if not isinstance(value, str) or not value.strip():
        raise InvalidInput(f"{key}: {_shown(value)} should be text", field=key)
    return value.strip()


def _place(key: str, value: object) -> str:
    try:
        place = parse_place(value) if isinstance(value, str) else None
    except ValueError as error:
        raise InvalidInput(f"{key}: {error}", field=key) from None
    if place is None:
        text = "is not a token's place. A token does not belong into this file: name where it is"
        raise InvalidInput(f"{key}: {text} ({PLACES})", field=key)
    return str(place)


def _address(key: str, value: object) -> str:
    return hosts.address(_text(key, value), key)


def _seconds(key: str, value: object, *, least: float = 0.0) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value < 86400:
        raise InvalidInput(f"{key}: {_shown(value)} should be a number of seconds, at least {least:g}", field=key)
    return float(value)


def _look_every(key: str, value: object) -> float:
    return _seconds(key, value, least=SOONEST_LOOK)


def _attempts(key: str, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 100:
        raise InvalidInput(f"{key}: {_shown(value)} should be a whole number from 1 to 100", field=key)
    return value


def _retry(key: str, value: object) -> Pace:
    if not isinstance(value, Mapping):
        raise InvalidInput(f"{key}: {_shown(value)} should be a mapping of keys to values", field=key)
    for name in value:
        if name not in _RETRY:
            raise InvalidInput(f"{key}.{name}: unknown key; {near(str(name), list(_RETRY))}", field=f"{key}.{name}")
    given = {name: _RETRY[name](f"{key}.{name}", one) for name, one in value.items()}
    return Pace(**{"deadline": _PACE.deadline, **given})


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:59] + "…"


_RETRY: Mapping[str, Callable[[str, object], Any]] = {
    "attempts": _attempts,
    "base": _seconds,
    "cap": _seconds,
    "deadline": _seconds,
}
_READERS: Mapping[str, Callable[[str, object], Any]] = {
    "namespace": _text,
    "token": _place,
    "base_url": _address,
    "hub_url": _address,
    "look_every": _look_every,
    "retry": _retry,
}
