"""Where the parts of the API lie, and which of them may see the token."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

from lamplighter.domain.loopback import is_loopback
from lamplighter.errors import InvalidInput

MANAGEMENT = "https://api.endpoints.huggingface.cloud"
HUB = "https://huggingface.co"
CATALOG = "https://endpoints.huggingface.co"
ROUTER = "https://router.huggingface.co"
"""Passes requests on to those who serve models by the token (huggingface.co/docs/inference-providers)."""
DATA_PLANE = ".endpoints.huggingface.cloud"

CLOUD_URL = "LAMPLIGHTER_CLOUD_URL"
"""Replaces all hosts of Hugging Face: a stand-in, or a proxy."""

_DEFAULT_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True, kw_only=True)
class Hosts:
    """Base addresses without a slash at the end. `is_cloud` tells Hugging Face (or its stand-in) from a Lamplighter.

    `router` is where models are called that others serve; empty at a Lamplighter.
    """

    management: str
    hub: str
    catalog: str
    is_cloud: bool
    router: str = ""

    @property
    def name(self) -> str:
        """Who answers, for people."""
        return host_of(self.management)

    def may_see_token(self, url: str) -> bool:
        """Whether a request to `url` may carry the token: only these hosts, and the data plane that goes with them.

        A data plane over plain HTTP is trusted where it is the management's own origin or on this machine beside it.
        """
        try:
            parts = urlsplit(url)
            mine = _origin(parts)
        except ValueError:
            return False
        if parts.username or parts.password or parts.scheme not in _DEFAULT_PORTS:
            return False
        known = [urlsplit(base) for base in (self.management, self.hub, self.catalog, self.router) if base]
        if any(mine == _origin(base) for base in known):
            return True
        if known[0].hostname == parts.hostname and parts.scheme == known[0].scheme:
            return True
        host = (parts.hostname or "").rstrip(".")
        if is_loopback(host) and is_loopback(known[0].hostname or ""):
            return True
        return self.is_cloud and parts.scheme == "https" and host.endswith(DATA_PLANE)


def find_hosts(base: str | None, hub: str | None, environ: Mapping[str, str] | None = None) -> Hosts:
    """Tell where to ask: `base`, else LAMPLIGHTER_CLOUD_URL, else Hugging Face. Raises InvalidInput, naming the field.

    `base` may end in `/v2`. `HF_ENDPOINT` moves the hub alone.
    """
    env = os.environ if environ is None else environ
    if base is not None:
        return _given(address(base, "base").removesuffix("/v2"), hub, env)
    if stand_in := env.get(CLOUD_URL, "").strip():
        one = address(stand_in, CLOUD_URL).removesuffix("/v2")
        return Hosts(management=one, hub=address(hub, "hub") if hub else one, catalog=one, is_cloud=True, router=one)
    return _given(MANAGEMENT, hub, env)


def _given(management: str, hub: str | None, environ: Mapping[str, str]) -> Hosts:
    if not is_hugging_face(management):
        own = address(hub, "hub") if hub else management
        return Hosts(management=management, hub=own, catalog=management, is_cloud=False)
    moved = environ.get("HF_ENDPOINT", "").strip()
    own = address(hub, "hub") if hub else address(moved, "HF_ENDPOINT") if moved else HUB
    return Hosts(management=management, hub=own, catalog=CATALOG, is_cloud=True, router=ROUTER)


def is_hugging_face(url: str) -> bool:
    """Whether an address is Hugging Face's own."""
    host = (urlsplit(url).hostname or "").rstrip(".")
    return any(host == domain or host.endswith("." + domain) for domain in ("huggingface.cloud", "huggingface.co"))


def address(url: str, field: str) -> str:
    """Complete and check a base address. Raises InvalidInput."""
    whole = url.strip() if "://" in url else f"http://{url.strip()}"
    if not is_usable(whole):
        raise InvalidInput(f"{field}: {_without_login(url)!r} is no address; one looks like {MANAGEMENT}", field=field)
    parts = urlsplit(whole)
    if parts.username or parts.password:
        raise InvalidInput(f"{field}: a token has no place in an address", field=field)
    if parts.query or parts.fragment:
        raise InvalidInput(f"{field}: {url!r} is more than an address: leave out what follows ? or #", field=field)
    return whole.rstrip("/")


def is_usable(url: str) -> bool:
    """Whether something can be asked at an address at all."""
    try:
        parts = urlsplit(url)
        there = parts.scheme in _DEFAULT_PORTS and parts.hostname and parts.port != 0
    except ValueError:
        return False
    return bool(there) and not any(character.isspace() for character in url)


def host_of(url: str) -> str:
    """The host of an address and its port; of what is no address, the beginning."""
    try:
        netloc = urlsplit(url).netloc
    except ValueError:
        netloc = ""
    return netloc.rpartition("@")[2] or _without_login(url)[:100]


def _without_login(url: str) -> str:
    """An address for a message: a token that was put into it is not shown."""
    before, at, rest = url.rpartition("@")
    return f"{before.partition('://')[0]}://…@{rest}" if at and "://" in before else f"…@{rest}" if at else url


def same_origin(one: str, other: str) -> bool:
    """Whether two addresses have scheme, host and port in common."""
    try:
        return _origin(urlsplit(one)) == _origin(urlsplit(other))
    except ValueError:
        return False


def _origin(parts: SplitResult) -> tuple[str, str | None, int | None]:
    return parts.scheme, parts.hostname, parts.port or _DEFAULT_PORTS.get(parts.scheme)
