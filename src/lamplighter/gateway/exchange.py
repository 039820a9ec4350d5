"""One request in progress: what is known of it, its deadline, and how it is interrupted."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from time import monotonic

from lamplighter.control.demand import Claim
from lamplighter.domain.usage import Outcome, UsageRecord
from lamplighter.gateway.address import Address
from lamplighter.gateway.asgi import Receive, Send
from lamplighter.gateway.refusals import ClientGone
from lamplighter.gateway.request import Request
from lamplighter.gateway.services import Services
from lamplighter.gateway.tasks.translation import Translation
from lamplighter.gateway.upstream import UpstreamConnection

_NEVER = float("inf")


def _never() -> Exception:
    raise AssertionError


class Exchange:
    """Everything that a request holds is given back in `finish`, whichever way the request went.

    Only its own task drives an exchange. The sweeper and the watcher may `stop` it: that cancels the task, and
    `interruption` turns the cancellation into the reason.
    """

    # Defaults stand on the class, so that a short request sets only what it needs.
    endpoint = ""
    route = ""
    body = b""
    has_body = False
    hold_timeout: float | None = None
    hold_capped = False
    probe = False
    by_model = False
    claim: Claim | None = None
    waited = 0.0
    address: Address | None = None
    upstream: UpstreamConnection | None = None
    translation: Translation | None = None
    replied = False
    status = 0
    bytes_in = 0
    bytes_out = 0
    outcome = Outcome.FAILED
    _held = 0
    _why: Exception | None = None
    _watcher: asyncio.Task[None] | None = None
    _deadline = _NEVER
    _late: Callable[[], Exception] = staticmethod(_never)
    _progress = 0
    _settled = False

    def __init__(self, services: Services, request: Request, receive: Receive, send: Send) -> None:
        self.services = services
        self.request = request
        self.receive = receive
        self.send = send
        self.task = asyncio.current_task(services.sweeper.loop)  # looking the loop up costs a system call
        self.started = monotonic()
        self.path = request.raw_path

    def hold_left(self) -> float | None:
        """What is left of the time that the client allows; None leaves it to the endpoint's policy."""
        if self.hold_timeout is None:
            return None
        return max(0.0, self.hold_timeout - (monotonic() - self.started))

    def charge(self, size: int) -> None:
        """Count bytes that this request makes us hold. Raises QueueFull."""
        self.services.held.take(size)
        self._held += size

    def hold_body(self) -> None:
        """Count the whole body, unless it was counted as it came."""
        self.charge(max(0, len(self.body) - self._held))

    def drop_body(self) -> None:
        """Nothing will be sent again: free what is held for it."""
        self.body = b""
        self.services.held.give_back(self._held)
        self._held = 0

    def must(self, within: float, late: Callable[[], Exception]) -> None:
        """Begin a stage that ends with `late()` after `within` seconds without any progress."""
        self._deadline = monotonic() + within
        self._late = late

    def may_last(self) -> None:
        """Begin a stage that has no deadline here."""
        self._deadline = _NEVER

    def tick(self, now: float) -> None:
        """Called by the sweeper."""
        if self.replied:
            self._note_progress(now)
        if now >= self._deadline:
            self.stop(self._late())
        elif self.has_body and now >= self.started + self.services.settings.sweep_every:
            self.watch()

    def _note_progress(self, now: float) -> None:
        progress = self.bytes_out + (self.upstream.received if self.upstream is not None else 0)
        if progress != self._progress:
            self._progress = progress
            self._deadline = now + self.services.settings.between_bytes_timeout

    def watch(self) -> None:
        """Notice from now on when the client leaves. Costs a task, so short requests go without."""
        if self._watcher is None:
            name = f"watch client of {self.endpoint}"
            self._watcher = asyncio.get_running_loop().create_task(self._watch(), name=name)

    async def _watch(self) -> None:
        while (await self.receive())["type"] != "http.disconnect":
            pass
        self.stop(ClientGone())

    def stop(self, why: Exception) -> None:
        """Interrupt the exchange wherever it waits."""
        if self._why is None and self.task is not None and not self._settled:
            self._why = why
            self.task.cancel()

    def settle(self) -> None:
        """From here on the exchange ends by itself: nothing may interrupt it any more."""
        self._settled = True

    def interruption(self) -> BaseException:
        """What a CancelledError in this task means: the reason given to `stop`, or that the server cancels us."""
        why = self._why
        if why is None or self.task is None or self.task.uncancel() > 0:
            return asyncio.CancelledError()
        self._why = None
        return why

    def give_up_claim(self) -> None:
        """The replica did not answer at all: say so, and let go of it."""
        if self.claim is not None:
            self.claim.failed()
            self.claim.release()
            self.claim = None

    def finish(self) -> None:
        """Give everything back and write down what was used. Never waits."""
        self.settle()
        self.services.sweeper.leave(self)
        if self._watcher is not None:
            self._watcher.cancel()
        if self.upstream is not None:
            self.upstream.abort()
        if self.claim is not None:
            self.claim.release()
        if self._held:
            self.services.held.give_back(self._held)
        if self.endpoint and not self.probe:  # a question about the endpoint is no use of it
            self._note_usage()

    def _note_usage(self) -> None:
        self.services.usage.add(
            UsageRecord(
                endpoint=self.endpoint,
                at=time.time(),
                route=self.route,
                status=self.status,
                outcome=self.outcome,
                waited=self.waited,
                duration=monotonic() - self.started,
                bytes_in=self.bytes_in,
                bytes_out=self.bytes_out,
            )
        )
