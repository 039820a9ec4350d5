"""Endpoints that were made over the management API: on record first, then made, and there again after a restart.

Whatever is wrong with one, it stays in the fleet as long as its provider is there: looking, pausing and deleting need
neither its secrets nor a document that is whole, and what nobody looks after runs on and is billed.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import Awaitable, Mapping, Sequence
from typing import Protocol

import structlog

from lamplighter.control.clock import Clock
from lamplighter.control.demand import BrokenDeployment, Offer, Revise
from lamplighter.control.deployed import (
    Kept,
    bare_spec,
    check_given_anew,
    difference,
    has_secrets,
    keep,
    kept_of,
    row_of,
    signed,
)
from lamplighter.control.journal import Journal
from lamplighter.control.offers import Offers
from lamplighter.control.recorder import Recorder
from lamplighter.control.turns import Turns
from lamplighter.domain.endpoint import Deployment, Endpoint, Making, Phase, Spec
from lamplighter.domain.hardware import Hardware
from lamplighter.errors import (
    Conflict,
    EndpointExists,
    EndpointNotFound,
    LamplighterError,
    ProviderUnreachable,
)
from lamplighter.providers.base import Provider
from lamplighter.store import SavedDeployment
from lamplighter.store.seal import Seal

log = structlog.get_logger("lamplighter.control")

GONE_PATIENCE = 2.0
"""How long the answer to a delete waits for the endpoint to be gone, so that it mostly is (seconds)."""

GONE_TIMEOUT = 60.0
"""How often it is said that an endpoint is still being deleted (seconds)."""

DOUBT_PATIENCE = 2.0
"""How long the answer to a create waits to know whether one that got no answer was made (seconds)."""


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

    async def is_there(self, name: str) -> bool: ...

    async def wake(self, name: str, *, actor: str) -> Endpoint: ...


class DeploymentStore(Protocol):
    """Where deployments are kept."""

    async def save_deployment(self, saved: SavedDeployment) -> None: ...

    async def load_deployments(self) -> list[SavedDeployment]: ...

    async def forget_deployment(self, name: str) -> None: ...


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
        self._compile = compile_spec
        self._clock = clock or Clock()
        self._offers = Offers(providers, self._clock)
        self._kept: dict[str, Kept] = {}  # those in the fleet
        self._flaws: dict[str, str] = {}  # what is wrong with some of them
        self._broken: dict[str, BrokenDeployment] = {}
        self._apart: dict[str, Kept] = {}  # what is kept of the broken ones
        self._eclipsed: dict[str, str] = {}
        self._leaving: dict[str, asyncio.Task[None]] = {}
        self._turns = Turns()
        self._recorder = Recorder(journal, self._clock)

    # Over restarts.

    async def load(self) -> list[Spec]:
        """Read what was made before. What can't be brought back is `broken`, and stops nothing. Raises StoreError."""
        specs = []
        for saved in await self._store.load_deployments():
            kept = await asyncio.to_thread(kept_of, saved, self._seal)
            try:
                spec, flaw = self._compiled(kept)
            except LamplighterError as error:
                self._break(kept, kept.sealed.reason if kept.sealed else error.message)
                continue
            self._kept[kept.name] = kept
            if flaw is not None:
                log.error("endpoint has a flaw", endpoint=kept.name, error=flaw)
                self._flaws[kept.name] = flaw
            specs.append(spec)
        return specs

    def refused(self, name: str, reason: str) -> None:
        """Take note that an endpoint could not be brought back at the start.

        One whose name stands in the configuration file now is out of sight until it does so no more.
        """
        kept = self._kept.pop(name, None)
        self._flaws.pop(name, None)
        if kept is None:
            return
        if name not in self._fleet.known():
            self._break(kept, reason)
            return
        log.error("endpoint not brought back: the configuration file has its name", endpoint=name)
        if self._may_run_on(kept):
            text = f"the configuration file has its name; what was made as {name!r} at {kept.provider!r}"
            self._eclipsed[name] = f"{text} may run there, and be billed, and nobody looks after it"

    async def renew(self) -> None:
        """Give on what the server's defaults make of each deployment now, in turn with its other changes."""
        await asyncio.gather(*(self._turns.take(name, self._renew(name)) for name in list(self._kept)))

    async def _renew(self, name: str) -> None:
        kept = self._kept.get(name)
        if kept is None or kept.leaving:
            return
        try:
            spec, _ = self._compiled(kept)
        except LamplighterError as error:
            log.error("new defaults not taken", endpoint=name, error=error.message)  # noqa: TRY400 - a user's mistake
            return
        if self._fleet.endpoint(name).spec != spec:
            self._fleet.change(spec)

    async def look_around(self) -> None:
        """Ask all providers for their hardware, so that it is known from the start."""
        await self.offers()

    def go_on(self) -> None:
        """Go on with what was under way when the process ended: deletes, and looking for what may have been made."""
        for name, kept in self._kept.items():
            if kept.leaving:
                self._begin_to_take_out(name)
            elif kept.doubtful:
                self._turns.own(self._settle(kept), f"look for {name}")

    async def close(self) -> None:
        """Give up what is under way; it is on record, and goes on with the next start."""
        await self._turns.close()

    @property
    def broken(self) -> Mapping[str, BrokenDeployment]:
        """What could not be brought back, by name."""
        return self._broken

    @property
    def flaws(self) -> Mapping[str, str]:
        """What is wrong with others, by name."""
        return self._flaws

    @property
    def leaving(self) -> Sequence[str]:
        """The names of what is being deleted."""
        return [name for name, kept in self._kept.items() if kept.leaving]

    def problems(self) -> list[str]:
        """Everything that somebody has to mend."""
        broken = {name: broken.reason for name, broken in self._broken.items()}
        return [f"endpoint {name}: {text}" for name, text in sorted((self._eclipsed | self._flaws | broken).items())]

    # Operations.

    async def create(self, spec: Spec, *, actor: str) -> Endpoint:
        return await self._turns.take(spec.name, self._create(spec, actor))

    async def update(self, name: str, revise: Revise, *, actor: str) -> Endpoint:
        return await self._turns.take(name, self._update(name, revise, actor))

    async def delete(self, name: str, *, actor: str, forget: bool = False) -> None:
        await self._turns.take(name, self._delete(name, actor, forget))

    async def record_refusal(self, operation: str, name: str, actor: str, error: LamplighterError) -> None:
        await self._recorder.write(operation, name, actor, error=error)

    async def offers(self) -> Sequence[Offer]:
        return await self._offers.offers()

    async def hardware(self) -> Sequence[tuple[str, Hardware]]:
        """The same as pairs of a provider's key and what it has."""
        return [(offer.provider, offer.hardware) for offer in await self.offers()]

    def known_hardware(self) -> Mapping[str, Sequence[Hardware]]:
        return self._offers.known()

    def deployment(self, name: str) -> Deployment | None:
        kept = self._kept.get(name)
        return kept.deployment if kept is not None else None

    # Making.

    async def _create(self, spec: Spec, actor: str) -> Endpoint:
        name = spec.name
        async with self._recorder.recorded("create", name, actor):
            self._refuse_taken(name)
            spec = signed(spec, self._clock.wall(), actor)
            kept = dataclasses.replace(keep(spec), doubtful=True)
            await self._store.save_deployment(await self._row(kept))
            try:
                await self._fleet.add(spec)
            except (
                Exception
            ) as error:  # not when this server ends: it may have been made, and goes on with the next start
                if not isinstance(error, LamplighterError) or not error.in_doubt:
                    await self._write(self._store.forget_deployment(name), name)
                    raise
                await self._doubt(kept, error)
            await self._is_made(kept)
        return await self._fleet.wake(name, actor=actor)

    def _refuse_taken(self, name: str) -> None:
        if (kept := self._kept.get(name)) is not None and kept.doubtful:
            raise Conflict(
                f"Endpoint {name!r} may have been made: a create got no answer. It is being looked for; wait until "
                "that is known, or delete it."
            )
        if name in self._broken or name in self._kept or name in self._fleet.known():
            raise EndpointExists(name)

    async def _doubt(self, kept: Kept, error: LamplighterError) -> None:
        """Look for what may have been made; returns when it is found. Raises when it is not, or not known for now."""
        name = kept.name
        self._kept[name] = kept
        try:
            async with asyncio.timeout(DOUBT_PATIENCE):
                there = await self._fleet.is_there(name)
        except TimeoutError:
            self._turns.own(self._settle(kept), f"look for {name}")
            raise _may_be_there(name, error) from None
        if not there:
            await self._drop(kept)
            raise error

    async def _settle(self, kept: Kept) -> None:
        """Look for what may have been made until it is certain whether it was."""
        with contextlib.suppress(EndpointNotFound):  # it was deleted meanwhile
            there = await self._fleet.is_there(kept.name)
            await self._turns.take(kept.name, self._end_doubt(kept, there=there))

    async def _end_doubt(self, kept: Kept, *, there: bool) -> None:
        if self._kept.get(kept.name) is not kept:
            return  # it is being deleted
        if there:
            log.info("found: it was made", endpoint=kept.name)
            await self._is_made(kept)
        else:
            await self._drop(kept)

    async def _is_made(self, kept: Kept) -> None:
        self._kept[kept.name] = made = dataclasses.replace(kept, doubtful=False)
        await self._write(self._save(made), kept.name)

    async def _drop(self, kept: Kept) -> None:
        """Forget what was not made after all."""
        log.warning("not made: its provider has no such endpoint", endpoint=kept.name)
        self._kept[kept.name] = dataclasses.replace(kept, leaving=True)
        await self._begin_to_take_out(kept.name)

    # Changing.

    async def _update(self, name: str, revise: Revise, actor: str) -> Endpoint:
        async with self._recorder.recorded("update", name, actor) as note:
            before = self._changeable(name)
            if before.doubtful:
                raise Conflict(f"Endpoint {name!r} may not have been made; it is being looked for. Change it then.")
            spec = signed(revise(before.deployment), self._clock.wall(), actor, before.deployment)
            kept = keep(spec)
            check_given_anew(before, kept.deployment)
            note.change = difference(before.deployment, kept.deployment)
            if name in self._broken:
                endpoint = await self._bring_back(spec, kept)
            elif before.sealed is not None or name in self._flaws:
                endpoint = await self._change(spec, actor)
                await self._store.save_deployment(await self._row(kept, mended=True))
            else:
                endpoint = await self._change_on_record(spec, kept, before, actor)
            self._kept[name] = kept
            self._flaws.pop(name, None)
        return endpoint

    async def _bring_back(self, spec: Spec, kept: Kept) -> Endpoint:
        """Have the provider of a broken one adopt it as it is to be now. It is written when that has worked."""
        name = spec.name
        try:
            endpoint = await self._fleet.add(dataclasses.replace(spec, making=Making.MADE))
        except LamplighterError as error:
            if not error.in_doubt:
                raise
            doubtful = dataclasses.replace(kept, doubtful=True)
            await self._store.save_deployment(await self._row(doubtful, mended=True))
            self._mended(name)
            await self._doubt(doubtful, error)
            endpoint = self._fleet.endpoint(name)
        self._mended(name)
        await self._store.save_deployment(await self._row(kept, mended=True))
        return endpoint

    def _mended(self, name: str) -> None:
        self._broken.pop(name, None)
        self._apart.pop(name, None)

    async def _change_on_record(self, spec: Spec, kept: Kept, before: Kept, actor: str) -> Endpoint:
        await self._store.save_deployment(await self._row(kept))
        try:
            return await self._change(spec, actor)
        except Exception:
            await self._write(self._save(before), spec.name)
            raise

    async def _change(self, spec: Spec, actor: str) -> Endpoint:
        """Give the new spec on. An endpoint that was up is brought up again if it has to be replaced."""
        name = spec.name
        up = self._fleet.endpoint(name).phase in {Phase.RUNNING, Phase.STARTING}
        endpoint = await self._fleet.update(spec)
        if up and endpoint.spec.deployment is not spec.deployment:
            return await self._fleet.wake(name, actor=actor)
        return endpoint

    # Deleting.

    async def _delete(self, name: str, actor: str, forget: bool) -> None:
        async with self._recorder.recorded("delete", name, actor):
            gone = self._leaving.get(name)  # asked for again: the answer to the first one may have been lost
            if gone is None:
                before = self._changeable(name)
                if name in self._broken:
                    await self._delete_broken(before, forget=forget)
                    return
                leaving = dataclasses.replace(before, leaving=True)
                await self._store.save_deployment(await self._row(leaving))
                self._kept[name] = leaving
                gone = self._begin_to_take_out(name)
        await asyncio.wait([gone], timeout=GONE_PATIENCE)

    async def _delete_broken(self, kept: Kept, *, forget: bool) -> None:
        """Forget what nobody looks after, unless it may run on where it was made."""
        name = kept.name
        if self._may_run_on(kept) and not forget:
            raise Conflict(
                f"Endpoint {name!r} can't be deleted at its provider {kept.provider!r}, where it may be running, and "
                f"billed: {self._broken[name].reason} Mend that, or forget it here alone with `?forget=true`."
            )
        log.warning("forgotten here alone", endpoint=name, provider=kept.provider)
        await self._store.forget_deployment(name)
        self._mended(name)

    def _may_run_on(self, kept: Kept) -> bool:
        """Whether its provider may have it although nobody looks after it here."""
        provider = self._providers.get(kept.provider)
        if provider is not None:
            return provider.capabilities.keeps
        return bool(kept.provider) or any(one.capabilities.keeps for one in self._providers.values())

    def _begin_to_take_out(self, name: str) -> asyncio.Task[None]:
        self._leaving[name] = gone = self._turns.own(self._take_out(name), f"delete {name}")
        return gone

    async def _take_out(self, name: str) -> None:
        """Take an endpoint out; its row goes only when its provider has forgotten it: until then it may be billed."""
        while not await self._fleet.remove_and_wait(name, timeout=GONE_TIMEOUT):
            log.warning("still being deleted: it may be running, and billed", endpoint=name)
        await self._write(self._store.forget_deployment(name), name)
        self._kept.pop(name, None)
        self._flaws.pop(name, None)
        self._leaving.pop(name, None)

    def _changeable(self, name: str) -> Kept:
        """What is known of a deployment. Raises EndpointNotFound, Conflict."""
        if (apart := self._apart.get(name)) is not None:
            return apart
        if (kept := self._kept.get(name)) is not None:
            if kept.leaving:
                raise Conflict(f"Endpoint {name!r} is being deleted.")
            return kept
        found = self._fleet.endpoint(name)  # raises EndpointNotFound
        raise Conflict(f"Endpoint {found.spec.name!r} stands in the configuration file: change it there.")

    # Specs.

    def _compiled(self, kept: Kept) -> tuple[Spec, str | None]:
        """The spec, made anew because the server's defaults may have changed, and what is wrong with it.

        Raises LamplighterError where nothing can be made of it at its provider.
        """
        provider = self._providers.get(kept.provider)
        if provider is None:
            raise LamplighterError(
                f"Its provider {kept.provider!r} is not among those that this server was started with."
            )
        keeps, flaw = provider.capabilities.keeps, kept.sealed.reason if kept.sealed is not None else None
        try:
            spec = self._compile(kept.deployment, provider=kept.provider, resources=kept.resources)
        except LamplighterError as error:
            if not keeps:
                raise
            spec, flaw = bare_spec(kept), flaw or error.message
        if flaw is not None and not keeps:
            policy = dataclasses.replace(spec.policy, keep_warm=False)
            spec = dataclasses.replace(spec, flaw=f"{flaw} A change that gives them all mends it.", policy=policy)
        return dataclasses.replace(spec, making=Making.DOUBTFUL if kept.doubtful else Making.MADE), flaw

    def _break(self, kept: Kept, reason: str) -> None:
        log.error("endpoint not brought back", endpoint=kept.name, error=reason)
        self._apart[kept.name] = kept
        self._broken[kept.name] = BrokenDeployment(deployment=kept.deployment, provider=kept.provider, reason=reason)

    # Records.

    async def _row(self, kept: Kept, *, mended: bool = False) -> SavedDeployment:
        """Its row. While others are sealed with a key that is lost, a new one is made only for what was mended."""
        make_key = (
            mended or not has_secrets(kept) or not any(row.secrets for row in await self._store.load_deployments())
        )
        return await asyncio.to_thread(row_of, kept, self._seal, make_key=make_key)

    async def _save(self, kept: Kept) -> None:
        await self._store.save_deployment(await self._row(kept))

    async def _write(self, write: Awaitable[None], name: str) -> None:
        """Write what must not be left undone because a caller went away or the database was busy for a moment."""
        try:
            await asyncio.shield(asyncio.ensure_future(write))
        except LamplighterError as error:
            log.error("not written: it may come back at the next start", endpoint=name, error=error.message)  # noqa: TRY400


def _may_be_there(name: str, error: LamplighterError) -> ProviderUnreachable:
    """The error for a create without an answer."""
    found = ProviderUnreachable(
        f"{error.message.rstrip('.')}. Endpoint {name!r} may have been made all the same: it is being looked for, and "
        "is listed until that is certain. Delete it if it is not wanted."
    )
    found.in_doubt = True
    return found
