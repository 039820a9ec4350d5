"""Days as people name them for a report: 2026-11-01, today, month, 7d. Pure: today is passed in."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Final

FORMS: Final = "a day such as 2026-11-01, today, yesterday, week, month, year, all, or a span of days: 7d, 4w"
"""What may be given."""

ALL: Final = "all"
"""Names no day: there is no bound."""

_WORDS: Mapping[str, Callable[[date], date | None]] = {
    "today": lambda today: today,
    "yesterday": lambda today: today - timedelta(days=1),
    "week": lambda today: today - timedelta(days=today.weekday()),
    "month": lambda today: today.replace(day=1),
    "year": lambda today: today.replace(month=1, day=1),
    ALL: lambda _: None,
}
_SPAN = re.compile(r"([0-9]{1,4})([dw])")
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_FIRST_YEAR, _LAST_YEAR = 1970, 9998  # a report looks at the months on both sides


@dataclass(frozen=True, slots=True)
class NamedDay:
    """A day in somebody's words. `7d` is the first of the last seven days, of which today is one."""

    text: str

    @classmethod
    def of(cls, text: str) -> NamedDay:
        """Read it. Raises ValueError that tells what is right."""
        word = text.strip().lower()
        if word in _WORDS or ((span := _SPAN.fullmatch(word)) and int(span[1])):
            return cls(word)
        if not _DATE.fullmatch(word) or not is_in_reach(date.fromisoformat(word)):
            raise ValueError(word)
        return cls(word)

    def on(self, today: date) -> date | None:
        """Which day that is; None: no bound."""
        if (word := _WORDS.get(self.text)) is not None:
            return word(today)
        if span := _SPAN.fullmatch(self.text):
            return today - timedelta(days=int(span[1]) * (7 if span[2] == "w" else 1) - 1)
        return date.fromisoformat(self.text)


def is_in_reach(day: date) -> bool:
    """Whether a report can begin or end there."""
    return _FIRST_YEAR <= day.year <= _LAST_YEAR
