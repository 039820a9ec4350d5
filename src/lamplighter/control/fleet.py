"""All endpoints: finds the controller behind a name, starts and retires controllers, keeps their tasks alive."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Coroutine, Iterable, Mapping, Sequence
from typing import Any

import structlog

from lamplighter.control.clock import Clock
from lamplighter.control.controller import Controller
from lamplighter.control.demand import Listing
from lamplighter.control.gate import ActiveClaim
from lamplighter.control.journal import Journal, log_fields
from lamplighter.control.room import RoomKeeper
from lamplighter.domain.endpoint import Endpoint, Phase, Spec
from lamplighter.errors import EndpointNotFound, InvalidInput, LamplighterError, ShuttingDown, WakeTimeout
from lamplighter.providers.base import Provider
from lamplighter.store import AuditRecord

log = structlog.get_logger("lamplighter.control")

REMEMBER_EVERY = 15.0
"""How often last activity is written down; a crash loses no more than this of an idle clock (seconds)."""

_RESTART_PAUSE = 1.0
_DRAIN_LOOK = 0.05
_FIRST_LOOK = 5.0


class Fleet:
    """Implements `Demand` for the gateway and `Operations` for the management routes."""

    def __init__(self, providers: Mapping[str, Provider], journal: Journal, *, clock: Clock | None = None) -> None:
        self._providers = dict(providers)
        self._journal = journal
        self._clock = clock or Clock()
        self._rooms: dict[str, RoomKeeper] = {}
        self._controllers: dict[str, Controller] = {}
        self._leaving: dict[str, Controller] = {}
        self._names: dict[str, str] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._created = int(self._clock.wall())
        self._closing = False
        self._coming: dict[str, Spec] = {}
        self._following: set[str] = set()
        self._arrived = asyncio.Event()
        self._troubles: dict[str, tuple[str, int]] = {}

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

    async def open(self, specs: Iterable[Spec]) -> None:
        """Open every provider, make every endpoint known, and look at each. Starts nothing; adopts what runs.

        Raises InvalidInput when a spec can't work at its provider; everything that was opened is closed again.
        """
        try:
            for key, provider in self._providers.items():
                await provider.open(self._on_change)
                self._rooms[key] = RoomKeeper(provider.capabilities.resources)
            for spec in specs:
                await self._add(spec)
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

    async def apply(self, specs: Mapping[str, Spec]) -> dict[str, str]:
        """Make the endpoints be these: only what differs is touched, and no request is dropped.

        Tells by name why an endpoint could not be added; the others are applied all the same.
        """
        for name in [name for name in self._controllers if name not in specs]:
            self.remove(name)
        for name in [name for name in self._coming if name not in specs]:
            del self._coming[name]
            self._forget_names(name)
        refused: dict[str, str] = {}
        for name, spec in specs.items():
            controller = self._controllers.get(name)
            if controller is not None and controller.spec.provider != spec.provider:
                self.remove(name)
                controller = None
            if name in self._leaving or name in self._following:
                self._follow(spec)
            elif controller is None:
                try:
                    await self._add(spec)
                except LamplighterError as error:
                    refused[name] = error.message
            elif controller.target_spec != spec:
                self.change(spec)
        return refused

    async def _add(self, spec: Spec) -> None:
        """Make an endpoint known and look after it. Raises InvalidInput when it can't work at its provider."""
        provider = self._providers.get(spec.provider)
        if provider is None:
            text = f"provider: {spec.provider!r} was not there when the server was started; restart it."
            raise InvalidInput(text, field="provider")
        await provider.create(spec)
        memory = await self._journal.recall(spec.name)
        controller = Controller(
            spec, provider, self._rooms[spec.provider], self._journal, clock=self._clock, memory=memory
        )
        self._controllers[spec.name] = controller
        self._learn_names(spec)
        self._own(f"endpoint {spec.name}", self._look_after(controller))

    def _follow(self, spec: Spec) -> None:
        """Add an endpoint as soon as its predecessor of the same name is gone; requests that come meanwhile wait."""
        self._coming[spec.name] = spec
        self._learn_names(spec)
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
            self._forget_names(name)
        finally:
            self._coming.pop(name, None)  # not before: until its controller is there, requests have to wait
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

    def change(self, spec: Spec) -> None:
        """Give an endpoint a new spec; its process is replaced, once it is quiet, only if it has to be."""
        self._forget_names(spec.name)
        self._learn_names(spec)
        self._controllers[spec.name].replace(spec)

    def remove(self, name: str) -> None:
        """Take an endpoint out: no new requests, those that wait or are in flight are served, then it is put out."""
        controller = self._controllers.pop(name)
        self._leaving[name] = controller
        self._forget_names(name)
        controller.retire()

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
                while waiting := [controller for controller in self._all() if controller.gate.waiting]:
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(waiting[0].changed(), _DRAIN_LOOK)
        except TimeoutError:
            log.warning("drain deadline", waiting=sum(c.gate.waiting for c in self._all()))

    # Demand.

    def resolve(self, model: str) -> str | None:
        return self._names.get(model)

    def known(self) -> Sequence[str]:
        return sorted(self._names)

    def listings(self) -> Sequence[Listing]:
        return [self._listing(endpoint) for endpoint in self.endpoints()]

    def is_probe(self, name: str, path: str) -> bool:
        spec = self._coming.get(name) or self._find(name).spec
        return spec.is_probe(path)

    def try_claim(self, name: str) -> ActiveClaim | None:
        controller = self._controllers.get(name)
        return controller.gate.try_claim() if controller is not None else None

    async def claim(self, name: str, timeout: float | None) -> ActiveClaim:
        began = self._clock.now()
        while name in self._coming:
            timeout = self._coming[name].policy.wake_timeout if timeout is None else timeout
            await self._await_arrival(name, began + timeout)
        controller = self._find(name)
        if self._closing and not controller.gate.is_open:
            raise ShuttingDown("Lamplighter is shutting down and wakes nothing any more.")
        claim = await controller.claim(None if timeout is None else began + timeout - self._clock.now())
        claim.waited = self._clock.now() - began
        return claim

    async def _await_arrival(self, name: str, deadline: float) -> None:
        try:
            async with asyncio.timeout_at(deadline):
                await self._arrived.wait()
        except TimeoutError:
            text = f"Endpoint {name!r} is being replaced, and its predecessor has not ended yet. Try again."
            raise WakeTimeout(text, retry_after=1.0) from None

    # Operations.

    def endpoints(self) -> Sequence[Endpoint]:
        return [self._controllers[name].endpoint() for name in sorted(self._controllers)]

    def endpoint(self, name: str) -> Endpoint:
        return self._find(name).endpoint()

    async def wake(self, name: str, *, actor: str) -> Endpoint:
        return await self._operate("wake", name, actor)

    async def sleep(self, name: str, *, actor: str) -> Endpoint:
        return await self._operate("sleep", name, actor)

    async def settled(self, name: str, phase: Phase, *, timeout: float) -> Endpoint:
        controller = self._find(name)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                while not _is_settled(controller.endpoint().phase, phase):
                    await controller.changed()
        return controller.endpoint()

    async def logs(self, name: str, *, tail: int, follow: bool) -> AsyncIterator[str]:
        provider = self._providers[self._find(name).spec.provider]
        async for line in provider.logs(self._find(name).name, tail=tail, follow=follow):
            yield line

    def hold(self, name: str, lease: str) -> None:
        """Keep an endpoint awake until the lease is let go."""
        self._find(name).hold(lease)

    def let_go(self, name: str, lease: str) -> None:
        """End a lease; one that has ended already is no error."""
        self._find(name).let_go(lease)

    def holds(self, name: str, lease: str) -> bool:
        """Whether a lease keeps the endpoint awake: not after a pause, and not when the endpoint was taken out."""
        controller = self._controllers.get(name)
        return controller is not None and controller.holds(lease)

    async def _operate(self, verb: str, name: str, actor: str) -> Endpoint:
        controller = self._find(name)
        record = AuditRecord(
            at=self._clock.wall(), actor=actor, operation=f"ask {verb}", endpoint=controller.name, success=True
        )
        await self._journal.operation(record)
        log.info("operation", **log_fields(record))
        if verb == "wake":
            controller.ask_wake(actor)
        else:
            controller.ask_sleep(actor)
        return controller.endpoint()

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
        await self._journal.forget(controller.name)
        self._leaving.pop(controller.name, None)
        controller.ended()

    async def _remember_for_ever(self) -> None:
        while True:
            await asyncio.sleep(REMEMBER_EVERY)
            await self._journal.remember([controller.keepsake() for controller in self._all()])

    def _own(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._disown)

    def _disown(self, task: asyncio.Task[None]) -> None:
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
        controller = self._controllers.get(self._names.get(name, name))
        if controller is None:
            raise EndpointNotFound(name, self._names)
        return controller

    def _learn_names(self, spec: Spec) -> None:
        for alias in spec.aliases:
            self._names[alias] = spec.name
        self._names[spec.name] = spec.name

    def _forget_names(self, name: str) -> None:
        self._names = {alias: target for alias, target in self._names.items() if target != name}

    def _listing(self, endpoint: Endpoint) -> Listing:
        spec = endpoint.spec
        return Listing(
            name=spec.name, model=spec.engine.model, phase=endpoint.phase, task=spec.task, created=self._created
        )


def _is_settled(phase: Phase, wanted: Phase) -> bool:
    return phase is wanted or (wanted is Phase.RUNNING and phase is Phase.ERROR)
