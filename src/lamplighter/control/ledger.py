"""Puts on record what happens to one endpoint, and why."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable

import structlog

from lamplighter.control.clock import Clock
from lamplighter.control.journal import Journal, log_fields
from lamplighter.domain.accounts import Account
from lamplighter.domain.endpoint import State, Status, Transition
from lamplighter.errors import LamplighterError
from lamplighter.store import AuditRecord

log = structlog.get_logger("lamplighter.control")

VERB_TIMEOUT = 30.0
"""A verb only begins something; a provider that has not answered by then is asked what came of it (seconds)."""

SLEEP_NOT_CONFIRMED = "sleep not confirmed"
"""The operation that failed where a provider accepted a sleep and never did it."""
WAKE_NOT_CONFIRMED = "wake not confirmed"
"""The same where a wake was accepted, or asked for, and the endpoint did not come up."""
ASKED = "asked"
"""What is on record of a verb that a provider accepted: the state tells whether it was done."""


class Ledger:
    """Knows the cause of what is done now: a reason, and on whose behalf."""

    def __init__(
        self, endpoint: str, journal: Journal, clock: Clock, *, provider: str = "", watched_until: float | None = None
    ) -> None:
        self._endpoint = endpoint
        self._journal = journal
        self._clock = clock
        self._provider = provider
        self._watched_until = watched_until
        self._reason = self._actor = ""
        self._waking: str | None = None  # on whose behalf a wake was accepted that is not done yet
        self._unmet: list[tuple[str, str]] = []  # for whom it did not come up, and why
        self._account: Account = ("", "")
        self._replicas = 0
        self._gone = False
        self.seen()

    def because(self, reason: str, actor: str, account: Account = ("", "")) -> None:
        """From here on this is why, and on whose account."""
        self._reason, self._actor, self._account = reason, actor, account

    def seen(self) -> None:
        """What comes now is not our doing."""
        self.because("seen", "provider")

    def is_news(self, before: State | None, after: State | None, replicas: int) -> bool:
        """Whether this is not on record yet."""
        return before is not after or self._gone or replicas != self._replicas

    async def changed(self, before: State | None, status: Status, lasted: float, replicas: int) -> None:
        """A state has followed another one, which had lasted so many seconds; so many replicas are billed in it.

        Where the state is the same as before, it is their number that has changed.
        """
        before, self._gone = None if self._gone else before, False
        cause, route = self._account
        transition = Transition(
            endpoint=self._endpoint,
            at=self._clock.wall(),
            before=before,
            after=status.state,
            reason=self._reason,
            actor=self._actor,
            message=status.message,
            duration=None if before is None else lasted,
            cause=cause,
            route=route,
            provider=self._provider,
            replicas=replicas,
            seen_until=self._watched_until if before is None else None,
        )
        self._replicas, self._watched_until = replicas, None
        await self._journal.transition(transition)
        log.info(
            "state",
            endpoint=self._endpoint,
            before=before,
            after=status.state,
            reason=self._reason,
            actor=self._actor,
        )

    async def still(self, state: State, lasted: float, reason: str) -> None:
        """Nothing has changed for so many seconds: for the record, where the wall clock would tell something else."""
        await self._journal.transition(self._without_change(state, state, lasted, reason))

    async def over(self, before: State | None, lasted: float, reason: str) -> None:
        """It is looked after no more, or gone, after a state that had lasted so many seconds; said again, nothing."""
        if self._gone or before is None:
            return
        self._gone = True
        await self._journal.transition(self._without_change(before, None, lasted, reason))

    def _without_change(self, before: State, after: State | None, lasted: float, reason: str) -> Transition:
        return Transition(
            endpoint=self._endpoint,
            at=self._clock.wall(),
            before=before,
            after=after,
            reason=reason,
            actor="server",
            duration=lasted,
            provider=self._provider,
            replicas=self._replicas,
        )

    async def call(
        self, verb: str, call: Awaitable[object], *, expected: type[Exception] | None = None
    ) -> Exception | None:
        """Make one call of a provider's verb; tells what went wrong, if anything did. What is expected is no news."""
        error: LamplighterError | TimeoutError | None = None
        try:
            async with asyncio.timeout(VERB_TIMEOUT):
                await call
        except (LamplighterError, TimeoutError) as caught:
            error = caught
        if expected is not None and isinstance(error, expected):
            return error
        await self._record(verb, None if error is None else text_of(error), change=ASKED if error is None else None)
        return error

    async def failed(self, operation: str, error: str) -> None:
        """Record that something which had been accepted did not happen, on behalf of who had asked for it."""
        await self._record(operation, error)

    def wake_accepted(self) -> None:
        """A provider has accepted a wake: what comes of it is somebody's concern."""
        self._waking = self._actor

    def wake_is_over(self) -> None:
        """It is up, or nobody wants it up any more."""
        self._waking = None

    def wake_failed(self, error: str, *, asker: str | None = None) -> None:
        """What had been accepted, or asked for by `asker`, came to nothing; `settle` puts it on record."""
        actor = self._waking if asker is None else asker
        if actor is not None:
            self._unmet.append((actor, error))
        self._waking = None

    async def settle(self) -> None:
        """Record the wakes that came to nothing."""
        unmet, self._unmet = self._unmet, []
        for actor, error in unmet:
            await self._record(WAKE_NOT_CONFIRMED, error, actor=actor)

    async def _record(self, operation: str, error: str | None, *, change: str | None = None, actor: str = "") -> None:
        record = AuditRecord(
            at=self._clock.wall(),
            actor=actor or self._actor,
            operation=operation,
            endpoint=self._endpoint,
            success=error is None,
            error=error,
            change=change,
        )
        log.info("operation", **log_fields(record))
        await self._journal.operation(record)


def text_of(error: BaseException) -> str:
    """What a person is told of a call that failed."""
    return str(error) or f"no answer in {VERB_TIMEOUT:g} s"
