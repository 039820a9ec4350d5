"""All endpoints: finds the controller behind a name, starts and retires controllers, keeps their tasks alive."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, TypeVar

import structlog

from lamplighter.control.acting import account_of_operator
from lamplighter.control.clock import Clock
from lamplighter.control.controller import Controller
from lamplighter.control.demand import SOMEBODY, Caller, Listing
from lamplighter.control.gate import ActiveClaim, Gate
from lamplighter.control.journal import Journal
from lamplighter.control.names import Names, names_of
from lamplighter.control.purse import NoBudgets, Purse
from lamplighter.control.recorder import Recorder
from lamplighter.control.room import RoomKeeper
from lamplighter.domain.endpoint import Endpoint, Phase, Spec, State
from lamplighter.engines.tasks import RootTasks, root_tasks
from lamplighter.errors import (
    EndpointExists,
    EndpointNotFound,
    InvalidInput,
    LamplighterError,
    ProviderUnreachable,
    ShuttingDown,
    Unavailable,
    WakeTimeout,
)
from lamplighter.providers.base import Provider, RunsHere

log = structlog.get_logger("lamplighter.control")

T = TypeVar("T")

REMEMBER_EVERY = 15.0
"""How often last activity is written down; a crash loses no more than this of an idle clock (seconds)."""

_RESTART_PAUSE = 1.0
_DRAIN_LOOK = 0.05
_ARRIVAL = 1.0
_FIRST_LOOK = 5.0
_CREATE_TIMEOUT = 60.0
_BRINGS_UP = frozenset({"wake", "resume"})


class Fleet:
    """Implements `Demand` for the gateway and `Operations` for the management routes."""

    def __init__(
        self,
        providers: Mapping[str, Provider],
        journal: Journal,
        *,
        clock: Clock | None = None,
        purse: Purse | None = None,
    ) -> None:
        self._purse: Purse = purse or NoBudgets()
        self._providers = dict(providers)
        self._journal = journal
        self._clock = clock or Clock()
        self._recorder = Recorder(journal, self._clock)
        self._rooms: dict[str, RoomKeeper] = {}
        self._controllers: dict[str, Controller] = {}
        self._leaving: dict[str, Controller] = {}
        self._names = Names()
        self._targets = self._names.targets
        self._tasks: set[asyncio.Task[Any]] = set()
        self._created = int(self._clock.wall())
        self._closing = False
        self._coming: dict[str, Spec] = {}
        self._following: set[str] = set()
        self._adding: set[str] = set()
        self._stay_paused: set[str] = set()  # they move to another provider, and were paused
        self._wanted_early: dict[str, Caller] = {}  # while their predecessors were leaving
        self._arrived = asyncio.Event()
        self._troubles: dict[str, tuple[str, int]] = {}

    @property
    def providers(self) -> Mapping[str, Provider]:
        """Where endpoints can be, by the names of the configuration."""
        return MappingProxyType(self._providers)

    def is_billed(self, endpoint: Endpoint) -> bool:
        """Whether its provider bills the state that it is in."""
        provider = self._providers.get(endpoint.spec.provider)
        return provider is not None and endpoint.state in provider.capabilities.billing.billed

    @property
    def troubles(self) -> Mapping[str, str]:
        """What is wrong, by the name of the endpoint or task; a controller that works again is none."""
        controllers = {controller.name: controller for controller in self._all()}
        return {
            name: text
            for name, (text, looks) in self._troubles.items()
            if name not in controllers or controllers[name].looks <= looks
        }

    # Opening, changing, closing.

    async def open(self, specs: Iterable[Spec], deployed: Iterable[Spec] = ()) -> dict[str, str]:
        """Open every provider, make every endpoint known, and look at each. Starts nothing; adopts what runs.

        Raises InvalidInput when a spec can't work at its provider; everything that was opened is closed again. What was
        `deployed` over the management API stops nothing: tells by name why one of them could not be added.
        """
        refused: dict[str, str] = {}
        try:
            for key, provider in self._providers.items():
                await provider.open(self._on_change)
                self._rooms[key] = RoomKeeper(provider.capabilities.resources)
            for spec in specs:
                await self._add(spec)
            for spec in deployed:
                try:
                    await self.add(spec)
                except LamplighterError as error:
                    refused[spec.name] = error.message
            for key, provider in self._providers.items():
                for orphan in await provider.end_orphans():
                    log.warning("orphan ended", provider=key, orphan=orphan)
        except BaseException:
            await self.close(drain=0.0, leave_running=True)  # nothing here was started by us
            raise
        self._own("remember", self._remember_for_ever())
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_FIRST_LOOK):
                await asyncio.gather(*(controller.looked() for controller in self._all()))
        await self._journal.remember(self.endpoints())
        return refused

    async def apply(self, specs: Mapping[str, Spec]) -> dict[str, str]:
        """Make the endpoints of the configuration be these: only what differs is touched, and no request is dropped.

        Endpoints that were made over the management API stay as they are. Tells by name why an endpoint could not be
        added; the others are applied all the same.
        """
        self._take_out_all_but(specs)
        refused: dict[str, str] = {}
        for name, spec in specs.items():
            try:
                await self._put(spec)
            except LamplighterError as error:
                refused[name] = error.message
        return refused

    def _take_out_all_but(self, specs: Mapping[str, Spec]) -> None:
        for name, controller in list(self._controllers.items()):
            if name not in specs and not controller.target_spec.deployed:
                self.remove(name)
        for name, spec in list(self._coming.items()):
            if name not in specs and not spec.deployed:
                del self._coming[name]
                self._stay_paused.discard(name)
                self._names.forget(name)

    async def _put(self, spec: Spec) -> None:
        """Make an endpoint of the configuration be so. Raises EndpointExists, InvalidInput, what `_add` raises."""
        name = spec.name
        self._refuse_deployed(spec)
        controller = self._controllers.get(name)
        if controller is not None and controller.spec.provider != spec.provider:
            if controller.paused:
                self._stay_paused.add(name)
            self.remove(name)
            controller = None
        if name in self._leaving or name in self._following:
            self._follow(spec)
        elif controller is None:
            await self._add(spec)
        elif controller.target_spec != spec:
            self.change(spec)

    def _refuse_deployed(self, spec: Spec) -> None:
        """Keep the configuration from taking a name that was taken over the management API. Raises EndpointExists."""
        for name in names_of(spec):
            holder = self._spec_behind(name)
            if holder is not None and holder.deployed and not spec.deployed:
                raise EndpointExists(name, "that was made over the management API, and stays")

    def _spec_behind(self, name: str) -> Spec | None:
        target = self._targets.get(name, name)
        controller = self._controllers.get(target)
        return controller.target_spec if controller is not None else self._coming.get(target)

    async def add(self, spec: Spec) -> Endpoint:
        """Make one more endpoint, asleep. Goes on when the caller is cancelled; one that fails leaves nothing behind.

        Raises EndpointExists when its name or an alias is taken, also by an endpoint that is being taken out or made;
        InvalidInput, and what its provider raises. An error that is `in_doubt` leaves the endpoint here: it may have
        been made, and `is_there` tells.
        """
        names = set(names_of(spec))
        for name in names:
            if name in self._adding or name in self._leaving or self._holder(name) is not None:
                raise EndpointExists(name)
        self._adding |= names
        error = await asyncio.shield(self._own(f"add {spec.name}", self._add_reserved(spec, names)))
        if error is not None:
            raise error
        return self._find(spec.name).endpoint()

    async def _add_reserved(self, spec: Spec, names: set[str]) -> LamplighterError | None:
        """Tell what went wrong, if anything did: to a task that nobody waits for any more, a refusal is no trouble."""
        try:
            return await self._add(spec, patience=_CREATE_TIMEOUT)
        except LamplighterError as error:
            return error
        finally:
            self._adding -= names

    async def is_there(self, name: str) -> bool:
        """Wait until its provider has told for certain whether it has the endpoint. Raises EndpointNotFound."""
        controller = self._find(name)
        while not controller.looks and not controller.gone:
            await controller.changed()
        return controller.looks > 0

    async def _add(self, spec: Spec, patience: float | None = None) -> LamplighterError | None:
        """Make an endpoint known and look after it; tells why it is not certain that it was made.

        Raises InvalidInput when it can't work at its provider, and what that raises.
        """
        provider = self._providers.get(spec.provider)
        if provider is None:
            text = f"provider: {spec.provider!r} was not there when the server was started; restart it."
            raise InvalidInput(text, field="provider")
        memory = await self._journal.recall(spec.name)
        doubt = await _make(provider, spec, patience)
        # From here to the end nothing waits: what its provider has made is looked after.
        if spec.name in self._stay_paused:
            self._stay_paused.discard(spec.name)
            memory = dataclasses.replace(memory, paused=True)
        controller = Controller(
            spec,
            provider,
            self._rooms[spec.provider],
            self._journal,
            clock=self._clock,
            memory=memory,
            purse=self._purse,
        )
        self._controllers[spec.name] = controller
        self._names.learn(spec)
        if spec.name in self._wanted_early:
            controller.want(self._wanted_early.pop(spec.name))
        self._own(f"endpoint {spec.name}", self._look_after(controller))
        if doubt is not None:
            log.warning("not known whether it was made; it is looked for", endpoint=spec.name, error=doubt.message)
        return doubt

    def _follow(self, spec: Spec) -> None:
        """Add an endpoint as soon as its predecessor of the same name is gone; requests that come meanwhile wait."""
        self._coming[spec.name] = spec
        self._names.learn(spec)
        if spec.name not in self._following:
            self._following.add(spec.name)
            self._own(f"follow {spec.name}", self._follow_when_gone(spec.name))

    async def _follow_when_gone(self, name: str) -> None:
        try:
            while (leaving := self._leaving.get(name)) is not None:
                await leaving.changed()
            if (spec := self._coming.get(name)) is not None:
                await self._add(spec)
                self._catch_up(name, spec)
        except LamplighterError as error:
            log.error("endpoint refused", endpoint=name, error=error.message)  # noqa: TRY400 - a user's mistake
            self._names.forget(name)
        finally:
            self._coming.pop(name, None)  # not before: until its controller is there, requests have to wait
            self._wanted_early.pop(name, None)
            self._following.discard(name)
            self._arrived.set()
            self._arrived = asyncio.Event()

    def _catch_up(self, name: str, added: Spec) -> None:
        """Take what a further reload said of an endpoint while it was being added."""
        wanted = self._coming.get(name)
        if wanted is None:
            self.remove(name)
        elif wanted != added:
            self.change(wanted)

    async def update(self, spec: Spec) -> Endpoint:
        """Give an endpoint a new spec, as `change` does, and tell whether that can be.

        Returns when its provider has taken it, or said that it will from an endpoint that is asleep; goes on when the
        caller is cancelled. Raises EndpointNotFound, EndpointExists when a name or alias is taken, Conflict when
        another change takes its place, and what the provider raises; then it has the old one.
        """
        controller = self._find(spec.name)
        for name in names_of(spec):
            if name in self._adding or self._holder(name) not in {None, spec.name}:
                raise EndpointExists(name)
        error = await asyncio.shield(self._own(f"update {spec.name}", self._update(controller, spec)))
        if error is not None:
            raise error
        return controller.endpoint()

    async def _update(self, controller: Controller, spec: Spec) -> LamplighterError | None:
        """Tell what went wrong, if anything did, as `_add_reserved` does."""
        try:
            await controller.change(spec)
        except LamplighterError as error:
            return error
        self._names.learn(spec)
        return None

    def _holder(self, name: str) -> str | None:
        """The endpoint that has a name, or will have it when its provider has taken a change."""
        coming = (one.name for one in self._controllers.values() if name in one.target_spec.aliases)
        return self._targets.get(name) or next(coming, None)

    def change(self, spec: Spec) -> None:
        """Give an endpoint a new spec; its process is replaced, once it is quiet, only if it has to be.

        A provider that can't be asked is told later. What it refuses is dropped, and shown as the endpoint's message.
        """
        self._names.learn(spec)
        self._controllers[spec.name].replace(spec)

    def remove(self, name: str) -> None:
        """Take an endpoint out: no new requests, those that wait or are in flight are served, then it is put out."""
        controller = self._controllers.pop(name)
        self._leaving[name] = controller
        self._names.forget(name)
        controller.retire()

    async def remove_and_wait(self, name: str, *, timeout: float) -> bool:
        """Take an endpoint out and wait until it is gone; False when that takes longer, and goes on.

        Raises EndpointNotFound. One that is being taken out already is only waited for.
        """
        if name not in self._leaving:
            self.remove(self._find(name).name)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                while (leaving := self._leaving.get(name)) is not None:
                    await leaving.changed()
        return name not in self._leaving

    async def close(self, *, drain: float, leave_running: bool = False) -> None:
        """End: requests that wait are served or, after `drain` seconds, refused; then providers are closed."""
        self._closing = True
        await self._drain(drain)
        for controller in self._all():
            controller.abandon()
        await self._journal.remember([controller.keepsake() for controller in self._all()])
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        results = await asyncio.gather(
            *(provider.close(leave_running=leave_running) for provider in self._providers.values()),
            return_exceptions=True,
        )
        for key, result in zip(self._providers, results, strict=True):
            if isinstance(result, BaseException):
                log.error("closing failed: something may still be running", provider=key, error=str(result))
            elif not leave_running and self._providers[key].capabilities.ends_on_close:
                ended = [controller for controller in self._all() if controller.spec.provider == key]
                await asyncio.gather(*(controller.put_out() for controller in ended))

    async def _drain(self, limit: float) -> None:
        try:
            async with asyncio.timeout(limit):
                while waiting := [controller for controller in self._all() if controller.gate.held]:
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(waiting[0].changed(), _DRAIN_LOOK)
        except TimeoutError:
            log.warning("drain deadline", waiting=sum(c.gate.held for c in self._all()))

    # Demand.

    def resolve(self, model: str) -> str | None:
        return self._targets.get(model)

    def known(self) -> Sequence[str]:
        return sorted(self._targets)

    def listings(self) -> Sequence[Listing]:
        """Also those that come when their predecessors of the same name are gone: requests wait for them."""
        listed = {e.spec.name: self._listing(e.spec, e.phase) for e in self.endpoints() if not e.leaving}
        for name, spec in self._coming.items():
            listed.setdefault(name, self._listing(spec, Phase.SLEEPING))
        return [listed[name] for name in sorted(listed)]

    def is_probe(self, name: str, path: str) -> bool:
        return self._spec(name).is_probe(path)

    def root_tasks(self, name: str) -> RootTasks | None:
        return root_tasks(self._spec(name))

    def is_public(self, name: str) -> bool:
        return self._spec(name).public

    def try_claim(self, name: str) -> ActiveClaim | None:
        controller = self._controllers.get(name)
        return controller.gate.try_claim() if controller is not None else None

    async def claim(self, name: str, timeout: float | None, caller: Caller = SOMEBODY) -> ActiveClaim:
        began = self._clock.now()
        while name in self._coming:
            timeout = self._coming[name].policy.wake_timeout if timeout is None else timeout
            await self._await_arrival(name, began + timeout)
        controller = self._wanted(name)
        if self._closing and not controller.gate.is_open:
            raise ShuttingDown("Lamplighter is shutting down and wakes nothing any more.")
        claim = await controller.claim(None if timeout is None else began + timeout - self._clock.now(), caller)
        claim.waited = self._clock.now() - began
        return claim

    def want(self, name: str, caller: Caller = SOMEBODY) -> bool:
        if name in self._coming:
            self._wanted_early.setdefault(name, caller)
            return True
        return not self._closing and self._wanted(name).want(caller)

    def is_awake(self, name: str) -> bool:
        controller = self._controllers.get(name)
        return controller is not None and controller.gate.is_open

    def is_starting(self, name: str) -> bool:
        controller = self._controllers.get(name)
        return controller is not None and controller.is_starting()

    def is_paused(self, name: str) -> bool:
        controller = self._controllers.get(name)
        return controller is not None and controller.paused

    def expected_wait(self, name: str) -> float:
        return _ARRIVAL if name in self._coming else self._wanted(name).expected_wait()

    def in_flight(self, name: str) -> int:
        controller = self._controllers.get(name)
        return controller.gate.in_flight if controller is not None else 0

    async def _await_arrival(self, name: str, deadline: float) -> None:
        try:
            async with asyncio.timeout_at(deadline):
                await self._arrived.wait()
        except TimeoutError:
            text = f"Endpoint {name!r} is being replaced, and its predecessor has not ended yet. Try again."
            raise WakeTimeout(text, retry_after=_ARRIVAL) from None

    def idle_timeout(self, name: str) -> float | None:
        policy = self._spec(name).policy
        return None if policy.keep_warm else policy.idle_timeout

    def wake_timeout(self, name: str) -> float:
        return self._spec(name).policy.wake_timeout

    def too_late(self, name: str, waited: float) -> Unavailable:
        return self._wanted(name).too_late(waited)

    async def await_awake(self, name: str, timeout: float) -> ActiveClaim:
        deadline = self._clock.now() + timeout
        while name in self._coming:
            await self._await_arrival(name, deadline)
        controller = self._wanted(name)
        if self._closing and not controller.gate.is_open:
            raise ShuttingDown("Lamplighter is shutting down and wakes nothing any more.")
        return await controller.await_awake(max(0.0, deadline - self._clock.now()))

    # Operations.

    def endpoints(self) -> Sequence[Endpoint]:
        present = self._leaving | self._controllers
        return [present[name].endpoint() for name in sorted(present)]

    def stamps(self) -> Mapping[str, tuple[object, ...]]:
        """By endpoint, what is another as soon as it would show something else, but for what time alone changes.

        For who has to notice changes of many at once: it costs a twentieth of `endpoints`.
        """
        return {name: one.stamp() for name, one in (self._leaving | self._controllers).items()}

    def endpoint(self, name: str) -> Endpoint:
        leaving = self._leaving.get(name)
        return self._find(name).endpoint() if leaving is None or name in self._controllers else leaving.endpoint()

    async def wake(self, name: str, *, actor: str) -> Endpoint:
        return await self._operate("wake", name, actor, lambda controller: controller.ask_wake(actor))

    async def sleep(self, name: str, *, actor: str) -> Endpoint:
        return await self._operate("sleep", name, actor, lambda controller: controller.ask_sleep(actor))

    async def pause(self, name: str, *, actor: str) -> Endpoint:
        return await self._operate("pause", name, actor, lambda controller: controller.ask_pause(actor))

    async def resume(self, name: str, *, actor: str, lease: str | None = None, holder: str = "") -> Endpoint:
        return await self._operate(
            "resume", name, actor, lambda controller: controller.ask_wake(actor, lease, holder), holder
        )

    async def scale_to_zero(self, name: str, *, actor: str) -> Endpoint:
        to_zero = State.SCALED_TO_ZERO
        return await self._operate(
            "scale to zero", name, actor, lambda controller: controller.ask_sleep(actor, to_zero)
        )

    async def settled(self, name: str, phase: Phase, *, timeout: float) -> Endpoint:
        controller = self._find(name)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                while not _is_settled(controller.endpoint(), phase):
                    await controller.changed()
        return controller.endpoint()

    async def logs(self, name: str, *, tail: int, follow: bool) -> AsyncIterator[str]:
        provider = self._providers[self._find(name).spec.provider]
        async for line in provider.logs(self._find(name).name, tail=tail, follow=follow):
            yield line

    def processes(self, name: str) -> Sequence[tuple[int, int]]:
        """`(number of the replica, id of its leading process)` of each replica that runs on this machine."""
        provider = self._providers[self._find(name).spec.provider]
        return provider.processes(self._find(name).name) if isinstance(provider, RunsHere) else ()

    def hold(self, name: str, lease: str, holder: str = "", actor: str = "") -> None:
        """Keep an endpoint awake until the lease is let go, on the account of its holder, or of the key it came by."""
        self._find(name).hold(lease, account_of_operator(actor, holder) if actor or holder else "")

    def let_go(self, name: str, lease: str) -> None:
        """End a lease; one that has ended already is no error."""
        self._find(name).let_go(lease)

    def holds(self, name: str, lease: str) -> bool:
        """Whether a lease keeps the endpoint awake: not after a pause, and not when the endpoint was taken out."""
        controller = self._controllers.get(name)
        return controller is not None and controller.holds(lease)

    async def _operate(
        self, verb: str, name: str, actor: str, ask: Callable[[Controller], None], holder: str = ""
    ) -> Endpoint:
        try:
            controller = self._find(name)
            if verb in _BRINGS_UP:
                _refuse_flawed(controller.spec)
                controller.check_funds(account_of_operator(actor, holder))
        except LamplighterError as error:
            await self._recorder.write(f"ask {verb}", name, actor, error=error)
            raise
        await self._recorder.write(f"ask {verb}", controller.name, actor)
        if self._controllers.get(controller.name) is not controller:  # taken out while that was written
            raise EndpointNotFound(name, self._targets)
        paused = controller.paused
        ask(controller)
        if paused is not controller.paused:  # a word that outlasts this process: on record before it counts as given
            await self._journal.remember([controller.keepsake()])
        return controller.endpoint()

    # For the ledger and the budgets.

    def names(self) -> Sequence[str]:
        """The endpoints that there are, those that are being taken out included."""
        return sorted(self._leaving | self._controllers)

    def places(self) -> Mapping[str, str]:
        """The name of each endpoint's provider, by its own; those that are being taken out included."""
        return {name: one.spec.provider for name, one in (self._leaving | self._controllers).items()}

    def start_of(self, name: str) -> tuple[Spec, float | None]:
        """What is started by a wake, and how long that is expected to take (seconds). Raises EndpointNotFound."""
        controller = self._find(name)
        return controller.spec, controller.expected_start()

    def funds_changed(self, names: Iterable[str]) -> None:
        """Have these endpoints look at their budgets again; those that there are not are no error."""
        for name in names:
            controller = self._controllers.get(name)
            if controller is not None:
                controller.funds_changed()

    def gates(self) -> Mapping[str, Gate]:
        """The gate of each endpoint, those that are being taken out included."""
        return {name: one.gate for name, one in (self._leaving | self._controllers).items()}

    def unseen(self) -> frozenset[str]:
        """Endpoints that no provider has told of since the start."""
        return frozenset(controller.name for controller in self._all() if not controller.looks)

    @property
    def is_any_awake(self) -> bool:
        """Whether any endpoint was found in a state other than asleep when its provider was asked last."""
        return any(controller.may_be_billed for controller in self._all())

    async def note_clock(self) -> None:
        """Put on record how long endpoints have been awake: the wall clock was set."""
        await asyncio.gather(*(controller.note_clock() for controller in self._all()))

    # Tasks.

    async def _look_after(self, controller: Controller) -> None:
        """Run a controller; should it break, say so loudly and start its loop again: an endpoint left alone bills."""
        while True:
            try:
                await controller.run()
            except Exception as error:  # the boundary to providers of any make
                log.exception("controller broke", endpoint=controller.name)
                text = f"its controller broke: {type(error).__name__}: {error}"
                self._troubles[controller.name] = (text, controller.looks)
                controller.look_now()
                await asyncio.sleep(_RESTART_PAUSE)
            else:
                break
        await controller.part()
        await self._journal.forget(controller.name)
        self._leaving.pop(controller.name, None)
        controller.ended()

    async def _remember_for_ever(self) -> None:
        while True:
            await asyncio.sleep(REMEMBER_EVERY)
            await self._journal.remember([controller.keepsake() for controller in self._all()])

    def _own(self, name: str, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._disown)
        return task

    def _disown(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("task broke", task=task.get_name(), error=str(error))
            self._troubles[task.get_name()] = (str(error), 0)

    # Names.

    def _on_change(self, name: str) -> None:
        controller = self._controllers.get(name) or self._leaving.get(name)
        if controller is not None:
            controller.look_now()

    def _all(self) -> Sequence[Controller]:
        return (*self._controllers.values(), *self._leaving.values())

    def _find(self, name: str) -> Controller:
        """For whoever operates, and may know all names. Raises EndpointNotFound."""
        controller = self._controllers.get(self._targets.get(name, name))
        if controller is None:
            raise EndpointNotFound(name, self._targets)
        return controller

    def _wanted(self, name: str) -> Controller:
        """For a request, whose key may be bound to few names. Raises EndpointNotFound, which tells none."""
        controller = self._controllers.get(self._targets.get(name, name))
        if controller is None:
            raise EndpointNotFound(name, None)
        return controller

    def _spec(self, name: str) -> Spec:
        return self._coming.get(name) or self._wanted(name).spec

    def _listing(self, spec: Spec, phase: Phase) -> Listing:
        return Listing(name=spec.name, model=spec.engine.model, phase=phase, task=spec.task, created=self._created)


async def _make(provider: Provider, spec: Spec, patience: float | None) -> LamplighterError | None:
    """Have a provider make an endpoint; tells why it may have been made though that was not told. Raises the rest."""
    try:
        async with asyncio.timeout(patience):
            await provider.create(spec)
    except TimeoutError:
        error = ProviderUnreachable(
            f"Provider {spec.provider!r} did not make endpoint {spec.name!r} in {patience:g} s."
        )
        error.in_doubt = True
        return error
    except LamplighterError as error:
        if not error.in_doubt:
            raise
        return error
    return None


def _refuse_flawed(spec: Spec) -> None:
    """Refuse to bring up what can't be. Raises InvalidInput."""
    if spec.flaw is not None:
        raise InvalidInput(f"Endpoint {spec.name!r} can't be brought up: {spec.flaw}")


def _is_settled(endpoint: Endpoint, wanted: Phase) -> bool:
    """Whether it is there, or nothing will bring it there: a failure, or a pause that came meanwhile."""
    never = wanted is Phase.RUNNING and (endpoint.phase is Phase.ERROR or endpoint.paused)
    return never or endpoint.phase is wanted
