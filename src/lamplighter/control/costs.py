"""What endpoints cost: reports of any time, up to now, and what the awake periods that last have come to.

docs/costs.md says what is billed, how it is split, and who is charged.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from decimal import Decimal
from typing import Protocol, TypeVar

from lamplighter.control.accruals import Accruals, Accrued
from lamplighter.control.clock import Clock
from lamplighter.control.tariffs import Tariffs
from lamplighter.domain.accounts import KEY, OPERATOR
from lamplighter.domain.calendar import Calendar
from lamplighter.domain.closing import Position
from lamplighter.domain.keys import ApiKey
from lamplighter.domain.ledger import Kind
from lamplighter.domain.money import dollars
from lamplighter.domain.reconciling import Amounts, Difference, reconcile
from lamplighter.domain.timeline import SECOND, micros
from lamplighter.errors import InvalidInput
from lamplighter.store.charging import Terms
from lamplighter.store.costing import CostFilter, CostRow
from lamplighter.store.windows import Charged

T = TypeVar("T")

NOBODY = ""
_MILLION = 1_000_000


class Dimension(enum.StrEnum):
    """By what costs are told apart.

    `KEY` is who is charged: a key's id, `operator:NAME`, `lease:HOLDER`, or nobody (empty). `TAG` is what that key's
    tags say, `team=research, use=batch`; with `CostQuery.tag` the value of that one.
    """

    ENDPOINT = "endpoint"
    KEY = "key"
    TAG = "tag"
    PROVIDER = "provider"
    DAY = "day"
    KIND = "kind"
    ROUTE = "route"


_OPERATOR_BY_KEY = OPERATOR + KEY  # an operator with a key is on record as `key:NAME`

_COLUMNS = {
    Dimension.ENDPOINT: "endpoint",
    Dimension.KEY: "cause",
    Dimension.TAG: "cause",
    Dimension.PROVIDER: "provider",
    Dimension.DAY: "day",
    Dimension.ROUTE: "route",
}
_WITHOUT_SAVING = frozenset({Dimension.KEY, Dimension.TAG, Dimension.KIND, Dimension.ROUTE})


@dataclass(frozen=True, slots=True, kw_only=True)
class CostQuery:
    """What is asked: costs `by` these, from the day `since` on, before the day `until`, of some or (None) all.

    Days are those of the ledger's time zone. `keys` are as `Dimension.KEY` shows them.
    """

    by: tuple[Dimension, ...] = ()
    since: date | None = None
    until: date | None = None
    tag: str | None = None
    endpoints: frozenset[str] | None = None
    keys: frozenset[str] | None = None
    providers: frozenset[str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CostLine:
    """What one group came to. `group` has a text for each dimension asked for.

    `seconds` are those of billed replicas; of `unpriced` among them no price was known. `estimated` is the part of
    `total` that fell in a time in which nobody looked. What follows from *measured* use, all that was paid divided by
    what was served, is None where nothing was: `per_million_tokens` counts both directions, the other two only theirs,
    so that they are not to be added. `saved` is what staying awake would have cost less what was paid; None where a
    group is no whole endpoint.
    """

    group: tuple[str, ...] = ()
    cold_start: Decimal = Decimal(0)
    serving: Decimal = Decimal(0)
    idle: Decimal = Decimal(0)
    by_use: Decimal = Decimal(0)
    estimated: Decimal = Decimal(0)
    saved: Decimal | None = None
    seconds: Decimal = Decimal(0)
    unpriced: Decimal = Decimal(0)
    requests: int = 0
    tokens_in: int = 0
    tokens_out: int = 0

    @property
    def total(self) -> Decimal:
        """What was paid, in $."""
        return self.cold_start + self.serving + self.idle + self.by_use

    @property
    def per_million_tokens(self) -> Decimal | None:
        """$ per million tokens, in and out together."""
        return self._per(self.tokens_in + self.tokens_out, _MILLION)

    @property
    def per_million_tokens_in(self) -> Decimal | None:
        """$ per million tokens that were read, as if writing were free."""
        return self._per(self.tokens_in, _MILLION)

    @property
    def per_million_tokens_out(self) -> Decimal | None:
        """$ per million tokens that were written, as if reading were free."""
        return self._per(self.tokens_out, _MILLION)

    @property
    def per_request(self) -> Decimal | None:
        """$ per request."""
        return self._per(self.requests, 1)

    def _per(self, count: int, unit: int) -> Decimal | None:
        return self.total * unit / count if count else None


@dataclass(frozen=True, slots=True, kw_only=True)
class CostReport:
    """What was asked, up to the Unix time `at`: lines by their groups, and all of it in one. Lines sum to the total."""

    query: CostQuery
    time_zone: str
    at: float
    lines: Sequence[CostLine]
    total: CostLine


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowCost:
    """What an endpoint cost in a stretch of time, in $.

    `estimated` is the part of a time in which nobody looked. Of `unpriced` seconds no price was known.
    """

    amount: Decimal
    estimated: Decimal
    unpriced: Decimal


class CostStore(Protocol):
    """Where costs are kept: `Store` is one. Every method raises StoreError."""

    async def costs(self, wanted: CostFilter, now: int, terms: Terms, made: Callable[[list[CostRow]], T]) -> T: ...

    async def open_positions(self, now: int, terms: Terms) -> dict[str, Position]: ...

    async def ledger_names(self) -> list[str]: ...

    async def charged_between(self, name: str, since: int, until: int, terms: Terms) -> Charged | None: ...

    async def rebuild_charges(self, until: int, terms: Terms) -> date | None: ...


class Costs:
    """Tells what endpoints cost. `keys` tells all keys, also those that count no more."""

    def __init__(
        self,
        store: CostStore,
        tariffs: Tariffs,
        accruals: Accruals,
        clock: Clock,
        *,
        keys: Callable[[], Sequence[ApiKey]],
    ) -> None:
        self._store = store
        self._tariffs = tariffs
        self._accruals = accruals
        self._calendar = tariffs.calendar
        self._clock = clock
        self._keys = keys

    @property
    def calendar(self) -> Calendar:
        """Whose days count."""
        return self._calendar

    async def report(self, query: CostQuery) -> CostReport:
        """Add up, up to now. Raises InvalidInput for a query that can't be, StoreError."""
        _check(query)
        now = self._clock.wall()
        people = _People(self._keys(), query.tag)
        columns = tuple(dict.fromkeys(_COLUMNS[one] for one in query.by if one is not Dimension.KIND))
        wanted = CostFilter(
            by=columns,
            since=query.since,
            until=query.until,
            endpoints=query.endpoints,
            causes=None if query.keys is None else people.accounts(query.keys),
            providers=query.providers,
        )
        names = await self._store.ledger_names() if query.endpoints is None else sorted(query.endpoints)

        def made(rows: Sequence[CostRow]) -> CostReport:
            return _report(query, columns, rows, people, time_zone=self._calendar.name, at=now)

        return await self._store.costs(wanted, micros(now), self._tariffs.terms(names), made)

    async def between(self, endpoint: str, since: float, until: float) -> WindowCost | None:
        """What an endpoint cost from one moment (Unix time) to another; None where facts of then are kept no more.

        Raises StoreError.
        """
        terms = self._tariffs.terms([endpoint])
        found = await self._store.charged_between(endpoint, micros(since), micros(until), terms)
        if found is None:
            return None
        unpriced = Decimal(found.unpriced) / SECOND
        return WindowCost(amount=dollars(found.nanos), estimated=dollars(found.estimated), unpriced=unpriced)

    def accrued(self, now: float | None = None) -> Mapping[str, Accrued]:
        """What each awake period that lasts has come to at the Unix time `now`, by endpoint. From memory."""
        return self._accruals.accrued(self._clock.wall() if now is None else now, self._tariffs)

    async def reconcile(self, billed: Amounts) -> list[Difference]:
        """Where a provider's bill and what was charged differ. Raises StoreError."""
        days = [day for _, day in billed]
        if not days:
            return []
        by = (Dimension.ENDPOINT, Dimension.DAY)
        query = CostQuery(by=by, since=min(days), until=max(days) + timedelta(days=1))
        lines = (await self.report(query)).lines
        charged = {(line.group[0], date.fromisoformat(line.group[1])): line.total for line in lines}
        return reconcile(billed, charged)

    async def rebuild(self) -> date | None:
        """Charge all hours that have ended anew, from the facts, in one step. Raises StoreError.

        Tells from which day on, where facts have been pruned: what is older stays.
        """
        until = self._calendar.hour_of(int(self._clock.wall()))
        return await self._store.rebuild_charges(until, self._tariffs.terms(await self._store.ledger_names()))


class _People:
    """Tells whose an account is."""

    def __init__(self, keys: Sequence[ApiKey], tag: str | None) -> None:
        self._ids = {key.name: key.id for key in keys}
        self._names = {key.id: key.name for key in keys}
        self._tags = {key.id: _tags(key.tags, tag) for key in keys}

    def key(self, account: str) -> str:
        """The id of a key, also where its holder operated; else the account as it is."""
        if account.startswith(_OPERATOR_BY_KEY):
            return self._ids.get(account.removeprefix(_OPERATOR_BY_KEY), account)
        return account.removeprefix(KEY)

    def tag(self, account: str) -> str:
        """What its key's tags say; empty where there is no key, or no tag."""
        return self._tags.get(self.key(account), "")

    def accounts(self, wanted: Iterable[str]) -> frozenset[str]:
        """The accounts of these keys."""
        found = set()
        for one in wanted:
            if one == NOBODY or ":" in one:
                found.add(one)
            else:
                found.add(KEY + one)
                if one in self._names:
                    found.add(_OPERATOR_BY_KEY + self._names[one])
        return frozenset(found)


def _tags(tags: Mapping[str, str], only: str | None) -> str:
    if only is not None:
        return tags.get(only, "")
    return ", ".join(f"{name}={value}" for name, value in sorted(tags.items()))


@dataclass(slots=True)
class _Sum:
    """Nanodollars by kind, and what else adds up."""

    nanos: dict[Kind, int] = field(default_factory=lambda: dict.fromkeys(Kind, 0))
    estimated: int = 0
    micros: int = 0
    unpriced: int = 0
    requests: int = 0
    tokens_in: int = 0
    tokens_out: int = 0

    def add(self, row: CostRow) -> None:
        self.nanos[row.kind] += row.nanos
        if row.kind is Kind.ALWAYS:
            return
        self.estimated += row.nanos if row.estimated else 0
        self.micros += row.micros
        self.unpriced += row.unpriced
        self.requests += row.requests
        self.tokens_in += row.tokens_in
        self.tokens_out += row.tokens_out

    def line(self, group: tuple[str, ...], *, saves: bool) -> CostLine:
        awake = sum(self.nanos[kind] for kind in (Kind.COLD_START, Kind.SERVING, Kind.IDLE))
        return CostLine(
            group=group,
            cold_start=dollars(self.nanos[Kind.COLD_START]),
            serving=dollars(self.nanos[Kind.SERVING]),
            idle=dollars(self.nanos[Kind.IDLE]),
            by_use=dollars(self.nanos[Kind.BY_USE]),
            estimated=dollars(self.estimated),
            saved=dollars(self.nanos[Kind.ALWAYS] - awake) if saves else None,
            seconds=Decimal(self.micros) / SECOND,
            unpriced=Decimal(self.unpriced) / SECOND,
            requests=self.requests,
            tokens_in=self.tokens_in,
            tokens_out=self.tokens_out,
        )


def _report(
    query: CostQuery, columns: tuple[str, ...], rows: Sequence[CostRow], people: _People, *, time_zone: str, at: float
) -> CostReport:
    whole = not _WITHOUT_SAVING.intersection(query.by)
    groups: dict[tuple[str, ...], _Sum] = {}
    total = _Sum()
    for row in rows:
        total.add(row)
        if whole or row.kind is not Kind.ALWAYS:
            groups.setdefault(_group(query.by, columns, row, people), _Sum()).add(row)
    saves = query.keys is None
    lines = [one.line(group, saves=saves and whole) for group, one in groups.items()]
    by_day = query.by.index(Dimension.DAY) if Dimension.DAY in query.by else None
    lines.sort(key=lambda line: ("" if by_day is None else line.group[by_day], -line.total, line.group))
    return CostReport(query=query, time_zone=time_zone, at=at, lines=lines, total=total.line((), saves=saves))


def _group(by: Sequence[Dimension], columns: tuple[str, ...], row: CostRow, people: _People) -> tuple[str, ...]:
    values = dict(zip(columns, row.group, strict=True))
    return tuple(_text(one, values, row.kind, people) for one in by)


def _text(dimension: Dimension, values: Mapping[str, str], kind: Kind, people: _People) -> str:
    if dimension is Dimension.KIND:
        return kind.value
    value = values[_COLUMNS[dimension]]
    if dimension is Dimension.KEY:
        return people.key(value)
    return people.tag(value) if dimension is Dimension.TAG else value


def _check(query: CostQuery) -> None:
    if len(set(query.by)) < len(query.by):
        raise InvalidInput(f"by: {', '.join(query.by)} names one twice.", field="by")
    if query.since is not None and query.until is not None and query.since >= query.until:
        text = f"until: {query.until} is not after {query.since}; it is the day before which a report ends."
        raise InvalidInput(text, field="until")
