"""Who may use the management routes, how often, and under which name it is recorded."""

from __future__ import annotations

import time
from collections import OrderedDict
from typing import Annotated, TypeAlias

import structlog
from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from lamplighter.api.refused import NOBODY, SAFE_METHODS, Refusals
from lamplighter.control.keyring import Keyring
from lamplighter.control.origin import ORIGIN
from lamplighter.control.recorder import Recorder
from lamplighter.domain.keys import ANYBODY, ApiKey, Role
from lamplighter.domain.loopback import is_own_page
from lamplighter.domain.rate import Bucket
from lamplighter.errors import ForeignPage, NotAllowed, Unavailable

log = structlog.get_logger("lamplighter.api")

_MOST_BUCKETS = 10_000

_bearer = HTTPBearer(auto_error=False, description="A key of this server; not needed where it has none.")


class RoleMissing(NotAllowed):
    """The key is known, and its role does not do this."""

    status = 403
    code = "role_missing"

    def __init__(self, key: ApiKey, needed: Role) -> None:
        super().__init__(f"This takes a key with the role {needed.value!r}; {key.name!r} has {key.role.value!r}.")


class TooManyRequests(Unavailable):
    """More management requests than one key or address may make."""

    status = 429
    code = "rate_limit_exceeded"


class Access:
    """The keys that open the management routes, and how often each is used: `rate` requests a minute, None: any.

    Requests without a key that is right are counted by their address. `recorder` puts on record who asked for a change
    and was refused.
    """

    def __init__(self, keyring: Keyring, *, rate: int | None = None, recorder: Recorder | None = None) -> None:
        self.keyring = keyring
        self.refusals = Refusals(recorder)
        self._rate = rate
        self._buckets: OrderedDict[str, Bucket] = OrderedDict()

    def enter(self, shown: bytes | None, source: str, now: float, *, manages: bool = True) -> ApiKey:
        """The key that is shown by somebody at the address `source`, at a monotonic moment.

        Not `manages`: what comes in is counted elsewhere, and only a key that is wrong is here. Raises NotAllowed,
        TooManyRequests.
        """
        try:
            key = self._find(shown)
        except NotAllowed:
            self.count(source, now)
            raise
        if manages:
            self.count(source if key is ANYBODY else key.id, now)
        return key

    def count(self, who: str, now: float) -> None:
        """Count a request. Raises TooManyRequests."""
        if self._rate is None:
            return
        bucket = self._buckets.get(who)
        if bucket is None:
            bucket = self._buckets[who] = Bucket(self._rate)
            if len(self._buckets) > _MOST_BUCKETS:
                self._buckets.popitem(last=False)  # the one that was used the longest time ago: most likely full again
        self._buckets.move_to_end(who)
        if not bucket.take(now):
            text = f"More than {self._rate} management requests a minute; server.management_rate is the bound."
            raise TooManyRequests(text, retry_after=bucket.wait(now))

    def _find(self, shown: bytes | None) -> ApiKey:
        if self.keyring.is_open:
            return ANYBODY
        if not shown:
            raise NotAllowed("No key was given. Send it as 'Authorization: Bearer <key>', or as 'x-api-key'.")
        return self.keyring.find(shown, time.time())


async def _key(
    request: Request, credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)] = None
) -> ApiKey:
    return await _entered(request, credentials, manages=True)


async def _calling_key(
    request: Request, credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)] = None
) -> ApiKey:
    return await _entered(request, credentials, manages=False)


async def _entered(request: Request, credentials: HTTPAuthorizationCredentials | None, *, manages: bool) -> ApiKey:
    access = _access(request)
    if access.keyring.is_open:
        await _refuse_other_sites(request)
    shown = credentials.credentials if credentials else request.headers.get("x-api-key")
    try:
        key = access.enter(
            shown.strip().encode("latin-1") if shown else None, _source(), time.monotonic(), manages=manages
        )
    except NotAllowed as error:
        await access.refusals.note(request, error, actor=NOBODY)
        raise
    request.state.actor = _name_of(key)
    return key


async def _counted(request: Request) -> None:
    _access(request).count(_source(), time.monotonic())


async def _operator(request: Request, key: AnyKey) -> str:
    return await _with_role(request, key, Role.OPERATE)


async def _admin(request: Request, key: AnyKey) -> str:
    return await _with_role(request, key, Role.ADMIN)


async def _with_role(request: Request, key: ApiKey, needed: Role) -> str:
    actor = _name_of(key)
    if not key.role.covers(needed):
        log.warning(
            "role missing", actor=actor, needed=needed.value, method=request.method, path=request.url.path[:200]
        )
        missing = RoleMissing(key, needed)
        await _access(request).refusals.note(request, missing, actor=actor)
        raise missing
    return actor


def _name_of(key: ApiKey) -> str:
    return "api" if key is ANYBODY else key.actor


def _access(request: Request) -> Access:
    access: Access = request.app.state.access
    return access


def _source() -> str:
    return ORIGIN.get().source or "somewhere"


async def _refuse_other_sites(request: Request) -> None:
    """Keep web pages of others from operating a server without keys through its owner's browser.

    A page's request that changes something carries its origin. Only this server's own page, under a name of this
    machine (a foreign name may have been pointed here), passes. Programs send no origin.
    """
    origin = request.headers.get("origin")
    if request.method in SAFE_METHODS or origin is None:
        return
    if not is_own_page(origin, request.headers.get("host")):
        error = ForeignPage(origin)
        await _access(request).refusals.note(request, error, actor=NOBODY)
        raise error


AnyKey: TypeAlias = Annotated[ApiKey, Depends(_key)]
"""Takes any valid key, and gives it; ANYBODY where there are none."""

CallingKey: TypeAlias = Annotated[ApiKey, Depends(_calling_key)]
"""The same where a model is called: that counts towards the key's own limits, and not as a management request."""

Operator: TypeAlias = Annotated[str, Depends(_operator)]
"""Takes a key that may operate, and gives the name to record: `key:` and the key's name, or `api` without keys."""

Admin: TypeAlias = Annotated[str, Depends(_admin)]
"""The same for a key that may make, change and delete."""

Counted: TypeAlias = Annotated[None, Depends(_counted)]
"""Takes no key, and counts the request by its address."""
