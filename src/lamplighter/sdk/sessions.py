"""`session`: an endpoint that is ready while the context lasts, and paused in every way out."""

from __future__ import annotations

import asyncio
import logging
import random
import warnings
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from types import TracebackType

from lamplighter.errors import InvalidInput, LamplighterError, NotAllowed, ProviderError
from lamplighter.hf.records import Endpoint
from lamplighter.sdk.keepers import Ended, Keeper
from lamplighter.sdk.settling import NotAsleep

log = logging.getLogger("lamplighter.sdk")

SHORTEST_LEASE, LONGEST_LEASE = 5.0, 3600.0

_BEATS = 3  # heartbeats per lease: two may be lost
_END_PAUSES = (0.5, 1.0, 2.0, 4.0)
_END_PATIENCE = 45.0
_BEGIN_PATIENCE = 5.0  # for a beginning that is interrupted


class SessionWarning(UserWarning):
    """Something about a session that somebody has to know of: it lost its hold, or an endpoint may still be running."""


class Session(AbstractAsyncContextManager[Endpoint]):
    """One use of `AsyncClient.session`; it can be entered once. `by_hand` is what pauses in its place, for people.

    `make_keeper` decides what stands behind it; `start` begins and waits for the endpoint, `resume` only begins. While
    it is open it is in the set `kept_in`.
    """

    def __init__(
        self,
        name: str,
        *,
        lease: float,
        make_keeper: Callable[[], Awaitable[Keeper]],
        start: Callable[[], Awaitable[Endpoint]],
        resume: Callable[[], Awaitable[Endpoint]],
        by_hand: Callable[[], str],
        kept_in: set[Session],
    ) -> None:
        if (
            isinstance(lease, bool)
            or not isinstance(lease, int | float)
            or not SHORTEST_LEASE <= lease <= LONGEST_LEASE
        ):
            text = f"lease: {lease!r} s is not between {SHORTEST_LEASE:g} and {LONGEST_LEASE:g} seconds."
            raise InvalidInput(text, field="lease")
        self._name = name
        self._lease = lease
        self._make_keeper = make_keeper
        self._start = start
        self._resume = resume
        self._by_hand = by_hand
        self._kept_in = kept_in
        self._keeper: Keeper | None = None
        self._beating: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Endpoint:
        if self._keeper is not None:
            raise LamplighterError("A session can be entered once: make another one.")
        self._keeper = await self._make_keeper()
        self._kept_in.add(self)
        try:
            await self._begin(self._keeper)
            self._beating = asyncio.create_task(self._beat_for_ever(self._keeper), name=f"session {self._name}")
            return await self._start()
        except BaseException as error:
            await self._leave(error)  # it may be starting, and billed
            raise

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._leave(error)

    async def _begin(self, keeper: Keeper) -> None:
        """Begin to hold it. Cut off halfway, nobody would know of a lease that the server has opened already."""
        beginning = asyncio.create_task(keeper.begin(), name=f"begin of session {self._name}")
        try:
            await asyncio.shield(beginning)
        except asyncio.CancelledError:
            await asyncio.wait([beginning], timeout=_BEGIN_PATIENCE)
            beginning.cancel()
            await asyncio.gather(beginning, return_exceptions=True)
            raise

    async def leave_at_last(self) -> None:
        """Leave a session that nobody left, because its client is closed."""
        try:
            await self._leave(None)
        except ProviderError as error:
            tell(error.message)

    # Heartbeats.

    async def _beat_for_ever(self, keeper: Keeper) -> None:
        """Say that the session lives, often enough that two beats may be lost."""
        while True:
            await asyncio.sleep(self._lease / _BEATS * random.uniform(0.8, 1.0))  # noqa: S311 - no secret
            try:
                async with asyncio.timeout(self._lease / _BEATS):
                    await keeper.beat()
            except Ended as error:
                await self._begin_again(keeper, error)
            except (LamplighterError, TimeoutError) as error:
                log.warning("%s: a heartbeat failed: %s", self._name, error or "no answer")
            except Exception:
                log.exception("%s: a heartbeat broke", self._name)  # the next one may work: this task has to live

    async def _begin_again(self, keeper: Keeper, why: Ended) -> None:
        """Hold the endpoint anew: it is still used. It may sleep now, so that requests fail until it is back."""
        tell(f"{why.message} It is resumed, and held anew.")
        try:
            await keeper.begin()
            await self._resume()  # without waiting for the end: heartbeats have to go on
        except LamplighterError as error:
            tell(f"The session on {self._name!r} holds nothing now: {error.message}")

    # Leaving.

    async def _leave(self, travelling: BaseException | None) -> None:
        keeper = self._keeper
        if keeper is None or self not in self._kept_in:
            return
        self._kept_in.discard(self)
        try:
            await self._stop_beating()
            failure = await self._end(keeper)
        except BaseException:
            await keeper.abandon()  # interrupted: what stands behind ends it
            raise
        if failure is not None:
            await keeper.abandon()
            self._report(keeper, failure, travelling)

    async def _stop_beating(self) -> None:
        task, self._beating = self._beating, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])

    async def _end(self, keeper: Keeper) -> LamplighterError | None:
        """End it, trying a few times; tells what it failed with in the end."""
        failure: LamplighterError | None = None
        try:
            async with asyncio.timeout(_END_PATIENCE):
                for pause in (*_END_PAUSES, None):
                    try:
                        note = await keeper.end()
                    except (NotAllowed, NotAsleep) as error:
                        return error  # no attempt will be better
                    except LamplighterError as error:
                        failure = error
                    else:
                        if note is not None:
                            tell(f"{note} {self._by_hand()}")
                        return None
                    if pause is not None:
                        await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 - no secret
        except TimeoutError:
            failure = failure or ProviderError("no answer came in time.")
        return failure

    def _report(self, keeper: Keeper, failure: LamplighterError, travelling: BaseException | None) -> None:
        """Raise, unless something else is on its way out already."""
        text = (
            f"{self._name!r} could not be paused at the end of its session, and may be running and billed: "
            f"{failure.message} {keeper.behind(failure)} {self._by_hand()}"
        )
        if travelling is None:
            raise ProviderError(text) from failure
        travelling.add_note(text)
        tell(text)


def tell(text: str) -> None:
    """Warn loudly; where warnings are errors, the error is logged, because there is nobody to raise it to."""
    try:
        warnings.warn(text, SessionWarning, stacklevel=3)
    except SessionWarning:
        log.error("%s", text)  # noqa: TRY400 - the text is all
