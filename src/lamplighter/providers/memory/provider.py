"""Endpoints that exist in memory only. They start and stop after scripted delays of the event loop's clock.

Faults are scripted per endpoint and verb; with none left every verb works. Nothing here serves HTTP: `url` says where
requests are sent.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from lamplighter.domain.endpoint import ASLEEP, SERVING, STARTING, Replica, Spec, State, Status
from lamplighter.domain.hardware import Hardware
from lamplighter.errors import Conflict, EndpointNotFound, ProviderUnreachable
from lamplighter.providers.base import Capabilities, OnChange
from lamplighter.providers.billing import billing_rule
from lamplighter.providers.memory.catalog import Catalog
from lamplighter.providers.memory.faults import ANY, ODD_STATE, REFUSALS, Fault, Faults
from lamplighter.providers.memory.options import address, flag, number

_ASLEEP = Status(state=State.SCALED_TO_ZERO)


@dataclass(slots=True)
class _Simulated:
    spec: Spec
    status: Status = _ASLEEP
    timer: asyncio.TimerHandle | None = None
    gone: asyncio.Event = field(default_factory=asyncio.Event)
    leaving: bool = False
    wakes: int = 0
    sleeps: int = 0
    into: State = State.SCALED_TO_ZERO
    spoilt: bool = False  # the last update failed: its next start brings the old replicas up


class MemoryProvider:
    """A provider that is a script.

    Durations are in seconds: an endpoint that wakes is `pending` for `pending_delay` and `initializing` for
    `start_delay`; stopping takes `stop_delay`, an update in place `start_delay`, a deletion `delete_delay`. With
    `reports_changes` false, changes are found by looking every `look_every` seconds, as at a provider that has to be
    polled. `updates_in_place` takes a new spec from an endpoint that is awake, too. `faults` and `hardware` are as a
    configuration has them: see `Faults` and `Catalog`; `billing`: see `billing_rule`. Raises
    InvalidInput for an option that can't be.
    """

    def __init__(
        self,
        *,
        start_delay: float = 0.5,
        stop_delay: float = 0.1,
        pending_delay: float = 0.0,
        delete_delay: float = 0.0,
        resources: Mapping[str, float] | None = None,
        reports_changes: bool = True,
        updates_in_place: bool = False,
        look_every: float = 60.0,
        url: str = "http://127.0.0.1:9",
        faults: Mapping[str, object] | None = None,
        hardware: Sequence[Mapping[str, object]] = (),
        billing: object = None,
    ) -> None:
        self.start_delay = number("start_delay", start_delay)
        self.stop_delay = number("stop_delay", stop_delay)
        self.pending_delay = number("pending_delay", pending_delay)
        self.delete_delay = number("delete_delay", delete_delay)
        self.url = address("url", url)
        self.calls: deque[tuple[str, str]] = deque(maxlen=10_000)
        self._in_place = flag("updates_in_place", updates_in_place)
        self._capabilities = Capabilities(
            resources=resources or {},
            reports_changes=flag("reports_changes", reports_changes),
            look_every=number("look_every", look_every, least=0.01),
            ends_on_close=True,
            deploys=True,
            billing=billing_rule(billing),
        )
        self._faults = Faults(faults)
        self._catalog = Catalog(hardware)
        self._endpoints: dict[str, _Simulated] = {}
        self._on_change: OnChange = lambda _name: None

    @property
    def capabilities(self) -> Capabilities:
        return self._capabilities

    async def open(self, on_change: OnChange) -> None:
        self._on_change = on_change

    async def close(self, *, leave_running: bool = False) -> None:
        for simulated in self._endpoints.values():
            self._stop_timer(simulated)
            if not leave_running:
                simulated.status = _ASLEEP

    async def create(self, spec: Spec) -> Status:
        fault = await self._faults.suffer(spec.name, "create")
        if fault is Fault.LOSE:
            return _ASLEEP
        simulated = self._endpoints.setdefault(spec.name, _Simulated(spec))
        if simulated.leaving:
            raise Conflict(f"An endpoint {spec.name!r} is still being deleted.")
        self._lose_answer(fault, "create")
        return simulated.status if simulated.spec == spec else await self.update(spec)

    async def end_orphans(self) -> list[str]:
        return []

    async def update(self, spec: Spec) -> Status:
        simulated = self._find(spec.name)
        now = simulated.status.state in ASLEEP or self._in_place
        fault = await self._faults.suffer(spec.name, "update", None if now else REFUSALS)
        if spec == simulated.spec:
            return simulated.status
        if not now:
            raise Conflict(f"Endpoint {spec.name!r} is {simulated.status.state}; it has to be asleep to be updated.")
        if fault is not Fault.LOSE:
            self._begin_update(simulated, spec, fails=fault is Fault.UPDATE_FAILED)
        self._lose_answer(fault, "update")
        return simulated.status

    async def delete(self, name: str) -> None:
        simulated = self._find(name)
        fault = await self._faults.suffer(name, "delete")
        if fault is Fault.LOSE:
            return
        if not simulated.leaving:
            self._stop_timer(simulated)
            simulated.leaving = True
            simulated.timer = asyncio.get_running_loop().call_later(self.delete_delay, self._end_delete, simulated)
        self._lose_answer(fault, "delete")
        await simulated.gone.wait()

    async def observe(self, name: str) -> Status:
        simulated = self._find(name)
        if await self._faults.suffer(name, "observe") is Fault.ODD_STATE:
            return Status(state=None, message=ODD_STATE)
        return simulated.status

    async def wake(self, name: str) -> None:
        simulated = self._find(name)
        self.calls.append(("wake", name))
        fault = await self._faults.suffer(name, "wake")
        status = simulated.status
        complete = status.state in SERVING and len(status.replicas) == simulated.spec.replicas
        if fault is not Fault.LOSE and not complete and status.state not in STARTING:
            if status.state in ASLEEP:
                self._catalog.check_quota(simulated.spec, self._present(but=simulated))
            self._begin_start(simulated, breaks=fault is Fault.BREAK)
        self._lose_answer(fault, "wake")

    async def sleep(self, name: str, into: State = State.SCALED_TO_ZERO) -> None:
        simulated = self._find(name)
        self.calls.append(("sleep", name))
        fault = await self._faults.suffer(name, "sleep")
        if fault is not Fault.LOSE:
            simulated.into = into
            if simulated.status.state not in ASLEEP:
                self._begin_stop(simulated)
            elif simulated.status.state is not into:
                self._show(simulated, into)
        self._lose_answer(fault, "sleep")

    async def hardware(self) -> Sequence[Hardware]:
        await self._faults.suffer(ANY, "hardware")
        return self._catalog.listing(self._present())

    async def logs(self, name: str, *, tail: int = 100, follow: bool = False) -> AsyncIterator[str]:
        simulated = self._find(name)
        lines = [f"{simulated.wakes} wakes, {simulated.sleeps} sleeps", f"state {simulated.status.state}"]
        for line in lines[-tail:] if tail else []:
            yield line
        if follow:
            await asyncio.Event().wait()

    # The script.

    def script(self, name: str, verb: str, *faults: Fault) -> None:
        """Let the next calls of `verb` (see `faults.VERBS`) on this endpoint, or on `*`, go wrong, one fault each."""
        if verb not in {"create", "hardware"} and name != ANY:
            self._find(name)
        self._faults.add(name, verb, *faults)

    def set_state(
        self, name: str, state: State | None, *, message: str | None = None, replicas: int | None = None
    ) -> None:
        """Change an endpoint from outside: a crash, a pause in somebody's console, a replica that was lost.

        None is a state that nobody knows; `message` is then its word.
        """
        simulated = self._find(name)
        self._stop_timer(simulated)
        count = simulated.spec.replicas if replicas is None else replicas
        given = replicas is not None or state is State.RUNNING
        self._show(simulated, state, message=message, replicas=count if given and state in SERVING else 0)

    def counts(self, name: str) -> tuple[int, int]:
        """How many starts and stops really began."""
        simulated = self._find(name)
        return simulated.wakes, simulated.sleeps

    # The simulation.

    def _find(self, name: str) -> _Simulated:
        try:
            return self._endpoints[name]
        except KeyError:
            raise EndpointNotFound(name, self._endpoints) from None

    def _present(self, but: _Simulated | None = None) -> Iterator[tuple[Spec, bool]]:
        """The endpoints, and whether each takes its part of a quota: paused ones don't."""
        for simulated in self._endpoints.values():
            if simulated is not but:
                yield simulated.spec, simulated.status.state is not State.PAUSED

    @staticmethod
    def _lose_answer(fault: Fault | None, verb: str) -> None:
        if fault is Fault.LOSE_ANSWER:
            error = ProviderUnreachable(f"the answer to {verb} was lost")
            error.in_doubt = True
            raise error

    def _begin_start(self, simulated: _Simulated, *, breaks: bool) -> None:
        simulated.wakes += 1
        if simulated.status.state is State.RUNNING:  # some of its replicas serve
            self._after(simulated, self.start_delay, lambda: self._end_start(simulated, breaks=breaks))
        elif self.pending_delay:
            self._show(simulated, State.PENDING, message="waiting to be scheduled")
            self._after(simulated, self.pending_delay, lambda: self._initialize(simulated, breaks=breaks))
        else:
            self._initialize(simulated, breaks=breaks)

    def _initialize(self, simulated: _Simulated, *, breaks: bool) -> None:
        self._show(simulated, State.INITIALIZING)
        self._after(simulated, self.start_delay, lambda: self._end_start(simulated, breaks=breaks))

    def _end_start(self, simulated: _Simulated, *, breaks: bool) -> None:
        if breaks:
            self._show(simulated, State.FAILED, message="the start was scripted to fail")
        else:
            self._serve(simulated)

    def _serve(self, simulated: _Simulated) -> None:
        replicas = simulated.spec.replicas
        if simulated.spoilt:
            self._show(simulated, State.UPDATE_FAILED, message="the update was scripted to fail", replicas=replicas)
        else:
            self._show(simulated, State.RUNNING, replicas=replicas)

    def _begin_update(self, simulated: _Simulated, spec: Spec, *, fails: bool) -> None:
        simulated.spoilt = fails
        if not fails:
            simulated.spec = spec
        if simulated.status.serves:
            self._show(simulated, State.UPDATING, replicas=len(simulated.status.replicas))
            self._after(simulated, self.start_delay, lambda: self._serve(simulated))

    def _begin_stop(self, simulated: _Simulated) -> None:
        simulated.sleeps += 1
        if simulated.status.state in SERVING:
            self._show(simulated, simulated.status.state, message="stopping")
        self._after(simulated, self.stop_delay, lambda: self._show(simulated, simulated.into))

    def _end_delete(self, simulated: _Simulated) -> None:
        self._endpoints.pop(simulated.spec.name, None)
        simulated.gone.set()

    def _after(self, simulated: _Simulated, delay: float, then: Callable[[], None]) -> None:
        self._stop_timer(simulated)
        simulated.timer = asyncio.get_running_loop().call_later(delay, then)

    def _show(
        self, simulated: _Simulated, state: State | None, *, message: str | None = None, replicas: int = 0
    ) -> None:
        name = simulated.spec.name
        headers = tuple(simulated.spec.engine.headers.items())
        running = tuple(Replica(id=f"{name}-{index}", url=self.url, headers=headers) for index in range(replicas))
        simulated.status = Status(state=state, replicas=running, message=message)
        if self._capabilities.reports_changes:
            self._on_change(name)

    @staticmethod
    def _stop_timer(simulated: _Simulated) -> None:
        if simulated.timer is not None:
            simulated.timer.cancel()
            simulated.timer = None
