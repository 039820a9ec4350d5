"""Endpoints of the management API for people: the table of all, and one with everything."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from functools import partial

from rich.console import Console, Group, RenderableType
from rich.text import Text

from lamplighter.cli.base.advice import completed
from lamplighter.cli.show.amounts import shown
from lamplighter.cli.show.facts import instance, last_used, location, moment, price, replicas
from lamplighter.cli.show.output import sign, style
from lamplighter.cli.show.table import Column, facts, table
from lamplighter.cli.show.words import ago, one_line, whole
from lamplighter.hf.records import Endpoint
from lamplighter.sdk.status import Status, decimal, own_words


def state_text(console: Console, endpoint: Endpoint) -> Text:
    """The provider's word for the state, with the sign and colour of the phase."""
    phase = endpoint.phase.value
    word = endpoint.state if phase != "stopping" else phase
    return Text(f"{sign(console, phase)} {word}", style=style(phase))


def dollars(amount: float | None, per: str = "") -> str | None:
    """A price in USD: at least two figures behind the point, and as many as small ones need."""
    if amount is None:
        return None
    text = f"{amount:.4f}".rstrip("0")
    whole, _, fraction = text.partition(".")
    return f"${whole}.{fraction:0<2}{per}"


def costs(status: Status) -> str | None:
    """What a replica costs, and who says so; None where nobody does."""
    rate = dollars(status.price_per_hour, " per replica and hour")
    if rate is None:
        return None
    said = f" ({one_line(status.price_source)})" if status.price_source else ""
    return ("about " if status.price_estimate else "") + rate + said


def today(cost: Decimal | None, saved: Decimal | None) -> str | None:
    """What was spent today, and what sleeping saved of that; None where nobody tells."""
    if cost is None:
        return None
    if saved is None or not saved:
        return shown(cost)
    words = "saved by sleeping" if saved > 0 else "more than staying awake would have cost"
    return f"{shown(cost)}; {shown(abs(saved))} {words}"


def overview(console: Console, endpoints: Sequence[Endpoint]) -> RenderableType:
    """All endpoints as a table; the namespace is shown when there are several."""
    several = len({endpoint.namespace for endpoint in endpoints}) > 1
    return table(_columns(console, time.time(), with_namespace=several), endpoints, console.width)


def _columns(console: Console, now: float, *, with_namespace: bool) -> list[Column[Endpoint]]:
    def used(endpoint: Endpoint) -> str | None:
        at = last_used(endpoint)
        return ago(now - at) if at is not None else None

    named: list[Column[Endpoint]] = [Column("namespace", lambda e: e.namespace)] if with_namespace else []
    return [
        *named,
        Column("endpoint", lambda e: Text(e.name, style="bold")),
        Column("state", partial(state_text, console)),
        Column("model", lambda e: one_line(e.model.repository), may_be_cut=True),
        Column("task", lambda e: e.model.task, may_be_missing=True),
        Column("instance", instance, may_be_missing=True),
        Column("where", location, may_be_missing=True),
        Column("ready", replicas, "right"),
        Column("per hour", lambda e: dollars(price(e)), "right"),
        Column("today", lambda e: shown(decimal(own_words(e).get("cost_today"))), "right", may_be_missing=True),
        Column("last used", used, may_be_missing=True),
    ]


def one(console: Console, endpoint: Endpoint) -> RenderableType:
    """Everything about one endpoint."""
    head = Text.assemble(state_text(console, endpoint), "  ", (endpoint.name, "bold"))
    return Group(head, facts(list(_said(endpoint, time.time()))))


def _said(endpoint: Endpoint, now: float) -> Iterator[tuple[str, str | None]]:
    model, status, scaling = endpoint.model, endpoint.status, endpoint.compute.scaling
    told = Status.of(endpoint)
    yield "means", completed(told.meaning)
    yield "says", _says(endpoint)
    yield "url", endpoint.url
    yield "namespace", endpoint.namespace
    yield "model", f"{model.repository} ({model.revision})" if model.revision else model.repository
    yield "framework", model.framework
    yield "task", model.task
    yield "image", ", ".join(model.image)
    yield "command", " ".join((*model.command, *model.args))
    yield "environment", ", ".join(f"{name}={value}" for name, value in model.env.items())
    yield "runs on", instance(endpoint)
    yield "where", location(endpoint)
    yield "replicas", f"{replicas(endpoint)} ready, from {scaling.min_replica} to {scaling.max_replica}"
    idle = told.idle_timeout
    yield "sleeps by itself", "never" if idle is None else f"after {whole(idle)} without a request"
    yield "costs", dollars(price(endpoint), " per replica and hour")
    yield "today", today(told.cost_today, told.saved_today)
    yield "may be called", endpoint.type
    yield "health route", endpoint.health_route
    yield "tags", ", ".join(endpoint.tags)
    yield "held by", ", ".join(held_by(endpoint))
    yield "last used", _when(last_used(endpoint), now)
    yield "made", _by(_when(moment(status.created_at), now), status.created_by)
    yield "changed", _when(moment(status.updated_at), now)


def _says(endpoint: Endpoint) -> str | None:
    said = [text.strip() for text in (endpoint.status.message, endpoint.status.error_message) if text]
    return "; ".join(dict.fromkeys(said)) or None


def held_by(endpoint: Endpoint) -> list[str]:
    """What keeps it awake, where a Lamplighter tells."""
    told = own_words(endpoint).get("held_by")
    return [str(word) for word in told] if isinstance(told, Sequence) and not isinstance(told, str) else []


def lease_holders(endpoint: Endpoint) -> list[str]:
    """Who holds a lease on it, where a Lamplighter tells."""
    told = own_words(endpoint).get("leases")
    leases = told if isinstance(told, Sequence) and not isinstance(told, str) else []
    return [str(lease.get("holder") or lease.get("id") or "a lease") for lease in leases if isinstance(lease, Mapping)]


def _when(at: float | None, now: float) -> str | None:
    return ago(now - at) if at is not None else None


def _by(when: str | None, whom: str | None) -> str | None:
    return f"{when} by {whom}" if when and whom else when
