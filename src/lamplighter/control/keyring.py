"""The keys that open this server: those of the configuration, and those that were made while it ran.

NotAllowed               401   no key, or one that is not known here
├── KeyExpired           401   it was known here, and its time is over
└── KeyRevoked           401   it was known here, and was taken back
Unavailable              503
└── NotWritten           503   the database did not take a change of keys in time
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import difflib
import hashlib
import hmac
import math
import random
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Coroutine, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

import structlog

from lamplighter.control.recorder import Note, Recorder
from lamplighter.domain.keyrules import check_new_key, described, is_elsewhere, written
from lamplighter.domain.keys import ApiKey, KeyLimits, Role
from lamplighter.domain.secret import Secret
from lamplighter.errors import (
    Conflict,
    EndpointNotFound,
    InvalidInput,
    LamplighterError,
    NotAllowed,
    NotFound,
    StoreError,
    Unavailable,
)

log = structlog.get_logger("lamplighter.control")

CONFIGURED = "configuration"
"""Who made the keys that stand in the configuration."""

MOST_KEYS = 10_000

WRITE_PATIENCE = 2.0
"""How long a change of keys waits for the database (seconds)."""
_RETRY_AFTER = 5.0
_TAKE_BACK_TRIES = 10
_TAKE_BACK_PAUSE = 30.0  # the longest one, in seconds


class KeyExpired(NotAllowed):
    """The key was known here; its time is over."""

    code = "expired_api_key"


class KeyRevoked(NotAllowed):
    """The key was known here; somebody took it back."""

    code = "revoked_api_key"


class NotWritten(Unavailable):
    """The database did not take a change of keys in time. What is said tells what of it holds."""

    code = "store_busy"


class KeyStore(Protocol):
    """Where keys are kept: `Store` is one. Every method raises StoreError."""

    async def add_key(self, key: ApiKey) -> None: ...

    async def load_keys(self) -> list[ApiKey]: ...

    async def revoke_key(self, key_id: str, at: float) -> None: ...

    async def forget_keys(self, ids: Sequence[str]) -> None: ...


class MemoryKeys:
    """Keeps keys as long as the process lives."""

    def __init__(self) -> None:
        self.keys: dict[str, ApiKey] = {}

    async def add_key(self, key: ApiKey) -> None:
        self.keys[key.id] = key

    async def load_keys(self) -> list[ApiKey]:
        return list(self.keys.values())

    async def revoke_key(self, key_id: str, at: float) -> None:
        self.keys[key_id] = dataclasses.replace(self.keys[key_id], revoked_at=at)

    async def forget_keys(self, ids: Sequence[str]) -> None:
        for key_id in ids:
            self.keys.pop(key_id, None)


class Keyring:
    """All keys, in memory, by the digest of each.

    A server that never had a key is open: everybody may do everything. From the first key on it is closed, and stays so
    when the last one expired.
    """

    def __init__(
        self,
        digests: Collection[str] = (),
        *,
        store: KeyStore | None = None,
        recorder: Recorder | None = None,
        resolve: Callable[[str], str] = str,
        wall: Callable[[], float] = time.time,
        patience: float = WRITE_PATIENCE,
    ) -> None:
        """`digests` are the SHA-256 hex digests of the configured keys; `open` reads the others.

        `recorder` puts on record what is made and revoked. `resolve` gives the name of the model behind a name or an
        alias, or raises EndpointNotFound. `wall` tells Unix time. A change waits `patience` seconds for the store.
        """
        self._configured = _all_configured(digests)
        self._by_digest = {key.digest: key for key in self._configured}
        self._made: dict[str, ApiKey] = {}
        self._lent: dict[str, tuple[str, str]] = {}  # by the id of its key: what was lent, and the digest of that
        self._borrowed: dict[str, str] = {}  # the ids of keys, by the digests of what was lent of them
        self._store = store or MemoryKeys()
        self._recorder = recorder
        self._resolve = resolve
        self._wall = wall
        self._turn = asyncio.Lock()
        self._told: list[Callable[[], None]] = []
        self._patience = patience
        self._late: set[asyncio.Task[None]] = set()  # what the store took too long for, and is looked after

    async def close(self) -> None:
        """Stop looking after what the store has not taken."""
        for task in self._late:
            task.cancel()
        await asyncio.gather(*self._late, return_exceptions=True)

    async def open(self) -> None:
        """Read the keys that were made. Raises StoreError."""
        for key in await self._store.load_keys():
            self._keep(key)
        if not self.is_open and not any(self._can_make_keys(key) for key in self.list()):
            log.warning("no admin key is left: give server.keys one to manage this server")
        self._changed()

    def configure(self, digests: Collection[str]) -> None:
        """Take other configured keys in the place of those before. None at all would open the server: they stay."""
        if not digests:
            return
        self._configured = _all_configured(digests)
        self._by_digest = {key.digest: key for key in self._configured}
        for key in self._made.values():
            self._keep(key)
        self._changed()

    @property
    def is_open(self) -> bool:
        """Whether there was never any key: then everybody may do everything."""
        return not self._by_digest

    def subscribe(self, changed: Callable[[], None]) -> None:
        """Have `changed` called after every change, before anybody is told of it."""
        self._told.append(changed)

    def find(self, secret: bytes, now: float) -> ApiKey:
        """The key that is shown, at the Unix time `now`. Raises NotAllowed, KeyExpired, KeyRevoked.

        How long it takes tells nothing of a key: what is looked up is the digest, by a hash that is salted for this
        process.
        """
        digest = hashlib.sha256(secret).hexdigest()
        key = self._by_digest.get(digest)
        if key is None and digest in self._borrowed:
            key = self.known(self._borrowed[digest])
        elif key is not None and not hmac.compare_digest(key.digest, digest):
            key = None
        if key is None:
            raise NotAllowed("This key is not known here.")
        if not key.counts(now):
            raise ended(key)
        return key

    def known(self, key_id: str) -> ApiKey | None:
        """The key with this id, also one that was revoked or has expired."""
        made = self._made.get(key_id)
        return made or next((key for key in self._configured if key.id == key_id), None)

    def lend(self, key: ApiKey) -> str:
        """A secret that opens what `key` opens, as long as that counts; the same one each time.

        For whoever has shown the key before and does not keep it, such as a browser's session. It lives in memory
        alone and must not leave this process.
        """
        if key.id not in self._lent:
            secret = secrets.token_urlsafe(32)
            digest = hashlib.sha256(secret.encode()).hexdigest()
            self._lent[key.id] = secret, digest
            self._borrowed[digest] = key.id
        return self._lent[key.id][0]

    def list(self) -> list[ApiKey]:
        """All keys, the configured ones first, then the oldest first; also those that were revoked or have expired."""
        return [*self._configured, *sorted(self._made.values(), key=lambda key: (key.created_at, key.id))]

    async def make(
        self,
        name: str,
        *,
        actor: str,
        role: Role = Role.INFER,
        routes: Iterable[str] = (),
        may_wake: bool = True,
        priority: int = 0,
        limits: KeyLimits | None = None,
        tags: Mapping[str, str] | None = None,
        expires_in: float | None = None,
    ) -> tuple[ApiKey, Secret]:
        """Make a key, on record; the secret is told this once and kept nowhere. `expires_in` is in seconds.

        Raises InvalidInput, Conflict for a name that is taken, StoreError, and NotWritten where the database does not
        take it in time; nothing is made then. The first key closes an open server, so it has to be one that can make
        others.
        """
        limits, tags, routes = limits or KeyLimits(), dict(tags or {}), tuple(routes)
        async with self._recorded("create key", name, actor) as note, self._in_turn():
            check_new_key(name, priority=priority, limits=limits, routes=routes, tags=tags, expires_in=expires_in)
            now = self._wall()
            self._check_place(name, role, expires_in, now)
            secret = f"ll_{secrets.token_urlsafe(32)}"
            key = ApiKey(
                id=self._new_id(),
                name=name,
                digest=hashlib.sha256(secret.encode()).hexdigest(),
                role=role,
                routes=self._resolved(routes),
                may_wake=may_wake,
                priority=priority,
                limits=limits,
                tags=tags,
                created_at=now,
                created_by=actor,
                expires_at=None if expires_in is None else now + expires_in,
            )
            note.change = described(key)
            await self._write_made(key)
            self._keep(key)
            self._changed()
        return key, Secret(secret)

    async def revoke(self, which: str, *, actor: str) -> ApiKey:
        """Take a key back, by its id or name, on record: it counts no more from this moment on.

        One that was revoked before is no error. Raises NotFound, Conflict for one of the configuration and for the last
        one that could make others, StoreError and NotWritten when it may count again after the next start.
        """
        async with self._recorded("revoke key", which, actor) as note, self._in_turn():
            key = self._find_made(which)
            note.change = described(key)
            now = self._wall()
            if self._is_last(key, now):
                raise Conflict(
                    f"Key {key.name!r} is the last admin key that never expires: without it nobody could make another. "
                    "Make one first (`lamplighter key create NAME --role admin`), or give server.keys one."
                )
            if key.revoked_at is None:
                # In memory first: whatever becomes of the database, it opens nothing any more.
                key = dataclasses.replace(key, revoked_at=now)
                self._keep(key)
                self._changed()
            await self._write_revoked(key, key.revoked_at or now)
        return key

    async def forget(self, before: float) -> None:
        """Remove the keys that ended before the Unix time `before`. The last one stays: it keeps the server closed.

        Raises StoreError.
        """
        async with self._turn:
            gone = [key for key in self._made.values() if _end_of(key) < before]
            if gone and not self._configured and len(gone) == len(self._made):
                gone.remove(max(gone, key=_end_of))
            if not gone:
                return
            await self._store.forget_keys([key.id for key in gone])
            for key in gone:
                del self._made[key.id]
                if key.id in self._lent:
                    del self._borrowed[self._lent.pop(key.id)[1]]
                if self._by_digest.get(key.digest) is key:
                    del self._by_digest[key.digest]
            self._changed()

    def _keep(self, key: ApiKey) -> None:
        self._made[key.id] = key
        # A key that was made and stands in the configuration as well may do what the configuration says.
        self._by_digest[key.digest] = next((one for one in self._configured if one.digest == key.digest), key)

    def _changed(self) -> None:
        for tell in self._told:
            tell()

    def _new_id(self) -> str:
        while (fresh := secrets.token_hex(6)) in self._made:
            pass
        return fresh

    def _resolved(self, routes: Iterable[str]) -> frozenset[str]:
        return frozenset(map(self._resolved_one, routes))

    def _resolved_one(self, name: str) -> str:
        """What a name leads to here, else the name itself where it may be that of a model elsewhere."""
        try:
            return self._resolve(name)
        except EndpointNotFound as error:
            if is_elsewhere(name):
                return name
            raise InvalidInput(f"routes: {error.message}", field="routes") from None

    def _check_place(self, name: str, role: Role, expires_in: float | None, now: float) -> None:
        """Refuse what does not fit to the other keys."""
        if self.is_open and (role is not Role.ADMIN or expires_in is not None):
            field, given = ("expires_in", "one that ends") if role is Role.ADMIN else ("role", f"the role '{role}'")
            raise InvalidInput(
                f"{field}: the first key closes this server to everybody who has none. It must have the role 'admin' "
                f"and no end, or nobody could make another one; {given} does not do. Make such a key first.",
                field=field,
            )
        if any(key.name == name and key.counts(now) for key in self.list()):
            raise Conflict(f"There is a key {name!r} already; choose another name, or revoke that one.")
        if len(self._made) >= MOST_KEYS:
            raise Conflict(
                f"There are {MOST_KEYS} keys already; that is the limit. Those that were revoked or have expired are "
                "removed after server.retention."
            )

    def _find_made(self, which: str) -> ApiKey:
        now = self._wall()
        found = self._made.get(which) or self._named(which, now)
        if found is not None:
            return found
        if any(which in (key.id, key.name) for key in self._configured):
            raise Conflict(f"Key {which!r} stands in the configuration: take it out of server.keys and reload.")
        names = [key.name for key in self._made.values() if key.counts(now)]
        near = difflib.get_close_matches(which[:80], names, n=3)
        hint = f" Did you mean {' or '.join(repr(name) for name in near)}?" if near else ""
        raise NotFound(f"There is no key {which[:80]!r}.{hint}")

    def _named(self, name: str, now: float) -> ApiKey | None:
        """The key of this name that counts, else the one that was made last."""
        named = [key for key in self._made.values() if key.name == name]
        return max(named, key=lambda key: (key.counts(now), key.created_at), default=None)

    def _can_make_keys(self, key: ApiKey) -> bool:
        return key.role is Role.ADMIN and key.revoked_at is None and key.expires_at is None

    def _is_last(self, key: ApiKey, now: float) -> bool:
        """Whether nobody could make another key without this one."""
        if self._configured or not self._can_make_keys(key) or not key.counts(now):
            return False
        return not any(self._can_make_keys(other) for other in self._made.values() if other is not key)

    @contextlib.asynccontextmanager
    async def _in_turn(self) -> AsyncIterator[None]:
        """One change at a time. Raises NotWritten where the one before does not end."""
        try:
            async with asyncio.timeout(self._patience):
                await self._turn.acquire()
        except TimeoutError:
            text = "Another change of keys waits for the database: nothing was changed. Try again."
            raise NotWritten(text, retry_after=_RETRY_AFTER) from None
        try:
            yield
        finally:
            self._turn.release()

    async def _write_made(self, key: ApiKey) -> None:
        writing = asyncio.ensure_future(self._store.add_key(key))
        try:
            await self._in_time(writing)
        except StoreError as error:
            raise StoreError(f"No key was made: {error.message}") from error
        except BaseException as error:  # also cancelled: nobody is told the secret, so it must open nothing later
            self._look_after(self._take_back(writing, key), f"take back key {key.id}")
            if not isinstance(error, TimeoutError):
                raise
            raise NotWritten(
                f"No key was made: the database did not take it in {self._patience:g} s. Something keeps it locked, or "
                "its disk is slow. Try again.",
                retry_after=_RETRY_AFTER,
            ) from None

    async def _write_revoked(self, key: ApiKey, at: float) -> None:
        what = f"Key {key.name!r} counts no more, but that"
        again = "and would be forgotten at the next start: revoke it again."
        writing = asyncio.ensure_future(self._store.revoke_key(key.id, at))
        try:
            await self._in_time(writing)
        except StoreError as error:
            raise StoreError(f"{what} could not be written {again} {error.message}") from error
        except BaseException as error:
            self._look_after(_to_the_end(writing), f"revoke key {key.id}")
            if not isinstance(error, TimeoutError):
                raise
            text = f"{what} is not written after {self._patience:g} s {again}"
            raise NotWritten(text, retry_after=_RETRY_AFTER) from None

    async def _in_time(self, writing: asyncio.Future[None]) -> None:
        """Wait for the store. Raises what it raises, and TimeoutError; the write itself goes on then."""
        async with asyncio.timeout(self._patience):
            await asyncio.shield(writing)

    async def _take_back(self, writing: Awaitable[None], key: ApiKey) -> None:
        """Remove a key that nobody was told of, should the store have taken it late."""
        try:
            await writing
        except LamplighterError:
            return  # it was not taken
        for tries in range(_TAKE_BACK_TRIES):
            try:
                await self._store.forget_keys([key.id])
            except LamplighterError as error:
                log.warning("key that was not made stands in the database", key=key.id, error=error.message)
                await asyncio.sleep(min(_TAKE_BACK_PAUSE, 2.0**tries) * random.uniform(0.5, 1))  # noqa: S311 - no secret
            else:
                return

    def _look_after(self, work: Coroutine[Any, Any, None], name: str) -> None:
        task = asyncio.create_task(work, name=name)
        self._late.add(task)
        task.add_done_callback(self._late.discard)

    def _recorded(self, operation: str, name: str, actor: str) -> AbstractAsyncContextManager[Note]:
        """Put on record what is done inside, however it ends, before anybody is told."""
        if self._recorder is None:
            return contextlib.nullcontext(Note(name[:80]))
        return self._recorder.recorded(operation, None, actor, change=name[:80])


async def _to_the_end(writing: Awaitable[None]) -> None:
    try:
        await writing
    except LamplighterError as error:
        log.warning("key revoked, and not written", error=error.message)


def ended(key: ApiKey) -> NotAllowed:
    """Why a key counts no more."""
    if key.revoked_at is not None:
        return KeyRevoked(f"The key {key.name!r} was revoked at {written(key.revoked_at)}; ask for a new one.")
    return KeyExpired(f"The key {key.name!r} expired at {written(key.expires_at or 0.0)}; ask for a new one.")


def _all_configured(digests: Collection[str]) -> tuple[ApiKey, ...]:
    return tuple(_configured(digest) for digest in sorted({one.lower() for one in digests}))


def _configured(digest: str) -> ApiKey:
    short = digest[:8]
    return ApiKey(id=f"key:{short}", name=short, digest=digest, role=Role.ADMIN, created_by=CONFIGURED)


def _end_of(key: ApiKey) -> float:
    return min(math.inf if moment is None else moment for moment in (key.revoked_at, key.expires_at))
