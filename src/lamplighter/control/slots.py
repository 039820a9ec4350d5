"""The replicas of one endpoint: who takes requests now, who answered badly and rests, who can't be reached."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from lamplighter.control.clock import Clock
from lamplighter.domain.endpoint import Replica
from lamplighter.domain.outliers import OUTLIERS, Standing

_TIMER_SLACK = 0.001  # a timer may come a little early; who comes back at its moment would rest on


class Slot:
    """A replica, how many requests it is answering, and how well."""

    __slots__ = ("in_flight", "replica", "standing")

    def __init__(self, replica: Replica) -> None:
        self.replica = replica
        self.in_flight = 0
        self.standing = Standing()


class Slots:
    """`open` are those who take requests; the list stays the same one, so that it can be held on to.

    `on_back` is called when one that rested takes requests again, `on_rest` with its replica and the seconds when one
    is set aside. Neither may block.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        jitter: Callable[[], float],
        on_back: Callable[[], None],
        on_rest: Callable[[Replica, float], None],
    ) -> None:
        self.open: list[Slot] = []
        self._clock = clock
        self._jitter = jitter
        self._on_back = on_back
        self._on_rest = on_rest
        self._all: list[Slot] = []
        self._unreachable: set[Slot] = set()
        self._known: dict[Replica, Slot] = {}  # with those who are gone and have something in flight
        self._timer: asyncio.TimerHandle | None = None

    @property
    def doubtful(self) -> bool:
        """Whether a good answer of any of them would change anything."""
        return any(slot.standing.bad for slot in self._all)

    def set(self, replicas: Iterable[Replica]) -> None:
        """These are ready. Who is known goes on with what it has in flight, and rests on if it does."""
        known = self._known
        self._all = [known.get(replica) or Slot(replica) for replica in replicas]
        self._unreachable.clear()
        self._forget_the_gone()
        self._arrange()

    def clear(self) -> None:
        """None is ready; how they answered counts no more."""
        self._all = []
        self._unreachable.clear()
        self._forget_the_gone()
        for slot in self._known.values():
            slot.standing = Standing()
        self._arrange()

    def lose(self, slot: Slot) -> bool:
        """One can't be reached: it takes no requests until `set` names it again. False if it took none anyway."""
        if slot not in self._all or slot in self._unreachable:
            return False
        self._unreachable.add(slot)
        self._arrange()
        return True

    def struggled(self, slot: Slot) -> None:
        """One answered badly. With enough of that it rests, unless too many would."""
        if len(self._all) < 2 or not slot.standing.struggled(OUTLIERS) or slot not in self.open:
            return
        if len(self._all) - len(self.open) >= OUTLIERS.may_rest(len(self._all)):
            return
        seconds = slot.standing.rest(OUTLIERS, self._clock.now(), self._jitter())
        self._arrange()
        self._on_rest(slot.replica, seconds)

    def _forget_the_gone(self) -> None:
        kept = [slot for slot in self._known.values() if slot.in_flight]
        self._known = {slot.replica: slot for slot in (*kept, *self._all)}

    def _arrange(self) -> None:
        """Find out who takes requests. Of those who rest the first to come back do so now if too many were missing."""
        now = self._clock.now()
        there = [slot for slot in self._all if slot not in self._unreachable]
        resting = sorted((slot for slot in there if slot.standing.rests), key=_until)
        may_rest = OUTLIERS.may_rest(len(self._all)) - len(self._unreachable)
        for slot in list(resting):
            if now + _TIMER_SLACK < slot.standing.until and len(resting) <= may_rest:
                break
            slot.standing.come_back(now)
            resting.remove(slot)
        self.open[:] = [slot for slot in there if slot not in resting]
        self._set_timer(resting[0].standing.until if resting else None)

    def _set_timer(self, moment: float | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if moment is not None:
            self._timer = asyncio.get_running_loop().call_at(moment, self._come_back)

    def _come_back(self) -> None:
        self._arrange()
        self._on_back()


def _until(slot: Slot) -> float:
    return slot.standing.until
