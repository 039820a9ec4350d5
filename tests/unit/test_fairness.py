"""Who is next of those who wait: priorities, fair turns between keys, and nobody lost."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lamplighter.domain.fairness import FairQueue


@dataclass(frozen=True)
class Entry:
    number: int
    key: str
    priority: int


class Line:
    """A queue, and what is known to be in it."""

    def __init__(self) -> None:
        self.queue: FairQueue[Entry] = FairQueue()
        self.there: list[Entry] = []
        self.count = 0

    def add(self, key: str, priority: int = 0) -> Entry:
        self.count += 1
        entry = Entry(self.count, key, priority)
        self.queue.add(entry, key=key, priority=priority)
        self.there.append(entry)
        return entry

    def pop(self) -> Entry:
        entry = self.queue.pop()
        self.there.remove(entry)
        return entry

    def drain(self) -> list[Entry]:
        return [self.pop() for _ in range(len(self.queue))]


def test_a_key_that_fills_the_queue_does_not_starve_one_with_a_single_request() -> None:
    line = Line()
    for _ in range(10_000):
        line.add("greedy")
    modest = line.add("modest")
    assert modest in [line.pop(), line.pop()]


def test_keys_take_turns_and_each_is_served_in_the_order_in_which_it_came() -> None:
    line = Line()
    for key in "aaabbc":
        line.add(key)
    assert [entry.number for entry in line.drain()] == [1, 4, 6, 2, 5, 3]


def test_a_key_whose_last_entry_was_taken_goes_to_the_end_of_the_round() -> None:
    line = Line()
    line.add("a")
    line.add("b")
    line.add("b")
    assert line.pop().key == "a"
    line.add("a")
    assert [entry.key for entry in line.drain()] == ["b", "a", "b"]


def test_a_higher_priority_goes_first_whoever_came_before() -> None:
    line = Line()
    for priority in (0, -5, 7, 0, 7):
        line.add("k", priority)
    assert [entry.priority for entry in line.drain()] == [7, 7, 0, 0, -5]


def test_what_was_withdrawn_is_not_there_any_more() -> None:
    line = Line()
    first, second = line.add("a"), line.add("a")
    assert line.queue.discard(first, key="a", priority=0)
    assert not line.queue.discard(first, key="a", priority=0)
    assert not line.queue.discard(first, key="b", priority=3)
    assert line.queue.pop() == second
    with pytest.raises(IndexError):
        line.queue.pop()


def test_in_a_full_queue_the_key_with_most_loses_its_last_to_one_with_less() -> None:
    line = Line()
    for key in "aaab":
        line.add(key)
    displaced = line.queue.displace(key="c", priority=0)
    assert displaced == Entry(3, "a", 0)
    assert line.queue.displace(key="a", priority=0) is None, "it has most itself"
    assert line.queue.displace(key="b", priority=0) is None, "then it would have more than the other one"


def test_in_a_full_queue_a_higher_priority_takes_the_place_of_a_lower_one_and_never_the_reverse() -> None:
    line = Line()
    low = [line.add("a", 0), line.add("b", 0), line.add("b", 0)]
    line.add("a", 5)
    assert line.queue.displace(key="c", priority=-1) is None
    assert [line.queue.displace(key="a", priority=5) for _ in range(3)] == [low[2], low[0], low[1]]
    assert line.queue.displace(key="a", priority=5) is None


_KEYS = st.sampled_from("abcd")
_PRIORITIES = st.sampled_from([-1, 0, 3])
_STEPS = st.one_of(
    st.tuples(st.just("add"), _KEYS, _PRIORITIES),
    st.tuples(st.just("pop"), st.none(), st.none()),
    st.tuples(st.just("discard"), st.integers(0, 40), st.none()),
    st.tuples(st.just("displace"), _KEYS, _PRIORITIES),
)


@given(st.lists(_STEPS, max_size=80))
@settings(deadline=None)
def test_over_any_history_nobody_is_lost_priorities_hold_and_keys_take_turns(
    steps: list[tuple[str, object, int]],
) -> None:
    line = Line()
    since: dict[Entry, set[tuple[str, int]]] = {}
    """For each that waits: the keys of its priority that were served since it came."""

    def served(entry: Entry) -> None:
        assert entry.priority == max(one.priority for one in [*line.there, entry])
        same = [one for one in line.there if (one.key, one.priority) == (entry.key, entry.priority)]
        assert all(one.number > entry.number for one in same), "each key's entries in the order in which they came"
        since.pop(entry, None)
        firsts = {(one.key, one.priority): one for one in reversed(line.there)}
        for one in firsts.values():
            if one.priority == entry.priority and one.key != entry.key:
                assert entry.key not in {key for key, _ in since.setdefault(one, set())}, "twice, while another waited"
                since[one].add((entry.key, entry.priority))

    for verb, argument, priority in steps:
        if verb == "add":
            line.add(str(argument), priority)
        elif verb == "pop" and line.there:
            served(line.pop())
        elif verb == "discard" and line.there:
            assert isinstance(argument, int)
            gone = line.there.pop(argument % len(line.there))
            since.pop(gone, None)
            assert line.queue.discard(gone, key=gone.key, priority=gone.priority)
        elif verb == "displace" and line.there:
            displaced = line.queue.displace(key=str(argument), priority=priority)
            if displaced is not None:
                line.there.remove(displaced)
                since.pop(displaced, None)
                assert displaced.priority == min(one.priority for one in [*line.there, displaced])
        assert len(line.queue) == len(line.there)
    left = list(line.there)
    assert sorted(line.drain(), key=lambda one: one.number) == left
