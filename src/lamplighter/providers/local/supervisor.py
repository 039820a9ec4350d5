"""One endpoint's replicas: brings them up, takes them down, and tells how they are.

`wake` and `sleep` leave word of what is wanted; one task, which exists only while there is something to do, carries it
out step by step. So a wake and a sleep never act at the same time, and a sleeping endpoint costs nothing.

What `status` says: PENDING while the model is brought here. INITIALIZING from the first process on, until each replica
is ready or has failed; those that are ready are listed already. RUNNING if any is ready then; a message tells of
missing ones, and bringing those back later does not leave RUNNING. RUNNING without replicas (INITIALIZING, if a start
is broken off) and with the message "stopping" until the last process of the last group is gone. FAILED if none could be
started, or the last one died.
"""

from __future__ import annotations

import asyncio
import enum
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial

import structlog

from lamplighter.domain.endpoint import Replica, Spec, State, Status
from lamplighter.engines.base import Engine
from lamplighter.errors import Conflict, InvalidInput, LamplighterError, ProviderError
from lamplighter.providers.local import starting
from lamplighter.providers.local.endings import Endings
from lamplighter.providers.local.leftovers import Leftover
from lamplighter.providers.local.logs import LogFile
from lamplighter.providers.local.machine import Machine
from lamplighter.providers.local.ports import is_taken
from lamplighter.providers.local.preparation import Preparation
from lamplighter.providers.local.redaction import Redactor
from lamplighter.providers.local.replica import LocalReplica, PortTaken, Running

log = structlog.get_logger("lamplighter.providers.local")

_PORTS_TRIED = 3


class _Step(enum.Enum):
    RAISE = "raise"  # start what is missing, wait until all are ready
    AWAIT = "await"  # wait for adopted replicas, start nothing
    END = "end"


@dataclass(frozen=True, slots=True)
class _Failure:
    message: str
    permanent: bool = False


class Supervisor:
    """Owns the replicas of one endpoint. `changed` is called whenever `status` may have changed."""

    def __init__(self, spec: Spec, engine: Engine, machine: Machine, changed: Callable[[], None]) -> None:
        self.spec = spec
        self._engine = engine
        self._machine = machine
        self._changed = changed
        self._redactor = Redactor(spec.engine)
        self._replicas: dict[int, LocalReplica] = {}
        self._watched: set[LocalReplica] = set()
        self._endings = Endings(machine, changed)
        self._logfiles: dict[int, LogFile] = {}
        self._preparation: Preparation | None = None
        self._preparing = False
        self._serving = False
        self._into = State.SCALED_TO_ZERO  # the way of being asleep that it was told
        # What it was when it was told to end: a start that is broken off never ran.
        self._left: State | None = State.RUNNING
        self._failure: _Failure | None = None
        self._current: _Step | None = None
        self._next: _Step | None = None
        self._step: asyncio.Task[None] | None = None
        self._worker: asyncio.Task[None] | None = None

    # What is wanted of it.

    def wake(self) -> None:
        """Begin to bring up every replica that is not up; joins what is under way, waits for what is stopping.

        A stop that was asked for and has not begun is withdrawn.
        """
        if _Step.RAISE in (self._next, self._current if self._next is None else None):
            return
        ready = self._ready()
        if self._worker is None and len(ready) == self.spec.replicas:
            return
        self._serving = bool(ready) and _Step.END not in (self._current, self._next)
        self._failure = None
        self._want(_Step.RAISE)

    def sleep(self, into: State = State.SCALED_TO_ZERO) -> None:
        """Begin to end everything; breaks off a start. What has failed counts as asleep afterwards.

        To a machine, paused and scaled to zero are the same: `into` is only remembered.
        """
        self._into = into
        if self._current is _Step.END:
            self._next = None
        elif self._at_rest:
            self._failure = None
            self._changed()
        else:
            if self._step is not None:
                self._step.cancel()
            self._left = self.status().state
            self._want(_Step.END)

    async def adopt(self, leftovers: Iterable[Leftover]) -> None:
        """Take over what an earlier server started for this endpoint, and begin to end what does not fit."""
        for left in leftovers:
            logfile = self.logfile(left.record.slot) if left.record else None
            running = starting.adopt(self._machine, self.spec, self._engine, left, logfile) if logfile else None
            if running is None or running.slot in self._replicas:
                self._endings.begin(left.id, None, partial(left.group.end, left.grace, lambda: True))
            else:
                self._take_on(running)
        await asyncio.gather(*(self._look_once(replica) for replica in self._replicas.values()))
        self._serving = bool(self._ready())
        if len(self._ready()) < len(self._replicas):
            self._want(_Step.AWAIT)

    def replace(self, spec: Spec, engine: Engine) -> None:
        """Go on with another spec. Raises Conflict unless nothing runs."""
        if not self._at_rest:
            raise Conflict(f"endpoint {spec.name!r} is awake; it has to be asleep to be changed")
        self.spec, self._engine, self._failure = spec, engine, None
        self._redactor = Redactor(spec.engine)

    async def ended(self) -> None:
        """Sleep, and wait until nothing is left. Raises ProviderError when something is."""
        self.sleep()
        while self._worker is not None:
            await asyncio.wait({self._worker})
        await self._endings.finished()

    async def abandon(self) -> None:
        """Stop working and leave the processes to the next server."""
        tasks = [task for task in (self._worker, self._step) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._endings.abandon()
        for replica in self._watched:
            replica.unwatch()

    # What it tells.

    def status(self) -> Status:
        """How the endpoint is now."""
        ready, failure = self._ready(), self._failure
        if _Step.END in (self._current, self._next):
            return Status(state=self._left, message="stopping")
        if self._current or self._next:
            return self._starting(ready)
        if ready:
            return Status(state=State.RUNNING, replicas=ready, message=self._incomplete(ready))
        if self._endings:  # what is left of a crashed engine may still hold the GPU
            return Status(state=State.RUNNING, message=self._endings.error or "stopping")
        if failure:
            return Status(state=State.FAILED, message=failure.message, permanent=failure.permanent)
        return Status(state=self._into)

    def processes(self) -> list[tuple[int, int]]:
        """`(slot, id of the leading process)` of each replica that has not ended."""
        running = sorted(self._replicas.items())
        return [(slot, replica.running.group.leader) for slot, replica in running if not replica.exited]

    def logfile(self, slot: int) -> LogFile:
        """The log of one replica, running or not."""
        if slot not in self._logfiles:
            self._logfiles[slot] = self._machine.log_file(self.spec.name, slot)
        return self._logfiles[slot]

    def clean(self, text: str) -> str:
        """A text of the engine's without the spec's secrets."""
        return self._redactor.clean(text)

    def _starting(self, ready: tuple[Replica, ...]) -> Status:
        if self._serving and ready:
            return Status(state=State.RUNNING, replicas=ready, message=self._incomplete(ready))
        if self._preparing or (self._current is None and self._next is _Step.RAISE):
            said = self._preparation.message if self._preparation else None
            return Status(state=State.PENDING, message=self.clean(said) if said else None)
        return Status(state=State.INITIALIZING, replicas=ready, message=self._incomplete(ready))

    def _incomplete(self, ready: tuple[Replica, ...]) -> str | None:
        if len(ready) >= self.spec.replicas or (self.spec.replicas == 1 and not self._failure):
            return None
        reason = f": {self._failure.message}" if self._failure else ""
        return f"{len(ready)} of {self.spec.replicas} replicas ready{reason}"

    def _ready(self) -> tuple[Replica, ...]:
        return tuple(replica.address for _, replica in sorted(self._replicas.items()) if replica.ready)

    @property
    def _at_rest(self) -> bool:
        return not (self._replicas or self._endings or self._worker)

    # The task that carries it out.

    def _want(self, step: _Step) -> None:
        self._next = step
        if self._worker is None:
            self._worker = asyncio.create_task(self._work(), name=f"supervise {self.spec.name}")
        self._changed()

    async def _work(self) -> None:
        try:
            while self._next is not None:
                self._current, self._next = self._next, None
                name = f"{self._current.value} {self.spec.name}"
                self._step = asyncio.create_task(self._carry_out(self._current), name=name)
                await asyncio.wait({self._step})
                self._settle(self._step)
        finally:
            self._worker = self._step = self._current = None
            self._changed()

    async def _carry_out(self, step: _Step) -> None:
        match step:
            case _Step.RAISE:
                await self._raise_all()
            case _Step.AWAIT:
                await self._all_ready(list(self._replicas), None, ports=1)
            case _Step.END:
                await self._end_all()

    def _settle(self, step: asyncio.Task[None]) -> None:
        """Take note of how a step ended; no failure is lost."""
        error = None if step.cancelled() else step.exception()
        if isinstance(error, LamplighterError):
            self._fail(error)
        elif error is not None:
            log.error("internal error", endpoint=self.spec.name, exc_info=error)
            self._failure = _Failure(f"internal error: {type(error).__name__}")
            for replica in [replica for replica in self._replicas.values() if not replica.ready]:
                self._put_down(replica)
        self._preparing = False
        self._step = self._current = None
        self._changed()

    def _fail(self, error: LamplighterError) -> None:
        permanent = error.permanent if isinstance(error, ProviderError) else isinstance(error, InvalidInput)
        self._failure = _Failure(self.clean(str(error)), permanent)

    # Bringing up.

    async def _raise_all(self) -> None:
        self._preparing = True
        self._endings.retry()
        await self._endings.finished()
        missing = [slot for slot in range(self.spec.replicas) if slot not in self._replicas]
        model = await self._prepare() if missing else None
        self._preparing = False
        self._changed()
        waiting = [slot for slot, replica in self._replicas.items() if not replica.ready]
        await self._all_ready([*waiting, *missing], model, ports=_PORTS_TRIED)

    async def _prepare(self) -> str | None:
        """Bring the model here, joining a preparation that an earlier wake began."""
        preparation = self._preparation
        if preparation is None or preparation.over or preparation.spec != self.spec.engine:
            preparation = self._preparation = Preparation(self._engine, self.spec.engine, self._changed)
            preparation.start(self.spec.name)
        try:
            model = await preparation.result()
        except LamplighterError:
            self._preparation = None
            raise
        self._preparation = None
        return model

    async def _all_ready(self, slots: Iterable[int], model: str | None, *, ports: int) -> None:
        """Wait for each slot; one that fails does not stop the others. Raises nothing but bugs."""
        async with asyncio.TaskGroup() as group:
            for slot in slots:
                work = self._raise_slot(slot, model, ports=ports)
                group.create_task(work, name=f"raise {self.spec.name} {slot}")

    async def _raise_slot(self, slot: int, model: str | None, *, ports: int) -> None:
        for tried in range(1, ports + 1):
            try:
                await self._try_slot(slot, model)
            except LamplighterError as error:
                if isinstance(error, PortTaken) and tried < ports:
                    log.info("port taken by somebody else, trying another", endpoint=self.spec.name)
                    continue
                self._fail(error)
            self._changed()
            return

    async def _try_slot(self, slot: int, model: str | None) -> None:
        replica = self._replicas.get(slot) or self._start(slot, model)
        try:
            await replica.become_ready()
        except ProviderError as error:
            died = replica.exited
            self._put_down(replica)
            await self._endings.finished(replica.running.id)
            if died and is_taken(self._machine.host, replica.running.port):
                raise PortTaken(str(error)) from error
            raise

    def _start(self, slot: int, model: str | None) -> LocalReplica:
        running = starting.start(
            self._machine, self.spec, self._engine, slot=slot, model=model, logfile=self.logfile(slot)
        )
        replica = self._take_on(running)
        self._changed()
        return replica

    def _take_on(self, running: Running) -> LocalReplica:
        replica = LocalReplica(running, self.spec, self._machine.host, self._on_exit)
        self._replicas[running.slot] = replica
        self._machine.rotator.add(running.logfile)
        self._watched.add(replica)
        replica.watch()
        return replica

    @staticmethod
    async def _look_once(replica: LocalReplica) -> None:
        try:
            await replica.check()
        except PortTaken as error:
            log.info("adopted replica has lost its port", replica=replica.running.id, error=str(error))

    # Taking down.

    async def _end_all(self) -> None:
        self._endings.retry()
        for replica in list(self._replicas.values()):
            self._put_down(replica)
        self._failure = None
        try:
            await self._endings.finished()
        except ProviderError as error:  # it stays RUNNING, with this as its message, and the next sleep tries again
            log.warning("not asleep yet", endpoint=self.spec.name, error=str(error))

    def _put_down(self, replica: LocalReplica) -> None:
        del self._replicas[replica.running.slot]
        self._endings.begin(replica.running.id, replica.running.port, partial(self._end, replica))

    async def _end(self, replica: LocalReplica) -> None:
        await replica.end()
        self._watched.discard(replica)
        self._machine.rotator.remove(replica.running.logfile)

    def _on_exit(self, replica: LocalReplica) -> None:
        """A process ended. While it starts, or is being ended, somebody waits for that already."""
        slot = replica.running.slot
        if self._replicas.get(slot) is not replica or not replica.was_ready:
            return
        del self._replicas[slot]
        self._failure = failure = _Failure(replica.end_text)
        self._endings.begin(replica.running.id, replica.running.port, partial(self._bury, replica, failure))
        self._changed()

    async def _bury(self, replica: LocalReplica, failure: _Failure) -> None:
        """Tell its last words, and end what its process has left behind."""
        obituary = await replica.obituary()
        if self._failure is failure:
            self._fail(obituary)
            self._changed()
        await self._end(replica)
