"""Endpoints as processes on this machine."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path

import structlog

from lamplighter.domain.endpoint import ASLEEP, Spec, State, Status
from lamplighter.domain.hardware import Hardware
from lamplighter.engines.base import Engine
from lamplighter.errors import EndpointNotFound, InvalidInput, ProviderError
from lamplighter.providers.base import Capabilities, OnChange
from lamplighter.providers.billing import billing_rule
from lamplighter.providers.local.following import read_logs
from lamplighter.providers.local.hardware import machine_hardware
from lamplighter.providers.local.leftovers import Leftover, Leftovers
from lamplighter.providers.local.machine import Machine
from lamplighter.providers.local.ports import PortPool
from lamplighter.providers.local.rotation import LogRotator
from lamplighter.providers.local.runfiles import RunFiles
from lamplighter.providers.local.supervisor import Supervisor

log = structlog.get_logger("lamplighter.providers.local")

_LOOK_EVERY = 60.0


class LocalProvider:
    """Starts each replica as a process group of its own; they outlive this server if it is killed, and are adopted.

    `resources` is what this machine has; keeping to it is the controllers' part. `state_dir` holds run files, one
    server at a time; `log_dir` a folder per endpoint. `engines` are known by the name in a spec's `engine.engine`.
    `log_bytes` bounds one log file, `log_files` counts the current and the rotated ones. `host` is what engines listen
    on. `price_per_hour` is what one GPU costs, or one unit of CPU where there is none, in USD per hour. `billing` says
    what of the time counts: see `billing_rule`.
    """

    def __init__(
        self,
        *,
        resources: Mapping[str, float],
        state_dir: Path,
        log_dir: Path,
        engines: Mapping[str, Engine],
        log_bytes: int = 10_000_000,
        log_files: int = 3,
        host: str = "127.0.0.1",
        price_per_hour: float = 0.0,
        billing: object = None,
        withheld: frozenset[str] = frozenset(),
    ) -> None:
        if isinstance(price_per_hour, bool) or not isinstance(price_per_hour, int | float) or not price_per_hour >= 0:
            text = f"price_per_hour: {price_per_hour!r} is no price; give USD per hour, such as 0.35."
            raise InvalidInput(text, field="price_per_hour")
        self._price = float(price_per_hour)
        self._capabilities = Capabilities(
            resources=dict(resources),
            reports_changes=True,
            look_every=_LOOK_EVERY,
            ends_on_close=True,
            deploys=True,
            billing=billing_rule(billing),
        )
        self._engines = engines
        self._machine = Machine(
            host=host,
            ports=PortPool(host),
            runs=RunFiles(state_dir),
            rotator=LogRotator(),
            log_dir=log_dir,
            log_bytes=log_bytes,
            log_files=log_files,
            withheld=withheld,
        )
        self._leftovers = Leftovers()
        self._endpoints: dict[str, Supervisor] = {}
        self._on_change: OnChange = lambda _name: None

    @property
    def capabilities(self) -> Capabilities:
        return self._capabilities

    async def open(self, on_change: OnChange) -> None:
        """Find what an earlier server left. Raises Conflict when another server uses the state folder."""
        self._on_change = on_change
        self._machine.runs.open()
        self._leftovers = await asyncio.to_thread(Leftovers.find, self._machine.runs)

    async def close(self, *, leave_running: bool = False) -> None:
        """Stop all endpoints, side by side, or leave them to the next server. Raises ProviderError if some survive."""
        endpoints = list(self._endpoints.values())
        stop = (endpoint.abandon() if leave_running else endpoint.ended() for endpoint in endpoints)
        results = await asyncio.gather(*stop, return_exceptions=True)
        await asyncio.gather(*(endpoint.abandon() for endpoint in endpoints))
        self._endpoints.clear()
        self._machine.rotator.close()
        self._machine.runs.close()
        if errors := [result for result in results if isinstance(result, BaseException)]:
            raise errors[0]

    async def create(self, spec: Spec) -> Status:
        """Make an endpoint known; adopts what runs of it if it was started by the same spec, else begins to end it."""
        engine = self._engine_for(spec)
        if spec.name in self._endpoints:
            return await self.update(spec)
        endpoint = Supervisor(spec, engine, self._machine, lambda: self._on_change(spec.name))
        self._endpoints[spec.name] = endpoint
        await endpoint.adopt(self._leftovers.take(spec.name))
        return endpoint.status()

    async def update(self, spec: Spec) -> Status:
        """Replace the spec. Raises Conflict when the endpoint is not asleep and the spec is another one."""
        endpoint, engine = self._find(spec.name), self._engine_for(spec)
        if spec != endpoint.spec:
            endpoint.replace(spec, engine)
        return endpoint.status()

    async def delete(self, name: str) -> None:
        """End what runs, then forget the endpoint and its logs. Raises ProviderError when something survives."""
        await self._find(name).ended()
        self._endpoints.pop(name, None)
        await asyncio.to_thread(shutil.rmtree, self._machine.log_folder(name), onerror=_not_removed)

    async def observe(self, name: str) -> Status:
        return self._find(name).status()

    async def wake(self, name: str) -> None:
        self._find(name).wake()

    async def sleep(self, name: str, into: State = State.SCALED_TO_ZERO) -> None:
        self._find(name).sleep(into)

    def processes(self, name: str) -> Sequence[tuple[int, int]]:
        """`(number of the replica, id of its leading process)` of each that runs."""
        return self._find(name).processes()

    async def hardware(self) -> Sequence[Hardware]:
        """This machine, as what endpoints can be made on."""
        running = [endpoint.spec for endpoint in self._endpoints.values() if endpoint.status().state not in ASLEEP]
        return machine_hardware(self._capabilities.resources, running, self._price)

    async def logs(self, name: str, *, tail: int = 100, follow: bool = False) -> AsyncIterator[str]:
        """Yield lines; with several replicas each says whose it is, and each replica has its share of `tail`."""
        endpoint = self._find(name)
        files = [endpoint.logfile(slot) for slot in range(endpoint.spec.replicas)]
        lines = read_logs(files, tail=tail, follow=follow, over=lambda: self._endpoints.get(name) is not endpoint)
        async for line in lines:
            yield endpoint.clean(line)

    async def end_orphans(self) -> list[str]:
        """End what an earlier server started for endpoints that are not known any more; call it after all creates.

        Returns the ids of the replicas that were ended.
        """
        orphans = self._leftovers.take_all()
        ended = await asyncio.gather(*(self._end_orphan(orphan) for orphan in orphans))
        return [orphan.id for orphan, gone in zip(orphans, ended, strict=True) if gone]

    async def _end_orphan(self, orphan: Leftover) -> bool:
        try:
            await orphan.group.end(orphan.grace, lambda: True)
        except ProviderError as error:
            log.warning("orphan not ended", replica=orphan.id, error=str(error))
            return False
        self._machine.forget(orphan.id, None)
        return True

    def _find(self, name: str) -> Supervisor:
        try:
            return self._endpoints[name]
        except KeyError:
            raise EndpointNotFound(name, self._endpoints) from None

    def _engine_for(self, spec: Spec) -> Engine:
        engine = self._engines.get(spec.engine.engine)
        if engine is None:
            known = ", ".join(sorted(self._engines)) or "none"
            raise InvalidInput(f"engine {spec.engine.engine!r} is not known; known are: {known}", field="engine")
        if spec.replicas < 1:
            raise InvalidInput(f"replicas is {spec.replicas}; it has to be 1 or more", field="replicas")
        engine.check(spec.engine)
        return engine


def _not_removed(_function: object, path: str, error: tuple[type[BaseException], BaseException, object]) -> None:
    if not isinstance(error[1], FileNotFoundError):
        log.warning("log not removed", path=path, error=type(error[1]).__name__)
