"""Asks one feed of prices again and again, and takes what of its answers can be believed."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal

import structlog

from lamplighter.control.clock import Clock
from lamplighter.control.feeds import Feed, Heard
from lamplighter.domain.catalogue import Catalogue
from lamplighter.domain.prices import UNITS, FeedState, Listing, Refusal, Told, judged
from lamplighter.errors import LamplighterError, ProviderError, RateLimited

log = structlog.get_logger("lamplighter.prices")

_MOST_REFUSED = 1000
_AT_ONCE = 200  # some 2 ms of work
_SOONEST = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedPace:
    """How often feeds are asked, and how patiently (seconds).

    `every`: after a good answer, a tenth more or less by chance. `deadline`: for one answer, with all repetitions. The
    n-th failure in a row is followed by a random pause from the upper half of `base · 2^n`, at most `cap`, and never
    less than the feed asked for, up to `longest_told`. What a feed has not told for `forget` is no longer shown.
    """

    every: float = 3600.0
    deadline: float = 60.0
    base: float = 30.0
    cap: float = 1800.0
    longest_told: float = 86400.0
    forget: float = 30 * 86400.0

    def after_success(self, chance: float) -> float:
        """The pause after a good answer; `chance` is a random number from 0 to 1."""
        return max(_SOONEST, self.every * (0.9 + 0.2 * chance))

    def after_failure(self, failures: int, chance: float, told: float | None) -> float:
        """The pause after so many failures in a row; `told` is what the feed asked for."""
        own = min(self.cap, self.base * 2.0 ** min(failures - 1, 30)) * (0.5 + 0.5 * chance)
        return max(_SOONEST, own if told is None else max(own, min(told, self.longest_told) + self.base * chance))


Take = Callable[[Sequence[Listing], str, float], Awaitable[None]]
"""Takes the good listings of a whole answer: them, their source, and when they were told (Unix time)."""


class FeedKeeper:
    """One feed, with how it is. `take` is given what can be believed; what was known before stays otherwise."""

    def __init__(
        self,
        feed: Feed,
        known: Catalogue,
        take: Take,
        clock: Clock,
        pace: FeedPace,
        *,
        checked_at: float | None = None,
        not_before: float = float("-inf"),
        chance: Callable[[], float] = random.random,
    ) -> None:
        self.feed = feed
        self.state = FeedState(source=feed.source, asks=feed.asks, checked_at=checked_at)
        self._known = known
        self._take = take
        self._clock = clock
        self._pace = pace
        self._chance = chance
        self._failures = 0
        self._asking = asyncio.Lock()
        self._not_before = not_before
        self._due = float("-inf")
        self._planned = asyncio.Event()
        if not_before > clock.now():
            self.state = replace(self.state, next_at=clock.wall() + not_before - clock.now())

    @property
    def not_before(self) -> float:
        """The monotonic moment until which the feed wants to be left alone; in the past where it does not."""
        return self._not_before

    async def ask_for_ever(self) -> None:
        """Ask now, or once the feed need not be left alone any more; and again after each pause.

        Somebody who asks between sets the next time anew, an earlier as well as a later one.
        """
        self._due = max(self._clock.now(), self._not_before)
        while True:
            self._planned.clear()
            pause = self._due - self._clock.now()
            if pause <= 0:
                await self.ask()
                continue
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._planned.wait()

    async def ask_again(self) -> None:
        """Ask now, because somebody wants to know; not while the feed wants to be left alone."""
        if self._clock.now() >= self._not_before:
            await self.ask()

    async def ask(self) -> float:
        """Ask once; tells how long to wait before the next time (seconds)."""
        async with self._asking:
            self.state = replace(self.state, asked_at=self._clock.wall())
            try:
                async with asyncio.timeout(self._pace.deadline):
                    heard = await self.feed.ask()
                await self._judge(heard)
            except TimeoutError:
                return self._failed(ProviderError(f"no whole answer within {self._pace.deadline:g} s"))
            except LamplighterError as error:
                return self._failed(error)
            except Exception:  # this task has to live: the next answer may be a better one
                log.exception("asking for prices broke", source=self.feed.source)
                return self._failed(ProviderError("it answered something that nobody here understands"))
            return self._went_well()

    async def _judge(self, heard: Heard) -> None:
        """Take what can be believed. Raises ProviderError where that is nothing of what was told."""
        now = self._clock.wall()
        good: list[Listing] = []
        refused: list[Refusal] = []
        for index, told in enumerate(heard.told, start=1):
            found = judged(told, self.feed.source, now, self._last_good(told))
            if isinstance(found, Listing):
                good.append(found)
            elif len(refused) < _MOST_REFUSED:
                refused.append(found)
            if index % _AT_ONCE == 0:
                await asyncio.sleep(0)
        if refused:
            log.warning("prices refused", source=self.feed.source, count=len(refused), first=str(refused[0]))
        self.state = replace(self.state, refused=tuple(refused), left_out=heard.left_out, listed=len(good))
        if refused and not good:
            raise ProviderError(f"none of its prices can be believed: {refused[0]}")
        await self._take(good, self.feed.source, now)
        self.state = replace(self.state, checked_at=now)

    def _last_good(self, told: Told) -> Decimal | None:
        if told.per not in UNITS:
            return None
        return self._known.last_good(told.kind, told.subject, UNITS[told.per][0], self.feed.source, told.region)

    def _went_well(self) -> float:
        if self._failures:
            log.info("prices are told again", source=self.feed.source)
        self._failures = 0
        pause = self._pace.after_success(self._chance())
        self._plan(pause, pause=None)
        self.state = replace(self.state, failing_since=None, error=None)
        return pause

    def _failed(self, error: LamplighterError) -> float:
        self._failures += 1
        told = error.retry_after if isinstance(error, RateLimited) else None
        pause = self._pace.after_failure(self._failures, self._chance(), told)
        now = self._clock.wall()
        since = self.state.failing_since if self.state.failing_since is not None else now
        self._plan(pause, pause=told)
        self.state = replace(self.state, failing_since=since, error=error.message)
        log.warning("prices not told", source=self.feed.source, error=error.message, again_in=round(pause))
        return pause

    def _plan(self, following: float, *, pause: float | None) -> None:
        self._due = self._clock.now() + following
        self._not_before = float("-inf") if pause is None else self._due
        self._planned.set()
        self.state = replace(self.state, next_at=self._clock.wall() + following)
