"""Waiting for an endpoint: whichever comes first, a look at its status or its own health route."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, NoReturn

from lamplighter.domain.endpoint import BROKEN, Phase, State
from lamplighter.errors import (
    Conflict,
    InvalidInput,
    ProviderError,
    ProviderUnreachable,
    RateLimited,
    WakeFailed,
    WakeTimeout,
)
from lamplighter.hf.api import ManagementApi
from lamplighter.hf.records import Endpoint
from lamplighter.sdk.pacing import Pace
from lamplighter.sdk.status import number, own_words

log = logging.getLogger("lamplighter.sdk")

LONGEST_HOLD = 120.0
"""How long one health probe may be held by the provider's proxy; then another one is sent (seconds)."""

_AT_ONCE = 1.0  # an answer that came sooner was not held
_FRESH = 2.0  # a look this young needs no second one
_TICK = 1.0
_SETTLING = 15.0  # how long a provider may go on saying "asleep" after it took a resume
_MOST_RESUMES = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a start is: `elapsed` and `expected` in seconds; `expected` is learned from earlier starts, or None."""

    endpoint: Endpoint
    elapsed: float
    expected: float | None


OnProgress = Callable[[Progress], None]


class Vigil:
    """One wait for one endpoint. `seen` is how it was found; with `resumes` it may be resumed on the way.

    `timeout` is in seconds from `began`, a moment of the running loop's clock. `given_up_as` tells what becomes of a
    start that is too late, where it does not go on.
    """

    def __init__(
        self,
        api: ManagementApi,
        seen: Endpoint,
        *,
        began: float,
        timeout: float,
        expected: float | None = None,
        resumes: bool = False,
        on_progress: OnProgress | None = None,
        given_up_as: str | None = None,
    ) -> None:
        self.seen = seen
        self._given_up_as = given_up_as
        self._first_resume: float | None = None
        self._api = api
        self._now = asyncio.get_running_loop().time
        self._began = began
        self._timeout = timeout
        self._resumes = resumes
        self._on_progress = on_progress
        self._pace = Pace(began, expected)
        self._pace.called(began)  # somebody has looked to find `seen`
        self._seen_at = began
        self._resumed_at = began
        self._resume_count = 0
        self._confirms = 0
        self._was_up = False  # since it was resumed
        self._trouble: str | None = None
        self._judged = asyncio.Event()
        self._news = asyncio.Event()
        self._hurry = asyncio.Event()
        self._urgent = False
        self._asked_at: float | None = None  # when the question was sent that its proxy may be holding
        self._take_in(seen)

    async def until_ready(self) -> Endpoint:
        """Wait until its health route answers 200, while its provider does not say that it sleeps.

        Raises WakeFailed, WakeTimeout, and what the API raises for a token or a name that is of no use.
        """
        await self._first_of(self._look_for_ever(), self._probe_until_ready(), self._tick_for_ever())
        return self.seen

    async def until_asleep(self) -> Endpoint:
        """Wait until it is paused or scaled to zero. Raises ProviderError when it failed instead, WakeTimeout."""
        self._pace.expected = _TICK  # going to sleep is quick, where it is going at all
        await self._first_of(self._look_until_asleep(), self._tick_for_ever())
        return self.seen

    @property
    def took(self) -> float | None:
        """How long the start took that was begun here, in seconds; None when there was none to begin."""
        return self._now() - self._first_resume if self._first_resume is not None else None

    async def _resume(self) -> None:
        """Begin a start."""
        self._resume_count += 1
        self._was_up = False
        self._resumed_at = self._now()
        self._first_resume = self._resumed_at if self._first_resume is None else self._first_resume
        try:
            self._take_in(await self._api.resume(self.seen.name, self.seen.namespace))
        except (InvalidInput, Conflict):
            if self.seen.state != State.SCALED_TO_ZERO:
                raise
            await self._api.poke(self.seen)  # what only sleeps for want of requests may not take a resume

    # What goes on side by side.

    async def _first_of(self, *works: Coroutine[Any, Any, None]) -> None:
        """Run all until the first one ends, well or not; the others are ended before this returns."""
        tasks = [asyncio.create_task(work) for work in works]
        left = self._began + self._timeout - self._now()
        try:
            done, _ = await asyncio.wait(tasks, timeout=max(0.0, left), return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        if not done:
            raise self._too_late()
        for task in done:
            task.result()

    async def _look_for_ever(self) -> None:
        await self._judge()
        self._judged.set()
        while True:
            await self._until_due()
            if await self._look():
                await self._judge()

    async def _look_until_asleep(self) -> None:
        while not _sleeps(self.seen):
            if self.seen.state in BROKEN or self.seen.phase is Phase.ERROR:
                raise ProviderError(f"{self.seen.name} failed, and does not go to sleep by itself: {self._reason()}")
            await self._until(self._pace.next_call(self._now()))
            await self._look()

    async def _probe_until_ready(self) -> None:
        await self._judged.wait()
        while True:
            while not self._may_probe():
                self._news.clear()
                await self._news.wait()
            self._asked_at = asked = self._now()
            ready = await self._is_ready()
            self._asked_at = None
            if ready and await self._confirm(asked):
                return
            if self._now() - asked >= _AT_ONCE:  # it was held, and then the answer was no: the status may tell why
                self._urgent = True
                self._hurry.set()
            else:
                await self._until(self._pace.next_probe(self._now(), seems_up=self.seen.phase is Phase.RUNNING))

    async def _tick_for_ever(self) -> None:
        while True:
            if self._on_progress is not None:
                elapsed = self._now() - self._began
                self._on_progress(Progress(endpoint=self.seen, elapsed=elapsed, expected=self._pace.expected))
            await asyncio.sleep(_TICK)

    async def _until_due(self) -> None:
        """Wait until it is time for a look, which may change meanwhile."""
        while True:
            now = self._now()
            due = self._pace.next_call(now, held=self._is_held(), urgent=self._urgent)
            if due <= now:
                self._urgent = False
                return
            self._hurry.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(min(due, now + _TICK)):
                    await self._hurry.wait()

    def _is_held(self) -> bool:
        return self._asked_at is not None and self._now() - self._asked_at > _AT_ONCE

    async def _until(self, moment: float) -> None:
        await asyncio.sleep(max(0.0, moment - self._now()))

    # Looking and probing.

    async def _look(self) -> bool:
        """Ask how it is; False when nobody could be asked, which is no news of the endpoint."""
        self._pace.called(self._now())
        try:
            self._take_in(await self._api.get(self.seen.name, self.seen.namespace))
        except (ProviderUnreachable, RateLimited) as error:
            self._trouble = error.message
            log.warning("%s: its state could not be asked for: %s", self.seen.name, error.message)
            return False
        self._trouble = None
        return True

    def _take_in(self, seen: Endpoint) -> None:
        self.seen = seen
        self._seen_at = self._now()
        self._was_up = self._was_up or not _sleeps(seen)
        told = number(own_words(seen).get("expected_start"))
        if told is not None:
            self._pace.expected = told
        self._news.set()

    def _may_probe(self) -> bool:
        """Whether its health route is worth asking. A sleeping one is left alone: asking might wake it, and bill."""
        return self.seen.url is not None and (self._resumes or not _sleeps(self.seen))

    async def _is_ready(self) -> bool:
        left = self._began + self._timeout - self._now()
        return await self._api.is_ready(self.seen, hold=max(1.0, min(LONGEST_HOLD, left)))

    async def _confirm(self, asked: float) -> bool:
        """Whether the provider agrees that it does not sleep: a replica on its way out may answer for a while."""
        if self._seen_at > asked - _FRESH and self.seen.phase is Phase.RUNNING:
            return True
        if self._confirms:  # there is one look to spare, and no more
            await self._until(self._pace.next_call(self._now()))
        self._confirms += 1
        if not await self._look():
            return self._was_up
        if not _sleeps(self.seen):
            return True
        await self._judge()
        return False

    # Judging.

    async def _judge(self) -> None:
        """Raise when waiting is of no use; resume what may be resumed."""
        if self.seen.state in BROKEN or self.seen.phase is Phase.ERROR:
            raise WakeFailed(f"{self.seen.name} could not be started: {self._reason()}")
        turns_back = self.seen.phase is Phase.STOPPING and self._resumes and not self._resume_count
        if not _sleeps(self.seen) and not turns_back:
            return
        if not self._resumes:
            self._refuse_to_wait()
        if self._resume_count == 0:
            await self._resume()
        elif self.seen.state == State.PAUSED and self._was_up:
            raise WakeFailed(f"{self.seen.name} was paused while it started, by somebody else.")
        elif self._was_up or self._now() > self._resumed_at + _SETTLING:
            if self._resume_count >= _MOST_RESUMES:
                text = f"{self.seen.name} was resumed {self._resume_count} times and is {self.seen.state} again."
                raise WakeFailed(text)
            await self._resume()

    def _refuse_to_wait(self) -> NoReturn:
        name, state = self.seen.name, self.seen.state
        how = "paused: nothing wakes it but a resume" if state == State.PAUSED else "asleep: waiting does not wake it"
        raise WakeFailed(f"{name} is {how}. `lamplighter start {name}` resumes it and waits.")

    def _reason(self) -> str:
        said = self.seen.status.error_message or self.seen.status.message
        return said.strip() if said else f"its provider says {self.seen.state!r} and gives no reason."

    def _too_late(self) -> WakeTimeout:
        name, said = self.seen.name, self.seen.status.message
        detail = f" ({said.strip()[:300]})" if said else ""
        age = self._now() - self._seen_at
        trouble = f" Its provider could not be asked for {age:.0f} s: {self._trouble}." if self._trouble else ""
        goes_on = f"It goes on by itself, and may be billed; `lamplighter stop {name}` ends that."
        return WakeTimeout(
            f"{name} was not there after {self._timeout:g} s: its last state was {self.seen.state!r}{detail}.{trouble} "
            f"{self._given_up_as or goes_on}"
        )


def _sleeps(endpoint: Endpoint) -> bool:
    return endpoint.phase is Phase.SLEEPING
