"""What the awake periods that last have come to, from memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from lamplighter.control.journal import Journal, Memory
from lamplighter.control.tariffs import Tariffs
from lamplighter.domain.closing import Position
from lamplighter.domain.endpoint import Endpoint, Transition
from lamplighter.domain.ledger import FRACTION, Carried, Hour, close
from lamplighter.domain.money import dollars
from lamplighter.domain.timeline import SECOND, Sighting, micros
from lamplighter.store import AuditRecord

_MOST_PENDING = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Accrued:
    """What an awake period has come to so far. `began` is Unix time, `account` who is charged for its beginning.

    What rounding adds at its end is not in it.
    """

    endpoint: str
    began: float
    account: str
    nanos: int

    @property
    def amount(self) -> Decimal:
        """In $."""
        return dollars(self.nanos)


class Accruals(Journal):
    """A journal that follows the awake periods as they go on record, and passes on.

    It is the ledger's own account, from memory and without who used what: for those who have to know at once.
    """

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._carried: dict[str, Carried] = {}
        self._news: dict[str, deque[Sighting]] = {}

    def seed(self, positions: Mapping[str, Position]) -> None:
        """Begin with what is on record; what is not yet, counts on top."""
        self._carried = {name: position.carried for name, position in positions.items()}
        for name, news in self._news.items():
            since = self._carried.get(name, Carried()).standing.since
            self._news[name] = deque((one for one in news if one.at > since), maxlen=_MOST_PENDING)

    def accrued(self, now: float, tariffs: Tariffs) -> dict[str, Accrued]:
        """See `Costs.accrued`."""
        names = [name for name, carried in self._carried.items() if carried.period or self._news.get(name)]
        names += [name for name in self._news if name not in self._carried]
        terms = tariffs.terms(names)
        found: dict[str, Accrued] = {}
        for name in names:
            news = self._news.pop(name, ())
            hour = Hour(0, micros(now), tuple(news))
            _, carried = close(self._carried.get(name, Carried()), hour, terms.prices[name], terms.rules)
            self._carried[name] = carried
            if (period := carried.period) is not None:
                found[name] = Accrued(
                    endpoint=name,
                    began=period.began / SECOND,
                    account=period.account[0],
                    nanos=period.cost // FRACTION,
                )
        return found

    async def transition(self, transition: Transition) -> None:
        self._news.setdefault(transition.endpoint, deque(maxlen=_MOST_PENDING)).append(_sighting(transition))
        await self._journal.transition(transition)

    async def recall(self, endpoint: str) -> Memory:
        return await self._journal.recall(endpoint)

    async def started(self, endpoint: str, at: float, duration: float) -> None:
        await self._journal.started(endpoint, at, duration)

    async def operation(self, record: AuditRecord) -> None:
        await self._journal.operation(record)

    async def remember(self, endpoints: Sequence[Endpoint]) -> None:
        await self._journal.remember(endpoints)

    async def forget(self, endpoint: str) -> None:
        self._carried.pop(endpoint, None)
        self._news.pop(endpoint, None)
        await self._journal.forget(endpoint)


def _sighting(transition: Transition) -> Sighting:
    lasted, seen = transition.duration, transition.seen_until
    return Sighting(
        number=0,
        at=micros(transition.at),
        before=transition.before,
        after=transition.after,
        lasted=None if lasted is None else micros(lasted),
        replicas=transition.replicas,
        provider=transition.provider,
        cause=transition.cause,
        route=transition.route,
        seen_until=None if seen is None else micros(seen),
    )
