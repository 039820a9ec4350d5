"""API keys: who calls, what they may do, and how much of it. Pure; moments are Unix time, durations seconds."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field


class Role(enum.StrEnum):
    """What a key may do; each of them may do what those before it may.

    `infer`: call models. `operate`: wake, sleep, pause, resume, hold leases, and look at everything. `admin`: make,
    change and delete endpoints and keys, read the audit log.
    """

    INFER = "infer"
    OPERATE = "operate"
    ADMIN = "admin"

    def covers(self, needed: Role) -> bool:
        """Whether this role may do what `needed` may."""
        order = list(Role)
        return order.index(self) >= order.index(needed)


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyLimits:
    """How much a key may use: requests and tokens (in and out) a minute, requests at once. None: without a bound."""

    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    concurrent: int | None = None

    @property
    def any(self) -> bool:
        """Whether there is any bound."""
        return self.requests_per_minute is not None or self.tokens_per_minute is not None or self.concurrent is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey:
    """A key as it is known here: never the key itself, but the SHA-256 `digest` (hex) of it.

    `id` is short and shown, `name` is a person's word for it and unique among the keys that count. `routes` are the
    models (endpoints, routes, aliases resolved to their names, models elsewhere) that it may call; empty: all that are
    here, and with the role `operate` those elsewhere, too. `may_wake` says whether
    its requests wake a sleeping endpoint. A higher `priority` is let through first where requests wait. `tags` say
    whom its use is charged to.
    """

    id: str
    name: str
    digest: str = field(default="", repr=False)
    role: Role = Role.INFER
    routes: frozenset[str] = frozenset()
    may_wake: bool = True
    priority: int = 0
    limits: KeyLimits = KeyLimits()
    tags: Mapping[str, str] = field(default_factory=dict)
    created_at: float = 0.0
    created_by: str = ""
    expires_at: float | None = None
    revoked_at: float | None = None

    @property
    def actor(self) -> str:
        """Under which name it stands on record."""
        return f"key:{self.name}"

    def counts(self, now: float) -> bool:
        """Whether it opens anything at this moment."""
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)

    def may_call(self, name: str) -> bool:
        """Whether it may call this model."""
        return not self.routes or name in self.routes

    def may_see(self, name: str) -> bool:
        """Whether it is told of an endpoint, route or upstream of this server: who operates it is told of all."""
        return self.may_call(name) or self.role.covers(Role.OPERATE)

    def may_call_elsewhere(self, name: str) -> bool:
        """Whether it may call this model at a marketplace, which the account behind this server's token pays for.

        That is somebody's decision: the model's name among its routes, or the role to operate this server.
        """
        if not self.routes:
            return self.role.covers(Role.OPERATE)
        return "/" in name and name in self.routes  # without a slash it is the name of something here


def by_name(keys: Iterable[ApiKey], now: float) -> dict[str, ApiKey]:
    """Keys by their names. A name may have been given anew: that which counts now goes before those that do not."""
    return {key.name: key for key in sorted(keys, key=lambda key: (key.counts(now), key.created_at))}


ANYBODY = ApiKey(id="anybody", name="anybody", role=Role.ADMIN)
"""Who calls a server that has no keys at all."""

PASSER_BY = ApiKey(id="public", name="public", role=Role.INFER)
"""Who calls a public endpoint without a key."""
