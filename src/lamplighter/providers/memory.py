"""A provider without I/O, for tests and for trying Lamplighter out.

Endpoints start and stop after a scripted delay of the event loop's clock. Faults are scripted per verb and are used up
one by one; with none left every verb works. Nothing here serves HTTP: `url` says where a request is sent.
"""

from __future__ import annotations

import asyncio
import enum
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field

from lamplighter.domain.endpoint import ASLEEP, Replica, Spec, State, Status
from lamplighter.domain.hardware import Hardware
from lamplighter.errors import Conflict, EndpointNotFound, ProviderError, ProviderUnreachable
from lamplighter.providers.base import Capabilities, OnChange


class Fault(enum.Enum):
    """What can go wrong with a verb."""

    REFUSE = "refuse"  # the verb raises and has no effect
    REFUSE_FOR_GOOD = "refuse for good"  # the same, and says that trying again can't help
    LOSE = "lose"  # the verb is accepted and has no effect
    LOSE_ANSWER = "lose answer"  # the verb has its effect, and raises as if it had not
    HANG = "hang"  # the verb has no effect and never returns
    BREAK = "break"  # the verb is accepted; the start then fails
    UNREACHABLE = "unreachable"  # the provider can't be asked


_ASLEEP = Status(state=State.SCALED_TO_ZERO)
_HARDWARE = tuple(
    Hardware(
        id=f"memory-memory-cpu-x{size}",
        vendor="memory",
        region="memory",
        accelerator="cpu",
        instance_type="cpu",
        instance_size=f"x{size}",
        architecture="none",
        num_accelerators=size,
        num_cpus=size,
        memory_gb=2.0 * size,
        price_per_hour=0.0,
        max_accelerators=64,
    )
    for size in (1, 2, 4, 8)
)


@dataclass(slots=True)
class _Simulated:
    spec: Spec
    status: Status = _ASLEEP
    faults: dict[str, deque[Fault]] = field(default_factory=dict)
    timer: asyncio.TimerHandle | None = None
    wakes: int = 0
    sleeps: int = 0
    into: State = State.SCALED_TO_ZERO


class MemoryProvider:
    """Endpoints that exist in memory only.

    `start_delay` and `stop_delay` are in seconds. With `reports_changes` false, changes are found by looking every
    `look_every` seconds, as at a provider that has to be polled.
    """

    def __init__(
        self,
        *,
        start_delay: float = 0.5,
        stop_delay: float = 0.1,
        resources: Mapping[str, float] | None = None,
        reports_changes: bool = True,
        look_every: float = 60.0,
        url: str = "http://127.0.0.1:9",
    ) -> None:
        self.start_delay = start_delay
        self.stop_delay = stop_delay
        self.url = url
        self.calls: deque[tuple[str, str]] = deque(maxlen=10_000)
        self._capabilities = Capabilities(
            resources=resources or {},
            reports_changes=reports_changes,
            look_every=look_every,
            ends_on_close=True,
            deploys=True,
        )
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
        simulated = self._endpoints.setdefault(spec.name, _Simulated(spec))
        return simulated.status if simulated.spec == spec else await self.update(spec)

    async def end_orphans(self) -> list[str]:
        return []

    async def update(self, spec: Spec) -> Status:
        simulated = self._find(spec.name)
        if simulated.status.state not in ASLEEP:
            raise Conflict(f"Endpoint {spec.name!r} is {simulated.status.state}; it has to be asleep to be updated.")
        simulated.spec = spec
        return simulated.status

    async def delete(self, name: str) -> None:
        self._stop_timer(self._find(name))
        del self._endpoints[name]

    async def observe(self, name: str) -> Status:
        simulated = self._find(name)
        await self._suffer(simulated, "observe")
        return simulated.status

    async def wake(self, name: str) -> None:
        simulated = self._find(name)
        self.calls.append(("wake", name))
        fault = await self._suffer(simulated, "wake")
        complete = simulated.status.state is State.RUNNING and len(simulated.status.replicas) == simulated.spec.replicas
        if fault is not Fault.LOSE and not complete and simulated.status.state is not State.INITIALIZING:
            self._begin_start(simulated, breaks=fault is Fault.BREAK)
        if fault is Fault.LOSE_ANSWER:
            raise ProviderUnreachable("the answer to a wake was lost")

    async def sleep(self, name: str, into: State = State.SCALED_TO_ZERO) -> None:
        simulated = self._find(name)
        self.calls.append(("sleep", name))
        fault = await self._suffer(simulated, "sleep")
        if fault is not Fault.LOSE:
            simulated.into = into
            if simulated.status.state in ASLEEP:
                self._show(simulated, into)
            else:
                self._begin_stop(simulated)
        if fault is Fault.LOSE_ANSWER:
            raise ProviderUnreachable("the answer to a sleep was lost")

    async def hardware(self) -> Sequence[Hardware]:
        return _HARDWARE

    async def logs(self, name: str, *, tail: int = 100, follow: bool = False) -> AsyncIterator[str]:
        simulated = self._find(name)
        lines = [f"{simulated.wakes} wakes, {simulated.sleeps} sleeps", f"state {simulated.status.state}"]
        for line in lines[-tail:] if tail else []:
            yield line
        if follow:
            await asyncio.Event().wait()

    # The script.

    def script(self, name: str, verb: str, *faults: Fault) -> None:
        """Let the next calls of `verb` (`wake`, `sleep`, `observe`) on this endpoint go wrong, one fault each."""
        self._find(name).faults.setdefault(verb, deque()).extend(faults)

    def set_state(self, name: str, state: State, *, message: str | None = None, replicas: int | None = None) -> None:
        """Change an endpoint from outside: a crash, a pause in somebody's console, a replica that was lost."""
        simulated = self._find(name)
        self._stop_timer(simulated)
        count = simulated.spec.replicas if replicas is None else replicas
        self._show(simulated, state, message=message, replicas=count if state is State.RUNNING else 0)

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

    async def _suffer(self, simulated: _Simulated, verb: str) -> Fault | None:
        faults = simulated.faults.get(verb)
        fault = faults.popleft() if faults else None
        if fault is Fault.HANG:
            await asyncio.Event().wait()
        if fault is Fault.UNREACHABLE:
            raise ProviderUnreachable(f"the provider could not be asked to {verb}")
        if fault in (Fault.REFUSE, Fault.REFUSE_FOR_GOOD):
            raise ProviderError(f"{verb} was refused", permanent=fault is Fault.REFUSE_FOR_GOOD)
        return fault

    def _begin_start(self, simulated: _Simulated, *, breaks: bool) -> None:
        simulated.wakes += 1
        self._stop_timer(simulated)
        if simulated.status.state is not State.RUNNING:
            self._show(simulated, State.INITIALIZING)
        loop = asyncio.get_running_loop()
        simulated.timer = loop.call_later(self.start_delay, self._end_start, simulated, breaks)

    def _end_start(self, simulated: _Simulated, breaks: bool) -> None:
        if breaks:
            self._show(simulated, State.FAILED, message="the start was scripted to fail")
        else:
            self._show(simulated, State.RUNNING, replicas=simulated.spec.replicas)

    def _begin_stop(self, simulated: _Simulated) -> None:
        simulated.sleeps += 1
        self._stop_timer(simulated)
        if simulated.status.state is State.RUNNING:
            self._show(simulated, State.RUNNING, message="stopping")
        loop = asyncio.get_running_loop()
        simulated.timer = loop.call_later(self.stop_delay, self._end_stop, simulated)

    def _end_stop(self, simulated: _Simulated) -> None:
        self._show(simulated, simulated.into)

    def _show(self, simulated: _Simulated, state: State, *, message: str | None = None, replicas: int = 0) -> None:
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
