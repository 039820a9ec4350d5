"""Looks after alarms: finds them, tells people of them, and remembers over a restart what was told."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import structlog

from lamplighter.config.file import AlarmSettings
from lamplighter.control.clock import Clock
from lamplighter.control.places import NotDelivered, Place, places_of
from lamplighter.control.recorder import Recorder
from lamplighter.domain.alarms import Alarm, AlarmKind, Bounds, Key, Watch
from lamplighter.domain.budgets import Standing
from lamplighter.domain.bulletin import Bulletin, Case, Notice
from lamplighter.domain.calendar import Calendar
from lamplighter.domain.endpoint import Endpoint
from lamplighter.domain.prices import FeedState

log = structlog.get_logger("lamplighter.alarms")

FILE = "alarms.json"
"""What was told, in the data folder."""

_MOST_REMEMBERED = 10_000


class Breakers(Protocol):
    """Whatever knows how the targets of routes are: the gateway does."""

    @property
    def breakers(self) -> Mapping[str, str]:
        """`closed`, `open` or `half-open`, by the target's name. Asked every few seconds on the event loop."""


class NoBreakers:
    """Where there are no routes."""

    @property
    def breakers(self) -> Mapping[str, str]:
        return {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """How often to look, and how hard to try (seconds).

    The n-th failure in a row is followed by a random pause of at most `pause · 2^n`, never more than `longest_pause`.
    At most `queue` notices wait for one place; then the oldest are dropped, and logged.
    """

    look_every: float = 5.0
    deadline: float = 20.0
    attempts: int = 10
    pause: float = 1.0
    longest_pause: float = 300.0
    queue: int = 100
    farewell: float = 2.0
    """How long a shutdown waits for what is being sent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """When to tell, and where."""

    bounds: Bounds = field(default_factory=Bounds)
    repeat_every: float = 6 * 3600.0
    places: Sequence[Place] = ()


def rules_of(settings: AlarmSettings) -> Rules:
    """What the configuration says. Raises InvalidInput for an address of no use, without the address in it."""
    return Rules(
        bounds=Bounds(
            awake=settings.awake_longer_than,
            overdue=settings.overdue_longer_than,
            idle=settings.idle_longer_than,
            unknown=settings.unknown_longer_than,
            prices=settings.prices_older_than,
            budgets=settings.budget_levels,
        ),
        repeat_every=settings.repeat_every,
        places=places_of(settings.urls, settings.webhook),
    )


class AlarmKeeper:
    """One task looks every few seconds; one task per place sends what there is to tell. Nothing waits for either."""

    def __init__(
        self,
        endpoints: Callable[[], Sequence[Endpoint]],
        rules: Rules,
        clock: Clock,
        *,
        breakers: Breakers | None = None,
        memory: Path | None = None,
        recorder: Recorder | None = None,
        feeds: Callable[[], Sequence[FeedState]] = tuple,
        budgets: Callable[[], Sequence[Standing]] = tuple,
        calendar: Calendar | None = None,
        delivery: Delivery | None = None,
    ) -> None:
        """`memory` is the file that keeps what was told; without one it is forgotten with the process.

        `feeds` tells how the sources of prices are, `budgets` how those are used, by that `calendar`; both are asked
        every few seconds on the event loop.
        """
        self._recorder = recorder
        self._endpoints = endpoints
        self.breakers: Breakers = breakers or NoBreakers()
        self._feeds = feeds
        self._budgets = budgets
        self._calendar = calendar or Calendar()
        self._clock = clock
        self._memory = memory
        self._delivery = delivery or Delivery()
        self._watch = Watch(rules.bounds)
        self._bulletin = Bulletin(repeat_every=rules.repeat_every)
        self._posts = [_Post(place, self._delivery) for place in rules.places]
        self._task: asyncio.Task[None] | None = None
        self._leaving: set[asyncio.Task[None]] = set()
        self._saved: str | None = None

    async def start(self) -> None:
        """Go on from what an earlier run told, and begin to look."""
        cases = await asyncio.to_thread(_read, self._memory) if self._memory is not None else []
        self._bulletin = Bulletin(repeat_every=self._bulletin.repeat_every, cases=cases)
        self._watch.take_up([case.alarm for case in self._bulletin.standing])
        for post in self._posts:
            post.start()
        self._task = asyncio.create_task(self._look_for_ever(), name="alarms")

    async def close(self) -> None:
        """Stop looking; what is being sent has a moment left."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        await asyncio.gather(*(post.close() for post in self._posts), *self._leaving, return_exceptions=True)

    def apply(self, rules: Rules) -> None:
        """Take new rules. What stands goes on standing; what waits for a place that is gone has a moment left."""
        self._watch.bounds = rules.bounds
        self._bulletin.repeat_every = rules.repeat_every
        for post in self._posts:
            closing = asyncio.create_task(post.close(), name="close a place of alarms")
            self._leaving.add(closing)
            closing.add_done_callback(self._leaving.discard)
        self._posts = [_Post(place, self._delivery) for place in rules.places]
        for post in self._posts:
            post.start()

    @property
    def standing(self) -> Sequence[Case]:
        """The alarms that were told and stand at this moment. One that has just ended is told as over a while later."""
        found = self._found(self._clock.wall())
        return [
            replace(case, alarm=found[case.alarm.key]) for case in self._bulletin.standing if case.alarm.key in found
        ]

    @property
    def places(self) -> Mapping[str, str | None]:
        """By name, where alarms are told, and what the last attempt there failed with; None: nothing."""
        return {post.name: post.trouble for post in self._posts}

    async def test(self, *, actor: str = "server") -> Mapping[str, str | None]:
        """Send a message to every place, at once and once, on record; tells by name what went wrong, None: nothing."""
        now = self._clock.wall()
        alarm = Alarm(
            kind=AlarmKind.TEST,
            endpoint="lamplighter",
            since=now,
            text="This is a test: alarms of this Lamplighter arrive here. Nothing is wrong.",
        )
        notice = Notice(alarm=alarm, at=now)
        posts = tuple(self._posts)
        try:
            results = await asyncio.gather(*(post.attempt(notice) for post in posts))
        except BaseException as error:
            await self._record_test(actor, error)
            raise
        found = {post.name: error for post, error in zip(posts, results, strict=True)}
        failed = "; ".join(f"{name}: {error.message}" for name, error in found.items() if error is not None)
        await self._record_test(actor, NotDelivered(failed) if failed else None)
        return {name: None if error is None else error.message for name, error in found.items()}

    async def _record_test(self, actor: str, error: BaseException | None) -> None:
        if self._recorder is not None:
            await self._recorder.write("test alarms", None, actor, error=error)

    async def _look_for_ever(self) -> None:
        while True:
            try:
                await self._look()
            except Exception:  # the next look may work: this task has to live
                log.exception("looking for alarms broke")
            await asyncio.sleep(self._delivery.look_every)

    async def _look(self) -> None:
        now = self._clock.wall()
        for notice in self._bulletin.news(self._found(now), now):
            _log(notice)
            for post in self._posts:
                post.add(notice)
        if self._memory is not None:
            await self._remember(self._memory)

    def _found(self, now: float) -> Mapping[Key, Alarm]:
        return self._watch.look(
            self._endpoints(),
            self.breakers.breakers,
            now,
            feeds=self._feeds(),
            budgets=self._budgets(),
            calendar=self._calendar,
        )

    async def _remember(self, memory: Path) -> None:
        """Write what was told, where that changed; a text that only counts on is no change."""
        cases = self._bulletin.cases[:_MOST_REMEMBERED]
        gist = json.dumps([_gist(case) for case in cases])
        if gist == self._saved:
            return
        try:
            await asyncio.to_thread(_write, memory, json.dumps([asdict(case) for case in cases]))
        except OSError as error:
            log.warning("alarms not remembered", file=str(memory), error=error.strerror)
        else:
            self._saved = gist


class _Post:
    """What waits for one place, and the task that sends it."""

    def __init__(self, place: Place, delivery: Delivery) -> None:
        self._place = place
        self._delivery = delivery
        self._queue: deque[Notice] = deque()
        self._some = asyncio.Event()
        self._empty = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.trouble: str | None = None

    @property
    def name(self) -> str:
        return self._place.name

    def start(self) -> None:
        self._empty.set()
        self._task = asyncio.create_task(self._work(), name=f"alarms to {self.name}")

    async def close(self) -> None:
        """Give what is queued a moment, then stop."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._delivery.farewell):
                await self._empty.wait()
        if self._queue:
            log.warning("notices not sent", place=self.name, count=len(self._queue), reason="the server ends")
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self._place.close()

    def add(self, notice: Notice) -> None:
        """Queue a notice; the oldest one makes room."""
        if len(self._queue) >= self._delivery.queue:
            self._queue.popleft()
            log.warning("notice dropped", place=self.name, reason="too many wait for this place")
        self._queue.append(notice)
        self._empty.clear()
        self._some.set()

    async def attempt(self, notice: Notice) -> NotDelivered | None:
        """Send once; tells what went wrong."""
        try:
            async with asyncio.timeout(self._delivery.deadline):
                await self._place.send(notice)
        except TimeoutError:
            error = NotDelivered(f"no answer within {self._delivery.deadline:g} s")
        except NotDelivered as refused:
            error = refused
        else:
            self.trouble = None
            return None
        self.trouble = error.message
        return error

    async def _work(self) -> None:
        while True:
            await self._some.wait()
            while self._queue:
                notice = self._queue[0]
                try:
                    await self._deliver(notice)
                except Exception:  # this task has to live: the next notice may go through
                    log.exception("sending a notice broke", place=self.name)
                with contextlib.suppress(ValueError):  # it may have made room meanwhile
                    self._queue.remove(notice)
            self._some.clear()
            self._empty.set()

    async def _deliver(self, notice: Notice) -> None:
        for failures in range(1, self._delivery.attempts + 1):
            error = await self.attempt(notice)
            if error is None:
                return
            if error.final or failures == self._delivery.attempts:
                _log_failure(self.name, notice, error, tries=failures)
                return
            ceiling = min(self._delivery.longest_pause, self._delivery.pause * 2**failures)
            await asyncio.sleep(random.uniform(ceiling / 2, ceiling))  # noqa: S311 - not a secret


def _log(notice: Notice) -> None:
    if notice.resolved:
        log.info("alarm is over", alarm=notice.alarm.kind.value, endpoint=notice.alarm.endpoint)
    else:
        log.error("alarm", alarm=notice.alarm.kind.value, endpoint=notice.alarm.endpoint, text=notice.text)


def _log_failure(place: str, notice: Notice, error: NotDelivered, *, tries: int) -> None:
    log.error("notice not sent", place=place, notice=notice.title, error=error.message, attempts=tries)


def _gist(case: Case) -> tuple[Any, ...]:
    return (case.alarm.kind, case.alarm.endpoint, case.told_at, case.calm, case.ended_at)


def _write(memory: Path, text: str) -> None:
    """In place of the old one, whole or not at all."""
    fresh = memory.with_name(f"{memory.name}.new")
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)
    fresh.replace(memory)


def _read(memory: Path) -> list[Case]:
    """What an earlier run told; nothing where that can't be read: then some of it is told again."""
    try:
        return [_case(saved) for saved in json.loads(memory.read_text("utf-8"))]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        log.warning("alarms told earlier are forgotten", file=str(memory), error=type(error).__name__)
        return []


def _case(saved: Mapping[str, Any]) -> Case:
    alarm = saved["alarm"]
    return Case(
        alarm=Alarm(
            kind=AlarmKind(alarm["kind"]),
            endpoint=str(alarm["endpoint"]),
            since=float(alarm["since"]),
            text=str(alarm["text"]),
            advice=str(alarm.get("advice", "")),
        ),
        told_at=float(saved["told_at"]),
        told=AlarmKind(saved.get("told") or alarm["kind"]),
        calm=float(saved["calm"]),
        ended_at=None if saved["ended_at"] is None else float(saved["ended_at"]),
    )
