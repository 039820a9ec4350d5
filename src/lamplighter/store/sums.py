"""Adds up what closed hours have cost: by day, by month, and by day over all endpoints. In the store's thread."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from typing import Any, TypeAlias

from sqlalchemy import Connection

from lamplighter.domain.ledger import Charge

SUMS = ("nanodollars", "microseconds", "unpriced", "requests", "tokens_in", "tokens_out")
"""What adds up, in the order in which a charge tells it."""

_KEYS = ("grain", "period", "endpoint", "provider", "kind", "cause", "route", "estimated")
_COLUMNS = (*_KEYS, *SUMS)

# Statements are given to the driver as they are: millions of rows are written where all is charged anew.
_NAMES = ", ".join(_COLUMNS)
_VALUES = f"VALUES ({', '.join('?' * len(_COLUMNS))})"
_ADDED = ", ".join(f"{name} = charges.{name} + excluded.{name}" for name in SUMS)
_UPSERT = f"INSERT INTO charges ({_NAMES}) {_VALUES} ON CONFLICT ({', '.join(_KEYS)}) DO UPDATE SET {_ADDED}"
_STAGED = f"CREATE TEMPORARY TABLE charged_anew ({_NAMES})"
_STAGE = f"INSERT INTO charged_anew {_VALUES}"
_IN_ORDER = f"INSERT INTO charges ({_NAMES}) SELECT * FROM charged_anew ORDER BY {', '.join(_KEYS)}"  # noqa: S608

Sums: TypeAlias = dict[tuple[date, str, str, str, str, str, bool], list[int]]
"""By day, endpoint, provider, kind, cause and route, and whether it is an estimate."""

_Key: TypeAlias = tuple[str, str, str, str, str, str, str, bool]
_Row: TypeAlias = tuple[Any, ...]
_Rows: TypeAlias = dict[_Key, list[int]]


@dataclass(frozen=True, slots=True)
class Dated:
    """A charge of an endpoint on a day."""

    day: date
    endpoint: str
    charge: Charge


def add(sums: Sums, dated: Dated) -> None:
    """Add a charge to the sum that it belongs to."""
    kind, provider, account, estimated, *parts = dated.charge
    key = (dated.day, dated.endpoint, provider, kind.value, *account, estimated)
    had = sums.get(key)
    sums[key] = parts if had is None else [one + more for one, more in zip(had, parts, strict=True)]


def add_up(connection: Connection, sums: Sums) -> None:
    """Add these sums to those of their days, of their months, and of the days of all endpoints."""
    totals: _Rows = {}
    rows, months = _by_grain(sums, totals)
    if rows:
        connection.exec_driver_sql(_UPSERT, rows + _rows(months) + _rows(totals))


class Staged:
    """Sums of one endpoint after the other. They lie all over `charges`, and so go there at the end, in its order."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._totals: _Rows = {}

    def add_up(self, sums: Sums) -> None:
        """Take the sums of an endpoint, all of them at once."""
        rows, months = _by_grain(sums, self._totals)
        self._insert(rows + _rows(months))

    def write(self) -> None:
        """Write all of them, where nothing may be that they would have to be added to."""
        self._insert(_rows(self._totals))
        self._connection.exec_driver_sql(_IN_ORDER)

    def _insert(self, rows: list[_Row]) -> None:
        if rows:
            self._connection.exec_driver_sql(_STAGE, rows)


@contextmanager
def staged(connection: Connection) -> Iterator[Staged]:
    """What is taken in the block is written at its end; where that fails, it goes with the transaction."""
    connection.exec_driver_sql(_STAGED)
    stage = Staged(connection)
    yield stage
    stage.write()
    connection.exec_driver_sql("DROP TABLE charged_anew")


def _by_grain(sums: Sums, totals: _Rows) -> tuple[list[_Row], _Rows]:
    """The rows of days, and those of months; what all endpoints come to is added to `totals`."""
    rows: list[_Row] = []
    months: _Rows = {}
    for (date_, name, provider, kind, cause, route, estimated), parts in sums.items():
        day = date_.isoformat()
        rows.append(("day", day, name, provider, kind, cause, route, estimated, *parts))
        _add_row(months, ("month", day[:7], name, provider, kind, cause, route, estimated), parts)
        _add_row(totals, ("total", day, "", provider, kind, cause, "", estimated), parts)
    return rows, months


def _add_row(rows: _Rows, key: _Key, parts: list[int]) -> None:
    had = rows.get(key)
    rows[key] = parts if had is None else [one + more for one, more in zip(had, parts, strict=True)]


def _rows(sums: _Rows) -> list[_Row]:
    return [(*key, *parts) for key, parts in sums.items()]
