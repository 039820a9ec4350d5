"""`ledger`: whose days count where costs are told."""

from __future__ import annotations

from pydantic import field_validator

from lamplighter.config.section import Section
from lamplighter.domain.calendar import Calendar
from lamplighter.errors import InvalidInput


class LedgerSettings(Section):
    """How costs are kept."""

    time_zone: str = "UTC"
    """The time zone whose days and months count: an IANA name, such as Europe/Berlin."""

    @field_validator("time_zone")
    @classmethod
    def _is_known(cls, value: str) -> str:
        try:
            Calendar(value)
        except InvalidInput:
            raise ValueError(f"{value!r} is no time zone; give an IANA name such as Europe/Berlin, or UTC") from None
        return value
