"""What ends a session when its process can't: a lease at a Lamplighter, or a watchdog process for Hugging Face."""

from __future__ import annotations

import asyncio
import contextlib
import getpass
import logging
import os
import socket
import time
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol
from urllib.parse import quote, urlsplit

from lamplighter.domain.loopback import is_loopback
from lamplighter.domain.secret import Secret
from lamplighter.errors import (
    EndpointNotFound,
    LamplighterError,
    NotAllowed,
    NotFound,
    ProviderError,
    ProviderUnreachable,
    Unavailable,
)
from lamplighter.hf.api import ManagementApi
from lamplighter.hf.pace import Pace
from lamplighter.sdk.folders import (
    WATCHED,
    WISH,
    FileLock,
    held,
    is_left_to_others,
    is_wished,
    make_private,
    others,
    remove,
    session_folder,
    wish,
)
from lamplighter.sdk.settling import Look, NotAsleep, see_asleep
from lamplighter.sdk.standby import Standby
from lamplighter.sdk.watchdog import Order

log = logging.getLogger("lamplighter.sdk")

_LOCK_LOOK = 0.1
_LOCK_PATIENCE = 60.0
_MODULE = "lamplighter.sdk.watchdog"
_BEAT = b"beat\n"
_BRIEF = Pace(attempts=3, deadline=15.0)  # what ends a session tries again by itself


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """What a session holds. `lease` is in seconds; `pauses` says whether the endpoint is paused at the end."""

    namespace: str
    name: str
    lease: float
    pauses: bool


class Ended(LamplighterError):
    """Nobody stands behind the session any more: its lease has ended, or its watchdog. Another one has to be made."""


class Keeper(Protocol):
    """Stands behind one session, from before the endpoint is woken."""

    async def begin(self) -> None:
        """From the return of this call on, the endpoint will not be left awake, whatever becomes of this process."""

    async def beat(self) -> None:
        """Say that the session lives. Raises Ended, and LamplighterError for what the next beat may mend."""

    async def end(self) -> str | None:
        """End it: the last session out pauses, and sees to it. Tells what people should know, if anything.

        Tried once; raises LamplighterError, NotAsleep where asking again is of no use.
        """

    async def abandon(self) -> None:
        """Leave the ending to what stands behind."""

    def behind(self, failure: LamplighterError) -> str:
        """What becomes of an abandoned session that could not be ended because of this."""


# At a Lamplighter.


class ServerLease:
    """A lease over REST; the server ends it when the heartbeats stop."""

    def __init__(self, leases: LeaseApi, what: Held, look: Look) -> None:
        self._leases = leases
        self._what = what
        self._look = look
        self._id: str | None = None

    async def begin(self) -> None:
        what = self._what
        self._id = await self._leases.open(what.name, holder=_holder(), ttl=what.lease, pause_at_end=what.pauses)

    async def beat(self) -> None:
        if self._id is None:
            raise Ended(f"The session on {self._what.name!r} has no lease.")
        try:
            await self._leases.renew(self._id)
        except NotFound:
            self._id = None
            raise Ended(f"The lease on {self._what.name!r} ended while it was used: it may be asleep.") from None

    async def end(self) -> str | None:
        if self._id is None:
            return None
        with contextlib.suppress(NotFound):  # it ended already: somebody paused, or it expired
            await self._leases.end(self._id)
        self._id = None
        return await see_asleep(self._what.name, self._look) if self._what.pauses else None

    async def abandon(self) -> None:
        self._id = None  # it expires

    def behind(self, failure: LamplighterError) -> str:
        if isinstance(failure, NotAsleep):
            return "The server goes on trying."
        if isinstance(failure, ProviderUnreachable):
            return "Once its server can be reached again, it ends the lease and pauses."
        return "Its lease ends by itself, and pauses it then."


class LeaseApi(Protocol):
    """The lease routes of a Lamplighter."""

    async def open(self, name: str, *, holder: str, ttl: float, pause_at_end: bool) -> str:
        """Begin a lease, and give its id."""

    async def renew(self, lease: str) -> None:
        """Take a heartbeat. Raises NotFound."""

    async def end(self, lease: str) -> None:
        """End it. Raises NotFound."""


# For Hugging Face.


class Watchdog:
    """A process of its own, which is told of each heartbeat and pauses when they stop.

    Sessions of this user on one endpoint find each other in a folder: each has a file there, which its watchdog keeps
    locked, so that the last one out is known also when others were killed.
    """

    def __init__(self, api: ManagementApi, what: Held, order: Order, look: Look) -> None:
        self._api = api
        self._what = what
        self._order = order
        self._look = look
        self._standby: Standby | None = None

    async def begin(self) -> None:
        # A new file each time: a watchdog that was declared dead may still be pausing.
        file = self._order.folder / f"{os.getpid()}-{uuid.uuid4().hex[:12]}{WATCHED}"
        self._order = replace(self._order, file=file)
        try:
            await asyncio.to_thread(make_private, self._order.folder)
            async with self._folder_lock():
                await self._begin_locked()
        except OSError as error:
            raise _unusable(self._order.folder, error) from error

    async def _begin_locked(self) -> None:
        if not others(self._order.folder, None):
            remove(self._order.folder / WISH)  # of sessions that are gone, and were dealt with
        name = self._what.name
        self._standby = await Standby.begin(_MODULE, self._order.line(), f"The watchdog of the session on {name!r}")
        if self._what.pauses:
            with contextlib.suppress(OSError):  # the watchdog knows by itself; this is for those who come after it
                wish(self._order.folder)

    async def beat(self) -> None:
        if self._standby is None or not self._standby.tell(_BEAT):
            await self.abandon()
            raise Ended(f"The watchdog of the session on {self._what.name!r} has ended: the endpoint may be paused.")

    async def end(self) -> str | None:
        standby = self._standby
        if standby is None:
            return None
        async with self._folder_lock(needed=False):
            try:
                note = await self._pause() if self._is_last_and_pauses() else None
            except NotAllowed:
                await standby.dismiss()  # it has the same token, and could do no more
                raise
            await standby.dismiss()
            self._standby = None
        return note

    def _is_last_and_pauses(self) -> bool:
        folder, file = self._order.folder, self._order.file
        if is_left_to_others(folder, file, pauses=self._what.pauses):
            return False
        return self._what.pauses or is_wished(folder)

    async def _pause(self) -> str | None:
        with contextlib.suppress(EndpointNotFound):  # deleted meanwhile: that ends it, too
            await self._api.pause(self._what.name, self._what.namespace)
        note = await see_asleep(self._what.name, self._look)
        remove(self._order.folder / WISH)
        return note

    async def abandon(self) -> None:
        """The end of the pipe tells it."""
        standby, self._standby = self._standby, None
        if standby is not None:
            standby.abandon()

    def behind(self, failure: LamplighterError) -> str:
        if isinstance(failure, NotAllowed):
            return "Nobody else will."
        return "A process in the background goes on trying."

    @asynccontextmanager
    async def _folder_lock(self, *, needed: bool = True) -> AsyncIterator[None]:
        """One that is not needed is gone without where the folder is gone: an end must not fail for want of a file."""
        lock = FileLock(self._order.folder / "lock")
        deadline = time.monotonic() + _LOCK_PATIENCE
        try:
            while not lock.try_take():
                if time.monotonic() > deadline:
                    raise ProviderError(f"Another session on {self._what.name!r} is being ended for over a minute.")
                await asyncio.sleep(_LOCK_LOOK)
        except OSError as error:
            if needed:
                raise
            log.warning("%s can't be used: %s", self._order.folder, error.strerror)
        with held(lock):
            yield


def _unusable(folder: Path, error: OSError) -> Unavailable:
    return Unavailable(
        f"Sessions on this machine are counted in {folder}, which can't be used: {error.strerror or error}. "
        "Nothing was woken. Let XDG_STATE_HOME name a folder that can be written."
    )


def _holder() -> str:
    try:
        user = getpass.getuser()
    except (OSError, KeyError):  # no name for this user id
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()} pid {os.getpid()}"[:200]


def watchdog_order(base: str, what: Held, token: Secret | None) -> Order:
    """What a watchdog is told."""
    folder = session_folder(base, what.namespace, what.name)
    return Order(
        base=base,
        namespace=what.namespace,
        name=what.name,
        token=token.reveal() if token is not None else None,
        lease=what.lease,
        folder=folder,
        file=folder / f"unused{WATCHED}",
        direct=is_loopback(urlsplit(base).hostname or ""),
        pauses=what.pauses,
    )


class RestLeases:
    """Implements `LeaseApi` over HTTP."""

    def __init__(self, api: ManagementApi) -> None:
        self._api = api

    async def open(self, name: str, *, holder: str, ttl: float, pause_at_end: bool) -> str:
        form = {"holder": holder, "ttl": ttl, "pause_at_end": pause_at_end}
        # One too many would only end by itself, but the last one out pauses: so it is not opened twice on purpose.
        answer = await self._api.call(
            "POST", f"/api/endpoints/{quote(name, safe='')}/leases", body=form, repeatable=False
        )
        lease = answer.get("lease") if isinstance(answer, Mapping) else None
        if not isinstance(lease, Mapping) or not isinstance(lease.get("id"), str):
            raise ProviderError("The server gave no lease.")
        return str(lease["id"])

    async def renew(self, lease: str) -> None:
        await self._api.call("PUT", f"/api/leases/{lease}")

    async def end(self, lease: str) -> None:
        await self._api.call("DELETE", f"/api/leases/{lease}", pace=_BRIEF)
