"""What is running now: since when, for whom, and what it costs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lamplighter.cli.guard.sessions import Sessions
from lamplighter.cli.show.facts import is_billed, last_used, moment, price
from lamplighter.cli.show.portrayal import held_by, lease_holders
from lamplighter.domain.endpoint import Phase
from lamplighter.domain.hardware import Hardware
from lamplighter.domain.prices import SNAPSHOT
from lamplighter.errors import LamplighterError
from lamplighter.hf.reading import text
from lamplighter.hf.records import Endpoint
from lamplighter.hf.snapshot import published_price
from lamplighter.sdk.status import number, own_words

if TYPE_CHECKING:
    from lamplighter.sdk.client import AsyncClient

Prices = Mapping[tuple[str | None, ...], float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """An endpoint that is billed. Moments are Unix time, prices USD per hour for all its replicas; None: not told.

    `price_source` is who told the price; a `snapshot` is what was published on a day, and an estimate.
    `since` is since when it is known to have been up, or on its way up, without a break; `unknown` says why that is
    not known. `changed` is when somebody last changed what it is to be, which says nothing of when it was started.
    `holders` are leases and sessions, `at_work` counts requests in flight and waiting, where that is known.
    """

    endpoint: Endpoint
    price_per_hour: float | None
    price_source: str | None
    since: float | None
    last_used: float | None
    changed: float | None = None
    unknown: str | None = None
    holders: tuple[str, ...] = ()
    at_work: int = 0

    @property
    def is_estimate(self) -> bool:
        """Whether the price is one that was published on a day, and not told by whoever is paid."""
        return (self.price_source or "").startswith(f"{SNAPSHOT} ")

    @property
    def name(self) -> str:
        """With its namespace."""
        return f"{self.endpoint.namespace}/{self.endpoint.name}"

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        return {
            "namespace": self.endpoint.namespace,
            "name": self.endpoint.name,
            "state": self.endpoint.state,
            "replicas": billed_replicas(self.endpoint),
            "price_per_hour": self.price_per_hour,
            "price_source": self.price_source,
            "since": self.since,
            "changed": self.changed,
            "last_used": self.last_used,
            "held_by": list(self.holders),
            "in_flight": self.at_work,
        }


@dataclass(frozen=True, slots=True)
class Bill:
    """Everything that is running, and what could not be found out."""

    running: tuple[Running, ...]
    troubles: tuple[str, ...] = ()

    @property
    def known_price(self) -> float:
        """USD per hour of all whose price is known."""
        return self.price_of(self.running)

    @staticmethod
    def price_of(some: Iterable[Running]) -> float:
        """USD per hour of those among them whose price is known."""
        return sum(one.price_per_hour for one in some if one.price_per_hour is not None)

    @property
    def is_estimate(self) -> bool:
        """Whether part of that is what was published on a day, and not told by whoever is paid."""
        return any(one.is_estimate for one in self.running)

    @property
    def unpriced(self) -> int:
        """How many have no known price."""
        return sum(1 for one in self.running if one.price_per_hour is None)


async def write_bill(client: AsyncClient, namespace: str | None, sessions: Sessions) -> Bill:
    """Ask for all endpoints (`*`: of all namespaces) and what they cost. `sessions` are those of this machine."""
    billed = [endpoint for endpoint in await client.list(namespace=namespace) if is_billed(endpoint)]
    unpriced = {endpoint.namespace for endpoint in billed if price(endpoint) is None}
    asked = await asyncio.gather(*(_prices(client, one) for one in sorted(unpriced)))
    prices = {key: value for found, _ in asked for key, value in found.items()}
    running = tuple(describe(endpoint, prices, sessions) for endpoint in billed)
    return Bill(running, tuple(trouble for _, trouble in asked if trouble))


def describe(endpoint: Endpoint, prices: Prices, sessions: Sessions) -> Running:
    """One endpoint that is billed."""
    count = sessions(endpoint.namespace, endpoint.name)
    here = [f"{count} session{'s' if count > 1 else ''} on this machine"] if count else []
    each, source = _price(endpoint, prices)
    return Running(
        endpoint=endpoint,
        price_per_hour=None if each is None else each * billed_replicas(endpoint),
        price_source=source,
        since=_up_since(endpoint, time.time()),
        last_used=last_used(endpoint),
        changed=moment(endpoint.status.updated_at) or moment(endpoint.status.created_at),
        holders=(*_told_holders(endpoint), *here),
        at_work=int(
            (number(own_words(endpoint).get("in_flight")) or 0) + (number(own_words(endpoint).get("waiting")) or 0)
        ),
    )


def _price(endpoint: Endpoint, prices: Prices) -> tuple[float | None, str | None]:
    """What a replica costs an hour, and who says so: the endpoint's server, its provider, or what was published."""
    each = price(endpoint)
    if each is not None:
        return each, text(own_words(endpoint), "price_source")
    listed = prices.get(_key(endpoint))
    if listed is not None:
        return listed, "huggingface"
    vendor, _, instance_type, size = _key(endpoint)
    found = published_price(vendor or "", instance_type or "", size or "") if not own_words(endpoint) else None
    return (None, None) if found is None else (float(found.quote.amount), found.quote.source)


def _up_since(endpoint: Endpoint, now: float) -> float | None:
    """Since when it is up, or on its way up, where a Lamplighter tells; Hugging Face does not."""
    told = own_words(endpoint)
    if (starting := number(told.get("starting_for"))) is not None:
        return now - starting
    if endpoint.phase is not Phase.RUNNING:
        return None  # what is told below is of the time before
    if (woke := number(told.get("wake_time"))) is not None:
        return woke
    idle, left = number(told.get("idle_timeout")), number(told.get("auto_sleep_in"))
    return now - max(0.0, idle - left) if idle is not None and left is not None else None


def _told_holders(endpoint: Endpoint) -> list[str]:
    """Who holds leases, and what else a Lamplighter says keeps it awake; what is in flight is counted elsewhere."""
    leases = lease_holders(endpoint)
    counted = ("in flight", "waiting", *(("lease", "leases") if leases else ()))
    return leases + [word for word in held_by(endpoint) if not word.endswith(counted)]


def billed_replicas(endpoint: Endpoint) -> int:
    """How many replicas are paid for: those that run or are to run, one at least while it is billed at all."""
    return max(endpoint.status.ready_replica, endpoint.status.target_replica, 1)


async def _prices(client: AsyncClient, namespace: str) -> tuple[Prices, str | None]:
    try:
        return price_list(await client.hardware(namespace=namespace)), None
    except LamplighterError as error:
        return {}, f"the prices of {namespace} could not be asked for: {error.message}"


def price_list(found: Iterable[Hardware]) -> Prices:
    """USD per replica and hour by place and instance."""
    return {
        (one.vendor, one.region, one.instance_type, one.instance_size): one.price_per_hour
        for one in found
        if one.price_per_hour is not None
    }


def _key(endpoint: Endpoint) -> tuple[str | None, ...]:
    where, on = endpoint.provider, endpoint.compute
    return (where.vendor, where.region, on.instance_type, on.instance_size)
