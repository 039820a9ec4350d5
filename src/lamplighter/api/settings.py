"""`/api/settings`: what of the configuration is in force, and who said so."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict

from lamplighter.api.access import Admin
from lamplighter.api.problems import RESPONSES, Problem, Responses
from lamplighter.config import InForce, Settings
from lamplighter.errors import NotFound

_ABSENT: Responses = {404: {"model": Problem, "description": "This server tells nothing of its configuration"}}

router = APIRouter(prefix="/api", tags=["settings"], responses=RESPONSES | _ABSENT)


@dataclass(frozen=True, slots=True)
class Configured:
    """A configuration, and what of it is in force."""

    settings: Settings
    rows: Sequence[InForce]


SettingsSource: TypeAlias = Callable[[], Configured]


class _Wire(BaseModel):
    model_config = ConfigDict(use_attribute_docstrings=True)


class Setting(_Wire):
    """A key of the configuration, as it counts now."""

    key: str
    """Its dotted name: `defaults.idle_timeout`, `routes.best.targets[0].weight`."""
    section: str
    """What it begins with."""
    text: str
    """Its value as one would write it: `15m`, `never`, `not set`. Of what may be a secret its place, `env:NAME`, or
    `[not shown]`."""
    amount: float | None
    """The same as a number, where it is one."""
    unit: Literal["seconds", "bytes"] | None
    """What `amount` counts, where it has a unit."""
    is_secret: bool
    """Whether the value may hold a secret, and is not shown for that."""
    origin: Literal["file", "environment", "built in"]
    """Who said so; an option of `serve` counts as the variable that it takes the place of."""
    file: str | None
    """The file."""
    line: int | None
    """The line in it, from 1."""
    variable: str | None
    """The environment variable."""
    next_start: str | None
    """What the configuration says by now, and counts from the next start on; null where that is the same."""

    @classmethod
    def of(cls, row: InForce) -> Setting:
        """Describe a key."""
        source = row.place.source if row.place else None
        return cls(
            key=row.key,
            section=row.section,
            text=row.text,
            amount=row.amount,
            unit=row.unit,
            is_secret=row.is_secret,
            origin=row.origin,
            file=source if row.origin == "file" else None,
            line=row.place.line if row.place else None,
            variable=source if row.origin == "environment" else None,
            next_start=row.next_start,
        )


class AllSettings(_Wire):
    """What is in force."""

    success: Literal[True] = True
    """Always true here."""
    source: str
    """The file that was read, or `the environment`."""
    warnings: list[str]
    """What of it does not count, and why."""
    settings: list[Setting]
    """By section: all keys of those that are always there, of endpoints, routes and the like what they say."""

    @classmethod
    def of(cls, configured: Configured) -> AllSettings:
        """Describe a configuration."""
        scrub = configured.settings.secrets.scrub
        return cls(
            source=configured.settings.source,
            warnings=[scrub(text) for text in configured.settings.warnings],
            settings=[Setting.of(row) for row in configured.rows],
        )


@router.get("/settings", operation_id="settings")
def settings(_: Admin, request: Request) -> AllSettings:
    """Tell what of the configuration is in force, key by key, with file and line. Secrets by their places alone."""
    source: SettingsSource | None = request.app.state.settings
    if source is None:
        raise NotFound("This server tells nothing of its configuration.")
    return AllSettings.of(source())
