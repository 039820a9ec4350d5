"""Reports of costs as they are asked for: in the words of people, with every name checked; and what operators do.

`Costs` adds up; here days, names and tags become what it understands.
"""

from __future__ import annotations

import asyncio
import dataclasses
import difflib
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from typing import Protocol

from lamplighter.control.clock import Clock
from lamplighter.control.costs import NOBODY, CostQuery, CostReport, Costs, Dimension
from lamplighter.control.recorder import Recorder
from lamplighter.domain.days import NamedDay, is_in_reach
from lamplighter.domain.endpoint import Endpoint
from lamplighter.domain.keys import ApiKey
from lamplighter.domain.reconciling import Amounts, Difference, read_bill
from lamplighter.errors import Conflict, EndpointNotFound, InvalidInput

NOBODYS = "nobody"
"""How what nobody caused is asked for; in a report its key is empty."""

USUAL = timedelta(days=30)
"""How long a time is reported, where nobody says since when."""

_MOST_SHOWN = 80
_MOST_TOLD = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What somebody asks for. `tag` is a name (`team`: which of a key's tags is shown) or a pair (`team=research`).

    `keys` are ids, names, accounts as a report shows them, or `nobody`. `endpoints` may be aliases. Without names: all.
    `since` None: 30 days before the end.
    """

    by: tuple[Dimension, ...] = ()
    since: NamedDay | None = None
    until: NamedDay | None = None
    tag: str | None = None
    endpoints: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()
    providers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconciled:
    """A bill beside the ledger. `differences` are those of more than the tolerance, `within` counts the others.

    `billed` and `charged` sum up all of them, in $, from the first day of the bill to the last one.
    """

    differences: Sequence[Difference]
    within: int
    since: date
    until: date
    billed: Decimal
    charged: Decimal
    time_zone: str


class NamedFleet(Protocol):
    """What reports need of the fleet."""

    def endpoint(self, name: str) -> Endpoint: ...

    def endpoints(self) -> Sequence[Endpoint]: ...

    @property
    def providers(self) -> Mapping[str, object]: ...


class LedgerNames(Protocol):
    """Tells which endpoints are in the books: `Store` does. Raises StoreError."""

    async def ledger_names(self) -> list[str]: ...


async def _read_in_thread(bill_csv: str) -> Amounts:
    """A large bill takes a second, and requests are on the loop."""
    return await asyncio.to_thread(read_bill, bill_csv)


class Reports:
    """Answers questions about costs. `keys` tells all keys, also those that count no more."""

    def __init__(
        self,
        costs: Costs,
        store: LedgerNames,
        fleet: NamedFleet,
        clock: Clock,
        *,
        keys: Callable[[], Sequence[ApiKey]],
        recorder: Recorder,
        read: Callable[[str], Awaitable[Amounts]] = _read_in_thread,
    ) -> None:
        """`keys` tells all keys, also those that count no more; `read` reads a bill."""
        self._read = read
        self._costs = costs
        self._store = store
        self._fleet = fleet
        self._clock = clock
        self._keys = keys
        self._recorder = recorder
        self._rebuilding = asyncio.Lock()

    async def report(self, wanted: Wanted) -> CostReport:
        """Add up. Raises InvalidInput and EndpointNotFound for what there is not, StoreError."""
        keys = self._keys()
        today = self._costs.calendar.day_of(int(self._clock.wall()))
        until = None if wanted.until is None else wanted.until.on(today)
        usual = (until or today + timedelta(days=1)) - USUAL
        query = CostQuery(
            by=wanted.by,
            since=usual if wanted.since is None else wanted.since.on(today),
            until=until,
            endpoints=await self._endpoints(wanted.endpoints) if wanted.endpoints else None,
            keys=frozenset(_ids(wanted.keys, keys)) if wanted.keys else None,
            providers=frozenset(wanted.providers) if wanted.providers else None,
        )
        report = await self._costs.report(_tagged(query, wanted.tag, keys))
        if not report.lines:  # what is here no more may still have lines
            self._check_providers(wanted.providers)
        return report

    def key_names(self) -> Mapping[str, str]:
        """The name of each key by its id."""
        return {key.id: key.name for key in self._keys()}

    async def reconcile(self, bill_csv: str, *, tolerance: Decimal, actor: str) -> Reconciled:
        """Compare a bill with what was charged, on record. Differences of at most `tolerance` $ are only counted.

        Raises InvalidInput for a bill that can't be read, StoreError.
        """
        async with self._recorder.recorded("reconcile a bill", None, actor) as note:
            billed = await self._read(bill_csv)
            days = _days(billed)
            differences = await self._costs.reconcile(billed)
            told = [one for one in differences if abs(one.difference) > tolerance]
            note.change = f"{min(days)} to {max(days)}, {len(told)} differences"
            total = sum(billed.values(), Decimal(0))
            return Reconciled(
                differences=told,
                within=len(differences) - len(told),
                since=min(days),
                until=max(days),
                billed=total,
                charged=total - sum((one.difference for one in differences), Decimal(0)),
                time_zone=self._costs.calendar.name,
            )

    async def rebuild(self, *, actor: str) -> date | None:
        """Charge all anew from the facts, on record; see `Costs.rebuild`. Raises Conflict while that goes on."""
        async with self._recorder.recorded("rebuild costs", None, actor) as note:
            if self._rebuilding.locked():
                raise Conflict("Costs are being charged anew already; wait until that is done.")
            async with self._rebuilding:
                since = await self._costs.rebuild()
            note.change = "all of them" if since is None else f"from {since} on"
            return since

    async def _endpoints(self, names: Iterable[str]) -> frozenset[str]:
        """By their own names; also those that are in the books alone."""
        booked = set(await self._store.ledger_names())
        return frozenset(name if name in booked else self._named(name, booked) for name in names)

    def _named(self, name: str, booked: set[str]) -> str:
        try:
            return self._fleet.endpoint(name).spec.name
        except EndpointNotFound:
            known = {*booked, *(one.spec.name for one in self._fleet.endpoints())}
            raise EndpointNotFound(name, sorted(known)) from None

    def _check_providers(self, names: Iterable[str]) -> None:
        for name in names:
            if name not in self._fleet.providers:
                raise _unknown("provider", "no provider", name, self._fleet.providers)


def _tagged(query: CostQuery, tag: str | None, keys: Sequence[ApiKey]) -> CostQuery:
    """With what a tag asks for: one of them to be shown, or only the keys that have it."""
    if tag is None:
        return query
    name, is_pair, value = tag.partition("=")
    if not is_pair:
        if Dimension.TAG not in query.by:
            text = f"tag: a name alone says which tag `by=tag` shows; give that, or {_cut(tag)}=VALUE for one value."
            raise InvalidInput(text, field="tag")
        return dataclasses.replace(query, tag=tag)
    having = frozenset(key.id for key in keys if key.tags.get(name) == value)
    if not having:
        pairs = {f"{one}={other}" for key in keys for one, other in key.tags.items()}
        raise _unknown("tag", "no key is tagged", tag, pairs)
    return dataclasses.replace(query, tag=name, keys=having if query.keys is None else query.keys & having)


def _ids(names: Iterable[str], keys: Sequence[ApiKey]) -> Iterable[str]:
    """Keys by id or name (all that had it) as ids; accounts that are no keys as they are."""
    for name in names:
        found = [key.id for key in keys if name in {key.id, key.name}]
        if found:
            yield from found
        elif name == NOBODYS:
            yield NOBODY
        elif ":" in name:
            yield name
        else:
            raise _unknown("key", "no key", name, {key.name for key in keys})


def _days(billed: Mapping[tuple[str, date], Decimal]) -> list[date]:
    days = [day for _, day in billed]
    if not days:
        raise InvalidInput("bill: it has a heading, and no line below it.", field="bill")
    if wrong := next((day for day in days if not is_in_reach(day)), None):
        raise InvalidInput(f"bill: day: {wrong} is too far away to have been billed.", field="bill")
    return days


def _unknown(field: str, what: str, word: str, known: Iterable[str]) -> InvalidInput:
    names = sorted(known)
    near = difflib.get_close_matches(word[:_MOST_SHOWN], names, n=2)
    others = f"known are {', '.join(names[:_MOST_TOLD])}." if names else "none is known."
    hint = f"did you mean {' or '.join(near)}?" if near else others
    return InvalidInput(f"{field}: {what} {_cut(word)!r}; {hint}", field=field)


def _cut(word: str) -> str:
    return word if len(word) <= _MOST_SHOWN else word[: _MOST_SHOWN - 1] + "…"
