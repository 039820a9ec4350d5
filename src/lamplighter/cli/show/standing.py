"""How one endpoint is, as the SDK tells it: for people, in a line, and for programs."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.text import Text

from lamplighter.cli.base.advice import completed
from lamplighter.cli.show.output import sign, style
from lamplighter.cli.show.portrayal import costs, today
from lamplighter.cli.show.table import facts
from lamplighter.cli.show.words import one_line, span
from lamplighter.sdk.client import Status


def one(console: Console, status: Status) -> RenderableType:
    """What the state means, and what to do next."""
    look = style(status.phase.value)
    mark = sign(console, status.phase.value)
    head = Text.assemble((mark, look), " ", (status.name, "bold"), " is ", (status.state, look))
    return Group(head, facts(list(_said(status))))


def _said(status: Status) -> Iterator[tuple[str, str | None]]:
    meaning = completed(" ".join(status.meaning.split()))
    said = one_line(status.message) if status.message else None
    yield "means", meaning
    yield "says", said if said and said not in meaning else None
    yield "url", status.url
    yield "model", status.model
    yield "task", status.task
    yield "framework", status.framework
    yield "runs on", status.instance
    yield "replicas", f"{status.replicas_ready} of {status.replicas} ready"
    yield "costs", costs(status)
    yield "today", today(status.cost_today, status.saved_today)
    yield "starting for", span(status.starting_for) if status.starting_for is not None else None
    yield "usually takes", span(status.expected_start) if status.expected_start else None
    yield "held by", ", ".join(status.held_by)
    yield "namespace", status.namespace


def line(status: Status) -> str:
    """One line for a log."""
    said = f"  {one_line(status.message)}" if status.message else ""
    return f"{status.name}  {status.state}  {status.replicas_ready}/{status.replicas} ready{said}"


def as_json(status: Status) -> dict[str, Any]:
    """All fields, and what they mean."""
    return {**dataclasses.asdict(status), "meaning": status.meaning}
