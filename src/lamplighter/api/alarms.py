"""`/api/alarms`: what costs money for nobody, or fails, and where people are told of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal, Protocol, TypeAlias

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, ConfigDict

from lamplighter.api.access import Operator
from lamplighter.api.problems import RESPONSES, Problem, Responses
from lamplighter.domain.bulletin import Case
from lamplighter.errors import NotFound

_ABSENT: Responses = {404: {"model": Problem, "description": "This server looks for no alarms"}}

router = APIRouter(prefix="/api/alarms", tags=["alarms"], responses=RESPONSES | _ABSENT)


class Alarms(Protocol):
    """Who looks after alarms: `AlarmKeeper` does."""

    @property
    def standing(self) -> Sequence[Case]:
        """The alarms that stand at this moment."""

    @property
    def places(self) -> Mapping[str, str | None]:
        """Where alarms are told, and what the last attempt there failed with."""

    async def test(self, *, actor: str) -> Mapping[str, str | None]:
        """Send a message to every place, on record; tells what went wrong, None for nothing."""


class _Wire(BaseModel):
    model_config = ConfigDict(use_attribute_docstrings=True)


class StandingAlarm(_Wire):
    """Something that is wrong now."""

    alarm: str
    """What: `awake_too_long`, `stop_failed`, `wake_failed`, `breaker_open`, `nobody_holds`, `state_unknown`,
    `price_refused`, `prices_old`, `budget_50`, `budget_80` or `budget_100`."""
    endpoint: str
    """With which endpoint, target of a route, source of prices, or budget."""
    since: float
    """Since when, in Unix seconds."""
    text: str
    """What that costs, and the command that mends it."""
    told_at: float
    """When people were told for the last time, in Unix seconds."""

    @classmethod
    def of(cls, case: Case) -> StandingAlarm:
        """Describe an alarm."""
        alarm = case.alarm
        return cls(
            alarm=alarm.kind.value, endpoint=alarm.endpoint, since=alarm.since, text=alarm.whole, told_at=case.told_at
        )


class AlarmPlace(_Wire):
    """Where alarms are told. Its address is never shown."""

    name: str
    """The service."""
    error: str | None
    """What the last attempt failed with; null where it went well, or there was none."""


class AllAlarms(_Wire):
    """The alarms that stand."""

    success: Literal[True] = True
    """Always true here."""
    alarms: list[StandingAlarm]
    """By kind and endpoint."""
    places: list[AlarmPlace]
    """Where they are told, beside the log."""


class TestedPlaces(_Wire):
    """What became of a test message."""

    success: Literal[True] = True
    """Always true here; whether a message arrived is said for each place."""
    places: list[AlarmPlace]
    """Those that it was sent to; `error` is null where it arrived."""


def _alarms(request: Request) -> Alarms:
    alarms: Alarms | None = request.app.state.alarms
    if alarms is None:
        raise NotFound("This server looks for no alarms.")
    return alarms


Kept: TypeAlias = Annotated[Alarms, Depends(_alarms)]


@router.get("", operation_id="alarms")
async def standing_alarms(_: Operator, alarms: Kept) -> AllAlarms:
    """Tell which alarms stand, and where people are told of them."""
    return AllAlarms(alarms=[StandingAlarm.of(case) for case in alarms.standing], places=_places(alarms.places))


@router.post("/test", operation_id="test_alarms")
async def test_alarms(actor: Operator, alarms: Kept) -> TestedPlaces:
    """Send a test message to every place, and tell which of them took it."""
    return TestedPlaces(places=_places(await alarms.test(actor=actor)))


def _places(found: Mapping[str, str | None]) -> list[AlarmPlace]:
    return [AlarmPlace(name=name, error=error) for name, error in found.items()]
