"""Endpoints that were made over the management API: on record first, then made, and there again after a restart."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import dataclasses
import weakref
from collections.abc import AsyncIterator, Awaitable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import structlog

from lamplighter.control.clock import Clock
from lamplighter.control.demand import BrokenDeployment, Offer, Revise
from lamplighter.control.journal import Journal, log_fields
from lamplighter.control.origin import ORIGIN
from lamplighter.domain.endpoint import Deployment, Endpoint, Phase, Spec
from lamplighter.domain.hardware import Hardware
from lamplighter.errors import (
    Conflict,
    EndpointExists,
    LamplighterError,
    ShuttingDown,
    StoreError,
)
from lamplighter.providers.base import Provider
from lamplighter.store import AuditRecord, SavedDeployment
from lamplighter.store.seal import Seal

log = structlog.get_logger("lamplighter.control")

HARDWARE_TIMEOUT = 15.0
"""How long a provider may take to tell its hardware (seconds)."""

HARDWARE_AGE = 60.0
"""How long what it told is taken for true (seconds)."""

HARDWARE_PAUSE = 5.0
"""How long one that could not be asked is left alone (seconds)."""

GONE_PATIENCE = 2.0
"""How long the answer to a delete waits for the endpoint to be gone, so that it mostly is (seconds)."""

GONE_TIMEOUT = 60.0
"""How often it is said that an endpoint is still being deleted (seconds)."""

_PRIVATE = "lamplighter"  # the member of a saved document that is ours alone
_BLANK = {"username": "", "password": None}

T = TypeVar("T")


class Compile(Protocol):
    """Makes the spec of a deployment, given the key of its provider and what a replica takes there."""

    def __call__(self, deployment: Deployment, *, provider: str, resources: Mapping[str, float]) -> Spec:
        """Raises InvalidInput."""


class DeployedFleet(Protocol):
    """What deployments need of the fleet."""

    def known(self) -> Sequence[str]: ...

    def endpoint(self, name: str) -> Endpoint: ...

    async def add(self, spec: Spec) -> Endpoint: ...

    async def update(self, spec: Spec) -> Endpoint: ...

    def change(self, spec: Spec) -> None: ...

    async def remove_and_wait(self, name: str, *, timeout: float) -> bool: ...

    async def wake(self, name: str, *, actor: str) -> Endpoint: ...


class DeploymentStore(Protocol):
    """Where deployments are kept."""

    async def save_deployment(self, saved: SavedDeployment) -> None: ...

    async def load_deployments(self) -> list[SavedDeployment]: ...

    async def forget_deployment(self, name: str) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kept:
    """A deployment with what its spec is made from."""

    deployment: Deployment
    provider: str
    resources: Mapping[str, float]
    leaving: bool = False


class DeploymentKeeper:
    """Implements `Deployments`. Operations on one name take turns; each is finished even if its caller has gone."""

    def __init__(
        self,
        fleet: DeployedFleet,
        providers: Mapping[str, Provider],
        store: DeploymentStore,
        seal: Seal,
        journal: Journal,
        *,
        compile_spec: Compile,
        clock: Clock | None = None,
    ) -> None:
        self._fleet = fleet
        self._providers = providers
        self._store = store
        self._seal = seal
        self._journal = journal
        self._compile = compile_spec
        self._clock = clock or Clock()
        self._kept: dict[str, _Kept] = {}
        self._broken: dict[str, BrokenDeployment] = {}
        self._leaving: dict[str, asyncio.Task[None]] = {}
        self._turns: weakref.WeakValueDictionary[str, asyncio.Lock] = weakref.WeakValueDictionary()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._hardware: dict[str, tuple[float, Sequence[Hardware]]] = {}
        self._asking: dict[str, asyncio.Lock] = {}
        self._closing = False

    # Over restarts.

    async def load(self) -> list[Spec]:
        """Read what was made before. What can't be brought back is `broken`, and stops nothing. Raises StoreError."""
        for saved in await self._store.load_deployments():
            try:
                self._kept[saved.name] = await asyncio.to_thread(_kept, saved, self._seal)
            except StoreError as error:
                self._break(_sealed(saved), error)
            except (TypeError, KeyError, AttributeError) as error:
                self._break(_sealed(saved), StoreError(f"Its record is damaged: {error!r}."))
        return list(self.specs().values())

    def specs(self) -> dict[str, Spec]:
        """The specs of all deployments by name, made anew: the server's defaults may have changed."""
        specs = {}
        for name, kept in list(self._kept.items()):
            try:
                specs[name] = self._compile(kept.deployment, provider=kept.provider, resources=kept.resources)
            except LamplighterError as error:
                self._break(kept, error)
        return specs

    def refused(self, name: str, reason: str) -> None:
        """Take note that an endpoint could not be brought back at the start.

        One whose name stands in the configuration file now is out of sight until it does so no more.
        """
        kept = self._kept.pop(name, None)
        if kept is None:
            return
        if name in self._fleet.known():
            log.error("endpoint not brought back: the configuration file has its name", endpoint=name)
        else:
            self._break(kept, LamplighterError(reason))

    def renew(self) -> None:
        """Give on what the server's defaults make of each deployment now."""
        for name, spec in self.specs().items():
            if not self._kept[name].leaving and self._fleet.endpoint(name).spec != spec:
                self._fleet.change(spec)

    async def look_around(self) -> None:
        """Ask all providers for their hardware, so that it is known from the start."""
        await self.offers()

    def resume_deletes(self) -> None:
        """Go on with what was being deleted when the process ended."""
        for name, kept in self._kept.items():
            if kept.leaving:
                self._begin_to_take_out(name)

    async def close(self) -> None:
        """Give up what is under way; it is on record, and goes on with the next start."""
        self._closing = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def broken(self) -> Mapping[str, BrokenDeployment]:
        """What could not be brought back, by name."""
        return self._broken

    @property
    def leaving(self) -> Sequence[str]:
        """The names of what is being deleted."""
        return [name for name, kept in self._kept.items() if kept.leaving]

    # Operations.

    async def create(self, spec: Spec, *, actor: str) -> Endpoint:
        return await self._in_turn(spec.name, self._create(spec, actor))

    async def update(self, name: str, revise: Revise, *, actor: str) -> Endpoint:
        return await self._in_turn(name, self._update(name, revise, actor))

    async def delete(self, name: str, *, actor: str) -> None:
        await self._in_turn(name, self._delete(name, actor))

    async def offers(self) -> Sequence[Offer]:
        able = [key for key, provider in self._providers.items() if provider.capabilities.deploys]
        listed = await asyncio.gather(*(self._hardware_of(key) for key in able))
        return [Offer(provider=key, hardware=one) for key, found in zip(able, listed, strict=True) for one in found]

    def known_hardware(self) -> Mapping[str, Sequence[Hardware]]:
        return {provider: found for provider, (_, found) in self._hardware.items()}

    def deployment(self, name: str) -> Deployment | None:
        kept = self._kept.get(name)
        return kept.deployment if kept is not None else None

    async def _create(self, spec: Spec, actor: str) -> Endpoint:
        name = spec.name
        if name in self._broken or name in self._kept or name in self._fleet.known():
            raise EndpointExists(name)
        spec = _signed(spec, self._clock.wall(), actor)
        kept = _keep(spec)
        async with self._recorded("create", name, actor, None):
            await self._store.save_deployment(await self._row(kept))
            try:
                await self._fleet.add(spec)
            except Exception:  # not when this server ends: it may have been made, and goes on with the next start
                await self._undo(self._store.forget_deployment(name), name)
                raise
            self._kept[name] = kept
        return await self._fleet.wake(name, actor=actor)

    async def _update(self, name: str, revise: Revise, actor: str) -> Endpoint:
        before = self._changeable(name)
        spec = _signed(revise(before.deployment), self._clock.wall(), actor, before.deployment)
        kept = _keep(spec)
        change = difference(before.deployment, kept.deployment)
        async with self._recorded("update", name, actor, change):
            await self._store.save_deployment(await self._row(kept))
            if name in self._broken:
                endpoint = await self._fleet.add(spec)  # should this fail, it stays broken, with the newer document
                del self._broken[name]
            else:
                endpoint = await self._change(spec, before, actor)
            self._kept[name] = kept
        return endpoint

    async def _change(self, spec: Spec, before: _Kept, actor: str) -> Endpoint:
        """Give the new spec on. An endpoint that was up is brought up again if it has to be replaced."""
        name = spec.name
        up = self._fleet.endpoint(name).phase in {Phase.RUNNING, Phase.STARTING}
        try:
            endpoint = await self._fleet.update(spec)
        except Exception:
            await self._undo(self._store.save_deployment(await self._row(before)), name)
            raise
        if up and endpoint.spec.deployment is not spec.deployment:
            return await self._fleet.wake(name, actor=actor)
        return endpoint

    async def _delete(self, name: str, actor: str) -> None:
        if name in self._leaving:
            await asyncio.wait([self._leaving[name]], timeout=GONE_PATIENCE)
            return  # asked for again: the answer to the first one may have been lost
        before = self._changeable(name)
        async with self._recorded("delete", name, actor, None):
            if name in self._broken:
                await self._store.forget_deployment(name)
                del self._broken[name]
                return
            leaving = dataclasses.replace(before, leaving=True)
            await self._store.save_deployment(await self._row(leaving))
            self._kept[name] = leaving
            gone = self._begin_to_take_out(name)
        await asyncio.wait([gone], timeout=GONE_PATIENCE)

    def _begin_to_take_out(self, name: str) -> asyncio.Task[None]:
        self._leaving[name] = gone = self._own(self._take_out(name), f"delete {name}")
        return gone

    async def _take_out(self, name: str) -> None:
        """Take an endpoint out; its row goes only when its provider has forgotten it: until then it may be billed."""
        while not await self._fleet.remove_and_wait(name, timeout=GONE_TIMEOUT):
            log.warning("still being deleted: it may be running, and billed", endpoint=name)
        await self._undo(self._store.forget_deployment(name), name)
        self._kept.pop(name, None)
        self._leaving.pop(name, None)

    def _changeable(self, name: str) -> _Kept:
        """What is known of a deployment. Raises EndpointNotFound, Conflict."""
        if (broken := self._broken.get(name)) is not None:
            return _Kept(deployment=broken.deployment, provider=broken.provider, resources={})
        if (kept := self._kept.get(name)) is not None:
            if kept.leaving:
                raise Conflict(f"Endpoint {name!r} is being deleted.")
            return kept
        found = self._fleet.endpoint(name)  # raises EndpointNotFound
        raise Conflict(f"Endpoint {found.spec.name!r} stands in the configuration file: change it there.")

    # Records.

    async def _row(self, kept: _Kept) -> SavedDeployment:
        return await asyncio.to_thread(_saved, kept, self._seal)

    async def _undo(self, write: Awaitable[None], name: str) -> None:
        """Write what must not be left undone because a caller went away or the database was busy for a moment."""
        try:
            await asyncio.shield(asyncio.ensure_future(write))
        except LamplighterError as error:
            log.error("not written: it may come back at the next start", endpoint=name, error=error.message)  # noqa: TRY400

    @contextlib.asynccontextmanager
    async def _recorded(self, operation: str, name: str, actor: str, change: str | None) -> AsyncIterator[None]:
        """Write the operation down, however it goes."""
        error: BaseException | None = None
        try:
            yield
        except BaseException as caught:
            error = caught
            raise
        finally:
            origin = ORIGIN.get()
            record = AuditRecord(
                at=self._clock.wall(),
                actor=actor,
                operation=operation,
                endpoint=name,
                success=error is None,
                error=None if error is None else str(error) or type(error).__name__,
                change=change,
                source=origin.source,
                request_id=origin.request_id,
            )
            log.info("operation", **log_fields(record))
            await self._journal.operation(record)

    def _break(self, kept: _Kept, error: LamplighterError) -> None:
        name: str = kept.deployment.document["name"]
        log.error("endpoint not brought back", endpoint=name, error=error.message)
        self._kept.pop(name, None)
        self._broken[name] = BrokenDeployment(deployment=kept.deployment, provider=kept.provider, reason=error.message)

    # Tasks.

    async def _in_turn(self, name: str, work: Coroutine[Any, Any, T]) -> T:
        """Do one thing at a time with a name, to its end, whether or not somebody still waits for the answer."""
        if self._closing:
            work.close()
            raise ShuttingDown("This server is going away.", retry_after=1.0)
        turn = self._turns.setdefault(name, asyncio.Lock())

        async def alone() -> T:
            async with turn:
                return await work

        return await asyncio.shield(self._own(alone(), f"deployment {name}"))

    def _own(self, work: Coroutine[Any, Any, T], name: str) -> asyncio.Task[T]:
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._disown)
        return task

    def _disown(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            expected = isinstance(error, LamplighterError)
            if not expected:
                log.error("task broke", task=task.get_name(), error=repr(error))

    async def _hardware_of(self, key: str) -> Sequence[Hardware]:
        """What a provider has; one that can't be asked now has what it had, or nothing.

        Whoever asks while somebody does waits for that answer: anybody may ask, and the provider may be slow.
        """
        async with self._asking.setdefault(key, asyncio.Lock()):
            until, found = self._hardware.get(key, (float("-inf"), ()))
            if self._clock.now() >= until:
                age, found = await self._ask_for_hardware(key, found)
                self._hardware[key] = (self._clock.now() + age, found)
        return found

    async def _ask_for_hardware(self, key: str, before: Sequence[Hardware]) -> tuple[float, Sequence[Hardware]]:
        """How long the answer counts, and the answer."""
        provider = self._providers[key]
        try:
            async with asyncio.timeout(HARDWARE_TIMEOUT):
                found = await provider.hardware()
        except (LamplighterError, TimeoutError) as error:
            log.warning("hardware not told", provider=key, error=str(error) or f"no answer in {HARDWARE_TIMEOUT:g} s")
            return HARDWARE_PAUSE, before
        return (0.0 if provider.capabilities.reports_changes else HARDWARE_AGE), found


def difference(before: Deployment, after: Deployment) -> str:
    """The names of what an update changes, for the record; of secrets and variables no value."""
    names = _differing(before.document, after.document, "")
    secrets = before.secrets.keys() | after.secrets.keys()
    names += [f"model.secrets.{key}" for key in secrets if before.secrets.get(key) != after.secrets.get(key)]
    return ", ".join(sorted(names)) or "nothing"


def _differing(before: Any, after: Any, path: str) -> list[str]:
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        keys = before.keys() | after.keys()
        return [name for key in keys for name in _differing(before.get(key), after.get(key), f"{path}.{key}")]
    return [] if before == after else [path.lstrip(".")]


def _keep(spec: Spec) -> _Kept:
    assert spec.deployment is not None
    return _Kept(deployment=spec.deployment, provider=spec.provider, resources=dict(spec.resources))


def _signed(spec: Spec, at: float, actor: str, before: Deployment | None = None) -> Spec:
    """Note on the deployment who made or changed it, and when."""
    assert spec.deployment is not None
    made = (before.created_at, before.created_by) if before is not None else (at, actor)
    deployment = dataclasses.replace(
        spec.deployment, created_at=made[0], created_by=made[1], updated_at=at, updated_by=actor
    )
    return dataclasses.replace(spec, deployment=deployment)


# Rows. What is secret in a document (a registry's credentials) is sealed with the secrets.


def _saved(kept: _Kept, seal: Seal) -> SavedDeployment:
    deployment = kept.deployment
    document = copy.deepcopy(dict(deployment.document))
    credentials = {}
    for variant, fields in ((document.get("model") or {}).get("image") or {}).items():
        if isinstance(fields, dict) and fields.get("credentials") is not None:
            credentials[variant] = fields["credentials"]
            fields["credentials"] = _BLANK
    document[_PRIVATE] = {"provider": kept.provider, "resources": dict(kept.resources), "leaving": kept.leaving}
    hidden = {"secrets": dict(deployment.secrets), "credentials": credentials}
    return SavedDeployment(
        name=document["name"],
        document=document,
        secrets=seal.seal({key: value for key, value in hidden.items() if value}),
        created_at=deployment.created_at,
        created_by=deployment.created_by,
        updated_at=deployment.updated_at,
        updated_by=deployment.updated_by,
    )


def _kept(saved: SavedDeployment, seal: Seal) -> _Kept:
    """Read a row. Raises StoreError when its secrets can't be opened."""
    hidden = seal.unseal(saved.secrets)
    kept = _sealed(saved)
    document = copy.deepcopy(dict(kept.deployment.document))
    for variant, credentials in (hidden.get("credentials") or {}).items():
        document["model"]["image"][variant]["credentials"] = credentials
    deployment = dataclasses.replace(kept.deployment, document=document, secrets=hidden.get("secrets") or {})
    return dataclasses.replace(kept, deployment=deployment)


def _sealed(saved: SavedDeployment) -> _Kept:
    """Read a row and leave its secrets where they are."""
    document = dict(saved.document) if isinstance(saved.document, Mapping) else {}
    found = document.pop(_PRIVATE, {})
    private = found if isinstance(found, Mapping) else {}
    document["name"] = saved.name
    deployment = Deployment(
        document=document,
        created_at=saved.created_at,
        created_by=saved.created_by,
        updated_at=saved.updated_at,
        updated_by=saved.updated_by,
    )
    return _Kept(
        deployment=deployment,
        provider=str(private.get("provider", "")),
        resources=private.get("resources") or {},
        leaving=bool(private.get("leaving")),
    )
