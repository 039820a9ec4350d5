"""A provider's bill beside what was charged here. Pure."""

from __future__ import annotations

import csv
import io
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import TypeAlias

from lamplighter.errors import InvalidInput

COLUMNS = ("endpoint", "day", "amount")
"""What a bill has to tell, in any order and among other columns."""

Amounts: TypeAlias = Mapping[tuple[str, date], Decimal]
"""What endpoints cost on days, in $."""

MOST_LINES = 100_000
"""What a bill may have."""

_MOST_TOLD = 5
_MOST = Decimal(10**12)
_AMOUNT = re.compile(
    r"(?P<sign>-?)(?:\$|USD\s*)?(?P<number>[0-9]{1,13}(?:\.[0-9]{0,20})?(?:[eE][+-]?[0-9]{1,2})?)", re.ASCII
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """What was billed for an endpoint and a day, and what was charged here, in $."""

    endpoint: str
    day: date
    billed: Decimal
    charged: Decimal

    @property
    def difference(self) -> Decimal:
        """By how much more was billed; below 0: less."""
        return self.billed - self.charged


def reconcile(billed: Amounts, charged: Amounts) -> list[Difference]:
    """Where a bill and the charges differ, by endpoint and day, of the days from the first to the last of the bill."""
    if not billed:
        return []
    days = [day for _, day in billed]
    within = {key: amount for key, amount in charged.items() if min(days) <= key[1] <= max(days)}
    found = []
    for name, day in sorted(billed.keys() | within.keys()):
        one = Difference(
            endpoint=name,
            day=day,
            billed=billed.get((name, day), Decimal(0)),
            charged=within.get((name, day), Decimal(0)),
        )
        if one.difference:
            found.append(one)
    return found


def read_bill(bill_csv: str) -> dict[tuple[str, date], Decimal]:
    """Read a bill: CSV with a heading, separated by commas or semicolons. Lines of one endpoint and day are added up.

    Raises InvalidInput that names the columns that are missing, or the lines whose values are wrong and what would be
    right.
    """
    text = bill_csv.removeprefix("\ufeff")
    heading = text.partition("\n")[0]
    rows = csv.reader(io.StringIO(text), delimiter=";" if ";" in heading and "," not in heading else ",", strict=True)
    amounts: dict[tuple[str, date], Decimal] = defaultdict(Decimal)
    wrong: list[str] = []
    try:
        places = _places(next(rows, []))
        for row in rows:
            if rows.line_num > MOST_LINES:
                text = f"bill: it has more than {MOST_LINES:,} lines; send it in parts, such as by month."
                raise InvalidInput(text, field="bill")
            if any(value.strip() for value in row):
                problems = list(_problems(row, places, rows.line_num))
                wrong += problems
                if not problems:
                    amounts[row[places[0]].strip(), _day(row[places[1]])] += _amount(row[places[2]])
    except csv.Error as error:
        raise InvalidInput(f"bill: line {rows.line_num} is no CSV: {error}.", field="bill") from error
    if wrong:
        more = f"; and {len(wrong) - _MOST_TOLD} more" if len(wrong) > _MOST_TOLD else ""
        raise InvalidInput(f"bill: {'; '.join(wrong[:_MOST_TOLD])}{more}.", field="bill")
    return dict(amounts)


def _places(heading: Sequence[str]) -> tuple[int, int, int]:
    names = [name.strip().lower() for name in heading]
    missing = [name for name in COLUMNS if name not in names]
    if missing:
        there = ", ".join(repr(name) for name in names if name) or "none"
        text = f"bill: the columns {', '.join(missing)} are missing; it needs {', '.join(COLUMNS)}, and has {there}."
        if len(missing) == 1:
            text = text.replace("columns", "column").replace("are missing", "is missing")
        raise InvalidInput(text, field="bill")
    if twice := [name for name in COLUMNS if names.count(name) > 1]:
        text = f"bill: the heading names {', '.join(twice)} more than once; leave all but one of them out."
        raise InvalidInput(text, field="bill")
    return (names.index("endpoint"), names.index("day"), names.index("amount"))


def _problems(row: Sequence[str], places: tuple[int, int, int], line: int) -> Iterator[str]:
    if len(row) <= max(places):
        yield f"line {line}: it has {len(row)} values, and needs {max(places) + 1}"
        return
    name, day, amount = (row[place] for place in places)
    if not name.strip():
        yield f"line {line}: endpoint: it is empty"
    for field, value, read, right in (
        ("day", day, _day, "a date such as 2026-11-21"),
        ("amount", amount, _amount, "a number of dollars such as 12.34"),
    ):
        try:
            read(value)
        except ValueError:
            yield f"line {line}: {field}: {value.strip()[:40]!r} should be {right}"


def _day(text: str) -> date:
    """A date; of a moment, its day."""
    text = text.strip()
    return date.fromisoformat(text) if len(text) <= len("2026-11-21") else datetime.fromisoformat(text).date()


def _amount(text: str) -> Decimal:
    found = _AMOUNT.fullmatch(text.strip())
    if found is None or abs(amount := Decimal(found["sign"] + found["number"])) > _MOST:
        raise ValueError(text)
    return amount
