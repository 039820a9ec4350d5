"""Who is next of those who wait: a higher priority first, and within one priority fair between keys."""

from __future__ import annotations

from bisect import insort
from collections import OrderedDict
from collections.abc import Iterator
from typing import Generic, TypeVar

T = TypeVar("T")


class FairQueue(Generic[T]):
    """Within a priority one key comes after the other, and of each key the entry that has waited longest.

    As long as anybody of a higher priority waits, nobody of a lower one is next. Entries are told apart by their
    identity. Adding, taking the next one out and withdrawing take the same time however many there are; it grows with
    the number of different priorities alone.
    """

    def __init__(self) -> None:
        # Ordered dictionaries take their first entry out in constant time; a plain one walks over what was taken out.
        self._lanes: dict[int, OrderedDict[str, OrderedDict[T, None]]] = {}
        self._priorities: list[int] = []  # ascending
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[T]:
        """All who wait, in no order that counts."""
        for lane in self._lanes.values():
            for line in lane.values():
                yield from line

    def add(self, entry: T, *, key: str, priority: int) -> None:
        """Let one more wait."""
        lane = self._lanes.get(priority)
        if lane is None:
            lane = self._lanes[priority] = OrderedDict()
            insort(self._priorities, priority)
        line = lane.get(key)
        if line is None:
            line = lane[key] = OrderedDict()
        line[entry] = None
        self._size += 1

    def pop(self) -> T:
        """Take out who is next. Raises IndexError when nobody waits."""
        priority = self._priorities[-1]
        lane = self._lanes[priority]
        key, line = next(iter(lane.items()))
        lane.move_to_end(key)
        return self._take(line, key, priority, last=False)

    def discard(self, entry: T, *, key: str, priority: int) -> bool:
        """Take out one that waits no longer; False if it was taken out already."""
        lane = self._lanes.get(priority)
        line = lane.get(key) if lane is not None else None
        if line is None or entry not in line:
            return False
        line.move_to_end(entry)
        self._take(line, key, priority, last=True)
        return True

    def displace(self, *, key: str, priority: int) -> T | None:
        """Take out who has to go where all places are taken and one of this key comes; None when that has to go.

        Of the lowest priority, and there of the key that has most, goes the last to have come: so a key that fills the
        queue leaves room for others. The newcomer has to go if that key has no more than its own would have then. Looks
        at each key of the lowest priority, unless the newcomer's key has its share already.
        """
        lowest = self._priorities[0]
        if priority < lowest:
            return None
        lane = self._lanes[lowest]
        own = len(lane.get(key, ())) if priority == lowest else -1
        if own * len(lane) >= self._size:
            return None
        most = max(lane, key=lambda name: len(lane[name]))
        if len(lane[most]) <= own + 1:
            return None
        return self._take(lane[most], most, lowest, last=True)

    def _take(self, line: OrderedDict[T, None], key: str, priority: int, *, last: bool) -> T:
        entry, _ = line.popitem(last=last)
        self._size -= 1
        if not line:
            lane = self._lanes[priority]
            del lane[key]
            if not lane:
                del self._lanes[priority]
                self._priorities.remove(priority)
        return entry
