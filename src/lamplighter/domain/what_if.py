"""What an endpoint would have cost, had it slept sooner or later, or never. Pure.

Requests are played again as they came (`breakeven.Pattern`), under each idle timeout. What the ledger has charged, and
what it knows of staying awake all the time, stands beside that. Durations are in seconds, amounts in $.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from decimal import Decimal

from lamplighter.domain.breakeven import Amount, Basis, Pattern, Terms

USUAL = (60.0, 300.0, 900.0, 1800.0, 3600.0)
"""The idle timeouts that are always tried (seconds)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Booked:
    """What the ledger says of the same time: what was paid, and what staying awake would have cost, if it is known.

    `seconds` are those of billed replicas; of `unpriced` among them no price was known.
    """

    paid: Decimal = Decimal(0)
    always: Decimal | None = None
    seconds: float = 0.0
    unpriced: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One way of having had it. `idle_timeout` None: awake all the time.

    `seconds` are those of billed replicas, None where nobody counted them. `cold_starts` is how often a request would
    have found it asleep, `more` by how much that is more often than under the timeout that it has.
    """

    idle_timeout: float | None
    amount: Amount
    seconds: float | None
    cold_starts: int
    more: int
    is_own: bool = False


def as_it_was(booked: Booked) -> Amount:
    """What was paid."""
    if booked.seconds and booked.unpriced >= booked.seconds:
        return Amount(None, Basis.UNKNOWN, "no price was known for the time awake")
    if booked.unpriced:
        return Amount(booked.paid, Basis.AT_LEAST, f"for {booked.unpriced / 3600:.2f} h awake no price was known")
    return Amount(booked.paid, Basis.LEDGER)


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """The same requests under any idle timeout.

    `pattern` None: there were none. `per_hour` is the price of all `replicas` now; None: not known. `start` is for how
    long a start is billed. `own` is the timeout that it has; None: it never sleeps by itself.
    """

    pattern: Pattern | None
    per_hour: Decimal | None
    replicas: int
    start: float
    own: float | None

    def always(self, booked: Booked, window: float) -> Setting:
        """Awake all the time: as the ledger has it, where it knows all the prices; else all of `window` seconds."""
        amount: Amount = self._cost(window)
        seconds: float | None = window * self.replicas
        if booked.always is not None and not booked.unpriced:
            amount, seconds = Amount(booked.always, Basis.LEDGER), None
        return Setting(
            idle_timeout=None,
            amount=amount,
            seconds=seconds,
            cold_starts=0,
            more=-self._wakes(self.own),
            is_own=self.own is None,
        )

    def each(self, asked: Collection[float]) -> Sequence[Setting]:
        """Under the usual timeouts, its own and those that are asked for, the shortest first."""
        own = () if self.own is None else (self.own,)
        return [self._under(timeout) for timeout in sorted({*USUAL, *own, *asked})]

    def _under(self, timeout: float) -> Setting:
        awake = self.pattern.awake(timeout, self.start) if self.pattern is not None else 0.0
        return Setting(
            idle_timeout=timeout,
            amount=self._cost(awake),
            seconds=awake * self.replicas,
            cold_starts=self._wakes(timeout),
            more=self._wakes(timeout) - self._wakes(self.own),
            is_own=timeout == self.own,
        )

    def _cost(self, seconds: float) -> Amount:
        if self.per_hour is None:
            return Amount(None, Basis.UNKNOWN, "no price known")
        terms = Terms(per_hour=self.per_hour, idle_timeout=None)
        return Amount(terms.of_seconds(seconds), Basis.ESTIMATE)

    def _wakes(self, timeout: float | None) -> int:
        return 0 if self.pattern is None or timeout is None else self.pattern.wakes(timeout)
