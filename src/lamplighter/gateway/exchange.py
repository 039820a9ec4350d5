"""One request in progress: what is known of it, its deadline, and how it is interrupted."""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import Callable, Sequence
from time import monotonic

from lamplighter.control.demand import Claim
from lamplighter.domain.breaker import NO_PROBE
from lamplighter.domain.choosing import BYTES_PER_TOKEN, Bid, Demands, demands_of
from lamplighter.domain.keys import ANYBODY, ApiKey
from lamplighter.domain.routing import Route
from lamplighter.domain.usage import Outcome, UsageRecord
from lamplighter.errors import UpstreamTimeout, UpstreamUnreachable
from lamplighter.gateway.address import Address
from lamplighter.gateway.asgi import Receive, Send
from lamplighter.gateway.limits import Meter
from lamplighter.gateway.openai_paths import POSTED
from lamplighter.gateway.plan import Plan
from lamplighter.gateway.refusals import ClientGone, ClientStuck, DeadlinePassed
from lamplighter.gateway.request import Request
from lamplighter.gateway.services import Services
from lamplighter.gateway.shortcuts import client_is_slow
from lamplighter.gateway.standing import TargetState, Verdict
from lamplighter.gateway.tasks.translation import Translation
from lamplighter.gateway.tokens import ASKED_AT
from lamplighter.gateway.tracing import Trace
from lamplighter.gateway.upstream import UpstreamConnection

_NEVER = float("inf")
_STREAM = b'"stream"'
_FORM = b"multipart/form-data"


def _never() -> Exception:
    raise AssertionError


class Exchange:
    """Everything that a request holds is given back in `finish`, whichever way the request went.

    Only its own task drives an exchange. The sweeper and the watcher may `stop` it: that cancels the task, and
    `interruption` turns the cancellation into the reason.
    """

    # Defaults stand on the class, so that a short request sets only what it needs.
    key: ApiKey = ANYBODY
    meter: Meter | None = None
    """Of a key with limits, from when it was let in."""
    way: Route
    plan: Plan | None = None
    endpoint = ""
    """The target whose turn it is, or that answered."""
    state: TargetState | None = None
    """Of the target, from the start of an attempt until it is known how that ended."""
    trial = NO_PROBE
    verdict = Verdict.ABANDONED
    """What the attempt under way tells of its target, as far as is known."""
    attempts = 0
    begun = 0
    """How many attempts a route counts: one for a target, though it may be asked twice in it."""
    route = ""
    body = b""
    has_body = False
    hold_timeout: float | None = None
    hold_capped = False
    probe = False
    by_model = False
    """Whether the client named the target by a model, which the target may know by another name."""
    counts = False
    """Whether the answer tells tokens."""
    estimates = False
    """Whether what an answer does not tell of its tokens can be estimated from its size: it is JSON or a stream."""
    streams = False
    """Whether the request may be for a stream that tells its usage only when asked to."""
    claim: Claim | None = None
    waited = 0.0
    address: Address | None = None
    upstream: UpstreamConnection | None = None
    translation: Translation | None = None
    asks_usage = False
    """Whether the target was asked for the stream's usage in the client's place."""
    tokens_in = 0
    tokens_out = 0
    events = 0
    """Of a stream, as many as went to the client."""
    first_byte_at: float | None = None
    error = ""
    """The code of the error that the client was told, if any."""
    trace: Trace | None = None
    rented = False
    """Whether an upstream answers because that is cheaper than waking the endpoint."""
    choice: Sequence[Bid] = ()
    """On a route that chooses by cost: what was expected of each target that takes requests, the first choice first."""
    replied = False
    feedback = False
    """Whether the answer has begun with words about the wait: its head is gone, see `gateway.feedback`."""
    status = 0
    bytes_in = 0
    bytes_out = 0
    outcome = Outcome.FAILED
    _held = 0
    _sent = 0
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
        if services.tracing is not None:
            self.trace = services.tracing.begin(self)

    def hold_left(self) -> float | None:
        """What is left of the time that the client allows; None leaves it to the endpoint's policy."""
        if self.hold_timeout is None:
            return None
        return max(0.0, self.hold_timeout - (monotonic() - self.started))

    def time_left(self) -> float | None:
        """What is left of the time for waiting: as the client allows, and within the route's deadline."""
        held, deadline = self.hold_left(), self.way.deadline
        if deadline is None:
            return held
        left = max(0.0, deadline - (monotonic() - self.started))
        return left if held is None else min(held, left)

    def await_connection(self) -> None:
        """Begin the stage in which a connection is made. The pool bounds its parts; this holds a route's bounds."""
        way, most = self.way, 2 * self.services.settings.connect_timeout
        self._must_by_deadline(min(most, way.first_byte_timeout or most), _no_connection)

    def await_first_byte(self, more: float = 0.0) -> None:
        """Begin the stage in which the target works; `more` seconds are for what may come before that."""
        way, most = self.way, self.services.settings.first_byte_timeout
        if way.implied:
            self.must(most + more, _no_first_byte)
            return
        if way.first_byte_timeout is not None:
            most = min(most, way.first_byte_timeout)
        self._must_by_deadline(most + more, _no_first_byte)

    def await_whole(self) -> None:
        """Begin the stage in which all of an answer is taken, before any of it goes on."""
        self.must(self.services.settings.first_byte_timeout, _not_whole)

    def await_progress(self) -> None:
        """Begin the stage in which the answer passes on."""
        self.must(self.services.settings.between_bytes_timeout, self._stood_still)

    def _must_by_deadline(self, within: float, late: Callable[[], Exception]) -> None:
        deadline = self.way.deadline
        if deadline is not None and (left := deadline - (monotonic() - self.started)) < within:
            within, late = max(0.0, left), self._deadline_passed
        self.must(within, late)

    def _deadline_passed(self) -> Exception:
        return DeadlinePassed(f"The deadline of {self.way.name!r}, {self.way.deadline:g} s, is over.")

    def _stood_still(self) -> Exception:
        """Whose fault a silence is: that of a client that reads nothing is not the target's."""
        return ClientStuck() if client_is_slow(self.send) else UpstreamTimeout("The answer stood still for too long.")

    @property
    def is_posted(self) -> bool:
        """Whether it is one of the well-known requests that work on their body alone."""
        return self.request.method == "POST" and self.request.path in POSTED

    @property
    def is_form(self) -> bool:
        """Whether the request came as a form: most of it is a recording or an image, whose bytes are no tokens."""
        return (self.request.header(b"content-type") or b"")[: len(_FORM)].lower() == _FORM

    def reads(self, path: str) -> None:
        """Note what is to be counted of a request for this path."""
        self.counts = True
        self.streams = path in ASKED_AT and _STREAM in self.body

    @functools.cached_property
    def demands(self) -> Demands:
        """What the request asks of a target."""
        return demands_of(self.body)

    @property
    def has_answer(self) -> bool:
        """Whether the head of an answer is there."""
        return self.upstream is not None and self.upstream.head_done

    def charge(self, size: int) -> None:
        """Count bytes that this request makes us hold. Raises QueueFull."""
        self.services.held.take(size)
        self._held += size

    def hold_body(self) -> None:
        """Count the whole body, unless it was counted as it came."""
        self.charge(max(0, len(self.body) - self._held))

    def hold_sent(self, size: int) -> None:
        """Count a body that differs from the client's, once. Raises QueueFull."""
        if size > self._sent:
            self.charge(size - self._sent)
            self._sent = size

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
        if self.replied and (not self.feedback or self.first_byte_at is not None):
            self._note_progress(now)
        if now >= self._deadline:
            self.stop(self._late())
        elif self.has_body and now >= self.started + self.services.settings.watch_after:
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
        """From here on nothing waits for anybody, and nothing may interrupt the exchange any more."""
        self._settled = True

    def interruption(self) -> BaseException:
        """What a CancelledError in this task means: the reason given to `stop`, or that the server cancels us."""
        why = self._why
        if why is None or self.task is None or self.task.uncancel() > 0:
            return asyncio.CancelledError()
        self._why = None
        return why

    def end_attempt(self, verdict: Verdict, code: str = "") -> None:
        """Let go of all that an attempt holds, once, and say what it told of the target; `code` is of its error."""
        if self.upstream is not None:
            self.recycle()
        if self.trace is not None and code:
            self.trace.attempt_failed(code)
        self._judge(verdict)

    def recycle(self) -> None:
        """Have done with an answer that nobody gets: its connection is kept if it came whole."""
        upstream, self.upstream = self.upstream, None
        assert upstream is not None
        if upstream.complete and self.address is not None:
            self.services.pool.give(self.address.origin, upstream)
        else:
            upstream.abort()

    def _judge(self, verdict: Verdict) -> None:
        state, self.state = self.state, None
        if state is not None:
            state.end(verdict, monotonic(), self.trial)
        claim, self.claim = self.claim, None
        if claim is not None:
            if verdict is Verdict.UNREACHABLE:
                claim.failed()
            elif verdict is Verdict.FAILED:
                claim.struggled()
            elif verdict is Verdict.ABANDONED:
                claim.abandoned()
            claim.release()

    def finish(self) -> None:
        """Give everything back and write down what was used. Never waits."""
        self.settle()
        self.services.sweeper.leave(self)
        if self._watcher is not None:
            self._watcher.cancel()
        if self.upstream is not None:
            self.upstream.abort()
        if self.claim is not None or self.state is not None:
            self._judge(self.verdict)
        if self._held or self.meter is not None:
            self._give_back()
        if self.endpoint and not self.probe:  # a question about the endpoint is no use of it
            self._note_usage()
        self._tell(self.services)
        self.task = self._watcher = None  # what refers to itself has to wait for the garbage collector
        self._late = _never
        if self.plan is not None:
            self.plan.failures.clear()
            if self.choice:
                self.services.renting.learn(self)

    def _tell(self, services: Services) -> None:
        """Say how it went, to whom that is of use beside the usage records."""
        if self.rented:
            services.renting.note(self)
        if self.error:
            services.refusals[self.error] = services.refusals.get(self.error, 0) + 1
        if services.access_log is not None:
            services.access_log.note(self)
        if self.trace is not None:
            self.trace.finish(self)

    def _give_back(self) -> None:
        self.services.held.give_back(self._held)
        if self.meter is not None:
            self.meter.leave(self._tokens(), monotonic())

    def _tokens(self) -> int:
        """What a key's limits are charged: what the answer told, or an estimate where it told nothing."""
        told = self.tokens_in + self.tokens_out
        if told or not self.estimates or self.first_byte_at is None or self.status != 200:
            return told
        asked = 0 if self.is_form else self.bytes_in // BYTES_PER_TOKEN
        return asked + (self.events or self.bytes_out // BYTES_PER_TOKEN)

    def _note_usage(self) -> None:
        began = self.started
        charged = self.services.renting.charged(self) if self.tokens_out or self.tokens_in else 0
        if charged:
            self.services.spent.used(self.endpoint, self.key.id, charged)
        self.services.usage.add(
            UsageRecord(
                endpoint=self.endpoint,
                at=time.time(),
                route=self.route,
                status=self.status,
                outcome=self.outcome,
                waited=self.waited,
                duration=monotonic() - began,
                bytes_in=self.bytes_in,
                bytes_out=self.bytes_out,
                model=self.way.name,
                key=self.key.id,
                tokens_in=self.tokens_in,
                tokens_out=self.tokens_out,
                first_byte=0.0 if self.first_byte_at is None else self.first_byte_at - began,
                attempts=self.attempts,
                nanodollars=charged,
            )
        )


def _no_connection() -> UpstreamUnreachable:
    return UpstreamUnreachable("The endpoint did not accept a connection in time.")


def _not_whole() -> UpstreamTimeout:
    return UpstreamTimeout("The endpoint's answer did not come whole in time.")


def _no_first_byte() -> UpstreamTimeout:
    return UpstreamTimeout("The endpoint took the request and did not answer in time.")
